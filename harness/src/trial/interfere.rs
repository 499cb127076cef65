//! What is done to a trial on purpose, so that its numbers can be compared with what was done.
//!
//! Next to the data path, in the process of the run: signals that stop the server for a while,
//! threads that take the fleet's cores from it, and what the layers of the trial did. In: what is planned.
//! Out: what really happened, measured ([`Interfered`]). An ordinary trial has none of it, and
//! neither server nor fleet knows of any.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pushbench_os::sys::{allowed_cpus, monotonic_ns, pin_to, sharpen_sleeps, sleep_until_ns};

use crate::environment::layer::Passed;
use crate::load::Timing;

/// Longest sleep at a stretch, so that an early end is noticed.
const NAP_NS: u64 = 20_000_000;

/// What a hog does between two looks at the clock: some 10 µs.
const HOG_STEPS: u64 = 20_000;

/// The server process is stopped (SIGSTOP) and continued (SIGCONT).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall {
    /// When, counted from the start of the measure phase.
    pub at: Duration,
    /// For how long.
    pub lasting: Duration,
}

/// Threads that do nothing but compute on the fleet's cores, from the moment at which the schedule
/// is known to the end of the measure phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Starve {
    /// How many on each core. The scheduler shares a core out evenly: with 3, the fleet has a
    /// quarter of it when all want it.
    pub threads_per_core: usize,
}

/// A stall as it happened, in ns of `CLOCK_MONOTONIC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stalled {
    /// SIGSTOP had been sent.
    pub stopped_ns: u64,
    /// SIGCONT had been sent.
    pub continued_ns: u64,
}

/// What was done to a trial.
#[derive(Debug, Clone)]
pub struct Interfered {
    /// The schedule and the measure phase, from which follows what should be seen of it.
    pub timing: Timing,
    /// By the layers, in the order in which they were put.
    pub layers: Vec<Passed>,
    /// Every stall that came to its end.
    pub stalls: Vec<Stalled>,
    /// Threads that hogged the fleet's cores.
    pub hogs: usize,
}

/// What is being done to a trial. Dropped, it stops, and leaves no process stopped.
#[derive(Debug, Default)]
pub(crate) struct Interference {
    stop: Arc<AtomicBool>,
    stalls: Option<JoinHandle<Vec<Stalled>>>,
    hogs: Vec<JoinHandle<()>>,
}

impl Interference {
    /// Begins, once it is known when what happens.
    pub(crate) fn begin(
        &mut self,
        timing: &Timing,
        (stalls, server_pid): (&[Stall], u32),
        (starve, fleet_cpus): (Option<Starve>, &[usize]),
    ) -> io::Result<()> {
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        if !stalls.is_empty() {
            let (stalls, from_ns) = (stalls.to_vec(), timing.measure_from_ns);
            let stop = self.stop.clone();
            let run = move || stall(&stalls, from_ns, server_pid, &stop);
            self.stalls = Some(thread("stall").spawn(run)?);
        }
        let Some(starve) = starve else {
            return Ok(());
        };
        let cpus = if fleet_cpus.is_empty() {
            allowed_cpus()
        } else {
            fleet_cpus.to_vec()
        };
        for cpu in cpus {
            for _ in 0..starve.threads_per_core {
                let (stop, until_ns) = (self.stop.clone(), timing.measure_until_ns);
                let run = move || hog(cpu, until_ns, &stop);
                self.hogs.push(thread("hog").spawn(run)?);
            }
        }
        Ok(())
    }

    /// Ends what still goes on, and says what was done.
    pub(crate) fn end(&mut self, timing: Timing, layers: Vec<Passed>) -> Interfered {
        let hogs = self.hogs.len();
        let stalls = self.join();
        Interfered {
            timing,
            layers,
            stalls,
            hogs,
        }
    }

    fn join(&mut self) -> Vec<Stalled> {
        self.stop.store(true, Relaxed);
        self.hogs.drain(..).for_each(|hog| _ = hog.join());
        let stalls = self.stalls.take().map(JoinHandle::join);
        stalls.and_then(Result::ok).unwrap_or_default()
    }
}

impl Drop for Interference {
    fn drop(&mut self) {
        self.join();
    }
}

/// Sleeps until `time_ns`. `false`: all is to end instead.
fn sleep(time_ns: u64, stop: &AtomicBool) -> bool {
    loop {
        if stop.load(Relaxed) {
            return false;
        }
        let now = monotonic_ns();
        if now >= time_ns {
            return true;
        }
        sleep_until_ns(time_ns.min(now + NAP_NS));
    }
}

fn stall(stalls: &[Stall], from_ns: u64, pid: u32, stop: &AtomicBool) -> Vec<Stalled> {
    sharpen_sleeps();
    let pid = Pid::from_raw(pid as i32);
    let mut done = Vec::new();
    for stall in stalls {
        let at_ns = from_ns + stall.at.as_nanos() as u64;
        if !sleep(at_ns, stop) || kill(pid, Signal::SIGSTOP).is_err() {
            break;
        }
        let stopped_ns = monotonic_ns();
        let whole = sleep(stopped_ns + stall.lasting.as_nanos() as u64, stop);
        // Also where all is to end: a process that is stopped does not end by itself.
        let continued = kill(pid, Signal::SIGCONT);
        let continued_ns = monotonic_ns();
        if !whole || continued.is_err() {
            break;
        }
        done.push(Stalled {
            stopped_ns,
            continued_ns,
        });
    }
    done
}

fn hog(cpu: usize, until_ns: u64, stop: &AtomicBool) {
    // Where it may not run there, it hogs what it gets: the lag that is seen says how much.
    let _ = pin_to(&[cpu]);
    while !stop.load(Relaxed) && monotonic_ns() < until_ns {
        std::hint::black_box(
            (0..HOG_STEPS).fold(0u64, |sum, step| sum ^ sum.rotate_left(7) ^ step),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_that_is_cut_short_leaves_the_process_running() {
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .expect("every system has 'sleep'");
        let stop = Arc::new(AtomicBool::new(false));
        let hour = Duration::from_secs(3600);
        let planned = [Stall {
            at: Duration::ZERO,
            lasting: hour,
        }];
        let thread = std::thread::spawn({
            let (stop, pid) = (stop.clone(), child.id());
            move || stall(&planned, monotonic_ns(), pid, &stop)
        });
        let state = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id()));
            stat.expect("it runs").split(' ').nth(2).map(str::to_owned)
        };
        while state().as_deref() != Some("T") {
            std::thread::yield_now();
        }
        stop.store(true, Relaxed);
        assert_eq!(thread.join().expect("no panic"), [], "it was not whole");
        while state().as_deref() == Some("T") {
            std::thread::yield_now();
        }
        child.kill().expect("it runs");
        child.wait().expect("it was killed");
    }
}
