//! Many who come and go while others talk.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::common::process::{Client, Server};
use crate::{Ends, PATIENT, heaviness, peak_within_bound, row};

const TALKERS: usize = 100;
const GUESTS: usize = 10;

/// What a talker came to.
struct Talked {
    sent: usize,
    /// How often it was told that a guest is not here.
    told: usize,
}

/// Talks to its neighbour and to the guests in turn until it is `over`, and hears its other neighbour out.
fn talk(mut client: Client, number: usize, over: &AtomicBool) -> Talked {
    let (to, from) = ((number + 1) % TALKERS, (number + TALKERS - 1) % TALKERS);
    let head = format!("from talker{from}: ");
    let mut talked = Talked { sent: 0, told: 0 };
    let (mut heard, mut ended) = (0, false);
    let mut over_here = false;
    while !(over_here && ended) {
        over_here = over.load(Ordering::Relaxed);
        let said = talked.sent;
        if over_here {
            client.send(&format!("talker{to}: end"));
        } else {
            client.send(&format!("talker{to}, guest{}: {said}\n/ping {said}", said % GUESTS));
            talked.sent += 1;
        }
        let pong = format!("pong {said}");
        while !(over_here && ended) {
            let line = client.line().unwrap();
            match line.strip_prefix(&head) {
                Some("end") => ended = true,
                Some(text) => {
                    assert!(!ended && text == heard.to_string(), "{text} instead of {heard}");
                    heard += 1;
                }
                None if line == pong => break,
                None => {
                    assert!(line.starts_with("error no-such-peer: guest"), "{line}");
                    talked.told += 1;
                }
            }
        }
    }
    talked
}

/// Comes, stays until it has been served, goes in order, and returns how many messages it got.
fn visit(server: &Server, guest: usize, visit: usize) -> usize {
    let mut client = server.log_in(&format!("guest{guest}"));
    client.send(&format!("guest{guest}: to myself"));
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line| *line != format!("from guest{guest}: to myself")) {
        lines.push(client.line().unwrap());
    }
    lines.pop();
    if visit.is_multiple_of(2) {
        client.end_input();
        lines.extend(client.rest());
    } else {
        client.send("/quit");
        lines.extend(client.rest());
        assert_eq!(lines.pop().unwrap(), "bye quit");
    }
    // Every tenth message of a talker is for this guest.
    let mut next = [None; TALKERS];
    for line in &lines {
        let (talker, number) =
            line.strip_prefix("from talker").and_then(|line| line.split_once(": ")).expect(line);
        let (talker, number): (usize, usize) = (talker.parse().unwrap(), number.parse().unwrap());
        assert!(number % GUESTS == guest && next[talker].is_none_or(|next| next == number), "{line}");
        next[talker] = Some(number + GUESTS);
    }
    lines.len()
}

#[test]
fn g5_g6_g9_a_thousand_come_and_go_while_a_hundred_talk() {
    let visits = 100 * heaviness();
    let server = Server::start(&PATIENT);
    let talkers: Vec<Client> = (0..TALKERS).map(|number| server.log_in(&format!("talker{number}"))).collect();
    let over = AtomicBool::new(false);
    let (talked, got) = thread::scope(|scope| {
        let (server, over) = (&server, &over);
        let talking = talkers.into_iter().enumerate();
        let talking = talking.map(|(number, client)| scope.spawn(move || talk(client, number, over)));
        let talking: Vec<_> = talking.collect();
        let visiting = (0..GUESTS)
            .map(|guest| scope.spawn(move || (0..visits).map(|n| visit(server, guest, n)).sum::<usize>()));
        let visiting: Vec<_> = visiting.collect();
        let ends = Ends(over);
        let got: usize = visiting.into_iter().map(|thread| thread.join().unwrap()).sum();
        drop(ends);
        let talked: Vec<Talked> = talking.into_iter().map(|thread| thread.join().unwrap()).collect();
        (talked, got)
    });
    let sent: usize = talked.iter().map(|talked| talked.sent).sum();
    let told: usize = talked.iter().map(|talked| talked.told).sum();
    // Either the guest got it, or the talker was told: never both, never neither.
    assert_eq!(got + told, sent);
    let memory = peak_within_bound(&server.process, (TALKERS + GUESTS) as u64);
    row(
        "a crowd that comes and goes",
        format!(
            "{} came and went while {TALKERS} said {sent} lines to a neighbour and to one of them: each in order at the \
             neighbour; {got} reached a guest, {told} were answered no-such-peer, 0 lost; {memory}",
            GUESTS * visits
        ),
    );
}
