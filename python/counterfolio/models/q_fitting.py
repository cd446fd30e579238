"""How a model of Q becomes columns: fits of every fold and repeat, read row by row."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio.models import closed_form
from counterfolio.models.candidates import Candidate, action_count, take
from counterfolio.models.folds import check_folds
from counterfolio.models.linear import block_slices, logged_actions
from counterfolio.models.q_functions import QFunctions, differences, median
from counterfolio.models.transitions import MOST_STEPS, Transitions
from counterfolio.policies import check_policies
from counterfolio.progress import progress
from counterfolio.text import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from counterfolio.log import LoggedData
    from counterfolio.models.transitions import Horizon

    Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Linear:
    """A closed-form fit, with what its covariance needs."""

    fit: closed_form.ClosedForm
    space: closed_form.Space
    ridge: float
    candidates: list[Candidate]
    threads: int

    def values(self, policy: int, rows: slice) -> Floats:
        """Q of all actions, of shape (n, n_actions)."""
        return self.fit.q.values(policy, rows)

    def at(self, policy: int, rows: slice, actions: Floats) -> Floats:
        """Q of one action of a continuum in each row."""
        return self.fit.q.at(policy, rows, actions)

    def covariance(self, policy: int, differences: Floats) -> Floats:
        """Take the covariance of a policy's coefficients."""
        return closed_form.covariance(
            self.space, self.candidates[policy], self.ridge, differences, self.threads
        )


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
    fit_one: Callable[[Transitions, list[Candidate], int | None, Any], Any],
) -> QFunctions:
    """Fit a model of Q for every policy, and evaluate it in every row.

    Parameters
    ----------
    fit_one
        From transitions, candidates, the number of actions and what is told of progress.
    """
    began = time.perf_counter()
    dealt = plan.deal(log)
    t = dealt[0]
    candidates = take(check_policies(policies), log)
    n_actions = action_count(candidates, log)
    fits = []
    for own in dealt:
        with progress(f"fitting {name}") as report:
            fits.append(fit_one(own, candidates, n_actions, report))
    q, v = _rows(t, candidates, fits, plan.seed)
    closed = fits[0].fit if isinstance(fits[0], Linear) else None
    features = fits[0].space.features if isinstance(fits[0], Linear) else "state and action"
    table = pl.DataFrame(
        {
            "policy": [c.name for c in candidates],
            "value": v[:, t.first].mean(axis=1),
            "standard_error": [
                None if closed is None else _standard_error(t, closed, p, q[p], v[p])
                for p in range(len(candidates))
            ],
            "td_error": [
                float(np.sqrt(np.mean(differences(t, q[p], v[p])[t.used] ** 2)))
                for p in range(len(candidates))
            ],
            "unseen": [None] * len(candidates) if closed is None else closed.unseen,
        },
        schema_overrides={"standard_error": pl.Float64, "unseen": pl.Float64},
    )
    settings = plan.settings(name, features, t)
    notes = notes_on(t, features)
    if closed is not None:
        notes += varying(candidates, closed.varies)
    names = [c.name for c in candidates]
    seconds = time.perf_counter() - began
    return QFunctions(names, q, v, table, settings, seconds, notes, fits, dealt)


def varying(candidates: Sequence[Candidate], varies: Sequence[bool]) -> list[str]:
    """Say which policies are no function of the state."""
    return [
        f'policy "{c.name}" differs between rows of the same state: its mean there was taken; name '
        "every column that it looks at"
        for c, differs in zip(candidates, varies, strict=True)
        if differs
    ]


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


def _rows(
    t: Transitions, candidates: list[Candidate], fits: list[Any], seed: int
) -> tuple[Floats, Floats]:
    """Take q and v of every row, from the median of the repeats' Q."""
    n = t.log.n_rows
    q, v = np.empty((len(candidates), n)), np.empty((len(candidates), n))
    width = action_count(candidates, t.log) or 1
    for rows in block_slices(n, width):
        for p, candidate in enumerate(candidates):
            if t.discrete:
                values = median([fit.values(p, rows) for fit in fits])
                codes = t.log.action_codes.codes[rows]
                q[p, rows] = values[np.arange(len(values)), codes]
                v[p, rows] = np.einsum("ij,ij->i", values, candidate.probs(rows))
                continue

            def of(actions: Floats, rows: slice = rows, p: int = p) -> Floats:
                return median([fit.at(p, rows, actions) for fit in fits])

            q[p, rows] = of(logged_actions(t, rows))
            v[p, rows] = np.mean([of(a) for a in candidate.draws(rows, seed)], axis=0)
    return q, v


def _standard_error(
    t: Transitions, fit: closed_form.ClosedForm, policy: int, q: Floats, v: Floats
) -> float:
    """Take the standard error of mean v_0.

    psi_i = v_0 - mean v_0 + sum_t phi^T beta (r + gamma v' - q).
    """
    first = v[t.first]
    moved = np.empty(t.log.n_rows)
    assert fit.multiplier is not None
    for rows in block_slices(t.log.n_rows, fit.q.space.n_actions or 1):
        moved[rows] = fit.multiplier.logged(policy, rows)
    psi = first - first.mean() + np.bincount(t.episode, moved * differences(t, q, v))
    n = len(psi)
    if t.log.clusters is not None:
        of, count = t.log.clusters
        psi = np.bincount(of, psi, count)
    factor = len(psi) / (len(psi) - 1) if len(psi) > 1 else np.nan
    return float(np.sqrt(factor * (psi**2).sum()) / n)
