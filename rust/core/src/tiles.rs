//! A log and its policies, read block by block as tiles of whole episodes.

use std::ops::Range;

use crate::check::Rule;
use crate::column::Column;
use crate::episode::Episodes;
use crate::error::{Error, Result};
use crate::lanes::vectorise;
use crate::pool::Work;
use crate::registry::Estimator;
use crate::sums::{BLOCK, Discount, TILE_ROWS};
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
pub(crate) struct Scratch {
    reward: Vec<f64>,
    propensity: Vec<f64>,
    prob: Vec<f64>,
    q: Vec<f64>,
    v: Vec<f64>,
    returns: Vec<f64>,
    rho: Vec<f64>,
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
            let rows = self.log.episodes.rows(span.0, span.1);
            let reward = self.log.reward.read(rows.clone(), &mut scratch.reward);
            let propensity = self
                .log
                .propensity
                .as_ref()
                .filter(|_| self.weighted)
                .map_or(&[][..], |c| c.read(rows.clone(), &mut scratch.propensity));
            let mut tile = Tile {
                episodes: self.log.episodes,
                span,
                prob: &[],
                propensity,
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
            each_log(&tile);
            for (p, policy) in self.policies.iter().enumerate() {
                let column = |input: &'a Option<Input<'a>>, used: bool| {
                    input.as_ref().filter(|_| used).map(|i| &i.column)
                };
                let prob = read(
                    column(&policy.prob, self.weighted),
                    &rows,
                    &mut scratch.prob,
                );
                divide(prob, propensity, &mut scratch.rho);
                each_policy(
                    p,
                    &Tile {
                        prob,
                        rho: &scratch.rho,
                        q: read(column(&policy.q, self.doubly_robust), &rows, &mut scratch.q),
                        v: read(column(&policy.v, self.model()), &rows, &mut scratch.v),
                        ..tile
                    },
                )?;
            }
        }
        Ok(())
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
