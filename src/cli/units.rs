//! What stands behind a flag: numbers with a unit, and how they are read.

use std::fmt::{self, Display};
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

/// A span of time, given in seconds, fractions allowed.
#[derive(Clone, Copy)]
pub(crate) struct Seconds {
    pub(crate) ms: u64,
}

impl FromStr for Seconds {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Seconds, &'static str> {
        match text.parse::<f64>().map(Duration::try_from_secs_f64) {
            Ok(Ok(span)) if span.as_secs() <= 86_400 => {
                Ok(Seconds { ms: u64::try_from(span.as_millis()).unwrap_or(u64::MAX) })
            }
            _ => Err("expected a number of seconds from 0 to 86400"),
        }
    }
}

/// How many of something there may be: at least one.
#[derive(Clone, Copy)]
pub(crate) struct Count(pub(crate) u32);

impl FromStr for Count {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Count, &'static str> {
        match text.parse() {
            Ok(count @ 1..) => Ok(Count(count)),
            _ => Err("expected a number from 1 to 4294967295"),
        }
    }
}

/// A bound that may be `off`.
#[derive(Clone, Copy)]
pub(crate) struct OrOff<T>(pub(crate) Option<T>);

impl<T: FromStr<Err: Display>> FromStr for OrOff<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<OrOff<T>, String> {
        match text {
            "off" => Ok(OrOff(None)),
            _ => text.parse().map(|bound| OrOff(Some(bound))).map_err(|error| format!("{error}, or off")),
        }
    }
}

/// What the log says of a bound that may be off.
pub(crate) fn or_off<T: Display>(bound: Option<T>) -> String {
    bound.map_or_else(|| "off".to_owned(), |bound| bound.to_string())
}

/// A network, an address or none.
#[derive(Clone, Copy)]
pub(crate) struct Network(pub(crate) Option<IpNet>);

impl FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Network, &'static str> {
        if text == "none" {
            return Ok(Network(None));
        }
        let address = || text.parse::<IpAddr>().map(IpNet::from);
        match text.parse::<IpNet>().or_else(|_| address()) {
            Ok(network) => Ok(Network(Some(canonical(network)))),
            Err(_) => Err("expected an address, a network as 192.0.2.0/24 or 2001:db8::/32, or none"),
        }
    }
}

/// Clients with IPv4 addresses are known by those, also where the network wraps them in IPv6.
fn canonical(network: IpNet) -> IpNet {
    match (network.addr().to_canonical(), network.prefix_len().checked_sub(96)) {
        (IpAddr::V4(address), Some(length)) if network.addr().is_ipv6() => {
            Ipv4Net::new(address, length).map_or(network, IpNet::from)
        }
        _ => network,
    }
}

/// What the log says of networks.
pub(crate) struct Networks<'a>(pub(crate) &'a [IpNet]);

impl Display for Networks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (number, network) in self.0.iter().enumerate() {
            write!(f, "{}{network}", if number == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bug: a network of IPv4 addresses wrapped in IPv6 was accepted, and never matched.
    #[test]
    fn wrapped_networks_are_those_of_ipv4() {
        for (written, network) in [
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("2001:db8::/32", "2001:db8::/32"),
            // More than IPv4 alone.
            ("::ffff:0.0.0.0/90", "::ffff:0:0/90"),
        ] {
            let read: Network = written.parse().unwrap();
            assert_eq!(read.0, Some(network.parse().unwrap()), "{written}");
        }
    }
}
