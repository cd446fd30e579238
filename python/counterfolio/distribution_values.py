"""A statistic of distributions as an `Evaluation`: what is ranked, compared and assessed by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from counterfolio.evaluated import Evaluated
from counterfolio.evaluation import Evaluation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from counterfolio.distribution import Distribution


def as_evaluation(distribution: Distribution, asked: tuple[str, float | None]) -> Evaluation:
    """Take one statistic of the distributions as the value of every policy.

    Parameters
    ----------
    distribution
        Its replicates, if any, are the evaluation's.
    asked
        The statistic and its level, checked; None where it has none.
    """
    d, task = distribution, distribution._task
    n_policies, names = len(d.policies), d.estimators
    name, level = asked[0], asked[1] or 0.0
    values, errors, ends = d._estimate([(name, level)])
    replicates = behavior = None
    if d.settings["n_resamples"]:
        drawn = d._replicates([(name, level)])[:, :, 1]
        shape = (len(drawn), n_policies, len(names))
        replicates, behavior = drawn[:, :-1].reshape(shape), drawn[:, -1]
    shares = [d._core.weights(i) for i in range(len(d.curves))]
    notes = zip(values[:, 0], ends.notes, strict=True)
    estimates = pl.DataFrame(
        {
            "policy": [p for p, _ in d.curves],
            "estimator": [e for _, e in d.curves],
            "value": values[:, 0],
            "standard_error": errors[:, 0],
            "ci_low": ends.low,
            "ci_high": ends.high,
            "effective_sample_size": [size for size, _ in shares],
            "max_weight_share": [share for _, share in shares],
            "n_episodes": [d.settings["n_episodes"]] * len(d.curves),
            "note": [d.note(i, value, more) for i, (value, more) in enumerate(notes)],
        },
        schema_overrides={
            "effective_sample_size": pl.Float64,
            "max_weight_share": pl.Float64,
            "note": pl.String,
        },
    )
    kept = {k: v for k, v in d.settings.items() if k not in ("grid", "pointwise")}
    return Evaluation(
        estimates=estimates,
        settings=kept | {"statistic": name, "alpha": asked[1]},
        variances=_variances(d, (name, level)),
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
