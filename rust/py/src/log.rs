//! Episodes and the checks of a log's columns.

use std::sync::Arc;

use counterfolio_core::check::{Rule, summarise};
use counterfolio_core::column::Column;
use counterfolio_core::episode::Episodes;
use counterfolio_core::mixture::propensities;
use numpy::{IntoPyArray, PyArray1, ToPyArray};
use pyo3::prelude::*;

use crate::arrow::PyColumn;
use crate::enter::{alone, enter};
use crate::exceptions::{internal, invalid_log, invalid_policy};

/// Where the episodes of a log begin and end.
#[pyclass(frozen, name = "Episodes", module = "counterfolio._core")]
pub(crate) struct PyEpisodes(pub(crate) Arc<Episodes>);

pub(crate) fn numbers<'a>(column: &'a PyColumn, label: &str) -> PyResult<Column<'a>> {
    column.numbers(label).map_err(invalid_log)
}

fn ordinals<'a>(column: &'a PyColumn, label: &str) -> PyResult<Column<'a>> {
    column.ordinals(label).map_err(invalid_log)
}

#[pymethods]
impl PyEpisodes {
    /// A bandit log: each row is an episode.
    #[staticmethod]
    fn each_row(rows: usize) -> Self {
        Self(Arc::new(Episodes::EachRow(rows)))
    }

    /// Runs of equal ids. `InvalidLogError` where an id comes back.
    #[staticmethod]
    fn from_ids(py: Python<'_>, ids: &PyColumn, label: &str) -> PyResult<Self> {
        let column = ordinals(ids, label)?;
        match alone(py, || Episodes::from_ids(&column))? {
            Some(Ok(episodes)) => Ok(Self(Arc::new(episodes))),
            Some(Err(back)) => Err(invalid_log(format!(
                "{label}: ids come back after their episode closed, {} in all, first at row {} (the \
                 id of the episode that began at row {}); sort the log by episode and timestep, or \
                 give every episode an id of its own",
                back.count, back.row, back.first_row
            ))),
            None => Err(invalid_log(format!(
                "{label} holds floating-point numbers, which cannot name episodes; cast it to \
                 integers or text"
            ))),
        }
    }

    /// An episode ends wherever a flag is set.
    #[staticmethod]
    fn from_ends(
        py: Python<'_>,
        rows: usize,
        flags: Vec<(String, PyRef<'_, PyColumn>)>,
    ) -> PyResult<Self> {
        let columns = flags
            .iter()
            .map(|(label, flag)| numbers(flag, label))
            .collect::<PyResult<Vec<_>>>()?;
        let episodes = alone(py, || Episodes::from_ends(rows, &columns))?;
        Ok(Self(Arc::new(episodes)))
    }

    /// Number of rows.
    #[getter]
    fn n_rows(&self) -> usize {
        self.0.rows(0, self.0.len()).end
    }

    /// Number of episodes.
    #[getter]
    fn n_episodes(&self) -> usize {
        self.0.len()
    }

    /// Number of steps of each episode.
    fn lengths<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let lengths: Vec<_> = alone(py, || {
            (0..self.0.len())
                .map(|i| self.0.length(i) as i64)
                .collect::<Vec<_>>()
        })?;
        Ok(lengths.to_pyarray(py))
    }

    /// Checks that timesteps increase within episodes; returns how many rows skip a step.
    fn check_timesteps(&self, py: Python<'_>, column: &PyColumn, label: &str) -> PyResult<usize> {
        let timestep = ordinals(column, label)?;
        if let Some(text) = alone(py, || Rule::Finite.violation(&timestep, label))? {
            return Err(invalid_log(text));
        }
        let found = alone(py, || self.0.check_timesteps(&timestep))?;
        if found.not_increasing > 0 {
            return Err(invalid_log(format!(
                "{label}: {} of {} timesteps repeat or run backwards within their episode, first \
                 at row {}; sort the log by episode and timestep and drop duplicated rows",
                found.not_increasing,
                timestep.len(),
                found.first_row
            )));
        }
        // Between instants there is no step to skip.
        Ok(if column.is_clock() { 0 } else { found.gaps })
    }

    /// Checks that a flag is set on the last row of episodes only; returns how many have it set.
    fn check_ends(&self, py: Python<'_>, column: &PyColumn, label: &str) -> PyResult<usize> {
        let flag = numbers(column, label)?;
        let (count, row) = alone(py, || self.0.ends_inside(&flag))?;
        if count > 0 {
            return Err(invalid_log(format!(
                "{label}: {count} rows end an episode that goes on, first at row {row}; give the \
                 rows after it an episode id of their own, or drop them"
            )));
        }
        alone(py, || self.0.flagged_last(&flag))
    }
}

/// Raises `InvalidLogError`, or for a policy's column `InvalidPolicyError`, unless every value
/// satisfies the rule.
#[pyfunction]
pub(crate) fn check_column(
    py: Python<'_>,
    column: &PyColumn,
    rule: &str,
    label: &str,
) -> PyResult<()> {
    let rule = match rule {
        "amount" => Rule::Amount,
        "propensity" => Rule::Propensity,
        "propensity density" => Rule::PropensityDensity,
        "logger propensity" => Rule::LoggerPropensity,
        "logger propensity density" => Rule::LoggerPropensityDensity,
        "probability" => Rule::Probability,
        "density" => Rule::Density,
        "flag" => Rule::Flag,
        other => return Err(internal(&format!("no rule {other}"))),
    };
    let numbers = numbers(column, label)?;
    match alone(py, || rule.violation(&numbers, label))? {
        Some(text) if matches!(rule, Rule::Probability | Rule::Density) => {
            Err(invalid_policy(text))
        }
        Some(text) => Err(invalid_log(text)),
        None => Ok(()),
    }
}

/// Raises `InvalidLogError` if a value of a column of any type is null (or NaN).
#[pyfunction]
pub(crate) fn check_present(column: &PyColumn, label: &str) -> PyResult<()> {
    column
        .missing(label)
        .map_or(Ok(()), |text| Err(invalid_log(text)))
}

/// (min, max, mean, std, ones, zeros) of a column of finite numbers.
#[pyfunction]
pub(crate) fn summarise_column(
    py: Python<'_>,
    column: &PyColumn,
    label: &str,
) -> PyResult<(f64, f64, f64, f64, usize, usize)> {
    let numbers = numbers(column, label)?;
    let s = alone(py, || summarise(&numbers))?;
    Ok((s.min, s.max, s.mean, s.std, s.ones, s.zeros))
}

/// Each row's propensity under the mixture of loggers, given the columns of all of them and their
/// shares of the episodes.
#[pyfunction]
pub(crate) fn mixture_propensities<'py>(
    py: Python<'py>,
    episodes: &PyEpisodes,
    loggers: Vec<(String, PyRef<'py, PyColumn>)>,
    shares: Vec<f64>,
    num_threads: usize,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let columns = loggers
        .iter()
        .map(|(label, column)| numbers(column, label))
        .collect::<PyResult<Vec<_>>>()?;
    let rows = episodes.n_rows();
    if columns.len() != shares.len() || columns.iter().any(|c| c.len() != rows) {
        return Err(internal("loggers do not fit the log"));
    }
    let found = enter(py, rows, num_threads, 1, None, |work| {
        propensities(&episodes.0, &columns, &shares, work)
    })?;
    Ok(found.into_pyarray(py))
}
