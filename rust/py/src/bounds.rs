//! Intervals that look at every episode's term.

use counterfolio_core::bounds;
use counterfolio_core::episode_terms::episode_terms as terms;
use counterfolio_core::sums::BLOCK;
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;

use crate::enter::{alone, enter};
use crate::evaluation::side_named;
use crate::exceptions::internal;
use crate::inputs::{
    EstimatorInput, IdInput, LogInput, PolicyInput, estimator_of, ids_of, log_of, policies_of,
};

type Values<'py> = Bound<'py, PyArray1<f64>>;

/// W_{T-1}, G and sum_t gamma^t W_t r_t of each episode of one policy, with the weights of an estimator.
#[pyfunction]
pub(crate) fn episode_terms<'py>(
    py: Python<'py>,
    log: LogInput<'py>,
    policy: PolicyInput<'py>,
    estimator: EstimatorInput,
    gamma: f64,
    num_threads: usize,
) -> PyResult<(Values<'py>, Values<'py>, Values<'py>)> {
    let log = log_of(&log)?;
    let estimator = estimator_of(&estimator)?;
    let policies = [policy];
    let policy = policies_of(&policies, &log)?;
    let [policy] = &policy[..] else {
        return Err(internal("one policy was asked for"));
    };
    let blocks = log.episodes.len().div_ceil(BLOCK);
    let found = enter(py, log.reward.len(), num_threads, blocks, None, |work| {
        terms(&log, policy, estimator, gamma, work)
    })?;
    Ok((
        found.weight.into_pyarray(py),
        found.returned.into_pyarray(py),
        found.pdis.into_pyarray(py),
    ))
}

/// Bounds of the mean of terms in a range.
#[pyfunction]
pub(crate) fn bounded_mean(
    py: Python<'_>,
    terms: PyReadonlyArray1<'_, f64>,
    interval: &str,
    value_range: (f64, f64),
    confidence_level: f64,
    alternative: &str,
) -> PyResult<(f64, f64)> {
    let (terms, side) = (terms.as_slice()?, side_named(alternative)?);
    let bound = match interval {
        "hoeffding" => bounds::hoeffding,
        "empirical_bernstein" => bounds::empirical_bernstein,
        other => return Err(internal(&format!("no bounded mean {other}"))),
    };
    alone(py, || bound(terms, value_range, confidence_level, side))
}

/// Lower bound of the mean of terms of 0 or more.
#[pyfunction]
pub(crate) fn hcope(
    py: Python<'_>,
    terms: PyReadonlyArray1<'_, f64>,
    log: LogInput<'_>,
    ids: Option<IdInput<'_>>,
    seed: u64,
    confidence_level: f64,
) -> PyResult<f64> {
    let (terms, log) = (terms.as_slice()?, log_of(&log)?);
    let ids = ids_of(ids.as_ref(), terms.len())?;
    alone(py, || {
        let mut hashes = Vec::new();
        ids.hashes(log.episodes, (0, terms.len()), &mut hashes);
        bounds::hcope(terms, &hashes, seed, confidence_level)
    })
}

/// Bounds of the mean of weights times rewards.
#[pyfunction]
#[expect(
    clippy::too_many_arguments,
    reason = "the Python side passes them by name"
)]
pub(crate) fn weighted_mean(
    py: Python<'_>,
    weights: PyReadonlyArray1<'_, f64>,
    rewards: PyReadonlyArray1<'_, f64>,
    interval: &str,
    return_range: (f64, f64),
    weight_range: Option<(f64, f64)>,
    confidence_level: f64,
    alternative: &str,
) -> PyResult<(f64, f64)> {
    let (w, r, side) = (
        weights.as_slice()?,
        rewards.as_slice()?,
        side_named(alternative)?,
    );
    let level = confidence_level;
    alone(py, || match (interval, weight_range) {
        ("log_smoothing", _) => Some(bounds::log_smoothing(w, r, return_range, None, level, side)),
        ("confidence_sequence", _) => {
            Some(bounds::confidence_sequence(w, r, return_range, level, side))
        }
        ("cressie_read", Some(weights)) => Some(bounds::cressie_read(
            w,
            r,
            weights,
            return_range,
            level,
            side,
        )),
        _ => None,
    })?
    .ok_or_else(|| internal(&format!("no weighted mean {interval}")))
}
