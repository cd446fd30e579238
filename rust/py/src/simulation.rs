//! Simulated episodes: their random numbers, and the auctions of advertising campaigns.

use counterfolio_core::auctions::{Bids, Outcome, Prices, Source, Step, hold};
use counterfolio_core::streams::{Draws, Place, draw};
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;

use crate::enter::{alone, to_pyerr};
use crate::exceptions::invalid_argument;
use crate::resampling::check_room;

type Floats<'py> = PyReadonlyArray1<'py, f64>;

/// `width` numbers to each seed, row after row, each row at its own call.
#[pyfunction]
#[expect(
    clippy::too_many_arguments,
    reason = "the Python side passes them by name"
)]
pub(crate) fn episode_draws<'py>(
    py: Python<'py>,
    seeds: PyReadonlyArray1<'py, u64>,
    calls: PyReadonlyArray1<'py, u64>,
    step: u64,
    purpose: u64,
    width: usize,
    distribution: &str,
    shapes: Option<Floats<'py>>,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let (seeds, calls) = (seeds.as_slice()?, calls.as_slice()?);
    let shapes = shapes
        .as_ref()
        .map(PyReadonlyArray1::as_slice)
        .transpose()?;
    let draws = match (distribution, shapes) {
        ("uniform", None) => Draws::Uniform,
        ("normal", None) => Draws::Normal,
        ("gamma", Some(shapes)) => Draws::Gamma(shapes),
        _ => {
            let text = format!("no distribution \"{distribution}\" of these arguments");
            return Err(invalid_argument(text));
        }
    };
    check_room(&[seeds.len(), width], size_of::<f64>())?;
    let place = Place {
        step,
        purpose,
        call: 0,
    };
    let found = alone(py, || draw(seeds, calls, place, width, draws))?.map_err(to_pyerr)?;
    Ok(found.into_pyarray(py))
}

/// A probability by pair with its factor, or in every auction.
#[derive(FromPyObject)]
pub(crate) enum SourceInput<'py> {
    #[pyo3(transparent)]
    Table((Floats<'py>, f64)),
    #[pyo3(transparent)]
    Given(Floats<'py>),
}

impl SourceInput<'_> {
    fn source(&self) -> PyResult<Source<'_>> {
        Ok(match self {
            Self::Table((table, factor)) => Source::Table(table.as_slice()?, *factor),
            Self::Given(values) => Source::Given(values.as_slice()?),
        })
    }
}

/// Shapes and scales of prices by ad, or the price in every auction.
#[derive(FromPyObject)]
pub(crate) enum PricesInput<'py> {
    #[pyo3(transparent)]
    Gamma((Floats<'py>, Floats<'py>)),
    #[pyo3(transparent)]
    Given(Floats<'py>),
}

/// Impressions, clicks, conversions, what was spent and the sum of bids, of every campaign.
type Held<'py> = [Bound<'py, PyArray1<f64>>; 5];

/// The auctions of one step of every campaign.
#[pyfunction]
#[expect(
    clippy::too_many_arguments,
    reason = "the Python side passes them by name"
)]
pub(crate) fn hold_auctions<'py>(
    py: Python<'py>,
    seeds: PyReadonlyArray1<'py, u64>,
    volumes: PyReadonlyArray1<'py, i64>,
    budgets: Floats<'py>,
    step: u64,
    purposes: [u64; 4],
    width: usize,
    pairs: (usize, usize),
    click: SourceInput<'py>,
    conversion: SourceInput<'py>,
    prices: PricesInput<'py>,
    bids: (bool, Floats<'py>),
    objective: &str,
    charged: &str,
) -> PyResult<Held<'py>> {
    let outcome = |name: &str| {
        Outcome::from_name(name).ok_or_else(|| invalid_argument(format!("no outcome \"{name}\"")))
    };
    let step = Step {
        seeds: seeds.as_slice()?,
        volumes: volumes.as_slice()?,
        budgets: budgets.as_slice()?,
        step,
        purposes,
        width,
        users: pairs.1,
        pairs: pairs.0 * pairs.1,
        click: click.source()?,
        conversion: conversion.source()?,
        prices: match &prices {
            PricesInput::Gamma((shapes, scales)) => {
                Prices::Gamma(shapes.as_slice()?, scales.as_slice()?)
            }
            PricesInput::Given(values) => Prices::Given(values.as_slice()?),
        },
        bids: match &bids {
            (true, values) => Bids::Given(values.as_slice()?),
            (false, scales) => Bids::Value(scales.as_slice()?),
        },
        objective: outcome(objective)?,
        charged: outcome(charged)?,
    };
    let held = alone(py, || hold(&step))?.map_err(to_pyerr)?;
    let column = |take: fn(&counterfolio_core::auctions::Held) -> f64| {
        held.iter().map(take).collect::<Vec<_>>().into_pyarray(py)
    };
    Ok([
        column(|h| f64::from(h.impressions)),
        column(|h| f64::from(h.clicks)),
        column(|h| f64::from(h.conversions)),
        column(|h| h.spent),
        column(|h| h.bid),
    ])
}
