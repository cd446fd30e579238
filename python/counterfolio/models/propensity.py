"""Propensities of a log that has none: estimated by models that did not see the rows they rate."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from counterfolio.arguments import one_of
from counterfolio.exceptions import InvalidArgumentError, InvalidLogError
from counterfolio.log import LoggedData
from counterfolio.models.behavior import (
    Classified,
    Frequencies,
    Gaussian,
    default_classifier,
    default_regressor,
)
from counterfolio.models.features import Design, StateCodes, check_features, choose, name_of
from counterfolio.models.folds import check_folds, deal
from counterfolio.models.propensities import Propensities
from counterfolio.models.propensity_calibration import of_densities, of_probabilities
from counterfolio.states import States
from counterfolio.text import cut, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

#: Rows times actions beyond which probabilities of all actions do not fit.
MOST_CELLS = 1_000_000_000
#: Propensities below this are noted; of densities, below this share of the peak.
TINY = 1e-6
NAME_WIDTH = 40
#: Folds where none are asked for.
FOLDS = 5


@dataclass(frozen=True)
class PropensityModel:
    """How to estimate b(a|s), the probability with which the behavior policy took each action.

    Parameters
    ----------
    classifier
        Of discrete actions: anything with `fit` and `predict_proba`; copied before each fit, and
        given the seed where it has a `random_state` of None. Default: multinomial logistic
        regression (scikit-learn, C=1), or with features "one_hot" frequencies by state.
    features
        "one_hot": a table, each action's frequency in each state, drawn by one row towards its
        frequency overall. "linear", "polynomial" (degree 2), "fourier": of numbers of mean 0 and
        standard deviation 1, text one-hot. Or a transformer, or a callable. "auto": for a
        classifier or regressor of your own "linear"; else a table where discrete states recur
        often, "polynomial" up to 10 numbers, beyond that "linear".
    regressor
        Of continuous actions: anything with `fit` and `predict`, of the mean action. Default:
        linear regression.

    Raises
    ------
    InvalidArgumentError
        If features are unknown, or a model lacks a method.

    Notes
    -----
    Estimates hold if the state columns have everything by which both actions were chosen and
    rewards came about: no confounder is missing. Nothing in a log can prove that.

    Continuous actions get a normal density around the predicted mean, with one covariance for all
    states, jointly over the dimensions and in the log's units. It is wrong where the spread depends
    on the state, where there are several modes, and where tails are heavy; `calibration` shows the
    latter two.

    Cross-fitting: Chernozhukov et al. 2018, Econometrics Journal 21; the median over repeats too.
    """

    classifier: Any = None
    features: Any = "auto"
    regressor: Any = None

    def __post_init__(self) -> None:
        check_features(self.features)
        for name, model, method in (
            ("classifier", self.classifier, "predict_proba"),
            ("regressor", self.regressor, "predict"),
        ):
            if model is None:
                continue
            if isinstance(model, type) or not (hasattr(model, "fit") and hasattr(model, method)):
                text = f"{name} must be an object with fit and {method}, not {model!r}"
                raise InvalidArgumentError(text)
            if self.features == "one_hot":
                text = f'features="one_hot" is a table of frequencies and takes no {name}'
                raise InvalidArgumentError(text)

    def fit(
        self,
        log: LoggedData,
        *,
        cross_fit: int | Literal["auto"] | None = "auto",
        n_repeats: int = 1,
        seed: int = 0,
    ) -> Propensities:
        """Estimate the propensity of every row; but for tables, by models that did not see it.

        Parameters
        ----------
        log
            With `state` columns; what propensities it has are not looked at.
        cross_fit
            Number of folds of episodes (of clusters, where the log has them); the rows of a fold
            are rated by the model of the others. None: one model for all, of all rows, which makes
            propensities look better than they are. "auto": 5, but none for a table of frequencies:
            those of the same rows balance exactly and lose nothing (Hirano, Imbens & Ridder 2003),
            while without its own fold a rare action looks all but impossible.
        n_repeats
            Repeats with other folds. Of the estimates the median is taken, for discrete actions
            divided by its sum over the actions. A table without folds has nothing to repeat.
        seed
            Deals the episodes into folds, by their ids where they have any; 0 to 2^64 - 1.

        Returns
        -------
        Propensities

        Raises
        ------
        InvalidLogError
            If the log names no state column, or a logged action gets propensity 0.
        InvalidArgumentError
            If a number is out of its range, or a model does not go with the type of the actions.
        MissingExtraError
            If scikit-learn is needed and not installed.
        """
        if isinstance(cross_fit, str):
            one_of("cross_fit", cross_fit, ("auto",))
            return self._fit(log, FOLDS, n_repeats, seed, tables=False)
        return self._fit(log, cross_fit, n_repeats, seed, tables=True)

    def _fit(
        self, log: LoggedData, cross_fit: int | None, n_repeats: int, seed: int, *, tables: bool
    ) -> Propensities:
        """Fit with so many folds; `tables` says whether a table of frequencies has them too."""
        _check_log(log)
        begin = time.perf_counter()
        check_folds(log, cross_fit if tables else None, n_repeats, seed)
        discrete = log.roles["action_type"] == "discrete"
        kind = log.roles["action_type"]
        if (self.regressor if discrete else self.classifier) is not None:
            wrong, right = ("regressor", "classifier") if discrete else ("classifier", "regressor")
            text = f"the log's actions are {kind}: pass a {right}, not a {wrong}"
            raise InvalidArgumentError(text)
        if not discrete and self.features == "one_hot":
            text = 'features="one_hot" is a table, which continuous actions have none of'
            raise InvalidArgumentError(text)

        def deal_for(*, table: bool) -> _Folds:
            alone = table and not tables
            return _Folds(log, *((None, 1) if alone else (cross_fit, n_repeats)), seed)

        found = (self._discrete if discrete else self._continuous)(log, deal_for)
        folds, propensity, probs, calibration, learner, features, guessed, notes = found
        return Propensities(
            propensity=propensity,
            action_probs=probs,
            calibration=calibration,
            model=learner.name,
            features=features,
            cross_fit=None if folds.n_folds == 1 else folds.n_folds,
            n_repeats=folds.n_repeats,
            seed=folds.seed,
            guessed=guessed,
            seconds=time.perf_counter() - begin,
            notes=notes,
        )

    def _discrete(self, log: LoggedData, deal_for: Callable[..., _Folds]) -> tuple[Any, ...]:
        codes, labels = log.action_codes.codes.astype(np.int64), log.action_codes.labels
        n, width = len(codes), int(codes.max()) + 1 if labels is None else len(labels)
        if n * width > MOST_CELLS:
            text = (
                f'column "{log.roles["action"]}": {n:,} rows and {width:,} actions make more '
                "probabilities than fit; number the actions from 0 on or pass actions=[...], and "
                "merge rare ones"
            )
            raise InvalidLogError(text)
        features = self.features
        table = None
        if self.classifier is None and features in ("auto", "one_hot"):
            table = StateCodes.of(log.states)
        if features == "one_hot":
            numbers, names = _readable(log.states)
        else:
            design = Design(log.states)
            numbers, names = _numbers(design)
            if features == "auto":
                features = "linear" if table is None else choose(table, width, design)
        learner: Frequencies | Classified
        if table is not None and features == "one_hot":
            learner = Frequencies(table, codes, width)
        else:
            model, name = self.classifier, _model_name(self.classifier)
            if model is None:
                model, name = default_classifier(), "multinomial logistic regression"
            learner = Classified(model, features, numbers, codes, width, name)
        folds = deal_for(table=isinstance(learner, Frequencies))
        probs = np.empty((folds.n_repeats, n, width))
        absent, unseen = np.zeros(n, dtype=bool), np.zeros(n)
        for repeat, train, test, _, seed in folds:
            probs[repeat, test] = learner.probs(train, test, seed)
            absent[test] |= ~np.isin(codes[test], codes[train])
            if isinstance(learner, Frequencies):
                unseen[test] += learner.lacks(train, test)
        whole = _median(probs)
        if folds.n_repeats > 1:
            sums = whole.sum(axis=1, keepdims=True)
            whole = np.divide(whole, sums, out=np.zeros_like(whole), where=sums > 0)
        propensity = whole[np.arange(n), codes]
        shown = [str(x) for x in (range(width) if labels is None else labels)]
        _refuse_zeros(log.roles["action"], propensity, codes, shown, absent)
        notes = _warnings(learner.warned, folds) if isinstance(learner, Classified) else []
        notes += _tiny(propensity < TINY, f"a propensity below {TINY:g}", propensity)
        guesses = unseen > folds.n_repeats / 2
        notes += _guesses(guesses, propensity)
        calibration = of_probabilities(whole, codes, shown, numbers, names)
        guessed = int(guesses.sum())
        return folds, propensity, whole, calibration, learner, name_of(features), guessed, notes

    def _continuous(self, log: LoggedData, deal_for: Callable[..., _Folds]) -> tuple[Any, ...]:
        name = log.roles["action"]
        column = States([log.column(name)])
        column.check()
        if not column.numeric:
            text = (
                f'column "{name}" holds {column.columns[0].dtype}; a continuous action is a number '
                "or a list of as many numbers in every row"
            )
            raise InvalidLogError(text)
        actions = column.take(slice(0, log.n_rows))
        if not np.isfinite(actions).all():
            row = int((~np.isfinite(actions)).any(axis=1).argmax())
            text = f'column "{name}": an infinite number, first at row {row}; mend or drop the row'
            raise InvalidLogError(text)
        design = Design(log.states)
        numbers, _ = _numbers(design)
        features, model = self.features, self.regressor
        if features == "auto":
            features = "linear" if model is not None else choose(None, None, design)
        linear = model is None
        said = "linear regression" if linear else _model_name(model)
        model = default_regressor() if linear else model
        learner = Gaussian(
            model, features, numbers, actions, linear, f"normal density around {said}", name
        )
        folds = deal_for(table=False)
        n, repeats = log.n_rows, folds.n_repeats
        density, relative = np.empty((repeats, n)), np.empty((repeats, n))
        residuals = np.empty((repeats, n, actions.shape[1]))
        for repeat, train, test, halves, seed in folds:
            logs, peak, away = learner.standardise(train, test, halves, seed)
            density[repeat, test] = np.exp(logs)
            relative[repeat, test] = np.exp(logs - peak)
            residuals[repeat, test] = away
        propensity = _median(density)
        if (propensity == 0).any():
            row = int((propensity == 0).argmax())
            text = (
                f'column "{name}": density 0 for {int((propensity == 0).sum())} of {n} rows, first '
                f"at row {row}: their actions lie too far from the predicted mean for float64; "
                "mend or leave out outliers, or transform the action, say by its logarithm"
            )
            raise InvalidLogError(text)
        share = _median(relative)
        notes = _warnings(learner.warned, folds)
        notes += _tiny(share < TINY, f"a density below {TINY:g} of the peak's", share)
        calibration = of_densities(propensity, _median(residuals))
        return folds, propensity, None, calibration, learner, name_of(features), 0, notes


def _check_log(log: object) -> None:
    if not isinstance(log, LoggedData):
        text = (
            f"fit takes a LoggedData, not a {type(log).__name__}; make one with "
            "cf.LoggedData.from_frame(..., propensity=None)"
        )
        raise InvalidArgumentError(text)


class _Folds:
    """Goes through repeats and folds: who learns, who is rated, the halves, and a seed."""

    def __init__(self, log: LoggedData, cross_fit: int | None, n_repeats: int, seed: int) -> None:
        self.log, self.n_folds = log, check_folds(log, cross_fit, n_repeats, seed)
        self.n_repeats, self.seed = int(n_repeats), int(seed)

    def __iter__(self) -> Iterator[tuple[int, Any, Any, Any, int]]:
        lengths = self.log._episodes.lengths()
        for repeat in range(self.n_repeats):
            # Dealt into twice as many hands, a fold is a pair of them: its two halves.
            hands = np.repeat(deal(self.log, 2 * self.n_folds, self.seed, repeat), lengths)
            fold, halves = hands % self.n_folds, hands >= self.n_folds
            seed = (self.seed + repeat) % 2**32
            for k in range(self.n_folds):
                test = np.flatnonzero(fold == k)
                train = np.flatnonzero(fold != k) if self.n_folds > 1 else test
                yield repeat, train, test, halves, seed


def _median(repeats: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take the median over repeats; of one, itself."""
    out: NDArray[np.float64] = repeats[0] if len(repeats) == 1 else np.median(repeats, axis=0)
    return out


def _numbers(design: Design) -> tuple[NDArray[np.float64], list[str]]:
    return design.take(slice(0, len(design))), design.names


def _readable(states: States) -> tuple[NDArray[np.float64], list[str]]:
    """Take those columns of a table's states as numbers of which models know features."""
    parts, names = [np.empty((len(states), 0))], []
    for column in states.columns:
        try:
            found, of = _numbers(Design(States([column])))
        except InvalidLogError:
            continue  # balance is judged by the others
        parts.append(found)
        names += of
    return np.concatenate(parts, axis=1), names


def _model_name(model: object) -> str:
    return cut(type(model).__name__, NAME_WIDTH)


def _refuse_zeros(
    column: str,
    propensity: NDArray[np.float64],
    codes: NDArray[np.integer[Any]],
    labels: list[str],
    absent: NDArray[np.bool_],
) -> None:
    """Raise where a logged action is said to be impossible."""
    zero = propensity == 0
    if not zero.any():
        return
    row = int(zero.argmax())
    same = zero & (codes == codes[row])
    others = len(np.unique(codes[zero])) - 1
    more = f", and of {plural(others, 'other action')}" if others else ""
    why = (
        "no episode outside its fold has that action; merge rare actions, ask for more folds or "
        "none (cross_fit=...), or leave these episodes out"
        if absent[row]
        else "the model rules it out; take one that rules nothing out, as a logistic regression or "
        "trees with larger leaves, or calibrate it"
    )
    text = (
        f'column "{column}": propensity 0 for {int(same.sum())} of {len(propensity)} rows, of '
        f'action "{cut(labels[codes[row]], NAME_WIDTH)}", first at row {row}{more}: {why}'
    )
    raise InvalidLogError(text)


def _tiny(which: NDArray[np.bool_], what: str, values: NDArray[np.float64]) -> list[str]:
    if not which.any():
        return []
    row = int(which.argmax())
    return [
        f"{plural(int(which.sum()), 'row')} with {what}, first row {row} ({values[row]:.3g}), "
        "kept as estimated: such rows may carry all of the weight"
    ]


def _guesses(which: NDArray[np.bool_], values: NDArray[np.float64]) -> list[str]:
    if not which.any():
        return []
    row = int(which.argmax())
    return [
        f"{plural(int(which.sum()), 'row')} with an action that the other folds do not have in "
        f"that state, first row {row} ({values[row]:.3g}): a guess, and a large weight; take no "
        "folds (cross_fit=None), or merge rare states or actions"
    ]


def _warnings(warned: list[str], folds: _Folds) -> list[str]:
    fits = folds.n_folds * folds.n_repeats
    return [
        f'the model warned {plural(warned.count(said), "time")} in {plural(fits, "fit")}: "{said}"'
        for said in dict.fromkeys(warned)
    ]
