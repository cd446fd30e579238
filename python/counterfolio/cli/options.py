"""The options of the commands, as typer takes them, in the panels of --help."""

# No `from __future__ import annotations`: typer reads the annotations.
from typing import Annotated

import typer

from counterfolio.cli.declare import (
    COLUMNS,
    ESTIMATION,
    MODELS,
    OUTPUT,
    POLICIES,
    RANKING,
    RUN,
    UNCERTAINTY,
    flag,
    number,
    option,
    whole,
)

Text = str | None
Texts = list[str] | None

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
    option(
        "input-format",
        COLUMNS,
        "FORMAT",
        "parquet, csv, tsv or arrow. Default: by the ending of the name.",
    ),
]
Action = Annotated[Text, option("action", COLUMNS, "COLUMN", "What was done. Default: action.")]
Reward = Annotated[Text, option("reward", COLUMNS, "COLUMN", "What came of it. Default: reward.")]
Propensity = Annotated[
    Text,
    option(
        "propensity",
        COLUMNS,
        "COLUMN",
        "How likely the logged action was. Default: propensity.",
    ),
]
NoPropensity = Annotated[
    bool, flag("no-propensity", COLUMNS, "The log has none; use dm, or --fit.")
]
ActionProbs = Annotated[
    Text,
    option(
        "action-probs",
        COLUMNS,
        "COLUMN",
        "Lists of the behavior policy's probabilities of all actions.",
    ),
]
Actions = Annotated[
    Texts,
    option(
        "actions",
        COLUMNS,
        "LABEL",
        "A label, in the order of such lists; repeat it for each.",
    ),
]
ActionType = Annotated[
    Text,
    option("action-type", COLUMNS, "TYPE", "discrete (default) or continuous."),
]
EpisodeId = Annotated[
    Text,
    option("episode-id", COLUMNS, "COLUMN", "The same on all rows of an episode."),
]
Timestep = Annotated[
    Text,
    option("timestep", COLUMNS, "COLUMN", "Rises within each episode; it is only checked."),
]
Terminated = Annotated[
    Text,
    option("terminated", COLUMNS, "COLUMN", "True on the last row of an episode."),
]
Truncated = Annotated[
    Text,
    option("truncated", COLUMNS, "COLUMN", "True on the last row of an episode cut off."),
]
Cluster = Annotated[
    Text,
    option(
        "cluster",
        COLUMNS,
        "COLUMN",
        "The same on episodes that are not independent, as those of one user.",
    ),
]
State = Annotated[
    Texts,
    option("state", COLUMNS, "COLUMN", "A column of the state; repeat it for several."),
]
Policy = Annotated[
    Texts,
    option(
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
    flag(
        "fit",
        MODELS,
        "Fit what is lacking, from --state: propensities, and q and v of candidates given as "
        "action=, action_probs= or onnx=.",
    ),
]
Features = Annotated[
    Text,
    option(
        "features",
        MODELS,
        "NAME",
        "Of the state: auto (default), one_hot, linear, polynomial, fourier.",
    ),
]
CrossFit = Annotated[
    int | None,
    option(
        "cross-fit",
        MODELS,
        "FOLDS",
        "Folds of episodes; 0: every model learns from all rows. Default: 5.",
        parser=whole,
    ),
]
Segment = Annotated[
    Texts,
    option("segment", OUTPUT, "COLUMN", "Report mean returns by its values; may be repeated."),
]
Time = Annotated[
    Text,
    option("time", OUTPUT, "COLUMN", "Report mean returns over the time that it holds."),
]
Gamma = Annotated[
    float | None,
    option("gamma", ESTIMATION, "NUMBER", "Discount factor in (0, 1]. Default: 1.", parser=number),
]
Estimators = Annotated[
    Texts,
    option(
        "estimators",
        ESTIMATION,
        "NAMES",
        "tis, pdis, sntis, snpdis, dm, dr, sndr: a list with commas. Default: all that the "
        "inputs allow.",
    ),
]
Interval = Annotated[
    Text,
    option(
        "interval",
        UNCERTAINTY,
        "KIND",
        "normal (default), t, bootstrap; given ranges: hoeffding, empirical_bernstein, "
        "log_smoothing, cressie_read, confidence_sequence; for lower bounds: hcope.",
    ),
]
ConfidenceLevel = Annotated[
    float | None,
    option(
        "confidence-level",
        UNCERTAINTY,
        "LEVEL",
        "Of the intervals. Default: 0.95.",
        parser=number,
    ),
]
Alternative = Annotated[
    Text,
    option(
        "alternative",
        UNCERTAINTY,
        "SIDE",
        "two-sided (default); greater: lower bounds only; less: upper bounds only.",
    ),
]
NResamples = Annotated[
    int | None,
    option(
        "n-resamples",
        UNCERTAINTY,
        "NUMBER",
        "How often to resample the log: for --interval bootstrap, for probabilities of ranks, for "
        "what SharpeRatio@k will be. Default: 1000 with --interval bootstrap or evaluate "
        "--report, else 0.",
        parser=whole,
    ),
]
Method = Annotated[
    Text,
    option(
        "method",
        UNCERTAINTY,
        "METHOD",
        "Of bootstrap intervals: percentile (default), basic, bca.",
    ),
]
Resampling = Annotated[
    Text,
    option(
        "resampling",
        UNCERTAINTY,
        "WAY",
        "poisson (default, from 50 episodes on) or multinomial.",
    ),
]
Seed = Annotated[
    int | None,
    option(
        "seed",
        UNCERTAINTY,
        "NUMBER",
        "Of what is random. Default: drawn, and told.",
        parser=whole,
    ),
]
ValueRange = Annotated[
    Text,
    option(
        "value-range",
        UNCERTAINTY,
        "LOW,HIGH",
        "Bounds that you vouch for on one episode's term: weight times return.",
    ),
]
ReturnRange = Annotated[
    Text,
    option("return-range", UNCERTAINTY, "LOW,HIGH", "The same on an episode's return."),
]
WeightRange = Annotated[
    Text,
    option("weight-range", UNCERTAINTY, "LOW,HIGH", "The same on an episode's weight."),
]
ReturnMin = Annotated[
    float | None,
    option(
        "return-min",
        UNCERTAINTY,
        "NUMBER",
        "Least return of an episode, for hcope. Default: rewards are never negative.",
        parser=number,
    ),
]
NumThreads = Annotated[
    int | None,
    option("num-threads", ESTIMATION, "NUMBER", "Default: the cores there are.", parser=whole),
]
Estimator = Annotated[
    Text,
    option(
        "estimator",
        RANKING,
        "NAME",
        "Ranks the policies. Default: the first evaluated of sndr, snpdis, sntis, dr, pdis, "
        "tis, dm.",
    ),
]
Score = Annotated[
    Text,
    option(
        "score",
        RANKING,
        "SCORE",
        "value (default), or lower: the lower end of the interval.",
    ),
]
K = Annotated[
    int | None,
    option(
        "k",
        RANKING,
        "NUMBER",
        "Size of the shortlist. Default: 3, or fewer policies.",
        parser=whole,
    ),
]
KOfReport = Annotated[
    int | None,
    option(
        "k",
        OUTPUT,
        "NUMBER",
        "Size of the report's shortlist. Default: 3, or fewer.",
        parser=whole,
    ),
]
Report = Annotated[
    Text,
    option("report", OUTPUT, "FILE", "Write a report for someone who decides: one HTML file."),
]
Title = Annotated[Text, option("title", OUTPUT, "TEXT", "Heads the report.")]
Truth = Annotated[
    Texts,
    option(
        "truth",
        OUTPUT,
        "NAME=VALUE",
        "True value of a policy, for the report; repeat it for each. Or a table with the "
        "columns policy and value.",
    ),
]
Save = Annotated[
    Text,
    option("save", OUTPUT, "FILE", "Save the evaluation as Parquet, for rank and report."),
]
Format = Annotated[
    Text,
    option(
        "format",
        OUTPUT,
        "FORMAT",
        "table, json, csv or parquet. Default: by the ending of --output, else table.",
    ),
]
Output = Annotated[
    Text, option("output", OUTPUT, "FILE", "Write there instead of standard output.")
]
Config = Annotated[
    Text,
    option("config", RUN, "FILE", "A saved run (TOML); the command line overrides it."),
]
SaveConfig = Annotated[
    Text,
    option("save-config", RUN, "FILE", "Save this run, for --config."),
]
