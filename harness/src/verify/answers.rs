//! Trials with something wrong in them on purpose, each of which must show exactly that: which trials
//! are run, and what is done to them. Whether their numbers agree is judged by `judge`, and what is
//! presumed of this machine is measured by `premise`.

use std::time::Duration;

use clap::ValueEnum;
use pushbench_protocol::transport::{Profile, Transport};

use super::{Bench, Disturbance, Listener, Subject, word};
use crate::environment::layer::relay::{Every, LineFaults, RelayPlan};
use crate::record::{Side, Trial};
use crate::run::RunError;
use crate::scenario::ChannelCount;
use crate::trial::Histograms;
use crate::trial::interfere::{Stall, Starve};

mod judge;
mod premise;

/// What is done to a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Known {
    /// The server is stopped for half a second
    Stall,
    /// A relay delays every byte of the server by 10 ms
    Delay,
    /// A relay leaves messages out
    Drop,
    /// A relay sends messages twice
    Duplicate,
    /// A relay swaps messages
    Swap,
    /// More is to be published than can be
    LatePublisher,
    /// Other threads take the fleet's cores
    StarvedHarness,
}

/// A comparison of what was done with what the record says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    /// What was done, what was expected of it, and what was found.
    text: String,
    /// Whether they agree.
    holds: bool,
}

/// What came of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Judged(Answer),
    /// This machine is not what it presumes: which answer, and why.
    PremiseNotMet(String),
}

/// What came of all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answers that were asked for.
    pub asked: usize,
    /// Those that hold.
    pub held: usize,
    /// Those of which nothing is known, because this machine is not what they presume.
    pub without_premise: usize,
}

impl Counts {
    /// Counts an outcome, and returns it in words; `None` for one that holds where only others are of
    /// interest.
    fn enter(&mut self, outcome: Outcome, quiet: bool) -> Option<String> {
        self.asked += 1;
        let (text, word) = match outcome {
            Outcome::Judged(Answer { text, holds }) => {
                self.held += usize::from(holds);
                if holds && quiet {
                    return None;
                }
                (text, word(holds))
            }
            Outcome::PremiseNotMet(text) => {
                self.without_premise += 1;
                (text, "premise not met")
            }
        };
        Some(format!("known answer: {text}: {word}"))
    }
}

/// Reports what each comes to as soon as it is known; where `quiet`, only what does not hold.
///
/// # Errors
/// [`RunError`] where the machine does not allow a trial.
pub async fn run(
    known: &[Known],
    bench: Bench,
    quiet: bool,
    listener: &dyn Listener,
) -> Result<Counts, RunError> {
    let of = known.iter().map(|known| known.trials()).sum();
    let mut runner = Runner {
        bench,
        listener,
        of,
    };
    let mut counts = Counts::default();
    for known in known {
        for outcome in runner.answer(*known).await? {
            if let Some(text) = counts.enter(outcome, quiet) {
                listener.result(&text);
            }
        }
    }
    Ok(counts)
}

impl Known {
    /// How many trials it takes.
    fn trials(self) -> usize {
        match self {
            Self::Delay => 2 * DELAYED.len(),
            Self::StarvedHarness => 2,
            _ => 1,
        }
    }
}

/// Every way in which a server sends: one stream of bytes, frames, answers.
const DELAYED: [Transport; 3] = [Transport::Sse, Transport::WebSocket, Transport::LongPoll];

const DELAY: Duration = Duration::from_millis(10);

/// From a message to the next while they are delayed.
const DELAYED_PERIOD: Duration = Duration::from_millis(20);

/// What a publisher is to be late with, in messages a second.
const TOO_MANY_PER_S: f64 = 3_000_000.0;

struct Runner<'a> {
    bench: Bench,
    listener: &'a dyn Listener,
    /// Trials in all.
    of: usize,
}

impl Runner<'_> {
    async fn answer(&mut self, known: Known) -> Result<Vec<Outcome>, RunError> {
        let answer = match known {
            Known::Stall => self.stall().await?,
            Known::Delay => {
                let mut answers = Vec::new();
                for transport in DELAYED {
                    answers.push(self.delay(transport).await?);
                }
                return Ok(answers);
            }
            Known::Drop => self.faults(|faults| &mut faults.drop).await?,
            Known::Duplicate => self.faults(|faults| &mut faults.duplicate).await?,
            Known::Swap => self.faults(|faults| &mut faults.swap).await?,
            Known::LatePublisher => self.late_publisher().await?,
            Known::StarvedHarness => self.starved().await?,
        };
        Ok(vec![answer])
    }

    async fn stall(&mut self) -> Result<Outcome, RunError> {
        let mut subject = Subject::undisturbed(Transport::Sse);
        subject.scenario.phases.measure_s = 20.0;
        // 2 ms before a message is due (one is every 5 ms): the last one before has long arrived,
        // and those that are late wait 498, 493, … 253, 248 ms, so that it matters little for the
        // number above 250 ms whether the server needs one more millisecond to catch up.
        subject.disturbance.stalls.push(Stall {
            at: Duration::from_millis(7_998),
            lasting: Duration::from_millis(500),
        });
        self.judged("stall", &subject, |trial, histograms| {
            Outcome::Judged(judge::stall(trial, histograms))
        })
        .await
    }

    async fn delay(&mut self, transport: Transport) -> Result<Outcome, RunError> {
        let mut subject = Subject::undisturbed(transport);
        // A long poll that was answered 10 ms late has been asked again before the next is due.
        subject.rate(1.0 / DELAYED_PERIOD.as_secs_f64());
        let (direct, _) = self.run(&subject).await?;
        subject.disturbance = Disturbance::relay(RelayPlan {
            delay: DELAY,
            faults: None,
        });
        let [delay_ns, period_ns] = [DELAY, DELAYED_PERIOD].map(|time| time.as_nanos() as u64);
        self.judged("delay", &subject, |relayed, histograms| {
            let presumed = (delay_ns, period_ns);
            match premise::lacks_for_delay(&direct, histograms, presumed) {
                Some(why) => Outcome::PremiseNotMet(format!("{transport} delayed: {why}")),
                None => Outcome::Judged(judge::delay(&direct, relayed, histograms, delay_ns)),
            }
        })
        .await
    }

    async fn faults(
        &mut self,
        choose: impl FnOnce(&mut LineFaults) -> &mut Option<Every>,
    ) -> Result<Outcome, RunError> {
        let mut subject = Subject::undisturbed(Transport::Tcp);
        subject.rate(2_000.0);
        let mut faults = LineFaults::default();
        // One in ten: 600 to a client, which its ledger holds (4,096).
        *choose(&mut faults) = Some(Every {
            period: 10,
            offset: 3,
        });
        subject.disturbance = Disturbance::relay(RelayPlan {
            delay: Duration::ZERO,
            faults: Some(faults),
        });
        self.judged("faults", &subject, |trial, histograms| {
            Outcome::Judged(judge::faults(trial, histograms))
        })
        .await
    }

    async fn late_publisher(&mut self) -> Result<Outcome, RunError> {
        match too_much_to_publish(premise::envelopes_per_s) {
            Ok(subject) => {
                self.judged("late publisher", &subject, |trial, _| {
                    Outcome::Judged(judge::late_publisher(trial))
                })
                .await
            }
            Err(why) => Ok(Outcome::PremiseNotMet(format!("late publisher: {why}"))),
        }
    }

    async fn starved(&mut self) -> Result<Outcome, RunError> {
        let mut subject = Subject::undisturbed(Transport::Sse);
        // A look at the clock every 10 ms: long enough for a p99 of the lag.
        subject.scenario.phases.measure_s = 8.0;
        // Many clients with few messages each, as in 'quick': what waits for a client is one
        // message, and all of its wait is the harness's.
        subject.scenario.clients.count = 1_000;
        subject.scenario.channels.count = ChannelCount::Fixed(100);
        subject.rate(300.0);
        let (direct, _) = self.run(&subject).await?;
        if let Some(why) = premise::lacks_for_starving(&direct) {
            return Ok(Outcome::PremiseNotMet(format!("starved harness: {why}")));
        }
        subject.disturbance.starve = Some(Starve {
            threads_per_core: 16,
        });
        self.judged("starved harness", &subject, |starved, histograms| {
            Outcome::Judged(judge::starved(&direct, starved, histograms))
        })
        .await
    }

    /// What `judge` says of a trial that came to its end.
    async fn judged(
        &mut self,
        what: &str,
        subject: &Subject,
        judge: impl FnOnce(&Trial, &Histograms) -> Outcome,
    ) -> Result<Outcome, RunError> {
        let (trial, histograms) = self.run(subject).await?;
        Ok(match histograms {
            Some(histograms) => judge(&trial, &histograms),
            None => Outcome::Judged(judge::not_done(what, &trial)),
        })
    }

    async fn run(&mut self, subject: &Subject) -> Result<(Trial, Option<Histograms>), RunError> {
        // One for each: what is printed afterwards must not run into what it shows.
        let watch = self.listener.watch();
        let side = Side::from((subject.transport, Profile::Tuned));
        watch.trial(self.bench.done as usize + 1, self.of, side.at(None));
        self.bench
            .trial(subject, &|progress| watch.progress(progress))
            .await
    }
}

/// A trial of more than a thread can append, for a moment: at most 1.5 million messages, and on a machine
/// that can append so many, larger ones. `speed`: envelopes of so many bytes that it makes a second.
fn too_much_to_publish(speed: impl FnMut(usize) -> f64) -> Result<Subject, String> {
    let mut subject = Subject::undisturbed(Transport::Tcp);
    subject.scenario.clients.count = 1;
    subject.scenario.phases.warm_up_s = 0.01;
    subject.scenario.phases.measure_s = 0.5;
    subject.scenario.phases.drain_s = 0.5;
    subject.rate(TOO_MANY_PER_S);
    if let Some(publish) = &mut subject.scenario.publish {
        publish.payload_bytes =
            premise::bytes_beyond(TOO_MANY_PER_S, publish.payload_bytes, speed)?;
    }
    Ok(subject)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fleet_takes_what_is_too_much_to_publish_on_any_machine() {
        for made_per_s in [1e3, 2e6, 1e7] {
            let fast = |bytes: usize| made_per_s * 100.0 / bytes as f64;
            let subject = too_much_to_publish(fast).expect("nothing copies so fast");
            assert_eq!(subject.scenario.check(), Ok(()));
        }
    }

    #[test]
    fn what_cannot_be_judged_neither_holds_nor_goes_unsaid() {
        let mut counts = Counts::default();
        let judged = |holds| {
            Outcome::Judged(Answer {
                text: "stall: 1 of 1".to_owned(),
                holds,
            })
        };
        let unmet = || Outcome::PremiseNotMet("delay: too slow".to_owned());
        let mut said = |outcome, quiet| counts.enter(outcome, quiet);
        assert_eq!(said(judged(true), true), None);
        let ok = "known answer: stall: 1 of 1: ok";
        assert_eq!(said(judged(true), false).as_deref(), Some(ok));
        let failed = "known answer: stall: 1 of 1: FAILED";
        assert_eq!(said(judged(false), true).as_deref(), Some(failed));
        let not_met = "known answer: delay: too slow: premise not met";
        for quiet in [false, true] {
            assert_eq!(said(unmet(), quiet).as_deref(), Some(not_met));
        }
        let expected = Counts {
            asked: 5,
            held: 2,
            without_premise: 2,
        };
        assert_eq!(counts, expected);
    }
}
