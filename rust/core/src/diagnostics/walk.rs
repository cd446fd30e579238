//! Once through the rows of one policy, by episode and step, in the representation of weights that is
//! exact there.

use crate::error::Result;
use crate::plan::Plan;
use crate::pool::Work;
use crate::sums::BLOCK;
use crate::tiles::{Filled, Scratch, Tile};
use crate::weighting::Weighting;
use crate::weights::Weight;

/// Calls `step` with the weight at each step of each episode, as long as it is not 0, and `end`
/// with the final one. `false`: a weight left the range in which `W` is exact.
pub(super) fn walk<W: Weight>(
    tile: &Tile,
    mut step: impl FnMut((usize, usize), W),
    mut end: impl FnMut(usize, W),
) -> bool {
    let mut filled = Filled::<W>::default();
    if !Weighting::CUMULATIVE.fill(tile, &mut filled.weights, &mut filled.spare) {
        return false;
    }
    for rows in tile.rows() {
        let length = rows.len();
        let weights = &filled.weights[rows.clone()];
        for ((t, row), &w) in rows.enumerate().zip(weights) {
            if w.is_zero() {
                break;
            }
            step((t, row), w);
        }
        end(length, weights[length - 1]);
    }
    true
}

impl Plan<'_> {
    /// Runs each block in `f64`, once more in the wide representation where that was not enough
    /// (then `wide` is given to `fold`), in the order of the blocks.
    pub(super) fn each_block<N: Send, X: Send>(
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
