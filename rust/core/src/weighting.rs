//! The weight W_t of each step: how importance ratios become what rewards are multiplied by.
//!
//! With rho_t = pi(a_t|s_t) / b(a_t|s_t), w_t = rho_0 ... rho_t, and the marginal ratios of states mu_s
//! and of states and actions mu_sa = mu_s rho, of `n_step` = k >= 0:
//!
//! ```text
//! cumulative     W_t = w_t                                                       Precup 2000
//! state          W_t = w_t for t < k, else mu_s(s_{t-k}) rho_{t-k} ... rho_t     Liu 2018; Yuan 2021
//! state-action   W_t = w_t for t < k, else mu_sa(s_{t-k}, a_{t-k}) rho_{t-k+1} ... rho_t
//!                                                                   Uehara 2020; Kallus & Uehara 2020
//! ```
//!
//! k + 1 ratios stand beside mu_s, k beside mu_sa, so that both are the same where mu_sa = mu_s rho, and
//! k of the horizon or more gives w_t. Past the end of an episode W_t is its last one (the absorbing
//! convention); that is left to those who sum.
//!
//! A transform f trades bias for variance. It is applied to the finished W_t, or with `per_step` to each
//! rho of a cumulative weight:
//!
//! ```text
//! clip          min(w, m)                                                       Ionides 2008
//! exponent      w^a, a in [0, 1]                                                Korba & Portier 2022
//! shrinkage     l w / (w^2 + l), l > 0                                          Su 2020 (DRos)
//! harmonic      w / (1 - l + l w), l in [0, 1)                                  Metelli 2021
//! switch        w 1{w <= m}                                                     Wang 2017
//! exploration   w b / (b + g) = pi / (b + g), one decision                      Kocák 2014; Neu 2015
//! smoothing     ln(1 + l w r) / (l r), one decision, r >= 0                     Sakhi 2024
//! ```

use std::ops::Range;

use crate::tiles::Tile;
use crate::weights::Weight;

/// What weights are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ratio {
    /// Nothing: the estimator has no weights.
    None,
    /// Products of all ratios so far.
    Cumulative,
    /// Marginal ratios of states.
    State,
    /// Marginal ratios of states and actions.
    StateAction,
}

impl Ratio {
    /// As Python knows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Cumulative => "cumulative",
            Self::State => "state",
            Self::StateAction => "state-action",
        }
    }
}

/// What is made of a weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Transform {
    /// Nothing.
    Identity,
    /// min(w, m).
    Clip(f64),
    /// w^a.
    Exponent(f64),
    /// l w / (w^2 + l).
    Shrinkage(f64),
    /// w / (1 - l + l w).
    Harmonic(f64),
    /// w 1{w <= m}.
    Switch(f64),
    /// pi / (b + g).
    Exploration(f64),
    /// ln(1 + l w r) / (l r).
    Smoothing(f64),
}

impl Transform {
    /// By its name as an option.
    pub fn from_name(name: &str, parameter: f64) -> Option<Self> {
        Some(match name {
            "clip" => Self::Clip(parameter),
            "exponent" => Self::Exponent(parameter),
            "shrinkage" => Self::Shrinkage(parameter),
            "harmonic" => Self::Harmonic(parameter),
            "switch" => Self::Switch(parameter),
            "exploration" => Self::Exploration(parameter),
            "smoothing" => Self::Smoothing(parameter),
            _ => return None,
        })
    }

    /// f(w) of a decision with propensity `b` and reward `r`.
    #[inline(always)]
    fn of<W: Weight>(self, w: W, b: f64, r: f64) -> W {
        let number = W::from_f64;
        match self {
            Self::Clip(m) if w.exceeds(m) => number(m),
            Self::Switch(m) if w.exceeds(m) => W::ZERO,
            Self::Identity | Self::Clip(_) | Self::Switch(_) => w,
            Self::Exponent(a) => w.powf(a),
            Self::Shrinkage(l) => w.times(l).divided_by(w.product(w).plus(number(l))),
            Self::Harmonic(l) => w.divided_by(w.times(l).plus(number(1.0 - l))),
            Self::Exploration(g) => w.times(b / (b + g)),
            Self::Smoothing(l) => {
                let x = w.times(l * r);
                if x.is_zero() {
                    w
                } else {
                    number(x.ln_1p()).divided_by(number(l * r))
                }
            }
        }
    }
}

/// How an estimator weighs steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weighting {
    /// What weights are made of.
    pub ratio: Ratio,
    /// Steps back to the marginal ratio that a weight begins with.
    pub n_step: usize,
    /// What is made of them.
    pub transform: Transform,
    /// Whether that is done to the ratio of each step instead.
    pub per_step: bool,
}

impl Weighting {
    /// w_t itself.
    pub const CUMULATIVE: Self = Self::new(Ratio::Cumulative);

    /// Without a transform, for `n_step` = 0.
    pub const fn new(ratio: Ratio) -> Self {
        Self {
            ratio,
            n_step: 0,
            transform: Transform::Identity,
            per_step: false,
        }
    }

    /// Whether weights are w_t, and so of mean 1 where propensities are right.
    pub fn is_plain(&self) -> bool {
        *self == Self::CUMULATIVE
    }

    /// Whether a weight that is 0 stays 0.
    pub fn is_cumulative(&self) -> bool {
        self.ratio == Ratio::Cumulative && !matches!(self.transform, Transform::Switch(_))
    }

    /// Whether self-normalised forms divide by one mean weight of all steps, where marginal ratios are of
    /// visits over all steps.
    pub fn is_pooled(&self, occupancy: bool) -> bool {
        occupancy && matches!(self.ratio, Ratio::State | Ratio::StateAction)
    }

    /// Whether weights are marginal ones of mean 1 at every step.
    pub fn is_by_step(&self, occupancy: bool) -> bool {
        let plain = self.transform == Transform::Identity;
        plain && !occupancy && matches!(self.ratio, Ratio::State | Ratio::StateAction)
    }

    /// Whether ratios of single steps are read, and so probabilities and propensities.
    pub fn reads_prob(&self) -> bool {
        match self.ratio {
            Ratio::None => false,
            Ratio::StateAction => self.n_step > 0,
            Ratio::Cumulative | Ratio::State => true,
        }
    }

    /// Writes W_t of every row of a tile. `false`: a product left the range in which `W` is exact, and all
    /// is to be done again in the wide representation.
    #[must_use]
    pub fn fill<W: Weight>(&self, tile: &Tile, out: &mut Vec<W>, spare: &mut Vec<W>) -> bool {
        let read = if self.ratio == Ratio::None {
            0
        } else {
            tile.reward.len()
        };
        out.clear();
        out.resize(read, W::ZERO);
        if read == 0 {
            return true;
        }
        for rows in tile.rows() {
            let weights = &mut out[rows.clone()];
            let safe = match self.ratio {
                Ratio::None => true,
                Ratio::Cumulative => self.cumulative(tile, rows, weights),
                Ratio::State => {
                    let window = (tile.state_ratio, self.n_step.saturating_add(1));
                    self.marginal(tile, rows, window, weights, spare)
                }
                Ratio::StateAction => {
                    let window = (tile.state_action_ratio, self.n_step);
                    self.marginal(tile, rows, window, weights, spare)
                }
            };
            if !safe {
                return false;
            }
        }
        if self.transform != Transform::Identity && !self.per_step {
            for (row, w) in out.iter_mut().enumerate() {
                let b = tile.propensity.get(row).copied().unwrap_or(1.0);
                *w = self.transform.of(*w, b, tile.reward[row]);
            }
        }
        true
    }

    /// The ratio of a row; 0 only where the policy never takes the action.
    #[inline(always)]
    fn factor<W: Weight>(&self, tile: &Tile, row: usize) -> Option<W> {
        let (rho, prob, propensity) = (tile.rho[row], tile.prob[row], tile.propensity[row]);
        let factor = if rho == 0.0 && prob == 0.0 {
            W::ZERO
        } else {
            let factor = W::ONE.step(rho, prob, propensity);
            if !factor.is_safe() {
                return None;
            }
            factor
        };
        Some(if self.per_step {
            self.transform.of(factor, propensity, tile.reward[row])
        } else {
            factor
        })
    }

    /// w_t of one episode.
    #[inline(always)]
    fn cumulative<W: Weight>(&self, tile: &Tile, rows: Range<usize>, out: &mut [W]) -> bool {
        if self.per_step {
            return self.transformed(tile, rows, out);
        }
        let rho = &tile.rho[rows.clone()];
        let (prob, propensity) = (&tile.prob[rows.clone()], &tile.propensity[rows]);
        let mut w = W::ONE;
        for (((out, &rho), &prob), &b) in out.iter_mut().zip(rho).zip(prob).zip(propensity) {
            if rho == 0.0 && prob == 0.0 {
                // The weight is 0 from here to the horizon.
                break;
            }
            w = w.step(rho, prob, b);
            if !w.is_safe() {
                return false;
            }
            *out = w;
        }
        true
    }

    /// w_t of one episode, each ratio transformed.
    fn transformed<W: Weight>(&self, tile: &Tile, rows: Range<usize>, out: &mut [W]) -> bool {
        let mut w = W::ONE;
        for (out, row) in out.iter_mut().zip(rows) {
            let Some(factor) = self.factor::<W>(tile, row) else {
                return false;
            };
            w = w.product(factor);
            if w.is_zero() {
                // From here to the horizon. Two safe numbers have no product of 0.
                break;
            }
            if !w.is_safe() {
                return false;
            }
            *out = w;
        }
        true
    }

    /// mu_{t-k} times the product of the last so many ratios, of one episode; w_t for t < k.
    fn marginal<W: Weight>(
        &self,
        tile: &Tile,
        rows: Range<usize>,
        (mu, window): (&[f64], usize),
        out: &mut [W],
        spare: &mut Vec<W>,
    ) -> bool {
        let (k, length) = (self.n_step, rows.len());
        let beginning = rows.start..rows.start + k.min(length);
        // Without steps before the marginal ratio nothing else may be there to be read.
        if k > 0 && !self.cumulative(tile, beginning.clone(), &mut out[..beginning.len()]) {
            return false;
        }
        if k >= length {
            return true;
        }
        let mu = &mu[rows.start..rows.end - k];
        if window == 0 {
            for (out, &mu) in out[k..].iter_mut().zip(mu) {
                *out = W::from_f64(mu);
            }
        } else {
            spare.clear();
            for row in rows {
                let Some(factor) = self.factor::<W>(tile, row) else {
                    return false;
                };
                spare.push(factor);
            }
            if window <= MULTIPLIED {
                for (t, (out, &mu)) in (k..).zip(out[k..].iter_mut().zip(mu)) {
                    let ratios = &spare[t + 1 - window..=t];
                    let (mut product, mut exact) = (W::ONE, true);
                    for &ratio in ratios {
                        // Two that are safe one by one may not be together.
                        product = product.product(ratio);
                        exact &= is_exact(product);
                    }
                    if !exact {
                        return false;
                    }
                    *out = product.product(W::from_f64(mu));
                }
            } else if !slide(spare, window, (mu, k), out) {
                return false;
            }
        }
        let known = |(&w, &mu): (&W, &f64)| is_exact(w) && is_exact(W::from_f64(mu));
        out[k..].iter().zip(mu).all(known)
    }
}

/// Windows up to this length are multiplied out.
const MULTIPLIED: usize = 4;

/// Whether a number that is 0 only where a factor is lies in the range in which `W` is exact.
#[inline(always)]
fn is_exact<W: Weight>(w: W) -> bool {
    w.is_zero() || w.is_safe()
}

/// Products over a sliding window without a division, which a ratio of 0 forbids: steps are cut into blocks as
/// long as the window, and each window is the end of one block and the beginning of the next (van Herk 1992).
fn slide<W: Weight>(
    factors: &mut Vec<W>,
    window: usize,
    (mu, k): (&[f64], usize),
    out: &mut [W],
) -> bool {
    let length = factors.len();
    // Behind the factors: of each step the product to the end of its block.
    factors.resize(2 * length, W::ONE);
    for block in (0..length).step_by(window) {
        let mut product = W::ONE;
        for t in (block..length.min(block + window)).rev() {
            product = product.product(factors[t]);
            if !is_exact(product) {
                return false;
            }
            factors[length + t] = product;
        }
    }
    let mut prefix = W::ONE;
    for t in 0..length {
        if t % window == 0 {
            prefix = W::ONE;
        }
        prefix = prefix.product(factors[t]);
        if !is_exact(prefix) {
            return false;
        }
        if t < k {
            continue;
        }
        let first = t + 1 - window;
        let product = if first.is_multiple_of(window) {
            prefix
        } else {
            factors[length + first].product(prefix)
        };
        if !is_exact(product) {
            return false;
        }
        out[t] = product.product(W::from_f64(mu[t - k]));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::episode::Episodes;
    use crate::weights::Extended;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn windows_are_products_of_single_ratios(
            rows in prop::collection::vec(
                (prop_oneof![4 => 0.01_f64..1.0, 1 => Just(0.0)], 0.05_f64..1.0, 0.0_f64..3.0),
                1..40,
            ),
            n_step in 0_usize..45,
        ) {
            let n = rows.len();
            let prob: Vec<f64> = rows.iter().map(|r| r.0).collect();
            let propensity: Vec<f64> = rows.iter().map(|r| r.1).collect();
            let mu: Vec<f64> = rows.iter().map(|r| r.2).collect();
            let rho: Vec<f64> = rows.iter().map(|r| r.0 / r.1).collect();
            let episodes = Episodes::Offsets(vec![0, n]);
            let reward = vec![1.0; n];
            let tile = Tile {
                episodes: &episodes,
                span: (0, 1),
                prob: &prob,
                propensity: &propensity,
                rho: &rho,
                reward: &reward,
                q: &[],
                v: &[],
                state_ratio: &mu,
                state_action_ratio: &mu,
                returns: &[],
            };
            for (ratio, more) in [(Ratio::State, 1), (Ratio::StateAction, 0)] {
                let weighting = Weighting { n_step, ..Weighting::new(ratio) };
                let (mut out, mut wide) = (Vec::new(), Vec::new());
                prop_assert!(weighting.fill::<f64>(&tile, &mut out, &mut Vec::new()));
                prop_assert!(weighting.fill::<Extended>(&tile, &mut wide, &mut Vec::new()));
                for t in 0..n {
                    let expected: f64 = if t < n_step {
                        rho[..=t].iter().product()
                    } else {
                        mu[t - n_step] * rho[t + 1 - n_step - more..=t].iter().product::<f64>()
                    };
                    prop_assert!((out[t] - expected).abs() <= 1e-12 * expected);
                    prop_assert_eq!(wide[t].to_f64(), out[t]);
                }
            }
        }

        #[test]
        fn transforms_are_alike_in_both_representations(w in 1e-5_f64..1e5, a in 0.01_f64..0.99) {
            for name in ["clip", "exponent", "shrinkage", "harmonic", "switch", "exploration", "smoothing"] {
                let transform = Transform::from_name(name, a).expect("a known name");
                let narrow = transform.of(w, 0.3, 2.0);
                let wide = transform.of(Extended::from(w), 0.3, 2.0).to_f64();
                prop_assert!((narrow - wide).abs() <= 1e-13 * narrow.abs());
                prop_assert!(narrow <= w.max(1.0) * (1.0 + 1e-12) && narrow >= 0.0);
            }
        }
    }
}
