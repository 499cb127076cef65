//! The memory guard: stops the growth of a fleet before the kernel kills a process.
//!
//! Next to the data path, in the run's own process. In: the available memory, read at the start and
//! repeatedly while clients connect. Out: whether growth must stop. The machine stays usable, and what
//! was measured so far is kept.

use crate::observe::memory;

/// Fraction of the memory available at the start that server, fleet and kernel may use together.
pub const DEFAULT_SHARE: f64 = 0.85;

/// Limits how much of the memory that was available at the start may be used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MemoryGuard {
    /// Available at the start; `None` if this platform does not report it, and nothing is guarded.
    start_bytes: Option<u64>,
}

/// The memory when the guard stopped the growth.
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
        Self {
            start_bytes: memory::available_bytes(),
        }
    }

    /// What must stay available; `None` if nothing is known.
    fn floor_bytes(&self) -> Option<u64> {
        let start = self.start_bytes?;
        Some(start - (start as f64 * DEFAULT_SHARE) as u64)
    }

    /// Whether growth must stop, given the memory available on this machine now.
    pub fn look(&self) -> Option<Pressure> {
        self.check(memory::available_bytes())
    }

    /// Whether growth must stop, given a reading of available memory.
    fn check(&self, available_bytes: Option<u64>) -> Option<Pressure> {
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
            "{} MiB of memory are available, down from {} MiB at the start",
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
        let guard = MemoryGuard {
            start_bytes: Some(1_000),
        };
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
        let guard = MemoryGuard { start_bytes: None };
        assert_eq!(guard.check(Some(0)), None);
        assert_eq!(MemoryGuard::of_this_machine().check(None), None);
    }

    #[test]
    fn this_machine_can_be_guarded() {
        let guard = MemoryGuard::of_this_machine();
        assert!(guard.floor_bytes().is_some_and(|floor| floor > 0));
    }

    #[test]
    fn pressure_is_displayed_in_mib() {
        let pressure = Pressure {
            start_bytes: 24 << 30,
            available_bytes: 3 << 30,
        };
        assert_eq!(
            pressure.to_string(),
            "3072 MiB of memory are available, down from 24576 MiB at the start"
        );
    }
}
