//! Doubts: why trials are not valid, each reason once, with the trials that have it.
//!
//! In: the verdicts of a record. Out: what the terminal, Markdown and the page print. Nothing is judged here.

use std::collections::HashMap;

use crate::record::{Reason, Record, Trial, Verdict};
use crate::text::figure::count;

/// So many trials are named; of more, how many there are.
const NAMED: usize = 8;

/// A reason, and who has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Doubt<'a> {
    /// Of these trials, or of the worst of them.
    pub(super) verdict: Verdict,
    /// As the first of them has it.
    pub(super) reason: &'a Reason,
    /// In the order of the record; never empty.
    pub(super) trials: Vec<&'a Trial>,
    /// Whether the figures in the message are not those of all trials.
    differs: bool,
}

/// The reasons of `record`, of void trials first. Those that differ in their figures alone are one.
pub(super) fn doubts(record: &Record) -> Vec<Doubt<'_>> {
    let mut doubts: Vec<Doubt<'_>> = Vec::new();
    // A check may doubt one trial and void another: it is one reason all the same.
    let mut known = HashMap::new();
    for verdict in [Verdict::Void, Verdict::Suspect] {
        let of_it = record.trials.iter();
        for trial in of_it.filter(|trial| trial.validity.verdict == verdict) {
            for reason in &trial.validity.reasons {
                let key = (
                    &reason.check,
                    without_figures(&reason.message),
                    &reason.remedy,
                );
                let place = *known.entry(key).or_insert_with(|| {
                    doubts.push(Doubt {
                        verdict,
                        reason,
                        trials: Vec::new(),
                        differs: false,
                    });
                    doubts.len() - 1
                });
                let doubt = &mut doubts[place];
                doubt.trials.push(trial);
                doubt.differs |= doubt.reason.message != reason.message;
            }
        }
    }
    doubts
}

/// `message` with each number replaced by a sign: what is left is the kind of reason.
fn without_figures(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    let mut in_number = false;
    for char in message.chars() {
        let goes_on = in_number && matches!(char, '.' | ',');
        if char.is_ascii_digit() || goes_on {
            if !in_number {
                text.push('#');
            }
            in_number = true;
        } else {
            text.push(char);
            in_number = false;
        }
    }
    text
}

impl Doubt<'_> {
    /// Which trials: their names, up to some.
    pub(super) fn of(&self) -> String {
        let names: Vec<String> = self.trials.iter().take(NAMED).map(|t| t.label()).collect();
        let names = names.join("; ");
        let others = self.trials.iter();
        let others = others.filter(|trial| trial.validity.verdict != self.verdict);
        let trials = match others.count() {
            0 => "trials".to_owned(),
            others => format!("trials, {} of them suspect", count(others as u64)),
        };
        match self.trials.len() {
            1 => names,
            n if n <= NAMED => format!("{n} {trials}: {names}"),
            n => {
                let more = count((n - NAMED) as u64);
                format!("{} {trials}: {names}; and {more} more", count(n as u64))
            }
        }
    }

    /// The reason, without its remedy.
    pub(super) fn message(&self) -> String {
        let message = &self.reason.message;
        match self.differs {
            false => message.clone(),
            true => format!("{message} (the first of them; figures of the others differ)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;
    use crate::report::Format;

    fn late(ms: &str) -> Reason {
        Reason {
            check: "publish_lag".to_owned(),
            measured: None,
            limit: None,
            remedy: "run on a quieter machine".to_owned(),
            message: format!("the publisher was {ms} ms late"),
        }
    }

    #[test]
    fn a_reason_that_many_trials_have_is_printed_once_everywhere() {
        let mut record = sample::record();
        let model = record.trials[0].clone();
        record.trials = (1..=12)
            .map(|index| {
                let mut trial = model.clone();
                trial.index = index;
                trial
                    .validity
                    .raise(Verdict::Suspect, late(&format!("{index}.5")));
                let other = Reason {
                    message: "nobody knows".to_owned(),
                    ..late("0")
                };
                trial.validity.raise(Verdict::Suspect, other);
                trial
            })
            .collect();
        let found = doubts(&record);
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0].message(),
            "the publisher was 1.5 ms late (the first of them; figures of the others differ)"
        );
        assert_eq!(found[1].message(), "nobody knows");
        let names: Vec<String> = (1..=8).map(|i| format!("tcp tuned, trial {i}")).collect();
        let all = format!("12 trials: {}; and 4 more", names.join("; "));
        assert_eq!(found[0].of(), all);
        for format in [Format::Table, Format::Md, Format::Html] {
            let text = format.render(&record, None, 400).expect("no logs");
            assert_eq!(text.matches("ms late").count(), 1, "{format:?}");
            assert_eq!(text.matches("nobody knows").count(), 1, "{format:?}");
            assert!(text.contains(&all), "{format:?}: {text}");
        }
    }

    #[test]
    fn a_reason_that_voids_some_trials_and_puts_others_in_doubt_is_one() {
        let mut record = sample::record();
        let model = record.trials[0].clone();
        let trial = |(index, verdict): (u32, Verdict)| {
            let mut trial = model.clone();
            trial.index = index;
            trial.validity.raise(verdict, late(&format!("{index}.5")));
            trial
        };
        let of = [
            (1, Verdict::Suspect),
            (2, Verdict::Void),
            (3, Verdict::Suspect),
        ];
        record.trials = of.map(trial).to_vec();
        let found = doubts(&record);
        assert_eq!((found.len(), found[0].verdict), (1, Verdict::Void));
        assert_eq!(
            found[0].of(),
            "3 trials, 2 of them suspect: tcp tuned, trial 2; tcp tuned, trial 1; tcp tuned, trial 3"
        );
    }

    #[test]
    fn reasons_of_other_words_stay_apart() {
        for (a, b, same) in [
            ("1 of 2 came", "30 of 4,000 came", true),
            ("1.5 ms late", "12 ms late", true),
            ("it died", "it hung", false),
        ] {
            assert_eq!(without_figures(a) == without_figures(b), same, "{a}, {b}");
        }
    }
}
