"""`FittedQIteration` and `PessimisticQ`: what is best by a log, and what is surely good."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.arguments import check_seed, is_number
from counterfolio.dense import blocks
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.learners.classifiers import model_copy
from counterfolio.learners.decisions import (
    Decisions,
    check_iteration,
    check_model,
    returns_to_go,
)
from counterfolio.learners.functions import LearnedQ
from counterfolio.learners.least_squares import LinearSpace
from counterfolio.learners.q_iteration import (
    Iterated,
    Pessimism,
    RegressorSpace,
    TableSpace,
    iterate,
)
from counterfolio.learners.reading import StateNumbers, StateTable, read_states
from counterfolio.models.features import check_features
from counterfolio.models.fitted import SETTLED, check_regressor, until
from counterfolio.models.q_models import check_ridge
from counterfolio.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from counterfolio.log import LoggedData
    from counterfolio.models.features import StateCodes
    from counterfolio.models.transitions import Horizon

#: Changes as a share of the largest value that end iterations.
TABLE_SETTLED = 1e-10
LINEAR_SETTLED = 1e-6
#: Iterations of a table.
MOST_ITERATIONS = 10_000
#: Share of the states that are worth as much as rewards can add up to from which it is told.
MANY_KEPT = 0.5


@dataclass(frozen=True)
class FittedQIteration:
    """Learn Q* of a log: the Q-function of the best policy that its transitions show.

    Q_{i+1} = regression of r + gamma max_a' Q_i(s', a') on (s, a), from Q_0 = 0. The next state of
    a row is that of the next row of its episode.

    Parameters
    ----------
    regressor
        An object with `fit` and `predict`, such as `ExtraTreesRegressor()`; copied for each
        iteration, and given the seed where it has a `random_state` of None. It reads the state's
        numbers (text one-hot) and the action (one-hot). Default: none; a table, or least squares of
        each action, in closed form.
    n_iterations
        Default: of a table until nothing changes, to 1e-10 of the largest value (at most 10,000);
        of features to 1e-6, or as many as gamma needs for that (with gamma 1 at most 1,000), with
        fewer passes over the log by sweeps that keep the best actions (modified policy iteration,
        Puterman & Shin 1978); of a regressor to 1e-3, or as many as gamma needs for that (with
        gamma 1 as many as the longest episode has steps).
    features
        As in `models.LinearQ`: "one_hot", a table; "linear", "polynomial", "fourier" (needs
        scikit-learn), a transformer; "auto", which also means the numbers as they are for a
        regressor.
    ridge
        As in `models.LinearQ`; a table has none. Default: 1e-8.
    horizon
        What follows the last row of an episode that was cut off (`truncated`, or not `terminated`).
        "continue": nobody knows; that row is left out. "logged": nothing, as if it had ended.
        Default: "continue" where gamma is below 1, else "logged", since what goes on for ever has
        no value without discounting.

    Raises
    ------
    InvalidArgumentError
        If an argument is out of its range.

    Notes
    -----
    When it fails: the maximum picks what is overestimated, so that with few rows an action looks
    best that was merely lucky (`PessimisticQ` is for that). Actions that are rare in a state are
    extrapolated by all features but a table. Least squares with a maximum need not settle, which a
    note says; what a state is worth is kept within what rewards can add up to, or it might grow
    without end. Where all episodes are cut off at one step, the rows of that step that stay are
    those that ended, so that ends look a little likelier than they are. And a return over finitely
    many steps depends on how many are left, which a policy that sees the state columns alone cannot
    know.

    An action never seen in a state of a table (with other features: nowhere in the log) is worth
    just less than the least of all, so that it is not chosen. A state that the table does not have
    gets the mean Q of each action.

    Sources: Ernst, Geurts & Wehenkel 2005, JMLR 6; Munos & Szepesvari 2008, JMLR 9 (truncation).
    """

    regressor: Any = None
    n_iterations: int | None = None
    features: Any = "auto"
    ridge: float = 1e-8
    horizon: Horizon | None = None

    def __post_init__(self) -> None:
        check_features(self.features)
        check_ridge(self.ridge)
        check_iteration(self.n_iterations, self.horizon)
        check_model("regressor", self.regressor, "predict", self.features)

    def fit(self, log: LoggedData, *, gamma: float = 1.0, seed: int = 0) -> LearnedQ:
        """Learn from a log.

        Parameters
        ----------
        log
            With `state`; episodes of several steps with `terminated` or `truncated`, unless
            `horizon` says how they end. Propensities are not needed.
        gamma
            Discount factor in (0, 1].
        seed
            Of random features, and of regressors.

        Returns
        -------
        LearnedQ
            Called with states, it returns Q of every action.

        Raises
        ------
        InvalidLogError
            If actions are continuous, no state is named, or nobody knows how episodes end.
        InvalidArgumentError
            If an argument is out of its range, or features repeat each other.
        """
        check_seed(seed)
        d = Decisions.of(log, "FittedQIteration", gamma, self.horizon)
        name = "FittedQIteration"
        if self.regressor is None:
            read = read_states(log, self.features, len(d.actions), seed, constant=True)
            return _closed_form(name, d, read, self.ridge, None, self.n_iterations, seed, {})
        predict = check_regressor(d.t, self.regressor)
        chosen = (
            None if isinstance(self.features, str) and self.features == "auto" else self.features
        )
        numbers = StateNumbers.of(log, chosen, seed, constant=False)
        space = RegressorSpace.of(d, numbers, lambda: model_copy(self.regressor, seed), predict)
        most = self.n_iterations or (until(gamma) if gamma < 1 else d.t.longest)
        name = f"{name}({type(self.regressor).__name__})"
        with progress("learning Q") as report:
            found = iterate(space, d, most, SETTLED, report)
        return _result(name, d, numbers.name, found, space.learned(found.fit), d.notes, seed, {})


@dataclass(frozen=True)
class PessimisticQ:
    """Learn a lower bound of Q: what is good by rows enough, rather than by luck.

    Q iteration in which beta sqrt(phi^T Lambda^-1 phi) is taken off every Q(s, a), with Lambda =
    sum phi phi^T + lambda I over the rows that took a. In a table that is beta / sqrt(n(s, a)).

    Parameters
    ----------
    beta
        How much is taken off where one row was seen, in units of the return. Default of single
        decisions: w sqrt(log(2 m / delta) / 2), Hoeffding's bound for the mean of numbers in a
        range of width w, held by all m cells (states times actions; features times actions)
        together. Over several steps: s sqrt(2 log(m / delta)), the same for normal noise, with s
        the standard deviation of r + gamma max_a' Q(s', a') about Q(s, a) after
        `FittedQIteration`; the range of returns would be far too cautious, and is taken only where
        there are no more rows than cells.
    delta
        Probability with which some bound may fail; only for the default of beta. Default: 0.1.
    value_range
        (low, high) of what a state can be worth; w = high - low, and no state is worth less than
        low. Default: the least and the largest discounted return from any row of the log on.
    features, ridge, horizon, n_iterations
        As in `FittedQIteration` without a regressor.

    Raises
    ------
    InvalidArgumentError
        If an argument is out of its range.

    Notes
    -----
    delta is a probability where decisions are single and rewards lie in `value_range`. Over several
    steps it is a scale: the noise is taken to be the same everywhere, and values that are estimated
    from the same rows are not independent of them. Features count as if each were a cell; the
    constant of the linear theory is not known. Where it matters, choose beta by evaluating several
    of them.

    When it fails: where beta is so large that no state is worth more than `value_range`'s low,
    which a note says; then every action looks alike. A small beta makes it `FittedQIteration`. It
    stays near what the log did, so that it cannot be much better than a log that never did right.

    What was never seen is treated as in `FittedQIteration`, but a state that the table does not
    have is worth no more than low.

    Sources: Rashidinejad, Zhu, Ma, Jiao & Russell 2021, "Bridging Offline Reinforcement Learning
    and Imitation Learning: A Tale of Pessimism" (VI-LCB; the rows are not split between iterations
    here); Jin, Yang & Wang 2021, "Is Pessimism Provably Efficient for Offline RL?" (PEVI, the
    linear form).
    """

    beta: float | None = None
    delta: float = 0.1
    value_range: tuple[float, float] | None = None
    features: Any = "auto"
    ridge: float = 1e-8
    horizon: Horizon | None = None
    n_iterations: int | None = None

    def __post_init__(self) -> None:
        check_features(self.features)
        check_ridge(self.ridge)
        check_iteration(self.n_iterations, self.horizon)
        if self.beta is not None and (not is_number(self.beta) or not 0 <= self.beta < math.inf):
            text = f"beta must be None or a number of 0 or more, not {self.beta!r}"
            raise InvalidArgumentError(text)
        if not is_number(self.delta) or not 0 < self.delta < 1:
            text = f"delta must be a probability between 0 and 1, not {self.delta!r}"
            raise InvalidArgumentError(text)
        if self.value_range is not None:
            _check_range(self.value_range)

    def fit(self, log: LoggedData, *, gamma: float = 1.0, seed: int = 0) -> LearnedQ:
        """Learn from a log; see `FittedQIteration.fit`.

        Raises
        ------
        InvalidLogError
            If actions are continuous, no state is named, or nobody knows how episodes end.
        InvalidArgumentError
            If an argument is out of its range, or features repeat each other.
        """
        check_seed(seed)
        d = Decisions.of(log, "PessimisticQ", gamma, self.horizon)
        read = read_states(log, self.features, len(d.actions), seed, constant=True)
        low, high = self.value_range or _range(d)
        beta = self.beta
        if beta is None:
            beta = self._beta(d, read, high - low, seed)
        pessimism = Pessimism(float(beta), float(low))
        extra = {
            "beta": pessimism.beta,
            "delta": None if self.beta is not None else self.delta,
            "value_range": (float(low), float(high)),
        }
        return _closed_form(
            "PessimisticQ", d, read, self.ridge, pessimism, self.n_iterations, seed, extra
        )

    def _beta(
        self,
        d: Decisions,
        read: tuple[StateTable, StateCodes] | StateNumbers,
        width: float,
        seed: int,
    ) -> float:
        """Choose beta: by the range of rewards, or over several steps by the noise of targets."""
        cells = len(d.actions) * (read[0].n_states if isinstance(read, tuple) else read.width)
        hoeffding = width * math.sqrt(math.log(2 * cells / self.delta) / 2)
        if d.t.longest == 1:
            return hoeffding
        q = _closed_form("FittedQIteration", d, read, self.ridge, None, None, seed, {})
        noise = _noise(d, q, cells)
        # Nothing is known of the noise where every cell has one row.
        return hoeffding if noise is None else noise * math.sqrt(2 * math.log(cells / self.delta))


def _noise(d: Decisions, q: LearnedQ, cells: int) -> float | None:
    """Take the standard deviation of targets about Q; None if no row is left to tell."""
    found = np.concatenate([q(d.t.log.states.take(rows)) for rows in blocks(d.t.log.n_rows)])
    target = d.t.reward.copy()
    target[d.goes_on] += d.t.gamma * found[d.following].max(axis=1)
    off = (target - found[np.arange(len(found)), d.t.action])[d.used]
    free = len(off) - cells
    return math.sqrt(float((off**2).sum()) / free) if free > 0 else None


def _check_range(value_range: Any) -> None:
    given = tuple(value_range) if isinstance(value_range, tuple | list) else ()
    numbers = len(given) == 2 and all(is_number(x) and math.isfinite(x) for x in given)
    if not numbers or not given[0] <= given[1]:
        text = f"value_range must be (low, high) with low <= high, not {value_range!r}"
        raise InvalidArgumentError(text)


def _range(d: Decisions) -> tuple[float, float]:
    found = returns_to_go(d.t)[d.used]
    return float(found.min()), float(found.max())


def _closed_form(
    name: str,
    d: Decisions,
    read: tuple[StateTable, StateCodes] | StateNumbers,
    ridge: float,
    pessimism: Pessimism | None,
    n_iterations: int | None,
    seed: int,
    extra: dict[str, Any],
) -> LearnedQ:
    """Iterate on a table, or on least squares in features."""
    space: TableSpace | LinearSpace
    if isinstance(read, StateNumbers):
        features, tolerance = read.name, LINEAR_SETTLED
        space, enough = LinearSpace.of(d, read, ridge, pessimism), until(d.t.gamma, tolerance)
    else:
        features, tolerance = "one_hot", TABLE_SETTLED
        space, enough = TableSpace.of(d, *read, pessimism), MOST_ITERATIONS
    with progress("learning Q") as report:
        most, sweep = n_iterations or enough, n_iterations is None
        found = iterate(space, d, most, tolerance, report, sweep=sweep)
    notes = list(d.notes)
    if n_iterations is None and found.change > tolerance:
        forever = "; with gamma 1 a policy may go on for ever" if d.t.gamma == 1 else ""
        notes.append(
            f"values still changed by {found.change:.1g} of themselves after "
            f"{found.n_iterations:,} iterations{forever}; take other features (a table), a larger "
            "ridge or a smaller gamma"
        )
    if pessimism is not None and len(space.start):
        floored = space.values(found.fit) <= pessimism.floor
        if floored.mean() > 0.5:
            notes.append(
                f"{floored.mean():.0%} of the states are worth no more than the least return that "
                f"there is: beta {pessimism.beta:.3g} is large for such a log; take a smaller one, "
                "or log more"
            )
    return _result(name, d, features, found, space.learned(found.fit), notes, seed, extra)


def _result(
    name: str,
    d: Decisions,
    features: str,
    found: Iterated,
    function: Callable[[Any], Any],
    notes: list[str],
    seed: int,
    extra: dict[str, Any],
) -> LearnedQ:
    if found.kept > MANY_KEPT:
        notes = [
            *notes,
            f"{found.kept:.0%} of the values are beyond what rewards can add up to, and were kept "
            "within it: the features extrapolate wildly; take others (a table, fewer of them), or "
            "a larger ridge",
        ]
    settings = {
        "learner": name,
        "features": features,
        "gamma": d.t.gamma,
        "horizon": d.t.horizon,
        "n_iterations": found.n_iterations,
        "change": found.change,
        "seed": seed,
        **extra,
    }
    return LearnedQ(d.actions, settings, notes, function)
