//! The first pass: sums of terms by policy and kind of weights, which give every value, and of returns.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Errors, MOST_BLOCKS};
use crate::error::Result;
use crate::lanes::sum;
use crate::pareto::tail_size;
use crate::plan::{Group, Plan};
use crate::pool::Work;
use crate::sums::{BLOCK, Discount, Sums};
use crate::tail::Tail;
use crate::terms::episodes::add;
use crate::terms::one_step;
use crate::tiles::{Filled, Scratch, Tile};
use crate::weights::{Extended, Weight};

/// Results of the blocks that a thread takes at a time.
const BATCH_BYTES: usize = 1 << 20;

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

impl Plan<'_> {
    /// Sums by policy and kind of weights, and the sum of returns.
    pub(super) fn first_pass(
        &self,
        errors: Errors,
        work: &Work,
    ) -> Result<(Vec<Sums<Extended>>, f64)> {
        let (horizon, n) = (self.log.episodes.longest(), self.log.episodes.len());
        let room = if errors.asymptotic {
            tail_size(n) + 1
        } else {
            0
        };
        let floors: Vec<Floors> = (0..self.units()).map(|_| Floors::new(errors)).collect();
        let sums = |floors: &Floors| Sums::new(horizon).with_tails(room, floors.load());
        let mut totals: Vec<Sums<Extended>> = floors.iter().map(sums).collect();
        let mut returns = 0.0;
        let result_bytes = self.units() * (horizon + 1) * size_of::<Sums<Extended>>();
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

    /// Adds a tile to the sums of one policy and kind of weights. `false`: a weight left the range in which
    /// `W` is exact, and the block is to be run again with the wide representation.
    #[must_use]
    pub(crate) fn add<W: Weight>(
        &self,
        group: &Group,
        tile: &Tile,
        discount: &Discount<W>,
        filled: &mut Filled<W>,
        sums: &mut Sums<W>,
    ) -> bool {
        if !group
            .weighting
            .fill(tile, &mut filled.weights, &mut filled.spare)
        {
            return false;
        }
        self.add_v0(group, tile, &mut sums.v0);
        if !filled.weights.is_empty() {
            add(tile, &filled.weights, group.reads, discount, sums);
        }
        true
    }

    fn add_v0(&self, group: &Group, tile: &Tile, v0: &mut f64) {
        if !group.reads.v0 {
            return;
        }
        if self.one_step() {
            *v0 += sum(tile.v);
        } else {
            for rows in tile.rows() {
                *v0 += tile.v[rows.start];
            }
        }
    }

    /// [`Plan::add`] in `f64`, the short way where there is one.
    fn add_narrow(
        &self,
        group: &Group,
        tile: &Tile,
        filled: &mut Filled<f64>,
        sums: &mut Sums<f64>,
    ) -> bool {
        if !self.one_step() {
            return self.add(group, tile, &self.narrow, filled, sums);
        }
        let Some(weights) = filled.one_step(group, tile) else {
            return false;
        };
        self.add_v0(group, tile, &mut sums.v0);
        if !weights.is_empty() {
            one_step::add(tile, weights, group.reads, sums);
        }
        true
    }

    /// First pass over a block: sums by policy and kind of weights, and the sum of returns.
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
        let mut filled = Filled::default();
        self.visit(
            block,
            work,
            scratch,
            |tile| returns += sum(tile.returns),
            |p, tile| {
                self.check(&self.policies[p], tile)?;
                for (g, group) in self.groups.iter().enumerate() {
                    let own = &mut narrow[self.unit(p, g)];
                    if let Some(sums) = own
                        && !self.add_narrow(group, tile, &mut filled, sums)
                    {
                        *own = None;
                    }
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
        let mut filled = Filled::default();
        self.visit(
            block,
            work,
            scratch,
            |_| (),
            |p, tile| {
                for (g, group) in self.groups.iter().enumerate() {
                    let unit = self.unit(p, g);
                    if narrow[unit].is_none() {
                        let sums = &mut wide[unit];
                        let _always = self.add(group, tile, &self.wide, &mut filled, sums);
                    }
                }
                Ok(())
            },
        )?;
        Ok((wide, returns))
    }
}
