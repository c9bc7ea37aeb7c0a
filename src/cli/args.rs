//! What may stand on the command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, value_parser};
use clap_complete::Shell;
use seriatim::Limits;
use seriatim::protocol::Name;
use seriatim::server::Config;
use seriatim::server::smol::sockets::Address;

use super::accounts::LiveAccounts;
use super::machine;
use super::orders::Order;
use super::settings::{self, Settings};
use super::units::{Count, Network, OrOff, Seconds};

/// Where the server listens and the client connects if nothing else is said.
const ADDRESS: &str = "127.0.0.1:7878";

/// The longest that Linux waits before it asks a silent peer.
const KEEPALIVE_S_MAX: u32 = 32_767;

/// A small, fast, strict chat broker, and a client for it.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve clients until SIGINT or SIGTERM.
    Serve(Box<ServeOptions>),
    /// Talk through a server: at a prompt, or with lines piped in and out.
    Chat(ChatOptions),
    /// Reserve names for those who know their passwords.
    Account(AccountOptions),
    /// Check or show the configuration of a server.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Give orders to a server that runs.
    Ctl(CtlOptions),
    /// Print what makes a shell complete these commands.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Print the manual page, or write those of all commands to a folder.
    Man {
        /// Where to write them.
        #[arg(value_name = "DIR")]
        folder: Option<PathBuf>,
    },
}

#[derive(Args)]
pub(crate) struct AccountOptions {
    /// The file that holds the accounts; it is made if there is none.
    #[arg(long, value_name = "FILE", global = true, default_value = "accounts.toml")]
    pub(crate) accounts: PathBuf,

    #[command(subcommand)]
    pub(crate) command: AccountCommand,
}

#[derive(Subcommand)]
pub(crate) enum AccountCommand {
    /// Reserve a name for whoever knows its password: typed at the terminal, or a line of standard input.
    Add { name: Name },
    /// Give an account another password.
    Passwd { name: Name },
    /// Reserve a name no longer.
    Remove { name: Name },
    /// Show who has an account.
    List,
}

/// Where a server takes orders if nothing else is said.
const CONTROL: &str = "seriatim.ctl";

#[derive(Args)]
pub(crate) struct CtlOptions {
    /// The control socket of the server, as its --control says.
    #[arg(long, value_name = "PATH", global = true, default_value = CONTROL)]
    pub(crate) control: PathBuf,

    /// Print the answer as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) order: Order,
}

#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Read all that serve would read, and say whether it is in order.
    Check(Box<ServeOptions>),
    /// Show what is in force and where it comes from, as a file that has the same effect.
    Show(Box<ServeOptions>),
    /// Print a file of all settings, with what they mean and their defaults.
    Default,
}

#[derive(Args)]
pub(crate) struct ServeOptions {
    /// A file of settings, in TOML; what it may hold is shown by `seriatim config default`. Flags come first, then variables
    /// of the environment (--line-bytes-max is SERIATIM_LINE_BYTES_MAX), then the file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Where to listen: HOST:PORT (port 0 picks a free one; [::] is IPv6 only) or unix:PATH. May be given several times.
    /// [default: 127.0.0.1:7878, unless --tls-listen is given]
    #[arg(long, value_name = "ADDRESS", value_parser = plain_address)]
    listen: Vec<Address>,

    #[command(flatten)]
    pub(crate) tls: TlsOptions,

    /// Where to serve metrics and health over HTTP (/metrics, /healthz, /readyz): HOST:PORT or unix:PATH. Not for everybody:
    /// whoever gets there sees how the server is. [default: nowhere]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) http: Option<Address>,

    /// How many threads read and write for connections, 1 to 256. The broker has one order, and one of them; a second thread
    /// pays when there are processors to spare.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = value_parser!(u16).range(1..=256))]
    threads: u16,

    /// How the log on standard error is written.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log: LogFormat,

    /// The least that is worth a line of the log. Debug has a line for each connection that comes, and goes; what
    /// is above info does not say how to connect.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: LogLevel,

    /// A unix socket that takes orders from `seriatim ctl`. Only the owner may open it, and whoever may can do all that ctl can.
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,

    /// A file of accounts, as `seriatim account` writes it: who wants to have one of their names must know its password. It is
    /// read again on SIGHUP.
    #[arg(long, value_name = "FILE")]
    accounts: Option<PathBuf>,

    /// Let only those in who have an account.
    #[arg(long)]
    require_account: bool,

    /// Take passwords over connections that are neither encrypted nor local, too: whoever can listen to them knows them.
    #[arg(long)]
    allow_clear_passwords: bool,

    /// The longest line a client may send, in bytes without its newline: 16 to 1048576.
    #[arg(long, value_name = "BYTES", default_value_t = 8192, value_parser = value_parser!(u32).range(16..=1 << 20))]
    line_bytes_max: u32,

    /// The most recipients one line may list: 1 to 1000.
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = value_parser!(u32).range(1..=1000))]
    recipients_max: u32,

    /// The most connections; fewer if the limit of open files does not allow so many.
    #[arg(long, value_name = "COUNT", default_value = "10000")]
    connections_max: Count,

    /// The most connections from one address (IPv6: from one /64), or off.
    #[arg(long, value_name = "COUNT", default_value = "64")]
    connections_per_address_max: OrOff<Count>,

    /// The most connections made from one address in a minute, or off.
    #[arg(long, value_name = "COUNT", default_value = "600")]
    connects_per_minute_max: OrOff<Count>,

    /// Addresses (192.0.2.1, 2001:db8::/32) that may make as many connections as they like, or none. May be given several
    /// times. Behind a proxy, all clients come from its address.
    #[arg(long, value_name = "NETWORK", default_values = ["127.0.0.0/8", "::1"])]
    exempt: Vec<Network>,

    /// The most connections that have not logged in yet.
    #[arg(long, value_name = "COUNT", default_value = "1000")]
    logins_pending_max: Count,

    /// How many lines a client may send in a second, or off; beyond that it is read more slowly.
    #[arg(long, value_name = "COUNT", default_value = "off")]
    lines_per_second_max: OrOff<Count>,

    /// How many bytes may wait for one client; beyond that it is closed as too slow. At least 4096, and at least four times
    /// 256 more than --line-bytes-max.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20, value_parser = value_parser!(u32).range(4096..))]
    outbox_bytes_max: u32,

    /// How many bytes may wait for all clients together; beyond that, whoever has more than 64 KiB waiting is closed as
    /// too slow. [default: a quarter of the memory]
    #[arg(long, value_name = "BYTES")]
    outbox_bytes_total_max: Option<usize>,

    /// How long a client may take to log in, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    login_timeout: Seconds,

    /// How long a client that is logged in may say nothing, in seconds, or off.
    #[arg(long, value_name = "SECONDS", default_value = "off")]
    idle_timeout: OrOff<Seconds>,

    /// How long a client may take nothing of what is being written to it, in seconds, or off; then its connection is
    /// reset.
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    write_timeout: OrOff<Seconds>,

    /// How long a connection may be silent before its peer is asked whether it is still there, in whole seconds up to
    /// 32767, or off.
    /// Whoever does not answer three times, 10 s apart, is gone; so is whoever takes nothing of what is on its way to it for
    /// as long as all that.
    #[arg(long, value_name = "SECONDS", default_value = "60")]
    keepalive: OrOff<Count>,

    /// How long a client that leaves may take to accept what waits for it, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    flush_timeout: Seconds,

    /// How long all clients together may take for that when the server stops, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "5")]
    drain_timeout: Seconds,
}

/// How TLS is spoken, if it is.
#[derive(Args)]
pub(crate) struct TlsOptions {
    /// Where to listen for TLS: HOST:PORT. May be given several times.
    #[arg(long, value_name = "ADDRESS", value_parser = tcp_address)]
    pub(crate) tls_listen: Vec<Address>,

    /// The server's certificate in PEM, and behind it those that lead to one that clients trust. Read again at SIGHUP.
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_certificate: Option<PathBuf>,

    /// The key of the certificate in PEM. Read again at SIGHUP.
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,

    /// For a first try: make a certificate at the start, and say how clients can be sure of it.
    #[arg(long)]
    pub(crate) tls_self_signed: bool,

    /// Certificates in PEM, one of which has signed those that clients may show; who shows none is let in as any other. Read
    /// again at SIGHUP.
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_client_ca: Option<PathBuf>,
}

/// Where clients write `tls:`, the server has a flag of its own.
fn plain_address(text: &str) -> Result<Address, String> {
    match text.strip_prefix("tls:") {
        Some(address) => Err(format!("to listen for TLS, say --tls-listen {address}")),
        None => text.parse(),
    }
}

/// TLS is for TCP.
fn tcp_address(text: &str) -> Result<Address, String> {
    match text.parse()? {
        Address::Unix(_) => {
            Err("TLS is for HOST:PORT: a unix socket needs none: it never leaves the machine".to_owned())
        }
        address @ Address::Tcp(_) => Ok(address),
    }
}

impl ServeOptions {
    /// Where to listen without TLS.
    pub(crate) fn listen(&self) -> Vec<Address> {
        if self.listen.is_empty() && self.tls.tls_listen.is_empty() {
            return vec![Address::Tcp(ADDRESS.to_owned())];
        }
        self.listen.clone()
    }

    /// How long a connection may be silent before its peer is asked whether it is still there.
    pub(crate) fn keepalive(&self) -> Option<Duration> {
        self.keepalive.0.map(|Count(seconds)| Duration::from_secs(seconds.into()))
    }

    /// How many threads run the tasks.
    pub(crate) fn threads(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.threads.into()).unwrap_or(NonZeroUsize::MIN)
    }

    /// The accounts, if there are any.
    pub(crate) fn accounts(&self) -> Result<Option<LiveAccounts>, String> {
        self.accounts.as_deref().map(LiveAccounts::read).transpose()
    }

    /// What was asked for, or why it makes no sense.
    pub(crate) fn config(&self) -> Result<Config, String> {
        // One line from anybody must never be too much for a client that reads.
        let least = 4 * (self.line_bytes_max + 256);
        if self.outbox_bytes_max < least {
            return Err(format!(
                "--outbox-bytes-max {} is too small for --line-bytes-max {}: at least {least} are needed",
                self.outbox_bytes_max, self.line_bytes_max
            ));
        }
        if self.require_account && self.accounts.is_none() && self.tls.tls_client_ca.is_none() {
            return Err("--require-account lets nobody in without --accounts or --tls-client-ca".to_owned());
        }
        if self.keepalive.0.is_some_and(|Count(seconds)| seconds > KEEPALIVE_S_MAX) {
            return Err(format!("--keepalive takes at most {KEEPALIVE_S_MAX} seconds, or off"));
        }
        let size = |size: u32| usize::try_from(size).unwrap_or(usize::MAX);
        Ok(Config {
            limits: Limits {
                line_bytes_max: size(self.line_bytes_max),
                recipients_max: size(self.recipients_max),
                connections_max: size(self.connections_max.0),
                connections_per_address_max: self.connections_per_address_max.0.map(|Count(max)| size(max)),
                connects_per_minute_max: self.connects_per_minute_max.0.map(|Count(max)| max),
                logins_pending_max: size(self.logins_pending_max.0),
                account_required: self.require_account,
                clear_passwords_allowed: self.allow_clear_passwords,
                login_ms_max: self.login_timeout.ms,
                idle_ms_max: self.idle_timeout.0.map(|Seconds { ms }| ms),
                flush_ms_max: self.flush_timeout.ms,
                drain_ms_max: self.drain_timeout.ms,
                ..Limits::default()
            },
            outbox_bytes_max: size(self.outbox_bytes_max),
            outbox_bytes_total_max: self.outbox_bytes_total_max.unwrap_or_else(quarter_of_the_memory),
            lines_per_second_max: self.lines_per_second_max.0.map(|Count(max)| max),
            write_ms_max: self.write_timeout.0.map(|Seconds { ms }| ms),
            passwords_at_once: half_of_the_processors(),
            exempt: self.exempt.iter().filter_map(|network| network.0).collect(),
            ..Config::default()
        })
    }
}

/// At least one. The other half is for messages.
fn half_of_the_processors() -> usize {
    thread::available_parallelism().map_or(1, |all| all.get() / 2).max(1)
}

/// Or what is the default when nobody knows how much memory there is.
fn quarter_of_the_memory() -> usize {
    machine::memory_bytes().map_or(Config::default().outbox_bytes_total_max, |bytes| bytes / 4)
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Lines for people.
    Text,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

#[derive(Args)]
pub(crate) struct ChatOptions {
    /// Your name, and the server if it is not 127.0.0.1:7878: NAME, NAME@HOST:PORT, NAME@tls:HOST:PORT or NAME@unix:PATH.
    #[arg(value_name = "NAME[@HOST:PORT]")]
    pub(crate) target: Target,

    /// A file whose first line is your password, if the name is reserved. At a terminal you are asked for it.
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,

    /// Send the password over a connection that is neither encrypted nor local, too: whoever can listen to it knows it.
    #[arg(long)]
    pub(crate) allow_clear_passwords: bool,

    #[command(flatten)]
    pub(crate) trust: TrustOptions,
}

/// By what a server behind TLS is known, and by what it knows the client.
#[derive(Args)]
pub(crate) struct TrustOptions {
    /// With tls: trust the authorities in this file (PEM), and not those that this machine trusts.
    #[arg(long, value_name = "FILE", conflicts_with = "fingerprint")]
    pub(crate) ca: Option<PathBuf>,

    /// With tls: trust the certificate with this fingerprint and no other, whatever it says.
    #[arg(long, value_name = "SHA256")]
    pub(crate) fingerprint: Option<Fingerprint>,

    /// With tls: a certificate (PEM) that says who you are.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_certificate: Option<PathBuf>,

    /// With tls: the key of that certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub(crate) tls_key: Option<PathBuf>,
}

impl TrustOptions {
    /// One that is given, if any is.
    pub(crate) fn any(&self) -> Option<&'static str> {
        let flags = [
            (self.ca.is_some(), "--ca"),
            (self.fingerprint.is_some(), "--fingerprint"),
            (self.tls_certificate.is_some(), "--tls-certificate"),
        ];
        flags.into_iter().find_map(|(given, flag)| given.then_some(flag))
    }
}

/// The SHA-256 fingerprint of a certificate, written as the server does.
#[derive(Clone)]
pub(crate) struct Fingerprint(pub(crate) String);

impl FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Fingerprint, String> {
        let digits: Vec<char> = text.chars().filter(|&c| c != ':').collect();
        if digits.len() != 64 || !digits.iter().all(char::is_ascii_hexdigit) {
            return Err("a SHA-256 fingerprint is 64 hexadecimal digits, with colons or without".to_owned());
        }
        let bytes: Vec<String> = digits.chunks(2).map(String::from_iter).collect();
        Ok(Fingerprint(bytes.join(":").to_ascii_uppercase()))
    }
}

/// Who wants to talk, and where.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) name: Name,
    pub(crate) address: Address,
    pub(crate) tls: bool,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let (name, place) = text.split_once('@').unwrap_or((text, ADDRESS));
        let name = Name::parse(name).map_err(|error| error.to_string())?;
        let (address, tls) = match place.strip_prefix("tls:") {
            Some(address) => (tcp_address(address)?, true),
            None => (place.parse()?, false),
        };
        Ok(Target { name, address, tls })
    }
}

/// What is to be run, and with what.
pub(crate) struct Parsed {
    pub(crate) command: Command,
    /// What the environment and a file said, and all that is in force: for whoever shows it.
    pub(crate) settings: Settings,
    pub(crate) matches: ArgMatches,
}

/// Reads the command line, and what else there is of settings. If there is nothing to run, says why (or helps, if asked) and
/// returns the exit code.
pub(crate) fn parse() -> Result<Parsed, ExitCode> {
    let mut matches = Arguments::command().try_get_matches().map_err(explain)?;
    let mut settings = Settings::new();
    if has_settings(&matches) {
        let flags = flags();
        settings = settings::gather(&flags, innermost(&matches)).map_err(|error| {
            super::complain(error);
            ExitCode::from(2)
        })?;
        let set = |flags| settings::with_defaults(flags, &settings);
        let command = Arguments::command().mut_subcommand("serve", set);
        let command = command.mut_subcommand("config", |config| {
            config.mut_subcommand("check", set).mut_subcommand("show", set)
        });
        matches = command.try_get_matches().map_err(explain)?;
    }
    let Arguments { command } = Arguments::from_arg_matches(&matches).map_err(explain)?;
    Ok(Parsed { command, settings, matches: innermost(&matches).clone() })
}

/// The flags that are the settings of a server.
pub(crate) fn flags() -> clap::Command {
    ServeOptions::augment_args(clap::Command::new("seriatim"))
}

/// Whether it is a command that has the settings of a server.
fn has_settings(matches: &ArgMatches) -> bool {
    innermost(matches).try_contains_id("config").is_ok()
}

/// What belongs to the command inside of all others.
fn innermost(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, matches)| innermost(matches))
}

/// Helps, or says what is wrong.
#[expect(clippy::needless_pass_by_value, reason = "it is the end of the error")]
fn explain(error: clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(if error.use_stderr() { 2 } else { 0 })
        }
        _ => {
            super::complain(one_line(&error.to_string()));
            ExitCode::from(2)
        }
    }
}

/// The first paragraph of clap's message as one line, without its label.
pub(super) fn one_line(message: &str) -> String {
    let paragraph = message.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = paragraph.split_whitespace().collect();
    words.join(" ")
}
