//! The distribution of the return under a policy: F(x) = P(G <= x), and what follows from it.
//!
//! With the final weights w_{T-1}, returns G and v_0 of the episodes:
//!
//! ```text
//! cd_dm      mean 1{v_0 <= x}
//! cd_tis     mean w 1{G <= x}                                               Huang et al. 2021
//! cd_sntis   sum w 1{G <= x} / sum w                                       Chandak et al. 2021
//! cd_tdr     mean { w (1{G <= x} - 1{v_0 <= x}) + 1{v_0 <= x} }             Huang et al. 2021, 2022
//! cd_sntdr   the same with w / mean w
//! ```
//!
//! All are steps at the values of G and v_0, and sums along one sort of them: with A = sum w (1{G <= x} -
//! 1{v_0 <= x}), B = sum 1{v_0 <= x}, W = sum w and n each is A / n or A / W, plus B / n
//! ([`Shape::probability`]). The curve that is shown is cut to [0, 1] and made monotone by a running maximum.
//! Statistics are those of that curve with its last value 1; those of `cd_tis`, whose mass is mean w and not 1,
//! are of F divided by its mass, and so those of `cd_sntis`.
//!
//! Exact quantiles need the sort, and so the log in memory.

use crate::error::Result;
use crate::plan::Plan;
use crate::pool::Work;
use crate::registry::Estimator;
use crate::sums::BLOCK;
use crate::tiles::{Filled, Log, Policy, Scratch};
use crate::weighting::Weighting;
use crate::weights::{Extended, Weight};

pub mod doubts;
pub mod influence;
pub mod replicates;
pub mod statistics;

/// Which masses stand where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Weights at G.
    pub weighted: bool,
    /// 1 at v_0, or with weights what they leave.
    pub modelled: bool,
    /// Weights divided by their mean.
    pub normalised: bool,
}

impl Shape {
    /// By the canonical name of an estimator.
    pub fn named(name: &str) -> Option<Self> {
        let (weighted, modelled, normalised) = match name {
            "cd_dm" => (false, true, false),
            "cd_tis" => (true, false, false),
            "cd_sntis" => (true, false, true),
            "cd_tdr" => (true, true, false),
            "cd_sntdr" => (true, true, true),
            _ => return None,
        };
        Some(Self {
            weighted,
            modelled,
            normalised,
        })
    }

    /// F from A, B, W and n.
    fn probability(self, a: f64, b: f64, total: f64, n: f64) -> f64 {
        let weighted = if self.weighted {
            a / if self.normalised { total } else { n }
        } else {
            0.0
        };
        weighted + if self.modelled { b / n } else { 0.0 }
    }

    /// The shape whose statistics these are.
    #[must_use]
    pub fn of_statistics(self) -> Self {
        Self {
            normalised: self.normalised || !self.modelled,
            ..self
        }
    }
}

/// What each episode of one policy is to its distribution.
#[derive(Debug, Clone)]
pub struct Terms {
    /// w_{T-1} 2^-`exponent`.
    pub weight: Vec<f64>,
    /// Power of two that weights beyond the range of `f64` were divided by; 0 elsewhere.
    pub exponent: i64,
    /// v_0; empty where no estimator reads it.
    pub v0: Vec<f64>,
}

impl Terms {
    /// Of the behavior policy.
    pub fn behavior(n: usize) -> Self {
        Self {
            weight: vec![1.0; n],
            exponent: 0,
            v0: Vec::new(),
        }
    }

    /// sum w / n.
    pub fn mass(&self) -> f64 {
        let sum: f64 = self.weight.iter().sum();
        Extended::new(sum, self.exponent).to_f64() / self.weight.len() as f64
    }
}

/// Weights scale where the largest is beyond 2^±500.
const PLAIN_EXPONENT: i64 = 500;

/// Final weights, returns and, if wanted, v_0 of every episode. The columns are checked.
///
/// # Errors
/// [`crate::Error::InvalidPolicy`]; [`crate::Error::Cancelled`].
pub fn terms(
    log: &Log,
    policy: &Policy,
    shapes: &[Shape],
    gamma: f64,
    work: &Work,
) -> Result<(Terms, Vec<f64>)> {
    let mut asked = Vec::new();
    let weighted = shapes.iter().any(|s| s.weighted);
    if weighted {
        asked.push(Estimator::PDIS);
    }
    if shapes.iter().any(|s| s.modelled) {
        asked.extend(Estimator::named("dm"));
    }
    let plan = Plan::new(log, std::slice::from_ref(policy), &asked, gamma);
    let (mut weights, mut returned, mut v0) = (Vec::new(), Vec::new(), Vec::new());
    work.fold_blocks(
        log.episodes.len().div_ceil(BLOCK),
        1,
        || (Scratch::default(), Filled::<Extended>::default()),
        |(scratch, filled), block| {
            let (mut w, mut g, mut v) = (Vec::new(), Vec::new(), Vec::<f64>::new());
            plan.visit(
                block,
                work,
                scratch,
                |tile| g.extend_from_slice(tile.returns),
                |_, tile| {
                    plan.check(policy, tile)?;
                    if weighted {
                        let Filled { weights, spare } = &mut *filled;
                        let _always = Weighting::CUMULATIVE.fill(tile, weights, spare);
                        w.extend(tile.rows().map(|rows| weights[rows.end - 1]));
                    }
                    v.extend(tile.rows().filter_map(|rows| tile.v.get(rows.start)));
                    Ok(())
                },
            )?;
            Ok((w, g, v))
        },
        |(w, g, v)| {
            weights.extend(w);
            returned.extend(g);
            v0.extend(v);
        },
    )?;
    let largest = weights.iter().fold(Extended::ZERO, |a, &b| a.larger(b));
    let exponent = match largest.exponent() {
        e if e.abs() > PLAIN_EXPONENT => e,
        _ => 0,
    };
    let n = log.episodes.len();
    let weight = if weighted {
        weights.iter().map(|w| w.scaled(exponent)).collect()
    } else {
        vec![1.0; n]
    };
    let terms = Terms {
        weight,
        exponent,
        v0,
    };
    Ok((terms, returned))
}

/// The sorted points of a shape: where F may step.
#[derive(Debug, Clone)]
pub struct Points {
    /// Distinct values, ascending.
    pub x: Vec<f64>,
    /// Episode, and whether it is its v_0 that stands here, in the order of the values.
    order: Vec<(u32, bool)>,
    /// For each distinct value the end of its part of `order`.
    ends: Vec<usize>,
}

impl Points {
    /// Of a shape.
    pub fn new(shape: Shape, returned: &[f64], v0: &[f64]) -> Self {
        let mut all: Vec<(f64, (u32, bool))> = Vec::new();
        let mut add = |values: &[f64], model: bool| {
            let own = values.iter().zip(0_u32..);
            all.extend(own.map(|(&x, i)| (x, (i, model))));
        };
        if shape.weighted {
            add(returned, false);
        }
        if shape.modelled {
            add(v0, true);
        }
        // Zeros of either sign are one value, and ties stand in the order of the episodes.
        all.sort_by(|a, b| (a.0 + 0.0).total_cmp(&(b.0 + 0.0)).then(a.1.cmp(&b.1)));
        let mut found = Self {
            x: Vec::new(),
            order: all.iter().map(|(_, place)| *place).collect(),
            ends: Vec::new(),
        };
        for run in all.chunk_by(|a, b| a.0 == b.0) {
            found.x.push(run[0].0);
            let before = found.ends.last().copied().unwrap_or(0);
            found.ends.push(before + run.len());
        }
        found
    }

    /// F at each distinct value, with episodes counted as `count` says.
    pub fn curve(&self, shape: Shape, terms: &Terms, count: impl Fn(usize) -> f64) -> Vec<f64> {
        let (mut total, mut number) = (0.0, 0.0);
        for (i, w) in terms.weight.iter().enumerate() {
            total += count(i) * w;
            number += count(i);
        }
        if terms.exponent != 0 && !shape.normalised && shape.weighted {
            // What f64 cannot hold: the sums are scaled back at the end, to infinity or 0.
            let back = Extended::new(1.0, terms.exponent).to_f64();
            let plain = Terms {
                weight: terms.weight.iter().map(|w| w * back).collect(),
                exponent: 0,
                v0: terms.v0.clone(),
            };
            return self.curve(shape, &plain, count);
        }
        let (mut a, mut b) = (0.0, 0.0);
        let mut at = 0;
        self.ends
            .iter()
            .map(|&end| {
                for &(episode, model) in &self.order[at..end] {
                    let i = episode as usize;
                    let m = count(i);
                    if model {
                        b += m;
                        a -= m * terms.weight[i];
                    } else {
                        a += m * terms.weight[i];
                    }
                }
                at = end;
                shape.probability(a, b, total, number)
            })
            .collect()
    }
}

/// Cut to [0, 1] and made monotone.
pub fn monotone(curve: &mut [f64]) {
    let mut above = 0.0;
    for f in curve {
        // What is undefined stays so.
        if !f.is_nan() {
            above = f64::max(above, f.clamp(0.0, 1.0));
            *f = above;
        }
    }
}

/// The place of the last of the ascending `x` that is not above a value.
pub fn place(x: &[f64], value: f64) -> Option<usize> {
    x.partition_point(|&x| x <= value).checked_sub(1)
}
