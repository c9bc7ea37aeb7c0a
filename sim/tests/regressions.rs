//! Runs that failed once. Each of these tests was printed by `cargo sim shrink`; the last never failed: it is a
//! sample of what `explore` prints of a failure that another engine alone can bring.

#[test]
fn g5_holds_in_run_2639bb0e() {
    let recorded = r#"{"version":2,"rule":"G5","scenario":{"limits":{"line_bytes_max":512,"recipients_max":6,"connections_max":10000,
"connections_per_address_max":64,"connects_per_minute_max":600,"logins_pending_max":1000,"refusals_max":64,
"login_ms_max":10000,"account_required":false,"clear_passwords_allowed":false,"idle_ms_max":null,
"flush_ms_max":30000,"refusal_ms_max":1000,"drain_ms_max":5000},"listeners":1,"outbox_bytes_max":1024,
"outbox_bytes_total_max":18446744073709551615,"outbox_bytes_floor":65536,"lines_per_second_max":null,
"write_ms_max":null,"origins":0,"accounts":[],"pipe_bytes":4096,"read_bytes_max":18446744073709551615,
"tuning":{"permits":16,"first_bytes_max":512,"broadcast_min":32,"broadcast_writes_max":64},
"stop":null,"orders":[],"faults":{"until_ms":0,"torn_read":0,"torn_write":0,"spurious_wake":0,
"interrupt":0,"delay":0,"slow_write":0,"clog":0,"reset":0,"accept_error":0,"refuse":0,"reset_loses":0,
"slow_password":0,"password_panic":0,"clock_jump":0},"clients":[{"ops":["Connect","Connect"]},
{"ops":["Connect","Connect","Connect","Connect",{"LogIn":{"name":"carol","insist":true}},{"Say":{"to":["dave",
"carol"],"bytes":300}}]}]},"picks":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,
0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,
0,0,0,0,0,0,1,2,1,2,2,1,1]}"#;
    let failing = seriatim_sim::report::parse(recorded).unwrap();
    let outcome = failing.run(seriatim_sim::world::Record::default());
    assert_eq!(outcome.violation, None);
}

#[test]
fn g9_holds_in_run_3822d13a() {
    let recorded = r#"{"version":2,"rule":"G9","scenario":{"limits":{"line_bytes_max":512,"recipients_max":7,"connections_max":10000,
"connections_per_address_max":64,"connects_per_minute_max":600,"logins_pending_max":1000,"refusals_max":64,
"login_ms_max":200,"idle_ms_max":null,"flush_ms_max":500,"refusal_ms_max":1000,"drain_ms_max":5000},
"listeners":1,"outbox_bytes_max":65536,"outbox_bytes_total_max":4096,"outbox_bytes_floor":512,
"lines_per_second_max":1,"write_ms_max":5000,"origins":0,"pipe_bytes":4096,"read_bytes_max":18446744073709551615,
"stop":null,"faults":{"until_ms":0,"torn_read":0,"torn_write":0,"spurious_wake":0,"interrupt":0,
"delay":0,"slow_write":0,"clog":0,"reset":0,"accept_error":0,"refuse":0,"reset_loses":0,"clock_jump":0},
"clients":[{"ops":["Connect",{"LogIn":{"name":"al","insist":false}},"Trickle",{"Bad":{"rule":"LongTail"}}]}]},
"picks":[0,3,2,0,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,
1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,
1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,
1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,
1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,
1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,
1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,
1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,
1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,
1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,
1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,
1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,
0,0,0]}"#;
    let failing = seriatim_sim::report::parse(recorded).unwrap();
    let outcome = failing.run(seriatim_sim::world::Record::default());
    assert_eq!(outcome.violation, None);
}

#[test]
fn g9_holds_in_run_9a827ae9() {
    let recorded = r#"{"version":2,"rule":"G9","scenario":{"limits":{"line_bytes_max":512,"recipients_max":2,"connections_max":10000,
"connections_per_address_max":2,"connects_per_minute_max":2,"logins_pending_max":1000,"refusals_max":0,
"login_ms_max":10000,"account_required":false,"clear_passwords_allowed":true,"idle_ms_max":500,
"flush_ms_max":5000,"refusal_ms_max":1000,"drain_ms_max":5000},"listeners":1,"outbox_bytes_max":65536,
"outbox_bytes_total_max":18446744073709551615,"outbox_bytes_floor":65536,"lines_per_second_max":1,
"write_ms_max":null,"origins":2,"accounts":["al","bob","zo\u00eb"],"pipe_bytes":4096,"read_bytes_max":18446744073709551615,
"stop":null,"faults":{"until_ms":0,"torn_read":0,"torn_write":0,"spurious_wake":0,"interrupt":0,
"delay":0,"slow_write":0,"clog":0,"reset":0,"accept_error":0,"refuse":0,"reset_loses":0,"slow_password":0,
"password_panic":0,"clock_jump":0},"clients":[{"ops":["Connect",{"Prove":{"name":"Zo\u00eb",
"right":false,"insist":false}},{"Prove":{"name":"Zo\u00eb","right":false,"insist":false}},
"QuitTalking"]}]},"picks":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}"#;
    let failing = seriatim_sim::report::parse(recorded).unwrap();
    let outcome = failing.run(seriatim_sim::world::Record::default());
    assert_eq!(outcome.violation, None);
}

#[test]
fn g6_holds_in_run_98741e6c() {
    let recorded = r#"{"version":2,"rule":"G6","scenario":{"limits":{"line_bytes_max":8192,"recipients_max":100,
"connections_max":10000,"connections_per_address_max":64,"connects_per_minute_max":600,"logins_pending_max":1000,
"refusals_max":64,"login_ms_max":10000,"account_required":false,"clear_passwords_allowed":false,
"idle_ms_max":null,"flush_ms_max":30000,"refusal_ms_max":1000,"drain_ms_max":5000},"listeners":1,
"outbox_bytes_max":65536,"outbox_bytes_total_max":18446744073709551615,"outbox_bytes_floor":65536,
"lines_per_second_max":null,"write_ms_max":null,"origins":0,"accounts":[],"pipe_bytes":4096,
"read_bytes_max":18446744073709551615,"tuning":{"permits":16,"first_bytes_max":512,"broadcast_min":32,
"broadcast_writes_max":64},"stop":null,"orders":[{"at":{"Event":1},"what":{"Kick":"carol"}}],
"faults":{"until_ms":0,"torn_read":0,"torn_write":0,"spurious_wake":0,"interrupt":0,"delay":0,
"slow_write":0,"clog":0,"reset":0,"accept_error":0,"refuse":0,"reset_loses":0,"slow_password":0,
"password_panic":0,"clock_jump":0},"clients":[{"ops":["Connect",{"LogIn":{"name":"al","insist":false}},
{"Sleep":1}]},{"ops":["Connect",{"LogIn":{"name":"carol","insist":true}},{"Slam":{"to":["al"]}}]}]},
"picks":[0,0,0,0,0,0,0,0,1,1,1,2,2,2,2,2,2,2,2,2,2,2,2,2,2,3,3,3,3,3,3,3,3,3,3,3,3,3,3]}"#;
    let failing = seriatim_sim::report::parse(recorded).unwrap();
    let outcome = failing.run(seriatim_sim::world::Record::default());
    assert_eq!(outcome.violation, None);
}

#[test]
fn g5_holds_under_shuttle_in_duel_7() {
    use seriatim_sim::explore::{Engine, Plan, explore};
    use seriatim_sim::swarm::Profile;
    let (engine, profile) = (Engine::Shuttle, Profile::Duel);
    let plan = Plan { engine, profile, from: 7, seeds: 1, time: None, threads: 1 };
    let seen = explore(plan, &std::sync::atomic::AtomicBool::new(false), |_| ());
    assert_eq!(seen.failed.map(|failed| failed.violation), None);
}
