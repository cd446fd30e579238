//! Off-policy evaluation and `SharpeRatio@k` over plain slices: no Python, no Arrow.

pub mod error;
pub mod random;
pub mod top_k;

pub use error::{Error, Result};
