"""How a model of Q becomes columns: fits of every fold and repeat, read row by row."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio.log import check_log
from counterfolio.models import closed_form
from counterfolio.models.candidates import Candidate, take
from counterfolio.models.folds import check_folds
from counterfolio.models.linear import block_slices
from counterfolio.models.q_functions import QFunctions, differences, median
from counterfolio.models.transitions import MOST_STEPS, Transitions, logged_actions
from counterfolio.models.weighting import check_weighting, row_weights
from counterfolio.policies import check_policies
from counterfolio.progress import progress
from counterfolio.text import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from counterfolio.log import LoggedData
    from counterfolio.models.transitions import Horizon

    Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Linear:
    """A closed-form fit, with what its covariance needs."""

    fit: closed_form.ClosedForm
    space: closed_form.Space
    how: closed_form.How
    candidates: list[Candidate]

    def values(self, policy: int, rows: slice) -> Floats:
        """Q of all actions, of shape (n, n_actions)."""
        return self.fit.q.values(policy, rows)

    def at(self, policy: int, rows: slice, actions: Floats) -> Floats:
        """Q of one action of a continuum in each row."""
        return self.fit.q.at(policy, rows, actions)

    @property
    def has_coefficients(self) -> bool:
        """Whether it is linear in features, and no table."""
        return self.space.basis is not None

    def covariance(self, policy: int, differences: Floats) -> Floats:
        """Take the covariance of a policy's coefficients."""
        weights = self.fit.weights
        weight = np.ones_like(differences) if weights is None else weights[policy]
        candidate = self.candidates[policy]
        return closed_form.covariance(self.space, candidate, self.how, differences, weight)


@dataclass(frozen=True)
class Plan:
    """How a model is to be fitted: what `LinearQ` and its `fit` take."""

    gamma: float
    horizon: Horizon
    step: bool | None
    cross_fit: int | None
    n_repeats: int
    seed: int

    def deal(self, log: LoggedData) -> list[Transitions]:
        """Take a log's transitions, dealt into folds once for every repeat.

        Raises
        ------
        InvalidArgumentError
            If a number is out of its range.
        """
        check_log(log, "fit")
        t = Transitions.of(log, self.gamma, self.horizon, step=self.step)
        n_folds = check_folds(log, self.cross_fit, self.n_repeats, self.seed)
        return [t.dealt(n_folds, self.seed, repeat) for repeat in range(self.n_repeats)]

    def settings(self, model: str, features: str, t: Transitions) -> dict[str, Any]:
        """Name what was used."""
        return {
            "model": model,
            "features": features,
            "horizon": self.horizon,
            "gamma": t.gamma,
            "step_joins": t.step_joins,
            "cross_fit": self.cross_fit,
            "n_repeats": self.n_repeats,
            "seed": self.seed,
        }


def fit_all(
    name: str,
    log: LoggedData,
    policies: Mapping[str, object],
    plan: Plan,
    weighting: str | None,
    fit_one: Callable[[Transitions, list[Candidate], int | None, Any, Floats | None], Any],
) -> QFunctions:
    """Fit a model of Q for every policy, and evaluate it in every row.

    Parameters
    ----------
    fit_one
        From transitions, candidates, the number of actions, what is told of progress, and the
        weights of rows, None where all count alike.
    """
    began = time.perf_counter()
    dealt = plan.deal(log)
    check_weighting(weighting, log)
    t = dealt[0]
    candidates = take(check_policies(policies), log)
    n_actions = candidates[0].n_actions
    fits = []
    for own in dealt:
        with progress(f"fitting {name}") as report:
            weights = None if weighting is None else row_weights(own, candidates)
            fits.append(fit_one(own, candidates, n_actions, report, weights))
    found = _Rows.read(t, candidates, fits, plan)
    closed = fits[0].fit if isinstance(fits[0], Linear) else None
    features = fits[0].space.features if isinstance(fits[0], Linear) else "state and action"
    which = range(len(candidates))
    table = pl.DataFrame(
        {
            "policy": [c.name for c in candidates],
            "value": found.v[:, t.first].mean(axis=1),
            "standard_error": [found.standard_error(t, p) for p in which],
            "td_error": [found.td_error(t, p) for p in which],
            "unseen": [None] * len(candidates) if closed is None else closed.unseen,
        },
        schema_overrides={"standard_error": pl.Float64, "unseen": pl.Float64},
    )
    settings = plan.settings(name, features, t) | {"weighting": weighting}
    notes = notes_on(t, features)
    if closed is not None:
        notes += closed.notes
    names = [c.name for c in candidates]
    seconds = time.perf_counter() - began
    return QFunctions(names, found.q, found.v, table, settings, seconds, notes, fits, dealt)


def notes_on(t: Transitions, features: str) -> list[str]:
    """Say what is to be known of how episodes end."""
    notes = []
    marked = t.log.roles["terminated"] is not None or t.log.roles["truncated"] is not None
    cut = int(t.cut_off.sum())
    if t.step_joins and not marked:
        notes.append(
            "no column says how episodes end, so the step joins the features; name terminated=... "
            "or truncated=..., or pass step=False if episodes end by themselves"
        )
    if t.step_joins and t.longest > MOST_STEPS and features == "one_hot":
        notes.append(
            f"episodes are cut off, and with {t.longest} steps the table cannot tell steps apart: "
            "Q is a projection, the mean over steps"
        )
    if not t.step_joins and cut and t.horizon == "logged":
        notes.append(
            f"{plural(cut, 'episode')} of {len(t.lengths):,} cut off and step=False: Q is a "
            "projection that does not know how many steps are left"
        )
    return notes


@dataclass(frozen=True, eq=False)
class _Rows:
    """What was read in every row, of shape (n_policies, n_rows) each."""

    q: Floats
    v: Floats
    #: By how much a temporal difference moves the policy's value; None for regressors.
    moves: Floats | None

    @classmethod
    def read(
        cls, t: Transitions, candidates: list[Candidate], fits: list[Any], plan: Plan
    ) -> _Rows:
        """Take q and v from the median of the repeats' Q."""
        shape = (len(candidates), t.log.n_rows)
        closed = fits[0].fit if isinstance(fits[0], Linear) else None
        moves = None if closed is None else np.empty(shape)
        own = cls(np.empty(shape), np.empty(shape), moves)
        for rows in block_slices(t.log.n_rows, candidates[0].n_actions or 1):
            for p, candidate in enumerate(candidates):
                own._take(t, rows, p, candidate, fits, plan.seed)
                if closed is not None and moves is not None:
                    moves[p, rows] = closed.moves(p, rows)
        return own

    def _take(
        self,
        t: Transitions,
        rows: slice,
        p: int,
        candidate: Candidate,
        fits: list[Any],
        seed: int,
    ) -> None:
        if t.discrete:
            values = median([fit.values(p, rows) for fit in fits])
            codes = t.action[rows]
            self.q[p, rows] = values[np.arange(len(values)), codes]
            self.v[p, rows] = np.einsum("ij,ij->i", values, candidate.probs(rows))
            return

        def of(actions: Floats) -> Floats:
            return median([fit.at(p, rows, actions) for fit in fits])

        self.q[p, rows] = of(logged_actions(t.log, rows))
        self.v[p, rows] = np.mean([of(a) for a in candidate.draws(rows, seed)], axis=0)

    def standard_error(self, t: Transitions, p: int) -> float | None:
        """Take the standard error of mean v_0; None where it has no closed form.

        psi_i = v_0 - mean v_0 + sum_t phi^T beta (r + gamma v' - q).
        """
        if self.moves is None:
            return None
        first = self.v[p][t.first]
        moved = self.moves[p] * differences(t, self.q[p], self.v[p])
        psi = first - first.mean() + np.bincount(t.episode, moved)
        n = len(psi)
        if t.log.clusters is not None:
            of, count = t.log.clusters
            psi = np.bincount(of, psi, count)
        factor = len(psi) / (len(psi) - 1) if len(psi) > 1 else np.nan
        return float(np.sqrt(factor * (psi**2).sum()) / n)

    def td_error(self, t: Transitions, p: int) -> float:
        """Take the root mean square of r + gamma v' - q."""
        return float(np.sqrt(np.mean(differences(t, self.q[p], self.v[p])[t.used] ** 2)))
