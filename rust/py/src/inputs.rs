//! A log and its policies as Python hands them over.

use counterfolio_core::estimator::Estimator;
use counterfolio_core::resample::{Clusters, Ids};
use counterfolio_core::tiles::{Input, Log, Policy};
use counterfolio_core::weighting::Transform;
use numpy::{PyReadonlyArray1, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::arrow::PyColumn;
use crate::exceptions::{internal, invalid_argument, invalid_policy};
use crate::log::{PyEpisodes, numbers};

/// Episodes, reward, propensity, and whether propensities are densities.
pub(crate) type LogInput<'py> = (
    PyRef<'py, PyEpisodes>,
    PyRef<'py, PyColumn>,
    Option<PyRef<'py, PyColumn>>,
    bool,
);

/// Name of a policy, its columns prob, q, v, state_ratio and state_action_ratio, and whether these ratios
/// are of visits over all steps.
pub(crate) type PolicyInput<'py> = (
    String,
    Option<PyRef<'py, PyColumn>>,
    Option<PyRef<'py, PyColumn>>,
    Option<PyRef<'py, PyColumn>>,
    Option<PyRef<'py, PyColumn>>,
    Option<PyRef<'py, PyColumn>>,
    bool,
);

/// Canonical name of an estimator, its `n_step`, its transform with the parameter, and whether that is
/// applied to the ratio of each step.
pub(crate) type EstimatorInput = (String, usize, Option<(String, f64)>, bool);

/// The number of each episode's cluster, and how many clusters there are.
pub(crate) type ClusterInput<'py> = (PyReadonlyArray1<'py, u32>, usize);

/// What names episodes in random draws: nothing, integers by row, or hashes by episode.
#[derive(FromPyObject)]
pub(crate) enum IdInput<'py> {
    #[pyo3(transparent)]
    Column(PyRef<'py, PyColumn>),
    #[pyo3(transparent)]
    Hashes(PyReadonlyArray1<'py, u64>),
}

pub(crate) fn log_of<'a>(input: &'a LogInput) -> PyResult<Log<'a>> {
    let (episodes, reward, propensity, density) = input;
    let propensity = propensity.as_ref();
    Ok(Log {
        episodes: &episodes.0,
        reward: numbers(reward, "reward")?,
        propensity: propensity.map(|c| numbers(c, "propensity")).transpose()?,
        density: *density,
    })
}

pub(crate) fn policies_of<'a>(input: &'a [PolicyInput], log: &Log) -> PyResult<Vec<Policy<'a>>> {
    let rows = log.reward.len();
    let policy = |(name, prob, q, v, state, both, occupancy): &'a PolicyInput| {
        Ok(Policy {
            prob: column_of(name, prob.as_ref(), rows)?,
            q: column_of(name, q.as_ref(), rows)?,
            v: column_of(name, v.as_ref(), rows)?,
            state_ratio: column_of(name, state.as_ref(), rows)?,
            state_action_ratio: column_of(name, both.as_ref(), rows)?,
            occupancy: *occupancy,
        })
    };
    input.iter().map(policy).collect()
}

fn column_of<'a>(
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

pub(crate) fn estimator_of(input: &EstimatorInput) -> PyResult<Estimator> {
    let (name, n_step, transform, per_step) = input;
    let mut found = Estimator::named(name)
        .ok_or_else(|| invalid_argument(format!("no estimator \"{name}\"")))?
        .stepped(*n_step);
    if let Some((transform, parameter)) = transform {
        let transform = Transform::from_name(transform, *parameter)
            .ok_or_else(|| invalid_argument(format!("no transform \"{transform}\"")))?;
        found = found.transformed(transform);
    }
    found.weighting.per_step = *per_step;
    Ok(found)
}

pub(crate) fn estimators_of(inputs: &[EstimatorInput]) -> PyResult<Vec<Estimator>> {
    inputs.iter().map(estimator_of).collect()
}

pub(crate) fn clusters_of<'a>(
    input: Option<&'a ClusterInput>,
    episodes: usize,
) -> PyResult<Option<Clusters<'a>>> {
    let Some((of, count)) = input else {
        return Ok(None);
    };
    if of.len() != episodes || of.as_slice()?.iter().any(|&c| c as usize >= *count) {
        return Err(internal("clusters do not fit the episodes"));
    }
    Ok(Some(Clusters {
        of: of.as_slice()?,
        count: *count,
    }))
}

pub(crate) fn ids_of<'a>(input: Option<&'a IdInput>, episodes: usize) -> PyResult<Ids<'a>> {
    Ok(match input {
        None => Ids::Rows,
        Some(IdInput::Column(column)) => {
            Ids::Integers(column.ordinals("ids").map_err(|text| internal(&text))?)
        }
        Some(IdInput::Hashes(hashes)) if hashes.len() == episodes => {
            Ids::Hashes(hashes.as_slice()?)
        }
        Some(IdInput::Hashes(_)) => return Err(internal("hashes do not fit the episodes")),
    })
}
