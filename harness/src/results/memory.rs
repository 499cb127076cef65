//! Memory of the server, per client as a slope: so that what the process costs by itself drops out.

use crate::stats;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Clients that must have been connected at the last point for a slope to be told: with fewer, the
/// steps in which allocator and kernel take memory are larger than what clients need.
pub const MIN_CLIENTS_FOR_SLOPE: u64 = 1_000;

/// Memory of a trial. Bytes of the server process (user) but where kernel is said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Memory {
    /// Before the first client.
    pub base_bytes: Option<u64>,
    /// After the settle phase, all clients connected.
    pub settled_bytes: Option<u64>,
    /// The most that was resident at any time of the trial.
    pub peak_bytes: Option<u64>,
    /// After the last client has gone: what is still held is the allocator's, or leaked.
    pub after_disconnect_bytes: Option<u64>,
    /// Slope of user memory over clients; `null` below 1,000 clients.
    pub user_bytes_per_client: Option<f64>,
    /// Slope of kernel memory over clients, both ends of a connection where both are on this
    /// machine; `null` below 1,000 clients.
    pub kernel_bytes_per_client: Option<f64>,
    /// How user and kernel memory were read.
    pub method: String,
    /// The readings that the slopes were fitted to.
    pub points: Vec<MemoryPoint>,
}

/// One reading while clients connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryPoint {
    /// Clients connected at this moment.
    pub clients: u64,
    /// User memory of the server.
    pub user_bytes: Option<u64>,
    /// Kernel memory of the machine.
    pub kernel_bytes: Option<u64>,
}

impl Memory {
    /// Fits both slopes to the points.
    pub fn fit(&mut self) {
        self.user_bytes_per_client = fit_slope(&self.points, |point| point.user_bytes);
        self.kernel_bytes_per_client = fit_slope(&self.points, |point| point.kernel_bytes);
    }
}

/// Bytes per client: the slope of the least-squares line through those points that hold a reading.
/// `None` with fewer than two of them, or below [`MIN_CLIENTS_FOR_SLOPE`] clients at the most.
pub fn fit_slope(
    points: &[MemoryPoint],
    reading: impl Fn(&MemoryPoint) -> Option<u64>,
) -> Option<f64> {
    let read: Vec<(f64, f64)> = points
        .iter()
        .filter_map(|point| Some((point.clients as f64, reading(point)? as f64)))
        .collect();
    let most = read.iter().map(|&(clients, _)| clients).fold(0.0, f64::max);
    if most < MIN_CLIENTS_FOR_SLOPE as f64 {
        return None;
    }
    stats::slope(&read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(clients: [u64; 4]) -> Vec<MemoryPoint> {
        let point = |clients| MemoryPoint {
            clients,
            user_bytes: Some(5_000_000 + 6_000 * clients),
            kernel_bytes: None,
        };
        clients.map(point).to_vec()
    }

    #[test]
    fn the_slope_leaves_out_what_the_process_costs_by_itself() {
        let mut memory = Memory {
            points: points([250, 500, 750, 1000]),
            ..Memory::default()
        };
        memory.fit();
        assert_eq!(memory.user_bytes_per_client, Some(6_000.0));
        assert_eq!(memory.kernel_bytes_per_client, None, "nothing was read");
    }

    #[test]
    fn below_a_thousand_clients_there_is_no_slope() {
        assert_eq!(
            fit_slope(&points([250, 500, 750, 999]), |point| point.user_bytes),
            None
        );
        assert_eq!(
            fit_slope(&points([1000; 4]), |point| point.user_bytes),
            None
        );
        assert_eq!(fit_slope(&[], |point| point.user_bytes), None);
    }
}
