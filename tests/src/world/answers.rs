//! What the relay of a world answers to calls.

use conclave_core::engine::{ActorId, CallAnswer, DeliveryCall};
use conclave_proto::{
    Cursor, Record, Topic,
    relay::{PageLimit, TopicPage},
};

use crate::{device::Device, sim_relay::SimRelay};

/// Answers one call for a directory: identity logs and key packages; `false` if there is none.
pub(super) fn answer_directory(relay: &SimRelay, device: &mut Device, of: ActorId) -> bool {
    device.take_wishes_of(of);
    let Some(at) = device.outgoing.calls.iter().position(|(actor, ..)| *actor == of) else {
        return false;
    };
    let Some((actor, token, call)) = device.outgoing.calls.remove(at) else { return false };
    let answer = answer_of(relay, device.index, call, usize::MAX, 0);
    device.answer(actor, token, answer);
    true
}

/// What the relay answers to a call.
pub(super) fn answer_of(
    relay: &SimRelay,
    device: usize,
    call: DeliveryCall,
    limit: usize,
    overlap: usize,
) -> CallAnswer {
    match call {
        DeliveryCall::Fetch { after, limit: page } => {
            let pages = after.into_iter();
            let pages = pages
                .map(|(topic, cursor)| page_of(relay, device, topic, cursor, page, limit, overlap));
            CallAnswer::Fetched(Ok(pages.collect()))
        }
        DeliveryCall::KeyPackages(of) => {
            CallAnswer::KeyPackages(Ok(of.iter().map(|id| relay.package(id)).collect()))
        }
        DeliveryCall::Resolve(accounts) => {
            CallAnswer::Resolved(Ok(accounts.iter().map(|_| None).collect()))
        }
        DeliveryCall::Publish(_) | DeliveryCall::Upload(_) => {
            panic!("publishes and uploads are taken one by one")
        }
    }
}

fn page_of(
    relay: &SimRelay,
    device: usize,
    topic: Topic,
    after: Cursor,
    page: PageLimit,
    limit: usize,
    overlap: usize,
) -> TopicPage {
    let log = match &topic {
        Topic::Identity(inbox) => relay.identity_log(inbox),
        Topic::Group(_) | Topic::Welcome(_) | Topic::Blob(_) => relay.log(device, &topic).to_vec(),
    };
    let head = log.last().map_or(Cursor::START, Record::cursor);
    let next = log.partition_point(|record| record.seq <= after.seq);
    let limit = limit.min(usize::try_from(page.records).unwrap_or(usize::MAX)).max(1);
    let end = log.len().min(next.saturating_add(limit));
    let records = log[next.saturating_sub(overlap)..end].to_vec();
    TopicPage { topic, records, head, more: end < log.len(), signed: None }
}
