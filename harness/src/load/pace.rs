//! How fast clients are opened: at the pace asked for, and never faster than the server accepts.
//!
//! Beside the data path, in the connect phase. In: when connects begin and how long each took. Out:
//! how many may begin now. A pure function of those, so that tests need no clock.
//!
//! The window of connects under way is TCP's own (slow start and congestion avoidance, RFC 5681):
//! it doubles with each round of answers until one shows that a SYN was lost, which is what a
//! listener with a full queue does; then it halves and grows by one a round. A server that accepts
//! slowly slows the fleet down by answering late; one that cannot follow is not drowned.

/// Connects under way at first, in each shard.
const FIRST_WINDOW: usize = 16;

/// The least that a window shrinks to.
const LEAST_WINDOW: usize = 4;

/// Linux sends an unanswered SYN again after 1 s (RFC 6298, section 2): a connect that took nearly
/// as long has lost one.
const SYN_LOST_NS: u64 = 900_000_000;

/// At most one retreat in this time: the losses of one round are one sign.
const RETREAT_NS: u64 = 1_000_000_000;

/// Most time over which a pace is made good, in s: after a pause there is no rush.
const MOST_CREDIT_S: f64 = 0.02;

/// The pace of one shard.
#[derive(Debug)]
pub(super) struct Pace {
    /// Connects a second; as fast as they are answered where `None`.
    per_s: Option<f64>,
    /// Connects that may begin by that pace.
    credit: f64,
    last_ns: Option<u64>,
    /// Connects that may be under way …
    window: usize,
    /// … at the most.
    most: usize,
    /// Where slow start ends.
    threshold: usize,
    /// Answers since the window last grew by one.
    answers: usize,
    under_way: usize,
    retreated_ns: Option<u64>,
}

impl Pace {
    /// A pace of `per_s` connects a second, with at most `most` under way.
    pub(super) fn new(per_s: Option<f64>, most: usize) -> Self {
        let most = most.max(LEAST_WINDOW);
        Self {
            per_s,
            credit: 0.0,
            last_ns: None,
            window: FIRST_WINDOW.min(most),
            most,
            threshold: most,
            answers: 0,
            under_way: 0,
            retreated_ns: None,
        }
    }

    /// How many connects may begin now.
    pub(super) fn allowed(&mut self, now_ns: u64) -> usize {
        let room = self.window.saturating_sub(self.under_way);
        let Some(per_s) = self.per_s else {
            return room;
        };
        let elapsed_s = now_ns.saturating_sub(self.last_ns.unwrap_or(now_ns)) as f64 / 1e9;
        self.last_ns = Some(now_ns);
        let most = (per_s * MOST_CREDIT_S).max(1.0);
        self.credit = (self.credit + elapsed_s * per_s).min(most);
        room.min(self.credit as usize)
    }

    /// When to ask again if the pace alone stands in the way, in ns from now.
    pub(super) fn wait_ns(&self) -> Option<u64> {
        let per_s = self.per_s?;
        (self.under_way < self.window)
            .then(|| (((1.0 - self.credit).max(0.0) / per_s) * 1e9).ceil() as u64)
    }

    /// Nothing is to be opened: no credit is saved up meanwhile.
    pub(super) fn rest(&mut self) {
        self.credit = 0.0;
        self.last_ns = None;
    }

    /// A connect begins.
    pub(super) fn begun(&mut self) {
        self.under_way += 1;
        self.credit -= 1.0;
    }

    /// A connect was answered with a cursor after `took_ns`.
    pub(super) fn answered(&mut self, took_ns: u64, now_ns: u64) {
        self.under_way = self.under_way.saturating_sub(1);
        if took_ns >= SYN_LOST_NS {
            self.retreat(now_ns);
            return;
        }
        if self.window < self.threshold {
            self.window += 1;
        } else {
            self.answers += 1;
            if self.answers >= self.window {
                self.answers = 0;
                self.window = (self.window + 1).min(self.most);
            }
        }
    }

    /// A connect failed.
    pub(super) fn failed(&mut self, now_ns: u64) {
        self.under_way = self.under_way.saturating_sub(1);
        self.retreat(now_ns);
    }

    fn retreat(&mut self, now_ns: u64) {
        let recently = |at_ns: u64| now_ns.saturating_sub(at_ns) < RETREAT_NS;
        if self.retreated_ns.is_some_and(recently) {
            return;
        }
        self.retreated_ns = Some(now_ns);
        self.threshold = (self.window / 2).max(LEAST_WINDOW);
        self.window = self.threshold;
        self.answers = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// One round: as many as are allowed begin, and all are answered after `took_ns`.
    fn round(pace: &mut Pace, took_ns: u64, now_ns: u64) -> usize {
        let count = pace.allowed(now_ns);
        (0..count).for_each(|_| pace.begun());
        (0..count).for_each(|_| pace.answered(took_ns, now_ns));
        count
    }

    #[test]
    fn without_a_pace_the_window_doubles_with_each_round_up_to_its_bound() {
        let mut pace = Pace::new(None, 100);
        let rounds: Vec<usize> = (0..5).map(|_| round(&mut pace, 1, 0)).collect();
        assert_eq!(rounds, [16, 32, 64, 100, 100]);
    }

    #[test]
    fn no_more_begin_than_are_answered() {
        let mut pace = Pace::new(None, 100);
        assert_eq!(pace.allowed(0), 16);
        (0..16).for_each(|_| pace.begun());
        assert_eq!(pace.allowed(SECOND), 0, "however long it takes");
        pace.answered(1, SECOND);
        assert_eq!(pace.allowed(SECOND), 2, "one answered, and one of growth");
    }

    #[test]
    fn a_lost_syn_halves_the_window_once_a_second_and_growth_is_slow_after_it() {
        let mut pace = Pace::new(None, 64);
        (0..3).for_each(|_| _ = round(&mut pace, 1, 0));
        assert_eq!(round(&mut pace, SYN_LOST_NS, SECOND), 64);
        assert_eq!(pace.allowed(SECOND), 32, "all of a round are one sign");
        assert_eq!(round(&mut pace, 1, SECOND), 32);
        assert_eq!(pace.allowed(SECOND), 33);
        assert_eq!(round(&mut pace, SYN_LOST_NS, 3 * SECOND), 33);
        assert_eq!(pace.allowed(3 * SECOND), 16);
    }

    #[test]
    fn failures_shrink_the_window_down_to_its_least() {
        let mut pace = Pace::new(None, 64);
        for second in 0..10 {
            pace.begun();
            pace.failed(2 * second * SECOND);
        }
        assert_eq!(pace.allowed(20 * SECOND), LEAST_WINDOW);
    }

    #[test]
    fn a_pace_is_kept_and_not_made_good_after_a_pause() {
        let mut pace = Pace::new(Some(1_000.0), 512);
        assert_eq!(pace.allowed(0), 0);
        assert_eq!(pace.wait_ns(), Some(1_000_000));
        assert_eq!(pace.allowed(3_000_000), 3);
        (0..3).for_each(|_| pace.begun());
        assert_eq!(pace.allowed(3_000_000), 0);
        assert_eq!(pace.allowed(SECOND), 13, "the window: 16 less 3 under way");
        (0..3).for_each(|_| pace.answered(1, SECOND));
        assert_eq!(pace.allowed(SECOND), 19, "the window: 16 and 3 of growth");
        pace.rest();
        assert_eq!(pace.allowed(5 * SECOND), 0);
    }
}
