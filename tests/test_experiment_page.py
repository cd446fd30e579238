"""An experiment as text, in a notebook and as a page, also where there is little or much to say."""

from __future__ import annotations

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from counterfolio import plots, simulate
from counterfolio import policies as pi

SMALL = {"n_logs": 3, "n_episodes": 60, "n_training": 10, "n_roll_outs": 300}
ENV = simulate.Tabular.random(5, 3, horizon=4, world_seed=2)


def experiment(n, name="p{}", **options):
    """Rank n candidates called `name`."""
    drawn = np.random.default_rng(0).dirichlet(np.ones(3), (n + 1, 5))
    behavior, *others = (pi.Tabular(table) for table in drawn)
    named = {name.format(i): policy for i, policy in enumerate(others)}
    return cf.experiment(ENV, behavior, named, **{**SMALL, **options})


def page_of(found, tmp_path):
    found.to_html(tmp_path / "page.html")
    return (tmp_path / "page.html").read_text("utf-8")


def test_two_candidates_and_one_estimator(tmp_path):
    found = experiment(2, estimators=["snpdis"])
    assert found.k == 2
    page = page_of(found, tmp_path)
    assert page.count("<svg") == 6
    ax = plots.sharpe_ratio_across(found.assessed)
    assert [line.get_xdata().tolist() for line in ax.lines] == [[2]]
    # Candidates of one's own were made of nothing.
    assert "Candidates were made of" not in page
    named = {"u": pi.Uniform(3), "v": pi.EpsilonGreedy(lambda s: np.eye(3)[[0] * len(s)], 0.5)}
    made = cf.experiment(ENV, pi.Uniform(3), lambda _: named, **SMALL, estimators=["snpdis"])
    assert "Candidates were made of 10 other episodes" in page_of(made, tmp_path)


@pytest.mark.parametrize("n", [1, 5])
def test_a_shortlist_of_one_has_no_ratio(tmp_path, n):
    found = experiment(n, k=1, estimators=["snpdis", "dm"])
    text = " ".join(repr(found).split())
    assert "By SharpeRatio@1 no estimator has a value." in text
    assert "SharpeRatio@1 is undefined on every log, and chooses no estimator." in text
    assert "nan" not in text
    assert "0 of 0" not in " ".join(found.sentences())
    assert found.best()["sharpe_ratio"] == []
    assert found.best()["regret"]
    # Neither the ratio nor, of one candidate, correlations or any k have a picture.
    page = page_of(found, tmp_path)
    assert page.count("<svg") == (3 if n == 1 else 5)
    assert 'id="sharpe_ratio-' not in page


def test_undefined_estimates_are_seen(tmp_path):
    """No episode of a short log follows a deterministic candidate to its end."""
    named = {f"d{i}": pi.Tabular(np.eye(3)[[i, 1, 2, 0, i]]) for i in range(3)}
    found = cf.experiment(
        ENV, pi.Uniform(3), named, **{**SMALL, "n_episodes": 12}, estimators=["tis", "sntis"], k=2
    )
    undefined = found.evaluations.estimates.filter(estimator="sntis")["value"].is_nan().sum()
    assert 0 < undefined < 9
    table = found.candidates_table.filter(pl.col("policy") != "behavior")
    assert table["sntis"].is_nan().any()
    assert table["tis"].is_finite().all()
    logs = found.assessed.by_dataset.filter(metric="nmse", estimator="sntis")["value"].is_nan()
    text = " ".join(repr(found).split())
    assert "By nMSE the best is tis" in text
    assert f"nmse: {logs.sum()} undefined and 0 infinite values of 6 are in no mean." in text
    assert page_of(found, tmp_path).count("<svg") == 6


def test_many_estimators_are_all_on_the_page(tmp_path):
    names = ["tis", "pdis", "sntis", "snpdis", "dm", "dr", "sndr"]
    found = experiment(3, estimators=names, k=2)
    text = repr(found)
    assert "Mean estimates of 2 more estimators: .candidates_table." in text
    assert max(map(len, text.splitlines())) <= 80
    head = page_of(found, tmp_path).split("<h2>The candidates</h2>")[1].split("</thead>")[0]
    assert all(f">{name}</th>" in head for name in names)


def test_many_long_and_odd_names(tmp_path):
    name = "{} is <b>the</b> candidate &\nits name goes on and on, longer than any line is wide"
    found = experiment(40, name, estimators=["snpdis", "dm"])
    text = repr(found)
    assert max(map(len, text.splitlines())) <= 80
    assert len(text.splitlines()) < 41 + 40
    page, cell = page_of(found, tmp_path), found._repr_html_()
    for html in (page, cell):
        assert "<b>the" not in html
        assert html.count("&lt;b&gt;the&lt;/b&gt; candidate &amp;") >= 41


def test_plots_take_what_is_asked_or_say_what_there_is():
    found = experiment(5, estimators=["snpdis", "dm"], k=3)
    rows = found.assessed.table.filter(pl.col("metric") == "regret")
    for k in (2, 3, 5):
        ax = plots.metric(found.assessed, "regret", k=k)
        assert ax.get_xlabel() == f"regret@{k} (less is better)"
        means = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o"]
        assert means == rows.filter(k=k)["value"].to_list()
        ends = [line.get_xdata() for line in ax.lines if line.get_marker() != "o"]
        assert [tuple(x) for x in ends] == rows.filter(k=k).select("ci_low", "ci_high").rows()
        points = [c.get_offsets()[:, 0].tolist() for c in ax.collections]
        own = found.assessed.by_dataset.filter(metric="regret", k=k)
        for estimator, drawn in zip(("snpdis", "dm"), points, strict=True):
            assert drawn == own.filter(estimator=estimator)["value"].to_list()
    assert plots.metric(found.assessed, "nmse").get_xscale() == "log"
    assert plots.metric(found.assessed, "regret").get_xscale() == "linear"
    with pytest.raises(cf.InvalidArgumentError, match="metric 'sharp'; did you mean \"sharpe_ra"):
        plots.metric(found.assessed, "sharp")
    for draw in (
        lambda: plots.metric(found.assessed, "regret", k=6),
        lambda: plots.agreement(found.assessed, k=6),
        lambda: plots.sharpe_ratio_across(found.assessed, most_k=6),
    ):
        with pytest.raises(cf.InvalidArgumentError, match="k must be a whole number from 1 to 5"):
            draw()


def test_agreement_is_drawn_where_it_belongs():
    found = experiment(6, estimators=["snpdis", "dm", "sndr", "tis"], k=2, n_logs=7)
    for k in (2, 4):
        ax = plots.agreement(found.assessed, k=k)
        across = [label.get_text() for label in ax.get_xticklabels()]
        down = [label.get_text() for label in ax.get_yticklabels()]
        names = ["sharpe_ratio", "regret", "rank_correlation", "nmse"]
        assert across == down == [f"SharpeRatio@{k}", f"regret@{k}", "rank correlation", "nMSE"]
        drawn = {tuple(text.xy): text.get_text() for text in ax.texts}
        for row in found.assessed.agreement(k).iter_rows(named=True):
            i, j = names.index(row["metric"]), names.index(row["other_metric"])
            cell = f"{row['n_agree']:.3g} of {row['n_logs']}"
            assert drawn[i, j] == drawn[j, i] == cell


def test_the_printed_tables_are_those_of_the_metrics():
    found = experiment(6, estimators=["snpdis", "dm", "sndr", "tis"], k=2, n_logs=7)
    assert found.assessed.k == found.k == 2
    wins = found.wins()
    best = found.assessed.best_estimators(2)
    for row in best.iter_rows(named=True):
        assert row["estimators"], "every metric chooses on every log here"
    for metric in ("sharpe_ratio", "regret", "rank_correlation", "nmse"):
        chosen = best.filter(metric=metric)["estimators"].to_list()
        wanted = [sum((e in c) / len(c) for c in chosen) for e in wins["estimator"]]
        np.testing.assert_allclose(wins[metric], wanted)
        assert wins[metric].sum() == pytest.approx(7)
    lines = repr(found).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("best on logs"))
    assert lines[at].split("  ")[1:] == ["SharpeRatio@2", "regret@2", "rank correlation", "nMSE"]
    for line, row in zip(lines[at + 1 : at + 5], wins.iter_rows(), strict=True):
        assert line.split() == [row[0], *(f"{x:.3g}" for x in row[1:])]
    at = next(i for i, line in enumerate(lines) if line.startswith("chooses as"))
    agreed = found.assessed.agreement(2)
    counts = {
        (row["metric"], row["other_metric"]): f"{row['n_agree']:.3g} of {row['n_logs']}"
        for row in agreed.iter_rows(named=True)
    }
    order = ["sharpe_ratio", "regret", "rank_correlation", "nmse"]
    for i, name in enumerate(order):
        cells = [counts.get((name, o)) or counts.get((o, name)) for o in order if o != name]
        assert " ".join(lines[at + 1 + i].split()).endswith(" ".join(cells))
    said = " ".join(found.sentences())
    assert f"regret@2 on {counts['sharpe_ratio', 'regret']}" in said
    assert f"nMSE on {counts['sharpe_ratio', 'nmse']} logs." in said
    row = found.metrics.filter(metric="nmse").sort("value").row(0, named=True)
    assert f"is {row['estimator']} ({row['value']:.3g} ± {row['std']:.2g})" in said
    truth = {name: found.truth.value(name) for name in found.candidates}
    leader = max(truth, key=truth.get)
    assert f"the best candidate, {leader}, {truth[leader]:.4g}." in said
    printed = next(line for line in lines if line.startswith(f"{leader} "))
    assert printed.split()[1] == f"{truth[leader]:.4g}"
