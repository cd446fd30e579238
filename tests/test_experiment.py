"""`experiment`: every number of it can be had by other ways, and the same seed gives the same."""

from __future__ import annotations

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from counterfolio import plots, simulate
from counterfolio import policies as pi
from counterfolio.experiments import learned_behavior, learned_candidates, running

SMALL = {"n_logs": 4, "n_episodes": 60, "n_training": 200, "n_roll_outs": 400}


@pytest.fixture(scope="module")
def found():
    return cf.experiment("counterfolio/RealTimeBidding-v0", **SMALL, k=3)


def test_the_protocol(found):
    assert len(found.candidates) == 12
    assert list(found.truth) == [*found.candidates, "behavior"]
    assert list(found.evaluations) == list(found.logs) == ["log_0", "log_1", "log_2", "log_3"]
    estimators = found.evaluations["log_0"].estimators
    assert estimators == ["dm", "snpdis", "sndr", "sm_snis", "sm_sndr"]
    # What each log says is what one gets by hand.
    log = found.logs["log_2"]()
    assert log.n_episodes == 60
    models = {
        "q_model": cf.models.LinearQ(ridge=1e-2),
        "ratio_model": cf.models.LinearRatio(ridge=1e-2),
    }
    prepared = cf.prepare(log, found.candidates, estimators, cross_fit=2, **models)
    by_hand = cf.evaluate(log, prepared, estimators)
    np.testing.assert_allclose(
        found.evaluations["log_2"].estimates["value"], by_hand.estimates["value"], rtol=1e-6
    )
    one = cf.assess(by_hand, found.truth, k=3, relative_safety=1.0).table
    stacked = found.assessed.by_dataset.filter(pl.col("dataset") == "log_2")
    np.testing.assert_allclose(
        stacked["value"].to_numpy(), one["value"].to_numpy(), rtol=1e-6, atol=1e-9
    )


def test_truth_is_that_of_other_episodes_and_of_the_policies_themselves(found):
    name = next(iter(found.candidates))
    other = cf.on_policy_value(
        "counterfolio/RealTimeBidding-v0", found.candidates[name], 2000, seed=987
    )
    value, error = other.table.select("value", "standard_error").row(0)
    own = found.truth.table.filter(pl.col("policy") == name)
    gap = abs(value - own["value"][0])
    assert gap < 4.5 * np.hypot(error, own["standard_error"][0])
    assert len({log().column("reward").sum() for log in found.logs.values()}) == 4


def test_a_seed_is_one_for_everything(found, tmp_path):
    again = cf.experiment(**SMALL, k=3, path=tmp_path / "kept", num_threads=1)
    assert again.evaluations.estimates.equals(found.evaluations.estimates)
    assert again.assessed.table.equals(found.assessed.table)
    assert all(np.array_equal(again.truth[p], found.truth[p]) for p in found.truth)
    # More logs begin with the same ones, and the folder grows.
    more = cf.experiment(**{**SMALL, "n_logs": 5}, k=3, path=tmp_path / "kept")
    first = more.evaluations.estimates.filter(pl.col("dataset") != "log_4")
    assert first.equals(found.evaluations.estimates)
    assert len(cf.Evaluations.from_parquet(tmp_path / "kept")) == 5
    other = cf.experiment(**SMALL, k=3, seed=1)
    assert not np.array_equal(other.truth["behavior"], found.truth["behavior"])


def test_tables_and_sentences(found):
    table = found.candidates_table
    assert table["value"].is_sorted(descending=True)
    assert set(table["policy"]) == {*found.candidates, "behavior"}
    mean = found.evaluations.estimates.filter(policy="clone_0.1", estimator="sndr")["value"].mean()
    assert table.filter(policy="clone_0.1")["sndr"][0] == pytest.approx(mean)
    assert set(found.metrics["metric"]) == {"sharpe_ratio", "regret", "rank_correlation", "nmse"}
    assert found.metrics["k"].drop_nulls().unique().to_list() == [3]
    wins = found.wins()
    for metric in ("rank_correlation", "nmse"):
        assert wins[metric].sum() == pytest.approx(4)
    best = found.best()
    rows = found.metrics.filter(metric="nmse").sort("value")
    assert best["nmse"] == [rows["estimator"][0]]
    rows = found.metrics.filter(metric="rank_correlation").sort("value", descending=True)
    assert best["rank_correlation"] == [rows["estimator"][0]]
    text = repr(found)
    assert all(len(line) <= 80 for line in text.splitlines())
    ideal = cf.sharpe_ratio_at_k(
        {p: found.truth.value(p) for p in found.candidates},
        {p: found.truth.value(p) for p in found.candidates},
        found.truth.value("behavior"),
        3,
    )
    assert f"SharpeRatio@3 {ideal:.3g}" in " ".join(text.split())
    assert "<table" in found._repr_html_()


def test_a_log_comes_back_with_the_candidates(found, tmp_path):
    log = found.log("log_1")
    log.to_parquet(tmp_path / "log.parquet")
    again = cf.read_parquet(tmp_path / "log.parquet")
    names = {name: f"p_{name}" for name in found.candidates}
    by_column = cf.evaluate(again, names, ["snpdis"]).estimates
    own = found.evaluations["log_1"].estimates.filter(pl.col("estimator") == "snpdis")
    np.testing.assert_allclose(
        by_column.filter(pl.col("estimator") == "snpdis")["value"], own["value"]
    )
    with pytest.raises(cf.InvalidArgumentError, match='no log "log_9"; did you mean'):
        found.log("log_9")


def test_the_page(found, tmp_path):
    path = tmp_path / "page.html"
    found.to_html(path, title="Bids & bold")
    page = path.read_text("utf-8")
    assert page.count("<svg") == 6
    assert "Bids &amp; bold" in page
    assert "clone_0.1" in page
    for axis in (
        "SharpeRatio@3 (more is better)",
        "regret@3 (less is better)",
        "rank correlation (more is better)",
        "nMSE (less is better)",
        "k, the size of the shortlist",
    ):
        assert page.count(f">{axis}</text>") == 1, axis
    assert "http" not in page.replace("http://www.w3.org", "").replace(
        "http://purl.org", ""
    ).replace("http://creativecommons.org", "")
    found.to_html(tmp_path / "again.html", title="Bids & bold")
    assert (tmp_path / "again.html").read_text("utf-8") == page


def test_plots_draw_what_the_tables_say(found):
    ax = plots.metric(found.assessed, "nmse")
    rows = found.metrics.filter(metric="nmse")
    points = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(points, rows["value"])
    assert [label.get_text() for label in ax.get_yticklabels()] == rows["estimator"].to_list()
    own = found.assessed.by_dataset.filter(metric="nmse")
    drawn = np.concatenate([c.get_offsets()[:, 0] for c in ax.collections])
    np.testing.assert_allclose(np.sort(drawn), np.sort(own["value"]))
    ax = plots.sharpe_ratio_across(found.assessed, most_k=6)
    table = found.assessed.table.filter(pl.col("metric") == "sharpe_ratio")
    for line, name in zip(
        ax.lines, found.metrics["estimator"].unique(maintain_order=True), strict=True
    ):
        wanted = table.filter((pl.col("estimator") == name) & pl.col("k").is_between(3, 6))
        np.testing.assert_allclose(line.get_ydata(), wanted["value"])
        assert abs(line.get_xdata() - wanted["k"].to_numpy()).max() < 0.5
    drawn = [np.sort(bar[:, 1]) for bars in ax.collections for bar in bars.get_segments()]
    own = table.filter(pl.col("k").is_between(3, 6) & pl.col("ci_low").is_not_null())
    np.testing.assert_allclose(drawn, own.select("ci_low", "ci_high").to_numpy())
    ax = plots.agreement(found.assessed)
    texts = [t.get_text() for t in ax.texts]
    assert len(texts) == 12
    row = found.assessed.agreement(3).row(0, named=True)
    assert f"{row['n_agree']:.3g} of 4" in texts


def test_with_policies_of_ones_own():
    env = simulate.Tabular.random(5, 3, end=0.2, world_seed=2)
    tables = np.random.default_rng(0).dirichlet(np.ones(3), (4, 6))
    named = {f"p{i}": pi.Tabular(table) for i, table in enumerate(tables[1:])}
    found = cf.experiment(env, pi.Tabular(tables[0]), named, gamma=0.9, **SMALL)
    # Episodes differ in length: normalised ratios of visits would be wrong.
    assert found.evaluations["log_0"].estimators == ["dm", "snpdis", "sndr", "sm_is", "sm_dr"]
    assert found.k == 3
    exact = {name: env.exact_value(policy, 0.9) for name, policy in named.items()}
    for name, value in exact.items():
        row = found.truth.table.filter(policy=name)
        assert abs(row["value"][0] - value) < 4.5 * row["standard_error"][0]
    # sndr with a right model is near the truth on average.
    mean = found.candidates_table.filter(pl.col("policy") == "p0")["sndr"][0]
    assert mean == pytest.approx(exact["p0"], abs=0.25)


def test_continuous_actions_need_policies_of_ones_own():
    env = simulate.Basic(action_type="continuous", horizon=3)
    with pytest.raises(cf.InvalidArgumentError, match="discrete actions alone"):
        cf.experiment(env)
    near = {f"s{s}": pi.Gaussian(lambda x: x[:, :3] * 0.2, s) for s in (0.45, 0.5, 0.6)}
    behavior = pi.Gaussian(lambda x: x[:, :3] * 0.2, 0.5)
    found = cf.experiment(env, behavior, near, estimators=["snpdis", "dm"], **SMALL)
    assert found.evaluations["log_0"].estimators == ["snpdis", "dm"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_logs": 1}, "n_logs must be a whole number of 2 or more"),
        ({"seed": -1}, "seed must be a whole number from 0"),
        ({"k": 13}, "k must be a whole number from 1 to 12"),
        ({"env": "Basics"}, "gymnasium knows no environment"),
        ({"estimators": ["sndrr"]}, "did you mean"),
    ],
)
def test_what_is_wrong_is_said(arguments, message):
    with pytest.raises(cf.InvalidArgumentError, match=message):
        cf.experiment(**{**SMALL, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"estimators": ["dm", "sndrr"]}, "did you mean"),
        ({"estimators": "sndrr"}, "did you mean"),
        ({"gamma": 1.5}, r"gamma must be in \(0, 1\]"),
        ({"path": "no/such/folder"}, "does not exist; make it first"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_learned(monkeypatch, arguments, message):
    monkeypatch.setattr(running, "learned_behavior", lambda *_, **__: pytest.fail("learned"))
    with pytest.raises(cf.InvalidArgumentError, match=message):
        cf.experiment(**arguments)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"env": simulate.Recommender(n_items=3, horizon=2)}, "env='Basic.*, not 'Recommender"),
        ({"n_episodes": 70}, "n_episodes=60, not 70"),
        ({"n_training": 100}, "n_training=200, not 100"),
        ({"gamma": 0.5}, "gamma=1.0, not 0.5"),
        ({"seed": 1}, "seed=0, not 1"),
    ],
)
def test_a_folder_is_of_one_experiment(tmp_path, other, message):
    """What another one found there would be taken for its own."""
    env = simulate.Basic(n_actions=3, horizon=2, transition=lambda s, a, rng: s)
    named = {"coin": pi.Uniform(3), "last": pi.EpsilonGreedy(lambda s: s[:, :3], 0.5)}
    asked = {"env": env, "behavior": pi.Uniform(3), "candidates": named, "estimators": ["snpdis"]}
    asked |= {**SMALL, "path": tmp_path / "runs"}
    found = cf.experiment(**asked)
    with pytest.raises(cf.InvalidArgumentError, match=f"holds an experiment with {message}"):
        cf.experiment(**{**asked, **other})
    more = cf.experiment(**{**asked, "n_logs": 11})
    assert list(more.logs) == [f"log_{i}" for i in range(11)]
    assert len(cf.Evaluations.from_parquet(tmp_path / "runs")) == 11
    assert more.evaluations["log_3"].estimates.equals(found.evaluations["log_3"].estimates)


def test_a_single_estimator_needs_no_list():
    env = simulate.Tabular.random(4, 2, horizon=3)
    named = {"half": pi.Uniform(2), "first": pi.Tabular([[0.9, 0.1]] * 4)}
    found = cf.experiment(env, named["half"], named, estimators="snpdis", **SMALL)
    assert found.evaluations["log_0"].estimators == ["snpdis"]


@pytest.mark.parametrize("kind", [simulate.Basic, simulate.Recommender])
def test_learned_policies_are_sound(kind):
    """The learned behavior policy earns more than a coin, and the best candidate more than it."""
    env = kind()
    behavior = learned_behavior(env, 1000, seed=1)
    candidates = learned_candidates(cf.collect(env, behavior, 1000, seed=2))
    coin = pi.Uniform(env.action_space.n)
    truth = cf.on_policy_value(
        env, {**candidates, "behavior": behavior, "coin": coin}, 2000, seed=3
    )
    values = {name: truth.value(name) for name in truth}
    assert values["behavior"] > values["coin"]
    assert max(values[name] for name in candidates) > values["behavior"]
    assert len(set(values.values())) == len(values)


def test_environments_without_a_limit_get_one():
    env = simulate.Tabular.random(4, 2, world_seed=1)
    with pytest.raises(cf.InvalidArgumentError, match="max_episode_steps"):
        cf.experiment(env, **SMALL)
    found = cf.experiment(env, gamma=0.9, max_episode_steps=5, **SMALL)
    assert found.settings["max_episode_steps"] == 5
    assert all(log().n_rows == 5 * 60 for log in found.logs.values())
    assert all((found.truth.lengths[name] == 5).all() for name in found.truth)
