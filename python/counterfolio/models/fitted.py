"""Fitted Q evaluation with any regressor of scikit-learn's kind (Le, Voloshin & Yue 2019).

Q_{i+1} = regression of r + gamma sum_a' pi(a'|s') Q_i(s', a') on (s, a), a clone of the regressor
to each iteration, from Q_0 = 0. After i iterations Q_i counts i steps, so that as many as the
longest episode has are enough; fewer where nothing changes any more. Where episodes are cut off and
steps are few, one regressor is fitted to each step, backwards from the last: Q_t needs Q_{t+1}
alone.

On a log of single decisions this is the direct reward model: one regression of r on (s, a).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.exceptions import InvalidArgumentError, MissingExtraError
from counterfolio.models.linear import block_slices
from counterfolio.models.transitions import logged_actions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from counterfolio.models.candidates import Candidate
    from counterfolio.models.transitions import Transitions

    Floats = NDArray[np.float64]
    Report = Callable[[float], None]

#: Change of the targets, in standard deviations of theirs, at which iterations stop.
SETTLED = 1e-3
#: Rows that a step needs in every training set to have a regressor of its own.
ROWS_PER_STEP = 50


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the regressor reads: the state's numbers, the step's, and the action.

    A discrete action of K labels makes K columns, of which one is 1.
    """

    t: Transitions
    n_actions: int | None
    #: Whether each step has its own regressor, which then need not know the step.
    by_step: bool
    seed: int

    def states(self, rows: slice) -> Floats:
        """State and step of some rows."""
        x = self.t.design.take(rows)
        if not self.t.step_joins or self.by_step:
            return x
        return np.column_stack([x, self.t.step[rows] / self.t.longest])

    def logged(self, rows: slice) -> Floats:
        """State, step and logged action of some rows."""
        if self.n_actions is None:
            actions = logged_actions(self.t.log, rows)
        else:
            actions = np.eye(self.n_actions)[self.t.action[rows]]
        return np.concatenate([self.states(rows), actions], axis=1)

    def options(self, rows: slice, candidate: Candidate) -> list[tuple[Floats, Floats]]:
        """Give inputs and weights of the actions that stand for pi(.|s) in each row."""
        x = self.states(rows)
        if self.n_actions is None:
            drawn = candidate.draws(rows, self.seed)
            return [
                (np.concatenate([x, a], axis=1), np.full(len(x), 1 / len(drawn))) for a in drawn
            ]
        weights, eye = candidate.probs(rows), np.eye(self.n_actions)
        return [
            (np.concatenate([x, np.broadcast_to(eye[a], (len(x), self.n_actions))], axis=1), w)
            for a, w in enumerate(weights.T)
        ]


@dataclass(frozen=True, eq=False)
class Regressions:
    """Fitted regressors of every policy and fold, one or one to a step."""

    inputs: Inputs
    predict: Callable[[Any, Floats], Floats]
    #: By policy, fold and step (one only where steps share it).
    models: list[list[list[Any]]]

    def _apply(self, policy: int, rows: slice, x: Floats) -> Floats:
        t = self.inputs.t
        out = np.empty(len(x))
        step = t.step[rows] if self.inputs.by_step else np.zeros(len(x), dtype=np.int64)
        for f, models in enumerate(self.models[policy]):
            for s, model in enumerate(models):
                here = (t.fold[rows] == f) & (step == s)
                if here.any():
                    out[here] = self.predict(model, x[here])
        return out

    def values(self, policy: int, rows: slice) -> Floats:
        """Q of all actions, of shape (n, n_actions)."""
        n_actions = self.inputs.n_actions
        assert n_actions is not None
        x, eye = self.inputs.states(rows), np.eye(n_actions)
        each = [
            self._apply(
                policy,
                rows,
                np.concatenate([x, np.broadcast_to(eye[a], (len(x), n_actions))], axis=1),
            )
            for a in range(n_actions)
        ]
        return np.column_stack(each)

    def at(self, policy: int, rows: slice, actions: Floats) -> Floats:
        """Q of one action of a continuum in each row."""
        return self._apply(
            policy, rows, np.concatenate([self.inputs.states(rows), actions], axis=1)
        )


def check_regressor(t: Transitions, regressor: Any) -> Callable[[Any, Floats], Floats]:
    """Say how a fitted clone predicts.

    Raises
    ------
    InvalidArgumentError
        If it cannot be fitted, or is a classifier where rewards are not 0 and 1 in single
        decisions.
    """
    if not (hasattr(regressor, "fit") and hasattr(regressor, "predict")):
        text = f"regressor must have fit and predict, as scikit-learn's have, not {regressor!r}"
        raise InvalidArgumentError(text)
    if not hasattr(regressor, "predict_proba"):
        return _predicted
    if t.longest > 1 or not np.isin(t.reward, (0, 1)).all():
        text = (
            f"{type(regressor).__name__} is a classifier, which models rewards of 0 and 1 in logs "
            "of single decisions alone; pass a regressor"
        )
        raise InvalidArgumentError(text)
    return _chance


def _predicted(model: Any, x: Floats) -> Floats:
    return np.asarray(model.predict(x), dtype=np.float64).reshape(len(x))


def _chance(model: Any, x: Floats) -> Floats:
    """Take the probability of a reward of 1."""
    classes = list(model.classes_)
    probs = np.asarray(model.predict_proba(x), dtype=np.float64)
    return probs[:, classes.index(1)] if 1 in classes else np.zeros(len(x))


def fit(
    t: Transitions,
    candidates: Sequence[Candidate],
    n_actions: int | None,
    regressor: Any,
    most_iterations: int | None,
    seed: int,
    report: Report | None,
    weights: Floats | None = None,
) -> Regressions:
    """Fit every policy on every training set; with weights on the rows that have one."""
    try:
        from sklearn.base import clone
    except ImportError as error:
        text = 'FittedQ needs scikit-learn; pip install "counterfolio[models]"'
        raise MissingExtraError(text) from error
    predict = check_regressor(t, regressor)
    if weights is not None:
        _check_takes_weights(regressor)
    inputs = Inputs(t, n_actions, _by_step(t), seed)
    rows = slice(0, t.log.n_rows)
    x = inputs.logged(rows)
    done, total = 0, len(candidates) * t.n_folds
    models: list[list[list[Any]]] = []
    for p, candidate in enumerate(candidates):
        ahead = _Ahead(inputs, candidate)
        models.append([])
        for fold in range(t.n_folds):
            train = t.training(fold)

            def fresh() -> Any:
                return clone(regressor)

            if weights is not None:
                # Of single decisions: one regression of the rewards.
                train &= weights[p] > 0
                weight = weights[p][train] / weights[p][train].mean()
                found = [fresh().fit(x[train], t.reward[train], sample_weight=weight)]
            elif inputs.by_step:
                found = _backward(t, x, train, ahead, predict, fresh)
            else:
                found = [_iterate(t, x, train, ahead, predict, fresh, most_iterations)]
            models[-1].append(found)
            done += 1
            if report is not None:
                report(done / total)
    return Regressions(inputs, predict, models)


def _check_takes_weights(regressor: Any) -> None:
    from sklearn.utils.validation import has_fit_parameter

    if not has_fit_parameter(regressor, "sample_weight"):
        text = (
            f"{type(regressor).__name__} takes no sample_weight in its fit, which weighting needs; "
            "pass a regressor that does, or leave weighting out"
        )
        raise InvalidArgumentError(text)


def _by_step(t: Transitions) -> bool:
    """Whether every step has rows enough for a regressor of its own."""
    if not t.by_step:
        return False
    train = map(t.training, range(t.n_folds))
    return all(
        np.bincount(t.step[rows], minlength=t.longest).min() >= ROWS_PER_STEP for rows in train
    )


class _Ahead:
    """Values of the states that follow."""

    def __init__(self, inputs: Inputs, candidate: Candidate) -> None:
        self._inputs, self._candidate = inputs, candidate

    def value(self, model: Any, predict: Callable[[Any, Floats], Floats], at: Any) -> Floats:
        """V = sum_a pi(a|s) Q(s, a) in the rows where `at` is true, 0 elsewhere."""
        n = len(at)
        out = np.zeros(n)
        for rows in block_slices(n, 1):
            here = at[rows]
            if not here.any():
                continue
            for x, weight in self._inputs.options(rows, self._candidate):
                out[rows][here] += weight[here] * predict(model, x[here])
        return out


def _iterate(
    t: Transitions,
    x: Floats,
    train: NDArray[np.bool_],
    ahead: _Ahead,
    predict: Callable[[Any, Floats], Floats],
    fresh: Callable[[], Any],
    most_iterations: int | None,
) -> Any:
    """Iterate until nothing changes, or every step of an episode has been counted."""
    following = train & ~t.last
    target = np.append(False, following[:-1])
    most = t.longest if t.horizon == "logged" else until(t.gamma)
    most = most if most_iterations is None else min(most, most_iterations)
    y, model = t.reward.copy(), None
    for i in range(max(1, most)):
        model = fresh().fit(x[train], y[train])
        if not target.any() or i + 1 == most:
            break
        value = ahead.value(model, predict, target)
        new = t.reward + t.gamma * np.append(value[1:], 0.0) * following
        change = float(np.sqrt(np.mean((new[train] - y[train]) ** 2)))
        y = new
        if change <= SETTLED * float(y[train].std()):
            break
    return model


def until(gamma: float, missing: float = SETTLED) -> int:
    """Count the iterations after which no more than that share of the return is missing."""
    return int(np.ceil(np.log(missing) / np.log(gamma))) if gamma < 1 else 1_000


def _backward(
    t: Transitions,
    x: Floats,
    train: NDArray[np.bool_],
    ahead: _Ahead,
    predict: Callable[[Any, Floats], Floats],
    fresh: Callable[[], Any],
) -> list[Any]:
    """Fit one regressor to each step, from the last to the first."""
    models: list[Any] = []
    for step in reversed(range(t.longest)):
        rows = train & (t.step == step)
        y = t.reward.copy()
        if models:
            goes_on = rows & ~t.last
            value = ahead.value(models[-1], predict, np.append(False, goes_on[:-1]))
            y += t.gamma * np.append(value[1:], 0.0) * goes_on
        models.append(fresh().fit(x[rows], y[rows]))
    return models[::-1]
