//! Numbers that METHODOLOGY states are those of the code: a constant that changes changes its sentence.

use std::path::Path;

use pushbench::analysis::compare::CONFIDENCE;
use pushbench::audit::*;
use pushbench::environment::layout::MAX_SHARDS;
use pushbench::load::client::socket::CLIENTS_PER_SOURCE;
use pushbench::load::ledger::MAX_GAPS;
use pushbench::record::MIN_CLIENTS_FOR_SLOPE;
use pushbench::scenario::Matters;
use pushbench_protocol::envelope;

/// A share in percent, without digits that say nothing.
fn percent(share: f64) -> String {
    format!("{}%", (share * 1e6).round() / 1e4)
}

/// A count from one thousand on as pages write it.
fn count(n: u64) -> String {
    format!("{},{:03}", n / 1_000, n % 1_000)
}

#[test]
fn the_numbers_of_the_methodology_are_those_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../METHODOLOGY.md");
    let page = std::fs::read_to_string(path).expect("readable");
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    let per_source = count(CLIENTS_PER_SOURCE.into());
    let late_ms = NEGLIGIBLE_LATENESS_NS / 1e6;
    let matters = Matters::default();
    let stated = [
        format!("{per_source} clients per address"),
        format!("{per_source} clients per source address"),
        format!(
            "below {} clients, too few for a slope",
            count(MIN_CLIENTS_FOR_SLOPE)
        ),
        format!("a maximum envelope of {} MiB", envelope::MAX_BYTES >> 20),
        format!("within {} of the offered one", percent(MAX_RATE_ERROR)),
        format!("one last message {late_ms} ms late"),
        format!("delivery latency there, or {late_ms} ms"),
        format!("used at most {} of its cores", percent(MAX_HARNESS_CPU)),
        format!("above {} the trial is void", percent(VOID_HARNESS_CPU)),
        format!("at p50 (or {} ms), else void", NEGLIGIBLE_WAIT_NS / 1e6),
        format!(
            "at most {} of the machine's segments",
            percent(MAX_RETRANSMITTED)
        ),
        format!(
            "gave at most {} of the machine to others",
            percent(MAX_STEAL)
        ),
        format!(
            "at most {} of the machine went to neither side",
            percent(MAX_OTHER_LOAD)
        ),
        format!(
            "for at most {} of the machine's time",
            percent(MAX_THROTTLED)
        ),
        format!("waited at most {} for a core", percent(MAX_RUN_QUEUE_SHARE)),
        format!(
            "above {}, when it waited longer",
            percent(VOID_RUN_QUEUE_SHARE)
        ),
        format!(
            "at most {} of the window always passes",
            percent(NEGLIGIBLE_RUN_QUEUE_SHARE)
        ),
        format!("1986; {})", percent(ARRIVAL_LEVEL)),
        format!(
            "intervals hold together with {} (Bonferroni)",
            percent(CONFIDENCE)
        ),
        format!("{} of the smaller figure", percent(matters.relative)),
        format!("{} ms of latency", matters.latency_ms),
        format!(
            "{} bytes of memory per client",
            count(matters.memory_bytes as u64)
        ),
        format!("{} bytes per delivery", matters.wire_bytes),
        format!("up to {MAX_SHARDS} shards per side"),
        format!("more than {} gaps at once", count(MAX_GAPS as u64)),
    ];
    let drifted: Vec<&String> = stated.iter().filter(|text| !page.contains(*text)).collect();
    assert!(
        drifted.is_empty(),
        "METHODOLOGY.md does not say {drifted:#?}"
    );
}
