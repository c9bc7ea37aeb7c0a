//! Networks of their own for tests, where the machine allows it.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace, for as long as this lives.
pub struct Namespace(String);

impl Namespace {
    /// `None` without the right to make one, or without `ip`.
    pub fn make(what: &str) -> Option<Namespace> {
        let name = format!("seriatim-{}-{what}", std::process::id());
        ip(&["netns", "add", &name]).then_some(Namespace(name))
    }

    pub fn name(&self) -> &str {
        &self.0
    }

    /// Runs `ip` in there, and says whether it did what it was asked for.
    pub fn ip(&self, arguments: &[&str]) -> bool {
        ip(&[&["-n", &*self.0], arguments].concat())
    }

    /// The program, to be run in there.
    pub fn seriatim(&self) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &*self.0, env!("CARGO_BIN_EXE_seriatim")]);
        command
    }

    /// Does something in there: a socket stays where it was made.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{}", self.0)).unwrap();
        let work = || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        };
        thread::scope(|scope| scope.spawn(work).join().unwrap())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&["netns", "delete", &self.0]);
    }
}

pub fn ip(arguments: &[&str]) -> bool {
    let ip = Command::new("ip").args(arguments).stderr(Stdio::null()).status();
    ip.is_ok_and(|status| status.success())
}
