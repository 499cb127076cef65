//! Non-negative least squares: costs that are not below 0 and make each row sum to 1 as nearly as can be.

/// Rounds of coordinate descent; a fit of six terms is still after a few hundred.
const ROUNDS: usize = 4_000;

/// Non-negative coefficients with which each row sums to 1, in least squares; drawn towards `prior` by
/// `weight`, a share of the rows. `None` without rows.
///
/// Coordinate descent on the normal equations: for a convex problem with bounds it reaches the
/// minimum (Franc, Hlaváč and Navara 2005, *Sequential Coordinate-Wise Algorithm for the
/// Non-negative Least Squares Problem*).
pub fn solve<const TERMS: usize>(
    rows: &[[f64; TERMS]],
    prior: Option<[f64; TERMS]>,
    weight: f64,
) -> Option<[f64; TERMS]> {
    if rows.is_empty() {
        return None;
    }
    let n = rows.len() as f64;
    let mut square = [[0.0; TERMS]; TERMS];
    let mut right = [0.0; TERMS];
    for row in rows {
        for i in 0..TERMS {
            right[i] += row[i] / n;
            for j in 0..TERMS {
                square[i][j] += row[i] * row[j] / n;
            }
        }
    }
    if let Some(prior) = prior {
        for i in 0..TERMS {
            // A term as large as it is in the rows, so that units play no part.
            let weight = weight * square[i][i];
            square[i][i] += weight;
            right[i] += weight * prior[i];
        }
    }
    let mut costs = prior.unwrap_or([0.0; TERMS]);
    for _ in 0..ROUNDS {
        for i in 0..TERMS {
            if square[i][i] <= 0.0 {
                continue;
            }
            let rest: f64 = (0..TERMS)
                .filter(|&j| j != i)
                .map(|j| square[i][j] * costs[j])
                .sum();
            costs[i] = ((right[i] - rest) / square[i][i]).max(0.0);
        }
    }
    Some(costs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_coefficients_are_found_and_none_falls_below_zero() {
        let near = |found: [f64; 2], expected: [f64; 2]| {
            found
                .iter()
                .zip(expected)
                .all(|(f, e)| (f - e).abs() < 1e-6)
        };
        // 2 a + 4 b = 1 and 3 a + 1 b = 1.
        let found = solve(&[[2.0, 4.0], [3.0, 1.0]], None, 0.0).expect("rows");
        assert!(near(found, [0.3, 0.1]), "{found:?}");
        // Without the bound, b were -1: a = 1, 2 a + b = 1.
        let found = solve(&[[1.0, 0.0], [2.0, 1.0]], None, 0.0).expect("rows");
        assert!(near(found, [0.6, 0.0]), "{found:?}");
        assert_eq!(solve::<2>(&[], None, 0.0), None);
    }

    #[test]
    fn a_prior_decides_what_the_rows_leave_open() {
        let found = solve(&[[1.0, 1.0]], Some([0.9, 0.3]), 0.01).expect("a row");
        assert!(
            (found[0] + found[1] - 1.0).abs() < 0.01 && found[0] > 2.0 * found[1],
            "{found:?}"
        );
    }
}
