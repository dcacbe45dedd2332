//! The handle: calls become requests, and requests become answers.

use std::{fmt, sync::Arc, time::Duration};

use conclave_core::{
    bounds::{BoxFuture, BoxStream},
    delivery::{
        Delivery, DeliveryService, PageLimit, PublishOutcome, TopicPage, Transmit, TransportError,
        Uploaded, Watch,
    },
    link::Link,
    relay_client::{
        ClientLimits, heads_result, inboxes_result, not_stored, packages_result, pages_result,
        publish_outcomes, publish_request, uploaded,
    },
    step::Upload,
};
use conclave_proto::{
    Cursor, InboxId, InstallationId, Seq, Topic,
    identity::Account,
    relay::{Answer, Request},
};
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use crate::{
    driver::{Command, Driver, Handles},
    mailbox::mailbox,
};

/// Opens links to one relay.
pub trait Connector: Send + Sync + 'static {
    /// A new link.
    ///
    /// # Errors
    /// [`TransportError::Unavailable`] if another attempt may work, otherwise
    /// [`TransportError::Misconfigured`].
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, TransportError>>;
}

/// Limits of a remote.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RemoteLimits {
    /// Of each connection.
    pub client: ClientLimits,
    /// Milliseconds that a connector may take; then the attempt has failed. Longer than the
    /// handshakes of any transport, which have limits of their own.
    pub connect_ms: u64,
    /// Milliseconds after which every call has ended, whatever the relay does. A call waits to be
    /// sent and for its answer, which takes [`ClientLimits::answer_max_ms`] at most; calls that
    /// wait behind many others end here.
    pub call_ms: u64,
    /// Milliseconds without a delivery after which the relay is asked whether it still serves the
    /// subscription; if it owes that answer for too long the subscription has ended. The question
    /// costs one small frame each way, which is less than what keeps a QUIC connection alive.
    pub quiet_ms: u64,
    /// Calls that wait to be sent; more callers wait for room.
    pub calls: usize,
    /// Records that a subscription holds for somebody who does not pull it.
    pub delivered_records: usize,
    /// Bytes of these records; one more record may exceed them.
    pub delivered_bytes: usize,
}

impl Default for RemoteLimits {
    fn default() -> Self {
        Self {
            client: ClientLimits::default(),
            connect_ms: 60_000,
            call_ms: 1_200_000,
            quiet_ms: 300_000,
            calls: 256,
            delivered_records: 1_024,
            delivered_bytes: 8 * 1024 * 1024,
        }
    }
}

/// A delivery service at the other end of a link. Cheap to clone; the last clone ends the
/// connection.
#[derive(Clone)]
pub struct Remote {
    commands: mpsc::Sender<Command>,
    /// The task, before it is started.
    driver: Arc<Mutex<Option<Driver>>>,
    last_write: watch::Sender<Option<TransportError>>,
    limits: RemoteLimits,
}

/// How the last publish or upload of a [`Remote`] ended, for telling people whose trouble it is.
/// It does not keep the connection open.
#[derive(Clone, Debug)]
pub struct LastWrite(watch::Receiver<Option<TransportError>>);

impl LastWrite {
    /// Why nothing was stored: [`TransportError::RelayTrouble`] if the relay said so itself.
    /// `None` if the relay took it, and before the first write.
    #[must_use]
    pub fn error(&self) -> Option<TransportError> {
        self.0.borrow().clone()
    }

    /// Waits until a later write has ended; for ever once the remote is gone.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}

impl Remote {
    /// A remote that connects when it is first used. Its work is done by a task on the tokio
    /// runtime that polls the first call; with that runtime it ends.
    #[must_use]
    pub fn new(connector: impl Connector, limits: RemoteLimits) -> Self {
        let (commands, queue) = mpsc::channel(limits.calls.max(1));
        let (last_write, writes) = watch::channel(None);
        let driver = Driver::new(Arc::new(connector), queue, Handles::new(writes), limits);
        Self { commands, driver: Arc::new(Mutex::new(Some(driver))), last_write, limits }
    }

    /// How publishes and uploads end.
    #[must_use]
    pub fn last_write(&self) -> LastWrite {
        LastWrite(self.last_write.subscribe())
    }

    /// Starts the task, if nobody has. Called inside a runtime.
    fn start(&self) {
        let driver = self.driver.lock().take();
        if let Some(driver) = driver {
            tokio::spawn(driver.run());
        }
    }

    /// The answer to a request; `None` if it is lost, an error if nothing was sent.
    async fn ask(&self, request: Request) -> Result<Option<Answer>, TransportError> {
        let (reply, answer) = oneshot::channel();
        self.start();
        let asking = async {
            if self.commands.send(Command::Ask { request, reply }).await.is_err() {
                return Err(TransportError::NO_ANSWER);
            }
            answer.await.unwrap_or(Ok(None))
        };
        // Perhaps it was sent, perhaps it still waits for that.
        timeout(self.patience(), asking).await.unwrap_or(Ok(None))
    }

    /// As [`Remote::ask`], for a request to store something.
    async fn write(&self, request: Request) -> Result<Option<Answer>, TransportError> {
        let result = self.ask(request).await;
        let error = match &result {
            Ok(Some(answer)) => not_stored(answer),
            Ok(None) => Some(TransportError::NO_ANSWER),
            Err(error) => Some(error.clone()),
        };
        self.last_write.send_replace(error);
        result
    }

    const fn patience(&self) -> Duration {
        Duration::from_millis(self.limits.call_ms)
    }
}

impl DeliveryService for Remote {
    fn publish(&self, batch: Vec<Transmit>) -> BoxFuture<'_, Vec<PublishOutcome>> {
        Box::pin(async move {
            let count = batch.len();
            match self.write(publish_request(batch)).await {
                Ok(answer) => publish_outcomes(answer, count),
                Err(error) => vec![not_sent(&error); count],
            }
        })
    }

    fn fetch(
        &self,
        after: Vec<(Topic, Cursor)>,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<TopicPage>, TransportError>> {
        Box::pin(async move { pages_result(self.ask(Request::Fetch { after, limit }).await?) })
    }

    fn heads(
        &self,
        known: Vec<(Topic, Seq)>,
    ) -> BoxFuture<'_, Result<Vec<(Topic, Cursor)>, TransportError>> {
        Box::pin(async move { heads_result(self.ask(Request::Heads(known)).await?) })
    }

    fn subscribe(
        &self,
        changes: BoxStream<'static, Watch>,
    ) -> BoxStream<'static, Result<Delivery, TransportError>> {
        let (mailbox, deliveries) =
            mailbox(self.limits.delivered_records, self.limits.delivered_bytes);
        let remote = self.clone();
        let subscribe = async move {
            remote.start();
            let (commands, patience) = (remote.commands.clone(), remote.patience());
            drop(remote);
            // If that takes too long or the driver is gone, so is the mailbox's other end, and with
            // it the stream.
            let subscribing = commands.send(Command::Subscribe { changes, mailbox });
            drop(timeout(patience, subscribing).await);
            deliveries
        };
        Box::pin(futures_util::FutureExt::flatten_stream(subscribe))
    }

    fn key_packages(
        &self,
        of: Vec<InstallationId>,
    ) -> BoxFuture<'_, Result<Vec<Option<Vec<u8>>>, TransportError>> {
        Box::pin(async move { packages_result(self.ask(Request::KeyPackages(of)).await?) })
    }

    fn upload(&self, upload: Upload) -> BoxFuture<'_, Uploaded> {
        Box::pin(async move {
            match self.write(Request::Upload(upload.bytes)).await {
                Ok(answer) => uploaded(answer),
                Err(error) => Uploaded::failed(not_sent(&error)),
            }
        })
    }

    fn resolve(
        &self,
        accounts: Vec<Account>,
    ) -> BoxFuture<'_, Result<Vec<Option<InboxId>>, TransportError>> {
        Box::pin(async move { inboxes_result(self.ask(Request::Resolve(accounts)).await?) })
    }
}

/// Nothing was sent, so nothing was stored.
fn not_sent(error: &TransportError) -> PublishOutcome {
    let retry_after = match error {
        TransportError::Unavailable { retry_after }
        | TransportError::RelayTrouble { retry_after } => *retry_after,
        TransportError::Misconfigured(_)
        | TransportError::TooMuch
        | TransportError::Truncated { .. }
        | TransportError::NotAdmitted
        | _ => Duration::from_secs(30),
    };
    PublishOutcome::not_stored(retry_after)
}
