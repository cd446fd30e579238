//! Influence values of a distribution's statistics, and the pointwise error of F.
//!
//! A statistic of F moves by int h dF to first order, with
//!
//! ```text
//! mean       h(x) = x - mean
//! variance   h(x) = (x - mean)^2 - variance
//! cvar(a)    h(x) = q - (q - x)^+ / a - cvar,  q the quantile at a
//! F(y)       h(x) = 1{x <= y} - F(y)
//! ```
//!
//! and F itself is a mean over episodes, so that one is to it what it adds to int h dF, less its mean:
//! c h(G) with c = w / mean w, h(v_0), or c (h(G) - h(v_0) - m) + h(v_0), m the weighted mean of the difference
//! (0 without normalisation).
//!
//! The quantile moves by -F's error over the density there. The density is what makes its standard error that of
//! Woodruff's interval (1952): quantiles at a ± z s, with s the standard error of F at the quantile.

use std::borrow::Cow;

use super::statistics::{Statistic, Steps};
use super::{Shape, Terms};

/// Normal quantile of Woodruff's interval: 95 %, two-sided.
const Z: f64 = 1.959_963_984_540_054;

/// What an episode's mass is divided by.
fn scales(shape: Shape, terms: &Terms) -> f64 {
    let n = terms.weight.len() as f64;
    if shape.normalised {
        n / terms.weight.iter().sum::<f64>()
    } else {
        crate::weights::Extended::new(1.0, terms.exponent).to_f64()
    }
}

/// What each episode adds to int h dF, less the mean of these.
fn linear(shape: Shape, terms: &Terms, returned: &[f64], h: impl Fn(f64) -> f64) -> Vec<f64> {
    let n = returned.len();
    let scale = scales(shape, terms);
    let own = |i: usize| {
        let model = if shape.modelled { h(terms.v0[i]) } else { 0.0 };
        let seen = if shape.weighted {
            h(returned[i])
        } else {
            model
        };
        (terms.weight[i] * scale, seen - model, model)
    };
    let mean = if shape.normalised {
        (0..n).map(|i| own(i).0 * own(i).1).sum::<f64>() / n as f64
    } else {
        0.0
    };
    let mut psi: Vec<f64> = (0..n)
        .map(|i| {
            let (c, more, model) = own(i);
            let weighted = if shape.weighted {
                c * (more - mean)
            } else {
                0.0
            };
            weighted + model
        })
        .collect();
    let mean = psi.iter().sum::<f64>() / n as f64;
    for x in &mut psi {
        *x -= mean;
    }
    psi
}

/// Standard error of a mean with these influence values, of units of episodes.
pub trait StandardError {
    /// The error.
    fn of(&self, psi: &[f64]) -> f64;
}

impl<T: Fn(&[f64]) -> f64> StandardError for T {
    fn of(&self, psi: &[f64]) -> f64 {
        self(psi)
    }
}

/// Influence values of what is independent: of episodes, or of clusters of them.
pub fn units<'p>(psi: &'p [f64], of: Option<&[u32]>, count: usize) -> Cow<'p, [f64]> {
    let Some(of) = of else {
        return psi.into();
    };
    let mut sums = vec![0.0; count];
    for (&cluster, x) in of.iter().zip(psi) {
        sums[cluster as usize] += x;
    }
    sums.into()
}

/// Standard error of a mean by influence values, of episodes or of clusters of them.
pub fn error_by(of: Option<&[u32]>, count: usize) -> impl Fn(&[f64]) -> f64 {
    move |psi: &[f64]| {
        let n = psi.len() as f64;
        let units = units(psi, of, count);
        let c = units.len() as f64;
        if c < 2.0 {
            return f64::NAN;
        }
        let squares: f64 = units.iter().map(|x| x * x).sum();
        (c / (c - 1.0) * squares).sqrt() / n
    }
}

/// Influence values of one statistic of a distribution whose steps are given.
pub fn influence(
    shape: Shape,
    terms: &Terms,
    returned: &[f64],
    steps: Steps,
    statistic: Statistic,
    error: &impl StandardError,
) -> Vec<f64> {
    let shape = shape.of_statistics();
    match statistic {
        Statistic::Mean => {
            let mean = steps.mean();
            linear(shape, terms, returned, |x| x - mean)
        }
        Statistic::Variance => {
            let (mean, variance) = (steps.mean(), steps.of(statistic));
            linear(shape, terms, returned, |x| {
                (x - mean) * (x - mean) - variance
            })
        }
        Statistic::Cvar(a) => {
            let (q, cvar) = (steps.quantile(a), steps.of(statistic));
            let h = |x: f64| q - (q - x).max(0.0) / a - cvar;
            linear(shape, terms, returned, h)
        }
        Statistic::Quantile(a) => {
            let q = steps.quantile(a);
            let level = super::place(steps.x, q).map_or(0.0, |j| steps.f[j]);
            let below = |x: f64| f64::from(u8::from(x <= q)) - level;
            let mut psi = linear(shape, terms, returned, below);
            let s = error.of(&psi);
            let [low, high] = [a - Z * s, a + Z * s].map(|u| steps.quantile(u.clamp(0.0, 1.0)));
            let slope = if s > 0.0 {
                (high - low) / (2.0 * Z * s)
            } else {
                0.0
            };
            for x in &mut psi {
                *x *= -slope;
            }
            psi
        }
        Statistic::Interquantile(a) => {
            let [low, high] = [a, 1.0 - a]
                .map(|u| influence(shape, terms, returned, steps, Statistic::Quantile(u), error));
            high.iter().zip(&low).map(|(x, y)| x - y).collect()
        }
    }
}

/// Woodruff's interval of a quantile: the quantiles at its level less and more `z` standard errors of F.
pub fn quantile_interval(
    shape: Shape,
    terms: &Terms,
    returned: &[f64],
    steps: Steps,
    (alpha, z): (f64, f64),
    error: &impl StandardError,
) -> (f64, f64) {
    let q = steps.quantile(alpha);
    let level = super::place(steps.x, q).map_or(0.0, |j| steps.f[j]);
    let below = |x: f64| f64::from(u8::from(x <= q)) - level;
    let s = error.of(&linear(shape.of_statistics(), terms, returned, below));
    let at = |u: f64| steps.quantile(u.clamp(0.0, 1.0));
    if s.is_nan() {
        return (f64::NAN, f64::NAN);
    }
    (at(alpha - z * s), at(alpha + z * s))
}

/// sum over the episodes of the squared influence values of F at each of its steps, in one pass: as x passes an
/// episode's G and v_0, the sums of which psi^2 is made change by what the episode is worth.
pub fn pointwise_squares(shape: Shape, terms: &Terms, points: &super::Points) -> Vec<f64> {
    let n = terms.weight.len() as f64;
    let scale = scales(shape, terms);
    let c = |i: usize| {
        if shape.weighted {
            terms.weight[i] * scale
        } else {
            0.0
        }
    };
    let (all, squares) = (0..terms.weight.len()).fold((0.0, 0.0), |(sum, squares), i| {
        (sum + c(i), squares + c(i) * c(i))
    });
    // Whether x has passed G and v_0.
    let mut passed = vec![(false, false); terms.weight.len()];
    // Of d = 1{G <= x} - 1{v_0 <= x} and v = 1{v_0 <= x}: sums of c^2 d^2, c^2 d, c d v, c d, c v, v.
    let mut sums = [0.0; 6];
    let worth = |i: usize, (g, v): (bool, bool)| {
        let (g, v) = (f64::from(u8::from(g)), f64::from(u8::from(v)));
        let (d, c) = (g - v, c(i));
        [c * c * d * d, c * c * d, c * d * v, c * d, c * v, v]
    };
    let mut at = 0;
    points
        .ends
        .iter()
        .map(|&end| {
            for &(episode, model) in &points.order[at..end] {
                let i = episode as usize;
                let before = worth(i, passed[i]);
                if model {
                    passed[i].1 = true;
                } else {
                    passed[i].0 = true;
                }
                let after = worth(i, passed[i]);
                for ((sum, a), b) in sums.iter_mut().zip(after).zip(before) {
                    *sum += a - b;
                }
            }
            at = end;
            let [ccdd, ccd, cdv, cd, cv, v] = sums;
            // psi = c (d - m) + v - f, with m the weighted mean of d, and f what makes its mean 0.
            let m = if shape.normalised { cd / all } else { 0.0 };
            let f = (cd - m * all + v) / n;
            let weighted = ccdd - 2.0 * m * ccd + m * m * squares;
            let crossed = cdv - f * cd - m * cv + m * f * all;
            (weighted + 2.0 * crossed + v - 2.0 * f * v + n * f * f).max(0.0)
        })
        .collect()
}
