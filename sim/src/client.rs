//! The clients: each plays its script and writes down all that it wrote and read. They know nothing of the simulation: the
//! same clients talk over real sockets.

use std::future::{Future, poll_fn};
use std::io::{self, BufRead as _};
use std::iter::repeat_n;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use futures::io::{AsyncRead, AsyncWrite};
use seriatim::server::runtime::Runtime;
use seriatim::{Limits, Millis};

use crate::history::{Recorder, Sent, What, tag, token};
use crate::scenario::{BadLine, Op, Scenario, password};
use crate::world::lock;

/// How often others get a turn between a client's end and its break: about as often as the server needs to see the end.
const SLAM_POLLS: usize = 8;

/// How often a client that insists on its name asks for it: longer than any login may take.
const REFUSALS_MAX: usize = 100;

/// Where clients live: the seam, from their side.
pub trait Place: Runtime {
    /// A connection to the server. A clone is the same connection, for the other direction.
    type Connection: AsyncRead + AsyncWrite + Clone + Send + Unpin + 'static;

    /// Connects to the server.
    ///
    /// # Errors
    /// Nobody listens, or whatever else comes in between.
    fn connect(&self) -> impl Future<Output = io::Result<Self::Connection>> + Send;

    /// Breaks a connection.
    fn break_off(connection: &Self::Connection);

    /// Runs what reads for a session.
    fn spawn_reader(&self, _session: usize, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn(task);
    }
}

/// Plays the script of one of the clients to its end.
pub async fn play<P: Place>(place: P, recorder: Arc<Recorder>, scenario: Arc<Scenario>, client: usize) {
    let limits = scenario.limits.clone();
    let mut player =
        Player { place, recorder, limits, connection: None, trickle: false, ending: "\n", stalled_until: 0 };
    for op in &scenario.clients[client].ops {
        player.play(op).await;
    }
    player.take_leave().await;
}

struct Player<P: Place> {
    place: P,
    recorder: Arc<Recorder>,
    limits: Limits,
    connection: Option<Connection<P::Connection>>,
    trickle: bool,
    /// What ends a line.
    ending: &'static str,
    stalled_until: u64,
}

/// The writing half of one connection; a task of its own reads.
struct Connection<W> {
    writer: W,
    /// Its place in the history.
    session: usize,
    /// How many lines it has written.
    lines: usize,
    seen: Arc<Mutex<Seen>>,
}

/// What the reading half has seen, and is to do.
#[derive(Default)]
struct Seen {
    welcome: bool,
    refusals: usize,
    pongs: usize,
    over: bool,
    stalled_until: u64,
    /// This side has broken the connection.
    broken: bool,
    /// Writing has failed: the connection broke, and an operating system may say so only once, and show the end of the stream
    /// to whoever reads on.
    write_failed: bool,
    /// Waits for something to be seen.
    player: Option<Waker>,
    /// Waits for something to read.
    reader: Option<Waker>,
}

impl<P: Place> Player<P> {
    async fn play(&mut self, op: &Op) {
        match *op {
            Op::Connect => {
                self.take_leave().await;
                self.connect().await;
            }
            Op::LogIn { ref name, insist } => self.log_in(Sent::Name(name.clone()), insist).await,
            Op::Prove { ref name, right, insist } => {
                self.log_in(Sent::Proof { name: name.clone(), right }, insist).await;
            }
            Op::Say { ref to, bytes } => self.say(to, bytes, false).await,
            Op::Tell { ref to, bytes } => self.say(to, bytes, true).await,
            Op::Ping { wait } => self.ping(wait).await,
            Op::Who => self.send(Sent::Who).await,
            Op::Blank => self.write_bytes(b" \n").await,
            Op::CrLf => self.ending = "\r\n",
            Op::Bad { rule } => self.send(Sent::Bad(rule)).await,
            Op::Sleep(ms) => self.sleep(ms).await,
            Op::Stall(ms) => {
                self.stalled_until = self.place.now().0.saturating_add(ms);
                if let Some(connection) = &self.connection {
                    lock(&connection.seen).stalled_until = self.stalled_until;
                }
            }
            Op::Trickle => self.trickle = true,
            Op::Quit => {
                self.send(Sent::Quit).await;
                self.wait(|seen| seen.over).await;
                self.connection = None;
            }
            Op::QuitTalking => {
                let Some(connection) = &self.connection else { return };
                // Without a name `/quit` is no command, and what is behind it is answered.
                let tail: &[u8] =
                    if lock(&connection.seen).welcome { b"al, bob: behind the quit\n" } else { b"" };
                self.recorder.write_down(connection.session, self.place.now(), What::Wrote(Sent::Quit));
                self.write_bytes(&[b"/quit\n", tail].concat()).await;
                self.wait(|seen| seen.over).await;
                self.connection = None;
            }
            Op::HalfClose => self.take_leave().await,
            Op::LastWords => {
                let Some(connection) = &self.connection else { return };
                let number = connection.lines;
                self.write([Sent::Ping { number }], "").await;
                self.take_leave().await;
            }
            Op::Reset => self.reset(),
            Op::Slam { ref to } => {
                let Some(connection) = &self.connection else { return };
                let number = connection.lines;
                let text = text(&tag(connection.session, number), 0);
                let say = Sent::Say { number, to: to.clone(), text, bare: false };
                self.write([say], "").await;
                self.end().await;
                for _ in 0..SLAM_POLLS {
                    self.place.yield_point().await;
                }
                self.reset();
            }
        }
    }

    /// Breaks the connection.
    fn reset(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.recorder.write_down(connection.session, self.place.now(), What::Reset);
            P::break_off(&connection.writer);
            let mut seen = lock(&connection.seen);
            seen.broken = true;
            let reader = seen.reader.take();
            drop(seen);
            reader.into_iter().for_each(Waker::wake);
        }
    }

    async fn connect(&mut self) {
        let Ok(writer) = self.place.connect().await else { return };
        let reader = writer.clone();
        let session = self.recorder.open(self.place.now());
        let seen = Arc::new(Mutex::new(Seen { stalled_until: self.stalled_until, ..Seen::default() }));
        let (place, recorder) = (self.place.clone(), self.recorder.clone());
        self.place.spawn_reader(session, read(place, recorder, reader, session, seen.clone()));
        self.connection = Some(Connection { writer, session, lines: 0, seen });
    }

    async fn sleep(&self, ms: u64) {
        self.place.sleep_until(self.place.now().plus(ms)).await;
    }

    async fn log_in(&mut self, login: Sent, insist: bool) {
        let mut refusals = 0;
        loop {
            self.send(login.clone()).await;
            if !insist || refusals == REFUSALS_MAX {
                return;
            }
            self.wait(|seen| seen.over || seen.welcome || seen.refusals > refusals).await;
            refusals += 1;
            let Some(connection) = &self.connection else { return };
            let over = {
                let seen = lock(&connection.seen);
                seen.over || seen.welcome
            };
            if over {
                return;
            }
            self.sleep(50 << refusals.min(10)).await;
        }
    }

    async fn say(&mut self, to: &[String], bytes: usize, bare: bool) {
        let Some(connection) = &self.connection else { return };
        // To what is refused as a whole, the receipt is the one answer.
        let bare = bare && to.len() <= self.limits.recipients_max && lock(&connection.seen).welcome;
        let (number, tag) = (connection.lines, tag(connection.session, connection.lines));
        let room = self.limits.line_bytes_max.saturating_sub(head(to, &tag, bare).len());
        let say = Sent::Say { number, to: to.to_vec(), text: text(&tag, bytes.min(room)), bare };
        let ping = bare.then_some(Sent::Ping { number: number + 1 });
        self.write([say].into_iter().chain(ping), self.ending).await;
    }

    async fn ping(&mut self, wait: bool) {
        let Some(connection) = &self.connection else { return };
        let number = connection.lines;
        let pongs = lock(&connection.seen).pongs;
        self.send(Sent::Ping { number }).await;
        if wait {
            self.wait(|seen| seen.over || seen.pongs > pongs).await;
        }
    }

    /// Closes this side.
    async fn end(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        self.recorder.write_down(connection.session, self.place.now(), What::Ended);
        let _ = poll_fn(|cx| Pin::new(&mut connection.writer).poll_close(cx)).await;
    }

    /// Closes this side and reads to the end.
    async fn take_leave(&mut self) {
        self.end().await;
        self.wait(|seen| seen.over).await;
        self.connection = None;
    }

    async fn send(&mut self, sent: Sent) {
        self.write([sent], self.ending).await;
    }

    /// Writes lines, all in one call. If the connection breaks, the reading half sees it, too.
    async fn write(&mut self, lines: impl IntoIterator<Item = Sent>, ending: &str) {
        let Some(connection) = &mut self.connection else { return };
        let mut bytes = Vec::with_capacity(256);
        for sent in lines {
            push_line(&mut bytes, &sent, connection.session, &self.limits);
            bytes.extend(ending.as_bytes());
            connection.lines += 1;
            self.recorder.write_down(connection.session, self.place.now(), What::Wrote(sent));
        }
        self.write_bytes(&bytes).await;
    }

    async fn write_bytes(&mut self, bytes: &[u8]) {
        let Some(connection) = &mut self.connection else { return };
        let chunk = if self.trickle { 1 } else { bytes.len() };
        for mut rest in bytes.chunks(chunk.max(1)) {
            while !rest.is_empty() {
                match poll_fn(|cx| Pin::new(&mut connection.writer).poll_write(cx, rest)).await {
                    Ok(length) => rest = &rest[length..],
                    Err(_) => return lock(&connection.seen).write_failed = true,
                }
            }
            self.place.yield_point().await;
        }
    }

    /// Waits until the reading half has seen something.
    async fn wait(&self, seen_enough: impl Fn(&Seen) -> bool) {
        let Some(connection) = &self.connection else { return };
        poll_fn(|cx| {
            let mut seen = lock(&connection.seen);
            if seen_enough(&seen) {
                return Poll::Ready(());
            }
            seen.player = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Appends a line, without its newline.
pub(crate) fn push_line(bytes: &mut Vec<u8>, sent: &Sent, session: usize, limits: &Limits) {
    let mut push = |part: &[u8]| bytes.extend_from_slice(part);
    match sent {
        Sent::Name(name) => push(name.as_bytes()),
        Sent::Proof { name, right: true } => push(format!("{name} {}", password(name)).as_bytes()),
        Sent::Proof { name, right: false } => push(format!("{name} guess").as_bytes()),
        Sent::Say { number, to, text, bare } => {
            push(head(to, &tag(session, *number), *bare).as_bytes());
            push(text.as_bytes());
        }
        Sent::Ping { number } => push(format!("/ping {}", token(session, *number)).as_bytes()),
        Sent::Who => push(b"/who"),
        Sent::Quit => push(b"/quit"),
        Sent::Bad(rule) => match rule {
            BadLine::TooLong => push(&vec![b'y'; limits.line_bytes_max + 1]),
            BadLine::LongTail => {
                push(&vec![b'y'; limits.line_bytes_max]);
                push(b"al, bob: forged");
            }
            BadLine::NotUtf8 => push(b"al: \xff\xfe"),
            BadLine::Escape => push(b"al: \x1b[31mfrom al: forged"),
            BadLine::EscapeLate => push(b"al: a text longer than a vector register \x1b[2J"),
            BadLine::EscapeC1 => push("al: \u{9b}31mforged".as_bytes()),
            BadLine::NoRecipient => push(b" , : text"),
            BadLine::NoColon => push(b"from al, forged"),
            BadLine::Empty => push(b"al:   "),
            BadLine::Command => push(b"/welcome al"),
        },
    }
}

/// What stands before the text of a message: to whom it is, and the receipt, unless it has none.
fn head(to: &[String], tag: &str, bare: bool) -> String {
    if bare {
        return to.join(", ") + ": ";
    }
    let mut head = String::with_capacity(64);
    for name in to {
        head.push_str(name);
        head.push_str(", ");
    }
    for part in ["~", tag, ": "] {
        head.push_str(part);
    }
    head
}

/// What might be lost, cut or taken for something else.
const FRAGILE: &str = " x:  y, z\t\u{e9}\u{1f600}; from al: /quit";

/// A text that begins with its tag and is so long, with all that is fragile.
fn text(tag: &str, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes.max(1 + tag.len()));
    text.push('m');
    text.push_str(tag);
    if bytes < text.len() + 2 {
        return text; // there is no room for a blank and something behind it
    }
    loop {
        let length = FRAGILE.floor_char_boundary(bytes - 1 - text.len());
        text.push_str(&FRAGILE[..length]);
        if length < FRAGILE.len() {
            break;
        }
    }
    text.extend(repeat_n('x', bytes - text.len()));
    text
}

/// Reads to the end of the connection.
async fn read<P: Place>(
    place: P,
    recorder: Arc<Recorder>,
    mut reader: P::Connection,
    session: usize,
    seen: Arc<Mutex<Seen>>,
) {
    let mut partial: Vec<u8> = Vec::new();
    let mut buffer = vec![0; 4096];
    let end = loop {
        let stalled_until = Millis(lock(&seen).stalled_until);
        if place.now() < stalled_until {
            place.sleep_until(stalled_until).await;
            continue;
        }
        match read_some(&mut reader, &mut buffer, &seen).await {
            Ok(0) if lock(&seen).write_failed => break What::Broke,
            Ok(0) => break What::Closed(lossy(partial)),
            Ok(length) => {
                let mut bytes = &buffer[..length];
                while let Some(line) = next_line(&mut bytes, &mut partial) {
                    heed(&mut lock(&seen), &line);
                    recorder.write_down(session, place.now(), What::Read(line));
                }
            }
            Err(_) => break What::Broke,
        }
        wake(&seen);
    };
    recorder.write_down(session, place.now(), end);
    lock(&seen).over = true;
    wake(&seen);
}

/// The next line, without its newline, if the end of it is here; what there is of it otherwise stays.
fn next_line(bytes: &mut &[u8], partial: &mut Vec<u8>) -> Option<String> {
    bytes.read_until(b'\n', partial).ok()?;
    partial.pop_if(|&mut byte| byte == b'\n')?;
    Some(lossy(mem::take(partial)))
}

/// What is no text is replaced.
pub(crate) fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Reads what is there, or waits for it. An error is the end of the connection, also if this side has broken it.
async fn read_some(
    reader: &mut (impl AsyncRead + Unpin),
    buffer: &mut [u8],
    seen: &Mutex<Seen>,
) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut seen = lock(seen);
        if seen.broken {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        seen.reader = Some(cx.waker().clone());
        drop(seen);
        Pin::new(&mut *reader).poll_read(cx, buffer)
    })
    .await
}

fn heed(seen: &mut Seen, line: &str) {
    seen.welcome |= line.starts_with("welcome ");
    const REFUSALS: [&str; 7] = [
        "name-taken",
        "bad-name",
        "no-such-account",
        "name-reserved",
        "wrong-password",
        "account-required",
        "unencrypted",
    ];
    if let Some(error) = line.strip_prefix("error ") {
        seen.refusals += usize::from(REFUSALS.iter().any(|refusal| error.starts_with(refusal)));
    }
    seen.pongs += usize::from(line.starts_with("pong"));
}

fn wake(seen: &Mutex<Seen>) {
    let player = lock(seen).player.take();
    player.into_iter().for_each(Waker::wake);
}
