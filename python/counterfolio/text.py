"""Words and tables for people: suggestions, numbers, plain-text and HTML tables."""

from __future__ import annotations

import difflib
import html
import math
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

WIDTH = 80
#: Digits of a number in a table, before powers of ten take over.
MOST_DECIMALS = 8
#: Text columns are not cut shorter than this.
NARROWEST = 6


def suggest(name: object, known: Iterable[str]) -> str:
    """Say which names exist, nearest first: the end of an error message."""
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    if near:
        return "did you mean " + " or ".join(f'"{n}"' for n in near) + "?"
    shown = ", ".join(f'"{n}"' for n in names[:20])
    return f"there is {shown}{', ...' if len(names) > 20 else ''}" if names else "there is none"


def quoted(name: str) -> str:
    """Name a policy in a sentence, in quotes where it would not be seen as one word."""
    return name if re.fullmatch(r"[\w.+-]+", name) else f'"{name}"'


def percent(x: float | None, digits: int = 1) -> str:
    """Format a share; nothing for a missing one."""
    if x is None:
        return ""
    least = 10.0**-digits
    return f"<{least:g} %" if 0 < 100 * x < least / 2 else f"{100 * x:.{digits}f} %"


def chance(p: float | None, draws: int | None = None) -> str:
    """Format a probability that rests on an approximation, or on so many draws: never 0 or 100 %.

    What happened in every draw of 20 is said to be above 95 %.
    """
    if p is None or math.isnan(p):
        return ""
    least = max(0.001, 1 / draws) if draws else 0.001
    if p > 1 - least / 2:
        return f">{100 * (1 - least):.3g} %"
    return f"<{100 * least:.3g} %" if p < least / 2 else percent(p)


def span(low: str, high: str) -> str:
    """Say a range; one end where both read alike."""
    return low if low == high else f"{low} to {high}"


def plural(count: int, noun: str) -> str:
    """Count things, as in "1 row" and "2,000 rows"."""
    many = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{count:,} {noun if count == 1 else many}"


def number(x: float | None, digits: int = 4) -> str:
    """Format a number for a sentence; nothing for a missing one."""
    return "" if x is None else f"{x:.{digits}g}"


def count(x: float | None) -> str:
    """Format an effective sample size: whole from 100 on."""
    if x is None:
        return ""
    return f"{x:,.0f}" if x >= 100 else f"{x:.3g}"


def aligned(values: Iterable[float], errors: Iterable[float]) -> Callable[[float], str]:
    """Choose one format for a column: as many decimals as its standard errors make worth reading.

    Two digits of the smallest standard error; powers of ten where that would not fit a table.
    """
    errors = [e for e in errors if math.isfinite(e) and e > 0]
    largest = max((abs(x) for x in values if math.isfinite(x)), default=0.0)
    decimals = max(0, 1 - math.floor(math.log10(min(errors)))) if errors else 4
    if decimals > MOST_DECIMALS or largest >= 10 ** (MOST_DECIMALS - decimals):
        return lambda x: f"{x:.4g}"
    # No minus before a zero.
    return lambda x: f"{round(x, decimals) + 0.0:.{decimals}f}"


@dataclass(frozen=True)
class Column:
    """A column of a printed table."""

    title: str
    cells: Sequence[str]
    left: bool = False


def width_of(text: str) -> int:
    """Columns of a terminal that a text takes: ideographs and most emoji take two."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) != 0 for c in text)


def cut(text: str, width: int) -> str:
    """Cut a text to a width and keep it on one line; an ellipsis stands where something was lost.

    The end stays, by which names that begin alike can be told apart.
    """
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    if width_of(text) <= width:
        return text
    head, tail = text, text[-((width - 1) // 3) :] if width > 3 else ""
    while width_of(tail) > (width - 1) // 3:
        tail = tail[1:]
    while width_of(head) > width - 1 - width_of(tail):
        head = head[:-1]
    return f"{head}…{tail}"


def text_table(columns: Sequence[Column], width: int = WIDTH) -> str:
    """Lay out a table of at most `width` characters; the widest text column gives way."""
    widths = [max(map(width_of, (c.title, *c.cells))) for c in columns]
    texts = [i for i, c in enumerate(columns) if c.left]
    while sum(widths) + 2 * (len(widths) - 1) > width and texts:
        widest = max(texts, key=lambda i: widths[i])
        if widths[widest] <= NARROWEST:
            break
        widths[widest] -= 1

    def line(cells: Iterable[str]) -> str:
        parts = []
        for cell, size, column in zip(cells, widths, columns, strict=True):
            shown = cut(cell, size)
            blank = " " * (size - width_of(shown))
            parts.append(shown + blank if column.left else blank + shown)
        return "  ".join(parts).rstrip()

    rows = [line(c.title for c in columns)]
    rows += [line(row) for row in zip(*(c.cells for c in columns), strict=True)]
    return "\n".join(rows)


def wrap(text: str) -> str:
    """Fold a sentence to the width of a terminal; a word too long for a line is cut."""
    lines = [""]
    for word in (cut(word, WIDTH) for word in text.split()):
        if lines[-1] and width_of(lines[-1]) + 1 + width_of(word) > WIDTH:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return "\n".join(lines)


def html_table(columns: Sequence[Column], caption: str, notes: Sequence[str] = ()) -> str:
    """Lay out the same table for a notebook; every cell is escaped."""
    align = ["left" if c.left else "right" for c in columns]
    head = "".join(
        f'<th style="text-align:{a}">{html.escape(c.title)}</th>'
        for a, c in zip(align, columns, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<td style="text-align:{a}">{html.escape(cell)}</td>'
            for a, cell in zip(align, row, strict=True)
        )
        + "</tr>"
        for row in zip(*(c.cells for c in columns), strict=True)
    )
    foot = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    return (
        f'<div class="counterfolio"><p>{html.escape(caption)}</p>'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{foot}</div>"
    )
