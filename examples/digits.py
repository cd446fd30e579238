"""Act 2: a log whose truth is known, and what each estimator makes of it.

Run alone with `python examples/digits.py`; needs scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass

import counterfolio as cf
import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from story import Story

SEED = 0
ROWS = 20_000
#: Further logs that show what was luck.
LOGS = 100
K = 3
N_ACTIONS = 10
#: With one decision to an episode the per-step forms pdis and snpdis repeat tis and sntis.
DISTINCT = ["tis", "sntis", "dm", "dr", "sndr"]

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
        """The true value: how probable the label is, averaged over all images."""
        return float(probs[np.arange(len(self.labels)), self.labels].mean())

    def draw(self, rows: int, seed: int) -> tuple[Integers, cf.LoggedData, Integers]:
        """A log of the behavior policy, and the image and the action of each row."""
        rng = np.random.default_rng([SEED, seed])
        images = rng.integers(len(self.labels), size=rows)
        cumulative = self.behavior[images].cumsum(axis=1)
        actions = (rng.random(rows)[:, None] > cumulative[:, :-1]).sum(axis=1)
        log = cf.LoggedData.from_frame(
            {
                "action": actions,
                "reward": (actions == self.labels[images]).astype(np.float64),
                "propensity": self.behavior[images, actions],
            }
        )
        return images, log, actions


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
    weak = LogisticRegression(C=0.05, max_iter=1_000).fit(x[:120], y[:120])
    logit = LogisticRegression(max_iter=1_000).fit(x, y)
    forest = RandomForestClassifier(random_state=SEED).fit(x, y)
    bayes = GaussianNB().fit(x, y)

    def greedy(model: object) -> Floats:
        return np.eye(N_ACTIONS)[model.predict(seen)]  # type: ignore[attr-defined]

    svm = greedy(SVC(gamma=0.05).fit(x, y))
    uniform = np.full_like(svm, 1 / N_ACTIONS)
    tree = DecisionTreeClassifier(random_state=SEED).fit(x, y)
    shallow = DecisionTreeClassifier(max_depth=5, random_state=SEED).fit(x, y)
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
            "tree": greedy(tree),
            "bayes": greedy(bayes),
            "forest-soft": forest.predict_proba(seen),
            "weak-greedy": greedy(weak),
            "shallow": greedy(shallow),
            "logit-soft": softmax(logit.decision_function(seen), 4.0),
            "uniform": uniform,
        },
    )


def with_truth(evaluation: cf.Evaluation, truth: dict[str, float]) -> pl.DataFrame:
    """Estimates beside the truth: the error in standard errors, and whether the interval holds it."""
    known = pl.DataFrame({"policy": list(truth), "truth": list(truth.values())})
    return evaluation.estimates.join(known, on="policy", maintain_order="left").with_columns(
        error=(pl.col("value") - pl.col("truth")) / pl.col("standard_error"),
        covered=pl.col("truth").is_between("ci_low", "ci_high"),
    )


def shortlists(evaluation: cf.Evaluation, truth: dict[str, float], behavior: float) -> pl.DataFrame:
    """What the top k of each estimator really return, for every k."""
    frames = []
    for estimator in evaluation.estimators:
        estimated = dict(evaluation.rows(estimator).select("policy", "value").iter_rows())
        ranked = evaluation.ranking(estimator)["policy"].head(K).to_list()
        frames.append(
            cf.top_k(estimated, truth, behavior).select(
                pl.lit(estimator).alias("estimator"),
                pl.lit(", ".join(ranked)).alias(f"top_{K}"),
                pl.all(),
            )
        )
    return pl.concat(frames)


def replay(world: World, truth: dict[str, float], behavior: float) -> pl.DataFrame:
    """The same on many logs: per estimator, coverage and the true values of its shortlists."""
    v = {name: (probs * world.q_values).sum(axis=1) for name, probs in world.candidates.items()}
    intervals, lists = [], []
    for seed in range(1, LOGS + 1):
        images, log, actions = world.draw(ROWS, seed)
        q = world.q_values[images, actions]
        policies = {
            name: cf.PolicyColumns(prob=probs[images, actions], q=q, v=v[name][images])
            for name, probs in world.candidates.items()
        }
        evaluation = cf.evaluate(log, policies, DISTINCT)
        intervals.append(with_truth(evaluation, truth))
        lists.append(shortlists(evaluation, truth, behavior).filter(pl.col("k") == K))
    covered = pl.concat(intervals).group_by("estimator", maintain_order=True)
    chosen = pl.concat(lists).group_by("estimator", maintain_order=True)
    return covered.agg((100 * pl.col("covered").mean()).alias("coverage_%")).join(
        chosen.agg(pl.col("best", "mean", "worst").mean(), pl.col("sharpe_ratio").median()),
        on="estimator",
        maintain_order="left",
    )
def main() -> Story:
    world=make_world()
    truth={n:world.value(p) for n,p in world.candidates.items()}; Jb=world.value(world.behavior)
    print(truth,Jb)
    images, log, actions = world.draw(ROWS, 0)
    E=cf.evaluate(log,{n:cf.PolicyColumns(action_probs=p[images],q_values=world.q_values[images]) for n,p in world.candidates.items()})
    j=with_truth(E,truth)
    s=Story("x")
    s.table(j.pivot("estimator",index=["policy","truth"],values="value"),3)
    s.table(j.pivot("estimator",index=["policy","truth"],values="error"),1)
    L=shortlists(E,truth,Jb)
    s.table(L.filter(k=3).drop('k','kth','safety_violation_rate'),3)
    s.table(L.pivot("estimator",index="k",values="sharpe_ratio"),2)
    s.table(L.pivot("estimator",index="k",values="mean"),4)
    s.show(E.portfolio(3,'dr'))
    s.show(log.report)
    s.table(replay(world,truth,Jb),3)
    return s
main()
