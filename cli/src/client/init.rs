//! `conclave init`: an installation of an inbox.

use std::{fs, path::Path};

use conclave::{
    Account, AccountKey, AccountSigner as _, InboxId,
    core::{
        delivery::{DeliveryService as _, PageLimit},
        identity::WalletKey,
    },
    proto::{Cursor, Topic},
    quic::RelayAddress,
};
use serde_json::json;
use zeroize::Zeroizing;

use super::Client;
use crate::{
    args::InitArgs,
    failure::{Exit, Failure},
    folder::{Folder, Settings, relay_address},
    hex::{self, hex},
    signer::Signer,
};

pub(crate) fn init(args: &InitArgs, json: bool) -> Result<(), Failure> {
    let relay = relay_address(args.relay.clone(), &args.fingerprint)?;
    let given = given_signer(args)?;
    let folder = Folder::create(&args.client.folder.data)?;
    // The store before a key is made: perhaps another process has it.
    let store = folder.make_store()?;
    let settings = Settings {
        relay: args.relay.to_string(),
        fingerprint: args.fingerprint.clone(),
        account: String::new(),
    };
    let remote = relay.clone().remote();
    let mut client = Client::over(store, remote, settings, args.client.timeout, json)?;
    let was_registered = client.engine.inbox().is_some();
    let signer = match given {
        Some(signer) => signer,
        None => own_key(&folder, was_registered)?,
    };
    let account = signer.account().identifier();
    client.settings.account.clone_from(&account);
    // A person may have to look for a wallet: that does not count as the relay's time.
    let registered = client.engine.register(signer, 0);
    let inbox = if args.sign_with.is_some() {
        client.runtime.block_on(registered).map_err(|error| client.explained(error.into()))?
    } else {
        client.wait_stored(registered)?
    };
    // A relay that does not answer, or not for this inbox, is not remembered in the place of one
    // that did.
    client.sync()?;
    let entries = client.entries_at(relay, inbox)?;
    folder.save_settings(&client.settings)?;
    let installation = client.engine.installation().map(|id| hex(&id.0)).unwrap_or_default();
    let inbox = inbox.to_hex();
    let value = json!({ "inbox": inbox, "installation": installation, "account": account });
    let next = if was_registered {
        "This device was registered before; it goes on where it was.".to_owned()
    } else if entries == 1 {
        "Give your inbox to others, so that they can add you to groups; or make one yourself:\n\
         \x20 conclave group create"
            .to_owned()
    } else {
        format!(
            "Your inbox had devices before. This one is in no group until somebody who is in it \
             runs, for\neach group, also if you are in it with another device:\n\
             \x20 conclave group add GROUP {inbox}"
        )
    };
    let ids = format!("inbox        {inbox}\ninstallation {installation}\naccount      {account}");
    client.say(&value, format!("{ids}\n\n{next}"))
}

impl Client {
    /// How many entries the relay has of the inbox's log; one at least.
    fn entries_at(&self, relay: RelayAddress, inbox: InboxId) -> Result<usize, Failure> {
        let after = vec![(Topic::Identity(inbox), Cursor::START)];
        let pages = self.wait(async {
            let pages = relay.remote().fetch(after, PageLimit::default()).await;
            pages.map_err(conclave::Error::Transport)
        })?;
        let entries = pages.first().map_or(0, |page| page.records.len());
        if entries > 0 {
            return Ok(entries);
        }
        Err({
            Failure::new(Exit::Relay, "this relay does not have your inbox").hint(
                "It was founded at another relay, and taking it to a new one is not possible yet. \
                 For this relay, use another folder with --data.",
            )
        })
    }
}

/// Whoever signs, if the command line says who.
fn given_signer(args: &InitArgs) -> Result<Option<Signer>, Failure> {
    if let Some(command) = &args.sign_with {
        let address = args.account.as_deref().and_then(hex::array);
        let account = address.map(Account::wallet).ok_or_else(|| {
            Failure::new(Exit::Usage, "--account is no address of a wallet")
                .hint("An address has 40 hex digits: 0x…")
        })?;
        return Ok(Some(Signer::Command { account, command: command.clone() }));
    }
    if let Some(path) = &args.wallet_key {
        let secret = read_secret(path)?;
        let key = WalletKey::from_bytes(&secret).ok_or_else(|| no_key(path))?;
        return Ok(Some(Signer::Wallet(key)));
    }
    let Some(path) = &args.account_key else { return Ok(None) };
    Ok(Some(Signer::Key(AccountKey::from_bytes(&*read_secret(path)?))))
}

/// The account key in the folder; a new one unless the folder was made with another signer.
fn own_key(folder: &Folder, registered: bool) -> Result<Signer, Failure> {
    let path = folder.account_key_path();
    if registered && !path.exists() {
        let text = "the key or wallet that this folder was made with is not in it";
        return Err(Failure::new(Exit::Usage, text).hint(
            "Name it again with --account-key, --wallet-key or --sign-with, or use another folder \
             with --data.",
        ));
    }
    AccountKey::in_file(&path).map(Signer::Key).map_err(|error| {
        Failure::new(Exit::Folder, format!("the account key {}: {error}", path.display()))
    })
}

fn read_secret(path: &Path) -> Result<Zeroizing<[u8; 32]>, Failure> {
    let text = fs::read_to_string(path).map(Zeroizing::new).map_err(|error| {
        Failure::new(Exit::Failed, format!("{} cannot be read: {error}", path.display()))
    })?;
    hex::array(text.trim()).map(Zeroizing::new).ok_or_else(|| no_key(path))
}

fn no_key(path: &Path) -> Failure {
    Failure::new(Exit::Failed, format!("{} holds no key", path.display()))
        .hint("A key is 32 bytes, written as 64 hex digits.")
}
