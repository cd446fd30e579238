"""Measure the coverage and width of every interval for every estimator; write docs/coverage.md.

It takes about ten minutes on two cores. coverage_cells.py has what is measured.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from coverage_cells import run
from coverage_page import page

OUTPUT = Path(__file__).parents[1] / "docs" / "coverage.md"


def main() -> None:
    """Simulate, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=1_000, help="to each cell (default: 1000)")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    found = run(given.logs)
    given.output.write_text(page(found), encoding="utf-8")
    print(f"{found['fails'].sum()} of {len(found):,} cells break their promise: {given.output}")


if __name__ == "__main__":
    main()
