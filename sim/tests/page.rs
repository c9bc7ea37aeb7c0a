//! The page that shows a failing run, without a browser.

use serde_json::Value;
use seriatim_sim::choice::Choices;
use seriatim_sim::engine::Outcome;
use seriatim_sim::engine::volume::run;
use seriatim_sim::explore::{Engine, Plan};
use seriatim_sim::history::{History, What};
use seriatim_sim::judge::judge;
use seriatim_sim::page::{page, page_of_seed, regression_test};
use seriatim_sim::report;
use seriatim_sim::scenario::{Command, Op, Order, Scenario, Script, Stop, When};
use seriatim_sim::shrink::Failing;
use seriatim_sim::swarm::Profile;
use seriatim_sim::world::Record;

/// al sends two messages to bob.
fn scenario() -> Scenario {
    let log_in = |name: &str| Op::LogIn { name: name.to_owned(), insist: true };
    let say = Op::Say { to: vec!["bob".to_owned()], bytes: 8 };
    let al = vec![Op::Connect, log_in("al"), Op::Sleep(10), say.clone(), say, Op::Ping { wait: true }];
    let bob = vec![Op::Connect, log_in("bob"), Op::Sleep(1_000), Op::HalfClose];
    Scenario { clients: vec![Script { ops: al }, Script { ops: bob }], ..Scenario::default() }
}

/// A run whose history was corrupted, and judged: the server itself does nothing wrong.
fn failing(rule: &str, corrupt: impl Fn(&mut History)) -> (Failing, Outcome) {
    let mut outcome = run(&scenario(), Choices::replay(Vec::new()), Record { digest: false, trace: true });
    assert_eq!(outcome.violation, None);
    corrupt(&mut outcome.history);
    let violation = judge(&outcome.history).expect_err("a corrupted history");
    assert_eq!(violation.rule, rule, "{violation}");
    outcome.violation = Some(violation);
    (Failing { scenario: scenario(), picks: outcome.picks(), rule: rule.to_owned() }, outcome)
}

/// The session and the place at which this line was read.
fn place(history: &History, line: &str) -> (usize, usize) {
    let reads = |what: &What| matches!(what, What::Read(read) if read == line);
    let places =
        history.sessions.iter().enumerate().map(|(number, session)| {
            Some((number, session.items.iter().position(|item| reads(&item.what))?))
        });
    places.flatten().next().unwrap_or_else(|| panic!("nobody reads {line}"))
}

/// bob never sees al's second message.
fn lost() -> (Failing, Outcome) {
    failing("G5", |history| {
        let (session, item) = place(history, "from al: m0.2 x:x");
        history.sessions[session].items.remove(item);
    })
}

/// The text of the element that holds the data.
fn data_text(page: &str) -> &str {
    let (_, rest) = page.split_once("id=\"data\">").expect("data");
    rest.split_once("</script>").expect("an end").0
}

fn data(page: &str) -> Value {
    serde_json::from_str(data_text(page)).expect("JSON")
}

/// The row in which this happened.
fn row(data: &Value, kind: &str, line: &str) -> usize {
    let is_it = |row: &Value| row["kind"] == kind && row["line"] == line;
    let rows = data["rows"].as_array().expect("a list");
    rows.iter().position(is_it).unwrap_or_else(|| panic!("{kind} {line}: {rows:#?}"))
}

/// Whether one row is shown to have brought about another.
fn leads(data: &Value, from: usize, to: usize) -> bool {
    data["arrows"].as_array().expect("a list").iter().any(|arrow| arrow["from"] == from && arrow["to"] == to)
}

#[test]
fn the_page_names_the_rule_and_its_proof() {
    let (failing, outcome) = lost();
    let violation = outcome.violation.clone().unwrap();
    let data = data(&page(&failing, &outcome));
    assert_eq!(data["rule"], "G5");
    assert_eq!(data["violation"], violation.what.as_str());
    let rows = data["rows"].as_array().unwrap();
    let items: usize = outcome.history.sessions.iter().map(|session| session.items.len()).sum();
    assert_eq!(rows.len(), items + outcome.trace.len());
    let witnesses = rows.iter().filter(|row| !row["witness"].is_null()).count();
    assert_eq!(witnesses, violation.witness.len());
    let wrote = row(&data, "wrote", "bob, ~0.2: m0.2 x:x");
    assert_eq!(rows[wrote]["witness"], 1);
    assert_eq!(data["lanes"][0]["name"], "al");
    assert_eq!([&data["lanes"][0]["client"], &data["lanes"][1]["client"]], [0, 1]);
}

#[test]
fn what_nobody_did_has_its_row() {
    let record = Record { digest: false, trace: true };
    let mut scenario = scenario();
    scenario.faults.clog = 1000;
    scenario.faults.until_ms = 1;
    let outcome = run(&scenario, Choices::in_turn(0, 2, 4), record);
    let clogged = outcome.incidents.iter().filter(|incident| incident.session == Some(0)).count();
    let held_back = outcome.incidents.iter().filter(|incident| incident.is_turn).count();
    assert!(clogged > 0 && held_back > 0, "{:?}", outcome.incidents);
    let failing = Failing { scenario, picks: outcome.picks(), rule: String::new() };
    let data = data(&page(&failing, &outcome));
    let rows = data["rows"].as_array().unwrap();
    let told: Vec<&Value> =
        rows.iter().filter(|row| row["kind"] == "incident" || row["kind"] == "turn").collect();
    assert_eq!(told.len(), outcome.incidents.len());
    for (row, incident) in told.into_iter().zip(&outcome.incidents) {
        assert_eq!(row["says"], format!("[{}]", incident.what));
        assert_eq!(row["lane"], serde_json::json!(incident.session));
        assert_eq!(row["kind"] == "turn", incident.is_turn);
        assert!(row["state"].is_null(), "the broker was told nothing");
    }
}

#[test]
fn a_run_of_another_engine_is_drawn_and_has_its_seed_as_a_test() {
    let (failing, outcome) = lost();
    let (engine, profile) = (Engine::Shuttle, Profile::Duel);
    let plan = Plan { engine, profile, from: 7, seeds: 1, time: None, threads: 1 };
    let shown = data(&page_of_seed(&plan, &failing, &outcome));
    assert_eq!(shown["command"], "cargo sim explore --engine shuttle --profile duel --from 7 --seeds 1");
    assert_eq!(shown["recorded"], "");
    assert_eq!(shown["rows"], data(&page(&failing, &outcome))["rows"]);
    // The one in `regressions.rs` was printed like this.
    let regressions = include_str!("regressions.rs");
    assert!(regressions.contains(shown["test"].as_str().unwrap()), "{}", shown["test"]);
    let sockets = Plan { engine: Engine::Sockets, ..plan };
    assert_eq!(data(&page_of_seed(&sockets, &failing, &outcome))["test"], "");
}

#[test]
fn arrows_follow_a_message_and_a_lost_one_ends_nowhere() {
    let (failing, outcome) = lost();
    let data = data(&page(&failing, &outcome));
    let line = "bob, ~0.1: m0.1 x:x";
    let [wrote, handled, read] =
        [row(&data, "wrote", line), row(&data, "requested", line), row(&data, "read", "from al: m0.1 x:x")];
    assert!(leads(&data, wrote, handled) && leads(&data, handled, read));
    let handled = row(&data, "requested", "bob, ~0.2: m0.2 x:x");
    let unread = data["unread"].as_array().unwrap();
    assert_eq!(unread.len(), 1);
    assert_eq!((&unread[0]["from"], &unread[0]["lane"]), (&handled.into(), &1.into()));
    assert_eq!(unread[0]["line"], "from al: m0.2 x:x");
}

#[test]
fn a_message_that_the_broker_never_sent_is_missed_where_it_should_have_been() {
    let (failing, mut outcome) = lost();
    for step in &mut outcome.trace {
        let lost = |effect: &seriatim::Effect| format!("{effect:?}").contains("\"m0.2 x:x\"");
        step.effects.retain(|effect| !lost(effect));
    }
    let data = data(&page(&failing, &outcome));
    let handled = row(&data, "requested", "bob, ~0.2: m0.2 x:x");
    let missing = data["missing"].as_array().unwrap();
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert_eq!((&missing[0]["from"], &missing[0]["lane"]), (&handled.into(), &1.into()));
    // This broker would have sent it.
    assert_eq!(data["rows"][handled]["state"]["differs"], true);
}

#[test]
fn the_state_behind_each_event_is_the_brokers() {
    let (failing, outcome) = lost();
    let data = data(&page(&failing, &outcome));
    let state = &data["rows"][row(&data, "requested", "al")]["state"];
    let al = serde_json::json!({ "conn": 1, "phase": "active", "name": "al", "found": true });
    assert_eq!(state["changed"], serde_json::json!([al]));
    let rows = data["rows"].as_array().unwrap();
    let states: Vec<&Value> = rows.iter().map(|row| &row["state"]).filter(|state| !state.is_null()).collect();
    assert!(states.iter().all(|state| state["differs"] == false && state["bereft"] == serde_json::json!([])));
    let last = states.last().unwrap();
    assert_eq!([&last["connections"], &last["peers"]], [0, 0]);
}

#[test]
fn the_page_is_complete_in_itself() {
    let (failing, outcome) = lost();
    let page = page(&failing, &outcome);
    for reference in ["http:", "https:", "src=", "url(", "@import", "<link", "fetch(", "innerHTML"] {
        assert!(!page.contains(reference), "{reference}");
    }
    for marker in ["/*style*/", "/*data*/", "/*script*/"] {
        assert!(!page.contains(marker), "{marker}");
    }
}

#[test]
fn hostile_text_stays_in_the_data() {
    let hostile = "from al: </script><script>alert(1)</script> <!-- \"'`${} /*script*/ \u{1}\u{7f}\u{85}\u{2028}\u{202e}\\";
    let (failing, outcome) = failing("G6", |history| {
        let (session, item) = place(history, "from al: m0.1 x:x");
        history.sessions[session].items[item].what = What::Read(hostile.to_owned());
    });
    let page = page(&failing, &outcome);
    assert_eq!((page.matches("<script").count(), page.matches("</script").count()), (2, 2));
    assert!(!page.contains("<script>alert"));
    let text = data_text(&page);
    assert!(text.chars().all(|c| matches!(c, ' '..='~' if c != '<')));
    let data = data(&page);
    row(&data, "read", hostile);
    let unread = data["unread"].as_array().unwrap();
    assert!(unread.is_empty(), "it is what became of what was sent: {unread:?}");
}

#[test]
fn a_run_that_breaks_nothing_has_a_page_too() {
    let outcome = run(&scenario(), Choices::replay(Vec::new()), Record { digest: false, trace: true });
    let failing = Failing { scenario: scenario(), picks: outcome.picks(), rule: String::new() };
    let data = data(&page(&failing, &outcome));
    assert_eq!(data["rule"], "");
    assert_eq!(data["unread"], serde_json::json!([]));
    assert_eq!(data["missing"], serde_json::json!([]));
}

#[test]
fn every_session_has_its_client_whatever_that_does() {
    let log_in = |name: &str| Op::LogIn { name: name.to_owned(), insist: true };
    let al = vec![Op::Connect, log_in("al"), Op::Blank, Op::Ping { wait: true }, Op::QuitTalking];
    let bob = vec![Op::Connect, log_in("bob"), Op::CrLf, Op::Who, Op::Connect, Op::Who, Op::HalfClose];
    let scenario = Scenario { clients: vec![Script { ops: al }, Script { ops: bob }], ..Scenario::default() };
    let outcome = run(&scenario, Choices::replay(Vec::new()), Record { digest: false, trace: true });
    let failing = Failing { scenario, picks: outcome.picks(), rule: String::new() };
    let data = data(&page(&failing, &outcome));
    let clients: Vec<&Value> = data["lanes"].as_array().unwrap().iter().map(|lane| &lane["client"]).collect();
    assert_eq!(clients, [0, 1, 1]);
}

#[test]
fn the_page_says_what_the_operator_does() {
    let order = |at, what| Order { at, what };
    let scenario = Scenario {
        origins: 2,
        orders: vec![
            order(When::Ms(5), Command::Kick("al".to_owned())),
            order(When::Event(6), Command::Ban(0)),
            order(When::Ms(7), Command::Unban(1)),
        ],
        stop: Some(Stop { at: When::Ms(8), again_after_ms: None, restart: true }),
        ..scenario()
    };
    let outcome = run(&scenario, Choices::replay(Vec::new()), Record { digest: false, trace: true });
    let failing = Failing { scenario, picks: outcome.picks(), rule: String::new() };
    let data = data(&page(&failing, &outcome));
    let conditions = data["conditions"].as_array().unwrap();
    for said in [
        "the operator kicks al at 5 ms",
        "the operator bans 192.0.2.0 after 6 events",
        "the operator bans 2001:db8:0:1::/64 no more at 7 ms",
        "the operator stops the server at 8 ms, for another to take its place",
    ] {
        assert!(conditions.contains(&said.into()), "{said}: {conditions:?}");
    }
}

/// What stands in the raw string of a regression test.
fn recorded(test: &str) -> Failing {
    let (_, rest) = test.split_once("let recorded = r").expect("a test");
    let (fence, rest) = rest.split_once('"').expect("a test");
    let (recorded, _) = rest.split_once(&format!("\"{fence}")).expect("a test");
    report::parse(recorded).expect("a test")
}

#[test]
fn the_test_in_regressions_rs_is_what_is_printed() {
    // If the format of scenarios has changed, put this in its place.
    let kept = include_str!("regressions.rs");
    let printed = regression_test(&recorded(kept));
    assert!(kept.contains(&printed), "{printed}");
}

#[test]
fn a_run_recorded_before_a_limit_was_there_can_be_read() {
    let recorded = r#"{"version":2,"rule":"G5","picks":[1],"scenario":{"limits":{"line_bytes_max":512,"recipients_max":6,
"login_ms_max":10000,"flush_ms_max":30000,"drain_ms_max":5000},"outbox_bytes_max":1024,
"stop":{"at":{"Ms":7},"again_after_ms":null},"clients":[]}}"#;
    let Failing { scenario, .. } = report::parse(recorded).unwrap();
    assert_eq!((scenario.limits.line_bytes_max, scenario.limits.idle_ms_max), (512, None));
    assert_eq!((scenario.write_ms_max, scenario.lines_per_second_max, scenario.origins), (None, None, 0));
    assert_eq!((scenario.stop.map(|stop| stop.restart), scenario.orders.len()), (Some(false), 0));
}

#[test]
fn a_printed_test_holds_its_run_whatever_it_says() {
    let mut scenario = scenario();
    let name = "\"##\\\"###\u{202e}Zo\u{eb} \u{1f600}</script>".to_owned();
    scenario.clients[0].ops.push(Op::LogIn { name, insist: false });
    let failing = Failing { scenario, picks: (0..200).collect(), rule: "protocol".to_owned() };
    let printed = regression_test(&failing);
    assert_eq!(recorded(&printed), failing);
    assert!(printed.is_ascii() && printed.contains("fn protocol_holds_in_run_"));
    assert!(printed.lines().all(|line| line.len() < 200));
}
