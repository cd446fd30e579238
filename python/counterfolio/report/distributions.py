"""The report's section on how returns are spread, from a `Distribution`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from counterfolio import plots
from counterfolio.display import interval_name
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.policies import BEHAVIOR
from counterfolio.report import tables
from counterfolio.summary import interval
from counterfolio.text import Column, aligned, quoted

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

    from counterfolio.distribution import Distribution
    from counterfolio.evaluation import Evaluation

#: The share of the worst episodes that the section looks at.
WORST = 0.1


def check_distribution(evaluation: Evaluation, distribution: Any) -> None:
    """Raise unless it is of the policies and the log that were evaluated.

    Raises
    ------
    InvalidArgumentError
        If it is not.
    """
    if not hasattr(distribution, "cdf"):
        text = (
            f"distribution must be what cf.evaluate_distribution returns, not a "
            f"{type(distribution).__name__}"
        )
        raise InvalidArgumentError(text)
    for what in ("policies", "n_episodes", "n_rows", "gamma"):
        own, other = evaluation.settings[what], distribution.settings[what]
        if own != other:
            text = (
                f"distribution: {what} {other!r}, but the evaluation's {own!r}; pass the same log, "
                "policies and gamma to both"
            )
            raise InvalidArgumentError(text)


def section(distribution: Distribution) -> dict[str, Any]:
    """Everything that the section shows, but for its figures."""
    name = distribution.headline
    worst = distribution.evaluation("cvar", WORST)
    ranked = worst.ranking(name)["policy"].to_list()
    differences = worst.compare(None, estimator=name)
    told = [r["policy"] for r in differences.rows(named=True) if r["conclusion"] == "better"]
    return {
        "estimator": name,
        "sentences": [_lead(worst, name, ranked, told)],
        "table": _spread(distribution, name, ranked),
        "comparison": tables.comparison(worst, name),
        "notes": tables.notes(worst),
        "assumptions": _assumptions(distribution),
    }


def figures(distribution: Distribution) -> dict[str, Callable[[], Axes]]:
    """Draw F, and CVaR over the share of the worst episodes."""
    return {
        "cdf": lambda: plots.cdf(distribution),
        "cvar": lambda: plots.cvar(distribution),
    }


def _lead(worst: Evaluation, name: str, ranked: list[str], told: list[str]) -> str:
    """Say which candidate does best where things go badly."""
    values = worst.values(name)
    errors = worst.rows(name)["standard_error"].to_list()
    show = tables.shown(aligned(values.values(), errors))
    best, behavior = ranked[0], show(worst.behavior_value)
    better = (
        f"{', '.join(map(quoted, told))}: better than it by more than chance."
        if told
        else "None can be told apart from it as better."
    )
    return (
        f"In their worst {100 * WORST:g} % of episodes {quoted(best)} earns most on average, "
        f"{show(values[best])}, where the behavior policy has {behavior}. {better}"
    )


def _spread(distribution: Distribution, name: str, ranked: list[str]) -> list[Column]:
    """Tabulate statistics of each policy, the best by CVaR first."""
    table = distribution.statistics((WORST, 0.5))
    found = {
        (r["policy"], r["statistic"], r["alpha"]): r
        for r in table.rows(named=True)
        if r["estimator"] in (name, distribution.curves[-1][1])
    }
    names = [*ranked, BEHAVIOR]
    cvar = [found[p, "cvar", WORST] for p in names]
    show = tables.shown(aligned([r["value"] for r in cvar], [r["standard_error"] for r in cvar]))

    def column(title: str, statistic: str, alpha: float | None) -> Column:
        return Column(title, [show(found[p, statistic, alpha]["value"]) for p in names])

    deviations = [max(found[p, "variance", None]["value"], 0.0) ** 0.5 for p in names]
    share = f"{100 * WORST:g} %"
    return [
        Column("policy", names, left=True),
        column("mean", "mean", None),
        Column("std. deviation", [show(x) for x in deviations]),
        column("median", "quantile", 0.5),
        column(f"{share} quantile", "quantile", WORST),
        column(f"worst {share} (CVaR)", "cvar", WORST),
        Column(
            interval_name(distribution.settings),
            [interval(show, r["ci_low"], r["ci_high"]) for r in cvar],
        ),
    ]


def _assumptions(distribution: Distribution) -> list[str]:
    """List what the section takes for granted."""
    s, name = distribution.settings, distribution.headline
    level = f"{100 * s['confidence_level']:g} %"
    listed = [
        "Episodes count by their weight as a whole, so that long ones make few of them count; what "
        "is said above on weights holds here too.",
    ]
    if s["pointwise"]:
        listed.append(f"Bands hold for each return by itself, at {level}, for many episodes.")
    elif s["n_resamples"]:
        listed.append(
            f"Bands hold for all returns together, at {level}, for many episodes: they are as wide "
            f"as {s['n_resamples']:,} resampled logs say (seed {s['seed']})."
        )
    if name in ("cd_tdr", "cd_sntdr"):
        listed.append(
            "The Q-model's value of the first state stands for the return, and logged returns "
            "correct it: no band knows how wrong it is."
        )
    if name == "cd_dm":
        listed.append(
            "Every episode counts as its Q-model's value of the first state: this is the spread "
            "between first states, and leaves out all chance after them."
        )
    return listed
