"""The multiplicities of the joint bootstrap, for models that are to be fitted under them."""

from __future__ import annotations

from collections.abc import Sized
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from counterfolio import _core
from counterfolio.arguments import check_seed, is_whole, one_of
from counterfolio.episodes import draw_hashes
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.progress import progress
from counterfolio.uncertainty import RESAMPLINGS

if TYPE_CHECKING:
    from numpy.typing import NDArray


def resample_weights(
    episode_ids: Any,
    n_resamples: int,
    seed: int,
    *,
    resampling: Literal["poisson", "multinomial"] = "poisson",
) -> NDArray[np.int32]:
    """Draw how often each episode counts in each replicate, as `evaluate` does.

    Parameters
    ----------
    episode_ids
        Integers or text, one to an episode, as in the log; a whole number n stands for n episodes
        without ids, whose first rows are 0 to n - 1.
    n_resamples
        Number of replicates.
    seed
        0 to 2^64 - 1, as in `evaluation.settings`.
    resampling
        "poisson" or "multinomial".

    Returns
    -------
    numpy.ndarray
        (n_resamples, n_episodes). Poisson draws are functions of seed, id and replicate alone:
        the order of the ids changes none, and more replicates extend the earlier ones.

    Raises
    ------
    InvalidArgumentError
        If an argument is out of its range.
    MemoryError
        If the result does not fit.
    InvalidLogError
        If the ids are neither integers nor text.
    """
    if not is_whole(n_resamples) or n_resamples < 1:
        text = f"n_resamples must be a whole number of 1 or more, not {n_resamples!r}"
        raise InvalidArgumentError(text)
    seed = check_seed(seed)
    one_of("resampling", resampling, RESAMPLINGS)
    none = episode_ids is None or (isinstance(episode_ids, Sized) and len(episode_ids) == 0)
    if none or (is_whole(episode_ids) and episode_ids < 1):
        text = (
            "episode_ids must be ids, one to an episode, or how many episodes there are, not "
            f"{episode_ids!r}"
        )
        raise InvalidArgumentError(text)
    ids = np.arange(episode_ids) if is_whole(episode_ids) else episode_ids
    drawn, n = draw_hashes(ids)
    with progress("resampling") as report:
        weights = _core.resample_weights(drawn, n, int(n_resamples), seed, resampling, report)
    return weights.reshape(int(n_resamples), n)
