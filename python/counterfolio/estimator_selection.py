"""`select_estimator`: which estimator to believe, by the log alone, and on what evidence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from counterfolio.arguments import check_seed, is_whole, one_of
from counterfolio.estimation import evaluate
from counterfolio.estimators import Estimator, resolve
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.slope import slope
from counterfolio.task import check_task
from counterfolio.text import Column, html_table, number, plural, text_table, wrap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from counterfolio.evaluation import Evaluation
    from counterfolio.log import LoggedData

METHODS = ("slope", "cross_validation")
#: Options whose smaller values bias less; larger ones of all others do.
_SMALLER_IS_LESS_BIASED = ("harmonic", "exploration", "smoothing")
#: The validator stands for the truth, and so has to be unbiased: with a Q-model, then without.
_VALIDATORS = ("dr", "pdis")
#: No part of a split is smaller than this share of the episodes.
LEAST_SHARE = 0.1


@dataclass(frozen=True, repr=False, eq=False)
class EstimatorSelection:
    """The estimator that was chosen, for every policy and for all of them together.

    Attributes
    ----------
    method : str
        "slope" or "cross_validation".
    estimator : str
        Label of the one for all policies, to rank them by one measure: by "slope" the last that no
        policy's evidence speaks against, by "cross_validation" that of the least mean loss.
    by_policy : dict of str to str
        Policy -> label of the one for this policy.
    table : polars.DataFrame
        The evidence, a row to each policy and estimator, in the order of the family: policy,
        estimator, value, standard_error; for "slope" half_width, low and high (what the intervals
        so far have in common; low > high where they have nothing), for "cross_validation" loss and
        loss_standard_error; chosen.
    evaluation : Evaluation
        Of the whole family.
    """

    method: str
    estimator: str
    by_policy: dict[str, str]
    table: pl.DataFrame
    evaluation: Evaluation
    settings: dict[str, Any]

    @property
    def reason(self) -> str:
        """On what evidence it was chosen."""
        s, count = self.settings, len(self.evaluation.estimators)
        if self.method == "slope":
            return (
                f"SLOPE over {plural(count, 'estimator')}, from the least biased to the least "
                f"variable: the last whose {100 * s['confidence_level']:g} % interval, twice as "
                "wide, still meets those of all before it. Bias shows only against the first ones; "
                "if these are wrong, so is the choice."
            )
        return (
            f"Cross-validation: {plural(s['n_splits'], 'split')} of the episodes; the least mean "
            f"squared difference from {s['validator']} on the other part, whose noise is in every "
            "loss. Losses closer than a few of their standard errors say nothing."
        )

    def _layout(self) -> tuple[list[Column], str]:
        t = self.table
        shown = ["value", "standard_error"]
        shown += ["low", "high"] if self.method == "slope" else ["loss", "loss_standard_error"]
        names = {"standard_error": "s.e.", "loss_standard_error": "s.e. of loss"}
        columns = [
            Column("policy", t["policy"].to_list(), left=True),
            Column("estimator", t["estimator"].to_list(), left=True),
            *(Column(names.get(c, c), [number(x) for x in t[c]]) for c in shown),
            Column("chosen", ["*" if x else "" for x in t["chosen"]], left=True),
        ]
        return columns, f"Chosen for all policies: {self.estimator}"

    def __repr__(self) -> str:
        columns, caption = self._layout()
        return "\n".join([wrap(caption), text_table(columns), wrap(self.reason)])

    def _repr_html_(self) -> str:
        columns, caption = self._layout()
        return html_table(columns, caption, [self.reason])


def select_estimator(
    log: LoggedData,
    policies: Mapping[str, object],
    estimators: Sequence[str | Estimator],
    *,
    method: Literal["slope", "cross_validation"] = "slope",
    validator: str | Estimator | None = None,
    n_splits: int = 32,
    gamma: float = 1.0,
    confidence_level: float = 0.95,
    seed: int = 0,
    num_threads: int | None = None,
) -> EstimatorSelection:
    """Choose among estimators by the log alone.

    Parameters
    ----------
    log, policies
        As for `evaluate`.
    estimators
        The candidates. For "slope" a family ordered from the least biased, most variable one to the
        least variable, most biased one, as clip levels from high to low; those that differ in one
        option alone are put into this order.
    method
        "slope" (Su, Srinath & Krishnamurthy 2020) goes down the family as long as intervals agree.
        "cross_validation" (Cief, Kveton & Kompan 2024) estimates on a part of the episodes and
        compares with an unbiased estimator, the validator, on the rest; candidates need no order.
        The parts have sizes that give both the same variance.
    validator
        For "cross_validation". Default: dr where policies come with q and v, else pdis.
    n_splits
        For "cross_validation": random splits of the episodes (of clusters, where the log has them).
    gamma
        Discount factor in (0, 1].
    confidence_level
        Of the intervals of "slope".
    seed
        Of the splits.
    num_threads
        As in `evaluate`.

    Returns
    -------
    EstimatorSelection

    Raises
    ------
    InvalidArgumentError
        If an argument is out of its range, or fewer than two estimators are given.
    InvalidPolicyError, InvalidLogError
        As `evaluate`.

    Notes
    -----
    An interval of the chosen estimate does not know that it was chosen. Both methods are blind to
    what all candidates share: wrong propensities, missing support, unseen causes.
    """
    one_of("method", method, METHODS)
    family = resolve(estimators)
    if len(family) < 2:
        text = f"one estimator, {family[0].label}, leaves no choice; pass two or more"
        raise InvalidArgumentError(text)
    if not is_whole(n_splits) or n_splits < 2:
        text = f"n_splits must be a whole number of 2 or more, not {n_splits!r}"
        raise InvalidArgumentError(text)
    if method == "slope":
        if validator is not None:
            text = 'validator is for method="cross_validation"; "slope" compares with no other'
            raise InvalidArgumentError(text)
        family = _ordered(family)
    evaluation = evaluate(
        log,
        policies,
        family,
        gamma=gamma,
        confidence_level=confidence_level,
        num_threads=num_threads,
    )
    settings: dict[str, Any] = {"method": method, "gamma": float(gamma)}
    if method == "slope":
        settings["confidence_level"] = float(confidence_level)
        return _by_slope(evaluation, settings)
    settings |= {"n_splits": int(n_splits), "seed": check_seed(seed)}
    judge = _validator(log, policies, validator, evaluation, gamma, num_threads)
    settings["validator"] = judge.estimators[0]
    losses, errors = _losses(log, policies, family, judge, evaluation, settings, num_threads)
    return _by_loss(evaluation, losses, errors, settings)


def _ordered(family: list[Estimator]) -> list[Estimator]:
    """Put estimators that differ in one option alone into the order of their bias."""
    names = {e.name for e in family}
    kinds = {e.per_step for e in family if e.transform}
    varying = {key for e in family for key in e.options} - {"per_step"}
    if len(names) > 1 or len(kinds) > 1 or len(varying) != 1:
        return family
    (option,) = varying
    sign = -1.0 if option in _SMALLER_IS_LESS_BIASED else 1.0
    # Without a transform there is no bias at all; n_step counts from 0.
    absent = 0.0 if option == "n_step" else sign * math.inf
    return sorted(family, key=lambda e: -sign * float(e.options.get(option, absent)))


def _by_slope(evaluation: Evaluation, settings: dict[str, Any]) -> EstimatorSelection:
    labels, chosen, frames = evaluation.estimators, {}, []
    for policy in evaluation.policies:
        rows = evaluation.estimates.filter(pl.col("policy") == policy)
        widths = (rows["ci_high"] - rows["ci_low"]) / 2
        found = slope(rows["value"], widths)
        if found.index < 0:
            text = f'policy "{policy}": no estimate of the family is defined'
            raise InvalidArgumentError(text)
        chosen[policy] = found.index
        frames.append(
            rows.select("policy", "estimator", "value", "standard_error").with_columns(
                half_width=found.widths,
                low=found.low,
                high=found.high,
                chosen=np.arange(len(labels)) == found.index,
            )
        )
    by_policy = {policy: labels[i] for policy, i in chosen.items()}
    first = labels[min(chosen.values())]
    return EstimatorSelection("slope", first, by_policy, pl.concat(frames), evaluation, settings)


def _validator(
    log: LoggedData,
    policies: Mapping[str, object],
    validator: str | Estimator | None,
    evaluation: Evaluation,
    gamma: float,
    num_threads: int | None,
) -> Evaluation:
    """Evaluate the estimator that stands for the truth; it has to be an unbiased one."""
    if validator is None:
        has_model = evaluation.settings["conditions_on"] in (
            "q and v as given",
            "q, v and ratios as given",
        )
        asked = [Estimator(_VALIDATORS[0] if has_model else _VALIDATORS[1])]
    else:
        asked = resolve([validator])
    (judge,) = asked
    if judge.transform or judge.row["form"].startswith("normalised") or "prob" not in judge.needs:
        text = (
            f'validator "{judge.label}" is biased, and would draw the choice to its own side; take '
            "tis, pdis or dr without options"
        )
        raise InvalidArgumentError(text)
    return evaluate(log, policies, asked, gamma=gamma, num_threads=num_threads)


def _losses(
    log: LoggedData,
    policies: Mapping[str, object],
    family: list[Estimator],
    judge: Evaluation,
    evaluation: Evaluation,
    settings: dict[str, Any],
    num_threads: int | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean squared differences from the validator on the other part, and their standard errors.

    Returns
    -------
    losses, errors : (n_policies, n_estimators)
    """

    def resample(estimator: str | Estimator, share: float, *, rest: bool) -> Any:
        task = check_task(
            "select_estimator",
            log,
            policies,
            [estimator],
            gamma=settings["gamma"],
            num_threads=num_threads,
        )
        split = (share, rest)
        values, _ = task.resample(settings["n_splits"], settings["seed"], split, "splitting")
        return values[:, :, 0]

    validator = settings["validator"]
    own = judge.rows(validator)["standard_error"].to_numpy() ** 2
    losses, errors = [], []
    for estimator in family:
        variance = evaluation.rows(estimator.label)["standard_error"].to_numpy() ** 2
        total = np.nansum(variance) + np.nansum(own)
        share = float(np.nansum(variance) / total) if total > 0 else 0.5
        share = min(max(share, LEAST_SHARE), 1 - LEAST_SHARE)
        part = resample(estimator, share, rest=False)
        truth = resample(validator, share, rest=True)
        squares = (part - truth) ** 2
        losses.append(squares.mean(axis=0))
        errors.append(squares.std(axis=0, ddof=1) / math.sqrt(len(squares)))
    return np.array(losses).T, np.array(errors).T


def _by_loss(
    evaluation: Evaluation,
    losses: NDArray[np.float64],
    errors: NDArray[np.float64],
    settings: dict[str, Any],
) -> EstimatorSelection:
    labels = evaluation.estimators
    known = np.where(np.isfinite(losses), losses, np.inf)
    if not np.isfinite(known).any(axis=1).all():
        policy = evaluation.policies[int(np.flatnonzero(np.isinf(known).all(axis=1))[0])]
        text = f'policy "{policy}": every estimator is undefined in some part of the log'
        raise InvalidArgumentError(text)
    chosen = known.argmin(axis=1)
    frames = []
    for p, policy in enumerate(evaluation.policies):
        rows = evaluation.estimates.filter(pl.col("policy") == policy)
        frames.append(
            rows.select("policy", "estimator", "value", "standard_error").with_columns(
                loss=losses[p],
                loss_standard_error=errors[p],
                chosen=np.arange(len(labels)) == chosen[p],
            )
        )
    return EstimatorSelection(
        "cross_validation",
        labels[int(known.mean(axis=0).argmin())],
        {policy: labels[i] for policy, i in zip(evaluation.policies, chosen, strict=True)},
        pl.concat(frames),
        evaluation,
        settings,
    )
