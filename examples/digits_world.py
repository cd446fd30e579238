"""The world of act 2: scikit-learn's digits as a bandit, with policies of known value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import counterfolio as cf
import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

SEED = 0
N_ACTIONS = 10

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class World:
    """Classification as a bandit: show an image, name a digit, earn 1 if it is the label.

    Attributes
    ----------
    labels
        Of the images, the population of contexts from which every log is drawn.
    behavior, q_values, candidates
        Dense arrays of shape (images, actions).
    """

    labels: Integers
    behavior: Floats
    q_values: Floats
    candidates: dict[str, Floats]

    def value(self, probs: Floats) -> float:
        """The true value: the probability of the label, averaged over all images."""
        return float(probs[np.arange(len(self.labels)), self.labels].mean())

    def draw(self, rows: int, seed: int) -> tuple[cf.LoggedData, Integers, Integers]:
        """A log of the behavior policy, and the image and the action of each row."""
        rng = np.random.default_rng([SEED, seed])
        images = rng.integers(len(self.labels), size=rows)
        cumulative = self.behavior[images].cumsum(axis=1)
        actions = (rng.random(rows)[:, None] > cumulative[:, :-1]).sum(axis=1)
        log = cf.LoggedData.from_frame(
            {
                "impression": np.arange(rows),  # tells the same image, shown again, from a copy
                "action": actions,
                "reward": (actions == self.labels[images]).astype(np.float64),
                "propensity": self.behavior[images, actions],
            }
        )
        return log, images, actions


def softmax(scores: Floats, temperature: float) -> Floats:
    """Probabilities from scores; the lower the temperature, the greedier."""
    powers = np.exp((scores - scores.max(axis=1, keepdims=True)) / temperature)
    probs: Floats = powers / powers.sum(axis=1, keepdims=True)
    return probs


def make_world() -> World:
    """Fit everything on one half of the images; the other half is the population."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(SEED).permutation(len(labels))
    ours, theirs = order[: len(order) // 2], order[len(order) // 2 :]
    x, y, seen = images[ours] / 16, labels[ours], images[theirs] / 16

    def greedy(model: Any) -> Floats:
        chosen: Integers = model.predict(seen)
        return np.eye(N_ACTIONS)[chosen]

    weak = LogisticRegression(C=0.05, max_iter=1_000).fit(x[:120], y[:120])
    logit = LogisticRegression(max_iter=1_000).fit(x, y)
    forest = RandomForestClassifier(random_state=SEED).fit(x, y)
    bayes = GaussianNB().fit(x, y)
    svm = greedy(SVC(gamma=0.05).fit(x, y))
    uniform = np.full_like(svm, 1 / N_ACTIONS)
    return World(
        labels=labels[theirs],
        behavior=softmax(weak.decision_function(seen), 0.4),
        q_values=bayes.predict_proba(seen),
        candidates={
            "knn": greedy(KNeighborsClassifier(3).fit(x, y)),
            "svm": svm,
            "forest": greedy(forest),
            "logit": greedy(logit),
            "svm-mixed": 0.9 * svm + 0.1 * uniform,
            "weak-greedy": greedy(weak),
            "bayes": greedy(bayes),
            "tree": greedy(DecisionTreeClassifier(random_state=SEED).fit(x, y)),
            "forest-soft": forest.predict_proba(seen),
            "short-tree": greedy(DecisionTreeClassifier(max_depth=5, random_state=SEED).fit(x, y)),
            "logit-soft": softmax(logit.decision_function(seen), 4.0),
            "uniform": uniform,
        },
    )
