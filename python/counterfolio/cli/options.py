"""The options of the commands, as typer takes them, in the panels of --help."""

# No `from __future__ import annotations`: typer reads the annotations.
from typing import Annotated, Any

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
Text = str | None
Texts = list[str] | None


def _option(name: str, panel: str, metavar: str, text: str, **further: Any) -> Any:
    return typer.Option(
        f"--{name}",
        metavar=metavar,
        help=text,
        rich_help_panel=panel,
        show_default=False,
        **further,
    )


def _number(text: str) -> float:
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


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f'"{text}" is no whole number; write one, as in 3') from None


def _flag(name: str, panel: str, text: str) -> Any:
    return typer.Option(
        f"--{name}", metavar=" ", help=text, rich_help_panel=panel, show_default=False
    )


Log = Annotated[
    Text,
    typer.Argument(
        metavar="LOG",
        help="Parquet, CSV, TSV or Arrow IPC: a file, a folder or a glob; - is standard input.",
        show_default=False,
    ),
]
LogOrSaved = Annotated[
    Text,
    typer.Argument(
        metavar="LOG",
        help="A log, as for evaluate, or an evaluation that evaluate --save wrote.",
        show_default=False,
    ),
]
Saved = Annotated[
    str,
    typer.Argument(
        metavar="SAVED", help="An evaluation that evaluate --save wrote.", show_default=False
    ),
]
Html = Annotated[
    str, typer.Argument(metavar="OUT", help="The HTML file to write.", show_default=False)
]
InputFormat = Annotated[
    Text,
    _option(
        "input-format",
        COLUMNS,
        "FORMAT",
        "parquet, csv, tsv or arrow. Default: by the ending of the name.",
    ),
]
Action = Annotated[Text, _option("action", COLUMNS, "COLUMN", "What was done. Default: action.")]
Reward = Annotated[Text, _option("reward", COLUMNS, "COLUMN", "What came of it. Default: reward.")]
Propensity = Annotated[
    Text,
    _option(
        "propensity",
        COLUMNS,
        "COLUMN",
        "How likely the logged action was. Default: propensity.",
    ),
]
NoPropensity = Annotated[
    bool, _flag("no-propensity", COLUMNS, "The log has none; use dm, or --fit.")
]
ActionProbs = Annotated[
    Text,
    _option(
        "action-probs",
        COLUMNS,
        "COLUMN",
        "Lists of the behavior policy's probabilities of all actions.",
    ),
]
Actions = Annotated[
    Texts,
    _option(
        "actions",
        COLUMNS,
        "LABEL",
        "A label, in the order of such lists; repeat it for each.",
    ),
]
ActionType = Annotated[
    Text,
    _option("action-type", COLUMNS, "TYPE", "discrete (default) or continuous."),
]
EpisodeId = Annotated[
    Text,
    _option("episode-id", COLUMNS, "COLUMN", "The same on all rows of an episode."),
]
Timestep = Annotated[
    Text,
    _option("timestep", COLUMNS, "COLUMN", "Rises within each episode; it is only checked."),
]
Terminated = Annotated[
    Text,
    _option("terminated", COLUMNS, "COLUMN", "True on the last row of an episode."),
]
Truncated = Annotated[
    Text,
    _option("truncated", COLUMNS, "COLUMN", "True on the last row of an episode cut off."),
]
Cluster = Annotated[
    Text,
    _option(
        "cluster",
        COLUMNS,
        "COLUMN",
        "The same on episodes that are not independent, as those of one user.",
    ),
]
State = Annotated[
    Texts,
    _option("state", COLUMNS, "COLUMN", "A column of the state; repeat it for several."),
]
Policy = Annotated[
    Texts,
    _option(
        "policy",
        POLICIES,
        "NAME=COLUMN",
        "A candidate and the column of its probability of the logged action; with a model "
        "NAME=COLUMN,q=COLUMN,v=COLUMN; for dm alone NAME=v=COLUMN. NAME=action=COLUMN: what it "
        "would do; NAME=onnx=FILE,head=softmax,parameter=1: a model. Repeat it for each. "
        "\\= and \\, stand for = and , within a name.",
    ),
]
Fit = Annotated[
    bool,
    _flag(
        "fit",
        MODELS,
        "Fit what is lacking, from --state: propensities, and q and v of candidates given as "
        "action=, action_probs= or onnx=.",
    ),
]
Features = Annotated[
    Text,
    _option(
        "features",
        MODELS,
        "NAME",
        "Of the state: auto (default), one_hot, linear, polynomial, fourier.",
    ),
]
CrossFit = Annotated[
    int | None,
    _option(
        "cross-fit",
        MODELS,
        "FOLDS",
        "Folds of episodes; 0: every model learns from all rows. Default: 5.",
        parser=_whole,
    ),
]
Segment = Annotated[
    Texts,
    _option("segment", OUTPUT, "COLUMN", "Report mean returns by its values; may be repeated."),
]
Time = Annotated[
    Text,
    _option("time", OUTPUT, "COLUMN", "Report mean returns over the time that it holds."),
]
Gamma = Annotated[
    float | None,
    _option(
        "gamma", ESTIMATION, "NUMBER", "Discount factor in (0, 1]. Default: 1.", parser=_number
    ),
]
Estimators = Annotated[
    Texts,
    _option(
        "estimators",
        ESTIMATION,
        "NAMES",
        "tis, pdis, sntis, snpdis, dm, dr, sndr: a list with commas. Default: all that the "
        "inputs allow.",
    ),
]
Interval = Annotated[
    Text,
    _option(
        "interval",
        UNCERTAINTY,
        "KIND",
        "normal (default), t, bootstrap; given ranges: hoeffding, empirical_bernstein, "
        "log_smoothing, cressie_read, confidence_sequence; for lower bounds: hcope.",
    ),
]
ConfidenceLevel = Annotated[
    float | None,
    _option(
        "confidence-level",
        UNCERTAINTY,
        "LEVEL",
        "Of the intervals. Default: 0.95.",
        parser=_number,
    ),
]
Alternative = Annotated[
    Text,
    _option(
        "alternative",
        UNCERTAINTY,
        "SIDE",
        "two-sided (default); greater: lower bounds only; less: upper bounds only.",
    ),
]
NResamples = Annotated[
    int | None,
    _option(
        "n-resamples",
        UNCERTAINTY,
        "NUMBER",
        "How often to resample the log: for --interval bootstrap, for probabilities of ranks, for "
        "what SharpeRatio@k will be. Default: 1000 with --interval bootstrap or evaluate "
        "--report, else 0.",
        parser=_whole,
    ),
]
Method = Annotated[
    Text,
    _option(
        "method",
        UNCERTAINTY,
        "METHOD",
        "Of bootstrap intervals: percentile (default), basic, bca.",
    ),
]
Resampling = Annotated[
    Text,
    _option(
        "resampling",
        UNCERTAINTY,
        "WAY",
        "poisson (default, from 50 episodes on) or multinomial.",
    ),
]
Seed = Annotated[
    int | None,
    _option(
        "seed",
        UNCERTAINTY,
        "NUMBER",
        "Of what is random. Default: drawn, and told.",
        parser=_whole,
    ),
]
ValueRange = Annotated[
    Text,
    _option(
        "value-range",
        UNCERTAINTY,
        "LOW,HIGH",
        "Bounds that you vouch for on one episode's term: weight times return.",
    ),
]
ReturnRange = Annotated[
    Text,
    _option("return-range", UNCERTAINTY, "LOW,HIGH", "The same on an episode's return."),
]
WeightRange = Annotated[
    Text,
    _option("weight-range", UNCERTAINTY, "LOW,HIGH", "The same on an episode's weight."),
]
ReturnMin = Annotated[
    float | None,
    _option(
        "return-min",
        UNCERTAINTY,
        "NUMBER",
        "Least return of an episode, for hcope. Default: rewards are never negative.",
        parser=_number,
    ),
]
NumThreads = Annotated[
    int | None,
    _option("num-threads", ESTIMATION, "NUMBER", "Default: the cores there are.", parser=_whole),
]
Estimator = Annotated[
    Text,
    _option(
        "estimator",
        RANKING,
        "NAME",
        "Ranks the policies. Default: the first evaluated of sndr, snpdis, sntis, dr, pdis, "
        "tis, dm.",
    ),
]
Score = Annotated[
    Text,
    _option(
        "score",
        RANKING,
        "SCORE",
        "value (default), or lower: the lower end of the interval.",
    ),
]
K = Annotated[
    int | None,
    _option(
        "k",
        RANKING,
        "NUMBER",
        "Size of the shortlist. Default: 3, or fewer policies.",
        parser=_whole,
    ),
]
KOfReport = Annotated[
    int | None,
    _option(
        "k",
        OUTPUT,
        "NUMBER",
        "Size of the report's shortlist. Default: 3, or fewer.",
        parser=_whole,
    ),
]
Report = Annotated[
    Text,
    _option("report", OUTPUT, "FILE", "Write a report for someone who decides: one HTML file."),
]
Title = Annotated[Text, _option("title", OUTPUT, "TEXT", "Heads the report.")]
Truth = Annotated[
    Texts,
    _option(
        "truth",
        OUTPUT,
        "NAME=VALUE",
        "True value of a policy, for the report; repeat it for each. Or a table with the "
        "columns policy and value.",
    ),
]
Save = Annotated[
    Text,
    _option("save", OUTPUT, "FILE", "Save the evaluation as Parquet, for rank and report."),
]
Format = Annotated[
    Text,
    _option(
        "format",
        OUTPUT,
        "FORMAT",
        "table, json, csv or parquet. Default: by the ending of --output, else table.",
    ),
]
Output = Annotated[
    Text, _option("output", OUTPUT, "FILE", "Write there instead of standard output.")
]
Config = Annotated[
    Text,
    _option("config", RUN, "FILE", "A saved run (TOML); the command line overrides it."),
]
SaveConfig = Annotated[
    Text,
    _option("save-config", RUN, "FILE", "Save this run, for --config."),
]
