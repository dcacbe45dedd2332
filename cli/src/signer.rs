//! Accounts that sign: keys in memory, and commands that have one elsewhere.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use conclave::{
    Account, AccountKey, AccountSigner,
    core::{bounds::BoxFuture, identity::WalletKey},
};

use crate::hex;

/// Whoever signs for an account.
pub(crate) enum Signer {
    Key(AccountKey),
    Wallet(WalletKey),
    Command { account: Account, command: String },
}

impl AccountSigner for Signer {
    fn account(&self) -> Account {
        match self {
            Self::Key(key) => key.account(),
            Self::Wallet(key) => key.account(),
            Self::Command { account, .. } => account.clone(),
        }
    }

    fn sign(&self, text: &str) -> BoxFuture<'_, Result<Vec<u8>, &'static str>> {
        match self {
            Self::Key(key) => AccountSigner::sign(key, text),
            Self::Wallet(key) => AccountSigner::sign(key, text),
            Self::Command { command, .. } => {
                let (command, text) = (command.clone(), text.to_owned());
                Box::pin(async move {
                    // A person may have to think about it.
                    let signing = tokio::task::spawn_blocking(move || ask(&command, &text));
                    signing.await.unwrap_or(Err("the command could not be run"))
                })
            }
        }
    }
}

/// Gives a command the text on its input, and reads hex from its output.
fn ask(command: &str, text: &str) -> Result<Vec<u8>, &'static str> {
    let mut shell = if cfg!(windows) { Command::new("cmd") } else { Command::new("sh") };
    shell.arg(if cfg!(windows) { "/C" } else { "-c" }).arg(command);
    let child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|_| "the command could not be run")?;
    if let Some(mut input) = child.stdin.take() {
        // One that does not want to read has an answer all the same.
        drop(input.write_all(text.as_bytes()));
    }
    let output = child.wait_with_output().map_err(|_| "the command could not be run")?;
    if !output.status.success() {
        return Err("the command failed");
    }
    let printed = String::from_utf8(output.stdout).map_err(|_| "the command printed no hex")?;
    hex::bytes(printed.trim()).ok_or("the command printed no hex")
}
