//! Where a prediction leaves the range of what it was fitted to, and what it cannot know at all.
//!
//! In: a workload, and what was fitted for a transport and profile. Out: sentences for the reader.

use pushbench_protocol::transport::Transport;

use super::model::{FEW_CONNECTS, Fitted};
use super::workload::{Load, Workload};
use crate::text::figure::{count, three};

/// Why CPU is not predicted.
pub const ONE_KIND: &str = "CPU: not predicted, since the records hold too few kinds of workload to \
                            distinguish the cost of waking from that of the work; record one of few clients a \
                            message and one of many, such as 'quick' and 'fanout-10k'";

/// Work at a wake-up must differ by this factor for its cost to be distinguished from that of waking; where more
/// messages share a write than this many times those of the records, their cost is most of what there is.
pub(super) const APART: f64 = 2.0;

/// Bytes of a message, over the most in the records, up to which their cost is small compared with what a
/// message costs: with the 512 bytes of 'dashboard' as the most, that is 2 KiB. At 16 KiB and more, copying
/// them is most of the work, and a prediction was off by more than a factor of four.
const LARGER: f64 = 4.0;

/// What a prediction cannot rest on.
pub(super) fn beyond(
    fitted: &Fitted,
    workload: &Workload,
    transport: Transport,
    load: &Load,
) -> Vec<String> {
    let mut said = Vec::new();
    let n = f64::from(workload.clients);
    for (what, range, value) in [
        ("clients", fitted.clients, n),
        ("bytes a message", fitted.payload, workload.payload),
        ("deliveries a second", fitted.deliveries, load.deliveries),
        (
            "clients that share a message",
            fitted.group,
            f64::from(workload.group),
        ),
    ] {
        let meant = value > 0.0 && (what == "clients" || load.deliveries > 0.0);
        if let Some(range) = range.filter(|r| meant && r.leaves(value)) {
            said.push(format!(
                "{what}: {}, but the records go from {} to {}",
                round(value),
                round(range.low),
                round(range.high)
            ));
        }
    }
    if load.connects > FEW_CONNECTS && !fitted.connects {
        said.push(
            "connects: no record has clients that come and go, so their CPU is left out".to_owned(),
        );
    }
    if fitted.user_slope.is_none() {
        said.push("memory: no record of at least 1,000 clients".to_owned());
    }
    if fitted.costs.is_none() || !fitted.separable {
        said.push(ONE_KIND.to_owned());
    }
    if load.sends > 0.0 && fitted.scenarios_with_sends == 0 {
        said.push("upstream: no record has any, so its CPU is left out".to_owned());
    }
    if load.sends > 0.0 && !transport.goes_both_ways() && fitted.second_connection.is_none() {
        said.push(
            "memory: no record has a second connection for POSTs, so it is left out".to_owned(),
        );
    }
    said
}

/// Why the CPU of a workload cannot be predicted from the records: none of them writes so many messages at
/// once, or messages so large. What a message, or a byte, costs in addition to its write is then unknown,
/// whatever the numbers. `None` where it can.
pub fn cpu_beyond(fitted: &Fitted, workload: &Workload, load: &Load) -> Option<String> {
    if load.deliveries <= 0.0 {
        return None;
    }
    let (batch, payload) = (fitted.batch?, fitted.payload?);
    if load.batch() > batch.high * APART {
        return Some(format!(
            "CPU: not predicted, since {} messages go out in one write, and the records have at most \
             {}",
            round(load.batch()),
            round(batch.high)
        ));
    }
    (workload.payload > payload.high * LARGER).then(|| {
        format!(
            "CPU: not predicted, since a message has {} bytes, and the records have at most {}",
            round(workload.payload),
            round(payload.high)
        )
    })
}

fn round(value: f64) -> String {
    if value >= 1_000.0 || value.fract() == 0.0 {
        count(value.round() as u64)
    } else {
        three(value)
    }
}
