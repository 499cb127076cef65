//! What a known answer presumes of the speed of this machine, measured before its trial is judged.
//!
//! In: what the machine did with nothing done to it. Out: the load that is beyond it, or why nothing can
//! be known of an answer here. An answer without its premise neither holds nor fails.

use std::time::Duration;

use pushbench_os::sys::monotonic_ns;
use pushbench_protocol::envelope::{self, HEAD_BYTES, MAX_BYTES};
use pushbench_protocol::payload::{self, PayloadKind};

use super::judge::{DELAY_TOLERANCE_NS, is_named_starved};
use crate::record::Trial;
use crate::trial::Histograms;

/// How many times what a thread can append is offered: a core that is twice as fast as the one that
/// measured still cannot.
const BEYOND: f64 = 2.0;

/// How long making envelopes is measured at a stretch …
const STRETCH: Duration = Duration::from_millis(2);

/// … and how often. The fastest counts: whatever else runs only slows it down.
const STRETCHES: usize = 10;

/// Envelopes between two readings of the clock.
const BATCH: u64 = 16;

/// The bytes of an envelope, from `least` on, of which a publisher cannot append `rate_per_s`, by the
/// `speed` at which this machine makes envelopes of so many bytes, a second.
///
/// # Errors
/// Why not, where even the largest are made that fast.
pub(super) fn bytes_beyond(
    rate_per_s: f64,
    least: usize,
    mut speed: impl FnMut(usize) -> f64,
) -> Result<usize, String> {
    let mut bytes = least;
    loop {
        let made_per_s = speed(bytes);
        if made_per_s * BEYOND <= rate_per_s {
            return Ok(bytes);
        }
        if bytes == MAX_BYTES {
            return Err(format!(
                "a thread of this machine makes {made_per_s:.0} envelopes of {bytes} bytes a second, so \
                 {rate_per_s:.0} may be no more than it can append"
            ));
        }
        bytes = (2 * bytes).min(MAX_BYTES);
    }
}

/// How many envelopes of `bytes` a thread makes a second. A publisher does at least that for each
/// message, so it is not faster.
pub(super) fn envelopes_per_s(bytes: usize) -> f64 {
    let (mut text, mut out) = (Vec::new(), Vec::new());
    let mut fastest = 0.0_f64;
    let mut sequence = 0;
    for _ in 0..STRETCHES {
        let (from_ns, first) = (monotonic_ns(), sequence);
        let mut now_ns = from_ns;
        while now_ns < from_ns + STRETCH.as_nanos() as u64 {
            for _ in 0..BATCH {
                sequence += 1;
                text.clear();
                out.clear();
                let of_payload = bytes - HEAD_BYTES;
                payload::write(PayloadKind::Json, 1, 0, sequence, of_payload, &mut text);
                envelope::encode(sequence, now_ns, now_ns, &text, &mut out);
                std::hint::black_box(&out);
            }
            now_ns = monotonic_ns();
        }
        fastest = fastest.max((sequence - first) as f64 / ((now_ns - from_ns) as f64 / 1e9));
    }
    fastest
}

/// Why nothing is known of a delay: the relay itself must be on time, and without it a message must
/// arrive before the next is due, `period_ns` later, even with the delay.
pub(super) fn lacks_for_delay(
    direct: &Trial,
    histograms: &Histograms,
    (delay_ns, period_ns): (u64, u64),
) -> Option<String> {
    let ms = |ns: u64| ns as f64 / 1e6;
    let direct_ns = direct.latency_ns.p50?;
    if direct_ns + delay_ns > period_ns {
        return Some(format!(
            "without the relay, a message takes {:.2} ms (p50), so with {:.0} ms more it meets the next, \
             {:.0} ms later",
            ms(direct_ns),
            ms(delay_ns),
            ms(period_ns)
        ));
    }
    let held_ns = histograms
        .interfered
        .layers
        .first()?
        .held
        .value_at_quantile(0.5);
    (held_ns > delay_ns + DELAY_TOLERANCE_NS).then(|| {
        format!(
            "the relay was to hold bytes for {:.0} ms, but this machine made it {:.2} ms (p50)",
            ms(delay_ns),
            ms(held_ns)
        )
    })
}

/// Why nothing is known of clients whose cores are taken: they must have had them before.
pub(super) fn lacks_for_starving(direct: &Trial) -> Option<String> {
    is_named_starved(direct)
        .then(|| "the clients lack CPU even if nothing is done to them".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_what_the_machine_cannot_do_however_fast_it_is() {
        // A core that copies 64 GB/s, and makes 10 million small envelopes a second at most.
        let fast = |bytes: usize| (64e9 / bytes as f64).min(1e7);
        // 64e9 / 51,200 is 1.25 million, and twice that below 3 million.
        assert_eq!(bytes_beyond(3e6, 100, fast), Ok(51_200));
        assert_eq!(bytes_beyond(3e6, 100, |_| 1e6), Ok(100));
        let asked = std::cell::RefCell::new(Vec::new());
        let faster_than_any = |bytes| {
            asked.borrow_mut().push(bytes);
            1e7
        };
        let why = bytes_beyond(3e6, 100, faster_than_any).expect_err("faster than any");
        assert!(why.contains("10000000 envelopes of 1048576 bytes"), "{why}");
        assert_eq!(asked.borrow().last(), Some(&MAX_BYTES));
    }

    #[test]
    fn this_machine_makes_envelopes_of_any_size() {
        for bytes in [HEAD_BYTES, 100, 65_536] {
            let found = envelopes_per_s(bytes);
            assert!(found.is_finite() && found > 0.0, "{bytes}: {found}");
        }
    }
}
