//! A shopping list that three people share, tested in a simulation.
//!
//! The application is written against `conclave::Engine`, as for a phone. Here it runs in a World:
//! under virtual time and a seed, over a relay that loses answers and disks that fail. After every
//! step the application's own promise is checked: whoever has read as much sees the same list.
//!
//! ```sh
//! cargo run -p conclave-testkit --example shopping_list -- 7
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{cell::RefCell, collections::BTreeSet, rc::Rc};

use conclave::{Engine, Event, EventCursor, GroupId, Seq, Told, proto::message::Body};
use conclave_core::store::StoreError;
use conclave_testkit::{
    faulty_store::Fault,
    sim_relay::Lie,
    simulation::{SimClock, Simulation},
    world::World,
};

/// What a person's application knows: the changes, in the order of the group's log, and the list
/// that they lead to.
#[derive(Default)]
struct ShoppingList {
    changes: Vec<(Seq, String)>,
    items: BTreeSet<String>,
}

impl ShoppingList {
    fn apply(&mut self, seq: Seq, change: String) {
        match change.split_once(' ') {
            Some(("buy", item)) => drop(self.items.insert(item.to_owned())),
            Some(("got", item)) => drop(self.items.remove(item)),
            _ => {}
        }
        self.changes.push((seq, change));
    }
}

/// One person: keeps the list by the events, and now and then wants or gets something.
async fn shop(
    engine: Engine,
    group: GroupId,
    clock: SimClock,
    list: Rc<RefCell<ShoppingList>>,
    wants: Vec<&'static str>,
    changes: usize,
) {
    let mut events = engine.events(EventCursor(0));
    let handle = loop {
        if let Some(handle) = engine.group(group) {
            break handle;
        }
        events.next_event().await.expect("the engine works");
    };
    for (number, item) in wants.into_iter().enumerate() {
        clock.sleep(700 * (number as u64 + 1)).await;
        handle.send(format!("buy {item}")).await.expect("it is stored");
        if number % 2 == 1 {
            handle.send(format!("got {item}")).await.expect("it is stored");
        }
    }
    let mut events = engine.events(EventCursor(0));
    while list.borrow().changes.len() < changes {
        let told = events.next_event().await.expect("the engine works").expect("it is open");
        if let Told::Event(_, Event::Message { group: of, seq, .. }) = told
            && of == group
        {
            let before = Seq(seq.0 - 1);
            let (_, message) = handle.messages(before, 1).expect("the store reads").remove(0);
            let Body::Content(content) = message.body;
            list.borrow_mut().apply(seq, String::from_utf8(content).expect("it is text"));
        }
    }
}

/// The promise: whoever has read as much sees the same changes, so the same list.
fn check(lists: &[Rc<RefCell<ShoppingList>>]) {
    for (one, other) in lists.iter().zip(&lists[1..]) {
        let (one, other) = (one.borrow(), other.borrow());
        let common = one.changes.len().min(other.changes.len());
        assert_eq!(one.changes[..common], other.changes[..common]);
        if one.changes.len() == other.changes.len() {
            assert_eq!(one.items, other.items);
        }
    }
}

/// Three people shop under a seed; the list in the end.
pub(crate) fn run(seed: u64) -> BTreeSet<String> {
    let mut world = World::with_people(seed, 3);
    let group = world.create_group(0);
    assert!(world.add(0, group, &[1, 2]));
    let mut simulation = Simulation::new(world);
    let wants =
        [vec!["milk", "bread"], vec!["tea", "milk", "salt"], vec!["bread", "apples", "tea"]];
    let changes = 3 * 2 + 2 + 3; // what is wanted, and every second of it got
    let mut lists: Vec<Rc<RefCell<ShoppingList>>> = (0..3).map(|_| Rc::default()).collect();
    for (person, wants) in wants.into_iter().enumerate() {
        let engine = simulation.engine(person);
        let (clock, list) = (simulation.clock(), Rc::clone(&lists[person]));
        simulation.spawn(shop(engine, group, clock, list, wants, changes));
    }
    let mut steps = 0_u64;
    simulation.world.relay.lie([Lie::LoseAnswer, Lie::Honest, Lie::LoseRequest, Lie::NotStored]);
    simulation.world.devices[1].fail_next_commit(Fault::Refuse(StoreError::Unavailable));
    simulation.run(|_| {
        steps += 1;
        check(&lists);
    });
    simulation.world.settle();
    simulation.world.check();
    println!("seed {seed}: {steps} steps, {} is left to buy", lists[0].borrow().items.len());
    lists.swap_remove(0).take().items
}

#[allow(dead_code, reason = "the tests run it for many seeds")]
fn main() {
    let seed = std::env::args().nth(1).and_then(|seed| seed.parse().ok()).unwrap_or(1);
    for item in run(seed) {
        println!("  {item}");
    }
}
