//! The rules that need a clock: what the judge, who knows only an order, cannot see.
//!
//! When nothing goes wrong by itself and everybody reads, time passes only when nothing can run any more. So in such a run
//! whatever the server owes must be there in the very millisecond in which it fell due.

use std::collections::VecDeque;

use hashbrown::{HashMap, HashSet};

use crate::history::{
    History, Item, Sent, SessionHistory, What, delivered, is_bare_report, is_goodbye, token, untag,
};
use crate::judge::{Violation, same, still_there};
use crate::orders::{self, Given};
use crate::refusals::{self, Told};
use crate::scenario::{Faults, Scenario};
use crate::{fairness, unanswered};

/// How long the server may take beyond its own drain deadline, or a client's flush deadline, in milliseconds: accepting may
/// pause, and it lingers for the client's end.
const END_MS_MAX: u64 = 1_000;

/// The same if the clock jumps.
const END_JUMPED_MS_MAX: u64 = 30_000;

/// The longest that one line makes the server say to one client, in bytes: a list of peers, or a message and its report.
const SAID_BYTES_MAX: usize = 1_500;

/// What happened beside the clients.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// When the operator first asked the server to stop: as a stamp, and in milliseconds.
    pub stopping: Option<(u64, u64)>,
    /// What else the operator ordered, in this order.
    pub orders: Vec<Given>,
    /// When its process ended, in milliseconds.
    pub over_ms: Option<u64>,
    /// The connections that it never accepted.
    pub unserved: Vec<usize>,
    /// When it let go of each connection, in milliseconds, by the number of the connection.
    pub gone_ms: HashMap<usize, u64>,
    /// When somebody waited for it while nothing at all was going on, in milliseconds.
    pub waited_ms: Option<u64>,
    /// When somebody first found nobody listening, in milliseconds.
    pub found_closed_ms: Option<u64>,
    /// When its last listener was gone, as a stamp.
    pub closed_at: Option<u64>,
    /// How many lines it had read when the operator first asked it to stop, by the number of the connection.
    pub lines_taken: HashMap<usize, usize>,
    /// And how many in all from those that it let go of.
    pub lines_taken_in_all: HashMap<usize, usize>,
    /// The connections that did not take at once what it wrote.
    pub waited: HashSet<usize>,
    /// Tasks ran in turn: whoever could run did before anybody ran twice.
    pub in_turn: bool,
}

/// Checks a history against the clock.
///
/// # Errors
/// The first violation found.
pub fn check(history: &History, scenario: &Scenario, around: &Around) -> Result<(), Violation> {
    check_end(history, scenario, around)?;
    check_goodbyes(history, scenario, around)?;
    orders::check(history, scenario, around)?;
    refusals::check(history, scenario, around)?;
    unanswered::check(history, scenario, around)?;
    if scenario.faults == Faults::default() {
        check_flushes(history, scenario, around)?;
    }
    let panics = Faults { password_panic: 0, until_ms: 0, ..scenario.faults.clone() };
    if panics == Faults::default() && !scenario.delays_guesses() && scenario.lines_per_second_max.is_none() {
        check_verdicts(history)?;
    }
    let passwords = Faults { slow_password: 0, ..panics };
    if passwords == Faults::default()
        && scenario.is_calm_without_faults()
        && scenario.lines_per_second_max.is_none()
    {
        check_pongs(history)?;
    }
    if scenario.is_calm_without_faults() {
        check_broken(history, scenario, &around.unserved)?;
    }
    if scenario.is_calm() {
        if scenario.lines_per_second_max.is_none() {
            check_farewells(history, around)?;
        }
        check_logins(history, scenario, &around.unserved)?;
        check_deliveries(history)?;
        check_pace(history, scenario, around)?;
    }
    if scenario.is_prompt() {
        check_answers(history, around)?;
        check_names(history, around)?;
        fairness::check(history, scenario, around)?;
        check_idle(history, scenario, around)?;
    }
    Ok(())
}

/// What a run has met, as far as only a clock can tell.
pub fn marks(history: &History, scenario: &Scenario) -> impl Iterator<Item = &'static str> {
    let calm = scenario.is_calm();
    let paced = calm
        && scenario.lines_per_second_max.is_some()
        && history.sessions.iter().any(|session| heard(session).any(|(wrote, answered)| wrote < answered));
    // It got all that waited for it: so little that its own outbox was not full.
    let bytes = |session: &SessionHistory| -> usize {
        let bytes = |item: &Item| if let What::Read(line) = &item.what { line.len() + 1 } else { 0 };
        session.items.iter().map(bytes).sum()
    };
    let full = scenario.outbox_bytes_max >= 4 * SAID_BYTES_MAX
        && history.sessions.iter().any(|session| {
            session.items.iter().any(|item| item.what.is_bye_too_slow())
                && bytes(session) < scenario.outbox_bytes_max / 2
        });
    let late = |session: &SessionHistory| {
        let is_mail = |item: &Item| matches!(&item.what, What::Read(line) if line.starts_with("from "));
        session.ms >= scenario.faults.until_ms && session.items.iter().any(is_mail)
    };
    let late = scenario.faults != Faults::default() && history.sessions.iter().any(late);
    let paced = paced.then_some("lines were taken at their pace");
    let late = late.then_some("mail came to somebody who came when faults were over");
    paced.into_iter().chain(full.then_some("all outboxes together were full")).chain(late)
}

/// When each line was written that surely was heard, and when its answer was read. (A list of peers and its parts do not count:
/// so it may have been a later line, but never an earlier one.)
fn heard(session: &SessionHistory) -> impl Iterator<Item = (u64, u64)> {
    let wrote = session.items.iter().filter(|item| match &item.what {
        What::Wrote(sent) => !matches!(sent, Sent::Say { bare: true, .. }),
        _ => false,
    });
    let answers = session.items.iter().filter(|item| match &item.what {
        What::Read(line) => {
            ["welcome ", "error ", "pong "].iter().any(|answer| line.starts_with(answer))
                && !is_bare_report(line)
        }
        _ => false,
    });
    wrote.map(|item| item.ms).zip(answers.map(|item| item.ms))
}

/// The server ends when it is asked to, in time, and not before.
fn check_end(history: &History, scenario: &Scenario, around: &Around) -> Result<(), Violation> {
    let Some((_, stopping)) = around.stopping else {
        let deaf = |at| format!("at {at} ms the server accepts nobody any more, and nobody stopped it");
        return around.found_closed_ms.map_or(Ok(()), |at| Err(Violation::new("G9", deaf(at), &[])));
    };
    let grace = if scenario.faults.clock_jump > 0 { END_JUMPED_MS_MAX } else { END_MS_MAX };
    let latest = stopping + scenario.limits.drain_ms_max + grace;
    if around.over_ms.is_some_and(|over| over <= latest) {
        return Ok(());
    }
    let over = around.over_ms.map_or("never".to_owned(), |over| format!("at {over} ms"));
    let what = format!("the server was asked to stop at {stopping} ms, and ended {over}, not by {latest} ms");
    Err(Violation::new("G10", what, still_there(history).as_slice()))
}

/// Nobody is told a reason that is none.
fn check_goodbyes(history: &History, scenario: &Scenario, around: &Around) -> Result<(), Violation> {
    let login_ms_max = scenario.limits.login_ms_max;
    for (number, session) in history.sessions.iter().enumerate() {
        for (place, item) in session.items.iter().enumerate() {
            let What::Read(line) = &item.what else { continue };
            let due = session.ms.saturating_add(login_ms_max);
            let what = match line.as_str() {
                line if is_goodbye(line) && around.stopping.is_none_or(|(stamp, _)| item.at < stamp) => {
                    "nobody has asked the server to stop".to_owned()
                }
                // Who comes now would be let in, and dropped with the process.
                line if is_goodbye(line) && around.closed_at.is_none_or(|stamp| item.at < stamp) => {
                    "the server still listens".to_owned()
                }
                "bye login timeout" if item.ms < due => {
                    format!("at {} ms that is too early: it has until {due} ms", item.ms)
                }
                "bye login timeout" if item.ms > due && scenario.is_calm() => {
                    format!("at {} ms that is too late: it had until {due} ms", item.ms)
                }
                "bye idle" => {
                    let last = heard(session).map(|(wrote, _)| wrote).last().unwrap_or(session.ms);
                    let due = scenario.limits.idle_ms_max.map(|idle_ms_max| last.saturating_add(idle_ms_max));
                    if due.is_some_and(|due| due <= item.ms) {
                        continue;
                    }
                    format!("at {} ms that is too early: it said something at {last} ms", item.ms)
                }
                _ => continue,
            };
            return Err(Violation::new("G9", format!("{line:?}: {what}"), &[(number, place)]));
        }
    }
    Ok(())
}

/// Whoever has not logged in by its deadline is no longer there.
fn check_logins(history: &History, scenario: &Scenario, unserved: &[usize]) -> Result<(), Violation> {
    for (number, session) in history.sessions.iter().enumerate() {
        let due = session.ms.saturating_add(scenario.limits.login_ms_max);
        let settled = |item: &Item| item.what.is_welcome() || item.what.is_bye() || item.what.is_gone();
        let settled = session.items.iter().position(settled).unwrap_or(session.items.len());
        let late = session.items.iter().take(settled + 1).position(|item| item.ms > due);
        if let Some(place) = late.filter(|_| !unserved.contains(&number)) {
            let at = session.items[place].ms;
            let what = format!("it had until {due} ms to log in, and is still there at {at} ms");
            return Err(Violation::new("G9", what, &[(number, place)]));
        }
    }
    Ok(())
}

/// Whoever is logged in and says nothing is told so in the very millisecond in which it has been idle for so long.
fn check_idle(history: &History, scenario: &Scenario, around: &Around) -> Result<(), Violation> {
    let Some(idle_ms_max) = scenario.limits.idle_ms_max else { return Ok(()) };
    let until = around.stopping.map_or(u64::MAX, |(_, stopping)| stopping);
    for (number, session) in history.sessions.iter().enumerate() {
        let Some(welcome) = session.items.iter().position(|item| item.what.is_welcome()) else { continue };
        let mut due = session.items[welcome].ms.saturating_add(idle_ms_max);
        for (place, item) in session.items.iter().enumerate().skip(welcome) {
            if item.ms > due.min(until) {
                if until > due {
                    let what =
                        format!("at {due} ms it had said nothing for {idle_ms_max} ms, and was not told");
                    return Err(Violation::new("G9", what, &[(number, place)]));
                }
                break;
            }
            match &item.what {
                // In the last millisecond it is too late: the clock comes before the line.
                What::Wrote(_) if item.ms < due => due = item.ms.saturating_add(idle_ms_max),
                What::Wrote(_) => {}
                What::Read(line) if line == "bye idle" && item.ms < due => {
                    let what = format!("\"bye idle\" at {} ms, though that was due at {due} ms", item.ms);
                    return Err(Violation::new("G9", what, &[(number, place)]));
                }
                What::Read(line) if line.starts_with("bye ") => break,
                What::Ended | What::Reset | What::Closed(_) | What::Broke => break,
                What::Read(_) => {}
            }
        }
    }
    Ok(())
}

/// Whoever has given a password that takes no time to verify hears of it before its login takes too long. Until the welcome
/// every line has one answer.
fn check_verdicts(history: &History) -> Result<(), Violation> {
    for (number, session) in history.sessions.iter().enumerate() {
        let mut waiting = VecDeque::new();
        for (place, item) in session.items.iter().enumerate() {
            match &item.what {
                What::Wrote(sent) => waiting.push_back((sent, item.ms)),
                What::Read(line) if line == "bye login timeout" => {
                    if let Some(&(Sent::Proof { name, .. }, wrote)) = waiting.front()
                        && wrote < item.ms
                    {
                        let what = format!("{name} gave a password at {wrote} ms, and never heard of it");
                        return Err(Violation::new("G11", what, &[(number, place)]));
                    }
                }
                What::Read(line) if line.starts_with("welcome ") => break,
                What::Read(_) => drop(waiting.pop_front()),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Nobody's lines are taken faster than they may be.
fn check_pace(history: &History, scenario: &Scenario, around: &Around) -> Result<(), Violation> {
    let Some(rate) = scenario.lines_per_second_max.map(u64::from) else { return Ok(()) };
    // All that was read when the server was asked to stop is processed then.
    let stopping = around.stopping.map_or(u64::MAX, |(_, ms)| ms);
    for (number, session) in history.sessions.iter().enumerate() {
        // What waits for the verdict on a guess is answered later than it was taken.
        if scenario.delays_guesses() && gives_password(session) {
            continue;
        }
        let answered: Vec<u64> =
            heard(session).map(|(_, answered)| answered).filter(|&ms| ms < stopping).collect();
        // A line that is too long is answered before its end, and only an end takes a token.
        let too_long =
            |item: &Item| matches!(&item.what, What::Read(line) if line.starts_with("error line-too-long"));
        let early = u64::from(session.items.iter().any(too_long));
        // How far the tokens of a rate are behind its lines, had nobody been idle; least where it was idle longest.
        let behind = |place: usize, ms: u64| place as i128 * 1000 - i128::from(rate) * i128::from(ms);
        let mut first = 0;
        for (last, &to) in answered.iter().enumerate() {
            if behind(last, to) < behind(first, answered[first]) {
                first = last;
            }
            let from = answered[first];
            let lines = ((last - first + 1) as u64).saturating_sub(early);
            // A token that is there at the end of a millisecond may be that one's or the next one's.
            if lines * 1000 > rate * (1000 + to - from + 1) {
                let what = format!("{lines} lines were taken from {from} ms to {to} ms, at {rate} a second");
                return Err(Violation::new("G9", what, &[(number, session.items.len() - 1)]));
            }
        }
    }
    Ok(())
}

/// Whoever has said its last word and does not read is not kept for longer than it may take to flush.
fn check_flushes(history: &History, scenario: &Scenario, around: &Around) -> Result<(), Violation> {
    if scenario.lines_per_second_max.is_some() || scenario.delays_guesses() {
        return Ok(()); // its last word may be held back
    }
    for (number, session) in history.sessions.iter().enumerate() {
        let Some(place) = session.items.iter().position(|item| matches!(item.what, What::Ended)) else {
            continue;
        };
        let ended = session.items[place].ms;
        let latest = ended.saturating_add(scenario.limits.flush_ms_max).saturating_add(END_MS_MAX);
        let stopping = around.stopping.is_some_and(|(_, stopping)| stopping <= latest);
        let gone = around.gone_ms.get(&number).copied();
        if !stopping && gone.is_none_or(|gone| gone > latest) && !around.unserved.contains(&number) {
            let gone = gone.map_or("never".to_owned(), |gone| format!("at {gone} ms"));
            let what =
                format!("it ended at {ended} ms, and the server let go of it {gone}, not by {latest} ms");
            return Err(Violation::new("G9", what, &[(number, place)]));
        }
    }
    Ok(())
}

/// No connection broke that was made when faults were over and that its client did not break, but for those that had not been
/// accepted when the server stopped, and those that were dropped while others were being refused.
fn check_broken(history: &History, scenario: &Scenario, unserved: &[usize]) -> Result<(), Violation> {
    let mut told = None;
    for (number, session) in history.sessions.iter().enumerate() {
        let broke = session.items.iter().position(|item| matches!(item.what, What::Broke));
        let reset = session.items.iter().any(|item| matches!(item.what, What::Reset));
        if let Some(broke) = broke
            && session.ms >= scenario.faults.until_ms
            && !reset
            && !unserved.contains(&number)
            && !told.get_or_insert_with(|| Told::of(history, scenario)).excuses(session)
        {
            let what = "the server broke a connection whose client reads all it gets".to_owned();
            return Err(Violation::new("G6", what, &[(number, broke)]));
        }
    }
    Ok(())
}

/// Whoever was there when the server was asked to stop, and reads, has its goodbye before time passes: it waits for nobody else.
fn check_farewells(history: &History, around: &Around) -> Result<(), Violation> {
    let Some((_, stopping)) = around.stopping else { return Ok(()) };
    for (number, session) in history.sessions.iter().enumerate() {
        let over = |item: &Item| item.what.is_bye() || item.what.is_gone();
        let is_over = session.items.iter().any(|item| item.ms <= stopping && over(item));
        let late = |item: &Item| item.ms > stopping && (!is_over || item.what.is_goodbye());
        if session.ms <= stopping
            && !around.unserved.contains(&number)
            && let Some(place) = session.items.iter().position(late)
        {
            let at = session.items[place].ms;
            let what =
                format!("the server was asked to stop at {stopping} ms, and it is still there at {at} ms");
            return Err(Violation::new("G10", what, &[(number, place)]));
        }
    }
    Ok(())
}

/// Whoever asked for something has got it before time passed.
fn check_answers(history: &History, around: &Around) -> Result<(), Violation> {
    let Some(at) = around.waited_ms else { return Ok(()) };
    let what = format!("at {at} ms somebody waits for the server, and it does nothing until time passes");
    // Somebody who had written something by then, and got nothing more at that moment.
    let waiting = history.sessions.iter().enumerate().find_map(|(number, session)| {
        let by_then = session.items.iter().rposition(|item| item.ms <= at)?;
        let asked = matches!(session.items[by_then].what, What::Wrote(_) | What::Ended);
        asked.then_some((number, by_then))
    });
    Err(Violation::new("G11", what, waiting.as_slice()))
}

fn gives_password(session: &SessionHistory) -> bool {
    session.items.iter().any(|item| matches!(&item.what, What::Wrote(Sent::Proof { .. })))
}

/// A client that gives no password gets each pong before time passes, however long it takes to verify the passwords of others.
fn check_pongs(history: &History) -> Result<(), Violation> {
    let sessions = history.sessions.iter().enumerate();
    for (number, session) in sessions.filter(|(_, session)| !gives_password(session)) {
        for asked in &session.items {
            let What::Wrote(Sent::Ping { number: line }) = asked.what else { continue };
            let pong = format!("pong {}", token(number, line));
            let late =
                |item: &Item| item.ms > asked.ms && matches!(&item.what, What::Read(line) if *line == pong);
            if let Some(place) = session.items.iter().position(late) {
                let (asked, answered) = (asked.ms, session.items[place].ms);
                let what = format!(
                    "{pong:?} came at {answered} ms, asked for at {asked} ms by somebody who gave no password"
                );
                return Err(Violation::new("G9", what, &[(number, place)]));
            }
        }
    }
    Ok(())
}

/// A message has arrived before its sender is told of those whom it does not reach and time passes.
fn check_deliveries(history: &History) -> Result<(), Violation> {
    // By the session and the number of the line. What was not reported is as if that came last of all.
    let mut reported: Vec<Vec<u64>> = vec![Vec::new(); history.sessions.len()];
    let items = || {
        history.sessions.iter().enumerate().flat_map(|(number, session)| {
            session.items.iter().enumerate().map(move |(place, item)| ((number, place), item))
        })
    };
    for ((session, _), item) in items() {
        if let What::Read(line) = &item.what
            && let Some((_, tag)) =
                line.strip_prefix("error no-such-peer: ").and_then(|line| line.rsplit_once('~'))
            && let Some((sender, number)) = untag(tag)
            && sender == session
        {
            let reported = &mut reported[sender];
            reported.resize(reported.len().max(number + 1), u64::MAX);
            reported[number] = item.ms;
        }
    }
    for (here, item) in items() {
        if let What::Read(line) = &item.what
            && let Some((sender, number)) = delivered(line).and_then(|message| message.cause)
            && let Some(&then) = reported.get(sender).and_then(|lines| lines.get(number))
            && item.ms > then
        {
            let what = format!(
                "{line:?} came at {} ms, though its sender knew at {then} ms that it was on its way",
                item.ms
            );
            return Err(Violation::new("G11", what, &[here]));
        }
    }
    Ok(())
}

/// No name is taken that nobody can hold any more.
fn check_names(history: &History, around: &Around) -> Result<(), Violation> {
    let mut claims = None;
    for (number, session) in history.sessions.iter().enumerate() {
        let mut asked = None;
        for (place, item) in session.items.iter().enumerate() {
            match &item.what {
                What::Wrote(Sent::Name(name) | Sent::Proof { name, .. }) => asked = Some((item.ms, name)),
                What::Read(line) if line.starts_with("welcome ") => break,
                What::Read(line) if line.starts_with("error name-taken") => {
                    let Some((at, name)) = asked.take() else { continue };
                    let stopping = around.stopping.is_some_and(|(_, stopping)| stopping <= item.ms);
                    let claims = claims.get_or_insert_with(|| claims_of(history));
                    let name = same(name);
                    let held = claims[&name].iter().any(|&(other, over)| other != number && over >= at);
                    if !held && !stopping {
                        let what = format!(
                            "{name} was taken at {} ms, though nobody is left who could hold it",
                            item.ms
                        );
                        return Err(Violation::new("G7", what, &[(number, place)]));
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Who asked for each name, and until when, in milliseconds, it could hold it.
fn claims_of(history: &History) -> HashMap<String, Vec<(usize, u64)>> {
    let mut claims: HashMap<String, Vec<(usize, u64)>> = HashMap::new();
    for (number, session) in history.sessions.iter().enumerate() {
        let done = |what: &What| what.is_gone() || matches!(what, What::Wrote(Sent::Quit));
        let over = session.items.iter().find(|item| done(&item.what));
        for item in &session.items {
            if let What::Wrote(sent) = &item.what
                && let Some(name) = sent.asks_for()
            {
                claims.entry(same(name)).or_default().push((number, over.map_or(u64::MAX, |over| over.ms)));
            }
        }
    }
    claims
}
