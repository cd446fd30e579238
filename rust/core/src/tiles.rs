//! A log and its policies, read block by block as tiles of whole episodes.

use std::ops::Range;

use crate::check::Rule;
use crate::column::Column;
use crate::episode::Episodes;
use crate::error::{Error, Result};
use crate::lanes::{prefetch, vectorise};
use crate::plan::{Group, Plan};
use crate::pool::Work;
use crate::sums::{BLOCK, BUNDLE, BUNDLE_ROWS, TILE_ROWS};
use crate::terms::one_step::all_safe;

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
    /// mu_s(s_t), the marginal ratio of states.
    pub state_ratio: Option<Input<'a>>,
    /// mu_sa(s_t, a_t), the marginal ratio of states and actions.
    pub state_action_ratio: Option<Input<'a>>,
    /// Whether these ratios are of discounted visits over all steps, and not of mean 1 at each.
    pub occupancy: bool,
}

/// Consecutive whole episodes of a block: their columns, read and checked. What no estimator reads is
/// empty.
#[derive(Debug, Clone, Copy)]
pub struct Tile<'a> {
    /// Where all episodes of the log begin and end.
    pub episodes: &'a Episodes,
    /// First episode of the tile and the one after its last.
    pub span: (usize, usize),
    /// pi(a_t|s_t).
    pub prob: &'a [f64],
    /// b(a_t|s_t).
    pub propensity: &'a [f64],
    /// rho_t = prob / propensity, in `f64`: 0 or infinite where that cannot hold it.
    pub rho: &'a [f64],
    /// r_t.
    pub reward: &'a [f64],
    /// Q(s_t, a_t).
    pub q: &'a [f64],
    /// V(s_t) under the evaluation policy.
    pub v: &'a [f64],
    /// mu_s(s_t).
    pub state_ratio: &'a [f64],
    /// mu_sa(s_t, a_t).
    pub state_action_ratio: &'a [f64],
    /// G of each episode.
    pub returns: &'a [f64],
}

impl<'a> Tile<'a> {
    /// Rows of its episodes, counted from the tile's first row.
    pub fn rows(&self) -> impl Iterator<Item = Range<usize>> {
        let base = self.episodes.rows(self.span.0, self.span.0).start;
        (self.span.0..self.span.1).map(move |i| {
            let rows = self.episodes.rows(i, i + 1);
            rows.start - base..rows.end - base
        })
    }

    /// One episode of it, by its place.
    pub(crate) fn episode(&self, i: usize) -> Self {
        let base = self.episodes.rows(self.span.0, self.span.0).start;
        let i = self.span.0 + i;
        let rows = self.episodes.rows(i, i + 1);
        let rows = rows.start - base..rows.end - base;
        let cut = |column: &'a [f64]| column.get(rows.clone()).unwrap_or_default();
        Tile {
            episodes: self.episodes,
            span: (i, i + 1),
            prob: cut(self.prob),
            propensity: cut(self.propensity),
            rho: cut(self.rho),
            reward: cut(self.reward),
            q: cut(self.q),
            v: cut(self.v),
            state_ratio: cut(self.state_ratio),
            state_action_ratio: cut(self.state_action_ratio),
            returns: &self.returns[i - self.span.0..=i - self.span.0],
        }
    }

    /// Asks for the rows that stand one tile after these, in every column that is in use.
    #[inline(always)]
    pub(crate) fn prefetch(&self, rows: &Range<usize>) {
        for column in [self.prob, self.propensity, self.reward, self.q, self.v] {
            if !column.is_empty() {
                prefetch(column, rows.start, rows.len(), TILE_ROWS);
            }
        }
    }
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
    state_ratio: Vec<f64>,
    state_action_ratio: Vec<f64>,
    rho: Vec<f64>,
}

/// The weights of a tile's rows, and room for making them.
pub(crate) struct Filled<W> {
    pub(crate) weights: Vec<W>,
    pub(crate) spare: Vec<W>,
}

impl<W> Default for Filled<W> {
    fn default() -> Self {
        Self {
            weights: Vec::new(),
            spare: Vec::new(),
        }
    }
}

impl Filled<f64> {
    /// The weights of single decisions: where they are the ratios, those. `None`: one is beyond the range in
    /// which `f64` is exact.
    pub(crate) fn one_step<'s>(&'s mut self, group: &Group, tile: &Tile<'s>) -> Option<&'s [f64]> {
        if group.is_ratio() {
            return all_safe(tile).then_some(tile.rho);
        }
        let safe = group
            .weighting
            .fill(tile, &mut self.weights, &mut self.spare);
        safe.then_some(&self.weights)
    }
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
        let propensity = self.log.propensity.as_ref().filter(|_| self.reads.prob);
        let mut tile = Tile {
            episodes: self.log.episodes,
            span,
            prob: &[],
            propensity: read(propensity, &rows, &mut scratch.propensity),
            rho: &[],
            reward,
            q: &[],
            v: &[],
            state_ratio: &[],
            state_action_ratio: &[],
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
        let reads = self.reads;
        let prob = column(&policy.prob, reads.prob);
        let prob = read(prob, &rows, &mut scratch.prob);
        divide(prob, tile.propensity, &mut scratch.rho);
        let state = column(&policy.state_ratio, reads.state_ratio);
        let both = column(&policy.state_action_ratio, reads.state_action_ratio);
        Tile {
            prob,
            rho: &scratch.rho,
            q: read(column(&policy.q, reads.q), &rows, &mut scratch.q),
            v: read(column(&policy.v, reads.v), &rows, &mut scratch.v),
            state_ratio: read(state, &rows, &mut scratch.state_ratio),
            state_action_ratio: read(both, &rows, &mut scratch.state_action_ratio),
            ..*tile
        }
    }

    /// Whether every row is an episode.
    pub(crate) fn one_step(&self) -> bool {
        matches!(self.log.episodes, Episodes::EachRow(_))
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
            (&policy.state_ratio, tile.state_ratio, Rule::Ratio),
            (
                &policy.state_action_ratio,
                tile.state_action_ratio,
                Rule::Ratio,
            ),
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
