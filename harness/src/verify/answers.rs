//! Trials with something wrong in them on purpose, each of which must show exactly that: which trials
//! are run, and what is done to them. Whether their numbers agree is judged by `judge`.

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

/// Reports what each comes to as soon as it is known; where `quiet`, only what does not hold. Returns
/// how many held, of how many.
///
/// # Errors
/// [`RunError`] where the machine does not allow a trial.
pub async fn run(
    known: &[Known],
    bench: Bench,
    quiet: bool,
    listener: &dyn Listener,
) -> Result<(usize, usize), RunError> {
    let of = known.iter().map(|known| known.trials()).sum();
    let mut runner = Runner {
        bench,
        listener,
        of,
    };
    let (mut held, mut asked) = (0, 0);
    for known in known {
        for Answer { text, holds } in runner.answer(*known).await? {
            asked += 1;
            held += usize::from(holds);
            if !holds || !quiet {
                listener.result(&format!("known answer: {text}: {}", word(holds)));
            }
        }
    }
    Ok((held, asked))
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

struct Runner<'a> {
    bench: Bench,
    listener: &'a dyn Listener,
    /// Trials in all.
    of: usize,
}

impl Runner<'_> {
    async fn answer(&mut self, known: Known) -> Result<Vec<Answer>, RunError> {
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

    async fn stall(&mut self) -> Result<Answer, RunError> {
        let mut subject = Subject::undisturbed(Transport::Sse);
        subject.scenario.phases.measure_s = 20.0;
        // 2 ms before a message is due (one is every 5 ms): the last one before has long arrived,
        // and those that are late wait 498, 493, … 253, 248 ms, so that it matters little for the
        // number above 250 ms whether the server needs one more millisecond to catch up.
        subject.disturbance.stalls.push(Stall {
            at: Duration::from_millis(7_998),
            lasting: Duration::from_millis(500),
        });
        self.judged("stall", &subject, judge::stall).await
    }

    async fn delay(&mut self, transport: Transport) -> Result<Answer, RunError> {
        let mut subject = Subject::undisturbed(transport);
        // A message every 20 ms: a long poll that was answered 10 ms late has been asked again
        // before the next is due.
        subject.rate(50.0);
        let (direct, _) = self.run(&subject).await?;
        subject.disturbance = Disturbance::relay(RelayPlan {
            delay: DELAY,
            faults: None,
        });
        self.judged("delay", &subject, |relayed, histograms| {
            judge::delay(&direct, relayed, histograms, DELAY.as_nanos() as u64)
        })
        .await
    }

    async fn faults(
        &mut self,
        choose: impl FnOnce(&mut LineFaults) -> &mut Option<Every>,
    ) -> Result<Answer, RunError> {
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
        self.judged("faults", &subject, judge::faults).await
    }

    async fn late_publisher(&mut self) -> Result<Answer, RunError> {
        let mut subject = Subject::undisturbed(Transport::Tcp);
        subject.scenario.clients.count = 1;
        // Far beyond what one thread can append, for a moment: 1.5 million messages in all.
        subject.rate(3_000_000.0);
        subject.scenario.phases.warm_up_s = 0.0;
        subject.scenario.phases.measure_s = 0.5;
        subject.scenario.phases.drain_s = 0.5;
        let (trial, _) = self.run(&subject).await?;
        Ok(judge::late_publisher(&trial))
    }

    async fn starved(&mut self) -> Result<Answer, RunError> {
        let mut subject = Subject::undisturbed(Transport::Sse);
        // A look at the clock every 10 ms: long enough for a p99 of the lag.
        subject.scenario.phases.measure_s = 8.0;
        // Many clients with few messages each, as in 'quick': what waits for a client is one
        // message, and all of its wait is the harness's.
        subject.scenario.clients.count = 1_000;
        subject.scenario.channels.count = ChannelCount::Fixed(100);
        subject.rate(300.0);
        let (direct, _) = self.run(&subject).await?;
        subject.disturbance.starve = Some(Starve {
            threads_per_core: 16,
        });
        self.judged("starved harness", &subject, |starved, histograms| {
            judge::starved(&direct, starved, histograms)
        })
        .await
    }

    /// What `judge` says of a trial that came to its end.
    async fn judged(
        &mut self,
        what: &str,
        subject: &Subject,
        judge: impl FnOnce(&Trial, &Histograms) -> Answer,
    ) -> Result<Answer, RunError> {
        let (trial, histograms) = self.run(subject).await?;
        Ok(match histograms {
            Some(histograms) => judge(&trial, &histograms),
            None => judge::not_done(what, &trial),
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
