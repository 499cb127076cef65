//! What the machine does in the moments before a run, while nothing of ours runs.
//!
//! Next to the data path. In: `/proc/stat`, the CPU quota, a timer, and the memory that is available.
//! Out: a [`Before`] for the record's environment. What is good and what is not is not decided here.

use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::groups::CpuQuota;
use super::machine::MachineCpu;
use super::{memory, process};

/// How long the machine is watched. Idle time comes in ticks of 10 ms a core, which are 1.4% of this; and
/// nobody waits for it knowingly.
const WATCHED: Duration = Duration::from_millis(700);

/// The sleep whose end is held against the clock.
const SLEEP: Duration = Duration::from_millis(1);

/// Silence between two such sleeps, so that some 40 are spread over the whole time and their own CPU time
/// does not count.
const PAUSE: Duration = Duration::from_millis(15);

/// The machine before a run. `null`: this platform does not report it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Before {
    /// CPU time that went by on all cores while the machine was watched, in ns.
    pub cpu_ns: Option<u64>,
    /// CPU time that other programs used of it, in ns.
    pub other_cpu_ns: Option<u64>,
    /// CPU time that a hypervisor gave to others, in ns.
    pub steal_ns: Option<u64>,
    /// How long the CPU quota of a control group kept threads from running, in ns; `null` also where there is
    /// no quota.
    pub throttled_ns: Option<u64>,
    /// How late a sleep of 1 ms ended, the median of some dozens, in ns.
    pub timer_late_p50_ns: Option<u64>,
    /// How late the latest of them ended, in ns.
    pub timer_late_max_ns: Option<u64>,
    /// Memory that could be taken without swapping.
    pub available_bytes: Option<u64>,
    /// Memory that the connections of the run take at most at a time, about.
    pub needed_bytes: u64,
}

impl Before {
    /// Watches the machine for less than a second. The run will need so much memory.
    pub fn watch(needed_bytes: u64) -> Self {
        let cpu = MachineCpu::read();
        let own = own_cpu_ns();
        let throttled = CpuQuota::read();
        let mut late = lateness();
        let used = MachineCpu::read()
            .zip(cpu)
            .map(|(now, then)| now.since(&then));
        let own = own_cpu_ns().saturating_sub(own);
        late.sort_unstable();
        Self {
            cpu_ns: used.map(|used| used.elapsed_ns()),
            other_cpu_ns: used.map(|used| used.busy_ns().saturating_sub(own)),
            steal_ns: used.map(|used| used.steal_ns),
            throttled_ns: CpuQuota::read()
                .zip(throttled)
                .map(|(now, then)| now.throttled_ns.saturating_sub(then.throttled_ns)),
            timer_late_p50_ns: late.get(late.len() / 2).copied(),
            timer_late_max_ns: late.last().copied(),
            available_bytes: memory::available_bytes(),
            needed_bytes,
        }
    }
}

fn own_cpu_ns() -> u64 {
    process::cpu_ns(std::process::id()).unwrap_or(0)
}

/// How late sleeps end, in ns, one after another for as long as the machine is watched.
fn lateness() -> Vec<u64> {
    let end = Instant::now() + WATCHED;
    let mut late = Vec::new();
    while Instant::now() < end {
        let due = Instant::now() + SLEEP;
        std::thread::sleep(SLEEP);
        late.push(due.elapsed().as_nanos() as u64);
        std::thread::sleep(PAUSE);
    }
    late
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_watched() {
        let before = Before::watch(7);
        assert!(before.cpu_ns > Some(0) && before.other_cpu_ns <= before.cpu_ns);
        assert!(before.timer_late_p50_ns.is_some());
        assert!(before.timer_late_p50_ns <= before.timer_late_max_ns);
        assert!(before.available_bytes > Some(1 << 20));
        assert_eq!(before.needed_bytes, 7);
    }
}
