//! Those who connect, and come and go.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use crate::common::http::{HTTP, closed, counted};
use crate::common::process::{Client, Server};
use crate::{PATIENT, Quiet, heaviness, peak_within_bound, row, until};

#[test]
fn g9_logins_that_never_come_to_an_end() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    // As many as a process may usually have files.
    let count = 300 * heaviness().min(3);
    // Bytes come and come, but never too many for a line.
    let flags = ["--login-timeout=2", "--logins-pending-max=10000", "--line-bytes-max=131072"];
    let flags = [&PATIENT[..], &flags].concat();
    let server = Server::start(&flags);
    let mut quiet = Quiet::log_in(&server);
    let files = server.process.open_files();
    let connect = || {
        let connected = Instant::now();
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_nonblocking(true).unwrap();
        (stream, connected, Vec::new())
    };
    let mut pending: Vec<_> = (0..count).map(|_| connect()).collect();
    let mut latest = Duration::ZERO;
    until(
        "were all of them timed out",
        || quiet.round(),
        || {
            // A byte from each, and never a newline. Whoever is being closed may find the connection broken.
            pending.retain_mut(|(stream, connected, said)| {
                let _ = stream.write(b"x");
                match stream.read_to_end(said) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                    Ok(_) => {}
                    Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
                }
                assert_eq!(said, b"bye login timeout\n");
                let took = connected.elapsed();
                assert!(took >= TIMEOUT - Duration::from_millis(10), "after {took:?}");
                latest = latest.max(took);
                false
            });
            pending.is_empty()
        },
    );
    until("were all of them gone", || quiet.round(), || server.process.open_files() == files);
    let memory = peak_within_bound(&server.process, 2 + count as u64);
    row(
        "logins that never end",
        format!(
            "{count} at once with a deadline of {TIMEOUT:.0?}, the last closed after {latest:.2?}; {quiet}; {memory}"
        ),
    );
}

/// Numbers without a pattern, the same in every run.
fn scrambled(number: usize) -> usize {
    (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) as usize
}

#[test]
fn g9_ten_thousand_resets() {
    let count = 10_000 * heaviness();
    let flags = ["--connections-max=19000", "--logins-pending-max=19000"];
    let server = Server::start(&[&PATIENT[..], &flags].concat());
    let mut quiet = Quiet::log_in(&server);
    let mut bob = server.log_in("bob");
    let files = server.process.open_files();
    let mut writer = bob.stream.try_clone().unwrap();
    let heard = thread::scope(|scope| {
        let hearing = scope.spawn(|| {
            let lines = std::iter::from_fn(|| bob.line().filter(|line| line != "pong end"));
            lines.collect::<Vec<String>>()
        });
        for number in 0..count {
            // Whatever it says, it is cut off: before it was accepted, before the login, in mid-line, or with mail waiting.
            let all = format!("al{number}\nal{number}, bob: whole {number}\n/who\nbob: half a line");
            let mut client = server.connect();
            client.send_bytes(&all.as_bytes()[..scrambled(number) % (all.len() + 1)]);
            client.reset();
            if number % 100 == 0 {
                quiet.round();
            }
        }
        writer.write_all(b"/ping end\n").unwrap();
        hearing.join().unwrap()
    });
    // What was said before a reset may count, but only what is whole, and once.
    let mut numbers: Vec<usize> = heard
        .iter()
        .map(|line| {
            let (name, number) = line.split_once(": whole ").expect(line);
            assert_eq!(name, format!("from al{number}"));
            number.parse().expect(line)
        })
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), heard.len(), "nothing twice");
    until("were their connections closed", || quiet.round(), || server.process.open_files() == files);
    quiet.al.send("/who");
    quiet.al.expect("peers 3: bob, quiet-al, quiet-bob");
    server.log_in("al0").barrier();
    let memory = peak_within_bound(&server.process, 1000);
    row(
        "connections reset at any point",
        format!(
            "{count} resets, {} whole lines came through, none twice; no connection and no name is left; {quiet}; {memory}",
            heard.len()
        ),
    );
}

/// Whoever is there may have an unfinished line, and as much waiting for it as the floor allows.
#[test]
fn g9_as_many_as_may_come_with_all_that_each_may_hold() {
    const LIST: usize = 100;
    let files = raise_open_files();
    let count = (files - 200).min(2000) / LIST * LIST;
    let server = Server::start(&[&PATIENT[..], &[HTTP, "--connections-max=3000"]].concat());
    let mut quiet = Quiet::log_in(&server);
    let half = vec![b'x'; 8192];
    let all: Vec<TcpStream> = (0..count)
        .map(|number| {
            let mut stream = connect_with_little_room(&server);
            stream.write_all(format!("p{number}\n").as_bytes()).unwrap();
            let mut welcome = vec![0; format!("welcome p{number}\n").len()];
            stream.read_exact(&mut welcome).unwrap();
            stream.write_all(&half).unwrap();
            stream
        })
        .collect();
    let mut loud = server.log_in("loud");
    let names: Vec<String> = (0..count).map(|number| format!("p{number}")).collect();
    let lists: Vec<String> = names.chunks(LIST).map(|names| names.join(",")).collect();
    let text = "x".repeat(4000);
    let mut waiting = 0;
    until(
        "did so much wait",
        || quiet.round(),
        || {
            lists.iter().for_each(|list| loud.send(&format!("{list}: {text}")));
            loud.send("/ping");
            // How much the operating system holds for each differs: somebody may be too slow before there is enough.
            while loud.line().unwrap() != "pong" {}
            waiting = counted(&server, "seriatim_outbox_bytes", &[]);
            waiting >= count as u64 * (32 << 10)
        },
    );
    let received = || counted(&server, "seriatim_received_bytes_total", &[]);
    until("was it all read", || quiet.round(), || received() > (count * half.len()) as u64);
    let there = counted(&server, "seriatim_peers", &[]);
    assert_eq!(there + closed(&server, "too-slow"), count as u64 + 3);
    let memory = peak_within_bound(&server.process, 3 + count as u64);
    row(
        "as many as there may be, and all they may hold",
        format!(
            "{count} connections with 8 KiB of an unfinished line each, and {:.0} KiB waiting for it; {quiet}; {memory}",
            waiting as f64 / 1024.0 / count as f64
        ),
    );
    drop(all);
}

/// The operating system holds little of what is sent there: it has small packets, and room for few.
fn connect_with_little_room(server: &Server) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.set_tcp_mss(536).unwrap();
    socket.connect(&server.address.into()).unwrap();
    socket.into()
}

/// Allows this process as many open files as it may have, and says how many.
fn raise_open_files() -> usize {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    maximum.map_or(usize::MAX, |maximum| maximum as usize)
}

/// The limit is lowered while the server runs, because by itself it lets in no more than it has files for.
#[test]
fn g9_out_of_file_descriptors_and_back() {
    let mut server = Server::start(&[&PATIENT[..], &[HTTP]].concat());
    let mut quiet = Quiet::log_in(&server);
    let mut inside: Vec<Client> = (0..20).map(|number| server.log_in(&format!("in{number}"))).collect();
    server.process.limit_open_files(Some(server.process.open_files()));
    let mut outside: Vec<Client> = (0..40)
        .map(|number| {
            let mut client = server.connect();
            client.send(&format!("out{number}"));
            client
        })
        .collect();
    for _ in 0..3 {
        let line = server.wait_for_log("cannot accept a connection");
        assert!(line.contains("os error 24"), "{line}");
        // Whoever is in is served.
        quiet.round();
        inside.iter_mut().for_each(Client::barrier);
    }
    // As many as leave come in, in the order in which they have knocked.
    for (number, client) in inside.drain(..).enumerate() {
        drop(client);
        outside[number].expect(&format!("welcome out{number}"));
        quiet.round();
    }
    server.process.limit_open_files(None);
    for (number, client) in outside.iter_mut().enumerate().skip(20) {
        client.expect(&format!("welcome out{number}"));
    }
    outside.iter_mut().for_each(Client::barrier);
    assert!(counted(&server, "seriatim_accept_failures_total", &[]) >= 3);
    let memory = peak_within_bound(&server.process, 62);
    row(
        "no file descriptors left",
        format!(
            "40 knocked at a full table of files, 20 came in as others left, 20 when there were more; 0 lost; {quiet}; {memory}"
        ),
    );
}
