//! Intervals for the mean of an episode's term that hold for any number of episodes, given bounds that
//! the user vouches for.
//!
//! ```text
//! hoeffding             Hoeffding 1963, theorem 2
//! empirical_bernstein   Maurer & Pontil 2009, theorem 4
//! hcope                 Thomas, Theocharous & Ghavamzadeh 2015 (AAAI), theorem 1
//! log_smoothing         Sakhi et al. 2024, corollary 4
//! cressie_read          Karampatziakis, Langford & Mineiro 2020, section 3 (asymptotic, for the tails)
//! confidence_sequence   Waudby-Smith et al. 2024, section 3; a fold over episodes in the order of
//!                       arrival, not a merge: it needs that order and is not for distributed input
//! ```
//!
//! `d` is the probability of being wrong on one side.

use crate::interval::{Alternative, Reference};
use crate::random::{Purpose, philox};

/// Lower and upper bound from one-sided ones, each given its probability of being wrong.
fn sides(
    level: f64,
    alternative: Alternative,
    lower: impl Fn(f64) -> f64,
    upper: impl Fn(f64) -> f64,
) -> (f64, f64) {
    let wrong = 1.0 - level;
    match alternative {
        Alternative::TwoSided => (lower(wrong / 2.0), upper(wrong / 2.0)),
        Alternative::Greater => (lower(wrong), f64::INFINITY),
        Alternative::Less => (f64::NEG_INFINITY, upper(wrong)),
    }
}

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

/// Variance with divisor n - 1; 0 for a single value.
fn variance(x: &[f64]) -> f64 {
    let mean = mean(x);
    let squares: f64 = x.iter().map(|x| (x - mean).powi(2)).sum();
    squares / (x.len() as f64 - 1.0).max(1.0)
}

/// mean ± (u - l) sqrt( ln(1/d) / (2 n) ), for terms in [l, u].
pub fn hoeffding(x: &[f64], range: (f64, f64), level: f64, side: Alternative) -> (f64, f64) {
    let half = |d: f64| (range.1 - range.0) * ((1.0 / d).ln() / (2.0 * x.len() as f64)).sqrt();
    let mean = mean(x);
    sides(level, side, |d| mean - half(d), |d| mean + half(d))
}

/// mean ± [ sqrt(2 V ln(2/d) / n) + 7 (u - l) ln(2/d) / (3 (n - 1)) ], for terms in [l, u].
pub fn empirical_bernstein(
    x: &[f64],
    range: (f64, f64),
    level: f64,
    side: Alternative,
) -> (f64, f64) {
    let (n, mean, v) = (x.len() as f64, mean(x), variance(x));
    if n < 2.0 {
        return (f64::NAN, f64::NAN);
    }
    let half = |d: f64| {
        let log = (2.0 / d).ln();
        (2.0 * v * log / n).sqrt() + 7.0 * (range.1 - range.0) * log / (3.0 * (n - 1.0))
    };
    sides(level, side, |d| mean - half(d), |d| mean + half(d))
}

/// Lower bound for the mean of terms of 0 or more. A twentieth of the episodes, those with the smallest
/// seeded hash of their id, chooses where the terms are cut off; the others make the bound.
pub fn hcope(x: &[f64], hashes: &[u64], seed: u64, level: f64) -> f64 {
    let n = x.len();
    let held = n.div_ceil(20);
    if n < 3 {
        return f64::NAN;
    }
    let key = |i: usize| philox([seed, 0], [hashes[i], 0, Purpose::Folds as u64, 0])[0];
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by_cached_key(|&i| (key(i), i));
    let mut tuning: Vec<f64> = order[..held].iter().map(|&i| x[i]).collect();
    tuning.sort_by(f64::total_cmp);
    order[held..].sort_unstable();
    let m = (n - held) as f64;
    let log = (2.0 / (1.0 - level)).ln();
    let bound = |mean: f64, v: f64, c: f64| {
        mean - (2.0 * v * log / m).sqrt() - 7.0 * c * log / (3.0 * (m - 1.0))
    };
    let mut best = (f64::NEG_INFINITY, 0.0);
    for (i, &c) in tuning.iter().enumerate() {
        if c <= 0.0 || tuning.get(i + 1) == Some(&c) {
            continue;
        }
        let cut: Vec<f64> = tuning.iter().map(|x| x.min(c)).collect();
        let found = bound(mean(&cut), variance(&cut), c);
        if found > best.0 {
            best = (found, c);
        }
    }
    let c = best.1;
    let cut: Vec<f64> = order[held..].iter().map(|&i| x[i].min(c)).collect();
    bound(mean(&cut), variance(&cut), c)
}

/// Rewards r in [l, u] under weights w: the bound of mean w r by the mean of logarithms, which large
/// weights enter only as such. Cut off at the ends of the range, beyond which no mean can be.
pub fn log_smoothing(
    w: &[f64],
    r: &[f64],
    (l, u): (f64, f64),
    smoothing: Option<f64>,
    level: f64,
    side: Alternative,
) -> (f64, f64) {
    let n = w.len() as f64;
    let lower = |d: f64, reward: &dyn Fn(f64) -> f64| {
        let log = (1.0 / d).ln();
        let lambda = smoothing.unwrap_or_else(|| (2.0 * log / n).sqrt());
        let x = w.iter().zip(r).map(|(w, r)| w * reward(*r) / (u - l));
        if lambda == 0.0 {
            // In the limit nothing is smoothed.
            return (u - l) * x.sum::<f64>() / n;
        }
        let s: f64 = x.map(|x| (lambda * x).ln_1p()).sum();
        (u - l) * (s / n - log / n).exp_m1() / lambda
    };
    sides(
        level,
        side,
        |d| (l + lower(d, &|r| r - l)).clamp(l, u),
        |d| (u - lower(d, &|r| u - r)).clamp(l, u),
    )
}

/// Empirical likelihood by the Cressie-Read divergence of power -2: the mean of w r among all
/// distributions near to the sample under which the mean weight is 1. A single episode says nothing.
pub fn cressie_read(
    w: &[f64],
    r: &[f64],
    weights: (f64, f64),
    rewards: (f64, f64),
    level: f64,
    side: Alternative,
) -> (f64, f64) {
    let n = w.len() as f64;
    let total: f64 = w.iter().sum();
    let bound = |d: f64, r_unseen: f64, sign: f64| {
        if w.len() == 1 {
            return r_unseen;
        }
        // A one-sided bound at 1 - d uses the distance of a two-sided one at 1 - 2 d.
        let quantile = Reference::T(n).quantile(1.0 - d).powi(2);
        let with = |f: f64| Moments::new(w, r, f, r_unseen);
        let least = with(if total < n { weights.1 } else { weights.0 }).distance;
        let allowed = quantile + least;
        let end = [weights.0, weights.1]
            .into_iter()
            .map(with)
            .filter(|m| m.distance <= allowed)
            .map(|m| m.mean + sign * ((allowed - m.distance) * m.rest / (n + 1.0)).sqrt())
            .reduce(if sign < 0.0 { f64::min } else { f64::max })
            .unwrap_or(0.0);
        (r_unseen + end).clamp(rewards.0, rewards.1)
    };
    sides(
        level,
        side,
        |d| bound(d, rewards.0, -1.0),
        |d| bound(d, rewards.1, 1.0),
    )
}

/// What [`cressie_read`] needs of the sample and one unseen point of weight f and reward r*.
///
/// Rewards are counted from r*, which changes nothing under a mean weight of 1 and makes the unseen
/// point (f, 0); weights are in units of max(1, f). Otherwise a large f takes the digits of the rest.
struct Moments {
    /// mean y + (1 - A) k / v, from r*.
    mean: f64,
    /// R = Var y - k^2 / v, from residuals.
    rest: f64,
    /// g = N (A - 1)^2 / v.
    distance: f64,
}

impl Moments {
    fn new(w: &[f64], r: &[f64], f: f64, r_unseen: f64) -> Self {
        let count = w.len() as f64 + 1.0;
        let unit = f.max(1.0);
        let points = || {
            let seen = w.iter().zip(r).map(|(w, r)| (w / unit, w * (r - r_unseen)));
            seen.chain([(f / unit, 0.0)])
        };
        let (a, y) = points().fold((0.0, 0.0), |s, (w, y)| (s.0 + w, s.1 + y));
        let (a, y) = (a / count, y / count);
        let (v, k) = points().fold((0.0, 0.0), |s, (wi, yi)| {
            (s.0 + (wi - a).powi(2), s.1 + (wi - a) * (yi - y))
        });
        let slope = k / v;
        let rest = points().fold(0.0, |s, (wi, yi)| s + (yi - y - slope * (wi - a)).powi(2));
        Self {
            mean: y + (1.0 / unit - a) * slope,
            rest: rest / count,
            distance: count * count * (a - 1.0 / unit).powi(2) / v,
        }
    }
}

/// Bounds that hold at all times together: a predictable empirical Bernstein bound over the episodes as
/// they arrived, of which the best so far is kept; 0 before the first. Cut off as [`log_smoothing`].
pub fn confidence_sequence(
    w: &[f64],
    r: &[f64],
    (l, u): (f64, f64),
    level: f64,
    side: Alternative,
) -> (f64, f64) {
    let lower = |d: f64, reward: &dyn Fn(f64) -> f64| {
        let log = (1.0 / d).ln();
        // sum x, sum (x - m)^2, sum lambda, sum lambda x - psi(lambda) (x - m)^2.
        let (mut x_sum, mut squares, mut stakes, mut gain) = (0.0, 0.0, 0.0, 0.0);
        let mut best = 0.0_f64;
        for (i, (w, r)) in w.iter().zip(r).enumerate() {
            let i = (i + 1) as f64;
            let x = w * reward(*r) / (u - l);
            let m = ((0.5 + x_sum) / i).min(1.0);
            let v = (0.25 + squares) / i;
            let stake = (2.0 * log / (v * i * (1.0 + i).ln())).sqrt().min(0.5);
            let psi = -(-stake).ln_1p() - stake;
            gain += stake * x - psi * (x - m).powi(2);
            stakes += stake;
            squares += (x - m).powi(2);
            x_sum += x;
            best = best.max((gain - log) / stakes);
        }
        (u - l) * best
    };
    sides(
        level,
        side,
        |d| (l + lower(d, &|r| r - l)).clamp(l, u),
        |d| (u - lower(d, &|r| u - r)).clamp(l, u),
    )
}
