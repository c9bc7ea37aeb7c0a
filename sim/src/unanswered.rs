//! The rules about lines whose sender never learns what became of them: what the server has read, and what a client said before
//! it broke its connection, counts all the same. Others see that, or the network does.

use hashbrown::{HashMap, HashSet};

use crate::fairness::Said;
use crate::history::{History, Item, Sent, SessionHistory, What, delivered, is_bare_report};
use crate::judge::{Violation, same};
use crate::orders;
use crate::scenario::Scenario;
use crate::timing::Around;

/// Checks what became of such lines.
///
/// # Errors
/// The first violation found.
pub(crate) fn check(history: &History, scenario: &Scenario, around: &Around) -> Result<(), Violation> {
    check_taken(history, around)?;
    // Whoever is idle for too long is perhaps no longer heard.
    if scenario.is_prompt() && scenario.limits.idle_ms_max.is_none() {
        check_last_words(history, scenario, around)?;
    }
    Ok(())
}

/// What the server had read when it was asked to stop is answered before the goodbye; but for a login whose password was still to
/// be verified, and what stood behind it.
fn check_taken(history: &History, around: &Around) -> Result<(), Violation> {
    for (number, session) in history.sessions.iter().enumerate() {
        let taken = around.lines_taken.get(&number).copied().unwrap_or_default();
        let goodbye = session.items.iter().position(|item| item.what.is_goodbye());
        let Some(place) = goodbye else { continue };
        let before = &session.items[..place];
        let is_answer = |item: &&Item| match &item.what {
            What::Read(line) => !line.starts_with("from ") && !is_bare_report(line),
            _ => false,
        };
        let answers = before.iter().filter(is_answer).count();
        let wrote = session.items.iter().filter_map(|item| match &item.what {
            What::Wrote(sent) => Some(sent),
            _ => None,
        });
        let lines: Vec<&Sent> = wrote.take(taken).collect();
        let bare = lines.iter().filter(|sent| matches!(sent, Sent::Say { bare: true, .. })).count();
        let is_login = |sent: &&Sent| {
            matches!(sent, Sent::Proof { .. }) && !before.iter().any(|item| item.what.is_welcome())
        };
        // Up to its welcome every line has one answer.
        let due = if lines.get(answers).is_some_and(is_login) { answers } else { taken - bare };
        if answers < due {
            let what = format!(
                "the server had read {due} lines that get an answer when it was asked to stop, and answered \
                 {answers} of them"
            );
            return Err(Violation::new("G10", what, &[(number, place)]));
        }
    }
    Ok(())
}

/// What a client says before it breaks its connection reaches those who are there.
fn check_last_words(history: &History, scenario: &Scenario, around: &Around) -> Result<(), Violation> {
    let until = around.stopping.map_or(u64::MAX, |(_, stopping)| stopping);
    let mut all = None;
    for (number, session) in history.sessions.iter().enumerate() {
        let Some((said, at)) = last_words(session).filter(|(_, at)| at.ms < until) else { continue };
        let all = all.get_or_insert_with(|| All::of(history));
        if all.said.fills(scenario, at.ms) {
            continue; // perhaps it was too slow, and did not live to read that
        }
        if orders::may_have_ended(history, scenario, around, number, at) {
            continue; // nor that
        }
        let taken = around.lines_taken_in_all.get(&number).copied().unwrap_or_default();
        for (place, item) in said {
            let What::Wrote(Sent::Say { number: line, to, text, .. }) = &item.what else { continue };
            // Whether the server saw the end first or the break, its client does not know.
            if ended(session) && *line >= taken {
                continue;
            }
            // What was said earlier had been answered by then.
            if item.ms < at.ms || to.len() >= history.recipients_max {
                continue;
            }
            for name in to {
                if let Some(reader) = all.there(&same(name), item.at, at.ms)
                    && !all.read.contains(&(reader, (number, *line)))
                {
                    let what = format!(
                        "{text:?} never came to {name}, who was there all the time, though its sender said it before \
                         it broke the connection"
                    );
                    let end = history.sessions[reader].items.len() - 1;
                    return Err(Violation::new("G6", what, &[(number, place), (reader, end)]));
                }
            }
        }
    }
    Ok(())
}

/// If a session was welcome and its client broke the connection: all it did and saw in between, and the break. Nothing in
/// between ended it, but for the client's own end.
fn last_words(session: &SessionHistory) -> Option<(impl Iterator<Item = (usize, &Item)>, &Item)> {
    let reset = session.items.iter().position(|item| item.what == What::Reset)?;
    let welcome = session.items.iter().position(|item| item.what.is_welcome())?;
    let over = session.items.iter().position(|item| item.what != What::Ended && item.what.is_over())?;
    let between = session.items.iter().enumerate().take(reset).skip(welcome);
    (over == reset).then_some((between, &session.items[reset]))
}

/// Whether the client closed its side, too.
fn ended(session: &SessionHistory) -> bool {
    session.items.iter().any(|item| item.what == What::Ended)
}

/// What is known of all sessions together.
struct All {
    said: Said,
    /// Who was welcome under a name: since when, as a stamp, until when, in milliseconds, and the session.
    holders: HashMap<String, Vec<(u64, u64, usize)>>,
    /// Who read which message.
    read: HashSet<(usize, (usize, usize))>,
}

impl All {
    fn of(history: &History) -> All {
        let mut all = All { said: Said::of(history), holders: HashMap::new(), read: HashSet::new() };
        for (number, session) in history.sessions.iter().enumerate() {
            let over_ms =
                session.items.iter().find(|item| item.what.is_over()).map_or(u64::MAX, |item| item.ms);
            for item in &session.items {
                let What::Read(line) = &item.what else { continue };
                if let Some(name) = line.strip_prefix("welcome ") {
                    all.holders.entry(same(name)).or_default().push((item.at, over_ms, number));
                }
                let cause = delivered(line).and_then(|message| message.cause);
                all.read.extend(cause.map(|cause| (number, cause)));
            }
        }
        all.holders.values_mut().for_each(|holders| holders.sort_unstable());
        all
    }

    /// The session that held this name since before a stamp, and still held it when a millisecond was over.
    fn there(&self, name: &str, since: u64, ms: u64) -> Option<usize> {
        let holders = self.holders.get(name)?;
        let last = holders.partition_point(|&(at, ..)| at < since).checked_sub(1)?;
        let (_, over_ms, holder) = holders[last];
        (over_ms > ms).then_some(holder)
    }
}
