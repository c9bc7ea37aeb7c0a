//! All of it in words.

use seriatim::protocol::{LineError, Reply, Request};
use seriatim::{CloseReason, ConnId, Effect, Event, Origin};

use super::rows::{Said, Story};
use crate::history::Sent;
use crate::scenario::{BadLine, Command, Faults, Op, Order, Scenario, Script, Stop, When};
use crate::shrink::Failing;

/// The title of a rule, and what it promises.
pub(super) fn rule(rule: &str) -> (&'static str, &'static str) {
    match rule {
        "" => ("", ""),
        "G1" => (
            "One order",
            "Everything observed, by all clients together, is explained by one total order of events.",
        ),
        "G2" => ("First in, first out", "What one sender sends to one recipient arrives in the order sent."),
        "G3" => (
            "The same order for all",
            "Two messages with common recipients arrive in the same order at each of them.",
        ),
        "G4" => ("Causality", "An answer never overtakes what it answers, at any common recipient."),
        "G5" => (
            "Join or send",
            "A message to a name reaches whoever holds that name, exactly once; if nobody does, its sender is told. Never \
             both, never neither.",
        ),
        "G6" => (
            "No loss, duplicate, invention or change",
            "While a session lives, it sees all that is meant for it, as it was sent, once and without a gap. A session \
             that cannot keep up is closed, never skipped.",
        ),
        "G7" => (
            "One session a name",
            "Two sessions never hold one name, an old session's end never harms its successor, and no successor gets its \
             predecessor's mail.",
        ),
        "G8" => (
            "No forgery",
            "A line that says it is from NAME is from the session that held NAME, and every line arrives whole.",
        ),
        "G9" => ("Isolation", "Nobody, whatever they do, stalls another, or ends the server for another."),
        "G10" => (
            "Drain",
            "Whoever closes its side, and whoever is there at a shutdown, still gets, in order, all that was accepted.",
        ),
        "G11" => (
            "Liveness",
            "The broker never waits for a peer, and everybody who waits for the broker is served.",
        ),
        "G12" => ("Determinism", "The same events give the same effects, byte for byte."),
        _ => ("The protocol", "Every line that the server says is one of those that the protocol knows."),
    }
}

/// What makes a written line what it is, as the broker sees it.
pub(super) fn key_of_sent(sent: &Sent, line: &str, recipients_max: usize) -> String {
    let code = |code: &str| format!("malformed {code}");
    match sent {
        Sent::Say { to, bare: false, .. } if to.len() >= recipients_max => code("too-many-recipients"),
        Sent::Bad(BadLine::NoColon | BadLine::Command) => line.to_owned(),
        Sent::Bad(rule) => code(rule.code()),
        _ => line.to_owned(),
    }
}

/// The same of a line that was read.
pub(super) fn key_of_request(request: &Request) -> String {
    match request {
        Request::Malformed(error) if !matches!(error, LineError::UnknownCommand(_)) => {
            format!("malformed {}", error.code())
        }
        _ => line(request).unwrap_or_default(),
    }
}

/// The line that a request was, if it still says so.
fn line(request: &Request) -> Option<String> {
    match request {
        Request::Plain(text) | Request::Malformed(LineError::UnknownCommand(text)) => Some(text.to_string()),
        Request::Message(message) => {
            let to: Vec<&str> = message.recipients().collect();
            Some(format!("{}: {}", to.join(", "), message.clone().into_text()))
        }
        Request::Who => Some("/who".to_owned()),
        Request::Ping(token) => Some(format!("/ping {token}")),
        Request::Quit => Some("/quit".to_owned()),
        Request::Help => Some("/help".to_owned()),
        Request::Malformed(_) => None,
    }
}

/// The lines of a reply.
pub(super) fn lines(reply: &Reply, line_bytes_max: usize) -> Vec<String> {
    let mut rendered = Vec::new();
    reply.render(line_bytes_max, &mut rendered);
    String::from_utf8_lossy(&rendered).lines().map(str::to_owned).collect()
}

/// What kind of event it was, and which connection it is about.
pub(super) fn kind(event: &Event) -> (&'static str, Option<ConnId>) {
    match event {
        Event::Ticked(_) => ("ticked", None),
        Event::Connected(conn, _) => ("connected", Some(*conn)),
        Event::Secured(conn) => ("secured", Some(*conn)),
        Event::Certified(conn, _) => ("certified", Some(*conn)),
        Event::Requested(conn, _) => ("requested", Some(*conn)),
        Event::PasswordVerified(conn, _) => ("verified", Some(*conn)),
        Event::Kicked(conn) => ("kicked", Some(*conn)),
        Event::AccountsChanged(_) => ("accounts", None),
        Event::Banned(_) => ("banned", None),
        Event::Unbanned(_) => ("unbanned", None),
        Event::InputEnded(conn) => ("input-ended", Some(*conn)),
        Event::OutboxOverflowed(conn) => ("overflowed", Some(*conn)),
        Event::Disconnected(conn) => ("disconnected", Some(*conn)),
        Event::ShutdownRequested | Event::RestartRequested => ("shutdown", None),
    }
}

/// An event, as the broker sees it.
pub(crate) fn event(event: &Event, label: impl Fn(ConnId) -> String) -> Said {
    let (says, line) = match event {
        Event::Ticked(now) => (format!("the clock says {} ms", now.0), None),
        Event::Connected(conn, Origin::Exempt) => (format!("{} connects", label(*conn)), None),
        Event::Connected(conn, origin) => (format!("{} connects from {origin}", label(*conn)), None),
        Event::Requested(conn, Request::Malformed(error)) if line_is_lost(error) => {
            (format!("{} sends a line that is refused ({})", label(*conn), error.code()), None)
        }
        Event::Requested(conn, request) => (format!("{} sends", label(*conn)), line(request)),
        Event::InputEnded(conn) => (format!("{} sends no more", label(*conn)), None),
        Event::OutboxOverflowed(conn) => {
            (format!("more waits for {} than its outbox holds", label(*conn)), None)
        }
        Event::Disconnected(conn) => (format!("the connection of {} is gone", label(*conn)), None),
        Event::Secured(conn) => (format!("nobody else reads what {} sends", label(*conn)), None),
        Event::Certified(conn, name) => (format!("{} has a certificate for {name}", label(*conn)), None),
        Event::PasswordVerified(conn, is_right) => {
            let verdict = if *is_right { "right" } else { "wrong" };
            (format!("the password of {} is {verdict}", label(*conn)), None)
        }
        Event::AccountsChanged(names) => (format!("there are {} accounts", names.len()), None),
        Event::Kicked(conn) => (format!("the operator kicks {}", label(*conn)), None),
        Event::Banned(origin) => (format!("the operator bans {origin}"), None),
        Event::Unbanned(origin) => (format!("the operator bans {origin} no more"), None),
        Event::ShutdownRequested => ("the operator asks the server to stop".to_owned(), None),
        Event::RestartRequested => ("the operator asks the server to start anew".to_owned(), None),
    };
    Said { says, line, brief: None }
}

fn line_is_lost(error: &LineError) -> bool {
    !matches!(error, LineError::UnknownCommand(_))
}

/// An order of the broker: one for each line of a reply.
pub(crate) fn effect(effect: &Effect, line_bytes_max: usize, label: impl Fn(ConnId) -> String) -> Vec<Said> {
    let (brief, says) = match effect {
        Effect::Send { to, reply } => {
            let to: Vec<String> = to.iter().map(|&conn| label(conn)).collect();
            let says = format!("to {}", to.join(", "));
            let said = |line| Said { says: says.clone(), line: Some(line), brief: None };
            return lines(reply, line_bytes_max).into_iter().map(said).collect();
        }
        Effect::VerifyPassword { conn, name, at, .. } => {
            let conn = label(*conn);
            let says = format!("is that the password of {name}, that {conn} gives? (not before {} ms)", at.0);
            (format!("verifies the password of {conn}"), says)
        }
        Effect::StopReading(conn) => {
            let conn = label(*conn);
            (format!("stops reading {conn}"), format!("read no more from {conn}"))
        }
        Effect::Close { conn, reason } => {
            let conn = label(*conn);
            let says = format!("write what waits for {conn}, then close ({})", why(*reason));
            (format!("closes {conn}"), says)
        }
        Effect::Abort(conn) => {
            let conn = label(*conn);
            (format!("gives up {conn}"), format!("close {conn} at once, whatever waits for it"))
        }
        Effect::Stop => ("ends the server".to_owned(), "end the server".to_owned()),
    };
    vec![Said { says, line: None, brief: Some(brief) }]
}

fn why(reason: CloseReason) -> String {
    match reason {
        CloseReason::InputEnded => "it sends no more".to_owned(),
        CloseReason::Quit => "it said /quit".to_owned(),
        reason => reason.to_string(),
    }
}

/// How large the run is.
pub(super) fn size(failing: &Failing, story: &Story) -> Vec<String> {
    let count = |count: usize, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    };
    let ops = count(failing.ops(), "thing", "things");
    vec![
        format!("{ops} done by {}", count(failing.scenario.clients.len(), "client", "clients")),
        count(failing.specials(), "special decision", "special decisions"),
        count(story.rows.len(), "row", "rows"),
    ]
}

/// What a client does, one thing after another.
pub(super) fn script(script: &Script) -> Vec<String> {
    script.ops.iter().map(op).collect()
}

fn op(op: &Op) -> String {
    match op {
        Op::Connect => "connects".to_owned(),
        Op::LogIn { name, insist: false } => {
            format!("sends the name {name}, and does not wait for the answer")
        }
        Op::LogIn { name, insist: true } => {
            format!("sends the name {name}, again and again until it is welcome")
        }
        Op::Prove { name, right, insist } => {
            let which = if *right { "its" } else { "a wrong" };
            let until = if *insist {
                "again and again until it is welcome"
            } else {
                "and does not wait for the answer"
            };
            format!("sends the name {name} and {which} password, {until}")
        }
        Op::Say { to, bytes: usize::MAX } => {
            format!("sends a message as long as a line may be to {}", to.join(", "))
        }
        Op::Say { to, bytes } => format!("sends a message of at least {bytes} bytes to {}", to.join(", ")),
        Op::Tell { to, bytes } => {
            let to = to.join(", ");
            format!("sends a message of at least {bytes} bytes to {to}, without a receipt, and /ping")
        }
        Op::Ping { wait: true } => "sends /ping, and waits for the pong".to_owned(),
        Op::Ping { wait: false } => "sends /ping".to_owned(),
        Op::Who => "sends /who".to_owned(),
        Op::Blank => "sends a blank line".to_owned(),
        Op::CrLf => "ends lines with \\r\\n from now on".to_owned(),
        Op::QuitTalking => "sends /quit and a message behind it, and reads to the end".to_owned(),
        Op::Bad { rule } => format!("sends a bad line ({})", rule.code()),
        Op::Sleep(ms) => format!("sleeps for {ms} ms"),
        Op::Stall(ms) => format!("reads nothing for {ms} ms, and goes on meanwhile"),
        Op::Trickle => "writes one byte at a time from now on".to_owned(),
        Op::Quit => "sends /quit, and reads to the end".to_owned(),
        Op::HalfClose => "closes its side, and reads to the end".to_owned(),
        Op::LastWords => "sends /ping without a newline, closes its side, and reads to the end".to_owned(),
        Op::Reset => "breaks the connection".to_owned(),
        Op::Slam { to } => format!(
            "sends a message without a newline to {}, closes its side, and then breaks the connection",
            to.join(", ")
        ),
    }
}

/// Under which conditions it all happens: limits, the operator, faults.
pub(super) fn conditions(scenario: &Scenario) -> Vec<String> {
    let limits = &scenario.limits;
    let mut conditions = vec![
        format!(
            "a line has at most {} bytes and {} recipients",
            limits.line_bytes_max, limits.recipients_max
        ),
        format!("an outbox holds {} bytes", scenario.outbox_bytes_max),
        format!("the network holds {} bytes in each direction of a connection", scenario.pipe_bytes),
        format!(
            "{} ms to log in, {} ms to take the last lines, {} ms for a shutdown",
            limits.login_ms_max, limits.flush_ms_max, limits.drain_ms_max
        ),
    ];
    if scenario.listeners > 1 {
        conditions.push(format!("{} listeners, which clients take in turn", scenario.listeners));
    }
    conditions.extend(scenario.orders.iter().map(|order| self::order(order, scenario)));
    conditions.extend(scenario.stop.map(stop));
    let faults = faults(&scenario.faults);
    if faults.is_empty() {
        conditions.push("nothing goes wrong by itself".to_owned());
    } else {
        conditions.push(format!("up to {} ms, things go wrong by themselves:", scenario.faults.until_ms));
        conditions.extend(faults);
    }
    conditions
}

fn stop(stop: Stop) -> String {
    let again = stop.again_after_ms.map(|ms| format!(", and ends it at once {ms} ms later"));
    let why = if stop.restart { ", for another to take its place" } else { "" };
    format!("the operator stops the server {}{why}{}", when(stop.at), again.unwrap_or_default())
}

fn order(order: &Order, scenario: &Scenario) -> String {
    let at = when(order.at);
    match &order.what {
        Command::Kick(name) => format!("the operator kicks {name} {at}"),
        Command::Ban(origin) => format!("the operator bans {} {at}", scenario.origin(*origin)),
        Command::Unban(origin) => format!("the operator bans {} no more {at}", scenario.origin(*origin)),
    }
}

fn when(when: When) -> String {
    match when {
        When::Ms(ms) => format!("at {ms} ms"),
        When::Event(count) => format!("after {count} events"),
    }
}

/// The faults that are on, whatever there are.
fn faults(faults: &Faults) -> Vec<String> {
    let on = faults.rates().filter(|(_, rate)| *rate > 0);
    on.map(|(name, rate)| format!("{} ({rate} in 1000)", name.replace('_', " "))).collect()
}
