//! The joint bootstrap: every (policy, estimator) under the same multiplicities of episodes.
//!
//! A replicate reweights episodes, and each of its estimates comes from sums under those weights as
//! it comes from plain sums ([`crate::estimate::finish`]): self-normalisation is redone at every step,
//! and every mean over n episodes is one over sum m. So ranks, differences and SharpeRatio@k have a
//! joint distribution over replicates.
//!
//! The sums are products of two matrices, multiplicities by episode and terms by episode, neither of
//! which ever exists whole. A thread takes some octets of replicates and goes through the log bundle
//! by bundle ([`crate::bundle`]): it draws the bundle's multiplicities, computes the terms of a policy
//! some steps at a time, and adds them up by the tables of [`crate::panels`]. The last weight of
//! a finished episode goes to the bucket of its length, whose prefix sums carry it on (the absorbing
//! convention).
//!
//! Each sum is over the same bundles in the same order, whatever the threads, so its bits do not depend
//! on them.

use std::ops::Range;

use crate::bundle::{Order, STEP_COLUMNS};
use crate::digits::Digits;
use crate::error::Result;
use crate::estimator::Estimator;
use crate::exact_replicates::exact;
use crate::panels::{Cells, Row, Tables, WIDTH};
use crate::plan::Plan;
use crate::pool::Work;
use crate::replicate_sums::{Layout, ReplicateSums, Single, write};
use crate::resample::{Draws, OCTET, Resample};
use crate::sums::Sums;
use crate::tiles::{Filled, Log, Policy, Scratch, Tile};
use crate::weights::{Extended, SAFE_EXPONENT, Weight};

/// Octets of replicates that a thread takes at a time, fewer where their sums are many.
const MOST_OCTETS: usize = 128;
const MOST_BYTES: usize = 1 << 25;
/// Octets for which the tables of [`crate::panels`] are well worth making.
const FEW_OCTETS: usize = 64;

/// Every estimate in every replicate.
#[derive(Debug, Clone)]
pub struct Replicates {
    /// By replicate, policy and estimator; NaN where undefined.
    pub values: Vec<f64>,
    /// The behavior policy's mean return, by replicate.
    pub behavior: Vec<f64>,
}

/// What is resampled, and how it is cut up.
pub struct Bootstrap<'a> {
    /// The policies in parts of which the sums of [`FEW_OCTETS`] fit [`MOST_BYTES`]; one, unless
    /// episodes are long. Each draws anew, which then costs little beside its sums.
    parts: Vec<Part<'a>>,
    estimators: usize,
    replicates: usize,
}

/// Some policies.
struct Part<'a> {
    plan: Plan<'a>,
    resample: &'a Resample<'a>,
    layout: Layout,
    bundles: Vec<(usize, usize)>,
    /// Octets of replicates to a chunk.
    most: usize,
}

/// Buffers of a thread.
#[derive(Default)]
struct Space {
    scratch: Scratch,
    drawn: Digits,
    tables: Tables,
    single: Single,
    steps: Steps,
}

/// The weights of a tile and columns of some steps, panel by panel, in each representation.
#[derive(Default)]
struct Steps {
    narrow: (Filled<f64>, Vec<Row<f64>>),
    wide: (Filled<Extended>, Vec<Row<Extended>>),
}

impl<'a> Bootstrap<'a> {
    /// For columns that have been checked.
    pub fn new(
        log: &'a Log<'a>,
        policies: &'a [Policy<'a>],
        estimators: &[Estimator],
        gamma: f64,
        resample: &'a Resample<'a>,
        threads: usize,
    ) -> Self {
        let layout = Layout::new(&Plan::new(log, policies, estimators, gamma));
        let one = layout.bytes(1, log.episodes.longest());
        let at_a_time = (MOST_BYTES / (FEW_OCTETS * one).max(1)).max(1);
        let parts = policies.chunks(at_a_time).map(|policies| {
            let plan = Plan::new(log, policies, estimators, gamma);
            let bytes = layout.bytes(policies.len(), log.episodes.longest());
            let most = (MOST_BYTES / bytes.max(1))
                .min(MOST_OCTETS)
                .min(Draws::most_octets(resample, log.episodes.len()))
                .min(resample.replicates.div_ceil(OCTET).div_ceil(threads))
                .max(1);
            Part {
                bundles: plan.bundles(),
                plan,
                resample,
                layout: layout.clone(),
                most,
            }
        });
        Self {
            parts: parts.collect(),
            estimators: estimators.len(),
            replicates: resample.replicates,
        }
    }

    /// How many blocks [`Bootstrap::run`] counts as done, for progress.
    pub fn blocks(&self) -> usize {
        let blocks = |part: &Part| part.chunks() * (part.bundles.len() + 1);
        self.parts.iter().map(blocks).sum()
    }

    /// Estimates every policy with every estimator in every replicate.
    ///
    /// # Errors
    /// [`crate::Error::Cancelled`].
    pub fn run(&self, work: &Work) -> Result<Replicates> {
        let policies: usize = self.parts.iter().map(|part| part.plan.policies.len()).sum();
        let width = policies * self.estimators;
        let mut out = Replicates {
            values: vec![0.0; self.replicates * width],
            behavior: Vec::new(),
        };
        let mut at = 0;
        for part in &self.parts {
            let own = part.plan.policies.len() * self.estimators;
            let mut rows = out.values.chunks_exact_mut(width.max(1));
            let mut behavior = Vec::with_capacity(self.replicates);
            part.run(work, |chunk| {
                // In this order, or the row after the last would be taken and lost.
                for (values, row) in chunk.values.chunks_exact(own).zip(rows.by_ref()) {
                    row[at..at + own].copy_from_slice(values);
                }
                behavior.extend(chunk.behavior);
            })?;
            out.behavior = behavior;
            at += own;
        }
        Ok(out)
    }
}

impl Part<'_> {
    fn octets(&self) -> usize {
        self.resample.replicates.div_ceil(OCTET)
    }

    fn chunks(&self) -> usize {
        self.octets().div_ceil(self.most)
    }

    /// Hands over the estimates of some replicates after the other.
    fn run(&self, work: &Work, take: impl FnMut(Replicates) + Send) -> Result<()> {
        work.fold_blocks(
            self.chunks(),
            1,
            Space::default,
            |space, chunk| {
                let octets = chunk * self.most..self.octets().min((chunk + 1) * self.most);
                let first = octets.start * OCTET;
                let wanted = (octets.len() * OCTET).min(self.resample.replicates - first);
                let sums = self.add_up(octets, work, space)?;
                let (mut found, faint) = self.finish(&sums, wanted, work)?;
                let width = self.plan.asked.len();
                for (replicate, policy) in faint {
                    let values = exact(&self.plan, self.resample, first + replicate, policy, work)?;
                    let at = (replicate * self.plan.policies.len() + policy) * width;
                    found.values[at..at + width].copy_from_slice(&values);
                }
                Ok(found)
            },
            take,
        )
    }

    /// One pass over the log for some octets of replicates.
    fn add_up(
        &self,
        octets: Range<usize>,
        work: &Work,
        space: &mut Space,
    ) -> Result<ReplicateSums> {
        let (plan, episodes) = (&self.plan, self.plan.log.episodes);
        let policies = plan.policies.len();
        let mut sums = ReplicateSums::new(
            self.layout.clone(),
            policies,
            episodes.longest(),
            octets.len(),
        );
        let mut draws = Draws::new(self.resample, octets.clone(), episodes.len());
        let Space {
            scratch,
            drawn,
            tables,
            single,
            steps,
        } = space;
        for &span in &self.bundles {
            work.check()?;
            let own = plan.log_tile(span, &mut scratch.log);
            let order = Order::of(&own);
            drawn.begin(order.len(), octets.len());
            draws.each(episodes, span, &order.positions, |octet, m| {
                drawn.put(octet, m);
            });
            let returns: Vec<f64> = order.arrange(own.returns).collect();
            sums.begin(single, &returns, order.rows());
            for p in 0..policies {
                let tile = plan.policy_tile(p, &own, &mut scratch.policy);
                for g in 0..plan.groups.len() {
                    let unit = plan.unit(p, g);
                    let cells = &mut sums.steps[unit];
                    let last = self.add_steps(g, &tile, &order, drawn, tables, cells, steps);
                    let v0 = order.starts().iter().map(|&row| tile.v[row]);
                    sums.take(single, unit, v0, &last, &returns);
                }
            }
            sums.add(single, drawn, tables, order.runs());
            work.tick();
        }
        Ok(sums)
    }

    /// Adds up the steps of one policy and kind of weights; returns the last weights.
    #[expect(clippy::too_many_arguments, reason = "buffers of a thread")]
    fn add_steps(
        &self,
        group: usize,
        tile: &Tile,
        order: &Order,
        drawn: &Digits,
        tables: &mut Tables,
        cells: &mut [Cells],
        Steps { narrow, wide }: &mut Steps,
    ) -> Vec<Extended> {
        let gamma = self.plan.narrow.gamma;
        let n = order.rows();
        let columns = self.layout.groups[group];
        let (weighting, per_step) = (&self.plan.groups[group].weighting, columns.per_step());
        let (Filled { weights, spare }, rows) = narrow;
        let (
            Filled {
                weights: beyond,
                spare: wide_spare,
            },
            wide,
        ) = wide;
        let is_wide = !weighting.fill(tile, weights, spare);
        if is_wide {
            let _always = weighting.fill(tile, beyond, wide_spare);
        }
        if is_wide && beyond.is_empty() || !is_wide && weights.is_empty() {
            return vec![Extended::ONE; order.len()];
        }
        // Without columns of steps only the last weights are wanted.
        let at_a_time = STEP_COLUMNS / per_step.max(1);
        let mut first = 0;
        while per_step > 0 && order.reaching(first) > 0 {
            let steps = first..first + at_a_time;
            let panels = first * per_step / WIDTH..;
            if is_wide {
                order.write(tile, beyond, gamma, columns.steps, steps, wide);
                rows.clear();
                rows.resize(wide.len(), [0.0; WIDTH]);
            } else {
                order.write(tile, weights, gamma, columns.steps, steps, rows);
            }
            let cells = cells.get_mut(panels).unwrap_or_default();
            for (i, (cells, rows)) in cells.iter_mut().zip(rows.chunks_exact_mut(n)).enumerate() {
                for slot in 0..WIDTH {
                    if is_wide {
                        let terms = wide[i * n..(i + 1) * n].iter().map(|row| row[slot]);
                        write(terms, cells, slot, rows);
                    } else if fit_plain(cells, slot, rows) != 0 {
                        let terms: Vec<_> = rows.iter().map(|row| row[slot].widen()).collect();
                        write(terms.iter().copied(), cells, slot, rows);
                    }
                }
                let reaching = order.reaching(first + i * WIDTH / per_step);
                cells.add(drawn, tables, 0..reaching, rows);
            }
            first += at_a_time;
        }
        if is_wide {
            order.last(beyond)
        } else {
            order.last(weights)
        }
    }

    /// The estimates of the first `wanted` of some replicates, and which replicates of which policies need
    /// to be summed once more.
    fn finish(
        &self,
        sums: &ReplicateSums,
        wanted: usize,
        work: &Work,
    ) -> Result<(Replicates, Vec<(usize, usize)>)> {
        let plan = &self.plan;
        let policies = plan.policies.len();
        let horizon = plan.log.episodes.longest();
        let mut narrow = vec![Sums::new(horizon); plan.groups.len()];
        let mut wide = vec![Sums::new(horizon); plan.groups.len()];
        let units = |policy: usize| plan.unit(policy, 0)..plan.unit(policy + 1, 0);
        let is_plain = |policy: usize| units(policy).all(|unit| sums.is_plain(unit));
        let plain: Vec<_> = (0..policies).map(is_plain).collect();
        let mut faint = Vec::new();
        let mut out = Replicates {
            values: Vec::with_capacity(wanted * policies * plan.asked.len()),
            behavior: Vec::with_capacity(wanted),
        };
        for replicate in 0..wanted {
            work.check()?;
            let (count, returns) = sums.own(replicate);
            out.behavior.push(returns / count);
            for (policy, plain) in plain.iter().enumerate() {
                if *plain {
                    for (unit, own) in units(policy).zip(&mut narrow) {
                        sums.read(unit, replicate, Cells::plain, own);
                    }
                    let values = plan.values(policy, &narrow, &plan.narrow, count);
                    out.values.extend(values);
                    continue;
                }
                for (unit, own) in units(policy).zip(&mut wide) {
                    sums.read(unit, replicate, Cells::get, own);
                }
                let values = plan.values(policy, &wide, &plan.wide, count);
                out.values.extend(values);
                if units(policy).any(|unit| sums.is_faint(unit, replicate)) {
                    faint.push((replicate, policy));
                }
            }
        }
        Ok((out, faint))
    }
}

/// [`Cells::fit`] for the plain terms in a column of some rows.
fn fit_plain(cells: &mut Cells, slot: usize, rows: &[Row<f64>]) -> i64 {
    let any = rows.iter().any(|row| row[slot] != 0.0);
    cells.fit(slot, any.then_some((-SAFE_EXPONENT, 0)))
}
