//! `seriatim serve`.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::future::{Future, pending};
use std::io::{self, IsTerminal};
use std::panic;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_channel::Receiver;
use seriatim::server::runtime::Runtime;
use seriatim::server::smol::sockets::{Address, SmolListener};
use seriatim::server::smol::{self as runtime, Smol};
use seriatim::server::{self, Config, Shutdown, http};
use smol::future::or;
use tracing::{Level, error, info, warn};
use tracing_appender::non_blocking::WorkerGuard;

use super::args::{LogFormat, LogLevel, ServeOptions};
use super::control::{self, Control};
use super::passed::Passed;
use super::reload::Reloads;
use super::systemd::Manager;
use super::tls::Tls;
use super::units::{Networks, or_off};
use super::{complain, machine, signals, tls};

pub(crate) fn run(options: &ServeOptions) -> ExitCode {
    match start(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error);
            ExitCode::from(2)
        }
    }
}

/// Whether it would serve, as far as can be said without listening.
pub(crate) fn check(options: &ServeOptions) -> Result<(), String> {
    options.config()?;
    options.accounts()?;
    // A socket for TLS may be passed when it serves.
    tls::load(&options.tls, tls::given(&options.tls).is_some()).map(drop)
}

/// Serves until a signal has come, or an order, and everybody has been flushed.
fn start(options: &ServeOptions) -> Result<(), String> {
    // Before anything else opens a file or starts a thread.
    let passed = Passed::all()?;
    let manager = Manager::from_env()?;
    let _log = start_log(options.log, options.log_level);
    log_panics();
    runtime::run(options.threads(), |runtime| {
        let served = set_up(&runtime, options, passed, manager);
        async {
            served?.await;
            info!("stopped");
            Ok(())
        }
    })
}

/// Opens everything and starts everything but the driver, which is the future returned.
fn set_up(
    runtime: &Smol,
    options: &ServeOptions,
    passed: Vec<Passed>,
    manager: Manager,
) -> Result<impl Future<Output = ()> + Send + use<>, String> {
    let mut config = options.config()?;
    let accounts = options.accounts()?.map(Arc::new);
    if let Some(accounts) = &accounts {
        config.accounts = accounts.names();
        config.passwords = Some(accounts.clone());
    }
    accounts.iter().for_each(|accounts| accounts.warn_if_open());
    let tls = tls::load(&options.tls, passed.iter().any(|passed| passed.is_tls))?;
    let listeners = open_listeners(passed, options, tls.as_ref())?;
    let door = options.http.as_ref().map(open_door).transpose()?;
    let hatch = options.control.as_ref().map(|path| control::listen(path)).transpose()?;
    let no_signals = |error| format!("cannot watch for signals: {error}");
    let signalled = signals::first().map_err(no_signals)?;
    limit_connections(&mut config, listeners.len())?;
    announce(&listeners, tls.as_ref());
    announce_limits(&config, options.keepalive());
    manager.attend(runtime, &status(&listeners));
    let (stop, ordered) = async_channel::bounded(1);
    let shutdown = shut_down(signalled, ordered, manager.clone(), config.limits.drain_ms_max);
    let (watch, operator, served) = server::start(runtime.clone(), listeners, config, shutdown);
    let list =
        [accounts.map(|accounts| accounts.reloadable(operator.clone())), tls.and_then(|tls| tls.reloadable)];
    let reloads = Arc::new(Reloads {
        list: list.into_iter().flatten().collect(),
        manager,
        runtime: runtime.clone(),
        running: Mutex::default(),
    });
    signals::reload_at_hangup(runtime, reloads.clone()).map_err(no_signals)?;
    if let Some(door) = door {
        runtime.spawn(http::serve(runtime.clone(), door, watch.clone()));
    }
    if let Some(hatch) = hatch {
        runtime.spawn(control::serve(runtime.clone(), hatch, Control { operator, watch, reloads, stop }));
    }
    Ok(served)
}

/// Ready when the server is to stop, with the reason.
async fn shut_down(
    signalled: impl Future<Output = ()>,
    ordered: Receiver<Shutdown>,
    manager: Manager,
    drain_ms_max: u64,
) -> Shutdown {
    let signalled = async {
        signalled.await;
        Shutdown::Stop
    };
    let ordered = async {
        match ordered.recv().await {
            Ok(why) => why,
            Err(_) => pending().await, // nobody can give orders
        }
    };
    let why = or(signalled, ordered).await;
    manager.stopping(drain_ms_max);
    why
}

/// Listens wherever clients may come from.
fn open_listeners(
    passed: Vec<Passed>,
    options: &ServeOptions,
    tls: Option<&Tls>,
) -> Result<Vec<SmolListener>, String> {
    let speaking_tls = |listener: SmolListener| match tls {
        Some(tls) => Ok(listener.with_tls(tls.settings.clone())),
        None => Err(format!("there is no certificate for {}, which is to speak TLS", listener.address())),
    };
    let keepalive = options.keepalive();
    let mut listeners = Vec::new();
    if passed.is_empty() {
        listeners = bind(&options.listen(), keepalive)?;
    } else {
        info!("serving the sockets that were passed, not --listen");
    }
    for passed in passed {
        let is_tls = passed.is_tls;
        let listener = passed.listen()?.with_keepalive(keepalive);
        listeners.push(if is_tls { speaking_tls(listener)? } else { listener });
    }
    for listener in bind(&options.tls.tls_listen, keepalive)? {
        listeners.push(speaking_tls(listener)?);
    }
    Ok(listeners)
}

/// Starts the log, which ends when the guard goes. A standard error that is closed, full or not read loses lines of the log
/// and nothing else: a thread of its own writes them, and nobody waits for it.
fn start_log(format: LogFormat, level: LogLevel) -> WorkerGuard {
    let (writer, guard) = tracing_appender::non_blocking(io::stderr());
    let level = match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
    };
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(writer);
    let log = log.log_internal_errors(false).with_target(false);
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match format {
        LogFormat::Json => log.json().flatten_event(true).init(),
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal() && !no_color).init(),
    }
    guard
}

/// A panic is a bug. It is a line of the log like others, whatever format that has.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("a panic without a message");
        let place = panic.location().map(ToString::to_string);
        // As it is asked for by RUST_BACKTRACE.
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        error!(place, backtrace, "a bug: {message}");
    }));
}

fn bind(addresses: &[Address], keepalive: Option<Duration>) -> Result<Vec<SmolListener>, String> {
    let bind = |address| match SmolListener::bind(address) {
        Ok(listener) => Ok(listener.with_keepalive(keepalive)),
        Err(error) => Err(format!("cannot listen on {address}: {error}")),
    };
    addresses.iter().map(bind).collect()
}

/// What the service manager shows of the server.
fn status(listeners: &[SmolListener]) -> String {
    let addresses: Vec<String> = listeners.iter().map(|listener| listener.address().to_string()).collect();
    format!("listening on {}", addresses.join(", "))
}

/// Opens the door for metrics and health, and says where it is.
fn open_door(address: &Address) -> Result<SmolListener, String> {
    let door = SmolListener::bind(address)
        .map_err(|error| format!("cannot serve --http on {address}: {error}; choose another address"))?;
    match door.address() {
        Address::Tcp(address) => info!("metrics at http://{address}/metrics, health at /healthz and /readyz"),
        address => info!("metrics over HTTP at {address}, path /metrics; health at /healthz and /readyz"),
    }
    Ok(door)
}

/// Every connection is an open file: allows as many as there can be.
fn limit_connections(config: &mut Config, listeners: usize) -> Result<(), String> {
    let Some((possible, files)) = machine::connections_possible(listeners) else { return Ok(()) };
    if possible == 0 {
        return Err(format!("the limit of {files} open files leaves none for connections"));
    }
    let asked = config.limits.connections_max;
    if possible < asked {
        warn!(
            asked,
            possible, files, "fewer connections are possible than asked for: raise the limit of open files"
        );
        config.limits.connections_max = possible;
    }
    Ok(())
}

/// Says where the server listens and how to connect.
fn announce(listeners: &[SmolListener], tls: Option<&Tls>) {
    for listener in listeners {
        let address = listener.address();
        if let Some(tls) = tls.filter(|_| listener.is_tls()) {
            let pin = tls.pin.as_ref().map(|pin| format!(" --fingerprint {pin}")).unwrap_or_default();
            info!("listening on tls:{address}, connect with: seriatim chat NAME@tls:{address}{pin}");
            continue;
        }
        let nc = match &address {
            Address::Tcp(address) => match address.rsplit_once(':') {
                Some((host, port)) => format!("nc {} {port}", host.trim_matches(['[', ']'])),
                None => format!("nc {address}"),
            },
            Address::Unix(path) => format!("nc -U {}", path.display()),
        };
        info!("listening on {address}, connect with: seriatim chat NAME@{address}, or: {nc}");
    }
}

/// Says what the server allows.
fn announce_limits(config: &Config, keepalive: Option<Duration>) {
    let limits = &config.limits;
    info!(
        connections_max = limits.connections_max,
        connections_per_address_max = %or_off(limits.connections_per_address_max),
        connects_per_minute_max = %or_off(limits.connects_per_minute_max),
        exempt = %Networks(&config.exempt),
        logins_pending_max = limits.logins_pending_max,
        account_required = limits.account_required,
        clear_passwords_allowed = limits.clear_passwords_allowed,
        line_bytes_max = limits.line_bytes_max,
        recipients_max = limits.recipients_max,
        lines_per_second_max = %or_off(config.lines_per_second_max),
        outbox_bytes_max = config.outbox_bytes_max,
        outbox_bytes_total_max = config.outbox_bytes_total_max,
        login_ms_max = limits.login_ms_max,
        idle_ms_max = %or_off(limits.idle_ms_max),
        write_ms_max = %or_off(config.write_ms_max),
        flush_ms_max = limits.flush_ms_max,
        drain_ms_max = limits.drain_ms_max,
        keepalive_s = %or_off(keepalive.map(|keepalive| keepalive.as_secs())),
        "limits"
    );
}
