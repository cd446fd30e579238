"""The HTML report: one file for someone who decides. `render` is called by `Evaluation.to_html`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from counterfolio import plots
from counterfolio.arguments import check_k
from counterfolio.assessment import check_truth, statistic_of, true_behavior
from counterfolio.assumptions import assumptions, glossary
from counterfolio.exceptions import MissingExtraError
from counterfolio.models import propensity_words
from counterfolio.report import distributions, shortlists, tables
from counterfolio.report.figures import inline_svg
from counterfolio.summary import answer, trusted, what_may_change

try:
    import jinja2
except ImportError as error:
    text = 'the report needs matplotlib and jinja2; pip install "counterfolio[report]"'
    raise MissingExtraError(text) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from matplotlib.axes import Axes

    from counterfolio.distribution import Distribution
    from counterfolio.evaluation import Evaluation

#: Rows of policies times estimators up to which the plot shows every estimator.
MOST_INTERVALS = 70


def render(
    evaluation: Evaluation,
    *,
    estimator: str,
    k: int | None,
    truth: Mapping[str, Any] | None,
    title: str | None,
    distribution: Distribution | None = None,
) -> str:
    """Write the page; see `Evaluation.to_html`.

    The same evaluation gives the same bytes.
    """
    if distribution is not None:
        distributions.check_distribution(evaluation, distribution)
    n_policies = len(evaluation.policies)
    k = check_k(min(3, n_policies) if k is None else k, n_policies)
    judgement = None if truth is None else _judge(evaluation, truth, estimator, k)
    lists = shortlists.take(evaluation, estimator)
    predicted = shortlists.predicted(lists)
    weighted = len(evaluation.diagnostics.steps) > 0
    few = n_policies * len(evaluation.estimators) <= MOST_INTERVALS
    figures: dict[str, Callable[[], Axes]] = {
        "estimates": lambda: plots.estimates(evaluation, estimator=None if few else estimator),
        "differences": lambda: plots.differences(evaluation, estimator=estimator),
    }
    if weighted:
        figures["ess"] = lambda: plots.effective_sample_size(evaluation)
        figures["weights"] = lambda: plots.weights(evaluation)
    propensities = evaluation.settings.get("propensity_model")
    if propensities is not None:
        figures["reliability"] = lambda: plots.reliability(evaluation)
    if distribution is not None:
        figures |= distributions.figures(distribution)
    among = trusted(evaluation)
    ranks = shortlists.ranked(evaluation, estimator, k)
    if len(among) > 1 and ranks:
        figures["ranks"] = lambda: plots.ranks(evaluation, estimator=estimator, among=among)
    if len(predicted[0].cells) > 1:
        figures["predicted"] = lambda: plots.predictive_sharpe_ratio(
            evaluation, estimator=estimator, among=among, most_k=len(predicted[0].cells)
        )
    if judgement is not None and n_policies > 1:
        figures["sharpe"] = lambda: plots.sharpe_ratio(judgement["tables"])
        figures["best"] = lambda: plots.top_k(
            judgement["tables"], "best", behavior_value=judgement["behavior"]
        )
    reason, prediction = shortlists.reason(evaluation, estimator, k)
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            title=title or "Which candidates deserve an online test",
            evaluation=evaluation,
            estimator=estimator,
            k=k,
            answer=answer(evaluation, estimator, k),
            log=evaluation.log_report,
            svg={name: inline_svg(draw, name) for name, draw in figures.items()},
            propensities=None if propensities is None else _described(propensities),
            estimates=tables.estimates(evaluation, estimator),
            notes=tables.notes(evaluation),
            comparison=tables.comparison(evaluation, estimator),
            verdicts=tables.verdicts(evaluation),
            spread=None if distribution is None else distributions.section(distribution),
            tails=evaluation.diagnostics.table["pareto_k"].is_not_null().any(),
            sizes=shortlists.sizes(evaluation, estimator, lists),
            ranks=ranks,
            predicted=predicted,
            reason=reason,
            prediction=prediction,
            told_from_noise=any(
                x.predictive_sharpe_ratio is not None
                and x.predictive_sharpe_ratio.signal is not None
                for x in lists
            ),
            judged=judgement,
            changes=what_may_change(evaluation, estimator, k),
            assumptions=assumptions(evaluation),
            glossary=glossary(evaluation),
            settings=tables.settings(evaluation),
        )
    )


def environment() -> jinja2.Environment:
    """Give what fills the templates, in which every text is escaped."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("counterfolio"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _described(propensities: Mapping[str, Any]) -> dict[str, Any]:
    """Say how propensities were estimated, and how far they can be believed."""
    return {
        "caption": propensity_words.caption(propensities),
        "sentences": propensity_words.sentences(propensities),
        "notes": propensities["notes"],
        "table": propensity_words.columns(propensities),
    }


def _judge(
    evaluation: Evaluation, truth: Mapping[str, Any], estimator: str, k: int
) -> dict[str, Any]:
    """Judge every estimator's ranking by true values."""
    values, _ = check_truth(evaluation.policies, truth, statistic_of(evaluation))
    known = dict(zip(evaluation.policies, values.tolist(), strict=True))
    behavior = true_behavior(evaluation, truth)
    found = shortlists.true_top_k(evaluation, known, behavior)
    return {
        "tables": found,
        "behavior": behavior,
        "true_values": shortlists.true_values(evaluation, known, behavior, estimator),
        **shortlists.judged(evaluation, known, behavior, found, k),
    }
