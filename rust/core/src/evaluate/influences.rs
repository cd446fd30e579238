//! The second pass: influence values, and the sums of their squares, which give every standard error.

use super::{Errors, Found, MOST_BLOCKS};
use crate::error::Result;
use crate::estimate::narrow;
use crate::pairs::{self, ClusterSums, Influences};
use crate::plan::{Group, Plan};
use crate::pool::Work;
use crate::sums::{BLOCK, Discount, Spread};
use crate::terms::episodes::{Means, influence};
use crate::terms::one_step;
use crate::tiles::{Filled, Scratch, Tile};
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
    fn new(policies: usize, slots: usize) -> Self {
        Self {
            scratch: Scratch::default(),
            psi: vec![vec![vec![0.0; BLOCK]; slots]; policies],
            own: Vec::with_capacity(BLOCK),
        }
    }
}

impl Plan<'_> {
    /// Squares of influence values and of their differences, and what `sntis`' biases need.
    pub(super) fn second_pass(
        &self,
        values: &Found,
        mean_return: f64,
        errors: Errors,
        work: &Work,
    ) -> Result<Spread> {
        let (n, policies) = (self.log.episodes.len(), self.policies.len());
        let narrowed: Vec<_> = values.units.iter().map(|v| narrow(&v.means)).collect();
        let mut spread = Spread::new(self.asked.len(), policies, self.groups.len());
        let mut clustered = errors
            .clusters
            .map(|clusters| ClusterSums::new(clusters, policies, self.slots()));
        let cubes = errors.accelerations;
        work.fold_blocks(
            n.div_ceil(BLOCK),
            MOST_BLOCKS,
            || Space::new(policies, self.slots()),
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

    /// Influence values of a tile for one policy and kind of weights. `false` as in [`Plan::add`].
    fn influence<W: Weight>(
        group: &Group,
        tile: &Tile,
        (discount, means): (&Discount<W>, &Means<W>),
        filled: &mut Filled<W>,
        (psi, bias): (&mut Influences, &mut f64),
        at: usize,
    ) -> bool {
        if !group
            .weighting
            .fill(tile, &mut filled.weights, &mut filled.spare)
        {
            return false;
        }
        let (weights, forms) = (&filled.weights, (&group.forms[..], group.reads));
        let out = (&mut psi[group.first..], bias);
        influence(tile, weights, forms, (discount, means), out, at);
        true
    }

    /// [`Plan::influence`] in `f64`, the short way where there is one.
    fn influence_narrow(
        &self,
        group: &Group,
        tile: &Tile,
        means: &Means<f64>,
        filled: &mut Filled<f64>,
        (psi, bias): (&mut Influences, &mut f64),
        at: usize,
    ) -> bool {
        if !self.one_step() {
            let with = (&self.narrow, means);
            return Self::influence(group, tile, with, filled, (psi, bias), at);
        }
        match filled.one_step(group, tile) {
            Some(weights) if means.exponents == (0, 0) => {
                let out = &mut psi[group.first..];
                one_step::influence(tile, weights, &group.forms, means, out, at, bias);
                true
            }
            _ => false,
        }
    }

    /// Second pass over a block: influence values, left in `space`, and what the biases of normalised
    /// returns need.
    fn influence_block(
        &self,
        block: usize,
        values: &Found,
        narrowed: &[Option<Means<f64>>],
        mean_return: f64,
        work: &Work,
        space: &mut Space,
    ) -> Result<Vec<f64>> {
        let (first, _) = self.span(block);
        let Space { scratch, psi, own } = space;
        own.clear();
        let mut bias = vec![0.0; self.units()];
        let mut again: Vec<bool> = narrowed.iter().map(Option::is_none).collect();
        let mut filled = Filled::default();
        self.visit(
            block,
            work,
            scratch,
            |tile| own.extend(tile.returns.iter().map(|g| g - mean_return)),
            |p, tile| {
                let at = tile.span.0 - first;
                for (g, group) in self.groups.iter().enumerate() {
                    let unit = self.unit(p, g);
                    if let (false, Some(means)) = (again[unit], &narrowed[unit]) {
                        let out = (&mut psi[p], &mut bias[unit]);
                        again[unit] =
                            !self.influence_narrow(group, tile, means, &mut filled, out, at);
                    }
                }
                Ok(())
            },
        )?;
        if again.contains(&true) {
            for (bias, _) in bias.iter_mut().zip(&again).filter(|(_, again)| **again) {
                *bias = 0.0;
            }
            let mut filled = Filled::default();
            self.visit(
                block,
                work,
                scratch,
                |_| (),
                |p, tile| {
                    for (g, group) in self.groups.iter().enumerate() {
                        let unit = self.unit(p, g);
                        if again[unit] {
                            let with = (&self.wide, &values.units[unit].means);
                            let (out, at) = ((&mut psi[p], &mut bias[unit]), tile.span.0 - first);
                            let _always = Self::influence(group, tile, with, &mut filled, out, at);
                        }
                    }
                    Ok(())
                },
            )?;
        }
        Ok(bias)
    }
}
