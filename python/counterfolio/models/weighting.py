"""Weights of rows for models of Q that `dr` corrects: "more robust doubly robust".

On single decisions the variance of `dr` that Q can change is that of the corrections
(pi / b) (r - Q) within a context. For a deterministic policy it is least where

    sum over rows of (pi / b)^2 (1 - b) (r - Q(s, a))^2

is least: errors count where weights are large, and not where the log did what it always does. Each
policy has weights, and so a Q, of its own. For a stochastic policy products of the errors of two
actions are left out.

Source: Farajtabar, Chow & Ghavamzadeh 2018, "More robust doubly robust off-policy evaluation".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from counterfolio.arguments import one_of
from counterfolio.exceptions import InvalidArgumentError, InvalidLogError, InvalidPolicyError
from counterfolio.models.candidates import importance_ratios
from counterfolio.sources import column_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from counterfolio.log import LoggedData
    from counterfolio.models.candidates import Candidate
    from counterfolio.models.transitions import Transitions

WEIGHTINGS = ("mrdr",)


def check_weighting(weighting: object, log: LoggedData) -> None:
    """Raise unless it is known, and the log has what it takes.

    Raises
    ------
    InvalidArgumentError
        If it is unknown, actions are a continuum, or an episode has several steps.
    InvalidLogError
        If there are no propensities.
    """
    if weighting is None:
        return
    one_of("weighting", weighting, WEIGHTINGS)
    if log.roles["action_type"] != "discrete":
        text = (
            'weighting="mrdr" is for discrete actions: it weighs by 1 - b, and the density of one '
            "action of a continuum is no probability; leave weighting out"
        )
        raise InvalidArgumentError(text)
    if log.n_rows != log.n_episodes:
        text = (
            f'weighting="mrdr" is for single decisions, and this log has {log.n_rows} rows in '
            f"{log.n_episodes} episodes; leave weighting out"
        )
        raise InvalidArgumentError(text)
    if log._propensity is None:
        text = (
            'weighting="mrdr" needs propensities, and the log has none; estimate them '
            "(models.PropensityModel, or prepare, which does), or leave weighting out"
        )
        raise InvalidLogError(text)


def row_weights(t: Transitions, candidates: Sequence[Candidate]) -> NDArray[np.float64]:
    """Weigh every row for every policy, in parts of the policy's largest weight.

    Returns
    -------
    (n_policies, n_rows)

    Raises
    ------
    InvalidPolicyError
        If no row that a fold's model learns from has a weight for some policy.
    """
    assert t.log._propensity is not None
    b = column_values(t.log._propensity).astype(np.float64, copy=False)
    out = np.empty((len(candidates), t.log.n_rows))
    for own, candidate in zip(out, candidates, strict=True):
        ratio = importance_ratios(candidate, t.log)
        # In parts of the largest, so that no square overflows.
        own[:] = (ratio / (ratio.max() or 1.0)) ** 2 * (1 - b)
        for fold in range(t.n_folds):
            if not own[t.training(fold)].any():
                where = "" if t.n_folds == 1 else f" outside fold {fold + 1} of {t.n_folds}"
                text = (
                    f'policy "{candidate.name}": weighting="mrdr" gives no weight to any row'
                    f"{where}: the policy never takes a logged action that the log took by chance; "
                    "leave the policy or weighting out"
                )
                raise InvalidPolicyError(text)
        own /= own.max()
    return out
