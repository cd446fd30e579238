//! Rankings measured by true values, for every k in one pass.

use crate::error::Result;
use crate::top_k::check;
use crate::top_k::noise::Noise;
use crate::top_k::options::{Options, Ties};
use crate::top_k::shortlist::{
    BEST, MEAN, Measure, Member, SHARPE_RATIO, STD, STD_DEBIASED, Shortlist, Statistics,
    VIOLATION_RATE, WORST,
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
    noise: Noise<'a>,
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
            noise: Noise::default(),
            options: *options,
            measure: options.measure(behavior_value)?,
        })
    }

    /// For true values with so much noise in them.
    pub(crate) fn with_noise(mut self, noise: Noise<'a>) -> Self {
        self.measure.paired = noise.of_differences.is_some();
        self.noise = noise;
        self
    }

    /// Measures the top k of candidates that stand in `order`, for k = 1, 2, ..
    pub(crate) fn rows(&self, estimated: &[f64], order: &[usize], mut each: impl FnMut(Row)) {
        let (measure, noise) = (&self.measure, &self.noise);
        let member = |policy: usize, above: &[usize]| Member {
            policy,
            value: self.truth[policy],
            squared_error: noise.squared_error(policy),
            of_pairs: noise.of_pairs(policy, above.iter().copied()),
        };
        let mut shortlist = Shortlist::EMPTY;
        let mut ranked = 0;
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
                let above = &order[..ranked];
                let mut group: Vec<_> = tied.iter().map(|&policy| member(policy, above)).collect();
                // So that the order given does not matter, not even to what is sampled.
                group.sort_by(|a, b| {
                    let values = a.value.total_cmp(&b.value);
                    values.then(a.squared_error.total_cmp(&b.squared_error))
                });
                let mut whole = Shortlist::EMPTY;
                for &x in &group {
                    whole.add(x, measure);
                }
                for row in shortlist.completed_by_some(&group, noise, measure) {
                    emit(row, whole.mean());
                }
                for (i, x) in group.iter().enumerate() {
                    shortlist.add(x.after(&group[..i], noise), measure);
                }
                emit(shortlist.statistics(measure), whole.mean());
            } else {
                for (i, &policy) in tied.iter().enumerate() {
                    shortlist.add(member(policy, &order[..ranked + i]), measure);
                    emit(shortlist.statistics(measure), self.truth[policy]);
                }
            }
            ranked += tied.len();
        }
    }
}
