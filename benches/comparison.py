"""Put our numbers beside SCOPE-RL's formulas on logs of known truth; write docs/comparison.md.

It takes some seconds. The tables are made in comparison_tables.py and comparison_intervals.py.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

import comparison_intervals as intervals
import comparison_tables as tables
import counterfolio as cf
from comparison_text import HEAD, SECTIONS
from scope_rl_formulas import VERSION

if TYPE_CHECKING:
    import polars as pl

OUTPUT = Path(__file__).parents[1] / "docs" / "comparison.md"
TABLES = {
    "basic": tables.basic,
    "unequal": tables.unequal,
    "long_horizons": tables.long_horizons,
    "marginal": tables.marginal,
    "distribution": tables.distribution,
    "statistics": tables.statistics,
    "kernels": tables.kernels,
    "widths": intervals.widths,
    "coverage": intervals.coverage,
    "resampled": intervals.resampled,
}
#: Columns that are shown as they are.
PLAIN = ("gamma", "x")


def cell(column: str, value: object) -> str:
    """Show a number by four digits after the point, so that only differences are seen."""
    if value is None:
        return ""
    if isinstance(value, str):
        return f"`{value}`" if column in ("estimator", "interval") else value
    if isinstance(value, int) or column in PLAIN:
        return f"{value:g}" if column in PLAIN else f"{value:,}"
    if column.endswith("%"):
        return f"{value:.1f}"
    if math.isnan(value):
        return "**NaN**"
    # Rounding noise must not decide between two neighbours; nor is there a -0.
    return f"{round(value, 9) + 0.0:.4f}"


def markdown(table: pl.DataFrame) -> str:
    """Lay a table out; theirs is in bold where it is not what ours is."""
    lines = [f"| {' | '.join(table.columns)} |", "|" + "---|" * len(table.columns)]
    for row in table.iter_rows(named=True):
        cells = {name: cell(name, value) for name, value in row.items()}
        ours = cells.get("ours", cells.get("ours, %"))
        for name, text in cells.items():
            if name.startswith("theirs") and text not in ("", ours) and "*" not in text:
                cells[name] = f"**{text}**"
        lines.append(f"| {' | '.join(cells.values())} |")
    return "\n".join(lines)


def page() -> str:
    """Make every table and set it into the text."""
    found = {name: markdown(make()) for name, make in TABLES.items()}
    head = HEAD.format(theirs=VERSION, ours=cf.__version__)
    return head + SECTIONS.format(**found)


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    given.output.write_text(page(), encoding="utf-8")
    print(given.output)


if __name__ == "__main__":
    main()
