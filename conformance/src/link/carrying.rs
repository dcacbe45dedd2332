//! A channel over the link under test.

use std::{
    cell::Cell,
    future::poll_fn,
    task::Poll,
    time::{SystemTime, UNIX_EPOCH},
};

use conclave_core::link::{
    Link,
    channel::{Channel, ChannelLimits},
};
use conclave_proto::Timestamp;

use super::{both, content, wait::wake_soon, within};

/// A [`Channel`] over the link carries messages of 0 to 200 KB, both ways at the same time.
pub async fn a_channel_carries_messages_both_ways<A: Link, B: Link>(
    pair: impl AsyncFn() -> (A, B),
) {
    let (a, b) = pair().await;
    let there = [0, 1, 100, 5_000, 200_000, 0, 64].map(|length| content(length, 1));
    let back = [70, 0, 30_000, 1].map(|length| content(length, 2));
    let done = [Cell::new(false), Cell::new(false)];
    let carried = both(
        carry(&a, &there, back.len(), [&done[0], &done[1]]),
        carry(&b, &back, there.len(), [&done[1], &done[0]]),
    );
    let (at_a, at_b) = within("all messages of a channel", carried).await;
    assert!(at_b == there && at_a == back, "a channel keeps messages and their order");
}

/// One end: sends all, receives all, and stays for the other until that has all as well.
async fn carry<L: Link>(
    link: &L,
    messages: &[Vec<u8>],
    expected: usize,
    [done, other_done]: [&Cell<bool>; 2],
) -> Vec<Vec<u8>> {
    let mut channel = Channel::new(link.info(), ChannelLimits::default());
    messages.iter().for_each(|message| channel.send(message));
    let mut received = Vec::new();
    let (mut sending, mut receiving) = (None, None);
    poll_fn(move |context| {
        loop {
            channel.handle_timeout(now()).expect("the other end is there");
            if sending.is_none() {
                let frames = std::iter::from_fn(|| channel.poll_frame(now())).take(32);
                let frames = frames.collect::<Vec<_>>();
                sending = (!frames.is_empty()).then(|| link.send(frames));
            }
            let mut again = false;
            if let Some(Poll::Ready(sent)) =
                sending.as_mut().map(|send| send.as_mut().poll(context))
            {
                sent.expect("an open link takes frames");
                (sending, again) = (None, true);
            }
            let receive = receiving.get_or_insert_with(|| link.receive());
            if let Poll::Ready(frames) = receive.as_mut().poll(context) {
                (receiving, again) = (None, true);
                for frame in frames.expect("an open link brings frames") {
                    channel.handle_frame(now(), &frame).expect("frames of a channel");
                    received.extend(std::iter::from_fn(|| channel.poll_message()));
                }
            }
            done.set(
                received.len() >= expected && channel.queued_bytes() == 0 && sending.is_none(),
            );
            if done.get() && other_done.get() {
                return Poll::Ready(std::mem::take(&mut received));
            }
            if !again {
                wake_soon(context.waker());
                return Poll::Pending;
            }
        }
    })
    .await
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
