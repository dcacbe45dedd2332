//! What people do when everything works.

use std::{collections::BTreeSet, sync::Arc};

use conclave::{
    AccountKey, Event, EventCursor, Seq, Told, core::store::Store, proto::message::Body,
};
use conclave_store_memory::MemoryStore;

use super::town::{
    NewDriver, Town, open_group, quick, read, settle, shown, wait_for_group, within,
};

/// E7, G5: two people send in both directions; both show the same, in the same order.
pub(crate) fn people_talk(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let (people, groups) = town.group_of(2);
    for number in 0..20 {
        for (person, group) in groups.iter().enumerate() {
            group.send(format!("{number} of {person}")).wait().unwrap();
        }
    }
    let one = read(&people[0], &groups[0], 40);
    let other = read(&people[1], &groups[1], 40);
    assert_eq!(one, other);
    assert_eq!(one.iter().collect::<BTreeSet<_>>().len(), 40);
    groups.iter().for_each(settle);
    let views: Vec<_> = groups.iter().map(|group| group.view().wait().unwrap()).collect();
    assert_eq!(views[0].authenticator, views[1].authenticator);
    assert_eq!(views[0].members, views[1].members);
}

/// E8: an application that stops reading goes on where it was, also with a new engine on the same
/// store; nothing comes twice.
pub(crate) fn events_go_on_where_they_were_left(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let (people, groups) = town.group_of(2);
    groups[0].send("one").wait().unwrap();
    read(&people[1], &groups[1], 1);
    let mut events = people[1].engine.events(EventCursor(0));
    let mut messages = 0;
    while messages < 1 {
        if let Some(Told::Event(_, Event::Message { .. })) = within(events.next_event()).unwrap() {
            messages += 1;
        }
    }
    let place = events.cursor();
    groups[0].send("two").wait().unwrap();
    read(&people[1], &groups[1], 2);
    people[1].engine.shut_down();
    assert!(within(events.next_event()).is_ok(), "what is left can still be read");
    let again = town.engine_on(Arc::clone(&people[1].store), quick());
    let mut events = again.events(place);
    let mut rest = Vec::new();
    while let Some(told) = events.try_event().unwrap() {
        rest.push(told);
    }
    let is_message = |told: &&Told| matches!(told, Told::Event(_, Event::Message { .. }));
    assert_eq!(rest.iter().filter(is_message).count(), 1, "{rest:?}");
    again.forget_events(events.cursor());
    let first = again.events(EventCursor(0)).try_event().unwrap();
    assert_eq!(first, Some(Told::Lagged(events.cursor())));
}

/// E8: who has read and forgotten everything hears what comes next, also over a restart: places in
/// the log of events are not used again.
pub(crate) fn places_of_forgotten_events_are_not_used_again(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let (people, groups) = town.group_of(2);
    let mut engine = people[1].engine.clone();
    for round in 1..=3 {
        let mut events = engine.events(engine.last_event());
        groups[0].send(format!("news {round}")).wait().unwrap();
        let heard = loop {
            let told = within(events.next_event()).unwrap().unwrap();
            if let Told::Event(_, Event::Message { group, seq, .. }) = told {
                break engine.group(group).unwrap().messages(Seq(seq.0 - 1), 1).unwrap();
            }
        };
        let Body::Content(content) = &heard[0].1.body;
        assert_eq!(*content, format!("news {round}").into_bytes());
        let kept = engine.last_event();
        engine.forget_events(kept);
        engine.shut_down();
        engine = town.engine_on(Arc::clone(&people[1].store), quick());
        assert_eq!(engine.last_event(), kept, "round {round}");
        assert_eq!(engine.events(kept).try_event().unwrap(), None);
        let first = engine.events(EventCursor(0)).try_event().unwrap();
        assert_eq!(first, Some(Told::Lagged(kept)));
    }
}

/// G11: the same words under the same key are one message, before it has its place, afterwards,
/// and after a restart; other words are another.
pub(crate) fn a_key_is_for_one_message(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let (people, groups) = town.group_of(2);
    let key = [7; 16];
    let id = groups[0].send_once(key, "once").wait().unwrap();
    assert_eq!(groups[0].send_once(key, "once").wait().unwrap(), id);
    settle(&groups[0]);
    assert_eq!(groups[0].send_once(key, "once").wait().unwrap(), id);
    people[0].engine.shut_down();
    let again = town.engine_on(Arc::clone(&people[0].store), quick());
    let group = again.group(groups[0].id()).unwrap();
    assert_eq!(group.send_once(key, "once").wait().unwrap(), id);
    assert_ne!(group.send_once(key, "twice").wait().unwrap(), id);
    settle(&group);
    assert_eq!(read(&people[1], &groups[1], 2), [b"once".to_vec(), b"twice".to_vec()]);
}

/// Calls come from a plain thread and from inside of a runtime of the application's.
pub(crate) fn calls_come_from_anywhere(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let (people, groups) = town.group_of(2);
    let group = groups[0].clone();
    std::thread::spawn(move || group.send("from a thread").wait().unwrap()).join().unwrap();
    let group = groups[0].clone();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { group.send("from a runtime").await.unwrap() });
    // An engine may be dropped inside of a runtime, too.
    assert_eq!(read(&people[1], &groups[1], 2).len(), 2);
    let people = people;
    runtime.block_on(async move { drop(people) });
}

/// G1: added people read from then on, removed ones do not.
pub(crate) fn members_come_and_go(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let (people, groups) = town.group_of(2);
    let third = town.person();
    groups[0].send("before").wait().unwrap();
    settle(&groups[0]);
    groups[0].add(&[third.inbox]).wait().unwrap();
    settle(&groups[0]);
    let of_third = wait_for_group(&third, &groups[0]);
    groups[1].send("with three").wait().unwrap();
    assert_eq!(read(&third, &of_third, 1), [b"with three".to_vec()]);
    groups[0].remove(&[people[1].inbox]).wait().unwrap();
    settle(&groups[0]);
    let mut events = people[1].engine.events(EventCursor(0));
    loop {
        let told = within(events.next_event()).unwrap().unwrap();
        if matches!(told, Told::Event(_, Event::Removed { .. })) {
            break;
        }
        // The removal is final with evidence that the others followed it.
        groups[0].send("without the second").wait().unwrap();
        settle(&groups[0]);
    }
    of_third.send("to the first").wait().unwrap();
    settle(&of_third);
    assert!(shown(&groups[1]).iter().all(|content| content != b"to the first"));
    let error = groups[1].send("still here?").wait().unwrap_err();
    assert!(matches!(error, conclave::Error::Send(_)), "{error:?}");
}

/// I1, G1: a person's second device is added with the first, and shows the same.
pub(crate) fn two_devices_of_one_person(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let (one, two) = (town.person(), town.person());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let second = town.engine_on(Arc::clone(&store), quick());
    let inbox = second.register(AccountKey::from_bytes(&two.account), 0).wait().unwrap();
    assert_eq!(inbox, two.inbox);
    second.sync().wait().unwrap();
    let group = one.engine.create_group(open_group()).wait().unwrap();
    group.add(&[two.inbox]).wait().unwrap();
    settle(&group);
    let device = super::town::Person { engine: second, store, account: two.account, inbox };
    let on_second = wait_for_group(&device, &group);
    wait_for_group(&two, &group);
    on_second.send("from the second device").wait().unwrap();
    assert_eq!(read(&one, &group, 1), read(&two, &group, 1));
    let view = group.view().wait().unwrap();
    assert_eq!(view.members[&two.inbox].len(), 2);
}

/// E7: many groups at once, each with its own role.
pub(crate) fn many_groups_at_once(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let (one, two) = (town.person(), town.person());
    let groups: Vec<_> =
        (0..12).map(|_| one.engine.create_group(open_group()).wait().unwrap()).collect();
    let adds: Vec<_> = groups.iter().map(|group| group.add(&[two.inbox])).collect();
    adds.into_iter().for_each(|add| assert!(add.wait().is_ok()));
    groups.iter().for_each(settle);
    let sends: Vec<_> = groups
        .iter()
        .flat_map(|group| (0..5).map(|number| group.send(format!("message {number}"))))
        .collect();
    sends.into_iter().for_each(|send| assert!(send.wait().is_ok()));
    for group in &groups {
        assert_eq!(read(&two, group, 5).len(), 5);
    }
}

/// E7: a group with nothing to do leaves the memory, and comes back when it is needed.
pub(crate) fn a_group_that_sleeps_wakes_up(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let (one, two) = (town.person(), town.person());
    let mut limits = quick();
    limits.idle_ms = 1;
    two.engine.shut_down();
    let sleepy = town.engine_on(Arc::clone(&two.store), limits);
    let two = super::town::Person { engine: sleepy, ..two };
    let group = one.engine.create_group(open_group()).wait().unwrap();
    group.add(&[two.inbox]).wait().unwrap();
    settle(&group);
    let of_two = wait_for_group(&two, &group);
    for round in 0..10 {
        group.send(format!("round {round}")).wait().unwrap();
        assert_eq!(read(&two, &of_two, 2 * round + 1).len(), 2 * round + 1);
        of_two.send(format!("answer {round}")).wait().unwrap();
        assert_eq!(read(&one, &group, 2 * round + 2).len(), 2 * round + 2);
    }
    settle(&of_two);
    let (mine, theirs) = (group.view().wait().unwrap(), of_two.view().wait().unwrap());
    assert_eq!(mine.authenticator, theirs.authenticator);
}

/// I4: an inbox of a wallet, with a signature over the text that the wallet shows.
pub(crate) fn wallets_found_inboxes(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let one = town.person();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let engine = town.engine_on(Arc::clone(&store), quick());
    let wallet = conclave::core::identity::WalletKey::from_bytes(&[7; 32]).unwrap();
    let account = wallet.account();
    let inbox = engine.register(wallet, 0).wait().unwrap();
    engine.sync().wait().unwrap();
    assert_eq!(one.engine.find(vec![account]).wait().unwrap(), [Some(inbox)]);
    let group = one.engine.create_group(open_group()).wait().unwrap();
    group.add(&[inbox]).wait().unwrap();
    settle(&group);
    let wallet = super::town::Person { engine, store, account: [0; 32], inbox };
    wait_for_group(&wallet, &group).send("gm").wait().unwrap();
    assert_eq!(read(&one, &group, 1), [b"gm".to_vec()]);
}

/// Views are there without asking anybody, and share what has not changed.
pub(crate) fn the_view_needs_no_queue(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let (_people, groups) = town.group_of(2);
    let before = groups[0].view().wait().unwrap();
    groups[0].send("hello").wait().unwrap();
    settle(&groups[0]);
    let after = groups[0].view().wait().unwrap();
    assert!(after.cursor.seq > before.cursor.seq);
    assert_eq!(after.unsettled, 0);
    assert!(after.epoch != before.epoch || Arc::ptr_eq(&after.members, &before.members));
}

/// E8, scenario 82: an application that never reads its events costs a bounded store, and is told
/// that it has missed some.
pub(crate) fn old_events_are_given_up(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let one = town.person();
    one.engine.shut_down();
    let mut limits = quick();
    limits.events = 16;
    let engine = town.engine_on(Arc::clone(&one.store), limits);
    let group = engine.create_group(open_group()).wait().unwrap();
    for number in 0..40 {
        group.send(format!("{number}")).wait().unwrap();
    }
    within(group.settled()).unwrap();
    // The oldest go when the newest has been told, which may be a moment after the answer.
    let asked = std::time::Instant::now();
    loop {
        let mut events = engine.events(EventCursor(0));
        let lagged = matches!(events.try_event().unwrap(), Some(Told::Lagged(_)));
        let kept = std::iter::from_fn(|| events.try_event().unwrap()).count();
        if lagged && (1..=20).contains(&kept) {
            break;
        }
        assert!(asked.elapsed().as_secs() < 60, "{kept} events are kept");
        std::thread::yield_now();
    }
}
