//! Step 2, what was read: is each message one that was sent, by whom it says, to whoever read it, as it was, once, and in
//! its sender's order?

use hashbrown::HashMap;

use super::Violation;
use super::case::{Case, Delivery};

/// Checks all messages that were read, and takes down with each line who has it.
pub(super) fn check(case: &mut Case<'_>) -> Result<(), Violation> {
    let mut last: HashMap<(usize, usize), (usize, usize)> = HashMap::new();
    let deliveries = std::mem::take(&mut case.deliveries);
    for delivery in &deliveries {
        check_one(case, delivery)?;
        let &Delivery { reader, item, text, cause: (sender, number), .. } = delivery;
        if let Some(before) = last.insert((reader, sender), (number, item))
            && before.0 > number
        {
            let what = format!("{text:?} came behind what its sender sent later");
            return Err(Violation::new("G2", what, &[(reader, before.1), (reader, item)]));
        }
        let line = &mut case.sessions[sender].lines[number];
        line.delivered.push(reader);
        let got = (line.at, item);
        case.sessions[reader].got = case.sessions[reader].got.max(got);
    }
    case.deliveries = deliveries;
    Ok(())
}

/// One message at one reader.
fn check_one(case: &Case<'_>, delivery: &Delivery<'_>) -> Result<(), Violation> {
    let &Delivery { reader, item, from, text, cause: (sender, number) } = delivery;
    let here = (reader, item);
    let line = case.sessions.get(sender).and_then(|session| session.lines.get(number));
    let Some((line, message)) = line.and_then(|line| Some((line, line.message.as_ref()?))) else {
        return Err(Violation::new("G6", format!("a message that nobody sent: {text:?}"), &[here]));
    };
    let fault = |rule, what: String| Err(Violation::new(rule, what, &[(sender, line.item), here]));
    if message.text != text {
        return fault("G6", format!("{:?} arrived as {text:?}", message.text));
    }
    if !case.sessions[sender].may_be(from) {
        return fault("G8", format!("{text:?} was not sent by {from}"));
    }
    let session = &case.sessions[reader];
    let (Some((name, id)), Some(welcome)) =
        (session.name, session.welcome.filter(|welcome| welcome.item <= item))
    else {
        return fault("G5", format!("{text:?} came before the welcome"));
    };
    if !message.to.contains(&id) {
        return fault("G6", format!("{text:?} was not for {name}"));
    }
    if line.delivered.contains(&reader) {
        return fault("G6", format!("{text:?} came twice"));
    }
    let Some(answer) = &line.answer else { return Ok(()) };
    if reader == sender && answer.item < item {
        return fault("G4", format!("{text:?} came behind the answer to it"));
    }
    if answer.at < welcome.written_at {
        return fault("G7", format!("{text:?} was for the session that held {name} before"));
    }
    Ok(())
}
