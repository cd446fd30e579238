"""The example on ICU-Sepsis: its truth is exact, its estimates near it, its words hold."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "sepsis.py"
EPISODES = 4_000


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The names of the script after a run, and where it wrote."""
    folder = tmp_path_factory.mktemp("icu")
    arguments = [str(EXAMPLE), "--episodes", str(EPISODES), "--output", str(folder)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", arguments)
        return runpy.run_path(str(EXAMPLE), run_name="__main__"), folder


def test_the_truth_is_exact(ran):
    """By visits, as the script has it, and by the equations of V here."""
    names, _ = ran
    for name, policy in names["tables"].items():
        flow = np.einsum("sa,sax->sx", policy, names["onwards"])
        reward = (policy * names["survival"]).sum(axis=1)
        v = np.linalg.solve(np.eye(len(flow)) - flow, reward)
        assert names["start"] @ v == pytest.approx(names["truth"][name], abs=1e-12)
    assert names["truth"]["expert"] == pytest.approx(0.7818449, abs=1e-7)
    assert names["truth"]["uniform"] == pytest.approx(0.7800709, abs=1e-7)
    assert names["truth"]["best"] == pytest.approx(0.8751417, abs=1e-7)


def test_the_log_is_of_the_behavior_policy(ran):
    names, _ = ran
    log, table = names["log"], names["table"]
    assert log.n_episodes == EPISODES
    assert table["ended"].sum() == EPISODES
    assert table["survived"].sum() / EPISODES == pytest.approx(
        names["value"](names["behavior"]), abs=4 * np.sqrt(0.78 * 0.22 / EPISODES)
    )
    length = names["visits"](names["behavior"]).sum()
    assert log.n_rows / EPISODES == pytest.approx(length, rel=0.03)
    # Right propensities have inverses that sum to the rows for every action.
    inverse = 1 / names["behavior"][names["cells"]]
    assert inverse.mean() == pytest.approx(25, rel=0.05)


def test_dm_is_near_the_truth(ran):
    names, _ = ran
    estimates, table = names["evaluation"].values("dm"), names["prepared"].q_functions.table
    truth = names["truth"]
    for policy, error, unseen in table.select("policy", "standard_error", "unseen").iter_rows():
        # What is unseen is worth between 0 and 1.
        assert abs(estimates[policy] - truth[policy]) < 4 * error + unseen, policy
    assert max(estimates, key=estimates.get) == "best"
    measures = names["assessed"].table
    order = measures.filter(estimator="dm", metric="rank_correlation")["value"].item()
    assert order > 0.8


def test_one_table_is_one_estimate_of_both(ran):
    """Ratio times reward and Q solve the same equations, but for states that are never left."""
    names, _ = ran
    value = names["prepared"].ratios.table["value"].to_numpy()
    np.testing.assert_allclose(value, list(names["evaluation"].values("dm").values()), atol=1e-3)
    lengths = names["ratios"]
    np.testing.assert_allclose(lengths["length"], lengths["exact_length"], rtol=0.12)
    assert lengths.row(0, named=True)["correlation"] > 0.7


def test_words_about_weights_hold(ran):
    names, _ = ran
    verdicts = dict(names["evaluation"].diagnostics.table.select("policy", "verdict").iter_rows())
    assert verdicts["best"] == verdicts["best_soft"] == "do not trust"
    truth, snpdis = names["truth"], names["evaluation"].values("snpdis")
    assert snpdis["best"] < 0.6 * truth["best"]
    inverse = dict(names["inverse"].select("propensities", "mean of 1/b").iter_rows())
    assert inverse["known"] == pytest.approx(25, rel=0.05)
    assert inverse["all rows"] < 26
    assert inverse["5 folds"] > 50


def test_it_writes_a_report_and_plots(ran):
    names, folder = ran
    report = (folder / "icu_sepsis.html").read_text("utf-8")
    assert "best_soft" in report
    assert "estimated" in report
    for name in names["drawings"]:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
