"""`evaluate_distribution`, and a statistic of distributions as an `Evaluation`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio import _core
from counterfolio.distribution import Distribution, check_returns, check_statistic
from counterfolio.evaluated import Evaluated
from counterfolio.evaluation import Evaluation
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.progress import progress
from counterfolio.task import check_task
from counterfolio.uncertainty import check_uncertainty

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from numpy.typing import NDArray

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
        If an argument is out of its range, or pointwise bands are asked for with clusters.

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
    return Distribution(settings, core, task)


def as_evaluation(
    distribution: Distribution,
    statistic: Literal["mean", "variance", "quantile", "cvar", "interquantile_range"] = "cvar",
    alpha: float | None = None,
) -> Evaluation:
    """Take one statistic of the distributions as the value of every policy.

    Everything that an `Evaluation` can do is then done with it: `ranking`, `contenders`, `compare`
    and `portfolio` by CVaR or a quantile, and `assess` against true ones (arrays of on-policy
    returns are brought to the same statistic).

    Parameters
    ----------
    distribution
        From `evaluate_distribution`; its replicates, if any, are the evaluation's.
    statistic, alpha
        As in `return_statistic`.

    Returns
    -------
    Evaluation

    Raises
    ------
    InvalidArgumentError
        If there is no such statistic, or its level is out of range.
    """
    asked = check_statistic(statistic, alpha)
    d, task = distribution, distribution._task
    n_policies, names = len(d.policies), d.estimators
    values, errors, ends = d._estimate([asked])
    replicates = behavior = None
    if d.settings["n_resamples"]:
        drawn = d._replicates([asked])[:, :, 1]
        shape = (len(drawn), n_policies, len(names))
        replicates, behavior = drawn[:, :-1].reshape(shape), drawn[:, -1]
    name, level = asked
    estimates = pl.DataFrame(
        {
            "policy": [p for p, _ in d.curves],
            "estimator": [e for _, e in d.curves],
            "value": values[:, 0],
            "standard_error": errors[:, 0],
            "ci_low": ends.low,
            "ci_high": ends.high,
            "effective_sample_size": pl.Series([None] * len(d.curves), dtype=pl.Float64),
            "max_weight_share": pl.Series([None] * len(d.curves), dtype=pl.Float64),
            "n_episodes": [d.settings["n_episodes"]] * len(d.curves),
            "note": pl.Series([d.note(i, v) for i, v in enumerate(values[:, 0])], dtype=pl.String),
        }
    )
    kept = {k: v for k, v in d.settings.items() if k not in ("grid", "pointwise")}
    return Evaluation(
        estimates=estimates,
        settings=kept | {"statistic": name, "alpha": level if alpha is not None else None},
        variances=_variances(d, asked),
        replicates=replicates,
        behavior_replicates=behavior,
        _source=Evaluated(task.log, task.policies, task.probs),
    )


def _variances(d: Distribution, asked: tuple[str, float]) -> NDArray[np.float64]:
    """Variances of the estimates, and of differences of two policies' off the diagonals."""
    clusters = d._task.log.clusters
    n, size, count = d.settings["n_episodes"], len(d.policies) + 1, len(d.estimators)
    last = len(d.curves) - 1

    def units(curve: int) -> NDArray[np.float64]:
        psi = d._core.influence(curve, asked, clusters)
        if clusters is None:
            return psi
        return np.bincount(clusters[0], psi, clusters[1]).astype(np.float64)

    found = np.full((count, size, size), np.nan)
    for e in range(count):
        psi = np.array([units(p * count + e) for p in range(size - 1)] + [units(last)])
        c = psi.shape[1]
        factor = c / (c - 1) / n**2 if c > 1 else np.nan
        for p in range(size):
            others = psi[p] - psi
            found[e, p] = (others**2).sum(axis=1) * factor
            found[e, p, p] = (psi[p] ** 2).sum() * factor
    return found
