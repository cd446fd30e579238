"""The options of `counterfolio simulate`, and its result in every form."""

# No `from __future__ import annotations`: typer reads the annotations.
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counterfolio.cli.declare import ESTIMATION, MODELS, OUTPUT, RANKING, RUN, option, whole
from counterfolio.cli.failure import wrong
from counterfolio.cli.output import Result

if TYPE_CHECKING:
    import polars as pl

    import counterfolio as cf

#: Where no environment is named.
FIRST = "RealTimeBidding"

Environment = Annotated[
    str,
    typer.Argument(
        metavar="ENVIRONMENT",
        help="Basic, Recommender, RealTimeBidding, or the name of one that gymnasium knows, with "
        f"discrete actions. Default: {FIRST}.",
        show_default=False,
    ),
]
Logs = Annotated[
    int, option("logs", ESTIMATION, "NUMBER", "How many logs. Default: 20.", parser=whole)
]
Episodes = Annotated[
    int, option("episodes", ESTIMATION, "NUMBER", "Of each log. Default: 1,000.", parser=whole)
]
RollOuts = Annotated[
    int,
    option(
        "roll-outs",
        ESTIMATION,
        "NUMBER",
        "Episodes behind each true value. Default: 10,000.",
        parser=whole,
    ),
]
Training = Annotated[
    int,
    option(
        "training",
        MODELS,
        "NUMBER",
        "Episodes from which policies are learned. Default: 2,000.",
        parser=whole,
    ),
]
Estimators = Annotated[
    list[str] | None,
    option(
        "estimators",
        ESTIMATION,
        "NAMES",
        "A list with commas. Default: dm, snpdis, sndr, sm_snis, sm_sndr; sm_is and sm_dr in place "
        "of the last two where episodes differ in length.",
    ),
]
K = Annotated[
    int | None,
    option("k", RANKING, "NUMBER", "Size of the shortlist. Default: 4, or fewer.", parser=whole),
]
Seed = Annotated[
    int, option("seed", RUN, "NUMBER", "Of everything that is random. Default: 0.", parser=whole)
]
Report = Annotated[str | None, option("report", OUTPUT, "FILE", "Write the page: one HTML file.")]
Title = Annotated[str | None, option("title", OUTPUT, "TEXT", "Heads the page.")]
Folder = Annotated[
    str | None,
    option(
        "folder",
        OUTPUT,
        "FOLDER",
        "Keep every evaluation there. A run that was stopped goes on, more logs are added.",
    ),
]
Log = Annotated[
    str | None,
    option(
        "log",
        OUTPUT,
        "FILE",
        "Write the first log as Parquet, with the probability of each candidate as a column.",
    ),
]


def environment_of(name: str) -> str:
    """Take the name of an environment; ours may go without the rest of theirs."""
    from counterfolio.simulate.registration import ENVIRONMENTS

    known = {short.lower(): short for short in ENVIRONMENTS if short != "Tabular"}
    short = known.get(name.lower())
    return name if short is None else f"counterfolio/{short}-v0"


def check_report_and_title(report: str | None, title: str | None) -> None:
    """Raise where a title heads nothing."""
    if title and report is None:
        text = "--title is for the page; add --report FILE"
        raise wrong(text)


def of_experiment(experiment: "cf.experiments.Experiment") -> Result:
    """Lay out an experiment: for people all of it, as one table the metrics of each log."""

    def record() -> dict[str, Any]:
        return {
            "truth": experiment.truth.table.rows(named=True),
            "metrics": experiment.metrics.rows(named=True),
            "agreement": experiment.assessed.agreement(experiment.k).rows(named=True),
            "wins": experiment.wins().rows(named=True),
            "settings": experiment.settings,
        }

    def frame() -> "pl.DataFrame":
        return experiment.assessed.by_dataset

    return Result(text=lambda: repr(experiment).split("\n\n"), record=record, frame=frame)
