//! The judge, fed histories that nobody ran: written here line by line, in the one order in which it all happened.

use seriatim_sim::history::{History, Item, Sent, SessionHistory, What};
use seriatim_sim::judge::{Violation, judge};

/// These are welcome, one after another, and then each of them writes and reads this.
fn judged(names: &[&str], then: impl IntoIterator<Item = (usize, What)>) -> Result<(), Violation> {
    let log_in = |(session, name): (usize, &&str)| {
        let name = (*name).to_owned();
        let welcome = read(session, &format!("welcome {name}"));
        [(session, What::Wrote(Sent::Name(name))), welcome]
    };
    let mut sessions = Vec::new();
    for ((session, what), at) in names.iter().enumerate().flat_map(log_in).chain(then).zip(0..) {
        sessions.resize(sessions.len().max(session + 1), SessionHistory::default());
        sessions[session].items.push(Item { at, ms: 0, what });
    }
    judge(&History { recipients_max: 8, sessions, ..History::default() })
}

fn read(session: usize, line: &str) -> (usize, What) {
    (session, What::Read(line.to_owned()))
}

fn say(session: usize, number: usize, to: &[&str]) -> (usize, What) {
    let to = to.iter().map(|&name| name.to_owned()).collect();
    (session, What::Wrote(Sent::Say { number, to, text: format!("m{session}.{number}"), bare: false }))
}

fn receipt(session: usize, number: usize) -> (usize, What) {
    read(session, &format!("error no-such-peer: ~{session}.{number}"))
}

/// What was written later waits for what lies in a circle, and so does not lie in an order either.
#[test]
fn g3_a_circle_is_found_however_much_comes_behind_it() {
    let names = ["zed", "al", "bob", "carol", "erin"];
    let circle = [
        say(1, 1, &["carol", "erin"]),
        say(2, 1, &["carol", "erin"]),
        read(3, "from al: m1.1"),
        read(3, "from bob: m2.1"),
        read(4, "from bob: m2.1"),
        read(4, "from al: m1.1"),
        receipt(1, 1),
        receipt(2, 1),
    ];
    for more in [0, 1, 63, 64, 65, 1_000] {
        let behind = (1..=more).flat_map(|number| {
            [say(0, number, &["zed"]), read(0, &format!("from zed: m0.{number}")), receipt(0, number)]
        });
        let violation = judged(&names, circle.iter().cloned().chain(behind)).expect_err("a circle");
        assert_eq!(
            (violation.rule.as_str(), violation.witness),
            ("G3", vec![(1, 2), (2, 2)]),
            "{more} lines behind"
        );
    }
}
