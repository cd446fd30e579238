//! A replicate once more, episode by episode in the wide representation: for the few whose weights lie so
//! far below those of episodes they did not draw that the sums of [`crate::panels`] cannot hold both.

use crate::error::Result;
use crate::plan::Plan;
use crate::pool::Work;
use crate::resample::{Draws, OCTET, Resample};
use crate::sums::{Discount, Sums};
use crate::tiles::{Filled, Scratch};
use crate::totals::totals;
use crate::weights::{Extended, Weight};

/// Every estimate of one policy in one replicate.
pub(crate) fn exact(
    plan: &Plan,
    resample: &Resample,
    replicate: usize,
    policy: usize,
    work: &Work,
) -> Result<Vec<f64>> {
    let episodes = plan.log.episodes;
    let octet = replicate / OCTET;
    let mut draws = Draws::new(resample, octet..octet + 1, episodes.len());
    let mut scratch = Scratch::default();
    let mut sums = vec![Sums::<Extended>::new(episodes.longest()); plan.groups.len()];
    let mut filled = Filled::default();
    let mut count = 0.0;
    for span in plan.bundles() {
        work.check()?;
        let order: Vec<u16> = (0..(span.1 - span.0) as u16).collect();
        let own = plan.log_tile(span, &mut scratch.log);
        let tile = plan.policy_tile(policy, &own, &mut scratch.policy);
        draws.each(episodes, span, &order, |_, drawn| {
            for (i, m) in drawn.iter().enumerate() {
                let m = m[replicate % OCTET];
                count += f64::from(m);
                for _ in 0..m {
                    for (group, sums) in plan.groups.iter().zip(&mut sums) {
                        let tile = tile.episode(i);
                        let _always = plan.add(group, &tile, &plan.wide, &mut filled, sums);
                    }
                }
            }
        });
    }
    Ok(plan.values(policy, &sums, &plan.wide, count).collect())
}

impl Plan<'_> {
    /// The estimates of one policy, from sums by kind of weights under multiplicities that sum to `count`.
    pub(crate) fn values<W: Weight>(
        &self,
        policy: usize,
        sums: &[Sums<W>],
        discount: &Discount<W>,
        count: f64,
    ) -> impl Iterator<Item = f64> {
        let occupancy = self.policies[policy].occupancy;
        let found: Vec<_> = self
            .groups
            .iter()
            .zip(sums)
            .map(|(group, sums)| {
                let pooled = group.weighting.is_pooled(occupancy);
                totals(sums, discount, count, pooled, |_, _, _, _| ())
            })
            .collect();
        self.asked
            .iter()
            .map(move |asked| found[asked.group].of(asked.form))
    }
}
