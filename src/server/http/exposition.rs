//! What `/metrics` says: the figures of a server as OpenMetrics text.
//!
//! No name of a person and no address is ever in it.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::CloseReason;
use crate::server::metrics::{Figures, Histogram};

/// The media type of the page.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Begins all names.
const PREFIX: &str = "seriatim";

/// The whole page. The server is there since this moment.
///
/// # Errors
/// None that is known.
pub fn render(figures: Figures, since: SystemTime) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Page { figures, since }));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Page {
    figures: Figures,
    since: SystemTime,
}

impl Collector for Page {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        self.server(&mut families)?;
        self.clients(&mut families)?;
        self.waiting(&mut families)?;
        self.times(&mut families)
    }
}

impl Page {
    /// What the server itself is.
    fn server(&self, families: &mut Families<'_>) -> fmt::Result {
        let told = &self.figures.told;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        families.family("build", "The version.", None, MetricType::Info)?.encode_info(&version)?;
        let since = self.since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let (start, uptime) = ("When the server was started.", "How long ago that was.");
        families.gauge("start_time", start, Some(Unit::Seconds), &since)?;
        families.gauge(
            "uptime",
            uptime,
            Some(Unit::Seconds),
            &seconds(told.now.0.saturating_mul(1_000_000)),
        )?;
        families.gauge(
            "draining",
            "1 once the server has been asked to stop.",
            None,
            &u64::from(told.draining),
        )
    }

    /// Who comes and goes, and what they say.
    fn clients(&self, families: &mut Families<'_>) -> fmt::Result {
        let (figures, told) = (&self.figures, &self.figures.told);
        let counters = &told.counters;
        families.gauge("connections", "Connections there are.", None, &number(told.connections))?;
        families.gauge("peers", "Peers who are logged in.", None, &number(told.peers))?;
        let accepted = "Connections that came, refused or not.";
        families.counter("connections_accepted", accepted, None, counters.connected)?;
        let failures = "Attempts to accept a client that failed, mostly for want of open files.";
        families.counter("accept_failures", failures, None, figures.accept_failures)?;
        families.counter("logins", "Clients that have got their name.", None, counters.logins)?;
        let received = "Messages that peers have sent.";
        families.counter("messages_received", received, None, counters.messages)?;
        let delivered = "Messages for peers who are here: one to three of them counts three times.";
        families.counter("messages_delivered", delivered, None, counters.deliveries)?;
        let read = "Bytes read from clients.";
        families.counter("received", read, Some(Unit::Bytes), figures.received_bytes)?;
        let taken = "Bytes that the sockets of clients have taken.";
        families.counter("sent", taken, Some(Unit::Bytes), figures.sent_bytes)?;
        let errors = "Lines answered with an error, by its code.";
        families.counters("errors", errors, "code", counters.errors())?;
        let delayed = "Reads that had to wait: a client sends more lines in a second than it may.";
        families.counter("reads_delayed", delayed, None, figures.reads_delayed)?;
        let closed = CloseReason::ALL.into_iter().map(|reason| (reason.code(), counters.closed(reason)));
        let disconnects = "Connections closed, or refused, by the reason; lost: gone before that.";
        families.counters("disconnects", disconnects, "reason", closed.chain([("lost", counters.lost)]))?;
        let ends = "Connections that are over, by how: flushed, or with what waited for them lost.";
        families.counters("ends", ends, "how", figures.ends.iter().copied())?;
        let silent = "Connections that were refused without a word.";
        families.counter("refusals_silent", silent, None, counters.dropped)?;
        let aborts = "Connections given up at a deadline, with what waited for them.";
        families.counter("aborts", aborts, None, counters.aborted)
    }

    /// What waits, and how much may.
    fn waiting(&self, families: &mut Families<'_>) -> fmt::Result {
        let figures = &self.figures;
        let inputs = "Inputs that wait in the queue.";
        families.gauge("queue_inputs", inputs, None, &number(figures.told.inputs_waiting))?;
        let used = "Places in the queue that are taken by reads and new connections.";
        families.gauge("queue_places_used", used, None, &number(figures.permits_used))?;
        families.gauge("queue_places", "Places in the queue.", None, &number(figures.permits))?;
        let waits = "Bytes that wait for clients, those being written among them.";
        families.gauge("outbox", waits, Some(Unit::Bytes), &number(figures.outbox_bytes))?;
        let most = "How many bytes may wait for all clients together.";
        families.gauge("outbox_limit", most, Some(Unit::Bytes), &number(figures.outbox_bytes_total_max))
    }

    /// How much comes at once, and how long it takes.
    fn times(&self, families: &mut Families<'_>) -> fmt::Result {
        let measures = &self.figures.told.measures;
        let lines = "Lines that one read has brought.";
        let unit = Some(Unit::Other("lines".to_owned()));
        families.histogram("read", lines, unit, &measures.read_lines, |lines| lines as f64)?;
        let turn = "How long the lines of one client took that were processed in one go.";
        families.histogram("turn", turn, Some(Unit::Seconds), &measures.turn_ns, seconds)?;
        let delivery = "From when the broker took what a read had brought to when all that came of it was handed over to be written.";
        families.histogram("delivery", delivery, Some(Unit::Seconds), &measures.delivery_ns, seconds)
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn number(count: usize) -> u64 {
    count as u64
}

/// Families of metrics, written one after another.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn family<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        unit: Option<&'s Unit>,
        metric_type: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, unit, metric_type)
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        value: &impl EncodeGaugeValue,
    ) -> fmt::Result {
        self.family(name, help, unit.as_ref(), MetricType::Gauge)?.encode_gauge(value)
    }

    fn counter(&mut self, name: &str, help: &str, unit: Option<Unit>, value: u64) -> fmt::Result {
        let mut family = self.family(name, help, unit.as_ref(), MetricType::Counter)?;
        family.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    /// One counter for each value of a label.
    fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl Iterator<Item = (&'static str, u64)>,
    ) -> fmt::Result {
        let mut family = self.family(name, help, None, MetricType::Counter)?;
        for (word, value) in values {
            family.encode_family(&[(label, word)])?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        histogram: &Histogram,
        scale: fn(u64) -> f64,
    ) -> fmt::Result {
        let buckets = histogram.buckets();
        let buckets: Vec<_> =
            buckets.map(|(bound, count)| (bound.map_or(f64::INFINITY, scale), count)).collect();
        let mut family = self.family(name, help, unit.as_ref(), MetricType::Histogram)?;
        family.encode_histogram::<NoLabelSet>(scale(histogram.sum()), histogram.count(), &buckets, None)
    }
}
