"""How an option of a command is declared: its panel in --help, and how its text is read."""

from __future__ import annotations

from typing import Any

import typer

COLUMNS, POLICIES, MODELS, ESTIMATION, UNCERTAINTY, RANKING, OUTPUT, RUN = (
    "Columns of the log",
    "Policies",
    "Models",
    "Estimation",
    "Uncertainty",
    "Ranking",
    "Output",
    "Run",
)


def option(name: str, panel: str, metavar: str, text: str, **further: Any) -> Any:
    """Declare an option that takes a value."""
    return typer.Option(
        f"--{name}",
        metavar=metavar,
        help=text,
        rich_help_panel=panel,
        show_default=False,
        **further,
    )


def number(text: str) -> float:
    """Read a number.

    Raises
    ------
    typer.BadParameter
        If it is none.
    """
    try:
        return float(text)
    except ValueError:
        point = text.replace(",", ".", 1)
        hint = f"write {point}" if "," in text and _is_float(point) else "write one, as in 0.95"
        raise typer.BadParameter(f'"{text}" is no number; {hint}') from None


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def whole(text: str) -> int:
    """Read a whole number.

    Raises
    ------
    typer.BadParameter
        If it is none.
    """
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f'"{text}" is no whole number; write one, as in 3') from None


def flag(name: str, panel: str, text: str) -> Any:
    """Declare an option that is there or not."""
    return typer.Option(
        f"--{name}", metavar=" ", help=text, rich_help_panel=panel, show_default=False
    )
