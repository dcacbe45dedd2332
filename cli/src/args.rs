//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use conclave::quic::HostPort;

/// End-to-end encrypted groups: a demonstration, a relay, and a client.
#[derive(Debug, Parser)]
#[command(name = "conclave", version, after_help = OVERVIEW)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// The data folder, of an installation or of a relay
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(crate) data: Option<PathBuf>,
    /// Print JSON, one object per line, for scripts
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// The command line without what only programs use, for completions.
pub(crate) fn shown() -> clap::Command {
    let all = Arguments::command();
    let commands = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    // The command `help` would name all of them again.
    clap::Command::new("conclave")
        .disable_help_subcommand(true)
        .args(all.get_arguments().cloned())
        .subcommands(commands)
}

const OVERVIEW: &str = "\
First steps:
  conclave demo                        see it work, in some seconds
  conclave relay                       start a relay; it prints its address and certificate
  conclave init --relay HOST:PORT --fingerprint HEX
  conclave whoami                      prints your inbox, for others to add you
  conclave group create
  conclave group add GROUP INBOX
  conclave send GROUP 'Hello'          groups can be named by four or more digits of their id
  conclave chat GROUP

The data folder is ./conclave-data, or CONCLAVE_DATA, or --data. RUST_LOG=debug tells more.

Exit status: 0 done; 1 failed, or a check did; 2 wrong command line; 3 the data folder cannot be
used (another process has it, or nothing is in it); 4 the relay cannot be reached in time, or is
not the one that is trusted; 5 no such group or inbox, or what was asked for is not allowed, too
much, or not signed.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show that it works: a relay, several people, one of them killed on the way
    Demo(DemoArgs),
    /// Run a relay
    Relay(RelayArgs),
    /// Make this data folder an installation of an inbox, which is founded if need be
    Init(InitArgs),
    /// Print inbox, installation and account
    Whoami(FolderArgs),
    /// Create, change and show groups
    #[command(subcommand)]
    Group(GroupCommand),
    /// Send a message to a group
    Send(SendArgs),
    /// Print the messages of a group
    Read(ReadArgs),
    /// Print what happens in all groups, until Ctrl-C
    #[command(
        after_help = "Begins with what has happened since it ran last, and prints nothing twice. \
                            Messages stay: `conclave read` prints them as well."
    )]
    Listen(ClientArgs),
    /// Talk in a group: each line is a message, until the end of input (Ctrl-D) or Ctrl-C
    Chat(InGroupArgs),
    /// Renew this installation's keys in a group
    Keys(InGroupArgs),
    /// Look into the store
    #[command(subcommand)]
    Store(StoreCommand),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  conclave completions bash > ~/.local/share/bash-completion/completions/conclave"
    )]
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// A member that a demonstration talks to
    #[command(name = "__member", hide = true)]
    Member(MemberArgs),
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Starts a relay (QUIC, files), people with one installation each (Bob has two, and one of them is a
process of its own), and lets them talk while members come and go and keys are renewed. The process
is killed in the middle and started again. At the end every member must have every message that the
rules give it, once, in the same order; otherwise the exit status is 1.

Examples:
  conclave demo --seed 7 --messages 1000
  conclave demo --json | jq .ok
  conclave demo --dir ./demo && conclave store info --data ./demo/alice")]
pub(crate) struct DemoArgs {
    /// Number that the course of events is made from; another one each time if it is left out
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// How many people, at least two
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=64))]
    pub(crate) people: u16,
    /// How many messages
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) messages: u32,
    /// Keep the stores in this folder, which must be new or empty
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dir: Option<PathBuf>,
    /// What people sign with
    #[arg(long, value_enum, default_value_t = Accounts::Both)]
    pub(crate) accounts: Accounts,
    /// Seconds after which it has failed; its folder then stays, for looking into it
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

/// What the people of a demonstration sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Accounts {
    /// Account keys (Ed25519)
    Keys,
    /// Wallets (secp256k1, EIP-191)
    Wallets,
    /// One has a key, the next a wallet
    Both,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Logs and certificate are kept in the folder, so that both stay over restarts.
Ctrl-C or SIGTERM end it cleanly.

Examples:
  conclave relay
  conclave relay --listen 0.0.0.0:4433 --data /var/lib/conclave-relay
  conclave relay --listen 127.0.0.1:0 --json     a free port; prints {\"address\":…,\"fingerprint\":…}")]
pub(crate) struct RelayArgs {
    /// Address to listen on; port 0 is a free one
    #[arg(long, default_value = "127.0.0.1:4433", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// Where logs and certificate are kept
    #[arg(long, default_value = "./conclave-relay", value_name = "FOLDER")]
    pub(crate) data: PathBuf,
}

/// Where the installation is.
#[derive(Clone, Debug, Args)]
pub(crate) struct FolderArgs {
    /// The data folder
    #[arg(long, env = "CONCLAVE_DATA", default_value = "./conclave-data", value_name = "FOLDER")]
    pub(crate) data: PathBuf,
}

/// Where the installation is, and how long to wait for the relay.
#[derive(Clone, Debug, Args)]
pub(crate) struct ClientArgs {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    /// Seconds to wait for the relay
    #[arg(long, default_value_t = 20, value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Without a key, an account key is made and kept in the data folder (account.key, for its owner
only): whoever has it can add devices to your inbox. Use the same key on each of your devices; a
new one is in no group until `group add GROUP YOUR-OWN-INBOX` has added it.

Examples:
  conclave init --relay 127.0.0.1:4433 --fingerprint HEX
  conclave init … --account-key ~/phone/account.key --data ./laptop
  conclave init … --wallet-key ./wallet.hex
  conclave init … --account 0xADDRESS --sign-with 'my-wallet sign --stdin'
      The command gets the text to sign on its input and prints the signature in hex.")]
pub(crate) struct InitArgs {
    /// The relay's address and port, like 192.0.2.7:4433 or relay.example:4433
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) relay: HostPort,
    /// The relay's certificate, as it prints it
    #[arg(long, value_name = "HEX")]
    pub(crate) fingerprint: String,
    /// File with an account key: 32 bytes in hex
    #[arg(long, value_name = "FILE", group = "signer")]
    pub(crate) account_key: Option<PathBuf>,
    /// File with a wallet's private key: 32 bytes in hex
    #[arg(long, value_name = "FILE", group = "signer")]
    pub(crate) wallet_key: Option<PathBuf>,
    /// Command that signs for a wallet
    #[arg(long, value_name = "COMMAND", group = "signer", requires = "account")]
    pub(crate) sign_with: Option<String>,
    /// The wallet's address, for --sign-with
    #[arg(long, value_name = "0x…", requires = "sign_with")]
    pub(crate) account: Option<String>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Debug, Subcommand)]
#[command(
    after_help = "Groups, and inboxes of people in one of your groups, can be named by the first digits of\ntheir id, four at least."
)]
pub(crate) enum GroupCommand {
    /// Found a group and print its id
    Create {
        /// Let every member remove others; otherwise only admins do
        #[arg(long)]
        open: bool,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Add inboxes, with all their installations
    #[command(
        after_help = "Example:\n  conclave group add 3f2a $(conclave whoami --data ./bob --json | jq -r .inbox)"
    )]
    Add(MembersArgs),
    /// Remove inboxes, with all their installations
    Remove(MembersArgs),
    /// List the groups of this installation
    List(LookArgs),
    /// List the members of a group
    Members(LookAtArgs),
    /// Show how a group stands
    Show(LookAtArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct InGroupArgs {
    /// The group
    pub(crate) group: String,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// What is looked at, with the relay's news or without.
#[derive(Clone, Debug, Args)]
pub(crate) struct LookArgs {
    /// Do not ask the relay for news
    #[arg(long)]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct LookAtArgs {
    /// The group
    pub(crate) group: String,
    #[command(flatten)]
    pub(crate) look: LookArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct MembersArgs {
    /// The group
    pub(crate) group: String,
    /// Their inboxes
    #[arg(required = true)]
    pub(crate) inboxes: Vec<String>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
The message is stored first. If the relay cannot be reached in time it goes out the next time that
anything runs in this data folder.

Examples:
  conclave send 3f2a 'Good morning'
  date | conclave send 3f2a -            reads the message from its input")]
pub(crate) struct SendArgs {
    /// The group
    pub(crate) group: String,
    /// The message; - reads it from the input
    pub(crate) text: String,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  conclave read 3f2a
  conclave read 3f2a --after 120 --json  what came behind place 120 of the group's log")]
pub(crate) struct ReadArgs {
    /// The group
    pub(crate) group: String,
    /// Only what lies behind this place in the group's log
    #[arg(long, default_value_t = 0, value_name = "PLACE")]
    pub(crate) after: u64,
    #[command(flatten)]
    pub(crate) look: LookArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Print records and bytes of each table
    Info(FolderArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct MemberArgs {
    /// The data folder
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// The relay's address
    #[arg(long)]
    pub(crate) relay: HostPort,
    /// The relay's certificate
    #[arg(long)]
    pub(crate) fingerprint: String,
}
