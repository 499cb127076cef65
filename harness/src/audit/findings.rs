//! A check as a row: its name, what helps, and the function that finds its figure. What it found is
//! entered into the trial here, in one way for all.

use std::borrow::Cow;

use super::Evidence;
use crate::record::{Capability, Check, Outcome, Reason, Trial, Verdict};

/// One check.
pub(super) struct Row {
    pub(super) name: &'static str,
    /// What helps where it does not pass.
    pub(super) remedy: &'static str,
    /// Whether it doubts when something arrived, and not what.
    pub(super) timed: bool,
    /// What a target must be able to do for it.
    needs: Option<Capability>,
    pub(super) find: fn(&Trial, &Evidence<'_>) -> Found,
}

/// What a check found.
pub(super) enum Found {
    /// The trial has nothing of the kind.
    Absent,
    /// It has, but nothing could be said about it.
    NotTested(Cow<'static, str>),
    /// A figure, its limit, what follows, and that in words where it is not good.
    Measured(f64, f64, Verdict, String),
}

/// A check of the ledger and the like: it does not depend on the time.
pub(super) const fn row(
    name: &'static str,
    find: fn(&Trial, &Evidence<'_>) -> Found,
    remedy: &'static str,
) -> Row {
    Row {
        name,
        remedy,
        timed: false,
        needs: None,
        find,
    }
}

impl Row {
    /// A check that cannot be made of a target without `capability`.
    pub(super) const fn needs(self, capability: Capability) -> Self {
        let needs = Some(capability);
        Self { needs, ..self }
    }
}

/// A check of the time that something took.
pub(super) const fn timed(
    name: &'static str,
    find: fn(&Trial, &Evidence<'_>) -> Found,
    remedy: &'static str,
) -> Row {
    Row {
        timed: true,
        ..row(name, find, remedy)
    }
}

impl Found {
    pub(super) fn not_tested(why: impl Into<Cow<'static, str>>) -> Self {
        Self::NotTested(why.into())
    }

    /// Something of which there must be none.
    pub(super) fn count(found: u64, message: String) -> Self {
        Self::above(found as f64, 0.0, Verdict::Void, message)
    }

    /// As [`Found::count`], out of so many; not tested where that is `nothing`, in words.
    pub(super) fn count_of(
        (found, of): (u64, u64),
        nothing: &'static str,
        message: String,
    ) -> Self {
        match (found, of) {
            (0, 0) => Self::not_tested(nothing),
            _ => Self::count(found, message),
        }
    }

    /// `worse` where the figure lies above its limit.
    pub(super) fn above(found: f64, limit: f64, worse: Verdict, message: String) -> Self {
        let verdict = if found > limit { worse } else { Verdict::Valid };
        Self::Measured(found, limit, verdict, message)
    }

    /// Void above `void`, else suspect above `suspect`.
    pub(super) fn above_two(found: f64, suspect: f64, void: f64, message: String) -> Self {
        if found > void {
            Self::Measured(found, void, Verdict::Void, message)
        } else {
            Self::above(found, suspect, Verdict::Suspect, message)
        }
    }
}

impl Row {
    /// Makes the check and enters what it found.
    pub(super) fn check(&self, trial: &mut Trial, evidence: &Evidence<'_>) {
        let lack = self.needs.filter(|&needs| !trial.has(needs));
        let found = match lack {
            Some(lack) => Found::not_tested(lack.lacking()),
            None => (self.find)(trial, evidence),
        };
        let (outcome, figures, not_tested) = match found {
            Found::Absent => return,
            Found::NotTested(why) => (Outcome::NotTested, None, Some(why.into_owned())),
            Found::Measured(measured, limit, verdict, message) => {
                let outcome = match verdict {
                    Verdict::Valid => Outcome::Passed,
                    Verdict::Suspect => Outcome::Doubtful,
                    Verdict::Void => Outcome::Failed,
                };
                if verdict != Verdict::Valid {
                    let reason = Reason {
                        check: self.name.to_owned(),
                        measured: Some(measured),
                        limit: Some(limit),
                        remedy: self.remedy.to_owned(),
                        message,
                    };
                    trial.validity.raise(verdict, reason);
                }
                (outcome, Some((measured, limit)), None)
            }
        };
        trial.validity.checks.push(Check {
            check: self.name.to_owned(),
            outcome,
            measured: figures.map(|(measured, _)| measured),
            limit: figures.map(|(_, limit)| limit),
            not_tested,
        });
    }
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

pub(super) fn ms(ns: f64) -> String {
    format!("{:.2} ms", ns / 1e6)
}
