//! A log and its policies, read block by block as tiles of whole episodes.

use std::ops::Range;

use crate::check::Rule;
use crate::column::Column;
use crate::episode::Episodes;
use crate::error::{Error, Result};
use crate::lanes::vectorise;
use crate::pool::Work;
use crate::registry::Estimator;
use crate::sums::{BLOCK, BUNDLE, BUNDLE_ROWS, Discount, TILE_ROWS};
use crate::terms::basic::Tile;
use crate::weights::Extended;

/// A column and how messages name it, as in `policy "new": column "p_new"`.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    /// What messages call it.
    pub label: String,
    /// Its values.
    pub column: Column<'a>,
}

/// What the behavior policy did and earned, checked beforehand.
#[derive(Debug, Clone)]
pub struct Log<'a> {
    /// Where episodes begin and end.
    pub episodes: &'a Episodes,
    /// r_t.
    pub reward: Column<'a>,
    /// b(a_t|s_t); `None` for a log without propensities.
    pub propensity: Option<Column<'a>>,
    /// Whether propensities and probabilities are densities of continuous actions.
    pub density: bool,
}

/// The columns of one evaluation policy. Those that the estimators read are checked.
#[derive(Debug, Clone, Default)]
pub struct Policy<'a> {
    /// pi(a_t|s_t).
    pub prob: Option<Input<'a>>,
    /// Q(s_t, a_t).
    pub q: Option<Input<'a>>,
    /// V(s_t) under the policy.
    pub v: Option<Input<'a>>,
}

/// What is computed, fixed before the first row is read.
pub(crate) struct Plan<'a> {
    pub(crate) log: &'a Log<'a>,
    pub(crate) policies: &'a [Policy<'a>],
    pub(crate) estimators: &'a [Estimator],
    pub(crate) weighted: bool,
    pub(crate) doubly_robust: bool,
    pub(crate) narrow: Discount<f64>,
    pub(crate) wide: Discount<Extended>,
}

/// Buffers for columns that cannot be borrowed, and the returns of a tile.
#[derive(Default)]
pub(crate) struct LogScratch {
    reward: Vec<f64>,
    propensity: Vec<f64>,
    returns: Vec<f64>,
}

/// The same for the columns of a policy, and its ratios.
#[derive(Default)]
pub(crate) struct PolicyScratch {
    prob: Vec<f64>,
    q: Vec<f64>,
    v: Vec<f64>,
    rho: Vec<f64>,
}

/// Buffers of one thread.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) log: LogScratch,
    pub(crate) policy: PolicyScratch,
}

fn read<'s>(
    column: Option<&Column<'s>>,
    rows: &Range<usize>,
    scratch: &'s mut Vec<f64>,
) -> &'s [f64] {
    column.map_or(&[], |column| column.read(rows.clone(), scratch))
}

/// `out[i] = a[i] / b[i]`.
fn divide(a: &[f64], b: &[f64], out: &mut Vec<f64>) {
    out.clear();
    vectorise(
        #[inline(always)]
        || out.extend(a.iter().zip(b).map(|(a, b)| a / b)),
    );
}

impl<'a> Plan<'a> {
    /// For every policy with every estimator.
    pub(crate) fn new(
        log: &'a Log<'a>,
        policies: &'a [Policy<'a>],
        estimators: &'a [Estimator],
        gamma: f64,
    ) -> Self {
        let horizon = log.episodes.longest();
        Self {
            log,
            policies,
            estimators,
            weighted: estimators.iter().any(|e| e.entry().weighted()),
            doubly_robust: estimators.iter().any(|e| e.entry().doubly_robust()),
            narrow: Discount::new(gamma, horizon),
            wide: Discount::new(gamma, horizon),
        }
    }

    /// The episodes of a block.
    pub(crate) fn span(&self, block: usize) -> (usize, usize) {
        let first = block * BLOCK;
        (first, self.log.episodes.len().min(first + BLOCK))
    }

    /// Whole episodes in tiles of at most [`TILE_ROWS`] rows, or of one long episode.
    fn tiles(&self, (first, last): (usize, usize)) -> impl Iterator<Item = (usize, usize)> {
        let episodes = self.log.episodes;
        let mut start = first;
        std::iter::from_fn(move || {
            if start == last {
                return None;
            }
            let mut end = match episodes {
                Episodes::EachRow(_) => last.min(start + TILE_ROWS),
                Episodes::Offsets(_) => start + 1,
            };
            while end < last && episodes.rows(start, end + 1).len() <= TILE_ROWS {
                end += 1;
            }
            let tile = (start, end);
            start = end;
            Some(tile)
        })
    }

    /// The log in bundles of whole episodes, for the bootstrap: at most [`BUNDLE`] of them and
    /// [`BUNDLE_ROWS`] rows, or one long episode.
    pub(crate) fn bundles(&self) -> Vec<(usize, usize)> {
        let episodes = self.log.episodes;
        let (mut bundles, mut first) = (Vec::new(), 0);
        while first < episodes.len() {
            let mut last = (first + BUNDLE).min(episodes.len());
            while last > first + 1 && episodes.rows(first, last).len() > BUNDLE_ROWS {
                last = first + (last - first) / 2;
            }
            bundles.push((first, last));
            first = last;
        }
        bundles
    }

    /// The longest episode of a span.
    pub(crate) fn longest(&self, (first, last): (usize, usize)) -> usize {
        if self.one_step() {
            return 1;
        }
        (first..last)
            .map(|i| self.log.episodes.length(i))
            .max()
            .unwrap_or(0)
    }

    /// Calls `visit` for each tile with its part of the log, then of each policy.
    pub(crate) fn visit(
        &self,
        block: usize,
        work: &Work,
        scratch: &mut Scratch,
        mut each_log: impl FnMut(&Tile),
        mut each_policy: impl FnMut(usize, &Tile) -> Result<()>,
    ) -> Result<()> {
        for span in self.tiles(self.span(block)) {
            work.check()?;
            let tile = self.log_tile(span, &mut scratch.log);
            each_log(&tile);
            for p in 0..self.policies.len() {
                each_policy(p, &self.policy_tile(p, &tile, &mut scratch.policy))?;
            }
        }
        Ok(())
    }

    /// Reads the log's part of some episodes.
    pub(crate) fn log_tile<'s>(
        &'s self,
        span: (usize, usize),
        scratch: &'s mut LogScratch,
    ) -> Tile<'s> {
        let rows = self.log.episodes.rows(span.0, span.1);
        let reward = self.log.reward.read(rows.clone(), &mut scratch.reward);
        let propensity = self.log.propensity.as_ref().filter(|_| self.weighted);
        let mut tile = Tile {
            episodes: self.log.episodes,
            span,
            prob: &[],
            propensity: read(propensity, &rows, &mut scratch.propensity),
            rho: &[],
            reward,
            q: &[],
            v: &[],
            returns: &[],
        };
        if self.one_step() {
            tile.returns = reward;
        } else {
            scratch.returns.clear();
            for rows in tile.rows() {
                let discounted = reward[rows].iter().zip(&self.narrow.power);
                scratch
                    .returns
                    .push(discounted.fold(0.0, |g, (r, power)| g + power * r));
            }
            tile.returns = &scratch.returns;
        }
        tile
    }

    /// Reads a policy's part of the same episodes.
    pub(crate) fn policy_tile<'s>(
        &'s self,
        policy: usize,
        tile: &Tile<'s>,
        scratch: &'s mut PolicyScratch,
    ) -> Tile<'s> {
        let policy = &self.policies[policy];
        let rows = self.log.episodes.rows(tile.span.0, tile.span.1);
        let column = |input: &'s Option<Input<'a>>, used: bool| {
            input.as_ref().filter(|_| used).map(|i| &i.column)
        };
        let prob = column(&policy.prob, self.weighted);
        let prob = read(prob, &rows, &mut scratch.prob);
        divide(prob, tile.propensity, &mut scratch.rho);
        Tile {
            prob,
            rho: &scratch.rho,
            q: read(column(&policy.q, self.doubly_robust), &rows, &mut scratch.q),
            v: read(column(&policy.v, self.model()), &rows, &mut scratch.v),
            ..*tile
        }
    }

    /// Whether every row is an episode.
    pub(crate) fn one_step(&self) -> bool {
        matches!(self.log.episodes, Episodes::EachRow(_))
    }

    /// Whether any estimator reads v.
    pub(crate) fn model(&self) -> bool {
        self.estimators
            .iter()
            .any(|e| e.entry().needs.contains(&"v"))
    }

    pub(crate) fn check(&self, policy: &Policy, tile: &Tile) -> Result<()> {
        let prob_rule = if self.log.density {
            Rule::Density
        } else {
            Rule::Probability
        };
        for (input, values, rule) in [
            (&policy.prob, tile.prob, prob_rule),
            (&policy.q, tile.q, Rule::Amount),
            (&policy.v, tile.v, Rule::Amount),
        ] {
            if !rule.holds(values)
                && let Some(input) = input
                && let Some(text) = rule.violation(&input.column, &input.label)
            {
                return Err(Error::InvalidPolicy(text));
            }
        }
        Ok(())
    }
}
