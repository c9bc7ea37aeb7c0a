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

/// How long a talk is measured at most, two who answer each other, and whoever does nothing.
const TALK_MAX: Duration = Duration::from_millis(1500);
const ROUND_TRIPS_MAX: Duration = Duration::from_secs(30);
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
    /// So many senders say something to a receiver each, one after the other, with pauses.
    Trickle {
        /// How many.
        pairs: usize,
        /// The time from one message to the next.
        every: Duration,
    },
    /// Two who answer each other, beside others who talk without a pause.
    RoundTrip(Beside),
    /// Connections that do nothing.
    Idle,
    /// Connections that log in.
    Logins,
    /// Connections that log in and leave again.
    Churn,
}

/// Who talks beside two who answer each other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Beside {
    /// So many pairs; of none, nobody.
    Pairs(usize),
    /// One who talks to so many recipients.
    FanOut(usize),
}

/// A workload.
pub(crate) struct Workload {
    /// What it is called.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) work: Work,
    /// How much of it makes one run: deliveries, round trips, messages or connections.
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

const fn round_trip(name: &'static str, beside: Beside, amount: u64) -> Workload {
    Workload { name, work: Work::RoundTrip(beside), amount }
}

const fn fan_out(name: &'static str, senders: usize, recipients: usize, window: u64) -> Workload {
    Workload { name, work: Work::FanOut { senders, recipients, window }, amount: 4_000_000 }
}

/// All workloads, in the order of the table.
pub(crate) const WORKLOADS: [Workload; 21] = [
    pairs("pairs", 50, 64, 256, 3_000_000),
    pairs("pairs-1k", 50, 1024, 256, 1_000_000),
    fan_out("fan-out-1-50", 1, 50, 256),
    fan_out("fan-out-4-50", 4, 50, 256),
    fan_out("fan-out-1-1000", 1, 1000, 64),
    fan_out("fan-out-4-1000", 4, 1000, 64),
    round_trip("round-trip", Beside::Pairs(0), 20_000),
    round_trip("round-trip-loaded", Beside::Pairs(50), 500),
    round_trip("round-trip-fan-out", Beside::FanOut(1000), 200),
    Workload {
        name: "trickle",
        work: Work::Trickle { pairs: 100, every: Duration::from_millis(100) },
        amount: 200,
    },
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
            Work::FanOut { .. } | Work::Trickle { .. } | Work::RoundTrip(_) | Work::Idle => false,
        };
        self.text_bytes() <= broker.dialect.text_bytes_max() && (broker.logs_in_fast || !many)
    }

    /// So little of it that no figure means anything, and enough for what is wrong to show.
    pub(crate) fn little(&self) -> u64 {
        let little = self.amount / 50;
        // A pause costs time and shows nothing.
        if let Work::Trickle { .. } = self.work { little } else { little.max(100) }
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
            Work::Trickle { pairs, every } => world.trickle(pairs, every, amount),
            Work::RoundTrip(beside) => world.round_trip(beside, amount),
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

/// Gives a sender a turn, and waits until its message is there.
fn say_one(talk: &mut Talk, sender: usize) -> Result<(), String> {
    let before = talk.turns().len();
    talk.begin(sender);
    talk.run(|talk| talk.turns().len() > before)
}

/// What some turns took, in microseconds, as these figures say it.
fn times(turns: &[Duration], figures: &[Figure]) -> Vec<Measured> {
    let mut turns = turns.to_vec();
    turns.sort_unstable();
    let last = turns.len().saturating_sub(1);
    // Of a thousand, so many took less.
    let at = |thousandth: usize| {
        turns.get((turns.len() * thousandth / 1000).min(last)).map_or(0.0, Duration::as_secs_f64) * 1e6
    };
    figures.iter().filter_map(|&figure| Some((figure, at(figure.thousandth()?)))).collect()
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

    /// Lets pairs talk, each `each` messages; `then` is what happens when one has arrived.
    fn join_pairs(
        &self,
        talk: &mut Talk,
        count: usize,
        text_bytes: usize,
        window: u64,
        each: u64,
        then: Then,
    ) -> Result<(), String> {
        let (mut senders, mut receivers) = (self.log_in('s', count)?, self.log_in('r', count)?);
        self.settle(&mut senders)?;
        self.settle(&mut receivers)?;
        for (number, (sender, receiver)) in senders.into_iter().zip(receivers).enumerate() {
            let (from, to) = (name('s', number), name('r', number));
            let listens = self.receiver(&to, text_bytes, [(number, from.clone())]);
            talk.join(receiver, listens, then)?;
            let client = talk.join(sender, self.receiver(&from, text_bytes, []), then)?;
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
        self.join_pairs(&mut talk, count, text_bytes, window, each, Then::Acknowledge)?;
        self.measure(&mut talk, each * count as u64)
    }

    /// Lets some talk to all of the recipients, each `each` messages.
    fn join_fan_out(
        &self,
        talk: &mut Talk,
        senders: usize,
        recipients: usize,
        window: u64,
        each: u64,
    ) -> Result<(), String> {
        const GROUP: &str = "all";
        let (mut speakers, mut listeners) = (self.log_in('s', senders)?, self.log_in('r', recipients)?);
        client::converse(&mut listeners, |_| self.dialect.join(GROUP))?;
        self.settle(&mut speakers)?;
        self.settle(&mut listeners)?;
        let members = names('r', recipients);
        for (number, client) in speakers.into_iter().enumerate() {
            let client = talk.join(client, self.receiver("", 64, []), Then::Acknowledge)?;
            talk.speak(client, self.record(number, To::Group(GROUP, &members), 64), recipients, window, each);
        }
        for client in listeners {
            let address = Address::Group(GROUP.to_owned());
            let senders = names('s', senders).into_iter().enumerate();
            talk.join(client, Receiver::new(self.dialect, address, 64, senders), Then::Acknowledge)?;
        }
        Ok(())
    }

    fn fan_out(
        &self,
        senders: usize,
        recipients: usize,
        window: u64,
        amount: u64,
    ) -> Result<Vec<Measured>, String> {
        let mut talk = Talk::new()?;
        let each = amount.div_ceil((senders * recipients) as u64);
        self.join_fan_out(&mut talk, senders, recipients, window, each)?;
        self.measure(&mut talk, each * (senders * recipients) as u64)
    }

    fn trickle(&self, pairs: usize, every: Duration, amount: u64) -> Result<Vec<Measured>, String> {
        let mut talk = Talk::new()?;
        self.join_pairs(&mut talk, pairs, 64, 0, u64::MAX, Then::End)?;
        // To warm up, each speaks once, and nobody pauses.
        for sender in 0..pairs {
            say_one(&mut talk, sender)?;
        }
        talk.pause(Instant::now() + every)?;
        let start = self.moment(talk.delivered())?;
        for sender in (0..pairs).cycle().take(usize::try_from(amount).unwrap_or(0)) {
            let next = Instant::now() + every;
            say_one(&mut talk, sender)?;
            talk.pause(next)?;
        }
        let mut measured = times(&talk.turns()[pairs..], &[Figure::MedianMicros, Figure::P99Micros]);
        let since =
            self.since(&start, talk.delivered(), Figure::DeliveriesPerSecond, Figure::CpuPerDelivery)?;
        // How many there are in a second is given, and so is how little of a processor they need.
        measured.extend(since.into_iter().filter(|(figure, _)| *figure == Figure::CpuPerDelivery));
        Ok(measured)
    }

    /// Lets two answer each other, and says by which number the one speaks who begins.
    fn join_two(&self, talk: &mut Talk) -> Result<usize, String> {
        let (one, other) = (talk.senders(), talk.senders() + 1);
        let (one_name, other_name) = (name('a', 0), name('b', 0));
        let mut clients =
            client::log_in(self.address(), self.dialect, &[one_name.clone(), other_name.clone()], 2)?;
        let (Some(second), Some(first)) = (clients.pop(), clients.pop()) else {
            return Err("two have logged in and are not there".to_owned());
        };
        let listens = self.receiver(&one_name, 64, [(other, other_name.clone())]);
        let first = talk.join(first, listens, Then::Turn(one))?;
        let listens = self.receiver(&other_name, 64, [(one, one_name.clone())]);
        let second = talk.join(second, listens, Then::Turn(other))?;
        talk.speak(first, self.record(one, To::Peer(&other_name), 64), 1, 0, u64::MAX);
        talk.speak(second, self.record(other, To::Peer(&one_name), 64), 1, 0, u64::MAX);
        Ok(one)
    }

    fn round_trip(&self, beside: Beside, amount: u64) -> Result<Vec<Measured>, String> {
        let mut talk = Talk::new()?;
        match beside {
            Beside::Pairs(count) => {
                self.join_pairs(&mut talk, count, 64, 256, u64::MAX, Then::Acknowledge)?;
            }
            Beside::FanOut(recipients) => self.join_fan_out(&mut talk, 1, recipients, 64, u64::MAX)?,
        }
        let one = self.join_two(&mut talk)?;
        talk.begin(one);
        let begin = Instant::now();
        let warm = usize::try_from(amount / 10).unwrap_or(0);
        talk.run(|talk| talk.turns().len() >= warm || begin.elapsed() >= ROUND_TRIPS_MAX / 3)?;
        let warm = talk.turns().len();
        let start = self.moment(talk.delivered())?;
        talk.run(|talk| {
            let count = (talk.turns().len() - warm) as u64;
            count >= amount || count > 0 && start.at.elapsed() >= ROUND_TRIPS_MAX
        })?;
        let figures = [Figure::MedianMicros, Figure::P99Micros, Figure::P999Micros];
        let mut measured = times(&talk.turns()[warm..], &figures);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_some_times_it_is_said_what_most_are_less_than() {
        let turns: Vec<Duration> = (0..200).rev().map(Duration::from_micros).collect();
        let figures = [Figure::MedianMicros, Figure::P99Micros, Figure::P999Micros];
        let shown = times(&turns, &figures).into_iter().map(|(figure, micros)| figure.show(micros));
        assert_eq!(shown.collect::<Vec<_>>(), ["100", "198", "199"]);
    }
}
