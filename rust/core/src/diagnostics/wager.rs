//! A test of mean weights that holds for any number of episodes and any weights: the capital of a
//! gambler who bets that the mean is above 1.
//!
//! If E c <= 1, the product of 1 + l (c_i - 1) over independent episodes has a mean of at most 1 for
//! each stake l in [0, 1], so its average over some stakes exceeds x with a probability of at most
//! 1 / x (Ville 1939; Waudby-Smith & Ramdas 2024). z alone, with nearly constant weights and rare
//! zeros, calls sound logs wrong.

use super::walk::walk;
use crate::error::Result;
use crate::plan::Plan;
use crate::pool::Work;
use crate::tiles::Tile;
use crate::weights::{Extended, Weight};

/// The gambler's stakes, each below 1.
const STAKES: [f64; 7] = [0.01, 0.03, 0.1, 0.3, 0.6, 0.9, 0.97];

impl Plan<'_> {
    /// Logarithm to base 10 of the capital of one who bets, at each step, that weights are above 1.
    pub(super) fn wager(&self, horizon: usize, work: &Work) -> Result<Vec<f64>> {
        type Logs = [f64; STAKES.len()];
        /// Of the steps, and of what ended after so many.
        type Capital = (Vec<Logs>, Vec<Logs>);
        /// What a weight of w brings beyond a weight of 0.
        fn bet<W: Weight>(capital: &mut Logs, w: W) {
            for (capital, stake) in capital.iter_mut().zip(STAKES) {
                *capital += (stake / (1.0 - stake) * w.scaled(0)).ln_1p();
            }
        }
        fn add<W: Weight>(tile: &Tile, (steps, ended): &mut Capital) -> bool {
            walk(
                tile,
                |(t, _), w: W| bet(&mut steps[t], w),
                |length, w: W| bet(&mut ended[length], w),
            )
        }
        let room = |longest| {
            let zeros = |n| vec![[0.0; STAKES.len()]; n];
            (zeros(longest), zeros(longest + 1))
        };
        let mut total = room(horizon);
        self.each_block(
            work,
            |longest, tile, sums: &mut Option<Capital>| {
                Ok(add::<f64>(tile, sums.get_or_insert_with(|| room(longest))))
            },
            |longest, tile, sums: &mut Option<Capital>| {
                Ok(add::<Extended>(
                    tile,
                    sums.get_or_insert_with(|| room(longest)),
                ))
            },
            |narrow, wide| {
                let Some((steps, ended)) = wide.or(narrow) else {
                    return;
                };
                for (a, b) in [(&mut total.0, steps), (&mut total.1, ended)] {
                    for (a, b) in a.as_flattened_mut().iter_mut().zip(b.as_flattened()) {
                        *a += b;
                    }
                }
            },
        )?;
        let n = self.log.episodes.len() as f64;
        // If every weight were 0.
        let mut held = STAKES.map(|stake| n * (1.0 - stake).ln());
        let capital = total.0.iter().zip(&total.1).map(|(step, ended)| {
            for (a, b) in held.iter_mut().zip(ended) {
                *a += b;
            }
            let logs: Vec<f64> = step.iter().zip(held).map(|(a, b)| a + b).collect();
            let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let mean = logs.iter().map(|x| (x - top).exp()).sum::<f64>() / logs.len() as f64;
            if top.is_finite() {
                (top + mean.ln()) / std::f64::consts::LN_10
            } else {
                top
            }
        });
        Ok(capital.collect())
    }
}
