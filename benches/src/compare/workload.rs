//! The workloads: what is done to a broker, and what comes out.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::compare::broker::{Broker, Running};
use crate::compare::client::{self, Client};
use crate::compare::delivery::{Address, Receiver};
use crate::compare::dialect::{Dialect, To};
use crate::compare::figure::{Figure, Measured};
use crate::compare::process;
use crate::compare::record::{Record, text};
use crate::compare::talk::{Talk, Then};

/// How many connections are measured idle.
const IDLE_CONNECTIONS: u64 = 10_000;

/// The most connections that a broker has to bear that is slow at logging them in.
const SLOW_CONNECTIONS_MAX: u64 = 1000;

/// How long a talk is measured at most, and whoever does nothing.
const TALK_MAX: Duration = Duration::from_millis(1500);
const IDLE: Duration = Duration::from_secs(5);

/// How many messages are under way in all when the number of connections grows.
const GROWTH_UNDER_WAY: u64 = 12_800;

/// What is done to a broker.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// So many senders talk to a receiver each.
    Pairs {
        /// How many.
        pairs: usize,
        /// How long a text is.
        text_bytes: usize,
        /// How many messages of each may be under way.
        window: u64,
        /// How many connections there are beside, who say nothing.
        idle: usize,
    },
    /// So many senders talk to all of the recipients.
    FanOut {
        /// How many talk.
        senders: usize,
        /// How many listen.
        recipients: usize,
        /// How many messages of each sender may be under way.
        window: u64,
    },
    /// Two who answer each other, beside so many pairs who talk.
    RoundTrip {
        /// How many.
        beside: usize,
    },
    /// Connections that do nothing.
    Idle,
    /// Connections that log in.
    Logins,
    /// Connections that log in and leave again.
    Churn,
}

/// A workload.
pub(crate) struct Workload {
    /// What it is called.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) work: Work,
    /// How much of it makes one run: deliveries, round trips or connections.
    pub(crate) amount: u64,
}

const fn pairs(name: &'static str, pairs: usize, text_bytes: usize, window: u64, amount: u64) -> Workload {
    Workload { name, work: Work::Pairs { pairs, text_bytes, window, idle: 0 }, amount }
}

const fn spread(name: &'static str, connections: usize) -> Workload {
    let count = connections / 2;
    pairs(name, count, 64, GROWTH_UNDER_WAY / count as u64, 2_000_000)
}

const fn beside(name: &'static str, connections: usize) -> Workload {
    let work = Work::Pairs { pairs: 5, text_bytes: 64, window: 256, idle: connections - 10 };
    Workload { name, work, amount: 2_000_000 }
}

const fn fan_out(name: &'static str, senders: usize, recipients: usize, window: u64) -> Workload {
    Workload { name, work: Work::FanOut { senders, recipients, window }, amount: 4_000_000 }
}

/// All workloads, in the order of the table.
pub(crate) const WORKLOADS: [Workload; 19] = [
    pairs("pairs", 50, 64, 256, 3_000_000),
    pairs("pairs-1k", 50, 1024, 256, 1_000_000),
    fan_out("fan-out-1-50", 1, 50, 256),
    fan_out("fan-out-4-50", 4, 50, 256),
    fan_out("fan-out-1-1000", 1, 1000, 64),
    fan_out("fan-out-4-1000", 4, 1000, 64),
    Workload { name: "round-trip", work: Work::RoundTrip { beside: 0 }, amount: 20_000 },
    Workload { name: "round-trip-loaded", work: Work::RoundTrip { beside: 50 }, amount: 500 },
    Workload { name: "idle", work: Work::Idle, amount: IDLE_CONNECTIONS },
    Workload { name: "logins", work: Work::Logins, amount: 8_000 },
    Workload { name: "churn", work: Work::Churn, amount: 8_000 },
    spread("spread-10", 10),
    spread("spread-100", 100),
    spread("spread-1000", 1000),
    spread("spread-10000", 10_000),
    beside("beside-10", 10),
    beside("beside-100", 100),
    beside("beside-1000", 1000),
    beside("beside-10000", 10_000),
];

impl Workload {
    /// Whether a broker can do it at all: texts may be too long for it, and some are so slow at logging in that nothing comes of
    /// workloads with many connections.
    pub(crate) fn suits(&self, broker: &Broker) -> bool {
        let many = match self.work {
            Work::Pairs { pairs, idle, .. } => 2 * pairs + idle > 2000,
            Work::Logins | Work::Churn => true,
            Work::FanOut { .. } | Work::RoundTrip { .. } | Work::Idle => false,
        };
        self.text_bytes() <= broker.dialect.text_bytes_max() && (broker.logs_in_fast || !many)
    }

    /// How long its texts are, in bytes.
    pub(crate) fn text_bytes(&self) -> usize {
        if let Work::Pairs { text_bytes, .. } = self.work { text_bytes } else { 64 }
    }

    /// Does it to a broker that is started for it, `amount` of it, and says what came out.
    ///
    /// # Errors
    /// The broker does not do what it must: a message is lost, double, out of order or changed.
    pub(crate) fn measure(&self, broker: &Broker, amount: u64) -> Result<Vec<Measured>, String> {
        let running = broker.start()?;
        // Some let only a hundred wait to be accepted, and whoever comes beyond that tries again a second later.
        let at_once = if broker.logs_in_fast { client::LOGINS_AT_ONCE } else { client::MOST_AT_ONCE };
        let world = World { dialect: broker.dialect, running: &running, at_once };
        match self.work {
            Work::Pairs { pairs, text_bytes, window, idle } => {
                world.pairs(pairs, text_bytes, window, idle, amount)
            }
            Work::FanOut { senders, recipients, window } => {
                world.fan_out(senders, recipients, window, amount)
            }
            Work::RoundTrip { beside } => world.round_trip(beside, amount),
            Work::Idle if broker.logs_in_fast => world.idle(amount),
            Work::Idle => world.idle(amount.min(SLOW_CONNECTIONS_MAX)),
            Work::Logins => world.logins(amount),
            Work::Churn => world.churn(amount),
        }
    }
}

/// A broker and how one talks to it.
struct World<'a> {
    dialect: &'static dyn Dialect,
    running: &'a Running,
    /// How many log in side by side.
    at_once: usize,
}

/// What a clock and the operating system said at one moment.
struct Moment {
    at: Instant,
    server_cpu: Duration,
    own_cpu: Duration,
    delivered: u64,
}

fn name(prefix: char, number: usize) -> String {
    format!("{prefix}{number:04}")
}

fn names(prefix: char, count: usize) -> Vec<String> {
    (0..count).map(|number| name(prefix, number)).collect()
}

impl World<'_> {
    fn address(&self) -> SocketAddr {
        self.running.address
    }

    fn log_in(&self, prefix: char, count: usize) -> Result<Vec<Client>, String> {
        client::log_in(self.address(), self.dialect, &names(prefix, count), self.at_once)
    }

    /// Waits until whatever the broker has to say so far has come.
    fn settle(&self, clients: &mut [Client]) -> Result<(), String> {
        client::converse(clients, |_| self.dialect.ping().into_iter().collect())
    }

    fn moment(&self, delivered: u64) -> Result<Moment, String> {
        let (server_cpu, own_cpu) = (process::cpu(self.running.pid())?, process::cpu(std::process::id())?);
        Ok(Moment { at: Instant::now(), server_cpu, own_cpu, delivered })
    }

    /// What has come out since a moment.
    fn since(
        &self,
        start: &Moment,
        delivered: u64,
        per: Figure,
        each: Figure,
    ) -> Result<Vec<Measured>, String> {
        let end = self.moment(delivered)?;
        let seconds = (end.at - start.at).as_secs_f64();
        let count = (end.delivered - start.delivered) as f64;
        let server = (end.server_cpu - start.server_cpu).as_secs_f64();
        let own = (end.own_cpu - start.own_cpu).as_secs_f64();
        Ok(vec![
            (each, server * 1e6 / count),
            (per, count / seconds),
            (Figure::ServerShare, server / seconds * 100.0),
            (Figure::GeneratorShare, own / seconds * 100.0),
        ])
    }

    /// What speaks to `to`, from `from`.
    fn record(&self, sender: usize, to: To, text_bytes: usize) -> Vec<Record> {
        let text = text(sender, text_bytes);
        let pieces = self.dialect.message(to, &text);
        pieces.into_iter().filter_map(|piece| Record::new(piece, &text)).collect()
    }

    fn receiver(
        &self,
        name: &str,
        text_bytes: usize,
        senders: impl IntoIterator<Item = (usize, String)>,
    ) -> Receiver {
        Receiver::new(self.dialect, Address::Peer(name.to_owned()), text_bytes, senders)
    }

    /// Runs a talk to its end: a tenth of it to warm up, and then so much of the rest measured as there is time for.
    fn measure(&self, talk: &mut Talk, deliveries: u64) -> Result<Vec<Measured>, String> {
        let begin = Instant::now();
        talk.run(|talk| talk.delivered() >= deliveries / 10 || begin.elapsed() >= TALK_MAX / 3)?;
        let start = self.moment(talk.delivered())?;
        talk.run(|talk| talk.delivered() >= deliveries || start.at.elapsed() >= TALK_MAX)?;
        let measured =
            self.since(&start, talk.delivered(), Figure::DeliveriesPerSecond, Figure::CpuPerDelivery)?;
        talk.stop();
        talk.run(Talk::is_over)?;
        Ok(measured)
    }

    /// Lets pairs talk, each `each` messages.
    fn join_pairs(
        &self,
        talk: &mut Talk,
        count: usize,
        text_bytes: usize,
        window: u64,
        each: u64,
    ) -> Result<(), String> {
        let (mut senders, mut receivers) = (self.log_in('s', count)?, self.log_in('r', count)?);
        self.settle(&mut senders)?;
        self.settle(&mut receivers)?;
        for (number, (sender, receiver)) in senders.into_iter().zip(receivers).enumerate() {
            let (from, to) = (name('s', number), name('r', number));
            let listens = self.receiver(&to, text_bytes, [(number, from.clone())]);
            talk.join(receiver, listens, Then::Acknowledge)?;
            let client = talk.join(sender, self.receiver(&from, text_bytes, []), Then::Acknowledge)?;
            talk.speak(client, self.record(number, To::Peer(&to), text_bytes), 1, window, each);
        }
        Ok(())
    }

    fn pairs(
        &self,
        count: usize,
        text_bytes: usize,
        window: u64,
        idle: usize,
        amount: u64,
    ) -> Result<Vec<Measured>, String> {
        let mut others = self.log_in('i', idle)?;
        self.settle(&mut others)?;
        let mut talk = Talk::new()?;
        let each = amount.div_ceil(count as u64);
        self.join_pairs(&mut talk, count, text_bytes, window, each)?;
        self.measure(&mut talk, each * count as u64)
    }

    fn fan_out(
        &self,
        senders: usize,
        recipients: usize,
        window: u64,
        amount: u64,
    ) -> Result<Vec<Measured>, String> {
        const GROUP: &str = "all";
        let (mut speakers, mut listeners) = (self.log_in('s', senders)?, self.log_in('r', recipients)?);
        client::converse(&mut listeners, |_| self.dialect.join(GROUP))?;
        self.settle(&mut speakers)?;
        self.settle(&mut listeners)?;
        let members = names('r', recipients);
        let mut talk = Talk::new()?;
        let each = amount.div_ceil((senders * recipients) as u64);
        for (number, client) in speakers.into_iter().enumerate() {
            let client = talk.join(client, self.receiver("", 64, []), Then::Acknowledge)?;
            talk.speak(client, self.record(number, To::Group(GROUP, &members), 64), recipients, window, each);
        }
        for client in listeners {
            let address = Address::Group(GROUP.to_owned());
            let senders = names('s', senders).into_iter().enumerate();
            talk.join(client, Receiver::new(self.dialect, address, 64, senders), Then::Acknowledge)?;
        }
        self.measure(&mut talk, each * (senders * recipients) as u64)
    }

    fn round_trip(&self, beside: usize, amount: u64) -> Result<Vec<Measured>, String> {
        let mut talk = Talk::new()?;
        self.join_pairs(&mut talk, beside, 64, 256, u64::MAX)?;
        let (one, other) = (beside, beside + 1);
        let (one_name, other_name) = (name('s', one), name('r', one));
        let mut clients =
            client::log_in(self.address(), self.dialect, &[one_name.clone(), other_name.clone()], 2)?;
        let (Some(second), Some(first)) = (clients.pop(), clients.pop()) else { return Ok(Vec::new()) };
        let listens = self.receiver(&one_name, 64, [(other, other_name.clone())]);
        let first = talk.join(first, listens, Then::Turn(one))?;
        let listens = self.receiver(&other_name, 64, [(one, one_name.clone())]);
        let second = talk.join(second, listens, Then::Turn(other))?;
        talk.speak(first, self.record(one, To::Peer(&other_name), 64), 1, 0, u64::MAX);
        talk.speak(second, self.record(other, To::Peer(&one_name), 64), 1, 0, u64::MAX);
        talk.begin(one);
        let warm = usize::try_from(amount / 10).unwrap_or(0);
        talk.run(|talk| talk.turns().len() >= warm)?;
        let start = self.moment(talk.delivered())?;
        talk.run(|talk| talk.turns().len() as u64 >= amount + warm as u64)?;
        let mut turns: Vec<Duration> = talk.turns()[warm..].to_vec();
        turns.sort_unstable();
        // Of a thousand, so many took less.
        let at = |thousandth: usize| {
            let last = turns.len().saturating_sub(1);
            turns.get((turns.len() * thousandth / 1000).min(last)).map_or(0.0, Duration::as_secs_f64) * 1e6
        };
        let mut measured = vec![
            (Figure::MedianMicros, at(500)),
            (Figure::P99Micros, at(990)),
            (Figure::P999Micros, at(999)),
        ];
        measured.extend(self.since(
            &start,
            talk.delivered(),
            Figure::DeliveriesPerSecond,
            Figure::CpuPerDelivery,
        )?);
        Ok(measured)
    }

    fn idle(&self, amount: u64) -> Result<Vec<Measured>, String> {
        // What the first connection sets up for all is no cost of the others.
        let mut first = self.log_in('f', 1)?;
        self.settle(&mut first)?;
        let before = process::resident_bytes(self.running.pid())?;
        let mut clients = self.log_in('i', usize::try_from(amount).unwrap_or(0))?;
        self.settle(&mut clients)?;
        let after = process::resident_bytes(self.running.pid())?;
        let start = self.moment(0)?;
        thread::sleep(IDLE);
        let idle =
            (self.moment(0)?.server_cpu - start.server_cpu).as_secs_f64() / start.at.elapsed().as_secs_f64();
        self.settle(&mut clients)?; // they are still there
        let bytes = after.saturating_sub(before) as f64 / amount as f64;
        Ok(vec![(Figure::BytesPerConnection, bytes), (Figure::IdleCpuPercent, idle * 100.0)])
    }

    fn logins(&self, amount: u64) -> Result<Vec<Measured>, String> {
        drop(self.log_in('f', 1)?);
        let start = self.moment(0)?;
        let names = names('l', usize::try_from(amount).unwrap_or(0));
        let mut clients = client::log_in(self.address(), self.dialect, &names, client::LOGINS_AT_ONCE)?;
        let measured = self.since(&start, amount, Figure::LoginsPerSecond, Figure::CpuPerLogin);
        self.settle(&mut clients)?;
        measured
    }

    fn churn(&self, amount: u64) -> Result<Vec<Measured>, String> {
        let mut stays = self.log_in('f', 1)?;
        let start = self.moment(0)?;
        let all = names('c', usize::try_from(amount).unwrap_or(0));
        for names in all.chunks(client::LOGINS_AT_ONCE) {
            drop(client::log_in(self.address(), self.dialect, names, client::LOGINS_AT_ONCE)?);
        }
        // Whoever asks now asks behind all who have left.
        self.settle(&mut stays)?;
        self.since(&start, amount, Figure::LoginsPerSecond, Figure::CpuPerLogin)
    }
}
