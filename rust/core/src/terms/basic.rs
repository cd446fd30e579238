//! The seven basic estimators: what one episode contributes to values and influence values.
//!
//! With rho_t = pi(a_t|s_t) / b(a_t|s_t), w_t = rho_0 ... rho_t, w_{-1} = 1, G = sum_t gamma^t r_t,
//! and past the end of an episode the last weight held, r = q = v = 0 (the absorbing convention):
//!
//! ```text
//! dm      mean_i v_0
//! tis     mean_i w_{T-1} G                                                Precup 2000
//! pdis    mean_i sum_t gamma^t w_t r_t                                    Precup 2000
//! dr      mean_i { v_0 + sum_t gamma^t w_t d_t }                          Jiang & Li 2016, eq. 10
//! sntis   sum_i w_{T-1} G / sum_i w_{T-1}                                 Precup 2000
//! snpdis  sum_t gamma^t sum_i w_t r_t / sum_i w_t                         Thomas 2015 (CWPDIS)
//! sndr    mean_i v_0 + sum_t gamma^t sum_i w_t d_t / sum_i w_t            Thomas & Brunskill 2016
//! ```
//!
//! with d_t = r_t - q_t + gamma v_{t+1}. The papers write dr and sndr as sums of w_t (r_t - q_t) and
//! w_{t-1} v_t; collecting the terms that share a weight (v_{t+1} has the weight and, in sndr, the
//! denominator of step t) gives the form above, which needs three sums a step.
//!
//! Influence values psi_i (their squares give standard errors), with m_t = sum w_t r_t / sum w_t,
//! n_t = sum w_t d_t / sum w_t and the sums running to the horizon under the absorbing convention:
//!
//! ```text
//! dm, tis, pdis, dr   the episode's term less the value
//! sntis               w_{T-1} (G - value) / mean w_{T-1}
//! snpdis              sum_t gamma^t w_t (r_t - m_t) / mean w_t
//! sndr                v_0 - mean v_0 + sum_t gamma^t w_t (d_t - n_t) / mean w_t
//! ```
//!
//! An episode that has ended goes on adding -w_{T-1} gamma^t m_t / mean w_t: one product with a
//! suffix sum (`StepMeans::held_r`, `held_d`) instead of a visit to every later step.

use std::ops::Range;

use crate::episode::Episodes;
use crate::lanes::prefetch;
use crate::registry::{ESTIMATORS, Estimator};
use crate::sums::{Discount, Sums, TILE_ROWS};
use crate::weights::Weight;

/// Consecutive whole episodes of a block: their columns, read and checked.
#[derive(Debug, Clone, Copy)]
pub struct Tile<'a> {
    /// Where all episodes of the log begin and end.
    pub episodes: &'a Episodes,
    /// First episode of the tile and the one after its last.
    pub span: (usize, usize),
    /// pi(a_t|s_t).
    pub prob: &'a [f64],
    /// b(a_t|s_t).
    pub propensity: &'a [f64],
    /// rho_t = prob / propensity, in `f64`: 0 or infinite where that cannot hold it.
    pub rho: &'a [f64],
    /// r_t.
    pub reward: &'a [f64],
    /// Q(s_t, a_t).
    pub q: &'a [f64],
    /// V(s_t) under the evaluation policy.
    pub v: &'a [f64],
    /// G of each episode.
    pub returns: &'a [f64],
}

/// One episode's part of a tile; all of one length but q and v, which are empty where unused.
struct Steps<'a> {
    rho: &'a [f64],
    prob: &'a [f64],
    propensity: &'a [f64],
    reward: &'a [f64],
    q: &'a [f64],
    v: &'a [f64],
}

impl<'a> Tile<'a> {
    #[inline(always)]
    fn steps<const DOUBLY_ROBUST: bool>(&self, rows: Range<usize>) -> Steps<'a> {
        let rho = &self.rho[rows.clone()];
        // Cut to one length once, so that no step has to be checked.
        let cut = |column: &'a [f64]| &column[rows.clone()][..rho.len()];
        let (q, v): (&[f64], &[f64]) = if DOUBLY_ROBUST {
            (cut(self.q), cut(self.v))
        } else {
            (&[], &[])
        };
        Steps {
            rho,
            prob: cut(self.prob),
            propensity: cut(self.propensity),
            reward: cut(self.reward),
            q,
            v,
        }
    }

    /// One episode of it, by its place.
    pub(crate) fn episode(&self, i: usize) -> Self {
        let base = self.episodes.rows(self.span.0, self.span.0).start;
        let i = self.span.0 + i;
        let rows = self.episodes.rows(i, i + 1);
        let rows = rows.start - base..rows.end - base;
        let cut = |column: &'a [f64]| column.get(rows.clone()).unwrap_or_default();
        Tile {
            episodes: self.episodes,
            span: (i, i + 1),
            prob: cut(self.prob),
            propensity: cut(self.propensity),
            rho: cut(self.rho),
            reward: cut(self.reward),
            q: cut(self.q),
            v: cut(self.v),
            returns: &self.returns[i - self.span.0..=i - self.span.0],
        }
    }

    /// Asks for the rows that stand one tile after these, in every column that is in use.
    #[inline(always)]
    fn prefetch(&self, rows: &Range<usize>) {
        for column in [self.prob, self.propensity, self.reward, self.q, self.v] {
            if !column.is_empty() {
                prefetch(column, rows.start, rows.len(), TILE_ROWS);
            }
        }
    }

    /// Rows of its episodes, counted from the tile's first row.
    pub fn rows(&self) -> impl Iterator<Item = Range<usize>> {
        let base = self.episodes.rows(self.span.0, self.span.0).start;
        (self.span.0..self.span.1).map(move |i| {
            let rows = self.episodes.rows(i, i + 1);
            rows.start - base..rows.end - base
        })
    }
}

/// d_t = r_t - q_t + gamma v_{t+1}, with v = 0 past the end.
#[inline(always)]
pub(crate) fn residual(r: f64, q: f64, v: &[f64], t: usize, gamma: f64) -> f64 {
    let next = if t + 1 < v.len() { v[t + 1] } else { 0.0 };
    r - q + gamma * next
}

/// Adds the tile's episodes to the sums of one policy. `false`: a weight left the range in which
/// `W` is exact, and the block is to be run again with the wide representation.
#[must_use]
pub fn add<W: Weight, const DOUBLY_ROBUST: bool>(
    tile: &Tile,
    discount: &Discount<W>,
    sums: &mut Sums<W>,
) -> bool {
    for (rows, &g) in tile.rows().zip(tile.returns) {
        tile.prefetch(&rows);
        let Steps {
            rho,
            prob,
            propensity,
            reward,
            q,
            v,
        } = tile.steps::<DOUBLY_ROBUST>(rows);
        let length = rho.len();
        let steps = &mut sums.steps[..length];
        let power = &discount.power[..length];
        let mut w = W::ONE;
        let mut c = W::ZERO;
        for t in 0..length {
            if rho[t] == 0.0 && prob[t] == 0.0 {
                // The weight is 0 from here to the horizon.
                w = W::ZERO;
                break;
            }
            w = w.step(rho[t], prob[t], propensity[t]);
            if !w.is_safe() {
                return false;
            }
            c = c.plus(w.product(power[t]));
            let step = &mut steps[t];
            step.w = step.w.plus(w);
            step.wr = step.wr.plus(w.times(reward[t]));
            if DOUBLY_ROBUST {
                let d = residual(reward[t], q[t], v, t, discount.gamma);
                step.wd = step.wd.plus(w.times(d));
            }
        }
        sums.ended[length] = sums.ended[length].plus(w);
        let c = c.plus(w.product(discount.remaining[length]));
        sums.last.add(w);
        sums.last_return = sums.last_return.plus(w.times(g));
        sums.discounted.add(c);
        sums.tails[0].offer(w.scaled(0));
        sums.tails[1].offer(c.scaled(0));
    }
    true
}

/// What influence values need to know of the sums of all episodes.
#[derive(Debug, Clone)]
pub struct StepMeans<W> {
    /// gamma^t / mean w_t; 0 where the mean is 0.
    pub scale: Vec<W>,
    /// m_t = sum w_t r_t / sum w_t.
    pub r: Vec<f64>,
    /// n_t = sum w_t d_t / sum w_t.
    pub d: Vec<f64>,
    /// sum of `scale` m over the steps from T on, at index T.
    pub held_r: Vec<W>,
    /// sum of `scale` n over the steps from T on, at index T.
    pub held_d: Vec<W>,
    /// 1 / mean w_{T-1}.
    pub last: W,
    /// mean v_0.
    pub v0: f64,
    /// Values of `tis`, `pdis`, `dr`, `sntis`.
    pub tis: W,
    /// See `tis`.
    pub pdis: W,
    /// See `tis`.
    pub dr: W,
    /// See `tis`.
    pub sntis: f64,
    /// Powers of two by which influence values are divided so that their squares stay in range:
    /// for weights of whole episodes, and for weights by step.
    pub exponents: (i64, i64),
}

impl<W: Weight> StepMeans<W> {
    /// The power of two by which influence values of `estimator` are divided.
    pub fn exponent(&self, estimator: Estimator) -> i64 {
        match estimator {
            Estimator::Tis => self.exponents.0,
            Estimator::Pdis => self.exponents.1,
            // v_0 stands beside the weighted terms and does not shrink with them.
            Estimator::Dr => self.exponents.1.max(0),
            _ => 0,
        }
    }
}

/// Influence values of the tile's weighted estimators for one policy, `out[estimator][episode]` from
/// `at` on, and adds sum (w / mean w) psi of `sntis` to `bias`. `false` as in [`add`].
#[must_use]
pub fn influence<W: Weight, const DOUBLY_ROBUST: bool>(
    tile: &Tile,
    discount: &Discount<W>,
    means: &StepMeans<W>,
    out: &mut [Vec<f64>; ESTIMATORS],
    at: usize,
    bias: &mut f64,
) -> bool {
    let [tis_exponent, pdis_exponent, dr_exponent] =
        [Estimator::Tis, Estimator::Pdis, Estimator::Dr].map(|e| means.exponent(e));
    let less = |x: W, y: W| x.plus(y.times(-1.0));
    let n = tile.returns.len();
    let [_, tis, pdis_out, dr_out, sntis_out, snpdis_out, sndr_out] =
        out.each_mut().map(|psi| &mut psi[at..at + n]);
    for (i, (rows, &g)) in tile.rows().zip(tile.returns).enumerate() {
        tile.prefetch(&rows);
        let Steps {
            rho,
            prob,
            propensity,
            reward,
            q,
            v,
        } = tile.steps::<DOUBLY_ROBUST>(rows);
        let length = rho.len();
        let power = &discount.power[..length];
        let scale = &means.scale[..length];
        let (mean_r, mean_d) = (&means.r[..length], &means.d[..length]);
        let mut w = W::ONE;
        let (mut pdis, mut dr, mut snpdis, mut sndr) = (W::ZERO, W::ZERO, W::ZERO, W::ZERO);
        for t in 0..length {
            if rho[t] == 0.0 && prob[t] == 0.0 {
                w = W::ZERO;
                break;
            }
            w = w.step(rho[t], prob[t], propensity[t]);
            if !w.is_safe() {
                return false;
            }
            let (plain, normalised) = (w.product(power[t]), w.product(scale[t]));
            pdis = pdis.plus(plain.times(reward[t]));
            snpdis = snpdis.plus(normalised.times(reward[t] - mean_r[t]));
            if DOUBLY_ROBUST {
                let d = residual(reward[t], q[t], v, t, discount.gamma);
                dr = dr.plus(plain.times(d));
                sndr = sndr.plus(normalised.times(d - mean_d[t]));
            }
        }
        let share = w.product(means.last);
        let sntis = share.times(g - means.sntis).scaled(0);
        *bias += share.scaled(0) * sntis;
        sntis_out[i] = sntis;
        tis[i] = less(w.times(g), means.tis).scaled(tis_exponent);
        pdis_out[i] = less(pdis, means.pdis).scaled(pdis_exponent);
        snpdis_out[i] = less(snpdis, w.product(means.held_r[length])).scaled(0);
        if DOUBLY_ROBUST {
            let term = dr.plus(W::from_f64(v[0]));
            dr_out[i] = less(term, means.dr).scaled(dr_exponent);
            let held = w.product(means.held_d[length]);
            sndr_out[i] = v[0] - means.v0 + less(sndr, held).scaled(0);
        }
    }
    true
}
