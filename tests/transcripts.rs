//! Every transcript in `tests/transcripts`, on the core alone and over real sockets.
//!
//! `SERIATIM_REWRITE=1 cargo test --test transcripts` writes down what is really seen; read the difference.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test may panic")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use common::process::{Client, Server, manage_accounts};
use common::transcript::{Action, Transcript, escape};
use common::world::{Seen, World};
use seriatim::protocol::Name;
use seriatim::{ConnId, Event, Origin};

fn files() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "the transcripts are here");
    files
}

fn read(path: &PathBuf) -> Transcript {
    Transcript::parse(&fs::read_to_string(path).unwrap())
}

/// Where one action's bytes are cut in two, or all of them into single bytes.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Nowhere,
    Everywhere,
    At { step: usize, byte: usize },
}

/// What is seen after each step when the transcript is played on the core.
fn play(transcript: &Transcript, cut: Cut) -> Vec<Vec<String>> {
    let mut world = World::new(transcript.limits.clone());
    world.obedient = !transcript.slow;
    if !transcript.accounts.is_empty() {
        world.tell(Event::AccountsChanged(transcript.accounts.clone()));
    }
    let mut names: BTreeMap<String, ConnId> = BTreeMap::new();
    let (mut seen, mut stopped) = (Vec::new(), false);
    for (number, step) in transcript.steps.iter().enumerate() {
        match &step.action {
            Action::Send(who, bytes) => {
                if !names.get(who).is_some_and(|&conn| world.is_connected(conn)) {
                    names.insert(who.clone(), world.connect(Origin::Exempt));
                }
                let conn = names[who];
                match cut {
                    Cut::Everywhere => bytes.chunks(1).for_each(|byte| world.send(conn, byte)),
                    Cut::At { step, byte } if step == number => {
                        world.send(conn, &bytes[..byte]);
                        world.send(conn, &bytes[byte..]);
                    }
                    Cut::Nowhere | Cut::At { .. } => world.send(conn, bytes),
                }
            }
            Action::Connect(who, origin) => drop(names.insert(who.clone(), world.connect(*origin))),
            Action::Secure(who) => {
                let conn = world.connect(Origin::Exempt);
                names.insert(who.clone(), conn);
                world.tell(Event::Secured(conn));
            }
            Action::Close(who) => world.close(names[who]),
            Action::Eof(who) => world.end_input(names[who]),
            Action::Reset(who) => world.disconnect(names[who]),
            Action::Pass(ms) => world.pass(*ms),
            Action::Kick(who) => world.tell(Event::Kicked(names[who])),
            Action::Ban(origin) => world.tell(Event::Banned(*origin)),
            Action::Unban(origin) => world.tell(Event::Unbanned(*origin)),
            Action::Stop => world.tell(Event::ShutdownRequested),
            Action::Restart => world.tell(Event::RestartRequested),
        }
        let who = |conn| names.iter().find(|&(_, &c)| c == conn).map_or("?", |(who, _)| who);
        let mut lines: Vec<String> = world
            .take_seen()
            .into_iter()
            .map(|(conn, seen)| match seen {
                Seen::Line(line) => format!("{}< {}", who(conn), escape(&line)),
                Seen::Closed => format!("{} closed", who(conn)),
                Seen::Aborted => format!("{} aborted", who(conn)),
            })
            .collect();
        if world.stopped && !stopped {
            lines.push("stopped".to_owned());
        }
        stopped = world.stopped;
        seen.push(lines);
    }
    seen
}

#[test]
fn on_the_core_split_at_every_byte() {
    for path in files() {
        let transcript = read(&path);
        let whole = play(&transcript, Cut::Nowhere);
        if std::env::var_os("SERIATIM_REWRITE").is_some() {
            fs::write(&path, transcript.rewritten(&whole)).unwrap();
            continue;
        }
        for (step, seen) in transcript.steps.iter().zip(&whole) {
            assert_eq!(&step.seen, seen, "{}:{}", path.display(), step.line);
        }
        assert_eq!(whole, play(&transcript, Cut::Everywhere), "{} byte by byte", path.display());
        for (number, step) in transcript.steps.iter().enumerate() {
            let Action::Send(_, bytes) = &step.action else { continue };
            // A long line is the same everywhere but near its ends and near the limit.
            let interesting = |&byte: &usize| {
                byte < 20 || bytes.len() - byte < 20 || byte.abs_diff(8192) < 20 || bytes.len() < 1000
            };
            for byte in (1..bytes.len()).filter(interesting) {
                let cut = Cut::At { step: number, byte };
                assert_eq!(whole, play(&transcript, cut), "{}:{} {cut:?}", path.display(), step.line);
            }
        }
    }
}

/// Reserves a name, with the password that the world knows, too.
fn add_account(accounts: &Path, name: &Name) {
    let output = manage_accounts(accounts, &["add", name.as_str()], &format!("{name}'s secret\n"));
    assert!(output.status.success(), "{output:?}");
}

/// Whether the core alone can be told all this: time and addresses are not to be had over sockets, and when a reset is noticed
/// is the network's to say; nor can the program be told to kick somebody. Whoever connects from this machine is secured.
fn is_simulated(transcript: &Transcript) -> bool {
    let mut secured: BTreeSet<&str> = BTreeSet::new();
    transcript.steps.iter().any(|step| match &step.action {
        Action::Pass(_) | Action::Reset(_) | Action::Connect(..) | Action::Close(_) => true,
        Action::Kick(_) | Action::Ban(_) | Action::Unban(_) | Action::Restart => true,
        Action::Send(who, _) => !transcript.accounts.is_empty() && !secured.contains(who.as_str()),
        Action::Secure(who) => {
            secured.insert(who);
            false
        }
        Action::Eof(_) | Action::Stop => false,
    })
}

/// Plays a transcript against a server process. What each client sees must be what the file says, and nothing more.
fn play_over_sockets(transcript: &Transcript, path: &str) {
    let limits = &transcript.limits;
    let mut flags = vec![
        format!("--line-bytes-max={}", limits.line_bytes_max),
        format!("--recipients-max={}", limits.recipients_max),
        format!("--connections-max={}", limits.connections_max),
        format!("--logins-pending-max={}", limits.logins_pending_max),
    ];
    flags.extend(limits.account_required.then(|| "--require-account".to_owned()));
    let folder = tempfile::tempdir().unwrap();
    if !transcript.accounts.is_empty() {
        let accounts = folder.path().join("accounts.toml");
        transcript.accounts.iter().for_each(|name| add_account(&accounts, name));
        flags.push(format!("--accounts={}", accounts.display()));
    }
    let mut server = Server::start(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    let mut clients: BTreeMap<String, Client> = BTreeMap::new();
    for step in &transcript.steps {
        match &step.action {
            Action::Send(who, bytes) => {
                clients.entry(who.clone()).or_insert_with(|| server.connect()).send_bytes(bytes);
            }
            // Everybody comes from this machine.
            Action::Secure(who) => drop(clients.insert(who.clone(), server.connect())),
            Action::Connect(..) | Action::Ban(_) | Action::Unban(_) => {
                unreachable!("addresses are not to be had here")
            }
            Action::Close(_) | Action::Kick(_) | Action::Restart => {
                unreachable!("the core alone is told that")
            }
            Action::Eof(who) => clients[who].end_input(),
            Action::Reset(who) => clients.remove(who).unwrap().reset(),
            Action::Pass(_) => unreachable!("time cannot be made to pass here"),
            Action::Stop => server.terminate(),
        }
        for line in &step.seen {
            let place = format!("{path}:{}: {line}", step.line);
            if line == "stopped" {
                assert_eq!(server.wait(), Some(0), "{place}");
            } else if let Some(who) = line.strip_suffix(" closed") {
                assert_eq!(clients.remove(who).unwrap().line(), None, "{place}");
            } else {
                let (who, text) = line.split_once("< ").unwrap();
                assert_eq!(
                    clients.get_mut(who).unwrap().line().map(|line| escape(&line)).as_deref(),
                    Some(text),
                    "{place}"
                );
            }
        }
    }
    for (who, mut client) in clients {
        client.end_input();
        assert_eq!(client.line(), None, "{path}: {who} sees more than the transcript says");
    }
}

#[test]
fn over_sockets() {
    let mut played = 0;
    for path in files() {
        let transcript = read(&path);
        if is_simulated(&transcript) {
            continue;
        }
        play_over_sockets(&transcript, &path.display().to_string());
        played += 1;
    }
    assert!(played >= 14, "only {played} transcripts were played over sockets");
}
