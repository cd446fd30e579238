//! Ranking and `SharpeRatio@k`: `counterfolio_core::top_k` for numpy arrays.

use counterfolio_core::assessment::{BY_K, SINGLE, Truth};
use counterfolio_core::top_k::{self as core, Noise, Options, Safety, Ties};
use numpy::{IntoPyArray, PyArray1, PyArrayMethods, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::enter::{alone, enter, to_pyerr};

fn ties_named(name: &str) -> PyResult<Ties> {
    name.parse().map_err(to_pyerr)
}

/// The positions of `estimated`, highest first, NaN last in the order given.
#[pyfunction]
pub(crate) fn rank<'py>(
    py: Python<'py>,
    estimated: &Bound<'py, PyArray1<f64>>,
    ties: &str,
) -> PyResult<Bound<'py, PyArray1<i64>>> {
    let estimated = estimated.try_readonly()?;
    let order = core::rank(estimated.as_slice()?, ties_named(ties)?);
    let order: Vec<i64> = order.into_iter().map(|position| position as i64).collect();
    Ok(order.into_pyarray(py))
}

/// The options of one call.
fn options_of(
    ddof: u8,
    ties: &str,
    safety_threshold: Option<f64>,
    relative_safety: Option<f64>,
) -> PyResult<Options> {
    let threshold = safety_threshold.map(Safety::Threshold);
    Ok(Options {
        ddof,
        ties: ties_named(ties)?,
        safety: threshold.or(relative_safety.map(Safety::Relative)),
        ..Options::default()
    })
}

/// Every metric of estimates (one row) that are ranked by scores: those of the ranking as a whole, then those
/// of each k. Or, over replicates (rows, undefined ones left out), `quantiles`: of some of these metrics, for
/// some probabilities. `difference_errors`, row by row, are the squared standard errors of the differences of true
/// values, where their errors are not independent.
#[pyfunction]
#[pyo3(signature = (estimates, scores, truth, squared_errors, behavior_value, *, ddof, ties,
                    safety_threshold, relative_safety, quantiles, num_threads,
                    difference_errors=None))]
#[expect(clippy::too_many_arguments, reason = "keywords in Python")]
pub(crate) fn assess<'py>(
    py: Python<'py>,
    estimates: PyReadonlyArray1<'py, f64>,
    scores: PyReadonlyArray1<'py, f64>,
    truth: PyReadonlyArray1<'py, f64>,
    squared_errors: PyReadonlyArray1<'py, f64>,
    behavior_value: f64,
    ddof: u8,
    ties: &str,
    safety_threshold: Option<f64>,
    relative_safety: Option<f64>,
    quantiles: Option<(Vec<usize>, Vec<f64>)>,
    num_threads: usize,
    difference_errors: Option<PyReadonlyArray1<'py, f64>>,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let options = options_of(ddof, ties, safety_threshold, relative_safety)?;
    let (estimates, scores) = (estimates.as_slice()?, scores.as_slice()?);
    let differences = difference_errors
        .as_ref()
        .map(|x| x.as_slice())
        .transpose()?;
    let noise = Noise {
        squared_errors: squared_errors.as_slice()?,
        of_differences: differences,
    };
    let truth = Truth::new(truth.as_slice()?, noise, behavior_value, &options).map_err(to_pyerr)?;
    let found = match quantiles {
        None => alone(py, || truth.measure(estimates, scores))?,
        Some((metrics, p)) => {
            let blocks = estimates.len() / 64 + metrics.len();
            let size = estimates.len() * 16;
            enter(py, size, num_threads, blocks, None, |work| {
                truth.quantiles(estimates, scores, &metrics, &p, work)
            })?
        }
    };
    Ok(found.into_pyarray(py))
}

/// Names of the metrics of a ranking as a whole, and of those of each k, as `assess` orders them.
#[pyfunction]
pub(crate) fn metrics() -> (Vec<&'static str>, Vec<&'static str>) {
    (SINGLE.to_vec(), BY_K.to_vec())
}

/// What the top k hold, for all k: a dict of arrays, entry i for k = i + 1.
///
/// At most one of `safety_threshold` and `relative_safety` is looked at, the first;
/// `safety_violation_rate` is None without either. `scope_rl` sets SCOPE-RL's conventions.
#[pyfunction]
#[pyo3(signature = (estimated, truth, behavior_value, *, ddof, ties, safety_threshold=None,
                    relative_safety=None, clip=None, scope_rl=false))]
#[expect(clippy::too_many_arguments, reason = "keywords in Python")]
pub(crate) fn top_k<'py>(
    py: Python<'py>,
    estimated: &Bound<'py, PyArray1<f64>>,
    truth: &Bound<'py, PyArray1<f64>>,
    behavior_value: f64,
    ddof: u8,
    ties: &str,
    safety_threshold: Option<f64>,
    relative_safety: Option<f64>,
    clip: Option<f64>,
    scope_rl: bool,
) -> PyResult<Bound<'py, PyDict>> {
    let mut options = Options {
        clip,
        ..options_of(ddof, ties, safety_threshold, relative_safety)?
    };
    if scope_rl {
        options = options.scope_rl().map_err(to_pyerr)?;
    }
    let (estimated, truth) = (estimated.try_readonly()?, truth.try_readonly()?);
    let (estimated, truth) = (estimated.as_slice()?, truth.as_slice()?);
    // Averages over many ties take a while.
    let result = alone(py, || {
        core::top_k(estimated, truth, behavior_value, &options)
    })?
    .map_err(to_pyerr)?;

    let columns = PyDict::new(py);
    columns.set_item("best", result.best.into_pyarray(py))?;
    columns.set_item("worst", result.worst.into_pyarray(py))?;
    columns.set_item("mean", result.mean.into_pyarray(py))?;
    columns.set_item("std", result.std.into_pyarray(py))?;
    columns.set_item("kth", result.kth.into_pyarray(py))?;
    let violations = result.safety_violation_rate;
    columns.set_item(
        "safety_violation_rate",
        violations.map(|rate| rate.into_pyarray(py)),
    )?;
    columns.set_item("sharpe_ratio", result.sharpe_ratio.into_pyarray(py))?;
    Ok(columns)
}
