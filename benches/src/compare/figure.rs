//! [`Figure`]: what is measured, and in what unit.

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    /// The time on a processor that the broker needs for a delivery, in microseconds.
    CpuPerDelivery,
    /// Deliveries in a second.
    DeliveriesPerSecond,
    /// How much of a processor the broker has used, in per cent.
    ServerShare,
    /// How much of a processor the load generator has used, in per cent: at 100 it is the generator that is measured.
    GeneratorShare,
    /// Half of the round trips, or of the messages, took less, in microseconds.
    MedianMicros,
    /// 99 of 100 took less.
    P99Micros,
    /// 999 of 1000 took less.
    P999Micros,
    /// Resident memory for each connection, in bytes.
    BytesPerConnection,
    /// How much of a processor the broker uses while nobody says anything, in per cent.
    IdleCpuPercent,
    /// Logins in a second.
    LoginsPerSecond,
    /// The time on a processor that the broker needs for a login, in microseconds.
    CpuPerLogin,
}

/// A figure and its value.
pub(crate) type Measured = (Figure, f64);

impl Figure {
    /// What it is called at the head of a column.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Figure::CpuPerDelivery => "server CPU, µs per delivery",
            Figure::DeliveriesPerSecond => "deliveries/s",
            Figure::ServerShare => "server CPU, %",
            Figure::GeneratorShare => "generator CPU, %",
            Figure::MedianMicros => "p50, µs",
            Figure::P99Micros => "p99, µs",
            Figure::P999Micros => "p99.9, µs",
            Figure::BytesPerConnection => "bytes per connection",
            Figure::IdleCpuPercent => "CPU while idle, %",
            Figure::LoginsPerSecond => "logins/s",
            Figure::CpuPerLogin => "server CPU, µs per login",
        }
    }

    /// Of a thousand times, how many are less. `None` for what is no such time.
    pub(crate) fn thousandth(self) -> Option<usize> {
        match self {
            Figure::MedianMicros => Some(500),
            Figure::P99Micros => Some(990),
            Figure::P999Micros => Some(999),
            _ => None,
        }
    }

    /// Whether it says something of the broker that can be compared.
    pub(crate) fn is_compared(self) -> bool {
        !matches!(self, Figure::ServerShare | Figure::GeneratorShare | Figure::IdleCpuPercent)
    }

    /// A value, as precise as it is of use.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Figure::CpuPerDelivery if value < 10.0 => format!("{value:.3}"),
            Figure::IdleCpuPercent => format!("{value:.2}"),
            _ if value >= 10_000.0 => thousands(value),
            _ => format!("{value:.0}"),
        }
    }
}

/// A number with a comma between thousands, to three digits that count.
fn thousands(value: f64) -> String {
    let scale = 10f64.powf(value.log10().floor() - 2.0);
    let digits = format!("{:.0}", (value / scale).round() * scale);
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The middle of some values.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[length / 2],
        length => (sorted[length / 2 - 1] + sorted[length / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_as_precisely_as_they_are_of_use() {
        assert_eq!(Figure::DeliveriesPerSecond.show(1_234_567.0), "1,230,000");
        assert_eq!(Figure::DeliveriesPerSecond.show(12_345.0), "12,300");
        assert_eq!(Figure::CpuPerDelivery.show(0.123_45), "0.123");
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
    }
}
