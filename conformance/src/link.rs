//! What every [`Link`] has to promise (E6).
//!
//! [`link_conformance!`](crate::link_conformance) expands to one test per guarantee. A guarantee
//! that is not kept is a panic that says which. Nothing here needs a certain executor; what waits
//! for a link gives up after [`PATIENCE`], which is far more than any test needs.

use std::{future::Future, pin::Pin, time::Duration};

use conclave_core::link::{Link, LinkError, LinkInfo};

pub use self::{
    carrying::a_channel_carries_messages_both_ways,
    wait::{block_on, both, within},
};
use wait::stays_pending;

mod carrying;
mod wait;

/// How long a test waits for what has to happen.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Expands to a module of tests, one for each guarantee of a link.
///
/// The second argument makes a pair of connected ends, in a future. The third, if there is one,
/// runs a boxed future to its end, for links that need a certain executor.
///
/// ```ignore
/// conclave_conformance::link_conformance!(memory, async || conclave_links::memory::pair(1_200));
/// ```
#[macro_export]
macro_rules! link_conformance {
    ($name:ident, $pair:expr) => {
        $crate::link_conformance!($name, $pair, $crate::link::block_on);
    };
    ($name:ident, $pair:expr, $run:expr) => {
        $crate::__link_conformance! { $name, $pair, $run,
            frames_keep_boundaries_and_content,
            the_longest_frame_passes_and_one_byte_more_does_not,
            reliable_links_keep_order_and_lose_nothing,
            closing_is_seen_by_both_ends,
            what_was_taken_before_closing_arrives_if_reliable,
            dropping_one_end_closes_the_other,
            a_dropped_receive_loses_no_frame,
            a_sender_that_nobody_reads_does_not_grow,
            a_channel_carries_messages_both_ways,
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __link_conformance {
    ($name:ident, $pair:expr, $run:expr, $($test:ident,)*) => {
        mod $name {
            #[allow(unused_imports, reason = "the arguments may need them")]
            use super::*;

            $(
                #[test]
                fn $test() {
                    let run = $run;
                    let pair = $pair;
                    run(::std::boxed::Box::pin(async move {
                        $crate::link::$test(pair).await;
                    }));
                }
            )*
        }
    };
}

/// A test, ready to run.
pub type Test<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Frames of any length up to the MTU arrive as they were sent, both ways; over an unreliable link
/// those that arrive do.
pub async fn frames_keep_boundaries_and_content<A: Link, B: Link>(pair: impl AsyncFn() -> (A, B)) {
    let (a, b) = pair().await;
    let mtu = a.info().mtu;
    assert_eq!(a.info(), b.info(), "both ends promise the same");
    assert!(mtu >= LinkInfo::LEAST_MTU, "an MTU of at least 32 bytes");
    let lengths = [0, 1, 2, 31, 32, mtu / 2, mtu - 1, mtu];
    let frames = lengths.map(|length| content(length.min(mtu), length as u8)).to_vec();
    same_frames(&a, &b, &frames).await;
    same_frames(&b, &a, &frames).await;
}

/// The MTU is what [`LinkInfo`] says, and a call with a frame that is longer sends nothing.
pub async fn the_longest_frame_passes_and_one_byte_more_does_not<A: Link, B: Link>(
    pair: impl AsyncFn() -> (A, B),
) {
    let (a, b) = pair().await;
    let LinkInfo { mtu, .. } = a.info();
    let short = content(1, 1);
    let refused = within("a refusal", a.send(vec![short, content(mtu + 1, 2)])).await;
    assert_eq!(refused, Err(LinkError::TooLong { mtu }), "a frame above the MTU is refused");
    same_frames(&a, &b, &[content(mtu, 3)]).await;
}

/// Each frame arrives once and in order, however many calls they came in.
pub async fn reliable_links_keep_order_and_lose_nothing<A: Link, B: Link>(
    pair: impl AsyncFn() -> (A, B),
) {
    let (a, b) = pair().await;
    if !a.info().reliable {
        return;
    }
    let frames = (0..5_000_usize).map(|i| content(i % 200 % a.info().mtu, i as u8));
    let frames = frames.collect::<Vec<_>>();
    let sends = async {
        for call in frames.chunks(37) {
            a.send(call.to_vec()).await.expect("an open link takes frames");
        }
    };
    let received = async {
        let mut received = Vec::new();
        while received.len() < frames.len() {
            received.extend(b.receive().await.expect("an open link brings frames"));
        }
        received
    };
    let ((), received) = within("all frames of a reliable link", both(sends, received)).await;
    assert!(received == frames, "frames of a reliable link keep their order");
}

/// After closing both ends get `Closed`, from both directions, and closing twice is fine.
pub async fn closing_is_seen_by_both_ends<A: Link, B: Link>(pair: impl AsyncFn() -> (A, B)) {
    let (a, b) = pair().await;
    a.close();
    a.close();
    ends(&a).await;
    ends(&b).await;
    b.close();
    let (a, b) = pair().await;
    let waiting = async { b.receive().await };
    let closing = async { a.close() };
    let (ended, ()) = within("the end of a receive", both(waiting, closing)).await;
    assert_eq!(ended, Err(LinkError::Closed), "closing ends a call that waits");
}

/// What `send` answered with `Ok` arrives although the link is closed right after it.
pub async fn what_was_taken_before_closing_arrives_if_reliable<A: Link, B: Link>(
    pair: impl AsyncFn() -> (A, B),
) {
    let (a, b) = pair().await;
    if !a.info().reliable {
        return;
    }
    let frames = (0..100).map(|i| content(20, i)).collect::<Vec<_>>();
    within("a send", a.send(frames.clone())).await.expect("an open link takes frames");
    a.close();
    let mut received = Vec::new();
    while received.len() < frames.len() {
        let more = within("frames taken before closing", b.receive()).await;
        received.extend(more.expect("what a reliable link took arrives"));
    }
    assert!(received == frames, "what a reliable link took arrives");
    ends(&b).await;
}

/// As closing.
pub async fn dropping_one_end_closes_the_other<A: Link, B: Link>(pair: impl AsyncFn() -> (A, B)) {
    let (a, b) = pair().await;
    drop(a);
    ends(&b).await;
    let (a, b) = pair().await;
    drop(b);
    ends(&a).await;
}

/// `receive` may be dropped while it waits, as a `select` does, again and again.
pub async fn a_dropped_receive_loses_no_frame<A: Link, B: Link>(pair: impl AsyncFn() -> (A, B)) {
    let (a, b) = pair().await;
    if !a.info().reliable {
        return;
    }
    let mut received = Vec::new();
    for i in 0..200 {
        let waits = stays_pending(b.receive(), Duration::ZERO).await;
        received.extend(waits.into_iter().flat_map(|frames| frames.expect("frames")));
        within("a send", a.send(vec![content(9, i)])).await.expect("an open link takes frames");
    }
    while received.len() < 200 {
        let more = within("no frame is lost by dropping a receive", b.receive()).await;
        received.extend(more.expect("an open link brings frames"));
    }
    let sent = (0..200).map(|i| content(9, i)).collect::<Vec<_>>();
    assert!(received == sent, "no frame is lost by dropping a receive");
}

/// A reliable link takes only so much that nobody reads; then its sender waits, and goes on when
/// the other end reads. What an unreliable one keeps is its own business.
pub async fn a_sender_that_nobody_reads_does_not_grow<A: Link, B: Link>(
    pair: impl AsyncFn() -> (A, B),
) {
    let (a, b) = pair().await;
    let LinkInfo { mtu, reliable } = a.info();
    if !reliable {
        return;
    }
    let frame = content(mtu.min(16 * 1024), 1);
    let calls = UNREAD_BYTES / frame.len();
    // Once may be a busy machine.
    let (mut sent, mut waited) = (0, 0);
    while sent < calls && waited < 4 {
        let send = a.send(vec![frame.clone()]);
        if stays_pending(send, Duration::from_millis(200)).await.is_some() {
            (sent, waited) = (sent + 1, 0);
        } else {
            waited += 1;
        }
    }
    assert!(waited == 4, "a sender waits before {UNREAD_BYTES} bytes are unread");
    let goes_on = async { a.send(vec![frame.clone()]).await };
    let reads = async {
        let mut received = 0;
        while received <= sent {
            received += b.receive().await.expect("an open link brings frames").len();
        }
    };
    let (goes_on, ()) = within("a sender goes on once somebody reads", both(goes_on, reads)).await;
    assert_eq!(goes_on, Ok(()), "a sender goes on once somebody reads");
}

/// No link needs to hold more that nobody has read.
const UNREAD_BYTES: usize = 64 * 1024 * 1024;

/// Times that an unreliable link is given a frame until it has to have brought it once.
const TRIES: usize = 200;

/// Sends frames one by one and checks what arrives.
async fn same_frames<A: Link, B: Link>(from: &A, to: &B, frames: &[Vec<u8>]) {
    for frame in frames {
        let mut tries = 0;
        loop {
            tries += 1;
            assert!(tries <= TRIES, "a frame of {} bytes never arrives", frame.len());
            let sent = within("a send", from.send(vec![frame.clone()])).await;
            assert_eq!(sent, Ok(()), "an open link takes frames up to its MTU");
            let wait = if from.info().reliable { PATIENCE } else { Duration::from_millis(20) };
            let Some(received) = stays_pending(to.receive(), wait).await else {
                assert!(!from.info().reliable, "frames of a reliable link arrive");
                continue;
            };
            let received = received.expect("an open link brings frames");
            assert!(!received.is_empty(), "receive brings at least one frame");
            if from.info().reliable {
                assert!(received == [frame.clone()], "frames keep boundaries and content");
                break;
            }
            // Others may come late or twice.
            assert!(received.iter().all(|one| frames.contains(one)), "frames keep their content");
            if received.contains(frame) {
                break;
            }
        }
    }
}

/// Checks that nothing more comes or goes.
async fn ends<L: Link>(link: &L) {
    let received = async { while link.receive().await.is_ok() {} };
    within("the end of a closed link's frames", received).await;
    assert_eq!(
        within("a receive", link.receive()).await,
        Err(LinkError::Closed),
        "a closed link says so"
    );
    let frame = content(link.info().mtu.min(1_000), 1);
    let sends = async { while link.send(vec![frame.clone()]).await.is_ok() {} };
    within("a closed link takes no frames", sends).await;
}

fn content(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}
