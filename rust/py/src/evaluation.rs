//! Evaluation, intervals and the registry.

use counterfolio_core::estimate::Estimate;
use counterfolio_core::evaluate::evaluate as run;
use counterfolio_core::interval::{Alternative, Reference, normal_cdf as cdf};
use counterfolio_core::registry::{Estimator, REGISTRY};
use counterfolio_core::sums::BLOCK;
use counterfolio_core::tiles::{Input, Log, Policy};
use numpy::{PyArray1, ToPyArray};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrow::PyColumn;
use crate::enter::enter;
use crate::exceptions::{invalid_argument, invalid_policy};
use crate::log::{PyEpisodes, numbers};

/// Name of a policy and its columns prob, q and v.
type PolicyInput<'py> = (
    String,
    Option<PyRef<'py, PyColumn>>,
    Option<PyRef<'py, PyColumn>>,
    Option<PyRef<'py, PyColumn>>,
);

pub(crate) fn input<'a>(
    policy: &str,
    column: Option<&'a PyRef<'_, PyColumn>>,
    rows: usize,
) -> PyResult<Option<Input<'a>>> {
    let Some(column) = column else {
        return Ok(None);
    };
    let label = format!("policy \"{policy}\": column \"{}\"", column.field_name());
    let column = column.numbers(&label).map_err(|text| {
        // The likeliest slip of a beginner: the candidate's own actions.
        let hint = "pass a column of numbers";
        invalid_policy(text.replace(
            hint,
            "wanted is how likely the policy was to take the action that was logged, a number a row",
        ))
    })?;
    if column.len() != rows {
        return Err(invalid_policy(format!(
            "{label} has {} rows, but the log has {rows}; pass one value for each logged row",
            column.len()
        )));
    }
    Ok(Some(Input { label, column }))
}

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
    episodes: &PyEpisodes,
    reward: &PyColumn,
    propensity: Option<&PyColumn>,
    density: bool,
    policies: Vec<PolicyInput<'py>>,
    estimators: Vec<String>,
    gamma: f64,
    num_threads: usize,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let estimators = estimators
        .iter()
        .map(|name| {
            Estimator::from_name(name)
                .ok_or_else(|| invalid_argument(format!("no estimator \"{name}\"")))
        })
        .collect::<PyResult<Vec<_>>>()?;
    let log = Log {
        episodes: &episodes.0,
        reward: numbers(reward, "reward")?,
        propensity: propensity.map(|c| numbers(c, "propensity")).transpose()?,
        density,
    };
    let rows = log.reward.len();
    let inputs = policies
        .iter()
        .map(|(name, prob, q, v)| {
            Ok(Policy {
                prob: input(name, prob.as_ref(), rows)?,
                q: input(name, q.as_ref(), rows)?,
                v: input(name, v.as_ref(), rows)?,
            })
        })
        .collect::<PyResult<Vec<_>>>()?;
    let found = enter(
        py,
        rows * inputs.len(),
        num_threads,
        2 * log.episodes.len().div_ceil(BLOCK),
        progress.as_ref(),
        |work| run(&log, &inputs, &estimators, gamma, work),
    )?;
    let mut estimates = found.estimates;
    estimates.push(found.behavior);
    table(py, &estimates, &found.variances)
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
    let reference = match interval {
        "normal" => Reference::Normal,
        "t" => Reference::T(degrees),
        other => return Err(invalid_argument(format!("no interval \"{other}\""))),
    };
    let alternative = match alternative {
        "two-sided" => Alternative::TwoSided,
        "greater" => Alternative::Greater,
        "less" => Alternative::Less,
        other => return Err(invalid_argument(format!("no alternative \"{other}\""))),
    };
    Ok(values
        .iter()
        .zip(&standard_errors)
        .map(|(&value, &error)| reference.interval(value, error, confidence_level, alternative))
        .unzip())
}

/// Standard normal distribution function.
#[pyfunction]
pub(crate) fn normal_cdf(x: f64) -> f64 {
    cdf(x)
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
            row.set_item("needs", entry.needs)?;
            row.set_item("source", entry.source)?;
            Ok(row)
        })
        .collect()
}
