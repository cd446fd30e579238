//! All estimators and all policies: one pass over the rows for values, one for influence values.

use std::ops::Range;

use crate::check::Rule;
use crate::column::Column;
use crate::episode::Episodes;
use crate::error::{Error, Result};
use crate::estimate::{Estimate, Values, behavior, finish, narrow};
use crate::pool::Work;
use crate::registry::{ESTIMATORS, Estimator};
use crate::sums::{BLOCK, Discount, Spread, Sums};
use crate::terms::basic::{StepMeans, Tile, add, influence};
use crate::terms::one_step;
use crate::weights::{Extended, Weight};

/// Rows of a tile: small enough that its columns stay in cache while policies take turns.
const TILE_ROWS: usize = 4096;

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

/// Everything two passes find.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// By policy, then by estimator as asked for.
    pub estimates: Vec<Estimate>,
    /// The behavior policy's own mean return.
    pub behavior: Estimate,
    /// For each estimator the (P + 1) x (P + 1) covariances of the estimates, behavior policy last.
    pub covariance: Vec<f64>,
}

/// What is computed, fixed before the first row is read.
struct Plan<'a> {
    log: &'a Log<'a>,
    policies: &'a [Policy<'a>],
    estimators: &'a [Estimator],
    weighted: bool,
    doubly_robust: bool,
    narrow: Discount<f64>,
    wide: Discount<Extended>,
}

/// Buffers for columns that cannot be borrowed, and the returns of a tile.
#[derive(Default)]
struct Scratch {
    reward: Vec<f64>,
    propensity: Vec<f64>,
    prob: Vec<f64>,
    q: Vec<f64>,
    v: Vec<f64>,
}

/// Evaluates every policy with every estimator.
///
/// # Errors
/// [`Error::InvalidPolicy`] where a column that is read breaks its rule; [`Error::Cancelled`].
pub fn evaluate(
    log: &Log,
    policies: &[Policy],
    estimators: &[Estimator],
    gamma: f64,
    work: &Work,
) -> Result<Evaluation> {
    let horizon = log.episodes.longest();
    let plan = Plan {
        log,
        policies,
        estimators,
        weighted: estimators.iter().any(|e| e.entry().weighted()),
        doubly_robust: estimators.iter().any(|e| e.entry().doubly_robust()),
        narrow: Discount::new(gamma, horizon),
        wide: Discount::new(gamma, horizon),
    };
    let n = log.episodes.len();
    let blocks = n.div_ceil(BLOCK);
    let mut totals: Vec<Sums<Extended>> = policies.iter().map(|_| Sums::new(horizon)).collect();
    let mut returns = 0.0;
    work.fold_blocks(
        blocks,
        |block| plan.sum_block(block, work),
        |(sums, sum_of_returns)| {
            for (total, block) in totals.iter_mut().zip(&sums) {
                total.merge(block);
            }
            returns += sum_of_returns;
        },
    )?;
    let values: Vec<Values> = totals
        .iter()
        .map(|sums| finish(sums, &plan.wide, n))
        .collect();
    let narrowed: Vec<_> = values.iter().map(|v| narrow(&v.means)).collect();
    let mean_return = returns / n as f64;
    let size = policies.len() + 1;
    let mut spread = Spread {
        gram: vec![0.0; estimators.len() * size * size],
        bias: vec![0.0; policies.len()],
    };
    work.fold_blocks(
        blocks,
        |block| plan.spread_block(block, &values, &narrowed, mean_return, work),
        |block| spread.merge(&block),
    )?;
    let squares = |e: usize, p: usize| spread.gram[(e * size + p) * size + p];
    let mut estimates = Vec::with_capacity(policies.len() * estimators.len());
    for (p, values) in values.iter().enumerate() {
        for (e, &estimator) in estimators.iter().enumerate() {
            estimates.push(values.estimate(estimator, squares(e, p), spread.bias[p], n));
        }
    }
    Ok(Evaluation {
        behavior: behavior(mean_return, squares(0, policies.len()), n),
        covariance: covariance(&spread.gram, &values, estimators, n),
        estimates,
    })
}

/// The full covariance matrices from the upper triangles of scaled products.
fn covariance(gram: &[f64], values: &[Values], estimators: &[Estimator], n: usize) -> Vec<f64> {
    let size = values.len() + 1;
    let mut out = vec![f64::NAN; gram.len()];
    for (e, &estimator) in estimators.iter().enumerate() {
        let exponent = |p: usize| values.get(p).map_or(0, |v| v.means.exponent(estimator));
        for p in 0..size {
            for q in p..size {
                let product = gram[(e * size + p) * size + q] / (n as f64 * (n as f64 - 1.0));
                let value = Extended::new(product, exponent(p) + exponent(q)).to_f64();
                out[(e * size + p) * size + q] = value;
                out[(e * size + q) * size + p] = value;
            }
        }
    }
    out
}

/// Dot product in a fixed order that vectorises: eight partial sums.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    for (x, y) in a8.iter().zip(b8) {
        for i in 0..8 {
            lanes[i] += x[i] * y[i];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    lanes.iter().sum::<f64>() + rest
}

fn read<'s>(
    column: Option<&Column<'s>>,
    rows: &Range<usize>,
    scratch: &'s mut Vec<f64>,
) -> &'s [f64] {
    column.map_or(&[], |column| column.read(rows.clone(), scratch))
}

impl<'a> Plan<'a> {
    /// The episodes of a block.
    fn span(&self, block: usize) -> (usize, usize) {
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
    fn longest(&self, (first, last): (usize, usize)) -> usize {
        if self.one_step() {
            return 1;
        }
        (first..last)
            .map(|i| self.log.episodes.length(i))
            .max()
            .unwrap_or(0)
    }

    /// Calls `visit` for each tile with its part of the log, then of each policy.
    fn visit(
        &self,
        block: usize,
        work: &Work,
        mut each_log: impl FnMut(&Tile),
        mut each_policy: impl FnMut(usize, &Tile) -> Result<()>,
    ) -> Result<()> {
        let mut scratch = Scratch::default();
        let mut returns = Vec::new();
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
                reward,
                q: &[],
                v: &[],
                returns: &[],
            };
            if self.one_step() {
                tile.returns = reward;
            } else {
                returns.clear();
                for rows in tile.rows() {
                    let discounted = reward[rows].iter().zip(&self.narrow.power);
                    returns.push(discounted.fold(0.0, |g, (r, power)| g + power * r));
                }
                tile.returns = &returns;
            }
            each_log(&tile);
            for (p, policy) in self.policies.iter().enumerate() {
                let column = |input: &'a Option<Input<'a>>, used: bool| {
                    input.as_ref().filter(|_| used).map(|i| &i.column)
                };
                let (mut prob, mut q, mut v) = (Vec::new(), Vec::new(), Vec::new());
                std::mem::swap(&mut prob, &mut scratch.prob);
                std::mem::swap(&mut q, &mut scratch.q);
                std::mem::swap(&mut v, &mut scratch.v);
                each_policy(
                    p,
                    &Tile {
                        prob: read(column(&policy.prob, self.weighted), &rows, &mut prob),
                        q: read(column(&policy.q, self.doubly_robust), &rows, &mut q),
                        v: read(column(&policy.v, self.model()), &rows, &mut v),
                        ..tile
                    },
                )?;
                (scratch.prob, scratch.q, scratch.v) = (prob, q, v);
            }
        }
        Ok(())
    }

    /// Whether every row is an episode.
    fn one_step(&self) -> bool {
        matches!(self.log.episodes, Episodes::EachRow(_))
    }

    /// Whether any estimator reads v.
    fn model(&self) -> bool {
        self.estimators
            .iter()
            .any(|e| e.entry().needs.contains(&"v"))
    }

    fn check(&self, policy: &Policy, tile: &Tile) -> Result<()> {
        let prob_rule = if self.log.density {
            Rule::Density
        } else {
            Rule::Probability
        };
        for (input, values, rule) in [
            (&policy.prob, tile.prob, prob_rule),
            (&policy.q, tile.q, Rule::Finite),
            (&policy.v, tile.v, Rule::Finite),
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

    fn add<W: Weight>(&self, tile: &Tile, discount: &Discount<W>, sums: &mut Sums<W>) -> bool {
        for rows in tile.rows() {
            sums.v0 += tile.v.get(rows.start).copied().unwrap_or(0.0);
        }
        match (self.weighted, self.doubly_robust) {
            (false, _) => true,
            (true, false) => add::<W, false>(tile, discount, sums),
            (true, true) => add::<W, true>(tile, discount, sums),
        }
    }

    /// [`Plan::add`] in `f64`, the short way where there is one.
    fn add_narrow(&self, tile: &Tile, sums: &mut Sums<f64>) -> bool {
        if !self.one_step() {
            return self.add(tile, &self.narrow, sums);
        }
        sums.v0 += one_step::sum(tile.v);
        match (self.weighted, self.doubly_robust) {
            (false, _) => true,
            (true, false) => one_step::add::<false>(tile, sums),
            (true, true) => one_step::add::<true>(tile, sums),
        }
    }

    /// First pass over a block: sums by policy and the sum of returns.
    fn sum_block(&self, block: usize, work: &Work) -> Result<(Vec<Sums<Extended>>, f64)> {
        let longest = self.longest(self.span(block));
        let mut narrow: Vec<Option<Sums<f64>>> = self
            .policies
            .iter()
            .map(|_| Some(Sums::new(longest)))
            .collect();
        let mut returns = 0.0;
        self.visit(
            block,
            work,
            |tile| returns += one_step::sum(tile.returns),
            |p, tile| {
                self.check(&self.policies[p], tile)?;
                if let Some(sums) = &mut narrow[p]
                    && !self.add_narrow(tile, sums)
                {
                    narrow[p] = None;
                }
                Ok(())
            },
        )?;
        if narrow.iter().all(Option::is_some) {
            return Ok((narrow.iter().flatten().map(Sums::widen).collect(), returns));
        }
        let mut wide: Vec<_> = narrow
            .iter()
            .map(|sums| {
                sums.as_ref()
                    .map_or_else(|| Sums::new(longest), Sums::widen)
            })
            .collect();
        self.visit(
            block,
            work,
            |_| (),
            |p, tile| {
                if narrow[p].is_none() {
                    let _always = self.add(tile, &self.wide, &mut wide[p]);
                }
                Ok(())
            },
        )?;
        Ok((wide, returns))
    }

    fn influence<W: Weight>(
        &self,
        tile: &Tile,
        discount: &Discount<W>,
        means: &StepMeans<W>,
        out: &mut Influence,
        at: usize,
    ) -> bool {
        let Influence { psi, bias } = out;
        match (self.weighted, self.doubly_robust) {
            (false, _) => true,
            (true, false) => influence::<W, false>(tile, discount, means, psi, at, bias),
            (true, true) => influence::<W, true>(tile, discount, means, psi, at, bias),
        }
    }

    /// [`Plan::influence`] in `f64`, the short way where there is one, and that of `dm`.
    fn influence_narrow(
        &self,
        tile: &Tile,
        means: &StepMeans<f64>,
        out: &mut Influence,
        at: usize,
    ) -> bool {
        if !self.one_step() {
            return self.influence(tile, &self.narrow, means, out, at);
        }
        let Influence { psi, bias } = out;
        match (self.weighted, self.doubly_robust) {
            (false, _) => true,
            (true, false) => one_step::influence::<false>(tile, means, psi, at, bias),
            (true, true) => one_step::influence::<true>(tile, means, psi, at, bias),
        }
    }

    /// Influence values of `dm`.
    fn direct(&self, tile: &Tile, mean: f64, out: &mut Influence, at: usize) {
        let out = &mut out.psi[Estimator::Dm as usize][at..];
        if self.one_step() {
            for (psi, v) in out.iter_mut().zip(tile.v) {
                *psi = v - mean;
            }
        } else if self.model() {
            for (psi, rows) in out.iter_mut().zip(tile.rows()) {
                *psi = tile.v[rows.start] - mean;
            }
        }
    }

    /// Second pass over a block: products of influence values.
    fn spread_block(
        &self,
        block: usize,
        values: &[Values],
        narrowed: &[Option<StepMeans<f64>>],
        mean_return: f64,
        work: &Work,
    ) -> Result<Spread> {
        let (first, last) = self.span(block);
        let n = last - first;
        let mut found: Vec<_> = self.policies.iter().map(|_| Influence::new(n)).collect();
        let mut own = Vec::with_capacity(n);
        let mut again: Vec<bool> = narrowed.iter().map(Option::is_none).collect();
        self.visit(
            block,
            work,
            |tile| own.extend(tile.returns.iter().map(|g| g - mean_return)),
            |p, tile| {
                let at = tile.span.0 - first;
                self.direct(tile, values[p].means.v0, &mut found[p], at);
                if let (false, Some(means)) = (again[p], &narrowed[p]) {
                    again[p] = !self.influence_narrow(tile, means, &mut found[p], at);
                }
                Ok(())
            },
        )?;
        if again.contains(&true) {
            for (found, _) in found.iter_mut().zip(&again).filter(|(_, again)| **again) {
                found.bias = 0.0;
            }
            self.visit(
                block,
                work,
                |_| (),
                |p, tile| {
                    if again[p] {
                        let (means, at) = (&values[p].means, tile.span.0 - first);
                        let _always = self.influence(tile, &self.wide, means, &mut found[p], at);
                    }
                    Ok(())
                },
            )?;
        }
        Ok(Spread {
            gram: self.gram(&found, &own),
            bias: found.iter().map(|f| f.bias).collect(),
        })
    }

    /// Upper triangles of the products of influence values, the behavior policy's last.
    fn gram(&self, found: &[Influence], own: &[f64]) -> Vec<f64> {
        let size = found.len() + 1;
        let mut gram = vec![0.0; self.estimators.len() * size * size];
        let own_square = dot(own, own);
        for (e, &estimator) in self.estimators.iter().enumerate() {
            let row = |p: usize| found.get(p).map_or(own, |f| &f.psi[estimator as usize]);
            for p in 0..found.len() {
                for q in p..size {
                    gram[(e * size + p) * size + q] = dot(row(p), row(q));
                }
            }
            gram[(e * size + size - 1) * size + size - 1] = own_square;
        }
        gram
    }
}

/// Influence values of one policy over a block.
struct Influence {
    psi: [Vec<f64>; ESTIMATORS],
    bias: f64,
}

impl Influence {
    fn new(n: usize) -> Self {
        Self {
            psi: std::array::from_fn(|_| vec![0.0; n]),
            bias: 0.0,
        }
    }
}
