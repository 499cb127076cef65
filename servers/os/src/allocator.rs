//! The allocator of a process: the system's or jemalloc, chosen when it starts.
//!
//! Beside the data path, under everything that allocates. A benchmark must be able to tell what an
//! allocator costs, so it does not depend on how the program was built: the environment variable
//! [`VARIABLE`] decides, once, at the first allocation of the process, and [`in_use`] says for the
//! record which it was. Nothing is ever freed by another allocator than the one that it came from,
//! since there is only ever one.
//!
//! Here, as in `sys`, `unsafe` is allowed: an allocator is unsafe by its trait. Each use says why it
//! is sound.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::CStr;
use std::sync::atomic::{AtomicU8, Ordering};

use serde::{Deserialize, Serialize};
use tikv_jemallocator::Jemalloc;

/// The environment variable that names the allocator: `system` or `jemalloc`. Anything else means
/// [`Allocator::DEFAULT`].
pub const VARIABLE: &CStr = c"PUSHBENCH_ALLOCATOR";

/// An allocator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allocator {
    /// That of the C library.
    System,
    /// jemalloc, as it is built into this program, with its own defaults.
    Jemalloc,
}

impl Allocator {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::System, Self::Jemalloc];

    /// Where nothing else is asked for: it takes less memory a subscriber and gives more of it back
    /// (`METHODOLOGY.md` has the figures).
    pub const DEFAULT: Self = Self::Jemalloc;

    /// The id, as it is spelled everywhere.
    pub const fn id(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Jemalloc => "jemalloc",
        }
    }
}

impl std::fmt::Display for Allocator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.id())
    }
}

impl std::str::FromStr for Allocator {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|a| a.id() == text);
        found.ok_or_else(|| {
            format!("'{text}' is not an allocator of this program; expected 'system' or 'jemalloc'")
        })
    }
}

/// Not yet decided, or one of the two below.
static IN_USE: AtomicU8 = AtomicU8::new(UNDECIDED);
const UNDECIDED: u8 = 0;
const SYSTEM: u8 = 1;
const JEMALLOC: u8 = 2;

/// The allocator of this process. A program that does not have [`Switch`] as its global allocator
/// has the system's.
pub fn in_use() -> Allocator {
    if IN_USE.load(Ordering::Relaxed) == JEMALLOC {
        Allocator::Jemalloc
    } else {
        Allocator::System
    }
}

/// A global allocator that is one or the other for the whole life of the process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Switch;

impl Switch {
    #[inline]
    fn is_jemalloc() -> bool {
        match IN_USE.load(Ordering::Relaxed) {
            UNDECIDED => Self::decide(),
            decided => decided == JEMALLOC,
        }
    }

    /// Reads the environment, and allocates nothing for it. The first allocation comes from Rust's
    /// runtime before `main`, so this runs in the only thread. Were there others, the first would
    /// decide for all.
    #[cold]
    fn decide() -> bool {
        let chosen = match chosen() {
            Allocator::System => SYSTEM,
            Allocator::Jemalloc => JEMALLOC,
        };
        let decided =
            IN_USE.compare_exchange(UNDECIDED, chosen, Ordering::Relaxed, Ordering::Relaxed);
        decided.map_or_else(|earlier| earlier, |_| chosen) == JEMALLOC
    }
}

#[allow(unsafe_code)]
fn chosen() -> Allocator {
    // SAFETY: the name ends with a NUL. getenv(3) allocates nothing, and what it points to stays as
    // long as nobody changes the environment, which nobody can have begun to: this is the first
    // allocation of the process.
    let value = unsafe { libc::getenv(VARIABLE.as_ptr()) };
    if value.is_null() {
        return Allocator::DEFAULT;
    }
    // SAFETY: not null, so a string that ends with a NUL, and unchanged while it is read, as above.
    let value = unsafe { CStr::from_ptr(value) }.to_bytes();
    let named = |allocator: &Allocator| allocator.id().as_bytes() == value;
    Allocator::ALL
        .into_iter()
        .find(named)
        .unwrap_or(Allocator::DEFAULT)
}

// SAFETY: every call goes to one of two allocators that keep the contract of the trait, and to the
// same one for the whole life of the process, so that what one gave is given back to it.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Switch {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on as they are; so below.
        unsafe {
            if Self::is_jemalloc() {
                Jemalloc.alloc(layout)
            } else {
                System.alloc(layout)
            }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for `alloc`.
        unsafe {
            if Self::is_jemalloc() {
                Jemalloc.alloc_zeroed(layout)
            } else {
                System.alloc_zeroed(layout)
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as for `alloc`, and `place` came from the same allocator.
        unsafe {
            if Self::is_jemalloc() {
                Jemalloc.dealloc(place, layout);
            } else {
                System.dealloc(place, layout);
            }
        }
    }

    #[inline]
    unsafe fn realloc(&self, place: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: as for `dealloc`.
        unsafe {
            if Self::is_jemalloc() {
                Jemalloc.realloc(place, layout, bytes)
            } else {
                System.realloc(place, layout, bytes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_the_command_line_and_the_record() {
        for allocator in Allocator::ALL {
            assert_eq!(allocator.id().parse(), Ok(allocator));
            let text = serde_json::to_string(&allocator).expect("an enum of units");
            assert_eq!(text, format!("\"{allocator}\""));
        }
        let error = "tcmalloc".parse::<Allocator>().expect_err("unknown");
        assert_eq!(
            error,
            "'tcmalloc' is not an allocator of this program; expected 'system' or 'jemalloc'"
        );
    }

    #[test]
    fn a_program_without_the_switch_has_the_system_s_allocator() {
        assert_eq!(in_use(), Allocator::System);
    }
}
