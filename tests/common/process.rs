//! The real program as a child process, and plain clients of it over real sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{ioctl_fionread, retry_on_intr};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getrlimit, kill_process, pidfd_open, prlimit,
};

/// What a test waits for comes long before; this only turns a hang into a failure.
pub const HANG: Duration = Duration::from_secs(60);

const SERVE: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];

/// A process that does not outlive its test.
pub struct Process(pub Child);

/// `seriatim serve` on a free port. Killed when dropped.
pub struct Server {
    pub process: Process,
    log: BufReader<Log>,
    /// What the log said before the server listened.
    before: String,
    pub address: SocketAddr,
}

/// The log as it comes. It is read no further than a test wants, and not waited for without end.
struct Log(ChildStderr);

impl Read for Log {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        assert!(is_ready(&self.0), "the log says no more, and does not end");
        self.0.read(buffer)
    }
}

/// Whether there is something to be read before it must be taken for a hang.
fn is_ready(file: &impl AsFd) -> bool {
    let mut files = [PollFd::new(file, PollFlags::IN)];
    let timeout = HANG.try_into().unwrap();
    retry_on_intr(|| poll(&mut files, Some(&timeout))).unwrap() > 0
}

pub fn seriatim() -> Command {
    Command::new(env!("CARGO_BIN_EXE_seriatim"))
}

/// `seriatim account` with these arguments and this standard input, on this file.
pub fn manage_accounts(path: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = seriatim();
    command.args(["account", "--accounts"]).arg(path).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may have ended before it read anything.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// The one line of a program that refuses to do what it was asked for.
pub fn complaint(output: &Output) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.starts_with("seriatim: ") && said.lines().count() == 1 && output.stdout.is_empty(),
        "{said}"
    );
    said
}

impl Process {
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let ended = pidfd_open(self.pid(), PidfdFlags::empty()).unwrap();
        assert!(is_ready(&ended), "the process does not end");
        self.0.wait().unwrap()
    }

    /// Resident memory, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// The most resident memory there ever was, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(what)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// How long processors have worked for it, to the hundredth of a second.
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let fields = stat.rsplit(") ").next().unwrap().split(' ');
        let ticks: u64 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
    }

    /// How many files are open.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.0.id())).unwrap().count()
    }

    /// Limits the number of files that may be open from now on, or sets it as high as it may be; those that are open stay
    /// open.
    pub fn limit_open_files(&self, files: Option<usize>) {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let current = files.map_or(maximum, |files| Some(files as u64));
        prlimit(Some(self.pid()), Resource::Nofile, Rlimit { current, maximum }).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Starts a server with these flags besides, and waits until it listens.
    pub fn start(flags: &[&str]) -> Server {
        Server::spawn(seriatim().args(SERVE).args(flags))
    }

    /// The same, on exactly this address.
    pub fn start_on(address: SocketAddr) -> Server {
        Server::spawn(seriatim().args(["serve", "--listen", &address.to_string()]))
    }

    /// The same, behind something that is to be done in a shell first.
    pub fn start_in_shell(first: &str, flags: &[&str]) -> Server {
        let script = format!("{first} && exec \"$0\" \"$@\"");
        let mut shell = Command::new("sh");
        Server::spawn(shell.args(["-c", &script, env!("CARGO_BIN_EXE_seriatim")]).args(SERVE).args(flags))
    }

    /// Runs this, which serves, and waits until it listens.
    pub fn spawn(command: &mut Command) -> Server {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(Log(child.stderr.take().unwrap()));
        let mut before = String::new();
        let line = line_with(&mut log, "listening on ", &mut before);
        let address = line.split("listening on ").nth(1).unwrap().split(',').next().unwrap();
        let address = address.trim_start_matches("tls:").parse().unwrap();
        Server { process: Process(child), log, before, address }
    }

    /// What the log said about this before the server listened.
    pub fn before_listening(&self, text: &str) -> String {
        self.before.lines().find(|line| line.contains(text)).expect(&self.before).to_owned()
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Connects from a certain address of this machine.
    pub fn connect_from(&self, address: IpAddr) -> Client {
        use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket(family, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddr::new(address, 0)).unwrap();
        connect(&socket, &self.address).unwrap();
        Client::over(TcpStream::from(socket))
    }

    /// Connects and logs in.
    pub fn log_in(&self, name: &str) -> Client {
        let mut client = self.connect();
        client.send(name);
        assert_eq!(client.line().as_deref(), Some(&*format!("welcome {name}")));
        client
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Waits until the log says this.
    pub fn wait_for_log(&mut self, text: &str) -> String {
        line_with(&mut self.log, text, &mut String::new())
    }

    /// All that is logged up to the end of the process, which is on its way.
    pub fn rest_of_log(&mut self) -> String {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        rest
    }

    /// How many bytes of the log wait in its pipe to be read.
    pub fn unread_log_bytes(&self) -> u64 {
        ioctl_fionread(&self.log.get_ref().0).unwrap()
    }

    /// Waits for the end of the process and returns its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        // Whatever it still has to log must not block it.
        self.rest_of_log();
        self.process.wait().code()
    }
}

/// The next line with this in it; what comes before it goes there.
fn line_with(log: &mut impl BufRead, text: &str, before: &mut String) -> String {
    loop {
        let start = before.len();
        assert_ne!(log.read_line(before).unwrap(), 0, "the log ended without {text:?}:\n{before}");
        if before[start..].contains(text) {
            return before.split_off(start);
        }
    }
}

/// A client that knows nothing but lines.
pub struct Client<S: Socket = TcpStream> {
    pub stream: S,
    reader: BufReader<S>,
}

/// What clients need of a socket, TCP's or unix's.
pub trait Socket: Read + Write + Sized {
    fn twin(&self) -> Self;
    /// Neither reading nor writing may get nowhere for so long.
    fn set_timeouts(&self, timeout: Duration);
    fn shut_down_write(&self);
}

impl Socket for TcpStream {
    fn twin(&self) -> TcpStream {
        self.try_clone().unwrap()
    }

    fn set_timeouts(&self, timeout: Duration) {
        self.set_read_timeout(Some(timeout)).unwrap();
        self.set_write_timeout(Some(timeout)).unwrap();
    }

    fn shut_down_write(&self) {
        // The server may have closed already.
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl Socket for UnixStream {
    fn twin(&self) -> UnixStream {
        self.try_clone().unwrap()
    }

    fn set_timeouts(&self, timeout: Duration) {
        self.set_read_timeout(Some(timeout)).unwrap();
        self.set_write_timeout(Some(timeout)).unwrap();
    }

    fn shut_down_write(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Client::over(stream)
    }

    /// Breaks the connection with a reset.
    pub fn reset(self) {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)).unwrap();
    }
}

impl<S: Socket> Client<S> {
    pub fn over(stream: S) -> Client<S> {
        stream.set_timeouts(HANG);
        let reader = BufReader::new(stream.twin());
        Client { stream, reader }
    }

    pub fn send(&mut self, line: &str) {
        self.send_bytes(format!("{line}\n").as_bytes());
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next line, or `None` at the end of the stream.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line).unwrap() {
            0 => None,
            _ => Some(line.strip_suffix('\n').expect("a whole line").to_owned()),
        }
    }

    pub fn expect(&mut self, line: &str) {
        assert_eq!(self.line().as_deref(), Some(line));
    }

    /// All lines up to the end of the stream.
    pub fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.line()).collect()
    }

    /// Everything sent before has been processed.
    pub fn barrier(&mut self) {
        self.send("/ping barrier");
        self.expect("pong barrier");
    }

    /// Closes the sending side.
    pub fn end_input(&self) {
        self.stream.shut_down_write();
    }
}
