//! Judging an estimator by true values: its errors, its ranking, its shortlists, under replicates too.
//!
//! With J the true values, J^ the estimates, P policies:
//!
//! ```text
//! mse                 mean (J - J^)^2                  mse_debiased   mse - mean se^2
//! nmse                mse / mean J^2
//! false_alarm_rate    type I: safe (J >= threshold) but judged unsafe (J^ < threshold) / safe
//! missed_unsafe_rate  type II: unsafe but judged safe / unsafe
//! regret@k            max J - best@k                   nregret@k      regret@k / |max J|
//! std_debiased@k      sqrt( max(0, std@k^2 - noise in it) ), by [`Noise`]: mean se^2 (k - 1) / (k - ddof)
//!                     where errors are independent
//! ```
//!
//! with rank_correlation and kendall_tau ([`crate::rank_agreement`]) and the statistics of [`crate::top_k`]. se are the standard errors of true values that come from
//! roll-outs. Undefined where there is nothing to divide by.

use crate::error::{Error, Result};
use crate::pool::Work;
use crate::rank_agreement::{RankAgreement, Ranks};
use crate::replicate_intervals::quantiles;
use crate::top_k::{Judge, Noise, Options, Row, rank, rank_into};

/// Metrics of a ranking as a whole.
pub const SINGLE: [&str; 7] = [
    "mse",
    "mse_debiased",
    "nmse",
    "rank_correlation",
    "kendall_tau",
    "false_alarm_rate",
    "missed_unsafe_rate",
];
/// Metrics of its top k.
pub const BY_K: [&str; 10] = [
    "best",
    "worst",
    "mean",
    "kth",
    "std",
    "std_debiased",
    "safety_violation_rate",
    "sharpe_ratio",
    "regret",
    "nregret",
];

/// Replicates that a thread measures at a time.
const CHUNK: usize = 128;

/// True values and what rankings are measured against.
pub struct Truth<'a> {
    values: &'a [f64],
    noise: Noise<'a>,
    judge: Judge<'a>,
    options: &'a Options,
    best: f64,
    agreement: RankAgreement,
}

/// Buffers of a thread.
#[derive(Default)]
struct Space {
    order: Vec<usize>,
    ranks: Ranks,
    /// Metrics of a chunk, row by row.
    rows: Vec<f64>,
}

impl<'a> Truth<'a> {
    /// # Errors
    /// As [`crate::top_k::top_k`], and for noise of another number of policies.
    pub fn new(
        values: &'a [f64],
        noise: Noise<'a>,
        behavior_value: f64,
        options: &'a Options,
    ) -> Result<Self> {
        let n = values.len();
        let pairs = noise.of_differences.map_or(n * n, <[f64]>::len);
        if noise.squared_errors.len() != n || pairs != n * n {
            return Err(Error::InvalidArgument(format!(
                "{n} true values, {} squared errors and {pairs} of differences",
                noise.squared_errors.len()
            )));
        }
        Ok(Self {
            values,
            noise,
            judge: Judge::new(values, behavior_value, options)?.with_noise(noise),
            options,
            best: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            agreement: RankAgreement::new(values, &rank(values, options.ties)),
        })
    }

    /// Number of metrics: those of [`SINGLE`], then those of [`BY_K`] for each k.
    pub fn width(&self) -> usize {
        SINGLE.len() + BY_K.len() * self.values.len()
    }

    /// Every metric of some estimates, ranked and judged safe by their scores.
    pub fn measure(&self, estimates: &[f64], scores: &[f64]) -> Vec<f64> {
        let mut out = vec![0.0; self.width()];
        let Space { order, ranks, .. } = &mut Space::default();
        self.measure_into(estimates, scores, order, ranks, &mut out);
        out
    }

    fn measure_into(
        &self,
        estimates: &[f64],
        scores: &[f64],
        order: &mut Vec<usize>,
        ranks: &mut Ranks,
        out: &mut [f64],
    ) {
        let n = self.values.len() as f64;
        let mean = |term: &dyn Fn(usize) -> f64| (0..self.values.len()).map(term).sum::<f64>() / n;
        let mse = mean(&|i| (self.values[i] - estimates[i]).powi(2));
        rank_into(scores, self.options.ties, order);
        let (rank_correlation, kendall_tau) = self.agreement.with(scores, order, ranks);
        let threshold = self.judge.measure.threshold;
        let rate = |wrong: &dyn Fn(f64) -> bool, among: &dyn Fn(f64) -> bool| {
            let chosen = || (0..self.values.len()).filter(|&i| among(self.values[i]));
            let count = chosen().filter(|&i| wrong(scores[i])).count() as f64;
            count / chosen().count() as f64
        };
        let safe = |x: f64| x >= threshold;
        out[..SINGLE.len()].copy_from_slice(&[
            mse,
            mse - mean(&|i| self.noise.squared_errors[i]),
            over(mse, mean(&|i| self.values[i].powi(2))),
            rank_correlation,
            kendall_tau,
            rate(&|x| !safe(x), &safe),
            rate(&safe, &|x| !safe(x)),
        ]);
        let mut k = 0;
        self.judge.rows(scores, order, |row: Row| {
            k += 1;
            let regret = self.best - row.best;
            let at = SINGLE.len() + BY_K.len() * (k - 1);
            out[at..at + BY_K.len()].copy_from_slice(&[
                row.best,
                row.worst,
                row.mean,
                row.kth,
                row.std,
                row.std_debiased,
                row.safety_violation_rate,
                row.sharpe_ratio,
                regret,
                over(regret, self.best.abs()),
            ]);
        });
    }

    /// Some quantiles, for probabilities in ascending order, of some metrics (by their places among all) over
    /// replicates: rows of estimates, and of scores. Undefined ones are left out.
    ///
    /// # Errors
    /// [`crate::Error::Cancelled`].
    pub fn quantiles(
        &self,
        replicates: &[f64],
        scores: &[f64],
        metrics: &[usize],
        p: &[f64],
        work: &Work,
    ) -> Result<Vec<f64>> {
        let (policies, width) = (self.values.len(), self.width());
        let count = replicates.len() / policies;
        let mut blocks = Vec::new();
        work.fold_blocks(
            count.div_ceil(CHUNK),
            1,
            Space::default,
            |space, chunk| {
                let first = chunk * CHUNK * policies;
                let scores = scores[first..].chunks_exact(policies);
                let rows = replicates[first..].chunks_exact(policies);
                let rows = rows.zip(scores).take(CHUNK);
                space.rows.resize(rows.len() * width, 0.0);
                for ((estimates, scores), out) in rows.zip(space.rows.chunks_exact_mut(width)) {
                    self.measure_into(estimates, scores, &mut space.order, &mut space.ranks, out);
                }
                // A column to a metric.
                let column = |&metric: &usize| space.rows[metric..].iter().step_by(width).copied();
                Ok(metrics.iter().flat_map(column).collect::<Vec<f64>>())
            },
            |block| blocks.push(block),
        )?;
        let mut out = Vec::with_capacity(metrics.len() * p.len());
        work.fold_blocks(
            metrics.len(),
            8,
            || Vec::with_capacity(count),
            |column, metric| {
                column.clear();
                for block in &blocks {
                    let rows = block.len() / metrics.len();
                    let own = &block[metric * rows..(metric + 1) * rows];
                    column.extend(own.iter().filter(|x| !x.is_nan()));
                }
                Ok(quantiles(column, p))
            },
            |found| out.extend(found),
        )?;
        Ok(out)
    }
}

/// A quotient; NaN where there is nothing to divide by.
fn over(a: f64, b: f64) -> f64 {
    if b == 0.0 { f64::NAN } else { a / b }
}

/// How often each policy has each rank over replicates (rows of scores): a row to a policy, its first entry
/// for the highest score; and the number of replicates. Equal scores share their ranks, undefined ones are
/// equal and last. Replicates in which all are undefined are left out.
pub fn rank_counts(scores: &[f64], policies: usize) -> (Vec<f64>, usize) {
    let mut counts = vec![0.0; policies * policies];
    let mut order = Vec::with_capacity(policies);
    let mut used = 0;
    for row in scores.chunks_exact(policies.max(1)) {
        if row.iter().all(|x| x.is_nan()) {
            continue;
        }
        used += 1;
        rank_into(row, crate::top_k::Ties::First, &mut order);
        let equal =
            |&a: &usize, &b: &usize| row[a] == row[b] || (row[a].is_nan() && row[b].is_nan());
        let mut rank = 0;
        for tied in order.chunk_by(equal) {
            let share = 1.0 / tied.len() as f64;
            for &policy in tied {
                let at = policy * policies + rank;
                counts[at..at + tied.len()]
                    .iter_mut()
                    .for_each(|x| *x += share);
            }
            rank += tied.len();
        }
    }
    (counts, used)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::top_k::Ties;
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    fn independent(squared_errors: &[f64]) -> Noise<'_> {
        Noise {
            squared_errors,
            of_differences: None,
        }
    }

    #[test]
    fn metrics_by_hand() {
        let options = Options::default();
        let truth = Truth::new(&[1.0, 2.0, 4.0], independent(&[0.0; 3]), 1.5, &options).unwrap();
        let found = truth.measure(&[2.0, 2.0, 1.0], &[2.0, 2.0, 1.0]);
        let [mse, debiased, nmse, spearman, tau, ..] = found[..] else {
            panic!()
        };
        assert_eq!((mse, debiased), (10.0 / 3.0, 10.0 / 3.0));
        assert!((nmse - 10.0 / 21.0).abs() < 1e-15);
        assert!((spearman + 3.0_f64.sqrt() / 2.0).abs() < 1e-15);
        assert!((tau + 2.0 / 6.0_f64.sqrt()).abs() < 1e-15);
        let k2 = &found[SINGLE.len() + BY_K.len()..][..BY_K.len()];
        assert_eq!(k2[..6], [2.0, 1.0, 1.5, 2.0, 0.5, 0.5]);
        assert_eq!(k2[7..], [1.0, 2.0, 0.5]);
    }

    #[test]
    fn scores_rank_and_estimates_err() {
        let options = Options::default();
        let truth = Truth::new(&[1.0, 2.0], independent(&[0.0; 2]), 0.0, &options).unwrap();
        let found = truth.measure(&[3.0, 2.0], &[0.0, 1.0]);
        assert_eq!((found[0], found[3], found[4]), (2.0, 1.0, 1.0));
        assert_eq!(found[SINGLE.len()], 2.0);
    }

    #[test]
    fn noise_of_the_truth_is_taken_off() {
        let options = Options::default();
        let truth = Truth::new(&[0.0, 2.0], independent(&[0.5, 0.3]), 0.0, &options).unwrap();
        let found = truth.measure(&[0.0, 2.0], &[0.0, 2.0]);
        assert_eq!(found[1], -0.4);
        let k2 = &found[SINGLE.len() + BY_K.len()..];
        assert!((k2[5] - (1.0 - 0.4 / 2.0_f64).sqrt()).abs() < 1e-15);
    }

    /// `std_debiased` of every k.
    fn debiased(
        values: &[f64],
        noise: Noise,
        scores: &[f64],
        (ddof, ties): (u8, Ties),
    ) -> Vec<f64> {
        let options = Options {
            ddof,
            ties,
            ..Options::default()
        };
        let truth = Truth::new(values, noise, 0.0, &options).unwrap();
        let found = truth.measure(scores, scores);
        let rows = found[SINGLE.len()..].chunks_exact(BY_K.len());
        rows.map(|row| row[5]).collect()
    }

    #[test]
    fn noise_in_common_is_not_taken_off() {
        // Covariances of the errors of three policies.
        let c = [[0.5, 0.4, 0.1], [0.4, 0.6, 0.2], [0.1, 0.2, 0.3]];
        let squared = [0, 1, 2].map(|i| c[i][i]);
        let differences: Vec<f64> = (0..9)
            .map(|at| (at / 3, at % 3))
            .map(|(i, j)| c[i][i] + c[j][j] - 2.0 * c[i][j])
            .collect();
        let noise = Noise {
            squared_errors: &squared,
            of_differences: Some(&differences),
        };
        let (values, scores) = ([0.0, 2.0, 5.0], [1.0, 3.0, 2.0]);
        for ddof in [0, 1] {
            let found = debiased(&values, noise, &scores, (ddof, Ties::First));
            for (k, chosen) in [(2, vec![1, 2]), (3, vec![0, 1, 2])] {
                let n = f64::from(k);
                let mean = chosen.iter().map(|&i| values[i]).sum::<f64>() / n;
                let squares: f64 = chosen.iter().map(|&i| (values[i] - mean).powi(2)).sum();
                let trace: f64 = chosen.iter().map(|&i| c[i][i]).sum();
                let all: f64 = chosen
                    .iter()
                    .flat_map(|&i| chosen.iter().map(move |&j| c[i][j]))
                    .sum();
                let wanted = (squares - trace + all / n) / (n - f64::from(ddof));
                let gap = found[k as usize - 1] - wanted.sqrt();
                assert!(gap.abs() < 1e-14, "{ddof} {k} {gap}");
            }
        }
        // Equal returns have no noise between them, and no spread.
        let same = Noise {
            squared_errors: &[0.5; 2],
            of_differences: Some(&[0.0; 4]),
        };
        assert_eq!(
            debiased(&[1.0, 1.0], same, &[2.0, 1.0], (0, Ties::First)),
            [0.0, 0.0]
        );
    }

    #[test]
    fn independent_errors_are_a_case_of_those_of_differences() {
        let squared: Vec<f64> = (0..16).map(|i| 0.01 * f64::from(1 + i % 5)).collect();
        let values: Vec<f64> = (0..16).map(|i| f64::from(i * 7 % 16)).collect();
        let differences: Vec<f64> = (0..256)
            .map(|at| (at / 16, at % 16))
            .map(|(i, j)| if i == j { 0.0 } else { squared[i] + squared[j] })
            .collect();
        let plain = independent(&squared);
        let paired = Noise {
            of_differences: Some(&differences),
            ..plain
        };
        let apart: Vec<f64> = (0..16).map(f64::from).collect();
        // All tied, most of k have more completions than are gone through; some tied, all are.
        let (all, some) = (
            [1.0; 16],
            [0, 1, 1, 1, 2, 2, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10].map(f64::from),
        );
        for scores in [&apart[..], &all, &some] {
            for ties in [Ties::First, Ties::Last, Ties::Average] {
                for ddof in [0, 1] {
                    let found = debiased(&values, paired, scores, (ddof, ties));
                    let wanted = debiased(&values, plain, scores, (ddof, ties));
                    for (x, y) in found.iter().zip(&wanted) {
                        assert!(
                            (x - y).abs() < 1e-12 || (x.is_nan() && y.is_nan()),
                            "{x} {y}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn noise_of_others_is_refused() {
        let options = Options::default();
        for noise in [
            independent(&[0.1]),
            Noise {
                squared_errors: &[0.1, 0.1],
                of_differences: Some(&[0.1]),
            },
        ] {
            let refused = Truth::new(&[1.0, 2.0], noise, 0.0, &options).err().unwrap();
            assert!(refused.to_string().contains("2 true values"), "{refused}");
        }
    }

    #[test]
    fn quantiles_over_replicates_leave_out_what_is_undefined() {
        let options = Options::default();
        let truth = Truth::new(&[1.0, 3.0], independent(&[0.0; 2]), 0.0, &options).unwrap();
        let (cancel, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let work = Work {
            threads: 2,
            cancel: &cancel,
            done: &done,
        };
        let replicates: Vec<f64> = (0..300)
            .flat_map(|i| [f64::from(i % 3), if i % 100 == 7 { f64::NAN } else { 1.0 }])
            .collect();
        let found = truth
            .quantiles(
                &replicates,
                &replicates,
                &[SINGLE.len(), 0],
                &[0.0, 0.5, 1.0],
                &work,
            )
            .unwrap();
        // Of 3 is undefined whether the second leads: it then ranks last.
        assert_eq!(found[..3], [1.0, 1.0, 3.0]);
        assert_eq!(found.len(), 6);
        assert!(found[3..].iter().all(|x| x.is_finite()));
    }

    #[test]
    fn ranks_are_counted() {
        let nan = f64::NAN;
        let scores = [1.0, 3.0, 2.0, 5.0, 5.0, nan, nan, 0.0, 1.0, nan, nan, nan];
        let (counts, used) = rank_counts(&scores, 3);
        assert_eq!(counts, [0.5, 0.5, 2.0, 1.5, 1.5, 0.0, 1.0, 1.0, 1.0]);
        assert_eq!(used, 3);
    }
}
