//! CPU time of the whole machine: what neither server nor harness can be charged with.
//!
//! In: nothing. Out: readings whose difference is the time that the machine was busy, and the time
//! that a hypervisor gave to others.
//!
//! Busy is what is left of the elapsed time after idleness. The kernel measures idleness on its way
//! in and out (`NO_HZ`), but user and system time, in the same line of `/proc/stat`, by sampling at
//! the timer tick: work that a timer starts hides from that, and a third of it was missing here.

use pushbench_os::sys::monotonic_ns;

use super::read;

/// One reading of `/proc/stat`, all cores together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineCpu {
    /// When it was read, in ns of `CLOCK_MONOTONIC`.
    at_ns: u64,
    /// Cores that are online.
    cores: u64,
    /// Idle time since boot, waits for disks included, in ns.
    idle_ns: u64,
    /// Time since boot that a hypervisor gave to others while this machine wanted to run, in ns.
    steal_ns: u64,
}

/// What the machine did between two readings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MachineUse {
    /// Time that went by, in ns over all cores.
    elapsed_ns: u64,
    /// Time in which a core had nothing to do, in ns over all cores.
    idle_ns: u64,
    /// CPU time that a hypervisor gave to others, in ns over all cores.
    pub steal_ns: u64,
}

impl MachineUse {
    /// Time that went by, in ns over all cores.
    pub fn elapsed_ns(&self) -> u64 {
        self.elapsed_ns
    }

    /// CPU time that was used, in ns over all cores.
    pub fn busy_ns(&self) -> u64 {
        self.elapsed_ns.saturating_sub(self.idle_ns + self.steal_ns)
    }
}

impl std::iter::Sum for MachineUse {
    /// Over several stretches: what ticks leave out of one, another has.
    fn sum<I: Iterator<Item = Self>>(stretches: I) -> Self {
        stretches.fold(Self::default(), |sum, one| Self {
            elapsed_ns: sum.elapsed_ns + one.elapsed_ns,
            idle_ns: sum.idle_ns + one.idle_ns,
            steal_ns: sum.steal_ns + one.steal_ns,
        })
    }
}

impl MachineCpu {
    /// Reads the machine; `None` where `/proc/stat` is missing.
    pub fn read() -> Option<Self> {
        parse(&read("/proc/stat")?, ns_per_tick()?, monotonic_ns())
    }

    /// What the machine did from `before` to this reading. Idle time comes in ticks of 10 ms on
    /// most kernels, so that is how exact it is for each core.
    pub fn since(&self, before: &Self) -> MachineUse {
        MachineUse {
            elapsed_ns: (self.at_ns.saturating_sub(before.at_ns)) * self.cores,
            idle_ns: self.idle_ns.saturating_sub(before.idle_ns),
            steal_ns: self.steal_ns.saturating_sub(before.steal_ns),
        }
    }
}

fn ns_per_tick() -> Option<u64> {
    let ticks_per_s = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    1_000_000_000u64.checked_div(u64::try_from(ticks_per_s).ok()?)
}

/// The first line, `cpu  user nice system idle iowait irq softirq steal guest guest_nice`
/// (proc(5)), and the number of lines like it, one a core; steal is missing before Linux 2.6.11.
fn parse(text: &str, ns_per_tick: u64, at_ns: u64) -> Option<MachineCpu> {
    let ticks: Vec<u64> = text
        .lines()
        .find_map(|line| line.strip_prefix("cpu "))?
        .split_whitespace()
        .map_while(|value| value.parse().ok())
        .collect();
    let [
        _user,
        _nice,
        _system,
        idle,
        iowait,
        _irq,
        _softirq,
        rest @ ..,
    ] = ticks.as_slice()
    else {
        return None;
    };
    let is_core = |line: &&str| {
        let number = line.strip_prefix("cpu").and_then(|l| l.split(' ').next());
        number.is_some_and(|n| n.parse::<u32>().is_ok())
    };
    Some(MachineCpu {
        at_ns,
        cores: text.lines().filter(is_core).count() as u64,
        idle_ns: (idle + iowait) * ns_per_tick,
        steal_ns: rest.first().copied().unwrap_or(0) * ns_per_tick,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: u64 = 10_000_000;

    #[test]
    fn busy_time_is_what_idleness_and_the_hypervisor_left_of_all_cores() {
        let text = |idle: u64, steal: u64| {
            format!("cpu  1 2 3 {idle} 50 6 7 {steal} 9 10\ncpu0 1 1\ncpu1 1 1\nctxt 5\n")
        };
        let before = parse(&text(1_000, 10), TICK, 0).expect("a reading");
        let after = parse(&text(1_150, 20), TICK, 1_000_000_000).expect("a reading");
        // Two cores for a second are 200 ticks: 150 idle, 10 stolen.
        let used = after.since(&before);
        assert_eq!((used.busy_ns(), used.steal_ns), (40 * TICK, 10 * TICK));
        let twice: MachineUse = [used, used].into_iter().sum();
        assert_eq!((twice.busy_ns(), twice.steal_ns), (80 * TICK, 20 * TICK));
        assert_eq!(parse("cpu  1 2 3\n", 1, 0), None);
        assert_eq!(parse("", 1, 0), None);
    }

    #[test]
    fn this_machine_can_be_read() {
        let reading = MachineCpu::read().expect("a Linux with /proc");
        assert!(reading.cores > 0 && reading.idle_ns > 0);
    }
}
