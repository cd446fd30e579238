//! `counterfolio._core`: the Arrow door in, the GIL door out, thin functions between.

#![allow(
    clippy::needless_pass_by_value,
    reason = "pyo3 hands arguments over by value"
)]

mod arrow;
mod bounds;
mod delta;
mod diagnostics;
mod distribution;
mod enter;
mod evaluation;
mod exceptions;
mod inputs;
mod kernel;
mod log;
mod models;
mod resampling;
mod selection;
mod simulation;

/// The compiled core of counterfolio.
#[pyo3::pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use crate::arrow::{PyColumn, read_column, read_table};
    #[pymodule_export]
    use crate::bounds::{bounded_mean, episode_terms, hcope, weighted_mean};
    #[pymodule_export]
    use crate::delta::delta;
    #[pymodule_export]
    use crate::diagnostics::diagnose;
    #[pymodule_export]
    use crate::distribution::{PyDistribution, band_bounds, return_influence, return_statistic};
    #[pymodule_export]
    use crate::evaluation::{cdf, evaluate, intervals, registry};
    #[pymodule_export]
    use crate::kernel::{kernel_density, kernels};
    #[pymodule_export]
    use crate::log::{
        PyEpisodes, check_column, check_present, mixture_propensities, summarise_column,
    };
    #[pymodule_export]
    use crate::models::{fold_keys, product_sums};
    #[pymodule_export]
    use crate::resampling::{
        bootstrap, bootstrap_intervals, hash_text, predict_sharpe_ratio, rank_counts,
        resample_weights,
    };
    #[pymodule_export]
    use crate::selection::{assess, metrics, rank, top_k};
    #[pymodule_export]
    use crate::simulation::{episode_draws, hold_auctions};
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        // Set for wheels built without optimisation, which the package warns about.
        module.add("DEBUG_BUILD", cfg!(debug_assertions))?;
        let limit = counterfolio_core::estimate::TRUSTED_ACCELERATION;
        module.add("TRUSTED_ACCELERATION", limit)?;
        crate::exceptions::register(module)
    }
}
