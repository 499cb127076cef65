//! Clients that lose their connections and come back, on every transport: nothing that the server
//! still has is missing, and nothing comes twice.

use pushbench::load::{FleetReport, Setup};
use pushbench::record::{HistogramId, Recovery};
use pushbench::scenario::{ChannelCount, CutBy, Fault};
use pushbench_protocol::transport::Transport;

use crate::fleets::{
    Bench, MESSAGES, MS, Mode, SOON, assert_received, on_each, setup, whole_schedule, with,
};

const CLIENTS: u32 = 10;

const OWED: u64 = CLIENTS as u64 * MESSAGES;

fn coming_back(transport: Transport) -> Setup {
    with(setup(transport, CLIENTS), |s| s.reconnect = Some(SOON))
}

/// All that was owed has come, once; the account of the losses adds up.
fn complete(transport: Transport, report: &FleetReport) -> &Recovery {
    assert_received(transport, report, OWED);
    assert_eq!((report.refused, report.disconnected), (0, 0));
    balanced(report)
}

fn balanced(report: &FleetReport) -> &Recovery {
    let recovery = report.measures.recovery.as_ref().expect("there is a plan");
    let ends = recovery.back + recovery.not_back + recovery.gave_up;
    assert_eq!(recovery.lost, ends, "{recovery:?}");
    assert_eq!(report.histograms.count(HistogramId::Away), recovery.back);
    recovery
}

/// The server's side ends every connection in the middle of the schedule.
async fn comes_back(transport: Transport, by_reset: bool) {
    let mut bench = Bench::connected(coming_back(transport)).await;
    bench.begin(Some(100)).await;
    bench.at_ms(150).await;
    assert!(bench.proxy.cut(by_reset) >= CLIENTS as usize);
    let report = bench.drained().await;
    let recovery = complete(transport, &report);
    assert_eq!(
        (recovery.not_back, recovery.gave_up, recovery.cut),
        (0, 0, 0)
    );
    assert_eq!(
        report.histograms.count(HistogramId::AfterFault),
        recovery.back
    );
    if transport == Transport::ShortPoll {
        // Between two polls it loses nothing: it connects anew for the next.
        assert!(recovery.lost <= u64::from(CLIENTS), "{recovery:?}");
        return;
    }
    assert_eq!(recovery.lost, u64::from(CLIENTS));
    assert!(recovery.attempts >= recovery.back);
    assert!(recovery.first_loss_ns > Some(0) && recovery.last_return_ns > recovery.first_loss_ns);
    assert!(recovery.peak_returns_per_s >= 1.0);
}

#[tokio::test]
async fn clients_come_back_and_miss_nothing() {
    on_each(Transport::ALL, |transport| async move {
        comes_back(transport, false).await;
        comes_back(transport, true).await;
    })
    .await;
}

/// The server is gone for longer than a small ring reaches back.
async fn misses_what_fell_off(transport: Transport) {
    let mut bench = Bench::connected_with(coming_back(transport), 8, 96).await;
    bench.begin(None).await;
    bench.at_ms(100).await;
    bench.proxy.set(Mode::Down);
    bench.proxy.cut(true);
    bench.at_ms(250).await;
    bench.proxy.set(Mode::Open);
    // Nobody waits for what the server said is lost.
    let report = bench.drained().await;
    let counts = report.counts;
    assert_eq!(counts.expected, OWED, "{transport}");
    assert!(report.lagged_messages > 0, "{transport}: {report:?}");
    assert_eq!(counts.missing, report.lagged_messages, "{transport}");
    assert_eq!(
        (counts.duplicate, counts.out_of_order),
        (0, 0),
        "{transport}"
    );
    let recovery = balanced(&report);
    assert!(recovery.failed_attempts > 0, "{transport}: {recovery:?}");
}

#[tokio::test]
async fn clients_miss_exactly_what_the_server_said_fell_off() {
    on_each(Transport::ALL, misses_what_fell_off).await;
}

/// The server answers 503 for a while.
async fn meets_a_status(transport: Transport) {
    let mut bench = Bench::connected(coming_back(transport)).await;
    bench.begin(None).await;
    bench.at_ms(100).await;
    bench.proxy.set(Mode::Unavailable);
    bench.proxy.cut(false);
    bench.at_ms(250).await;
    bench.proxy.set(Mode::Open);
    if transport != Transport::Sse {
        let report = bench.drained().await;
        let recovery = complete(transport, &report);
        assert_eq!(recovery.gave_up, 0, "{transport}");
        assert!(recovery.failed_attempts > 0, "{transport}");
        return;
    }
    bench.published().await;
    bench.fleet.until("nobody away", |s| s.away == 0).await;
    let report = bench.finish().await;
    let recovery = balanced(&report);
    let all = u64::from(CLIENTS);
    assert_eq!((recovery.lost, recovery.gave_up), (all, all));
    assert_eq!((report.refused, report.disconnected), (0, 0));
    assert!(report.counts.missing > 0);
}

#[tokio::test]
async fn an_event_source_gives_up_on_a_status_where_the_others_come_back() {
    let over_http = Transport::ALL.into_iter().filter(|t| t.is_http());
    on_each(over_http, meets_a_status).await;
}

/// Cuts by the fleet itself.
fn cuts(mean_s: f64, how: CutBy) -> Vec<Fault> {
    vec![Fault::cuts(0.02, 360, mean_s, how)]
}

/// Cuts each client some eight times.
async fn cut(transport: Transport, how: CutBy) -> Recovery {
    let setup = with(coming_back(transport), |s| s.faults = cuts(0.05, how));
    let report = whole_schedule(setup).await;
    let recovery = complete(transport, &report);
    assert_eq!(recovery.cut, recovery.lost, "{transport} {how:?}");
    assert_eq!(recovery.cut, recovery.back, "{transport} {how:?}");
    assert!(recovery.cut > u64::from(CLIENTS), "{transport} {how:?}");
    recovery.clone()
}

#[tokio::test]
async fn clients_that_the_fleet_cuts_come_back_each_time() {
    on_each(Transport::ALL, |transport| async move {
        cut(transport, CutBy::Both).await;
    })
    .await;
}

#[tokio::test]
async fn cuts_by_reset_and_in_order_are_told_apart() {
    let resets = cut(Transport::Tcp, CutBy::Rst).await;
    assert_eq!(resets.cut_by_reset, resets.cut);
    let in_order = cut(Transport::Tcp, CutBy::Fin).await;
    assert!(in_order.cut_by_reset < in_order.cut);
}

#[tokio::test]
async fn clients_that_are_refused_at_first_come_when_the_server_does() {
    let mut bench = Bench::ready(coming_back(Transport::WebSocket)).await;
    bench.proxy.set(Mode::Down);
    bench.proxy.open_after(50 * MS);
    bench.fleet.connect().await;
    bench.begin(None).await;
    let report = bench.drained().await;
    let recovery = complete(Transport::WebSocket, &report);
    assert_eq!(recovery.lost, 0);
    assert!(recovery.failed_attempts > 0 && recovery.attempts > 0);
}

#[tokio::test]
async fn many_clients_of_one_address_come_back_several_times_after_cuts_in_order() {
    let clients = 500;
    let setup = with(setup(Transport::Tcp, clients), |s| {
        s.faults = cuts(0.1, CutBy::Fin);
        s.channels.count = ChannelCount::Fixed(40);
        s.reconnect = Some(SOON);
    });
    let report = whole_schedule(setup).await;
    // Two messages on each channel.
    assert_received(Transport::Tcp, &report, u64::from(clients) * MESSAGES / 40);
    let recovery = balanced(&report);
    assert!(recovery.cut > u64::from(clients), "{recovery:?}");
    assert_eq!((recovery.back, recovery.failed_attempts), (recovery.cut, 0));
}
