"""Whether a policy's estimates can be trusted, in words: the constants, the reasons, the advice."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from counterfolio.text import count, number, plural

Verdict = Literal["reliable", "with care", "do not trust"]


@dataclass(frozen=True)
class Limits:
    """Where a verdict begins; None where a statistic does not bring it about.

    Attributes
    ----------
    effective_sample_size
        Below so many episodes, at any step.
    effective_share
        Below this share of all episodes.
    pareto_k
        Above this shape of the weights' tail.
    z
        More standard errors between the mean weight and 1, at any step.
    max_weight_share
        One episode with more of the weight.
    unsupported_mass
        More probability on actions that the log does not show.
    """

    effective_sample_size: float
    effective_share: float
    pareto_k: float
    z: float | None = None
    max_weight_share: float | None = None
    unsupported_mass: float | None = None


#: The one table of constants, the graver verdict first.
LIMITS: dict[Verdict, Limits] = {
    "do not trust": Limits(effective_sample_size=100, effective_share=0.01, pareto_k=0.7, z=4),
    "with care": Limits(
        effective_sample_size=1000,
        effective_share=0.1,
        pareto_k=0.5,
        max_weight_share=0.05,
        unsupported_mass=0.01,
    ),
}


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on.

    Attributes
    ----------
    n_episodes
        Of the log.
    effective_sample_size, step
        The smallest over steps, and the first step that has it.
    mean_weight, z, z_step
        Where the mean weight is the most standard errors from 1; NaN for a single episode.
    pareto_k
        NaN where there is no tail to fit.
    max_weight_share
        Largest share of one episode in the sum of final weights; None where all are 0.
    unsupported_mass, unsupported_basis
        Probability on actions that the log does not show, and how that is known.
    has_model
        Whether q and v were given.
    """

    n_episodes: int
    effective_sample_size: float
    step: int
    n_steps: int
    mean_weight: float
    z: float
    z_step: int
    pareto_k: float
    max_weight_share: float | None
    unsupported_mass: float | None
    unsupported_basis: str | None
    has_model: bool


def judge(evidence: Evidence) -> tuple[Verdict, str, str | None]:
    """Give the verdict, its reason and what would help."""
    for verdict, limits in LIMITS.items():
        if reasons := _reasons(evidence, limits):
            return verdict, "; ".join(reasons), _advice(evidence, limits)
    e = evidence
    reason = f"ESS {count(e.effective_sample_size)} of {plural(e.n_episodes, 'episode')}"
    reason += f", mean weight {e.mean_weight:.3f} (z {e.z:.1f})"
    if not math.isnan(e.pareto_k):
        reason += f", Pareto k {e.pareto_k:.2f}"
    return "reliable", reason, None


def _reasons(e: Evidence, limits: Limits) -> list[str]:
    """Every limit that is passed, in words, what is gravest first."""
    found = []
    if limits.z is not None and abs(e.z) > limits.z:
        at = f" at step {e.z_step}" if e.n_steps > 1 else ""
        found.append(
            f"mean weight {number(e.mean_weight)}{at} where 1 is expected (z {e.z:.3g}): "
            + (
                "wrong propensities, or columns joined to the wrong rows"
                if e.z > 0
                else "the log does not show part of what the policy does"
            )
        )
        if e.z < 0 and e.unsupported_mass:
            found.append(_unsupported(e.unsupported_mass, e))
    size = e.effective_sample_size
    at = f" at step {e.step}" if e.step else ""
    if size < limits.effective_sample_size:
        found.append(f"ESS {count(size)}{at}, below {limits.effective_sample_size:g}")
    elif size < limits.effective_share * e.n_episodes:
        found.append(
            f"ESS {count(size)}{at}, below {100 * limits.effective_share:g} % of "
            f"{plural(e.n_episodes, 'episode')}"
        )
    if e.pareto_k > limits.pareto_k:
        found.append(
            f"Pareto k {e.pareto_k:.2f} above {limits.pareto_k:g}: rare weights, larger than any "
            "seen, may decide the value"
        )
    if limits.max_weight_share is not None and (e.max_weight_share or 0) > limits.max_weight_share:
        found.append(f"one episode carries {100 * (e.max_weight_share or 0):.0f} % of the weight")
    if limits.unsupported_mass is not None and (e.unsupported_mass or 0) > limits.unsupported_mass:
        found.append(_unsupported(e.unsupported_mass or 0, e))
    return found


def _unsupported(mass: float, e: Evidence) -> str:
    return f"{100 * mass:.2g} % of its probability is on {e.unsupported_basis}"


def _advice(e: Evidence, limits: Limits) -> str:
    """Say what would help, and how much of it."""
    if limits.z is not None and e.z > limits.z:
        return (
            "check how propensities and probabilities were logged and joined (see the log's "
            "report): no estimator mends wrong weights"
        )
    dr = "compare with dr and sndr" if e.has_model else "add a Q-model (q and v) and use dr or sndr"
    if limits.z is not None and e.z < -limits.z:
        return (
            "check that its probabilities sum to 1; if they do, log with more exploration, or keep "
            f"the policy to what the log shows: beyond that only a model can speak ({dr})"
        )
    words = []
    size, wanted = e.effective_sample_size, limits.effective_sample_size
    tame = math.isnan(e.pareto_k) or e.pareto_k <= LIMITS["do not trust"].pareto_k
    if 0 < size < wanted and tame:
        factor = wanted / size
        needed = float(f"{factor * e.n_episodes:.2g}")
        words.append(
            f"more data: about {needed:,.0f} episodes ({factor:.2g} times as many) logged alike "
            f"would bring the ESS to {wanted:g}"
        )
    heavy = e.pareto_k > limits.pareto_k or size < limits.effective_share * e.n_episodes
    share = limits.max_weight_share
    if heavy or size == 0 or (share is not None and (e.max_weight_share or 0) > share):
        words.append(
            "clip the weights (prob = min(prob, 10 × propensity)) and see whether the value "
            "moves, at the price of bias"
        )
    words.append(dr)
    if heavy:
        words.append("or test a policy nearer to the behavior policy, such as a mixture of the two")
    return "; ".join(words)
