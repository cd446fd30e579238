//! Distributions of the return, held between calls.

use std::sync::Arc;

use counterfolio_core::distribution::doubts::too_skewed;
use counterfolio_core::distribution::influence::{
    error_by, influence, pointwise_squares, quantile_interval, units,
};
use counterfolio_core::distribution::replicates::{Curve, replicates};
use counterfolio_core::distribution::statistics::{Statistic, Steps, bounds};
use counterfolio_core::distribution::{Points, Shape, Terms, monotone, place, terms};
use counterfolio_core::episode::Episodes;
use counterfolio_core::resample::{OCTET, Resample};
use counterfolio_core::sums::BLOCK;
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1, ToPyArray};
use pyo3::prelude::*;

use crate::enter::{alone, enter};
use crate::exceptions::{internal, invalid_argument};
use crate::inputs::{
    ClusterInput, IdInput, LogInput, PolicyInput, clusters_of, ids_of, log_of, policies_of,
};
use crate::resampling::{ResamplingInput, check_room};

type Values<'py> = Bound<'py, PyArray1<f64>>;
/// Values, standard errors and doubts.
type Statistics<'py> = (Values<'py>, Values<'py>, Vec<Option<String>>);
/// A statistic by name, at a level.
type StatisticInput = (String, f64);

/// One estimator of one policy.
struct Own {
    policy: usize,
    shape: Shape,
    points: Arc<Points>,
    /// F as shown.
    shown: Vec<f64>,
    /// F whose statistics are taken.
    taken: Vec<f64>,
}

/// The distributions of some policies by some estimators, and last the behavior policy's own.
#[pyclass(frozen, module = "counterfolio._core", name = "Distribution")]
pub(crate) struct PyDistribution {
    returned: Vec<f64>,
    /// By policy, the behavior policy's last.
    terms: Vec<Terms>,
    curves: Vec<Own>,
}

fn shape_of(name: &str) -> PyResult<Shape> {
    Shape::named(name).ok_or_else(|| invalid_argument(format!("no distribution \"{name}\"")))
}

fn statistics_of(inputs: &[StatisticInput]) -> PyResult<Vec<Statistic>> {
    let named = |(name, alpha): &StatisticInput| {
        Statistic::named(name, *alpha)
            .ok_or_else(|| invalid_argument(format!("no statistic \"{name}\"")))
    };
    inputs.iter().map(named).collect()
}

impl Own {
    fn new(policy: usize, shape: Shape, points: Arc<Points>, terms: &Terms) -> Self {
        let curve = |shape: Shape| {
            let mut f = points.curve(shape, terms, |_| 1.0);
            monotone(&mut f);
            f
        };
        Self {
            policy,
            shape,
            shown: curve(shape),
            taken: curve(shape.of_statistics()),
            points,
        }
    }

    fn steps(&self) -> Steps<'_> {
        Steps {
            x: &self.points.x,
            f: &self.taken,
        }
    }
}

impl PyDistribution {
    fn own(&self, i: usize) -> PyResult<(&Own, &Terms)> {
        let own = self
            .curves
            .get(i)
            .ok_or_else(|| internal("no such curve"))?;
        Ok((own, &self.terms[own.policy]))
    }
}

#[pymethods]
impl PyDistribution {
    /// Of every policy by every estimator (canonical names).
    #[new]
    fn new(
        py: Python<'_>,
        log: LogInput<'_>,
        policies: Vec<PolicyInput<'_>>,
        estimators: Vec<String>,
        gamma: f64,
        num_threads: usize,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let shapes: Vec<Shape> = estimators
            .iter()
            .map(|e| shape_of(e))
            .collect::<PyResult<_>>()?;
        let log = log_of(&log)?;
        let policies = policies_of(&policies, &log)?;
        let n = log.episodes.len();
        let blocks = policies.len() * n.div_ceil(BLOCK);
        let size = log.reward.len() * policies.len();
        enter(py, size, num_threads, blocks, progress.as_ref(), |work| {
            let (mut all, mut returned) = (Vec::new(), Vec::new());
            for policy in &policies {
                let (own, g) = terms(&log, policy, &shapes, gamma, work)?;
                all.push(own);
                returned = g;
            }
            all.push(Terms::behavior(n));
            let plain = Shape {
                weighted: true,
                modelled: false,
                normalised: true,
            };
            let seen = Arc::new(Points::new(plain, &returned, &[]));
            let mut curves = Vec::new();
            for (policy, terms) in all[..policies.len()].iter().enumerate() {
                let mut kept: Vec<(Shape, Arc<Points>)> = Vec::new();
                for &shape in &shapes {
                    work.check()?;
                    let alike =
                        |a: Shape| (a.weighted, a.modelled) == (shape.weighted, shape.modelled);
                    let known = kept.iter().find(|(a, _)| alike(*a)).map(|(_, p)| p.clone());
                    let points = match known {
                        _ if !shape.modelled => seen.clone(),
                        Some(points) => points,
                        None => Arc::new(Points::new(shape, &returned, &terms.v0)),
                    };
                    kept.push((shape, points.clone()));
                    curves.push(Own::new(policy, shape, points, terms));
                }
            }
            let last = policies.len();
            curves.push(Own::new(last, plain, seen, &all[last]));
            Ok(Self {
                returned,
                terms: all,
                curves,
            })
        })
    }

    /// Values at which F of one curve steps, and F there.
    fn curve<'py>(&self, py: Python<'py>, i: usize) -> PyResult<(Values<'py>, Values<'py>)> {
        let (own, _) = self.own(i)?;
        let x = own.points.x.clone().into_pyarray(py);
        Ok((x, own.shown.clone().into_pyarray(py)))
    }

    /// F of one curve at some values, by the places of its steps; -1 before the first.
    fn places<'py>(
        &self,
        py: Python<'py>,
        i: usize,
        values: PyReadonlyArray1<'py, f64>,
    ) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let (own, _) = self.own(i)?;
        let at = |&x: &f64| place(&own.points.x, x).map_or(-1, |j| j as i64);
        let found: Vec<i64> = values.as_slice()?.iter().map(at).collect();
        Ok(found.into_pyarray(py))
    }

    /// G by episode.
    fn returned<'py>(&self, py: Python<'py>) -> Values<'py> {
        self.returned.to_pyarray(py)
    }

    /// Effective sample size and the largest share of the weights of one curve; `None` where it has none.
    fn weights(&self, i: usize) -> PyResult<(Option<f64>, Option<f64>)> {
        let (own, terms) = self.own(i)?;
        if !own.shape.weighted {
            return Ok((None, None));
        }
        let weights = terms.weights();
        Ok((Some(weights.effective_sample_size), weights.max_share))
    }

    /// Why the intervals of one curve are not to be leaned on; `clusters` is how many there are, if any.
    fn doubt(&self, py: Python<'_>, i: usize, clusters: Option<usize>) -> PyResult<Option<String>> {
        let (own, terms) = self.own(i)?;
        alone(py, || terms.doubt(own.shape, clusters))
    }

    /// The total mass of the weights of one curve, mean w.
    fn mass(&self, i: usize) -> PyResult<f64> {
        Ok(self.own(i)?.1.mass())
    }

    /// Standard errors of F at each of its steps; episodes are independent.
    fn pointwise<'py>(&self, py: Python<'py>, i: usize) -> PyResult<Values<'py>> {
        let (own, terms) = self.own(i)?;
        let n = self.returned.len() as f64;
        let found = alone(py, || {
            let mut squares = pointwise_squares(own.shape, terms, &own.points);
            for square in &mut squares {
                *square = (*square / (n * (n - 1.0))).sqrt();
            }
            squares
        })?;
        Ok(found.into_pyarray(py))
    }

    /// Values and standard errors of statistics, and whether there are too few episodes for them, curve by curve.
    fn statistics<'py>(
        &self,
        py: Python<'py>,
        statistics: Vec<StatisticInput>,
        clusters: Option<ClusterInput<'py>>,
    ) -> PyResult<Statistics<'py>> {
        let statistics = statistics_of(&statistics)?;
        let clusters = clusters_of(clusters.as_ref(), self.returned.len())?;
        let (of, count) = (clusters.map(|c| c.of), clusters.map_or(0, |c| c.count));
        let error = error_by(of, count);
        let (mut values, mut errors, mut doubts) = (Vec::new(), Vec::new(), Vec::new());
        alone(py, || {
            for own in &self.curves {
                let (steps, terms) = (own.steps(), &self.terms[own.policy]);
                for &statistic in &statistics {
                    let value = steps.of(statistic);
                    values.push(value);
                    if value.is_nan() {
                        errors.push(value);
                        doubts.push(None);
                        continue;
                    }
                    let psi = influence(own.shape, terms, &self.returned, steps, statistic, &error);
                    errors.push(error(&psi));
                    doubts.push(too_skewed(statistic, &units(&psi, of, count)));
                }
            }
        })?;
        Ok((values.into_pyarray(py), errors.into_pyarray(py), doubts))
    }

    /// Influence values of a statistic of one curve, by episode.
    fn influence<'py>(
        &self,
        py: Python<'py>,
        i: usize,
        statistic: StatisticInput,
        clusters: Option<ClusterInput<'py>>,
    ) -> PyResult<Values<'py>> {
        let statistic = statistics_of(&[statistic])?[0];
        let clusters = clusters_of(clusters.as_ref(), self.returned.len())?;
        let error = error_by(clusters.map(|c| c.of), clusters.map_or(0, |c| c.count));
        let (own, terms) = self.own(i)?;
        let psi = alone(py, || {
            influence(
                own.shape,
                terms,
                &self.returned,
                own.steps(),
                statistic,
                &error,
            )
        })?;
        Ok(psi.into_pyarray(py))
    }

    /// Woodruff's interval of the quantile of one curve, `z` standard errors of F to either side.
    fn quantile_interval(
        &self,
        py: Python<'_>,
        i: usize,
        alpha: f64,
        z: f64,
        clusters: Option<ClusterInput<'_>>,
    ) -> PyResult<(f64, f64)> {
        let clusters = clusters_of(clusters.as_ref(), self.returned.len())?;
        let error = error_by(clusters.map(|c| c.of), clusters.map_or(0, |c| c.count));
        let (own, terms) = self.own(i)?;
        alone(py, || {
            let level = (alpha, z);
            quantile_interval(own.shape, terms, &self.returned, own.steps(), level, &error)
        })
    }

    /// By replicate and curve the largest distance of F from F as shown, then the statistics.
    #[expect(
        clippy::too_many_arguments,
        reason = "the Python side passes them by name"
    )]
    fn replicates<'py>(
        &self,
        py: Python<'py>,
        log: LogInput<'py>,
        statistics: Vec<StatisticInput>,
        n_resamples: usize,
        seed: u64,
        resampling: ResamplingInput,
        ids: Option<IdInput<'py>>,
        clusters: Option<ClusterInput<'py>>,
        num_threads: usize,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Values<'py>> {
        let statistics = statistics_of(&statistics)?;
        let log = log_of(&log)?;
        let episodes: &Episodes = log.episodes;
        let n = episodes.len();
        let resample = Resample {
            replicates: n_resamples,
            seed,
            resampling: resampling.resampling()?,
            ids: ids_of(ids.as_ref(), n)?,
            clusters: clusters_of(clusters.as_ref(), n)?,
        };
        check_room(
            &[n_resamples, self.curves.len(), statistics.len() + 1],
            size_of::<f64>(),
        )?;
        let curves: Vec<Curve> = self
            .curves
            .iter()
            .map(|own| Curve {
                shape: own.shape,
                terms: &self.terms[own.policy],
                points: &own.points,
                shown: &own.shown,
            })
            .collect();
        let size = n.saturating_mul(n_resamples * curves.len());
        let blocks = n_resamples.div_ceil(OCTET);
        let found = enter(py, size, num_threads, blocks, progress.as_ref(), |work| {
            replicates(&curves, &statistics, episodes, &resample, work)
        })?;
        Ok(found.into_pyarray(py))
    }
}

/// A statistic of some returns of equal weight, and its influence values.
fn statistic_and_influence(
    py: Python<'_>,
    returns: &[f64],
    statistic: StatisticInput,
) -> PyResult<(f64, Vec<f64>)> {
    let statistic = statistics_of(&[statistic])?[0];
    let shape = shape_of("cd_sntis")?;
    alone(py, || {
        let terms = Terms::behavior(returns.len());
        let points = Arc::new(Points::new(shape, returns, &[]));
        let own = Own::new(0, shape, points, &terms);
        let error = error_by(None, 0);
        let psi = influence(shape, &terms, returns, own.steps(), statistic, &error);
        (own.steps().of(statistic), psi)
    })
}

/// A statistic of some returns of equal weight, and its standard error.
#[pyfunction]
pub(crate) fn return_statistic(
    py: Python<'_>,
    returns: PyReadonlyArray1<'_, f64>,
    statistic: StatisticInput,
) -> PyResult<(f64, f64)> {
    let (value, psi) = statistic_and_influence(py, returns.as_slice()?, statistic)?;
    Ok((value, error_by(None, 0)(&psi)))
}

/// Influence values of a statistic of some returns of equal weight: what each adds, as their mean moves.
#[pyfunction]
pub(crate) fn return_influence<'py>(
    py: Python<'py>,
    returns: PyReadonlyArray1<'py, f64>,
    statistic: StatisticInput,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let (_, psi) = statistic_and_influence(py, returns.as_slice()?, statistic)?;
    Ok(psi.into_pyarray(py))
}

/// The least and the largest values of statistics among all distributions within a band.
#[pyfunction]
pub(crate) fn band_bounds<'py>(
    py: Python<'py>,
    x: PyReadonlyArray1<'py, f64>,
    floor: PyReadonlyArray1<'py, f64>,
    ceiling: PyReadonlyArray1<'py, f64>,
    left: f64,
    value_range: (f64, f64),
    statistics: Vec<StatisticInput>,
) -> PyResult<(Values<'py>, Values<'py>)> {
    let statistics = statistics_of(&statistics)?;
    let (x, floor, ceiling) = (x.as_slice()?, floor.as_slice()?, ceiling.as_slice()?);
    let (low, high): (Vec<f64>, Vec<f64>) = alone(py, || {
        let of = |&s: &Statistic| bounds(x, (floor, ceiling), left, value_range, s);
        statistics.iter().map(of).unzip()
    })?;
    Ok((low.into_pyarray(py), high.into_pyarray(py)))
}
