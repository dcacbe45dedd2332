//! Gather, then call: what the core asks for and only the relay has.

use conclave_core::{
    delivery::{DeliveryService, PageLimit, TransportError},
    group::Candidate,
    identity::read_log,
    keyring::VerifiedPackage,
};
use conclave_proto::{Cursor, InboxId, Record, Timestamp, Topic};

use crate::error::Error;

/// Most entries of an identity log that are read. A relay that shows more than any group would
/// take wants to keep us busy.
const MOST_ENTRIES: usize = 10_000;

/// Most bytes of them, as far as the last page goes.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// An identity log, oldest entry first, with its hash chain checked.
pub(crate) async fn identity_log(
    delivery: &dyn DeliveryService,
    inbox: InboxId,
) -> Result<Vec<Record>, Error> {
    let topic = Topic::Identity(inbox);
    let (mut log, mut bytes) = (Vec::<Record>::new(), 0);
    loop {
        let cursor = log.last().map_or(Cursor::START, Record::cursor);
        let after = vec![(topic.clone(), cursor)];
        let pages = delivery.fetch(after, PageLimit::default()).await?;
        let Some(page) = pages.into_iter().find(|page| page.topic == topic) else { return Ok(log) };
        let before = log.len();
        for record in page.records {
            let cursor = log.last().map_or(Cursor::START, Record::cursor);
            if !record.follows(&topic, cursor.seq, &cursor.hash) {
                let why = "it shows an identity log whose parts do not fit";
                return Err(TransportError::Misconfigured(why).into());
            }
            bytes += record.payload.len();
            log.push(record);
        }
        let full = log.len() >= MOST_ENTRIES || bytes >= MOST_BYTES;
        if !page.more || log.len() == before || full {
            return Ok(log);
        }
    }
}

/// An inbox with everything that adding it takes: its log and a package of each installation that
/// has a usable one.
pub(crate) async fn candidate(
    delivery: &dyn DeliveryService,
    now: Timestamp,
    inbox: InboxId,
) -> Result<Candidate, Error> {
    let log: Vec<Vec<u8>> =
        identity_log(delivery, inbox).await?.into_iter().map(|record| record.payload).collect();
    let state = read_log(inbox, None, log.iter().map(Vec::as_slice));
    let state = state.ok_or(Error::UnknownInbox(inbox))?;
    let installations: Vec<_> = state.installations.into_keys().collect();
    let uploads = delivery.key_packages(installations.clone()).await?;
    let packages = installations.into_iter().zip(uploads).filter_map(|(installation, upload)| {
        VerifiedPackage::check(now, inbox, installation, &upload?).ok()
    });
    let packages: Vec<VerifiedPackage> = packages.collect();
    if packages.is_empty() {
        Err(Error::NoPackages(inbox))
    } else {
        Ok(Candidate { inbox, log, packages })
    }
}
