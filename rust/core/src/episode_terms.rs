//! What each episode of one policy is to intervals that look at every term: its last weight, its return,
//! and its part of `pdis`.

use crate::error::Result;
use crate::estimator::Estimator;
use crate::plan::Plan;
use crate::pool::Work;
use crate::sums::BLOCK;
use crate::tiles::{Filled, Log, Policy, Scratch, Tile};
use crate::weighting::Weighting;
use crate::weights::{Extended, Weight};

/// One value to an episode, in the order of the log.
#[derive(Debug, Clone, Default)]
pub struct EpisodeTerms {
    /// W_{T-1}.
    pub weight: Vec<f64>,
    /// G.
    pub returned: Vec<f64>,
    /// sum_t gamma^t W_t r_t.
    pub pdis: Vec<f64>,
}

/// Computes them for the weights of an estimator; infinite where `f64` cannot hold a value. The columns have
/// been checked.
///
/// # Errors
/// [`crate::Error::Cancelled`].
pub fn episode_terms(
    log: &Log,
    policy: &Policy,
    estimator: Estimator,
    gamma: f64,
    work: &Work,
) -> Result<EpisodeTerms> {
    let policies = std::slice::from_ref(policy);
    let plan = Plan::new(log, policies, &[estimator], gamma);
    let mut out = EpisodeTerms::default();
    work.fold_blocks(
        log.episodes.len().div_ceil(BLOCK),
        1,
        || (Scratch::default(), Filled::default()),
        |(scratch, filled), block| {
            let mut found = EpisodeTerms::default();
            let visit = |_, tile: &Tile| {
                add(tile, &plan, &estimator.weighting, filled, &mut found);
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

fn add(
    tile: &Tile,
    plan: &Plan,
    weighting: &Weighting,
    filled: &mut Filled<Extended>,
    out: &mut EpisodeTerms,
) {
    let _always = weighting.fill(tile, &mut filled.weights, &mut filled.spare);
    for (rows, g) in tile.rows().zip(tile.returns) {
        let weights = &filled.weights[rows.clone()];
        let terms = weights.iter().zip(&plan.wide.power).zip(&tile.reward[rows]);
        let pdis = terms.fold(Extended::ZERO, |sum, ((w, power), r)| {
            sum.plus(w.product(*power).times(*r))
        });
        out.weight.push(weights[weights.len() - 1].to_f64());
        out.returned.push(*g);
        out.pdis.push(pdis.to_f64());
    }
}
