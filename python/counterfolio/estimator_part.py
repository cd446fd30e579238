"""One estimator's part of an evaluation, for some of its policies: what comparisons are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from counterfolio.contrasts import Contrasts
from counterfolio.intervals import FEWEST_UNITS, units_of
from counterfolio.policies import BEHAVIOR
from counterfolio.prediction import Replicates
from counterfolio.ranking import places_of
from counterfolio.sources import take

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from counterfolio.evaluation import Evaluation


def contrasts_of(
    evaluation: Evaluation, label: str, among: Sequence[str] | None = None
) -> Contrasts:
    """Take what the differences between policies are made of, the behavior policy last.

    Parameters
    ----------
    label
        Of an estimator.
    among
        Names of policies. Default: all.
    """
    which = places_of(among, evaluation.policies)
    rows, kept = take(evaluation.rows(label), which), [*which, -1]
    drawn = replicates_of(evaluation, label, which)
    e = evaluation.estimators.index(label)
    accelerations = evaluation.accelerations
    return Contrasts(
        label,
        [*rows["policy"], BEHAVIOR],
        [*rows["value"], evaluation.behavior_value],
        [*rows["note"], evaluation.estimates["note"][-1]],
        evaluation.variances[e][np.ix_(kept, kept)],
        None if accelerations is None else accelerations[e][np.ix_(kept, kept)],
        None if drawn is None else np.column_stack([drawn.values, drawn.behavior]),
        evaluation.settings,
    )


def replicates_of(
    evaluation: Evaluation, label: str, which: NDArray[np.int64]
) -> Replicates | None:
    """Take an estimator's replicates of the policies in these places; None without any."""
    if evaluation.replicates is None or evaluation.behavior_replicates is None:
        return None
    values = evaluation.replicates[:, which, evaluation.estimators.index(label)]
    if units_of(evaluation.settings) < FEWEST_UNITS:
        values = np.full_like(values, np.nan)  # what is drawn again and again says nothing
    return Replicates(values, evaluation.behavior_replicates, evaluation.settings["seed"])
