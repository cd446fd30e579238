//! Off-policy evaluation and `SharpeRatio@k` over plain slices: no Python, no Arrow.
//!
//! Every estimator is a *term* (what one episode contributes, [`terms`]), a *state* (mergeable sums
//! of terms, [`sums`]) and a *finish* (state to value and standard error, [`estimate`]).
//! [`evaluate`] runs them over the rows of a log; [`registry`] is the one table of estimators;
//! [`top_k`] ranks candidates and computes `SharpeRatio@k`.

pub mod assessment;
pub mod auctions;
pub mod bootstrap;
pub mod bounds;
mod bundle;
pub mod check;
pub mod column;
pub mod delta;
pub mod diagnostics;
mod digits;
pub mod distribution;
pub mod episode;
pub mod episode_terms;
pub mod error;
pub mod estimate;
pub mod estimator;
pub mod evaluate;
mod exact_replicates;
pub mod final_weights;
pub mod form;
pub mod gram;
pub mod interval;
pub mod kernel;
mod lanes;
pub mod mixture;
mod pairs;
mod panels;
pub mod pareto;
mod plan;
pub mod pool;
pub mod predictive;
pub mod random;
mod rank_agreement;
pub mod registry;
pub mod replicate_intervals;
mod replicate_sums;
pub mod resample;
pub mod streams;
pub mod sums;
pub mod tail;
pub mod terms;
pub mod tiles;
pub mod top_k;
pub mod totals;
pub mod weighting;
pub mod weights;

pub use error::{Error, Result};
