//! Messages and events, for people and for scripts.

use conclave::{Event, InboxId, Seq, StoredMessage, proto::message::Body};
use serde_json::{Value, json};

use crate::hex::{hex, short};

pub(super) fn message_json(group: &str, seq: Seq, message: &StoredMessage) -> Value {
    json!({
        "event": "message",
        "group": group,
        "seq": seq.0,
        "id": hex(&message.id.0),
        "inbox": message.inbox.to_hex(),
        "installation": hex(&message.installation.0),
        "epoch": message.epoch.0,
        "time_ms": message.time.0,
        "text": content(message),
    })
}

pub(super) fn message_line(seq: Seq, message: &StoredMessage) -> String {
    format!("{:>5}  {}  {}", seq.0, short(&message.inbox.0), plain(&content(message)))
}

fn content(message: &StoredMessage) -> String {
    let Body::Content(content) = &message.body;
    String::from_utf8_lossy(content).into_owned()
}

/// What others wrote may be anything; a terminal is not to obey it.
fn plain(text: &str) -> String {
    let escape = |char: char| match char {
        // Further lines stand under the first, where no line of somebody else's begins.
        '\n' => "\n                 | ".chars().collect(),
        '\t' => vec![char],
        other if other.is_control() => other.escape_unicode().collect(),
        other => vec![other],
    };
    text.chars().flat_map(escape).collect()
}

/// Events that are no messages.
#[allow(clippy::wildcard_enum_match_arm, reason = "events grow")]
pub(super) fn event_json(event: &Event) -> Value {
    let names = |ids: &[InboxId]| ids.iter().map(InboxId::to_hex).collect::<Vec<_>>();
    match event {
        Event::EpochChanged { group, epoch, added, removed } => json!({
            "event": "epoch",
            "group": hex(&group.0),
            "epoch": epoch.0,
            "added": names(added),
            "removed": names(removed),
        }),
        Event::Joined { group, inviter } => {
            json!({ "event": "joined", "group": hex(&group.0), "inviter": inviter.to_hex() })
        }
        Event::Removed { group } => json!({ "event": "removed", "group": hex(&group.0) }),
        Event::Resumed { group } => json!({ "event": "resumed", "group": hex(&group.0) }),
        Event::Parked { group, reason } => {
            json!({ "event": "parked", "group": hex(&group.0), "reason": format!("{reason:?}") })
        }
        Event::IntentSettled { group, outcome, .. } => json!({
            "event": "wish",
            "group": hex(&group.0),
            "outcome": format!("{outcome:?}"),
        }),
        Event::CopyDetected { group, seq } => {
            json!({ "event": "copy_detected", "group": hex(&group.0), "seq": seq.0 })
        }
        other => json!({ "event": "other", "detail": format!("{other:?}") }),
    }
}

pub(super) fn event_line(event: &Event) -> String {
    let value = event_json(event);
    let text = |key: &str| match value.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let mut line = text("event");
    if let Value::Object(fields) = &value {
        for key in fields.keys().filter(|key| *key != "event") {
            line += &format!("  {key} {}", text(key));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::plain;

    /// Nobody puts words into somebody else's mouth.
    #[test]
    fn a_message_of_several_lines_forges_no_line_of_the_timeline() {
        let shown = plain("mine\n   99  c9d3b4f5  forged");
        assert!(shown.lines().skip(1).all(|line| line.starts_with("                 | ")));
    }

    /// S18 in spirit: nobody moves somebody else's cursor.
    #[test]
    fn control_characters_of_others_are_shown_and_not_obeyed() {
        assert_eq!(plain("a\u{1b}[2Jb\rc"), "a\\u{1b}[2Jb\\u{d}c");
    }
}
