//! One installation of a demonstration: an engine that answers questions.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use conclave::{
    AccountKey, Engine, EngineLimits, Event, EventCursor, Events, GroupHandle, GroupId, GroupView,
    InboxId, Seq, StoredMessage, Told,
    core::{
        event::IntentOutcome,
        group::{GroupConfig, Standing},
        identity::WalletKey,
    },
    proto::{group::Policy, message::Body},
    quic::RelayAddress,
};
use conclave_store_redb::RedbStore;
use tokio::runtime::Runtime;

use super::talk::{Answer, Ask, Happening, Line, State};
use crate::{counting::CountingStore, failure::Failure, folder::Folder, hex, signer::Signer};

/// See the module.
pub(crate) struct Station {
    engine: Engine,
    store: Arc<CountingStore<RedbStore>>,
    events: Events,
    /// Wishes that have ended, and how.
    ended: BTreeMap<String, (bool, String)>,
    runtime: Runtime,
}

/// Why a question has no good answer.
type Why = String;

impl Station {
    pub(crate) fn open(folder: &Path, relay: RelayAddress) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let store = Arc::new(CountingStore::new(Folder::create(folder)?.make_store()?));
        // The check reads all of them.
        let mut limits = EngineLimits::default();
        limits.events = 100_000_000;
        let engine = Engine::builder()
            .shared_store(Arc::<CountingStore<RedbStore>>::clone(&store))
            .delivery(relay.remote())
            .limits(limits)
            .open()?;
        let events = engine.events(engine.last_event());
        Ok(Self { engine, store, events, ended: BTreeMap::new(), runtime })
    }

    pub(crate) fn shut_down(&self) {
        self.engine.shut_down();
    }

    pub(crate) fn answer(&mut self, ask: Ask) -> Answer {
        self.try_answer(ask).unwrap_or_else(|why| Answer::Failed { why })
    }

    fn try_answer(&mut self, ask: Ask) -> Result<Answer, Why> {
        match ask {
            Ask::Register { wallet, secret } => self.register(wallet, &secret),
            Ask::Found => self.found(),
            Ask::Add { group, inboxes } => {
                let wish = self.group(&group)?.add(&inboxes_of(&inboxes)?);
                wish_answer(self.wait(wish)?)
            }
            Ask::Remove { group, inboxes } => {
                let wish = self.group(&group)?.remove(&inboxes_of(&inboxes)?);
                wish_answer(self.wait(wish)?)
            }
            Ask::UpdateKeys { group } => {
                let wish = self.group(&group)?.update_keys();
                wish_answer(self.wait(wish)?)
            }
            Ask::Outcome { intent } => self.outcome(&intent),
            Ask::Send { group, text } => {
                let sent = self.group(&group)?.send(text);
                Ok(Answer::Sent { id: hex::hex(&self.wait(sent)?.0) })
            }
            Ask::Member { group, epoch } => self
                .until(&group, |view| view.standing == Standing::Member && view.epoch.0 >= epoch),
            Ask::NoMember { group } => self.until(&group, |view| view.standing.is_removed()),
            Ask::Reached { group, seq } => self.until(&group, |view| view.cursor.seq.0 >= seq),
            Ask::Settled { group } => {
                let group = self.group(&group)?;
                self.wait(async move { group.settled().await }).map(|()| Answer::Done)
            }
            Ask::State { group } => {
                let view = self.view(&group)?;
                Ok(Answer::State(self.state(&view)))
            }
            Ask::Timeline { group } => self.timeline(&group),
            Ask::History { group } => self.history(&group),
        }
    }

    fn register(&mut self, wallet: bool, secret: &str) -> Result<Answer, Why> {
        let secret = hex::array(secret).ok_or("no secret")?;
        let signer = if wallet {
            Signer::Wallet(WalletKey::from_bytes(&secret).ok_or("no wallet key")?)
        } else {
            Signer::Key(AccountKey::from_bytes(&secret))
        };
        let registered = self.engine.register(signer, 0);
        let inbox = self.wait(registered)?.to_hex();
        let installation = self.engine.installation().ok_or("not registered")?;
        // Others can add it from here on.
        self.wait(self.engine.sync())?;
        Ok(Answer::Registered { inbox, installation: hex::hex(&installation.0) })
    }

    fn found(&self) -> Result<Answer, Why> {
        let config = GroupConfig { policy: Policy::OPEN, ..GroupConfig::default() };
        let group = self.wait(self.engine.create_group(config))?;
        Ok(Answer::Group { group: hex::hex(&group.id().0) })
    }

    fn group(&self, id: &str) -> Result<GroupHandle, Why> {
        let id = GroupId(hex::array(id).ok_or("no group id")?);
        self.engine.group(id).ok_or_else(|| "no such group".to_owned())
    }

    fn view(&self, group: &str) -> Result<Arc<GroupView>, Why> {
        let view = self.group(group)?.view();
        self.wait(view)
    }

    fn state(&self, view: &GroupView) -> State {
        State {
            member: view.standing == Standing::Member,
            epoch: view.epoch.0,
            authenticator: hex::hex(&view.authenticator),
            seq: view.cursor.seq.0,
            members: view.members.len(),
            unsettled: view.unsettled,
            wishes: view.wishes,
            store_commits: self.store.commits(),
        }
    }

    /// Waits for a call, but not for ever.
    fn wait<T>(&self, call: impl Future<Output = Result<T, conclave::Error>>) -> Result<T, Why> {
        let answer = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, call).await });
        answer.map_err(|_| "no answer".to_owned())?.map_err(|error| error.to_string())
    }

    /// Waits until a group looks like that.
    fn until(&mut self, group: &str, is_so: impl Fn(&GroupView) -> bool) -> Result<Answer, Why> {
        let started = Instant::now();
        loop {
            let view = self.view(group);
            if let Ok(view) = &view
                && is_so(view)
            {
                return Ok(Answer::Done);
            }
            if started.elapsed() > PATIENCE {
                return Err(format!("it does not come to that: {view:?}"));
            }
            self.next_event()?;
        }
    }

    fn outcome(&mut self, intent: &str) -> Result<Answer, Why> {
        let started = Instant::now();
        loop {
            if let Some((well, how)) = self.ended.remove(intent) {
                return Ok(Answer::Ended { well, how });
            }
            if started.elapsed() > PATIENCE {
                return Err(format!("wish {intent} does not end"));
            }
            self.next_event()?;
        }
    }

    /// Takes note of what happens next. What a group looks like shows a moment after the event,
    /// so this does not wait for long.
    fn next_event(&mut self) -> Result<(), Why> {
        let events = &mut self.events;
        let next = async { tokio::time::timeout(LOOK_AGAIN, events.next_event()).await };
        let Ok(told) = self.runtime.block_on(next) else { return Ok(()) };
        if let Some(Told::Event(_, Event::IntentSettled { intent, outcome, .. })) =
            told.map_err(|error| error.to_string())?
        {
            let well = matches!(outcome, IntentOutcome::Done | IntentOutcome::AlreadySo);
            self.ended.insert(intent_name(&intent), (well, format!("{outcome:?}")));
        }
        Ok(())
    }

    fn timeline(&self, group: &str) -> Result<Answer, Why> {
        let group = self.group(group)?;
        let mut lines: Vec<Line> = Vec::new();
        loop {
            let after = Seq(lines.last().map_or(0, |line| line.seq));
            let messages = group.messages(after, PAGE).map_err(|error| error.to_string())?;
            if messages.is_empty() {
                return Ok(Answer::Timeline { lines });
            }
            lines.extend(messages.iter().map(line));
        }
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "two of many events")]
    fn history(&self, group: &str) -> Result<Answer, Why> {
        let id = self.group(group)?.id();
        let mut happenings = Vec::new();
        let mut events = self.engine.events(EventCursor(0));
        while let Some(told) = events.try_event().map_err(|error| error.to_string())? {
            match told {
                Told::Event(_, Event::Message { group, seq, .. }) if group == id => {
                    happenings.push(Happening::Message { seq: seq.0 });
                }
                Told::Event(_, Event::EpochChanged { group, epoch, added, removed })
                    if group == id =>
                {
                    let names = |ids: Vec<InboxId>| ids.iter().map(InboxId::to_hex).collect();
                    let (added, removed) = (names(added), names(removed));
                    happenings.push(Happening::Epoch { epoch: epoch.0, added, removed });
                }
                _ => {}
            }
        }
        Ok(Answer::History { happenings })
    }
}

/// Longest time that one answer may take: many retries of everything.
const PATIENCE: Duration = Duration::from_secs(60);

/// See [`Station::next_event`].
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Messages that are read at once.
const PAGE: usize = 1_000;

fn line((seq, message): &(Seq, StoredMessage)) -> Line {
    let Body::Content(content) = &message.body;
    Line {
        seq: seq.0,
        id: hex::hex(&message.id.0),
        epoch: message.epoch.0,
        text: String::from_utf8_lossy(content).into_owned(),
    }
}

fn intent_name(intent: &conclave::IntentId) -> String {
    format!("{intent:?}")
}

fn wish_answer(intent: conclave::IntentId) -> Result<Answer, Why> {
    Ok(Answer::Wish { intent: intent_name(&intent) })
}

fn inboxes_of(names: &[String]) -> Result<Vec<InboxId>, Why> {
    let inbox = |name: &String| hex::array(name).map(InboxId).ok_or("no inbox id".to_owned());
    names.iter().map(inbox).collect()
}
