//! Diagnostics of one policy's weights.

use counterfolio_core::diagnostics::{StepDiagnosis, diagnose as run};
use counterfolio_core::final_weights::Bin;
use counterfolio_core::sums::BLOCK;
use numpy::{PyArray1, ToPyArray};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::enter::enter;
use crate::exceptions::internal;
use crate::inputs::{LogInput, PolicyInput, log_of, policies_of};

/// Diagnoses the weights of one policy.
#[pyfunction]
pub(crate) fn diagnose<'py>(
    py: Python<'py>,
    log: LogInput<'py>,
    policy: PolicyInput<'py>,
    gamma: f64,
    num_threads: usize,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let log = log_of(&log)?;
    let policies = [policy];
    let policy = policies_of(&policies, &log)?;
    let [policy] = &policy[..] else {
        return Err(internal("one policy was asked for"));
    };
    let found = enter(
        py,
        log.reward.len(),
        num_threads,
        2 * log.episodes.len().div_ceil(BLOCK),
        progress.as_ref(),
        |work| run(&log, policy, gamma, work),
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
