//! [`Login`]: the line with which a session begins.

use alloc::string::String;
use core::fmt;

use zeroize::Zeroizing;

use super::name::{Name, NameError};
use super::reply::Refusal;
use super::request::{LineError, Request};

/// The line with which a session begins: `NAME`, or `NAME PASSWORD` for a name that is reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Who it is.
    pub name: Name,
    /// What proves it.
    pub password: Option<Password>,
}

impl Login {
    /// Takes the first line of a client for a login. The name ends at the first white space; whatever follows, up to the end of
    /// the line, is the password.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(request: &Request) -> Result<Login, Refusal> {
        match request {
            Request::Plain(line) => Login::parse_line(line.as_str()).map_err(Refusal::BadName),
            // A password may hold a colon; a name does not.
            Request::Message(message) => {
                Login::parse_line(message.line()).map_err(|_| Refusal::BadName(NameError::NotLoggedIn))
            }
            Request::Malformed(error @ (LineError::TooLong { .. } | LineError::NotUtf8)) => {
                Err(Refusal::Line(error.clone()))
            }
            Request::Malformed(LineError::BadText) => Err(Refusal::BadName(NameError::Control)),
            Request::Malformed(_) | Request::Who | Request::Ping(_) | Request::Quit | Request::Help => {
                Err(Refusal::BadName(NameError::NotLoggedIn))
            }
        }
    }

    fn parse_line(line: &str) -> Result<Login, NameError> {
        let (name, password) = match line.split_once(char::is_whitespace) {
            Some((name, password)) => (name, Some(Password::new(password.trim_start()))),
            None => (line, None),
        };
        Ok(Login { name: Name::parse(name)?, password })
    }
}

/// A password. It is wiped from memory when it goes, and shows itself to no log.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(from = "String", into = "String"))]
pub struct Password(Zeroizing<String>);

impl Password {
    /// This text as a password.
    pub fn new(text: &str) -> Password {
        Password(Zeroizing::new(text.into()))
    }

    /// The password itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Password {
    fn from(text: String) -> Password {
        Password(Zeroizing::new(text))
    }
}

/// For whoever writes events down, which a server does not.
impl From<Password> for String {
    fn from(password: Password) -> String {
        password.as_str().into()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::request::parse;

    fn login(line: &str) -> Result<(String, Option<String>), Refusal> {
        let request = parse(bytes::Bytes::copy_from_slice(line.as_bytes()), 3).unwrap();
        let text = |password: Password| String::from(password.as_str());
        Login::parse(&request).map(|Login { name, password }| (name.as_str().into(), password.map(text)))
    }

    #[test]
    fn a_password_is_all_that_follows_the_name() {
        for (line, password) in [
            ("al", None),
            (" al ", None),
            ("al secret", Some("secret")),
            ("al \t two words ", Some("two words")),
            ("al a:b", Some("a:b")),
            ("al a, b: c:", Some("a, b: c:")),
            ("al /quit", Some("/quit")),
            ("al al", Some("al")),
        ] {
            assert_eq!(login(line), Ok(("al".into(), password.map(Into::into))), "{line:?}");
        }
    }

    #[test]
    fn whatever_does_not_begin_with_a_name_is_no_login() {
        for line in ["al: hi", "al, bob: hi", "/who", "/quit", "al :", ":x"] {
            assert_eq!(login(line), Err(Refusal::BadName(NameError::NotLoggedIn)), "{line:?}");
        }
        assert_eq!(login("a! secret"), Err(Refusal::BadName(NameError::Char('!'))));
        assert_eq!(login("al\u{7}"), Err(Refusal::BadName(NameError::Control)));
    }

    #[test]
    fn a_password_is_never_written_out_by_accident() {
        let login = Login::parse(&parse("al secret".into(), 3).unwrap()).unwrap();
        assert!(!alloc::format!("{login:?}").contains("secret"));
        let password = login.password.unwrap();
        assert_eq!(alloc::format!("{password:?}"), "Password(…)");
        assert_eq!(String::from(password), "secret");
    }
}
