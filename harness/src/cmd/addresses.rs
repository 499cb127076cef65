//! `--source-addresses`: addresses that clients connect from, such as `10.0.0.2,10.0.0.10-10.0.0.40`.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::anyhow;

use super::{Failure, usage};
use crate::environment::loopback;
use crate::text;

/// Most addresses of a range: each is enough for thousands of clients.
const MOST: usize = 4_096;

/// One item of the list: an address or a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Addresses {
    first: IpAddr,
    /// Number of addresses from the first on.
    count: u32,
}

/// Parses an item of the list.
pub(super) fn addresses(text: &str) -> Result<Addresses, String> {
    let wrong = |what: &str| {
        format!("'{text}' is {what}; expected for example '10.0.0.2' or '10.0.0.10-10.0.0.40'")
    };
    // '::ffff:10.0.0.2' is an address of IPv4 in the notation of IPv6.
    let address = |text: &str| text.trim().parse::<IpAddr>().map(|ip| ip.to_canonical());
    let Some((first, last)) = text.split_once('-') else {
        let first = address(text).map_err(|_| wrong("not an address"))?;
        return Ok(Addresses { first, count: 1 });
    };
    let range = (address(first), address(last));
    let (Ok(IpAddr::V4(first)), Ok(IpAddr::V4(last))) = range else {
        return Err(wrong("not a range of IPv4 addresses"));
    };
    let beyond = u64::from(last.to_bits()) + 1;
    let count = beyond
        .checked_sub(u64::from(first.to_bits()))
        .filter(|&count| count > 0)
        .ok_or_else(|| wrong("a range that ends before it begins"))?;
    if count > MOST as u64 {
        return Err(wrong(&format!(
            "a range of {count} addresses, more than {MOST}"
        )));
    }
    Ok(Addresses {
        first: IpAddr::V4(first),
        count: count as u32,
    })
}

/// The addresses of a list, each once, all of one family, and each one from which this machine connects
/// to where a server would listen.
pub(super) fn check(list: &[Addresses]) -> Result<Vec<IpAddr>, Failure> {
    let mut all: Vec<IpAddr> = Vec::new();
    // An address that is named twice has no more ports for it.
    let mut seen = HashSet::new();
    all.extend(
        list.iter()
            .flat_map(Addresses::each)
            .filter(|&address| seen.insert(address)),
    );
    let Some(first) = all.first() else {
        return Ok(all);
    };
    let server = loopback::of(&all);
    if let Some(other) = all.iter().find(|ip| ip.is_ipv6() != server.is_ipv6()) {
        return Err(usage(anyhow!(
            "'--source-addresses' has {} and {other}, but clients connect to one server, over IPv4 or \
             IPv6; give addresses of one family",
            first
        )));
    }
    loopback::check(server).map_err(|error| usage(anyhow!("'--source-addresses': {error}")))?;
    for &address in &all {
        loopback::connect(server, Some(address)).map_err(|error| {
            usage(anyhow!(
                "'--source-addresses': clients cannot connect from {address}: {}; 'ip address' \
                 lists the addresses of this machine",
                text::io_reason(&error)
            ))
        })?;
    }
    Ok(all)
}

impl Addresses {
    fn each(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let first = self.first;
        (0..self.count).map(move |offset| match first {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() + offset)),
            v6 @ IpAddr::V6(_) => v6,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        let parsed = addresses(text).expect(text);
        parsed.each().map(|a| a.to_string()).collect()
    }

    #[test]
    fn an_item_is_an_address_or_a_range_of_them() {
        assert_eq!(list("10.0.0.2"), ["10.0.0.2"]);
        assert_eq!(list("::1"), ["::1"]);
        assert_eq!(
            list("10.0.0.254-10.0.1.1"),
            ["10.0.0.254", "10.0.0.255", "10.0.1.0", "10.0.1.1"]
        );
        assert_eq!(list("255.255.255.255-255.255.255.255").len(), 1);
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        let error = |text| addresses(text).expect_err(text);
        assert_eq!(
            error("here"),
            "'here' is not an address; expected for example '10.0.0.2' or '10.0.0.10-10.0.0.40'"
        );
        assert!(error("10.0.0.9-10.0.0.8").contains("ends before it begins"));
        assert!(error("10.0.0.0-10.255.0.0").contains("more than 4096"));
        assert!(error("::1-::9").contains("not a range of IPv4"));
    }

    #[test]
    fn an_address_of_another_machine_is_refused() {
        let of = |text| check(&[addresses(text).expect(text)]);
        assert_eq!(of("127.0.0.1-127.0.0.3").expect("loopback").len(), 3);
        // From blocks reserved for documentation (RFC 5737, RFC 3849).
        for nobodys in ["192.0.2.1", "2001:db8::1"] {
            assert!(matches!(of(nobodys), Err(Failure::Usage(_))), "{nobodys}");
        }
    }

    #[test]
    fn an_address_counts_once_and_one_of_ipv4_is_that_in_any_notation() {
        let list = ["127.0.0.2-127.0.0.3", "::ffff:127.0.0.3", "127.0.0.2"];
        let all = check(&list.map(|text| addresses(text).expect(text))).expect("loopback");
        let all: Vec<String> = all.iter().map(IpAddr::to_string).collect();
        assert_eq!(all, ["127.0.0.2", "127.0.0.3"]);
    }

    #[test]
    fn addresses_of_both_families_are_refused() {
        let list = ["127.0.0.1", "::1"].map(|text| addresses(text).expect(text));
        assert!(matches!(check(&list), Err(Failure::Usage(_))));
    }
}
