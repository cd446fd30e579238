"""What a result takes for granted, and what its words mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from counterfolio import estimators as registry
from counterfolio.models.propensity_words import caption
from counterfolio.uncertainty import ANY, in_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from counterfolio.evaluation import Evaluation


def assumptions(evaluation: Evaluation) -> list[str]:
    """List what the numbers take for granted."""
    s = evaluation.settings
    source = {
        "logged": "Propensities are those logged: the probabilities with which the behavior policy "
        "really took the logged actions.",
        "balanced": "Propensities are those of all loggers together, mixed by their shares of the "
        "episodes: any of them could have met any episode.",
        "estimated": _estimated(s.get("propensity_model")),
        None: "There are no propensities: everything rests on the Q-model.",
    }[s["propensity_source"]]
    said = in_words(s)
    listed = [
        source,
        "Support: whatever a candidate does, the behavior policy did with a probability above 0.",
        f"{_independent(s['cluster'])} and of one kind; the world in the test will be the world of "
        "the log.",
        f"The value is the expected return of an episode, discounted by gamma {s['gamma']:g} a "
        "step; an episode that has ended earns nothing more.",
        f"{said[:1].upper()}{said[1:]}.",
    ]
    given = s["conditions_on"] or ""
    if s["interval"] not in ANY:
        listed.append(
            "Intervals of differences from the behavior policy, and what they tell apart, are "
            "normal: they hold for many episodes alone."
        )
    if "q and v" in given or "q, v" in given:
        listed.append(
            f"The Q-model (q and v){_fitted(s.get('models') or [])} is taken as given: no interval "
            "knows how wrong it is. dm believes it; dr and sndr correct it by the logged rewards."
        )
    if "ratios" in given:
        listed.append(
            "Marginal ratios (how much more often a candidate visits a state) are taken as given "
            "too: no interval knows how wrong they are."
        )
    if s.get("bandwidths"):
        listed.append(
            "What was nearly a candidate's action counts as its action, as far as a kernel "
            "reaches; its bandwidth was chosen by the log (SLOPE), and no interval knows its bias."
        )
    return listed


def _estimated(model: Mapping[str, Any] | None) -> str:
    how = "" if model is None else f" ({caption(model)})"
    return (
        f"Propensities were estimated, not logged{how}: no interval has their error in it, and "
        "they are right only if the state columns have all by which actions were chosen."
    )


def _fitted(models: list[dict[str, Any]]) -> str:
    """Say how Q was fitted, where it was fitted here."""
    found = [m for m in models if m["model"] != "LinearRatio"]
    if not found:
        return ""
    m = found[0]
    folds = (
        f"{m['cross_fit']}-fold cross-fitted: no row's q comes from a model that saw it"
        if m["cross_fit"]
        else "on all rows"
    )
    # Unknown to files of before.
    weighted = f"; rows weighted by {m['weighting']}" if m.get("weighting") else ""
    return f", fitted by {m['model']} (features: {m['features']}{weighted}; {folds}),"


def _independent(cluster: str | None) -> str:
    if cluster is None:
        return "Episodes are independent of each other"
    return f'Episodes that differ in "{cluster}" are independent of each other'


def glossary(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Explain the words of the report, its estimators included."""
    found = [
        ("behavior policy", "what made the log: it chose the logged actions, by chance"),
        ("candidate", "a policy that did not run and is evaluated from the log"),
        ("value", "what a policy would earn on average, an episode at a time"),
        ("episode", "what begins and ends by itself: one decision, or a sequence of them"),
        ("propensity", "the probability with which the behavior policy took the logged action"),
    ]
    if len(evaluation.diagnostics.steps):
        found += [
            (
                "weight",
                "how much more, or less, likely a candidate was to act as logged: the product of "
                "its probabilities of the logged actions over the propensities",
            ),
            (
                "ESS",
                "effective sample size: how many episodes of equal weight would say as much. It "
                "differs by estimator (tis and sntis weight whole episodes, the others step by "
                "step); verdicts take the smallest over steps",
            ),
        ]
    titles = {name: registry.row(name)["title"] for name in evaluation.estimators}
    return found + list(titles.items())
