//! Messages: sending, reading, and both.

use std::{
    io::{BufRead as _, Read as _},
    pin::pin,
};

use conclave::{Event, EventCursor, GroupHandle, Seq, Told};
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    Client,
    groups::counted,
    text::{event_json, event_line, message_json, message_line},
    trouble,
};
use crate::{
    args::{ClientArgs, InGroupArgs, ReadArgs, SendArgs},
    failure::Failure,
    hex::hex,
    print::{json_line, line, note},
    signals::wanted_to_end,
};

/// `conclave send`.
pub(crate) fn send(args: &SendArgs, json: bool) -> Result<(), Failure> {
    let client = Client::open(&args.client, json)?;
    let known = client.known_group(&args.group)?;
    let text = if args.text == "-" { input()? } else { args.text.clone() };
    // What happened meanwhile is read first, where that is possible. Perhaps an invitation comes
    // only now.
    let (group, reached) = match known {
        Some(group) => (group, client.sync()),
        None => {
            client.sync()?;
            (client.group(&args.group)?, Ok(()))
        }
    };
    // Storing it waits for the disk only, however long that takes: what fails here is not sent.
    let id = group.send(text).wait()?;
    let stored = |failure: Failure| {
        failure.hint("The message is stored; it goes out the next time that the relay is reached.")
    };
    reached.map_err(stored)?;
    client.wait_stored(group.settled()).map_err(stored)?;
    let id = hex(&id.0);
    client.say(&json!({ "group": hex(&group.id().0), "id": id }), format!("sent {id}"))
}

fn input() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text.trim_end_matches('\n').to_owned())
}

/// `conclave read`.
pub(crate) fn read(args: &ReadArgs, json: bool) -> Result<(), Failure> {
    let client = Client::look(&args.look, json)?;
    let group = client.group(&args.group)?;
    client.print_messages(&group, Seq(args.after)).map(drop)
}

/// `conclave listen`.
pub(crate) fn listen(args: &ClientArgs, json: bool) -> Result<(), Failure> {
    let client = Client::open(args, json)?;
    client.wait(client.engine.find(Vec::new()))?;
    client.wait(client.engine.when_reachable(true))?;
    let mut events = client.engine.events(EventCursor(0));
    client.runtime.block_on(async {
        // One for all turns: a signal may come while a line is printed.
        let mut end = pin!(wanted_to_end());
        let mut change = client.engine.when_reachable(false);
        let mut there = true;
        loop {
            let told = tokio::select! {
                told = events.next_event() => told?,
                () = &mut end => return Ok(()),
                changed = &mut change => {
                    changed?;
                    there = !there;
                    say_whether_there(there);
                    change = client.engine.when_reachable(!there);
                    continue;
                }
            };
            let Some(told) = told else { return Ok(()) };
            if let Told::Event(_, event) = &told {
                client.print_event(event)?;
            }
            // Printed once: whoever listens next hears what comes next.
            client.engine.forget_events(events.cursor());
        }
    })
}

/// `conclave chat`.
pub(crate) fn chat(args: &InGroupArgs, json: bool) -> Result<(), Failure> {
    let client = Client::open(&args.client, json)?;
    let mut last = Seq(0);
    // What is there is shown before the relay is asked for more.
    let known = client.known_group(&args.group)?;
    if let Some(group) = &known {
        client.introduce(group)?;
        last = client.print_messages(group, last)?;
    }
    let reached = client.reach()?;
    let group = match known {
        Some(group) => group,
        None if !reached => return Err(client.too_late()),
        None => {
            let group = client.group(&args.group)?;
            client.introduce(&group)?;
            group
        }
    };
    if !client.engine.is_reachable() {
        say_whether_there(false);
    }
    let mut lines = lines_of_input();
    let mut events = client.engine.events(client.engine.last_event());
    // What came between the two is not lost.
    last = client.print_messages(&group, last)?;
    client.runtime.block_on(async {
        let mut end = pin!(wanted_to_end());
        let mut there = client.engine.is_reachable();
        let mut change = client.engine.when_reachable(!there);
        let mut writes = client.writes.clone();
        let mut stores = trouble(&writes).is_none();
        loop {
            tokio::select! {
                () = writes.next() => {
                    let before = std::mem::replace(&mut stores, trouble(&writes).is_none());
                    if before != stores {
                        say_whether_it_stores(stores);
                    }
                }
                changed = &mut change => {
                    changed?;
                    there = !there;
                    say_whether_there(there);
                    change = client.engine.when_reachable(!there);
                }
                line = lines.recv() => match line {
                    Some(line) if line.trim().is_empty() => {}
                    Some(line) => drop(group.send(line).await?),
                    None => return Ok::<(), Failure>(()),
                },
                told = events.next_event() => {
                    if told?.is_none() {
                        return Ok(());
                    }
                    last = client.print_messages(&group, last)?;
                }
                () = &mut end => return Ok(()),
            }
        }
    })?;
    let stored = "What was written is stored; it goes out the next time.";
    if !client.engine.is_reachable() && client.wait(group.view())?.unsettled > 0 {
        return Err(Failure::relay("it does not answer").hint(stored));
    }
    client.wait_stored(group.settled()).map_err(|failure| failure.hint(stored))
}

/// For whoever looks at the screen; what is printed for scripts is not touched.
fn say_whether_there(there: bool) {
    note(if there {
        "The relay is there again."
    } else {
        "The relay does not answer. What you write is stored, and goes out when it does."
    });
}

/// As [`say_whether_there`].
fn say_whether_it_stores(stores: bool) {
    note(if stores {
        "The relay stores what it gets again."
    } else {
        "The relay is there, but stores nothing for now: its disk is full or fails, or it has too \
         much to do. What you write is stored here, and goes out when that has passed."
    });
}

/// Lines of the input, read by a thread that ends with the process.
fn lines_of_input() -> mpsc::Receiver<String> {
    let (lines, next) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    next
}

impl Client {
    /// Says where one is, beside what is said there.
    fn introduce(&self, group: &GroupHandle) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        let view = self.wait(group.view())?;
        let (id, members) = (hex(&view.id.0), counted(view.members.len(), "member"));
        note(format_args!("Group {id}, {members}. Each line is a message; Ctrl-D ends."));
        Ok(())
    }

    /// Prints what lies behind a place; gives the place of the last message.
    fn print_messages(&self, group: &GroupHandle, after: Seq) -> Result<Seq, Failure> {
        let id = hex(&group.id().0);
        let mut last = after;
        loop {
            let messages = group.messages(last, PAGE)?;
            for (seq, message) in &messages {
                self.say(&message_json(&id, *seq, message), message_line(*seq, message))?;
                last = *seq;
            }
            if messages.is_empty() {
                return Ok(last);
            }
        }
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "messages are shown with their content")]
    fn print_event(&self, event: &Event) -> Result<(), Failure> {
        match event {
            Event::Message { group, seq, .. } => {
                let Some(handle) = self.engine.group(*group) else { return Ok(()) };
                for (at, message) in handle.messages(Seq(seq.0.saturating_sub(1)), 1)? {
                    if at == *seq {
                        let id = hex(&group.0);
                        let text = message_line(at, &message);
                        let short = id.get(..8).unwrap_or_default();
                        self.say(&message_json(&id, at, &message), format!("{short}  {text}"))?;
                    }
                }
            }
            other if self.json => json_line(&event_json(other))?,
            other => event_line(other).into_iter().try_for_each(line)?,
        }
        Ok(())
    }
}

/// Messages that are read at once.
const PAGE: usize = 256;
