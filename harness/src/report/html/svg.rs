//! Scales, ticks and shapes of the charts: inline SVG of our own, coloured by the page's classes.
//!
//! Coordinates are in units of the `viewBox`, one of which is about one CSS pixel. Nothing here knows
//! what a number means.

use maud::{Markup, html};

use crate::text::figure::three;

/// A straight scale from values to places.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    log: bool,
    /// Ends of the scale, as values.
    pub(super) from: f64,
    pub(super) to: f64,
    /// Where these are drawn.
    at: (f64, f64),
}

impl Scale {
    /// A linear scale from 0 to a round number at or above `most`.
    pub(super) fn linear(most: f64, at: (f64, f64)) -> Self {
        let most = if most > 0.0 && most.is_finite() {
            most
        } else {
            1.0
        };
        let step = step(most);
        Self {
            log: false,
            from: 0.0,
            to: (most / step).ceil() * step,
            at,
        }
    }

    /// A linear scale with exactly these ends.
    pub(super) fn exact(from: f64, to: f64, at: (f64, f64)) -> Self {
        let to = if to > from { to } else { from + 1.0 };
        Self {
            log: false,
            from,
            to,
            at,
        }
    }

    /// A logarithmic scale that holds all of `values`; between 1 and 10 where there are none.
    pub(super) fn log(values: impl IntoIterator<Item = f64>, at: (f64, f64)) -> Self {
        let (mut least, mut most) = (f64::INFINITY, 0.0f64);
        for value in values {
            if value > 0.0 && value.is_finite() {
                (least, most) = (least.min(value), most.max(value));
            }
        }
        if most == 0.0 {
            (least, most) = (1.0, 10.0);
        }
        let mut from = rounded_down(least);
        let mut to = rounded_up(most);
        // Less than half a decade makes a mountain of any noise.
        if to / from < 3.0 {
            (from, to) = (from / 2.0, to * 2.0);
        }
        Self {
            log: true,
            from,
            to,
            at,
        }
    }

    /// Where `value` is drawn; what lies outside is drawn at the end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(f64::MIN_POSITIVE) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        self.at.0 + share.clamp(0.0, 1.0) * (self.at.1 - self.at.0)
    }

    /// Where the values worth a line are drawn, with their text.
    pub(super) fn places(&self) -> impl Iterator<Item = (f64, String)> {
        let ticks = self.ticks().into_iter();
        ticks.map(|(value, text)| (self.at(value), text))
    }

    /// Values worth a line, with their text.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let values: Vec<f64> = if self.log {
            let decades = (self.to / self.from).log10();
            let steps: &[f64] = match decades {
                d if d <= 2.2 => &[1.0, 2.0, 5.0],
                _ => &[1.0],
            };
            let first = self.from.log10().floor() as i32;
            let last = self.to.log10().ceil() as i32;
            (first..=last)
                .flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)))
                .filter(|v| *v >= self.from * 0.999 && *v <= self.to * 1.001)
                .collect()
        } else {
            let step = step(self.to - self.from);
            let count = ((self.to - self.from) / step).round() as u32;
            (0..=count)
                .map(|i| self.from + f64::from(i) * step)
                .filter(|v| *v <= self.to * 1.001)
                .collect()
        };
        values.into_iter().map(|v| (v, tick(v))).collect()
    }
}

/// A round distance of ticks, so that there are four to eight up to `span`.
fn step(span: f64) -> f64 {
    let power = 10f64.powf((span / 5.0).log10().floor());
    let lead = span / 5.0 / power;
    let lead = [1.0, 2.0, 5.0].into_iter().find(|l| lead <= *l);
    lead.unwrap_or(10.0) * power
}

fn rounded_down(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let leads = [5.0, 2.0, 1.0].into_iter();
    let mut fitting = leads.map(|lead| lead * power);
    fitting.find(|v| *v <= value).unwrap_or(power)
}

fn rounded_up(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let leads = [1.0, 2.0, 5.0, 10.0].into_iter();
    let mut fitting = leads.map(|lead| lead * power);
    fitting.find(|v| *v >= value).unwrap_or(10.0 * power)
}

/// A round number without needless digits: `0.05`, `20`, `1,000`.
pub(super) fn tick(value: f64) -> String {
    let text = three(value);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// A coordinate with a tenth of a unit, which is finer than a screen shows.
pub(super) fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    match text.strip_suffix(".0") {
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

/// `M x y L x y …` through the points; a gap where one is `None`.
pub(super) fn path(points: impl IntoIterator<Item = Option<(f64, f64)>>) -> String {
    let mut out = String::new();
    // Points of the stroke that is being drawn.
    let mut length = 0;
    // A point between two gaps is a stroke of no length: with round ends, a dot.
    let end = |length: usize| if length == 1 { "l0 0" } else { "" };
    for point in points {
        match point {
            Some((x, y)) => {
                out.push(if length > 0 { 'L' } else { 'M' });
                out.push_str(&px(x));
                out.push(' ');
                out.push_str(&px(y));
                length += 1;
            }
            None => {
                out.push_str(end(length));
                length = 0;
            }
        }
    }
    out.push_str(end(length));
    out
}

/// The marker of transport `place`, so that colour is never all that tells two apart. Hollow for any
/// profile but the last.
pub(super) fn marker(place: usize, hollow: bool, x: f64, y: f64) -> Markup {
    let class = if hollow { "m hollow" } else { "m" };
    let at = |points: &[(f64, f64)]| {
        let points = points.iter().map(|(dx, dy)| Some((x + dx, y + dy)));
        path(points) + "Z"
    };
    let shape = match place % 7 {
        0 => at(&[(-3.6, -3.6), (3.6, -3.6), (3.6, 3.6), (-3.6, 3.6)]),
        1 => return html! { circle class=(class) cx=(px(x)) cy=(px(y)) r="4.2" {} },
        2 => at(&[(0.0, -5.0), (4.8, 3.6), (-4.8, 3.6)]),
        3 => at(&[(0.0, -5.4), (5.4, 0.0), (0.0, 5.4), (-5.4, 0.0)]),
        4 => at(&[(0.0, 5.0), (4.8, -3.6), (-4.8, -3.6)]),
        5 => at(&[(-5.0, 0.0), (3.6, -4.8), (3.6, 4.8)]),
        _ => at(&[(5.0, 0.0), (-3.6, -4.8), (-3.6, 4.8)]),
    };
    html! { path class=(class) d=(shape) {} }
}

/// A chart with its name and description for those who do not see it. `id` is unique on the page.
pub(super) fn chart(
    id: &str,
    class: &str,
    (width, height): (f64, f64),
    title: &str,
    description: &str,
    inside: &Markup,
) -> Markup {
    html! {
        svg id=(id) class=(format!("chart {class}")) role="img"
            viewBox=(format!("0 0 {} {}", px(width), px(height)))
            aria-labelledby=(format!("{id}-t {id}-d")) {
            title id=(format!("{id}-t")) { (title) }
            desc id=(format!("{id}-d")) { (description) }
            (inside)
        }
    }
}

/// Axes around curves: to the left what they show, below along what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    /// Width and height of the whole chart.
    pub(super) size: (f64, f64),
    /// What the horizontal axis shows.
    pub(super) along: &'a str,
    /// What the vertical one does, or its unit.
    pub(super) unit: &'a str,
}

impl Frame<'_> {
    /// From left to right, where curves are drawn.
    pub(super) fn across(&self) -> (f64, f64) {
        (60.0, self.size.0 - 16.0)
    }

    /// From bottom to top.
    pub(super) fn up(&self) -> (f64, f64) {
        (self.size.1 - 44.0, 12.0)
    }

    /// Lines and texts: vertical ones at `x`, horizontal ones at the ticks of `y`.
    pub(super) fn axes(&self, x: impl IntoIterator<Item = (f64, String)>, y: &Scale) -> Markup {
        let ((left, right), (bottom, top)) = (self.across(), self.up());
        html! {
            @for (value, text) in y.ticks() {
                line.grid x1=(px(left)) x2=(px(right)) y1=(px(y.at(value))) y2=(px(y.at(value))) {}
                text.tick.end x=(px(left - 7.0)) y=(px(y.at(value) + 4.0)) { (text) }
            }
            @for (at, text) in x {
                line.grid x1=(px(at)) x2=(px(at)) y1=(px(top)) y2=(px(bottom)) {}
                text.tick.middle x=(px(at)) y=(px(bottom + 17.0)) { (text) }
            }
            text.axis x=(px(left)) y=(px(self.size.1 - 8.0)) { (self.along) }
            text.axis.middle
                transform=(format!("translate(13 {}) rotate(-90)", px((top + bottom) / 2.0))) {
                (self.unit)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_round_numbers_and_hold_their_values() {
        let scale = Scale::linear(32.6, (0.0, 100.0));
        assert_eq!((scale.from, scale.to, scale.at(0.0)), (0.0, 40.0, 0.0));
        let ticks: Vec<String> = scale.ticks().into_iter().map(|t| t.1).collect();
        assert_eq!(ticks, ["0", "10", "20", "30", "40"]);
        let scale = Scale::log([0.27, 999.0], (100.0, 0.0));
        assert_eq!((scale.from, scale.to), (0.2, 1_000.0));
        let ticks: Vec<String> = scale.ticks().into_iter().map(|t| t.1).collect();
        assert_eq!(ticks, ["1", "10", "100", "1,000"]);
        assert!((scale.at(1_000.0), scale.at(0.0001)) == (0.0, 100.0));
        let none = Scale::log([], (0.0, 1.0));
        assert_eq!((none.from, none.to), (1.0, 10.0));
        assert!(Scale::linear(f64::NAN, (0.0, 1.0)).at(0.5) >= 0.0);
    }

    #[test]
    fn a_path_has_a_gap_where_there_is_no_value() {
        let points = [Some((0.0, 1.0)), Some((2.25, 1.0)), None, Some((3.0, 4.0))];
        assert_eq!(path(points), "M0 1L2.2 1M3 4l0 0");
    }
}
