//! [`Origin`]: where a connection comes from, as far as limits go.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where a connection comes from, as far as limits go. Minted by the shell; never an identity.
///
/// IPv6 is counted by /64, because that is the least that one host is given; an IPv4 address is the same whether it comes
/// as such or mapped into IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Origin {
    /// Limits for each address do not count here: a unix socket, or an address that the operator trusts.
    Exempt,
    /// An IPv4 address.
    V4(u32),
    /// An IPv6 network: the first 64 bits of an address.
    V6([u8; 8]),
}

impl Origin {
    /// Where this address belongs.
    ///
    /// ```
    /// use seriatim::Origin;
    ///
    /// let origin = |address: &str| Origin::of(address.parse().unwrap());
    /// assert_eq!(origin("2001:db8::1"), origin("2001:db8::ffff:1"));
    /// assert_ne!(origin("2001:db8::1"), origin("2001:db8:0:1::1"));
    /// assert_eq!(origin("::ffff:192.0.2.1"), origin("192.0.2.1"));
    /// ```
    pub fn of(address: IpAddr) -> Origin {
        match address.to_canonical() {
            IpAddr::V4(address) => Origin::V4(address.to_bits()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Origin::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Origin::Exempt => f.write_str("exempt"),
            Origin::V4(bits) => Ipv4Addr::from_bits(bits).fmt(f),
            Origin::V6(network) => {
                let bits = u128::from(u64::from_be_bytes(network)) << 64;
                write!(f, "{}/64", Ipv6Addr::from_bits(bits))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn addresses_are_counted_where_they_belong() {
        for (address, origin) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
            ("2001:db8:1:3::", "2001:db8:1:3::/64"),
            // Not mapped, only alike: IPv4-compatible addresses are obsolete, and all of them are one network.
            ("::192.0.2.1", "::/64"),
        ] {
            assert_eq!(Origin::of(address.parse().unwrap()).to_string(), origin, "{address}");
        }
    }
}
