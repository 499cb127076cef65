//! The service-level objective of a search: what must hold for a step to be good.
//!
//! In: text such as `p99<=1s,missing=0,connects=all`, and trials. Out: the terms of which a trial
//! falls short, in words. A quantile of too few deliveries is replaced by the
//! largest of them: where that is small enough, the quantile is.

use crate::metrics::{Metric, find};
use crate::record::{Capability, MIN_BEYOND, Trial};
use crate::text;
use std::time::Duration;

/// What has to hold where nothing else is said.
pub const DEFAULT: &str = "p99<=1s,missing=0,connects=all";

/// An objective: every term must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    text: String,
    terms: Vec<Term>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Term {
    /// Delivery latency, at most.
    Latency(&'static Metric, Duration),
    /// Missing deliveries, at most.
    Missing(u64),
    /// Clients that must be connected, as a share.
    Connects(f64),
}

/// Quantiles of delivery latency, and what share of deliveries lies beyond each.
const LATENCIES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.1),
    ("p99", 0.01),
    ("p999", 0.001),
    ("max", 0.0),
];

/// What else a term may be about.
const OTHERS: [&str; 2] = ["missing", "connects"];

/// The latency that is called `word`.
fn latency(word: &str) -> Option<&'static Metric> {
    let known = LATENCIES.iter().any(|(id, _)| *id == word);
    find(word).filter(|_| known)
}

/// Deliveries that a quantile needs: as many must lie beyond it as a record asks for.
fn needed(quantile: &Metric) -> u64 {
    let beyond = LATENCIES.iter().find(|(id, _)| *id == quantile.id);
    let beyond = beyond.map_or(1.0, |(_, beyond)| *beyond);
    (MIN_BEYOND as f64 / beyond).round() as u64
}

impl Objective {
    /// Whether a term asks for deliveries, which only what is published has.
    pub fn asks_for_deliveries(&self) -> bool {
        let mut terms = self.terms.iter();
        terms.any(|t| matches!(t, Term::Latency(..) | Term::Missing(_)))
    }

    /// Whether a term speaks of what the check of the audit called `check` looks at: then the term
    /// decides, and not the check.
    pub fn covers(&self, check: &str) -> bool {
        self.terms.iter().any(|term| match term {
            Term::Missing(_) => check == "ledger_missing",
            Term::Connects(_) => matches!(check, "clients_connected" | "clients_refused"),
            Term::Latency(..) => false,
        })
    }

    /// The terms that `trial` falls short of, each with what was found; what ended it early falls short of
    /// all. A term of which nothing is known does not hold: that nothing was lost of nothing is no merit.
    pub fn short_of(&self, trial: &Trial) -> Vec<String> {
        if let Some(error) = &trial.error {
            return vec![error.clone()];
        }
        self.terms
            .iter()
            .filter_map(|t| t.short_of(trial))
            .collect()
    }
}

impl Term {
    fn short_of(self, trial: &Trial) -> Option<String> {
        match self {
            Self::Latency(quantile, most) => {
                let most_ns = most.as_nanos() as u64;
                let word = quantile.id;
                let found = (quantile.read)(trial).map(|ns| ns as u64);
                match (found, trial.latency_ns.max) {
                    (Some(found), _) if found > most_ns => Some(format!(
                        "{word} was {}, above {}",
                        seconds(found),
                        seconds(most_ns)
                    )),
                    (Some(_), _) => None,
                    (None, Some(largest)) if largest <= most_ns => None,
                    (None, Some(largest)) => Some(format!(
                        "{word} needs {} deliveries; there were {}, and the largest took {}, above {}",
                        needed(quantile),
                        trial.latency_ns.count,
                        seconds(largest),
                        seconds(most_ns)
                    )),
                    (None, None) => Some(format!("nothing was delivered, so there is no {word}")),
                }
            }
            Self::Missing(most) => match (trial.deliveries.missing, trial.deliveries.expected) {
                (_, Some(0)) => Some("no delivery was owed, so none could be missing".to_owned()),
                (Some(found), Some(owed)) if found > most => {
                    Some(format!("{found} of {owed} deliveries were missing"))
                }
                (Some(_), Some(_)) => None,
                _ => Some(match trial.has(Capability::Cursor) {
                    true => "what was missing is not known".to_owned(),
                    false => {
                        let why = Capability::Cursor.lacking();
                        format!("what was missing is not known: {why}")
                    }
                }),
            },
            Self::Connects(share) => {
                let (connected, target) = (trial.clients.connected, trial.clients.target);
                if target == 0 {
                    return Some("no client was to connect".to_owned());
                }
                let needed = (share * target as f64).ceil() as u64;
                (connected < needed).then(|| format!("{connected} of {target} clients connected"))
            }
        }
    }
}

/// A time with three digits, in the unit in which it is read best.
pub(crate) fn seconds(ns: u64) -> String {
    let ns = ns as f64;
    match ns {
        ns if ns >= 1e9 => format!("{:.2} s", ns / 1e9),
        ns if ns >= 1e6 => format!("{:.3} ms", ns / 1e6),
        ns => format!("{:.1} µs", ns / 1e3),
    }
}

impl std::fmt::Display for Objective {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.text)
    }
}

impl std::str::FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        let mut words: Vec<&str> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (word, term) = term(text, part)?;
            if words.contains(&word) {
                return Err(format!("'{text}' has '{word}' twice; keep one of them"));
            }
            words.push(word);
            terms.push(term);
        }
        Ok(Self {
            text: text.to_owned(),
            terms,
        })
    }
}

fn term<'a>(text: &str, part: &'a str) -> Result<(&'a str, Term), String> {
    if part.is_empty() {
        return Err(format!(
            "'{text}' has an empty term; expected terms such as '{DEFAULT}'"
        ));
    }
    // The longer sign first, as the shorter one is a part of it.
    let split = ["<=", "="]
        .into_iter()
        .find_map(|sign| Some((sign, part.split_once(sign)?)));
    let Some((sign, (word, value))) = split else {
        return Err(format!(
            "'{text}' has the term '{part}', which holds no '<=' and no '='; expected terms such \
             as '{DEFAULT}'"
        ));
    };
    let (word, value) = (word.trim(), value.trim());
    let (term, expected) = if let Some(quantile) = latency(word) {
        let most = duration(value).filter(|_| sign == "<=");
        let term = most.map(|most| Term::Latency(quantile, most));
        (term, format!("a longest time, such as '{word}<=250ms'"))
    } else if word == "missing" {
        let expected = "a most, such as 'missing=0' or 'missing<=10'";
        (value.parse().ok().map(Term::Missing), expected.to_owned())
    } else if word == "connects" {
        let expected = "'connects=all', or a share such as 'connects=99%'";
        let share = share(value).filter(|_| sign == "=");
        (share.map(Term::Connects), expected.to_owned())
    } else {
        let known = || LATENCIES.into_iter().map(|(id, _)| id).chain(OTHERS);
        return Err(format!(
            "'{text}' asks for '{word}'{}; expected one of {}",
            text::hint(word, known()),
            text::quoted(known())
        ));
    };
    let term = term.map(|term| (word, term));
    term.ok_or_else(|| format!("'{text}' has '{part}', but '{word}' takes {expected}"))
}

/// `all`, or a share in percent above zero.
fn share(text: &str) -> Option<f64> {
    let share = match text {
        "all" => 1.0,
        _ => text.strip_suffix('%')?.parse::<f64>().ok()? / 100.0,
    };
    (share > 0.0 && share <= 1.0).then_some(share)
}

/// `250ms`, `1s`, `1.5s`, `800us`; above zero and at most a day.
fn duration(text: &str) -> Option<Duration> {
    let end = text.find(|c: char| c.is_ascii_alphabetic() || c == 'µ')?;
    let (number, unit) = text.split_at(end);
    let number: f64 = number.trim().parse().ok()?;
    let seconds = match unit {
        "ns" => number / 1e9,
        "us" | "µs" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        _ => return None,
    };
    (1e-9..=86_400.0)
        .contains(&seconds)
        .then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Quantiles;
    use pushbench_protocol::transport::{Profile, Transport};

    fn trial() -> Trial {
        let mut trial = Trial::new(Transport::Sse, Profile::Tuned, 1);
        (trial.clients.target, trial.clients.connected) = (1_000, 1_000);
        (trial.deliveries.expected, trial.deliveries.received) = (Some(5_000), 5_000);
        trial.deliveries.missing = Some(0);
        trial.latency_ns = Quantiles {
            count: 5_000,
            p50: Some(2_000_000),
            p99: Some(900_000_000),
            max: Some(1_400_000_000),
            ..Quantiles::default()
        };
        trial
    }

    fn short_of(objective: &str, trial: &Trial) -> Vec<String> {
        objective
            .parse::<Objective>()
            .expect(objective)
            .short_of(trial)
    }

    #[test]
    fn the_default_holds_for_a_good_trial_and_names_each_term_that_does_not() {
        let mut trial = trial();
        assert_eq!(short_of(DEFAULT, &trial), [""; 0]);
        trial.latency_ns.p99 = Some(1_200_000_000);
        trial.deliveries.missing = Some(3);
        trial.clients.connected = 998;
        assert_eq!(
            short_of(DEFAULT, &trial),
            [
                "p99 was 1.20 s, above 1.00 s",
                "3 of 5000 deliveries were missing",
                "998 of 1000 clients connected"
            ]
        );
        assert_eq!(
            short_of("missing<=3,connects=99.8%,p50<=2ms", &trial),
            [""; 0]
        );
        let objective: Objective = "missing<=3".parse().expect("an objective");
        assert!(objective.covers("ledger_missing") && !objective.covers("clients_connected"));
    }

    #[test]
    fn a_quantile_of_too_few_deliveries_is_held_against_the_largest() {
        let mut trial = trial();
        (trial.latency_ns.p99, trial.latency_ns.count) = (None, 40);
        assert_eq!(
            short_of("p99<=1s", &trial),
            ["p99 needs 600 deliveries; there were 40, and the largest took 1.40 s, above 1.00 s"]
        );
        assert_eq!(short_of("p99<=1.5s", &trial), [""; 0]);
        trial.latency_ns = Quantiles::default();
        assert_eq!(
            short_of("p99<=1s", &trial),
            ["nothing was delivered, so there is no p99"]
        );
    }

    #[test]
    fn no_term_holds_where_nothing_is_known_of_it() {
        type Spoil = fn(&mut Trial);
        let nothing: Spoil = |trial| *trial = Trial::new(Transport::Sse, Profile::Tuned, 1);
        let interrupted: Spoil = |trial| {
            *trial = trial
                .clone()
                .failed("interrupted".to_owned(), String::new());
        };
        let idle: Spoil = |trial| {
            (trial.deliveries.expected, trial.deliveries.received) = (Some(0), 0);
            trial.latency_ns = Quantiles::default();
        };
        let unknown: Spoil = |trial| {
            (trial.deliveries.expected, trial.deliveries.missing) = (None, None);
            trial.latency_ns = Quantiles::default();
        };
        let absent: Spoil = |trial| trial.clients = Default::default();
        let of_deliveries = [
            "p50<=1s",
            "p90<=1s",
            "p99<=1s",
            "p999<=1s",
            "max<=1s",
            "missing<=9",
        ];
        let of_clients = ["connects=all", "connects=1%"];
        let all = [&of_deliveries[..], &of_clients].concat();
        for (spoil, terms) in [
            (nothing, &all[..]),
            (interrupted, &all),
            (idle, &of_deliveries),
            (unknown, &of_deliveries),
            (absent, &of_clients),
        ] {
            let mut trial = trial();
            for term in &all {
                let long = term.replace("1s", "2s");
                assert_eq!(short_of(&long, &trial), [""; 0]);
            }
            spoil(&mut trial);
            for term in terms {
                assert_ne!(short_of(term, &trial), [""; 0], "{term} of {trial:?}");
            }
        }
    }

    #[test]
    fn times_are_read_in_any_unit() {
        for (text, ns) in [
            ("250ms", 250_000_000),
            ("1.5s", 1_500_000_000),
            ("800us", 800_000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_nanos(ns)), "{text}");
        }
        for text in ["1", "s", "-1s", "1h", "0s", "nans", "infs"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
