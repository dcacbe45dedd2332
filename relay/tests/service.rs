//! Requests and their answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::kit;

use std::io::ErrorKind;
use std::sync::Arc;

use conclave_proto::{
    Cursor, InstallationId, Seq, Topic,
    identity::Account,
    limits,
    record::transmit_id,
    relay::{Answer, Failure, PageLimit, Publish, PublishOutcome, Request},
};
use conclave_relay::{Direct, Logs, RelayLimits, RelayStore, Service};
use kit::{NOW, block_on, founding, group, in_memory};
use redb::{StorageBackend, backends::InMemoryBackend};

/// E6: publishing, reading and asking for heads, with and without the writer's thread.
#[test]
fn the_service_answers_the_same_over_both_stores() {
    let direct = Service::new(Direct(in_memory()), RelayLimits::default());
    let store = RelayStore::start(in_memory()).unwrap();
    let threaded = Service::new(store, RelayLimits::default());
    for request in conversation() {
        let answer = block_on(direct.answer(NOW, request.clone()));
        assert!(!matches!(answer, Answer::Failed(_)), "{answer:?}");
        assert_eq!(answer, block_on(threaded.answer(NOW, request)));
    }
}

/// E6: answer `i` belongs to envelope `i`.
#[test]
fn each_envelope_has_its_own_answer() {
    let service = Service::new(Direct(in_memory()), RelayLimits::default());
    let topic = group(1);
    let long = vec![0; limits::ENVELOPE_BYTES + 1];
    let items = vec![
        publish(&topic, b"a", None),
        publish(&group(2), b"b", Some(Seq(4))),
        publish(&group(2), b"c", None),
        publish(&group(3), &long, None),
        publish(&Topic::Blob([1; 32]), b"d", None),
        publish(&topic, b"a", None),
    ];
    let accepted = PublishOutcome::Accepted { seq: Seq(1), prev: Seq(0) };
    let expected = vec![
        accepted,
        PublishOutcome::Conflict { head: Seq(0) },
        PublishOutcome::Behind,
        PublishOutcome::TooLarge { max: u32::try_from(limits::ENVELOPE_BYTES).unwrap() },
        PublishOutcome::Invalid,
        accepted,
    ];
    let answer = block_on(service.answer(NOW, Request::Publish(items)));
    assert_eq!(answer, Answer::Published(expected));
}

/// R6, R3: what asks for more than one request may is refused before anything is done.
#[test]
fn a_request_for_too_much_does_nothing() {
    let service = Service::new(Direct(in_memory()), RelayLimits::default());
    let topics = |count: usize| (0..count).map(|_| group(1));
    let start = Cursor::START;
    let limit = PageLimit::default();
    let most = limits::TOPICS_PER_REQUEST;
    let item = publish(&group(1), b"a", None);
    let mut with_body: Vec<_> = topics(64).map(|topic| (topic, start)).collect();
    with_body.push((Topic::Blob([1; 32]), start));
    let account = Account::ed25519([1; 32]);
    for request in [
        Request::Publish(vec![item; limits::ENVELOPES_PER_PUBLISH + 1]),
        Request::Publish(vec![publish(&group(1), &vec![0; 9_000_000], None); 2]),
        Request::Fetch { after: topics(most + 1).map(|topic| (topic, start)).collect(), limit },
        Request::Fetch { after: with_body, limit },
        Request::Heads(topics(most + 1).map(|topic| (topic, Seq(0))).collect()),
        Request::KeyPackages(vec![InstallationId([1; 32]); 1_001]),
        Request::Resolve(vec![account.clone(); most + 1]),
    ] {
        let answer = block_on(service.answer(NOW, request));
        assert_eq!(answer, Answer::Failed(Failure::TooMuch));
    }
    assert_eq!(service.store().0.stats().unwrap().topics, 0);
    let strange = Account { key: vec![1; 1_000], ..account };
    let answer = block_on(service.answer(NOW, Request::Resolve(vec![strange])));
    assert_eq!(answer, Answer::Inboxes(vec![None]));
}

/// R8: readers of a trimmed log hear where it begins.
#[test]
fn a_trimmed_log_is_answered_as_truncated() {
    let service = Service::new(Direct(in_memory()), RelayLimits::default());
    let topic = group(1);
    block_on(service.answer(NOW, Request::Publish(vec![publish(&topic, b"a", None)])));
    service.store().0.trim(&topic, Seq(1)).unwrap();
    let after = vec![(topic.clone(), Cursor::START)];
    let fetch = Request::Fetch { after, limit: PageLimit::default() };
    let truncated = Failure::Truncated { topic, first: Seq(2) };
    assert_eq!(block_on(service.answer(NOW, fetch)), Answer::Failed(truncated));
}

/// R4: where the medium fails nobody is told that something is stored; when nobody knows, that
/// is said, and a full medium is said with the longer wait.
#[test]
fn a_medium_that_fails_is_never_an_acceptance() {
    for (kind, fails_when, bytes, expected) in [
        (ErrorKind::Other, Fails::Syncing, 100, PublishOutcome::Unknown),
        (
            ErrorKind::StorageFull,
            Fails::Growing,
            2_000_000,
            PublishOutcome::NotStored { retry_ms: 30_000 },
        ),
    ] {
        let medium = Medium::default();
        let (fails, limits) = (Arc::clone(&medium.fails), RelayLimits::default());
        let logs = Logs::with_backend(medium, &founding(), limits.clone()).unwrap();
        let service = Service::new(Direct(logs), limits);
        let topic = group(1);
        let put = |payload: &[u8]| {
            let request = Request::Publish(vec![publish(&topic, payload, None)]);
            block_on(service.answer(NOW, request))
        };
        let accepted = PublishOutcome::Accepted { seq: Seq(1), prev: Seq(0) };
        assert_eq!(put(b"before"), Answer::Published(vec![accepted]));
        *fails.lock().unwrap() = Some((kind, fails_when));
        // The long one makes the file grow.
        let first = put(&vec![1; bytes]);
        assert_eq!(first, Answer::Published(vec![expected]));
        let later = put(b"later");
        let not_stored = PublishOutcome::NotStored { retry_ms: 250 };
        assert_eq!(later, Answer::Published(vec![not_stored]), "{kind:?}");
    }
}

fn conversation() -> Vec<Request> {
    let topic = group(1);
    let limit = PageLimit::default();
    vec![
        Request::Publish((0..20_u8).map(|number| publish(&topic, &[number], None)).collect()),
        Request::Publish(vec![publish(&topic, b"x", Some(Seq(20)))]),
        Request::Fetch { after: vec![(topic.clone(), Cursor::START)], limit },
        Request::Heads(vec![(topic, Seq(3)), (group(2), Seq(0))]),
        Request::KeyPackages(vec![InstallationId([1; 32])]),
        Request::Upload(b"junk".to_vec()),
        Request::Upload(vec![0; 20_000]),
        Request::Resolve(vec![Account::ed25519([1; 32])]),
        Request::Publish(Vec::new()),
    ]
}

fn publish(topic: &Topic, payload: &[u8], expect: Option<Seq>) -> Publish {
    let id = transmit_id(topic, payload);
    Publish { topic: topic.clone(), id, expect, payload: payload.to_vec(), write: None }
}

/// Memory that fails from some moment on.
#[derive(Debug, Default)]
struct Medium {
    bytes: InMemoryBackend,
    fails: Arc<std::sync::Mutex<Option<(ErrorKind, Fails)>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fails {
    Growing,
    Syncing,
}

impl Medium {
    fn check(&self, what: Fails) -> Result<(), std::io::Error> {
        match *self.fails.lock().unwrap() {
            Some((kind, fails)) if fails == what => Err(kind.into()),
            Some(_) | None => Ok(()),
        }
    }
}

impl StorageBackend for Medium {
    fn len(&self) -> Result<u64, std::io::Error> {
        self.bytes.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        self.bytes.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.check(Fails::Growing)?;
        self.bytes.set_len(len)
    }

    fn sync_data(&self) -> Result<(), std::io::Error> {
        self.check(Fails::Syncing)?;
        self.bytes.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.bytes.write(offset, data)
    }
}
