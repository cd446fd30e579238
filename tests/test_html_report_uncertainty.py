"""The report under replicates: how sure the ranking is, what the shortlist will be worth."""

from __future__ import annotations

import html
import math
import re

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from counterfolio.report import tables
from counterfolio.text import chance, span
from test_html_report import SECTIONS, headline, page, read, world

NAMES = ["a", "b", "c", "d", "e"]
HINT = "With replicates (n_resamples=1000, on the command line --n-resamples 1000)"


def evaluate(names=NAMES, **options):
    log, policies = world(names, n=options.pop("n", 2000), lift=0.1, tilt=1.2)
    settings = {"n_resamples": 200, "seed": 3, **options}
    return cf.evaluate(log, policies, ["sntis", "tis"], **settings)


@pytest.fixture(scope="module")
def evaluation():
    return evaluate()


@pytest.fixture(scope="module")
def text(evaluation, tmp_path_factory):
    return page(evaluation, tmp_path_factory.mktemp("report"), k=2)


def table_after(text, heading):
    """Cells of the first table below a heading, the head first."""
    found = re.search(rf"<h3>{re.escape(heading)}</h3>.*?<table>(.*?)</table>", text, re.DOTALL)
    rows = re.findall(r"<tr>(.*?)</tr>", found[1], re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[html.unescape(cell) for cell in row] for row in cells]


def ratio(x):
    return "" if math.isnan(x) else f"{x:.{2 if x < 10 else 1 if x < 100 else 0}f}"


def test_the_ranks_are_those_of_the_ranking(evaluation, text):
    rows = table_after(text, "How sure is the ranking?")
    assert rows[0] == ["rank", "policy", "P(best)", "P(top 2)", "ranks"]
    table = evaluation.ranking("sntis")
    for shown, row in zip(rows[1:], table.rows(named=True), strict=True):
        assert shown == [
            str(row["rank"]),
            row["policy"],
            chance(row["p_best"], 200),
            chance(row["p_top_2"], 200),
            span(str(row["rank_low"]), str(row["rank_high"])),
        ]
    shortlist = read(text).text("shortlist")
    assert "The log was resampled 200 times" in shortlist
    assert HINT not in shortlist
    best = table.row(0, named=True)
    summary = read(text).text("summary")
    assert f"in {chance(best['p_best'], 200)} of these logs {best['policy']} came first." in summary


def test_the_prediction_is_that_of_the_shortlists(evaluation, text):
    rows = table_after(text, "What the shortlist will turn out to be worth")
    assert rows[0][:5] == ["k", "adds", "P(is best)", "P(gain)", "gain"]
    for k, shown in enumerate(rows[1:], 1):
        shortlist = evaluation.portfolio(k, "sntis")
        found, added = shortlist.predictive_sharpe_ratio, shortlist.policies[-1]
        assert shown == [
            str(k),
            added,
            chance(found.p_best[added], found.n_draws),
            chance(found.p_better, found.n_draws),
            f"{found.expected_gain:.3g}",
            ratio(found.median),
            span(ratio(found.low), ratio(found.high)),
            ratio(shortlist.sharpe_ratio),
        ]
    assert len(rows) == 6
    said = evaluation.portfolio(2, "sntis").predictive_sharpe_ratio.sentence()
    shortlist = read(text).text("shortlist")
    # Once, in its own section.
    assert shortlist.count(said.removeprefix("Predicted: ")) == 1
    assert "Predicted:" not in shortlist
    assert shortlist.index("will turn out to be worth") < shortlist.index("The top 2: its Sharpe")
    assert "what is noise in their spread is taken off it first" in shortlist


def test_it_is_whole_with_replicates_too(text):
    reader = read(text)
    assert [i for i in reader.ids if i in SECTIONS] == SECTIONS
    assert len(set(reader.ids)) == len(reader.ids)
    assert reader.tags["svg"] == 6
    assert "seed 3" in reader.text("settings")


def test_a_saved_evaluation_says_the_same(evaluation, text, tmp_path):
    evaluation.to_parquet(tmp_path / "kept.parquet")
    kept = cf.Evaluation.from_parquet(tmp_path / "kept.parquet")
    assert page(kept, tmp_path, k=2) == text


def test_without_replicates_a_hint_says_how_to_get_them(tmp_path):
    shown = read(page(evaluate(n_resamples=0, seed=None), tmp_path)).text("shortlist")
    assert HINT in shown
    for absent in ("How sure is the ranking", "will turn out to be worth", "resampled logs"):
        assert absent not in shown


def test_more_candidates_than_the_table_has_rows(tmp_path):
    """The tables and the plot over k end at ten."""
    found = evaluate([f"p{i:02}" for i in range(14)])
    text = page(found, tmp_path)
    assert len(table_after(text, "What the shortlist will turn out to be worth")) == 11
    assert len(table_after(text, "How sure is the ranking?")) == 15
    assert read(text).tags["svg"] == 6


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_candidates(count, tmp_path):
    """One has neither order nor spread; of fewer than four no noise is taken off."""
    text = page(evaluate(NAMES[:count]), tmp_path)
    shown = read(text).text("shortlist")
    words = " ".join(read(text).text(section) for section in SECTIONS[:-1])
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", words)
    assert "Fewer than four candidates do not show how much of their spread is noise" in shown
    assert "fewer than four policies are too few to tell signal from noise" in shown
    assert read(text).tags["svg"] == (4 if count == 1 else 6)
    # Being among the first k of k is no news.
    assert f"P(top {count})" not in shown


def test_who_cannot_be_trusted_is_not_ranked(tmp_path):
    log, policies = world(NAMES, n=2000, lift=0.1)
    rare = np.where(np.arange(2000) % 500 == 7, 1.0, 1e-9)
    policies["wild"] = cf.PolicyColumns(prob=rare)
    found = cf.evaluate(log, policies, ["sntis"], n_resamples=100, seed=1)
    text = page(found, tmp_path)
    among = [p for p in found.policies if p != "wild"]
    rows = table_after(text, "How sure is the ranking?")
    table = found.ranking(among=among)
    assert [row[1] for row in rows[1:]] == table["policy"].to_list()
    assert [row[2] for row in rows[1:]] == [chance(p, 100) for p in table["p_best"]]
    assert "came first of those that can be trusted." in read(text).text("summary")


def test_the_contenders_are_named(tmp_path):
    """One that stands apart, or all that may be the best."""
    far = cf.evaluate(*world(["near", "far"], n=4000, lift=0.8, tilt=2.0), ["sntis"])
    assert far.contenders().filter(contender=True)["policy"].to_list() == ["far"]
    said = read(page(far, tmp_path)).text("changes")
    assert "far stands apart as the best of the candidates, at 95 %, all comparisons" in said
    close = cf.evaluate(*world(NAMES, n=300, lift=0.0), ["sntis"])
    may = close.contenders().filter(contender=True)["policy"].to_list()
    assert len(may) > 2
    said = read(page(close, tmp_path)).text("changes")
    assert "Which candidate is the best is not established: at 95 %" in said
    assert f"it may be any of {', '.join(may[:-1])} and {may[-1]}." in said


# Judged by the truth.


def test_the_judgement_shows_its_spread_over_resampled_logs(evaluation, tmp_path):
    truth = {"a": 1.0, "b": 1.3, "c": 1.1, "d": 1.2, "e": 1.15, "behavior": 0.9}
    text = page(evaluation, tmp_path, truth=truth, k=3)
    assert "over resampled logs" in text
    judged = cf.assess(evaluation, truth, k=3).table.filter(metric="sharpe_ratio", k=3)
    last = [t for t in re.findall(r"<table>(.*?)</table>", text, re.DOTALL) if "ranked by" in t][-1]
    for row in judged.rows(named=True):
        spread = span(ratio(row["resampling_low"]), ratio(row["resampling_high"]))
        assert f'<td class="l">{row["estimator"]}</td>' in last
        assert f'<td class="r">{ratio(row["value"])}</td><td class="r">{spread}</td>' in last
    assert "over resampled logs" not in page(evaluate(n_resamples=0), tmp_path, truth=truth)


def test_truth_may_be_arrays_of_returns(evaluation, tmp_path):
    rng = np.random.default_rng(0)
    returns = {p: rng.normal(1 + 0.1 * i, 0.3, 50 + i) for i, p in enumerate(NAMES)}
    returns["behavior"] = rng.normal(0.8, 0.3, 40)
    means = {name: float(np.mean(x)) for name, x in returns.items()}
    assert page(evaluation, tmp_path, truth=returns) == page(evaluation, tmp_path, truth=means)
    mixed = {**returns, "a": means["a"], "b": returns["b"].tolist()}
    assert page(evaluation, tmp_path, truth=mixed) == page(evaluation, tmp_path, truth=means)
    for wrong in ([1.0], [1.0, float("nan")], ["x", "y"]):
        with pytest.raises(cf.InvalidArgumentError, match='truth of policy "a"'):
            evaluation.to_html(tmp_path / "no.html", truth={**means, "a": wrong})
    assert not (tmp_path / "no.html").exists()


# Other intervals.


def test_bounds_say_that_differences_are_normal(tmp_path):
    log, policies = world(["a", "b"], n=400)
    bounds = cf.evaluate(log, policies, ["tis"], interval="hoeffding", value_range=(0, 99))
    text = page(bounds, tmp_path)
    reader = read(text)
    assert "normal 95 % interval" in reader.text("comparison")
    assert "normal 95 % interval" not in reader.text("estimates")
    assert "Intervals of differences from the behavior policy" in reader.text("assumptions")
    usual = read(page(evaluate(["a", "b"]), tmp_path))
    assert "normal 95 % interval" not in usual.text("comparison")
    assert "Intervals of differences from" not in usual.text("assumptions")


def test_the_bootstrap_is_named(tmp_path):
    found = evaluate(interval="bootstrap")
    text = page(found, tmp_path)
    assert headline(text)
    said = read(text).text("assumptions")
    assert "percentile intervals over 200 logs resampled from this one (seed 3)" in said


# Notes.


def test_notes_that_differ_in_their_numbers_stand_together(evaluation):
    noted = evaluation.estimates.with_columns(
        note=pl.Series(
            [
                "ESS 3.5 is below 50",
                "ESS 12 is below 50",
                None,
                "ESS 1,234.5 is below 50",
                "weight overflow",
                "weight overflow",
                *[None] * (len(evaluation.estimates) - 6),
            ],
            dtype=pl.String,
        )
    )
    found = cf.Evaluation(noted, evaluation.settings, evaluation.variances)
    assert tables.notes(found) == [
        ("ESS 3.5 to 1,234.5 is below 50", "a (sntis, tis); b (tis)"),
        ("weight overflow", "c (sntis, tis)"),
    ]


def test_a_reliable_policy_has_no_reason_but_its_row(tmp_path):
    found = cf.evaluate(*world(["near"], n=4000), ["sntis"])
    assert found.diagnostics.table["verdict"].to_list() == ["reliable"]
    shown = read(page(found, tmp_path)).text("weights")
    assert "of 4,000 episodes, mean weight" not in shown
    doubtful = cf.evaluate(*world(["near"], n=400), ["sntis"])
    assert "below 1000. What would help:" in read(page(doubtful, tmp_path)).text("weights")
