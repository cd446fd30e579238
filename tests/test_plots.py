"""Plots: what they say is there, with 30 policies and hostile names too; series differ in grey."""

from __future__ import annotations

import subprocess
import sys
import warnings
from itertools import pairwise

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from counterfolio import plots
from counterfolio.plots.style import plain, series_style, short
from counterfolio.text import chance
from matplotlib.colors import to_rgb

HOSTILE = [
    "<script>alert(1)</script>",
    "$x^2$ $",
    "line\nbreak\x00",
    "a_b^c{d}",
    "漢字 🙂 عربى",
    "x" * 300,
    "%s {0} \\frac",
]


def softmax(scores):
    out = np.exp(scores - scores.max(axis=1, keepdims=True))
    return out / out.sum(axis=1, keepdims=True)


def make(names, longest=6, n=400, model=True, **options):
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(n), rng.integers(1, longest + 1, n))
    rows = np.arange(len(ids))
    probs = softmax(rng.normal(size=(len(ids), 3)))
    action = (probs.cumsum(axis=1) < rng.random((len(ids), 1))).sum(axis=1).clip(max=2)
    frame = {
        "id": ids,
        "action": action,
        "reward": rng.random(len(ids)) + action,
        "propensity": probs[rows, action],
    }
    policies = {}
    for i, name in enumerate(names):
        tilted = softmax(np.log(probs) + 0.1 * i * rng.normal(size=3))
        q = np.tile([0.5, 1.0, 1.5], (len(ids), 1)) if model else None
        policies[name] = cf.PolicyColumns(action_probs=tilted, q_values=q)
    log = cf.LoggedData.from_frame(frame, episode_id="id")
    return cf.evaluate(log, policies, gamma=0.9, **{"n_resamples": 30, "seed": 0, **options})


def labels_in_sight(axis):
    low, high = sorted(axis.get_view_interval())
    return [t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high]


def picture(ax, tmp_path):
    """Render to PNG, without a warning but for glyphs that the font lacks; return the words.

    None of them is cut off, and those of an axis do not overlap.
    """
    path = tmp_path / "plot.png"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        ax.figure.savefig(path)
    image = pl.Series(path.read_bytes())
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert image.len() > 3000
    ticks = [labels_in_sight(axis) for axis in (ax.xaxis, ax.yaxis)]
    texts = [*ax.texts, *ticks[0], *ticks[1], ax.title, ax.xaxis.label]
    texts += [ax.yaxis.label, *(ax.get_legend().get_texts() if ax.get_legend() else [])]
    texts.append(ax._left_title)
    shown = [t for t in texts if t.get_text() and t.get_visible()]
    canvas = ax.figure.bbox.padded(1)
    for text in shown:
        box = text.get_window_extent()
        assert canvas.contains(box.x0, box.y0), text.get_text()
        assert canvas.contains(box.x1, box.y1), text.get_text()
    for names in ticks:
        boxes = [t.get_window_extent().shrunk(0.98, 0.8) for t in names if t.get_text()]
        assert not any(a.overlaps(b) for a, b in pairwise(boxes))
    return [t.get_text() for t in shown]


DRAWN = {
    "estimates": plots.estimates,
    "one estimator": lambda e: plots.estimates(e, estimator="snpdis"),
    "differences": plots.differences,
    "weights": plots.weights,
    "one policy's weights": lambda e: plots.weights(e, policy=e.policies[0]),
    "effective sample size": plots.effective_sample_size,
    "top k": lambda e: plots.top_k(tables(e), "mean", behavior_value=e.behavior_value),
    "sharpe ratio": lambda e: plots.sharpe_ratio(tables(e)),
    "ranks": plots.ranks,
    "predicted": plots.predictive_sharpe_ratio,
    "predicted beside the truth": lambda e: plots.predictive_sharpe_ratio(
        e, estimator="tis", table=tables(e)["tis"]
    ),
}


def tables(evaluation):
    truth = {p: 1 + 0.1 * i for i, p in enumerate(evaluation.policies)}
    return {e: cf.top_k(evaluation.values(e), truth, 1.0) for e in evaluation.estimators}


@pytest.mark.parametrize("draw", DRAWN)
@pytest.mark.parametrize("longest", [1, 6])
@pytest.mark.parametrize("policies", [1, 2, 30])
def test_every_plot_of_every_size(draw, longest, policies, tmp_path):
    evaluation = make([f"policy {i}" for i in range(policies)], longest)
    if draw.startswith("predicted") and policies == 1:
        with pytest.raises(cf.InvalidArgumentError, match="it takes two policies"):
            DRAWN[draw](evaluation)
        return
    words = picture(DRAWN[draw](evaluation), tmp_path)
    if draw in ("estimates", "one estimator", "differences", "ranks") or (
        draw == "weights" and policies > 1
    ):
        assert {f"policy {i}" for i in range(policies)} <= set(words)
    if draw in ("estimates", "top k", "sharpe ratio"):
        assert set(evaluation.estimators) <= set(words)


@pytest.mark.parametrize("draw", DRAWN)
def test_names_are_taken_literally(draw, tmp_path):
    words = " ".join(picture(DRAWN[draw](make(HOSTILE)), tmp_path))
    assert "\n" not in words
    assert "x" * 100 not in words
    if draw in ("estimates", "differences", "weights", "ranks"):
        assert "$x^2$ $" in words


def test_names_are_shortened_and_never_empty():
    assert plain("a\nb\x00c") == "a b c"
    assert plain("y" * 99) == "y" * 18 + "…" + "y" * 9
    # What begins alike can still be told apart.
    assert len({plain("recommender_production_candidate_" + v) for v in ("v1", "v2")}) == 2
    assert plain("\n") == " "


def test_what_names_share_gives_way_to_what_tells_them_apart(tmp_path):
    """At either end or in the middle, on the axes of every plot with a row to a policy."""
    for form in (
        "candidate_of_the_long_search_{}",
        "{}" + "_of" * 20,
        "rank" * 9 + "_{}" + "_x" * 9,
    ):
        names = [form.format(i) for i in range(12)]
        shown = short(names)
        assert len(set(shown)) == 12
        assert max(map(len, shown)) <= 28
        assert all(str(i) in name for i, name in enumerate(shown))
    drawn = picture(plots.ranks(make(names)), tmp_path)
    assert set(shown) < set(drawn)
    assert short(["a", "b" * 60]) == ["a", plain("b" * 60)]


def test_an_axes_of_ones_own_is_used(tmp_path):
    from matplotlib.figure import Figure

    evaluation = make(["a", "b"])
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert plots.estimates(evaluation, ax=left) is left
    assert plots.weights(evaluation, ax=right) is right
    figure.savefig(tmp_path / "both.png")


def test_no_figure_is_left_with_pyplot():
    from matplotlib import pyplot

    plots.estimates(make(["a"]))
    assert pyplot.get_fignums() == []


def test_series_differ_without_colour():
    for n in range(2, 8):
        styles = [series_style(i, n) for i in range(n)]
        grey = [np.dot(to_rgb(s["color"]), (0.2126, 0.7152, 0.0722)) for s in styles]
        assert (np.diff(grey) > 0.02).all()
        assert grey[-1] < 0.75
        assert len({s["marker"] for s in styles}) == n


# What they say.


def test_estimates_are_sorted_and_the_behavior_policy_is_a_line():
    evaluation = make(["a", "b", "c", "d"])
    ax = plots.estimates(evaluation, estimator="sndr")
    shown = [t.get_text() for t in ax.get_yticklabels()]
    values = evaluation.values("sndr")
    assert shown == sorted(values, key=values.__getitem__, reverse=True)
    assert any(np.allclose(line.get_xdata(), evaluation.behavior_value) for line in ax.lines)


def test_intervals_are_where_they_should_be():
    evaluation = make(["a", "b"])
    ax = plots.differences(evaluation, estimator="sndr")
    rows = evaluation.compare(None, estimator="sndr")
    spans = [tuple(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 2]
    for low, high in rows.select("ci_low", "ci_high").iter_rows():
        assert any(np.allclose(span, (low, high)) for span in spans)


def test_ranks_are_those_of_the_ranking():
    evaluation = make(["a", "b", "c", "d"], n=60, n_resamples=200)
    ax = plots.ranks(evaluation, estimator="tis", among=["a", "c", "d"])
    table = evaluation.ranking("tis", among=["a", "c", "d"])
    assert [t.get_text() for t in ax.get_yticklabels()] == table["policy"].to_list()
    spans = [line.get_xdata() for line in ax.lines]
    assert [(round(a), round(b)) for a, b in spans] == table.select("rank_low", "rank_high").rows()
    beside = [t.get_text() for t in ax.texts if t.get_text() != "P(best)"]
    assert beside == [chance(p, 200) for p in table["p_best"]]
    # The darker a square, the more of the logs; the shades of a row are in the order of its shares.
    tops = table.select(f"p_top_{k}" for k in (1, 2, 3)).to_numpy()
    for row, bars in zip(np.diff(tops, prepend=0), ax.collections, strict=True):
        shades = bars.get_facecolor()[:, 0]
        assert np.array_equal(np.argsort(-shades), np.argsort(row[row > 0]))
    assert "over 200 resampled logs; line: 95 % interval" in ax.get_xlabel()


def test_the_prediction_is_that_of_the_shortlists():
    evaluation = make(["a", "b", "c", "d", "e"], n=300, n_resamples=100)
    table = tables(evaluation)["dr"]
    ax = plots.predictive_sharpe_ratio(evaluation, estimator="dr", table=table)
    lists = [evaluation.portfolio(k, "dr") for k in (2, 3, 4, 5)]
    found = [x.predictive_sharpe_ratio for x in lists]
    lines = {line.get_label(): line.get_ydata() for line in ax.lines}
    top = ax.get_ylim()[1]
    for name, wanted in (
        ("of the estimates", [x.sharpe_ratio for x in lists]),
        ("predicted (median)", [x.median for x in found]),
        ("true", table["sharpe_ratio"][1:].to_list()),
    ):
        assert np.allclose(lines[name], np.minimum(wanted, top))
    band = ax.collections[0].get_paths()[0].vertices
    few = plots.predictive_sharpe_ratio(evaluation, estimator="dr", most_k=3)
    assert few.lines[0].get_xdata().tolist() == [2, 3]
    for k, x in zip((2, 3, 4, 5), found, strict=True):
        assert np.isclose(band[band[:, 0] == k][:, 1].min(), x.low)
        assert np.isclose(band[band[:, 0] == k][:, 1].max(), min(x.high, top))


def test_a_prediction_of_two_and_of_nothing_but_zeros(tmp_path):
    """Of one k the band has a width; where nobody gains the axis is no power of ten."""
    evaluation = make(["a", "b"])
    ax = plots.predictive_sharpe_ratio(evaluation)
    assert np.ptp(ax.collections[0].get_paths()[0].vertices[:, 0]) > 0
    worse = make([f"p{i}" for i in range(4)])
    spoilt = worse.estimates.with_columns(pl.col("value") - 1e6 * (pl.col("policy") != "behavior"))
    nobody = cf.Evaluation(
        spoilt, worse.settings, worse.variances, worse.replicates - 1e6, worse.behavior_replicates
    )
    vars(nobody)["diagnostics"] = worse.diagnostics
    ax = plots.predictive_sharpe_ratio(nobody)
    assert ax.get_ylim() == (0, 1)
    picture(ax, tmp_path)


def test_filled_means_told_apart():
    rng = np.random.default_rng(0)
    n = 2000
    action = rng.integers(2, size=n)
    frame = {"action": action, "reward": action + 0.0, "propensity": np.full(n, 0.5)}
    log = cf.LoggedData.from_frame(frame)
    policies = {"better": np.where(action == 1, 0.9, 0.1), "same": np.full(n, 0.5)}
    ax = plots.differences(cf.evaluate(log, policies, ["sntis"]))
    dots = [line for line in ax.lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    faces = [line.get_markerfacecolor() for line in dots]
    assert [face == "white" for face in faces] == [False, True]


def test_undefined_and_infinite_estimates_are_named(tmp_path):
    n, horizon = 50, 800
    ids = np.repeat(np.arange(n), horizon)
    frame = {
        "id": ids,
        "action": np.zeros(len(ids), dtype=int),
        "reward": np.ones(len(ids)),
        "propensity": np.full(len(ids), 0.1),
    }
    log = cf.LoggedData.from_frame(frame, episode_id="id")
    never_late = np.where(np.arange(len(ids)) % horizon < 400, 0.1, 0.0)
    policies = {"huge": np.ones(len(ids)), "stops": never_late, "same": np.full(len(ids), 0.1)}
    evaluation = cf.evaluate(log, policies, ["tis", "snpdis"])
    words = picture(plots.estimates(evaluation, estimator="tis"), tmp_path)
    assert any("inf" in word for word in words)
    words = picture(plots.estimates(evaluation, estimator="snpdis"), tmp_path)
    assert any("undefined" in word for word in words)
    for draw in (plots.differences, plots.weights, plots.effective_sample_size):
        picture(draw(evaluation), tmp_path)


def test_one_sided_intervals_and_one_episode(tmp_path):
    picture(plots.estimates(make(["a", "b"], alternative="greater")), tmp_path)
    picture(plots.estimates(make(["a", "b"], n=1)), tmp_path)
    picture(plots.differences(make(["a", "b"], n=1)), tmp_path)


def test_a_far_value_does_not_flatten_the_rest():
    evaluation = make([f"p{i}" for i in range(8)])
    spoilt = evaluation.estimates.with_columns(
        value=pl.when(pl.col("policy") == "p3").then(1e12).otherwise("value")
    )
    ax = plots.estimates(cf.Evaluation(spoilt, evaluation.settings, evaluation.variances))
    assert ax.get_xlim()[1] < 100
    assert any("1e+12" in t.get_text() for t in ax.texts)


def test_infinite_ratios_are_marked_and_undefined_ones_leave_a_gap():
    truth = {"a": 2.0, "b": 2.0, "c": 1.0}
    table = cf.top_k({"a": 3.0, "b": 2.0, "c": 1.0}, truth, 1.5)
    assert table["sharpe_ratio"][1] == np.inf
    ax = plots.sharpe_ratio({"dr": table})
    assert [t.get_text() for t in ax.texts] == ["∞"]
    assert np.isnan(ax.lines[0].get_ydata()[:2]).all()


def test_refusals():
    evaluation = make(["a", "b"])
    with pytest.raises(cf.InvalidArgumentError, match="policy 'x' was not evaluated"):
        plots.weights(evaluation, policy="x")
    with pytest.raises(cf.InvalidArgumentError, match="unknown statistic 'bets'; did you mean"):
        plots.top_k(tables(evaluation), "bets")
    for draw in (plots.ranks, plots.predictive_sharpe_ratio):
        with pytest.raises(cf.InvalidArgumentError, match="with n_resamples=1000"):
            draw(make(["a", "b"], n_resamples=0))
    with pytest.raises(cf.InvalidArgumentError, match="tables is empty"):
        plots.top_k({})
    with pytest.raises(cf.InvalidArgumentError, match="no policy but"):
        plots.differences(make(["a"]), "a")
    log = cf.LoggedData.from_frame({"action": [0, 1], "reward": [0.0, 1.0]}, propensity=None)
    direct = cf.evaluate(log, {"m": cf.PolicyColumns(v=[0.5, 0.5])})
    with pytest.raises(cf.InvalidArgumentError, match="no weights to draw"):
        plots.weights(direct)


WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "matplotlib":
            raise ImportError("no matplotlib here")
sys.meta_path.insert(0, Absent())
import counterfolio as cf
try:
    from counterfolio import plots
except cf.MissingExtraError as error:
    print(error)
"""


def test_without_matplotlib():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    assert done.stdout == 'plots need matplotlib; pip install "counterfolio[report]"\n', done.stderr
