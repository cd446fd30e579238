"""`WeightedClassification`: the best policy of single decisions, by classifying the best action."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from counterfolio.arguments import check_seed, is_number, one_of
from counterfolio.exceptions import InvalidArgumentError, InvalidLogError
from counterfolio.learners.classifiers import classifier_copy, probabilities
from counterfolio.learners.decisions import (
    check_discrete,
    check_model,
    check_single,
    labels_of,
)
from counterfolio.learners.functions import TableFunction, filled
from counterfolio.learners.reading import read_states
from counterfolio.log import check_log
from counterfolio.models import LinearQ
from counterfolio.models.features import check_features
from counterfolio.policies import Deterministic, Uniform
from counterfolio.sources import column_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from counterfolio.learners.reading import StateTable
    from counterfolio.log import LoggedData
    from counterfolio.models.features import StateCodes

    Floats = NDArray[np.float64]

SCORES = ("dr", "ips")


@dataclass(frozen=True)
class WeightedClassification:
    """Learn a policy of single decisions that maximises an estimate of its value.

    The value of a policy is estimated by mean Gamma_i(pi(x_i)), with a score for each row and
    action:

        ips    1{a = a_i} (r_i - c) / b_i
        dr     Q(x_i, a) + 1{a = a_i} (r_i - Q(x_i, a_i)) / b_i

    and its maximum is a classification problem in which row i costs what it loses by not taking its
    best action.

    Parameters
    ----------
    classifier
        An object with `fit` that takes `sample_weight`, and `predict_proba`; copied. Default: with
        a table the action of the best mean score in each state, which is the maximum itself; else
        multinomial logistic regression (scikit-learn).
    scores
        "dr", with a Q that has not seen the row (Dudik, Langford & Li 2011), or "ips".
    features
        As in `models.LinearQ`, and "auto", which also means the numbers as they are for a
        classifier of your own.
    q_model
        `models.LinearQ` or `models.FittedQ`, for "dr". Default: `LinearQ()`.
    baseline
        c, for "ips". Default: the mean reward of the log.

    Raises
    ------
    InvalidArgumentError
        If an argument is out of its range.

    Notes
    -----
    Negative rewards. A classifier's weights may not be negative, and need not be: a policy takes
    one action in each row, so that a number taken off all scores of a row moves no maximum. The
    least score of each row is taken off. A logged action that cost something then speaks for all
    the other actions, by as much.

    The baseline. Adding a constant to all rewards moves no "dr" score against another. With "ips"
    it does, on any finite log: with rewards far above 0 whatever was logged looks good, far below
    whatever was not. In expectation the maximum is the same for every c; with the mean reward the
    result no longer depends on what the rewards are counted from.

    When it fails: actions with small propensities have scores that are large by chance, and the
    maximum finds them; the classifier minimises a logistic loss, whose maximum is that of the value
    where it can represent it, and need not be elsewhere. Evaluate the policy on other rows than
    those it was learned from. Of a table, actions never taken in a state are not chosen, and states
    that it does not have get the action of the best mean score overall.

    Sources: Dudik, Langford & Li 2011 ("Doubly Robust Policy Evaluation and Learning"); Zhang et
    al. 2012 (weighted classification).
    """

    classifier: Any = None
    scores: Literal["dr", "ips"] = "dr"
    features: Any = "auto"
    q_model: Any = None
    baseline: float | None = None

    def __post_init__(self) -> None:
        one_of("scores", self.scores, SCORES)
        check_features(self.features)
        check_model("classifier", self.classifier, "predict_proba", self.features)
        if self.baseline is not None and not (
            is_number(self.baseline) and np.isfinite(self.baseline)
        ):
            text = f"baseline must be None or a finite number, not {self.baseline!r}"
            raise InvalidArgumentError(text)
        lost, other = ("baseline", "ips") if self.scores == "dr" else ("q_model", "dr")
        if getattr(self, lost) is not None:
            text = f'{lost} is for scores="{other}"; leave it out, or pass scores="{other}"'
            raise InvalidArgumentError(text)

    def fit(self, log: LoggedData, *, cross_fit: int | None = 5, seed: int = 0) -> Deterministic:
        """Learn from a log of single decisions.

        Parameters
        ----------
        log
            With `state` and propensities, those of several loggers or estimated ones too.
        cross_fit
            Folds for Q of "dr"; None: Q learns from the rows that it speaks about.
        seed
            Of folds, random features, and models that draw.

        Returns
        -------
        policies.Deterministic
            Its `base` gives the scores, for `EpsilonGreedy(policy.base, 0.1,
            actions=policy.actions)`.

        Raises
        ------
        InvalidLogError
            If actions are continuous, an episode has several rows, there are no propensities or no
            state, or no action earns more than another.
        InvalidArgumentError
            If an argument is out of its range.
        MissingExtraError
            If scikit-learn is needed and absent.
        """
        who = "WeightedClassification"
        check_log(log, f"{who}.fit")
        check_seed(seed)
        check_discrete(log, who)
        check_single(log, who)
        log.states.check()
        actions = labels_of(log)
        weight = self._scores(log, len(actions), cross_fit, seed)
        weight -= weight.min(axis=1, keepdims=True)
        if not weight.any():
            text = "every action has the same score in every row, so there is nothing to learn"
            raise InvalidLogError(text)
        auto = isinstance(self.features, str) and self.features == "auto"
        chosen = None if auto and self.classifier is not None else self.features
        read = read_states(log, chosen, len(actions), seed, constant=False)
        if isinstance(read, tuple):
            return Deterministic(_best(*read, weight, log.action_codes.codes), actions)
        row, action = np.nonzero(weight)
        model = classifier_copy(self.classifier, who, seed)
        share = weight[row, action]
        x = read.of_log(log)[row]
        base = probabilities(model, read, x, action, len(actions), share / share.mean())
        return Deterministic(base, actions)

    def _scores(self, log: LoggedData, n_actions: int, cross_fit: int | None, seed: int) -> Floats:
        """Score each row and action, of shape (n_rows, n_actions)."""
        if log._propensity is None:
            text = (
                "the log has no propensities, which scores are made of; fit them with "
                "log.with_propensity(cf.models.PropensityModel().fit(log)), or name "
                "propensity=... in LoggedData.from_frame"
            )
            raise InvalidLogError(text)
        reward, propensity = (
            column_values(column).astype(np.float64)
            for column in (log._table.column(log.roles["reward"]), log._propensity)
        )
        rows, codes = np.arange(log.n_rows), log.action_codes.codes
        if self.scores == "ips":
            scores = np.zeros((log.n_rows, n_actions))
            baseline = float(reward.mean()) if self.baseline is None else self.baseline
            scores[rows, codes] = (reward - baseline) / propensity
            return scores
        # Of single decisions: any policy has the same Q.
        model = LinearQ() if self.q_model is None else self.q_model
        policy = {"any": Uniform(labels_of(log))}
        fit = model.fit(log, policy, cross_fit=cross_fit, seed=seed)
        scores = fit.values("any")
        scores[rows, codes] += (reward - scores[rows, codes]) / propensity
        return scores


def _best(
    table: StateTable, of: StateCodes, weight: Floats, codes: NDArray[np.integer[Any]]
) -> TableFunction:
    """Take the mean score of each state and action; overall, for states that it does not have."""
    n_actions = weight.shape[1]
    rows = np.bincount(of.codes, minlength=table.n_states)
    total = np.stack([np.bincount(of.codes, w, table.n_states) for w in weight.T], axis=1)
    cells = np.bincount(of.codes * n_actions + codes, minlength=total.size).reshape(total.shape)
    mean = np.concatenate([total / rows[:, None], weight.mean(axis=0, keepdims=True)])
    taken = np.concatenate([cells, cells.sum(axis=0, keepdims=True)]) > 0
    return TableFunction(table, filled(mean, taken))
