//! Those who send as much as they can.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use crate::common::process::{Client, HANG, Server};
use crate::{Ends, MIB, PATIENT, Quiet, heaviness, mib, peak_within_bound, row};

#[test]
fn g9_a_line_that_never_ends() {
    let server = Server::start(&[&PATIENT[..], &["--login-timeout=3600"]].concat());
    let mut quiet = Quiet::log_in(&server);
    quiet.round();
    let (mut al, mut stranger) = (server.log_in("al"), server.connect());
    let before = server.process.peak_bytes();
    let chunk = vec![b'x'; MIB as usize];
    for _ in 0..100 * heaviness() {
        // Before the login, too.
        for client in [&mut al, &mut stranger] {
            client.send_bytes(&chunk);
        }
        quiet.round();
    }
    let too_long = "error line-too-long: a line has at most 8192 bytes";
    al.send("\n/ping x");
    stranger.send("\nbob");
    for (client, answer) in [(&mut al, "pong x"), (&mut stranger, "welcome bob")] {
        client.expect(too_long);
        client.expect(answer);
    }
    let grown = server.process.peak_bytes() - before;
    assert!(grown < 4 * MIB, "{grown} bytes");
    let memory = peak_within_bound(&server.process, 4);
    let sent = mib(200 * heaviness() as u64 * MIB);
    row(
        "a line without an end",
        format!(
            "{sent} sent, one answer each, both served afterwards; {quiet}; memory grew by {}, {memory}",
            mib(grown)
        ),
    );
}

#[test]
fn g9_a_flood_at_full_speed_starves_nobody() {
    let rounds = 2000 * heaviness();
    let server = Server::start(&PATIENT);
    let mut quiet = Quiet::log_in(&server);
    (0..rounds).for_each(|_| quiet.round());
    let (_, alone) = quiet.percentile_99();
    let flooder = server.log_in("flooder");
    let (mut writer, mut reader) = (&flooder.stream, &flooder.stream);
    let flood = "flooder: all of this comes back\n".repeat(4096);
    let over = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        scope.spawn(|| std::io::copy(&mut reader, &mut std::io::sink()));
        let sending = scope.spawn(|| {
            let mut sent = 0;
            while !over.load(Ordering::Relaxed) {
                // Too slow for its own flood, if its reader does not run: then that was all.
                if writer.write_all(flood.as_bytes()).is_err() {
                    break;
                }
                sent += 4096;
            }
            sent
        });
        let ends = Ends(&over);
        (0..rounds).for_each(|_| quiet.round());
        drop(ends);
        let sent: usize = sending.join().unwrap();
        flooder.stream.shutdown(Shutdown::Both).unwrap();
        sent
    });
    let (answered, disturbed) = quiet.percentile_99();
    assert_eq!(answered, rounds);
    let ratio = disturbed.as_secs_f64() / alone.as_secs_f64();
    let memory = peak_within_bound(&server.process, 3);
    row(
        "a flood at full speed",
        format!(
            "{sent} lines, {answered} rounds of a quiet pair all answered; p99 of a round {alone:.0?} alone, \
             {disturbed:.0?} disturbed, {ratio:.1} times; {memory}"
        ),
    );
}

/// Fifty flood one recipient each. Two threads serve all their sockets in turns, so that what differs is the server's
/// doing and not the scheduler's.
#[test]
fn g9_among_equal_floods_everybody_gets_a_share() {
    const PAIRS: usize = 50;
    let all = heaviness() * 64 * MIB as usize;
    // Before all of them are at full speed nothing is counted.
    let mut uncounted = 32 * MIB as usize;
    let server = Server::start(&PATIENT);
    let nonblocking = |name: String| {
        let Client { stream, .. } = server.log_in(&name);
        stream.set_nonblocking(true).unwrap();
        stream
    };
    let senders: Vec<TcpStream> = (0..PAIRS).map(|number| nonblocking(format!("al{number}"))).collect();
    let recipients: Vec<TcpStream> = (0..PAIRS).map(|number| nonblocking(format!("bob{number}"))).collect();
    let floods: Vec<Vec<u8>> = (0..PAIRS)
        .map(|number| format!("bob{number}: as fast as I can\n").repeat(2048).into_bytes())
        .collect();
    let mut shares = vec![0; PAIRS];
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Where each stands in its flood.
            let mut places = vec![0; PAIRS];
            while !over.load(Ordering::Relaxed) {
                for ((mut sender, place), flood) in senders.iter().zip(&mut places).zip(&floods) {
                    let sent = now_or_never(sender.write(&flood[*place..]));
                    *place = (*place + sent) % flood.len();
                }
            }
        });
        let (_ends, start) = (Ends(&over), Instant::now());
        let mut buffer = vec![0; 64 << 10];
        while shares.iter().sum::<usize>() < all {
            assert!(start.elapsed() < HANG * heaviness() as u32, "{shares:?} bytes and no more");
            for (mut recipient, share) in recipients.iter().zip(&mut shares) {
                let bytes = now_or_never(recipient.read(&mut buffer));
                let warming = bytes.min(uncounted);
                uncounted -= warming;
                *share += bytes - warming;
            }
        }
    });
    let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
    // What is measured at one moment depends on who was served last, but not as much as this.
    assert!(2 * least >= *most, "{shares:?}");
    let memory = peak_within_bound(&server.process, 2 * PAIRS as u64);
    row(
        "fifty equal floods",
        format!(
            "{} received, the least share is {:.2} of the largest; {memory}",
            mib(all as u64),
            *least as f64 / *most as f64
        ),
    );
}

/// How many bytes could be read or written at once.
fn now_or_never(moved: std::io::Result<usize>) -> usize {
    match moved {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        Err(error) => panic!("{error}"),
    }
}
