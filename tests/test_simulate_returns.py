"""`OnPolicyValue` as an object: a mapping, a file, a plot."""

from __future__ import annotations

import pickle

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from counterfolio import plots
from counterfolio import policies as pi
from counterfolio.simulate import OnPolicyValue
from simulate_truths import WORLD, rolled_out, tables
from test_plots import HOSTILE, picture


def test_it_is_a_mapping_and_one_of_its_own():
    truth = rolled_out()
    assert list(truth) == list(truth.keys()) == list(tables())
    assert len(truth) == 4
    assert truth["p1"] is truth.returns["p1"]
    assert "p9" not in truth
    again = pickle.loads(pickle.dumps(truth))
    assert again.table.equals(truth.table)
    assert again != truth
    assert len({truth, again, truth}) == 2


def test_some_policies_are_kept():
    truth = rolled_out()
    some = truth.select(["p3", "p1"])
    assert list(some) == list(some.lengths) == ["p3", "p1"]
    assert some["p1"] is truth["p1"]
    assert some.common_random_numbers
    assert some.compare("p1", "p3").equals(truth.compare("p1", "p3"))
    with pytest.raises(cf.InvalidArgumentError, match='no policy "p9" was rolled out'):
        truth.select(["p1", "p9"])


def test_policies_are_added_as_if_they_had_been_rolled_out_with_the_others():
    policies = tables()
    first, later = (
        cf.on_policy_value(WORLD, {name: policies[name] for name in names}, 40, 1)
        for names in (("p0", "p1"), ("p2", "p3"))
    )
    joined, together = first.join(later), rolled_out()
    assert joined.table.equals(together.table)
    assert joined.settings == together.settings
    assert joined.compare("p0", "p3").equals(together.compare("p0", "p3"))
    for other, message in (
        (together, 'policy "p0" is in both'),
        (rolled_out(seed=2).select(["p2"]), "seed was 1 here and 2 there"),
        (rolled_out(gamma=0.5).select(["p2"]), r"gamma was 1.0 here and 0.5 there"),
        (rolled_out(n_episodes=41).select(["p2"]), "n_episodes was 40 here and 41 there"),
        (
            rolled_out(common_random_numbers=False).select(["p2"]),
            "common_random_numbers was True here and False there",
        ),
    ):
        with pytest.raises(cf.InvalidArgumentError, match=message):
            first.join(other)
    apart = rolled_out(common_random_numbers=False)
    with pytest.raises(cf.InvalidArgumentError, match="in one call"):
        apart.select(["p0"]).join(apart.select(["p1"]))


def test_as_text():
    text = repr(rolled_out(gamma=0.9))
    assert "40 roll-outs each, gamma 0.9, common random numbers" in text
    assert "95 % interval" in text
    assert "common random numbers" not in repr(rolled_out(common_random_numbers=False))
    page = cf.on_policy_value(WORLD, {"<b>": pi.Uniform(3)}, 5, 1)._repr_html_()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page


def test_written_and_read_it_is_the_same(tmp_path):
    truth = rolled_out(gamma=0.9, common_random_numbers=False, max_episode_steps=6)
    truth.to_parquet(tmp_path / "truth.parquet")
    again = OnPolicyValue.from_parquet(str(tmp_path / "truth.parquet"))
    assert list(again) == list(truth)
    assert again.settings == truth.settings
    assert again.table.equals(truth.table)
    for name in truth:
        np.testing.assert_array_equal(again[name], truth[name])
        np.testing.assert_array_equal(again.lengths[name], truth.lengths[name])
    assert again.compare("p0", "p1").equals(truth.compare("p0", "p1"))
    # Anyone can read it.
    plain = pl.read_parquet(tmp_path / "truth.parquet")
    assert plain.columns == ["policy", "episode", "return", "length"]
    assert plain.filter(policy="p2")["return"].to_list() == truth["p2"].tolist()
    assert [p.name for p in tmp_path.iterdir()] == ["truth.parquet"]


def test_other_files_are_refused(tmp_path):
    cf.collect(WORLD, pi.Uniform(3), 3, 1, path=tmp_path / "log.parquet")
    with pytest.raises(cf.InvalidArgumentError, match="does not hold an OnPolicyValue"):
        OnPolicyValue.from_parquet(tmp_path / "log.parquet")
    pl.DataFrame({"x": [1]}).write_parquet(tmp_path / "plain.parquet")
    with pytest.raises(cf.InvalidArgumentError, match="does not hold an OnPolicyValue"):
        OnPolicyValue.from_parquet(tmp_path / "plain.parquet")
    (tmp_path / "text").write_text("no Parquet")
    for name in ("text", "nothing"):
        with pytest.raises(cf.InvalidArgumentError, match="cannot be read as Parquet"):
            OnPolicyValue.from_parquet(tmp_path / name)
    with pytest.raises(cf.InvalidArgumentError, match="does not exist"):
        rolled_out().to_parquet(tmp_path / "no" / "truth.parquet")


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "truth.parquet"
    rolled_out().to_parquet(path)
    before = path.read_bytes()

    def fails(*arguments, **options):
        raise OSError("the disk is full")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", fails)
    with pytest.raises(OSError, match="disk is full"):
        rolled_out(seed=2).to_parquet(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["truth.parquet"]


def test_returns_are_drawn(tmp_path):
    truth = cf.on_policy_value(WORLD, tables() | {"behavior": pi.Uniform(3)}, 200, 1)
    ax = plots.returns(truth)
    picture(ax, tmp_path)
    by_mean = truth.table.sort("value", descending=True)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == by_mean["policy"].to_list()
    dots = [line.get_xdata()[0] for line in ax.get_lines() if line.get_marker() == "o"]
    assert dots == by_mean["value"].to_list()
    for bar, name in zip(ax.patches, names, strict=True):
        ends = [cf.return_statistic(truth[name], "quantile", a) for a in (0.25, 0.75)]
        assert [bar.get_x(), bar.get_x() + bar.get_width()] == pytest.approx(ends)
    assert f"behavior policy, {truth.value('behavior'):.4g}" in ax.get_xlabel()
    some = plots.returns(truth, among=["p1", "p0"])
    assert len(some.patches) == 2
    with pytest.raises(cf.InvalidArgumentError, match="policy 'p7' was not rolled out"):
        plots.returns(truth, among=["p7"])


def test_hostile_names_and_equal_returns_are_drawn(tmp_path):
    names = list(HOSTILE)
    truth = OnPolicyValue(
        {name: np.full(3, float(i)) for i, name in enumerate(names)},
        {name: np.ones(3, dtype=np.int64) for name in names},
        rolled_out().settings,
    )
    picture(plots.returns(truth), tmp_path)
