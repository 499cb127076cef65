//! Which client subscribes to which channel.
//!
//! Beside the data path. In: how many clients and channels there are, and how the sizes of the
//! channels differ. Out: the channel of each client, a pure function of its number. All shards share
//! one table. Nothing is measured here.

use std::sync::Arc;

use crate::scenario::Sizes;

/// The exponent of Zipf's law: channel `k` has clients in proportion to `1 / (k + 1)^exponent`.
const EXPONENT: f64 = 1.0;

/// The channel of each client.
#[derive(Debug, Clone)]
pub(super) struct Channels {
    count: u32,
    /// Clients in channels `0..=k`; `None` where they take turns.
    cumulative: Option<Arc<[u32]>>,
}

impl Channels {
    /// The table for `clients` over `count` channels, at least one.
    pub(super) fn new(sizes: Sizes, clients: u32, count: u32) -> Self {
        let cumulative = match sizes {
            Sizes::Even => None,
            Sizes::Zipf => {
                let mut sum = 0;
                let add = |size: u32| {
                    sum += size;
                    sum
                };
                Some(
                    zipf(clients, count, EXPONENT)
                        .into_iter()
                        .map(add)
                        .collect(),
                )
            }
        };
        Self { count, cumulative }
    }

    /// The channel of client `index`.
    pub(super) fn of(&self, index: u32) -> u32 {
        match &self.cumulative {
            None => index % self.count,
            Some(ends) => {
                let channel = ends.partition_point(|&end| end <= index) as u32;
                // Only for a client beyond those that the table was made for.
                channel.min(self.count - 1)
            }
        }
    }
}

/// Clients of each channel, `clients` in all, by largest remainder (Hamilton's method). Where there
/// are enough clients, one is set aside for each channel first, so that none is empty.
fn zipf(clients: u32, channels: u32, exponent: f64) -> Vec<u32> {
    let least = u32::from(clients >= channels);
    let rest = clients - least * channels;
    let weights: Vec<f64> = (0..channels)
        .map(|k| (f64::from(k) + 1.0).powf(-exponent))
        .collect();
    let total: f64 = weights.iter().sum();
    let shares: Vec<f64> = weights
        .iter()
        .map(|weight| f64::from(rest) * weight / total)
        .collect();
    let mut sizes: Vec<u32> = shares.iter().map(|share| *share as u32).collect();
    let mut by_remainder: Vec<usize> = (0..sizes.len()).collect();
    // The sort is stable: of equal remainders the lower channel wins.
    by_remainder.sort_by(|&a, &b| shares[b].fract().total_cmp(&shares[a].fract()));
    let given: u64 = sizes.iter().map(|&size| u64::from(size)).sum();
    let left = (u64::from(rest).saturating_sub(given)) as usize;
    for &channel in by_remainder.iter().cycle().take(left) {
        sizes[channel] += 1;
    }
    sizes.iter().map(|size| size + least).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_channels_take_turns() {
        let channels = Channels::new(Sizes::Even, 10, 4);
        let of: Vec<u32> = (0..6).map(|index| channels.of(index)).collect();
        assert_eq!(of, [0, 1, 2, 3, 0, 1]);
    }

    #[test]
    fn sizes_by_zipfs_law_are_those_worked_out_by_hand() {
        // 1 + 1/2 + 1/3 + 1/4 = 25/12. One each is set aside; of the other 96: 46.08, 23.04, 15.36
        // and 11.52; the one left goes to the largest remainder, the last.
        assert_eq!(zipf(100, 4, 1.0), [47, 24, 16, 13]);
        assert_eq!(zipf(10, 4, 0.0), [3, 3, 2, 2], "exponent 0 is even");
    }

    #[test]
    fn sizes_sum_to_the_clients_and_leave_no_channel_empty_where_there_are_enough() {
        for (clients, channels) in [(1, 1), (5, 5), (7, 3), (1_000, 999), (100_000, 1_000)] {
            for exponent in [0.0, 0.5, 1.0, 2.0, 20.0] {
                let sizes = zipf(clients, channels, exponent);
                assert_eq!(sizes.iter().sum::<u32>(), clients, "{channels} {exponent}");
                assert!(sizes.iter().all(|&size| size > 0), "{channels} {exponent}");
                let falls = sizes.windows(2).all(|pair| pair[0] >= pair[1]);
                assert!(falls, "{channels} {exponent}");
            }
        }
        let few = zipf(3, 100, 1.0);
        assert_eq!((few.iter().sum::<u32>(), few.len()), (3, 100));
    }

    #[test]
    fn every_client_is_in_the_channel_that_its_size_says() {
        let sizes = zipf(1_000, 37, EXPONENT);
        let channels = Channels::new(Sizes::Zipf, 1_000, 37);
        let mut found = vec![0; 37];
        (0..1_000).for_each(|index| found[channels.of(index) as usize] += 1);
        assert_eq!(found, sizes);
        assert_eq!(channels.of(u32::MAX), 36, "beyond the table: the last");
    }
}
