"""The page docs/coverage.md: coverage and width in tables, and what breaks its promise."""

from __future__ import annotations

import counterfolio as cf
import polars as pl
from coverage_cells import ALLOWED, ESTIMATORS, LEVEL, NOTED, OTHERS, RANGED, cases

HEAD = """# Coverage, measured

`python benches/coverage.py` wrote this page: {logs:,} logs to each cell, simulated from tabular
decision processes that are solved exactly, with counterfolio {version}. Every interval is
meant to hold the true value in {level:g} % of the logs. [Uncertainty](uncertainty.md) says which
interval to use; this page is the evidence.

Episodes end by chances that depend on the action, rewards are wins or losses (0 or 1) unless they
are said to be skewed, and the Q-model is wrong by noise of standard deviation 0.1 in every cell.

| case | steps | gamma | true value | largest possible weight | what it is |
|---|---|---|---|---|---|
{cases}

A cell holds the coverage in % and, in brackets, the mean width of the interval; of `hcope`, a lower
bound, the mean distance from the true value (to be compared with half a width). The
coverage has a standard error of {error:.1f} points.

- A plain cell is one where {unnoted:g} % of the logs or more came without a note about the
  interval (effective sample size of 50 or more, no episode above a tenth of the weight, Pareto k
  below 0.5, little skewness): it is promised to be within {allowed:g} points of {level:g} %.
- *A cell in italics* is one where the result says more often: do not lean on the interval. Nothing
  is promised of it. Nor is anything of `dm`, whose intervals take the Q-model for the truth: more
  episodes make them narrower around the wrong value.
- **A cell in bold** breaks the promise. All such cells are listed at the end.
"""
WHAT = {
    "one step, near": "light tails",
    "one step, far": "heavier tails",
    "short, near": "light tails",
    "short, far": "heavy tails: the policy does what was seldom logged",
    "long, near": "products of many light weights",
    "long, far": "heavy tails: products of many uneven weights",
    "skewed rewards": "light weights, rewards with lognormal noise (sigma 1.5)",
}
TITLES = {
    "normal": 'interval="normal"',
    "t": 'interval="t"',
    "percentile": 'interval="bootstrap", method="percentile"',
    "basic": 'interval="bootstrap", method="basic"',
    "bca": 'interval="bootstrap", method="bca"',
}


def _cell(row: dict[str, object] | None) -> str:
    if row is None:
        return ""
    width = row["width"]
    shown = (
        f"{100 * row['coverage']:.1f} ({width:.2g})"
        if width < 1e4
        else (f"{100 * row['coverage']:.1f} ({width:.0e})")
    )
    return f"**{shown}**" if row["fails"] else shown if row["promised"] else f"*{shown}*"


def _table(found: pl.DataFrame, columns: list[tuple[str, str, str]]) -> str:
    """Rows are cases and sizes; a column is a title, an interval and an estimator."""
    at = {
        (r["case"], r["n"], r["interval"], r["estimator"]): r for r in found.iter_rows(named=True)
    }
    lines = [
        f"| case | n | {' | '.join(title for title, _, _ in columns)} |",
        "|---|" + "---|" * (len(columns) + 1),
    ]
    for case, n in found.select("case", "n").unique(maintain_order=True).iter_rows():
        cells = [_cell(at.get((case, n, kind, name))) for _, kind, name in columns]
        if any(cells):
            lines.append(f"| {case} | {n:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def described() -> list[str]:
    """Rows of the table of cases."""
    return [
        f"| {c.name} | up to {c.process.horizon} | {c.gamma:g} | {c.truth:.3f} | "
        f"{c.largest_weight:.3g} | {WHAT[c.name]} |"
        for c in cases().values()
    ]


def page(found: pl.DataFrame, together: str) -> str:
    """Write docs/coverage.md, with the section on several policies."""
    logs = int(found["logs"].max())
    parts = [
        HEAD.format(
            logs=logs,
            version=cf.__version__,
            level=100 * LEVEL,
            cases="\n".join(described()),
            error=100 * (LEVEL * (1 - LEVEL) / logs) ** 0.5,
            unnoted=100 * (1 - NOTED),
            allowed=100 * ALLOWED,
        ),
        "## For every estimator\n",
    ]
    for kind, title in TITLES.items():
        columns = [(f"`{name}`", kind, name) for name in ESTIMATORS]
        parts.append(f"### `{title}`\n\n{_table(found, columns)}\n")
    ranged = [(f"`{kind}`", kind, "tis") for kind in OTHERS]
    ranged += [(f"`{kind}`, pdis", kind, "pdis") for kind in OTHERS[:3]]
    parts.append(
        "## Bounds from ranges\n\nOf `tis` unless said otherwise. What was vouched for is true and "
        "no more: the largest return, the largest weight, their product. `cressie_read` is for "
        "many episodes, and too wide rather than too narrow; the others are meant to hold for any "
        "number.\n\n"
        f"{_table(found, ranged)}\n"
    )
    parts += [together, _failures(found)]
    return "\n".join(parts)


def _failures(found: pl.DataFrame) -> str:
    bounds = found.filter(pl.col("interval").is_in(RANGED))
    others = found.filter(~pl.col("interval").is_in(RANGED) & pl.col("promised"))
    failed, saved = found.filter("fails"), found.filter("saved")
    lines = [
        "## What breaks the promise\n",
        f"Of {len(bounds):,} cells of bounds that are to hold for any number of episodes, "
        f"{bounds['fails'].sum()} lie below {100 * LEVEL:g} %. Of {len(others):,} other cells "
        f"without notes, {others['fails'].sum()} are more than {100 * ALLOWED:g} points off"
        + _named(failed),
        "\n## What the effective sample size and Pareto k do not see\n",
        "An effective sample size of 50 and a Pareto k below 0.5 speak of the weights. Rewards may "
        "be skewed as well, and one episode may carry much: the result has notes for these too. "
        f"Without them {len(saved)} more cells would be off by more than {100 * ALLOWED:g} points "
        "and nobody told" + _named(saved),
    ]
    return "\n".join(lines) + "\n"


def _named(cells: pl.DataFrame) -> str:
    """Finish a sentence with a list of cells; a line holds those of a case, size and interval."""
    if cells.is_empty():
        return "."
    lines = []
    keys = ["case", "n", "interval"]
    for (case, n, kind), of in cells.group_by(keys, maintain_order=True):
        shown = ", ".join(
            f"`{name}` {100 * coverage:.1f} %"
            for name, coverage in of.select("estimator", "coverage").iter_rows()
        )
        lines.append(f"- {case}, n = {n:,}, `{kind}`: {shown}")
    return ":\n\n" + "\n".join(lines)
