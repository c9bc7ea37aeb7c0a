//! Step 3, what was sent: was each message either delivered or reported, for each of its names, and never left out in
//! between?

use hashbrown::HashMap;

use super::Violation;
use super::case::{Answer, Case, Line, Message, NameId, Told};

/// Checks all messages that were sent.
pub(super) fn check(case: &Case<'_>) -> Result<(), Violation> {
    for (sender, session) in case.sessions.iter().enumerate() {
        for line in &session.lines {
            if let (Some(message), Some(answer)) = (&line.message, &line.answer) {
                check_answered(case, sender, line, message, answer)?;
            }
        }
        check_gaps(case, sender)?;
    }
    Ok(())
}

/// A message whose sender was told what became of it.
fn check_answered(
    case: &Case<'_>,
    sender: usize,
    line: &Line<'_>,
    message: &Message<'_>,
    answer: &Answer,
) -> Result<(), Violation> {
    let fault =
        |(rule, what): (_, String)| Violation::new(rule, what, &[(sender, line.item), (sender, answer.item)]);
    let to_itself = case.sessions[sender].name().is_some_and(|name| message.to.contains(&name));
    if to_itself && !line.is_refused() && !line.delivered.contains(&sender) {
        let what =
            format!("{:?} was answered, but its sender, whom it names, did not get it before", message.text);
        return Err(fault(("G6", what)));
    }
    message.to.iter().try_for_each(|&name| check_recipient(case, line, message, answer, name).map_err(fault))
}

/// One name of one message.
fn check_recipient(
    case: &Case<'_>,
    line: &Line<'_>,
    message: &Message<'_>,
    answer: &Answer,
    id: NameId,
) -> Result<(), (&'static str, String)> {
    let (name, text) = (&case.known[id], message.text);
    let got = line.delivered.iter().filter(|&&reader| case.sessions[reader].name() == Some(id)).count();
    let told = match &answer.told {
        Told::Refused if line.delivered.is_empty() => return Ok(()),
        Told::Refused => return Err(("G5", format!("{text:?} was refused and delivered"))),
        Told::Missing(missing) => missing.contains(&id),
    };
    if told && got > 0 {
        let what = format!("{text:?} was delivered to {} and reported as not delivered", name.spelled);
        return Err(("G5", what));
    }
    if got > 1 {
        return Err(("G7", format!("{text:?} was delivered to {got} sessions of {}", name.spelled)));
    }
    if !told && got == 0 && !name.unread {
        return Err(("G5", format!("{text:?} was neither delivered to {} nor reported", name.spelled)));
    }
    // The last session that was welcome before this was written, if it surely was still there when it was answered.
    let before = name.holders.partition_point(|&holder| case.sessions[holder].welcomed_at() < line.at);
    if told
        && let Some(&holder) = before.checked_sub(1).and_then(|last| name.holders.get(last))
        && case.sessions[holder].surely_until > answer.at
    {
        let what =
            format!("{text:?} was reported as not delivered, but {} was there all the time", name.spelled);
        return Err(("G5", what));
    }
    Ok(())
}

/// Whoever got two messages of one sender got everything for it in between.
fn check_gaps(case: &Case<'_>, sender: usize) -> Result<(), Violation> {
    let lines = &case.sessions[sender].lines;
    // The lines to each name, in order; and for each reader, how many of them it should have come to with the next.
    let mut to: HashMap<NameId, Vec<usize>> = HashMap::new();
    let mut come_to: HashMap<usize, usize> = HashMap::new();
    for (number, line) in lines.iter().enumerate() {
        let Some(message) = line.message.as_ref().filter(|_| !line.is_refused()) else { continue };
        message.to.iter().for_each(|&name| to.entry(name).or_default().push(number));
        for &reader in &line.delivered {
            let Some((name, id)) = case.sessions[reader].name else { continue };
            let sent = to.get(&id).map_or(&[][..], Vec::as_slice);
            let expected = come_to.insert(reader, sent.len());
            if let Some(missing) = expected.filter(|&expected| expected + 1 < sent.len()) {
                let missing = &lines[sent[missing]];
                let text = missing.message.as_ref().map_or("", |message| message.text);
                let what =
                    format!("{text:?} is missing at {name}, who got what was sent before and behind it");
                let witness = [(sender, missing.item), (reader, case.sessions[reader].last)];
                return Err(Violation::new("G6", what, &witness));
            }
        }
    }
    Ok(())
}
