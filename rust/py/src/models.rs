//! What models are fitted with: sums of products, and keys that shuffle episodes into folds.

use counterfolio_core::gram::{Rows, product_sums as sums};
use counterfolio_core::random::{Purpose, philox};
use numpy::{
    IntoPyArray, PyArray1, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods, ToPyArray,
};
use pyo3::prelude::*;

use crate::enter::{alone, enter};
use crate::exceptions::internal;
use crate::inputs::{IdInput, ids_of};
use crate::log::PyEpisodes;

fn rows_of<'a>(array: &'a PyReadonlyArray2<f64>) -> PyResult<Rows<'a>> {
    let [_, width] = *array.shape() else {
        return Err(internal("two dimensions were asked for"));
    };
    if width == 0 {
        return Err(internal("no columns"));
    }
    Ok(Rows::new(array.as_slice()?, width))
}

/// sum of x\[i, j\] y\[i, l\] p\[i, c\] over the rows i of each group: flat, by group, j, l and c.
#[pyfunction]
pub(crate) fn product_sums<'py>(
    py: Python<'py>,
    x: PyReadonlyArray2<'py, f64>,
    y: PyReadonlyArray2<'py, f64>,
    p: PyReadonlyArray2<'py, f64>,
    groups: PyReadonlyArray1<'py, u32>,
    n_groups: usize,
    num_threads: usize,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let n = groups.len();
    if [&x, &y, &p].iter().any(|a| a.shape()[0] != n) {
        return Err(internal("arrays of different lengths"));
    }
    let groups = groups.as_slice()?;
    if groups.iter().any(|&group| group as usize >= n_groups) {
        return Err(internal("a group beyond the last"));
    }
    let columns = y.shape()[1] * p.shape()[1];
    let (x, y, p) = (rows_of(&x)?, rows_of(&y)?, rows_of(&p)?);
    let found = enter(py, n * columns, num_threads, columns, None, |work| {
        sums(x, y, p, groups, n_groups, work)
    })?;
    Ok(found.into_pyarray(py))
}

/// A number to each episode, drawn by its id and the seed alone: in their order episodes are shuffled.
#[pyfunction]
pub(crate) fn fold_keys<'py>(
    py: Python<'py>,
    episodes: &PyEpisodes,
    ids: Option<IdInput<'py>>,
    seed: u64,
    repeat: u64,
) -> PyResult<Bound<'py, PyArray1<u64>>> {
    let n = episodes.0.len();
    let ids = ids_of(ids.as_ref(), n)?;
    let keys = alone(py, || {
        let mut hashes = Vec::new();
        ids.hashes(&episodes.0, (0, n), &mut hashes);
        let key = |hash| philox([seed, 0], [hash, repeat, Purpose::Folds as u64, 0])[0];
        hashes.into_iter().map(key).collect::<Vec<_>>()
    })?;
    Ok(keys.to_pyarray(py))
}
