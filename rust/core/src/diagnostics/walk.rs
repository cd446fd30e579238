//! Once through the rows of one policy, by episode and step, in the representation of weights that is
//! exact there.

use crate::error::Result;
use crate::pool::Work;
use crate::sums::BLOCK;
use crate::terms::basic::Tile;
use crate::tiles::{Plan, Scratch};
use crate::weights::Weight;

/// Calls `step` with the weight at each step of each episode, as long as it is not 0, and `end`
/// with the final one. `false`: a weight left the range in which `W` is exact.
pub(super) fn walk<W: Weight>(
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
