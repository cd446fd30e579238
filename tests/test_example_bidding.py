"""The example on real-time bidding: it runs, and its page and pictures are there."""

from __future__ import annotations

import runpy
from pathlib import Path

import counterfolio as cf
import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "real_time_bidding.py"


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The names of the script after a run, and where it wrote."""
    folder = tmp_path_factory.mktemp("bidding")
    arguments = ["--logs", "3", "--episodes", "150", "--roll-outs", "1000", "--output", str(folder)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [str(EXAMPLE), *arguments])
        return runpy.run_path(str(EXAMPLE), run_name="__main__"), folder


def test_it_leaves_a_page_and_pictures(ran):
    _, folder = ran
    assert sorted(path.name for path in folder.iterdir()) == [
        "real_time_bidding.html",
        "real_time_bidding_agreement.png",
        "real_time_bidding_over_k.png",
        "real_time_bidding_sharpe_ratio.png",
    ]
    page = (folder / "real_time_bidding.html").read_text("utf-8")
    # Images would not show on a page that loads nothing.
    assert "<image" not in page
    assert page.count("<svg") == 6


def test_its_words_hold(ran):
    """Differences are known better than values; the clone is near the behavior policy."""
    names, _ = ran
    truth = names["truth"]
    paired = truth.compare("pessimistic_0.1", "behavior")["standard_error"][0]
    alone = truth.table.filter(policy="pessimistic_0.1")["standard_error"][0]
    assert paired < alone
    assert names["experiment"].k == 4
    assert len(names["experiment"].evaluations) == 3
    one = cf.evaluate(names["fresh"], {"same": names["behavior"]}, ["snpdis"]).estimates["value"]
    assert one[0] == pytest.approx(one[1])
