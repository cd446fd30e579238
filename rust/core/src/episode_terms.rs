//! What each episode of one policy is to intervals that look at every term: its last weight, its return,
//! and its part of `pdis`.

use crate::error::Result;
use crate::pool::Work;
use crate::registry::Estimator;
use crate::sums::BLOCK;
use crate::terms::basic::Tile;
use crate::tiles::{Log, Plan, Policy, Scratch};
use crate::weights::{Extended, Weight};

/// One value to an episode, in the order of the log.
#[derive(Debug, Clone, Default)]
pub struct EpisodeTerms {
    /// w_{T-1}.
    pub weight: Vec<f64>,
    /// G.
    pub returned: Vec<f64>,
    /// sum_t gamma^t w_t r_t.
    pub pdis: Vec<f64>,
}

/// Computes them; infinite where `f64` cannot hold a value. The columns have been checked.
///
/// # Errors
/// [`crate::Error::Cancelled`].
pub fn episode_terms(log: &Log, policy: &Policy, gamma: f64, work: &Work) -> Result<EpisodeTerms> {
    let policies = std::slice::from_ref(policy);
    let plan = Plan::new(log, policies, &[Estimator::Pdis], gamma);
    let mut out = EpisodeTerms::default();
    work.fold_blocks(
        log.episodes.len().div_ceil(BLOCK),
        1,
        Scratch::default,
        |scratch, block| {
            let mut found = EpisodeTerms::default();
            let visit = |_, tile: &Tile| {
                add(tile, &plan, &mut found);
                Ok(())
            };
            plan.visit(block, work, scratch, |_| (), visit)?;
            Ok(found)
        },
        |block| {
            out.weight.extend(block.weight);
            out.returned.extend(block.returned);
            out.pdis.extend(block.pdis);
        },
    )?;
    Ok(out)
}

fn add(tile: &Tile, plan: &Plan, out: &mut EpisodeTerms) {
    for (rows, g) in tile.rows().zip(tile.returns) {
        let (mut w, mut pdis) = (Extended::ONE, Extended::ZERO);
        for (t, row) in rows.enumerate() {
            w = if tile.prob[row] == 0.0 {
                Extended::ZERO
            } else {
                w.step(tile.rho[row], tile.prob[row], tile.propensity[row])
            };
            if w.is_zero() {
                break;
            }
            pdis = pdis.plus(w.product(plan.wide.power[t]).times(tile.reward[row]));
        }
        out.weight.push(w.to_f64());
        out.returned.push(*g);
        out.pdis.push(pdis.to_f64());
    }
}
