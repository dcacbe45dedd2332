//! Applying a state delta: the settings' part.

use alloc::{collections::BTreeMap, sync::Arc};

use conclave_proto::{
    InboxId,
    group::{Right, SettingChange, Settings, StateDelta},
    limits,
};

use super::{Entry, State};
use crate::event::CommitFault;

impl State {
    /// The settings after a delta. Rights are those from before the commit (scenario 28); only
    /// inboxes of the roster after it can be admins.
    pub(super) fn changed_settings(
        &self,
        delta: &StateDelta,
        committer: &InboxId,
        roster: &BTreeMap<InboxId, Arc<Entry>>,
    ) -> Result<Settings, CommitFault> {
        let mut settings = (*self.settings).clone();
        for change in &delta.settings {
            if !self.may(committer, self.right_for(change)) {
                return Err(CommitFault::Right);
            }
            set(&mut settings, change, roster)?;
        }
        settings.admins.retain(|inbox| roster.contains_key(inbox));
        if settings.super_admins.is_empty() {
            return Err(CommitFault::Right);
        }
        Ok(settings)
    }

    fn right_for(&self, change: &SettingChange) -> Right {
        let policy = &self.settings.policy;
        match change {
            SettingChange::Field(..) => policy.fields,
            SettingChange::Policy(_) => policy.policy,
            SettingChange::Admin(..) => policy.admins,
            SettingChange::SuperAdmin(..) | SettingChange::Rules(_) => Right::SuperAdmins,
        }
    }
}

fn set(
    settings: &mut Settings,
    change: &SettingChange,
    roster: &BTreeMap<InboxId, Arc<Entry>>,
) -> Result<(), CommitFault> {
    match change {
        SettingChange::Field(field, value) => set_field(settings, *field, value.as_deref()),
        SettingChange::Policy(policy) => {
            settings.policy = *policy;
            Ok(())
        }
        SettingChange::Admin(inbox, on) => {
            member(roster, inbox)?;
            if *on {
                settings.admins.insert(*inbox)
            } else {
                settings.admins.remove(inbox)
            };
            Ok(())
        }
        SettingChange::SuperAdmin(inbox, on) => {
            member(roster, inbox)?;
            let set = &mut settings.super_admins;
            if *on {
                set.insert(*inbox)
            } else {
                set.remove(inbox)
            };
            Ok(())
        }
        // Every leaf of version 1 advertises version 1 and nothing higher.
        SettingChange::Rules(_) => Err(CommitFault::Limit),
    }
}

fn set_field(settings: &mut Settings, field: u16, value: Option<&[u8]>) -> Result<(), CommitFault> {
    match value {
        None => {
            settings.fields.remove(&field);
        }
        Some(value) if value.len() > limits::FIELD_BYTES => return Err(CommitFault::Limit),
        Some(value) => {
            settings.fields.insert(field, value.to_vec());
        }
    }
    if settings.fields.len() > limits::FIELDS_PER_GROUP {
        return Err(CommitFault::Limit);
    }
    Ok(())
}

fn member(roster: &BTreeMap<InboxId, Arc<Entry>>, inbox: &InboxId) -> Result<(), CommitFault> {
    if roster.contains_key(inbox) { Ok(()) } else { Err(CommitFault::Delta) }
}
