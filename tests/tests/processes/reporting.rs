//! A delivery service that says what the relay has accepted.

use conclave_core::{
    bounds::{BoxFuture, BoxStream},
    delivery::{
        Delivery, DeliveryService, PageLimit, PublishOutcome, TopicPage, Transmit, TransportError,
        Uploaded, Watch,
    },
    step::Upload,
};
use conclave_proto::{
    Cursor, InboxId, InstallationId, Seq, Topic, codec::encode_bare, identity::Account,
};
use conclave_remote::Remote;

use crate::{hex, say};

/// The relay of an engine. Every record that the relay accepts is said before the engine hears of
/// it.
pub(crate) struct Reporting(pub(crate) Remote);

impl DeliveryService for Reporting {
    fn publish(&self, batch: Vec<Transmit>) -> BoxFuture<'_, Vec<PublishOutcome>> {
        Box::pin(async move {
            let names: Vec<String> = batch.iter().map(|it| hex(&encode_bare(&it.topic))).collect();
            let ids: Vec<String> = batch.iter().map(|transmit| hex(&transmit.id.0)).collect();
            let outcomes = self.0.publish(batch).await;
            for ((topic, id), outcome) in names.iter().zip(&ids).zip(&outcomes) {
                if let PublishOutcome::Accepted { seq, .. } = outcome {
                    say(&format!("accepted {topic} {} {id}", seq.0));
                }
            }
            outcomes
        })
    }

    fn fetch(
        &self,
        after: Vec<(Topic, Cursor)>,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<TopicPage>, TransportError>> {
        self.0.fetch(after, limit)
    }

    fn heads(
        &self,
        known: Vec<(Topic, Seq)>,
    ) -> BoxFuture<'_, Result<Vec<(Topic, Cursor)>, TransportError>> {
        self.0.heads(known)
    }

    fn subscribe(
        &self,
        changes: BoxStream<'static, Watch>,
    ) -> BoxStream<'static, Result<Delivery, TransportError>> {
        self.0.subscribe(changes)
    }

    fn key_packages(
        &self,
        of: Vec<InstallationId>,
    ) -> BoxFuture<'_, Result<Vec<Option<Vec<u8>>>, TransportError>> {
        self.0.key_packages(of)
    }

    fn upload(&self, upload: Upload) -> BoxFuture<'_, Uploaded> {
        self.0.upload(upload)
    }

    fn resolve(
        &self,
        accounts: Vec<Account>,
    ) -> BoxFuture<'_, Result<Vec<Option<InboxId>>, TransportError>> {
        self.0.resolve(accounts)
    }
}
