"""What a result says in sentences: which candidates to test, how sure, what would change it.

The verdicts of the diagnostics drive the words: a policy whose weights cannot be trusted is never
recommended, whatever its estimate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from counterfolio.contrasts import is_rounding, needed_episodes
from counterfolio.display import difference_interval_name
from counterfolio.models.propensity_words import doubts
from counterfolio.text import aligned, chance, number, percent, plural, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from counterfolio.evaluation import Evaluation

#: Names listed in a sentence.
LISTED = 6
#: Standard errors between dm and dr that are more than chance.
FAR = 4.0
DOUBTED = "do not trust"
#: From so many candidates on, chance alone puts one apart now and then.
MANY = 5


def names(policies: Sequence[str]) -> str:
    """List policies for a sentence."""
    shown = [quoted(p) for p in policies[:LISTED]]
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


@dataclass(frozen=True)
class Answer:
    """The recommendation: a headline, what it rests on, and the policies that it is about."""

    headline: str
    sentences: list[str]
    chosen: list[str]


def answer(evaluation: Evaluation, estimator: str, k: int) -> Answer:
    """Recommend at most k policies to test, or none."""
    order = _ranked(evaluation, estimator)
    verdicts = verdict_of(evaluation)
    compared = {
        r["policy"]: r for r in evaluation.compare(None, estimator=estimator).rows(named=True)
    }
    order = [p for p in order if math.isfinite(compared[p]["difference"])]
    trusted = [p for p in order if verdicts[p] != DOUBTED]
    sentences = []
    serious = [f for f in evaluation.log_report.findings if f.severity == "serious"]
    if serious:
        sentences.append(
            "Before anything else, the log itself is in doubt: "
            + "; ".join(f.message for f in serious[:3])
            + ". Until that is explained, nothing below can be relied on."
        )
    sentences += doubts(evaluation.settings.get("propensity_model"))
    if not trusted:
        headline = "Do not choose by these estimates: none of them can be trusted."
        sentences.append(_distrust(order[:k] or list(verdicts), evaluation))
        return Answer(headline, sentences, [])
    better = [p for p in trusted[:k] if compared[p]["conclusion"] == "better"]
    behavior = evaluation.behavior_value

    def is_above(policy: str) -> bool:
        row = compared[policy]
        same = is_rounding(behavior + row["difference"], behavior, row["standard_error"])
        return bool(row["difference"] > 0) and not same

    above = [p for p in trusted[:k] if p not in better and is_above(p)]
    if better:
        headline = f"Test {names(better)}."
        count = "It is" if len(better) == 1 else "They are"
        sentences.append(
            f"{count} estimated above the behavior policy, the one that made the log, which earns "
            f"{_earned(evaluation)}, by more than chance at {_level(evaluation)}."
        )
    elif above:
        headline = "No candidate that can be trusted is shown to be better than what runs now."
        sentences.append(
            f"The behavior policy, the one that made the log, earns {_earned(evaluation)}. If a "
            f"candidate has to be tested, {quoted(above[0])} leads."
        )
    else:
        headline = "Test none: no candidate that can be trusted is estimated to be better."
        sentences.append(
            f"The behavior policy, the one that made the log, earns {_earned(evaluation)}."
        )
    if estimator == "dm":
        headline = f"By the Q-model alone, which nothing in the log checks: {headline}"
    if serious:
        headline = f"First explain what is wrong with the log. If it is sound: {headline}"
    chosen = better or above[:1]
    sentences += [_gain(evaluation, compared[p]) for p in (chosen or trusted)[:1]]
    sentences += _risk(evaluation, estimator, compared, chosen)
    if better and above:
        one = len(above) == 1
        sentences.append(
            f"{names(above)} {'comes' if one else 'come'} next, but this log cannot tell "
            f"{'it' if one else 'them'} from the behavior policy."
        )
    found = [compared[p]["conclusion"] for p in trusted]
    sentences.append(
        f"Of {plural(len(trusted), 'candidate')} that can be trusted, "
        f"{found.count('better') or 'none'} can be told apart from the behavior policy as better "
        f"and {found.count('worse') or 'none'} as worse, on the same episodes and at "
        f"{_level(evaluation)}."
        + (
            " With so many candidates chance alone now and then puts one apart."
            if len(verdicts) >= MANY
            else ""
        )
    )
    sentences += _first(evaluation, estimator, trusted, (chosen or trusted)[0])
    last = order.index((chosen or trusted)[-1])
    if skipped := [p for p in order[:last] if verdicts[p] == DOUBTED]:
        sentences.append(_distrust(skipped, evaluation))
    if careful := [p for p in chosen if verdicts[p] == "with care"]:
        said = _because(careful, evaluation)
        sentences.append(f"To be taken with care: {said}.")
    return Answer(headline, sentences, chosen)


def _first(evaluation: Evaluation, estimator: str, among: Sequence[str], policy: str) -> list[str]:
    """Say how often a policy came first over resampled logs."""
    if evaluation.replicates is None or len(among) == 1:
        return []
    table = evaluation.ranking(estimator, among=among)
    share = table.filter(policy=policy)["p_best"][0]
    draws = evaluation.settings["n_resamples"]
    whole = len(among) == len(evaluation.policies)
    return [
        f"The log was resampled {draws:,} times and the candidates ranked each time: in "
        f"{chance(share, draws)} of these logs {quoted(policy)} came first"
        + ("." if whole else " of those that can be trusted.")
    ]


def verdict_of(evaluation: Evaluation) -> dict[str, str]:
    """Policy -> verdict."""
    table = evaluation.diagnostics.table
    return dict(zip(table["policy"], table["verdict"], strict=True))


def trusted(evaluation: Evaluation) -> list[str]:
    """Name the policies whose estimates may be used, in the order given."""
    return [p for p, verdict in verdict_of(evaluation).items() if verdict != DOUBTED]


def _level(evaluation: Evaluation) -> str:
    return f"{100 * evaluation.settings['confidence_level']:g} %"


def _earned(evaluation: Evaluation) -> str:
    """Say what the behavior policy earns, and of what."""
    unit = "decision" if evaluation.settings["n_rows"] == evaluation.settings["n_episodes"] else ""
    total = "" if unit else f", discounted by {evaluation.settings['gamma']:g} a step,"
    total = "" if evaluation.settings["gamma"] == 1 else total
    return (
        f'{number(evaluation.behavior_value)} ("{evaluation.settings["reward"]}"{total} for each '
        f"{unit or 'episode'})"
    )


def _because(policies: Sequence[str], evaluation: Evaluation) -> str:
    """Give the gravest reason for the verdict on each of some policies."""
    table = evaluation.diagnostics.table
    reasons = dict(zip(table["policy"], table["reason"], strict=True))
    return "; ".join(f"{quoted(p)}: {reasons[p].split('; ')[0]}" for p in policies[:LISTED])


def _distrust(policies: Sequence[str], evaluation: Evaluation) -> str:
    one = len(policies) == 1
    return (
        f"{names(policies)} cannot be judged by this log: {'its' if one else 'their'} "
        f"estimate{'' if one else 's'} must not be trusted ({_because(policies, evaluation)})."
    )


def _risk(
    evaluation: Evaluation,
    estimator: str,
    compared: Mapping[str, dict[str, Any]],
    policies: Sequence[str],
) -> list[str]:
    """Say how bad a test of some policies may turn out."""
    lows = {p: compared[p]["ci_low"] for p in policies if math.isfinite(compared[p]["ci_low"])}
    if not lows:
        return []  # no policy, or an interval that is open below
    values = evaluation.values(estimator)
    show = aligned(values.values(), evaluation.rows(estimator)["standard_error"])
    worst = min(lows, key=lambda p: lows[p])
    least = show(abs(lows[worst]))
    words = "The risk of testing " + ("it" if len(policies) == 1 else "them") + ": "
    if len(policies) > 1:
        found = [values[p] for p in policies]
        words += f"their estimates range from {show(min(found))} to {show(max(found))}, and "
    if lows[worst] >= 0:
        words += f"at the low end of its interval {quoted(worst)} still gains {least} over"
    else:
        words += f"at the low end of its interval {quoted(worst)} loses {least} against"
    return [words + " the behavior policy."]


def _gain(evaluation: Evaluation, row: dict[str, Any]) -> str:
    """Say how far a policy is from the behavior policy, and how sure that is."""
    difference, error, policy = row["difference"], row["standard_error"], quoted(row["policy"])
    if not math.isfinite(error):
        return f"{policy} has no standard error: how sure it is cannot be said."
    behavior = evaluation.behavior_value
    if is_rounding(behavior + difference, behavior, error):
        return f"{policy} is estimated as the behavior policy itself."
    show = aligned([difference], [error])
    side = "above" if difference > 0 else "below"
    share = f" ({percent(abs(difference) / behavior, 0)})" if behavior > 0 else ""
    words = (
        f"{policy} is estimated {show(abs(difference))}{share} {side} the behavior policy "
        f"({difference_interval_name(evaluation.settings)} of the difference: "
        f"{interval(show, row['ci_low'], row['ci_high'])})"
    )
    if row["conclusion"] != "not told apart":
        return words + "."
    n = evaluation.settings["n_episodes"]
    needed = needed_episodes(difference, error, evaluation.settings)
    if needed is None or needed <= n:
        return words + ": the two cannot be told apart."
    return (
        words + f": the two cannot be told apart. If the difference is real, it would take about "
        f"{needed:,} episodes logged alike to see it, where this log has {n:,}."
    )


def what_may_change(evaluation: Evaluation, estimator: str, k: int) -> list[str]:
    """Say what would change the answer: another estimator, caution, the log, more data."""
    found = _by_estimator(evaluation, estimator)
    verdicts = verdict_of(evaluation)
    order = _ranked(evaluation, estimator)
    trusted = [p for p in order if verdicts[p] != DOUBTED]
    if evaluation.settings["alternative"] != "less":
        careful = [p for p in _ranked(evaluation, estimator, "lower") if p in trusted][:k]
        if not careful:
            pass  # one episode: no interval has an end
        elif set(careful) != set(trusted[:k]):
            found.append(
                f"Ranked by the lower end of the interval instead of the estimate, the top {k} is "
                f"{names(careful)}: who prefers the sure to the promising would test these."
            )
        else:
            found.append(
                f"Ranked by the lower end of the interval the top {k} holds the same policies."
            )
    found += _contenders(evaluation, estimator, trusted)
    if len(trusted) > 1 and k > 1:
        found += _order(
            evaluation, estimator, trusted[:2], f"The order of the first two, {names(trusted[:2])},"
        )
    if len(trusted) > k:
        pair = trusted[k - 1 : k + 1]
        place = "the first place" if k == 1 else f"the last of {k} places"
        what = f"Whether {quoted(pair[0])} or {quoted(pair[1])} takes {place}"
        found += _order(evaluation, estimator, pair, what)
    found += _model(evaluation)
    for finding in evaluation.log_report.findings:
        if finding.severity != "info":
            found.append(
                f"The log ({finding.severity}): {finding.message}. {_upper(finding.advice)}."
            )
    table = evaluation.diagnostics.table
    doubtful: dict[str, list[str]] = {}
    for policy, advice in zip(table["policy"], table["advice"], strict=True):
        if advice and policy in order[:k]:
            doubtful.setdefault(advice, []).append(policy)
    found += [f"For {names(p)}: {advice}." for advice, p in doubtful.items()]
    return found


def _contenders(evaluation: Evaluation, estimator: str, among: Sequence[str]) -> list[str]:
    """Say which policies may be the best, all comparisons taken together."""
    if len(among) == 1 or not among:
        return []
    table = evaluation.contenders(estimator, among)
    may = table.filter(contender=True)["policy"].to_list()
    level = f"at {_level(evaluation)}, all comparisons taken together"
    if len(may) == 1:
        return [f"{quoted(may[0])} stands apart as the best of the candidates, {level}."]
    return [f"Which candidate is the best is not established: {level}, it may be {_any(may)}."]


def _any(policies: Sequence[str]) -> str:
    return f"any of {names(policies)}" if len(policies) > 2 else " or ".join(map(quoted, policies))


def _order(evaluation: Evaluation, estimator: str, pair: Sequence[str], what: str) -> list[str]:
    """Say that the order of two policies is not established, where it is not."""
    row = evaluation.compare(pair[0], pair[1], estimator).row(0, named=True)
    if row["conclusion"] != "not told apart":
        return []
    n = evaluation.settings["n_episodes"]
    needed = needed_episodes(row["difference"], row["standard_error"], evaluation.settings)
    more = f"; if they do differ, about {needed:,} episodes would" if needed and needed > n else ""
    return [f"{what} is not established by {n:,} episodes{more}."]


def _model(evaluation: Evaluation) -> list[str]:
    """Say for which policies the Q-model is wrong: dm and dr are further apart than chance."""
    corrected = next((e for e in ("dr", "sndr") if e in evaluation.estimators), None)
    if corrected is None or "dm" not in evaluation.estimators:
        return []
    wrong, verdicts = [], verdict_of(evaluation)
    for dm, dr in zip(
        evaluation.rows("dm").rows(named=True),
        evaluation.rows(corrected).rows(named=True),
        strict=True,
    ):
        gap = abs(dm["value"] - dr["value"])
        if verdicts[dm["policy"]] != DOUBTED and gap > FAR * math.hypot(
            dm["standard_error"], dr["standard_error"]
        ):
            wrong.append((gap, dm, dr))
    if not wrong:
        return []
    _, dm, dr = max(wrong, key=lambda found: found[0])
    return [
        f"The Q-model is wrong for {plural(len(wrong), 'candidate')}: of "
        f"{quoted(dm['policy'])}, for one, dm says {number(dm['value'])} and {corrected}, which "
        f"the logged rewards correct, {number(dr['value'])}. Do not read dm; dr and sndr suffer "
        "from a wrong model as far as weights are uneven. A better model would narrow their "
        "intervals."
    ]


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _ranked(
    evaluation: Evaluation, estimator: str, score: Literal["value", "lower"] = "value"
) -> list[str]:
    """Name the policies, best first, but those without a score."""
    ranking = evaluation.ranking(estimator, score)
    pairs = zip(ranking["policy"], ranking["score"], strict=True)
    return [p for p, score in pairs if not math.isnan(score)]


def _by_estimator(evaluation: Evaluation, estimator: str) -> list[str]:
    """Say which estimators disagree about the leader, and about the sign of its gain."""
    if evaluation.estimators == ["dm"]:
        return [
            "Only dm was evaluated, which believes its Q-model. With propensities and prob, dr and "
            "sndr would let the logged rewards correct it."
        ]
    if len(evaluation.estimators) == 1:
        return [
            f"Only {estimator} was evaluated: another estimator with other weaknesses (with a "
            "Q-model: dr, sndr) would show whether the ranking hangs on it."
        ]
    firsts = {name: _ranked(evaluation, name)[:1] for name in evaluation.estimators}
    leaders: dict[str, list[str]] = {}
    for name, top in firsts.items():
        leaders.setdefault(top[0] if top else "nobody", []).append(name)
    first, found = firsts[estimator], []
    if len(leaders) == 1:
        found.append(f"Every estimator puts {quoted(next(iter(leaders)))} first.")
    else:
        said = "; ".join(f"{quoted(p)} first by {names(es)}" for p, es in leaders.items())
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
                f"{quoted(first[0])} is above the behavior policy by {names(up)}, below it by "
                f"{names(down)}."
            )
    return found
