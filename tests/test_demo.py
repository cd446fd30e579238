"""The demo: what it prints is true, fits a terminal, and becomes a page that stands alone."""

from __future__ import annotations

import importlib
import re
from html.parser import HTMLParser
from pathlib import Path

import counterfolio as cf
import numpy as np
import polars as pl
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
WEIGHING = ["tis", "pdis", "sntis", "snpdis", "dr", "sndr"]


def example(name):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        return importlib.import_module(name)


@pytest.fixture(scope="module")
def act():
    return example("open_bandit")


@pytest.fixture(scope="module")
def logs(act):
    return tuple(pl.read_parquet(act.DATA / f"{name}_men.parquet") for name in ("random", "bts"))


@pytest.fixture(scope="module")
def digits():
    return example("digits")


@pytest.fixture(scope="module")
def world(digits):
    return digits.make_world()


@pytest.fixture(scope="module")
def truth(world):
    return {name: world.value(probs) for name, probs in world.candidates.items()}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What the demo returned and where it wrote."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # the path it names then fits a line
        text = example("demo").main(["--output", "report"])
    return text, folder / "report" / "index.html"


def words(text):
    return " ".join(text.split())


class TestTheRun:
    def test_prints_what_it_returns(self, capsys):
        story = example("open_bandit").main()
        assert capsys.readouterr().out == story.text

    def test_fits_a_terminal(self, told):
        assert [line for line in told[0].splitlines() if len(line) > 80] == []

    def test_ends_with_the_path_of_the_report(self, told):
        assert Path(told[0].splitlines()[-1]) == Path("report/index.html")

    def test_shows_no_negative_zero_and_nothing_undefined(self, told):
        assert not re.search(r"-0\.0+\b(?!\d)|\bNaN\b|\bnan\b|\bnull\b|\binf\b", told[0])


class TestThePage:
    def test_stands_alone(self, told):
        page = told[1].read_text(encoding="utf-8")
        plain = re.sub(r'xmlns(:\w+)?="[^"]*"|url\(#[^)]*\)|xlink:href="#[^"]*"', "", page)
        for name in re.findall(r'<a href="([^"]*)"', plain):
            assert (told[1].parent / name).is_file()
        plain = re.sub(r'<a href="\w+\.html"', "", plain)
        assert not re.search(r"https?:|//|<script|<link|<img|\bsrc=|\bhref=|url\(|@import", plain)

    def test_is_well_formed(self, told):
        open_tags = []

        class Balance(HTMLParser):
            def handle_starttag(self, tag, attrs):
                if tag != "meta":
                    open_tags.append(tag)

            def handle_endtag(self, tag):
                assert open_tags.pop() == tag

        Balance().feed(told[1].read_text(encoding="utf-8"))
        assert open_tags == []

    def test_holds_both_acts_and_all_tables(self, told):
        page = told[1].read_text(encoding="utf-8")
        assert page.count("<h1>") == 4  # three acts and the list of reports
        assert page.count("<table") == page.count("</table>") == 24

    def test_every_report_says_how_sure_its_ranking_is(self, told):
        for name in ("open_bandit", "digits", "cartpole"):
            page = (told[1].parent / f"{name}.html").read_text(encoding="utf-8")
            assert "How sure is the ranking?" in page
            assert "What the shortlist will turn out to be worth" in page

    def test_text_is_escaped(self):
        story = example("story").Story("a < b & c")
        assert "<h1>a &lt; b &amp; c</h1>" in example("demo").page([story])


class TestTheRealLog:
    def test_uniform_is_the_on_policy_click_rate(self, act, logs):
        shown, other = logs
        roles = {"action": "item_id", "reward": "click", "propensity": "propensity_score"}
        log = cf.LoggedData.from_frame(shown, state=act.AFFINITIES, **roles)
        evaluation = cf.evaluate(log, act.candidates(shown, other))
        same = evaluation.estimates.filter(pl.col("policy").is_in(["uniform", "behavior"]))
        assert set(same["value"]) == {46 / 10_000}

    def test_every_candidate_is_a_distribution(self, act, logs):
        shown, other = logs
        # Every user and position of the log's head, with every item in turn.
        head = shown.head(50).drop("item_id").join(shown.select("item_id").unique(), how="cross")
        for name, policy in act.candidates(head, other).items():
            if hasattr(policy, "prob"):
                probs = policy.prob(
                    head.select(act.AFFINITIES).to_numpy(), head["item_id"].to_numpy()
                )
            else:
                probs = np.asarray(policy)
            sums = np.asarray(probs).reshape(50, 34).sum(axis=1)
            np.testing.assert_allclose(sums, 1, atol=2e-6, err_msg=name)

    def test_says_that_nothing_can_be_told_apart(self, told):
        text = words(told[0])
        assert "uniform equals the on-policy click rate exactly, 0.0046 to the last bit" in text
        assert "Nothing can be told apart. Every interval of a difference contains 0" in text
        assert "46 clicks in 10,000 impressions" in text

    def test_says_how_sure_the_ranks_are(self, act, logs, told):
        shown, other = logs
        roles = {"action": "item_id", "reward": "click", "propensity": "propensity_score"}
        log = cf.LoggedData.from_frame(shown, state=act.AFFINITIES, **roles)
        evaluation = cf.evaluate(
            log, act.candidates(shown, other), ["sntis"], n_resamples=1000, seed=0
        )
        leader = evaluation.ranking().row(0, named=True)
        text = words(told[0])
        assert f"{leader['policy']} came first in {100 * leader['p_best']:.0f} % of these" in text
        assert f"its rank lies from {leader['rank_low']} to {leader['rank_high']}," in text

    def test_says_how_many_impressions_it_takes(self, told):
        # 10,000 ((1.96 + 0.8416) 0.003563851 / d)^2 for d = 0.002048187 and d = 0.00046
        text = words(told[0])
        assert "takes about 238,000 impressions" in text
        assert "a lift of 10 % (0.00046), about 4,710,000" in text


class TestTheKnownTruth:
    def test_true_values_are_exact(self, world, truth):
        assert truth["uniform"] == pytest.approx(0.1, abs=1e-15)
        named = world.candidates["svm"].argmax(axis=1)
        assert truth["svm"] == pytest.approx((named == world.labels).mean(), abs=1e-15)

    def test_candidates_are_graded_and_some_worse_than_the_behavior_policy(self, world, truth):
        behavior = world.value(world.behavior)
        assert len(truth) == 12
        assert min(truth.values()) < behavior < max(truth.values())

    def test_truth_lies_within_four_standard_errors(self, digits, world, truth):
        log, images, _ = world.draw(digits.ROWS, seed=0)
        policies = {
            name: cf.PolicyColumns(action_probs=p[images], q_values=world.q_values[images])
            for name, p in world.candidates.items()
        }
        judged = digits.beside_truth(cf.evaluate(log, policies), truth)
        assert judged["estimator"].n_unique() == 7
        weighing = judged.filter(pl.col("estimator").is_in(WEIGHING))
        assert weighing["errors"].abs().max() < 4
        values = judged.pivot("estimator", index="policy", values="value")
        for step, whole in (("pdis", "tis"), ("snpdis", "sntis")):
            np.testing.assert_allclose(values[step], values[whole], rtol=1e-12)

    def test_says_whether_the_prediction_held(self, digits, world, truth, told):
        log, images, _ = world.draw(digits.ROWS, seed=0)
        policies = {
            name: cf.PolicyColumns(action_probs=p[images], q_values=world.q_values[images])
            for name, p in world.candidates.items()
        }
        evaluation = cf.evaluate(log, policies, ["dr"], n_resamples=1000, seed=0)
        found = evaluation.portfolio(3).predictive_sharpe_ratio
        behavior = world.value(world.behavior)
        came = cf.sharpe_ratio_at_k(evaluation.values(), truth, behavior, 3)
        held = "within" if found.low <= came <= found.high else "outside"
        said = f"is {came:.1f}, {held} the {found.low:.1f} to {found.high:.1f} that were predicted"
        assert said in words(told[0])

    def test_says_which_shortlist_is_best_and_why(self, told):
        text = words(told[0])
        assert "The best shortlist of 3 on this log: tis, sntis, dr, sndr" in text
        assert "so the model agrees with itself" in text
