//! Numbers as people read them: three significant digits, thousands apart, `–` where there is
//! none.

/// What stands for a number that there is not.
pub(crate) const NONE: &str = "–";

/// Three significant digits, but never fewer than the whole part has: `0.0853`, `85.3`, `12,346`.
pub(crate) fn three(value: f64) -> String {
    if !value.is_finite() {
        return NONE.to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    // Digits after the point so that three are significant. Rounding may carry into one more digit
    // before the point (9.996 is 10.0), so it is asked of the rounded number.
    let decimals = |value: f64| (2 - value.abs().log10().floor() as i32).clamp(0, 9) as usize;
    let first = decimals(value);
    let rounded: f64 = format!("{value:.first$}").parse().unwrap_or(value);
    let places = if rounded == 0.0 {
        first
    } else {
        decimals(rounded)
    };
    let text = format!("{value:.places$}");
    match text.split_once('.') {
        Some((whole, fraction)) => format!("{}.{fraction}", thousands(whole)),
        None => thousands(&text),
    }
}

/// A count with its thousands apart.
pub(crate) fn count(value: u64) -> String {
    thousands(&value.to_string())
}

/// `value / unit` with three significant digits.
pub(crate) fn in_unit(value: Option<f64>, unit: f64) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| three(value / unit))
}

/// Nanoseconds as milliseconds.
pub(crate) fn ms(ns: Option<u64>) -> String {
    in_unit(ns.map(|ns| ns as f64), 1e6)
}

fn thousands(digits: &str) -> String {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", digits),
    };
    let mut out = sign.to_owned();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_are_significant_and_no_whole_digit_is_lost() {
        for (value, expected) in [
            (0.0, "0"),
            (0.085_312, "0.0853"),
            (0.999_6, "1.00"),
            (9.996, "10.0"),
            (1.0, "1.00"),
            (85.31, "85.3"),
            (299.97, "300"),
            (999.6, "1,000"),
            (12_345.6, "12,346"),
            (1_234_567.0, "1,234,567"),
            (-5.0, "-5.00"),
            (-1_234.0, "-1,234"),
            (f64::NAN, "–"),
            (1e-20, "0.000000000"),
        ] {
            assert_eq!(three(value), expected, "{value}");
        }
    }

    #[test]
    fn units_are_applied_and_nothing_is_a_dash() {
        assert_eq!(ms(Some(84_000)), "0.0840");
        assert_eq!(ms(None), "–");
        assert_eq!(in_unit(Some(7_210.0), 1e3), "7.21");
        assert_eq!(in_unit(None, 1e3), "–");
        assert_eq!(
            (count(0), count(999), count(1_000)),
            ("0".into(), "999".into(), "1,000".into())
        );
    }
}
