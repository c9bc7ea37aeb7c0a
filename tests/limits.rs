//! Every limit, reached from outside, against the real program: whoever reaches it is told, and nobody else notices.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test may panic")]

mod common;

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::http::{HTTP, closed, counted};
use common::network::Namespace;
use common::process::{Client, HANG, Server};

const FULL: &str = "bye server full";
const ADDRESS_FULL: &str = "bye too many connections from your address";
const ADDRESS_TOO_FAST: &str = "bye too many new connections from your address";
const LOGINS: &str = "bye too many logins pending";

/// An address of this machine.
fn loopback(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

/// Connects and logs in, as soon as there is room.
fn log_in_at_last(server: &Server, name: &str) -> Client {
    loop {
        let mut client = server.connect();
        client.send(name);
        match client.line().unwrap() {
            line if line == format!("welcome {name}") => return client,
            line => assert_eq!(line, FULL),
        }
    }
}

#[test]
fn g9_connections_in_all() {
    let mut server = Server::start(&[HTTP, "--connections-max=2"]);
    let mut al = server.log_in("al");
    let mut bob = server.log_in("bob");
    let mut carol = server.connect();
    carol.send("carol");
    assert_eq!(carol.rest(), [FULL]);
    assert!(server.wait_for_log("refused a connection").contains("reason=server full"));
    assert_eq!(closed(&server, "server-full"), 1);
    al.send("bob: hi");
    bob.expect("from al: hi");
    al.send("/who");
    al.expect("peers 2: al, bob");
    drop(al);
    log_in_at_last(&server, "carol").barrier();
    bob.barrier();
    server.terminate();
    let served = server.wait_for_log("served: ");
    let refused = served.trim_end().split(", ").find_map(|count| count.strip_suffix(" server full")).unwrap();
    assert!(refused.parse::<u32>().unwrap() > 0, "{served}");
}

#[test]
fn g9_a_flood_of_the_refused_holds_nothing() {
    const FLOOD: usize = 500;
    let mut server = Server::start(&[HTTP, "--connections-max=1"]);
    let mut al = server.log_in("al");
    let mut knocked = 0;
    // As a rule the first flood is so fast that some of it are refused without a word.
    let told = loop {
        let told = flood(&server, FLOOD, &mut al);
        knocked += FLOOD as u64;
        assert_eq!(closed(&server, "server-full"), knocked);
        if counted(&server, "seriatim_refusals_silent_total", &[]) > 0 {
            break told;
        }
        assert!(knocked < 50_000, "nobody was refused without a word");
    };
    assert!(told >= 64, "{told} were told");
    assert!(server.wait_for_log("reason=dropped").contains("refused a connection"));
    al.barrier();
}

/// Many at once, of whom none reads or closes. All of them come to an end by themselves, a few with a word: says how many.
fn flood(server: &Server, count: usize, al: &mut Client) -> usize {
    let flood: Vec<TcpStream> = (0..count).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    al.barrier();
    let told = flood.into_iter().filter_map(|mut stream| {
        stream.set_read_timeout(Some(HANG)).unwrap();
        let mut said = String::new();
        match stream.read_to_string(&mut said) {
            Ok(_) => assert_eq!(said, format!("{FULL}\n")),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
        (!said.is_empty()).then_some(())
    });
    told.count()
}

#[test]
fn g9_connections_from_one_address() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let unix = format!("--listen=unix:{}", path.display());
    let mut server = Server::start(&[HTTP, &unix, "--exempt=127.0.0.2", "--connections-per-address-max=2"]);
    let mut al = server.log_in("al");
    let mut bob = server.log_in("bob");
    assert_eq!(server.connect().rest(), [ADDRESS_FULL]);
    assert!(server.wait_for_log("refused a connection").contains("reason=too many connections from your"));
    // Others do not count, and whoever is exempt counts nowhere.
    let mut others: Vec<Client> = [3, 3, 2, 2, 2, 2].map(|last| server.connect_from(loopback(last))).into();
    assert_eq!(server.connect_from(loopback(3)).rest(), [ADDRESS_FULL]);
    for (number, other) in others.iter_mut().enumerate() {
        other.send(&format!("other{number}"));
        other.expect(&format!("welcome other{number}"));
    }
    let mut neighbours = [(); 3].map(|()| Client::over(UnixStream::connect(&path).unwrap()));
    for (number, neighbour) in neighbours.iter_mut().enumerate() {
        neighbour.send(&format!("neighbour{number}"));
        neighbour.expect(&format!("welcome neighbour{number}"));
    }
    al.send("bob, other0: hi");
    bob.expect("from al: hi");
    others[0].expect("from al: hi");
    assert_eq!(closed(&server, "address-full"), 2);
}

#[test]
fn g9_ipv6_counts_and_loopback_is_exempt_unless_told_otherwise() {
    for (flag, refused) in [("--exempt=none", true), ("--exempt=::1", false)] {
        let mut server = Server::start(&["--listen=[::1]:0", "--connections-per-address-max=1", flag]);
        let line = server.wait_for_log("listening on [::1]:");
        let address = line.split("listening on ").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
        let mut al = Client::connect(address);
        al.send("al");
        al.expect("welcome al");
        let mut bob = Client::connect(address);
        bob.send("bob");
        bob.expect(if refused { ADDRESS_FULL } else { "welcome bob" });
        al.barrier();
    }
}

/// In a network of its own, since a machine has but one loopback of IPv6.
#[test]
fn g9_ipv6_addresses_count_as_one_if_their_first_64_bits_are_the_same() {
    let Some(network) = Namespace::make("v6") else {
        return eprintln!("SKIPPED: IPv6 by /64: no network namespace can be made (root, ip)");
    };
    let [al, bob, carol] = ["2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"];
    assert!(network.ip(&["link", "set", "lo", "up"]));
    for address in [al, bob, carol] {
        assert!(network.ip(&["address", "add", address, "dev", "lo"]));
    }
    let mut serve = network.seriatim();
    let serve = serve.args(["serve", "--listen", &format!("[{al}]:0"), "--connections-per-address-max=1"]);
    let server = Server::spawn(serve.arg(format!("--http=[{al}]:0")));
    let connect = |address: &str| network.within(|| server.connect_from(address.parse().unwrap()));
    let (mut al, mut bob, mut carol) = (connect(al), connect(bob), connect(carol));
    al.send("al");
    al.expect("welcome al");
    assert_eq!(bob.rest(), [ADDRESS_FULL]);
    carol.send("carol\nal: hi");
    carol.expect("welcome carol");
    al.expect("from carol: hi");
    assert_eq!(network.within(|| closed(&server, "address-full")), 1);
}

#[test]
fn g9_new_connections_from_one_address() {
    let mut server = Server::start(&[HTTP, "--exempt=none", "--connects-per-minute-max=5"]);
    let mut al = server.log_in("al");
    for _ in 0..4 {
        server.connect().reset();
    }
    // The next comes in 12 s.
    assert_eq!(server.connect().rest(), [ADDRESS_TOO_FAST]);
    assert!(server.wait_for_log("refused a connection").contains("too many new connections"));
    assert_eq!(closed(&server, "address-too-fast"), 1);
    let mut bob = server.connect_from(loopback(2));
    bob.send("bob");
    bob.expect("welcome bob");
    bob.send("al: hi");
    al.expect("from bob: hi");
}

#[test]
fn g9_logins_pending() {
    let mut server = Server::start(&[HTTP, "--logins-pending-max=2", "--login-timeout=3600"]);
    let mut bob = server.log_in("bob");
    let (_silent, mut late) = (server.connect(), server.connect());
    late.send("not-a-name!");
    assert!(late.line().unwrap().starts_with("error bad-name"));
    assert_eq!(server.connect().rest(), [LOGINS]);
    assert!(server.wait_for_log("refused a connection").contains("reason=too many logins pending"));
    assert_eq!(closed(&server, "too-many-logins"), 1);
    bob.barrier();
    late.send("late");
    late.expect("welcome late");
    server.log_in("dave").barrier();
}

#[test]
fn g9_fewer_connections_than_asked_for_if_the_open_files_are_limited() {
    let mut server = Server::start_in_shell("ulimit -n 150", &[]);
    let line = server.before_listening("fewer connections are possible");
    assert!(line.contains("asked=10000 possible=21 files=150"), "{line}");
    let mut clients: Vec<Client> = (0..21).map(|number| server.log_in(&format!("al{number}"))).collect();
    assert_eq!(server.connect().rest(), [FULL]);
    clients.iter_mut().for_each(Client::barrier);
    assert!(server.wait_for_log("refused a connection").contains(FULL.strip_prefix("bye ").unwrap()));
}

#[test]
fn the_limit_of_open_files_is_raised_as_far_as_it_may_be() {
    let server = Server::start_in_shell("ulimit -S -n 50", &[]);
    let clients: Vec<Client> = (0..100).map(|number| server.log_in(&format!("al{number}"))).collect();
    for mut client in clients {
        client.barrier();
    }
}

#[test]
fn g9_lines_per_second_delay_and_lose_nothing() {
    let server = Server::start(&[HTTP, "--lines-per-second-max=100"]);
    let (mut al, mut bob) = (server.log_in("al"), server.log_in("bob"));
    let start = Instant::now();
    // The login was one of the first hundred.
    let lines: String = (0..200).map(|number| format!("al, bob: {number}\n")).collect();
    al.send_bytes(lines.as_bytes());
    al.end_input();
    bob.expect("from al: 0");
    bob.send("bob: not held up");
    let mut before = 1;
    while bob.line().unwrap() != "from bob: not held up" {
        before += 1;
    }
    assert!(before < 200, "another is held up with it");
    let rest = al.rest();
    assert!(rest.iter().enumerate().all(|(number, line)| *line == format!("from al: {number}")), "{rest:?}");
    assert_eq!(rest.len(), 200, "all that it sent before it closed its side is done");
    assert!(start.elapsed() >= Duration::from_millis(990), "after {:?}", start.elapsed());
    assert!(counted(&server, "seriatim_reads_delayed_total", &[]) > 0);
}

#[test]
fn g9_idle_clients_are_closed_and_others_are_not() {
    let mut server = Server::start(&[HTTP, "--idle-timeout=0.5"]);
    let (mut idle, mut busy) = (server.log_in("idle"), server.log_in("busy"));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let rest = idle.rest();
            over.store(true, Ordering::SeqCst);
            assert_eq!(rest.last().unwrap(), "bye idle");
        });
        while !over.load(Ordering::SeqCst) {
            busy.send("idle: to hear something is not to say something");
            busy.send("/ping");
            while busy.line().unwrap() != "pong" {}
        }
    });
    assert_eq!(busy.rest(), ["bye idle"], "now it says nothing either");
    assert!(server.wait_for_log("disconnected").contains("reason=idle"));
    assert_eq!(closed(&server, "idle"), 2);
}

#[test]
fn g9_a_client_that_takes_nothing_is_reset() {
    let mut server = Server::start(&[HTTP, "--write-timeout=0.2", "--outbox-bytes-max=134217728"]);
    let (mut laggard, mut al) = (server.log_in("laggard"), server.log_in("al"));
    // More than the network holds.
    for _ in 0..3000 {
        al.send(&format!("laggard: {}", "x".repeat(8000)));
    }
    let line = server.wait_for_log("disconnected");
    assert!(line.contains("reason=stalled"), "{line}");
    al.send("/who");
    while al.line().unwrap() != "peers 1: al" {}
    is_reset(&mut laggard);
    assert_eq!(counted(&server, "seriatim_ends_total", &[("how", "stalled")]), 1);
}

#[test]
fn g9_a_client_that_leaves_takes_its_last_lines_in_time_or_not_at_all() {
    let flags = ["--flush-timeout=0.2", "--write-timeout=off", "--outbox-bytes-max=134217728"];
    let mut server = Server::start(&[&[HTTP][..], &flags].concat());
    let (mut laggard, mut al) = (server.log_in("laggard"), server.log_in("al"));
    // More than the network holds, so that something is left to be flushed.
    (0..3000).for_each(|_| al.send(&format!("laggard: {}", "x".repeat(8000))));
    al.barrier();
    laggard.end_input();
    let line = server.wait_for_log("disconnected");
    assert!(line.contains("reason=did not read its last lines in time closed=end of input"), "{line}");
    al.send("/who");
    al.expect("peers 1: al");
    is_reset(&mut laggard);
    assert_eq!(counted(&server, "seriatim_aborts_total", &[]), 1);
    assert_eq!(counted(&server, "seriatim_ends_total", &[("how", "gave-up")]), 1);
    al.barrier();
}

/// The client can tell that what it got is not all.
fn is_reset(client: &mut Client) {
    let error = client.stream.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

/// Bug: of who overflowed and then took nothing the log said that it had stalled, and not why it had been closed before.
#[test]
fn g9_the_log_says_why_a_laggard_was_closed_whether_or_not_it_could_be_told() {
    // More than the buffers of the operating system hold, which grow while it waits.
    let mut server = Server::start(&["--write-timeout=0.5", "--outbox-bytes-max=16777216"]);
    let mut al = server.log_in("al");
    // Whoever sends may be held up for so long that there is no overflow.
    let line = (0..20).map(|number| {
        let laggard = format!("laggard{number}");
        let _laggard = server.log_in(&laggard);
        overwhelm(&mut al, &laggard);
        server.wait_for_log("disconnected")
    });
    let line =
        line.into_iter().find(|line| line.contains("closed=too slow")).expect("one of them was too slow");
    assert!(line.contains("reason=stalled"), "{line}");
    al.barrier();
}

/// Sends to somebody who does not read, until it is gone.
fn overwhelm(al: &mut Client, laggard: &str) {
    let missing = format!("error no-such-peer: {laggard}");
    loop {
        (0..100).for_each(|_| al.send(&format!("{laggard}: {}", "x".repeat(8000))));
        al.send("/ping");
        let answers: Vec<String> = std::iter::from_fn(|| al.line().filter(|line| line != "pong")).collect();
        if !answers.is_empty() {
            return assert!(answers.iter().all(|answer| *answer == missing), "{answers:?}");
        }
    }
}

#[test]
fn g9_the_operating_system_asks_silent_peers_whether_they_are_still_there() {
    for (flag, seconds) in [("--keepalive=7", Some(7)), ("--keepalive=off", None)] {
        let server = Server::start(&[flag]);
        let mut al = server.log_in("al");
        al.barrier();
        let there = al.stream.local_addr().unwrap().port();
        // Until al's side has acknowledged the pong, the timer is the one for sending again.
        let timer = loop {
            match keepalive_timer(server.address.port(), there) {
                (1, _) => thread::yield_now(),
                timer => break timer,
            }
        };
        match seconds {
            Some(seconds) => assert!(timer.0 == 2 && (1..=seconds * 100).contains(&timer.1), "{timer:?}"),
            None => assert_eq!(timer.0, 0),
        }
    }
}

/// The timer of the connection between these two ports of this machine, as Linux shows it: which one (2 is keepalive), and
/// in how many hundredths of a second it rings.
fn keepalive_timer(here: u16, there: u16) -> (u64, u64) {
    let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let ports = (format!(":{here:04X}"), format!(":{there:04X}"));
    let row = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = row.into_iter().find(|row| row[1].ends_with(&ports.0) && row[2].ends_with(&ports.1)).unwrap();
    let (timer, when) = row[5].split_once(':').unwrap();
    (hex(timer), hex(when))
}

#[test]
fn g9_outboxes_in_all_and_memory_stay_within_their_bound() {
    const LAGGARDS: usize = 60;
    const TOTAL: u64 = 8 << 20;
    let mut server = Server::start(&[HTTP, "--outbox-bytes-total-max=8388608"]);
    let before = server.process.peak_bytes();
    let mut laggards: Vec<Client> =
        (0..LAGGARDS).map(|number| server.log_in(&format!("laggard{number}"))).collect();
    let mut al = server.log_in("al");
    let mut quiet = server.log_in("quiet");
    let names: Vec<String> = (0..LAGGARDS).map(|number| format!("laggard{number}")).collect();
    let line = format!("{}: {}", names.join(","), "x".repeat(7000));
    // Each might hold a megabyte by itself. Whoever is too slow is gone from the list.
    let told = loop {
        al.send(&line);
        al.send("/ping");
        let answer = al.line().unwrap();
        quiet.barrier();
        if answer != "pong" {
            al.expect("pong");
            if answer.split(", ").count() == LAGGARDS {
                break answer;
            }
        }
    };
    assert!(told.starts_with("error no-such-peer: laggard0, "));
    // Buffers double as they grow, and what the allocator has once got it keeps for a while.
    let bound = 2 * TOTAL + LAGGARDS as u64 * 2 * (64 << 10) + (16 << 20);
    let more = server.process.peak_bytes() - before;
    assert!(more < bound, "{more} bytes more than before");
    for laggard in &mut laggards {
        assert_eq!(laggard.rest().last().unwrap(), "bye too slow");
    }
    assert!(server.wait_for_log("disconnected").contains("reason=too slow"));
    assert_eq!(closed(&server, "too-slow"), LAGGARDS as u64);
    quiet.barrier();
}

#[test]
fn g9_a_login_takes_so_long_and_no_longer() {
    let mut server = Server::start(&[HTTP, "--login-timeout=2"]);
    let mut al = server.log_in("al");
    let mut silent = server.connect();
    assert_eq!(silent.rest(), ["bye login timeout"]);
    assert!(server.wait_for_log("disconnected").contains("reason=login timeout"));
    assert_eq!(closed(&server, "login-timeout"), 1);
    al.barrier();
}

#[test]
fn g9_lines_are_as_long_and_list_as_many_as_they_may() {
    let mut server = Server::start(&[HTTP, "--log-level=debug", "--line-bytes-max=64", "--recipients-max=2"]);
    let (mut al, mut bob) = (server.log_in("al"), server.log_in("bob"));
    let text = "x".repeat(64 - "bob: ".len());
    al.send(&format!("bob: {text}"));
    al.send(&format!("bob: {text}x"));
    al.expect("error line-too-long: a line has at most 64 bytes");
    al.send("al,bob: hi");
    al.expect("from al: hi");
    al.send("al,bob,bob: hi");
    al.expect("error too-many-recipients: a line lists at most 2 recipients");
    bob.expect(&format!("from al: {text}"));
    bob.expect("from al: hi");
    bob.barrier();
    for code in ["line-too-long", "too-many-recipients"] {
        assert_eq!(counted(&server, "seriatim_errors_total", &[("code", code)]), 1, "{code}");
        let line = server.wait_for_log("refused a line");
        assert!(line.contains(&format!("code=\"{code}\"")) && line.contains("conn=#"), "{line}");
    }
    server.terminate();
    assert!(server.wait_for_log("served: ").contains(", 2 lines refused"));
}

#[test]
fn all_limits_are_said_at_start() {
    let mut server = Server::start(&["--idle-timeout=90", "--connects-per-minute-max=off"]);
    let line = server.wait_for_log("limits");
    for limit in [
        "connections_max=10000",
        "connections_per_address_max=64",
        "connects_per_minute_max=off",
        "exempt=127.0.0.0/8,::1/128",
        "logins_pending_max=1000",
        "line_bytes_max=8192",
        "recipients_max=100",
        "lines_per_second_max=off",
        "outbox_bytes_max=1048576",
        "outbox_bytes_total_max=",
        "login_ms_max=10000",
        "idle_ms_max=90000",
        "write_ms_max=30000",
        "flush_ms_max=30000",
        "drain_ms_max=5000",
        "keepalive_s=60",
    ] {
        assert!(line.contains(limit), "{limit}: {line}");
    }
}

/// Whoever comes and goes has ten lines in the log, and then is counted: for whoever debugs, each has its own.
#[test]
fn nobody_fills_the_log_by_coming_and_going() {
    let mut server = Server::start(&["--log-level=debug"]);
    for _ in 0..30 {
        let mut silent = server.connect();
        silent.end_input();
        assert!(silent.rest().is_empty());
    }
    let mut al = server.log_in("al");
    al.send("/quit");
    assert_eq!(al.rest(), ["bye quit"]);
    server.terminate();
    let log = server.rest_of_log();
    let told = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    let (ends, others) = (told("INFO disconnected conn="), told("DEBUG disconnected, as others were conn="));
    assert_eq!(ends + others, 31, "{log}");
    assert!((11..31).contains(&ends), "{log}");
    let quit = log.lines().find(|line| line.contains("reason=quit") && line.contains("INFO"));
    assert!(quit.is_some_and(|line| line.contains("lines_received=2") && !line.contains("others=")), "{log}");
}
