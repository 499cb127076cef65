//! Slow readers: what they cost, what became of them, and what the server did about overflow.

use super::prelude::*;

#[rustfmt::skip]
pub(super) const METRICS: &[Metric] = &[
    metric(Measure, "slow_clients", of!(measures.slow_readers?.clients), "slow readers", "slow", Count),
    metric(Measure, "slow_expected", of!(measures.slow_readers?.expected), "messages owed to slow readers", "owed", Count).pool(Sum),
    metric(Measure, "slow_received", of!(measures.slow_readers?.received), "messages that slow readers read", "read", Count).pool(Sum),
    metric(Trial, "slow_notified", of!(measures.slow_readers?.lagged_clients), "slow readers notified of a loss", "notified of loss", Count).pool(Sum),
    metric(Trial, "slow_lagged", of!(measures.slow_readers?.lagged_messages), "messages in those notices", "lost", Count).pool(Sum),
    metric(Trial, "slow_ended", of!(measures.slow_readers?.ended), "slow readers that the server disconnected", "ended", Count).pool(Sum),
    metric(Trial, "slow_attached", of!(measures.slow_readers?.attached), "slow readers attached at the end", "attached", Count),
    metric(Measure, "slow_memory", of!(measures.slow_readers?.user_growth_bytes), "growth of server memory", "server growth", MB).secondary(),
    metric(Measure, "slow_memory_bound", of!(measures.slow_readers?.user_bound_bytes), "most that server memory may grow", "server at most", MB),
    metric(Measure, "slow_kernel_memory", of!(measures.slow_readers?.kernel_growth_bytes), "growth of kernel memory", "kernel growth", MB).secondary(),
    metric(Measure, "slow_kernel_bound", of!(measures.slow_readers?.kernel_bound_bytes), "most that kernel memory may grow", "kernel at most", MB),
    metric(Measure, "slow_pairs", ("measures.slow_readers.pairs", |_| None), "rounds with and without slow readers", "pairs", Count).pool(Row),
    metric(Measure, "healthy_p99", ("measures.slow_readers.healthy_p99_ratio", |_| None), "p99 of healthy clients, with slow readers over without", "healthy p99", Times).pool(Row),
    metric(Measure, "slow_memory_added", ("measures.slow_readers.user_added_bytes", |_| None), "server memory added by slow readers", "server added", MB).pool(Row),
    metric(Measure, "slow_kernel_added", ("measures.slow_readers.kernel_added_bytes", |_| None), "kernel memory added by slow readers", "kernel added", MB).pool(Row),
    metric(Trial, "overflow_lagged", of!(measures.overflow?.lagged), "times that a subscriber fell behind", "lagged", Count).pool(Sum),
    metric(Trial, "overflow_lost", of!(measures.overflow?.lost_messages), "messages lost by lagging", "lost", Count).count("expected"),
    metric(Trial, "overflow_conflated", of!(measures.overflow?.conflated_messages), "messages replaced by a newer one", "conflated", Count).pool(Sum),
    metric(Trial, "overflow_cut_off", of!(measures.overflow?.cut_off), "subscribers cut off", "cut off", Count).count("connected"),
];
