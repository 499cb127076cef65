//! Gates of `pushbench compare --fail-on`: what a comparison may not show.
//!
//! In: `METRIC[@TRANSPORT[-PROFILE]]>[+]N[%|unit]`. Out: a [`Gate`], or an error that points at the
//! place. Whether a gate holds is asked of rows that were compared already; nothing is measured.
//!
//! | bound | fails when |
//! |---|---|
//! | `p99>+10%` | the *near* end of the interval of the change lies beyond: more than 10% worse for sure |
//! | `p99>+2ms` | the same for the difference in the metric's own unit |
//! | `p99>5ms`, `missing>0` | the value of B itself lies beyond |
//!
//! `<` is there for what is better when it is more, such as `received<-5%`.

use std::ops::Range;

use crate::metrics::table::compared;
use crate::metrics::unit::UNITS;
use crate::metrics::{Metric, find};
use crate::record::Selector;
use crate::text::{nearest, quoted};

/// Where a gate fails.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// At a relative change: 0.1 is 10% more.
    Relative(f64),
    /// At a difference, in the metric's own unit.
    Difference(f64),
    /// At a value of B, in the metric's own unit.
    Value(f64),
}

/// One `--fail-on`.
#[derive(Debug, Clone)]
pub struct Gate {
    /// As it was written.
    pub text: String,
    /// What it is about.
    pub metric: &'static Metric,
    /// Which rows; all where `None`.
    pub only: Option<Selector>,
    /// Whether it fails above the bound, and not below.
    pub above: bool,
    /// Where.
    pub bound: Bound,
}

/// A gate that does not parse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateError {
    text: String,
    span: Range<usize>,
    message: String,
}

impl std::error::Error for GateError {}

impl std::fmt::Display for GateError {
    /// The gate with carets under what is wrong with it, and what there is instead.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = |range: Range<usize>| self.text.get(range).map_or(0, |t| t.chars().count());
        let carets = "^".repeat(width(self.span.clone()).max(1));
        writeln!(f, "'{}' is not a gate: {}", self.text, self.message)?;
        writeln!(f, "  {}", self.text)?;
        writeln!(
            f,
            "  {:indent$}{carets}",
            "",
            indent = width(0..self.span.start)
        )?;
        writeln!(
            f,
            "expected METRIC[@TRANSPORT[-PROFILE]]>[+]N[%|unit], such as 'p99>+10%', 'missing>0' or \
             'p50@sse-tuned>5ms'"
        )?;
        let names: Vec<&str> = compared().map(|m| m.id).collect();
        write!(f, "metrics: {}", names.join(", "))
    }
}

impl std::str::FromStr for Gate {
    type Err = GateError;

    fn from_str(text: &str) -> Result<Self, GateError> {
        let wrong = |span: Range<usize>, message: String| GateError {
            text: text.to_owned(),
            span,
            message,
        };
        let Some(at) = text.find(['>', '<']) else {
            let end = text.len();
            return Err(wrong(end..end, "'>' and a bound are missing".to_owned()));
        };
        let (left, bound) = (&text[..at], &text[at + 1..]);
        let (name, only) = match left.find('@') {
            None => (left, None),
            Some(sign) => {
                let selector = left[sign + 1..].parse::<Selector>();
                let selector = selector.map_err(|e| wrong(sign + 1..at, e))?;
                (&left[..sign], Some(selector))
            }
        };
        let Some(metric) = find(name).filter(|m| m.is_compared()) else {
            let names = compared().map(|m| m.id);
            let hint = nearest(name, names).map(|n| format!("; did you mean '{n}'?"));
            let message = format!("'{name}' is not a metric{}", hint.unwrap_or_default());
            return Err(wrong(0..name.len(), message));
        };
        let above = text[at..].starts_with('>');
        let start = at + 1;
        let split = bound
            .find(|c: char| !c.is_ascii_digit() && !['.', '+', '-'].contains(&c))
            .unwrap_or(bound.len());
        let (number, unit) = bound.split_at(split);
        let signed = number.starts_with(['+', '-']);
        let value = number
            .parse::<f64>()
            .ok()
            .filter(|v| v.is_finite())
            .ok_or_else(|| {
                let end = (start + split).max(start);
                wrong(start..end, format!("'{number}' is not a number"))
            })?;
        let unit_span = start + split..text.len();
        let bound = if unit == "%" {
            Bound::Relative(value / 100.0)
        } else {
            let known = UNITS
                .iter()
                .filter(|(_, of, _)| *of == metric.unit.quantity());
            let scale = match known.clone().find(|(name, _, _)| *name == unit) {
                Some((_, _, scale)) => *scale,
                // Nothing of anything is nothing.
                None if unit.is_empty() && value == 0.0 => 1.0,
                None => {
                    let names = quoted(known.map(|u| u.0).filter(|name| !name.is_empty()));
                    let may = match names.as_str() {
                        "" => "'%' or nothing".to_owned(),
                        names => format!("{names} or '%'"),
                    };
                    let message = format!("'{unit}' is not a unit of '{name}'; expected {may}");
                    return Err(wrong(unit_span, message));
                }
            };
            if signed {
                Bound::Difference(value * scale)
            } else {
                Bound::Value(value * scale)
            }
        };
        Ok(Self {
            text: text.to_owned(),
            metric,
            only,
            above,
            bound,
        })
    }
}

impl Gate {
    /// Whether `value` lies beyond the gate's number.
    pub fn beyond(&self, value: f64, bound: f64) -> bool {
        if self.above {
            value > bound
        } else {
            value < bound
        }
    }

    /// The bound as it was written.
    pub fn bound_text(&self) -> &str {
        let at = self.text.find(['>', '<']).map_or(0, |at| at + 1);
        &self.text[at..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pushbench_protocol::transport::{Profile, Transport};

    fn gate(text: &str) -> Gate {
        text.parse().expect(text)
    }

    #[test]
    fn gates_are_relative_differences_or_values() {
        for (text, metric, bound) in [
            ("p99>+10%", "p99", Bound::Relative(0.1)),
            ("p99>10%", "p99", Bound::Relative(0.1)),
            ("latency_ns.p99>+10%", "p99", Bound::Relative(0.1)),
            ("p50>+2.5ms", "p50", Bound::Difference(2.5e6)),
            ("p50@sse-tuned>5ms", "p50", Bound::Value(5e6)),
            ("p50>300µs", "p50", Bound::Value(3e5)),
            ("missing>0", "missing", Bound::Value(0.0)),
            ("missing>+3", "missing", Bound::Difference(3.0)),
            ("user_memory>16KiB", "user_memory", Bound::Value(16_384.0)),
            ("p99>0", "p99", Bound::Value(0.0)),
            ("received<-5%", "received", Bound::Relative(-0.05)),
            ("received<100/s", "received", Bound::Value(100.0)),
        ] {
            let found = gate(text);
            assert_eq!((found.metric.id, found.bound), (metric, bound), "{text}");
            assert_eq!(found.above, text.contains('>'), "{text}");
        }
        let only = gate("p50@sse-tuned>5ms").only.expect("a selector");
        let takes = |side: (Transport, Profile)| only.takes(side.into());
        assert!(
            takes((Transport::Sse, Profile::Tuned)) && !takes((Transport::Sse, Profile::Stock))
        );
    }

    #[test]
    fn what_is_not_a_gate_is_pointed_at() {
        let transports = Transport::ALL.map(Transport::id).join(", ");
        let no_transport = format!("'see' is not a transport; expected one of {transports}");
        for (text, message, carets) in [
            ("p9>+10%", "'p9' is not a metric; did you mean 'p90'?", "^^"),
            ("zzzzzz>1", "'zzzzzz' is not a metric", "^^^^^^"),
            ("p99", "'>' and a bound are missing", "   ^"),
            ("p99>", "'' is not a number", "    ^"),
            ("p99>+x%", "'+' is not a number", "    ^"),
            ("p99>1.2.3ms", "'1.2.3' is not a number", "    ^^^^^"),
            (
                "p99>5",
                "'' is not a unit of 'p99'; expected 's', 'ms', 'µs', 'ns', 'us' or '%'",
                "     ^",
            ),
            (
                "p99>5 ms",
                "' ms' is not a unit of 'p99'; expected 's', 'ms', 'µs', 'ns', 'us' or '%'",
                "     ^^^",
            ),
            (
                "missing>3ms",
                "'ms' is not a unit of 'missing'; expected '%' or nothing",
                "         ^^",
            ),
            ("p50@see>1ms", &no_transport, "    ^^^"),
        ] {
            let error = text.parse::<Gate>().expect_err(text).to_string();
            let lines: Vec<&str> = error.lines().collect();
            assert_eq!(lines[0], format!("'{text}' is not a gate: {message}"));
            assert_eq!(lines[1], format!("  {text}"));
            assert_eq!(lines[2], format!("  {carets}"), "{text}");
            assert!(lines[3].contains("METRIC[@TRANSPORT[-PROFILE]]>[+]N[%|unit]"));
            assert!(lines[4].starts_with("metrics: p50, p99, cpu"));
        }
        let error = "p50@sse-best>1ms".parse::<Gate>().expect_err("no profile");
        assert!(error.to_string().contains("'best' is not a profile"));
        assert!("".parse::<Gate>().is_err());
    }
}
