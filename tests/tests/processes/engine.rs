//! An engine's process: the engine of a product, over a store in a file and a relay over QUIC.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use conclave::{
    Engine, Event, Events, GroupConfig, GroupHandle, InboxId, MessageId, RedbStore, Seq, Told,
    proto::group::Policy, quic::RelayAddress,
};

use crate::{
    certificate,
    children::ENGINES,
    hex, orders,
    people::{account, account_key},
    reporting::Reporting,
    say,
};

/// Runs until it is killed.
pub(crate) async fn run(folder: &Path, number: usize, port: u16) {
    let mut application = Application::open(folder, number, port);
    let mut orders = orders();
    application.begin().await;
    loop {
        application.load().await;
        tokio::select! {
            order = orders.recv() => application.obey(&order.unwrap()).await,
            event = application.events.next_event() => {
                application.handle(event.unwrap().unwrap());
            }
        }
    }
}

/// An application with one group.
struct Application {
    number: usize,
    engine: Engine,
    events: Events,
    group: Option<GroupHandle>,
    is_loaded: bool,
    /// Messages of this process.
    sent: u32,
    /// Those of them that have no position in the log yet.
    unsettled: BTreeSet<MessageId>,
    /// Unsettled messages that the store held at the start.
    unsettled_before: usize,
}

impl Application {
    fn open(folder: &Path, number: usize, port: u16) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let relay = RelayAddress::pinned(address.into(), certificate(folder).fingerprint());
        let engine = Engine::builder()
            .store(RedbStore::create_or_open(folder.join(format!("engine-{number}"))).unwrap())
            .delivery(Reporting(relay.remote()))
            .open()
            .unwrap();
        Self {
            number,
            events: engine.events(engine.last_event()),
            group: None,
            engine,
            is_loaded: false,
            sent: 0,
            unsettled: BTreeSet::new(),
            unsettled_before: 0,
        }
    }

    /// Registers, or goes on with the group that the store holds.
    async fn begin(&mut self) {
        match self.engine.groups().pop() {
            Some(group) => {
                self.unsettled_before = group.view().await.unwrap().unsettled;
                self.enter(group);
            }
            None => {
                self.engine.register(account_key(self.number), 0).await.unwrap();
                self.engine.sync().await.unwrap();
                say("uploaded");
            }
        }
    }

    fn enter(&mut self, group: GroupHandle) {
        say(&format!("member {}", hex(&group.id().0)));
        self.group = Some(group);
    }

    fn group(&self) -> GroupHandle {
        self.group.clone().expect("this installation is a member")
    }

    fn handle(&mut self, told: Told) {
        match told {
            Told::Event(_, Event::Joined { group, .. }) => {
                self.enter(self.engine.group(group).expect("it was joined"));
            }
            Told::Event(_, Event::Message { id, own: true, .. }) => {
                if !self.unsettled.remove(&id) {
                    // It may have settled between the first look at the events and the view.
                    self.unsettled_before = self.unsettled_before.saturating_sub(1);
                }
            }
            Told::Event(..) => {}
            Told::Lagged(at) => panic!("events up to {at:?} were not read in time"),
        }
    }

    /// Keeps a few messages on their way, and renews keys now and then.
    async fn load(&mut self) {
        while self.is_loaded && self.unsettled_before + self.unsettled.len() < 4 {
            self.send().await;
            let group = self.group();
            if self.sent.is_multiple_of(25) && group.view().await.unwrap().wishes == 0 {
                group.update_keys().await.unwrap();
            }
        }
    }

    async fn send(&mut self) {
        let content = format!("{} of engine {}", self.sent, self.number);
        let id = self.group().send(content).await.unwrap();
        say(&format!("durable {}", hex(&id.0)));
        self.unsettled.insert(id);
        self.sent += 1;
    }

    async fn obey(&mut self, order: &str) {
        let mut words = order.split(' ');
        match words.next().unwrap() {
            "found" => self.found().await,
            "load" => self.is_loaded = true,
            "calm" => {
                self.is_loaded = false;
                self.group().settled().await.unwrap();
                self.engine.sync().await.unwrap();
                say("calm");
            }
            "words" => self.send().await,
            "report" => self.report(words.map(str::to_owned).collect()).await,
            other => panic!("{other}"),
        }
    }

    /// Creates a group with everybody in it.
    async fn found(&mut self) {
        let config = GroupConfig { policy: Policy::OPEN, ..GroupConfig::default() };
        let group = self.engine.create_group(config).await.unwrap();
        let others = (0..ENGINES).filter(|number| *number != self.number).map(account).collect();
        let found = self.engine.find(others).await.unwrap();
        let inboxes: Vec<InboxId> = found.into_iter().map(Option::unwrap).collect();
        group.add(&inboxes).await.unwrap();
        self.enter(group);
    }

    /// Says what the group shows, once these messages are among it.
    async fn report(&mut self, last: BTreeSet<String>) {
        let group = self.group();
        let shown = loop {
            let shown = shown(&group);
            if shown.iter().filter(|(_, id)| last.contains(id)).count() == last.len() {
                break shown;
            }
            let event = self.events.next_event().await;
            self.handle(event.unwrap().unwrap());
        };
        for (seq, id) in shown {
            say(&format!("shows {} {id}", seq.0));
        }
        // A view is made after every write: this waits for the last one.
        group.settled().await.unwrap();
        let view = group.view().await.unwrap();
        say(&format!("epoch {} {}", view.epoch.0, hex(&view.authenticator)));
    }
}

/// The positions and ids of all messages.
fn shown(group: &GroupHandle) -> Vec<(Seq, String)> {
    let messages = group.messages(Seq(0), usize::MAX).unwrap().into_iter();
    messages.map(|(seq, message)| (seq, hex(&message.id.0))).collect()
}
