"""`Diagnostics`: what the importance weights look like, and whether estimates can be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio import _core
from counterfolio.calibration import Actions
from counterfolio.dense import check_dense, unsupported_mass
from counterfolio.exceptions import InvalidPolicyError
from counterfolio.policies import only_prob
from counterfolio.progress import progress
from counterfolio.sources import column_label, column_values
from counterfolio.text import (
    Column,
    count,
    html_table,
    number,
    percent,
    plural,
    quoted,
    text_table,
    wrap,
)
from counterfolio.verdict import LARGE_Z, Evidence, is_alarm, judge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from counterfolio.log import LoggedData
    from counterfolio.policies import PolicyColumns

TABLE = {
    "policy": pl.String,
    "verdict": pl.String,
    "reason": pl.String,
    "advice": pl.String,
    "effective_sample_size": pl.Float64,
    "mean_weight": pl.Float64,
    "z": pl.Float64,
    "z_step": pl.Int64,
    "pareto_k": pl.Float64,
    "max_weight_share": pl.Float64,
    "unsupported_mass": pl.Float64,
    "unsupported_basis": pl.String,
    "actions_never_tried": pl.Int64,
}
STEPS = {
    "policy": pl.String,
    "step": pl.Int64,
    "n_episodes": pl.Int64,
    "effective_sample_size": pl.Float64,
    "mean_weight": pl.Float64,
    "z": pl.Float64,
    "influence_share": pl.Float64,
    "evidence": pl.Float64,
}
LARGEST = {
    "policy": pl.String,
    "rank": pl.Int64,
    "episode": pl.Int64,
    "first_row": pl.Int64,
    "share": pl.Float64,
}
WEIGHTS = {
    "policy": pl.String,
    "low": pl.Float64,
    "high": pl.Float64,
    "n_episodes": pl.Int64,
}
SCHEMAS = {"table": TABLE, "steps": STEPS, "largest": LARGEST, "weights": WEIGHTS}
#: Policies whose reasons are printed.
SHOWN = 12


@dataclass(frozen=True, repr=False, eq=False)
class Diagnostics:
    """What the importance weights of each policy look like, with a verdict in words.

    Everything is about the weights: they say how much of the log speaks about a policy, not
    whether a Q-model is right. A policy evaluated by the direct method alone has no weights, so
    its statistics are null.

    Attributes
    ----------
    table : polars.DataFrame
        A row to a policy: policy, verdict ("reliable", "with care", "do not trust"), reason, advice
        (null when reliable); effective_sample_size (the smallest over steps); mean_weight, z and
        z_step where the mean weight is the most standard errors from 1; pareto_k of the final
        weights (null where no tail can be fitted); max_weight_share of the final weights;
        unsupported_mass, the probability on actions that the log cannot show, averaged over rows,
        and unsupported_basis, how that is known (null where the policy came without all actions'
        probabilities); actions_never_tried, how many logged actions it never takes.
    steps : polars.DataFrame
        A row to a policy and step, counted from 0, with the weight of a finished episode held:
        policy, step, n_episodes (that reach it), effective_sample_size, mean_weight, z,
        influence_share (the step's share of the influence on `snpdis`, sum over episodes of
        |psi_t|; the shares sum to 1; null for one episode), evidence (where z > 4: the logarithm
        to base 10 of what one who bets on a mean above 1 would have gained, which exceeds x on a
        sound log with a chance of at most 10^-x).
    largest : polars.DataFrame
        The five largest final weights: policy, rank, episode (number in the log, from 0),
        first_row, share.
    weights : polars.DataFrame
        Histogram of the final weights divided by their mean, in bins of equal width on a
        logarithmic scale: policy, low, high, n_episodes. low = high = 0 counts weights of 0.

    Notes
    -----
    ESS = (sum w)^2 / sum w^2. Pareto k: Zhang & Stephens 2009 as in Vehtari et al. 2024 (PSIS).
    The verdict's constants stand in counterfolio/verdict.py.
    """

    table: pl.DataFrame
    steps: pl.DataFrame
    largest: pl.DataFrame
    weights: pl.DataFrame

    def to_dict(self) -> dict[str, dict[str, list[Any]]]:
        """Give every table as lists, for JSON."""
        return {name: getattr(self, name).to_dict(as_series=False) for name in SCHEMAS}

    @classmethod
    def from_dict(cls, tables: Mapping[str, Mapping[str, list[Any]]]) -> Diagnostics:
        """Make it again from `to_dict`."""
        return cls(**{n: pl.DataFrame(tables[n], schema=s) for n, s in SCHEMAS.items()})

    def _columns(self) -> list[Column]:
        t = self.table

        def numbers(name: str, digits: int) -> list[str]:
            return [number(x, digits) for x in t[name]]

        columns = [
            Column("policy", t["policy"].to_list(), left=True),
            Column("verdict", t["verdict"].to_list()),
            Column("ESS", [count(x) for x in t["effective_sample_size"]]),
            Column("mean weight", numbers("mean_weight", 4)),
            Column("z", [number(None if x is None else round(x, 1), 3) for x in t["z"]]),
            Column("Pareto k", numbers("pareto_k", 2)),
            Column("max share", [percent(x) for x in t["max_weight_share"]]),
        ]
        return [c for c in columns if any(c.cells)]

    def _lines(self) -> list[str]:
        lines = []
        doubtful = [row for row in self.table.rows(named=True) if row["verdict"] != "reliable"]
        for row in doubtful[:SHOWN]:
            advice = f". What would help: {row['advice']}" if row["advice"] else ""
            lines.append(f"{quoted(row['policy'])}: {row['verdict']}: {row['reason']}{advice}.")
        if (hidden := len(doubtful) - SHOWN) > 0:
            lines.append(f"{plural(hidden, 'more policy')} in .table.")
        return lines or ["Every policy's weights can be relied on."]

    def __repr__(self) -> str:
        return "\n".join([text_table(self._columns()), *(wrap(line) for line in self._lines())])

    def _repr_html_(self) -> str:
        return html_table(self._columns(), "Weight diagnostics", self._lines())


def diagnose(
    log: LoggedData,
    policies: Mapping[str, PolicyColumns],
    probs: Mapping[str, _core.Column | None],
    gamma: float,
    num_threads: int,
) -> Diagnostics:
    """Diagnose the weights of each policy; see `Evaluation.diagnostics`.

    Parameters
    ----------
    policies
        As described, for what they say of actions that were not logged.
    probs
        pi(a_t|s_t) as the core reads it; None for a policy that was evaluated without weights.
    """
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in SCHEMAS}
    actions = Actions.of(log)
    with progress("diagnosing") as report:
        for i, (name, prob) in enumerate(probs.items()):
            if prob is None or log._propensity is None:
                tables["table"].append(_unweighted(name, log))
                continue

            def show(share: float, before: int = i) -> None:
                if report is not None:
                    report((before + share) / len(probs))

            found = _core.diagnose(
                log.for_core,
                only_prob(name, prob),
                gamma,
                num_threads,
                None if report is None else show,
            )
            mass, basis = _unsupported(name, policies[name], log)
            evidence = _evidence(found, log.n_episodes, mass, basis, policies[name])
            never = None
            if actions is not None:
                never = int((actions.total(column_values(prob) > 0) == 0).sum())
            tables["table"].append(_row(name, evidence, never))
            for key, rows in _details(name, found).items():
                tables[key] += rows
    frames = {n: pl.DataFrame(tables[n], schema=schema) for n, schema in SCHEMAS.items()}
    return Diagnostics(**frames)


def _unweighted(name: str, log: LoggedData) -> dict[str, Any]:
    lacks = "log propensities, pass prob" if log._propensity is None else "pass prob"
    return dict.fromkeys(TABLE) | {
        "policy": name,
        "verdict": "with care",
        "reason": "the direct method alone: nothing in the log checks its model",
        "advice": f"{lacks} as well, and compare with dr",
    }


def _evidence(
    found: Any, n_episodes: int, mass: float | None, basis: str | None, policy: PolicyColumns
) -> Evidence:
    sizes = found["effective_sample_size"]
    off = np.abs(found["z"])
    alarms = np.array(
        [
            is_alarm(*x)
            for x in zip(found["mean_weight"], found["z"], found["evidence"], strict=True)
        ]
    )
    if alarms.any():
        off = np.where(alarms, off, -1.0)
    worst = 0 if np.isnan(off).all() else int(np.nanargmax(off))
    return Evidence(
        n_episodes=n_episodes,
        effective_sample_size=float(sizes.min()),
        step=int(sizes.argmin()),
        n_steps=len(sizes),
        mean_weight=float(found["mean_weight"][worst]),
        z=float(found["z"][worst]),
        evidence=float(found["evidence"][worst]),
        z_step=worst,
        pareto_k=found["pareto_k"],
        max_weight_share=found["largest"][0][2] if found["largest"] else None,
        unsupported_mass=mass,
        unsupported_basis=basis,
        has_model=policy.q_values is not None or (policy.q is not None and policy.v is not None),
    )


def _row(name: str, e: Evidence, never_tried: int | None) -> dict[str, Any]:
    verdict, reason, advice = judge(e)
    return {
        "policy": name,
        "verdict": verdict,
        "reason": reason,
        "advice": advice,
        "effective_sample_size": e.effective_sample_size,
        "mean_weight": e.mean_weight,
        "z": _known(e.z),
        "z_step": e.z_step,
        "pareto_k": _known(e.pareto_k),
        "max_weight_share": e.max_weight_share,
        "unsupported_mass": e.unsupported_mass,
        "unsupported_basis": e.unsupported_basis,
        "actions_never_tried": never_tried,
    }


def _known(x: float) -> float | None:
    return None if math.isnan(x) else x


def _details(name: str, found: Any) -> dict[str, list[dict[str, Any]]]:
    """Rows of the tables that have several to a policy."""
    alone = found["n_episodes"][0] == 1
    by_step = zip(
        *(found[k] for k in ("n_episodes", "effective_sample_size", "mean_weight")),
        map(_known, found["z"]),
        (None if alone else _known(x) for x in found["influence_share"]),
        (e if z > LARGE_Z else None for e, z in zip(found["evidence"], found["z"], strict=True)),
        strict=True,
    )
    bins = zip(found["low"], found["high"], found["in_bin"], strict=True)
    return {
        "steps": [
            dict(zip(STEPS, (name, t, int(n), *rest), strict=True))
            for t, (n, *rest) in enumerate(by_step)
        ],
        "largest": [
            dict(zip(LARGEST, (name, i, *row), strict=True))
            for i, row in enumerate(found["largest"], 1)
        ],
        "weights": [
            dict(zip(WEIGHTS, (name, low, high, int(n)), strict=True)) for low, high, n in bins
        ],
    }


def _unsupported(
    name: str, policy: PolicyColumns, log: LoggedData
) -> tuple[float | None, str | None]:
    """Find the probability on actions that the log cannot show, and how that is known."""
    if policy.action_probs is None:
        return None, None

    def dense(value: object, label: str) -> Any:
        value = log.column(value) if isinstance(value, str) else value
        return check_dense(label, value, log.n_rows, InvalidPolicyError)

    probs = dense(policy.action_probs, f'policy "{name}": column "action_probs"')
    behavior = log.roles["action_probs"]
    if behavior is None:
        return unsupported_mass(log.action_codes, probs, None), "actions that were never logged"
    behavior = dense(behavior, column_label(behavior))
    mass = unsupported_mass(log.action_codes, probs, behavior)
    return mass, "actions that the behavior policy never takes there"
