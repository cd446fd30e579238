//! All estimators and all policies: one pass over the rows for values, one for influence values.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Result;
use crate::estimate::{Doubts, Estimate, Values, behavior, finish, narrow};
use crate::lanes::sum;
use crate::pairs::{self, ClusterSums, Influences, acceleration, variance_factor};
use crate::pareto::{pareto_k, tail_size};
use crate::pool::Work;
use crate::registry::Estimator;
use crate::resample::Clusters;
use crate::sums::{BLOCK, Discount, Spread, Sums};
use crate::tail::Tail;
use crate::terms::basic::{StepMeans, Tile, add, influence};
use crate::terms::one_step;
use crate::tiles::{Log, Plan, Policy, Scratch};
use crate::weights::{Extended, Weight};

/// Blocks that a thread takes at a time, fewer where their results are large.
const MOST_BLOCKS: usize = 8;
const BATCH_BYTES: usize = 1 << 20;

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
    /// In the same places the accelerations of the BCa bootstrap, where they were wanted; of p - q in row p
    /// and column q.
    pub accelerations: Option<Vec<f64>>,
}

/// How errors are found.
#[derive(Debug, Clone, Copy, Default)]
pub struct Errors<'a> {
    /// Episodes that hang together; none are independent only of other clusters' episodes.
    pub clusters: Option<Clusters<'a>>,
    /// Whether accelerations are wanted.
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
        errors.asymptotic.then(|| tails.map(shape))
    });
    let tails: Vec<_> = tails.collect();
    let values: Vec<Values> = totals
        .iter()
        .map(|sums| finish(sums, &plan.wide, n as f64))
        .collect();
    let narrowed: Vec<_> = values.iter().map(|v| narrow(&v.means)).collect();
    let mean_return = returns / n as f64;
    let size = policies.len() + 1;
    let mut spread = Spread::new(estimators.len(), policies.len());
    let mut clustered = errors
        .clusters
        .map(|clusters| ClusterSums::new(clusters, policies.len()));
    work.fold_blocks(
        n.div_ceil(BLOCK),
        MOST_BLOCKS,
        || Space::new(policies.len()),
        |space, block| {
            let bias = plan.influence_block(block, &values, &narrowed, mean_return, work, space)?;
            if errors.clusters.is_some() {
                return Ok(Block::Clustered(space.psi.clone(), space.own.clone(), bias));
            }
            let cubes = errors.accelerations;
            let spread = pairs::spread(&plan, &space.psi, &space.own, &values, cubes);
            Ok(Block::Summed(Spread { bias, ..spread }))
        },
        |block| match (block, &mut clustered) {
            (Block::Clustered(found, own, bias), Some(sums)) => {
                sums.add(&found, &own);
                for (sum, more) in spread.bias.iter_mut().zip(bias) {
                    *sum += more;
                }
            }
            (Block::Summed(block), _) => spread.merge(&block),
            (Block::Clustered(..), None) => (),
        },
    )?;
    if let Some(sums) = clustered {
        let bias = spread.bias;
        spread = Spread {
            bias,
            ..sums.spread(&plan, &values, errors.accelerations)
        };
    }
    let factor = variance_factor(n, errors.clusters.map(|c| c.count));
    let own = |e: usize, p: usize| (e * size + p) * size + p;
    let squares = |e: usize, p: usize| factor * spread.squares[own(e, p)];
    let skew = |e, p| acceleration(spread.squares[own(e, p)], spread.cubes[own(e, p)]);
    let mut estimates = Vec::with_capacity(policies.len() * estimators.len());
    for (p, values) in values.iter().enumerate() {
        for (e, &estimator) in estimators.iter().enumerate() {
            let (variance, bias) = (squares(e, p), spread.bias[p]);
            let doubts = tails[p].map(|pareto_k| Doubts {
                pareto_k,
                acceleration: skew(e, p),
            });
            estimates.push(values.estimate(estimator, variance, bias, doubts, n));
        }
    }
    Ok(Evaluation {
        behavior: behavior(
            mean_return,
            squares(0, policies.len()),
            errors.asymptotic.then(|| skew(0, policies.len())),
            n,
        ),
        variances: pairs::variances(&spread.squares, &values, &estimates, estimators, factor),
        accelerations: errors
            .accelerations
            .then(|| pairs::accelerations(&spread, &values, &estimates, estimators)),
        estimates,
    })
}

/// Weights up to which nothing more is wanted of a policy's tails: what blocks have found, told to
/// those that come after. It saves work and changes no result.
struct Floors([AtomicU64; 2]);

impl Floors {
    fn new(errors: Errors) -> Self {
        let floor: f64 = if errors.asymptotic {
            0.0
        } else {
            f64::INFINITY
        };
        Self([floor, floor].map(|x| AtomicU64::new(x.to_bits())))
    }

    fn load(&self) -> [f64; 2] {
        let read = |floor: &AtomicU64| f64::from_bits(floor.load(Ordering::Relaxed));
        self.0.each_ref().map(read)
    }

    fn raise(&self, tails: &[Tail; 2]) {
        for (floor, tail) in self.0.iter().zip(tails) {
            floor.store(tail.floor().to_bits(), Ordering::Relaxed);
        }
    }
}

/// What the second pass finds of a block.
enum Block {
    Summed(Spread),
    Clustered(Vec<Influences>, Vec<f64>, Vec<f64>),
}

impl Plan<'_> {
    /// Sums by policy, and the sum of returns.
    fn first_pass(&self, errors: Errors, work: &Work) -> Result<(Vec<Sums<Extended>>, f64)> {
        let (horizon, n) = (self.log.episodes.longest(), self.log.episodes.len());
        let policies = self.policies;
        let room = if errors.asymptotic {
            tail_size(n) + 1
        } else {
            0
        };
        let floors: Vec<Floors> = policies.iter().map(|_| Floors::new(errors)).collect();
        let sums = |floors: &Floors| Sums::new(horizon).with_tails(room, floors.load());
        let mut totals: Vec<Sums<Extended>> = floors.iter().map(sums).collect();
        let mut returns = 0.0;
        let result_bytes = policies.len() * (horizon + 1) * size_of::<Sums<Extended>>();
        let batch = (BATCH_BYTES / result_bytes.max(1)).min(MOST_BLOCKS);
        work.fold_blocks(
            n.div_ceil(BLOCK),
            batch,
            Scratch::default,
            |scratch, block| self.sum_block(block, &floors, work, scratch),
            |(sums, sum_of_returns)| {
                for ((total, block), floors) in totals.iter_mut().zip(&sums).zip(&floors) {
                    total.merge(block);
                    floors.raise(&total.tails);
                }
                returns += sum_of_returns;
            },
        )?;
        Ok((totals, returns))
    }

    pub(crate) fn add<W: Weight>(
        &self,
        tile: &Tile,
        discount: &Discount<W>,
        sums: &mut Sums<W>,
    ) -> bool {
        for rows in tile.rows() {
            sums.v0 += tile.v.get(rows.start).copied().unwrap_or(0.0);
        }
        match (self.weighted, self.doubly_robust) {
            (false, _) => true,
            (true, false) => add::<W, false>(tile, discount, sums),
            (true, true) => add::<W, true>(tile, discount, sums),
        }
    }

    /// [`Plan::add`] in `f64`, the short way where there is one.
    fn add_narrow(&self, tile: &Tile, sums: &mut Sums<f64>) -> bool {
        if !self.one_step() {
            return self.add(tile, &self.narrow, sums);
        }
        sums.v0 += sum(tile.v);
        match (self.weighted, self.doubly_robust) {
            (false, _) => true,
            (true, false) => one_step::add::<false>(tile, sums),
            (true, true) => one_step::add::<true>(tile, sums),
        }
    }

    /// First pass over a block: sums by policy and the sum of returns.
    fn sum_block(
        &self,
        block: usize,
        floors: &[Floors],
        work: &Work,
        scratch: &mut Scratch,
    ) -> Result<(Vec<Sums<Extended>>, f64)> {
        let longest = self.longest(self.span(block));
        let floors: Vec<_> = floors.iter().map(Floors::load).collect();
        let mut narrow: Vec<Option<Sums<f64>>> = floors
            .iter()
            .map(|&floors| Some(Sums::new(longest).with_tails(0, floors)))
            .collect();
        let mut returns = 0.0;
        self.visit(
            block,
            work,
            scratch,
            |tile| returns += sum(tile.returns),
            |p, tile| {
                self.check(&self.policies[p], tile)?;
                if let Some(sums) = &mut narrow[p]
                    && !self.add_narrow(tile, sums)
                {
                    narrow[p] = None;
                }
                Ok(())
            },
        )?;
        if narrow.iter().all(Option::is_some) {
            return Ok((narrow.iter().flatten().map(Sums::widen).collect(), returns));
        }
        let mut wide: Vec<_> = narrow
            .iter()
            .zip(&floors)
            .map(|(sums, &floors)| match sums {
                Some(sums) => sums.widen(),
                None => Sums::new(longest).with_tails(0, floors),
            })
            .collect();
        self.visit(
            block,
            work,
            scratch,
            |_| (),
            |p, tile| {
                if narrow[p].is_none() {
                    let _always = self.add(tile, &self.wide, &mut wide[p]);
                }
                Ok(())
            },
        )?;
        Ok((wide, returns))
    }

    fn influence<W: Weight>(
        &self,
        tile: &Tile,
        discount: &Discount<W>,
        means: &StepMeans<W>,
        (psi, bias): (&mut Influences, &mut f64),
        at: usize,
    ) -> bool {
        match (self.weighted, self.doubly_robust) {
            (false, _) => true,
            (true, false) => influence::<W, false>(tile, discount, means, psi, at, bias),
            (true, true) => influence::<W, true>(tile, discount, means, psi, at, bias),
        }
    }

    /// [`Plan::influence`] in `f64`, the short way where there is one, and that of `dm`.
    fn influence_narrow(
        &self,
        tile: &Tile,
        means: &StepMeans<f64>,
        (psi, bias): (&mut Influences, &mut f64),
        at: usize,
    ) -> bool {
        if !self.one_step() {
            return self.influence(tile, &self.narrow, means, (psi, bias), at);
        }
        match (self.weighted, self.doubly_robust) {
            (false, _) => true,
            (true, false) => one_step::influence::<false>(tile, means, psi, at, bias),
            (true, true) => one_step::influence::<true>(tile, means, psi, at, bias),
        }
    }

    /// Influence values of `dm`.
    fn direct(&self, tile: &Tile, mean: f64, psi: &mut Influences, at: usize) {
        let out = &mut psi[Estimator::Dm as usize][at..];
        if self.one_step() {
            for (psi, v) in out.iter_mut().zip(tile.v) {
                *psi = v - mean;
            }
        } else if self.model() {
            for (psi, rows) in out.iter_mut().zip(tile.rows()) {
                *psi = tile.v[rows.start] - mean;
            }
        }
    }

    /// Second pass over a block: influence values, left in `space`, and what `sntis`' biases need.
    fn influence_block(
        &self,
        block: usize,
        values: &[Values],
        narrowed: &[Option<StepMeans<f64>>],
        mean_return: f64,
        work: &Work,
        space: &mut Space,
    ) -> Result<Vec<f64>> {
        let (first, _) = self.span(block);
        let Space { scratch, psi, own } = space;
        own.clear();
        let mut bias = vec![0.0; psi.len()];
        let mut again: Vec<bool> = narrowed.iter().map(Option::is_none).collect();
        self.visit(
            block,
            work,
            scratch,
            |tile| own.extend(tile.returns.iter().map(|g| g - mean_return)),
            |p, tile| {
                let at = tile.span.0 - first;
                self.direct(tile, values[p].means.v0, &mut psi[p], at);
                if let (false, Some(means)) = (again[p], &narrowed[p]) {
                    let out = (&mut psi[p], &mut bias[p]);
                    again[p] = !self.influence_narrow(tile, means, out, at);
                }
                Ok(())
            },
        )?;
        if again.contains(&true) {
            for (bias, _) in bias.iter_mut().zip(&again).filter(|(_, again)| **again) {
                *bias = 0.0;
            }
            self.visit(
                block,
                work,
                scratch,
                |_| (),
                |p, tile| {
                    if again[p] {
                        let (means, at) = (&values[p].means, tile.span.0 - first);
                        let out = (&mut psi[p], &mut bias[p]);
                        let _always = self.influence(tile, &self.wide, means, out, at);
                    }
                    Ok(())
                },
            )?;
        }
        Ok(bias)
    }
}

/// Buffers of a thread in the second pass.
struct Space {
    scratch: Scratch,
    /// Influence values of each policy over a block.
    psi: Vec<Influences>,
    /// Those of the behavior policy.
    own: Vec<f64>,
}

impl Space {
    fn new(policies: usize) -> Self {
        let influences = |_| std::array::from_fn(|_| vec![0.0; BLOCK]);
        Self {
            scratch: Scratch::default(),
            psi: (0..policies).map(influences).collect(),
            own: Vec::with_capacity(BLOCK),
        }
    }
}
