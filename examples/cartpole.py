"""Act 3: CartPole, whose truth bites: which estimator picks the better shortlist for its risk?

Run alone with `python examples/cartpole.py`; needs gymnasium, matplotlib and jinja2.
"""

from __future__ import annotations

from functools import cache

import cartpole_world as world
import counterfolio as cf
import numpy as np
import polars as pl
from counterfolio import plots
from story import Story

#: Episodes of a log, roll-outs behind a true value, and logs to see what was luck.
EPISODES, ROLL_OUTS, LOGS = 400, 20_000, 20
#: Resampled logs, to see how sure the ranking is.
RESAMPLES = 1000
#: Places on the shortlist.
K = 3
#: Largest k shown.
MOST_K = 6


@cache
def truths() -> tuple[dict[str, float], float, float]:
    """True values by roll-out: of the candidates, of the behavior policy; the largest error."""
    found = {name: world.value(p, ROLL_OUTS, seed=1) for name, p in world.CANDIDATES.items()}
    behavior, error = world.value(world.BEHAVIOR, ROLL_OUTS, seed=2)
    largest = max(error, *(e for _, e in found.values()))
    return {name: value for name, (value, _) in found.items()}, behavior, largest


def evaluate(seed: int, n_resamples: int = 0) -> cf.Evaluation:
    """Log some episodes, fit a Q-model to each candidate on others, evaluate."""
    log = world.roll_out(world.BEHAVIOR, EPISODES, seed=100 + seed)
    other = world.roll_out(world.BEHAVIOR, EPISODES, seed=500 + seed)
    policies = {
        name: world.QModel(policy, other).columns(log) for name, policy in world.CANDIDATES.items()
    }
    return cf.evaluate(log.log(), policies, gamma=world.GAMMA, n_resamples=n_resamples, seed=seed)


def judge(evaluation: cf.Evaluation) -> dict[str, pl.DataFrame]:
    """What the top k by each estimator really return, for every k."""
    truth, behavior, _ = truths()
    return {e: cf.top_k(evaluation.values(e), truth, behavior) for e in evaluation.estimators}


def scores(evaluation: cf.Evaluation) -> pl.DataFrame:
    """One row to an estimator: its error, its favourite, and its shortlist by true values."""
    truth, _, _ = truths()
    best = max(truth.values())
    rows = []
    for name, table in judge(evaluation).items():
        values = evaluation.values(name)
        errors = [values[p] - truth[p] for p in truth]
        at_k = table.row(K - 1, named=True)
        rows.append(
            {
                "estimator": name,
                "rms_error": float(np.sqrt(np.mean(np.square(errors)))),
                "first": evaluation.ranking(name)["policy"][0],
                f"best@{K}": at_k["best"],
                f"worst@{K}": at_k["worst"],
                f"regret@{K}": best - at_k["best"],
                f"std@{K}": at_k["std"],
                f"SR@{K}": at_k["sharpe_ratio"],
            }
        )
    return pl.DataFrame(rows)


def tell_verdicts(story: Story, evaluation: cf.Evaluation) -> None:
    """Do the verdicts deserve to be believed?"""
    truth, _, _ = truths()
    names = ("dm", "dr", "sndr", "snpdis")
    values = {name: evaluation.values(name) for name in names}
    table = evaluation.diagnostics.table.select(
        "policy",
        "verdict",
        pl.col("effective_sample_size").round(1).alias("ESS"),
        pl.Series("truth", [truth[p] for p in evaluation.policies]),
        *(pl.Series(n, [values[n][p] for p in evaluation.policies]) for n in names),
    )
    story.head("The verdicts, and how wrong the estimates really are")
    story.table(table.sort("truth", descending=True), 1)
    sound = [name for name in evaluation.estimators if name != "dm"]

    def worst(verdicts: list[str]) -> float:
        chosen = table.filter(pl.col("verdict").is_in(verdicts))["policy"]
        return max(abs(evaluation.values(e)[p] - truth[p]) for e in sound for p in chosen)

    trusted, doubted = worst(["reliable", "with care"]), worst(["do not trust"])
    off = max(truth, key=lambda p: values["dm"][p] - truth[p])
    story.say(
        f"Without dm, no estimate of a policy that may be trusted is further than {trusted:.1f} "
        f"from the truth; among those not to be trusted the error reaches {doubted:.1f}. The "
        "verdict is about weights and cannot see a wrong Q-model: dm puts "
        f"{evaluation.ranking('dm')['policy'][0]} first. It says {values['dm'][off]:.1f} of {off}, "
        f"which earns {truth[off]:.1f}, and dr, with few episodes to correct it, still says "
        f"{values['dr'][off]:.1f}. That dm and dr are far apart is the sign of it."
    )


def tell_question(story: Story, evaluation: cf.Evaluation) -> None:
    """The paper's question on one screen."""
    truth, behavior, _ = truths()
    table = scores(evaluation)
    ratio = f"SR@{K}"
    story.head(f"Which estimator picks the better shortlist of {K} for its risk?")
    story.table(table, 2)
    ordered = table.sort(ratio, descending=True, nulls_last=True)
    top = [n for n, x in ordered.select("estimator", ratio).iter_rows() if x == ordered[ratio][0]]
    last = ordered.row(-1, named=True)
    accurate = table.sort("rms_error")["estimator"][0]
    ideal = cf.sharpe_ratio_at_k(truth, truth, behavior, K)
    story.say(
        f"By SharpeRatio@{K} (SR), the gain over the behavior policy's {behavior:.1f} for each "
        f"unit of spread: {', '.join(top)} ({ordered[ratio][0]:.2f}; a ranking by the truth itself "
        f"has {ideal:.2f}). Closest to the true values is {accurate}. Last is {last['estimator']}: "
        f"of its {K} the best earns {last[f'best@{K}']:.1f}, the worst {last[f'worst@{K}']:.1f}. "
        "best@k alone does not see what a test risks, and the error alone does not see which "
        "policies it falls on."
    )
    story.plot(lambda: plots.sharpe_ratio(judge(evaluation)), "SharpeRatio@k by true values")
    tell_prediction(story, evaluation, dict(table.select("estimator", ratio).iter_rows()))
    over_k = {e: t["sharpe_ratio"] for e, t in judge(evaluation).items()}
    frame = pl.DataFrame({"k": np.arange(1, len(truth) + 1), **over_k})
    story.say("SharpeRatio@k over k:")
    story.table(frame.filter(pl.col("k").is_between(2, MOST_K)), 2)
    perfect = cf.sharpe_ratio_at_k(truth, truth, behavior)
    above = [
        (e, k) for k in range(2, MOST_K + 1) for e in over_k if over_k[e][k - 1] > perfect[k - 1]
    ]
    if above:
        e, k = max(above, key=lambda x: over_k[x[0]][x[1] - 1] - perfect[x[1] - 1])
        story.say(
            f"At k = {k} {e} scores {over_k[e][k - 1]:.2f}, more than a ranking by the truth "
            f"itself ({perfect[k - 1]:.2f}): the ratio takes agreement among the chosen for "
            "safety, and leaving out the very best may make them agree. Read it beside best@k."
        )


def predict(evaluation: cf.Evaluation, true: dict[str, float]) -> pl.DataFrame:
    """SharpeRatio@K of each estimator's shortlist, predicted from the log alone, and the true."""
    rows = []
    for name in evaluation.estimators:
        found = evaluation.portfolio(K, name).predictive_sharpe_ratio
        assert found is not None, "there are replicates"
        rows.append(
            {
                "estimator": name,
                "predicted_5%": found.low,
                "median": found.median,
                "95%": found.high,
                f"true_SR@{K}": true[name],
                "within": found.low <= true[name] <= found.high,
            }
        )
    return pl.DataFrame(rows)


def tell_prediction(story: Story, evaluation: cf.Evaluation, true: dict[str, float]) -> None:
    """What the log alone predicts of the ratio, beside what it is."""
    table = predict(evaluation, true)
    story.say(
        f"Without the truth nobody could compute these ratios. What the log alone predicts of them "
        f"({RESAMPLES:,} resampled logs; nine in ten draws lie from 5 % to 95 %):"
    )
    story.table(table, 2)
    inside = table.filter("within")["estimator"].to_list()
    outside = table.filter(~pl.col("within"))["estimator"].to_list()
    story.say(
        f"The true ratio lies within for {', '.join(inside) or 'none'}; outside for "
        f"{', '.join(outside) or 'none'}. A prediction believes its estimator: resampling shows "
        "how far noise moves an estimate, not that a Q-model is wrong or that the log lacks what "
        "a policy does. That is what the verdicts are for, and why a report chooses among the "
        "trusted alone."
    )


def tell_luck(story: Story) -> None:
    """Repeat it on other logs."""
    many = pl.concat(scores(evaluate(seed)) for seed in range(1, LOGS + 1))
    ratio = f"SR@{K}"
    table = many.group_by("estimator", maintain_order=True).agg(
        pl.col("rms_error").mean(),
        pl.col(f"best@{K}", f"worst@{K}").mean(),
        pl.col(ratio).quantile(0.1).alias("SR_10%"),
        pl.col(ratio).median().alias("SR_median"),
        pl.col(ratio).quantile(0.9).alias("SR_90%"),
        pl.col("first").mode().sort().first().alias("often_first"),
    )
    story.head(f"Was it luck? The same on {LOGS} more logs")
    story.table(table, 2)
    ordered = table.sort("SR_median", descending=True)
    best = ordered.filter(pl.col("SR_median") == ordered["SR_median"][0])["estimator"]
    dm = many.filter(pl.col("estimator") == "dm")["first"].to_list()
    wrong = max(set(dm), key=dm.count)
    truth, _, _ = truths()
    place = sorted(truth.values(), reverse=True).index(truth[wrong]) + 1
    story.say(
        f"The highest median SharpeRatio@{K}: {', '.join(best)}. dm puts {wrong} first on "
        f"{dm.count(wrong)} of {LOGS} logs, truly number {place} of {len(truth)}: its error is "
        "no noise, and more episodes will not help it."
    )


def main() -> Story:
    """Tell the act."""
    truth, behavior, error = truths()
    story = Story("Act 3: CartPole, and a truth that bites")
    evaluation = evaluate(0, RESAMPLES)
    story.say(
        f"CartPole-v1 of gymnasium, cut off after {world.HORIZON} steps; the reward is 1 a step, "
        f"gamma {world.GAMMA}. The behavior policy pushes right or left by a logistic function of "
        f"hand-written scores of the state and earns {behavior:.1f}. {len(truth)} candidates, from "
        "nearly the same to nothing like it, are to be ranked from a log of "
        f"{EPISODES} of its episodes. True values: {ROLL_OUTS:,} roll-outs each (standard errors "
        f"of at most {error:.2f}). Q is linear in the state, fitted for each candidate on "
        f"{EPISODES} other episodes: simple, and wrong."
    )
    story.show(evaluation.log_report)
    tell_verdicts(story, evaluation)
    story.plot(
        lambda: plots.estimates(evaluation, estimator=["sndr", "snpdis", "dm"]),
        "Estimates by three estimators, with intervals",
    )
    tell_question(story, evaluation)
    tell_luck(story)
    story.report("cartpole", evaluation, {**truth, "behavior": behavior})
    return story


if __name__ == "__main__":
    main()
