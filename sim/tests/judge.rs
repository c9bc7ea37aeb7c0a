//! The judge, fed histories with something wrong in them: it must reject every one, and name the rule.

use seriatim_sim::choice::Choices;
use seriatim_sim::engine::volume::run;
use seriatim_sim::history::{History, Item, Sent, SessionHistory, What};
use seriatim_sim::judge::judge;
use seriatim_sim::scenario::{Op, Scenario, Script};
use seriatim_sim::world::Record;

/// al and bob talk, erin listens; carol listens, leaves, and comes again.
fn history() -> History {
    let log_in = |name: &str| Op::LogIn { name: name.to_owned(), insist: true };
    let say = |to: &[&str]| Op::Say { to: to.iter().map(|&name| name.to_owned()).collect(), bytes: 16 };
    let ping = Op::Ping { wait: true };
    let scenario = Scenario {
        clients: vec![
            Script {
                ops: vec![
                    Op::Connect,
                    log_in("al"),
                    Op::Sleep(10),
                    say(&["bob", "carol", "erin"]),
                    say(&["bob", "carol", "erin"]),
                    say(&["carol", "dave"]),
                    ping.clone(),
                    Op::Sleep(100),
                    say(&["carol"]),
                    say(&["carol", "bob"]),
                    Op::Quit,
                ],
            },
            Script {
                ops: vec![
                    Op::Connect,
                    log_in("bob"),
                    Op::Sleep(20),
                    say(&["carol", "al", "erin"]),
                    say(&["carol", "al", "erin"]),
                    ping.clone(),
                    Op::Sleep(500),
                    Op::HalfClose,
                ],
            },
            Script {
                ops: vec![
                    Op::Connect,
                    log_in("carol"),
                    Op::Sleep(50),
                    Op::HalfClose,
                    Op::Connect,
                    log_in("carol"),
                    Op::Sleep(500),
                    ping,
                    Op::Quit,
                ],
            },
            Script { ops: vec![Op::Connect, log_in("erin"), Op::Sleep(600), Op::HalfClose] },
        ],
        ..Scenario::default()
    };
    let outcome = run(&scenario, Choices::replay(Vec::new()), Record::default());
    assert_eq!(outcome.violation, None);
    outcome.history
}

/// The session of this name, the last if there are several; and where it reads the nth line that begins like this.
fn place(history: &History, name: &str, nth: usize, beginning: &str) -> (usize, usize) {
    let is_its = |session: &SessionHistory| {
        session.items.iter().any(|item| item.what == What::Read(format!("welcome {name}")))
    };
    let sessions = history.sessions.iter().enumerate().filter(|(_, session)| is_its(session));
    let reads = |item: &Item| matches!(&item.what, What::Read(line) if line.starts_with(beginning));
    for (number, session) in sessions {
        let lines: Vec<usize> =
            (0..session.items.len()).filter(|&item| reads(&session.items[item])).collect();
        if let Some(&item) = lines.get(nth) {
            return (number, item);
        }
    }
    panic!("{name} never reads {beginning:?} number {nth}")
}

fn line(history: &mut History, (session, item): (usize, usize)) -> &mut String {
    match &mut history.sessions[session].items[item].what {
        What::Read(line) => line,
        other => panic!("{other:?}"),
    }
}

fn remove(history: &mut History, (session, item): (usize, usize)) -> Item {
    history.sessions[session].items.remove(item)
}

/// Lets a session see something just before what is at this place.
fn insert(history: &mut History, (session, item): (usize, usize), what: What) {
    let at = history.sessions[session].items[item - 1].at;
    history.sessions[session].items.insert(item, Item { at, ms: 0, what });
}

fn swap(history: &mut History, (session, one): (usize, usize), (other_session, other): (usize, usize)) {
    assert_eq!(session, other_session);
    let items = &mut history.sessions[session].items;
    let (a, b) = (items[one].what.clone(), items[other].what.clone());
    (items[one].what, items[other].what) = (b, a);
}

/// Corrupts a good history, and expects this rule to be named, and this to prove it.
fn rejects(rule: &str, witness: &[&str], corrupt: impl Fn(&mut History)) {
    let mut history = history();
    corrupt(&mut history);
    let violation = judge(&history).expect_err("a corrupted history");
    assert_eq!(violation.rule, rule, "{violation}");
    let seen: Vec<String> = violation.witness.iter().map(|&place| in_words(&history, place)).collect();
    assert_eq!(seen, witness, "{violation}");
}

/// What is at a place, by whose name it is.
fn in_words(history: &History, (session, item): (usize, usize)) -> String {
    let items = &history.sessions[session].items;
    let name = items.iter().find_map(|item| match &item.what {
        What::Read(line) => line.strip_prefix("welcome "),
        _ => None,
    });
    let what = match &items[item].what {
        What::Wrote(Sent::Say { text, .. }) => format!("says {}", text.split(' ').next().unwrap_or_default()),
        What::Wrote(Sent::Ping { .. }) => "pings".to_owned(),
        // The texts of messages are long, and begin with what makes them unique.
        What::Read(line) => format!("reads {}", line.split(" x:").next().unwrap_or_default()),
        other => format!("{other:?}"),
    };
    format!("{} {what}", name.unwrap_or("somebody"))
}

#[test]
fn a_good_history_passes() {
    assert_eq!(judge(&history()), Ok(()));
}

#[test]
fn drops() {
    // At the end of a mailbox that was read to its end; in the middle; and an answer.
    rejects("G5", &["al says m0.6", "al reads error no-such-peer: ~0.6"], |it| {
        drop(remove(it, place(it, "bob", 2, "from al")));
    });
    rejects("G6", &["al says m0.2", "al reads error no-such-peer: ~0.2", "bob reads from al: m0.6"], |it| {
        let (session, item) = place(it, "bob", 1, "from al");
        it.sessions[session].items.last_mut().unwrap().what = What::Broke; // so the end may be missing
        it.sessions[session].items.remove(item);
    });
    rejects("G6", &["al says m0.1", "al reads error no-such-peer: ~0.2"], |it| {
        drop(remove(it, place(it, "al", 0, "error no-such-peer")));
    });
    rejects("G10", &["bob pings", "bob Closed(\"\")"], |it| drop(remove(it, place(it, "bob", 0, "pong"))));
}

#[test]
fn swaps() {
    rejects("G2", &["bob reads from al: m0.2", "bob reads from al: m0.1"], |it| {
        swap(it, place(it, "bob", 0, "from al"), place(it, "bob", 1, "from al"));
    });
    rejects("G6", &["al says m0.1", "al reads error no-such-peer: ~0.2"], |it| {
        swap(it, place(it, "al", 0, "error no-such-peer"), place(it, "al", 1, "error no-such-peer"));
    });
    // carol saw both of al's messages before bob's, erin saw one of bob's in between.
    rejects("G3", &["al says m0.2", "bob says m1.1"], |it| {
        swap(it, place(it, "erin", 1, "from al"), place(it, "erin", 0, "from bob"));
    });
}

#[test]
fn duplicates_inventions_and_changes() {
    rejects("G6", &["al says m0.1", "bob reads from al: m0.1"], |it| {
        let (session, item) = place(it, "bob", 0, "from al");
        let twice = it.sessions[session].items[item].clone();
        it.sessions[session].items.insert(item, twice);
    });
    rejects("G6", &["al says m0.1", "bob reads from al: m0.1"], |it| {
        let place = place(it, "bob", 0, "from al");
        line(it, place).push('!');
    });
    rejects("G6", &["bob reads from al: m0.77"], |it| {
        let place = place(it, "bob", 0, "from al");
        *line(it, place) = "from al: m0.77".to_owned();
    });
    rejects("G6", &["bob reads from al: boo"], |it| {
        let place = place(it, "bob", 0, "from al");
        *line(it, place) = "from al: boo".to_owned();
    });
}

#[test]
fn a_forged_sender() {
    rejects("G8", &["al says m0.1", "bob reads from carol: m0.1"], |it| {
        let place = place(it, "bob", 0, "from al");
        let forged = line(it, place).replace("from al", "from carol");
        *line(it, place) = forged;
    });
}

#[test]
fn a_line_that_is_no_line_of_the_protocol() {
    rejects("protocol", &["bob reads frmo al: hi"], |it| {
        let place = place(it, "bob", 0, "from al");
        *line(it, place) = "frmo al: hi".to_owned();
    });
    rejects("G8", &["bob Closed(\"from a\")"], |it| {
        let (session, _) = place(it, "bob", 0, "pong");
        let end = it.sessions[session].items.last_mut().unwrap();
        assert_eq!(end.what, What::Closed(String::new()));
        end.what = What::Closed("from a".to_owned());
    });
}

#[test]
fn delivered_and_reported() {
    rejects("G5", &["al says m0.1", "al reads error no-such-peer: bob, ~0.1"], |it| {
        let place = place(it, "al", 0, "error no-such-peer: ~");
        let both = line(it, place).replace(": ~", ": bob, ~");
        *line(it, place) = both;
    });
}

#[test]
fn reported_though_there() {
    rejects("G5", &["al says m0.6", "al reads error no-such-peer: bob, ~0.6", "bob Closed(\"\")"], |it| {
        // bob never gets it, and al is told so; but bob was there all the time.
        let (mail, told) = (place(it, "bob", 2, "from al"), place(it, "al", 3, "error no-such-peer: ~"));
        remove(it, mail);
        let missing = line(it, told).replace(": ~", ": bob, ~");
        *line(it, told) = missing;
    });
}

#[test]
fn mail_for_a_predecessor() {
    rejects("G7", &["bob says m1.2", "carol reads from bob: m1.2"], |it| {
        let first = place(it, "carol", 1, "from bob");
        let second = place(it, "carol", 0, "pong");
        assert!(first.0 < second.0);
        let mail = remove(it, first);
        insert(it, second, mail.what);
    });
}

#[test]
fn two_sessions_of_one_name() {
    rejects("G7", &["bob reads welcome bob", "Bob reads welcome Bob"], |it| {
        // A second bob, welcome while the first was there and answered.
        let (session, pong) = place(it, "bob", 0, "pong");
        let at = it.sessions[session].items[pong].at;
        let what = [What::Wrote(Sent::Name("Bob".into())), What::Read("welcome Bob".into()), What::Broke];
        let items = what.into_iter().map(|what| Item { at, ms: 0, what }).collect();
        it.sessions.push(SessionHistory { ms: 0, items });
    });
}

#[test]
fn an_answer_before_what_it_answers() {
    rejects("G4", &["bob says m1.1", "al says m0.1", "al says m0.2"], |it| {
        // bob had read al's messages when he wrote his, but carol sees his before them.
        let (first, answer) = (place(it, "carol", 0, "from al"), place(it, "carol", 0, "from bob"));
        let mail = remove(it, answer);
        insert(it, first, mail.what);
    });
}

#[test]
fn behind_the_goodbye_and_without_one() {
    rejects("G6", &["al reads bye quit", "al reads pong 0.6"], |it| {
        let (session, bye) = place(it, "al", 0, "bye quit");
        let what = What::Read("pong 0.6".to_owned());
        it.sessions[session].items.insert(bye + 1, Item { at: u64::MAX, ms: 0, what });
    });
    rejects("G10", &["bob Closed(\"\")"], |it| {
        let (session, pong) = place(it, "bob", 0, "pong");
        it.sessions[session].items.truncate(pong + 1);
        it.sessions[session].items.push(Item { at: u64::MAX, ms: 0, what: What::Closed(String::new()) });
    });
}

#[test]
fn a_million_events_take_less_than_a_second() {
    // 100 clients say something to each of them in turn, themselves among them; everybody reads the message and the receipt.
    let clients = 100;
    let mut history = History {
        recipients_max: 100,
        sessions: vec![SessionHistory::default(); clients],
        ..History::default()
    };
    let mut at = 0;
    let mut push = |session: &mut SessionHistory, what| {
        at += 1;
        session.items.push(Item { at, ms: 0, what });
    };
    for client in 0..clients {
        push(&mut history.sessions[client], What::Wrote(Sent::Name(format!("c{client}"))));
        push(&mut history.sessions[client], What::Read(format!("welcome c{client}")));
    }
    for number in 1..=3_334 {
        for client in 0..clients {
            let next = (client + number) % clients;
            let (to, text) = (vec![format!("c{next}")], format!("m{client}.{number}"));
            push(
                &mut history.sessions[client],
                What::Wrote(Sent::Say { number, to, text: text.clone(), bare: false }),
            );
            push(&mut history.sessions[next], What::Read(format!("from c{client}: {text}")));
            push(
                &mut history.sessions[client],
                What::Read(format!("error no-such-peer: ~{client}.{number}")),
            );
        }
    }
    assert!(history.sessions.iter().map(|session| session.items.len()).sum::<usize>() >= 1_000_000);
    let start = std::time::Instant::now();
    assert_eq!(judge(&history), Ok(()));
    eprintln!("a million events were judged in {:?}", start.elapsed());
}

#[test]
fn a_message_without_a_receipt() {
    // al writes to bob and to dave, who is not there, and to bob again; behind each is a ping.
    let history = |lines: &[&str], mail: &[&str]| {
        let read = |line: &&str| What::Read((*line).to_owned());
        let say = |number, to: &[&str]| {
            let (to, text) = (to.iter().map(|&name| name.to_owned()).collect(), format!("m0.{number}"));
            [
                What::Wrote(Sent::Say { number, to, text, bare: true }),
                What::Wrote(Sent::Ping { number: number + 1 }),
            ]
        };
        let name =
            |name: &str| [What::Wrote(Sent::Name(name.to_owned())), What::Read(format!("welcome {name}"))];
        let bob = name("bob").into_iter().chain(mail.iter().map(read));
        let al = name("al").into_iter().chain(say(1, &["bob", "dave"])).chain(say(3, &["bob"]));
        let al = al.chain(lines.iter().map(read));
        let session = |whats: Vec<What>, from| {
            let items = whats.into_iter().zip(from..).map(|(what, at)| Item { at, ms: 0, what }).collect();
            SessionHistory { ms: 0, items }
        };
        // bob is welcome before al comes, and reads when al has read all.
        let mut sessions = vec![session(al.collect(), 2), session(bob.collect(), 0)];
        sessions[1].items.iter_mut().skip(2).for_each(|item| item.at += 100);
        let shutdown = What::Read("bye server shutting down".to_owned());
        for (session, at) in sessions.iter_mut().zip(200..) {
            session.items.push(Item { at, ms: 0, what: shutdown.clone() });
        }
        judge(&History { recipients_max: 2, sessions, ..History::default() })
            .map_err(|violation| violation.rule)
    };
    let rule = |rule: &str| Err(rule.to_owned());
    let (report, first, second) = ("error no-such-peer: dave", "pong 0.2 and  more", "pong 0.4 and  more");
    let (one, two) = ("from al: m0.1", "from al: m0.3");
    assert_eq!(history(&[report, first, second], &[one, two]), Ok(()));
    // Nobody is told of dave; bob is reported though he got it, and never got it though he was not; a report is behind its pong.
    assert_eq!(history(&[first, second], &[one, two]), rule("G5"));
    assert_eq!(history(&["error no-such-peer: bob, dave", first, second], &[one, two]), rule("G5"));
    assert_eq!(history(&[report, first, second], &[one]), rule("G5"));
    assert_eq!(history(&[first, report, second], &[one, two]), rule("G6"));
}

#[test]
fn a_list_of_peers_that_breaks_off() {
    let history = |more: &str, behind: &str| {
        let read = |line: &str| What::Read(line.to_owned());
        let whats = [
            What::Wrote(Sent::Name("al".to_owned())),
            read("welcome al"),
            What::Wrote(Sent::Who),
            read("peers 3: al, bob"),
            read(more),
            What::Wrote(Sent::Quit),
            read(behind),
            What::Closed(String::new()),
        ];
        let items = whats.into_iter().zip(0..).map(|(what, at)| Item { at, ms: 0, what }).collect();
        History { recipients_max: 8, sessions: vec![SessionHistory { ms: 0, items }], ..History::default() }
    };
    assert_eq!(judge(&history("peers 3: carol", "bye quit")), Ok(()));
    let broken_off = judge(&history("bye quit", "peers 3: carol")).expect_err("two of three");
    assert_eq!(broken_off.rule, "G8", "{broken_off}");
}
