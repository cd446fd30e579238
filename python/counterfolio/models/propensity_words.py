"""What is said of estimated propensities, from the summary that evaluations keep of them.

The summary is what `Propensities.summary` returns, so a saved evaluation says the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from counterfolio.models.behavior import Frequencies
from counterfolio.models.propensity_calibration import CONSTANT, RARE, TELLING, UNBALANCED
from counterfolio.text import Column, count, cut, number, percent, plural

if TYPE_CHECKING:
    from collections.abc import Mapping

#: A calibration error so many times that of chance, and beyond this share of the mean probability.
BEYOND_CHANCE = 2.0
NEGLIGIBLE = 0.05
#: Kolmogorov-Smirnov distances beyond this, and this over the root of the rows, tell.
FAR_FROM_NORMAL = 0.03
KS_BY_CHANCE = 2.0
#: Below this share of the rows, weights of 1/b leave few of them.
THIN = 0.1
NAME_WIDTH = 40
#: The cure of a table whose folds lack actions.
_NO_FOLDS = "take no folds (cross_fit=None), or merge rare states or actions."


def caption(summary: Mapping[str, Any]) -> str:
    """Say how propensities were estimated."""
    s = summary
    folds = "fitted on all rows"
    if s["cross_fit"] is not None:
        folds = f"cross-fitted in {s['cross_fit']} folds"
    repeats = f", median of {s['n_repeats']} repeats" if s["n_repeats"] > 1 else ""
    features = "" if s["features"] == "one_hot" else f" on {s['features']} features"
    return f"{s['model']}{features}, {folds}{repeats}, seed {s['seed']}"


def _is_of_its_rows(summary: Mapping[str, Any]) -> bool:
    """Whether it is a table without folds, which agrees with its rows whatever the truth is."""
    return bool(summary["model"] == Frequencies.name and summary["cross_fit"] is None)


def is_calibrated(summary: Mapping[str, Any]) -> bool:
    """Whether predictions agree with what was done, as far as chance lets one see."""
    if _is_of_its_rows(summary):
        return True
    if (distances := summary["kolmogorov_smirnov"]) is not None:
        limit = max(FAR_FROM_NORMAL, KS_BY_CHANCE / summary["n_rows"] ** 0.5)
        return bool(max(distances) <= limit)
    by_chance = BEYOND_CHANCE * summary["calibration_error_by_chance"]
    limit = max(by_chance, NEGLIGIBLE / summary["n_actions"])
    return bool(summary["expected_calibration_error"] <= limit)


def is_balanced(summary: Mapping[str, Any]) -> bool:
    """Whether no imbalance is both large and more than chance."""
    worst = summary["imbalance"]
    if worst is None or abs(worst["difference"]) < UNBALANCED:
        return True
    return bool(abs(worst["difference"]) <= TELLING * worst["standard_error"])


def sentences(summary: Mapping[str, Any]) -> list[str]:
    """Say in plain words whether propensities are calibrated, balanced, and overlap."""
    if summary["kolmogorov_smirnov"] is not None:
        return [_normality(summary)]
    return [_calibration(summary), _balance(summary), _overlap(summary)]


def doubts(summary: Mapping[str, Any] | None) -> list[str]:
    """Say why propensities are not to be relied on, where they are not; of None, nothing."""
    if summary is None or (is_calibrated(summary) and is_balanced(summary)):
        return []
    wrong = " ".join(said for said in sentences(summary) if said.startswith("Not "))
    return [f"Propensities were estimated, and are in doubt. {wrong}"]


def _normality(s: Mapping[str, Any]) -> str:
    far = number(max(s["kolmogorov_smirnov"]), 2)
    if is_calibrated(s):
        return (
            "Well calibrated: actions lie around their predicted means as a normal distribution "
            f"has it (largest distance {far})."
        )
    return (
        "Not calibrated: actions do not lie around their predicted means as a normal distribution "
        f"has it (largest distance {far}). Weights are wrong, mostly in the tails: transform the "
        "action, take other features or another regressor, or log the densities."
    )


def _calibration(s: Mapping[str, Any]) -> str:
    if _is_of_its_rows(s):
        return (
            "Calibration says nothing here: frequencies agree with the rows that they were counted "
            "on, whatever the behavior policy looked at."
        )
    off = number(s["expected_calibration_error"], 2)
    chance = number(s["calibration_error_by_chance"], 2)
    if is_calibrated(s):
        return (
            "Well calibrated: what was predicted is what was done, as often as predicted (off by "
            f"{off} on average; right predictions would show {chance} by chance)."
        )
    return (
        f"Not calibrated: predicted probabilities are off by {off} on average, where right ones "
        f"would show {chance} by chance. Estimates with these weights are biased: "
        + (
            _NO_FOLDS
            if s.get("guessed")
            else "take another classifier or features, or calibrate it "
            "(sklearn.calibration.CalibratedClassifierCV)."
        )
    )


def _balance(s: Mapping[str, Any]) -> str:
    worst = s["imbalance"]
    if worst is None:
        return "Balance cannot be judged: no action has 30 effective rows."
    action, feature = (f'"{cut(worst[x], NAME_WIDTH)}"' for x in ("action", "feature"))
    what = f"of {feature} for action {action}"
    if worst["feature"] == CONSTANT:
        what = f"of the inverse propensities' sum for action {action}"
    off = number(abs(worst["difference"]), 2)
    if abs(worst["difference"]) < UNBALANCED:
        return (
            "Balanced: weighted by 1/b, the rows of each action look like all rows (largest "
            f"difference {off}, {what}; below {UNBALANCED:g} is usually called balanced)."
        )
    error = number(worst["standard_error"], 2)
    if is_balanced(s):
        return (
            "Balanced as far as this log can tell: the largest difference between an action's rows "
            f"and all rows, weighted by 1/b, is {off}, {what}, with a standard error of {error}."
        )
    if worst["feature"] == CONSTANT:
        total = number(1 + worst["difference"], 3)
        said = f"the inverse propensities of action {action} sum to {total} times the rows, where "
        said += f"1 is expected (standard error {error})"
    else:
        side = "above" if worst["difference"] > 0 else "below"
        said = f"weighted by 1/b, the rows of action {action} have a {feature} {off} standard "
        said += f"deviations {side} that of all rows (standard error {error})"
    if s.get("guessed"):  # unknown to files of before
        return f"Not balanced: {said}. The folds do not have all that the log has: {_NO_FOLDS}"
    if _is_of_its_rows(s):
        return (
            f"Not balanced: {said}. It was never taken in some states of the other rows: what it "
            "does there the log cannot show."
        )
    return f"Not balanced: {said}. The model misses what the behavior policy looked at."


def _overlap(s: Mapping[str, Any]) -> str:
    o, n = s["overlap"], s["n_rows"]
    said = (
        f"propensities of logged actions go down to {number(o['min'], 2)}; weighted by 1/b, "
        f"{plural(n, 'row')} are worth {count(o['effective_rows'])}."
    )
    if o["effective_rows"] >= THIN * n:
        return f"Overlap: {said}"
    return (
        f"Thin overlap: {said} Candidates that do often what was seldom done cannot be judged here."
    )


def columns(summary: Mapping[str, Any]) -> list[Column]:
    """Tabulate the figures, with what each may be compared with."""
    s, o = summary, summary["overlap"]
    rows = [("log loss", number(s["log_loss"]), "")]
    if s["kolmogorov_smirnov"] is None:
        score = s["balance_score"]
        rows = [
            (
                "Brier score",
                number(s["brier"]),
                f"{number(s['brier_of_frequencies'])} by overall frequencies alone",
            ),
            *rows,
            (
                "expected calibration error",
                number(s["expected_calibration_error"], 2),
                "on its own rows, which says nothing"
                if _is_of_its_rows(s)
                else f"{number(s['calibration_error_by_chance'], 2)} by chance if right",
            ),
            (
                "balance score",
                number(score, 2) or "unknown",
                f"usually below {UNBALANCED:g}",
            ),
            ("effective rows", count(o["effective_rows"]), f"of {s['n_rows']:,}"),
            ("rows with a rare action", percent(o["share_rare"]), f"probability below {RARE:g}"),
        ]
    else:
        far = max(s["kolmogorov_smirnov"])
        by_chance = number(1.36 / s["n_rows"] ** 0.5, 2)
        rows.append(("distance from normal", number(far, 2), f"{by_chance} by chance, at 5 %"))
    what = "propensity" if s["kolmogorov_smirnov"] is None else "density"
    quantiles = zip(("1 %", "5 %", "median"), ("q01", "q05", "q50"), strict=True)
    said = ", ".join(f"{label}: {number(o[name], 2)}" for label, name in quantiles)
    rows.append((f"least {what}", number(o["min"], 2), said))
    return [
        Column("", [row[0] for row in rows], left=True),
        Column("value", [row[1] for row in rows]),
        Column("beside", [row[2] for row in rows], left=True),
    ]
