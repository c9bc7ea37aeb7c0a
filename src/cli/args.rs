//! What may stand on the command line.

use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use seriatim::Limits;
use seriatim::protocol::Name;
use seriatim::server::Config;
use seriatim::server::smol::Address;

/// Where the server listens and the client connects if nothing else is said.
const ADDRESS: &str = "127.0.0.1:7878";

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
    Serve(ServeOptions),
    /// Talk through a server: at a prompt, or with lines piped in and out.
    Chat(ChatOptions),
}

#[derive(Args)]
pub(crate) struct ServeOptions {
    /// Where to listen: HOST:PORT (port 0 picks a free one; [::] is IPv6 only) or unix:PATH. May be given several times.
    #[arg(long, value_name = "ADDRESS", default_value = ADDRESS)]
    pub(crate) listen: Vec<Address>,

    /// How the log on standard error is written.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log: LogFormat,

    /// The longest line a client may send, in bytes without its newline.
    #[arg(long, value_name = "BYTES", default_value_t = 8192, value_parser = value_parser!(u32).range(16..=1 << 20))]
    line_bytes_max: u32,

    /// The most recipients one line may list.
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = value_parser!(u32).range(1..=1000))]
    recipients_max: u32,

    /// How many bytes may wait for one client; beyond that it is closed as too slow.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20, value_parser = value_parser!(u32).range(4096..))]
    outbox_bytes_max: u32,

    /// How long a client may take to log in, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    login_timeout: Seconds,

    /// How long a client that leaves may take to accept what waits for it, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    flush_timeout: Seconds,

    /// How long all clients together may take for that when the server stops, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "5")]
    drain_timeout: Seconds,
}

impl ServeOptions {
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
        let size = |size: u32| usize::try_from(size).unwrap_or(usize::MAX);
        Ok(Config {
            limits: Limits {
                line_bytes_max: size(self.line_bytes_max),
                recipients_max: size(self.recipients_max),
                login_ms_max: self.login_timeout.ms,
                flush_ms_max: self.flush_timeout.ms,
                drain_ms_max: self.drain_timeout.ms,
            },
            outbox_bytes_max: size(self.outbox_bytes_max),
            ..Config::default()
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Lines for people.
    Text,
}

/// A span of time, given in seconds, fractions allowed.
#[derive(Clone, Copy)]
struct Seconds {
    ms: u64,
}

impl FromStr for Seconds {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Seconds, &'static str> {
        match text.parse::<f64>().map(Duration::try_from_secs_f64) {
            Ok(Ok(span)) if span.as_secs() <= 86_400 => {
                Ok(Seconds { ms: u64::try_from(span.as_millis()).unwrap_or(u64::MAX) })
            }
            _ => Err("expected a number of seconds from 0 to 86400"),
        }
    }
}

#[derive(Args)]
pub(crate) struct ChatOptions {
    /// Your name, and the server if it is not 127.0.0.1:7878: NAME, NAME@HOST:PORT or NAME@unix:PATH.
    #[arg(value_name = "NAME[@HOST:PORT]")]
    pub(crate) target: Target,
}

/// Who wants to talk, and where.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) name: Name,
    pub(crate) address: Address,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let (name, address) = text.split_once('@').unwrap_or((text, ADDRESS));
        Ok(Target { name: Name::parse(name).map_err(|error| error.to_string())?, address: address.parse()? })
    }
}

/// Reads the command line. If there is nothing to run, says why (or helps, if asked) and returns the exit code.
pub(crate) fn parse() -> Result<Arguments, ExitCode> {
    Arguments::try_parse().map_err(|error| match error.kind() {
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
    })
}

/// The first paragraph of clap's message as one line, without its label.
fn one_line(message: &str) -> String {
    let paragraph = message.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = paragraph.split_whitespace().collect();
    words.join(" ")
}
