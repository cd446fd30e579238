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
    pareto_k, pareto_share
        Above this shape of the weights' tail, where one episode has more than this share of the
        weight: a fit to bounded weights can be steep without any of them mattering.
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
    pareto_share: float = 0.0
    z: float | None = None
    max_weight_share: float | None = None
    unsupported_mass: float | None = None


#: Standard errors from 1 at which a mean weight is wrong; above it evidence is wanted as well.
LARGE_Z = 4.0
#: The one table of constants, the graver verdict first.
LIMITS: dict[Verdict, Limits] = {
    "do not trust": Limits(
        effective_sample_size=100,
        effective_share=0.01,
        pareto_k=0.7,
        pareto_share=0.01,
        z=LARGE_Z,
        max_weight_share=0.5,
    ),
    "with care": Limits(
        effective_sample_size=1000,
        effective_share=0.1,
        pareto_k=0.5,
        max_weight_share=0.05,
        unsupported_mass=0.01,
    ),
}
#: A mean weight this near to 1 is rounding of the propensities, however sure.
NEGLIGIBLE = 0.01
#: A mean above 1 must also be worth so much evidence, a chance of 1 in 10^4 at most: with nearly
#: constant weights z alone accuses sound logs.
EVIDENCE = 4.0
#: Weights up to so many times their mean have no tail that matters.
TAME = 10.0


def is_alarm(mean: float, z: float, evidence: float) -> bool:
    """Whether a mean weight is wrong by more than chance, and by more than rounding."""
    return abs(mean - 1) > NEGLIGIBLE and (z < -LARGE_Z or (z > LARGE_Z and evidence > EVIDENCE))


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on.

    Attributes
    ----------
    n_episodes
        Of the log.
    effective_sample_size, step
        The smallest over steps, and the first step that has it.
    mean_weight, z, evidence, z_step
        Where the mean weight is the most standard errors from 1, of the steps where that is an
        alarm if there are any; NaN for a single episode.
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
    evidence: float
    z_step: int
    pareto_k: float
    max_weight_share: float | None
    unsupported_mass: float | None
    unsupported_basis: str | None
    has_model: bool

    @property
    def alarm(self) -> bool:
        """Whether the mean weight is wrong."""
        return is_alarm(self.mean_weight, self.z, self.evidence)


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
    if limits.z is not None and e.alarm:
        at = f" at step {e.z_step}" if e.n_steps > 1 else ""
        found.append(
            f"mean weight {number(e.mean_weight)}{at} where 1 is expected (z {e.z:.3g}): "
            + (
                "wrong propensities, or columns joined to the wrong rows"
                if e.z > 0
                else "the log shows too little of what the policy does, or propensities are too "
                "large"
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
    if _is_heavy(e, limits):
        found.append(
            f"Pareto k {e.pareto_k:.2f} above {limits.pareto_k:g}: rare weights, larger than any "
            "seen, may decide the value"
        )
    if limits.max_weight_share is not None and (e.max_weight_share or 0) > limits.max_weight_share:
        found.append(f"one episode carries {100 * (e.max_weight_share or 0):.0f} % of the weight")
    if limits.unsupported_mass is not None and (e.unsupported_mass or 0) > limits.unsupported_mass:
        found.append(_unsupported(e.unsupported_mass or 0, e))
    return found


def _is_heavy(e: Evidence, limits: Limits) -> bool:
    """Whether the weights have a tail that matters."""
    share = e.max_weight_share or 0
    least = max(TAME / e.n_episodes, limits.pareto_share)
    return e.pareto_k > limits.pareto_k and share > least


def _times(factor: float) -> str:
    return f"{factor:.2g} times" if factor < 99.5 else f"{factor:,.0f} times"


def _unsupported(mass: float, e: Evidence) -> str:
    return f"{100 * mass:.2g} % of its probability is on {e.unsupported_basis}"


def _advice(e: Evidence, limits: Limits) -> str:
    """Say what would help, and how much of it."""
    if limits.z is not None and e.alarm and e.z > 0:
        return (
            "check how propensities and probabilities were logged and joined (see the log's "
            "report): no estimator mends wrong weights"
        )
    dr = "compare with dr and sndr" if e.has_model else "add a Q-model (q and v) and use dr or sndr"
    if limits.z is not None and e.alarm:
        return (
            "check that propensities are those of the logged actions (see the log's report) and "
            "that its probabilities sum to 1; if so, log with more exploration, or keep the policy "
            f"to what the log shows: beyond that only a model can speak ({dr})"
        )
    words = []
    size, wanted = e.effective_sample_size, limits.effective_sample_size
    thin = size < limits.effective_share * e.n_episodes
    giant = limits.max_weight_share is not None and (
        (e.max_weight_share or 0) > limits.max_weight_share
    )
    heavy = _is_heavy(e, limits)
    if giant:
        words.append(
            "look at the episodes that carry the weight (diagnostics.largest): is their propensity "
            "right?"
        )
    if thin and size > 0:
        words.append(
            f"more data alike would not help: the ESS stays near {100 * size / e.n_episodes:.2g} % "
            "of the episodes"
        )
    elif 0 < size < wanted and not heavy and not giant:
        factor = wanted / size
        needed = float(f"{factor * e.n_episodes:.2g}")
        words.append(
            f"more data: at least about {needed:,.0f} episodes ({_times(factor)} as many) logged "
            f"alike would bring the ESS to {wanted:g}"
        )
    if heavy or thin or giant:
        words.append(
            "clip the weights (prob = min(prob, 10 × propensity)) and see whether the value "
            "moves, at the price of bias"
        )
    words.append(dr)
    if heavy or thin:
        words.append("or test a policy nearer to the behavior policy, such as a mixture of the two")
    return "; ".join(words)
