//! Rankings measured by true values, for every k in one pass.

use crate::error::Result;
use crate::top_k::check;
use crate::top_k::options::{Options, Ties};
use crate::top_k::shortlist::{
    BEST, MEAN, Measure, SHARPE_RATIO, STD, STD_DEBIASED, Shortlist, Statistics, VIOLATION_RATE,
    WORST,
};

/// What is said of the top k: the statistics of the set, and the true value of the k-th.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) best: f64,
    pub(crate) worst: f64,
    pub(crate) mean: f64,
    pub(crate) std: f64,
    pub(crate) kth: f64,
    pub(crate) safety_violation_rate: f64,
    pub(crate) sharpe_ratio: f64,
    /// `std` without the noise of true values that come from roll-outs.
    pub(crate) std_debiased: f64,
}

/// True values that rankings are measured by, and how.
pub(crate) struct Judge<'a> {
    truth: &'a [f64],
    /// Squared standard errors of the true values; none where these are exact.
    squared_errors: &'a [f64],
    options: Options,
    pub(crate) measure: Measure,
}

impl<'a> Judge<'a> {
    /// # Errors
    /// As [`top_k`].
    pub(crate) fn new(truth: &'a [f64], behavior_value: f64, options: &Options) -> Result<Self> {
        check(truth, truth)?;
        Ok(Self {
            truth,
            squared_errors: &[],
            options: *options,
            measure: options.measure(behavior_value)?,
        })
    }

    /// For true values with so large squared standard errors.
    pub(crate) fn with_errors(mut self, squared_errors: &'a [f64]) -> Self {
        self.squared_errors = squared_errors;
        self
    }

    /// Measures the top k of candidates that stand in `order`, for k = 1, 2, ..
    pub(crate) fn rows(&self, estimated: &[f64], order: &[usize], mut each: impl FnMut(Row)) {
        let measure = &self.measure;
        let truth = |i: usize| {
            let error = self.squared_errors.get(i).copied().unwrap_or(0.0);
            (self.truth[i], error)
        };
        let mut shortlist = Shortlist::EMPTY;
        let mut k = 0;
        let mut emit = |row: Statistics, kth: f64| {
            k += 1;
            each(Row {
                best: row[BEST],
                worst: row[WORST],
                mean: row[MEAN],
                std: row[STD],
                kth,
                safety_violation_rate: row[VIOLATION_RATE],
                sharpe_ratio: self.options.finished(row[SHARPE_RATIO], k),
                std_debiased: row[STD_DEBIASED],
            });
        };
        for tied in order.chunk_by(|&a, &b| estimated[a] == estimated[b]) {
            if self.options.ties == Ties::Average && tied.len() > 1 {
                let mut group: Vec<_> = tied.iter().map(|&policy| truth(policy)).collect();
                // So that the order given does not matter, not even to what is sampled.
                group.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
                let mut whole = Shortlist::EMPTY;
                for &x in &group {
                    whole.add(x, measure);
                }
                for row in shortlist.completed_by_some(&group, measure) {
                    emit(row, whole.mean());
                }
                for &x in &group {
                    shortlist.add(x, measure);
                }
                emit(shortlist.statistics(measure), whole.mean());
            } else {
                for &policy in tied {
                    shortlist.add(truth(policy), measure);
                    emit(shortlist.statistics(measure), truth(policy).0);
                }
            }
        }
    }
}
