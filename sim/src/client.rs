//! The clients: each plays its script and writes down all that it wrote and read.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use futures_io::AsyncWrite;
use futures_lite::future::yield_now;
use seriatim::Limits;
use seriatim::server::runtime::Reader;

use crate::history::{History, Item, Sent, SessionHistory, What, tag};
use crate::net::{Net, SimStream};
use crate::scenario::{BadLine, Op, Script};
use crate::world::{Owner, World, lock};

/// Plays a script to its end.
pub async fn play(
    world: Arc<World>,
    net: Arc<Net>,
    history: Arc<Mutex<History>>,
    script: Script,
    limits: Limits,
    client: usize,
) {
    let mut player =
        Player { world, net, history, limits, connection: None, trickle: false, stalled_until: 0, client };
    for op in script.ops {
        player.play(op).await;
    }
    player.take_leave().await;
}

struct Player {
    world: Arc<World>,
    net: Arc<Net>,
    history: Arc<Mutex<History>>,
    limits: Limits,
    connection: Option<Connection>,
    trickle: bool,
    stalled_until: u64,
    client: usize,
}

/// The writing half of one connection; a task of its own reads.
struct Connection {
    stream: SimStream,
    /// Its place in the history.
    session: usize,
    /// How many lines it has written.
    lines: usize,
    seen: Arc<Mutex<Seen>>,
}

/// What the reading half has seen.
#[derive(Default)]
struct Seen {
    welcome: bool,
    refusals: usize,
    pongs: usize,
    over: bool,
    stalled_until: u64,
    waker: Option<Waker>,
}

impl Player {
    async fn play(&mut self, op: Op) {
        match op {
            Op::Connect => {
                self.take_leave().await;
                self.connect();
            }
            Op::LogIn { name, insist } => self.log_in(name, insist).await,
            Op::Say { to, bytes } => {
                let Some(connection) = &self.connection else { return };
                let number = connection.lines;
                let mut text = format!("m{}", tag(connection.session, number));
                let padding = bytes.saturating_sub(text.len() + 1);
                if padding > 0 {
                    text.push(' ');
                    (0..padding).for_each(|_| text.push('x'));
                }
                self.send(Sent::Say { number, to, text }).await;
            }
            Op::Ping { wait } => self.ping(wait).await,
            Op::Who => self.send(Sent::Who).await,
            Op::Bad { rule } => self.send(Sent::Bad(rule)).await,
            Op::Sleep(ms) => self.world.clone().sleep_until(self.world.now() + ms).await,
            Op::Stall(ms) => {
                self.stalled_until = self.world.now() + ms;
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
            Op::HalfClose => self.take_leave().await,
            Op::LastWords => {
                let Some(connection) = &self.connection else { return };
                let number = connection.lines;
                self.write(Sent::Ping { number }, "").await;
                self.take_leave().await;
            }
            Op::Reset => {
                if let Some(connection) = self.connection.take() {
                    self.write_down(connection.session, What::Reset);
                    connection.stream.break_off();
                }
            }
        }
    }

    fn connect(&mut self) {
        let Ok(stream) = self.net.connect() else {
            self.world.log().marks.hit("a connection was refused");
            return;
        };
        let session = {
            let mut history = lock(&self.history);
            history.sessions.push(SessionHistory::default());
            history.sessions.len() - 1
        };
        let seen = Arc::new(Mutex::new(Seen { stalled_until: self.stalled_until, ..Seen::default() }));
        let reading = read(self.world.clone(), self.history.clone(), stream.clone(), session, seen.clone());
        self.world.spawn(Owner::Client, reading);
        self.connection = Some(Connection { stream, session, lines: 0, seen });
    }

    async fn log_in(&mut self, name: String, insist: bool) {
        let mut refusals = 0;
        loop {
            self.send(Sent::Name(name.clone())).await;
            if !insist {
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
            self.world.clone().sleep_until(self.world.now() + (50 << refusals.min(10))).await;
        }
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

    /// Closes this side and reads to the end.
    async fn take_leave(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let (session, mut stream) = (connection.session, connection.stream.clone());
        self.write_down(session, What::Ended);
        let _ = poll_fn(|cx| Pin::new(&mut stream).poll_close(cx)).await;
        drop(stream);
        self.wait(|seen| seen.over).await;
        self.connection = None;
    }

    async fn send(&mut self, sent: Sent) {
        self.write(sent, "\n").await;
    }

    /// Writes a line. If the connection breaks, the reading half sees it, too.
    async fn write(&mut self, sent: Sent, ending: &str) {
        let Some(connection) = &mut self.connection else { return };
        let mut bytes = line(&sent, connection.session, &self.limits);
        bytes.extend(ending.as_bytes());
        connection.lines += 1;
        let (session, mut stream, chunk) =
            (connection.session, connection.stream.clone(), if self.trickle { 1 } else { bytes.len() });
        self.write_down(session, What::Wrote(sent));
        for mut rest in bytes.chunks(chunk.max(1)) {
            while !rest.is_empty() {
                match poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, rest)).await {
                    Ok(length) => rest = &rest[length..],
                    Err(_) => return,
                }
            }
            yield_now().await;
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
            seen.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn write_down(&self, session: usize, what: What) {
        self.world.passed("did", &[u8::try_from(self.client % 256).unwrap_or_default()]);
        write_down(&self.world, &self.history, session, what);
    }
}

fn write_down(world: &World, history: &Mutex<History>, session: usize, what: What) {
    let at = world.stamp();
    lock(history).sessions[session].items.push(Item { at, what });
}

/// The bytes of a line, without its newline.
fn line(sent: &Sent, session: usize, limits: &Limits) -> Vec<u8> {
    match sent {
        Sent::Name(name) => name.clone().into_bytes(),
        Sent::Say { number, to, text } => {
            format!("{}, ~{}: {text}", to.join(", "), tag(session, *number)).into_bytes()
        }
        Sent::Ping { number } => format!("/ping {}", tag(session, *number)).into_bytes(),
        Sent::Who => b"/who".to_vec(),
        Sent::Quit => b"/quit".to_vec(),
        Sent::Bad(rule) => match rule {
            BadLine::TooLong => vec![b'y'; limits.line_bytes_max + 1],
            BadLine::NotUtf8 => b"al: \xff\xfe".to_vec(),
            BadLine::Escape => b"al: \x1b[31mfrom al: forged".to_vec(),
            BadLine::NoRecipient => b" , : text".to_vec(),
            BadLine::NoColon => b"from al, forged".to_vec(),
            BadLine::Empty => b"al:   ".to_vec(),
            BadLine::Command => b"/welcome al".to_vec(),
        },
    }
}

/// Reads to the end of the connection.
async fn read(
    world: Arc<World>,
    history: Arc<Mutex<History>>,
    mut stream: SimStream,
    session: usize,
    seen: Arc<Mutex<Seen>>,
) {
    let mut partial: Vec<u8> = Vec::new();
    let mut buffer = vec![0; 4096];
    let end = loop {
        let stalled_until = lock(&seen).stalled_until;
        if world.now() < stalled_until {
            world.clone().sleep_until(stalled_until).await;
            continue;
        }
        let _ = poll_fn(|cx| stream.poll_readable(cx)).await;
        match stream.try_read(&mut buffer) {
            Ok(0) => break What::Closed(String::from_utf8_lossy(&partial).into_owned()),
            Ok(length) => {
                for &byte in &buffer[..length] {
                    if byte == b'\n' {
                        let line = String::from_utf8_lossy(&std::mem::take(&mut partial)).into_owned();
                        heed(&mut lock(&seen), &line);
                        write_down(&world, &history, session, What::Read(line));
                    } else {
                        partial.push(byte);
                    }
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => break What::Broke,
        }
        wake(&seen);
    };
    write_down(&world, &history, session, end);
    lock(&seen).over = true;
    wake(&seen);
}

fn heed(seen: &mut Seen, line: &str) {
    seen.welcome |= line.starts_with("welcome ");
    seen.refusals += usize::from(line.starts_with("error name-taken") || line.starts_with("error bad-name"));
    seen.pongs += usize::from(line.starts_with("pong"));
}

fn wake(seen: &Mutex<Seen>) {
    let waker = lock(seen).waker.take();
    if let Some(waker) = waker {
        waker.wake();
    }
}
