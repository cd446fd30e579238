//! The first pass: sums of terms by policy, which give every value, and of returns.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Errors, MOST_BLOCKS};
use crate::error::Result;
use crate::lanes::sum;
use crate::pareto::tail_size;
use crate::pool::Work;
use crate::sums::{BLOCK, Discount, Sums};
use crate::tail::Tail;
use crate::terms::basic::{Tile, add};
use crate::terms::one_step;
use crate::tiles::{Plan, Scratch};
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
    /// Sums by policy, and the sum of returns.
    pub(super) fn first_pass(
        &self,
        errors: Errors,
        work: &Work,
    ) -> Result<(Vec<Sums<Extended>>, f64)> {
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
}
