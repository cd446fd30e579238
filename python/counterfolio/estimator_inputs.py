"""What estimators ask of a log and its policies beyond columns that are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from counterfolio.exceptions import InvalidArgumentError, InvalidLogError, InvalidPolicyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from counterfolio.estimators import Estimator
    from counterfolio.log import LoggedData
    from counterfolio.policies import PolicyColumns


def check_log_for(
    estimators: Sequence[Estimator], log: LoggedData, policies: Mapping[str, PolicyColumns]
) -> None:
    """Raise where an estimator is not for such a log or such policies.

    Raises
    ------
    InvalidArgumentError
        If one for single decisions meets longer episodes.
    InvalidLogError
        If one for rewards of 0 or more meets a negative one.
    InvalidPolicyError
        If ratios of visits over all steps are to be normalised and lengths differ.
    """
    for estimator in estimators:
        if estimator.row["one_step"] and log.n_rows != log.n_episodes:
            text = (
                f'"{estimator.label}" is for single decisions, and this log has {log.n_rows} rows '
                f"in {log.n_episodes} episodes; tis, pdis and dr take longer episodes, with "
                "transforms of their weights too"
            )
            raise InvalidArgumentError(text)
        if estimator.smoothing is not None:
            _check_rewards(estimator, log)
        marginal = estimator.row["ratio"].startswith("state")
        if marginal and estimator.row["form"].startswith("normalised"):
            _check_lengths(estimator, log, policies)


def _check_rewards(estimator: Estimator, log: LoggedData) -> None:
    """Raise where a logarithm would be taken of what may be negative."""
    name = log.roles["reward"]
    rewards = log.column(name).to_numpy()
    negative = np.flatnonzero(rewards < 0)
    if len(negative):
        row = int(negative[0])
        text = (
            f'"{estimator.label}" needs rewards of 0 or more: column "{name}": {len(negative)} of '
            f"{len(rewards)} values are negative, first at row {row} ({rewards[row]:g}); add a "
            "constant to all rewards, and take it off the estimates"
        )
        raise InvalidLogError(text)


def _check_lengths(
    estimator: Estimator, log: LoggedData, policies: Mapping[str, PolicyColumns]
) -> None:
    """Raise where one mean weight would be taken over episodes of different lengths."""
    lengths = log._episodes.lengths()
    if lengths.min() == lengths.max():
        return
    for name, columns in policies.items():
        if columns.ratio_kind == "occupancy":
            text = (
                f'"{estimator.label}": policy "{name}" has ratios of kind "occupancy", whose mean '
                f"over rows is not 1 where episodes have different lengths (here {lengths.min()} "
                f"to {lengths.max()}): normalised, they would leave out how long the policy's own "
                "episodes are; use "
                f'"{estimator.name.replace("sn", "", 1)}", or ratios of kind "step"'
            )
            raise InvalidPolicyError(text)
