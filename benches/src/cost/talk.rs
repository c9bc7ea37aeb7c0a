//! [`Talk`]: who is there and what they say.

use clap::ValueEnum;
use seriatim::protocol::{Request, Session};
use seriatim::{ConnId, Event, Limits, Origin, State, step};

/// The length of every text, in bytes.
pub const TEXT_BYTES: usize = 64;

/// How many lines one read brings, unless something else is asked for.
pub const LINES_PER_READ: usize = 32;

/// How many pairs talk, and how many hear a line to many.
const WIDTH: usize = 50;

/// What kind of talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A hundred clients in pairs: each talks to its partner.
    Pairs,
    /// One client talks to fifty at once.
    FanOut,
}

/// A round of talk between clients who are logged in. Nothing in it is random.
#[derive(Clone, Debug)]
pub struct Talk {
    /// What the broker allows.
    pub limits: Limits,
    /// Who is there: the client with connection number i has the i-th name.
    pub names: Vec<String>,
    /// What is read in a round, in order.
    pub reads: Vec<Read>,
    /// How many lines that is.
    pub lines: usize,
}

/// What one read brings.
#[derive(Clone, Debug)]
pub struct Read {
    /// Whose connection it is, by number.
    pub from: usize,
    /// Whole lines.
    pub bytes: Vec<u8>,
}

impl Talk {
    /// A talk in which each client that says anything says so many lines at once.
    pub fn new(kind: Kind, lines_per_read: usize) -> Talk {
        let clients = match kind {
            Kind::Pairs => 2 * WIDTH,
            Kind::FanOut => 1 + WIDTH,
        };
        let names: Vec<String> = (0..clients).map(|client| format!("peer{client:03}")).collect();
        let reads: Vec<Read> = match kind {
            Kind::Pairs => {
                (0..clients).map(|from| Read::new(from, &names[from ^ 1], lines_per_read)).collect()
            }
            Kind::FanOut => vec![Read::new(0, &names[1..].join(", "), lines_per_read)],
        };
        Talk { limits: Limits::default(), names, lines: reads.len() * lines_per_read, reads }
    }

    /// A broker to which all of them have logged in.
    pub fn state(&self) -> State {
        let mut state = State::new(self.limits.clone(), [1, 2]);
        for (client, name) in self.names.iter().enumerate() {
            assert!(step(&mut state, Event::Connected(conn(client), Origin::Exempt)).is_empty());
            for request in self.requests_in(format!("{name}\n").as_bytes()) {
                assert_eq!(step(&mut state, Event::Requested(conn(client), request)).len(), 1);
            }
        }
        assert_eq!(state.peers(), self.names.len());
        state
    }

    /// What a round asks for.
    pub fn requests(&self) -> Vec<(ConnId, Request)> {
        let of = |read: &Read| {
            let requests = self.requests_in(&read.bytes);
            let from = conn(read.from);
            requests.into_iter().map(move |request| (from, request))
        };
        self.reads.iter().flat_map(of).collect()
    }

    fn requests_in(&self, bytes: &[u8]) -> Vec<Request> {
        let mut requests = Vec::new();
        Session::new(&self.limits).feed(bytes, &mut requests);
        requests
    }
}

impl Read {
    fn new(from: usize, to: &str, lines: usize) -> Read {
        let line = |number| {
            let text = format!("line {number}, and some dots to make all equally long");
            format!("{to}: {text:.<TEXT_BYTES$}\n")
        };
        Read { from, bytes: (0..lines).map(line).collect::<String>().into_bytes() }
    }
}

/// The connection of the client with this number.
pub fn conn(client: usize) -> ConnId {
    ConnId(client as u64)
}

/// The client with this connection.
pub fn client(ConnId(conn): ConnId) -> usize {
    usize::try_from(conn).expect("as `conn` made it")
}
