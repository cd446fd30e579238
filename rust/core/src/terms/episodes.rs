//! What one episode contributes to values and influence values, by form.
//!
//! With the weights W_t of [`crate::weighting`], G = sum_t gamma^t r_t, d_t = r_t - q_t + gamma v_{t+1},
//! and past the end of an episode the last weight held, r = q = v = 0 (the absorbing convention):
//!
//! ```text
//! form                 value                                            with w_t      with mu
//! Direct               mean_i v_0                                       dm            sm_dm
//! Return               mean_i W_{T-1} G                                 tis, ix, ls
//! Reward               mean_i sum_t gamma^t W_t r_t                     pdis          sm_is, sam_is
//! Residual             mean_i { v_0 + sum_t gamma^t W_t d_t }           dr            drl, sm_dr, sam_dr
//! NormalisedReturn     sum_i W_{T-1} G / sum_i W_{T-1}                  sntis
//! NormalisedReward     sum_t gamma^t sum_i W_t r_t / sum_i W_t          snpdis        sm_snis, sam_snis
//! NormalisedResidual   mean_i v_0 + sum_t gamma^t sum_i W_t d_t / sum_i W_t   sndr    sm_sndr, sam_sndr
//! Centred              mean_i W_{T-1} (G - c) + c,  c = Cov(W G, W) / Var(W)  beta_ips
//! ```
//!
//! Sources: Precup 2000 (tis, pdis, sntis); Jiang & Li 2016, eq. 10 (dr); Thomas 2015 (snpdis); Thomas &
//! Brunskill 2016 (sndr); Kallus & Uehara 2020 (drl); Liu 2018 and Yuan 2021 (sm, sam); Gupta 2024. The
//! papers write dr, sndr and drl as sums of W_t (r_t - q_t) and W_{t-1} v_t; collecting the terms that share a
//! weight (v_{t+1} has the weight and, in sndr, the denominator of step t) gives the form above, which
//! needs three sums a step.
//!
//! Marginal ratios of kind "occupancy" do not have mean 1 at each step. There the normalised forms divide by
//! one number, sum gamma^t W / sum gamma^t over all rows, and m_t and n_t are one number each.
//!
//! Influence values psi_i (their squares give standard errors), with m_t = sum W_t r_t / sum W_t,
//! n_t = sum W_t d_t / sum W_t and the sums running to the horizon under the absorbing convention:
//!
//! ```text
//! Direct, Return, Reward, Residual   the episode's term less the value
//! NormalisedReturn                   W_{T-1} (G - value) / mean W_{T-1}
//! NormalisedReward                   sum_t gamma^t W_t (r_t - m_t) / mean W_t
//! NormalisedResidual                 v_0 - mean v_0 + sum_t gamma^t W_t (d_t - n_t) / mean W_t
//! Centred                            W_{T-1} (G - c) + c - value
//! ```
//!
//! An episode that has ended goes on adding -W_{T-1} gamma^t m_t / mean W_t: one product with a
//! suffix sum (`Means::held`) instead of a visit to every later step.

use crate::form::{FORMS, Form};
use crate::sums::{Discount, Sums};
use crate::tiles::Tile;
use crate::weights::Weight;

/// What some forms read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a set of columns")]
pub struct Reads {
    /// v_0.
    pub v0: bool,
    /// W_t r_t.
    pub reward: bool,
    /// W_t d_t.
    pub residual: bool,
    /// W_{T-1} and W_{T-1} G.
    pub returned: bool,
    /// W_{T-1}^2 G.
    pub squares: bool,
}

impl Reads {
    /// What `forms` read.
    pub fn of(forms: &[Form]) -> Self {
        let any = |wanted: &[Form]| forms.iter().any(|form| wanted.contains(form));
        let residual = any(&[Form::Residual, Form::NormalisedResidual]);
        Self {
            v0: residual || any(&[Form::Direct]),
            reward: any(&[Form::Reward, Form::NormalisedReward]),
            residual,
            returned: any(&[Form::Return, Form::NormalisedReturn, Form::Centred]),
            squares: any(&[Form::Centred]),
        }
    }
}

/// d_t = r_t - q_t + gamma v_{t+1}, with v = 0 past the end.
#[inline(always)]
pub(crate) fn residual(r: f64, q: f64, v: &[f64], t: usize, gamma: f64) -> f64 {
    let next = if t + 1 < v.len() { v[t + 1] } else { 0.0 };
    r - q + gamma * next
}

/// Adds the tile's episodes, with a weight for each row, to the sums of one policy.
pub fn add<W: Weight>(
    tile: &Tile,
    weights: &[W],
    reads: Reads,
    discount: &Discount<W>,
    sums: &mut Sums<W>,
) {
    for (rows, &g) in tile.rows().zip(tile.returns) {
        tile.prefetch(&rows);
        let w = &weights[rows.clone()];
        // Cut to one length once, so that no step has to be checked.
        let length = w.len();
        let steps = &mut sums.steps[..length];
        let power = &discount.power[..length];
        let reward = &tile.reward[rows.clone()][..length];
        let mut c = W::ZERO;
        for t in 0..length {
            c = c.plus(w[t].product(power[t]));
            steps[t].w = steps[t].w.plus(w[t]);
            steps[t].wr = steps[t].wr.plus(w[t].times(reward[t]));
        }
        if reads.residual {
            let q = &tile.q[rows.clone()][..length];
            let v = &tile.v[rows][..length];
            for t in 0..length {
                let d = residual(reward[t], q[t], v, t, discount.gamma);
                steps[t].wd = steps[t].wd.plus(w[t].times(d));
            }
        }
        let last = w[length - 1];
        sums.ended[length] = sums.ended[length].plus(last);
        let c = c.plus(last.product(discount.remaining[length]));
        sums.last.add(last);
        sums.last_return = sums.last_return.plus(last.times(g));
        if reads.squares {
            let square = last.product(last);
            sums.square_return = sums.square_return.plus(square.times(g));
        }
        sums.discounted.add(c);
        sums.tails[0].offer(last.scaled(0));
        sums.tails[1].offer(c.scaled(0));
    }
}

/// Sums over the steps of all episodes that influence values need.
#[derive(Debug, Clone)]
pub struct StepMeans<W> {
    /// m_t = sum W_t x_t / sum W_t.
    pub mean: Vec<f64>,
    /// sum of `scale` m over the steps from T on, at index T.
    pub held: Vec<W>,
}

/// What influence values need to know of the sums of all episodes.
#[derive(Debug, Clone)]
pub struct Means<W> {
    /// gamma^t / mean W_t; 0 where the mean is 0.
    pub scale: Vec<W>,
    /// Of x = r.
    pub reward: StepMeans<W>,
    /// Of x = d.
    pub residual: StepMeans<W>,
    /// 1 / mean W_{T-1}.
    pub last: W,
    /// By form.
    pub value: [W; FORMS],
    /// The same in `f64`.
    pub plain: [f64; FORMS],
    /// c of the centred form.
    pub control: f64,
    /// Powers of two by which influence values are divided so that their squares stay in range:
    /// for weights of whole episodes, and for weights by step.
    pub exponents: (i64, i64),
}

impl<W: Weight> Means<W> {
    /// The power of two by which influence values of a form are divided.
    pub fn exponent(&self, form: Form) -> i64 {
        match form {
            Form::Return => self.exponents.0,
            Form::Reward => self.exponents.1,
            // v_0 or a number stands beside the weighted terms and does not shrink with them.
            Form::Residual => self.exponents.1.max(0),
            Form::Centred => self.exponents.0.max(0),
            _ => 0,
        }
    }
}

/// sum_t gamma^t W_t x_t and sum_t gamma^t W_t (x_t - m_t) / mean W_t of one episode; where it has ended the
/// latter runs on to the horizon.
#[inline(always)]
fn weigh<W: Weight>(
    w: &[W],
    discount: &Discount<W>,
    scale: &[W],
    means: &StepMeans<W>,
    x: impl Fn(usize) -> f64,
) -> (W, W) {
    let length = w.len();
    let (power, scale) = (&discount.power[..length], &scale[..length]);
    let mean = &means.mean[..length];
    let (mut plain, mut normalised) = (W::ZERO, W::ZERO);
    for t in 0..length {
        let x = x(t);
        plain = plain.plus(w[t].product(power[t]).times(x));
        normalised = normalised.plus(w[t].product(scale[t]).times(x - mean[t]));
    }
    let held = w[length - 1].product(means.held[length]);
    (plain, less(normalised, held))
}

#[inline(always)]
fn less<W: Weight>(x: W, y: W) -> W {
    x.plus(y.times(-1.0))
}

/// Influence values of the tile's episodes for one policy, `out[i]` of `forms[i]`, each from `at` on; adds
/// sum (W / mean W) psi of the normalised return to `bias`.
pub fn influence<W: Weight>(
    tile: &Tile,
    weights: &[W],
    (forms, reads): (&[Form], Reads),
    (discount, means): (&Discount<W>, &Means<W>),
    (out, bias): (&mut [Vec<f64>], &mut f64),
    at: usize,
) {
    let value = |form: Form| means.value[form as usize];
    for (i, (rows, &g)) in tile.rows().zip(tile.returns).enumerate() {
        tile.prefetch(&rows);
        let v0 = if reads.v0 { tile.v[rows.start] } else { 0.0 };
        let none = (W::ZERO, W::ZERO);
        let (mut last, mut rewards, mut residuals) = (W::ZERO, none, none);
        if !weights.is_empty() {
            let w = &weights[rows.clone()];
            let length = w.len();
            last = w[length - 1];
            let reward = &tile.reward[rows.clone()][..length];
            if reads.reward {
                rewards = weigh(w, discount, &means.scale, &means.reward, |t| reward[t]);
            }
            if reads.residual {
                let q = &tile.q[rows.clone()][..length];
                let v = &tile.v[rows][..length];
                let d = |t: usize| residual(reward[t], q[t], v, t, discount.gamma);
                residuals = weigh(w, discount, &means.scale, &means.residual, d);
            }
        }
        let direct = v0 - means.plain[Form::Direct as usize];
        let centred = |x: W, form: Form| less(x, value(form)).scaled(means.exponent(form));
        for (&form, out) in forms.iter().zip(out.iter_mut()) {
            out[at + i] = match form {
                Form::Direct => direct,
                Form::Return => centred(last.times(g), form),
                Form::Reward => centred(rewards.0, form),
                Form::Residual => centred(residuals.0.plus(W::from_f64(v0)), form),
                Form::NormalisedReturn => {
                    let share = last.product(means.last);
                    let psi = share.times(g - means.plain[form as usize]).scaled(0);
                    *bias += share.scaled(0) * psi;
                    psi
                }
                Form::NormalisedReward => rewards.1.scaled(0),
                Form::NormalisedResidual => direct + residuals.1.scaled(0),
                Form::Centred => {
                    let control = W::from_f64(means.control);
                    centred(last.times(g - means.control).plus(control), form)
                }
            };
        }
    }
}
