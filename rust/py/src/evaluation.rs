//! Evaluation, intervals and the registry.

use counterfolio_core::estimate::Estimate;
use counterfolio_core::evaluate::{Errors, evaluate as run};
use counterfolio_core::form::Form;
use counterfolio_core::interval::{Alternative, Reference};
use counterfolio_core::registry::REGISTRY;
use counterfolio_core::sums::BLOCK;
use numpy::{PyArray1, ToPyArray};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::enter::enter;
use crate::exceptions::invalid_argument;
use crate::inputs::{
    ClusterInput, EstimatorInput, LogInput, PolicyInput, clusters_of, estimators_of, log_of,
    policies_of,
};

/// The rows of the result as columns; the behavior policy's row is last.
fn table<'py>(
    py: Python<'py>,
    rows: &[Estimate],
    variances: &[f64],
) -> PyResult<Bound<'py, PyDict>> {
    let column = |f: &dyn Fn(&Estimate) -> f64| -> Bound<'py, PyArray1<f64>> {
        rows.iter().map(f).collect::<Vec<_>>().to_pyarray(py)
    };
    let out = PyDict::new(py);
    out.set_item("value", column(&|r| r.value))?;
    out.set_item("standard_error", column(&|r| r.standard_error))?;
    let optional = |f: &dyn Fn(&Estimate) -> Option<f64>| rows.iter().map(f).collect::<Vec<_>>();
    out.set_item(
        "effective_sample_size",
        optional(&|r| r.effective_sample_size),
    )?;
    out.set_item("max_weight_share", optional(&|r| r.max_weight_share))?;
    let notes: Vec<_> = rows.iter().map(|r| r.note.as_deref()).collect();
    out.set_item("note", notes)?;
    out.set_item("variances", variances.to_pyarray(py))?;
    Ok(out)
}

/// Evaluates every policy with every estimator (canonical names).
#[pyfunction]
#[expect(
    clippy::too_many_arguments,
    reason = "the Python side passes them by name"
)]
pub(crate) fn evaluate<'py>(
    py: Python<'py>,
    log: LogInput<'py>,
    policies: Vec<PolicyInput<'py>>,
    estimators: Vec<EstimatorInput>,
    gamma: f64,
    clusters: Option<ClusterInput<'py>>,
    accelerations: bool,
    asymptotic: bool,
    num_threads: usize,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let estimators = estimators_of(&estimators)?;
    let log = log_of(&log)?;
    let policies = policies_of(&policies, &log)?;
    let errors = Errors {
        clusters: clusters_of(clusters.as_ref(), log.episodes.len())?,
        accelerations,
        asymptotic,
    };
    let found = enter(
        py,
        log.reward.len() * policies.len(),
        num_threads,
        2 * log.episodes.len().div_ceil(BLOCK),
        progress.as_ref(),
        |work| run(&log, &policies, &estimators, gamma, errors, work),
    )?;
    let mut estimates = found.estimates;
    estimates.push(found.behavior);
    let out = table(py, &estimates, &found.variances)?;
    out.set_item("accelerations", found.accelerations.to_pyarray(py))?;
    Ok(out)
}

pub(crate) fn side_named(alternative: &str) -> PyResult<Alternative> {
    match alternative {
        "two-sided" => Ok(Alternative::TwoSided),
        "greater" => Ok(Alternative::Greater),
        "less" => Ok(Alternative::Less),
        other => Err(invalid_argument(format!("no alternative \"{other}\""))),
    }
}

fn reference_named(interval: &str, degrees: f64) -> PyResult<Reference> {
    match interval {
        "normal" => Ok(Reference::Normal),
        "t" => Ok(Reference::T(degrees)),
        other => Err(invalid_argument(format!("no interval \"{other}\""))),
    }
}

/// Lower and upper bounds of values with standard errors.
#[pyfunction]
pub(crate) fn intervals(
    values: Vec<f64>,
    standard_errors: Vec<f64>,
    interval: &str,
    degrees: f64,
    confidence_level: f64,
    alternative: &str,
) -> PyResult<(Vec<f64>, Vec<f64>)> {
    let reference = reference_named(interval, degrees)?;
    let alternative = side_named(alternative)?;
    Ok(values
        .iter()
        .zip(&standard_errors)
        .map(|(&value, &error)| reference.interval(value, error, confidence_level, alternative))
        .unzip())
}

/// Distribution function that an interval refers to.
#[pyfunction]
pub(crate) fn cdf(x: f64, interval: &str, degrees: f64) -> PyResult<f64> {
    Ok(reference_named(interval, degrees)?.cdf(x))
}

/// The table of estimators, a dict to each.
#[pyfunction]
pub(crate) fn registry(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    REGISTRY
        .iter()
        .map(|entry| {
            let row = PyDict::new(py);
            row.set_item("name", entry.name)?;
            row.set_item("aliases", entry.aliases)?;
            row.set_item("title", entry.title)?;
            row.set_item("family", entry.family)?;
            row.set_item("form", entry.form.map(Form::name))?;
            row.set_item("ratio", entry.ratio.name())?;
            row.set_item("needs", entry.needs)?;
            row.set_item("options", entry.options)?;
            row.set_item("required", entry.required)?;
            row.set_item("one_step", entry.one_step)?;
            row.set_item("source", entry.source)?;
            Ok(row)
        })
        .collect()
}
