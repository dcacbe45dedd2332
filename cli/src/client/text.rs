//! Messages and events, for people and for scripts.

use conclave::{
    Event, GroupId, InboxId, Seq, StoredMessage,
    core::event::{IntentOutcome, Parked, Rejection},
    proto::message::Body,
};
use serde_json::{Value, json};

use crate::{
    hex::{hex, short},
    terminal::shown,
};

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

/// What others wrote may be anything. A terminal does not obey it ([`shown`]), and further lines
/// stand under the first, where no line of somebody else's begins.
fn plain(text: &str) -> String {
    shown(text).replace('\n', "\n                 | ")
}

/// Events that are no messages, for scripts.
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
        Event::Gap { group, sender, first, last } => json!({
            "event": "gap",
            "group": hex(&group.0),
            "installation": hex(&sender.0),
            "first": first,
            "last": last,
        }),
        Event::Rejected { group, seq, reason } => json!({
            "event": "rejected",
            "group": hex(&group.0),
            "seq": seq.0,
            "reason": format!("{reason:?}"),
        }),
        Event::WelcomeRejected { seq, reason } => {
            json!({ "event": "welcome_rejected", "seq": seq.0, "reason": format!("{reason:?}") })
        }
        Event::LogDiffers { group, sender, seq } => json!({
            "event": "log_differs",
            "group": hex(&group.0),
            "installation": hex(&sender.0),
            "seq": seq.0,
        }),
        other => json!({ "event": "other", "detail": format!("{other:?}") }),
    }
}

/// Events that are no messages, for people; `None` for what a person need not know.
#[allow(clippy::wildcard_enum_match_arm, reason = "events grow")]
pub(super) fn event_line(event: &Event) -> Option<String> {
    let line = |group: &GroupId, text: String| Some(format!("{}  -- {text}", short(&group.0)));
    match event {
        Event::EpochChanged { group, added, removed, .. } => {
            let changes = [named("added", added), named("removed", removed)];
            let changes: Vec<String> = changes.into_iter().flatten().collect();
            if changes.is_empty() { None } else { line(group, changes.join("; ")) }
        }
        Event::Joined { group, inviter } => {
            line(group, format!("you are in the group, invited by {}", short(&inviter.0)))
        }
        Event::Removed { group } => line(group, "you are not in the group any more".to_owned()),
        Event::Resumed { group } => line(group, "the group goes on".to_owned()),
        Event::Parked { group, reason: Parked::Removal } => {
            line(group, "you were removed, it seems: the group's next message tells".to_owned())
        }
        Event::Parked { group, reason: Parked::OtherHistory { .. } } => {
            line(group, "the group waits: the relay shows another history than before".to_owned())
        }
        Event::Parked { group, reason } => line(group, format!("the group is stuck: {reason:?}")),
        Event::IntentSettled { group, outcome: IntentOutcome::Failed(fault), .. } => {
            line(group, format!("the group was not changed: {fault:?}"))
        }
        Event::CopyDetected { group, .. } => {
            line(group, "this data folder is in use elsewhere too, as a copy".to_owned())
        }
        Event::Gap { group, sender, first, last } => line(
            group,
            format!("messages {first} to {last} of installation {} are missing", short(&sender.0)),
        ),
        Event::WelcomeRejected { reason, .. } => {
            Some(format!("--  an invitation was not taken: {reason:?}"))
        }
        Event::LogDiffers { group, sender, seq } => line(
            group,
            format!(
                "installation {} was shown another log up to place {}",
                short(&sender.0),
                seq.0
            ),
        ),
        Event::IntentSettled { .. } => None,
        // Nothing of these is lost: it is there already, or comes again.
        Event::Rejected {
            reason:
                Rejection::LostRace | Rejection::Duplicate | Rejection::Replayed | Rejection::TooOld,
            ..
        } => None,
        Event::Rejected { group, seq, reason } => {
            line(group, format!("what stands at place {} counts for nothing: {reason:?}", seq.0))
        }
        other => Some(format!("--  {other:?}")),
    }
}

fn named(what: &str, inboxes: &[InboxId]) -> Option<String> {
    let names: Vec<String> = inboxes.iter().map(|inbox| short(&inbox.0)).collect();
    (!names.is_empty()).then(|| format!("{what}: {}", names.join(", ")))
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
