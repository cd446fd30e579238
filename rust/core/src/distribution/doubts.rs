//! What speaks against a distribution: the weights it is made of, looked at as those of a value.

use super::statistics::Statistic;
use super::{Shape, Terms};
use crate::estimate::{Estimate, few, single_unit, skewed, untrusted, wrong_weights};
use crate::pareto::{pareto_k, tail_size};
use crate::sums::Moments;
use crate::tail::Tail;
use crate::weights::{Extended, Weight, effective_sample_size};

/// Whether there are too few episodes for so skewed influence values, of episodes or of clusters of them. Tails
/// rest on few. A quantile's are those of a share, whose interval is inverted and not its own.
pub fn too_skewed(statistic: Statistic, psi: &[f64]) -> Option<String> {
    if matches!(
        statistic,
        Statistic::Quantile(_) | Statistic::Interquantile(_)
    ) {
        return None;
    }
    let sum = |power: i32| psi.iter().map(|x| x.powi(power)).sum::<f64>();
    skewed(sum(3) / (6.0 * sum(2).powf(1.5)))
}

/// The weights of one policy.
#[derive(Debug, Clone, Copy)]
pub struct Weights {
    /// (sum w)^2 / sum w^2.
    pub effective_sample_size: f64,
    /// max w / sum w; `None` where all are 0.
    pub max_share: Option<f64>,
    moments: Moments<Extended>,
}

impl Terms {
    /// Sums up the weights.
    pub fn weights(&self) -> Weights {
        let mut moments = Moments::ZERO;
        for &w in &self.weight {
            moments.add(Extended::new(w, self.exponent));
        }
        Weights {
            effective_sample_size: effective_sample_size(moments.sum, moments.squares),
            max_share: (!moments.sum.is_zero()).then(|| moments.max.ratio(moments.sum)),
            moments,
        }
    }

    /// Why the intervals of a distribution of this shape are not to be leaned on; `clusters` is how many there
    /// are, if any.
    pub fn doubt(&self, shape: Shape, clusters: Option<usize>) -> Option<String> {
        let n = self.weight.len();
        let weights = self.weights();
        let single = clusters.unwrap_or(n) < 2;
        let row = Estimate {
            value: f64::NAN,
            standard_error: if single { f64::NAN } else { 0.0 },
            effective_sample_size: shape.weighted.then_some(weights.effective_sample_size),
            max_weight_share: weights.max_share.filter(|_| shape.weighted),
            note: None,
        };
        if shape.weighted && weights.moments.sum.is_zero() {
            let text = if shape.of_statistics().normalised {
                "undefined: every importance weight is 0"
            } else {
                "every importance weight is 0: the policy never takes a logged action"
            };
            return Some(text.into());
        }
        if let Some(text) = single_unit(&row, n) {
            return Some(text);
        }
        let wrong = shape.weighted.then(|| wrong_weights(&weights.moments, n));
        let notes: Vec<_> = wrong
            .flatten()
            .into_iter()
            .chain(few(clusters).or_else(|| untrusted(&row, self.pareto_k())))
            .collect();
        (!notes.is_empty()).then(|| notes.join("; "))
    }

    fn pareto_k(&self) -> f64 {
        let mut tail = Tail::new(tail_size(self.weight.len()) + 1, 0.0);
        for &w in &self.weight {
            tail.offer(w);
        }
        pareto_k(&tail.largest())
    }
}
