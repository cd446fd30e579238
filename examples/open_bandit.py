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
#: Rankings and comparisons are by this one.
ESTIMATOR = "sntis"
#: Resampled logs, to see how sure the ranking is.
RESAMPLES = 1000
#: Normal quantiles of a two-sided 5 % test and of 80 % power.
Z_TEST, Z_POWER = 1.96, 0.8416

Floats = npt.NDArray[np.float64]


class LikedBefore:
    """Show what this user has clicked most, with probability 1 - epsilon; else any item.

    An object with `prob(states, actions)` is a policy: `cf.evaluate` hands it the log's state
    columns.
    """

    def __init__(self, n_items: int, epsilon: float) -> None:
        self.n_items, self.epsilon = n_items, epsilon

    def prob(self, states: Floats, actions: npt.NDArray[np.int64]) -> Floats:
        """Probability of each logged action; users without a past get any item."""
        epsilon = np.where(states.max(axis=1) > 0, self.epsilon, 1.0)
        liked = states.argmax(axis=1) == actions
        probs: Floats = (1 - epsilon) * liked + epsilon / self.n_items
        return probs


def candidates(shown: pl.DataFrame, other: pl.DataFrame) -> dict[str, Any]:
    """Five policies, each in the form in which it comes to hand.

    `shown` is the log that will judge them, `other` the log of bts in the same week.
    """
    n_items = shown["item_id"].n_unique()
    at = ["item_id", "position"]
    published = pl.read_parquet(DATA / "bts_policy_men.parquet")
    clicked = other.filter(pl.col("click") == 1)["item_id"].unique().to_list()
    counts = other.group_by(at).agg(pl.col("click").sum())
    most = counts.sort("click", "item_id", descending=[True, False])
    best = most.group_by("position").first().select(*at, best=True)
    is_best = shown.join(best, on=at, how="left", maintain_order="left")["best"].fill_null(False)
    return {
        "bts": shown.join(published, on=at, how="left", maintain_order="left")["probability"],
        "uniform": np.full(len(shown), 1 / n_items),
        "clicked": np.where(shown["item_id"].is_in(clicked), 1 / len(clicked), 0.0),
        "by_position": 0.7 * is_best.to_numpy() + 0.3 / n_items,
        "liked_before": LikedBefore(n_items, epsilon=0.2),
    }


def tell_candidates(story: Story, shown: pl.DataFrame, other: pl.DataFrame) -> None:
    """Say honestly how each candidate was made."""
    n_clicked = other.filter(pl.col("click") == 1)["item_id"].n_unique()
    n_known = shown.filter(pl.max_horizontal(AFFINITIES) > 0).height
    story.head("Five candidates, and how each was made")
    story.item(
        "bts",
        "Bernoulli Thompson sampling as published with the data: its probability of each item at "
        "each position, joined to the log.",
    )
    story.item("uniform", "every item with probability 1/34: the behavior policy itself, a check.")
    story.item(
        "clicked",
        f"any of the {n_clicked} items that got a click at all in another log, the one that bts "
        "made in the same week.",
    )
    story.item(
        "by_position",
        "with probability 0.7 the item clicked most often at this position in that other log, "
        "else any item (ties: the lower number).",
    )
    story.item(
        "liked_before",
        "with probability 0.8 the item that this user has clicked most in the past, else any item; "
        f"only {n_known:,} impressions have a user with a past.",
    )
    story.say(
        "None was learned from the clicks that judge it here. Still: clicked and by_position come "
        "from the same week, where in earnest they would come from the week before, and they count "
        "clicks, so they favour what bts chose to show often. And liked_before would look too good "
        "if the users' past clicks had been counted up to the end of this week; the data's "
        "description does not say."
    )


def tell_checks(story: Story, evaluation: cf.Evaluation) -> None:
    """What to look at before believing a row."""
    n = evaluation.settings["n_episodes"]
    square = pl.col("value") ** 2
    share = 100 * evaluation.rows("tis")["max_weight_share"]
    # With rewards 0 or 1, the mean of w r and its error give the sums of w and w^2 over clicks.
    clicks = n * square / ((n - 1) * pl.col("standard_error") ** 2 + square)
    looked = evaluation.rows("tis").select(
        "policy",
        mean_weight=pl.col("value") / evaluation.rows("sntis")["value"],
        ESS=pl.col("effective_sample_size").round().cast(pl.Int64),
        effective_clicks=clicks,
    )
    looked.insert_column(3, share.alias("max_share_%"))
    smallest = looked.sort("ESS").row(0, named=True)
    least = looked.sort("effective_clicks").row(0, named=True)
    noted = evaluation.estimates["note"].count()
    lows = evaluation.estimates.filter(pl.col("policy") == least["policy"])["ci_low"]
    story.head("What to look at before believing a row")
    story.table(looked, 2)
    story.say(
        "mean_weight, here the ratio of tis to sntis, is 1 but for noise; one far from it betrays "
        "probabilities that do not sum to 1 over the items, or a join gone wrong. ESS, the "
        "effective sample size: how many impressions the weights leave; "
        f"{smallest['policy']} keeps {smallest['ESS']:,} of {n:,}. max_share_%: how much of the "
        f"weight rests on one impression, at most {max(share):.2f} % here. The column note of "
        f".estimates, filled where an interval should not be leaned on: {noted or 'none'}."
    )
    story.say(
        "That is not enough, for an estimate of a click rate rests on clicks. effective_clicks is "
        "the formula of the ESS, (sum w)^2 / sum w^2, over the clicked impressions alone: "
        f"{least['policy']} stands on {least['effective_clicks']:.1f} clicks. So few do not "
        "carry a normal interval"
        + ("; its lower end is below 0, where no click rate is." if (lows < 0).all() else ".")
    )


def tell_comparison(story: Story, evaluation: cf.Evaluation, clicks: int) -> None:
    """Whether anything can be told apart, and how long a log would have to be."""
    n, rate = evaluation.settings["n_episodes"], evaluation.behavior_value
    story.head("The ranking, and whether it means anything")
    ranking = evaluation.ranking(ESTIMATOR)
    story.table(
        ranking.select("policy", "rank", "score", "p_best", "rank_low", "rank_high", "p_top_3"), 4
    )
    leader, last = ranking.row(0, named=True), ranking.row(-1, named=True)
    story.say(
        f"The log was resampled {RESAMPLES:,} times and ranked each time. {leader['policy']} came "
        f"first in {100 * leader['p_best']:.0f} % of these logs (p_best); in 95 % of them its rank "
        f"lies from {leader['rank_low']} to {leader['rank_high']}, that of {last['policy']}, last "
        f"here, from {last['rank_low']} to {last['rank_high']}."
    )
    story.say("Each against the behavior policy on the same impressions (evaluation.compare):")
    compared = pl.concat(
        evaluation.compare(policy, "behavior", estimator=ESTIMATOR)
        for policy in ranking["policy"]
        if policy != "uniform"
    )
    columns = ["policy", "difference", "standard_error", "ci_low", "ci_high", "p_better"]
    story.table(compared.select(columns), 5)
    apart = compared.filter((pl.col("ci_low") > 0) | (pl.col("ci_high") < 0))["policy"]
    if len(apart):
        story.say(f"Told apart from the behavior policy: {', '.join(apart)}.")
    else:
        story.say(
            "Nothing can be told apart. Every interval of a difference contains 0: with "
            f"{clicks} clicks in {n:,} impressions this log cannot say of any candidate that it is "
            "better, or worse, than showing items at random. The ranking above is an order of "
            "noise; do not pick a winner from it."
        )

    story.head("How many impressions would it take?")
    lift = 0.1 * rate

    def needed(difference: pl.Expr) -> pl.Expr:
        size: pl.Expr = n * ((Z_TEST + Z_POWER) * pl.col("standard_error") / difference) ** 2
        return size.round_sig_figs(3).cast(pl.Int64)

    sizes = compared.select(
        "policy",
        "standard_error",
        needed(pl.col("difference")).alias("for_estimated_difference"),
        needed(pl.lit(lift)).alias("for_10_%_lift"),
    )
    story.table(sizes, 5)
    leads = compared.row(0, named=True)
    size = sizes.row(0, named=True)
    story.say(
        f"The leader, {leads['policy']}, is estimated {leads['difference']:.5f} above the "
        "behavior policy. To tell that from 0 takes about "
        f"{size['for_estimated_difference']:,} impressions logged in the same way; to tell a lift "
        f"of 10 % ({lift:.5f}), about {size['for_10_%_lift']:,}. Computed as "
        f"n * (({Z_TEST} + {Z_POWER}) * se / diff)^2, for a two-sided 5 % test with 80 % power, "
        f"from n = {n:,} and the paired standard error se, which shrinks with the square root of "
        "n. Take it as an order of magnitude: se itself rests on few clicks, and the first number "
        "flatters, since the best of several estimates is too high on average."
    )


def tell_other_log(story: Story, evaluation: cf.Evaluation, other: pl.DataFrame) -> None:
    """Beside the estimate for bts, what bts earned."""
    clicks = other["click"].to_numpy()
    earned, error = clicks.mean(), clicks.std(ddof=1) / math.sqrt(len(clicks))
    bts = evaluation.rows(ESTIMATOR).row(by_predicate=pl.col("policy") == "bts", named=True)
    gap = abs(earned - bts["value"]) / math.hypot(error, bts["standard_error"])
    story.head("A look at the other log")
    story.say(
        f"In the same week bts served {len(clicks):,} other impressions and earned {earned:.4f} "
        f"(standard error {error:.5f}). Its estimate from the random log is {bts['value']:.4f} "
        f"(standard error {bts['standard_error']:.5f}), {gap:.1f} standard errors of the "
        "difference away: no contradiction, and no confirmation either. Nor are they quite the "
        "same policy, for the one that ran kept learning during the week."
    )


def main() -> Story:
    """Tell the act."""
    path = DATA / "random_men.parquet"
    shown, other = pl.read_parquet(path), pl.read_parquet(DATA / "bts_men.parquet")
    story = Story("Act 1: a real log, and what it cannot say")
    story.say(
        "One week of a fashion shop's recommendation slot (Open Bandit Dataset, men's campaign, "
        "arXiv:2008.07146). The policy that made this log, the behavior policy, showed one of 34 "
        f"items at random, {len(shown):,} times. Which other policy would have been clicked more?"
    )
    log = cf.read_parquet(
        path, action="item_id", reward="click", propensity="propensity_score", state=AFFINITIES
    )
    story.show(log.report)
    tell_candidates(story, shown, other)

    story.head("What each would have earned")
    evaluation = cf.evaluate(
        log, candidates(shown, other), ["tis", ESTIMATOR], n_resamples=RESAMPLES, seed=0
    )
    story.show(evaluation)
    click_rate = shown["click"].sum() / len(shown)
    same = evaluation.estimates.filter(pl.col("policy").is_in(["uniform", "behavior"]))
    assert all(value == click_rate for value in same["value"]), "uniform is the behavior policy"
    story.say(
        f"uniform equals the on-policy click rate exactly, {click_rate:g} to the last bit "
        "(checked): compared with itself a policy has all weights 1. Were it off, the propensities "
        "or the join would be wrong. tis is the importance-weighted mean (IPS), sntis the "
        "self-normalised one (SNIPS); with one decision to an episode their per-step forms, pdis "
        "and snpdis, are the same numbers."
    )
    tell_checks(story, evaluation)
    tell_comparison(story, evaluation, int(shown["click"].sum()))
    tell_other_log(story, evaluation, other)
    story.report("open_bandit", evaluation)
    return story


if __name__ == "__main__":
    main()
