//! Ranking, shortlists and `SharpeRatio@k`, for every k in one pass.
//!
//! Source: Kiyohara et al. (2024), "Towards Assessing and Benchmarking Risk-Return Tradeoff of
//! Off-Policy Evaluation", arXiv 2311.18207. With J the true values of the k candidates that are
//! estimated highest, and `J_b` the behavior policy's value,
//!
//! `SharpeRatio@k = (max(best@k, J_b) - J_b) / std@k`.
//!
//! The behavior policy is the risk-free asset: it can always be kept, and is not part of the
//! shortlist unless it is given as a candidate.

use crate::error::Result;

mod judge;
mod noise;
mod options;
mod rank;
mod shortlist;

pub(crate) use judge::{Judge, Row};
pub use noise::Noise;
pub use options::{Options, Safety, Ties};
pub use rank::rank;
pub(crate) use rank::rank_into;

use options::{LARGEST, invalid};

/// What the top k hold, entry i for k = i + 1.
#[derive(Debug, Clone, PartialEq)]
pub struct TopK {
    /// Largest true value.
    pub best: Vec<f64>,
    /// Smallest true value.
    pub worst: Vec<f64>,
    /// Mean of the true values.
    pub mean: Vec<f64>,
    /// Their standard deviation; NaN for k = 1 and ddof 1.
    pub std: Vec<f64>,
    /// True value of the candidate ranked k-th; under [`Ties::Average`] the mean of those tied there.
    pub kth: Vec<f64>,
    /// Share of true values below the threshold, if there is one.
    pub safety_violation_rate: Option<Vec<f64>>,
    /// NaN for k = 1. Where all k values are equal, NaN if they do not exceed `J_b`, else +inf.
    pub sharpe_ratio: Vec<f64>,
}

/// Ranks the candidates by estimate and measures the true values of the top k, for all k.
///
/// # Errors
/// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for no candidates, lengths that differ, true values or a behavior
/// policy's value that are not finite, and options out of range.
pub fn top_k(
    estimated: &[f64],
    truth: &[f64],
    behavior_value: f64,
    options: &Options,
) -> Result<TopK> {
    check(estimated, truth)?;
    let judge = Judge::new(truth, behavior_value, options)?;
    let mut rows = Vec::with_capacity(truth.len());
    judge.rows(estimated, &rank(estimated, options.ties), |row| {
        rows.push(row);
    });
    let column = |f: fn(&Row) -> f64| rows.iter().map(f).collect::<Vec<f64>>();
    Ok(TopK {
        best: column(|r| r.best),
        worst: column(|r| r.worst),
        mean: column(|r| r.mean),
        std: column(|r| r.std),
        kth: column(|r| r.kth),
        safety_violation_rate: options.safety.map(|_| column(|r| r.safety_violation_rate)),
        sharpe_ratio: column(|r| r.sharpe_ratio),
    })
}

fn check(estimated: &[f64], truth: &[f64]) -> Result<()> {
    let n = estimated.len();
    if n != truth.len() {
        return invalid(format!(
            "estimated has {n} values and true has {}: give one of each for every policy",
            truth.len()
        ));
    }
    if n == 0 {
        return invalid("no policies to rank: estimated and true are empty".to_owned());
    }
    for (what, wrong) in [
        ("null or NaN", f64::is_nan as fn(f64) -> bool),
        ("infinite or beyond 8.9e307", |x| x.abs() > LARGEST),
    ] {
        let count = truth.iter().filter(|&&x| wrong(x)).count();
        if let Some(first) = truth.iter().position(|&x| wrong(x)) {
            return invalid(format!(
                "true: {count} of {n} values are {what}, first at position {first} ({:?}); leave \
                 these policies out or measure them",
                truth[first]
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TRUTH: [f64; 10] = [1., 3., 4., 5., 6., 7., 8., 9., 10., 12.];

    /// One row per k of best, worst, mean, std, `safety_violation_rate`, `SharpeRatio@k`.
    fn rows(result: &TopK) -> Vec<[f64; 6]> {
        let violations = result.safety_violation_rate.as_ref().unwrap();
        (0..result.best.len())
            .map(|i| {
                let (best, worst, mean) = (result.best[i], result.worst[i], result.mean[i]);
                [
                    best,
                    worst,
                    mean,
                    result.std[i],
                    violations[i],
                    result.sharpe_ratio[i],
                ]
            })
            .collect()
    }

    /// The definition, written down afresh for every k.
    fn naive(estimated: &[f64], truth: &[f64], baseline: f64, options: &Options) -> Vec<[f64; 6]> {
        let mut left: Vec<usize> = (0..truth.len()).collect();
        let mut chosen: Vec<f64> = Vec::new();
        let Some(Safety::Threshold(threshold)) = options.safety else {
            panic!()
        };
        let mut rows = Vec::new();
        while !left.is_empty() {
            let mut next = 0;
            for i in 1..left.len() {
                let (a, b) = (estimated[left[i]], estimated[left[next]]);
                let wins = a > b || (a == b && options.ties == Ties::Last);
                next = if wins || (b.is_nan() && !a.is_nan()) {
                    i
                } else {
                    next
                };
            }
            chosen.push(truth[left.remove(next)]);
            let k = chosen.len() as f64;
            let best = chosen.iter().copied().fold(f64::MIN, f64::max);
            let worst = chosen.iter().copied().fold(f64::MAX, f64::min);
            let mean = chosen.iter().sum::<f64>() / k;
            let squares = chosen.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
            let divisor = k - f64::from(options.ddof);
            let std = if best > worst {
                (squares / divisor).sqrt()
            } else {
                0.0 / divisor
            };
            let violations = chosen.iter().filter(|&&x| x < threshold).count() as f64 / k;
            let sharpe = if k > 1.0 {
                (best.max(baseline) - baseline) / std
            } else {
                f64::NAN
            };
            rows.push([best, worst, mean, std, violations, sharpe]);
        }
        rows
    }

    fn assert_close(found: &[[f64; 6]], wanted: &[[f64; 6]]) {
        assert_eq!(found.len(), wanted.len());
        for (x, y) in found.concat().into_iter().zip(wanted.concat()) {
            let close = x == y || (x - y).abs() <= 1e-10 * (1.0 + y.abs());
            assert!(close || (x.is_nan() && y.is_nan()), "{found:?}\n{wanted:?}");
        }
    }

    /// All orders in which n things can stand.
    fn orders(n: usize) -> Vec<Vec<usize>> {
        if n == 0 {
            return vec![vec![]];
        }
        let insert = |order: Vec<usize>| {
            (0..n).map(move |place| [&order[..place], &[n - 1], &order[place..]].concat())
        };
        orders(n - 1).into_iter().flat_map(insert).collect()
    }

    fn number() -> impl Strategy<Value = f64> {
        // Few values, so that many are equal; offset, so that digits would cancel.
        (-3_i32..4).prop_map(|i| 1e3 + 0.1 * f64::from(i))
    }

    fn estimate() -> impl Strategy<Value = f64> {
        let odd = prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0]);
        prop_oneof![4 => number(), 1 => odd]
    }

    proptest! {
        #[test]
        fn one_pass_agrees_with_the_definition(
            policies in prop::collection::vec((estimate(), number()), 1..40),
            baseline in number(), threshold in number(), ddof in 0_u8..2, last: bool,
        ) {
            let (estimated, truth): (Vec<_>, Vec<_>) = policies.into_iter().unzip();
            let ties = if last { Ties::Last } else { Ties::First };
            let safety = Some(Safety::Threshold(threshold));
            let options = Options { ddof, ties, safety, ..Options::default() };
            let found = top_k(&estimated, &truth, baseline, &options).unwrap();
            assert_close(&rows(&found), &naive(&estimated, &truth, baseline, &options));
        }

        #[test]
        fn averages_are_those_over_all_orders(
            policies in prop::collection::vec((0_i32..3, number()), 1..6),
            baseline in number(), ddof in 0_u8..2,
        ) {
            let (estimated, truth): (Vec<_>, Vec<_>) =
                policies.into_iter().map(|(e, t)| (f64::from(e), t)).unzip();
            let safety = Some(Safety::Threshold(baseline));
            let options = Options { ddof, ties: Ties::Average, safety, ..Options::default() };
            let found = top_k(&estimated, &truth, baseline, &options).unwrap();
            let orders = orders(truth.len());
            let mut wanted = vec![[0.0; 6]; truth.len()];
            for order in &orders {
                let pick = |x: &[f64]| order.iter().map(|&i| x[i]).collect::<Vec<_>>();
                let one = naive(&pick(&estimated), &pick(&truth), baseline, &options);
                for (sum, x) in wanted.as_flattened_mut().iter_mut().zip(one.as_flattened()) {
                    *sum += x / orders.len() as f64;
                }
            }
            assert_close(&rows(&found), &wanted);
        }
    }

    #[test]
    fn first_example_of_the_paper() {
        let x = [1., 3., 4., 5., 6., 7., 8., 2., 2., 12.];
        let found = top_k(&x, &TRUTH, 8.0, &Options::default().scope_rl().unwrap()).unwrap();
        let digits: Vec<f64> = found.sharpe_ratio[1..]
            .iter()
            .map(|x| (x * 1e4).round())
            .collect();
        let published = [
            14142., 15119., 15209., 14805., 14142., 13369., 13139., 13631., 11853.,
        ];
        assert_eq!(digits, published);
        assert_eq!(found.kth, [12., 8., 7., 6., 5., 4., 3., 10., 9., 1.]);
    }

    #[test]
    fn undefined_ratios() {
        let ratios = |truth: &[f64], baseline: f64, options: Options| {
            top_k(&TRUTH[..truth.len()], truth, baseline, &options)
                .unwrap()
                .sharpe_ratio
        };
        let scope_rl = Options::default().scope_rl().unwrap();
        let text = |x: Vec<f64>| format!("{x:?}");
        assert_eq!(
            text(ratios(&[2., 2.], 1., Options::default())),
            "[NaN, inf]"
        );
        assert_eq!(text(ratios(&[2., 2.], 1., scope_rl)), "[NaN, 100.0]");
        assert_eq!(
            text(ratios(&[2., 2.], 2., Options::default())),
            "[NaN, NaN]"
        );
        assert_eq!(text(ratios(&[2., 2.], 2., scope_rl)), "[NaN, 0.0]");
        assert_eq!(
            text(ratios(&[2., 3.], 5., Options::default())),
            "[NaN, 0.0]"
        );
    }

    #[test]
    fn refusals() {
        let refused = |truth: &[f64], options: &Options| {
            top_k(&[1.0, 2.0], truth, 0.0, options)
                .unwrap_err()
                .to_string()
        };
        let plain = Options::default();
        let nan = f64::NAN;
        for (truth, text) in [
            (&[1.0][..], "estimated has 2 values and true has 1"),
            (
                &[0.0, nan],
                "true: 1 of 2 values are null or NaN, first at position 1 (NaN)",
            ),
            (&[-f64::INFINITY, 0.0], "true: 1 of 2 values are infinite"),
        ] {
            assert!(
                refused(truth, &plain).starts_with(text),
                "{}",
                refused(truth, &plain)
            );
        }
        assert!(refused(&[0.0, 1.0], &Options { ddof: 2, ..plain }).starts_with("ddof"));
        assert!(top_k(&[], &[], 0.0, &plain).is_err());
    }
}
