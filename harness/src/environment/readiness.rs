//! Whether the machine is quiet enough for a run, in words: before it starts, and in its report.
//!
//! Before the trials. In: what [`Before`] read. Out: what is not good, what it does to the numbers, and what
//! to do. Nothing is refused: the audit judges each trial by what happened in it.

use super::doctor::MemoryPerClient;
use super::guard::DEFAULT_SHARE;
use crate::audit::{MAX_OTHER_LOAD, MAX_STEAL, MAX_THROTTLED};
use crate::observe::before::Before;
use crate::text::figure::three;

/// Lateness of a sleep of 1 ms, in ns, that is good in the median: the kernel's own slack is 50 µs, and waking a
/// core that sleeps takes less than 100.
const TIMER_P50_NS: u64 = 250_000;

/// And of the latest of some dozens: whoever waits longer than a scheduler's slice of 3 to 4 ms, and as
/// long again, waits for other programs or a hypervisor.
const TIMER_MAX_NS: u64 = 8_000_000;

const WIDER: &str = "intervals will be wider and trials may be suspect";

const CLOSE: &str = "close other programs";

/// One thing that is not good.
struct Found {
    what: String,
    does: &'static str,
    remedy: &'static str,
}

/// Memory that so many connections take, both ends, at the reference figures of `doctor`.
pub fn memory_of(connections: u64) -> u64 {
    (connections as f64 * MemoryPerClient::reference("").bytes()) as u64
}

/// What to say before a run, in two lines; `None` where all is well.
pub fn warning(before: &Before) -> Option<[String; 2]> {
    let found = found(before);
    let each = |of: fn(&Found) -> &'static str| {
        let mut parts: Vec<&str> = Vec::new();
        for part in found.iter().map(of) {
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        parts.join(", ")
    };
    (!found.is_empty()).then(|| {
        [
            format!("the machine is not quiet: {}", in_words(&found)),
            format!("{}: {}, or go on", each(|f| f.does), each(|f| f.remedy)),
        ]
    })
}

/// The same for a report; `None` where all was well, or nothing was read.
pub fn sentence(before: Option<&Before>) -> Option<String> {
    let found = found(before?);
    let words = in_words(&found);
    (!found.is_empty()).then(|| format!("Before it began, the machine was not quiet: {words}."))
}

fn in_words(found: &[Found]) -> String {
    let words: Vec<&str> = found.iter().map(|found| found.what.as_str()).collect();
    words.join("; ")
}

fn found(before: &Before) -> Vec<Found> {
    let share = |ns: Option<u64>| {
        let all = before.cpu_ns.filter(|&ns| ns > 0)?;
        Some(ns? as f64 / all as f64)
    };
    let above = |ns: Option<u64>, most: f64| share(ns).filter(|&share| share > most);
    let of_good = |share: f64, most: f64| {
        format!(
            "{:.0}% of the CPU (good: at most {:.0}%)",
            share * 100.0,
            most * 100.0
        )
    };
    let mut all = Vec::new();
    let mut add = |what, does, remedy| all.push(Found { what, does, remedy });
    if let Some(share) = above(before.other_cpu_ns, MAX_OTHER_LOAD) {
        let used = of_good(share, MAX_OTHER_LOAD);
        add(format!("other programs used {used}"), WIDER, CLOSE);
    }
    if let Some(share) = above(before.steal_ns, MAX_STEAL) {
        let taken = of_good(share, MAX_STEAL);
        let remedy = "use a machine of its own";
        add(format!("the hypervisor gave others {taken}"), WIDER, remedy);
    }
    if let Some(share) = above(before.throttled_ns, MAX_THROTTLED) {
        let kept = of_good(share, MAX_THROTTLED);
        let remedy = "raise the CPU quota of the group";
        add(
            format!("a CPU quota kept threads from {kept}"),
            WIDER,
            remedy,
        );
    }
    let late = |ns: Option<u64>, most: u64, which: &str| {
        let ms = |ns: u64| three(ns as f64 / 1e6);
        let ns = ns.filter(|&ns| ns > most)?;
        let good = ms(most);
        Some(format!("{} ms late {which} (good: at most {good})", ms(ns)))
    };
    let late = [
        late(before.timer_late_p50_ns, TIMER_P50_NS, "in the median"),
        late(before.timer_late_max_ns, TIMER_MAX_NS, "at worst"),
    ];
    let late: Vec<String> = late.into_iter().flatten().collect();
    if !late.is_empty() {
        let what = format!("a timer of 1 ms ended {}", late.join(", "));
        add(what, WIDER, CLOSE);
    }
    let room = |bytes: u64| (bytes as f64 * DEFAULT_SHARE) as u64;
    if let Some(bytes) = before
        .available_bytes
        .filter(|&b| room(b) < before.needed_bytes)
    {
        let mib = |bytes: u64| bytes >> 20;
        add(
            format!(
                "{} MiB of memory may be used, and all clients need some {} MiB",
                mib(room(bytes)),
                mib(before.needed_bytes)
            ),
            "not all clients may connect",
            "free memory or use fewer '--clients'",
        );
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A quiet machine, watched for 700 ms on two cores.
    fn quiet() -> Before {
        Before {
            cpu_ns: Some(1_400_000_000),
            other_cpu_ns: Some(20_000_000),
            steal_ns: Some(10_000_000),
            throttled_ns: Some(0),
            timer_late_p50_ns: Some(70_000),
            timer_late_max_ns: Some(3_000_000),
            available_bytes: Some(8 << 30),
            needed_bytes: 90 << 20,
        }
    }

    fn words(change: impl Fn(&mut Before)) -> String {
        let mut before = quiet();
        change(&mut before);
        let lines = warning(&before).expect("it is not quiet");
        let told = sentence(Some(&before)).expect("it was not quiet");
        let (_, what) = lines[0].split_once(": ").expect("what was found");
        assert_eq!(
            told,
            format!("Before it began, the machine was not quiet: {what}.")
        );
        lines.join("\n")
    }

    #[test]
    fn a_quiet_machine_and_one_that_reports_nothing_are_not_mentioned() {
        assert_eq!(warning(&quiet()), None);
        assert_eq!(warning(&Before::default()), None);
        assert_eq!(sentence(Some(&quiet())), None);
        assert_eq!(sentence(None), None);
    }

    #[test]
    fn each_thing_is_told_with_what_is_good_what_it_does_and_what_helps() {
        assert_eq!(
            words(|b| b.other_cpu_ns = Some(602_000_000)),
            "the machine is not quiet: other programs used 43% of the CPU (good: at most 10%)\n\
             intervals will be wider and trials may be suspect: close other programs, or go on"
        );
        assert_eq!(
            words(|b| b.steal_ns = Some(280_000_000)),
            "the machine is not quiet: the hypervisor gave others 20% of the CPU (good: at most 10%)\n\
             intervals will be wider and trials may be suspect: use a machine of its own, or go on"
        );
        assert_eq!(
            words(|b| b.throttled_ns = Some(70_000_000)),
            "the machine is not quiet: a CPU quota kept threads from 5% of the CPU (good: at most 1%)\n\
             intervals will be wider and trials may be suspect: raise the CPU quota of the group, or go on"
        );
        assert_eq!(
            words(|b| b.timer_late_max_ns = Some(12_300_000)),
            "the machine is not quiet: a timer of 1 ms ended 12.3 ms late at worst (good: at most 8.00)\n\
             intervals will be wider and trials may be suspect: close other programs, or go on"
        );
        assert_eq!(
            words(|b| b.needed_bytes = 7 << 30),
            "the machine is not quiet: 6963 MiB of memory may be used, and all clients need some 7168 MiB\n\
             not all clients may connect: free memory or use fewer '--clients', or go on"
        );
    }

    #[test]
    fn several_things_share_a_line_and_what_they_have_in_common_is_said_once() {
        let all = words(|b| {
            b.other_cpu_ns = Some(1_400_000_000);
            b.timer_late_p50_ns = Some(900_000);
            b.timer_late_max_ns = Some(9_000_000);
            b.available_bytes = Some(0);
        });
        assert_eq!(
            all,
            "the machine is not quiet: other programs used 100% of the CPU (good: at most 10%); a timer \
             of 1 ms ended 0.900 ms late in the median (good: at most 0.250), 9.00 ms late at worst \
             (good: at most 8.00); 0 MiB of memory may be used, and all clients need some 90 MiB\n\
             intervals will be wider and trials may be suspect, not all clients may connect: close \
             other programs, free memory or use fewer '--clients', or go on"
        );
    }

    #[test]
    fn the_limits_are_where_it_says() {
        let at = |change: fn(&mut Before)| {
            let mut before = quiet();
            change(&mut before);
            warning(&before).is_some()
        };
        assert!(!at(|b| b.other_cpu_ns = Some(140_000_000)));
        assert!(at(|b| b.other_cpu_ns = Some(140_000_001)));
        assert!(!at(|b| b.timer_late_p50_ns = Some(250_000)));
        assert!(at(|b| b.timer_late_p50_ns = Some(250_001)));
        assert!(at(|b| b.cpu_ns = Some(100_000_000)));
        assert!(!at(|b| b.cpu_ns = Some(0)));
    }

    #[test]
    fn a_thousand_connections_need_some_14_mb() {
        assert_eq!(memory_of(1_000), 14_122_000);
        assert_eq!(memory_of(0), 0);
    }
}
