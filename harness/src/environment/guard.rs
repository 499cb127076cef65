//! The memory guard: stops the growth of a fleet before the kernel would end a process.
//!
//! Beside the data path, in the run's own process. In: what memory is available, read at the start
//! and again and again while clients connect. Out: whether growth must stop. The machine stays
//! usable, and what was measured so far is kept.
//!
//! Not measured here: who holds the memory (see `results/memory.rs`).

use crate::observe::memory;

/// Share of what was available at the start that server, fleet and kernel may take together.
pub const DEFAULT_SHARE: f64 = 0.85;

/// A bound on what may be taken of the memory that was available at the start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MemoryGuard {
    /// Available at the start; `None` where this platform does not tell, and nothing is guarded.
    start_bytes: Option<u64>,
    share: f64,
}

/// What the guard found when it stopped the growth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pressure {
    /// Available at the start.
    pub start_bytes: u64,
    /// Available now.
    pub available_bytes: u64,
}

impl MemoryGuard {
    /// A guard from what is available on this machine now, at [`DEFAULT_SHARE`].
    pub fn of_this_machine() -> Self {
        Self::new(memory::available_bytes(), DEFAULT_SHARE)
    }

    /// A guard from a reading of what is available. `share` in (0, 1].
    pub fn new(start_bytes: Option<u64>, share: f64) -> Self {
        Self { start_bytes, share }
    }

    /// What must stay available; `None` where nothing is known.
    pub fn floor_bytes(&self) -> Option<u64> {
        let start = self.start_bytes?;
        Some(start - (start as f64 * self.share.clamp(0.0, 1.0)) as u64)
    }

    /// Whether growth must stop, by what is available now on this machine.
    pub fn look(&self) -> Option<Pressure> {
        self.check(memory::available_bytes())
    }

    /// Whether growth must stop, by a reading of what is available now.
    pub fn check(&self, available_bytes: Option<u64>) -> Option<Pressure> {
        let (floor, available_bytes) = (self.floor_bytes()?, available_bytes?);
        (available_bytes < floor).then_some(Pressure {
            start_bytes: self.start_bytes?,
            available_bytes,
        })
    }
}

impl std::fmt::Display for Pressure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = |bytes: u64| bytes >> 20;
        write!(
            f,
            "{} MiB of memory are available, of {} MiB at the start",
            mib(self.available_bytes),
            mib(self.start_bytes)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_stops_when_less_than_the_rest_is_available() {
        let guard = MemoryGuard::new(Some(1_000), 0.85);
        assert_eq!(guard.floor_bytes(), Some(150));
        assert_eq!(guard.check(Some(1_000)), None);
        assert_eq!(guard.check(Some(150)), None);
        let pressure = guard.check(Some(149)).expect("below the floor");
        assert_eq!(
            (pressure.start_bytes, pressure.available_bytes),
            (1_000, 149)
        );
    }

    #[test]
    fn without_a_reading_nothing_is_guarded() {
        assert_eq!(MemoryGuard::new(None, 0.85).check(Some(0)), None);
        assert_eq!(MemoryGuard::new(Some(1_000), 0.85).check(None), None);
    }

    #[test]
    fn this_machine_can_be_guarded() {
        let guard = MemoryGuard::of_this_machine();
        assert!(guard.floor_bytes().is_some_and(|floor| floor > 0));
    }

    #[test]
    fn the_pressure_is_told_in_mib() {
        let pressure = Pressure {
            start_bytes: 24 << 30,
            available_bytes: 3 << 30,
        };
        assert_eq!(
            pressure.to_string(),
            "3072 MiB of memory are available, of 24576 MiB at the start"
        );
    }
}
