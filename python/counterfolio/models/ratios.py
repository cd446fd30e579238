"""Marginal ratios: how often a candidate visits a state, or acts there, to the log's how often.

d_pi / d_b with d(s) = sum_t gamma^t P(S_t = s, episode not over): the ratio of occupancies, which
is not rescaled to mean 1, since under another policy episodes may last longer, and that is a part
of its value.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from counterfolio.arguments import one_of
from counterfolio.exceptions import InvalidArgumentError, InvalidLogError
from counterfolio.log import check_log
from counterfolio.models import closed_form
from counterfolio.models.candidates import importance_ratios, take
from counterfolio.models.features import check_features
from counterfolio.models.linear import block_slices
from counterfolio.models.q_fitting import Plan, notes_on
from counterfolio.models.q_models import check_ridge
from counterfolio.models.tabular import UNSEEN
from counterfolio.policies import check_policies
from counterfolio.progress import progress
from counterfolio.text import Column, count, html_table, number, percent, plural, text_table, wrap
from counterfolio.threads import check_threads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from counterfolio.log import LoggedData
    from counterfolio.models.transitions import Horizon, Transitions

    Floats = NDArray[np.float64]

#: The same estimator under its names: with linear features on both sides their saddle points all
#: lie at the solution of one set of linear equations.
METHODS = ("mwl", "dual_dice", "gen_dice", "gradient_dice", "algae_dice", "best_dice")
OF = ("state", "state_action")
#: By how much a mass may be beyond what an episode can have: so much is an error of the fit.
LEEWAY = 1.25


@dataclass(frozen=True, eq=False)
class MarginalRatios:
    """Marginal ratios of some policies in every row of a log, of kind "occupancy".

    Attributes
    ----------
    policies : list of str
    state, state_action
        (n_policies, n_rows) d_pi(s) / d_b(s) and d_pi(s, a) / d_b(s, a), 0 or more; None where it
        was not asked for. 0 in rows that `horizon="continue"` leaves out.
    table : polars.DataFrame
        A row to a policy and ratio: policy; ratio ("state" or "state_action"); value, mean over
        episodes of sum_t gamma^t mu r (with mu rho for the state's ratio); mass, the same of sum_t
        gamma^t mu: the candidate's discounted length of an episode; logged_mass, that of the log;
        effective_rows, (sum gamma^t mu)^2 / sum (gamma^t mu)^2; max_share, the largest row's share;
        clipped, share of rows in which the linear solution was negative; clipped_mass, how much
        mass this added, as a share.
    settings : dict
    seconds : float
    notes : list of str
        What is to be known, an implausible mass above all.
    """

    policies: list[str]
    state: Floats | None
    state_action: Floats | None
    table: pl.DataFrame
    settings: dict[str, Any]
    seconds: float
    notes: list[str]

    def _columns(self) -> list[Column]:
        t = self.table
        return [
            Column("policy", t["policy"].to_list(), left=True),
            Column("ratio", t["ratio"].to_list(), left=True),
            Column("value", [number(x) for x in t["value"]]),
            Column("length", [number(x) for x in t["mass"]]),
            Column("logged", [number(x) for x in t["logged_mass"]]),
            Column("eff. rows", [count(x) for x in t["effective_rows"]]),
            Column("max share", [percent(x) for x in t["max_share"]]),
            Column("clipped", [percent(x) for x in t["clipped"]]),
        ]

    def _caption(self) -> str:
        s = self.settings
        folds = "" if s["cross_fit"] is None else f", {s['cross_fit']}-fold cross-fitted"
        return (
            f"Marginal ratios of {plural(len(self.policies), 'policy')} by {s['method']}, features "
            f"{s['features']}, gamma {s['gamma']:g}, horizon {s['horizon']}{folds}, "
            f"{self.seconds:.2g} s"
        )

    def __repr__(self) -> str:
        parts = [wrap(self._caption()), text_table(self._columns()), *map(wrap, self.notes)]
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        return html_table(self._columns(), self._caption(), self.notes)


@dataclass(frozen=True)
class LinearRatio:
    """Marginal ratios in closed form, linear in features: MWL, and with it the linear DICE family.

    Parameters
    ----------
    features, ridge, horizon, step, unseen
        As in `LinearQ`.
    method
        "mwl", or another name of the same estimator: "dual_dice", "gen_dice", "gradient_dice",
        "algae_dice", "best_dice".

    Notes
    -----
    The state-action ratio needs no propensities. The state's (Liu et al. 2018) has pi / b in its
    equations.

    When it fails: where the ratio is not near to linear in the features (it may be with a table);
    few effective rows; a candidate whose states the log does not show; of states, where pi / b is
    wild, as with propensities of a cross-fitted table. A note tells masses that cannot be.

    Sources: Uehara, Huang & Jiang 2020 (MWL); Yang et al. 2020 (the DICE family as one Lagrangian).
    """

    features: Any = "auto"
    ridge: float = 1e-8
    horizon: Horizon = "logged"
    step: bool | None = None
    unseen: Literal["state", "zero"] = "state"
    method: str = "mwl"

    def fit(
        self,
        log: LoggedData,
        policies: Mapping[str, object],
        *,
        of: str | Sequence[str] = "state_action",
        gamma: float = 1.0,
        cross_fit: int | None = None,
        n_repeats: int = 1,
        seed: int = 0,
        num_threads: int | None = None,
    ) -> MarginalRatios:
        """Fit the ratios of every policy, in one pass over the log for each kind.

        Parameters
        ----------
        of
            Which ratios: "state_action", "state" or both.
        log, policies, gamma, cross_fit, n_repeats, seed, num_threads
            As in `LinearQ.fit`.

        Raises
        ------
        InvalidLogError
            If the state's ratio of a log without propensities is asked for.
        InvalidArgumentError, InvalidPolicyError
            As `LinearQ.fit`.
        """
        began = time.perf_counter()
        check_features(self.features)
        check_ridge(self.ridge)
        one_of("method", self.method, METHODS)
        check_log(log, "fit")
        kinds = (of,) if isinstance(of, str) else tuple(of)
        for kind in kinds:
            one_of("ratio", kind, OF)
        if not kinds:
            text = 'of names no ratio; pass "state_action", "state" or both'
            raise InvalidArgumentError(text)
        if "state" in kinds and log._propensity is None:
            text = (
                "the ratio of states needs propensities, and the log has none; estimate them "
                "(models.PropensityModel), or take the ratio of states and actions"
            )
            raise InvalidLogError(text)
        how = closed_form.How(
            self.ridge, one_of("unseen", self.unseen, UNSEEN), check_threads(num_threads)
        )
        plan = Plan(gamma, self.horizon, self.step, cross_fit, n_repeats, seed)
        dealt = plan.deal(log)
        t = dealt[0]
        candidates = take(check_policies(policies), log)
        n_actions = candidates[0].n_actions
        rho = [importance_ratios(c, log) for c in candidates] if "state" in kinds else []
        found: dict[str, list[Floats]] = {kind: [] for kind in kinds}
        notes: list[str] = []
        space = None
        for own in dealt:
            with progress("fitting LinearRatio") as report:
                if "state_action" in kinds:
                    space = closed_form.Space.of(own, self.features, n_actions, seed)
                    read, notes = closed_form.fit_state_action_ratio(space, candidates, how, report)
                    found["state_action"].append(_rows(read, len(candidates), logged=True))
                if "state" in kinds:
                    if space is None or not own.discrete or space.t is not own:
                        space = closed_form.Space.of_states(own, self.features, n_actions, seed)
                    read = closed_form.fit_state_ratio(space, rho, how)
                    found["state"].append(_rows(read, len(candidates), logged=False))
        assert space is not None
        ratios, rows = {}, []
        for kind in kinds:
            raw = np.median(found[kind], axis=0) if n_repeats > 1 else found[kind][0]
            raw = np.where(t.used, raw, 0.0)
            ratios[kind] = np.maximum(raw, 0.0)
            for p, c in enumerate(candidates):
                weight = rho[p] if kind == "state" else np.ones(log.n_rows)
                rows.append(_describe(t, c.name, kind, raw[p], weight))
        names = [c.name for c in candidates]
        notes = notes_on(t, space.features) + notes + _implausible(t, rows)
        return MarginalRatios(
            names,
            ratios.get("state"),
            ratios.get("state_action"),
            pl.DataFrame(rows),
            plan.settings("LinearRatio", space.features, t) | {"method": self.method},
            time.perf_counter() - began,
            notes,
        )


def _rows(read: closed_form.Read, n_policies: int, *, logged: bool) -> Floats:
    """Take the ratio of every policy in every row."""
    n = read.space.t.log.n_rows
    out = np.empty((n_policies, n))
    for rows in block_slices(n, read.space.n_actions or 1):
        for p in range(n_policies):
            out[p, rows] = read.logged(p, rows) if logged else read.values(p, rows)[:, 0]
    return out


def _describe(t: Transitions, policy: str, kind: str, raw: Floats, rho: Floats) -> dict[str, Any]:
    """Say what a policy's ratio amounts to."""
    n = len(t.lengths)
    discount = np.where(t.used, t.discount, 0.0)
    weighted = discount * np.maximum(raw, 0.0)
    mass, negative = float(weighted.sum()), float((discount * np.minimum(raw, 0.0)).sum())
    squares = float((weighted**2).sum())
    return {
        "policy": policy,
        "ratio": kind,
        "value": float((weighted * rho * t.reward).sum() / n),
        "mass": mass / n,
        "logged_mass": float(discount.sum() / n),
        "effective_rows": mass**2 / squares if squares > 0 else 0.0,
        "max_share": float(weighted.max() / mass) if mass > 0 else None,
        "clipped": float((raw < 0).mean()),
        "clipped_mass": abs(negative) / mass if mass > 0 else None,
    }


def _implausible(t: Transitions, rows: list[dict[str, Any]]) -> list[str]:
    """Name masses that no policy's episodes can have: each has a first step, and an end."""
    longest = t.longest if t.horizon == "logged" else np.inf
    most = longest if t.gamma == 1 else (1 - t.gamma**longest) / (1 - t.gamma)
    notes = []
    for kind in dict.fromkeys(row["ratio"] for row in rows):
        own = {row["policy"]: row["mass"] for row in rows if row["ratio"] == kind}
        off = {name: max(x / most, 1 / x if x else np.inf) for name, x in own.items()}
        if not (wild := [name for name, x in off.items() if x > LEEWAY]):
            continue
        worst = max(wild, key=lambda name: off[name])
        cure = "propensities without folds, " if kind == "state" else ""
        notes.append(
            f"ratios of {kind.replace('_', ' and ')} that cannot be right: {len(wild)} of "
            f'{plural(len(own), "policy")}, "{worst}" with a length of {number(own[worst], 3)}, '
            f"where episodes have 1 to {number(most, 3)}; take {cure}other features, or estimators "
            "without these ratios"
        )
    return notes
