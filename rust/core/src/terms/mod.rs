//! Per-episode terms, one file to a family of estimators; formula and source in each header.

pub mod basic;
pub mod one_step;
