//! Bodies of fuzz targets: functions of bytes, run by `cargo fuzz` and as plain tests alike.

use std::sync::{Arc, OnceLock};

use conclave_core::{
    config::Limits,
    entropy::Entropy,
    group::{Group, GroupRecords},
    installation::Installation,
    padding,
    step::Committer,
    store::{Claim, Store},
};
use conclave_proto::{
    Envelope, GroupId, Record, Seq, Timestamp, Wire,
    group::{ContextExtension, GroupState, LeafCredential, StateDelta},
    identity::IdentityUpdate,
    message::Payload,
    package::{PackageExtension, PackageUpload},
    relay::{ToClient, ToRelay},
    welcome::{SealedWelcome, WelcomeBody, WelcomePointer},
};
use conclave_store_memory::MemoryStore;

use crate::{entropy::SimEntropy, world::World};

/// Every wire type, from any bytes: an error or a value, never a panic; a value encodes to bytes
/// that decode to it again, and the canonical reader takes exactly its one encoding.
///
/// # Panics
/// If a type does not keep to that.
pub fn decode(data: &[u8]) {
    round_trip::<Envelope>(data);
    round_trip::<IdentityUpdate>(data);
    round_trip::<GroupState>(data);
    round_trip::<StateDelta>(data);
    round_trip::<ContextExtension>(data);
    round_trip::<LeafCredential>(data);
    round_trip::<Payload>(data);
    round_trip::<PackageExtension>(data);
    round_trip::<PackageUpload>(data);
    round_trip::<SealedWelcome>(data);
    round_trip::<WelcomePointer>(data);
    round_trip::<WelcomeBody>(data);
    round_trip::<ToRelay>(data);
    round_trip::<ToClient>(data);
    let _ = Envelope::decode_group(data);
    if let Some(content) = padding::unpad(data) {
        assert_eq!(padding::pad(content), data, "one padding for one content");
    }
    let inbox = conclave_proto::InboxId([0; 32]);
    let read = conclave_core::identity::fold(inbox, None, 0, data);
    assert!(read.state.is_none(), "no bytes found an inbox without a hash of all zeros");
}

fn round_trip<T: Wire>(data: &[u8]) {
    let Ok(value) = T::decode(data) else { return };
    let bytes = value.encode();
    let again = T::decode(&bytes).expect("an encoding decodes");
    assert_eq!(again.encode(), bytes, "an encoding is stable");
    assert_eq!(T::decode_canonical(data).is_ok(), bytes == data, "one canonical encoding");
}

/// A live group, and honest records that its reader has not seen yet.
struct Live {
    store: MemoryStore,
    installation: Arc<Installation>,
    id: GroupId,
    now: Timestamp,
    seed: u64,
    /// Of the epoch before, of the present one, a commit, and messages behind it.
    honest: Vec<Vec<u8>>,
}

fn live() -> &'static Live {
    static LIVE: OnceLock<Live> = OnceLock::new();
    LIVE.get_or_init(|| {
        let mut world = World::with_people(4_242, 3);
        let id = world.create_group(0);
        assert!(world.add(0, id, &[1, 2]), "everybody may add");
        world.settle();
        for device in 0..3 {
            world.send(device, id, b"here").expect("a member sends");
            world.settle();
        }
        let store = world.devices[2].store.inner().snapshot();
        let installation = Arc::clone(&world.devices[2].installation);
        let topic = world.devices[2].group(id).topic().clone();
        let from = world.relay.log(0, &topic).len();
        for _ in 0..2 {
            world.send(0, id, b"honest").expect("a member sends");
            world.send(1, id, b"honest").expect("a member sends");
            for device in 0..2 {
                world.publish(device);
                world.fetch(device);
            }
            world.update_keys(1, id);
            world.publish(1);
            world.fetch(0);
            world.fetch(1);
        }
        let honest = world.relay.log(0, &topic)[from..].iter().map(|r| r.payload.clone()).collect();
        Live { store, installation, id, now: world.now, seed: world.seed, honest }
    })
}

/// Arbitrary and mutated records into a live group: a typed outcome each; what is refused changes
/// nothing, and honest traffic behind it is read.
///
/// The data is a script: a byte says what to do, the next say where.
///
/// # Panics
/// If the group does not keep to that.
pub fn group_inbound(data: &[u8]) {
    let live = live();
    let store = live.store.snapshot();
    store.claim(Claim([1; 16])).expect("a memory store takes a claim");
    let mut committer = Committer::new(Claim([1; 16]));
    let mut group = load(live, &store, 0);
    for payload in script(data, &live.honest) {
        hand_in(live, &store, &mut committer, &mut group, vec![payload]);
    }
    let before = messages(&store, live.id);
    hand_in(live, &store, &mut committer, &mut group, live.honest.clone());
    let again = load(live, &store, 1);
    assert_eq!(again.epoch(), group.epoch(), "memory is what the store says");
    assert_eq!(again.epoch_authenticator(), group.epoch_authenticator());
    // Mutations may have used up a key or forged nothing; what was read stays read, and the
    // group ends in the epoch that the honest commits lead to.
    assert!(messages(&store, live.id) >= before);
    assert_eq!(again.epoch().0, honest_end(live), "honest commits count");
}

fn honest_end(live: &Live) -> u64 {
    static END: OnceLock<u64> = OnceLock::new();
    *END.get_or_init(|| {
        let store = live.store.snapshot();
        store.claim(Claim([1; 16])).expect("a memory store takes a claim");
        let mut committer = Committer::new(Claim([1; 16]));
        let mut group = load(live, &store, 0);
        hand_in(live, &store, &mut committer, &mut group, live.honest.clone());
        group.epoch().0
    })
}

fn load(live: &Live, store: &MemoryStore, load: u64) -> Group {
    let records = GroupRecords::read(store, live.id).expect("it reads").expect("it is there");
    let entropy = Entropy::new(Box::new(SimEntropy::new(live.seed, 9, load)));
    let installation = Arc::clone(&live.installation);
    Group::load(&records, live.id, installation, Limits::default(), entropy, load)
        .expect("what was stored loads")
}

fn messages(store: &MemoryStore, group: GroupId) -> usize {
    use conclave_core::store::{Direction, Range, Table};
    let mut count = 0;
    let range = Range::within(group.0, &[0], &[1]);
    let mut visit = |_: &[u8], _: &[u8]| {
        count += 1;
        std::ops::ControlFlow::Continue(())
    };
    store.scan(Table::Message, range, Direction::Forward, &mut visit).expect("it scans");
    count
}

/// Links payloads to the group's chain and hands them in.
fn hand_in(
    live: &Live,
    store: &MemoryStore,
    committer: &mut Committer,
    group: &mut Group,
    payloads: Vec<Vec<u8>>,
) {
    let mut head = group.cursor();
    let topic = group.topic().clone();
    let mut batch = Vec::new();
    for payload in payloads {
        let record = Record::chained(&topic, Seq(head.seq.0 + 1), head.seq, &head.hash, payload);
        head = record.cursor();
        batch.push(record);
    }
    let step = group.handle_records(live.now, &batch);
    let released = committer.drive(store, step).expect("a memory store stores");
    assert!(!released.reply.broken, "the library failed inside");
    assert_eq!(released.reply.count, batch.len(), "every record gets a verdict");
    assert!(released.effects.events.len() >= batch.len(), "and every verdict is told");
}

/// What the data says to hand in: raw bytes, honest records cut, extended, or with bytes changed.
fn script(mut data: &[u8], honest: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    while let Some((&op, rest)) = data.split_first() {
        if out.len() >= 16 {
            break;
        }
        let (args, rest) = rest.split_at(rest.len().min(4));
        let at = usize::from(u16::from_le_bytes([byte(args, 0), byte(args, 1)]));
        let mut payload = honest[usize::from(byte(args, 2)) % honest.len()].clone();
        let place = at % payload.len().max(1);
        data = rest;
        match op % 5 {
            0 => {
                let (raw, rest) = data.split_at(at.min(data.len()));
                payload = raw.to_vec();
                data = rest;
            }
            1 => payload.truncate(place),
            2 => payload.extend_from_slice(args),
            3 => payload[place] ^= byte(args, 3) | 1,
            _ => {
                payload[place] ^= byte(args, 3) | 1;
                let other = (place * 7 + 31) % payload.len();
                payload[other] = payload[other].wrapping_add(byte(args, 3));
            }
        }
        out.push(payload);
    }
    out
}

fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or_default()
}
