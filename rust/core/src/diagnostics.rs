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
//! and over the final weights w_{T-1} the shares, a histogram and Pareto k ([`crate::pareto`]).

use crate::error::Result;
use crate::pareto::pareto_k;
use crate::pool::Work;
use crate::registry::Estimator;
use crate::sums::{BLOCK, Discount};
use crate::terms::basic::Tile;
use crate::tiles::{Log, Plan, Policy, Scratch};
use crate::weights::{Extended, Weight, effective_sample_size, mean_weight};

/// Episodes named for carrying most of the weight.
const LARGEST: usize = 5;
/// Bins of the histogram to a power of ten, fewer where that would make too many.
const BINS_PER_DECADE: f64 = 5.0;
const MOST_BINS: f64 = 60.0;

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
}

/// A bin of the histogram of w_{T-1} / mean; `low` = `high` = 0 counts the weights that are 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// Lower edge, inclusive.
    pub low: f64,
    /// Upper edge, exclusive but for the last bin.
    pub high: f64,
    /// Episodes in it.
    pub episodes: usize,
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
}

/// Calls `step` with the weight at each step of each episode, as long as it is not 0, and `end`
/// with the final one. `false`: a weight left the range in which `W` is exact.
fn walk<W: Weight>(
    tile: &Tile,
    mut step: impl FnMut((usize, usize), W),
    mut end: impl FnMut(usize, W),
) -> bool {
    for rows in tile.rows() {
        let length = rows.len();
        let mut w = W::ONE;
        for (t, row) in rows.enumerate() {
            if tile.prob[row] == 0.0 {
                w = W::ZERO;
                break;
            }
            w = w.step(tile.rho[row], tile.prob[row], tile.propensity[row]);
            if !w.is_safe() {
                return false;
            }
            step((t, row), w);
        }
        end(length, w);
    }
    true
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
    let plan = Plan {
        log,
        policies: std::slice::from_ref(policy),
        estimators: &[Estimator::Snpdis],
        weighted: true,
        doubly_robust: false,
        narrow: Discount::new(gamma, horizon),
        wide: Discount::new(gamma, horizon),
    };
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
        });
    }
    let shares = shares(&weights.last);
    Ok(Diagnosis {
        steps,
        pareto_k: pareto_k(&shares),
        largest: largest(&shares)
            .into_iter()
            .map(|i| (i, log.episodes.rows(i, i + 1).start, shares[i]))
            .collect(),
        histogram: histogram(&shares),
    })
}

impl Weights<Extended> {
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

    /// Runs each block in `f64`, once more in the wide representation where that was not enough
    /// (then `wide` is given to `fold`), in the order of the blocks.
    fn each_block<N: Send, X: Send>(
        &self,
        work: &Work,
        narrow: impl Fn(usize, &Tile, &mut Option<N>) -> Result<bool> + Sync,
        wide: impl Fn(usize, &Tile, &mut Option<X>) -> Result<bool> + Sync,
        mut fold: impl FnMut(Option<N>, Option<X>) + Send,
    ) -> Result<()> {
        work.fold_blocks(
            self.log.episodes.len().div_ceil(BLOCK),
            1,
            Scratch::default,
            |scratch, block| {
                let longest = self.longest(self.span(block));
                let (mut small, mut large) = (None, None);
                let mut safe = true;
                self.visit(
                    block,
                    work,
                    scratch,
                    |_| (),
                    |_, tile| {
                        safe = safe && narrow(longest, tile, &mut small)?;
                        Ok(())
                    },
                )?;
                if !safe {
                    let visit = |_, tile: &Tile| wide(longest, tile, &mut large).map(|_| ());
                    self.visit(block, work, scratch, |_| (), visit)?;
                }
                Ok((small, large))
            },
            |(small, large)| fold(small, large),
        )
    }
}

/// w / sum w, for weights of any size; all 0 where every weight is.
fn shares(weights: &[Extended]) -> Vec<f64> {
    let sum = weights.iter().fold(Extended::ZERO, |a, &b| a.plus(b));
    let share = |w: &Extended| {
        if w.is_zero() {
            0.0
        } else {
            // Never 0, so that what is counted as no weight has none.
            w.ratio(sum).max(f64::MIN_POSITIVE)
        }
    };
    weights.iter().map(share).collect()
}

/// The episodes with the largest shares, the earlier first where they are equal.
fn largest(shares: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..shares.len()).filter(|&i| shares[i] > 0.0).collect();
    let before = |&i: &usize, &j: &usize| shares[j].total_cmp(&shares[i]).then(i.cmp(&j));
    if order.len() > LARGEST {
        order.select_nth_unstable_by(LARGEST, before);
        order.truncate(LARGEST);
    }
    order.sort_unstable_by(before);
    order
}

/// Bins of equal width on a logarithmic scale, of w / mean w.
fn histogram(shares: &[f64]) -> Vec<Bin> {
    let n = shares.len() as f64;
    let logs: Vec<f64> = shares
        .iter()
        .filter(|&&s| s > 0.0)
        .map(|s| (s * n).log10())
        .collect();
    let mut bins = Vec::new();
    if logs.len() < shares.len() {
        bins.push(Bin {
            low: 0.0,
            high: 0.0,
            episodes: shares.len() - logs.len(),
        });
    }
    let (min, max) = logs
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), &x| {
            (a.min(x), b.max(x))
        });
    if logs.is_empty() {
        return bins;
    }
    let width = (1.0 / BINS_PER_DECADE).max((max - min) / MOST_BINS);
    let first = (min / width).floor();
    let count = (max / width).floor() - first + 1.0;
    let mut counts = vec![0; count as usize];
    for x in logs {
        let at = ((x / width).floor() - first) as usize;
        counts[at.min(count as usize - 1)] += 1;
    }
    let edge = |i: usize| 10.0_f64.powf((first + i as f64) * width);
    bins.extend(counts.into_iter().enumerate().map(|(i, episodes)| Bin {
        low: edge(i),
        high: edge(i + 1),
        episodes,
    }));
    bins
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_weights_beyond_f64() {
        let huge = |x: f64| Extended::new(x, 5000);
        let found = shares(&[huge(1.0), huge(3.0), Extended::ZERO, Extended::ONE]);
        assert_eq!(&found[..3], &[0.25, 0.75, 0.0]);
        assert_eq!(found[3], f64::MIN_POSITIVE);
    }

    #[test]
    fn the_largest_come_first_and_ties_in_order() {
        let found = largest(&[0.1, 0.0, 0.2, 0.2, 0.1, 0.1, 0.1, 0.2]);
        assert_eq!(found, [2, 3, 7, 0, 4]);
        assert!(largest(&[0.0, 0.0]).is_empty());
    }

    #[test]
    fn every_weight_is_in_one_bin() {
        let shares: Vec<f64> = (0..1000)
            .map(|i| {
                if i % 10 == 0 {
                    0.0
                } else {
                    f64::from(i).exp2()
                }
            })
            .map(|x| x / 1e3)
            .collect();
        let bins = histogram(&shares);
        assert_eq!(bins.iter().map(|b| b.episodes).sum::<usize>(), 1000);
        assert_eq!(
            (bins[0].low, bins[0].high, bins[0].episodes),
            (0.0, 0.0, 100)
        );
        assert!(bins.len() <= 63);
        assert!(bins[1..].windows(2).all(|w| w[0].high == w[1].low));
        let one = histogram(&[0.5, 0.5]);
        assert_eq!(one.len(), 1);
        assert_eq!((one[0].low, one[0].episodes), (1.0, 2));
    }
}
