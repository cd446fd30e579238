//! Kernels about the actions of deterministic policies.

use counterfolio_core::kernel::{KERNELS, Kernel, densities};
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::enter::enter;
use crate::exceptions::{internal, invalid_argument};

/// Names of the kernels.
#[pyfunction]
pub(crate) fn kernels() -> Vec<&'static str> {
    KERNELS.iter().map(|(name, _)| *name).collect()
}

/// The density of each row's action about its centre; both of shape (n, d).
#[pyfunction]
pub(crate) fn kernel_density<'py>(
    py: Python<'py>,
    kernel: &str,
    actions: PyReadonlyArray2<'py, f64>,
    centres: PyReadonlyArray2<'py, f64>,
    bandwidths: Vec<f64>,
    bounds: Option<Vec<(f64, f64)>>,
    num_threads: usize,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let kernel = Kernel::from_name(kernel)
        .ok_or_else(|| invalid_argument(format!("no kernel \"{kernel}\"")))?;
    let d = bandwidths.len();
    let fits = actions.shape() == centres.shape()
        && actions.shape()[1] == d
        && bounds.as_ref().is_none_or(|b| b.len() == d);
    if !fits || d == 0 {
        return Err(internal("actions, centres and bandwidths do not fit"));
    }
    let (actions, centres) = (actions.as_slice()?, centres.as_slice()?);
    let bounds = bounds.as_deref();
    let found = enter(py, actions.len(), num_threads, 1, None, |work| {
        densities(kernel, actions, centres, &bandwidths, bounds, work)
    })?;
    Ok(found.into_pyarray(py))
}
