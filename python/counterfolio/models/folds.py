"""Cross-fitting: which episodes a model may learn from before it speaks about a row.

Episodes are shuffled by seed and id alone (clusters by theirs), so that the order of the log does
not matter where episodes have ids, and dealt into folds of equal size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from counterfolio import _core
from counterfolio.arguments import check_seed, is_whole
from counterfolio.exceptions import InvalidArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from counterfolio.log import LoggedData


def check_folds(log: LoggedData, cross_fit: object, n_repeats: object, seed: object) -> int:
    """Take the number of folds; 1 where there is no cross-fitting.

    Raises
    ------
    InvalidArgumentError
        If there are not that many episodes (or clusters), or a number is out of its range.
    """
    if not is_whole(n_repeats) or n_repeats < 1:
        text = f"n_repeats must be a whole number of 1 or more, not {n_repeats!r}"
        raise InvalidArgumentError(text)
    check_seed(seed)
    if cross_fit is None:
        return 1
    units = log.n_episodes if log.clusters is None else log.clusters[1]
    if not is_whole(cross_fit) or not 2 <= cross_fit <= units:
        text = (
            f"cross_fit must be None or a whole number from 2 to {units}, the number of "
            f"{'episodes' if log.clusters is None else 'clusters'}, not {cross_fit!r}"
        )
        raise InvalidArgumentError(text)
    return int(cross_fit)


def deal(log: LoggedData, n_folds: int, seed: int, repeat: int) -> NDArray[np.int64]:
    """Give each episode the number of its fold, 0 to n_folds - 1.

    Returns
    -------
    (n_episodes,)
    """
    if n_folds == 1:
        return np.zeros(log.n_episodes, dtype=np.int64)
    keys = _core.fold_keys(log._episodes, log.draw_ids, seed, repeat)
    if log.clusters is None:
        return _in_turn(keys, n_folds)
    cluster, _ = log.clusters
    # Clusters are numbered in the order in which they first appear.
    _, first = np.unique(cluster, return_index=True)
    folds: NDArray[np.int64] = _in_turn(keys[first], n_folds)[cluster]
    return folds


def _in_turn(keys: NDArray[np.uint64], n_folds: int) -> NDArray[np.int64]:
    folds = np.empty(len(keys), dtype=np.int64)
    folds[np.argsort(keys, kind="stable")] = np.arange(len(keys)) % n_folds
    return folds
