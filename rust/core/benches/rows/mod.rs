//! Logs of equal episodes with columns that vary, made without a random number generator, and what is
//! measured of them.

// Each benchmark uses some of it.
#![allow(dead_code)]

use std::sync::atomic::{AtomicBool, AtomicUsize};

use counterfolio_core::assessment::Truth;
use counterfolio_core::bootstrap::{Bootstrap, Replicates};
use counterfolio_core::column::Column;
use counterfolio_core::episode::Episodes;
use counterfolio_core::estimator::Estimator;
use counterfolio_core::evaluate::{Errors, Evaluation, evaluate};
use counterfolio_core::pool::Work;
use counterfolio_core::resample::{Ids, Resample, Resampling};
use counterfolio_core::tiles::{Input, Log, Policy};
use counterfolio_core::top_k::{Noise, Options};

/// Numbers between two limits.
pub(crate) fn numbers(count: usize, salt: u64, low: f64, high: f64) -> Vec<f64> {
    (0..count as u64)
        .map(|i| {
            let mixed = (i + salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
            low + (high - low) * mixed as f64 / (1_u64 << 24) as f64
        })
        .collect()
}

pub(crate) fn all_estimators() -> Vec<Estimator> {
    Estimator::all(&["basic"])
}

/// Runs a job that nobody cancels.
pub(crate) fn with_work<T>(threads: usize, job: impl FnOnce(&Work) -> T) -> T {
    job(&Work {
        threads,
        cancel: &AtomicBool::new(false),
        done: &AtomicUsize::new(0),
    })
}

/// A log and one policy.
pub(crate) struct Rows {
    episodes: Episodes,
    /// Propensity, prob, reward, q, v.
    pub(crate) columns: [Vec<f64>; 5],
}

impl Rows {
    pub(crate) fn new(rows: usize, steps: usize) -> Self {
        Self {
            episodes: if steps == 1 {
                Episodes::EachRow(rows)
            } else {
                Episodes::Offsets((0..=rows).step_by(steps).collect())
            },
            columns: [
                numbers(rows, 1, 0.4, 0.6),
                numbers(rows, 2, 0.4, 0.6),
                numbers(rows, 3, -1.0, 1.0),
                numbers(rows, 4, -1.0, 1.0),
                numbers(rows, 5, -1.0, 1.0),
            ],
        }
    }

    fn with<T>(&self, job: impl FnOnce(&Log, &[Policy]) -> T) -> T {
        let [propensity, prob, reward, q, v] =
            self.columns.each_ref().map(|c| Column::from(&c[..]));
        let input = |column| {
            Some(Input {
                label: String::new(),
                column,
            })
        };
        let log = Log {
            episodes: &self.episodes,
            reward,
            propensity: Some(propensity),
            density: false,
        };
        let policy = Policy {
            prob: input(prob),
            q: input(q),
            v: input(v),
            ..Policy::default()
        };
        job(&log, &[policy])
    }

    /// All errors and notes.
    pub(crate) fn evaluate(&self, estimators: &[Estimator], threads: usize) -> Evaluation {
        let errors = Errors {
            asymptotic: true,
            ..Errors::default()
        };
        self.with(|log, policies| {
            with_work(threads, |work| {
                evaluate(log, policies, estimators, 0.95, errors, work)
                    .expect("the columns are valid")
            })
        })
    }

    pub(crate) fn bootstrap(&self, replicates: usize, threads: usize) -> Replicates {
        let resample = Resample {
            replicates,
            seed: 1,
            resampling: Resampling::Poisson,
            ids: Ids::Rows,
            clusters: None,
        };
        let estimators = all_estimators();
        self.with(|log, policies| {
            with_work(threads, |work| {
                Bootstrap::new(log, policies, &estimators, 0.95, &resample, threads)
                    .run(work)
                    .expect("nobody cancels it")
            })
        })
    }
}

/// Ranks some policies by each row of estimates and measures every top k: three quantiles of each metric.
pub(crate) fn assess(policies: usize, rankings: usize, threads: usize) -> Vec<f64> {
    let truth = numbers(policies, 7, 0.0, 1.0);
    let estimates = numbers(policies * rankings, 8, 0.0, 1.0);
    let options = Options::default();
    let noise = Noise {
        squared_errors: &vec![0.0; policies],
        of_differences: None,
    };
    let truth = Truth::new(&truth, noise, 0.5, &options).expect("the values are valid");
    let metrics: Vec<_> = (0..truth.width()).collect();
    with_work(threads, |work| {
        truth
            .quantiles(&estimates, &estimates, &metrics, &[0.025, 0.5, 0.975], work)
            .expect("nobody cancels it")
    })
}
