//! How long the threads of a process waited for a core: what its CPU clock cannot see.
//!
//! In: a process id. Out: for each thread the time that it ran, and the time that it was ready to
//! run and did not, from `/proc/PID/task/TID/schedstat` (Linux, `Documentation/scheduler/sched-stats.rst`:
//! time on the CPU and time on the run queue in ns, and turns on the CPU). Time that a hypervisor
//! took is in neither (see [`machine`](super::machine)).

use std::collections::BTreeMap;

use super::read;

/// What a thread got of a core since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct ThreadSchedstat {
    ran_ns: u64,
    waited_ns: u64,
    turns: u64,
}

/// One reading of all threads of a process, by their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessSchedstat(BTreeMap<u32, ThreadSchedstat>);

/// How a process got on with its cores between two readings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunQueue {
    /// Time that its threads ran.
    pub ran_ns: u64,
    /// Time that its threads were ready to run and waited.
    pub waited_ns: u64,
    /// Core time that strangers took while threads were ready to run: what is left of a thread's
    /// wait when all that threads of the same process can have caused is taken off. Many threads
    /// may wait for one stranger, so that time counts once a core and not once a thread.
    pub displaced_ns: u64,
    /// How often a thread was put on a core.
    pub turns: u64,
}

impl ProcessSchedstat {
    /// Reads process `pid`; `None` where the kernel does not tell (no `CONFIG_SCHED_INFO`), or the
    /// process is gone.
    pub fn read(pid: u32) -> Option<Self> {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        let mut turns = BTreeMap::new();
        for thread in threads.flatten() {
            let Some(id) = thread.file_name().to_str().and_then(|id| id.parse().ok()) else {
                continue;
            };
            // One that has ended since is no longer of interest.
            if let Some(text) = read(&format!("/proc/{pid}/task/{id}/schedstat")) {
                turns.insert(id, parse(&text)?);
            }
        }
        (!turns.is_empty()).then_some(Self(turns))
    }

    /// What happened from `before` to this reading to a process on `cores` cores. A thread that was
    /// not there before began in between; one that is no longer there is left out.
    pub fn since(&self, before: &Self, cores: usize) -> RunQueue {
        let each: Vec<ThreadSchedstat> = self
            .0
            .iter()
            .map(|(id, after)| {
                let before = before.0.get(id).copied().unwrap_or_default();
                ThreadSchedstat {
                    ran_ns: after.ran_ns.saturating_sub(before.ran_ns),
                    waited_ns: after.waited_ns.saturating_sub(before.waited_ns),
                    turns: after.turns.saturating_sub(before.turns),
                }
            })
            .collect();
        let ran_ns: u64 = each.iter().map(|turn| turn.ran_ns).sum();
        // Threads take turns on their cores, so this much of one is theirs.
        let core_ns = ran_ns / cores.max(1) as u64;
        let displaced = |turn: &ThreadSchedstat| {
            let by_others_of_us = core_ns.saturating_sub(turn.ran_ns);
            turn.waited_ns.saturating_sub(by_others_of_us)
        };
        RunQueue {
            ran_ns,
            waited_ns: each.iter().map(|turn| turn.waited_ns).sum(),
            displaced_ns: {
                let all: u64 = each.iter().map(displaced).sum();
                let longest = each.iter().map(displaced).max().unwrap_or(0);
                all.min(longest.saturating_mul(cores.max(1) as u64))
            },
            turns: each.iter().map(|turn| turn.turns).sum(),
        }
    }
}

#[cfg(test)]
impl ProcessSchedstat {
    /// One thread that ran and waited for so long.
    pub(crate) fn of_thread(ran_ns: u64, waited_ns: u64) -> Self {
        let thread = ThreadSchedstat {
            ran_ns,
            waited_ns,
            turns: 1,
        };
        Self(BTreeMap::from([(1, thread)]))
    }
}

impl std::iter::Sum for RunQueue {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| Self {
            ran_ns: a.ran_ns + b.ran_ns,
            waited_ns: a.waited_ns + b.waited_ns,
            displaced_ns: a.displaced_ns + b.displaced_ns,
            turns: a.turns + b.turns,
        })
    }
}

impl RunQueue {
    /// Share of the time for which the process was ready to run that strangers kept it waiting.
    pub fn share(&self) -> f64 {
        let ready_ns = self.ran_ns + self.displaced_ns;
        self.displaced_ns as f64 / ready_ns.max(1) as f64
    }

    /// How long strangers kept a thread waiting for each of its turns, on average, in ns.
    pub fn turn_ns(&self) -> f64 {
        self.displaced_ns as f64 / self.turns.max(1) as f64
    }
}

fn parse(text: &str) -> Option<ThreadSchedstat> {
    let mut fields = text.split_whitespace().map(|field| field.parse().ok());
    Some(ThreadSchedstat {
        ran_ns: fields.next()??,
        waited_ns: fields.next()??,
        turns: fields.next()??,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn turns(of: &[(u32, u64, u64)]) -> ProcessSchedstat {
        let turn = |&(id, ran_ms, waited_ms): &(u32, u64, u64)| {
            let turn = ThreadSchedstat {
                ran_ns: ran_ms * MS,
                waited_ns: waited_ms * MS,
                turns: ran_ms,
            };
            (id, turn)
        };
        ProcessSchedstat(of.iter().map(turn).collect())
    }

    #[test]
    fn a_wait_that_threads_of_the_same_process_cause_is_no_strangers() {
        let before = turns(&[(1, 10, 5), (2, 10, 5)]);
        // Each ran for 100 ms, and waited for as long while the other did; a third began meanwhile.
        let after = turns(&[(1, 110, 105), (2, 110, 105), (3, 0, 0)]);
        let found = after.since(&before, 1);
        let expected = RunQueue {
            ran_ns: 200 * MS,
            waited_ns: 200 * MS,
            displaced_ns: 0,
            turns: 200,
        };
        assert_eq!(found, expected);
        assert_eq!(found.share(), 0.0);
        // On a core each, they cannot have been in each other's way.
        assert_eq!(after.since(&before, 2).displaced_ns, 200 * MS);
    }

    #[test]
    fn a_wait_for_strangers_is_a_share_of_the_time_for_which_it_was_ready() {
        let found = turns(&[(1, 100, 300)]).since(&turns(&[(1, 0, 0)]), 1);
        assert_eq!((found.displaced_ns, found.turns), (300 * MS, 100));
        assert_eq!((found.share(), found.turn_ns()), (0.75, 3e6));
        assert_eq!(RunQueue::default().share(), 0.0);
    }

    #[test]
    fn a_stranger_that_many_threads_wait_for_took_the_core_once() {
        // Ten threads of one core were ready all the time: 100 ms each, and a stranger had 50 ms.
        let before: Vec<(u32, u64, u64)> = (0..10).map(|id| (id, 0, 0)).collect();
        let after: Vec<(u32, u64, u64)> = (0..10).map(|id| (id, 100, 900 + 50)).collect();
        let found = turns(&after).since(&turns(&before), 1);
        assert_eq!((found.ran_ns, found.displaced_ns), (1000 * MS, 50 * MS));
        assert!(found.share() < 0.05);
    }

    #[test]
    fn the_kernels_line_is_read_and_another_is_none() {
        let turn = ThreadSchedstat {
            ran_ns: 5,
            waited_ns: 6,
            turns: 7,
        };
        assert_eq!(parse("5 6 7\n"), Some(turn));
        assert_eq!(parse("5 6\n"), None);
        assert_eq!(parse("5 x 7\n"), None);
        // Above the highest pid that Linux gives (2^22).
        assert_eq!(ProcessSchedstat::read(1 << 23), None);
    }
}
