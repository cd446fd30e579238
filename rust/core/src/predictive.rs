//! Predictive SharpeRatio@k, without true values: what a shortlist's ratio will turn out to be.
//!
//! Replicates of the estimates spread by the noise of the log beside the spread of the true values, so
//! they overstate what is at stake. The rule here draws true values J given the estimates e (m their mean,
//! P >= 4) under normal priors of every width tau:
//!
//! ```text
//! c_bp = (e*_bp - e_p) - o_b,  o_b its mean over p;   s2 = sum c^2 / (B (P - 1)),  S = sum (e_p - m)^2
//! tau_b from tau = j/20 sqrt(S / (P - 1)), j = 1..60, with weight
//!         (tau^2 + s2)^(-(P - 1)/2) exp(-S / (2 (tau^2 + s2)))
//! h_b = tau_b^2 / (tau_b^2 + s2),   J_bp = m + h_b (e_p - m) + sqrt(h_b) c_bp + o_b
//! ```
//!
//! The shortlist is fixed: it is never ranked again within a draw.

use crate::error::Result;
use crate::random::{Purpose, uniforms};
use crate::replicate_intervals::quantiles;
use crate::top_k::{Judge, Options};
use crate::weights::Extended;

/// Fewer policies have no spread to shrink by.
pub const FEWEST_POLICIES: usize = 4;
/// Estimates that differ by no more than this share of them are equal.
const ROUNDING: f64 = 1e-13;
/// Widths of the prior.
const GRID: usize = 60;

/// Values are brought to about 1 where the largest lies beyond these.
const SMALL: f64 = 1e-100;
const LARGE: f64 = 1e100;

/// What is predicted of a shortlist.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// Of SharpeRatio@k: 5 %, 50 % and 95 %; NaN for k = 1.
    pub sharpe_ratio: [f64; 3],
    /// Probability that the best of the shortlist is better than the behavior policy.
    pub p_better: f64,
    /// Expected gain of the best of the shortlist over the behavior policy, or 0 where it has none.
    pub expected_gain: f64,
    /// For each policy the probability that it is the best of all; equals share it.
    pub p_best: Vec<f64>,
    /// Mean h: which part of the spread of the estimates is signal; `None` where nothing was shrunk.
    pub signal: Option<f64>,
    /// Draws that were used: those in which every estimate is defined.
    pub draws: usize,
}

/// Predicts from estimates, their replicates (rows) and those of the behavior policy's value.
///
/// # Errors
/// As [`crate::top_k::top_k`].
pub fn predict(
    estimates: &[f64],
    replicates: &[f64],
    behavior: &[f64],
    shortlist: &[usize],
    options: &Options,
    seed: u64,
) -> Result<Prediction> {
    let policies = estimates.len();
    // Squares of values of any size are in range when these are about 1.
    let largest = estimates.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
    let unit = Extended::new(1.0, Extended::from(largest).exponent()).to_f64();
    if unit.is_normal() && !(SMALL..=LARGE).contains(&unit) {
        let scaled = |x: &[f64]| x.iter().map(|x| x / unit).collect::<Vec<f64>>();
        let (e, r, b) = (scaled(estimates), scaled(replicates), scaled(behavior));
        let found = predict(&e, &r, &b, shortlist, options, seed)?;
        return Ok(Prediction {
            expected_gain: found.expected_gain * unit,
            ..found
        });
    }
    let rows: Vec<(usize, &[f64], f64)> = replicates
        .chunks_exact(policies)
        .zip(behavior)
        .enumerate()
        .map(|(b, (row, own))| (b, row, *own))
        .filter(|(_, row, own)| row.iter().chain([own]).all(|x| x.is_finite()))
        .collect();
    let prior = (policies >= FEWEST_POLICIES).then(|| Prior::new(estimates, &rows));
    let mut out = Prediction {
        sharpe_ratio: [f64::NAN; 3],
        p_better: 0.0,
        expected_gain: 0.0,
        p_best: vec![0.0; policies],
        signal: prior.as_ref().map(|_| 0.0),
        draws: rows.len(),
    };
    let (mut ratios, mut drawn) = (Vec::with_capacity(rows.len()), Vec::new());
    for &(b, row, own) in &rows {
        drawn.clear();
        match &prior {
            Some(prior) => {
                let h = prior.signal(seed, b);
                *out.signal.get_or_insert(0.0) += h;
                drawn.extend(prior.draw(estimates, row, h));
            }
            None => drawn.extend_from_slice(row),
        }
        let chosen: Vec<f64> = shortlist.iter().map(|&p| drawn[p]).collect();
        let order: Vec<usize> = (0..chosen.len()).collect();
        let mut ratio = f64::NAN;
        Judge::new(&chosen, own, options)?.rows(&places(chosen.len()), &order, |row| {
            ratio = row.sharpe_ratio;
        });
        if !ratio.is_nan() {
            ratios.push(ratio);
        }
        let best = chosen.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        out.p_better += f64::from(u8::from(best > own));
        out.expected_gain += (best - own).max(0.0);
        let top = drawn.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let leaders = drawn.iter().filter(|&&x| x == top).count() as f64;
        for (p, _) in drawn.iter().enumerate().filter(|(_, x)| **x == top) {
            out.p_best[p] += 1.0 / leaders;
        }
    }
    let count = rows.len() as f64;
    out.p_better /= count;
    out.expected_gain /= count;
    out.p_best.iter_mut().for_each(|p| *p /= count);
    out.signal = out.signal.map(|h| h / count);
    out.sharpe_ratio
        .copy_from_slice(&quantiles(&mut ratios, &[0.05, 0.5, 0.95]));
    Ok(out)
}

/// Scores under which candidates keep their order.
fn places(n: usize) -> Vec<f64> {
    (0..n).map(|i| -(i as f64)).collect()
}

/// The spread of the true values, as far as the estimates tell.
struct Prior {
    mean: f64,
    noise: f64,
    /// Widths squared, and the distribution function over them.
    widths: Vec<(f64, f64)>,
}

impl Prior {
    fn new(estimates: &[f64], rows: &[(usize, &[f64], f64)]) -> Self {
        let n = estimates.len() as f64;
        let mean = estimates.iter().sum::<f64>() / n;
        let spread: f64 = estimates.iter().map(|e| (e - mean).powi(2)).sum();
        let squares: f64 = rows
            .iter()
            .map(|(_, row, _)| {
                let offset = offset(estimates, row);
                let centred = estimates.iter().zip(*row).map(|(e, r)| r - e - offset);
                centred.map(|c| c * c).sum::<f64>()
            })
            .sum();
        let noise = squares / (rows.len() as f64 * (n - 1.0));
        let largest = estimates.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
        let unit = if spread <= n * (ROUNDING * largest).powi(2) {
            0.0
        } else {
            spread / (n - 1.0)
        };
        let logs: Vec<(f64, f64)> = (1..=GRID)
            .map(|j| (j as f64 / 20.0).powi(2) * unit)
            .map(|width| {
                let total = width + noise;
                (
                    width,
                    -(n - 1.0) / 2.0 * total.ln() - spread / (2.0 * total),
                )
            })
            .collect();
        let top = logs.iter().map(|l| l.1).fold(f64::NEG_INFINITY, f64::max);
        // Where nothing spreads, or nothing is noise, all widths say the same.
        let weight = |log: f64| {
            if top.is_finite() {
                (log - top).exp()
            } else {
                1.0
            }
        };
        let mut sum = 0.0;
        let widths: Vec<(f64, f64)> = logs
            .iter()
            .map(|&(width, log)| {
                sum += weight(log);
                (width, sum)
            })
            .collect();
        Self {
            mean,
            noise,
            widths: widths.into_iter().map(|(w, s)| (w, s / sum)).collect(),
        }
    }

    /// h of one draw.
    fn signal(&self, seed: u64, draw: usize) -> f64 {
        let u = uniforms(seed, 0, (draw / 8) as u64, Purpose::Truth)[draw % 8];
        let u = (f64::from(u) + 0.5) / 2.0_f64.powi(32);
        let at = self.widths.partition_point(|(_, f)| *f < u).min(GRID - 1);
        let width = self.widths[at].0;
        if width + self.noise > 0.0 {
            width / (width + self.noise)
        } else {
            0.0
        }
    }

    fn draw(&self, estimates: &[f64], row: &[f64], h: f64) -> Vec<f64> {
        let offset = offset(estimates, row);
        let of = |(e, r): (&f64, &f64)| {
            self.mean + h * (e - self.mean) + h.sqrt() * (r - e - offset) + offset
        };
        estimates.iter().zip(row).map(of).collect()
    }
}

/// What all estimates of a replicate are off by together.
fn offset(estimates: &[f64], row: &[f64]) -> f64 {
    let sum: f64 = estimates.iter().zip(row).map(|(e, r)| r - e).sum();
    sum / estimates.len() as f64
}
