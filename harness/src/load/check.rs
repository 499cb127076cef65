//! What the types of a [`Setup`] do not say: values that no fleet can run with.
//!
//! Beside the data path, before the first connect. In: a setup. Out: nothing, or what is wrong.

use pushbench_protocol::framing::MAX_LAST;

use super::{ChannelSizes, Setup};

impl Setup {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// A text that names the field, what was expected and what was found.
    pub fn check(&self) -> Result<(), String> {
        if let Some(plan) = &self.reconnect {
            at_least("reconnect.delay_ms", plan.delay_ms, 0.0)?;
            at_least("reconnect.max_delay_ms", plan.max_delay_ms, plan.delay_ms)?;
            at_least("reconnect.jitter", plan.jitter, 0.0)?;
        }
        if let Some(plan) = &self.cuts {
            if self.reconnect.is_none() {
                return Err(
                    "'cuts' is given without 'reconnect', so that no client would come back; give \
                     both"
                        .to_owned(),
                );
            }
            at_least("cuts.from_ms", plan.from_ms, 0.0)?;
            at_least("cuts.until_ms", plan.until_ms, plan.from_ms)?;
            // A client that is cut more often is never there.
            at_least("cuts.mean_s", plan.mean_s, 0.001)?;
        }
        if let Some(plan) = &self.slow {
            at_least("slow.share", plan.share, 0.0)?;
            if plan.share > 1.0 {
                return Err(format!(
                    "'slow.share' is {}, expected a number from 0 to 1",
                    plan.share
                ));
            }
        }
        if let Some(plan) = &self.sessions {
            at_least("sessions.length_ms", plan.length_ms, 0.0)?;
            at_least("sessions.gap_ms", plan.gap_ms, 0.0)?;
        }
        if self.snapshot_messages > MAX_LAST {
            return Err(format!(
                "'snapshot_messages' is {}, expected at most {MAX_LAST}",
                self.snapshot_messages
            ));
        }
        if let ChannelSizes::Zipf { exponent } = self.channel_sizes {
            at_least("channel_sizes.zipf.exponent", exponent, 0.0)?;
        }
        Ok(())
    }
}

fn at_least(field: &str, found: f64, least: f64) -> Result<(), String> {
    if found.is_finite() && found >= least {
        Ok(())
    } else {
        Err(format!(
            "'{field}' is {found}, expected a number from {least} up"
        ))
    }
}

#[cfg(test)]
mod tests {
    use crate::load::{CutBy, CutPlan, ReconnectPlan, Setup, SlowPlan};

    fn setup() -> Setup {
        serde_json::from_value(serde_json::json!({
            "transport": "sse", "family": "lean", "server": "127.0.0.1:1", "clients": 1,
            "channels": 1, "channel_prefix": "c", "connect_per_s": null, "poll_interval_ms": 1.0,
            "sessions": null, "seed": 1, "shards": 1, "cpus": [], "own_tables": false,
            "sources": [], "first_source": 0, "congestion": null, "probes": false,
            "check_payload": null
        }))
        .expect("all that is new may be left out")
    }

    #[test]
    fn what_no_fleet_can_run_with_is_refused_in_words() {
        let plan = ReconnectPlan {
            delay_ms: 100.0,
            max_delay_ms: 50.0,
            jitter: 0.0,
        };
        let cuts = CutPlan {
            from_ms: 0.0,
            until_ms: 1.0,
            mean_s: 1.0,
            how: CutBy::Rst,
        };
        let slow = |share| {
            Some(SlowPlan {
                share,
                read_bytes_per_s: 0,
            })
        };
        assert_eq!(setup().check(), Ok(()));
        for (setup, said) in [
            (
                Setup {
                    reconnect: Some(plan),
                    ..setup()
                },
                "'reconnect.max_delay_ms' is 50, expected a number from 100 up",
            ),
            (
                Setup {
                    cuts: Some(cuts),
                    ..setup()
                },
                "'cuts' is given without 'reconnect', so that no client would come back; give both",
            ),
            (
                Setup {
                    slow: slow(1.5),
                    ..setup()
                },
                "'slow.share' is 1.5, expected a number from 0 to 1",
            ),
            (
                Setup {
                    slow: slow(f64::NAN),
                    ..setup()
                },
                "'slow.share' is NaN, expected a number from 0 up",
            ),
            (
                Setup {
                    snapshot_messages: 1_000_001,
                    ..setup()
                },
                "'snapshot_messages' is 1000001, expected at most 1000000",
            ),
        ] {
            assert_eq!(setup.check(), Err(said.to_owned()));
        }
    }
}
