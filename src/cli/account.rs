//! `seriatim account`: who has an account.

use std::io::{self, BufRead, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use seriatim::protocol::{Login, Name, Password, request};

use super::accounts::{Accounts, PASSWORD_BYTES_MAX, rewrite};
use super::args::{AccountCommand, AccountOptions};
use super::{complain, print};

pub(crate) fn run(options: &AccountOptions) -> ExitCode {
    let file = &options.accounts;
    let done = match &options.command {
        AccountCommand::Add { name } => add(file, name),
        AccountCommand::Passwd { name } => change(file, name),
        AccountCommand::Remove { name } => remove(file, name),
        AccountCommand::List => list(file),
    };
    match done {
        Ok(said) => print(&said),
        Err(error) => {
            complain(error);
            ExitCode::from(2)
        }
    }
}

/// What is to be done so that a server knows.
const RELOAD: &str = "a server that runs knows when it is sent SIGHUP";

fn add(file: &Path, name: &Name) -> Result<String, String> {
    if file.exists() && Accounts::read(file)?.contains(name) {
        return Err(exists(name));
    }
    let password = ask(name)?;
    rewrite(
        file,
        |accounts| {
            if accounts.contains(name) { Err(exists(name)) } else { accounts.set(name, &password) }
        },
    )?;
    Ok(format!("{name} has an account; {RELOAD}\n"))
}

fn exists(name: &Name) -> String {
    format!("{name} has an account already, change its password with: seriatim account passwd {name}")
}

fn change(file: &Path, name: &Name) -> Result<String, String> {
    if !Accounts::read(file)?.contains(name) {
        return Err(missing(file, name));
    }
    let password = ask(name)?;
    rewrite(file, |accounts| {
        if accounts.contains(name) { accounts.set(name, &password) } else { Err(missing(file, name)) }
    })?;
    Ok(format!("{name} has another password; {RELOAD}\n"))
}

fn remove(file: &Path, name: &Name) -> Result<String, String> {
    Accounts::read(file)?;
    rewrite(file, |accounts| if accounts.remove(name) { Ok(()) } else { Err(missing(file, name)) })?;
    Ok(format!("{name} has no account any more; {RELOAD}\n"))
}

fn missing(file: &Path, name: &Name) -> String {
    format!("{name} has no account in {}", file.display())
}

fn list(file: &Path) -> Result<String, String> {
    Ok(Accounts::read(file)?.names().map(|name| format!("{name}\n")).collect())
}

/// A new password: typed twice at a terminal, or a line of standard input.
fn ask(name: &Name) -> Result<Password, String> {
    let password = if io::stdin().is_terminal() {
        let typed = prompt(&format!("password for {name}: "))?;
        if typed != prompt("the same again: ")? {
            return Err("the two are not the same".to_owned());
        }
        typed
    } else {
        let mut line = String::new();
        io::stdin()
            .lock()
            .read_line(&mut line)
            .map_err(|error| format!("cannot read a password: {error}"))?;
        Password::from(line.trim_end_matches(['\n', '\r']).to_owned())
    };
    check(name, &password)?;
    Ok(password)
}

/// Asks for a password at the terminal, without showing it.
pub(super) fn prompt(text: &str) -> Result<Password, String> {
    let typed = rpassword::prompt_password(text);
    typed.map(Password::from).map_err(|error| format!("cannot ask for a password: {error}"))
}

/// Whether one could log in with it.
fn check(name: &Name, password: &Password) -> Result<(), String> {
    let text = password.as_str();
    if text.is_empty() {
        return Err("a password has at least one character".to_owned());
    }
    if text.len() > PASSWORD_BYTES_MAX {
        return Err(format!("a password has at most {PASSWORD_BYTES_MAX} bytes"));
    }
    let request = request::parse(Bytes::from(format!("{name} {text}")), 1);
    let login = request.and_then(|request| Login::parse(&request).ok());
    if login.is_some_and(|login| login.password.as_ref() == Some(password)) {
        return Ok(());
    }
    Err("a password neither begins nor ends with white space, does not end with a colon, and has no control characters and no \
         comma before a colon"
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_can_be_sent() {
        let al = Name::parse("al").unwrap();
        let is_fine = |text: &str| check(&al, &Password::new(text)).is_ok();
        for text in ["x", "correct horse battery staple", "a:b", "ü", "/quit", "a, b", "a::x"] {
            assert!(is_fine(text), "{text:?}");
        }
        let long = "x".repeat(PASSWORD_BYTES_MAX + 1);
        for text in ["", " x", "x ", "x:", "a, b: c", "a\u{7}b", &long] {
            assert!(!is_fine(text), "{text:?}");
        }
    }
}
