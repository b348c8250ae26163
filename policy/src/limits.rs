//! How the checking of passwords that takes time is rationed: `[logins]` and `[guard]`.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

/// What may be written; beyond it a slip of the pen would stop the broker, or the guard.
pub(crate) const SHARE: RangeInclusive<u32> = 1..=90;
pub(crate) const FAILURES: RangeInclusive<u32> = 1..=1_000_000;
pub(crate) const MINUTES: RangeInclusive<u32> = 1..=1440;

/// What a policy says about logins that take time to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Whether a login may be answered later, where the broker can wait.
    pub delayed: bool,
    /// Where it cannot: how much of the broker's time checking may take, in percent.
    pub share: u32,
    /// Wrong passwords for one user from one address within the window, after which no more are checked.
    pub user_failures: u32,
    /// Wrong passwords from one address within the window, whatever the user, after which no more are checked.
    pub address_failures: u32,
    /// How long it takes until that many failures are forgotten.
    pub window: Duration,
    pub(crate) trusted: Vec<Network>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            delayed: true,
            share: 25,
            user_failures: 20,
            address_failures: 200,
            window: Duration::from_secs(600),
            trusted: Vec::new(),
        }
    }
}

impl Limits {
    /// Whether the guard leaves this address alone.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.holds(address))
    }
}

/// The addresses that share the first so many bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    bits: u128,
    length: u32,
}

impl Network {
    /// Reads an address, or one with the length of its prefix: `10.0.0.0/8`, `2001:db8::/32`, `::1`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let address: IpAddr = address.parse().ok()?;
        // An IPv4 network is one of the IPv6 addresses that stand for it.
        let (most, before) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
        let length = match length {
            None => most,
            Some(text) => text.parse().ok().filter(|length| *length <= most && !text.starts_with('+'))?,
        };
        let length = before + length;
        Some(Self { bits: prefix(address, length), length })
    }

    fn holds(&self, address: IpAddr) -> bool {
        prefix(address, self.length) == self.bits
    }
}

fn prefix(address: IpAddr, length: u32) -> u128 {
    let bits = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    Ipv6Addr::to_bits(bits) & u128::MAX.checked_shl(128 - length).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.0.0.0/8", "::ffff:10.1.1.1", "::10.1.1.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("192.0.2.7/24", "192.0.2.255", "192.0.3.0"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("::1", "::1", "::2"),
            ("::/0", "::", "nothing"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
        ] {
            let parsed = Network::parse(network).unwrap();
            assert!(parsed.holds(inside.parse().unwrap()), "{network} {inside}");
            assert!(outside.parse().is_ok_and(|outside| !parsed.holds(outside)) || outside == "nothing", "{network}");
        }
        for text in
            ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/ 8", "fe80::1%eth0", "host"]
        {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
