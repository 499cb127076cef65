//! How cost grows along a sweep, and how that compares with how the baseline's does.
//!
//! A type of the record. Part of any growth over the number of clients is the kernel's own (colder
//! caches, longer queues), and `tcp` shows it too: what is left after dividing by its growth is the
//! transport's.

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
