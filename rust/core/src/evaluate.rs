//! All estimators and all policies: one pass over the rows for values, one for influence values.

use crate::error::Result;
use crate::estimate::{Doubts, Estimate, Values, behavior, finish};
use crate::estimator::Estimator;
use crate::pairs::{self, acceleration, variance_factor};
use crate::pareto::pareto_k;
use crate::plan::Plan;
use crate::pool::Work;
use crate::resample::Clusters;
use crate::sums::Sums;
use crate::tail::Tail;
use crate::tiles::{Log, Policy};
use crate::weights::Extended;

mod influences;
mod values;

/// Blocks that a thread takes at a time, fewer where their results are large.
const MOST_BLOCKS: usize = 8;

/// Everything two passes find.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// By policy, then by estimator as asked for.
    pub estimates: Vec<Estimate>,
    /// The behavior policy's own mean return.
    pub behavior: Estimate,
    /// For each estimator (P + 1) x (P + 1), the behavior policy last: the variance of each estimate
    /// on the diagonal, of the difference of two off it.
    pub variances: Vec<f64>,
    /// In the same places the accelerations of the BCa bootstrap, NaN where they were not wanted; of p - q in row p
    /// and column q.
    pub accelerations: Vec<f64>,
}

/// What the first pass found of every policy and kind of weights.
pub(crate) struct Found {
    pub(crate) groups: usize,
    /// By policy and kind of weights.
    pub(crate) units: Vec<Values>,
}

impl Found {
    /// Of one policy.
    pub(crate) fn of(&self, policy: usize, group: usize) -> Option<&Values> {
        self.units.get(policy * self.groups + group)
    }
}

impl Plan<'_> {
    /// Values of every policy and kind of weights from their sums.
    fn finish_all(&self, totals: &[Sums<Extended>], n: f64) -> Vec<Values> {
        let units = totals.iter().enumerate().map(|(unit, sums)| {
            let policy = &self.policies[unit / self.groups.len()];
            let weighting = self.groups[unit % self.groups.len()].weighting;
            finish(sums, &self.wide, n, weighting, policy.occupancy)
        });
        units.collect()
    }
}

/// How errors are found.
#[derive(Debug, Clone, Copy, Default)]
pub struct Errors<'a> {
    /// Episodes that hang together; none are independent only of other clusters' episodes.
    pub clusters: Option<Clusters<'a>>,
    /// Whether the accelerations of all differences are wanted, not only of those from the behavior policy.
    pub accelerations: bool,
    /// Whether intervals hold for many episodes alone: notes then say where these are too few.
    pub asymptotic: bool,
}

/// Evaluates every policy with every estimator.
///
/// # Errors
/// [`Error::InvalidPolicy`] where a column that is read breaks its rule; [`Error::Cancelled`].
pub fn evaluate(
    log: &Log,
    policies: &[Policy],
    estimators: &[Estimator],
    gamma: f64,
    errors: Errors,
    work: &Work,
) -> Result<Evaluation> {
    let plan = Plan::new(log, policies, estimators, gamma);
    let n = log.episodes.len();
    let (mut totals, returns) = plan.first_pass(errors, work)?;
    let shape = |tail: Tail| pareto_k(&tail.largest());
    let tails = totals.iter_mut().map(|sums| {
        let tails = std::mem::replace(&mut sums.tails, [Tail::none(), Tail::none()]);
        let [last, discounted] = tails;
        errors.asymptotic.then(|| {
            let last = shape(last);
            // Where there is one step there is one weight.
            [
                last,
                if plan.one_step() {
                    last
                } else {
                    shape(discounted)
                },
            ]
        })
    });
    let tails: Vec<_> = tails.collect();
    let values = Found {
        groups: plan.groups.len(),
        units: plan.finish_all(&totals, n as f64),
    };
    let mean_return = returns / n as f64;
    let size = policies.len() + 1;
    let spread = plan.second_pass(&values, mean_return, errors, work)?;
    let clusters = errors.clusters.map(|c| c.count);
    let factor = variance_factor(n, clusters);
    let own = |e: usize, p: usize| (e * size + p) * size + p;
    let squares = |e: usize, p: usize| factor * spread.squares[own(e, p)];
    let skew = |e, p| acceleration(spread.squares[own(e, p)], spread.cubes[own(e, p)]);
    let mut estimates = Vec::with_capacity(policies.len() * estimators.len());
    for p in 0..policies.len() {
        for (e, asked) in plan.asked.iter().enumerate() {
            let unit = plan.unit(p, asked.group);
            let doubts = tails[unit].map(|pareto_k| Doubts {
                pareto_k,
                acceleration: skew(e, p),
                clusters,
            });
            let (variance, bias) = (squares(e, p), spread.bias[unit]);
            estimates.push(values.units[unit].estimate(asked, variance, bias, doubts, n));
        }
    }
    Ok(Evaluation {
        behavior: behavior(
            mean_return,
            squares(0, policies.len()),
            errors.asymptotic.then(|| skew(0, policies.len())),
            clusters,
            n,
        ),
        variances: pairs::variances(&spread.squares, &values, &estimates, &plan.asked, factor),
        accelerations: pairs::accelerations(&spread, &values, &estimates, &plan.asked),
        estimates,
    })
}
