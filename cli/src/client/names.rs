//! Groups and inboxes by the first digits of their ids.

use std::collections::BTreeSet;

use conclave::{Account, GroupHandle, InboxId};

use super::Client;
use crate::{
    failure::{Exit, Failure},
    hex::{self, hex},
};

impl Client {
    /// The group whose id begins like that.
    pub(super) fn group(&self, prefix: &str) -> Result<GroupHandle, Failure> {
        let none = || {
            Failure::new(Exit::Refused, format!("no group begins with {prefix:?}"))
                .hint("`conclave group list` shows what there is.")
        };
        self.known_group(prefix)?.ok_or_else(none)
    }

    /// The group whose id begins like that, if there is one so far.
    pub(super) fn known_group(&self, prefix: &str) -> Result<Option<GroupHandle>, Failure> {
        long_enough("a group", prefix)?;
        let wanted = prefix.to_ascii_lowercase();
        let mut groups = self.engine.groups();
        groups.retain(|group| hex(&group.id().0).starts_with(&wanted));
        let ids: Vec<String> = groups.iter().map(|group| hex(&group.id().0)).collect();
        at_most_one(prefix, &ids)?;
        Ok(groups.pop())
    }

    /// The inbox with this id, of this wallet, or of somebody in one of the groups whose inbox
    /// begins like that.
    pub(super) fn inbox(&self, name: &str) -> Result<InboxId, Failure> {
        if let Some(id) = hex::array(name) {
            return Ok(InboxId(id));
        }
        if let Some(address) = name.strip_prefix("0x").and_then(hex::array) {
            let found = self.wait(self.engine.find(vec![Account::wallet(address)]))?;
            let found = found.into_iter().next().flatten();
            let nobody = || {
                Failure::new(
                    Exit::Refused,
                    format!("the relay knows no inbox of the wallet {name}"),
                )
            };
            return found.ok_or_else(nobody);
        }
        long_enough("an inbox", name)?;
        let known = self.known_inboxes()?;
        let wanted = name.to_ascii_lowercase();
        let matching: Vec<InboxId> =
            known.into_iter().filter(|inbox| inbox.to_hex().starts_with(&wanted)).collect();
        let ids: Vec<String> = matching.iter().map(InboxId::to_hex).collect();
        at_most_one(name, &ids)?;
        let none = || {
            let text = format!("no known inbox begins with {name:?}");
            Failure::new(Exit::Refused, text).hint(
                "Known are the members of your groups; others have a whole id, which `conclave \
                 whoami` of theirs prints.",
            )
        };
        matching.first().copied().ok_or_else(none)
    }

    fn known_inboxes(&self) -> Result<BTreeSet<InboxId>, Failure> {
        let mut known: BTreeSet<InboxId> = self.engine.inbox().into_iter().collect();
        for group in self.engine.groups() {
            // One that does not load names nobody.
            if let Ok(view) = self.wait(group.view()) {
                known.extend(view.members.keys());
            }
        }
        Ok(known)
    }
}

/// A script whose variable is empty means nobody.
fn long_enough(what: &str, prefix: &str) -> Result<(), Failure> {
    if prefix.len() >= FEWEST_DIGITS {
        return Ok(());
    }
    let text = format!("{prefix:?} is too short to name {what}");
    Err(Failure::new(Exit::Refused, text).hint("Give four digits or more."))
}

const FEWEST_DIGITS: usize = 4;

fn at_most_one(prefix: &str, found: &[String]) -> Result<(), Failure> {
    if found.len() <= 1 {
        return Ok(());
    }
    let text = format!("{prefix:?} can mean {}", found.join(" or "));
    Err(Failure::new(Exit::Refused, text).hint("Give more digits."))
}
