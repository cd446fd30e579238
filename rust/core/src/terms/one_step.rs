//! The terms of `basic.rs` for logs whose episodes all have one step (bandit logs).
//!
//! With T = 1 every weight is w_0 = rho_0, G = r_0 and v_1 = 0, so tis = pdis, sntis = snpdis, and
//! each term is one expression of the row. Written that way the loops below vectorise, which makes
//! bandit logs, the commonest, several times faster. Weights that leave the range of `f64` go the
//! general way. Tests hold both ways to the same numbers. Influence values of pdis and snpdis are
//! not written: [`twin`] says whose are theirs.

use crate::lanes::{fill, largest, prefetch, sum_of, vectorise};
use crate::registry::{ESTIMATORS, Estimator};
use crate::sums::{Moments, Sums};
use crate::terms::basic::{StepMeans, Tile};
use crate::weights::Weight;

/// The estimator that is the same one when every episode has one step.
pub fn twin(estimator: Estimator) -> Estimator {
    match estimator {
        Estimator::Pdis => Estimator::Tis,
        Estimator::Snpdis => Estimator::Sntis,
        other => other,
    }
}

/// Asks for the same column's next tile, between loops over this one.
#[inline(always)]
fn ahead(column: &[f64]) {
    prefetch(column, 0, column.len(), column.len());
}

/// Whether every weight is exactly 0 or in the safe range.
#[inline(always)]
fn all_safe(tile: &Tile) -> bool {
    // Counted as numbers, not searched for, so that the loop vectorises.
    let unsafe_rows = sum_of([tile.rho, tile.prob], |[rho, p]| {
        let outside = if rho.is_safe() { 0.0 } else { 1.0 };
        if p == 0.0 { 0.0 } else { outside }
    });
    unsafe_rows == 0.0
}

/// As [`super::basic::add`].
#[must_use]
pub fn add<const DOUBLY_ROBUST: bool>(tile: &Tile, total: &mut Sums<f64>) -> bool {
    vectorise(
        #[inline(always)]
        || {
            if !all_safe(tile) {
                return false;
            }
            let n = tile.rho.len();
            ahead(tile.prob);
            ahead(tile.propensity);
            let (rho, r) = (tile.rho, &tile.reward[..n]);
            let w = sum_of([rho], |[rho]| rho);
            let wr = sum_of([rho, r], |[rho, r]| rho * r);
            let squares = sum_of([rho], |[rho]| rho * rho);
            ahead(tile.reward);
            let wd = if DOUBLY_ROBUST {
                let q = &tile.q[..n];
                sum_of([rho, r, q], |[rho, r, q]| rho * (r - q))
            } else {
                0.0
            };
            ahead(tile.q);
            ahead(tile.v);
            let last = Moments {
                sum: w,
                squares,
                max: largest(rho),
            };
            let step = &mut total.steps[0];
            step.w += w;
            step.wr += wr;
            step.wd += wd;
            total.ended[1] += w;
            total.last_return += wr;
            total.last.merge(&last);
            total.discounted.merge(&last);
            total.tails[0].offer_all(rho, last.max);
            true
        },
    )
}

/// As [`super::basic::influence`], for estimators that are their own [`twin`].
#[must_use]
pub fn influence<const DOUBLY_ROBUST: bool>(
    tile: &Tile,
    means: &StepMeans<f64>,
    out: &mut [Vec<f64>; ESTIMATORS],
    at: usize,
    bias: &mut f64,
) -> bool {
    vectorise(
        #[inline(always)]
        || {
            if !all_safe(tile) || means.exponents != (0, 0) {
                return false;
            }
            let n = tile.rho.len();
            let (rho, r) = (tile.rho, &tile.reward[..n]);
            let rows = at..at + n;
            ahead(tile.prob);
            fill(&mut out[Estimator::Tis as usize][rows.clone()], |i| {
                rho[i] * r[i] - means.tis
            });
            ahead(tile.propensity);
            let (mean, scale) = (means.sntis, means.last);
            let sntis = |rho: f64, r: f64| rho * scale * (r - mean);
            fill(&mut out[Estimator::Sntis as usize][rows.clone()], |i| {
                sntis(rho[i], r[i])
            });
            ahead(tile.reward);
            *bias += sum_of([rho, r], |[rho, r]| rho * scale * sntis(rho, r));
            if DOUBLY_ROBUST {
                let (q, v) = (&tile.q[..n], &tile.v[..n]);
                fill(&mut out[Estimator::Dr as usize][rows.clone()], |i| {
                    v[i] + rho[i] * (r[i] - q[i]) - means.dr
                });
                ahead(tile.q);
                ahead(tile.v);
                let (v0, mean, scale) = (means.v0, means.d[0], means.scale[0]);
                fill(&mut out[Estimator::Sndr as usize][rows.clone()], |i| {
                    v[i] - v0 + rho[i] * scale * (r[i] - q[i] - mean)
                });
            }
            true
        },
    )
}
