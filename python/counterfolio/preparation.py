"""`prepare`: fit what the estimators need and the log lacks, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio import estimators as registry
from counterfolio.estimators import Estimator
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.log import check_log
from counterfolio.models import (
    LinearQ,
    LinearRatio,
    MarginalRatios,
    Propensities,
    PropensityModel,
    QFunctions,
)
from counterfolio.models.folds import check_folds
from counterfolio.policies import PolicyColumns, check_policies, describe
from counterfolio.text import Column, html_table, suggest, text_table, wrap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from counterfolio.log import LoggedData

_FOR_DM_ALONE = (
    'horizon="continue" is for dm alone, not for {}: other estimators add up logged rewards, which '
    'end where episodes were cut off; take dm, or horizon="logged"'
)
#: By how much the error of a fitted model must widen dm's own to be told.
MODEL_MATTERS = 1.25
#: What may be asked for beside estimators by name.
INPUTS = ("propensity", "q", "v", "state_ratio", "state_action_ratio")


class Prepared(dict[str, PolicyColumns]):
    """Candidates with everything that was asked for, ready for `evaluate`.

    A dict from name to `PolicyColumns` of arrays.

    Attributes
    ----------
    source : LoggedData
        The log that models were fitted on.
    log : LoggedData
        The same with estimated propensities, where it had none.
    gamma : float
        Discount factor of the models.
    needs : list of str
        What was asked for, canonical names.
    q_functions, ratios, propensities
        What was fitted; None where nothing was.
    """

    def __init__(
        self,
        policies: Mapping[str, PolicyColumns],
        *,
        source: LoggedData,
        log: LoggedData,
        gamma: float,
        needs: list[str],
        fitted: Fitted,
    ) -> None:
        super().__init__(policies)
        self.source, self.log, self.gamma, self.needs = source, log, gamma, needs
        self.q_functions, self.ratios = fitted.q_functions, fitted.ratios
        self.propensities = fitted.propensities

    @property
    def estimators(self) -> list[str]:
        """The estimators among what was asked for."""
        return [name for name in self.needs if registry.is_known(name)]

    @property
    def settings(self) -> list[dict[str, Any]]:
        """How each model was fitted, for `evaluation.settings`."""
        return [model.settings for model in (self.q_functions, self.ratios) if model is not None]

    @property
    def table(self) -> pl.DataFrame:
        """A row to each model: what it is for, model, features, cross_fit, n_repeats, seconds."""
        rows: list[dict[str, Any]] = []
        for what, model in (
            ("propensity", self.propensities),
            ("q and v", self.q_functions),
            ("ratios", self.ratios),
        ):
            if model is not None:
                how = model.summary() if isinstance(model, Propensities) else model.settings
                shown = {k: how[k] for k in ("model", "features", "cross_fit", "n_repeats")}
                rows.append({"for": what, **shown, "seconds": model.seconds})
        return pl.DataFrame(
            rows,
            schema={
                "for": pl.String,
                "model": pl.String,
                "features": pl.String,
                "cross_fit": pl.Int64,
                "n_repeats": pl.Int64,
                "seconds": pl.Float64,
            },
        )

    @property
    def notes(self) -> list[str]:
        """What is to be known of the fits."""
        models = (self.propensities, self.q_functions, self.ratios)
        found = [note for model in models if model is not None for note in model.notes]
        return list(dict.fromkeys(found))

    def log_for(self, log: LoggedData, gamma: float) -> LoggedData:
        """Take the log that goes with these policies.

        Raises
        ------
        InvalidArgumentError
            If they were prepared for another log, or another gamma.
        """
        if log is not self.source and log is not self.log:
            text = (
                "these policies were prepared for another log: their arrays belong to its rows; "
                "call prepare for this one"
            )
            raise InvalidArgumentError(text)
        if gamma != self.gamma:
            text = (
                f"prepared for gamma {self.gamma:g}, but evaluated at {gamma:g}: Q and ratios "
                "depend on it; pass the same gamma to both"
            )
            raise InvalidArgumentError(text)
        return self.log

    def check_estimators(self, estimators: Sequence[Estimator]) -> None:
        """Raise where Q goes on past the logged steps and an estimator adds up logged rewards.

        Raises
        ------
        InvalidArgumentError
            If an estimator that needs q is among them.
        """
        model = self.q_functions
        wrong = [estimator.label for estimator in estimators if "q" in estimator.needs]
        if model is not None and model.settings["horizon"] == "continue" and wrong:
            raise InvalidArgumentError(_FOR_DM_ALONE.format(wrong[0]))

    def doubt(self, policy: str, error: float) -> str | None:
        """Say that the error of a fitted model, which dm's interval has not, is no small thing.

        Parameters
        ----------
        error
            Standard error of `dm` with the model as given.
        """
        model = self.q_functions
        if model is None or policy not in model.policies:
            return None
        own = model.table["standard_error"][model.policies.index(policy)]
        if own is None:
            return "do not lean on the interval: it has no error of the fitted model in it"
        if own <= MODEL_MATTERS * error:
            return None
        return (
            "do not lean on the interval: with the error of the fitted model the standard error is "
            f"{own:.2g}"
        )

    def _columns(self) -> list[Column]:
        t = self.table
        return [
            Column("for", t["for"].to_list(), left=True),
            Column("model", t["model"].to_list(), left=True),
            Column("features", t["features"].to_list(), left=True),
            Column("folds", ["none" if k is None else str(k) for k in t["cross_fit"]]),
            Column("seconds", [f"{x:.2f}" for x in t["seconds"]]),
        ]

    def _caption(self) -> str:
        nothing = "" if len(self.table) else "; nothing had to be fitted"
        return f"Prepared for {', '.join(self.needs)} at gamma {self.gamma:g}{nothing}"

    def __repr__(self) -> str:
        table = [text_table(self._columns())] if len(self.table) else []
        return "\n".join([wrap(self._caption()), *table, *map(wrap, self.notes)])

    def _repr_html_(self) -> str:
        return html_table(self._columns(), self._caption(), self.notes)


@dataclass(frozen=True)
class Fitted:
    """The models of a `Prepared`."""

    propensities: Propensities | None
    q_functions: QFunctions | None
    ratios: MarginalRatios | None


def prepare(
    log: LoggedData,
    policies: Mapping[str, object],
    needs: Sequence[str | Estimator] | None = None,
    *,
    gamma: float = 1.0,
    cross_fit: int | None = 5,
    n_repeats: int = 1,
    seed: int = 0,
    q_model: Any = None,
    ratio_model: Any = None,
    propensity_model: Any = None,
    num_threads: int | None = None,
) -> Prepared:
    """Fit exactly what the named estimators need and the log and policies lack.

    Propensities where the log has none, q and v of policies that come without, marginal ratios.
    Propensities too where the Q-model weighs rows by them.
    Models are cross-fitted by episode (or cluster): no row is spoken about by a model that has
    learned from it.

    Parameters
    ----------
    log
        With `state`, wherever something has to be fitted.
    policies
        As for `evaluate`. For q, v and ratios a policy has to say what it does with every action:
        an array of shape (n_rows, n_actions), or an object with `action_probs(states)`; with `mean`
        and `sample` where actions are a continuum.
    needs
        Names of estimators; also "propensity", "q", "v", "state_ratio", "state_action_ratio".
        Default: tis, pdis, sntis, snpdis, dm, dr, sndr.
    gamma
        Discount factor in (0, 1], the one that is evaluated with.
    cross_fit
        Number of folds. None: every model learns from all rows; not for drl. Propensities that are
        frequencies of a table always do: those of the same rows balance exactly and lose nothing
        (Hirano, Imbens & Ridder 2003), while without its own fold a rare action looks all but
        impossible.
    n_repeats
        How often folds are dealt anew; the median of the repeats is taken, of Q(s, a) for every
        action, of propensities and of ratios.
    seed
        Of folds, random features and drawn actions.
    q_model
        `models.LinearQ` or `models.FittedQ`. Default: `LinearQ()`, features by what the log holds.
    ratio_model
        Default: `models.LinearRatio()`.
    propensity_model
        Default: `models.PropensityModel()`.
    num_threads
        As in `evaluate`.

    Returns
    -------
    Prepared
        `cf.evaluate(log, prepared, gamma=...)` takes it, with the estimated propensities.

    Raises
    ------
    InvalidArgumentError
        If there is no such need, an argument is out of its range, or drl would judge models by the
        episodes that they learned from.
    InvalidLogError
        If the log has no state, or holds what models cannot read.
    InvalidPolicyError
        If a policy knows the probability of logged actions alone and more is needed.
    MissingExtraError
        If scikit-learn is needed and absent.
    """
    check_log(log, "prepare")
    wanted = _needs(needs)
    inputs = _inputs(wanted)
    if "drl" in wanted and cross_fit is None:
        text = (
            '"drl" with q and ratios fitted on the episodes that it is evaluated on loses what it '
            "is for: pass cross_fit=5; to have it all the same, evaluate with the arrays of what "
            "models fitted as columns of PolicyColumns"
        )
        raise InvalidArgumentError(text)
    named = check_policies(policies)
    how: dict[str, Any] = {"cross_fit": cross_fit, "n_repeats": n_repeats, "seed": seed}
    propensities, prepared_log = None, log
    lacking = {name: policy for name, policy in named.items() if _lacks(policy, inputs)}
    q_model = q_model or LinearQ()
    weighted = bool(lacking) and q_model.weighting is not None
    if ("prob" in inputs or weighted) and log._propensity is None:
        # Before it is known whether there will be folds: a table has none.
        check_folds(log, cross_fit, n_repeats, seed)
        model = propensity_model or PropensityModel()
        propensities = model._fit(log, cross_fit, n_repeats, seed, tables=False)
        prepared_log = log.with_propensity(propensities)
    how |= {"gamma": gamma, "num_threads": num_threads}
    q_functions = ratios = None
    if lacking:
        if q_model.horizon == "continue" and "q" in inputs:
            wrong = next(name for name in wanted if "q" in _inputs([name]))
            raise InvalidArgumentError(_FOR_DM_ALONE.format(wrong))
        q_functions = q_model.fit(prepared_log, lacking, **how)
    kinds = [kind for kind in ("state", "state_action") if f"{kind}_ratio" in inputs]
    if kinds:
        ratios = (ratio_model or LinearRatio()).fit(prepared_log, named, of=kinds, **how)
    columns = {}
    for name, policy in named.items():
        found = describe(name, policy, prepared_log) if "prob" in inputs else _bare(policy)
        if q_functions is not None and name in lacking:
            i = q_functions.policies.index(name)
            found = replace(found, q=q_functions.q[i], v=q_functions.v[i], q_values=None)
        if ratios is not None:
            i = ratios.policies.index(name)
            found = replace(
                found,
                state_ratio=None if ratios.state is None else ratios.state[i],
                state_action_ratio=None if ratios.state_action is None else ratios.state_action[i],
                ratio_kind="occupancy",
            )
        columns[name] = found
    return Prepared(
        columns,
        source=log,
        log=prepared_log,
        gamma=float(gamma),
        needs=wanted,
        fitted=Fitted(propensities, q_functions, ratios),
    )


def _needs(needs: Sequence[str | Estimator] | None) -> list[str]:
    """Name what is needed, in the order given."""
    if needs is None:
        return [*registry.WEIGHTED_DEFAULT, *registry.MODEL_DEFAULT]
    needs = [needs] if isinstance(needs, str) else needs
    if not isinstance(needs, Sequence) or not needs:
        text = f"needs must be a list of names, not {needs!r}; {suggest('', registry.REGISTRY)}"
        raise InvalidArgumentError(text)
    known = [*registry.REGISTRY, *INPUTS]
    for name in needs:
        known_name = isinstance(name, str) and (name in INPUTS or registry.is_known(name))
        if not known_name and not isinstance(name, Estimator):
            text = f"unknown need {name!r}; {suggest(str(name), known)}"
            raise InvalidArgumentError(text)
    found = [name if name in INPUTS else registry.parse(name).label for name in needs]
    return list(dict.fromkeys(found))


def _inputs(needs: list[str]) -> set[str]:
    """Name the inputs of what is needed."""
    inputs: set[str] = set()
    for name in needs:
        if registry.is_known(name):
            inputs |= set(registry.parse(name).needs)
        else:
            inputs.add("prob" if name == "propensity" else name)
    # The ratio of states is solved for with pi / b.
    return inputs | ({"prob"} if "state_ratio" in inputs else set())


def _lacks(policy: object, inputs: set[str]) -> bool:
    """Whether q or v is needed that a policy does not bring."""
    wanted = inputs & {"q", "v"}
    if not isinstance(policy, PolicyColumns):
        return bool(wanted)
    return policy.q_values is None and any(getattr(policy, key) is None for key in wanted)


def _bare(policy: object) -> PolicyColumns:
    """Columns of a policy whose probabilities are not needed."""
    is_dense = isinstance(policy, np.ndarray) and policy.ndim == 2
    if isinstance(policy, PolicyColumns):
        return policy
    return PolicyColumns(action_probs=policy) if is_dense else PolicyColumns()
