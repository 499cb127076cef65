//! How cost grows along a sweep, and how that compares with what the baseline's does.
//!
//! In: the rows of a summary. Out: a [`Growth`] for each transport and profile. Part of any growth
//! over the number of clients is the kernel's own (colder caches, longer queues), and `tcp` shows
//! it too: what is left after dividing by its growth is the transport's.

use super::summary::SummaryRow;
use super::variant::Side;
use crate::scenario::Point;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Growth of server CPU per delivery from the first point of a sweep to the last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Growth {
    /// What was measured.
    #[serde(flatten)]
    pub side: Side,
    /// The first point that has a cost …
    pub from: Point,
    /// … and the last.
    pub to: Point,
    /// Server CPU per delivery at the first point.
    pub from_cpu_ns_per_delivery: f64,
    /// Server CPU per delivery at the last point.
    pub to_cpu_ns_per_delivery: f64,
    /// The last over the first.
    pub growth: f64,
    /// The same over the growth of `tcp` between the same two points; `null` where `tcp` has no
    /// cost at one of them.
    pub growth_over_tcp: Option<f64>,
}

/// The growth of each transport and profile of `rows`; nothing without a sweep, and nothing of one
/// that has a cost at fewer than two points.
pub fn growth(rows: &[SummaryRow]) -> Vec<Growth> {
    let mut sides: Vec<Side> = rows.iter().map(|row| row.variant.side).collect();
    sides.dedup();
    let of = |side: Side| {
        let curve = curve(rows, side);
        let (&(from, first), &(to, last)) = (curve.first()?, curve.last()?);
        if from == to {
            return None;
        }
        let growth = last / first;
        let floor = self::curve(rows, side.baseline());
        let floor_at = |point: Point| Some(floor.iter().find(|(of, _)| *of == point)?.1);
        let tcp = floor_at(to)
            .zip(floor_at(from))
            .map(|(last, first)| last / first);
        Some(Growth {
            side,
            from,
            to,
            from_cpu_ns_per_delivery: first,
            to_cpu_ns_per_delivery: last,
            growth,
            growth_over_tcp: tcp.map(|tcp| growth / tcp),
        })
    };
    sides.into_iter().filter_map(of).collect()
}

/// The points of one side that have a cost.
fn curve(rows: &[SummaryRow], side: Side) -> Vec<(Point, f64)> {
    rows.iter()
        .filter(|row| row.variant.side == side)
        .filter_map(|row| Some((row.variant.point?, row.server_cpu_ns_per_delivery?)))
        .filter(|&(_, cpu_ns)| cpu_ns > 0.0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Trial, summarise};
    use crate::scenario::SweepKey;
    use pushbench_protocol::transport::{Profile, Transport};

    fn trial(transport: Transport, point: u32, cpu_ns: Option<f64>) -> Trial {
        let mut trial = Trial::new(transport, Profile::Tuned, 1);
        trial.variant.point =
            Some(Point::new(point).with(SweepKey::CLIENTS, f64::from(100 * point)));
        trial.server.cpu_ns_per_delivery = cpu_ns;
        trial
    }

    #[test]
    fn growth_is_the_last_point_over_the_first_and_held_against_tcp_between_the_same_two() {
        let trials = [
            trial(Transport::Tcp, 1, Some(4.0)),
            trial(Transport::Tcp, 2, Some(5.0)),
            trial(Transport::Tcp, 3, Some(8.0)),
            trial(Transport::Sse, 1, Some(5.0)),
            trial(Transport::Sse, 2, Some(6.0)),
            trial(Transport::Sse, 3, Some(15.0)),
        ];
        let found = growth(&summarise(&trials, &Default::default()));
        let told = |g: &Growth| (g.side.transport, g.growth, g.growth_over_tcp);
        assert_eq!(
            found.iter().map(told).collect::<Vec<_>>(),
            [
                (Transport::Tcp, 2.0, Some(1.0)),
                (Transport::Sse, 3.0, Some(1.5))
            ]
        );
        let ends = [found[1].from, found[1].to];
        assert_eq!(
            ends.map(|p| p.value(SweepKey::CLIENTS)),
            [Some(100.0), Some(300.0)]
        );
    }

    #[test]
    fn a_point_without_a_cost_is_passed_over_and_one_alone_does_not_grow() {
        let trials = [
            trial(Transport::Tcp, 1, None),
            trial(Transport::Tcp, 2, Some(5.0)),
            trial(Transport::Sse, 1, Some(5.0)),
            trial(Transport::Sse, 2, Some(10.0)),
            trial(Transport::Sse, 3, None),
        ];
        let found = growth(&summarise(&trials, &Default::default()));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].growth, found[0].growth_over_tcp), (2.0, None));
        let unswept = Trial::new(Transport::Sse, Profile::Tuned, 1);
        assert_eq!(growth(&summarise(&[unswept], &Default::default())), []);
    }
}
