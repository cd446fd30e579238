"""`delta`: the difference of two policies by the difference of their weights.

mean d (r - c), with d = (pi_1 - pi_2) / b and c = sum d^2 r / sum d^2: the control variate that
makes the terms least. Two policies that act alike have small d, whatever their weights. Jeunen &
Ustimenko 2024 (Delta-OPE).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio import _core
from counterfolio.contrasts import Contrasts
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.policies import BEHAVIOR, only_prob
from counterfolio.text import suggest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from counterfolio.log import LoggedData

NAME = "delta"


def compare(
    log: LoggedData,
    probs: Mapping[str, _core.Column | None],
    pairs: Sequence[tuple[str, str]],
    settings: Mapping[str, Any],
    *,
    simultaneous: bool,
) -> pl.DataFrame:
    """Compare the first with the second of each pair; see `Evaluation.compare`.

    Parameters
    ----------
    probs
        Policy -> pi(a_t|s_t) as the core reads it; None of one evaluated without weights.

    Raises
    ------
    InvalidArgumentError
        If the log has longer episodes or no propensities, a policy no probabilities, or intervals
        are to hold together.
    """
    if simultaneous:
        text = (
            f'"{NAME}" takes one pair of policies at a time and knows of no other: pass '
            "simultaneous=False, or compare by an estimator that was evaluated"
        )
        raise InvalidArgumentError(text)
    if log.n_rows != log.n_episodes:
        text = (
            f'"{NAME}" is for single decisions, and this log has {log.n_rows} rows in '
            f"{log.n_episodes} episodes; compare by an estimator that was evaluated"
        )
        raise InvalidArgumentError(text)
    known = [*probs, BEHAVIOR]
    for name in (name for pair in pairs for name in pair):
        if name not in known:
            text = f"policy {name!r} was not evaluated; {suggest(name, known)}"
            raise InvalidArgumentError(text)
        if log._propensity is None or (name != BEHAVIOR and probs[name] is None):
            text = (
                f'"{NAME}" needs propensities and prob of policy {name!r}, and it was evaluated '
                "without; evaluate it with a weighted estimator too"
            )
            raise InvalidArgumentError(text)
    return pl.concat([_contrast(log, probs, pair, settings) for pair in pairs])


def _contrast(
    log: LoggedData,
    probs: Mapping[str, _core.Column | None],
    pair: tuple[str, str],
    settings: Mapping[str, Any],
) -> pl.DataFrame:
    count = settings["n_resamples"]
    draw = (count, settings["seed"], settings["resampling"], log.draw_ids) if count else None
    first, second = (None if p == BEHAVIOR else only_prob(p, probs[p]) for p in pair)
    value, variance, acceleration, drawn = _core.delta(
        log.for_core, (first, second), log.clusters, draw, settings["num_threads"]
    )
    zero = np.zeros_like(drawn)
    return Contrasts(
        NAME,
        pair,
        [value, 0.0],
        [None, None],
        np.array([[0.0, variance], [variance, 0.0]]),
        np.array([[0.0, acceleration], [-acceleration, 0.0]]),
        np.column_stack([drawn, zero]) if count else None,
        settings,
    ).pair(*pair)
