//! A relay whose disk can be full, in this process.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use conclave::{
    Account, InboxId,
    core::bounds::BoxFuture,
    proto::{
        Cursor, InstallationId, Seq, Timestamp, Topic,
        relay::{PageLimit, PublishOutcome, TopicPage, Uploaded},
    },
};
use conclave_quic::{Listener, ServerCertificate};
use conclave_relay::{
    Append, Direct, Founding, Host, HostLimits, LogStore, Logs, ReadError, RelayIdentity,
    RelayLimits, Service, WriteError,
};
use data_encoding::HEXLOWER;
use tokio::runtime::Runtime;

use crate::support::{Output, run};

/// It asks to be left alone for longer than any client of a test waits.
const FULL: PublishOutcome = PublishOutcome::NotStored { retry_ms: 3_600_000 };

pub(crate) struct FullRelay {
    address: String,
    fingerprint: String,
    full: Arc<AtomicBool>,
    _runtime: Runtime,
}

impl FullRelay {
    /// One that has room.
    pub(crate) fn start() -> Self {
        let limits = RelayLimits::default();
        let founding = Founding::from_random(&[7; 48]);
        let full = Arc::new(AtomicBool::new(false));
        let logs = Logs::in_memory(&founding, limits.clone()).expect("it is in memory");
        let store = Store { inner: Direct(logs), full: Arc::clone(&full) };
        let host = Host::new(Service::new(store, limits), HostLimits::default());
        let runtime = Runtime::new().expect("a runtime");
        let certificate = ServerCertificate::self_signed(&["localhost"]).expect("a certificate");
        let inside = runtime.enter();
        let listener = Listener::bind("127.0.0.1:0".parse().expect("an address"), &certificate);
        let listener = listener.expect("a port");
        let (address, fingerprint) = (listener.local_addr(), listener.fingerprint());
        tokio::spawn(async move {
            while let Ok((link, _)) = listener.accept().await {
                tokio::spawn(host.serve(link));
            }
        });
        drop(inside);
        let fingerprint = HEXLOWER.encode(&fingerprint[..]);
        Self { address: address.to_string(), fingerprint, full, _runtime: runtime }
    }

    pub(crate) fn fill(&self) {
        self.full.store(true, Ordering::SeqCst);
    }

    pub(crate) fn empty(&self) {
        self.full.store(false, Ordering::SeqCst);
    }

    pub(crate) fn init(&self, data: &str, more: &[&str]) -> Output {
        let (relay, fingerprint) = (&self.address, &self.fingerprint);
        let args = ["init", "--relay", relay, "--fingerprint", fingerprint, "--data", data];
        run(&[&args[..], &PATIENT, more].concat())
    }
}

/// Longer than a test waits for a process, and shorter than a full relay wants to be left alone.
pub(crate) const PATIENT: [&str; 2] = ["--timeout", "3000"];

struct Store {
    inner: Direct,
    full: Arc<AtomicBool>,
}

impl Store {
    fn is_full(&self) -> bool {
        self.full.load(Ordering::SeqCst)
    }
}

fn ready<T: Send + 'static>(value: T) -> BoxFuture<'static, T> {
    Box::pin(std::future::ready(value))
}

impl LogStore for Store {
    fn append(&self, items: Vec<Append>) -> BoxFuture<'_, Vec<PublishOutcome>> {
        if self.is_full() {
            return ready(vec![FULL; items.len()]);
        }
        self.inner.append(items)
    }

    fn upload(&self, bytes: Vec<u8>) -> BoxFuture<'_, Uploaded> {
        if self.is_full() { ready(Uploaded::failed(FULL)) } else { self.inner.upload(bytes) }
    }

    fn read(
        &self,
        now: Timestamp,
        after: Vec<(Topic, Cursor)>,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<TopicPage>, ReadError>> {
        self.inner.read(now, after, limit)
    }

    fn heads(
        &self,
        known: Vec<(Topic, Seq)>,
    ) -> BoxFuture<'_, Result<Vec<(Topic, Cursor)>, ReadError>> {
        self.inner.heads(known)
    }

    fn trim(&self, topic: Topic, upto: Seq) -> BoxFuture<'_, Result<Seq, WriteError>> {
        self.inner.trim(topic, upto)
    }

    fn key_packages(
        &self,
        of: Vec<InstallationId>,
    ) -> BoxFuture<'_, Result<Vec<Option<Vec<u8>>>, ReadError>> {
        self.inner.key_packages(of)
    }

    fn resolve(
        &self,
        accounts: Vec<Account>,
    ) -> BoxFuture<'_, Result<Vec<Option<InboxId>>, ReadError>> {
        self.inner.resolve(accounts)
    }

    fn identity(&self) -> RelayIdentity {
        self.inner.identity()
    }

    fn listen(&self, listener: conclave_relay::Listener) {
        self.inner.listen(listener);
    }
}
