"""The HTML report: one file for someone who decides. `render` is called by `Evaluation.to_html`."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from counterfolio import plots, selection
from counterfolio.arguments import is_number, is_whole
from counterfolio.contrasts import is_rounding
from counterfolio.display import ON_POLICY
from counterfolio.exceptions import InvalidArgumentError, MissingExtraError
from counterfolio.policies import BEHAVIOR
from counterfolio.summary import (
    DOUBTED,
    answer,
    assumptions,
    glossary,
    interval,
    names,
    verdict_of,
    what_may_change,
)
from counterfolio.text import Column, aligned, chance, count, number, percent, suggest

try:
    import jinja2
    import markupsafe
    import matplotlib as mpl
except ImportError as error:
    text = 'the report needs matplotlib and jinja2; pip install "counterfolio[report]"'
    raise MissingExtraError(text) from error

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl
    from matplotlib.axes import Axes

    from counterfolio.evaluation import Evaluation

#: Largest k of the tables over k.
MOST_K = 10
#: Rows of policies times estimators up to which the plot shows every estimator.
MOST_INTERVALS = 70
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"


def render(
    evaluation: Evaluation,
    *,
    estimator: str,
    k: int | None,
    truth: Mapping[str, float] | None,
    title: str | None,
) -> str:
    """Write the page; see `Evaluation.to_html`.

    The same evaluation gives the same bytes.
    """
    n_policies = len(evaluation.policies)
    k = _check_k(k, n_policies)
    known = None if truth is None else _check_truth(evaluation, truth)
    behavior = float((truth or {}).get(BEHAVIOR, evaluation.behavior_value))
    tables = None if known is None else _true_top_k(evaluation, known, behavior)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("counterfolio"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    weighted = len(evaluation.diagnostics.steps) > 0
    few = n_policies * len(evaluation.estimators) <= MOST_INTERVALS
    figures: dict[str, Callable[[], Axes]] = {
        "estimates": lambda: plots.estimates(evaluation, estimator=None if few else estimator),
        "differences": lambda: plots.differences(evaluation, estimator=estimator),
    }
    if weighted:
        figures["ess"] = lambda: plots.effective_sample_size(evaluation)
        figures["weights"] = lambda: plots.weights(evaluation)
    if tables is not None and n_policies > 1:
        figures["sharpe"] = lambda: plots.sharpe_ratio(tables)
        figures["best"] = lambda: plots.top_k(tables, "best", behavior_value=behavior)
    return environment.get_template("report.html.j2").render(
        title=title or "Which candidates deserve an online test",
        evaluation=evaluation,
        estimator=estimator,
        k=k,
        answer=answer(evaluation, estimator, k),
        log=evaluation.log_report,
        svg={name: inline_svg(draw, name) for name, draw in figures.items()},
        estimates=_estimates(evaluation, estimator),
        notes=_notes(evaluation),
        comparison=_comparison(evaluation, estimator),
        verdicts=_verdicts(evaluation),
        tails=evaluation.diagnostics.table["pareto_k"].is_not_null().any(),
        shortlists=_shortlists(evaluation, estimator),
        reason=_reason(evaluation, estimator, k),
        judged=None if tables is None or known is None else _judged(known, behavior, tables, k),
        true_values=None if known is None else _true_values(evaluation, known, behavior, estimator),
        changes=what_may_change(evaluation, estimator, k),
        assumptions=assumptions(evaluation),
        glossary=glossary(evaluation),
        settings=_settings(evaluation),
    )


def _check_k(k: object, n_policies: int) -> int:
    if k is None:
        return min(3, n_policies)
    if not is_whole(k) or not 1 <= k <= n_policies:
        text = f"k must be a whole number from 1 to {n_policies}, the number of policies, not {k!r}"
        raise InvalidArgumentError(text)
    return k


def inline_svg(draw: Callable[[], Axes], name: str) -> markupsafe.Markup:
    """Draw a plot as SVG to stand in a page: no fixed size, ids of its own, the same each time."""
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 10}
    buffer = io.BytesIO()
    with mpl.rc_context(settings), warnings.catch_warnings():
        # The reader's browser has glyphs that matplotlib's font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure: Any = draw().figure
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key == f"{{{XLINK}}}href":
                element.set(key, f"#{name}-{value.removeprefix('#')}")
            elif "url(#" in value:
                element.set(key, value.replace("url(#", f"url(#{name}-"))
    width = root.attrib.pop("width").removesuffix("pt")
    root.attrib.pop("height")
    root.set("style", f"width:100%;max-width:{float(width) * 4 / 3:.0f}px")
    root.set("role", "img")
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    return markupsafe.Markup(ElementTree.tostring(root, encoding="unicode"))


def _shown(show: Callable[[float], str]) -> Callable[[float], str]:
    """Say in words what is no number."""

    def say(x: float) -> str:
        if math.isnan(x):
            return "undefined"
        return show(x) if math.isfinite(x) else "infinite" if x > 0 else "-infinite"

    return say


def _estimates(evaluation: Evaluation, estimator: str) -> list[Column]:
    """Give each policy a row, the best first, each estimator a column, the leading one in full."""
    lead = evaluation.rows(estimator)
    order = {p: i for i, p in enumerate(evaluation.ranking(estimator)["policy"])}
    rows = sorted(lead.rows(named=True), key=lambda r: order[r["policy"]])
    errors = lead["standard_error"].to_list()
    show = _shown(aligned(lead["value"], errors))
    own = evaluation.estimates.row(len(evaluation.estimates) - 1, named=True)
    verdicts = verdict_of(evaluation)
    columns = [
        Column("policy", [*(r["policy"] for r in rows), f"{BEHAVIOR} ({ON_POLICY})"], left=True),
        Column("verdict", [*(verdicts[r["policy"]] for r in rows), ""], left=True),
        Column(estimator, [show(r["value"]) for r in (*rows, own)]),
        Column("std. error", [show(r["standard_error"]) for r in (*rows, own)]),
        Column(
            evaluation._interval,
            [interval(show, r["ci_low"], r["ci_high"]) for r in (*rows, own)],
        ),
        Column("ESS", [count(r["effective_sample_size"]) for r in (*rows, own)]),
    ]
    for other in evaluation.estimators:
        if other != estimator:
            values = evaluation.values(other)
            columns.append(Column(other, [*(show(values[r["policy"]]) for r in rows), ""]))
    return columns


def _notes(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Each note once, with the rows that it is about."""
    found: dict[str, list[str]] = {}
    for row in evaluation.estimates.rows(named=True):
        if row["note"] is None:
            continue
        found.setdefault(row["note"], []).append(f"{row['policy']} ({row['estimator']})")
    return [(note, ", ".join(rows)) for note, rows in found.items()]


def _comparison(evaluation: Evaluation, estimator: str) -> list[Column]:
    rows = evaluation.compare(None, estimator=estimator).rows(named=True)
    rows.sort(key=lambda r: -r["difference"] if not math.isnan(r["difference"]) else math.inf)
    values = evaluation.values(estimator)
    for row in rows:
        if is_rounding(values[row["policy"]], evaluation.behavior_value, row["standard_error"]):
            row |= dict.fromkeys(("difference", "standard_error", "ci_low", "ci_high"), 0.0)
    show = _shown(aligned([r["difference"] for r in rows], [r["standard_error"] for r in rows]))

    return [
        Column("policy", [r["policy"] for r in rows], left=True),
        Column("difference", [show(r["difference"]) for r in rows]),
        Column("std. error", [show(r["standard_error"]) for r in rows]),
        Column(evaluation._interval, [interval(show, r["ci_low"], r["ci_high"]) for r in rows]),
        Column("p(better)", [chance(r["p_better"]) for r in rows]),
        Column("", [r["conclusion"] or "unknown" for r in rows], left=True),
    ]


def _verdicts(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Rows of the diagnostics, formatted."""

    def z(x: float | None) -> str:
        return "" if x is None else f"{x:.1f}"

    return [
        {
            **row,
            "ess": count(row["effective_sample_size"]),
            "mean": number(row["mean_weight"]),
            "z_shown": z(row["z"]),
            "k_shown": "" if row["pareto_k"] is None else f"{row['pareto_k']:.2f}",
            "share": percent(row["max_weight_share"]),
        }
        for row in evaluation.diagnostics.table.rows(named=True)
    ]


def _shortlists(evaluation: Evaluation, estimator: str) -> list[Column]:
    """Take the shortlist of each size from the trusted estimates, as far as they are finite."""
    trusted = _trusted(evaluation)
    lists = []
    for k in range(1, min(len(trusted), MOST_K) + 1):
        try:
            lists.append(evaluation.portfolio(k, estimator, among=trusted))
        except InvalidArgumentError:  # an estimate that is not finite has come into the top k
            break
    added = [x.policies[-1] for x in lists]
    verdicts = verdict_of(evaluation)
    show = aligned(
        evaluation.rows(estimator)["value"], evaluation.rows(estimator)["standard_error"]
    )
    return [
        Column("k", [str(len(x.policies)) for x in lists]),
        Column("adds", added, left=True),
        Column("its verdict", [verdicts[p] for p in added], left=True),
        Column("best", [show(x.best) for x in lists]),
        Column("mean", [show(x.mean) for x in lists]),
        Column("worst", [show(x.worst) for x in lists]),
        Column("spread", [show(x.std) if len(x.policies) > 1 else "" for x in lists]),
        Column("gain", [show(x.excess_return) for x in lists]),
        Column("gain / spread", [_ratio(x.sharpe_ratio) for x in lists]),
    ]


def _ratio(x: float) -> str:
    return "" if math.isnan(x) else "∞" if math.isinf(x) else f"{x:.2f}"


def _trusted(evaluation: Evaluation) -> list[str]:
    return [p for p, verdict in verdict_of(evaluation).items() if verdict != DOUBTED]


def _reason(evaluation: Evaluation, estimator: str, k: int) -> str:
    """Say what the shortlist of k is, and who was left out."""
    trusted = _trusted(evaluation)
    left = [p for p in evaluation.policies if p not in trusted]
    words = (
        f"Left out, since their estimates are not to be trusted: {names(left)}. " if left else ""
    )
    if not trusted:
        return words + "There is nobody to choose from."
    try:
        chosen = evaluation.portfolio(min(k, len(trusted)), estimator, among=trusted)
    except InvalidArgumentError as error:
        return f"{words}No shortlist of {k}: {error}."
    return words + chosen.reason


def _check_truth(evaluation: Evaluation, truth: object) -> dict[str, float]:
    """Take the true value of every policy, in the order of the policies."""
    if not isinstance(truth, Mapping):
        text = f"truth must map policies to true values, not {truth!r}"
        raise InvalidArgumentError(text)
    known = {name: value for name, value in truth.items() if name != BEHAVIOR}
    missing = [p for p in evaluation.policies if p not in known]
    if missing or len(known) > len(evaluation.policies):
        name = missing[0] if missing else next(p for p in known if p not in evaluation.policies)
        what = "lacks" if missing else "names"
        near = suggest(name, known if missing else evaluation.policies)
        text = f'truth {what} policy "{name}"; it must name every policy evaluated: {near}'
        raise InvalidArgumentError(text)
    for name, value in truth.items():
        if not is_number(value) or not math.isfinite(value):
            text = f'truth of policy "{name}" must be a finite number, not {value!r}'
            raise InvalidArgumentError(text)
    return {p: float(known[p]) for p in evaluation.policies}


def _true_top_k(
    evaluation: Evaluation, truth: dict[str, float], behavior: float
) -> dict[str, pl.DataFrame]:
    """Judge every estimator's ranking by the true values."""
    return {
        name: selection.top_k(evaluation.values(name), truth, behavior)
        for name in evaluation.estimators
    }


def _judged(
    truth: dict[str, float], behavior: float, tables: dict[str, pl.DataFrame], k: int
) -> dict[str, list[Column]]:
    """Tabulate the judgement: SharpeRatio@k over k, and the true values of the top k."""
    ranked = {**tables, "truth": selection.top_k(truth, truth, behavior)}
    ks = range(1, min(len(truth), MOST_K) + 1)
    at_k = [table.row(k - 1, named=True) for table in ranked.values()]
    show = _shown(aligned(truth.values(), [r["std"] for r in at_k]))
    return {
        "over_k": [
            Column("k", [str(i) for i in ks if i > 1]),
            *(
                Column(name, [_ratio(table["sharpe_ratio"][i - 1]) for i in ks if i > 1])
                for name, table in ranked.items()
            ),
        ],
        "at_k": [
            Column("ranked by", list(ranked), left=True),
            *(Column(s, [show(r[s]) for r in at_k]) for s in ("best", "mean", "worst", "std")),
            Column("SharpeRatio@k", [_ratio(r["sharpe_ratio"]) for r in at_k]),
        ],
    }


def _true_values(
    evaluation: Evaluation, truth: dict[str, float], behavior: float, estimator: str
) -> list[Column]:
    values = evaluation.values(estimator)
    order = sorted(evaluation.policies, key=lambda p: -truth[p])
    errors = evaluation.rows(estimator)["standard_error"]
    names, show = [*order, BEHAVIOR], _shown(aligned(truth.values(), errors))
    true = [*(truth[p] for p in order), behavior]
    estimated = [*(values[p] for p in order), evaluation.behavior_value]
    return [
        Column("policy", names, left=True),
        Column("true value", [show(x) for x in true]),
        Column(estimator, [show(x) for x in estimated]),
        Column("error", [show(a - b) for a, b in zip(estimated, true, strict=True)]),
    ]


def _settings(evaluation: Evaluation) -> list[tuple[str, str]]:
    def said(value: object) -> str:
        if isinstance(value, list):
            return ", ".join(map(str, value))
        return "none" if value is None else str(value)

    return [(name.replace("_", " "), said(value)) for name, value in evaluation.settings.items()]
