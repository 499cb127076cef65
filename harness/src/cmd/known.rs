//! `pushbench verify --known-answers`: trials with something wrong in them on purpose, each of which
//! must show exactly that.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use pushbench_os::allocator::Allocator;
use pushbench_protocol::transport::{Profile, Transport};

use super::progress::Bar;
use super::{Failure, Outcome, failed, interrupt, print, runtime, say};
use crate::environment::layout::Layout;
use crate::environment::relay::{Every, LineFaults, RelayPlan};
use crate::record::Trial;
use crate::record::{Family, Side};
use crate::run::{Watch, congestion_of_this_machine};
use crate::scenario::{ChannelCount, Scenario};
use crate::trial::interfere::{Stall, Starve};
use crate::trial::{self, Histograms};
use crate::verify::known_answers::{self, Answer};

/// What the trials have in common.
const BASE: (&str, &str) = ("known-answers.toml", include_str!("known-answers.toml"));

/// What is done to a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Known {
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

/// Runs them all, or those of `only`, and says which did not hold.
pub(super) fn run(only: Option<&[Known]>, quiet: bool) -> Result<Outcome, Failure> {
    let known = only.unwrap_or_else(|| Known::value_variants());
    let mut runner = Runner {
        program: std::env::current_exe().map_err(failed)?,
        congestion: congestion_of_this_machine(),
        quiet,
        done: 0,
        of: known.iter().map(|k| k.trials()).sum(),
    };
    let ended = runtime()?.block_on(async {
        tokio::select! {
            ended = runner.answer_all(known) => ended.map(Some),
            // Dropping a trial kills its children.
            () = interrupt() => Ok(None),
        }
    })?;
    let Some((held, asked)) = ended else {
        say("pushbench: interrupted");
        return Ok(Outcome::Bad);
    };
    if held < asked {
        return Ok(Outcome::Bad);
    }
    if !quiet {
        print(&format!("{held} of {asked} known answers hold\n"))?;
    }
    Ok(Outcome::Good)
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

struct Runner {
    program: PathBuf,
    congestion: Option<String>,
    quiet: bool,
    done: usize,
    of: usize,
}

/// One trial: its workload and what is done to it.
struct Doing {
    scenario: Scenario,
    transport: Transport,
    relay: Option<RelayPlan>,
    stalls: Vec<Stall>,
    starve: Option<Starve>,
}

impl Doing {
    fn nothing(transport: Transport) -> Result<Self, Failure> {
        let (name, source) = BASE;
        Ok(Self {
            scenario: Scenario::parse(name, source).map_err(failed)?,
            transport,
            relay: None,
            stalls: Vec::new(),
            starve: None,
        })
    }

    fn rate(&mut self, rate_per_s: f64) {
        if let Some(publish) = &mut self.scenario.publish {
            publish.rate_per_s = rate_per_s;
        }
    }
}

impl Runner {
    /// Says what each comes to as soon as it is known. Returns how many held, of how many.
    async fn answer_all(&mut self, known: &[Known]) -> Result<(usize, usize), Failure> {
        let (mut held, mut asked) = (0, 0);
        for known in known {
            for answer in self.answer(*known).await? {
                asked += 1;
                held += usize::from(answer.holds);
                if !answer.holds || !self.quiet {
                    print(&format!("{answer}\n"))?;
                }
            }
        }
        Ok((held, asked))
    }

    async fn answer(&mut self, known: Known) -> Result<Vec<Answer>, Failure> {
        Ok(match known {
            Known::Stall => vec![self.stall().await?],
            Known::Delay => {
                let mut answers = Vec::new();
                for transport in DELAYED {
                    answers.push(self.delay(transport).await?);
                }
                answers
            }
            Known::Drop => {
                vec![self.faults(|faults, every| faults.drop = every).await?]
            }
            Known::Duplicate => {
                vec![
                    self.faults(|faults, every| faults.duplicate = every)
                        .await?,
                ]
            }
            Known::Swap => {
                vec![self.faults(|faults, every| faults.swap = every).await?]
            }
            Known::LatePublisher => vec![self.late_publisher().await?],
            Known::StarvedHarness => vec![self.starved().await?],
        })
    }

    async fn stall(&mut self) -> Result<Answer, Failure> {
        let mut doing = Doing::nothing(Transport::Sse)?;
        doing.scenario.phases.measure_s = 20.0;
        // 2 ms before a message is due (one is every 5 ms): the last one before has long arrived,
        // and those that are late wait 498, 493, … 253, 248 ms, so that it matters little for the
        // number above 250 ms whether the server needs one more millisecond to catch up.
        doing.stalls.push(Stall {
            at: Duration::from_millis(7_998),
            lasting: Duration::from_millis(500),
        });
        let (trial, histograms) = self.run(&doing).await?;
        Ok(match histograms {
            Some(histograms) => known_answers::stall(&trial, &histograms),
            None => known_answers::not_done("stall", &trial),
        })
    }

    async fn delay(&mut self, transport: Transport) -> Result<Answer, Failure> {
        let mut doing = Doing::nothing(transport)?;
        // A message every 20 ms: a long poll that was answered 10 ms late has been asked again
        // before the next is due.
        doing.rate(50.0);
        let (direct, _) = self.run(&doing).await?;
        doing.relay = Some(RelayPlan {
            delay: DELAY,
            faults: None,
        });
        let (relayed, histograms) = self.run(&doing).await?;
        Ok(match histograms {
            Some(histograms) => {
                known_answers::delay(&direct, &relayed, &histograms, DELAY.as_nanos() as u64)
            }
            None => known_answers::not_done("delay", &relayed),
        })
    }

    async fn faults(
        &mut self,
        choose: impl FnOnce(&mut LineFaults, Option<Every>),
    ) -> Result<Answer, Failure> {
        let mut doing = Doing::nothing(Transport::Tcp)?;
        doing.rate(2_000.0);
        let mut faults = LineFaults::default();
        // One in ten: 600 to a client, which its ledger holds (4,096).
        let every = Every {
            period: 10,
            offset: 3,
        };
        choose(&mut faults, Some(every));
        doing.relay = Some(RelayPlan {
            delay: Duration::ZERO,
            faults: Some(faults),
        });
        let (trial, histograms) = self.run(&doing).await?;
        Ok(match histograms {
            Some(histograms) => known_answers::faults(&trial, &histograms),
            None => known_answers::not_done("faults", &trial),
        })
    }

    async fn late_publisher(&mut self) -> Result<Answer, Failure> {
        let mut doing = Doing::nothing(Transport::Tcp)?;
        doing.scenario.clients.count = 1;
        // Far beyond what one thread can append, for a moment: 1.5 million messages in all.
        doing.rate(3_000_000.0);
        doing.scenario.phases.warm_up_s = 0.0;
        doing.scenario.phases.measure_s = 0.5;
        doing.scenario.phases.drain_s = 0.5;
        let (trial, _) = self.run(&doing).await?;
        Ok(known_answers::late_publisher(&trial))
    }

    async fn starved(&mut self) -> Result<Answer, Failure> {
        let mut doing = Doing::nothing(Transport::Sse)?;
        // A look at the clock every 10 ms: long enough for a p99 of the lag.
        doing.scenario.phases.measure_s = 8.0;
        // Many clients with few messages each, as in 'quick': what waits for a client is one
        // message, and all of its wait is the harness's.
        doing.scenario.clients.count = 1_000;
        doing.scenario.channels.count = ChannelCount::Fixed(100);
        doing.rate(300.0);
        let (direct, _) = self.run(&doing).await?;
        doing.starve = Some(Starve {
            threads_per_core: 16,
        });
        let (starved, histograms) = self.run(&doing).await?;
        Ok(match histograms {
            Some(histograms) => known_answers::starved(&direct, &starved, &histograms),
            None => known_answers::not_done("starved harness", &starved),
        })
    }

    async fn run(&mut self, doing: &Doing) -> Result<(Trial, Option<Histograms>), Failure> {
        let layout = Layout::plan(doing.scenario.clients.count, None).map_err(failed)?;
        let plan = trial::Plan {
            scenario: &doing.scenario,
            transport: doing.transport,
            profile: Profile::Tuned,
            index: 1,
            family: Family::Lean,
            seed: doing.scenario.run.seed.unwrap_or(1),
            layout: &layout,
            congestion: self.congestion.as_deref(),
            check_payloads: false,
            probes: true,
            sources: &[],
            first_source: self.done as u32,
            allocator: Allocator::DEFAULT,
            program: Path::new(&self.program),
            relay: doing.relay,
            stalls: doing.stalls.clone(),
            starve: doing.starve,
        };
        self.done += 1;
        // A bar of its own: what is printed afterwards must not run into it.
        let bar = Bar::new(self.quiet);
        let side = Side::from((plan.transport, plan.profile));
        bar.trial(self.done, self.of, side.at(None));
        let ended = trial::run(&plan, &|progress| bar.progress(progress)).await;
        bar.finish();
        Ok(ended)
    }
}
