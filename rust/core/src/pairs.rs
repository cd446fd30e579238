//! Squares of influence values and of their differences, for every pair of policies.
//!
//! The variance of the difference of two nearly equal policies does not survive in
//! var a + var b - 2 cov, so differences are squared as such: O(P^2) an episode and estimator.

use crate::estimate::{Estimate, Values};
use crate::evaluate::Influence;
use crate::lanes::sum_pairs;
use crate::registry::Estimator;
use crate::terms::one_step;
use crate::tiles::Plan;
use crate::weights::Extended;

/// Power of two by which influence values of policy `p` are divided; the behavior policy's by none.
fn exponent(values: &[Values], p: usize, estimator: Estimator) -> i64 {
    values.get(p).map_or(0, |v| v.means.exponent(estimator))
}

/// Full matrices of variances from the upper triangles of scaled squares.
pub(crate) fn variances(
    squares: &[f64],
    values: &[Values],
    estimates: &[Estimate],
    estimators: &[Estimator],
    n: usize,
) -> Vec<f64> {
    let size = values.len() + 1;
    let mut out = vec![f64::NAN; squares.len()];
    if n < 2 {
        return out;
    }
    for (e, &estimator) in estimators.iter().enumerate() {
        for p in 0..size {
            for q in p..size {
                let square = squares[(e * size + p) * size + q] / (n as f64 * (n as f64 - 1.0));
                let common = exponent(values, p, estimator).max(exponent(values, q, estimator));
                let undefined = [p, q].iter().any(|&p| {
                    p < values.len() && estimates[p * estimators.len() + e].value.is_nan()
                });
                let value = if undefined {
                    f64::NAN
                } else {
                    Extended::new(square, 2 * common).to_f64()
                };
                out[(e * size + p) * size + q] = value;
                out[(e * size + q) * size + p] = value;
            }
        }
    }
    out
}

/// sum (a 2^`up` - b 2^`vp`)^2 for shifts that are 0 or less.
fn squared_difference(a: &[f64], b: &[f64], (up, vp): (i64, i64)) -> f64 {
    if (up, vp) == (0, 0) {
        return sum_pairs(a, b, |x, y| (x - y) * (x - y));
    }
    let factor = |shift| Extended::new(1.0, shift).to_f64();
    let (f, g) = (factor(up), factor(vp));
    sum_pairs(a, b, |x, y| (x * f - y * g) * (x * f - y * g))
}

/// The estimator whose influence values stand for this one's.
fn source(plan: &Plan, estimator: Estimator) -> Estimator {
    if plan.one_step() {
        one_step::twin(estimator)
    } else {
        estimator
    }
}

/// Squares of influence values and of their differences, the behavior policy's last.
pub(crate) fn squares(
    plan: &Plan,
    found: &[Influence],
    own: &[f64],
    values: &[Values],
) -> Vec<f64> {
    let size = found.len() + 1;
    let mut squares = vec![0.0; plan.estimators.len() * size * size];
    let n = own.len();
    let own_square = sum_pairs(own, own, |x, y| x * y);
    for (e, &estimator) in plan.estimators.iter().enumerate() {
        let at = |p: usize, q: usize| (e * size + p) * size + q;
        let estimator = source(plan, estimator);
        if let Some(first) = plan.estimators[..e]
            .iter()
            .position(|&earlier| source(plan, earlier) == estimator)
        {
            let matrix = first * size * size..(first + 1) * size * size;
            squares.copy_within(matrix, at(0, 0));
            continue;
        }
        let row = |p: usize| {
            found
                .get(p)
                .map_or(own, |f| &f.psi[estimator as usize][..n])
        };
        for p in 0..found.len() {
            squares[at(p, p)] = sum_pairs(row(p), row(p), |x, y| x * y);
            for q in p + 1..size {
                let pair = (
                    exponent(values, p, estimator),
                    exponent(values, q, estimator),
                );
                let common = pair.0.max(pair.1);
                let shifts = (pair.0 - common, pair.1 - common);
                squares[at(p, q)] = squared_difference(row(p), row(q), shifts);
            }
        }
        squares[at(size - 1, size - 1)] = own_square;
    }
    squares
}
