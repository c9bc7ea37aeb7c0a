//! Step 3, what was sent: was each message either delivered or reported, for each of its names, and never left out in
//! between?

use hashbrown::HashMap;

use super::Violation;
use super::case::{Answer, Case, Delivery, Line, Message, NameId, Told};

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
    message.to.iter().try_for_each(|&name| {
        check_recipient(case, line, message, answer, name).map_err(fault)?;
        check_holder(case, (sender, line), message, answer, name)
    })
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
    Ok(())
}

/// Whoever was welcome under a name before a message to it was written, and held it when its sender was told of it, has it, as
/// far as it read.
fn check_holder(
    case: &Case<'_>,
    (sender, line): (usize, &Line<'_>),
    message: &Message<'_>,
    answer: &Answer,
    id: NameId,
) -> Result<(), Violation> {
    let (name, text) = (&case.known[id], message.text);
    let before = name.holders.partition_point(|&holder| case.sessions[holder].welcomed_at() < line.at);
    let Some(holder) = before.checked_sub(1).map(|last| name.holders[last]) else { return Ok(()) };
    let Told::Missing(missing) = &answer.told else { return Ok(()) };
    let session = &case.sessions[holder];
    let (rule, what) = if missing.contains(&id) {
        if session.surely_until() <= answer.at {
            return Ok(());
        }
        ("G5", format!("{text:?} was reported as not delivered, but {} was there all the time", name.spelled))
    } else {
        if session.has_all_until() <= answer.at || line.delivered.contains(&holder) {
            return Ok(());
        }
        ("G6", format!("{text:?} is missing at {}, who got what was sent behind it", name.spelled))
    };
    let (got, place) = session.got;
    let seen = (holder, if got > answer.at { place } else { session.last });
    Err(Violation::new(rule, what, &[(sender, line.item), (sender, answer.item), seen]))
}

/// Whoever got a message got all that its sender had written to its name before, since both were welcome.
fn check_gaps(case: &Case<'_>, sender: usize) -> Result<(), Violation> {
    let session = &case.sessions[sender];
    let lines = &session.lines;
    // The lines to each name, in order; and for each reader, how many of them it should have come to with the next.
    let mut to: HashMap<NameId, Vec<usize>> = HashMap::new();
    let mut come_to: HashMap<usize, usize> = HashMap::new();
    for (number, line) in lines.iter().enumerate() {
        let Some(message) = line.message.as_ref().filter(|_| !line.is_refused()) else { continue };
        message.to.iter().for_each(|&name| to.entry(name).or_default().push(number));
        for &reader in &line.delivered {
            let Some((name, id)) = case.sessions[reader].name else { continue };
            let sent = to.get(&id).map_or(&[][..], Vec::as_slice);
            let since = case.sessions[reader].welcomed_at().max(session.welcomed_at());
            let expected = come_to
                .insert(reader, sent.len())
                .unwrap_or_else(|| sent.partition_point(|&number| lines[number].at < since));
            if expected + 1 < sent.len() {
                let missing = &lines[sent[expected]];
                let text = missing.message.as_ref().map_or("", |message| message.text);
                let what = format!("{text:?} is missing at {name}, who got what was sent behind it");
                let here = |it: &&Delivery<'_>| it.reader == reader && it.cause == (sender, number);
                let behind = case.deliveries.iter().find(here).map(|it| (reader, it.item));
                let witness: Vec<_> = [(sender, missing.item)].into_iter().chain(behind).collect();
                return Err(Violation::new("G6", what, &witness));
            }
        }
    }
    Ok(())
}
