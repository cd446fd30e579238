"""Models of Q: `LinearQ` in closed form, `FittedQ` with any regressor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from counterfolio.arguments import is_number, is_whole, one_of
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.models import closed_form, fitted
from counterfolio.models.features import check_features
from counterfolio.models.q_fitting import Linear, Plan, fit_all
from counterfolio.models.tabular import UNSEEN
from counterfolio.threads import check_threads

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from counterfolio.log import LoggedData
    from counterfolio.models.candidates import Candidate
    from counterfolio.models.q_functions import QFunctions
    from counterfolio.models.transitions import Horizon, Transitions

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LinearQ:
    """Q in closed form, linear in features: LSTD-Q, which linear FQE converges to.

    Parameters
    ----------
    features
        "one_hot": a table of states and actions. "linear", "polynomial" (degree 2), "fourier" (100
        random Fourier features): of the standardised state, with a constant, crossed with the
        action (joint with it where actions are a continuum). Or a transformer: an object with
        `transform` (and `fit`), or a callable, from an array of shape (n, d) to one of shape (n,
        k). "auto": a table where each state and action has 20 rows on average (each state, if it is
        one integer or text), else "polynomial" up to 10 columns, else "linear".
    ridge
        lambda = ridge x trace(sum phi phi^T) / d is added to the diagonal. Default: 1e-8.
    horizon
        "logged": Q of the return over the logged steps, what every estimator but `dm` needs.
        "continue": as if no episode had been cut off; gamma below 1; for `dm` alone.
    step
        Whether the step joins the features: crossed with a table, else a feature to each step (up
        to 50) or t/T and its square. Default: where episodes are cut off, since what is still to
        come then depends on the step, or where no column says how episodes end.

    unseen
        Of a table: "state": the probability that a policy gives to actions never seen in a state
        goes to those that were, as the log took them, and their Q is the mean of these. "zero": the
        normal equations alone, by which Q is 0 there.
    weighting
        "mrdr": rows count by (pi / b)^2 (1 - b), so that `dr` varies least (Farajtabar, Chow &
        Ghavamzadeh 2018), and each policy has equations of its own. For single decisions, discrete
        actions and logs with propensities. Default: all rows count alike.

    Notes
    -----
    When it fails: where Q is not near to linear in the features; one-hot where a policy does what
    was never seen in a state (`unseen` in the result).

    Sources: Lagoudakis & Parr 2003 (LSTD-Q); Duan & Wang 2020 (linear FQE converges to it). Linear
    MQL (Uehara, Huang & Jiang 2020) is the same estimator.
    """

    features: Any = "auto"
    ridge: float = 1e-8
    horizon: Horizon = "logged"
    step: bool | None = None
    unseen: Literal["state", "zero"] = "state"
    weighting: Literal["mrdr"] | None = None

    def fit(
        self,
        log: LoggedData,
        policies: Mapping[str, object],
        *,
        gamma: float = 1.0,
        cross_fit: int | None = None,
        n_repeats: int = 1,
        seed: int = 0,
        num_threads: int | None = None,
    ) -> QFunctions:
        """Fit the Q-function of every policy, in one pass over the log.

        Parameters
        ----------
        log
            With `state`.
        policies
            Name -> array of shape (n_rows, n_actions), or an object with `action_probs(states)`;
            with `mean` and `sample` where actions are a continuum.
        gamma
            Discount factor in (0, 1], the one that is evaluated with.
        cross_fit
            Number of folds of episodes; a row's Q comes from the other folds. None: from all.
        n_repeats
            How often folds are dealt anew; Q is the median.
        seed
            Of folds, random features and drawn actions.
        num_threads
            Default: as in `evaluate`.

        Raises
        ------
        InvalidArgumentError
            If an argument is out of its range, the equations are ill conditioned, or the weighting
            is not for such a log.
        InvalidPolicyError
            If a policy cannot say what it does with every action, or no row has a weight for it.
        InvalidLogError
            If the log has no state, a state holds what no model can read, or a weighting needs
            propensities.
        """
        check_features(self.features)
        check_ridge(self.ridge)
        how = closed_form.How(
            self.ridge, one_of("unseen", self.unseen, UNSEEN), check_threads(num_threads)
        )

        def fit_one(
            t: Transitions,
            candidates: list[Candidate],
            n: int | None,
            report: Any,
            weights: Floats | None,
        ) -> Linear:
            space = closed_form.Space.of(t, self.features, n, seed)
            fit = closed_form.fit_q(space, candidates, how, report, weights)
            return Linear(fit, space, how, candidates)

        plan = Plan(gamma, self.horizon, self.step, cross_fit, n_repeats, seed)
        return fit_all("LinearQ", log, policies, plan, self.weighting, fit_one)


@dataclass(frozen=True)
class FittedQ:
    """Fitted Q evaluation with any regressor; a direct reward model for bandits.

    Parameters
    ----------
    regressor
        An object with `fit` and `predict`, such as `HistGradientBoostingRegressor()`; it is cloned.
        Where rewards are 0 or 1 in single decisions, a classifier with `predict_proba` too. It
        reads the state's numbers (text one-hot), the step where it matters, and the action
        (one-hot).
    horizon, step
        As in `LinearQ`. Where episodes are cut off, have up to 50 steps, and every step has 50
        rows, a regressor is fitted to each step, backwards from the last.
    most_iterations
        Default: as many as the longest episode has steps, or until nothing changes.
    weighting
        As in `LinearQ`; given to the regressor's `fit` as `sample_weight`, which it has to take, of
        mean 1 in the rows that it learns from. Rows without a weight are left out.

    Notes
    -----
    When it fails: errors of the regressor add up over iterations; on few rows a linear model is
    safer.

    Source: Le, Voloshin & Yue 2019.
    """

    regressor: Any
    horizon: Horizon = "logged"
    step: bool | None = None
    most_iterations: int | None = None
    weighting: Literal["mrdr"] | None = None

    def fit(
        self,
        log: LoggedData,
        policies: Mapping[str, object],
        *,
        gamma: float = 1.0,
        cross_fit: int | None = None,
        n_repeats: int = 1,
        seed: int = 0,
        num_threads: int | None = None,
    ) -> QFunctions:
        """Fit the Q-function of every policy; see `LinearQ.fit`.

        Raises
        ------
        MissingExtraError
            If scikit-learn is absent.
        """
        most = self.most_iterations
        if most is not None and (not is_whole(most) or most < 1):
            text = f"most_iterations must be a whole number of 1 or more, not {most!r}"
            raise InvalidArgumentError(text)

        def fit_one(
            t: Transitions,
            candidates: list[Candidate],
            n: int | None,
            report: Any,
            weights: Floats | None,
        ) -> fitted.Regressions:
            return fitted.fit(t, candidates, n, self.regressor, most, seed, report, weights)

        plan = Plan(gamma, self.horizon, self.step, cross_fit, n_repeats, seed)
        name = f"FittedQ({type(self.regressor).__name__})"
        return fit_all(name, log, policies, plan, self.weighting, fit_one)


def check_ridge(ridge: object) -> None:
    """Raise unless it is a number of 0 or more."""
    if not is_number(ridge) or not 0 <= ridge < float("inf"):
        text = f"ridge must be a number of 0 or more, not {ridge!r}"
        raise InvalidArgumentError(text)
