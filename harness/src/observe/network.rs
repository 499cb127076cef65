//! What the kernel counts of TCP on the whole machine: lost segments, and connections that found
//! no room.
//!
//! In: `/proc/net/snmp` and `/proc/net/netstat` of this network namespace. Out: counters since
//! boot; two readings make a difference. On loopback nothing but this machine's own traffic is in
//! it, but everybody's.

use super::read;

/// One reading.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetworkCounters {
    /// Segments sent, without those sent again (`Tcp: OutSegs`).
    pub segments_out: u64,
    /// Segments sent again (`Tcp: RetransSegs`).
    pub segments_retransmitted: u64,
    /// Connections dropped because a listener's queue was full (`TcpExt: ListenOverflows`).
    pub listen_overflows: u64,
}

impl NetworkCounters {
    /// Reads the machine; `None` where these files are missing.
    pub fn read() -> Option<Self> {
        parse(&read("/proc/net/snmp")?, &read("/proc/net/netstat")?)
    }

    /// What was counted from `before` to this reading.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let since = |f: fn(&Self) -> u64| f(self).saturating_sub(f(before));
        Self {
            segments_out: since(|c| c.segments_out),
            segments_retransmitted: since(|c| c.segments_retransmitted),
            listen_overflows: since(|c| c.listen_overflows),
        }
    }
}

impl std::iter::Sum for NetworkCounters {
    fn sum<I: Iterator<Item = Self>>(stretches: I) -> Self {
        stretches.fold(Self::default(), |sum, one| Self {
            segments_out: sum.segments_out + one.segments_out,
            segments_retransmitted: sum.segments_retransmitted + one.segments_retransmitted,
            listen_overflows: sum.listen_overflows + one.listen_overflows,
        })
    }
}

fn parse(snmp: &str, netstat: &str) -> Option<NetworkCounters> {
    Some(NetworkCounters {
        segments_out: counter(snmp, "Tcp:", "OutSegs")?,
        segments_retransmitted: counter(snmp, "Tcp:", "RetransSegs")?,
        listen_overflows: counter(netstat, "TcpExt:", "ListenOverflows")?,
    })
}

/// Both files hold pairs of lines: `Group: name name …`, then `Group: value value …`.
fn counter(text: &str, group: &str, name: &str) -> Option<u64> {
    let mut lines = text
        .lines()
        .filter(|line| line.split(' ').next() == Some(group));
    let place = lines.next()?.split(' ').position(|word| word == name)?;
    lines.next()?.split(' ').nth(place)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_name_in_their_group() {
        let snmp =
            "Ip: Forwarding OutSegs\nIp: 1 77\nTcp: InSegs OutSegs RetransSegs\nTcp: 5 6 7\n";
        let netstat = "TcpExt: A ListenOverflows ListenDrops\nTcpExt: 1 2 3\nIpExt: X\nIpExt: 9\n";
        let expected = NetworkCounters {
            segments_out: 6,
            segments_retransmitted: 7,
            listen_overflows: 2,
        };
        assert_eq!(parse(snmp, netstat), Some(expected));
        assert_eq!(parse("Tcp: OutSegs\n", netstat), None);
        let later = NetworkCounters {
            segments_out: 16,
            ..expected
        };
        let zero = NetworkCounters::default();
        assert_eq!(
            later.since(&expected),
            NetworkCounters {
                segments_out: 10,
                ..zero
            }
        );
    }

    #[test]
    fn this_machine_can_be_read() {
        assert!(NetworkCounters::read().is_some());
    }
}
