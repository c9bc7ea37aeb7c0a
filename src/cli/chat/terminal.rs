//! Chat at a prompt. The main thread reads what is typed, one thread listens to the server and keeps the connection
//! alive, one prints.

use std::io::Write;
use std::net::Shutdown;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use super::link::{End, Lines, Link};
use super::peers::{Asker, Peers};
use super::screen::Screen;
use super::show::{Paint, harmless};
use super::{Session, Target, complain, log_in};

/// How long a completion waits for fresh names.
const NAMES_TIMEOUT: Duration = Duration::from_millis(300);

/// How long the server may leave a line that is being sent where it is.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the server may take to say goodbye.
const BYE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the terminal may take to show the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest wait between two attempts to connect, in seconds, without jitter.
const RETRY_S_MAX: f64 = 30.0;

pub(super) fn run(target: &Target, session: Session) -> ExitCode {
    match start(target, session) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("cannot read from the terminal: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Sets everything up, talks, and takes leave.
fn start(target: &Target, session: Session) -> rustyline::Result<()> {
    let config = Config::builder()
        .auto_add_history(true)
        .completion_type(CompletionType::List)
        // Everything else would keep incoming lines waiting until the next key.
        .completion_show_all_if_ambiguous(true)
        .completion_prompt_limit(usize::MAX)
        .build();
    let mut editor = Editor::with_config(config)?;
    let screen = Screen::start(editor.create_external_printer().ok());
    let chat = Arc::new(Chat {
        link: Mutex::default(),
        peers: Peers::default(),
        screen,
        paint: Paint::from_environment(),
        leaving: AtomicBool::new(false),
    });
    editor.set_helper(Some(PromptHelper { chat: chat.clone() }));
    chat.notice(&format!("connected to {} as {}", target.server, session.name()));
    chat.notice("write NAME: TEXT; Tab completes names, /help lists the commands, Ctrl-D leaves");
    let over = spawn_keeper(&chat, target, session);
    let result = converse(&mut editor, &chat, &format!("{}> ", target.name));
    leave(editor, &chat, &over);
    result
}

/// Sends what is typed, until it is goodbye.
fn converse(
    editor: &mut Editor<PromptHelper, DefaultHistory>,
    chat: &Chat,
    prompt: &str,
) -> rustyline::Result<()> {
    loop {
        let typed = editor.readline(prompt);
        chat.screen.close();
        let typed = match typed {
            Ok(typed) => typed,
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => return Ok(()),
            Err(error) => return Err(error),
        };
        // A text that was pasted may be several lines.
        for line in typed.lines().filter(|line| !line.trim().is_empty()) {
            if line.trim() == "/quit" {
                return Ok(());
            }
            if !chat.send(line, Asker::User) {
                let alarm = format!("not connected, not sent: {}", harmless(line));
                chat.screen.show(&chat.paint.alarm(&alarm));
            }
        }
    }
}

/// Says goodbye to the server, if there is one, and waits for its last lines.
fn leave(editor: Editor<PromptHelper, DefaultHistory>, chat: &Chat, over: &Receiver<()>) {
    chat.leaving.store(true, Ordering::SeqCst);
    let sent = chat.send("/quit", Asker::User);
    // A print that waits for a prompt would wait for ever: without an editor it fails, and is done without a prompt.
    drop(editor);
    chat.screen.open();
    if sent {
        let _ = over.recv_timeout(BYE_TIMEOUT);
    }
    chat.screen.flush(FLUSH_TIMEOUT);
}

/// What the threads share.
struct Chat {
    /// Where lines are sent; `None` while there is no connection.
    link: Mutex<Option<Link>>,
    peers: Peers,
    screen: Arc<Screen>,
    paint: Paint,
    /// The user has said goodbye: the end of the session is no loss.
    leaving: AtomicBool,
}

impl Chat {
    /// Sends one line and says whether that went well.
    fn send(&self, line: &str, asker: Asker) -> bool {
        let mut link = self.lock_link();
        let Some(stream) = &mut *link else { return false };
        if line.trim() == "/who" {
            self.peers.asked(asker);
        }
        let sent = stream.write_all(format!("{line}\n").as_bytes()).is_ok();
        if !sent {
            // Perhaps half a line is on its way: this connection is of no more use. Who listens to it is told so.
            let _ = stream.shutdown(Shutdown::Both);
            *link = None;
        }
        sent
    }

    /// A new session begins.
    fn attach(&self, link: Link) {
        // Without the timeout a stuck server would get the prompt stuck, but it is no reason not to talk.
        let _ = link.set_write_timeout(Some(WRITE_TIMEOUT));
        self.peers.forget_questions();
        *self.lock_link() = Some(link);
    }

    /// Shows what the server says, until the session ends.
    fn listen(&self, lines: &mut Lines<Link>) -> End {
        loop {
            let line = match lines.next() {
                Ok(Some(line)) => line,
                Ok(None) => return End::Closed,
                Err(error) => return End::Broken(error),
            };
            if self.peers.heed(&line) {
                self.screen.show_patiently(&self.paint.server_line(&line));
            }
            if let Some(end) = End::of_line(&line) {
                return end;
            }
        }
    }

    fn notice(&self, text: &str) {
        self.screen.show(&self.paint.notice(text));
    }

    fn lock_link(&self) -> MutexGuard<'_, Option<Link>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the thread that listens. The receiver hears when the session that the user left is over.
fn spawn_keeper(chat: &Arc<Chat>, target: &Target, session: Session) -> Receiver<()> {
    let (chat, target) = (chat.clone(), target.clone());
    let (over, receiver) = mpsc::channel();
    chat.attach(session.link);
    thread::spawn(move || keep(&chat, &target, session.lines, &over));
    receiver
}

/// Listens, and connects again whenever the connection is lost.
fn keep(chat: &Chat, target: &Target, mut lines: Lines<Link>, over: &Sender<()>) {
    loop {
        let end = chat.listen(&mut lines);
        *chat.lock_link() = None;
        if chat.leaving.load(Ordering::SeqCst) {
            let _ = over.send(());
            return;
        }
        if end.is_final() {
            chat.screen.show(&chat.paint.alarm(&format!("{end}; Ctrl-D leaves")));
            return;
        }
        drop(lines); // closes the connection: the server may be waiting for that
        lines = connect_again(chat, target, format!("connection lost: {end}"));
    }
}

/// Tries until it works.
fn connect_again(chat: &Chat, target: &Target, mut why: String) -> Lines<Link> {
    let mut wait_s = 1.0;
    loop {
        // Jitter: clients that lost the server together are not to come back all at once.
        let wait = Duration::from_secs_f64(wait_s * (1.0 + 0.25 * fastrand::f64()));
        chat.notice(&format!("{why}, trying again in {:.0} s", wait.as_secs_f64()));
        thread::sleep(wait);
        wait_s = (wait_s * 2.0).min(RETRY_S_MAX);
        match log_in(target) {
            Ok(session) => {
                let name = session.name().to_owned();
                chat.attach(session.link);
                chat.notice(&format!("connected again as {name}"));
                return session.lines;
            }
            Err(error) => why = error.to_string(),
        }
    }
}

impl Session {
    /// The name under which the server knows the user.
    fn name(&self) -> &str {
        self.welcome.trim_start_matches("welcome ")
    }
}

/// What rustyline asks while a line is being typed.
struct PromptHelper {
    chat: Arc<Chat>,
}

impl Helper for PromptHelper {}
impl Highlighter for PromptHelper {}

impl Completer for PromptHelper {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let (head, tail) = line.split_at(pos);
        let head_of_names = !head.starts_with('/') && !head.contains(':');
        if head_of_names && self.chat.send("/who", Asker::Completion) {
            self.chat.peers.wait_for_answers(NAMES_TIMEOUT);
        }
        Ok(self.chat.peers.complete(head, tail.is_empty()))
    }
}

/// Gives no hints. It is asked for one as soon as the prompt is there, and that is what the screen waits for.
impl Hinter for PromptHelper {
    type Hint = String;

    fn hint(&self, _: &str, _: usize, _: &Context<'_>) -> Option<String> {
        self.chat.screen.open();
        None
    }
}

/// Accepts every line. It is asked when Enter is pressed: the prompt is about to go.
impl Validator for PromptHelper {
    fn validate(&self, _: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        self.chat.screen.close();
        Ok(ValidationResult::Valid(None))
    }
}
