"""The page of an experiment; `render` is called by `Experiment.to_html`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from counterfolio import _core, plots
from counterfolio.report import environment
from counterfolio.report.figures import inline_svg
from counterfolio.text import Column, number

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

    from counterfolio.experiments import Experiment


def render(experiment: Experiment, title: str | None) -> str:
    """Write the page; see `Experiment.to_html`."""
    assessed = experiment.assessed
    # Of metrics that have a value: the others would be empty axes.
    figures: dict[str, Callable[[], Axes]] = {
        name: partial(plots.metric, assessed, name)
        for name, estimators in experiment.best().items()
        if estimators
    }
    figures["agreement"] = partial(plots.agreement, assessed)
    if assessed.table.filter(metric="sharpe_ratio")["value"].count():
        figures["over_k"] = partial(plots.sharpe_ratio_across, assessed)
    judged, lines = experiment._judged()
    settings = experiment.settings
    return (
        environment()
        .get_template("experiment.html.j2")
        .render(
            title=title or "Which estimator chooses the better shortlist?",
            version=_core.__version__,
            experiment=experiment,
            s=settings,
            sentences=experiment.sentences(),
            worth=experiment._worth(),
            judged=judged,
            lines=lines,
            wins=experiment._wins(),
            settings=[
                Column("setting", list(settings), left=True),
                Column("value", [_shown(x) for x in settings.values()], left=True),
            ],
            svg={name: inline_svg(draw, name) for name, draw in figures.items()},
        )
    )


def _shown(value: object) -> str:
    return number(value) if isinstance(value, float) else str(value)
