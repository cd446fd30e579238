"""The probabilities of all actions, whatever form a policy has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterfolio.dense import check_dense, read_block
from counterfolio.exceptions import InvalidPolicyError
from counterfolio.policies.chosen import chosen_probs
from counterfolio.policies.columns import chosen_column, dense_column, describe_columns
from counterfolio.policies.head import check_probs
from counterfolio.policies.objects import probs_of
from counterfolio.policies.protocol import DiscretePolicy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from counterfolio.log import LoggedData


def dense_probs(
    name: str, policy: object, log: LoggedData, rows: slice, n_actions: int
) -> NDArray[np.float64]:
    """Take pi(.|s) of some rows, in the column order of the log's actions.

    Parameters
    ----------
    policy
        A `DiscretePolicy`; dense probabilities; or a `PolicyColumns` with `action_probs`, `action`
        or, as `prob`, a `DiscretePolicy`. Labels of a `DiscretePolicy` are brought to the log's
        order; an action that is none of them has probability 0. Without labels on either side
        positions match.
    rows
        With a start and a stop within the log.
    n_actions
        How many columns there are: the number of the log's labels, where it has them.

    Returns
    -------
    numpy.ndarray of shape (m, n_actions)
        Not negative; each row sums to 1 within 1e-5.

    Raises
    ------
    InvalidPolicyError
        If the policy cannot say what it does with actions that were not logged, or it says
        something else than probabilities of the log's actions.
    """
    if log.roles["action_type"] != "discrete":
        text = f'policy "{name}": there are probabilities of all actions for discrete actions alone'
        raise InvalidPolicyError(text)
    columns = describe_columns(name, policy)
    asked = columns.prob
    if isinstance(asked, DiscretePolicy):
        return probs_of(name, asked, log, rows, n_actions)
    if columns.action is not None:
        return chosen_probs(name, chosen_column(name, columns.action, log), log, rows, n_actions)
    if columns.action_probs is None:
        text = (
            f'policy "{name}" says nothing of actions that were not logged; pass action_probs, '
            "action, or an object with action_probs(states)"
        )
        raise InvalidPolicyError(text)
    label, value = dense_column(name, "action_probs", columns.action_probs, log)
    found = read_block(check_dense(label, value, log.n_rows, InvalidPolicyError), rows)
    if found.shape[1] != n_actions:
        text = f"{label} has {found.shape[1]} columns, but there are {n_actions} actions"
        raise InvalidPolicyError(text)
    return check_probs(label, found)
