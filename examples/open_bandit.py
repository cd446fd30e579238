"""Act 1: a real log with few clicks, and what it cannot say.

Run alone with `python examples/open_bandit.py`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import counterfolio as cf
import numpy as np
import numpy.typing as npt
import polars as pl
from story import Story

DATA = Path(__file__).parents[1] / "data" / "open_bandit"
AFFINITIES = [f"user_item_affinity_{item}" for item in range(34)]
#: Ranks and comparisons are by this one.
ESTIMATOR = "sntis"
#: Normal quantiles of a two-sided 5 % test and of 80 % power.
Z_TEST, Z_POWER = 1.96, 0.8416

Floats = npt.NDArray[np.float64]


class LikedBefore:
    """Show what this user has clicked most, with probability 1 - epsilon; else any item.

    An object with `prob(states, actions)` is a policy: counterfolio calls it with the log's state
    columns.
    """

    def __init__(self, n_items: int, epsilon: float) -> None:
        self.n_items, self.epsilon = n_items, epsilon

    def prob(self, states: Floats, actions: npt.NDArray[np.int64]) -> Floats:
        """Probability of each logged action; users without a past get any item."""
        epsilon = np.where(states.max(axis=1) > 0, self.epsilon, 1.0)
        liked = states.argmax(axis=1) == actions
        return (1 - epsilon) * liked + epsilon / self.n_items


def candidates(impressions: pl.DataFrame, other_week: pl.DataFrame, n_items: int) -> dict[str, Any]:
    """Five policies, each in the form in which it comes to hand."""
    published = pl.read_parquet(DATA / "bts_policy_men.parquet")
    joined = impressions.join(
        published, on=["item_id", "position"], how="left", maintain_order="left"
    )
    clicked = other_week.filter(pl.col("click") == 1)["item_id"].unique()
    shown = impressions["item_id"].is_in(clicked.implode())
    best = (
        other_week.group_by("position", "item_id")
        .agg(pl.col("click").sum())
        .sort("click", "item_id", descending=[True, False])
        .unique("position", keep="first", maintain_order=True)
    )
    by_position = impressions.join(
        best.select("position", best="item_id"), on="position", how="left", maintain_order="left"
    )
    return {
        "bts": joined["probability"],
        "uniform": np.full(len(impressions), 1 / n_items),
        "clicked": shown.cast(pl.Float64) / len(clicked),
        "by_position": by_position.select(
            0.7 * (pl.col("item_id") == pl.col("best")) + 0.3 / n_items
        ).to_series(),
        "liked_before": LikedBefore(n_items, epsilon=0.2),
    }


def effective_clicks(policy: Any, impressions: pl.DataFrame) -> float:
    """Kish's effective sample size of the clicked impressions alone, under the policy's weights."""
    rows = impressions.filter(pl.col("click") == 1)
    if isinstance(policy, LikedBefore):
        prob = policy.prob(rows.select(AFFINITIES).to_numpy(), rows["item_id"].to_numpy())
    else:
        prob = np.asarray(policy)[impressions["click"].to_numpy() == 1]
    weights = prob / rows["propensity_score"].to_numpy()
    return float(weights.sum() ** 2 / (weights**2).sum())


def impressions_needed(n: int, standard_error: float, difference: float) -> int:
    """Size of a log, made like this one, that tells the difference from 0."""
    needed = n * ((Z_TEST + Z_POWER) * standard_error / difference) ** 2
    return int(float(f"{needed:.3g}"))


def main() -> Story:
    """Tell the act."""
    impressions = pl.read_parquet(DATA / "random_men.parquet")
    other_week = pl.read_parquet(DATA / "bts_men.parquet")
    story = Story("Act 1: a real log, and what it cannot say")
    story.say(
        "One week of a fashion shop's recommendation slot (Open Bandit Dataset, men's campaign, "
        "arXiv:2008.07146). The policy that made this log, the behavior policy, drew one of 34 "
        "items at random for each of 10,000 impressions. Which other policy would have been "
        "clicked more?"
    )
    log = cf.read_parquet(
        DATA / "random_men.parquet",
        action="item_id",
        reward="click",
        propensity="propensity_score",
        state=AFFINITIES,
    )
    n_items = impressions["item_id"].n_unique()
    story.show(log.report)

    story.head("Five candidates, and how each was made")
    policies = candidates(impressions, other_week, n_items)
    n_clicked = other_week.filter(pl.col("click") == 1)["item_id"].n_unique()
    n_known = impressions.filter(pl.max_horizontal(AFFINITIES) > 0).height
    story.item(
        "bts",
        "Bernoulli Thompson sampling as published with the data, its probability of each item at "
        "each position joined to the log.",
    )
    story.item(
        "uniform", f"each item with probability 1/{n_items}: the behavior policy, as a check."
    )
    story.item(
        "clicked",
        f"any of the {n_clicked} items that were clicked at all in the log which bts made in the "
        "same week, each as likely as the other.",
    )
    story.item(
        "by_position",
        "with probability 0.7 the item that was clicked most at this position in that other log, "
        "else any item.",
    )
    story.item(
        "liked_before",
        "with probability 0.8 the item that this user has clicked most in the past, else any; only "
        f"{n_known:,} impressions have a user with a past.",
    )
    story.say(
        "None was learned from the clicks that judge it here. But clicked and by_position come from "
        "another log of the same week: in earnest they would be learned from the week before. They "
        "also favour what bts chose to show often, since they count clicks."
    )

    story.head("What each would have earned")
    evaluation = cf.evaluate(log, policies, ["tis", ESTIMATOR])
    story.show(evaluation)
    click_rate = impressions["click"].sum() / impressions.height
    values = evaluation.estimates.filter(pl.col("policy") == "uniform")["value"]
    assert all(value == click_rate for value in values)  # noqa: S101 - a promise of the text below
    assert evaluation.behavior_value == click_rate  # noqa: S101
    story.say(
        f"uniform equals the on-policy click rate exactly, {click_rate:g} to the last bit by both "
        "estimators (checked): a policy compared with itself has every weight 1. If that row were "
        "off, the propensities or the join would be wrong. tis is the importance-weighted mean "
        "(IPS), sntis the self-normalised one (SNIPS); with one decision to an episode the per-step "
        "forms pdis and snpdis are the same numbers."
    )

    story.head("What to look at before believing a row")
    rows = evaluation.rows(ESTIMATOR)
    looked = rows.select(
        "policy",
        pl.col("effective_sample_size").round().cast(pl.Int64),
        "max_weight_share",
        effective_clicks=pl.Series([effective_clicks(p, impressions) for p in policies.values()]),
    )
    story.table(looked, 4)
    fewest = looked.sort("effective_clicks").row(0, named=True)
    noted = rows.filter(pl.col("note").is_not_null())
    story.say(
        "The effective sample size says how many impressions the weights leave, max_weight_share how "
        "much of the weight rests on one of them, and the column note of .estimates is filled where "
        f"something is wrong: here {noted.height or 'no'} row has one. All of that looks healthy, "
        "and still it is not enough: an estimate of a click rate rests on clicks. The last column "
        "applies the formula of the effective sample size to the clicked impressions alone, "
        f"(sum w)^2 / sum w^2: {fewest['policy']} rests on {fewest['effective_clicks']:.1f} clicks. "
        "Its interval leans on a normal approximation that so few do not support (one reaches below "
        "0, which no click rate can)."
        if (rows["ci_low"] < 0).any()
        else "Its interval leans on a normal approximation that so few do not support."
    )

    story.head("The ranking, and whether it means anything")
    ranking = evaluation.ranking(ESTIMATOR)
    story.table(ranking, 5)
    others = [policy for policy in ranking["policy"] if policy != "uniform"]
    compared = pl.concat(
        evaluation.compare(policy, "behavior", estimator=ESTIMATOR) for policy in others
    )
    story.say("Each against the behavior policy, on the same impressions (evaluation.compare):")
    story.table(
        compared.select("policy", "difference", "standard_error", "ci_low", "ci_high", "p_better"),
        5,
    )
    apart = compared.filter((pl.col("ci_low") > 0) | (pl.col("ci_high") < 0))["policy"].to_list()
    clicks = int(impressions["click"].sum())
    if apart:
        story.say(f"Told apart from the behavior policy: {', '.join(apart)}.")
    else:
        story.say(
            "Nothing can be told apart. Every interval of a difference contains 0: with "
            f"{clicks} clicks in {impressions.height:,} impressions this log cannot say that any "
            "candidate is better, or worse, than drawing items at random. The ranking above is an "
            "order of noise; do not pick a winner from it."
        )

    story.head("How many impressions would it take?")
    lift = 0.1 * click_rate
    n = impressions.height
    leader = compared.row(0, named=True)
    sizes = compared.select(
        "policy",
        "standard_error",
        pl.Series(
            "n_estimated_difference",
            [
                impressions_needed(n, error, difference)
                for error, difference in compared.select("standard_error", "difference").rows()
            ],
        ),
        pl.Series(
            "n_lift_10_percent",
            [impressions_needed(n, e, lift) for e in compared["standard_error"]],
        ),
    )
    story.table(sizes, 5)
    first = sizes.row(0, named=True)
    story.say(
        f"The leader, {leader['policy']}, is estimated {leader['difference']:.5f} above the behavior "
        f"policy. To tell that from 0 takes about {first['n_estimated_difference']:,} impressions "
        f"logged in the same way; if it were a lift of 10 % ({lift:.5f}), about "
        f"{first['n_lift_10_percent']:,}. Computed as n * ((1.96 + 0.8416) * se / diff)^2 for a "
        f"two-sided 5 % test with 80 % power, with n = {n:,} and se the paired standard error, which "
        "shrinks with the square root of n. The first number flatters: the best of several "
        "estimates is too high on average, and se itself rests on few clicks."
    )

    story.head("A look at the other log")
    earned = other_week["click"].mean()
    error = other_week["click"].std() / math.sqrt(other_week.height)
    bts = rows.filter(pl.col("policy") == "bts").row(0, named=True)
    gap = abs(earned - bts["value"]) / math.hypot(error, bts["standard_error"])
    story.say(
        f"In the same week bts itself served {other_week.height:,} other impressions and earned "
        f"{earned:.4f} (standard error {error:.5f}); its estimate from the random log is "
        f"{bts['value']:.4f} (standard error {bts['standard_error']:.5f}), {gap:.1f} standard errors "
        "away. That does not contradict the estimate, and hardly confirms it: the policy that ran "
        "kept learning during the week, the one judged here is its published prior."
    )
    return story


if __name__ == "__main__":
    main()
