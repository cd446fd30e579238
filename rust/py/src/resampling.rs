//! The joint bootstrap, its draws and its intervals.

use counterfolio_core::assessment::rank_counts as count_ranks;
use counterfolio_core::bootstrap::Bootstrap;
use counterfolio_core::episode::Episodes;
use counterfolio_core::predictive::predict;
use counterfolio_core::random::hash_text as hash;
use counterfolio_core::replicate_intervals::{Interval, interval};
use counterfolio_core::resample::{OCTET, Resample, Resampling, draw_all};
use counterfolio_core::top_k::Options;
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1, PyReadonlyArray2, ToPyArray};
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::enter::{alone, enter, to_pyerr};
use crate::evaluation::side_named;
use crate::exceptions::invalid_argument;
use crate::inputs::{
    ClusterInput, EstimatorInput, IdInput, LogInput, PolicyInput, clusters_of, estimators_of,
    ids_of, log_of, policies_of,
};

/// A resampling by its name, or the share of one part of the episodes and whether the rest is meant.
#[derive(FromPyObject)]
pub(crate) enum ResamplingInput {
    #[pyo3(transparent)]
    Named(String),
    #[pyo3(transparent)]
    Split((f64, bool)),
}

impl ResamplingInput {
    pub(crate) fn resampling(&self) -> PyResult<Resampling> {
        match self {
            Self::Split((share, rest)) => Ok(Resampling::split(*share, *rest)),
            Self::Named(name) if name == "poisson" => Ok(Resampling::Poisson),
            Self::Named(name) if name == "multinomial" => Ok(Resampling::Multinomial),
            Self::Named(name) => Err(invalid_argument(format!("no resampling \"{name}\""))),
        }
    }
}

/// Estimates by replicate, policy and estimator, and the behavior policy's values by replicate.
type Replicates<'py> = (Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<f64>>);

/// Lower ends, upper ends and notes.
type Intervals = (Vec<f64>, Vec<f64>, Vec<Option<String>>);

/// Raises `MemoryError` where a result of so many values of `size` bytes cannot be held.
pub(crate) fn check_room(counts: &[usize], size: usize) -> PyResult<()> {
    let bytes = counts.iter().try_fold(size, |a, &b| a.checked_mul(b));
    let fits = bytes.is_some_and(|bytes| Vec::<u8>::new().try_reserve_exact(bytes).is_ok());
    if fits {
        return Ok(());
    }
    let shape: Vec<String> = counts.iter().map(ToString::to_string).collect();
    Err(PyMemoryError::new_err(format!(
        "a result of {} numbers does not fit into memory; ask for fewer replicates",
        shape.join(" x ")
    )))
}

/// Estimates every policy with every estimator in every replicate.
#[pyfunction]
#[expect(
    clippy::too_many_arguments,
    reason = "the Python side passes them by name"
)]
pub(crate) fn bootstrap<'py>(
    py: Python<'py>,
    log: LogInput<'py>,
    policies: Vec<PolicyInput<'py>>,
    estimators: Vec<EstimatorInput>,
    gamma: f64,
    n_resamples: usize,
    seed: u64,
    resampling: ResamplingInput,
    ids: Option<IdInput<'py>>,
    clusters: Option<ClusterInput<'py>>,
    num_threads: usize,
    progress: Option<Py<PyAny>>,
) -> PyResult<Replicates<'py>> {
    let estimators = estimators_of(&estimators)?;
    let log = log_of(&log)?;
    let policies = policies_of(&policies, &log)?;
    let episodes = log.episodes.len();
    let resample = Resample {
        replicates: n_resamples,
        seed,
        resampling: resampling.resampling()?,
        ids: ids_of(ids.as_ref(), episodes)?,
        clusters: clusters_of(clusters.as_ref(), episodes)?,
    };
    check_room(
        &[n_resamples, policies.len(), estimators.len()],
        size_of::<f64>(),
    )?;
    let job = Bootstrap::new(&log, &policies, &estimators, gamma, &resample, num_threads);
    let size = (log.reward.len() * policies.len()).saturating_mul(1 + n_resamples / 8);
    let found = enter(
        py,
        size,
        num_threads,
        job.blocks(),
        progress.as_ref(),
        |work| job.run(work),
    )?;
    Ok((
        found.values.into_pyarray(py),
        found.behavior.into_pyarray(py),
    ))
}

/// Multiplicities by replicate and episode, of as many episodes as there are ids.
#[pyfunction]
pub(crate) fn resample_weights<'py>(
    py: Python<'py>,
    ids: IdInput<'py>,
    n_episodes: usize,
    n_resamples: usize,
    seed: u64,
    resampling: ResamplingInput,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyArray1<i32>>> {
    let resample = Resample {
        replicates: n_resamples,
        seed,
        resampling: resampling.resampling()?,
        ids: ids_of(Some(&ids), n_episodes)?,
        clusters: None,
    };
    check_room(&[n_resamples, n_episodes], size_of::<i32>())?;
    let drawn = enter(
        py,
        n_resamples * n_episodes,
        1,
        n_resamples.div_ceil(OCTET),
        progress.as_ref(),
        |work| draw_all(&resample, &Episodes::EachRow(n_episodes), work),
    )?;
    Ok(drawn.into_pyarray(py))
}

/// XXH3-64 hashes of texts.
#[pyfunction]
pub(crate) fn hash_text(py: Python<'_>, texts: Vec<String>) -> Bound<'_, PyArray1<u64>> {
    let hashes: Vec<u64> = texts.iter().map(|text| hash(text)).collect();
    hashes.into_pyarray(py)
}

/// Lower end, upper end and note of the intervals of estimates, from replicates in rows.
#[pyfunction]
pub(crate) fn bootstrap_intervals(
    py: Python<'_>,
    estimates: PyReadonlyArray1<'_, f64>,
    replicates: PyReadonlyArray2<'_, f64>,
    accelerations: PyReadonlyArray1<'_, f64>,
    method: &str,
    confidence_level: f64,
    alternative: &str,
) -> PyResult<Intervals> {
    let method = method.parse().map_err(to_pyerr)?;
    let side = side_named(alternative)?;
    let (estimates, accelerations) = (estimates.as_slice()?, accelerations.as_slice()?);
    let replicates = replicates.as_array();
    let found = alone(py, || {
        let rows = estimates.iter().zip(accelerations);
        rows.zip(replicates.columns())
            .map(|((&estimate, &acceleration), own)| {
                let own = own.to_vec();
                interval(estimate, &own, method, acceleration, confidence_level, side)
            })
            .collect::<Vec<Interval>>()
    })?;
    let ends = |f: fn(&Interval) -> f64| found.iter().map(f).collect();
    Ok((
        ends(|x| x.low),
        ends(|x| x.high),
        found.iter().map(|x| x.note.clone()).collect(),
    ))
}

/// How often each policy has each rank over replicates, stored replicate by replicate, and how many of them
/// say anything.
#[pyfunction]
pub(crate) fn rank_counts<'py>(
    py: Python<'py>,
    scores: PyReadonlyArray1<'py, f64>,
    n_policies: usize,
) -> PyResult<(Bound<'py, PyArray1<f64>>, usize)> {
    let scores = scores.as_slice()?;
    let (counts, used) = alone(py, || count_ranks(scores, n_policies))?;
    Ok((counts.into_pyarray(py), used))
}

/// Predicts SharpeRatio@k of a shortlist.
#[pyfunction]
pub(crate) fn predict_sharpe_ratio<'py>(
    py: Python<'py>,
    estimates: PyReadonlyArray1<'py, f64>,
    replicates: PyReadonlyArray1<'py, f64>,
    behavior: PyReadonlyArray1<'py, f64>,
    shortlist: Vec<usize>,
    seed: u64,
) -> PyResult<Bound<'py, PyDict>> {
    let (estimates, replicates) = (estimates.as_slice()?, replicates.as_slice()?);
    let behavior = behavior.as_slice()?;
    let found = alone(py, || {
        predict(
            estimates,
            replicates,
            behavior,
            &shortlist,
            &Options::default(),
            seed,
        )
    })?
    .map_err(to_pyerr)?;
    let out = PyDict::new(py);
    out.set_item("sharpe_ratio", found.sharpe_ratio)?;
    out.set_item("p_better", found.p_better)?;
    out.set_item("expected_gain", found.expected_gain)?;
    out.set_item("p_best", found.p_best.to_pyarray(py))?;
    out.set_item("signal", found.signal)?;
    out.set_item("draws", found.draws)?;
    Ok(out)
}
