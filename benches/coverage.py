"""Measure the coverage and width of every interval for every estimator; write docs/coverage.md.

It takes a quarter of an hour on two cores. What is measured is in coverage_cells.py and, of several
policies at once, in coverage_together.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from coverage_cells import run
from coverage_page import page
from coverage_together import table

OUTPUT = Path(__file__).parents[1] / "docs" / "coverage.md"


def main() -> None:
    """Simulate, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=1_000, help="to each cell (default: 1000)")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    found = run(given.logs)
    text = page(found, table(given.logs))
    given.output.write_text(text, encoding="utf-8")
    print(f"{found['fails'].sum()} of {len(found):,} cells break their promise: {given.output}")


if __name__ == "__main__":
    main()
