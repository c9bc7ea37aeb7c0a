//! What a server shows over HTTP, asked for by a client that knows nothing but bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::openmetrics::Page;
use super::process::{HANG, Server};

/// The flag without which there is nothing to ask.
pub const HTTP: &str = "--http=127.0.0.1:0";

/// How a server answers.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// Where a server shows its metrics.
pub fn door(server: &Server) -> SocketAddr {
    let line = server.before_listening("metrics at http://");
    line.split("http://").nth(1).unwrap().split('/').next().unwrap().parse().unwrap()
}

pub fn connect(door: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(door).unwrap();
    stream.set_read_timeout(Some(HANG)).unwrap();
    stream
}

/// Everything that comes until the end, in order or not.
pub fn read_all(mut stream: &TcpStream) -> String {
    let mut all = Vec::new();
    if let Err(error) = stream.read_to_end(&mut all) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    String::from_utf8(all).unwrap()
}

/// Sends this and returns the one answer, if there is any.
pub fn ask(door: SocketAddr, request: &[u8]) -> Option<Answer> {
    let mut stream = connect(door);
    stream.write_all(request).unwrap();
    let all = read_all(&stream);
    let (head, body) = all.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.").unwrap()[2..5].parse().unwrap();
    Some(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

pub fn get(door: SocketAddr, path: &str) -> Answer {
    ask(door, format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n").as_bytes()).unwrap()
}

pub fn metrics(door: SocketAddr) -> Page {
    let answer = get(door, "/metrics");
    assert_eq!(answer.status, 200);
    let media = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(answer.head.contains(media), "{}", answer.head);
    Page::parse(&answer.body).unwrap_or_else(|error| panic!("{error}\n{}", answer.body))
}

/// What a server that has been started with [`HTTP`] counts as this.
pub fn counted(server: &Server, name: &str, labels: &[(&str, &str)]) -> u64 {
    metrics(door(server)).value(name, labels) as u64
}

/// How many connections it has closed, or refused, for this reason.
pub fn closed(server: &Server, reason: &str) -> u64 {
    counted(server, "seriatim_disconnects_total", &[("reason", reason)])
}
