//! Whether a scenario makes sense: a run of one that does not would be held against the server, or never end.

use std::collections::BTreeMap;

use seriatim::protocol::Name;

use super::{Command, Op, Order, Scenario, When, password};
use crate::judge::same;

/// No moment is later and nothing takes longer, in milliseconds: ten years.
const MS_MAX: u64 = 10 * 365 * 24 * 60 * 60 * 1000;

/// How much of a line is neither a name nor a text of any length: its receipt, its tag, or a command.
const REST_BYTES_MAX: usize = 64;

/// What may wait for one client, in bytes.
const OUTBOX_BYTES_MAX: usize = 1 << 40;

/// What all clients together may write, in bytes, counted once more for each recipient.
const WRITTEN_BYTES_MAX: usize = 256 << 20;

/// How often clients may connect.
const CONNECTS_MAX: usize = 10_000;

impl Scenario {
    /// Whether it makes sense. Each of the simulator's own does.
    ///
    /// # Errors
    /// The first thing that does not, by its name.
    pub fn check(&self) -> Result<(), String> {
        within("listeners", self.listeners, 0, 64)?;
        within("outbox_bytes_max", self.outbox_bytes_max, 0, OUTBOX_BYTES_MAX)?;
        within("origins", self.origins, 0, 512)?;
        within("limits.line_bytes_max", self.limits.line_bytes_max, 2 * REST_BYTES_MAX, 1 << 20)?;
        within("limits.recipients_max", self.limits.recipients_max, 1, usize::MAX)?;
        let tuning = &self.tuning;
        within("tuning.permits", tuning.permits, 1, usize::MAX)?;
        within("tuning.first_bytes_max", tuning.first_bytes_max, 1, 1024)?;
        within("tuning.broadcast_min", tuning.broadcast_min, 1, usize::MAX)?;
        within("tuning.broadcast_writes_max", tuning.broadcast_writes_max, 1, usize::MAX)?;
        self.check_times()?;
        self.check_faults()?;
        for account in &self.accounts {
            self.check_name(account).map_err(|error| format!("accounts: {error}"))?;
        }
        for Order { what, .. } in &self.orders {
            if let Command::Kick(name) = what {
                self.check_name(name).map_err(|error| format!("orders: {error}"))?;
            }
        }
        for (number, client) in self.clients.iter().enumerate() {
            for op in &client.ops {
                self.check_op(op).map_err(|error| format!("client {number}: {error}"))?;
            }
        }
        self.check_spellings()?;
        self.check_size()
    }

    fn check_times(&self) -> Result<(), String> {
        let limits = &self.limits;
        let at = |when| if let When::Ms(ms) = when { Some(ms) } else { None };
        let times = [
            ("limits.login_ms_max", Some(limits.login_ms_max)),
            ("limits.idle_ms_max", limits.idle_ms_max),
            ("limits.drain_ms_max", Some(limits.drain_ms_max)),
            ("faults.until_ms", Some(self.faults.until_ms)),
            ("stop.at", self.stop.and_then(|stop| at(stop.at))),
            ("stop.again_after_ms", self.stop.and_then(|stop| stop.again_after_ms)),
        ];
        let orders = self.orders.iter().map(|order| ("orders.at", at(order.at)));
        for (what, ms) in times.into_iter().chain(orders) {
            within(what, ms.unwrap_or_default(), 0, MS_MAX)?;
        }
        // In no time nobody takes anything, however well it reads.
        within("limits.flush_ms_max", limits.flush_ms_max, 1, MS_MAX)?;
        within("limits.refusal_ms_max", limits.refusal_ms_max, 1, MS_MAX)?;
        within("write_ms_max", self.write_ms_max.unwrap_or(MS_MAX), 1, MS_MAX)
    }

    fn check_faults(&self) -> Result<(), String> {
        let mut rates = self.faults.rates();
        rates.try_for_each(|(fault, rate)| within(&format!("faults.{fault}"), rate, 0, 1_000))
    }

    fn check_op(&self, op: &Op) -> Result<(), String> {
        match op {
            Op::LogIn { name, .. } => self.check_name(name),
            Op::Prove { name, .. } => {
                let line = name.len() + 1 + password(name).len();
                within("its name and password, in bytes,", line, 0, self.limits.line_bytes_max)?;
                self.check_name(name)
            }
            Op::Say { to, .. } | Op::Tell { to, .. } | Op::Slam { to } => self.check_recipients(to),
            Op::Sleep(ms) => within("its sleep in ms", *ms, 0, MS_MAX),
            Op::Stall(ms) => within("its stall in ms", *ms, 0, MS_MAX),
            _ => Ok(()),
        }
    }

    /// Whoever has this name says so in one line, which is nothing else.
    fn check_name(&self, name: &str) -> Result<(), String> {
        let wrong = if name.starts_with('/') {
            "is a command"
        } else if name.len() + REST_BYTES_MAX > self.limits.line_bytes_max {
            "does not fit into a line"
        } else {
            return check_word(name);
        };
        Err(format!("the name {name:?} {wrong}"))
    }

    fn check_recipients(&self, to: &[String]) -> Result<(), String> {
        to.iter().try_for_each(|name| check_word(name))?;
        let bytes: usize = to.iter().map(|name| name.len() + 2).sum();
        match to {
            [] => Err("a message to nobody".to_owned()),
            _ if bytes + REST_BYTES_MAX > self.limits.line_bytes_max => {
                Err(format!("{} names do not fit into a line", to.len()))
            }
            _ => Ok(()),
        }
    }

    /// The judge compares names in a simpler way than the server, and has to come to the same.
    fn check_spellings(&self) -> Result<(), String> {
        let mut seen = BTreeMap::new();
        let ops = self.clients.iter().flat_map(|client| &client.ops);
        for name in ops.flat_map(Op::names).chain(&self.accounts) {
            let Ok(parsed) = Name::parse(name) else { continue };
            if *seen.entry(parsed.key().to_owned()).or_insert_with(|| same(name)) != same(name) {
                return Err(format!(
                    "the name {name:?} is there in another spelling, which the judge does not know"
                ));
            }
        }
        Ok(())
    }

    fn check_size(&self) -> Result<(), String> {
        let line = self.limits.line_bytes_max;
        let bytes = |op: &Op| match op {
            Op::Say { to, bytes } | Op::Tell { to, bytes } => (*bytes).min(line).saturating_mul(1 + to.len()),
            Op::Bad { .. } => line,
            _ => REST_BYTES_MAX,
        };
        let ops = || self.clients.iter().flat_map(|client| &client.ops);
        let all = ops().map(bytes).fold(0, usize::saturating_add);
        within("what clients write, in bytes to each recipient,", all, 0, WRITTEN_BYTES_MAX)?;
        let connects = ops().filter(|op| **op == Op::Connect).count();
        within("how often clients connect", connects, 0, CONNECTS_MAX)?;
        within("how many clients there are", self.clients.len(), 0, CONNECTS_MAX)
    }
}

/// A name as it may stand among others, and be compared by the judge.
fn check_word(name: &str) -> Result<(), String> {
    let wrong = if name.is_empty() {
        "is empty"
    } else if name.contains(char::is_control) {
        "has control characters"
    } else if name.trim() != name {
        "has blanks around it"
    } else if name.contains([',', ':']) {
        "has a comma or a colon"
    } else if name.starts_with('~') {
        "is a receipt"
    } else {
        return Ok(());
    };
    Err(format!("the name {name:?} {wrong}"))
}

/// Whether a number is in its bounds.
fn within(
    what: &str,
    number: impl TryInto<u64>,
    least: usize,
    most: impl TryInto<u64>,
) -> Result<(), String> {
    let (number, most) = (number.try_into().unwrap_or(u64::MAX), most.try_into().unwrap_or(u64::MAX));
    if number < least as u64 || number > most {
        return Err(format!("{what} is {number}, not from {least} to {most}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;
    use serde_json::Value;

    use crate::choice::Choices;
    use crate::engine::volume::run;
    use crate::report;
    use crate::shrink::Failing;
    use crate::swarm::Profile;
    use crate::world::Record;

    #[test]
    fn the_simulators_own_scenarios_make_sense() {
        for profile in Profile::value_variants() {
            let seeds = if *profile == Profile::Swarm { 500 } else { 2 };
            for seed in 0..seeds {
                assert_eq!(profile.scenario(seed).check(), Ok(()), "{profile:?}, seed {seed}");
            }
        }
    }

    /// Every number in it, by a path to it.
    fn numbers(value: &Value, path: &str, all: &mut Vec<String>) {
        match value {
            Value::Number(_) => all.push(path.to_owned()),
            Value::Array(values) => (0..).zip(values).for_each(|(at, value)| {
                numbers(value, &format!("{path}/{at}"), all);
            }),
            Value::Object(fields) => {
                fields.iter().for_each(|(name, value)| numbers(value, &format!("{path}/{name}"), all));
            }
            _ => {}
        }
    }

    #[test]
    fn a_record_with_an_absurd_number_is_refused_or_runs() {
        let (mut refused, mut ran) = (0, 0);
        for seed in 0..5 {
            let scenario = Profile::Swarm.scenario(seed);
            let outcome = run(&scenario, Choices::of_seed(seed), Record::default());
            let failing = Failing::new(scenario, &outcome);
            let record: Value = serde_json::from_str(&report::to_text(&failing)).unwrap();
            let mut paths = Vec::new();
            numbers(&record["scenario"], "/scenario", &mut paths);
            for path in paths {
                for absurd in [0, 1, u64::from(u32::MAX), u64::MAX / 2, u64::MAX] {
                    let mut record = record.clone();
                    *record.pointer_mut(&path).unwrap() = absurd.into();
                    let Ok(failing) = report::parse(&record.to_string()) else {
                        refused += 1;
                        continue;
                    };
                    ran += 1;
                    let outcome = failing.run(Record::default());
                    assert_eq!(outcome.violation, None, "{path} of seed {seed} is {absurd}");
                }
            }
        }
        assert!(refused > 100 && ran > 100, "{refused} refused, {ran} ran");
    }
}
