//! A group's actor alone.

use std::{collections::BTreeMap, sync::Arc};

use conclave_core::{
    engine::{
        Actor, Answer, Context, Effect, Ended, EngineLimits, Error, GroupActor, GroupMessage,
        GroupRequest, Input, Opening, ReplyToken, Token,
    },
    entropy::Entropy,
    store::StoreError,
};
use conclave_testkit::{entropy::SimEntropy, world::World};

const SEND: ReplyToken = ReplyToken(1);
const VIEW: ReplyToken = ReplyToken(2);
const SETTLED: ReplyToken = ReplyToken(3);

/// Scenario 135, E14: who asks what a group looks like, or whether it is settled, while a message
/// is with the writer, waits for that. If the message is not stored because the store belongs to
/// another engine by then, or because the engine has ended, all are told so.
#[test]
fn views_that_wait_for_the_writer_are_told_of_the_end() {
    let fenced = Error::Store(StoreError::Fenced);
    let stored = |token| Input::Stored { token, result: Err(StoreError::Fenced) };
    assert_eq!(waiting(stored), [SEND, VIEW, SETTLED].map(|to| (to, Err(fenced.clone()))).into());
    for ended in [Ended::Fenced, Ended::StoreLost] {
        let all = [SEND, VIEW, SETTLED].map(|to| (to, Err(ended.into())));
        assert_eq!(waiting(|_| Input::Stop(ended)), all.into(), "{ended:?}");
    }
}

/// What three calls are answered whose message is with the writer when this comes.
fn waiting(
    then: impl FnOnce(Token) -> Input<GroupRequest, GroupMessage>,
) -> BTreeMap<ReplyToken, Result<Answer, Error>> {
    let (world, id) = World::of_talkers(9, 2);
    let (store, now) = (&world.devices[0].store, world.now);
    let entropy = Entropy::new(Box::new(SimEntropy::new(9, 0, 9)));
    let context = Arc::new(Context::new(EngineLimits::default(), entropy));
    assert_eq!(Opening::read(store, &context).unwrap().groups, [id]);
    let mut actor = GroupActor::new(id, context);
    let send = GroupRequest::Send { key: [1; 16], content: vec![1], once: false };
    let calls = [(SEND, send), (VIEW, GroupRequest::View), (SETTLED, GroupRequest::Settled)];
    for (reply, request) in calls {
        actor.handle(now, store, Input::Asked { reply, request });
    }
    let (replies, commits) = effects(&mut actor);
    assert_eq!((replies.len(), commits.len()), (0, 1), "they wait for one commit");
    actor.handle(now, store, then(commits[0]));
    effects(&mut actor).0
}

fn effects(actor: &mut GroupActor) -> (BTreeMap<ReplyToken, Result<Answer, Error>>, Vec<Token>) {
    let (mut replies, mut commits) = (BTreeMap::new(), Vec::new());
    while let Some(effect) = actor.poll() {
        #[allow(clippy::wildcard_enum_match_arm, reason = "the others are for other actors")]
        match effect {
            Effect::Reply { to, answer } => assert!(replies.insert(to, answer).is_none()),
            Effect::Commit { token, .. } => commits.push(token),
            _ => {}
        }
    }
    (replies, commits)
}
