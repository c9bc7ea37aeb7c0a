//! The soak: the real program under every kind of load at once, round after round, for as long as is wanted. The judge reads
//! what its clients wrote and read; and behind each round nothing may be left of it: no peer, no open file, and in the long run
//! no memory.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use seriatim::server::smol::sockets::Address;

use crate::engine::sockets::visit;
use crate::history::{History, What};
use crate::judge::Violation;
use crate::plant::root;
use crate::throng::{LOGIN_MS_MAX, OUTBOX_BYTES_MAX, throng};
use crate::world::lock;

/// How long the last of a round may take to be gone, and the server to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// How much more memory the second half of the rounds may take than the first, in KiB. From one round to another it is a
/// few dozen.
const GROWTH_KIB: u64 = 1024;

/// With fewer rounds nothing can be said about memory.
const ROUNDS_MIN: usize = 4;

/// How many of its last lines of the log are shown when a server fails.
const LOG_LINES: usize = 20;

/// What to do, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// No round begins after this; there are four at least.
    pub time: Duration,
    /// The seed of the first round.
    pub from: u64,
}

/// What came of one round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// Its seed.
    pub seed: u64,
    /// Lines that its clients wrote, and read.
    pub lines: usize,
    /// Clients that were told that they are too slow.
    pub too_slow: usize,
    /// Connections that broke, most of them broken by their clients.
    pub broke: usize,
    /// The server's memory behind it, in KiB.
    pub memory_kib: u64,
}

/// What came of all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Soaked {
    /// The rounds, in order.
    pub rounds: Vec<Round>,
    /// The most memory that the server ever had, in KiB.
    pub peak_kib: u64,
}

impl Soaked {
    /// What it came to, as a row of the table of attacks.
    pub fn row(&self, seconds: u64) -> String {
        let lines: usize = self.rounds.iter().map(|round| round.lines).sum();
        let too_slow: usize = self.rounds.iter().map(|round| round.too_slow).sum();
        let memory: Vec<u64> = self.rounds.iter().map(|round| round.memory_kib).collect();
        let (first, others) = memory.split_first().unwrap_or((&0, &[]));
        let (least, most) = (others.iter().min().unwrap_or(first), others.iter().max().unwrap_or(first));
        let (rounds, peak) = (self.rounds.len(), self.peak_kib);
        format!(
            "{ROW}{seconds} s, {rounds} rounds: {lines} lines written and read, {too_slow} laggards too slow, 0 violations; \
             {first} KiB of memory behind the first round, {least} to {most} behind all others, never more than {peak} |"
        )
    }
}

/// How its row begins.
const ROW: &str = "| everything at once | ";

/// Puts the row into docs/attacks.md, in the place of the last one.
///
/// # Errors
/// There is no such file, or no such row in it.
pub fn write_row(row: &str) -> Result<(), String> {
    let path = root().join("docs/attacks.md");
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = fs::read_to_string(&path).map_err(|error| wrong(&error))?;
    let last =
        text.lines().find(|line| line.starts_with(ROW)).ok_or_else(|| wrong(&"no place for the row"))?;
    fs::write(&path, text.replace(last, row)).map_err(|error| wrong(&error))
}

/// Keeps a server under load until the time is over or `stop` is set, and tells of each round.
///
/// # Errors
/// What was wrong: with the server, with what its clients saw, or with what it kept.
pub fn soak(
    mut server: Server,
    plan: &Plan,
    stop: &AtomicBool,
    mut told: impl FnMut(&Round),
) -> Result<Soaked, String> {
    let idle_files = server.files()?;
    let start = Instant::now();
    let mut rounds: Vec<Round> = Vec::new();
    for seed in plan.from.. {
        if stop.load(Ordering::Relaxed) || start.elapsed() >= plan.time && rounds.len() >= ROUNDS_MIN {
            break;
        }
        let (history, violation) = visit(&throng(seed), &server.address);
        if let Some(violation) = violation {
            return Err(server.blame(&format!("round {seed}: {}", proof(&history, &violation))));
        }
        server.wait_until_alone(idle_files).map_err(|what| server.blame(&format!("round {seed}: {what}")))?;
        let round = Round { memory_kib: server.memory_kib("VmRSS")?, ..count(seed, &history) };
        told(&round);
        rounds.push(round);
    }
    let peak_kib = server.memory_kib("VmHWM")?;
    server.end().map_err(|what| server.blame(&what))?;
    if !rounds.is_empty() && rounds.iter().all(|round| round.too_slow == 0) {
        return Err("no laggard was ever too slow: this was no load".to_owned());
    }
    is_flat(&rounds)?;
    Ok(Soaked { rounds, peak_kib })
}

fn count(seed: u64, history: &History) -> Round {
    let items = || history.sessions.iter().flat_map(|session| &session.items);
    let of = |which: fn(&What) -> bool| items().filter(|item| which(&item.what)).count();
    Round {
        seed,
        lines: of(|what| matches!(what, What::Wrote(_) | What::Read(_))),
        too_slow: of(What::is_bye_too_slow),
        broke: of(|what| matches!(what, What::Broke)),
        memory_kib: 0,
    }
}

/// A violation, and what proves it.
fn proof(history: &History, violation: &Violation) -> String {
    let items = violation.witness.iter().filter_map(|&(session, place)| {
        let item = history.sessions.get(session)?.items.get(place)?;
        Some(format!("\n  at {} ms session {session}: {:?}", item.ms, item.what))
    });
    format!("{violation}{}", items.collect::<String>())
}

/// The second half of the rounds takes about as much memory as the first; before the very first nobody was ever there.
fn is_flat(rounds: &[Round]) -> Result<(), String> {
    let warm = rounds.get(1..).unwrap_or_default();
    let (first, second) = warm.split_at(warm.len() / 2);
    let peak = |rounds: &[Round]| rounds.iter().map(|round| round.memory_kib).max().unwrap_or_default();
    let (before, after) = (peak(first), peak(second));
    if rounds.len() >= ROUNDS_MIN && after > before + GROWTH_KIB {
        return Err(format!(
            "memory grows: up to {before} KiB in the first half, up to {after} KiB in the second"
        ));
    }
    Ok(())
}

/// The program `seriatim serve`, running. It ends with this value, if not before.
pub struct Server {
    child: Child,
    address: Address,
    log: Arc<Mutex<VecDeque<String>>>,
    panicked: Arc<AtomicBool>,
    logging: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts the program.
    ///
    /// # Errors
    /// It cannot be started, or does not say where it listens.
    pub fn start(program: &Path) -> Result<Server, String> {
        let name = program.display();
        let login_s = (LOGIN_MS_MAX / 1000).to_string();
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--login-timeout", &login_s])
            .args(["--outbox-bytes-max", &OUTBOX_BYTES_MAX.to_string()])
            .stderr(Stdio::piped())
            .process_group(0) // Ctrl-C is not for it
            .spawn()
            .map_err(|error| format!("cannot start {name}: {error}"))?;
        let mut lines = child
            .stderr
            .take()
            .into_iter()
            .flat_map(|stderr| BufReader::new(stderr).lines().map_while(Result::ok));
        let listening = lines.find_map(|line| {
            let (_, address) = line.split_once("listening on ")?;
            Some(address.split(',').next()?.to_owned())
        });
        let Some(address) = listening else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("{name} does not say where it listens"));
        };
        let (log, panicked) = (Arc::<Mutex<VecDeque<String>>>::default(), Arc::<AtomicBool>::default());
        let (kept, seen) = (log.clone(), panicked.clone());
        let logging = thread::spawn(move || {
            for line in lines {
                seen.fetch_or(line.contains("a bug"), Ordering::SeqCst);
                let mut kept = lock(&kept);
                kept.push_back(line);
                if kept.len() > LOG_LINES {
                    kept.pop_front();
                }
            }
        });
        Ok(Server { child, address: Address::Tcp(address), log, panicked, logging: Some(logging) })
    }

    /// What was wrong, and the last lines of the log.
    fn blame(&self, what: &str) -> String {
        let lines: String = lock(&self.log).iter().map(|line| format!("\n  {line}")).collect();
        format!("{what}\nthe last lines of the server's log:{lines}")
    }

    /// How many files it has open.
    fn files(&self) -> Result<usize, String> {
        let path = format!("/proc/{}/fd", self.child.id());
        fs::read_dir(&path).map(Iterator::count).map_err(|error| format!("cannot read {path}: {error}"))
    }

    /// Its memory, in KiB, as the kernel counts it.
    fn memory_kib(&self, which: &str) -> Result<u64, String> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).map_err(|error| format!("cannot read {path}: {error}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(which)?.strip_prefix(':'));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
            .ok_or_else(|| format!("{path} says nothing of {which}"))
    }

    /// Waits until nobody is there any more and no file is open but those of an idle server.
    fn wait_until_alone(&self, idle_files: usize) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let (peers, files) = (self.ask_who()?, self.files()?);
            if peers == "peers 1: last" && files <= idle_files {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(format!(
                    "it is over, and still there are {peers:?} and {files} open files, not {idle_files}"
                ));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Who is there, as the server tells.
    fn ask_who(&self) -> Result<String, String> {
        let Address::Tcp(address) = &self.address else { return Err("it does not listen on TCP".to_owned()) };
        let ask = || {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(b"last\n/who\n")?;
            stream.shutdown(Shutdown::Write)?;
            let mut said = String::new();
            stream.read_to_string(&mut said)?;
            Ok(said)
        };
        let said = ask().map_err(|error: std::io::Error| format!("the server does not answer: {error}"))?;
        Ok(said.lines().nth(1).unwrap_or_default().to_owned())
    }

    /// Stops it, and sees that it ends in order.
    fn end(&mut self) -> Result<(), String> {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM).map_err(|error| format!("cannot stop the server: {error}"))?;
        }
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Ok(Some(status)) = self.child.try_wait() {
                let _ = self.logging.take().map(JoinHandle::join); // up to the last line
                return match (status.success(), self.panicked.load(Ordering::SeqCst)) {
                    (true, false) => Ok(()),
                    (true, true) => Err("the server logged a bug of its own".to_owned()),
                    (false, _) => Err(format!("the server ended with {status}")),
                };
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err("the server was told to stop, and goes on".to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_grows_from_round_to_round_is_noticed() {
        let rounds = |memory: &[u64]| -> Vec<Round> {
            let round = |&memory_kib| Round { seed: 0, lines: 0, too_slow: 0, broke: 0, memory_kib };
            memory.iter().map(round).collect()
        };
        assert_eq!(is_flat(&rounds(&[8_000, 9_000, 9_000, 10_024])), Ok(()));
        assert!(is_flat(&rounds(&[8_000, 9_000, 9_000, 10_025])).is_err());
        assert!(is_flat(&rounds(&[20_000, 90_000, 90_100, 92_000, 30_000])).is_err());
        assert_eq!(is_flat(&rounds(&[20_000, 30_000, 90_000, 91_000, 30_000])), Ok(()));
        // What the first has, all others may have, but no more than they.
        assert!(is_flat(&rounds(&[20_000, 9_000, 9_000, 11_000])).is_err());
    }

    #[test]
    fn what_it_came_to_is_a_row() {
        let round = |memory_kib| Round { seed: 0, lines: 10, too_slow: 3, broke: 0, memory_kib };
        let soaked = Soaked { rounds: [7, 9, 8].map(round).into(), peak_kib: 11 };
        let row = "| everything at once | 60 s, 3 rounds: 30 lines written and read, 9 laggards too slow, 0 violations; \
                   7 KiB of memory behind the first round, 8 to 9 behind all others, never more than 11 |";
        assert_eq!(soaked.row(60), row);
        let page = fs::read_to_string(root().join("docs/attacks.md")).unwrap();
        assert_eq!(page.lines().filter(|line| line.starts_with(ROW)).count(), 1);
    }

    #[test]
    fn a_program_that_is_none_is_named() {
        let error = |program: &str| Server::start(program.as_ref()).err().unwrap_or_default();
        assert!(error("/no/such/program").starts_with("cannot start /no/such/program: "));
        assert_eq!(error("true"), "true does not say where it listens");
    }
}
