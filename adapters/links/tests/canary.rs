//! Broken links, and the guarantee by which the suite notices each (E6).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Mutex,
};

use conclave_conformance::link::{self, Test, block_on};
use conclave_core::{
    bounds::BoxFuture,
    link::{Link, LinkError, LinkInfo},
};
use conclave_links::memory::{self, MemoryLink};

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Two frames of one call arrive as one.
    Merges,
    /// The last byte of long frames is lost.
    Truncates,
    /// Frames above the MTU are cut instead of refused.
    TakesAnyLength,
    /// A receive holds frames while it waits, and loses them with itself.
    ForgetsWhenDropped,
    /// Every hundredth frame is lost.
    Loses,
    /// Unreliable, and frames of full length never come.
    NeverLong,
    /// Nobody waits, and nobody counts.
    Grows,
}

struct Broken {
    inner: MemoryLink,
    fault: Fault,
    count: Mutex<usize>,
}

impl Link for Broken {
    fn info(&self) -> LinkInfo {
        let LinkInfo { mtu, reliable } = self.inner.info();
        LinkInfo { mtu, reliable: reliable && self.fault != Fault::NeverLong }
    }

    fn send(&self, mut frames: Vec<Vec<u8>>) -> BoxFuture<'_, Result<(), LinkError>> {
        let mtu = self.info().mtu;
        match self.fault {
            Fault::None | Fault::ForgetsWhenDropped => {}
            Fault::Merges => frames = vec![frames.concat()],
            Fault::Truncates => frames.iter_mut().for_each(|frame| frame.truncate(mtu - 1)),
            Fault::TakesAnyLength => frames.iter_mut().for_each(|frame| frame.truncate(mtu)),
            Fault::Loses => frames.retain(|_| {
                let mut count = self.count.lock().unwrap();
                *count += 1;
                !count.is_multiple_of(100)
            }),
            Fault::NeverLong => frames.retain(|frame| frame.len() < mtu),
            Fault::Grows => return Box::pin(async { Ok(()) }),
        }
        self.inner.send(frames)
    }

    fn receive(&self) -> BoxFuture<'_, Result<Vec<Vec<u8>>, LinkError>> {
        if self.fault != Fault::ForgetsWhenDropped {
            return self.inner.receive();
        }
        Box::pin(async {
            let frames = self.inner.receive().await?;
            let mut polled = false;
            std::future::poll_fn(move |context| {
                if std::mem::replace(&mut polled, true) {
                    return std::task::Poll::Ready(());
                }
                context.waker().wake_by_ref();
                std::task::Poll::Pending
            })
            .await;
            Ok(frames)
        })
    }

    fn close(&self) {
        self.inner.close();
    }
}

fn pair(fault: Fault) -> (Broken, Broken) {
    let end = |inner| Broken { inner, fault, count: Mutex::new(0) };
    let (a, b) = memory::pair(1_200);
    (end(a), end(b))
}

/// Whether the suite's test passes for a link with a fault.
macro_rules! passes {
    ($test:ident, $fault:expr) => {
        catch_unwind(AssertUnwindSafe(|| {
            let test: Test<'_> = Box::pin(link::$test(async || pair($fault)));
            block_on(test);
        }))
        .is_ok()
    };
}

/// E6: each canary dies of the guarantee that it breaks, and the same link without a fault lives.
#[test]
fn broken_links_are_noticed() {
    assert!(passes!(reliable_links_keep_order_and_lose_nothing, Fault::None));
    assert!(!passes!(reliable_links_keep_order_and_lose_nothing, Fault::Merges));

    assert!(passes!(frames_keep_boundaries_and_content, Fault::None));
    assert!(!passes!(frames_keep_boundaries_and_content, Fault::Truncates));

    assert!(passes!(the_longest_frame_passes_and_one_byte_more_does_not, Fault::None));
    assert!(!passes!(the_longest_frame_passes_and_one_byte_more_does_not, Fault::TakesAnyLength));

    assert!(passes!(a_sender_that_nobody_reads_does_not_grow, Fault::None));
    assert!(!passes!(a_sender_that_nobody_reads_does_not_grow, Fault::Grows));
}

/// E6: as above, for faults that show as something that never comes.
#[test]
fn links_that_lose_frames_are_noticed() {
    assert!(!passes!(reliable_links_keep_order_and_lose_nothing, Fault::Loses));
    assert!(!passes!(the_longest_frame_passes_and_one_byte_more_does_not, Fault::NeverLong));
}

/// E6: as above.
#[test]
fn links_that_forget_are_noticed() {
    assert!(passes!(a_dropped_receive_loses_no_frame, Fault::None));
    assert!(!passes!(a_dropped_receive_loses_no_frame, Fault::ForgetsWhenDropped));
}
