//! Clients that come and go: how long they stay and are away, and how their arrivals went.
//!
//! Next to the data path. In: [`Plan`], connects that begin, cursors. Out: when a session
//! ends, and the counts of [`Arrivals`]. What a client received is in its ledger, not here.

use pushbench_os::sys::monotonic_ns;
use pushbench_protocol::payload::SplitMix64;

use super::{Account, After, ConditionReport, End, Hook, Missed, MissedBecause, Sees};
use crate::load::shard::Shard;
use crate::load::tally::Histograms;
use crate::record::{Arrivals, HistogramId};
use crate::scenario::{Scenario, Sessions as Plan, Spread};

/// What a client's random numbers are for: its stays and absences.
const PURPOSE: u64 = 5;

const NS_PER_MS: u64 = 1_000_000;

/// The longest stay or absence, in means: one client in 22,000 would draw more.
const MOST_MEANS: f64 = 10.0;

/// An exponentially distributed time in ns, at most ten means.
pub(in crate::load) fn exponential_ns(mean_ns: f64, random: &mut SplitMix64) -> u64 {
    // By inversion, from a number in (0, 1]: never the logarithm of 0.
    let uniform = ((random.next() >> 11) + 1) as f64 / (1u64 << 53) as f64;
    (-uniform.ln()).min(MOST_MEANS).mul_add(mean_ns, 0.0) as u64
}

/// A client's draws.
#[derive(Debug)]
struct Draws {
    random: SplitMix64,
    length_ns: u64,
    /// The session began in the measure phase, and its connect is not over.
    arrives: bool,
    /// When it departed last.
    departed_ns: u64,
}

/// What a shard knows of sessions.
#[derive(Debug)]
pub(in crate::load) struct Sessions {
    plan: Plan,
    clients: Vec<Draws>,
    counts: Arrivals,
    histograms: Histograms,
}

impl Sessions {
    fn new(plan: Plan) -> Self {
        Self {
            plan,
            clients: Vec::new(),
            counts: Arrivals::default(),
            histograms: Histograms::default(),
        }
    }

    fn draw_ns(&mut self, slot: usize, mean_ms: u64) -> u64 {
        match self.plan.spread {
            Spread::Fixed => mean_ms * NS_PER_MS,
            Spread::Exponential => {
                exponential_ns((mean_ms * NS_PER_MS) as f64, &mut self.clients[slot].random)
            }
        }
    }

    /// A session begins; `measured`: in the measure phase. When the client departed last, in ns; 0
    /// before the first time.
    fn begin(&mut self, slot: usize, measured: bool) -> u64 {
        let length_ns = self.draw_ns(slot, self.plan.length_ms);
        let client = &mut self.clients[slot];
        client.length_ns = length_ns;
        client.arrives = measured;
        self.counts.arrivals += u64::from(measured);
        client.departed_ns
    }

    /// A session got its cursor after `took_ns`.
    fn came(&mut self, slot: usize, took_ns: u64) {
        if std::mem::take(&mut self.clients[slot].arrives) {
            self.histograms.record(HistogramId::SetUp, took_ns);
        }
    }

    /// A client departs; how long it is away, in ns.
    fn depart(&mut self, slot: usize, now_ns: u64) -> u64 {
        self.clients[slot].departed_ns = now_ns;
        self.draw_ns(slot, self.plan.gap_ms)
    }
}

impl Shard {
    fn sessions<T>(&self, f: impl FnOnce(&mut Sessions) -> T) -> Option<T> {
        let table = self.conditions.as_ref()?.sessions.as_ref()?;
        Some(f(&mut table.borrow_mut()))
    }

    /// A session of a client begins, one that may resume.
    pub(in crate::load) fn arrives(&self, slot: usize, now_ns: u64, resumes: bool) {
        let measured = self.phase().is_some_and(|phase| phase.holds(now_ns));
        let departed_ns = self.sessions(|table| table.begin(slot, measured));
        if let (true, Some(from_ns), Some(conditions)) = (resumes, departed_ns, &self.conditions) {
            let missed = Missed {
                because: MissedBecause::Absence,
                from_ns,
                until_ns: now_ns,
            };
            conditions.note_missed(slot, missed);
        }
        self.subscribe_begins(slot, now_ns, resumes);
    }

    /// A session of a client that took so long got its cursor.
    pub(in crate::load) fn arrived(&self, slot: usize, took_ns: u64) {
        self.sessions(|table| table.came(slot, took_ns));
    }

    /// Whether clients that come back resume after their cursor.
    pub(in crate::load) fn resumes(&self) -> bool {
        self.setup.scenario.sessions.is_some_and(|plan| plan.resume)
    }

    /// A client departs by plan; how long it is away, in ns.
    pub(in crate::load) fn gap_ns(&self, slot: usize) -> u64 {
        self.sessions(|table| table.depart(slot, monotonic_ns()))
            .unwrap_or(0)
    }

    /// How long the session of a client is, in ns.
    pub(in crate::load) fn stay_ns(&self, slot: usize) -> u64 {
        self.sessions(|table| table.clients[slot].length_ns)
            .unwrap_or(u64::MAX)
    }
}

impl Hook for Sessions {
    fn of(scenario: &Scenario) -> Option<Self> {
        scenario.sessions.map(Self::new)
    }

    fn sees(&self) -> Sees {
        if self.plan.resume {
            Sees::Some
        } else {
            Sees::None
        }
    }

    fn add_client(&mut self, _index: u32, random: &dyn Fn(u64) -> SplitMix64) {
        self.clients.push(Draws {
            random: random(PURPOSE),
            length_ns: 0,
            arrives: false,
            departed_ns: 0,
        });
    }

    fn late(&mut self, missed: Missed, _due_ns: u64, at_ns: u64) {
        if self.plan.resume && missed.because == MissedBecause::Absence {
            let took_ns = at_ns.saturating_sub(missed.until_ns);
            self.histograms.record(HistogramId::ResumedCatchUp, took_ns);
        }
    }

    fn ended(&mut self, slot: usize, end: End, _now_ns: u64) -> Option<After> {
        let no_cursor = matches!(end, End::NoCursor { .. });
        if no_cursor && std::mem::take(&mut self.clients[slot].arrives) {
            self.counts.failed += 1;
        }
        None
    }

    fn settle(&mut self, _account: &dyn Fn(usize) -> Option<Account>, into: &mut ConditionReport) {
        into.measures.arrivals = Some(self.counts.clone());
        into.histograms += self.histograms.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(spread: Spread) -> Sessions {
        let mut sessions = Sessions::new(Plan {
            length_ms: 100,
            gap_ms: 20,
            resume: true,
            spread,
        });
        sessions.add_client(0, &SplitMix64::new);
        sessions
    }

    #[test]
    fn fixed_sessions_are_all_as_long_as_the_plan_says() {
        let mut sessions = sessions(Spread::Fixed);
        for _ in 0..3 {
            sessions.begin(0, false);
            assert_eq!(sessions.clients[0].length_ns, 100_000_000);
            assert_eq!(sessions.depart(0, 7), 20_000_000);
        }
        assert_eq!(sessions.clients[0].departed_ns, 7);
    }

    #[test]
    fn exponential_sessions_have_the_plans_mean_and_a_bound() {
        let mut sessions = sessions(Spread::Exponential);
        let mut lengths = Vec::new();
        for _ in 0..10_000 {
            sessions.begin(0, false);
            lengths.push(sessions.clients[0].length_ns);
        }
        // The standard error of the mean is 1%.
        let mean = lengths.iter().sum::<u64>() as f64 / lengths.len() as f64;
        assert!((95e6..105e6).contains(&mean), "{mean}");
        assert!(lengths.iter().all(|&length| length <= 1_000_000_000));
        // Half of all are shorter than ln 2 of the mean.
        let short = lengths.iter().filter(|&&l| l < 69_314_718).count();
        assert!((4_700..5_300).contains(&short), "{short}");
    }

    #[test]
    fn an_arrival_counts_once_however_it_goes() {
        let mut sessions = sessions(Spread::Fixed);
        sessions.begin(0, false);
        sessions.came(0, 1_000);
        sessions.begin(0, true);
        sessions.came(0, 2_000);
        sessions.came(0, 9_000);
        sessions.begin(0, true);
        sessions.ended(0, End::NoCursor { is_final: false }, 0);
        sessions.ended(0, End::NoCursor { is_final: false }, 0);
        let counts = &sessions.counts;
        assert_eq!((counts.arrivals, counts.failed), (2, 1));
        assert_eq!(sessions.histograms.count(HistogramId::SetUp), 1);
    }
}
