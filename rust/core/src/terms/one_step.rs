//! The terms of `basic.rs` for logs whose episodes all have one step (bandit logs).
//!
//! With T = 1 every weight is w_0 = rho_0, G = r_0 and v_1 = 0, so tis = pdis, sntis = snpdis, and
//! each term is one expression of the row. Written that way the loops below vectorise, which makes
//! bandit logs, the commonest, several times faster. Weights that leave the range of `f64` go the
//! general way. Tests hold both ways to the same numbers.

use crate::registry::{ESTIMATORS, Estimator};
use crate::sums::{Moments, StepSums, Sums};
use crate::terms::basic::{StepMeans, Tile};
use crate::weights::Weight;

/// Partial sums that are kept side by side, so that additions need not wait for each other. Part of
/// the order of summation: the same on every machine.
const LANES: usize = 8;

/// sum of `term(row)` over the rows, in [`LANES`] partial sums.
#[inline(always)]
fn sums<const N: usize>(rows: usize, term: impl Fn(usize) -> [f64; N]) -> [f64; N] {
    let mut lanes = [[0.0; LANES]; N];
    for start in (0..rows - rows % LANES).step_by(LANES) {
        for lane in 0..LANES {
            let terms = term(start + lane);
            for (sum, x) in lanes.iter_mut().zip(terms) {
                sum[lane] += x;
            }
        }
    }
    let mut total = lanes.map(|lanes| lanes.iter().sum());
    for row in rows - rows % LANES..rows {
        for (sum, x) in total.iter_mut().zip(term(row)) {
            *sum += x;
        }
    }
    total
}

/// sum of the first value of each episode.
pub fn sum(values: &[f64]) -> f64 {
    sums(values.len(), |i| [values[i]])[0]
}

/// rho of each row; `None` where one leaves the safe range.
fn ratios(tile: &Tile) -> Option<Vec<f64>> {
    let pairs = tile.prob.iter().zip(tile.propensity);
    let rho: Vec<f64> = pairs.map(|(p, b)| p / b).collect();
    let mut unsafe_rows = 0;
    for (rho, p) in rho.iter().zip(tile.prob) {
        // Counted, not searched for, so that the loop vectorises.
        unsafe_rows += usize::from(!rho.is_safe()) * usize::from(*p != 0.0);
    }
    (unsafe_rows == 0).then_some(rho)
}

/// As [`super::basic::add`].
#[must_use]
pub fn add<const DOUBLY_ROBUST: bool>(tile: &Tile, total: &mut Sums<f64>) -> bool {
    let Some(rho) = ratios(tile) else {
        return false;
    };
    let n = rho.len();
    let (rho, r) = (&rho[..n], &tile.reward[..n]);
    let [w, wr, squares] = sums(n, |i| [rho[i], rho[i] * r[i], rho[i] * rho[i]]);
    let wd = if DOUBLY_ROBUST {
        let q = &tile.q[..n];
        sums(n, |i| [rho[i] * (r[i] - q[i])])[0]
    } else {
        0.0
    };
    let max = rho.iter().fold(0.0, |max: f64, rho| max.larger(*rho));
    let mut part = Sums::new(1);
    part.steps[0] = StepSums { w, wr, wd };
    part.ended[1] = w;
    part.last = Moments {
        sum: w,
        squares,
        max,
    };
    part.last_return = wr;
    part.discounted = part.last;
    total.merge(&part);
    true
}

/// As [`super::basic::influence`].
#[must_use]
pub fn influence<const DOUBLY_ROBUST: bool>(
    tile: &Tile,
    means: &StepMeans<f64>,
    out: &mut [Vec<f64>; ESTIMATORS],
    at: usize,
    bias: &mut f64,
) -> bool {
    let Some(rho) = ratios(tile).filter(|_| means.exponents == (0, 0)) else {
        return false;
    };
    let n = rho.len();
    let (rho, r) = (&rho[..n], &tile.reward[..n]);
    let mut put = |estimator: Estimator, psi: &mut dyn FnMut(&mut [f64])| {
        psi(&mut out[estimator as usize][at..at + n]);
    };
    for (estimator, value) in [(Estimator::Tis, means.tis), (Estimator::Pdis, means.pdis)] {
        put(estimator, &mut |out| fill(out, |i| rho[i] * r[i] - value));
    }
    for (estimator, value, scale) in [
        (Estimator::Sntis, means.sntis, means.last),
        (Estimator::Snpdis, means.r[0], means.scale[0]),
    ] {
        put(estimator, &mut |out| {
            fill(out, |i| rho[i] * scale * (r[i] - value));
        });
    }
    let sntis = |i: usize| rho[i] * means.last * (r[i] - means.sntis);
    *bias += sums(n, |i| [rho[i] * means.last * sntis(i)])[0];
    if DOUBLY_ROBUST {
        let (q, v) = (&tile.q[..n], &tile.v[..n]);
        put(Estimator::Dr, &mut |out| {
            fill(out, |i| v[i] + rho[i] * (r[i] - q[i]) - means.dr);
        });
        let (mean, scale) = (means.d[0], means.scale[0]);
        put(Estimator::Sndr, &mut |out| {
            fill(out, |i| {
                v[i] - means.v0 + rho[i] * scale * (r[i] - q[i] - mean)
            });
        });
    }
    true
}

#[inline(always)]
fn fill(out: &mut [f64], psi: impl Fn(usize) -> f64) {
    for (i, x) in out.iter_mut().enumerate() {
        *x = psi(i);
    }
}
