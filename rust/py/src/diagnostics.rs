//! Diagnostics of one policy's weights.

use counterfolio_core::diagnostics::{StepDiagnosis, diagnose as run};
use counterfolio_core::final_weights::Bin;
use counterfolio_core::sums::BLOCK;
use counterfolio_core::tiles::{Log, Policy};
use numpy::{PyArray1, ToPyArray};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrow::PyColumn;
use crate::enter::enter;
use crate::evaluation::input;
use crate::log::{PyEpisodes, numbers};

/// Diagnoses the weights of the policy `name` with probabilities `prob`.
#[pyfunction]
#[expect(
    clippy::too_many_arguments,
    reason = "the Python side passes them by name"
)]
pub(crate) fn diagnose<'py>(
    py: Python<'py>,
    episodes: &PyEpisodes,
    reward: &PyColumn,
    propensity: &PyColumn,
    density: bool,
    name: &str,
    prob: PyRef<'py, PyColumn>,
    gamma: f64,
    num_threads: usize,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let log = Log {
        episodes: &episodes.0,
        reward: numbers(reward, "reward")?,
        propensity: Some(numbers(propensity, "propensity")?),
        density,
    };
    let rows = log.reward.len();
    let policy = Policy {
        prob: input(name, Some(&prob), rows)?,
        ..Policy::default()
    };
    let found = enter(
        py,
        rows,
        num_threads,
        2 * log.episodes.len().div_ceil(BLOCK),
        progress.as_ref(),
        |work| run(&log, &policy, gamma, work),
    )?;
    let out = PyDict::new(py);
    let step = |f: &dyn Fn(&StepDiagnosis) -> f64| -> Bound<'py, PyArray1<f64>> {
        found.steps.iter().map(f).collect::<Vec<_>>().to_pyarray(py)
    };
    out.set_item("n_episodes", step(&|s| s.episodes as f64))?;
    out.set_item("effective_sample_size", step(&|s| s.effective_sample_size))?;
    out.set_item("mean_weight", step(&|s| s.mean_weight))?;
    out.set_item("z", step(&|s| s.z))?;
    out.set_item("influence_share", step(&|s| s.influence_share))?;
    out.set_item("evidence", step(&|s| s.evidence))?;
    out.set_item("pareto_k", found.pareto_k)?;
    out.set_item("largest", found.largest)?;
    let bins = |f: &dyn Fn(&Bin) -> f64| found.histogram.iter().map(f).collect::<Vec<_>>();
    out.set_item("low", bins(&|b| b.low))?;
    out.set_item("high", bins(&|b| b.high))?;
    out.set_item("in_bin", bins(&|b| b.episodes as f64))?;
    Ok(out)
}
