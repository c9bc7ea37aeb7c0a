//! [`Broker`]: a program to be measured, and how it is started.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::compare::dialect::{Dialect, Forwarded, Irc, Line, Mqtt, Nats};

/// How long a broker may take until it listens.
const START_MAX: Duration = Duration::from_secs(30);

/// A program to be measured.
#[derive(Clone)]
pub(crate) struct Broker {
    /// What it is called in the table.
    pub(crate) name: String,
    /// How one talks to it.
    pub(crate) dialect: &'static dyn Dialect,
    program: PathBuf,
    arguments: &'static [&'static str],
    /// Its configuration, if it has one; `@PORT@` and `@DIR@` are put in.
    configuration: Option<&'static str>,
    /// What it prints in front of the address that it has chosen; one that does not choose is given a port.
    announces: Option<&'static str>,
    /// Thousands can log in while one waits; some brokers are slow at that by design.
    pub(crate) logs_in_fast: bool,
}

/// How Seriatim is started; the last argument is for two threads alone.
const SERIATIM: &[&str] = &[
    "serve",
    "--listen=127.0.0.1:0",
    "--connections-max=19000",
    "--logins-pending-max=19000",
    "--threads=2",
];

/// Seriatim, the program at `program`.
pub(crate) fn seriatim(name: &str, program: &Path) -> Broker {
    Broker {
        name: name.to_owned(),
        dialect: &Line,
        program: program.to_owned(),
        arguments: SERIATIM.split_at(SERIATIM.len() - 1).0,
        configuration: None,
        announces: Some("listening on "),
        logs_in_fast: true,
    }
}

/// What Seriatim on two threads is called.
pub(crate) const TWO_THREADS: &str = "seriatim, 2 threads";

/// The same on two threads.
pub(crate) fn two_threads(of: &Broker) -> Broker {
    Broker { arguments: SERIATIM, ..seriatim(TWO_THREADS, &of.program) }
}

/// The least that any broker must do: this program's own loop that reads and writes.
pub(crate) fn forwarder(program: &Path) -> Broker {
    Broker {
        name: "bare forwarding".to_owned(),
        dialect: &Forwarded,
        program: program.to_owned(),
        arguments: &["forward"],
        configuration: None,
        announces: Some("listening on "),
        logs_in_fast: false,
    }
}

/// Those that are installed of the others, and the names of those that are not.
pub(crate) fn others() -> (Vec<Broker>, Vec<&'static str>) {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    let mut add = |name, dialect, arguments, configuration, logs_in_fast| match find(name) {
        None => missing.push(name),
        Some(program) => found.push(Broker {
            name: version(name, &program),
            dialect,
            program,
            arguments,
            configuration: Some(configuration),
            announces: None,
            logs_in_fast,
        }),
    };
    let file = &["-c", "@DIR@/conf"];
    let inspircd = &["--config", "@DIR@/conf", "--nofork", "--runasroot"];
    add("nats-server", &Nats, file, include_str!("../../peers/nats.conf"), true);
    add(
        "inspircd",
        &Irc { line_bytes_max: 2048 },
        inspircd,
        include_str!("../../peers/inspircd.conf"),
        false,
    );
    add(
        "ngircd",
        &Irc { line_bytes_max: 512 },
        &["-n", "-f", "@DIR@/conf"],
        include_str!("../../peers/ngircd.conf"),
        false,
    );
    add("mosquitto", &Mqtt, file, include_str!("../../peers/mosquitto.conf"), true);
    (found, missing)
}

/// Where a program is; servers may lie where only the administrator looks.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The name with the version that the program says it has.
fn version(name: &str, program: &Path) -> String {
    let argument = if name == "mosquitto" { "-h" } else { "--version" };
    let output = Command::new(program).arg(argument).output();
    let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let is_version = |word: &&str| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit());
    let words = || {
        text.split(|c: char| c.is_whitespace() || c == ',').map(|word| {
            let word =
                word.trim_start_matches("InspIRCd-").trim_start_matches("ngIRCd-").trim_start_matches('v');
            word.split('-').next().unwrap_or(word)
        })
    };
    let version = words().find(is_version).unwrap_or_default();
    format!("{name} {version}").trim_end().to_owned()
}

/// A broker that runs. It ends with this value.
pub(crate) struct Running {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Broker {
    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// It does not start; with what it said.
    pub(crate) fn start(&self) -> Result<Running, String> {
        let failed = |error: std::io::Error| format!("cannot start {}: {error}", self.name);
        let folder = tempfile::tempdir().map_err(failed)?;
        open_to_all(folder.path()).map_err(failed)?;
        let port = free_port().map_err(failed)?;
        let fill = |text: &str| {
            text.replace("@DIR@", &folder.path().to_string_lossy()).replace("@PORT@", &port.to_string())
        };
        if let Some(configuration) = self.configuration {
            fs::write(folder.path().join("conf"), fill(configuration)).map_err(failed)?;
        }
        let log = folder.path().join("log");
        let file = fs::File::create(&log).map_err(failed)?;
        let mut command = Command::new(&self.program);
        command.args(self.arguments.iter().map(|argument| fill(argument))).stdin(Stdio::null());
        command.stdout(file.try_clone().map_err(failed)?);
        let mut child = match self.announces {
            Some(_) => command.stderr(Stdio::piped()),
            None => command.stderr(file),
        }
        .spawn()
        .map_err(failed)?;
        let address = match self.announces {
            Some(announces) => announced(&mut child, announces),
            None => listening(&mut child, SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        };
        let running = |address| Running { child, address, _folder: folder };
        match address {
            Some(address) => Ok(running(address)),
            None => {
                let said = fs::read_to_string(log).unwrap_or_default();
                drop(running(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))));
                Err(format!("{} does not listen; it said: {said}", self.name))
            }
        }
    }
}

/// Some brokers give up their rights and still want to read there.
fn open_to_all(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777))
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The address that it says on its standard error, which is then read by a thread, so that it never fills up.
fn announced(child: &mut Child, announces: &str) -> Option<SocketAddr> {
    let mut lines = BufReader::new(child.stderr.take()?).lines();
    let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
        let address = line.split_once(announces)?.1;
        address.split([',', ' ']).next()?.parse().ok()
    });
    thread::spawn(move || lines.for_each(drop));
    address
}

/// The address, once somebody listens there.
fn listening(child: &mut Child, address: SocketAddr) -> Option<SocketAddr> {
    let start = Instant::now();
    while start.elapsed() < START_MAX && child.try_wait().is_ok_and(|ended| ended.is_none()) {
        if TcpStream::connect(address).is_ok() {
            return Some(address);
        }
        thread::sleep(Duration::from_millis(20));
    }
    None
}

impl Running {
    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
