//! What was connected, published, owed and delivered.

use super::prelude::*;

#[rustfmt::skip]
pub(super) const METRICS: &[Metric] = &[
    metric(Measure, "offered", of!(publish.offered_per_s), "offered publish rate", "offered", PerS).pool(Max),
    metric(Measure, "achieved", of!(publish.achieved_per_s), "achieved publish rate", "achieved", PerS).higher().detail().out_of("offered").of_target(PublishReport),
    metric(Measure, "received", of!(throughput.received_per_s), "deliveries a second", "received", PerS).higher().detail().out_of("expected"),
    metric(Connect, "target", of!(clients.target), "clients that were to connect", "clients", Count).pool(Max),
    metric(Connect, "connected", of!(clients.connected), "clients connected", "connected", Count).pool(Min),
    metric(Connect, "refused", of!(clients.refused), "connects refused", "refused", Count).count("target"),
    metric(Trial, "disconnected", of!(clients.disconnected), "unexpected disconnects", "disconnected", Count).count("connected"),
    metric(Measure, "expected", of!(deliveries.expected), "deliveries owed", "expected", Count).pool(Sum).of_target(Cursor),
    metric(Measure, "delivered", of!(deliveries.received), "deliveries received", "received", Count).pool(Sum),
    metric(Measure, "missing", of!(deliveries.missing), "missing deliveries", "missing", Count).count("expected").of_target(Cursor),
    metric(Measure, "duplicate", of!(deliveries.duplicate), "duplicate deliveries", "duplicate", Count).count("expected"),
    metric(Measure, "out_of_order", of!(deliveries.out_of_order), "reordered deliveries", "reordered", Count).count("expected"),
];
