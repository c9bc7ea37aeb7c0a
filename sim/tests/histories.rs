//! The judge, fed histories that nobody ran: written here line by line, in the one order in which it all happened.

use seriatim_sim::history::{History, Item, Sent, SessionHistory, What, token};
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

/// al and bob write to lag, who misses one of their lines and then gets something that can only have come behind it.
#[test]
fn g6_a_laggard_misses_nothing_before_what_it_gets() {
    let mail = |session: usize, number: usize| {
        read(2, &format!("from {}: m{session}.{number}", ["al", "bob"][session]))
    };
    let ping = |number: usize| (2, What::Wrote(Sent::Ping { number }));
    let pong = |number: usize| read(2, &format!("pong {}", token(2, number)));
    let to_lag = |session, number| [say(session, number, &["lag"]), receipt(session, number)];
    let two_of = |first, second: (usize, usize)| [to_lag(0, first), to_lag(second.0, second.1)].concat();
    let ends = [
        vec![read(2, "bye too slow"), (2, What::Closed(String::new()))],
        vec![(2, What::Broke)],
        vec![(2, What::Reset)],
        vec![],
    ];
    for end in ends {
        let judged = |then: &[&[(usize, What)]]| {
            judged(&["al", "bob", "lag"], then.iter().copied().flatten().chain(&end).cloned())
        };
        let misses = |then: &[&[(usize, What)]], witness: &[(usize, usize)]| {
            let violation = judged(then).expect_err("a line is missing");
            assert_eq!((violation.rule.as_str(), &violation.witness[..]), ("G6", witness), "{end:?}");
        };
        // Another's line came behind it; the answer to what it wrote itself did; so did another line of the same sender, whether
        // that waited to hear of the first or not.
        misses(&[&two_of(1, (1, 1)), &[mail(1, 1)]], &[(0, 2), (0, 3), (2, 2)]);
        misses(&[&to_lag(0, 1), &[ping(1), pong(1)]], &[(0, 2), (0, 3), (2, 3)]);
        misses(&[&two_of(1, (0, 2)), &[mail(0, 2)]], &[(0, 2), (0, 3), (2, 2)]);
        let (first, second) = (say(0, 1, &["lag"]), say(0, 2, &["lag"]));
        misses(&[&[first, second, mail(0, 2)]], &[(0, 2), (2, 2)]);
        // What it has of one does not stand for what it misses of the other.
        misses(&[&two_of(1, (1, 1)), &[mail(0, 1), ping(1), pong(1)]], &[(1, 2), (1, 3), (2, 4)]);
        // With what came before, all is well, whatever is missing behind that.
        assert_eq!(judged(&[&two_of(1, (1, 1)), &[mail(0, 1)]]), Ok(()), "{end:?}");
        assert_eq!(judged(&[&[ping(1)], &to_lag(0, 1), &[pong(1)]]), Ok(()), "{end:?}");
    }
}

/// lag, who misses it, read to the end; another lag came later, and did not.
#[test]
fn g6_what_one_reads_to_the_end_is_not_excused_by_the_next_of_its_name() {
    let judged = |mail: Option<(usize, What)>| {
        let first = [say(0, 1, &["lag"]), receipt(0, 1)].into_iter().chain(mail);
        let next = [
            (1, What::Ended),
            (1, What::Closed(String::new())),
            (2, What::Wrote(Sent::Name("lag".to_owned()))),
            read(2, "welcome lag"),
            (2, What::Broke),
        ];
        judged(&["al", "lag"], first.chain(next))
    };
    assert_eq!(judged(Some(read(1, "from al: m0.1"))), Ok(()));
    let violation = judged(None).expect_err("a line is missing");
    assert_eq!((violation.rule.as_str(), violation.witness), ("G6", vec![(0, 2), (0, 3), (1, 3)]));
}

/// eve breaks off before she reads what becomes of her name, but not before she says something.
#[test]
fn g8_nobody_speaks_under_a_name_that_it_never_asked_for_or_was_refused() {
    let judged = |from: &str| {
        let eve = [
            (1, What::Wrote(Sent::Name("al".to_owned()))),
            (1, What::Wrote(Sent::Name("eve".to_owned()))),
            say(1, 2, &["al"]),
            read(1, "error name-taken: al"),
            (1, What::Reset),
            read(0, &format!("from {from}: m1.2")),
        ];
        judged(&["al"], eve)
    };
    assert_eq!(judged("eve"), Ok(()));
    for forged in ["mallory", "al", "Eve"] {
        let violation = judged(forged).expect_err("a forged sender");
        assert_eq!((violation.rule.as_str(), violation.witness), ("G8", vec![(1, 2), (0, 2)]), "{forged}");
    }
}
