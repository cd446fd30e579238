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
    """What the top k by each estimator really return, for every k; last by the truth itself."""
    estimated = {
        name: dict(evaluation.rows(name).select("policy", "value").iter_rows())
        for name in evaluation.estimators
    }
    return pl.concat(
        cf.top_k(values, truth, behavior).select(
            pl.lit(name).alias("ranked_by"),
            pl.lit(", ".join(sorted(values, key=lambda p: -values[p])[:K])).alias(f"top_{K}"),
            "k",
            "best",
            "mean",
            "worst",
            "std",
        )
        for name, values in {**estimated, "truth": truth}.items()
    )


def replay(world: World, truth: dict[str, float], behavior: float) -> pl.DataFrame:
    """The same on many logs: how far off, how often covered, how often the true top K."""
    v = {name: (probs * world.q_values).sum(axis=1) for name, probs in world.candidates.items()}
    kth = sorted(truth.values())[-K]
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
    error = pl.col("value") - pl.col("truth")
    accuracy = pl.concat(intervals).group_by(ranked_by="estimator", maintain_order=True)
    chosen = pl.concat(lists).group_by("ranked_by", maintain_order=True)
    return accuracy.agg(
        (error**2).mean().sqrt().alias("rms_error"),
        (100 * pl.col("covered").mean()).alias("coverage_%"),
    ).join(
        chosen.agg(
            (100 * (pl.col("worst") >= kth).mean()).alias(f"true_top_{K}_%"),
            pl.col("mean", "worst").mean(),
        ),
        on="ranked_by",
        maintain_order="left",
    )


def main() -> Story:
    """Tell the act."""
    world = make_world()
    truth = {name: world.value(probs) for name, probs in world.candidates.items()}
    behavior = world.value(world.behavior)
    story = Story("Act 2: a log whose truth is known")
    story.say(
        "scikit-learn's handwritten digits as a bandit: the context is an image, the action one of "
        f"ten digits, the reward 1 if it is the right one. The {len(world.labels)} images of one half "
        "of the data are the population of contexts. Everything was fitted on the other half: the "
        "behavior policy (a logistic regression from 120 images, softened), twelve candidates, and "
        "the model Q(s, a) of the reward, which is what the candidate bayes, a naive Bayes "
        f"classifier, believes. The log is {ROWS:,} images drawn from the population, each with an "
        "action drawn from the behavior policy. True values are exact: the probability that a "
        "policy gives to the label, averaged over the population."
    )
    images, log, _ = world.draw(ROWS, seed=0)
    story.show(log.report)

    story.head("Estimates beside the truth")
    q_values = world.q_values[images]
    evaluation = cf.evaluate(
        log,
        {
            name: cf.PolicyColumns(action_probs=probs[images], q_values=q_values)
            for name, probs in world.candidates.items()
        },
    )
    judged = with_truth(evaluation, truth)
    story.table(judged.pivot("estimator", index=["policy", "truth"], values="value"), 3)
    worse = [name for name, value in truth.items() if value < behavior]
    story.say(
        f"The behavior policy itself is worth {behavior:.3f}; {' and '.join(worse)} are worse. One "
        "decision to an episode, so pdis repeats tis and snpdis repeats sntis; the five that differ "
        "go on. Their errors in standard errors, within 2 if all is well:"
    )
    distinct = judged.filter(pl.col("estimator").is_in(DISTINCT))
    story.table(distinct.pivot("estimator", index="policy", values="error"), 1)
    covered = distinct.group_by("estimator", maintain_order=True).agg(pl.col("covered").sum())
    dm = judged.filter(policy="bayes", estimator="dm").row(0, named=True)
    story.say(
        f"Intervals of 95 % that contain the truth, out of {len(truth)}: "
        + ", ".join(f"{name} {count}" for name, count in covered.iter_rows())
        + ". The candidates share one log, so these counts move together; the last table repeats "
        f"them on {LOGS} logs. dm, the direct method, trusts Q and nothing else. It gives bayes "
        f"{dm['value']:.3f} where the truth is {dm['truth']:.3f}: asked about the policy that follows "
        "the model, the model agrees with itself. Its intervals take Q as given and do not know how "
        "wrong it is. dr and sndr use the same Q and let the rewards correct it."
    )

    story.head(f"The shortlist of {K}, and what it is really worth")
    story.show(evaluation.portfolio(K, "dr"))
    lists = shortlists(evaluation, truth, behavior)
    lists = lists.filter(pl.col("ranked_by").is_in([*DISTINCT, "truth"]))
    story.say(f"True values of the top {K} by each estimator (cf.top_k):")
    story.table(lists.filter(pl.col("k") == K).drop("k"), 4)
    story.say("Mean of the true values of the top k, over k:")
    few = lists.filter(pl.col("k") <= 6)
    story.table(few.pivot("ranked_by", index="k", values="mean"), 4)
    story.say("SharpeRatio@k, (best@k less the behavior policy's value) / std@k, over k:")
    ratios = {
        name: cf.sharpe_ratio_at_k(
            dict(evaluation.rows(name).select("policy", "value").iter_rows()), truth, behavior
        )
        for name in DISTINCT
    }
    ratios["truth"] = cf.sharpe_ratio_at_k(truth, truth, behavior)
    table = pl.DataFrame({"k": np.arange(1, len(truth) + 1), **ratios})
    story.table(table.filter(pl.col("k").is_between(2, 6)), 2)
    story.say(
        "What to look at: best, mean and worst first, then the ratio, and only across estimators at "
        "the same k. The ratio counts agreement among the chosen as safety. It is large at k = 2 "
        "because the two best are nearly equal, not because a test of two is better than one of "
        "three; and k = 1 has no spread to divide by."
    )
    at_k = {name: values[K - 1] for name, values in ratios.items() if name != "truth"}
    best = [name for name in at_k if at_k[name] == max(at_k.values())]
    same = (
        "which is the best there is"
        if max(at_k.values()) == ratios["truth"][K - 1]
        else "not the best possible"
    )
    story.say(
        f"On this log {', '.join(best)} made the best shortlist of {K} (SharpeRatio@{K} "
        f"{max(at_k.values()):.1f}, {same}). They weigh what was really earned. dm got "
        f"{at_k['dm']:.1f}: one policy that Q overrates pulls the worst of its shortlist down to "
    )
    story.table(replay(world, truth, behavior), 4)
    return story


if __name__ == "__main__":
    main()
