//! When messages were sent and seen.

use std::collections::BTreeMap;

use conclave_core::event::Event;
use conclave_proto::{MessageId, Timestamp};

/// When each message was sent, and when each device told its application of it first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sightings {
    sent: BTreeMap<MessageId, (usize, Timestamp)>,
    seen: BTreeMap<(MessageId, usize), Timestamp>,
}

impl Sightings {
    /// Notes that a device has sent a message.
    pub fn note_sent(&mut self, device: usize, message: MessageId, now: Timestamp) {
        self.sent.entry(message).or_insert((device, now));
    }

    /// Notes the messages among what a device tells its application.
    pub fn note_events(&mut self, device: usize, events: &[Event], now: Timestamp) {
        for event in events {
            if let Event::Message { id, .. } = event {
                self.seen.entry((*id, device)).or_insert(now);
            }
        }
    }

    /// When a message was sent.
    #[must_use]
    pub fn sent(&self, message: MessageId) -> Option<Timestamp> {
        self.sent.get(&message).map(|(_, at)| *at)
    }

    /// When a device saw a message; its own messages too, once they have their position.
    #[must_use]
    pub fn seen(&self, device: usize, message: MessageId) -> Option<Timestamp> {
        self.seen.get(&(message, device)).copied()
    }

    /// Milliseconds from sending to seeing, of each message on each device but its sender's, from
    /// the shortest to the longest.
    #[must_use]
    pub fn delays_ms(&self) -> Vec<u64> {
        let delay = |((message, device), seen): (&(MessageId, usize), &Timestamp)| {
            let (sender, sent) = self.sent.get(message)?;
            (sender != device).then(|| seen.since_ms(*sent))
        };
        let mut delays: Vec<u64> = self.seen.iter().filter_map(delay).collect();
        delays.sort_unstable();
        delays
    }
}

#[cfg(test)]
mod tests {
    use conclave_core::event::Event;
    use conclave_proto::{GroupId, MessageId, Seq, Timestamp};

    use super::Sightings;

    /// A device that crashed may tell of a message again; it was seen the first time.
    #[test]
    fn the_first_sight_counts() {
        let message = MessageId([7; 32]);
        let event =
            Event::Message { group: GroupId([1; 16]), id: message, seq: Seq(1), own: false };
        let mut sightings = Sightings::default();
        sightings.note_sent(0, message, Timestamp(100));
        for (device, at) in [(0, 105), (1, 130), (1, 170), (2, 120)] {
            sightings.note_events(device, std::slice::from_ref(&event), Timestamp(at));
        }
        assert_eq!(sightings.seen(1, message), Some(Timestamp(130)));
        assert_eq!(sightings.delays_ms(), [20, 30]);
    }
}
