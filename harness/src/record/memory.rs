//! Memory of a trial, per client as a slope: so that what the process costs by itself drops out.
//!
//! In: readings while clients connect, under load, and after they have gone. Out: bytes per client
//! with the fit that they come from, user and kernel apart, idle and loaded, and how much of it was
//! given back.

use crate::analysis::stats;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Clients that must have been connected at the last point for a slope to be told: with fewer, the
/// steps in which allocator and kernel take memory are larger than what clients need.
pub const MIN_CLIENTS_FOR_SLOPE: u64 = 1_000;

/// Memory of a trial. Bytes of the server process (user) but where kernel or fleet is said. Kernel
/// memory is the machine's, both ends of a connection where both are on it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Memory {
    /// Before the first client.
    pub base_bytes: Option<u64>,
    /// After the settle phase, all clients connected, nothing published yet.
    pub settled_bytes: Option<u64>,
    /// After the drain, all clients connected: buffers that traffic has filled and rings included.
    pub loaded_bytes: Option<u64>,
    /// The most that was resident at any time of the trial.
    pub peak_bytes: Option<u64>,
    /// The most that was resident from the start of the measure phase to the end of the drain.
    pub measure_peak_bytes: Option<u64>,
    /// After the last client has gone: what is still held is the allocator's, or leaked.
    pub after_disconnect_bytes: Option<u64>,
    /// The part of what the server took for its clients, idle and under load, that it gave back to
    /// the system by then: 1 is all of it; `null` below 1,000 clients.
    pub given_back: Option<f64>,
    /// Slope of user memory over clients, idle; `null` below 1,000 clients.
    pub user_bytes_per_client: Option<f64>,
    /// The line behind it.
    pub user_fit: Option<Fit>,
    /// The same under load: the slope, and what each client's share has grown by the end of the
    /// drain. `null` below 1,000 clients.
    pub loaded_user_bytes_per_client: Option<f64>,
    /// Kernel memory before the first client, at rest.
    pub kernel_base_bytes: Option<u64>,
    /// Connections in TIME_WAIT then, left by others.
    pub time_wait: Option<u64>,
    /// Kernel memory after the settle phase.
    pub kernel_settled_bytes: Option<u64>,
    /// Kernel memory at the end of the measure phase, before the drain.
    pub kernel_loaded_bytes: Option<u64>,
    /// Kernel memory after the last client has gone, at rest.
    pub kernel_after_disconnect_bytes: Option<u64>,
    /// Slope of kernel memory over clients, idle; `null` below 1,000 clients.
    pub kernel_bytes_per_client: Option<f64>,
    /// The line behind it.
    pub kernel_fit: Option<Fit>,
    /// The same under load, at the end of the measure phase; `null` below 1,000 clients.
    pub loaded_kernel_bytes_per_client: Option<f64>,
    /// How user and kernel memory were read.
    pub method: String,
    /// The readings that the slopes were fitted to.
    pub points: Vec<MemoryPoint>,
}

/// One reading while clients connect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryPoint {
    /// Clients connected at this moment.
    pub clients: u64,
    /// User memory of the server.
    pub user_bytes: Option<u64>,
    /// User memory of the fleet.
    pub fleet_bytes: Option<u64>,
    /// Kernel memory of the machine.
    pub kernel_bytes: Option<u64>,
}

/// A least-squares line of memory over clients, and how well it fits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fit {
    /// Its slope.
    pub bytes_per_client: f64,
    /// Its value at no client.
    pub intercept_bytes: f64,
    /// The share of the variation that the line explains, R²: 1 where every point lies on it.
    pub r_squared: f64,
    /// The largest distance of a point from the line, in bytes.
    pub largest_residual_bytes: f64,
    /// Points that it was fitted to.
    pub points: u32,
}

impl Memory {
    /// Fits the slopes of the server and the kernel to the points.
    pub fn fit(&mut self) {
        self.user_fit = fit(&self.points, |point| point.user_bytes);
        self.kernel_fit = fit(&self.points, |point| point.kernel_bytes);
        self.user_bytes_per_client = self.user_fit.map(|fit| fit.bytes_per_client);
        self.kernel_bytes_per_client = self.kernel_fit.map(|fit| fit.bytes_per_client);
    }

    /// The fleet's line through its readings at the same points.
    pub fn fleet_fit(&self) -> Option<Fit> {
        fit(&self.points, |point| point.fleet_bytes)
    }

    /// Works out what a client costs under load, of `clients` connected.
    pub fn load(&mut self, clients: u64) {
        let grown = |slope: Option<f64>, settled: Option<u64>, loaded: Option<u64>| {
            Some(slope? + (loaded? as f64 - settled? as f64) / clients.max(1) as f64)
        };
        self.loaded_user_bytes_per_client = grown(
            self.user_bytes_per_client,
            self.settled_bytes,
            self.loaded_bytes,
        );
        self.loaded_kernel_bytes_per_client = grown(
            self.kernel_bytes_per_client,
            self.kernel_settled_bytes,
            self.kernel_loaded_bytes,
        );
    }

    /// Works out which part was given back.
    pub fn give_back(&mut self) {
        let most = self.loaded_bytes.max(self.settled_bytes);
        let most = most.or_else(|| self.points.last()?.user_bytes);
        self.given_back = (|| {
            self.user_fit?;
            let (base, most) = (self.base_bytes? as f64, most? as f64);
            let after = self.after_disconnect_bytes? as f64;
            (most > base).then(|| (most - after) / (most - base))
        })();
    }
}

/// The least-squares line through those points that hold a reading. `None` with fewer than two of
/// them, or below [`MIN_CLIENTS_FOR_SLOPE`] clients at the most.
fn fit(points: &[MemoryPoint], reading: impl Fn(&MemoryPoint) -> Option<u64>) -> Option<Fit> {
    let read: Vec<(f64, f64)> = points
        .iter()
        .filter_map(|point| Some((point.clients as f64, reading(point)? as f64)))
        .collect();
    let most = read.iter().map(|&(clients, _)| clients).fold(0.0, f64::max);
    if most < MIN_CLIENTS_FOR_SLOPE as f64 {
        return None;
    }
    let line = stats::line(&read)?;
    Some(Fit {
        bytes_per_client: line.slope,
        intercept_bytes: line.intercept,
        r_squared: line.r_squared,
        largest_residual_bytes: line.largest_residual,
        points: read.len() as u32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(clients: [u64; 4]) -> Vec<MemoryPoint> {
        let point = |clients| MemoryPoint {
            clients,
            user_bytes: Some(5_000_000 + 6_000 * clients),
            fleet_bytes: Some(2_000_000 + 300 * clients),
            kernel_bytes: None,
        };
        clients.map(point).to_vec()
    }

    fn fitted() -> Memory {
        let mut memory = Memory {
            points: points([250, 500, 750, 1000]),
            ..Memory::default()
        };
        memory.fit();
        memory
    }

    #[test]
    fn the_slope_leaves_out_what_the_process_costs_by_itself() {
        let memory = fitted();
        assert_eq!(memory.user_bytes_per_client, Some(6_000.0));
        let fit = memory.user_fit.expect("four points");
        assert_eq!((fit.intercept_bytes, fit.points), (5_000_000.0, 4));
        assert_eq!((fit.r_squared, fit.largest_residual_bytes), (1.0, 0.0));
        let fleet = memory.fleet_fit().expect("four points");
        assert_eq!(fleet.bytes_per_client, 300.0);
        assert_eq!(memory.kernel_bytes_per_client, None, "nothing was read");
    }

    #[test]
    fn below_a_thousand_clients_there_is_no_slope() {
        let slope = |points: &[MemoryPoint]| fit(points, |point| point.user_bytes);
        assert_eq!(slope(&points([250, 500, 750, 999])), None);
        assert_eq!(slope(&points([1000; 4])), None);
        assert_eq!(slope(&[]), None);
    }

    #[test]
    fn load_adds_each_client_s_share_of_the_growth_to_the_slope() {
        let mut memory = Memory {
            settled_bytes: Some(11_000_000),
            loaded_bytes: Some(13_000_000),
            ..fitted()
        };
        memory.load(1_000);
        assert_eq!(memory.loaded_user_bytes_per_client, Some(8_000.0));
        assert_eq!(memory.loaded_kernel_bytes_per_client, None);
    }

    #[test]
    fn what_was_given_back_is_a_share_of_what_was_taken() {
        let mut memory = Memory {
            base_bytes: Some(5_000_000),
            settled_bytes: Some(11_000_000),
            loaded_bytes: Some(13_000_000),
            after_disconnect_bytes: Some(7_000_000),
            ..fitted()
        };
        memory.give_back();
        assert_eq!(memory.given_back, Some(0.75));
        memory.user_fit = None;
        memory.give_back();
        assert_eq!(memory.given_back, None, "below 1,000 clients");
    }
}
