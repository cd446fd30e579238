"""Where a log's propensities come from, if not from one column of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from counterfolio.dense import SUM_TOLERANCE, check_dense, gather
from counterfolio.exceptions import InvalidLogError
from counterfolio.loggers import BALANCED, balanced_propensity
from counterfolio.roles import check_propensity
from counterfolio.sources import as_column, column_label, column_values

if TYPE_CHECKING:
    from counterfolio.log import LoggedData

#: Parts of a log that go with the propensities that were logged, and with no others.
_NO_LONGER = {"action_probs": None, "logger_propensities": None}


def with_action_probs(log: LoggedData, name: str) -> LoggedData:
    """Take propensities from the behavior policy's dense probabilities, or check them.

    Raises
    ------
    InvalidLogError
        If they are no probabilities, or disagree with the column of propensities.
    """
    label = column_label(name)
    if log.roles["action_type"] != "discrete":
        text = f'{label}: dense probabilities need action_type="discrete"'
        raise InvalidLogError(text)
    dense = check_dense(label, log.column(name), log.n_rows, InvalidLogError)
    found = gather(log.action_codes, dense, label, InvalidLogError)
    if log._propensity is None:
        column = as_column("propensity", found)
        check_propensity(column, f"{label} of the logged action", "discrete")
        return replace(log, _propensity=column, propensity_source="logged")
    logged = column_values(log._propensity)
    off = np.abs(found - logged) > SUM_TOLERANCE
    if off.any():
        row = int(off.argmax())
        text = (
            f"{label}: {int(off.sum())} of {log.n_rows} rows disagree with "
            f"{column_label(log.roles['propensity'] or 'propensity')}, first at row {row} "
            f"({found[row]:g} and {logged[row]:g}); mend the one that is wrong, or the order of "
            "the actions"
        )
        raise InvalidLogError(text)
    return log


def with_estimated(log: LoggedData, propensity: object) -> LoggedData:
    """Take propensities from an array, or from a model that was fitted on the log.

    Raises
    ------
    InvalidLogError
        As `LoggedData.with_propensity`.
    """
    model = None
    if callable(summary := getattr(propensity, "summary", None)):
        model, propensity = summary(), propensity.propensity  # type: ignore[attr-defined]
    column, label = as_column("propensity", propensity), column_label("propensity")
    if len(column) != log.n_rows:
        text = f"{label} has {len(column)} rows, but the log has {log.n_rows}"
        raise InvalidLogError(text)
    check_propensity(column, label, log.roles["action_type"])
    return replace(
        log,
        _table=log._table.with_column("propensity", column),
        _propensity=column,
        propensity_source="estimated",
        propensity_model=model,
        roles={**log.roles, **_NO_LONGER, "propensity": "propensity"},
    )


def with_mixture(log: LoggedData) -> LoggedData:
    """Take the propensities of all loggers together.

    Raises
    ------
    InvalidLogError
        As `LoggedData.balanced`.
    """
    column = balanced_propensity(log._table, log.roles, log._episodes)
    return replace(
        log,
        _table=log._table.with_column(BALANCED, column),
        _propensity=column,
        propensity_source="balanced",
        roles={**log.roles, **_NO_LONGER, "propensity": BALANCED},
    )
