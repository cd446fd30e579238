//! The terms of `basic.rs` for logs whose episodes all have one step (bandit logs).
//!
//! With T = 1 every weight is w_0 = rho_0, G = r_0 and v_1 = 0, so tis = pdis, sntis = snpdis, and
//! each term is one expression of the row. Written that way the loops below vectorise, which makes
//! bandit logs, the commonest, several times faster. Weights that leave the range of `f64` go the
//! general way. Tests hold both ways to the same numbers. Influence values of pdis and snpdis are
//! not written: [`twin`] says whose are theirs.

use crate::lanes::{fill, largest, sums, vectorise};
use crate::registry::{ESTIMATORS, Estimator};
use crate::sums::{Moments, StepSums, Sums};
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

/// Whether every weight is exactly 0 or in the safe range.
#[inline(always)]
fn all_safe(tile: &Tile) -> bool {
    let mut unsafe_rows = 0;
    for (rho, p) in tile.rho.iter().zip(tile.prob) {
        // Counted, not searched for, so that the loop vectorises.
        unsafe_rows += usize::from(!rho.is_safe()) * usize::from(*p != 0.0);
    }
    unsafe_rows == 0
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
            let (rho, r) = (tile.rho, &tile.reward[..n]);
            let [w, wr, squares] = sums([rho, r], |[rho, r]| [rho, rho * r, rho * rho]);
            let wd = if DOUBLY_ROBUST {
                let q = &tile.q[..n];
                sums([rho, r, q], |[rho, r, q]| [rho * (r - q)])[0]
            } else {
                0.0
            };
            let last = Moments {
                sum: w,
                squares,
                max: largest(rho),
            };
            let mut part = Sums::new(1);
            part.steps[0] = StepSums { w, wr, wd };
            part.ended[1] = w;
            part.last = last;
            part.last_return = wr;
            part.discounted = last;
            total.merge(&part);
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
            fill(&mut out[Estimator::Tis as usize][rows.clone()], |i| {
                rho[i] * r[i] - means.tis
            });
            let (mean, scale) = (means.sntis, means.last);
            let sntis = |rho: f64, r: f64| rho * scale * (r - mean);
            fill(&mut out[Estimator::Sntis as usize][rows.clone()], |i| {
                sntis(rho[i], r[i])
            });
            *bias += sums([rho, r], |[rho, r]| [rho * scale * sntis(rho, r)])[0];
            if DOUBLY_ROBUST {
                let (q, v) = (&tile.q[..n], &tile.v[..n]);
                fill(&mut out[Estimator::Dr as usize][rows.clone()], |i| {
                    v[i] + rho[i] * (r[i] - q[i]) - means.dr
                });
                let (v0, mean, scale) = (means.v0, means.d[0], means.scale[0]);
                fill(&mut out[Estimator::Sndr as usize][rows.clone()], |i| {
                    v[i] - v0 + rho[i] * scale * (r[i] - q[i] - mean)
                });
            }
            true
        },
    )
}
