//! Pareto k: how heavy the tail of the importance weights is.
//!
//! The excesses of the M = min(floor(n / 5), ceil(3 sqrt n)) largest weights over the next one are
//! fitted by a generalised Pareto distribution, with the posterior mean of Zhang & Stephens 2009
//! for its shape, drawn towards 1/2 by the weight of ten observations (Vehtari et al. 2024, PSIS).
//! Moments of order 1/k and above do not exist: from k = 1/2 on the variance of the weights is in
//! doubt, above 0.7 standard errors mean nothing.

use std::cmp::Ordering;

use crate::lanes::vectorise;

/// Fewer different excesses do not make a tail.
const FEWEST: usize = 5;

/// M for `n` weights.
pub fn tail_size(n: usize) -> usize {
    (n / 5).min((3.0 * (n as f64).sqrt()).ceil() as usize)
}

/// Shape of the tail of weights of which the M + 1 largest are given in descending order; NaN where
/// too few different ones exceed the rest, or one is infinite.
pub fn pareto_k(largest: &[f64]) -> f64 {
    let Some((next, tail)) = largest.split_last() else {
        return f64::NAN;
    };
    let m = tail.len();
    if m < FEWEST || tail[0].is_infinite() {
        return f64::NAN;
    }
    let mut excesses: Vec<f64> = tail.iter().rev().map(|w| w - *next).collect();
    if excesses[quartile(m)] == 0.0 {
        // Most are tied with the next one: the tail is what truly exceeds it.
        excesses.retain(|&x| x > 0.0);
    }
    let different = excesses
        .windows(2)
        .filter(|w| w[0].total_cmp(&w[1]) == Ordering::Less)
        .count()
        + 1;
    if excesses.len() < FEWEST || different < FEWEST {
        return f64::NAN;
    }
    let m = excesses.len() as f64;
    (m * shape(&excesses) + 5.0) / (m + 10.0)
}

/// Position of the first quartile among `m` sorted values.
fn quartile(m: usize) -> usize {
    ((m as f64 / 4.0 + 0.5).floor() as usize).max(1) - 1
}

/// Posterior mean of k of the generalised Pareto distribution, Zhang & Stephens 2009, for positive
/// values in ascending order.
fn shape(x: &[f64]) -> f64 {
    let m = x.len();
    let points = 30 + (m as f64).sqrt().floor() as usize;
    let (first, last) = (x[quartile(m)], x[m - 1]);
    let theta = |j: usize| {
        let root = (points as f64 / (j as f64 + 0.5)).sqrt();
        1.0 / last + (1.0 - root) / (3.0 * first)
    };
    let k = |theta: f64| mean_log(x, -theta);
    let likelihood: Vec<f64> = (0..points)
        .map(|j| {
            let (theta, k) = (theta(j), k(theta(j)));
            let scale = if k == 0.0 {
                m as f64 / x.iter().sum::<f64>()
            } else {
                -theta / k
            };
            m as f64 * (scale.ln() - k - 1.0)
        })
        .collect();
    let top = likelihood.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (mut sum, mut weighted) = (0.0, 0.0);
    for (j, l) in likelihood.iter().enumerate() {
        let weight = (l - top).exp();
        sum += weight;
        weighted += weight * theta(j);
    }
    k(weighted / sum)
}

/// Mean of ln(1 + a x), for a x > -1. One logarithm serves many values: mantissas are multiplied and
/// exponents added up.
fn mean_log(x: &[f64], a: f64) -> f64 {
    const LANES: usize = 8;
    /// Mantissas below 2 whose product is in range.
    const AT_A_TIME: usize = 512;
    const EXPONENT: u64 = 0x7ff << 52;
    const ONE: u64 = 1023 << 52;
    let of = |x: &[f64]| {
        let (mut product, mut exponents) = ([1.0; LANES], [0_u64; LANES]);
        for chunk in x.chunks(LANES) {
            for ((product, exponents), x) in product.iter_mut().zip(&mut exponents).zip(chunk) {
                let bits = (1.0 + a * x).to_bits();
                *exponents += bits >> 52;
                *product *= f64::from_bits(bits & !EXPONENT | ONE);
            }
        }
        let logs: f64 = product.into_iter().map(f64::ln).sum();
        let doubled = exponents.into_iter().sum::<u64>() as i64 - 1023 * x.len() as i64;
        logs + doubled as f64 * std::f64::consts::LN_2
    };
    vectorise(
        #[inline(always)]
        || x.chunks(LANES * AT_A_TIME).map(of).sum::<f64>() / x.len() as f64,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tail::Tail;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn logarithms_of_products_are_sums(
            x in prop::collection::vec(0.0_f64..1e9, 1..10_000), a in 0.0_f64..1.0, negative: bool,
        ) {
            let largest = x.iter().copied().fold(0.0, f64::max);
            let a = if negative { -0.999_999 * a / largest.max(1e-300) } else { a };
            let terms: Vec<f64> = x.iter().map(|x| (a * x).ln_1p()).collect();
            let scale = terms.iter().map(|x| x.abs() + 1.0).sum::<f64>() / x.len() as f64;
            let mean = terms.iter().sum::<f64>() / x.len() as f64;
            prop_assert!((mean_log(&x, a) - mean).abs() < 1e-13 * scale);
        }
    }

    /// Quantiles of a generalised Pareto distribution: a sample without noise.
    fn pareto(k: f64, n: usize) -> Vec<f64> {
        (0..n)
            .map(|i| 1.0 - (i as f64 + 0.5) / n as f64)
            .map(|u| (u.powf(-k) - 1.0) / k)
            .collect()
    }

    fn pareto_k(weights: &[f64]) -> f64 {
        let mut tail = Tail::new(tail_size(weights.len()) + 1, 0.0);
        for &w in weights {
            tail.offer(w);
        }
        super::pareto_k(&tail.largest())
    }

    #[test]
    fn finds_the_shape() {
        for k in [0.2, 0.5, 0.9, 1.5] {
            let found = shape(&pareto(k, 2000));
            assert!((found - k).abs() < 0.05, "{found} for {k}");
            let all = pareto_k(&pareto(k, 100_000));
            assert!((all - k).abs() < 0.08, "{all} for {k}");
        }
    }

    #[test]
    fn scale_does_not_matter() {
        let x = pareto(0.7, 5000);
        let small: Vec<f64> = x.iter().map(|x| x * 2.0_f64.powi(-400)).collect();
        assert!((pareto_k(&x) - pareto_k(&small)).abs() < 1e-12);
    }

    #[test]
    fn no_tail_no_shape() {
        assert!(pareto_k(&[]).is_nan());
        assert!(pareto_k(&pareto(0.5, 24)).is_nan());
        assert!(pareto_k(&[1.0; 1000]).is_nan());
        let few: Vec<f64> = (0..1000).map(|i| f64::from(i % 4)).collect();
        assert!(pareto_k(&few).is_nan());
        assert!(pareto_k(&vec![0.0; 1000]).is_nan());
    }

    #[test]
    fn ties_with_the_threshold_do_not_hide_a_tail() {
        let mut x = vec![1.0; 10_000];
        x[..40].copy_from_slice(&pareto(1.0, 40).iter().map(|x| x + 2.0).collect::<Vec<_>>());
        assert!(pareto_k(&x) > 0.4);
    }
}
