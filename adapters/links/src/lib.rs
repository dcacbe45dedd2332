//! # Links in memory
//!
//! Two pairs of connected [`Link`]s for one process: [`memory`] keeps every frame, [`lossy`] has a
//! small MTU and loses, doubles and reorders them, repeatably by a seed. Neither needs a certain
//! executor, a thread or a clock.
//!
//! ```
//! use conclave_core::link::Link;
//! use conclave_links::memory;
//!
//! # fn block_on<F: Future>(future: F) -> F::Output {
//! #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
//! #     match std::pin::pin!(future).poll(&mut context) {
//! #         std::task::Poll::Ready(output) => output,
//! #         std::task::Poll::Pending => panic!("nothing here waits"),
//! #     }
//! # }
//! let (client, relay) = memory::pair(1_200);
//! block_on(client.send(vec![b"hello".to_vec()]))?;
//! assert_eq!(block_on(relay.receive())?, [b"hello"]);
//! # Ok::<(), conclave_core::link::LinkError>(())
//! ```
//!
//! [`Link`]: conclave_core::link::Link
#![forbid(unsafe_code)]

pub mod lossy;
pub mod memory;

mod pipe;
