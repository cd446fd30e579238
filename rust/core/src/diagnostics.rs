//! What the weights of one policy look like: effective sample size and mean by step, the largest
//! shares, the Pareto shape of their tail, where the influence lies. Computed when asked for, since
//! it takes two further passes and a sort.
//!
//! By step t, over all n episodes, with the weight of a finished episode held (c = w_{min(t, T-1)}):
//!
//! ```text
//! effective sample size   (sum c)^2 / sum c^2
//! mean weight             sum c / n, which is 1 in expectation, and z = (mean - 1) / s.e.
//! influence share         a_t / sum_s a_s,  a_t = gamma^t sum |c (r_t - m_t)| / mean c,
//!                         m_t = sum c r_t / sum c: the step's part of `snpdis`' influence values
//! ```
//!
//! and over the final weights w_{T-1} the shares, a histogram ([`crate::final_weights`]) and Pareto k
//! ([`crate::pareto`]).
//!
//! Where z is large, a mean above 1 is also put to the gambler's test (`diagnostics/wager.rs`).

use crate::error::Result;
use crate::estimator::Estimator;
use crate::final_weights::{Bin, histogram, largest, shares};
use crate::pareto::{pareto_k, tail_size};
use crate::plan::Plan;
use crate::pool::Work;
use crate::tail::Tail;
use crate::tiles::{Log, Policy, Tile};
use crate::weights::{Extended, Weight, effective_sample_size, mean_weight};

mod wager;
mod walk;

use walk::walk;

/// From here on a mean weight is put to the gambler's test.
pub const LARGE_Z: f64 = 4.0;

/// One step of all episodes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepDiagnosis {
    /// Episodes that reach the step.
    pub episodes: usize,
    /// (sum c)^2 / sum c^2.
    pub effective_sample_size: f64,
    /// sum c / n.
    pub mean_weight: f64,
    /// By how many standard errors the mean differs from 1; NaN for a single episode.
    pub z: f64,
    /// Share of the influence on the value; NaN where no step has any.
    pub influence_share: f64,
    /// Logarithm to base 10 of the gambler's capital, where z is above [`LARGE_Z`]; else 0.
    pub evidence: f64,
}

/// Everything found of one policy.
#[derive(Debug, Clone)]
pub struct Diagnosis {
    /// By step, up to the horizon.
    pub steps: Vec<StepDiagnosis>,
    /// Shape of the tail of the final weights; NaN where it cannot be fitted.
    pub pareto_k: f64,
    /// Episode, its first row and its share of the final weights, largest first.
    pub largest: Vec<(usize, usize, f64)>,
    /// Of the final weights.
    pub histogram: Vec<Bin>,
}

/// sum c, sum c^2 and sum c r over some episodes.
#[derive(Clone, Copy)]
struct Totals<W> {
    w: W,
    ww: W,
    wr: W,
}

impl<W: Weight> Totals<W> {
    const ZERO: Self = Self {
        w: W::ZERO,
        ww: W::ZERO,
        wr: W::ZERO,
    };

    fn add(&mut self, w: W, r: f64) {
        self.w = self.w.plus(w);
        self.ww = self.ww.plus(w.product(w));
        self.wr = self.wr.plus(w.times(r));
    }

    fn plus<V: Weight>(self, other: Totals<V>) -> Totals<Extended> {
        Totals {
            w: self.w.widen().plus(other.w.widen()),
            ww: self.ww.widen().plus(other.ww.widen()),
            wr: self.wr.widen().plus(other.wr.widen()),
        }
    }
}

/// The first pass: sums by step over the episodes that reach it, and over those that ended with it.
struct Weights<W> {
    steps: Vec<Totals<W>>,
    /// At index T over the episodes of length T.
    ended: Vec<(usize, Totals<W>)>,
    /// Final weights in the order of the episodes.
    last: Vec<W>,
}

impl<W: Weight> Weights<W> {
    fn new(longest: usize) -> Self {
        Self {
            steps: vec![Totals::ZERO; longest],
            ended: vec![(0, Totals::ZERO); longest + 1],
            last: Vec::new(),
        }
    }

    fn add(&mut self, tile: &Tile) -> bool {
        walk(
            tile,
            |(t, row), w: W| {
                self.steps[t].add(w, tile.reward[row]);
            },
            |length, w| {
                let (count, totals) = &mut self.ended[length];
                *count += 1;
                totals.add(w, 0.0);
                self.last.push(w);
            },
        )
    }
}

impl Weights<Extended> {
    fn merge<W: Weight>(&mut self, other: &Weights<W>) {
        for (a, b) in self.steps.iter_mut().zip(&other.steps) {
            *a = a.plus(*b);
        }
        for ((n, a), (m, b)) in self.ended.iter_mut().zip(&other.ended) {
            *n += m;
            *a = a.plus(*b);
        }
        self.last.extend(other.last.iter().map(|w| w.widen()));
    }

    /// By step, over the episodes that ended before it.
    fn held(&self) -> Vec<Totals<Extended>> {
        let mut sum = Totals::ZERO;
        let ended = self.ended.iter().take(self.steps.len());
        ended
            .map(|(_, totals)| {
                sum = sum.plus(*totals);
                sum
            })
            .collect()
    }
}

/// Diagnoses the weights of one policy.
///
/// # Errors
/// [`Error::InvalidPolicy`] where its probabilities break their rule; [`Error::Cancelled`].
///
/// [`Error::InvalidPolicy`]: crate::Error::InvalidPolicy
/// [`Error::Cancelled`]: crate::Error::Cancelled
pub fn diagnose(log: &Log, policy: &Policy, gamma: f64, work: &Work) -> Result<Diagnosis> {
    let horizon = log.episodes.longest();
    let policies = std::slice::from_ref(policy);
    let plan = Plan::new(log, policies, &[Estimator::PDIS], gamma);
    let weights = plan.weigh(horizon, work)?;
    let held = weights.held();
    let influence = plan.influence_by_step(&weights, &held, horizon, work)?;
    let mut reached = log.episodes.len();
    let mut steps = Vec::with_capacity(horizon);
    for (t, ((own, held), influence)) in weights.steps.iter().zip(&held).zip(influence).enumerate()
    {
        reached -= weights.ended[t].0;
        let all = own.plus(*held);
        let (mean, z) = mean_weight(all.w, all.ww, log.episodes.len());
        steps.push(StepDiagnosis {
            episodes: reached,
            effective_sample_size: effective_sample_size(all.w, all.ww),
            mean_weight: mean,
            z,
            influence_share: influence,
            evidence: 0.0,
        });
    }
    if steps.iter().any(|s| s.z > LARGE_Z) {
        for (step, evidence) in steps.iter_mut().zip(plan.wager(horizon, work)?) {
            if step.z > LARGE_Z {
                step.evidence = evidence;
            }
        }
    }
    let shares = shares(&weights.last);
    let mut tail = Tail::new(tail_size(shares.len()) + 1, 0.0);
    for &share in &shares {
        tail.offer(share);
    }
    Ok(Diagnosis {
        steps,
        pareto_k: pareto_k(&tail.largest()),
        largest: largest(&shares)
            .into_iter()
            .map(|i| (i, log.episodes.rows(i, i + 1).start, shares[i]))
            .collect(),
        histogram: histogram(&shares),
    })
}

impl Plan<'_> {
    fn weigh(&self, horizon: usize, work: &Work) -> Result<Weights<Extended>> {
        let mut total = Weights::new(horizon);
        self.each_block(
            work,
            |longest, tile, sums: &mut Option<Weights<f64>>| {
                self.check(&self.policies[0], tile)?;
                Ok(sums.get_or_insert_with(|| Weights::new(longest)).add(tile))
            },
            |longest, tile, sums: &mut Option<Weights<Extended>>| {
                Ok(sums.get_or_insert_with(|| Weights::new(longest)).add(tile))
            },
            |narrow, wide| {
                if let Some(sums) = wide {
                    total.merge(&sums);
                } else if let Some(sums) = narrow {
                    total.merge(&sums);
                }
            },
        )?;
        Ok(total)
    }

    /// Share of each step of the influence values of `snpdis`, in absolute value.
    fn influence_by_step(
        &self,
        weights: &Weights<Extended>,
        held: &[Totals<Extended>],
        horizon: usize,
        work: &Work,
    ) -> Result<Vec<f64>> {
        fn add<W: Weight>(tile: &Tile, means: &[f64], sums: &mut [W]) -> bool {
            walk(
                tile,
                |(t, row), w: W| {
                    sums[t] = sums[t].plus(w.times((tile.reward[row] - means[t]).abs()));
                },
                |_, _| (),
            )
        }
        let all = |t: usize| weights.steps[t].plus(held[t]);
        let means: Vec<f64> = (0..horizon)
            .map(|t| match all(t) {
                sums if sums.w.is_zero() => 0.0,
                sums => sums.wr.ratio(sums.w),
            })
            .collect();
        let mut total = vec![Extended::ZERO; horizon];
        self.each_block(
            work,
            |longest, tile, sums: &mut Option<Vec<f64>>| {
                let sums = sums.get_or_insert_with(|| vec![0.0; longest]);
                Ok(add(tile, &means, sums))
            },
            |longest, tile, sums: &mut Option<Vec<Extended>>| {
                let sums = sums.get_or_insert_with(|| vec![Extended::ZERO; longest]);
                Ok(add(tile, &means, sums))
            },
            |narrow, wide| {
                let narrow = narrow.into_iter().flatten().map(Extended::from);
                let sums = wide.unwrap_or_else(|| narrow.collect());
                for (a, b) in total.iter_mut().zip(sums) {
                    *a = a.plus(b);
                }
            },
        )?;
        let parts: Vec<Extended> = (0..horizon)
            .map(|t| match all(t).w {
                sum if sum.is_zero() => Extended::ZERO,
                sum => total[t]
                    .plus(held[t].w.times(means[t].abs()))
                    .product(self.wide.power[t])
                    .divided_by(sum),
            })
            .collect();
        let sum = parts.iter().fold(Extended::ZERO, |a, &b| a.plus(b));
        let share = |part: &Extended| {
            if sum.is_zero() {
                f64::NAN
            } else {
                part.ratio(sum)
            }
        };
        Ok(parts.iter().map(share).collect())
    }
}
