"""What a result says in sentences: which candidates to test, how sure, what would change it.

The verdicts of the diagnostics drive the words: a policy whose weights cannot be trusted is never
recommended, whatever its estimate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from counterfolio.text import aligned, number, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import polars as pl

    from counterfolio.evaluation import Evaluation

#: Normal quantiles of a two-sided 5 % test and of 80 % power.
Z_TEST, Z_POWER = 1.96, 0.8416
#: Names listed in a sentence.
LISTED = 6
#: From so many candidates on, chance alone puts one apart now and then.
MANY = 5


def names(policies: Sequence[str]) -> str:
    """List policies for a sentence."""
    shown = list(policies[:LISTED])
    if len(policies) > LISTED:
        shown.append(f"{len(policies) - LISTED:,} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def interval(show: Callable[[float], str], low: float, high: float) -> str:
    """Say an interval that may be open at one end; nothing where there is none."""
    if math.isnan(low) or math.isnan(high):
        return ""
    if math.isinf(low) and math.isinf(high):
        return "anything"
    if math.isinf(high):
        return f"above {show(low)}"
    return f"below {show(high)}" if math.isinf(low) else f"{show(low)} to {show(high)}"


def needed_episodes(n: int, difference: float, error: float) -> int | None:
    """How many episodes logged alike tell a difference from 0: 5 % two-sided, 80 % power."""
    if difference == 0 or not math.isfinite(difference) or not math.isfinite(error):
        return None
    size = n * ((Z_TEST + Z_POWER) * error / difference) ** 2
    return int(float(f"{max(size, 1):.2g}")) if size < 1e15 else None


@dataclass(frozen=True)
class Answer:
    """The recommendation: a headline, what it rests on, and the policies that it is about."""

    headline: str
    sentences: list[str]
    chosen: list[str]


def answer(evaluation: Evaluation, estimator: str, k: int) -> Answer:
    """Recommend at most k policies to test, or none."""
    ranked = evaluation.ranking(estimator)
    table = evaluation.diagnostics.table
    verdicts = dict(zip(table["policy"], table["verdict"], strict=True))
    order = [
        p
        for p, score in zip(ranked["policy"], ranked["score"], strict=True)
        if math.isfinite(score)
    ]
    trusted = [p for p in order if verdicts[p] != "do not trust"]
    chosen = trusted[:k]
    compared = {
        r["policy"]: r for r in evaluation.compare(None, estimator=estimator).rows(named=True)
    }
    sentences = []
    serious = [f for f in evaluation.log_report.findings if f.severity == "serious"]
    if serious:
        sentences.append(
            "Before anything else, the log itself is in doubt: "
            + "; ".join(f.message for f in serious[:3])
            + ". Until that is explained, nothing below can be relied on."
        )
    if not chosen:
        headline = "Do not choose by these estimates: none of them can be trusted."
        sentences.append(_distrust(order[:k] or list(verdicts), evaluation))
        return Answer(headline, sentences, [])
    better = [p for p in chosen if compared[p]["ci_low"] > 0]
    worse = [p for p in chosen if compared[p]["ci_high"] < 0]
    open_ = [p for p in chosen if p not in better and p not in worse]
    if better:
        headline = f"Test {names(better)}."
        count = "It is" if len(better) == 1 else "They are"
        sentences.append(
            f"{count} estimated above the behavior policy, which earns "
            f"{number(evaluation.behavior_value)}, by more than chance."
        )
        if open_:
            one = len(open_) == 1
            sentences.append(
                f"{names(open_)} {'comes' if one else 'come'} next, but this log cannot tell "
                f"{'it' if one else 'them'} from the behavior policy."
            )
    elif open_:
        headline = "This log cannot tell any trusted candidate from the behavior policy."
        sentences.append(f"If one has to be tested, {open_[0]} leads.")
    else:
        headline = "Test none: what can be trusted is estimated below the behavior policy."
    if serious:
        headline = f"First explain what is wrong with the log. If it is sound: {headline}"
    sentences.append(_gain(evaluation, compared[(better or open_ or worse)[0]]))
    if len(better) > 1:
        sentences.append(_risk(evaluation, estimator, better))
    above = sorted(p for p in order if compared[p]["ci_low"] > 0)
    below = sorted(p for p in order if compared[p]["ci_high"] < 0)
    sentences.append(
        f"Of {plural(len(verdicts), 'candidate')}, {len(above) or 'none'} can be told apart from "
        f"the behavior policy as better and {len(below) or 'none'} as worse, by the "
        f"{evaluation._interval} of the difference on the same episodes."
        + (
            " With so many candidates chance alone now and then puts one apart."
            if len(verdicts) >= MANY
            else ""
        )
    )
    last = order.index(chosen[-1])
    if skipped := [p for p in order[:last] if verdicts[p] == "do not trust"]:
        sentences.append(_distrust(skipped, evaluation))
    if careful := [p for p in chosen if verdicts[p] == "with care"]:
        said = _because(careful, evaluation)
        sentences.append(f"To be taken with care: {said}.")
    return Answer(headline, sentences, chosen)


def _because(policies: Sequence[str], evaluation: Evaluation) -> str:
    """Give the gravest reason for the verdict on each of some policies."""
    table = evaluation.diagnostics.table
    reasons = dict(zip(table["policy"], table["reason"], strict=True))
    return "; ".join(f"{p}: {reasons[p].split('; ')[0]}" for p in policies[:LISTED])


def _distrust(policies: Sequence[str], evaluation: Evaluation) -> str:
    one = len(policies) == 1
    return (
        f"{names(policies)} {'ranks' if one else 'rank'} high, but {'its' if one else 'their'} "
        f"estimate{'' if one else 's'} must not be trusted ({_because(policies, evaluation)})."
    )


def _risk(evaluation: Evaluation, estimator: str, policies: Sequence[str]) -> str:
    """Say how bad the worst of a shortlist may be."""
    rows = {r["policy"]: r for r in evaluation.rows(estimator).rows(named=True)}
    show = aligned(
        [r["value"] for r in rows.values()], [r["standard_error"] for r in rows.values()]
    )
    lowest = min(policies, key=lambda p: rows[p]["ci_low"])
    return (
        f"The risk of testing them: their estimates range from "
        f"{show(min(rows[p]['value'] for p in policies))} to "
        f"{show(max(rows[p]['value'] for p in policies))}, and the lowest end of their intervals "
        f"is {show(rows[lowest]['ci_low'])} ({lowest}), where the behavior policy earns "
        f"{show(evaluation.behavior_value)}."
    )


def _gain(evaluation: Evaluation, row: dict[str, float]) -> str:
    """Say how far a policy is from the behavior policy, and how sure that is."""
    difference, error = row["difference"], row["standard_error"]
    if not math.isfinite(error):
        return f"{row['policy']} has no standard error: one episode cannot say how sure it is."
    show = aligned([difference], [error])
    side = "above" if difference >= 0 else "below"
    words = (
        f"{row['policy']} is estimated {show(abs(difference))} {side} the behavior policy "
        f"({evaluation._interval} of the difference: "
        f"{interval(show, row['ci_low'], row['ci_high'])})"
    )
    if row["ci_low"] > 0 or row["ci_high"] < 0:
        return words + "."
    n = evaluation.settings["n_episodes"]
    needed = needed_episodes(n, difference, error)
    if needed is None or needed <= n:
        return words + ": the two cannot be told apart."
    return (
        words + f": the two cannot be told apart. If the difference is real, it would take about "
        f"{needed:,} episodes logged alike to see it, where this log has {n:,}."
    )


def what_may_change(evaluation: Evaluation, estimator: str, k: int) -> list[str]:
    """Say what would change the answer: another estimator, caution, the log, more data."""
    found = _by_estimator(evaluation, estimator)
    top = _top(evaluation.ranking(estimator), k)
    if evaluation.settings["alternative"] != "less":
        careful = _top(evaluation.ranking(estimator, "lower"), k)
        if not careful:
            pass  # one episode: no interval has an end
        elif set(careful) != set(top):
            found.append(
                f"Ranked by the lower end of the interval instead of the estimate, the top {k} is "
                f"{names(careful)}: who prefers the sure to the promising would test these."
            )
        else:
            found.append(
                f"Ranked by the lower end of the interval the top {k} holds the same policies."
            )
    if len(top) > 1:
        row = evaluation.compare(top[0], top[1], estimator).row(0, named=True)
        if row["ci_low"] <= 0 <= row["ci_high"]:
            n = evaluation.settings["n_episodes"]
            needed = needed_episodes(n, row["difference"], row["standard_error"])
            more = f"; about {needed:,} episodes would" if needed and needed > n else ""
            found.append(
                f"The order of the first two, {top[0]} and {top[1]}, is not established by "
                f"{n:,} episodes{more}."
            )
    for finding in evaluation.log_report.findings:
        if finding.severity != "info":
            found.append(
                f"The log ({finding.severity}): {finding.message}. {_upper(finding.advice)}."
            )
    table = evaluation.diagnostics.table
    doubtful: dict[str, list[str]] = {}
    for policy, advice in zip(table["policy"], table["advice"], strict=True):
        if advice and policy in top:
            doubtful.setdefault(advice, []).append(policy)
    found += [f"For {names(p)}: {advice}." for advice, p in doubtful.items()]
    return found


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _top(ranking: pl.DataFrame, k: int) -> list[str]:
    pairs = zip(ranking["policy"], ranking["score"], strict=True)
    return [p for p, score in pairs if not math.isnan(score)][:k]


def _by_estimator(evaluation: Evaluation, estimator: str) -> list[str]:
    """Say which estimators disagree about the leader, and about the sign of its gain."""
    if len(evaluation.estimators) == 1:
        return [
            f"Only {estimator} was evaluated: another estimator with other weaknesses (with a "
            "Q-model: dr, sndr) would show whether the ranking hangs on it."
        ]
    leaders: dict[str, list[str]] = {}
    for name in evaluation.estimators:
        top = _top(evaluation.ranking(name), 1)
        leaders.setdefault(top[0] if top else "nobody", []).append(name)
    first = _top(evaluation.ranking(estimator), 1)
    found = []
    if len(leaders) == 1:
        found.append(f"Every estimator puts {next(iter(leaders))} first.")
    else:
        said = "; ".join(f"{p} first by {names(es)}" for p, es in leaders.items())
        found.append(f"Estimators disagree about the leader: {said}.")
    if first:
        gains = {
            e: evaluation.values(e)[first[0]] - evaluation.behavior_value
            for e in evaluation.estimators
        }
        up = [e for e, gain in gains.items() if gain > 0]
        down = [e for e, gain in gains.items() if gain < 0]
        if up and down:
            found.append(
                f"{first[0]} is above the behavior policy by {names(up)}, below it by "
                f"{names(down)}."
            )
    return found


def assumptions(evaluation: Evaluation) -> list[str]:
    """List what the numbers take for granted."""
    s = evaluation.settings
    source = {
        "logged": "Propensities are those logged: the probabilities with which the behavior policy "
        "really took the logged actions.",
        "estimated": "Propensities were estimated, not logged: no interval has their error in it.",
        None: "There are no propensities: everything rests on the Q-model.",
    }[s["propensity_source"]]
    listed = [
        source,
        "Support: whatever a candidate does, the behavior policy did with a probability above 0.",
        "Episodes are independent of each other and of one kind; the world in the test will be the "
        "world of the log.",
        f"The value is the expected return of an episode, discounted by gamma {s['gamma']:g} a "
        "step; an episode that has ended earns nothing more.",
        f"Intervals are {'normal' if s['interval'] == 'normal' else 't'} intervals at "
        f"{100 * s['confidence_level']:g} %, each by itself; they hold for many episodes and "
        "weights that are not too uneven, which the verdicts check.",
    ]
    if s["conditions_on"]:
        listed.append(
            "The Q-model (q and v) is taken as given: no interval knows how wrong it is. dm "
            "believes it; dr and sndr correct it by the logged rewards."
        )
    return listed
