//! What one episode contributes to each estimator.

pub mod episodes;
pub mod one_step;
