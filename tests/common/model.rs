//! What the broker is supposed to do, once more, as naively as can be: strings, lists and no cleverness. It shares no
//! code with the core, and the properties hold the core to it.

use super::world::{Seen, World};
use seriatim::{ConnId, Event, Limits};

/// What a client or the world does. Clients are numbered in the order in which they connect.
#[derive(Clone, Debug)]
pub enum Action {
    Connect,
    /// A line, without its newline.
    Send(usize, String),
    Eof(usize),
    Reset(usize),
    /// The client's outbox overflows.
    Overflow(usize),
    Pass(u64),
    Stop,
}

/// Carries an action out on the real core; one about a client that is not there does nothing.
pub fn act(world: &mut World, action: &Action) -> Vec<(usize, Seen)> {
    let conn = |client: usize| ConnId(client as u64 + 1);
    match action {
        Action::Connect => drop(world.connect()),
        Action::Send(client, line) => world.send(conn(*client), format!("{line}\n").as_bytes()),
        Action::Eof(client) if world.is_connected(conn(*client)) => world.end_input(conn(*client)),
        Action::Overflow(client) if world.is_connected(conn(*client)) => {
            world.tell(Event::OutboxOverflowed(conn(*client)));
        }
        Action::Eof(_) | Action::Overflow(_) => {}
        Action::Reset(client) => world.disconnect(conn(*client)),
        Action::Pass(ms) => world.pass(*ms),
        Action::Stop => world.tell(Event::ShutdownRequested),
    }
    world.take_seen().into_iter().map(|(conn, seen)| (conn.0 as usize - 1, seen)).collect()
}

/// The naive broker.
pub struct Model {
    limits: Limits,
    now: u64,
    clients: Vec<Client>,
    /// When the drain must be over, and whether goodbye has been said.
    drain: Option<(u64, bool)>,
    seen: Vec<(usize, Seen)>,
    ends: u64,
}

#[derive(Clone, Default)]
struct Client {
    connected_at: u64,
    name: Option<String>,
    /// When its session ended, and as which of all sessions.
    over: Option<(u64, u64)>,
    input_ended: bool,
    gone: bool,
}

impl Model {
    pub fn new(limits: Limits) -> Model {
        Model { limits, now: 0, clients: Vec::new(), drain: None, seen: Vec::new(), ends: 0 }
    }

    pub fn act(&mut self, action: &Action) -> Vec<(usize, Seen)> {
        match action {
            Action::Connect => {
                self.clients.push(Client { connected_at: self.now, ..Client::default() });
                let newest = self.clients.len() - 1;
                if self.drain.is_some_and(|(deadline, _)| deadline <= self.now) {
                    self.seen.push((newest, Seen::Aborted));
                    self.leave(newest);
                } else if self.drain.is_some() {
                    self.clients[newest].input_ended = true;
                    self.end(newest, Some("server shutting down"));
                }
            }
            Action::Send(client, line) => self.line(*client, line),
            Action::Eof(client) if self.is_here(*client) => {
                self.clients[*client].input_ended = true;
                if self.drain.is_none_or(|(_, goodbye)| goodbye) {
                    self.end(*client, None);
                }
            }
            Action::Overflow(client) if self.is_here(*client) => self.end(*client, Some("too slow")),
            Action::Reset(client) if self.is_here(*client) => self.leave(*client),
            Action::Eof(_) | Action::Overflow(_) | Action::Reset(_) => {}
            Action::Pass(ms) => self.pass(*ms),
            Action::Stop if self.drain.is_none() => {
                self.drain = Some((self.now + self.limits.drain_ms_max, false));
            }
            Action::Stop => {}
        }
        self.say_goodbye();
        std::mem::take(&mut self.seen)
    }

    fn is_here(&self, client: usize) -> bool {
        self.clients.get(client).is_some_and(|client| !client.gone)
    }

    fn say(&mut self, client: usize, line: String) {
        self.seen.push((client, Seen::Line(line)));
    }

    fn end(&mut self, client: usize, bye: Option<&str>) {
        if self.clients[client].over.is_some() {
            return;
        }
        self.ends += 1;
        self.clients[client].over = Some((self.now, self.ends));
        self.clients[client].name = None;
        if let Some(bye) = bye {
            self.say(client, format!("bye {bye}"));
        }
        self.seen.push((client, Seen::Closed));
    }

    fn leave(&mut self, client: usize) {
        self.clients[client].gone = true;
        self.clients[client].name = None;
        self.clients[client].over.get_or_insert((0, 0));
    }

    fn say_goodbye(&mut self) {
        let Some((deadline, false)) = self.drain else { return };
        if self.clients.iter().any(|client| client.over.is_none() && !client.input_ended) {
            return;
        }
        self.drain = Some((deadline, true));
        (0..self.clients.len()).for_each(|client| self.end(client, Some("server shutting down")));
    }

    fn pass(&mut self, ms: u64) {
        self.now += ms;
        for client in 0..self.clients.len() {
            let Client { connected_at, name, over, .. } = self.clients[client].clone();
            if over.is_none() && name.is_none() && connected_at + self.limits.login_ms_max <= self.now {
                self.end(client, Some("login timeout"));
                self.say_goodbye(); // it may be the last that was waited for
            }
        }
        let mut late: Vec<(u64, usize)> = Vec::new();
        for (number, client) in self.clients.iter().enumerate().filter(|(_, client)| !client.gone) {
            if let Some((at, end)) = client.over
                && at + self.limits.flush_ms_max <= self.now
            {
                late.push((end, number));
            }
        }
        late.sort_unstable();
        for (_, client) in late {
            self.seen.push((client, Seen::Aborted));
            self.leave(client);
        }
        if self.drain.is_some_and(|(deadline, _)| deadline <= self.now) {
            for client in 0..self.clients.len() {
                if self.is_here(client) {
                    self.seen.push((client, Seen::Aborted));
                    self.leave(client);
                }
            }
        }
    }

    fn line(&mut self, client: usize, line: &str) {
        if !self.is_here(client) || self.clients[client].over.is_some() || line.trim().is_empty() {
            return;
        }
        let strange = line.chars().any(|c| c.is_control() && c != '\t');
        let line = line.trim();
        let Some(name) = self.clients[client].name.clone() else { return self.log_in(client, line, strange) };
        if strange {
            return self.say(client, "error bad-text".to_owned());
        }
        if let Some(command) = line.strip_prefix('/') {
            return self.command(client, command);
        }
        let Some((to, text)) = line.split_once(':') else {
            return self.say(client, "error no-colon".to_owned());
        };
        let to: Vec<&str> = to.split(',').map(str::trim).filter(|to| !to.is_empty()).collect();
        if to.is_empty() {
            self.say(client, "error no-recipient".to_owned());
        } else if to.len() > self.limits.recipients_max {
            self.say(client, "error too-many-recipients".to_owned());
        } else if text.trim().is_empty() {
            self.say(client, "error empty-message".to_owned());
        } else {
            self.message(client, &to, &format!("from {name}: {}", text.trim()));
        }
    }

    fn log_in(&mut self, client: usize, line: &str, strange: bool) {
        let is_long = line.chars().count() > 32 || line.len() > 64;
        let of_a_name = |c: char| c.is_alphanumeric() || "_-.".contains(c);
        if strange || !line.chars().all(of_a_name) || line.starts_with(['.', '-']) || is_long {
            self.say(client, "error bad-name".to_owned());
        } else if self.holder(line).is_some() {
            self.say(client, "error name-taken".to_owned());
        } else {
            self.clients[client].name = Some(line.to_owned());
            self.say(client, format!("welcome {line}"));
        }
    }

    fn holder(&self, name: &str) -> Option<usize> {
        let same = |held: &String| held.to_lowercase() == name.to_lowercase();
        self.clients.iter().position(|client| client.name.as_ref().is_some_and(same))
    }

    fn message(&mut self, client: usize, to: &[&str], line: &str) {
        let mut had: Vec<usize> = Vec::new();
        let mut missing: Vec<&str> = Vec::new();
        for name in to {
            match self.holder(name) {
                Some(holder) if had.contains(&holder) => {}
                Some(holder) => {
                    had.push(holder);
                    self.say(holder, line.to_owned());
                }
                None if missing.iter().any(|other| other.to_lowercase() == name.to_lowercase()) => {}
                None => missing.push(name),
            }
        }
        if !missing.is_empty() {
            self.say(client, format!("error no-such-peer: {}", missing.join(", ")));
        }
    }

    fn command(&mut self, client: usize, command: &str) {
        if command == "quit" {
            self.end(client, Some("quit"));
        } else if command == "who" {
            let mut names: Vec<String> =
                self.clients.iter().filter_map(|client| client.name.clone()).collect();
            // By their folded form, in which an accent is a character of its own.
            let folded =
                |name: &String| name.to_lowercase().replace('ë', "e\u{308}").replace('é', "e\u{301}");
            names.sort_by_key(folded);
            self.say(client, format!("peers {}: {}", names.len(), names.join(", ")));
        } else if command == "help" {
            (0..5).for_each(|_| self.say(client, "help".to_owned()));
        } else if command == "ping" {
            self.say(client, "pong".to_owned());
        } else if let Some(("ping", token)) = command.split_once(char::is_whitespace) {
            self.say(client, format!("pong {}", token.trim()));
        } else {
            self.say(client, "error unknown-command".to_owned());
        }
    }
}

/// The words of an error and of help are for people: two errors are the same if their codes are, but for the names nobody
/// holds.
pub fn without_words(seen: Vec<(usize, Seen)>) -> Vec<(usize, Seen)> {
    let strip = |seen| match seen {
        Seen::Line(line) if line.starts_with("error ") && !line.starts_with("error no-such-peer") => {
            Seen::Line(line.split(':').next().unwrap_or_default().to_owned())
        }
        Seen::Line(line) if line.starts_with("help ") => Seen::Line("help".to_owned()),
        other => other,
    };
    seen.into_iter().map(|(client, seen)| (client, strip(seen))).collect()
}
