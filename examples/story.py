"""What an act of the demo tells: printed as it goes along, and kept for the HTML report."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import polars as pl
from counterfolio.report import inline_svg

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import counterfolio as cf
    from matplotlib.axes import Axes

WIDTH = 80


class Result(Protocol):
    """Anything of counterfolio's that shows itself in a terminal and in a notebook."""

    def _repr_html_(self) -> str: ...


@dataclass(frozen=True)
class Report:
    """An evaluation that gets a report of its own."""

    name: str
    evaluation: cf.Evaluation
    truth: Mapping[str, float] | None
    title: str


class Story:
    """Headings, paragraphs, items, results and plots, in order.

    Attributes
    ----------
    lines : list of str
        What was printed.
    parts : list of (str, str)
        The same for the report: "h1", "h2", "p" and "item" with plain text, "html" with a result's
        own HTML.
    reports : list of Report
        What is to have a report of its own.
    """

    def __init__(self, title: str) -> None:
        self.lines: list[str] = []
        self.parts: list[tuple[str, str]] = []
        self.reports: list[Report] = []
        self.title = title
        self._add("h1", title, f"{title}\n{'=' * len(title)}")

    @property
    def text(self) -> str:
        """Everything that was printed."""
        return "\n".join(self.lines) + "\n"

    def head(self, text: str) -> None:
        """Begin a section."""
        self._add("h2", text, f"{text}\n{'-' * len(text)}")

    def say(self, text: str) -> None:
        """Say a paragraph."""
        text = " ".join(text.split())
        self._add("p", text, textwrap.fill(text, WIDTH, break_on_hyphens=False))

    def item(self, name: str, text: str) -> None:
        """Say what something named is."""
        text = f"{name}: {' '.join(text.split())}"
        folded = textwrap.fill(text, WIDTH, subsequent_indent="    ", break_on_hyphens=False)
        self._add("item", text, folded)

    def show(self, result: Result) -> None:
        """Show a result of counterfolio's as it shows itself."""
        self._add("html", result._repr_html_(), repr(result))

    def table(self, frame: pl.DataFrame, decimals: int) -> None:
        """Show a polars frame without polars' frame."""
        with pl.Config(
            tbl_formatting="NOTHING",
            tbl_hide_dataframe_shape=True,
            tbl_hide_column_data_types=True,
            tbl_cell_numeric_alignment="RIGHT",
            tbl_rows=-1,
            tbl_cols=-1,
            tbl_width_chars=WIDTH,
            fmt_str_lengths=WIDTH,
            float_precision=decimals,
            thousands_separator=",",
        ):
            lines = [line.rstrip().removeprefix(" ") for line in str(frame).splitlines()]
            # polars puts strings in quotes in HTML, though not in text.
            markup = frame._repr_html_().replace("&quot;", "")
        self._add("html", markup, "\n".join(lines))

    def plot(self, draw: Callable[[], Axes], caption: str) -> None:
        """Show a plot on the page; a terminal has only the tables."""
        markup = inline_svg(draw, f"plot-{len(self.title)}-{len(self.parts)}")
        self.parts += [("html", f"<figure>{markup}</figure>"), ("p", f"{caption}.")]

    def report(
        self, name: str, evaluation: cf.Evaluation, truth: Mapping[str, float] | None = None
    ) -> None:
        """Give an evaluation a report of its own, beside the page."""
        self.reports.append(Report(name, evaluation, truth, self.title))

    def _add(self, kind: str, content: str, printed: str) -> None:
        together = kind == "item" and self.parts[-1][0] == "item"
        shown = printed if together or not self.lines else f"\n{printed}"
        self.lines.append(shown)
        self.parts.append((kind, content))
        print(shown, flush=True)
