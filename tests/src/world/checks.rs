//! What a calm world shows, and what it is held to.

use std::collections::{BTreeMap, BTreeSet};

use conclave_core::{
    event::{Event, Rejection},
    group::{Group, Standing, StoredMessage},
    store::{Direction, Key, Range, Store, Table},
};
use conclave_proto::{GroupId, MessageId, Seq, codec::Wire};

use super::World;
use crate::device::Device;

impl World {
    /// A device's timeline of a group, in the order of the log.
    ///
    /// # Panics
    /// If a stored message does not decode.
    #[must_use]
    pub fn timeline(&self, device: usize, group: GroupId) -> Vec<(Seq, StoredMessage)> {
        let mut found = Vec::new();
        let range = Range::within(group.0, &[0], &[1]);
        let store = self.devices[device].store.inner();
        store
            .scan(Table::Message, range, Direction::Forward, &mut |key, value| {
                let seq = Key::number_of(key).expect("a message lies under its place");
                let message = StoredMessage::decode(value).expect("a stored message decodes");
                found.push((Seq(seq), message));
                std::ops::ControlFlow::Continue(())
            })
            .expect("the store reads");
        found
    }

    /// How often a device rejected a record for a reason.
    #[must_use]
    pub fn rejections(&self, device: usize, reason: Rejection) -> usize {
        let is_it = |event: &Event| matches!(event, Event::Rejected { reason: given, .. } if *given == reason);
        self.events(device, is_it)
    }

    /// Events of a device that satisfy a question.
    #[must_use]
    pub fn events(&self, device: usize, is_it: impl Fn(&Event) -> bool) -> usize {
        self.devices[device].events().iter().filter(|event| is_it(event)).count()
    }

    /// Holds every group to its promises; see the functions it calls.
    ///
    /// # Panics
    /// If one is broken.
    pub fn check(&self) {
        let mut groups: Vec<GroupId> =
            self.devices.iter().flat_map(|device| device.groups().map(Group::id)).collect();
        groups.sort();
        groups.dedup();
        for group in groups {
            self.check_members_agree(group);
            self.check_timelines(group);
        }
    }

    /// Members are in one epoch with equal authenticators and rosters, and the roster names
    /// exactly them.
    fn check_members_agree(&self, id: GroupId) {
        let members: Vec<&Device> =
            self.devices.iter().filter(|device| is_member(device, id)).collect();
        let Some(first) = members.first().and_then(|device| device.find_group(id)) else {
            return;
        };
        for device in &members {
            let group = device.group(id);
            assert_eq!(group.epoch(), first.epoch(), "epochs of {id:?}:\n{}", self.report());
            assert_eq!(
                group.epoch_authenticator(),
                first.epoch_authenticator(),
                "authenticators of {id:?}:\n{}",
                self.report()
            );
            assert_eq!(group.state(), first.state(), "rosters of {id:?}");
        }
        for leaf in first.state().expected_leaves() {
            let there = members.iter().any(|device| device.installation.id() == leaf.installation);
            assert!(there, "{leaf:?} is in the roster but holds no group:\n{}", self.report());
        }
    }

    /// Everybody shows what the rules give them, each message once, in the order of the log; and
    /// what a device sent that is still a member is shown.
    fn check_timelines(&self, id: GroupId) {
        let mut all: BTreeMap<Seq, StoredMessage> = BTreeMap::new();
        for device in 0..self.devices.len() {
            for (seq, message) in self.timeline(device, id) {
                let before = all.insert(seq, message.clone());
                assert!(before.is_none_or(|before| before == message), "two messages at {seq:?}");
            }
        }
        let mut ids: Vec<MessageId> = all.values().map(|message| message.id).collect();
        ids.sort();
        let count = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), count, "a message is shown twice");
        for device in 0..self.devices.len() {
            let Some(memberships) = self.devices[device].memberships.get(&id) else { continue };
            let expected: Vec<(Seq, MessageId)> = all
                .iter()
                .filter(|(seq, message)| {
                    memberships.iter().any(|membership| {
                        **seq > membership.start
                            && message.epoch.0 >= membership.epoch
                            && membership.end.is_none_or(|end| **seq < end)
                    })
                })
                .map(|(seq, message)| (*seq, message.id))
                .collect();
            let shown: Vec<(Seq, MessageId)> =
                self.timeline(device, id).iter().map(|(seq, m)| (*seq, m.id)).collect();
            assert_eq!(shown, expected, "timeline of device {device}:\n{}", self.report());
        }
        for (device, group, message) in &self.sent {
            let stayed = self.devices[*device].memberships.get(group);
            let stayed = stayed.is_some_and(|m| m.len() == 1 && m[0].end.is_none());
            if *group == id && stayed && is_member(&self.devices[*device], id) {
                assert!(ids.contains(message), "{message:?} of device {device} is lost");
            }
        }
    }

    /// Everybody's messages are shown in the order of sending, as long as the relay stores each
    /// device's envelopes in the order in which it gets them.
    pub fn check_order_of_senders(&self) {
        let senders: BTreeSet<(usize, GroupId)> =
            self.sent.iter().map(|(device, group, _)| (*device, *group)).collect();
        for (device, group) in senders {
            let timeline = self.timeline(device, group);
            let places: BTreeMap<MessageId, Seq> =
                timeline.iter().map(|(seq, message)| (message.id, *seq)).collect();
            let own = self.sent.iter().filter(|(of, to, _)| (*of, *to) == (device, group));
            let own: Vec<Seq> = own.filter_map(|(_, _, id)| places.get(id)).copied().collect();
            assert!(
                own.is_sorted(),
                "messages of device {device} changed places: {own:?}\n{}",
                self.report()
            );
        }
    }

    /// What the world looks like, for a person who has to find out why.
    #[must_use]
    pub fn report(&self) -> String {
        use std::fmt::Write as _;
        let mut out = format!("world {} at {}\n", self.seed, self.now.0);
        for device in &self.devices {
            let _ = writeln!(
                out,
                "  device {} {:?}: {} to publish, idle: {}, session idle: {}, invitations busy: {}",
                device.index,
                device.installation.id(),
                device.outgoing.transmits.len(),
                device.is_idle(),
                device.engine.session().session().is_idle(),
                device.engine.invitations().is_busy(),
            );
            for group in device.groups() {
                let head = self.relay.head(device.index, group.topic()).seq.0;
                let _ = writeln!(
                    out,
                    "    {group:?} head {head}, {} unsettled, {} wishes, {} members",
                    group.unsettled().len(),
                    group.pending_intents().count(),
                    group.members().count(),
                );
            }
            let shown =
                std::env::var("CONCLAVE_EVENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
            for event in device.events().iter().rev().take(shown) {
                let _ = writeln!(out, "      {event:?}");
            }
        }
        out
    }

    /// All stored bytes of all devices and all logs: equal for equal seeds.
    #[must_use]
    pub fn fingerprint(&self) -> Vec<u8> {
        let mut all = self.relay.fingerprint().0.to_vec();
        for device in &self.devices {
            for (table, key, value) in device.store.inner().digest_input() {
                all.extend(table.name().as_bytes());
                all.extend(key);
                all.extend(value);
            }
        }
        all
    }
}

/// Whether a device takes part in a group as a member.
#[must_use]
pub fn is_member(device: &Device, id: GroupId) -> bool {
    device.find_group(id).is_some_and(|group| group.standing() == Standing::Member)
}
