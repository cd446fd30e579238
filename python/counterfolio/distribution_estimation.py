"""`evaluate_distribution`: the distribution of the return under every policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio import _core
from counterfolio.distribution import Distribution
from counterfolio.distribution_bounds import check_limits
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.progress import progress
from counterfolio.return_statistics import check_returns
from counterfolio.task import check_task
from counterfolio.uncertainty import check_range, check_uncertainty

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from counterfolio.estimators import Estimator
    from counterfolio.log import LoggedData


def evaluate_distribution(
    log: LoggedData,
    policies: Mapping[str, object],
    estimators: Sequence[str | Estimator] | None = None,
    *,
    gamma: float = 1.0,
    grid: Any = None,
    confidence_level: float = 0.95,
    n_resamples: int = 0,
    resampling: Literal["poisson", "multinomial"] | None = None,
    pointwise: bool = False,
    value_range: tuple[float, float] | None = None,
    seed: int | None = None,
    num_threads: int | None = None,
) -> Distribution:
    """Estimate how the return is distributed under each policy, from the log alone.

    Parameters
    ----------
    log, policies
        As for `evaluate`. Where a policy comes with v, the doubly robust estimators use v_0.
    estimators
        Of cd_dm, cd_tis, cd_sntis, cd_tdr, cd_sntdr. Default: cd_sntis, and cd_sntdr where every
        policy has v.
    gamma
        Discount factor in (0, 1].
    grid
        Values at which `.cdf` gives F. Default: wherever it steps. Statistics do not hang on it.
    confidence_level
        Of bands and intervals.
    n_resamples
        Replicates of the joint bootstrap, the draws of `evaluate` with the same seed. They give the
        band for all x together and the intervals of statistics. Default: 0, for intervals by
        standard errors.
    resampling
        As in `evaluate`.
    pointwise
        Bands that hold for each x by itself, by standard errors.
    value_range
        (low, high) of a return, which you vouch for: `bounds` of means and CVaR need it.
    seed
        As in `evaluate`.
    num_threads
        As in `evaluate`.

    Returns
    -------
    Distribution

    Raises
    ------
    InvalidPolicyError
        If an input is missing.
    InvalidLogError
        If the log has no propensities.
    InvalidArgumentError
        If an argument is out of its range, a value lies outside the range that was vouched for, or
        pointwise bands are asked for with clusters.

    Notes
    -----
    Weights are those of whole episodes, as of tis and sntis: over many steps they fail as these do.
    F is shown cut to [0, 1] and made monotone. Huang et al. 2021, 2022; Chandak et al. 2021;
    docs/distribution.md.
    """
    task = check_task(
        "evaluate_distribution",
        log,
        policies,
        estimators,
        gamma=gamma,
        num_threads=num_threads,
        distribution=True,
    )
    log = task.log
    if pointwise not in (True, False):
        text = f"pointwise must be True or False, not {pointwise!r}"
        raise InvalidArgumentError(text)
    if pointwise and log.clusters is not None:
        text = (
            "pointwise bands take episodes as independent, and this log has clusters; pass "
            "n_resamples=1000 for a band that knows of them"
        )
        raise InvalidArgumentError(text)
    options = check_uncertainty(
        log,
        [],
        interval="bootstrap" if n_resamples else "normal",
        confidence_level=confidence_level,
        alternative="two-sided",
        n_resamples=n_resamples,
        method="percentile",
        resampling=resampling,
        value_range=None,
        return_range=None,
        weight_range=None,
        return_min=None,
        seed=seed,
    )
    limits = None if value_range is None else check_range("value_range", value_range)
    points = None if grid is None else np.unique(check_returns("grid", grid)).tolist()
    with progress("evaluating distributions") as report:
        core = _core.Distribution(
            log.for_core, task.inputs, task.labels, task.gamma, task.threads, report
        )
    settings = {
        **task.settings(),
        **options.settings(),
        "grid": points,
        "pointwise": bool(pointwise),
    }
    distribution = Distribution(settings, core, task)
    if limits is None:
        return distribution
    settings["value_range"] = list(check_limits(distribution, limits))
    return distribution
