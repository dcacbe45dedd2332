//! Groups: making, changing and showing them.

use std::sync::Arc;

use conclave::{
    Error, GroupConfig, GroupHandle, GroupView,
    core::{event::IntentOutcome, group::Standing, store::StoreError},
    proto::group::Policy,
};
use serde_json::{Value, json};

use super::Client;
use crate::{
    args::{ClientArgs, FolderArgs, GroupCommand, InGroupArgs, LookAtArgs, MembersArgs},
    failure::{Exit, Failure},
    hex::hex,
};

pub(crate) fn whoami(args: &FolderArgs, json: bool) -> Result<(), Failure> {
    let client = Client::open(&ClientArgs { folder: args.clone(), timeout: 0 }, json)?;
    let inbox = client.engine.inbox().map(|id| id.to_hex()).unwrap_or_default();
    let installation = client.engine.installation().map(|id| hex(&id.0)).unwrap_or_default();
    let (account, relay) = (&client.settings.account, &client.settings.relay);
    let value = json!({
        "inbox": inbox,
        "installation": installation,
        "account": account,
        "relay": relay,
    });
    let lines = format!(
        "inbox        {inbox}\ninstallation {installation}\naccount      {account}\nrelay        {relay}"
    );
    client.say(&value, lines)
}

pub(crate) fn group(command: &GroupCommand, json: bool) -> Result<(), Failure> {
    match command {
        GroupCommand::Create { open, client } => create(*open, &Client::open(client, json)?),
        GroupCommand::Add(args) => add(args, &Client::open(&args.client, json)?),
        GroupCommand::Remove(args) => remove(args, &Client::open(&args.client, json)?),
        GroupCommand::List(args) => list(&Client::look(args, json)?),
        GroupCommand::Members(args) => members(args, &Client::look(&args.look, json)?),
        GroupCommand::Show(args) => show(args, &Client::look(&args.look, json)?),
    }
}

/// `conclave keys`.
pub(crate) fn keys(args: &InGroupArgs, json: bool) -> Result<(), Failure> {
    let client = Client::open(&args.client, json)?;
    client.sync()?;
    let group = client.group(&args.group)?;
    let outcome = client.wish(|| group.update_keys())?;
    client.changed(&group, outcome, "keys renewed")
}

fn create(open: bool, client: &Client) -> Result<(), Failure> {
    let policy = if open { Policy::OPEN } else { Policy::MODERATED };
    let config = GroupConfig { policy, ..GroupConfig::default() };
    let group = client.wait(client.engine.create_group(config))?;
    let id = hex(&group.id().0);
    client.say(&json!({ "group": id }), &id)
}

fn add(args: &MembersArgs, client: &Client) -> Result<(), Failure> {
    client.sync()?;
    let group = client.group(&args.group)?;
    let inboxes: Result<Vec<_>, _> = args.inboxes.iter().map(|name| client.inbox(name)).collect();
    let inboxes = inboxes?;
    let outcome = client.wish(|| group.add(&inboxes))?;
    client.changed(&group, outcome, "added")
}

fn remove(args: &MembersArgs, client: &Client) -> Result<(), Failure> {
    client.sync()?;
    let group = client.group(&args.group)?;
    let inboxes: Result<Vec<_>, _> = args.inboxes.iter().map(|name| client.inbox(name)).collect();
    let inboxes = inboxes?;
    let outcome = client.wish(|| group.remove(&inboxes))?;
    client.changed(&group, outcome, "removed")
}

fn list(client: &Client) -> Result<(), Failure> {
    for group in client.engine.groups() {
        let view = match client.wait(readable(&group))? {
            Ok(view) => view,
            Err(error) => {
                let id = hex(&group.id().0);
                let why = error.to_string();
                client.say(
                    &json!({ "group": id, "error": why }),
                    format!("{id}  cannot be read: {why}"),
                )?;
                continue;
            }
        };
        let line = format!(
            "{}  {}, epoch {}, {}",
            hex(&view.id.0),
            counted(view.members.len(), "member"),
            view.epoch.0,
            standing(&view)
        );
        client.say(&describe(&view), line)?;
    }
    Ok(())
}

/// The view of a group, or what is wrong with this group alone.
#[allow(clippy::wildcard_enum_match_arm, reason = "errors of others grow")]
async fn readable(group: &GroupHandle) -> Result<Result<Arc<GroupView>, Error>, Error> {
    match group.view().await {
        Err(error) => match error {
            Error::UnknownGroup | Error::Load(_) | Error::Store(StoreError::Corrupt) => {
                Ok(Err(error))
            }
            whole => Err(whole),
        },
        Ok(view) => Ok(Ok(view)),
    }
}

fn members(args: &LookAtArgs, client: &Client) -> Result<(), Failure> {
    let view = client.wait(client.group(&args.group)?.view())?;
    for (inbox, installations) in view.members.iter() {
        let inbox = inbox.to_hex();
        let installations: Vec<String> = installations.iter().map(|id| hex(&id.0)).collect();
        let value = json!({ "inbox": inbox, "installations": installations });
        let devices = counted(installations.len(), "installation");
        client.say(&value, format!("{inbox}  {devices}"))?;
    }
    Ok(())
}

fn show(args: &LookAtArgs, client: &Client) -> Result<(), Failure> {
    let view = client.wait(client.group(&args.group)?.view())?;
    let lines = format!(
        "group     {}\nstanding  {}\nepoch     {}\nmembers   {}\nread to   place {}\n\
         waiting   {} messages, {} wishes",
        hex(&view.id.0),
        standing(&view),
        view.epoch.0,
        view.members.len(),
        view.cursor.seq.0,
        view.unsettled,
        view.wishes
    );
    client.say(&describe(&view), lines)
}

fn describe(view: &GroupView) -> Value {
    json!({
        "group": hex(&view.id.0),
        "standing": standing(view),
        "epoch": view.epoch.0,
        "members": view.members.len(),
        "seq": view.cursor.seq.0,
        "unsettled": view.unsettled,
        "wishes": view.wishes,
    })
}

pub(super) fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        several => format!("{several} {what}s"),
    }
}

const fn standing(view: &GroupView) -> &'static str {
    match view.standing {
        Standing::Member => "member",
        Standing::Stuck { removal: true, .. } => {
            "removed, it seems: the group's next message tells"
        }
        Standing::Stuck { .. } => "stuck",
        Standing::Forked { .. } => "waiting: the relay shows another history than before",
        Standing::Removed { .. } => "removed",
    }
}

impl Client {
    /// Says how a change ended, once everything that belongs to it is at the relay.
    #[allow(clippy::wildcard_enum_match_arm, reason = "ways to fail grow")]
    fn changed(
        &self,
        group: &GroupHandle,
        outcome: IntentOutcome,
        done: &str,
    ) -> Result<(), Failure> {
        let how = match outcome {
            IntentOutcome::Done => done,
            IntentOutcome::AlreadySo => "it was so already",
            other => {
                let text = format!("the group was not changed: {other:?}");
                return Err(Failure::new(Exit::Refused, text));
            }
        };
        self.wait_stored(group.settled())?;
        let view = self.wait(group.view())?;
        let epoch = view.epoch.0;
        let value = json!({ "group": hex(&view.id.0), "outcome": how, "epoch": epoch });
        self.say(&value, format!("{how}, epoch {epoch}"))
    }
}
