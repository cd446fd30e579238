//! Finish: from sums to values, means for the influence pass, standard errors and notes.

use crate::registry::{ESTIMATORS, Estimator};
use crate::sums::{Discount, Moments, Sums};
use crate::terms::basic::StepMeans;
use crate::weights::{Extended, Weight, effective_sample_size, mean_weight};

/// Below this effective sample size, or above this share of one episode, an interval is not to be
/// leaned on.
const TRUSTED_SAMPLE: f64 = 50.0;
const TRUSTED_SHARE: f64 = 0.1;
/// The bias of `sntis` is worth a word above this fraction of its standard error.
const NOTABLE_BIAS: f64 = 0.25;
/// Standard errors by which the mean weight may differ from 1 before it is called wrong.
const TRUSTED_Z: f64 = 4.0;
/// A mean this near to 1 is rounding of the propensities, however sure.
const NEGLIGIBLE: f64 = 0.01;
/// So many episodes of weight 0 may be missing by chance: with nearly constant weights and rare zeros
/// the standard error does not know of them.
const UNSEEN: f64 = 16.0;
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

/// What the first pass says of one policy.
#[derive(Debug, Clone)]
pub struct Values {
    /// By estimator; only those whose inputs were given mean anything.
    pub value: [Extended; ESTIMATORS],
    /// First step at which the weights of all episodes sum to 0.
    pub dead_step: Option<usize>,
    /// Of the last weights and of the discounted ones.
    pub moments: (Moments<Extended>, Moments<Extended>),
    /// For the influence pass.
    pub means: StepMeans<Extended>,
}

/// Values and step means of one policy over `n` episodes, or under multiplicities that sum to `n`.
pub fn finish(sums: &Sums<Extended>, discount: &Discount<Extended>, n: f64) -> Values {
    let horizon = discount.power.len();
    let n = Extended::from(n);
    let mut means = StepMeans {
        scale: vec![Extended::ZERO; horizon],
        r: vec![0.0; horizon],
        d: vec![0.0; horizon],
        held_r: vec![Extended::ZERO; horizon + 1],
        held_d: vec![Extended::ZERO; horizon + 1],
        last: Extended::ZERO,
        v0: sums.v0 / n.to_f64(),
        tis: sums.last_return.divided_by(n),
        pdis: Extended::ZERO,
        dr: Extended::ZERO,
        sntis: 0.0,
        exponents: (0, 0),
    };
    let (mut dead_step, mut held) = (None, Extended::ZERO);
    let (mut snpdis, mut sndr) = (Extended::ZERO, Extended::ZERO);
    for (t, step) in sums.steps.iter().enumerate() {
        held = held.plus(sums.ended[t]);
        let total = step.w.plus(held);
        let power = discount.power[t];
        means.pdis = means.pdis.plus(step.wr.product(power));
        means.dr = means.dr.plus(step.wd.product(power));
        if total.is_zero() {
            dead_step = dead_step.or(Some(t));
            continue;
        }
        means.scale[t] = power.product(n).divided_by(total);
        means.r[t] = step.wr.ratio(total);
        means.d[t] = step.wd.ratio(total);
        snpdis = snpdis.plus(power.times(means.r[t]));
        sndr = sndr.plus(power.times(means.d[t]));
    }
    for t in (0..horizon).rev() {
        means.held_r[t] = means.held_r[t + 1].plus(means.scale[t].times(means.r[t]));
        means.held_d[t] = means.held_d[t + 1].plus(means.scale[t].times(means.d[t]));
    }
    let v0 = Extended::from(means.v0);
    means.pdis = means.pdis.divided_by(n);
    means.dr = means.dr.divided_by(n).plus(v0);
    if !sums.last.sum.is_zero() {
        means.last = n.divided_by(sums.last.sum);
        means.sntis = sums.last_return.ratio(sums.last.sum);
    }
    let exponent = |max: Extended| match max.exponent() {
        e if e.abs() > PLAIN_EXPONENT => e,
        _ => 0,
    };
    means.exponents = (exponent(sums.last.max), exponent(sums.discounted.max));
    let mut value = [Extended::ZERO; ESTIMATORS];
    value[Estimator::Dm as usize] = v0;
    value[Estimator::Tis as usize] = means.tis;
    value[Estimator::Pdis as usize] = means.pdis;
    value[Estimator::Dr as usize] = means.dr;
    value[Estimator::Sntis as usize] = Extended::from(means.sntis);
    value[Estimator::Snpdis as usize] = snpdis;
    value[Estimator::Sndr as usize] = v0.plus(sndr);
    Values {
        value,
        dead_step,
        moments: (sums.last, sums.discounted),
        means,
    }
}

/// The means in `f64`, where it holds them all with room to spare.
pub fn narrow(means: &StepMeans<Extended>) -> Option<StepMeans<f64>> {
    let all = |values: &[Extended]| values.iter().all(|x| x.fits_f64());
    let single = [means.last, means.tis, means.pdis, means.dr];
    if !(all(&means.scale) && all(&means.held_r) && all(&means.held_d) && all(&single)) {
        return None;
    }
    let list = |values: &[Extended]| values.iter().map(|x| x.to_f64()).collect();
    Some(StepMeans {
        scale: list(&means.scale),
        r: means.r.clone(),
        d: means.d.clone(),
        held_r: list(&means.held_r),
        held_d: list(&means.held_d),
        last: means.last.to_f64(),
        v0: means.v0,
        tis: means.tis.to_f64(),
        pdis: means.pdis.to_f64(),
        dr: means.dr.to_f64(),
        sntis: means.sntis,
        exponents: means.exponents,
    })
}

/// The standard error of a variance divided by 2^(2 `exponent`).
fn standard_error(variance: f64, exponent: i64) -> f64 {
    Extended::new(variance.sqrt(), exponent).to_f64()
}

impl Values {
    /// The value of one estimator; NaN where undefined.
    pub fn of(&self, estimator: Estimator) -> f64 {
        match self.undefined_from(estimator) {
            Some(_) => f64::NAN,
            None => self.value[estimator as usize].to_f64(),
        }
    }

    /// The step from which on the weights that a self-normalised estimator divides by are all 0.
    fn undefined_from(&self, estimator: Estimator) -> Option<usize> {
        let alive = estimator == Estimator::Sntis && !self.moments.0.sum.is_zero();
        self.dead_step
            .filter(|_| estimator.entry().self_normalised && !alive)
    }

    /// The row of one estimator: `variance` is that of the estimate divided by 2^(2 exponent), `bias`
    /// is sum (w / mean w) psi of `sntis`.
    pub fn estimate(&self, estimator: Estimator, variance: f64, bias: f64, n: usize) -> Estimate {
        let entry = estimator.entry();
        let exact = self.value[estimator as usize];
        let mut row = Estimate {
            value: exact.to_f64(),
            standard_error: standard_error(variance, self.means.exponent(estimator)),
            effective_sample_size: None,
            max_weight_share: None,
            note: None,
        };
        if !entry.weighted() {
            row.note = single_episode(n);
            return row;
        }
        let moments = match estimator {
            Estimator::Tis | Estimator::Sntis => &self.moments.0,
            _ => &self.moments.1,
        };
        row.effective_sample_size = Some(effective_sample_size(moments.sum, moments.squares));
        if !moments.sum.is_zero() {
            row.max_weight_share = Some(moments.max.ratio(moments.sum));
        }
        row.note = if let Some(step) = self.undefined_from(estimator) {
            row.value = f64::NAN;
            row.standard_error = f64::NAN;
            Some(format!(
                "undefined: every importance weight is 0 from step {step} on"
            ))
        } else if row.value.is_infinite() {
            Some("weight overflow".into())
        } else if row.value == 0.0 && !exact.is_zero() {
            Some("weight underflow".into())
        } else if row.standard_error == 0.0 && row.value != 0.0 && row.value.abs() < FAINT {
            Some("standard error underflow".into())
        } else if self.dead_step == Some(0) {
            Some("every importance weight is 0: the policy never takes a logged action".into())
        } else if n == 1 {
            single_episode(n)
        } else {
            // -(1/n^2) sum (w / mean w) psi; only small effective sample sizes make it notable.
            let bias = -bias / (n as f64 * n as f64) / row.standard_error;
            let notable = estimator == Estimator::Sntis && bias.abs() > NOTABLE_BIAS;
            let biased = notable
                .then(|| format!("self-normalisation biases it by {bias:.1} standard errors"));
            let notes: Vec<_> = self
                .wrong_weights(n)
                .into_iter()
                .chain(untrusted(&row))
                .chain(biased)
                .collect();
            (!notes.is_empty()).then(|| notes.join("; "))
        };
        row
    }
}

impl Values {
    /// Final weights have mean 1 if the propensities are right and the log supports the policy. Said
    /// only where the effective sample size makes their standard error worth something.
    fn wrong_weights(&self, n: usize) -> Option<String> {
        let last = &self.moments.0;
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
}

/// The behavior policy's own mean return.
pub fn behavior(mean: f64, variance: f64, n: usize) -> Estimate {
    let mut row = Estimate {
        value: mean,
        standard_error: standard_error(variance, 0),
        effective_sample_size: Some(n as f64),
        max_weight_share: Some(1.0 / n as f64),
        note: None,
    };
    row.note = single_episode(n).or_else(|| untrusted(&row));
    row
}

fn single_episode(n: usize) -> Option<String> {
    (n == 1).then(|| "one episode: no standard error".into())
}

fn untrusted(row: &Estimate) -> Option<String> {
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
    } else {
        None
    }
}
