//! How well estimates order policies: Spearman's rank correlation and Kendall's tau-b.
//!
//! With x and y the ranks of the true values and of the estimates, equals sharing the mean of theirs:
//!
//! ```text
//! rank_correlation    corr(x, y)
//! kendall_tau         sum over pairs of sign(x_i - x_j) sign(y_i - y_j)
//!                     / sqrt( pairs that differ in x * pairs that differ in y )
//! ```

use crate::lanes::vectorise;

/// As many comparisons at a time as there are places in the widest vectors.
const LANES: usize = 8;

/// The order of the true values.
pub(crate) struct RankAgreement {
    ranks: Vec<f64>,
    /// The policies by rank; of each, how many stand before all that equal it.
    order: Vec<(usize, usize)>,
    /// Pairs that differ.
    pairs: f64,
}

/// Buffers.
#[derive(Default)]
pub(crate) struct Ranks {
    ranks: Vec<f64>,
    /// In the order of the true values.
    arranged: Vec<f32>,
}

impl RankAgreement {
    /// For values, and their order from [`crate::top_k::rank`]; none is NaN.
    pub(crate) fn new(values: &[f64], order: &[usize]) -> Self {
        let mut ranks = Vec::new();
        let pairs = average_ranks(values, order, &mut ranks);
        let tied = order.chunk_by(|&a, &b| values[a] == values[b]);
        let mut before = 0;
        let order = tied.flat_map(|tied| {
            let start = before;
            before += tied.len();
            tied.iter().map(move |&policy| (policy, start))
        });
        Self {
            order: order.collect(),
            ranks,
            pairs,
        }
    }

    /// Spearman's correlation and Kendall's tau-b with estimates that stand in `order`; NaN where true values
    /// or estimates are all equal, or where an estimate is NaN.
    pub(crate) fn with(&self, estimates: &[f64], order: &[usize], space: &mut Ranks) -> (f64, f64) {
        let Ranks { ranks, arranged } = space;
        let pairs = average_ranks(estimates, order, ranks);
        if order.last().is_some_and(|&last| estimates[last].is_nan()) {
            return (f64::NAN, f64::NAN);
        }
        if pairs == 0.0 || self.pairs == 0.0 {
            return (f64::NAN, f64::NAN);
        }
        arranged.clear();
        // Exact: ranks are multiples of one half.
        arranged.extend(self.order.iter().map(|&(policy, _)| ranks[policy] as f32));
        let agreeing: i64 = vectorise(
            #[inline(always)]
            || {
                let places = self.order.iter().zip(&*arranged);
                places
                    .map(|(&(_, start), &rank)| balance(&arranged[..start], rank))
                    .sum()
            },
        );
        (
            correlation(&self.ranks, ranks),
            agreeing as f64 / (self.pairs * pairs).sqrt(),
        )
    }
}

/// How many ranks are below one, less how many are above.
#[inline(always)]
fn balance(ranks: &[f32], rank: f32) -> i64 {
    let sign = |x: f32| i32::from(x < rank) - i32::from(x > rank);
    let (chunks, rest) = ranks.as_chunks::<LANES>();
    let mut lanes = [0; LANES];
    for chunk in chunks {
        for (sum, x) in lanes.iter_mut().zip(chunk) {
            *sum += sign(*x);
        }
    }
    let rest = rest.iter().map(|&x| sign(x));
    i64::from(lanes.into_iter().chain(rest).sum::<i32>())
}

/// Ranks from 1 for what stands first in `order`, equals sharing the mean of theirs; how many pairs differ.
fn average_ranks(values: &[f64], order: &[usize], out: &mut Vec<f64>) -> f64 {
    out.clear();
    out.resize(values.len(), 0.0);
    let mut before = 0;
    let mut pairs = 0.0;
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        pairs += before as f64 * tied.len() as f64;
        let rank = f64::midpoint(before as f64 + 1.0, (before + tied.len()) as f64);
        for &i in tied {
            out[i] = rank;
        }
        before += tied.len();
    }
    pairs
}

/// Pearson's correlation of ranks that vary.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = f64::midpoint(1.0, a.len() as f64);
    let [mut aa, mut bb, mut ab] = [0.0; 3];
    for (x, y) in a.iter().zip(b) {
        aa += (x - mean) * (x - mean);
        bb += (y - mean) * (y - mean);
        ab += (x - mean) * (y - mean);
    }
    (ab / (aa * bb).sqrt()).clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top_k::{Ties, rank};
    use proptest::prelude::*;

    fn agreement(truth: &[f64], estimates: &[f64]) -> (f64, f64) {
        let space = &mut Ranks::default();
        let order = rank(estimates, Ties::First);
        RankAgreement::new(truth, &rank(truth, Ties::Last)).with(estimates, &order, space)
    }

    proptest! {
        #[test]
        fn tau_by_pairs(values in prop::collection::vec((0_i8..9, 0_i8..9), 1..60)) {
            let (x, y): (Vec<_>, Vec<_>) =
                values.iter().map(|&(x, y)| (f64::from(x), f64::from(y))).unzip();
            let sign = |a: f64, b: f64| if a == b { 0.0 } else { (a - b).signum() };
            let [mut xx, mut yy, mut xy] = [0.0; 3];
            for i in 0..x.len() {
                for j in 0..i {
                    let (s, t) = (sign(x[i], x[j]), sign(y[i], y[j]));
                    xx += s * s;
                    yy += t * t;
                    xy += s * t;
                }
            }
            let (rho, tau) = agreement(&x, &y);
            if xx * yy == 0.0 {
                prop_assert!(rho.is_nan() && tau.is_nan());
            } else {
                prop_assert!((tau - xy / f64::sqrt(xx * yy)).abs() < 1e-14);
                prop_assert_eq!(agreement(&y, &x).1, tau);
                prop_assert_eq!(agreement(&x, &x), (1.0, 1.0));
            }
        }
    }

    #[test]
    fn an_undefined_estimate_leaves_no_agreement() {
        let (rho, tau) = agreement(&[1.0, 2.0, 3.0], &[1.0, f64::NAN, 3.0]);
        assert!(rho.is_nan() && tau.is_nan());
    }
}
