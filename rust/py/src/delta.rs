//! Differences of two policies by the difference of their weights.

use counterfolio_core::delta::{Delta, delta as run};
use counterfolio_core::episode_terms::episode_terms;
use counterfolio_core::estimator::Estimator;
use counterfolio_core::resample::{OCTET, Resample};
use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;

use crate::enter::enter;
use crate::inputs::{
    ClusterInput, IdInput, LogInput, PolicyInput, clusters_of, ids_of, log_of, policies_of,
};
use crate::resampling::ResamplingInput;

/// What decides the replicates: their number, the seed, the kind and the ids.
type Draw<'py> = (usize, u64, ResamplingInput, Option<IdInput<'py>>);
/// Value, variance, acceleration, and the values by replicate.
type Found<'py> = (f64, f64, f64, Bound<'py, PyArray1<f64>>);

/// The difference of one policy, or of the behavior policy where there is none, from another.
#[pyfunction]
pub(crate) fn delta<'py>(
    py: Python<'py>,
    log: LogInput<'py>,
    policies: (Option<PolicyInput<'py>>, Option<PolicyInput<'py>>),
    clusters: Option<ClusterInput<'py>>,
    draw: Option<Draw<'py>>,
    num_threads: usize,
) -> PyResult<Found<'py>> {
    let log = log_of(&log)?;
    let n = log.episodes.len();
    let (first, second) = policies;
    let read = |input: Option<PolicyInput<'py>>| input.into_iter().collect::<Vec<_>>();
    let (first, second) = (read(first), read(second));
    let (first, second) = (policies_of(&first, &log)?, policies_of(&second, &log)?);
    let clusters = clusters_of(clusters.as_ref(), n)?;
    let resample = match &draw {
        None => None,
        Some((replicates, seed, resampling, ids)) => Some(Resample {
            replicates: *replicates,
            seed: *seed,
            resampling: resampling.resampling()?,
            ids: ids_of(ids.as_ref(), n)?,
            clusters,
        }),
    };
    let replicates = resample.as_ref().map_or(0, |r| r.replicates);
    let size = n.saturating_mul(2 + replicates / OCTET);
    let Delta {
        value,
        variance,
        acceleration,
        replicates,
    } = enter(py, size, num_threads, 1, None, |work| {
        let mut rewards = Vec::new();
        let mut weights = |policies: &[_]| {
            let Some(policy) = policies.first() else {
                return Ok(vec![1.0; n]);
            };
            let found = episode_terms(&log, policy, Estimator::PDIS, 1.0, work)?;
            rewards = found.returned;
            Ok(found.weight)
        };
        let (a, b) = (weights(&first)?, weights(&second)?);
        if rewards.is_empty() {
            // The behavior policy less itself.
            rewards = vec![0.0; n];
        }
        run([&a, &b], &rewards, clusters, resample.as_ref(), work)
    })?;
    Ok((value, variance, acceleration, replicates.into_pyarray(py)))
}
