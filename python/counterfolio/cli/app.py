"""The commands, and how they end."""

# No `from __future__ import annotations`: typer reads the annotations.
import difflib
import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer

import counterfolio as cf
from counterfolio.cli import config, inputs, output, results
from counterfolio.cli import options as o
from counterfolio.cli import simulation as sim
from counterfolio.cli.candidates import read_truth
from counterfolio.cli.config import Run
from counterfolio.cli.failure import (
    INTERRUPTED,
    PIPE_CLOSED,
    REFUSED,
    WRONG_CALL,
    exit_code,
    message,
    one_line,
    wrong,
)
from counterfolio.cli.texts import EXAMPLES, START, help_of
from counterfolio.exceptions import CounterfolioError, MissingExtraError
from counterfolio.uncertainty import DEFAULT_RESAMPLES

# typer's own, and click's in the versions of typer that build on it.
ClickException: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

app = typer.Typer(
    name="counterfolio",
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True, help=START)
def start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", show_default=False)
    ] = False,
) -> None:
    """Print the version, or what there is."""
    if version:
        output.emit_line(f"counterfolio {cf.__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(help=help_of("check"))
def check(
    log: o.Log = None,
    input_format: o.InputFormat = None,
    action: o.Action = None,
    reward: o.Reward = None,
    propensity: o.Propensity = None,
    no_propensity: o.NoPropensity = False,
    action_probs: o.ActionProbs = None,
    actions: o.Actions = None,
    action_type: o.ActionType = None,
    episode_id: o.EpisodeId = None,
    timestep: o.Timestep = None,
    terminated: o.Terminated = None,
    truncated: o.Truncated = None,
    cluster: o.Cluster = None,
    state: o.State = None,
    policy: o.Policy = None,
    segment: o.Segment = None,
    time: o.Time = None,
    format: o.Format = None,
    output_: o.Output = None,
    config_: o.Config = None,
    save_config: o.SaveConfig = None,
) -> None:
    """Check a log."""
    run, kind = _start(locals())
    log_, used = inputs.open_log(run, every_column=True)
    policies = inputs.probabilities(run, log_)
    report = log_.inspect(policies=policies or None, segments=run.segment or None, time=run.time)
    _finish(results.of_report(report), kind, used, save_config)
    if any(finding.severity == "serious" for finding in report.findings):
        raise typer.Exit(REFUSED)


@app.command(help=help_of("evaluate"))
def evaluate(
    log: o.Log = None,
    input_format: o.InputFormat = None,
    action: o.Action = None,
    reward: o.Reward = None,
    propensity: o.Propensity = None,
    no_propensity: o.NoPropensity = False,
    action_probs: o.ActionProbs = None,
    actions: o.Actions = None,
    action_type: o.ActionType = None,
    episode_id: o.EpisodeId = None,
    timestep: o.Timestep = None,
    terminated: o.Terminated = None,
    truncated: o.Truncated = None,
    cluster: o.Cluster = None,
    state: o.State = None,
    policy: o.Policy = None,
    fit: o.Fit = False,
    features: o.Features = None,
    cross_fit: o.CrossFit = None,
    gamma: o.Gamma = None,
    estimators: o.Estimators = None,
    interval: o.Interval = None,
    confidence_level: o.ConfidenceLevel = None,
    alternative: o.Alternative = None,
    n_resamples: o.NResamples = None,
    method: o.Method = None,
    resampling: o.Resampling = None,
    seed: o.Seed = None,
    value_range: o.ValueRange = None,
    return_range: o.ReturnRange = None,
    weight_range: o.WeightRange = None,
    return_min: o.ReturnMin = None,
    num_threads: o.NumThreads = None,
    report: o.Report = None,
    title: o.Title = None,
    truth: o.Truth = None,
    k: o.KOfReport = None,
    save: o.Save = None,
    format: o.Format = None,
    output_: o.Output = None,
    config_: o.Config = None,
    save_config: o.SaveConfig = None,
) -> None:
    """Evaluate policies."""
    run, kind = _start(locals())
    if run.report is None:
        for name, value in (("truth", truth), ("title", title), ("k", k)):
            if value:
                raise wrong(f"--{name} is for the report; add --report FILE")
    if run.report is not None:
        _check_report_extra()
        if run.n_resamples is None:
            run = replace(run, n_resamples=DEFAULT_RESAMPLES)
    true = read_truth(run.truth)
    # The report, and the file, say what is odd about any column of the log.
    every_column = run.report is not None or run.save is not None or kind == "parquet"
    evaluation, used = inputs.estimate(run, every_column=every_column)
    if run.report is not None:
        _write_report(evaluation, run.report, k=run.k, truth=true, title=run.title)
    if run.save is not None:
        evaluation.to_parquet(run.save)
        output.note(f"evaluation saved to {run.save}")
    _finish(results.of_evaluation(evaluation), kind, used, save_config)


@app.command(help=help_of("rank"))
def rank(
    log: o.LogOrSaved = None,
    input_format: o.InputFormat = None,
    action: o.Action = None,
    reward: o.Reward = None,
    propensity: o.Propensity = None,
    no_propensity: o.NoPropensity = False,
    action_probs: o.ActionProbs = None,
    actions: o.Actions = None,
    action_type: o.ActionType = None,
    episode_id: o.EpisodeId = None,
    timestep: o.Timestep = None,
    terminated: o.Terminated = None,
    truncated: o.Truncated = None,
    cluster: o.Cluster = None,
    state: o.State = None,
    policy: o.Policy = None,
    fit: o.Fit = False,
    features: o.Features = None,
    cross_fit: o.CrossFit = None,
    gamma: o.Gamma = None,
    interval: o.Interval = None,
    confidence_level: o.ConfidenceLevel = None,
    alternative: o.Alternative = None,
    n_resamples: o.NResamples = None,
    method: o.Method = None,
    resampling: o.Resampling = None,
    seed: o.Seed = None,
    value_range: o.ValueRange = None,
    return_range: o.ReturnRange = None,
    weight_range: o.WeightRange = None,
    return_min: o.ReturnMin = None,
    num_threads: o.NumThreads = None,
    estimator: o.Estimator = None,
    score: o.Score = None,
    k: o.K = None,
    format: o.Format = None,
    output_: o.Output = None,
    config_: o.Config = None,
    save_config: o.SaveConfig = None,
) -> None:
    """Rank policies."""
    given = locals()
    run, kind = _start(given)
    source = inputs.find_log(run)
    if inputs.is_evaluation(source):
        _refuse_beside_saved(given, run)
        evaluation, used = cf.Evaluation.from_parquet(source.files[0]), run
    else:
        names = [run.estimator] if run.estimator else run.estimators
        evaluation, used = inputs.estimate(replace(run, estimators=names), every_column=False)
    _finish(results.of_ranking(evaluation, run), kind, used, save_config)


@app.command("report", help=help_of("report"))
def report_(
    saved: o.Saved,
    out: o.Html,
    title: o.Title = None,
    truth: o.Truth = None,
    estimator: o.Estimator = None,
    k: o.K = None,
) -> None:
    """Write a report."""
    _check_report_extra()
    run = config.gather({"log": saved, "truth": truth}, None)
    output.check_targets({"report": out}, inputs.files_read(run))
    source = inputs.find_log(run)
    if not inputs.is_evaluation(source):
        raise wrong(f'"{saved}" is no saved evaluation; make one with evaluate --save')
    evaluation = cf.Evaluation.from_parquet(source.files[0])
    true = read_truth(run.truth)
    _write_report(evaluation, out, estimator=estimator, k=k, truth=true, title=title)


@app.command("simulate", help=help_of("simulate"))
def simulate_(
    env: sim.Environment = sim.FIRST,
    logs: sim.Logs = 20,
    episodes: sim.Episodes = 1000,
    training: sim.Training = 2000,
    roll_outs: sim.RollOuts = 10_000,
    estimators: sim.Estimators = None,
    gamma: o.Gamma = None,
    k: sim.K = None,
    seed: sim.Seed = 0,
    num_threads: o.NumThreads = None,
    report: sim.Report = None,
    title: sim.Title = None,
    folder: sim.Folder = None,
    log: sim.Log = None,
    format: o.Format = None,
    output_: o.Output = None,
) -> None:
    """Ask simulated logs which estimator chooses the better shortlist."""
    run = Run(format=format, output=output_)
    kind = output.check(run)
    sim.check_report_and_title(report, title)
    output.check_targets({"report": report, "log": log, "output": output_}, [])
    if report is not None:
        _check_report_extra()
    experiment = cf.experiment(
        sim.environment_of(env),
        n_logs=logs,
        n_episodes=episodes,
        n_training=training,
        n_roll_outs=roll_outs,
        gamma=1.0 if gamma is None else gamma,
        k=k,
        seed=seed,
        num_threads=num_threads,
        path=folder,
        estimators=None if not estimators else config.parse_estimators(estimators),
    )
    if report is not None:
        experiment.to_html(report, title=title)
        output.note(f"report written to {report}")
    if log is not None:
        experiment.log(next(iter(experiment.logs))).to_parquet(log)
        output.note(f"log written to {log}")
    output.emit(sim.of_experiment(experiment), kind, output_)


#: What `rank` still takes beside a saved evaluation.
BESIDE_SAVED = {"log", "estimator", "score", "k", "format", "output_", "config_", "save_config"}


def _start(given: dict[str, Any]) -> tuple[Run, str]:
    """Make the run of what a command was given; raise for what could not be written later."""
    names = {"output_": "output"}
    apart = ("config_", "save_config")
    options = {names.get(name, name): value for name, value in given.items() if name not in apart}
    run = config.gather(options, given["config_"])
    kind = output.check(run)
    targets = {name: getattr(run, name) for name in ("report", "save", "output")}
    targets["save_config"] = given["save_config"]
    output.check_targets(targets, inputs.files_read(run))
    return run, kind


def _finish(result: output.Result, kind: str, run: Run, save_config: str | None) -> None:
    output.emit(result, kind, run.output)
    if save_config is not None:
        config.save(run, save_config)
        output.note(f"run saved to {save_config}")


def _refuse_beside_saved(given: dict[str, Any], run: Run) -> None:
    for name, value in given.items():
        if name not in BESIDE_SAVED and config.is_given(value):
            raise wrong(
                f'--{name.replace("_", "-")} has no meaning for "{run.log}", which is a saved '
                "evaluation; drop it, or name the log"
            )


def _check_report_extra() -> None:
    """Raise before long work where the report could not be made."""
    for module in ("matplotlib", "jinja2"):
        if importlib.util.find_spec(module) is None:
            text = f'the report needs {module}; pip install "counterfolio[report]"'
            raise MissingExtraError(text)


def _write_report(evaluation: cf.Evaluation, path: str, **options: Any) -> None:
    evaluation.to_html(path, **options)
    output.note(f"report written to {path}")


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    args
        Default: those of the process.

    Returns
    -------
    int
        The exit code.
    """
    command = typer.main.get_command(app)
    given = sys.argv[1:] if args is None else args
    try:
        code = command.main(args=args, prog_name="counterfolio", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except ClickException as error:
        _complain(_usage(error, given))
        return WRONG_CALL
    except CounterfolioError as error:
        _complain(message(error, given[0] if given else ""))
        return exit_code(error)
    except (BrokenPipeError, SystemExit):
        # Nobody reads any more, which rich and typer say by SystemExit.
        _abandon_output()
        return PIPE_CLOSED
    except OSError as error:
        name = "" if error.filename is None else f'"{error.filename}": '
        _complain(one_line(f"{name}{error.strerror or error}"))
        _abandon_output()
        return WRONG_CALL
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    return code or 0


def _abandon_output() -> None:
    """Keep the interpreter from flushing, on its way out, what could not be written."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage(error: Any, args: Sequence[str]) -> str:
    """Say what was wrong with the words of a call."""
    text = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    command = "counterfolio" if context is None else context.command_path
    if command == "counterfolio" and args and args[0] in EXAMPLES:
        command = f"counterfolio {args[0]}"
    if type(error).__name__ == "NoSuchOption" and context is not None:
        known = [name for parameter in context.command.params for name in parameter.opts]
        near = difflib.get_close_matches(error.option_name, known, n=1)
        text = f"no option {error.option_name}" + (f"; did you mean {near[0]}?" if near else "")
    join = " See" if text.endswith("?") else "; see"
    return one_line(f"{text}{join} {command} --help")


def _complain(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"counterfolio: error: {text}\n")
