//! Squares and cubes of influence values and of their differences, for every pair of policies.
//!
//! The squares give every standard error, the cubes with them the acceleration of the BCa bootstrap,
//! a = sum psi^3 / (6 (sum psi^2)^1.5). With clusters of episodes both are taken of the sums of psi over
//! each cluster. The variance of the difference of two nearly equal policies does not survive in
//! var a + var b - 2 cov, so differences are squared as such: O(P^2) an episode and estimator.

use crate::estimate::Estimate;
use crate::evaluate::Found;
use crate::lanes::sum_pairs;
use crate::plan::{Asked, Plan};
use crate::resample::Clusters;
use crate::sums::Spread;
use crate::weights::Extended;

/// Influence values of one policy by form (of all kinds of weights) and episode, or sums of them by cluster.
pub(crate) type Influences = Vec<Vec<f64>>;

/// Power of two by which influence values of policy `p` are divided; the behavior policy's by none.
fn exponent(values: &Found, p: usize, asked: &Asked) -> i64 {
    values
        .of(p, asked.group)
        .map_or(0, |v| v.means.exponent(asked.form))
}

/// What a sum of squares is multiplied by to be the variance of a mean: 1 / (n (n - 1)), or
/// C / ((C - 1) n^2) with clusters; NaN for a single episode or cluster.
pub(crate) fn variance_factor(n: usize, clusters: Option<usize>) -> f64 {
    let (units, n) = (clusters.unwrap_or(n) as f64, n as f64);
    if units < 2.0 {
        return f64::NAN;
    }
    if clusters.is_none() {
        1.0 / (n * (n - 1.0))
    } else {
        units / ((units - 1.0) * n * n)
    }
}

/// Full matrices over the policies and, last, the behavior policy, from upper triangles; `of` is given
/// the place in the triangles and the exponent that the pair's influence values were divided by.
fn matrices(
    values: &Found,
    estimates: &[Estimate],
    asked: &[Asked],
    of: impl Fn(usize, i64) -> f64,
) -> Vec<f64> {
    let size = estimates.len() / asked.len() + 1;
    let mut out = vec![f64::NAN; asked.len() * size * size];
    for (e, estimator) in asked.iter().enumerate() {
        for p in 0..size {
            for q in p..size {
                let undefined = [p, q].iter().any(|&p| {
                    let own = estimates.get(p * asked.len() + e);
                    own.is_some_and(|row| row.value.is_nan())
                });
                if undefined {
                    continue;
                }
                let common = exponent(values, p, estimator).max(exponent(values, q, estimator));
                let value = of((e * size + p) * size + q, common);
                out[(e * size + p) * size + q] = value;
                out[(e * size + q) * size + p] = value;
            }
        }
    }
    out
}

/// Variances of the estimates on the diagonals, of differences off them.
pub(crate) fn variances(
    squares: &[f64],
    values: &Found,
    estimates: &[Estimate],
    asked: &[Asked],
    factor: f64,
) -> Vec<f64> {
    matrices(values, estimates, asked, |at, exponent| {
        Extended::new(squares[at] * factor, 2 * exponent).to_f64()
    })
}

/// sum psi^3 / (6 (sum psi^2)^1.5), a sixth of the skewness of the terms over the square root of their
/// number; 0 where nothing varies.
pub(crate) fn acceleration(square: f64, cube: f64) -> f64 {
    if square > 0.0 {
        cube / (6.0 * square.powf(1.5))
    } else {
        0.0
    }
}

/// Accelerations of the same; 0 where nothing varies, NaN where cubes were not wanted. Off the diagonals of the upper triangle less the
/// lower one: of a - b for a before b, with the other sign for b - a.
pub(crate) fn accelerations(
    spread: &Spread,
    values: &Found,
    estimates: &[Estimate],
    asked: &[Asked],
) -> Vec<f64> {
    let mut out = matrices(values, estimates, asked, |at, _| {
        acceleration(spread.squares[at], spread.cubes[at])
    });
    let size = estimates.len() / asked.len() + 1;
    for matrix in out.chunks_exact_mut(size * size) {
        for p in 0..size {
            for q in 0..p {
                matrix[p * size + q] = -matrix[q * size + p];
            }
        }
    }
    out
}

/// Sums of squares and, if wanted (else NaN), of cubes of what `term` makes of two values.
#[inline(always)]
fn powers(a: &[f64], b: &[f64], cubes: bool, term: impl Fn(f64, f64) -> f64) -> [f64; 2] {
    let square = sum_pairs(a, b, |x, y| term(x, y) * term(x, y));
    let cube = |x, y| term(x, y) * term(x, y) * term(x, y);
    [
        square,
        if cubes {
            sum_pairs(a, b, cube)
        } else {
            f64::NAN
        },
    ]
}

/// [`powers`] of a 2^`up` - b 2^`vp`, for shifts that are 0 or less.
fn difference(a: &[f64], b: &[f64], (up, vp): (i64, i64), cubes: bool) -> [f64; 2] {
    if (up, vp) == (0, 0) {
        return powers(a, b, cubes, |x, y| x - y);
    }
    let [f, g] = [up, vp].map(|shift| Extended::new(1.0, shift).to_f64());
    powers(a, b, cubes, |x, y| x * f - y * g)
}

/// Squares of influence values and of their differences, the behavior policy's last, as upper triangles,
/// with cubes on the diagonals and of differences from the behavior policy; if wanted, of all.
pub(crate) fn spread(
    plan: &Plan,
    found: &[Influences],
    own: &[f64],
    values: &Found,
    cubes: bool,
) -> Spread {
    let size = found.len() + 1;
    let mut out = Spread::new(plan.asked.len(), found.len(), plan.groups.len());
    let n = own.len();
    for (e, asked) in plan.asked.iter().enumerate() {
        let at = |p: usize, q: usize| (e * size + p) * size + q;
        let earlier = plan.asked[..e].iter().position(|a| a.slot == asked.slot);
        if let Some(first) = earlier {
            let matrix = first * size * size..(first + 1) * size * size;
            out.squares.copy_within(matrix.clone(), at(0, 0));
            out.cubes.copy_within(matrix, at(0, 0));
            continue;
        }
        let row = |p: usize| found.get(p).map_or(own, |psi| &psi[asked.slot][..n]);
        for p in 0..size {
            [out.squares[at(p, p)], out.cubes[at(p, p)]] = powers(row(p), row(p), true, |x, _| x);
            for q in p + 1..size {
                let pair = [p, q].map(|p| exponent(values, p, asked));
                let common = pair[0].max(pair[1]);
                let shifts = (pair[0] - common, pair[1] - common);
                [out.squares[at(p, q)], out.cubes[at(p, q)]] =
                    difference(row(p), row(q), shifts, cubes || q + 1 == size);
            }
        }
    }
    out
}

/// Sums of influence values over clusters of episodes.
pub(crate) struct ClusterSums<'a> {
    clusters: Clusters<'a>,
    found: Vec<Influences>,
    own: Vec<f64>,
    /// First episode of the next block.
    next: usize,
}

impl<'a> ClusterSums<'a> {
    pub(crate) fn new(clusters: Clusters<'a>, policies: usize, slots: usize) -> Self {
        let zeros = vec![0.0; clusters.count];
        Self {
            clusters,
            found: vec![vec![zeros.clone(); slots]; policies],
            own: zeros,
            next: 0,
        }
    }

    /// Adds the influence values of the next block.
    pub(crate) fn add(&mut self, found: &[Influences], own: &[f64]) {
        let clusters = &self.clusters.of[self.next..self.next + own.len()];
        let add = |sums: &mut [f64], psi: &[f64]| {
            for (&cluster, x) in clusters.iter().zip(psi) {
                sums[cluster as usize] += x;
            }
        };
        for (sums, psi) in self.found.iter_mut().zip(found) {
            for (sums, psi) in sums.iter_mut().zip(psi) {
                add(sums, psi);
            }
        }
        add(&mut self.own, own);
        self.next += own.len();
    }

    pub(crate) fn spread(&self, plan: &Plan, values: &Found, cubes: bool) -> Spread {
        spread(plan, &self.found, &self.own, values, cubes)
    }
}
