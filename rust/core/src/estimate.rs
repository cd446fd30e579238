//! Finish: from sums to values, means for the influence pass, standard errors and notes.

use crate::form::Form;
use crate::plan::Asked;
use crate::sums::{Discount, Moments, Sums};
use crate::terms::episodes::{Means, StepMeans};
use crate::totals::{Totals, totals};
use crate::weighting::Weighting;
use crate::weights::{Extended, Weight, effective_sample_size, mean_weight};

/// Below this effective sample size, or above this share of one episode, an interval is not to be
/// leaned on.
const TRUSTED_SAMPLE: f64 = 50.0;
const TRUSTED_SHARE: f64 = 0.1;
/// Clusters are the units of a standard error with them, and from so few its own error is large.
const TRUSTED_CLUSTERS: usize = 30;
/// From this Pareto k on the variance of the weights is in doubt.
const TRUSTED_TAIL: f64 = 0.5;
/// Above it, that is below 25 times the squared skewness of the terms, there are too few episodes for
/// an interval by standard errors (Cochran 1977, section 2.15).
pub const TRUSTED_ACCELERATION: f64 = 1.0 / 30.0;
/// The bias of `sntis` is worth a word above this fraction of its standard error.
const NOTABLE_BIAS: f64 = 0.25;
/// Standard errors by which the mean weight may differ from 1 before it is called wrong.
const TRUSTED_Z: f64 = 4.0;
/// A mean this near to 1 is rounding of the propensities, however sure.
const NEGLIGIBLE: f64 = 0.01;
/// So many episodes of weight 0 may be missing by chance: with nearly constant weights and rare zeros
/// the standard error does not know of them.
const UNSEEN: f64 = 16.0;
/// A standard error within this share of the value is rounding.
const ROUNDING: f64 = 1e-12;
/// Squares of smaller values may vanish.
const FAINT: f64 = 1e-140;
/// Influence values are rescaled where weights leave 2^±300.
const PLAIN_EXPONENT: i64 = 300;

/// One row of the result.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// The estimate; NaN where undefined.
    pub value: f64,
    /// Its standard error; NaN where undefined or with a single episode.
    pub standard_error: f64,
    /// (sum c)^2 / sum c^2; `None` where no weights are used.
    pub effective_sample_size: Option<f64>,
    /// max c / sum c; `None` where no weights are used or all are 0.
    pub max_weight_share: Option<f64>,
    /// What the reader must know before using the row.
    pub note: Option<String>,
}

/// What may keep an interval by standard errors from holding.
#[derive(Debug, Clone, Copy)]
pub struct Doubts {
    /// Pareto k of the last weights and of the discounted ones.
    pub pareto_k: [f64; 2],
    /// Of the estimate.
    pub acceleration: f64,
    /// How many clusters there are, if any.
    pub clusters: Option<usize>,
}

/// What the first pass says of one policy and kind of weights.
#[derive(Debug, Clone)]
pub struct Values {
    /// The values.
    pub totals: Totals<Extended>,
    /// Of the last weights and of the discounted ones.
    pub moments: (Moments<Extended>, Moments<Extended>),
    /// For the influence pass.
    pub means: Means<Extended>,
    /// What the weights are.
    weighting: Weighting,
    /// sum gamma^t, where marginal ratios should have mean 1 at every step.
    ratios_sum_to: Option<Extended>,
}

/// Values and step means of one policy over `n` episodes.
pub fn finish(
    sums: &Sums<Extended>,
    discount: &Discount<Extended>,
    n: f64,
    weighting: Weighting,
    occupancy: bool,
) -> Values {
    let horizon = discount.power.len();
    let mut scale = vec![Extended::ZERO; horizon];
    let (mut r, mut d) = (vec![0.0; horizon], vec![0.0; horizon]);
    let episodes = Extended::from(n);
    let pooled = weighting.is_pooled(occupancy);
    let totals = totals(sums, discount, n, pooled, |t, total, mean_r, mean_d| {
        scale[t] = discount.power[t].product(episodes).divided_by(total);
        (r[t], d[t]) = (mean_r, mean_d);
    });
    let with_held = |mean: Vec<f64>| {
        let mut held = vec![Extended::ZERO; horizon + 1];
        for t in (0..horizon).rev() {
            held[t] = held[t + 1].plus(scale[t].times(mean[t]));
        }
        StepMeans { mean, held }
    };
    let (reward, residual) = (with_held(r), with_held(d));
    let exponent = |max: Extended| match max.exponent() {
        e if e.abs() > PLAIN_EXPONENT => e,
        _ => 0,
    };
    let means = Means {
        scale,
        reward,
        residual,
        last: if totals.dead_end {
            Extended::ZERO
        } else {
            episodes.divided_by(sums.last.sum)
        },
        value: totals.value,
        plain: totals.value.map(Extended::to_f64),
        control: totals.control,
        exponents: (exponent(sums.last.max), exponent(sums.discounted.max)),
    };
    Values {
        totals,
        moments: (sums.last, sums.discounted),
        means,
        weighting,
        ratios_sum_to: weighting
            .is_by_step(occupancy)
            .then(|| discount.remaining[0]),
    }
}

/// The means in `f64`, where it holds them all with room to spare.
pub fn narrow(means: &Means<Extended>) -> Option<Means<f64>> {
    let all = |values: &[Extended]| values.iter().all(|x| x.fits_f64());
    let steps = [&means.scale, &means.reward.held, &means.residual.held];
    if !(steps.iter().all(|list| all(list)) && all(&means.value) && means.last.fits_f64()) {
        return None;
    }
    let list = |values: &[Extended]| values.iter().map(|x| x.to_f64()).collect();
    let steps = |means: &StepMeans<Extended>| StepMeans {
        mean: means.mean.clone(),
        held: list(&means.held),
    };
    Some(Means {
        scale: list(&means.scale),
        reward: steps(&means.reward),
        residual: steps(&means.residual),
        last: means.last.to_f64(),
        value: means.plain,
        plain: means.plain,
        control: means.control,
        exponents: means.exponents,
    })
}

/// The standard error of a variance divided by 2^(2 `exponent`).
fn standard_error(variance: f64, exponent: i64) -> f64 {
    Extended::new(variance.sqrt(), exponent).to_f64()
}

impl Values {
    /// The row of one estimator: `variance` is that of the estimate divided by 2^(2 exponent), `bias`
    /// is sum (W / mean W) psi of the normalised return; `doubts` are given where the interval hangs on them.
    pub(crate) fn estimate(
        &self,
        asked: &Asked,
        variance: f64,
        bias: f64,
        doubts: Option<Doubts>,
        n: usize,
    ) -> Estimate {
        let (entry, form) = (asked.estimator.entry, asked.form);
        let exact = self.totals.value[form as usize];
        let mut row = Estimate {
            value: exact.to_f64(),
            standard_error: standard_error(variance, self.means.exponent(form)),
            effective_sample_size: None,
            max_weight_share: None,
            note: None,
        };
        if !entry.weighted() {
            let skewed = || doubts.and_then(|d| skewed(d.acceleration));
            row.note = single_unit(&row, n).or_else(skewed);
            return row;
        }
        let whole = [Form::Return, Form::NormalisedReturn, Form::Centred].contains(&form);
        let (moments, which) = if whole {
            (&self.moments.0, 0)
        } else {
            (&self.moments.1, 1)
        };
        row.effective_sample_size = Some(effective_sample_size(moments.sum, moments.squares));
        if !moments.sum.is_zero() {
            row.max_weight_share = Some(moments.max.ratio(moments.sum));
        }
        row.note = if let Some(step) = self.totals.undefined_from(form) {
            row.value = f64::NAN;
            row.standard_error = f64::NAN;
            let when = if self.weighting.is_cumulative() {
                "from"
            } else {
                "at"
            };
            let on = if self.weighting.is_cumulative() {
                " on"
            } else {
                ""
            };
            Some(format!(
                "undefined: every importance weight is 0 {when} step {step}{on}"
            ))
        } else if row.value.is_infinite() {
            Some("weight overflow".into())
        } else if row.value == 0.0 && !exact.is_zero() {
            Some("weight underflow".into())
        } else if row.standard_error == 0.0 && row.value != 0.0 && row.value.abs() < FAINT {
            Some("standard error underflow".into())
        } else if self.moments.1.sum.is_zero() {
            Some(if self.weighting.is_plain() {
                "every importance weight is 0: the policy never takes a logged action".into()
            } else {
                "every importance weight is 0".into()
            })
        } else if row.standard_error.is_nan() {
            single_unit(&row, n)
        } else {
            // -(1/n^2) sum (w / mean w) psi; only small effective sample sizes make it notable.
            let bias = -bias / (n as f64 * n as f64) / row.standard_error;
            let varies = row.standard_error > ROUNDING * row.value.abs();
            let returned = asked.estimator.form == Form::NormalisedReturn;
            let notable = returned && bias.abs() > NOTABLE_BIAS && varies;
            let biased = notable
                .then(|| format!("self-normalisation biases it by {bias:.1} standard errors"));
            let plain = self.weighting.is_plain().then_some(&self.moments.0);
            let wrong = plain.and_then(|last| wrong_weights(last, n));
            let notes: Vec<_> = wrong
                .or_else(|| wrong_ratios(&self.moments.1, self.ratios_sum_to?, n))
                .into_iter()
                .chain(doubts.and_then(|d| {
                    few(d.clusters)
                        .or_else(|| untrusted(&row, d.pareto_k[which]))
                        .or_else(|| skewed(d.acceleration))
                }))
                .chain(biased)
                .collect();
            (!notes.is_empty()).then(|| notes.join("; "))
        };
        row
    }
}

/// Marginal ratios by step have mean 1 at every step, and so over all of them, where `all` is sum gamma^t.
fn wrong_ratios(discounted: &Moments<Extended>, all: Extended, n: usize) -> Option<String> {
    if effective_sample_size(discounted.sum, discounted.squares) < TRUSTED_SAMPLE {
        return None;
    }
    let sum = discounted.sum.divided_by(all);
    let (mean, z) = mean_weight(sum, discounted.squares.divided_by(all.product(all)), n);
    let sure = z.abs() > TRUSTED_Z && (mean - 1.0).abs() > NEGLIGIBLE;
    (mean.is_finite() && sure).then(|| {
        format!(
            "mean weight {mean:.3}, where ratios by step have 1, is off by more than chance: wrong \
             ratios, or those of visits over all steps (ratio_kind \"occupancy\")"
        )
    })
}

/// Final weights have mean 1 if the propensities are right and the log supports the policy. Said
/// only where the effective sample size makes their standard error worth something.
pub(crate) fn wrong_weights(last: &Moments<Extended>, n: usize) -> Option<String> {
    let size = effective_sample_size(last.sum, last.squares);
    if size < TRUSTED_SAMPLE {
        return None;
    }
    let (mean, z) = mean_weight(last.sum, last.squares, n);
    let sure = z.abs() > TRUSTED_Z && (mean - 1.0).abs() > NEGLIGIBLE;
    if !mean.is_finite() || !sure || (mean > 1.0 && (mean - 1.0) * n as f64 <= UNSEEN) {
        return None;
    }
    Some(if mean > 1.0 {
        format!(
            "mean weight {mean:.3}, where 1 is expected, is too high by more than chance: wrong \
             propensities, or columns joined to the wrong rows"
        )
    } else {
        format!(
            "mean weight {mean:.3}, where 1 is expected, is too low by more than chance: the \
             policy does what the log does not show, or its largest weights are too rare to \
             be in it"
        )
    })
}

/// The behavior policy's own mean return.
pub fn behavior(
    mean: f64,
    variance: f64,
    acceleration: Option<f64>,
    clusters: Option<usize>,
    n: usize,
) -> Estimate {
    let mut row = Estimate {
        value: mean,
        standard_error: standard_error(variance, 0),
        effective_sample_size: Some(n as f64),
        max_weight_share: Some(1.0 / n as f64),
        note: None,
    };
    let doubts = |a| {
        few(clusters)
            .or_else(|| untrusted(&row, f64::NAN))
            .or_else(|| skewed(a))
    };
    row.note = single_unit(&row, n).or_else(|| acceleration.and_then(doubts));
    row
}

pub(crate) fn single_unit(row: &Estimate, n: usize) -> Option<String> {
    let unit = if n == 1 { "episode" } else { "cluster" };
    row.standard_error
        .is_nan()
        .then(|| format!("one {unit}: no standard error"))
}

pub(crate) fn few(clusters: Option<usize>) -> Option<String> {
    clusters
        .filter(|&count| count < TRUSTED_CLUSTERS)
        .map(|count| {
            format!(
                "do not lean on the interval: {count} clusters are fewer than {TRUSTED_CLUSTERS}"
            )
        })
}

pub(crate) fn skewed(acceleration: f64) -> Option<String> {
    (acceleration.abs() > TRUSTED_ACCELERATION).then(|| {
        format!(
            "do not lean on the interval: too few episodes for terms so skewed (acceleration \
             {acceleration:.2})"
        )
    })
}

pub(crate) fn untrusted(row: &Estimate, pareto_k: f64) -> Option<String> {
    let (size, share) = (row.effective_sample_size?, row.max_weight_share?);
    if size < TRUSTED_SAMPLE {
        Some(format!(
            "do not lean on the interval: effective sample size {size:.1} is below {TRUSTED_SAMPLE}"
        ))
    } else if share > TRUSTED_SHARE {
        Some(format!(
            "do not lean on the interval: one episode carries {:.0} % of the weight",
            100.0 * share
        ))
    } else if pareto_k >= TRUSTED_TAIL {
        Some(format!(
            "do not lean on the interval: the weights have a heavy tail (Pareto k {pareto_k:.2})"
        ))
    } else {
        None
    }
}
