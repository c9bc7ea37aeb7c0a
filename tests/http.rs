//! Metrics and health over HTTP, asked of the real program by a client that knows nothing but bytes.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test may panic")]

mod common;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::SystemTime;

use common::http::{HTTP, ask, closed, connect, counted, door, get, metrics, read_all};
use common::openmetrics::{Family, Page};
use common::process::{Client, Server, seriatim};
use regex::Regex;
use serde_json::Value;

#[test]
fn what_was_said_is_what_is_counted() {
    let began = SystemTime::now();
    let mut server = Server::start(&[HTTP]);
    let door = door(&server);
    let mut said = 0;
    let mut say = |client: &mut Client, line: &str| {
        client.send(line);
        said += line.len() + 1;
    };
    let (mut alice, mut bob) = (server.connect(), server.connect());
    let mut heard = 0;
    let mut hear = |client: &mut Client, line: &str| {
        client.expect(line);
        heard += line.len() + 1;
    };
    for (client, name) in [(&mut alice, "alice"), (&mut bob, "bobby")] {
        say(client, name);
        hear(client, &format!("welcome {name}"));
    }
    for number in 0..3 {
        say(&mut alice, &format!("bobby: {number}"));
        hear(&mut bob, &format!("from alice: {number}"));
    }
    say(&mut alice, "bobby, alice: all");
    hear(&mut alice, "from alice: all");
    hear(&mut bob, "from alice: all");
    say(&mut alice, "nobody: hello?");
    hear(&mut alice, "error no-such-peer: nobody");
    say(&mut bob, "/quit");
    hear(&mut bob, "bye quit");
    assert_eq!(bob.rest(), [""; 0]);
    server.wait_for_log("reason=quit");

    let page = metrics(door);
    let is = |name: &str, value: usize| assert_eq!(page.value(name, &[]), value as f64, "{name}");
    is("seriatim_connections", 1);
    is("seriatim_peers", 1);
    is("seriatim_connections_accepted_total", 2);
    is("seriatim_logins_total", 2);
    is("seriatim_messages_received_total", 5);
    is("seriatim_messages_delivered_total", 5);
    is("seriatim_received_bytes_total", said);
    is("seriatim_sent_bytes_total", heard);
    is("seriatim_draining", 0);
    is("seriatim_outbox_bytes", 0);
    is("seriatim_queue_inputs", 0);
    is("seriatim_queue_places_used", 0);
    is("seriatim_refusals_silent_total", 0);
    is("seriatim_aborts_total", 0);
    // Each line was a read, a turn and a delivery of its own, for each was answered before the next.
    is("seriatim_read_lines_count", 8);
    is("seriatim_read_lines_sum", 8);
    is("seriatim_delivery_seconds_count", 8);
    assert!(page.value("seriatim_turn_seconds_count", &[]) >= 8.0);
    for (name, label, one) in [("errors", "code", "no-such-peer"), ("disconnects", "reason", "quit")] {
        let family = page.families().iter().find(|family| family.name == format!("seriatim_{name}")).unwrap();
        for sample in &family.samples {
            let word = &sample.labels[label];
            assert_eq!(sample.value, f64::from(u8::from(word == one)), "{name} {word}");
        }
    }
    let unix = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let start = page.value("seriatim_start_time_seconds", &[]);
    assert!((unix(began)..=unix(SystemTime::now())).contains(&start), "{start}");
    let up = page.value("seriatim_uptime_seconds", &[]);
    assert!((0.0..=unix(SystemTime::now()) - unix(began)).contains(&up), "{up}");
    assert_eq!(page.value("seriatim_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    let text = get(door, "/metrics").body;
    assert!(["alice", "bobby", "127.0.0.1"].iter().all(|secret| !text.contains(secret)), "{text}");
}

#[test]
fn refused_and_lost_connections_are_counted() {
    let mut server = Server::start(&[HTTP, "--connections-max=1"]);
    let al = server.log_in("al");
    assert_eq!(server.connect().rest(), ["bye server full"]);
    server.wait_for_log("refused a connection");
    al.reset();
    server.wait_for_log("disconnected");
    for (reason, times) in [("server-full", 1), ("lost", 1), ("quit", 0)] {
        assert_eq!(closed(&server, reason), times, "{reason}");
    }
    for (how, times) in [("flushed", 1), ("broken", 1), ("timed-out", 0)] {
        assert_eq!(counted(&server, "seriatim_ends_total", &[("how", how)]), times, "{how}");
    }
    assert_eq!(counted(&server, "seriatim_connections", &[]), 0);
}

#[test]
fn g10_a_server_that_drains_is_well_and_not_ready() {
    // More than the operating system holds for a client that does not read.
    let flags = ["--outbox-bytes-max=67108864", "--drain-timeout=3600", "--write-timeout=off"];
    let mut server = Server::start(&[&[HTTP][..], &flags].concat());
    let door = door(&server);
    let answer = |path| {
        let answer = get(door, path);
        (answer.status, answer.body)
    };
    assert_eq!(answer("/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(answer("/healthz"), (200, "ok\n".to_owned()));
    let laggard = server.log_in("laggard");
    let mut loud = server.log_in("loud");
    let line = format!("laggard: {}\n", "x".repeat(8000));
    (0..4000).for_each(|_| loud.send_bytes(line.as_bytes()));
    loud.barrier();
    server.terminate();
    loud.expect("bye server shutting down");
    assert_eq!(answer("/readyz"), (503, "draining\n".to_owned()));
    assert_eq!(answer("/healthz"), (200, "ok\n".to_owned()));
    let page = metrics(door);
    assert_eq!(page.value("seriatim_draining", &[]), 1.0);
    assert!(page.value("seriatim_outbox_bytes", &[]) > 1e6);
    drop(laggard);
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn whatever_is_asked_has_one_answer() {
    let server = Server::start(&[HTTP]);
    let door = door(&server);
    let long = format!("GET /metrics HTTP/1.1\r\nLong: {}\r\n\r\n", "x".repeat(20_000));
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 404),
        ("GET /metrics/ HTTP/1.1\r\n\r\n", 404),
        ("POST /nothing HTTP/1.1\r\n\r\n", 404),
        ("GET /metrics?name=x HTTP/1.1\r\n\r\n", 200),
        ("GET /healthz HTTP/1.0\r\n\r\n", 200),
        ("GET /healthz HTTP/1.1\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n", 200),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 405),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 5000000\r\n\r\nhello", 405),
        ("DELETE /readyz HTTP/1.1\r\n\r\n", 405),
        ("BREW /healthz HTTP/1.1\r\n\r\n", 405),
        ("GET\r\n\r\n", 400),
        ("\u{16}\u{3}\u{1}\0\r\n\r\n", 400),
        ("al\nal: hi\n", 400),
        (&*long, 431),
    ] {
        // Some are answered before all of it is read.
        let answer = ask(door, request.as_bytes()).unwrap_or_else(|| panic!("{request:?} has no answer"));
        assert_eq!(answer.status, status, "{request:?}");
        assert_eq!(answer.body.matches("HTTP/").count(), 0, "{request:?} has two answers");
        assert_eq!(answer.head.contains("allow: GET, HEAD"), status == 405, "{request:?}");
    }
    let head = ask(door, b"HEAD /metrics HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let length = head.head.split("content-length: ").nth(1).unwrap().split('\r').next().unwrap();
    assert!(length.parse::<usize>().unwrap() > 1000, "{length}");
    // Whoever says no more than a part of it gets no answer.
    let mut part = connect(door);
    part.write_all(b"GET /metrics HT").unwrap();
    part.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&part), "");
    // Whoever says all of it and no more does.
    let mut whole = connect(door);
    whole.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
    whole.shutdown(Shutdown::Write).unwrap();
    assert!(read_all(&whole).ends_with("ok\n"));
}

#[test]
fn g9_those_who_stall_lose_their_places() {
    let server = Server::start(&[HTTP]);
    let door = door(&server);
    let mut al = server.log_in("al");
    al.barrier();
    let before = server.process.open_files();
    let stalled: Vec<TcpStream> = (0..200)
        .map(|number| {
            let mut stream = connect(door);
            // Some say nothing, some a part, some all and read nothing of the answer.
            let said = ["", "GET /metr", "GET /metrics HTTP/1.1\r\n\r\n"][number % 3];
            stream.write_all(said.as_bytes()).unwrap();
            stream
        })
        .collect();
    // Whoever comes behind them is served all the same.
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..25).for_each(|_| drop(metrics(door))));
        }
        (0..25).for_each(|_| al.barrier());
    });
    let open = server.process.open_files() - before;
    assert!(open <= 16, "{open} connections are held");
    // All of them but the last have lost their places long ago.
    for stream in &stalled[..184] {
        read_all(stream);
    }
}

#[test]
fn g10_a_scraper_that_stalls_does_not_stop_the_end() {
    let mut server = Server::start(&[HTTP]);
    let door = door(&server);
    let stalled: Vec<TcpStream> = ["", "GET /metrics HTTP/1.1\r\n", "GET /metrics HTTP/1.1\r\n\r\n"]
        .into_iter()
        .map(|said| {
            let mut stream = connect(door);
            stream.write_all(said.as_bytes()).unwrap();
            stream
        })
        .collect();
    assert_eq!(get(door, "/healthz").status, 200);
    server.terminate();
    assert_eq!(server.wait(), Some(0));
    drop(stalled);
}

#[test]
fn an_address_that_is_taken_is_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = seriatim().args(["serve", "--listen=127.0.0.1:0", "--http", &address]).output().unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert_eq!((ran.status.code(), said.lines().count()), (Some(2), 1), "{said}");
    assert!(said.starts_with(&format!("seriatim: cannot serve --http on {address}: ")), "{said}");
}

#[test]
fn without_the_flag_nobody_listens() {
    let mut server = Server::start(&[]);
    server.terminate();
    assert_eq!(server.wait(), Some(0));
    let server = Server::start(&["--http=127.0.0.1:0"]);
    assert_ne!(door(&server), server.address);
}

/// All expressions of a dashboard, and whatever else is called so.
fn expressions<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("expr").and_then(Value::as_str));
            fields.values().for_each(|value| expressions(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let server = Server::start(&[HTTP]);
    let page = metrics(door(&server));
    let series = page.series();
    let dashboard: Value = serde_json::from_str(include_str!("../packaging/grafana/seriatim.json")).unwrap();
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    assert!(found.len() >= 8, "{found:?}");
    let name = Regex::new("[a-z_]*seriatim[a-z_]*").unwrap();
    for expression in found {
        let mut names = name.find_iter(expression).map(|name| name.as_str()).peekable();
        assert!(names.peek().is_some(), "{expression} asks for nothing");
        names.for_each(|name| assert!(series.contains(name), "{expression}: there is no {name}"));
    }
    let by = Regex::new(r"by ?\(([a-z_, ]+)\)").unwrap();
    let text = dashboard.to_string();
    let labels =
        page.families().iter().flat_map(|family| &family.samples).flat_map(|sample| sample.labels.keys());
    let labels: BTreeSet<&str> = labels.map(String::as_str).chain(["instance"]).collect();
    for group in by.captures_iter(&text) {
        group[1].split(',').for_each(|label| assert!(labels.contains(label.trim()), "{}", &group[0]));
    }
}

/// The row of a family in the table of `docs/operating.md`.
fn row(family: &Family) -> String {
    let suffix = match family.kind.as_str() {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    };
    let labels = family.samples.iter().flat_map(|sample| sample.labels.keys()).filter(|&label| label != "le");
    let labels: BTreeSet<String> = labels.map(|label| format!("`{label}`")).collect();
    let labels = labels.into_iter().collect::<Vec<_>>().join(", ");
    format!("| `{}{suffix}` | {} | {labels} | {} |", family.name, family.kind, family.help)
}

#[test]
fn the_table_of_metrics_is_what_there_is() {
    let server = Server::start(&[HTTP]);
    let page = metrics(door(&server));
    let rows: Vec<String> = page.families().iter().map(row).collect();
    let table = include_str!("../docs/operating.md").lines().filter(|line| line.starts_with("| `seriatim_"));
    let table: Vec<&str> = table.collect();
    assert_eq!(table, rows, "docs/operating.md should say:\n{}", rows.join("\n"));
}

#[test]
fn the_reader_of_metrics_is_strict() {
    let gauge = "# HELP a_bytes A.\n# TYPE a_bytes gauge\n# UNIT a_bytes bytes\na_bytes 1\n";
    let histogram = "# HELP h H.\n# TYPE h histogram\nh_sum 3.5\nh_count 2\nh_bucket{le=\"1.0\"} 1\nh_bucket{le=\"+Inf\"} 2\n";
    let counter = "# HELP c C \\\\ \\n.\n# TYPE c counter\nc_total{x=\"a\\\"},\\\\\",y=\"\"} 2\nc_total{x=\"b\",y=\"\"} 2\n";
    let info = "# HELP i I.\n# TYPE i info\ni_info{version=\"1\"} 1\n";
    let all = [gauge, histogram, counter, info];
    let page = Page::parse(&format!("{}# EOF\n", all.concat())).unwrap();
    assert_eq!(page.value("c_total", &[("x", "a\"},\\"), ("y", "")]), 2.0);
    for (text, from, to) in [
        (gauge, "# HELP a_bytes A.\n", ""),
        (gauge, "# TYPE a_bytes gauge\n", ""),
        (gauge, "# UNIT a_bytes bytes\n", ""),
        (gauge, "gauge", "gouge"),
        (gauge, "bytes bytes", "bytes seconds"),
        (gauge, "a_bytes 1", "a_bytes"),
        (gauge, "a_bytes 1", "a_bytes one"),
        (gauge, "a_bytes 1", "a_bytes 1 1700000000"),
        (gauge, "a_bytes 1", "a_bytes 1\na_bytes 1"),
        (gauge, "a_bytes 1", "b_bytes 1"),
        (gauge, "a_bytes 1", "a_bytes{} 1"),
        (gauge, "a_bytes 1", "a_bytes{1=\"x\"} 1"),
        (gauge, "a_bytes 1", "a_bytes{x=\"x\",x=\"x\"} 1"),
        (gauge, "a_bytes 1", "a_bytes{x=\"\\x\"} 1"),
        (gauge, "a_bytes 1\n", "a_bytes 1\n\n"),
        (gauge, "a_bytes 1\n", "# a comment\na_bytes 1\n"),
        (gauge, "a_bytes 1\n", "a_bytes 1\n# HELP a_bytes A.\n"),
        (gauge, "a_bytes 1\n", ""),
        (gauge, "a_bytes", "a-bytes"),
        (counter, "c_total{x=\"b\"", "c{x=\"b\""),
        (counter, "x=\"b\",y=\"\"} 2", "x=\"b\",y=\"\"} -2"),
        (counter, "x=\"b\"", "x=\"a\\\"},\\\\\""),
        (info, "} 1", "} 2"),
        (histogram, "h_sum 3.5\n", ""),
        (histogram, "h_count 2\n", ""),
        (histogram, "h_count 2", "h_count 3"),
        (histogram, "\"} 1", "\"} 3"),
        (histogram, "h_bucket{le=\"+Inf\"} 2\n", ""),
        (histogram, "le=\"1.0\"", "le=\"many\""),
        (histogram, "{le=\"1.0\"}", ""),
    ] {
        let broken = text.replacen(from, to, if from == "a_bytes" { usize::MAX } else { 1 });
        assert_ne!(broken, text);
        assert!(Page::parse(&format!("{broken}# EOF\n")).is_err(), "{broken}");
    }
    for end in ["", "# EOF", "# EOF\n\n", "#EOF\n"] {
        assert!(Page::parse(&format!("{gauge}{end}")).is_err(), "{end:?}");
    }
    assert!(Page::parse(&format!("{gauge}{counter}{}# EOF\n", gauge)).is_err(), "a family in two pieces");
}
