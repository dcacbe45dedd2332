//! `conclave init`: an installation of an inbox.

use std::{fs, path::Path};

use conclave::{Account, AccountKey, AccountSigner as _, core::identity::WalletKey};
use serde_json::json;
use zeroize::Zeroizing;

use super::Client;
use crate::{
    args::InitArgs,
    failure::{Exit, Failure},
    folder::{Folder, Settings, relay_address, write_secret},
    hex::{self, hex},
    signer::Signer,
};

pub(crate) fn init(args: &InitArgs, json: bool) -> Result<(), Failure> {
    let relay = relay_address(args.relay, &args.fingerprint)?;
    let folder = Folder::create(&args.client.data)?;
    // The store first: if another process has it, no key is made.
    let (engine, _) = folder.open_engine(relay)?;
    let signer = signer(args, &folder)?;
    let account = signer.account().identifier();
    let fingerprint = args.fingerprint.clone();
    let settings = Settings { relay: args.relay, fingerprint, account: account.clone() };
    let client = Client::over(engine, settings, &args.client, json)?;
    // A person may have to look for a wallet: that does not count as the relay's time.
    let registered = client.engine.register(signer, 0);
    let inbox = if args.sign_with.is_some() {
        client.runtime.block_on(registered)?
    } else {
        client.wait(registered)?
    };
    // A relay that does not answer is not remembered in the place of one that did.
    client.sync()?;
    folder.save_settings(&client.settings)?;
    let installation = client.engine.installation().map(|id| hex(&id.0)).unwrap_or_default();
    let inbox = inbox.to_hex();
    let value = json!({ "inbox": inbox, "installation": installation, "account": account });
    let lines = format!(
        "inbox        {inbox}\ninstallation {installation}\naccount      {account}\n\n\
         Give your inbox to others, so that they can add you to groups; or make one yourself:\n\
         \x20 conclave group create"
    );
    client.say(&value, lines);
    Ok(())
}

fn signer(args: &InitArgs, folder: &Folder) -> Result<Signer, Failure> {
    if let Some(command) = &args.sign_with {
        let address = args.account.as_deref().and_then(hex::array);
        let account = address.map(Account::wallet).ok_or_else(|| {
            Failure::new(Exit::Failed, "--account is no address of a wallet")
                .hint("An address has 40 hex digits: 0x…")
        })?;
        return Ok(Signer::Command { account, command: command.clone() });
    }
    if let Some(path) = &args.wallet_key {
        let secret = read_secret(path)?;
        let key = WalletKey::from_bytes(&secret).ok_or_else(|| no_key(path))?;
        return Ok(Signer::Wallet(key));
    }
    let path = args.account_key.clone().unwrap_or_else(|| folder.account_key_path());
    if args.account_key.is_none() && !path.exists() {
        let key = AccountKey::generate()?;
        write_secret(&path, &Zeroizing::new(hex(&*key.to_bytes())))?;
        return Ok(Signer::Key(key));
    }
    Ok(Signer::Key(AccountKey::from_bytes(&*read_secret(&path)?)))
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
