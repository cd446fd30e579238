//! The second pass: influence values, and the sums of their squares, which give every standard error.

use super::{Errors, MOST_BLOCKS};
use crate::error::Result;
use crate::estimate::{Values, narrow};
use crate::pairs::{self, ClusterSums, Influences};
use crate::pool::Work;
use crate::registry::Estimator;
use crate::sums::{BLOCK, Discount, Spread};
use crate::terms::basic::{StepMeans, Tile, influence};
use crate::terms::one_step;
use crate::tiles::{Plan, Scratch};
use crate::weights::Weight;

/// What is found of a block: sums of squares, or with clusters the influence values themselves.
enum Block {
    Summed(Spread),
    Clustered(Vec<Influences>, Vec<f64>, Vec<f64>),
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

impl Plan<'_> {
    /// Squares of influence values and of their differences, and what `sntis`' biases need.
    pub(super) fn second_pass(
        &self,
        values: &[Values],
        mean_return: f64,
        errors: Errors,
        work: &Work,
    ) -> Result<Spread> {
        let (n, policies) = (self.log.episodes.len(), self.policies.len());
        let narrowed: Vec<_> = values.iter().map(|v| narrow(&v.means)).collect();
        let mut spread = Spread::new(self.estimators.len(), policies);
        let mut clustered = errors
            .clusters
            .map(|clusters| ClusterSums::new(clusters, policies));
        let cubes = errors.accelerations;
        work.fold_blocks(
            n.div_ceil(BLOCK),
            MOST_BLOCKS,
            || Space::new(policies),
            |space, block| {
                let bias =
                    self.influence_block(block, values, &narrowed, mean_return, work, space)?;
                if errors.clusters.is_some() {
                    return Ok(Block::Clustered(space.psi.clone(), space.own.clone(), bias));
                }
                let spread = pairs::spread(self, &space.psi, &space.own, values, cubes);
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
        Ok(match clustered {
            Some(sums) => Spread {
                bias: spread.bias,
                ..sums.spread(self, values, cubes)
            },
            None => spread,
        })
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
