//! The terms of `episodes.rs` for logs whose episodes all have one step (bandit logs).
//!
//! With T = 1 every weight is W_0, G = r_0 and v_1 = 0, so what is summed by step and by episode is the same
//! ([`Form::with_one_step`]), and each term is one expression of the row. Written that way the loops below
//! vectorise, which makes bandit logs, the commonest, several times faster. Weights that leave the range of
//! `f64` go the general way. Tests hold both ways to the same numbers.

use crate::form::Form;
use crate::lanes::{fill, largest, prefetch, sum, sum_of, vectorise};
use crate::sums::{Moments, Sums};
use crate::terms::episodes::{Means, Reads};
use crate::tiles::Tile;
use crate::weights::Weight;

/// Asks for the same column's next tile, between loops over this one.
#[inline(always)]
fn ahead(column: &[f64]) {
    prefetch(column, 0, column.len(), column.len());
}

/// Whether every ratio is exactly 0 or in the safe range.
pub fn all_safe(tile: &Tile) -> bool {
    // Counted as numbers, not searched for, so that the loop vectorises.
    let unsafe_rows = vectorise(
        #[inline(always)]
        || {
            sum_of([tile.rho, tile.prob], |[rho, p]| {
                let outside = if rho.is_safe() { 0.0 } else { 1.0 };
                if p == 0.0 { 0.0 } else { outside }
            })
        },
    );
    unsafe_rows == 0.0
}

/// As [`super::episodes::add`].
pub fn add(tile: &Tile, weights: &[f64], reads: Reads, total: &mut Sums<f64>) {
    vectorise(
        #[inline(always)]
        || {
            let n = weights.len();
            ahead(tile.prob);
            ahead(tile.propensity);
            let (w, r) = (weights, &tile.reward[..n]);
            let total_weight = sum(w);
            let wr = sum_of([w, r], |[w, r]| w * r);
            let squares = sum_of([w], |[w]| w * w);
            ahead(tile.reward);
            if reads.squares {
                total.square_return += sum_of([w, r], |[w, r]| w * w * r);
            }
            let wd = if reads.residual {
                let q = &tile.q[..n];
                sum_of([w, r, q], |[w, r, q]| w * (r - q))
            } else {
                0.0
            };
            ahead(tile.q);
            ahead(tile.v);
            let last = Moments {
                sum: total_weight,
                squares,
                max: largest(w),
            };
            let step = &mut total.steps[0];
            step.w += total_weight;
            step.wr += wr;
            step.wd += wd;
            total.ended[1] += total_weight;
            total.last_return += wr;
            total.last.merge(&last);
            total.discounted.merge(&last);
            total.tails[0].offer_all(w, last.max);
        },
    );
}

/// As [`super::episodes::influence`], where no influence value is rescaled.
pub fn influence(
    tile: &Tile,
    weights: &[f64],
    forms: &[Form],
    means: &Means<f64>,
    out: &mut [Vec<f64>],
    at: usize,
    bias: &mut f64,
) {
    vectorise(
        #[inline(always)]
        || {
            let n = tile.reward.len();
            let (w, r) = (weights, &tile.reward[..n]);
            for (&form, out) in forms.iter().zip(out.iter_mut()) {
                let out = &mut out[at..at + n];
                let value = means.plain[form as usize];
                let v0 = means.plain[Form::Direct as usize];
                match form {
                    Form::Direct => fill(out, |i| tile.v[i] - value),
                    Form::Return | Form::Reward => {
                        let w = &w[..n];
                        fill(out, |i| w[i] * r[i] - value);
                        ahead(tile.prob);
                    }
                    Form::NormalisedReturn | Form::NormalisedReward => {
                        let (w, scale) = (&w[..n], means.last);
                        let psi = |w: f64, r: f64| w * scale * (r - value);
                        fill(out, |i| psi(w[i], r[i]));
                        *bias += sum_of([w, r], |[w, r]| w * scale * psi(w, r));
                        ahead(tile.propensity);
                        ahead(tile.reward);
                    }
                    Form::Residual => {
                        let (w, q, v) = (&w[..n], &tile.q[..n], &tile.v[..n]);
                        fill(out, |i| v[i] + w[i] * (r[i] - q[i]) - value);
                        ahead(tile.q);
                        ahead(tile.v);
                    }
                    Form::NormalisedResidual => {
                        let (w, q, v) = (&w[..n], &tile.q[..n], &tile.v[..n]);
                        let (mean, scale) = (means.residual.mean[0], means.scale[0]);
                        fill(out, |i| v[i] - v0 + w[i] * scale * (r[i] - q[i] - mean));
                    }
                    Form::Centred => {
                        let (w, c) = (&w[..n], means.control);
                        fill(out, |i| w[i] * (r[i] - c) + c - value);
                    }
                }
            }
        },
    );
}
