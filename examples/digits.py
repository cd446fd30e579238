"""Act 2: a log whose truth is known, and what each estimator makes of it.

Run alone with `python examples/digits.py`; needs scikit-learn.
"""

from __future__ import annotations

import math

import counterfolio as cf
import numpy as np
import polars as pl
from digits_world import World, make_world
from story import Story

ROWS = 20_000
#: Further logs, to see what was luck.
LOGS = 100
#: Resampled logs, to see how sure the ranking is.
RESAMPLES = 1000
#: Places on the shortlist.
K = 3
#: With one decision to an episode pdis and snpdis repeat tis and sntis.
DISTINCT = ["tis", "sntis", "dm", "dr", "sndr"]
#: Differences below it are rounding.
ROUNDING = 1e-12


def estimated(evaluation: cf.Evaluation, estimator: str) -> dict[str, float]:
    """Estimates by policy."""
    return dict(evaluation.rows(estimator).select("policy", "value").iter_rows())


def beside_truth(evaluation: cf.Evaluation, truth: dict[str, float]) -> pl.DataFrame:
    """Estimates with the truth, the error in standard errors, and whether the interval holds."""
    known = pl.DataFrame({"policy": list(truth), "truth": list(truth.values())})
    error = pl.col("value") - pl.col("truth")
    exact = error.abs() < ROUNDING
    held = pl.col("truth").is_between("ci_low", "ci_high")
    return evaluation.estimates.join(known, on="policy", maintain_order="left").with_columns(
        error=error,
        errors=pl.when(exact).then(0.0).otherwise(error / pl.col("standard_error")),
        covered=exact | held,
    )


def shortlists(evaluation: cf.Evaluation, truth: dict[str, float], behavior: float) -> pl.DataFrame:
    """What the top k by each estimator really return, for every k; last by the truth itself."""
    values = {name: estimated(evaluation, name) for name in DISTINCT} | {"truth": truth}
    return pl.concat(
        cf.top_k(known, truth, behavior).with_columns(
            ranked_by=pl.lit(name),
            chosen=pl.lit(", ".join(sorted(known, key=known.__getitem__, reverse=True)[:K])),
        )
        for name, known in values.items()
    )


def replay(world: World, truth: dict[str, float], behavior: float) -> pl.DataFrame:
    """The same on many logs: how far off, how often covered, how often the true top K."""
    v = {name: (probs * world.q_values).sum(axis=1) for name, probs in world.candidates.items()}
    judged, lists = [], []
    for seed in range(1, LOGS + 1):
        log, images, actions = world.draw(ROWS, seed)
        q = world.q_values[images, actions]
        policies = {
            name: cf.PolicyColumns(prob=probs[images, actions], q=q, v=v[name][images])
            for name, probs in world.candidates.items()
        }
        evaluation = cf.evaluate(log, policies, DISTINCT)
        judged.append(beside_truth(evaluation, truth))
        lists.append(shortlists(evaluation, truth, behavior).filter(pl.col("k") == K))
    kth = sorted(truth.values())[-K]
    accuracy = pl.concat(judged).group_by(ranked_by="estimator", maintain_order=True)
    worth = pl.concat(lists).group_by("ranked_by", maintain_order=True)
    return accuracy.agg(
        (pl.col("error") ** 2).mean().sqrt().alias("rms_error"),
        pl.col("covered").mean().alias("coverage"),
    ).join(
        worth.agg(
            (pl.col("worst") >= kth).mean().alias("true_shortlist"),
            pl.col("mean", "worst").mean(),
        ),
        on="ranked_by",
        maintain_order="left",
    )


def tell_estimates(story: Story, judged: pl.DataFrame, behavior: float) -> None:
    """All seven estimators beside the truth, then their errors and intervals."""
    values = judged.pivot("estimator", index=["policy", "truth"], values="value")
    worse = values.filter(pl.col("truth") < behavior)["policy"]
    story.head("Estimates beside the truth")
    story.table(values, 3)
    story.say(
        f"The behavior policy itself is worth {behavior:.3f}; {' and '.join(worse)} are worse. "
        "With one decision to an episode pdis repeats tis and snpdis repeats sntis, so five go on. "
        "Their errors, in standard errors (within 2 is what noise alone would make):"
    )
    five = judged.filter(pl.col("estimator").is_in(DISTINCT))
    shown = pl.when(pl.col("errors").abs() < 0.05).then(0.0).otherwise("errors")  # not -0.0
    rounded = five.with_columns(errors=shown)
    story.table(rounded.pivot("estimator", index="policy", values="errors"), 1)
    held = five.group_by("estimator", maintain_order=True).agg(pl.col("covered").sum())
    counts = ", ".join(f"{count} by {name}" for name, count in held.iter_rows())
    story.say(
        f"95 % intervals that contain the truth, of {len(values)}: {counts}. (The candidates share "
        f"one log, so these move together; the last table repeats them on {LOGS} logs.)"
    )
    own = five.row(
        by_predicate=(pl.col("policy") == "bayes") & (pl.col("estimator") == "dm"), named=True
    )
    story.say(
        f"dm, the direct method, trusts Q and nothing else. It says {own['value']:.3f} of bayes, "
        f"whose truth is {own['truth']:.3f}: Q is what bayes believes, so the model agrees with "
        "itself. Nor does its interval help, which takes Q as given and cannot know how wrong it "
        "is. (uniform is the exception: Q sums to 1 over the actions, so any such Q gives 0.1.) "
        "This Q was chosen to show the failure; another may do better. dr and sndr use the same Q "
        "and let the logged rewards correct it; a wide gap between dm and dr is the sign that Q is "
        "wrong."
    )


def tell_shortlists(
    story: Story, evaluation: cf.Evaluation, truth: dict[str, float], behavior: float
) -> None:
    """The shortlist, what the estimators' shortlists really return, and how to read it."""
    story.head(f"The shortlist of {K}, and what it is really worth")
    chosen = evaluation.portfolio(K, "dr")
    story.show(chosen)
    lists = shortlists(evaluation, truth, behavior)
    predicted = chosen.predictive_sharpe_ratio
    assert predicted is not None, "there are replicates"
    came = cf.sharpe_ratio_at_k(estimated(evaluation, "dr"), truth, behavior, K)
    story.say(
        f"The prediction knows no truth; it comes from {RESAMPLES:,} resampled logs. Here the "
        f"truth is known: SharpeRatio@{K} of this shortlist is {came:.1f}, "
        f"{'within' if predicted.low <= came <= predicted.high else 'outside'} the "
        f"{predicted.low:.1f} to {predicted.high:.1f} that were predicted."
    )
    at_k = lists.filter(pl.col("k") == K)
    story.say(f"True values of the top {K} by each estimator, last by the truth (cf.top_k):")
    story.table(at_k.select("ranked_by", "chosen", "best", "mean", "worst", "std"), 4)
    story.say("Mean true value of the top k, over k (cf.top_k):")
    story.table(lists.filter(pl.col("k") <= 6).pivot("ranked_by", index="k", values="mean"), 4)
    story.say(
        "SharpeRatio@k over k: (best@k less the behavior policy's value) / std@k "
        "(cf.sharpe_ratio_at_k):"
    )
    ratios = {
        name: cf.sharpe_ratio_at_k(estimated(evaluation, name), truth, behavior)
        for name in DISTINCT
    } | {"truth": cf.sharpe_ratio_at_k(truth, truth, behavior)}
    over_k = pl.DataFrame({"k": np.arange(1, len(truth) + 1), **ratios})
    story.table(over_k.filter(pl.col("k").is_between(2, 6)), 2)
    story.say(
        "What to look at: best, mean and worst first, the ratio second, and estimators only at the "
        "same k. The ratio takes agreement among the chosen for safety: for two it is large "
        "because the two best are nearly equal, not because testing two beats testing three. One "
        "policy alone has no spread to divide by."
    )
    scores = {name: float(ratios[name][K - 1]) for name in DISTINCT}
    top = max(scores.values())
    winners = [name for name in DISTINCT if scores[name] == top]
    a, b = evaluation.portfolio(K, "tis").policies[:2]
    paired = evaluation.compare(a, b, estimator="tis")["standard_error"].item()
    errors = dict(evaluation.rows("tis").select("policy", "standard_error").iter_rows())
    apart = math.hypot(errors[a], errors[b])
    perfect = ", the three that are truly best" if top == ratios["truth"][K - 1] else ""
    story.say(
        f"The best shortlist of {K} on this log: {', '.join(winners)} (SharpeRatio@{K} {top:.1f}"
        f"{perfect}). Their errors are noise, and the good candidates share most of it, since "
        "they mostly name the same digit on the same rows: the standard error of "
        f"{a} less {b} by tis is {paired:.4f}, where two separate logs would give {apart:.4f}. So "
        f"the order is surer than the values. dm scores {scores['dm']:.1f}: its error is no noise "
        "but an opinion, and the candidate that shares the opinion comes first."
    )


def tell_replay(story: Story, again: pl.DataFrame, truth: dict[str, float]) -> None:
    """Whether it was luck."""
    third, fourth = sorted(truth.values(), reverse=True)[K - 1 : K + 1]
    shares = dict(again.select("ranked_by", "true_shortlist").iter_rows())
    weighing = [name for name in DISTINCT if name != "dm"]
    low, high = (f(shares[name] for name in weighing) for f in (min, max))
    closest = again.sort("rms_error")["ranked_by"].head(2).to_list()
    story.head(f"Was it luck? The same on {LOGS} more logs")
    story.table(again, 4)
    story.say(
        "coverage: the share of 95 % intervals that contain the truth. true_shortlist: the share "
        f"of logs whose top {K} are the true ones; mean and worst are true values of the top {K}, "
        "averaged over the logs."
    )
    story.say(
        f"{' and '.join(closest)} are the closest to the truth. As for shortlists, the four that "
        f"weigh rewards find the true three on {100 * low:.0f} to {100 * high:.0f} % of the logs; "
        f"shares of {LOGS} logs have a standard error of "
        f"{100 * math.sqrt(high * (1 - high) / LOGS):.0f} points, so do not rank them by it. Where "
        f"they miss, little is lost: the third and the fourth best differ by {third - fourth:.4f}. "
        f"dm finds them on {100 * shares['dm']:.0f} %, and more rows will not help it."
    )


def main() -> Story:
    """Tell the act."""
    world = make_world()
    truth = {name: world.value(probs) for name, probs in world.candidates.items()}
    behavior = world.value(world.behavior)
    story = Story("Act 2: a log whose truth is known")
    story.say(
        "scikit-learn's handwritten digits as a bandit: the context is an image, the action one of "
        f"ten digits, the reward 1 if it is right. {len(world.labels)} images, half of the data, "
        "are the population of contexts. All else was fitted on the other half: the behavior "
        f"policy (a weak logistic regression, softened), {len(truth)} candidates, and a model "
        "Q(s, a) of the reward, for which the probabilities of a naive Bayes classifier must do; "
        f"the candidate bayes follows the same classifier. The log: {ROWS:,} images drawn from the "
        "population, an action drawn from the behavior policy for each. True values are exact: the "
        "probability that a policy gives to the label, averaged over the population."
    )
    log, images, _ = world.draw(ROWS, seed=0)
    story.show(log.report)
    evaluation = cf.evaluate(
        log,
        {
            name: cf.PolicyColumns(action_probs=probs[images], q_values=world.q_values[images])
            for name, probs in world.candidates.items()
        },
        n_resamples=RESAMPLES,
        seed=0,
    )
    tell_estimates(story, beside_truth(evaluation, truth), behavior)
    tell_shortlists(story, evaluation, truth, behavior)
    tell_replay(story, replay(world, truth, behavior), truth)
    story.report("digits", evaluation, {**truth, "behavior": behavior})
    return story


if __name__ == "__main__":
    main()
