//! The command `seriatim chat`, run as a person or a script runs it, against the real server and against bad ones.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// How long anything may take before the test counts as stuck. No outcome depends on it.
const STUCK: Duration = Duration::from_secs(60);

fn seriatim() -> Command {
    Command::new(env!("CARGO_BIN_EXE_seriatim"))
}

/// A process that does not outlive its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What comes out of a pipe, line by line, each with its newline.
struct Output(Receiver<String>);

impl Output {
    fn of(pipe: impl Read + Send + 'static) -> Output {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = String::new();
            while pipe.read_line(&mut line).expect("output is UTF-8") > 0 {
                if sender.send(std::mem::take(&mut line)).is_err() {
                    return;
                }
            }
        });
        Output(receiver)
    }

    /// The next line, or `None` at the end.
    fn line(&self) -> Option<String> {
        match self.0.recv_timeout(STUCK) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("stuck"),
        }
    }

    fn rest(&self) -> String {
        std::iter::from_fn(|| self.line()).collect()
    }
}

struct Server {
    process: Process,
    address: String,
    /// Read to the end, so that the server can always log.
    _log: Output,
}

impl Server {
    fn start() -> Server {
        Server::listen("127.0.0.1:0")
    }

    fn listen(address: &str) -> Server {
        let mut child =
            seriatim().args(["serve", "--listen", address]).stderr(Stdio::piped()).spawn().unwrap();
        let log = Output::of(child.stderr.take().unwrap());
        let process = Process(child);
        let address = std::iter::from_fn(|| log.line())
            .find_map(|line| {
                let (_, rest) = line.split_once("listening on ")?;
                Some(rest.split_once(',')?.0.to_owned())
            })
            .expect("the server says where it listens");
        Server { process, address, _log: log }
    }
}

struct Client {
    process: Process,
    /// Taken to end the input.
    stdin: Option<ChildStdin>,
    stdout: Output,
    stderr: Output,
}

/// How a client ended: all output not read before, and its exit code.
#[derive(Debug, PartialEq)]
struct End {
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

impl Client {
    fn start(name: &str, address: &str) -> Client {
        let mut child = seriatim()
            .args(["chat", &format!("{name}@{address}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let stdout = Output::of(child.stdout.take().unwrap());
        let stderr = Output::of(child.stderr.take().unwrap());
        Client { process: Process(child), stdin, stdout, stderr }
    }

    /// A client that the server has welcomed.
    fn welcomed(name: &str, address: &str) -> Client {
        let client = Client::start(name, address);
        assert_eq!(client.stdout.line(), Some(format!("welcome {name}\n")));
        client
    }

    fn say(&mut self, line: &str) {
        self.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
    }

    /// Waits for the end. The input stays open if it has not been taken.
    fn wait(mut self) -> End {
        let stdout = self.stdout.rest();
        let stderr = self.stderr.rest();
        End { stdout, stderr, code: self.process.0.wait().unwrap().code() }
    }

    /// Ends the input and waits for the end.
    fn finish(mut self) -> End {
        self.stdin = None;
        self.wait()
    }
}

/// Runs a client with this input to its end.
fn chat(name: &str, address: &str, input: &str) -> End {
    let mut client = Client::start(name, address);
    let mut stdin = client.stdin.take().unwrap();
    let input = input.to_owned();
    // On a thread: the client may stop reading, or its output may be waited for.
    let writer = thread::spawn(move || {
        let _ = stdin.write_all(input.as_bytes());
    });
    let end = client.wait();
    writer.join().unwrap();
    end
}

fn success(stdout: &str) -> End {
    End { stdout: stdout.to_owned(), stderr: String::new(), code: Some(0) }
}

fn failure(stdout: &str, stderr: &str) -> End {
    End { stdout: stdout.to_owned(), stderr: stderr.to_owned(), code: Some(1) }
}

#[test]
fn a_message_to_oneself() {
    let server = Server::start();
    assert_eq!(chat("al", &server.address, "al: hi\n"), success("welcome al\nfrom al: hi\nbye quit\n"));
}

#[test]
fn a_last_line_without_newline_is_sent() {
    let server = Server::start();
    assert_eq!(chat("al", &server.address, "al: hi"), success("welcome al\nfrom al: hi\nbye quit\n"));
}

#[test]
fn no_input_at_all() {
    let server = Server::start();
    assert_eq!(chat("al", &server.address, ""), success("welcome al\nbye quit\n"));
}

#[test]
fn a_quit_of_ones_own_ends_the_session() {
    let server = Server::start();
    let mut client = Client::welcomed("al", &server.address);
    client.say("/quit\n");
    assert_eq!(client.wait(), success("bye quit\n"));
}

#[test]
fn many_lines_come_back_in_order() {
    const COUNT: usize = 10_000;
    let server = Server::start();
    let input: String = (0..COUNT).map(|i| format!("al: line {i}\n")).collect();
    let lines: String = (0..COUNT).map(|i| format!("from al: line {i}\n")).collect();
    let end = chat("al", &server.address, &input);
    assert!(end == success(&format!("welcome al\n{lines}bye quit\n")), "stderr: {}", end.stderr);
}

#[test]
fn two_clients_talk() {
    let server = Server::start();
    let mut al = Client::welcomed("al", &server.address);
    let mut bob = Client::welcomed("bob", &server.address);
    al.say("bob: hi\n");
    assert_eq!(bob.stdout.line().as_deref(), Some("from al: hi\n"));
    bob.say("al, bob: both\n");
    assert_eq!(al.stdout.line().as_deref(), Some("from bob: both\n"));
    assert_eq!(bob.stdout.line().as_deref(), Some("from bob: both\n"));
    assert_eq!(al.finish(), success("bye quit\n"));
    bob.say("al: still there?\n");
    assert_eq!(bob.finish(), success("error no-such-peer: al\nbye quit\n"));
}

#[test]
fn over_a_unix_socket() {
    let path = scratch_path("unix");
    let server = Server::listen(&format!("unix:{}", path.display()));
    assert_eq!(chat("al", &server.address, "al: hi\n"), success("welcome al\nfrom al: hi\nbye quit\n"));
    drop(server);
    let _ = std::fs::remove_file(path); // the server was killed
}

#[test]
fn a_name_that_is_taken() {
    let server = Server::start();
    let _al = Client::welcomed("al", &server.address);
    assert_eq!(
        chat("AL", &server.address, "al: hi\n"),
        failure("", "seriatim: cannot log in: error name-taken: AL is taken, choose another name\n")
    );
}

#[test]
fn nobody_listens() {
    // A socket that is bound and does not listen keeps its port from everybody else.
    let (address, _socket) = bound_socket();
    let end = chat("al", &address, "");
    assert!(end.stderr.starts_with(&format!("seriatim: cannot connect to {address}: ")), "{end:?}");
    assert_eq!((&end.stdout[..], end.stderr.lines().count(), end.code), ("", 1, Some(1)));

    let address = format!("unix:{}", scratch_path("nobody").display());
    let end = chat("al", &address, "");
    assert!(end.stderr.starts_with(&format!("seriatim: cannot connect to {address}: ")), "{end:?}");
    assert_eq!((&end.stdout[..], end.stderr.lines().count(), end.code), ("", 1, Some(1)));
}

#[test]
fn the_server_dies() {
    let mut server = Server::start();
    let client = Client::welcomed("al", &server.address);
    server.process.0.kill().unwrap();
    let end = client.wait();
    // Whether the connection ends or breaks is up to the operating system.
    assert_eq!((&end.stdout[..], end.stderr.lines().count(), end.code), ("", 1, Some(1)), "{end:?}");
}

#[test]
fn nobody_reads_the_output() {
    let server = Server::start();
    let mut child = seriatim()
        .args(["chat", &format!("al@{}", server.address)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let stderr = Output::of(child.stderr.take().unwrap());
    drop(child.stdout.take());
    let mut process = Process(child);
    let _ = stdin.write_all(b"al: hi\n"); // the client may be gone already
    assert_eq!(stderr.rest(), "");
    assert_eq!(process.0.wait().unwrap().code(), Some(1));
}

#[test]
fn the_input_cannot_be_read() {
    let server = Server::start();
    let mut child = seriatim()
        .args(["chat", &format!("al@{}", server.address)])
        .stdin(File::open("/").unwrap()) // a directory
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = Output::of(child.stdout.take().unwrap());
    let stderr = Output::of(child.stderr.take().unwrap());
    let mut process = Process(child);
    assert_eq!(stdout.rest(), "welcome al\nbye quit\n");
    let stderr = stderr.rest();
    assert!(stderr.starts_with("seriatim: cannot read standard input: "), "{stderr}");
    assert_eq!(process.0.wait().unwrap().code(), Some(1));
}

#[test]
fn a_server_cannot_command_the_terminal() {
    let says = b"welcome al\nfrom eve: \x1b]0;title\x07\x1b[2J\xc2\x9b31m\tx\xff\r\nbye quit\n";
    let end = chat("al", &fake_server(|stream, _| stream.write_all(says).unwrap()), "");
    let shown =
        "welcome al\nfrom eve: \\u{1b}]0;title\\u{7}\\u{1b}[2J\\u{9b}31m\tx\u{fffd}\\u{d}\nbye quit\n";
    assert_eq!(end, success(shown));

    let end = chat("al", &fake_server(|stream, _| stream.write_all(b"error \x1b[2J\n").unwrap()), "");
    assert_eq!(end, failure("", "seriatim: cannot log in: error \\u{1b}[2J\n"));
}

#[test]
fn a_session_that_ends_otherwise_is_a_failure() {
    let end =
        chat("al", &fake_server(|stream, _| stream.write_all(b"welcome al\nbye too slow\n").unwrap()), "");
    assert_eq!(
        end,
        failure("welcome al\nbye too slow\n", "seriatim: the server ended the session: too slow\n")
    );

    let end = chat(
        "al",
        &fake_server(|stream, lines| {
            stream.write_all(b"welcome al\nlast").unwrap();
            // Reads all there is: a socket closed with bytes unread would reset the connection.
            lines.for_each(drop);
        }),
        "",
    );
    assert_eq!(end, failure("welcome al\nlast\n", "seriatim: the server closed the connection\n"));

    let address = fake_server(|_, _| ());
    let end = chat("al", &address, "");
    assert_eq!(
        end,
        failure("", &format!("seriatim: cannot log in at {address}: the server closed the connection\n"))
    );
}

/// A server that answers every line before it reads the next one, and holds nothing in between: a client that did not
/// read while it writes would get both of them stuck as soon as the sockets' buffers are full.
#[test]
fn neither_direction_waits_for_the_other() {
    const COUNT: usize = 20_000;
    let address = fake_server(|stream, lines| {
        stream.write_all(b"welcome al\n").unwrap();
        for line in lines {
            if line == "/quit" {
                stream.write_all(b"bye quit\n").unwrap();
                return;
            }
            stream.write_all(format!("from {line}\n").as_bytes()).unwrap();
        }
    });
    let text = "x".repeat(1000);
    let input: String = (0..COUNT).map(|i| format!("al: {i} {text}\n")).collect();
    let lines: String = (0..COUNT).map(|i| format!("from al: {i} {text}\n")).collect();
    let end = chat("al", &address, &input);
    assert!(end == success(&format!("welcome al\n{lines}bye quit\n")), "stderr: {}", end.stderr);
}

/// The prompt, on a pseudo-terminal that `script` from util-linux makes.
#[test]
fn a_prompt_on_a_terminal() {
    let server = Server::start();
    let command = format!("{} chat al@{}", env!("CARGO_BIN_EXE_seriatim"), server.address);
    let spawned = Command::new("script")
        .args(["-qefc", &command, "/dev/null"])
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        eprintln!("SKIPPED: there is no command `script`");
        return;
    };
    let mut keys = child.stdin.take().unwrap();
    let screen = Screen::of(child.stdout.take().unwrap());
    let mut process = Process(child);

    screen.wait_for("al> ");
    keys.write_all(b"al: hi\r").unwrap();
    screen.wait_for("al\u{1b}[0m: hi\r\n"); // the name is coloured, what was typed is not
    keys.write_all(b"A\t").unwrap();
    screen.wait_for("al: ");
    keys.write_all(b"again\r").unwrap();
    screen.wait_for("al\u{1b}[0m: again\r\n");
    keys.write_all(b"eve: hi\r").unwrap();
    screen.wait_for("! no-such-peer: eve");
    keys.write_all(b"/quit\r").unwrap();
    screen.wait_for("* bye quit");
    assert_eq!(process.0.wait().unwrap().code(), Some(0));
}

/// What appears on a pseudo-terminal.
struct Screen(Receiver<Vec<u8>>, std::cell::RefCell<String>);

impl Screen {
    fn of(mut pipe: impl Read + Send + 'static) -> Screen {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = pipe.read(&mut chunk) {
                if sender.send(chunk[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Screen(receiver, std::cell::RefCell::default())
    }

    /// Waits until the text appears behind what was waited for before.
    fn wait_for(&self, text: &str) {
        let mut seen = self.1.borrow_mut();
        loop {
            if let Some(at) = seen.find(text) {
                seen.drain(..at + text.len());
                return;
            }
            let chunk = self.0.recv_timeout(STUCK);
            let chunk = chunk.unwrap_or_else(|_| panic!("{text:?} does not appear in {seen:?}"));
            seen.push_str(&String::from_utf8_lossy(&chunk));
        }
    }
}

/// Accepts one connection, reads the name, and leaves the rest to `serve`, which gets the lines that follow.
fn fake_server(
    serve: impl FnOnce(&mut TcpStream, &mut dyn Iterator<Item = String>) + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        assert_eq!(lines.next().as_deref(), Some("al"));
        serve(&mut stream, &mut lines);
        // Only this end: what the client still sends is no reason to reset the connection.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        lines.for_each(drop);
    });
    address
}

/// A socket that has a port of its own, and on which nobody listens.
fn bound_socket() -> (String, OwnedFd) {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = SocketAddrV4::try_from(getsockname(&socket).unwrap()).unwrap();
    (address.to_string(), socket)
}

/// A path of this test run's own, short enough for a socket.
fn scratch_path(what: &str) -> PathBuf {
    std::env::temp_dir().join(format!("seriatim-chat-{}-{what}", std::process::id()))
}
