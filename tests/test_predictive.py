"""What SharpeRatio@k of a shortlist will turn out to be, predicted and then seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import counterfolio as cf
import numpy as np
import pytest
import selection_oracle
from counterfolio import _core
from test_ranking import evaluate, made

# The rule.


def predict(
    estimates: np.ndarray,
    replicates: np.ndarray,
    behavior: np.ndarray,
    shortlist: np.ndarray,
    seed: int = 0,
) -> dict:
    return _core.predict_sharpe_ratio(
        np.asarray(estimates, dtype=float),
        np.ascontiguousarray(replicates).ravel(),
        np.ascontiguousarray(behavior),
        [int(i) for i in shortlist],
        seed,
    )


def problem(policies: int, noise: float, draws: int = 4_000) -> tuple[np.ndarray, ...]:
    """Estimates, replicates with noise that is shared, unequal and biased, and the behavior's."""
    rng = np.random.default_rng([policies, round(10 * noise)])
    estimates = rng.normal(3, 1, policies) + noise * rng.normal(size=policies)
    shared = 0.5 * rng.normal(size=draws)
    own = noise * rng.uniform(0.5, 1.5, policies) * (rng.normal(size=(draws, policies)) + 0.1)
    behavior = 2.5 + shared + 0.2 * rng.normal(size=draws)
    return estimates, estimates + own + shared[:, None], behavior


def check(
    found: dict, problem: tuple[np.ndarray, ...], shortlist: np.ndarray, deviations: float = 4.5
) -> None:
    """Every figure, within what the draws of the spread leave to chance."""
    wanted = selection_oracle.Prediction(*problem)
    n = wanted.draws
    assert found["draws"] == n

    def near(value: float, exact: float, variance: float) -> bool:
        return abs(value - exact) <= deviations * math.sqrt(max(variance, 0) / n) + 1e-12

    if len(shortlist) > 1:
        ratios = wanted.ratios(shortlist)
        for p, value in zip((0.05, 0.5, 0.95), found["sharpe_ratio"], strict=True):
            # Where the quantile is 0, which is the ratio of many draws, p lies in its jump.
            below, up_to = wanted.expect(ratios < value), wanted.expect(ratios <= value)
            chance = deviations * math.sqrt(p * (1 - p) / n) + 1e-3
            assert below - chance <= p <= up_to + chance
    else:
        assert all(math.isnan(x) for x in found["sharpe_ratio"])
    gains = wanted.gains(shortlist)
    better = wanted.expect(gains > 0)
    assert near(found["p_better"], better, better * (1 - better))
    gained = np.maximum(gains, 0)
    gain = wanted.expect(gained)
    assert near(found["expected_gain"], gain, wanted.expect(gained**2) - gain**2)
    best = wanted.values.argmax(axis=2)
    for p, value in enumerate(found["p_best"]):
        share = wanted.expect(best == p)
        assert near(value, share, share * (1 - share))
    assert found["p_best"].sum() == pytest.approx(1, abs=1e-12)
    if wanted.signals is None:
        assert found["signal"] is None
    else:
        signal = wanted.expect(wanted.signals)
        variance = wanted.expect(wanted.signals**2) - signal**2
        assert near(found["signal"], signal, variance)


@pytest.mark.parametrize("noise", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("policies", [4, 5, 12])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_rule(policies, noise, k):
    given = problem(policies, noise)
    shortlist = selection_oracle.order(given[0])[:k]
    check(predict(*given, shortlist), given, shortlist)


@pytest.mark.parametrize("policies", [1, 2, 3])
def test_fewer_than_four_are_not_shrunk(policies):
    given = problem(policies, 1.0)
    for k in range(1, policies + 1):
        shortlist = selection_oracle.order(given[0])[:k]
        found = predict(*given, shortlist)
        check(found, given, shortlist, deviations=1e-9)
        if k > 1:
            own, behavior = given[1][:, shortlist], given[2]
            ratios = np.maximum(own.max(axis=1) - behavior, 0) / own.std(axis=1)
            wanted = np.quantile(ratios, [0.05, 0.5, 0.95]).tolist()
            assert found["sharpe_ratio"] == pytest.approx(wanted, rel=1e-9)


def test_the_shortlist_is_fixed():
    """Any k policies can be asked about, in any order; the draws are the same."""
    given = problem(8, 1.0)
    found = predict(*given, [5, 0, 3])
    check(found, given, np.array([5, 0, 3]))
    again = predict(*given, [0, 3, 5])
    assert again["sharpe_ratio"] == pytest.approx(found["sharpe_ratio"], rel=1e-12)
    assert (again["p_better"], again["signal"]) == (found["p_better"], found["signal"])
    other = predict(*given, [5, 0, 3], seed=1)
    assert other["sharpe_ratio"] != found["sharpe_ratio"]
    check(other, given, np.array([5, 0, 3]))


def test_undefined_replicates_are_left_out():
    estimates, replicates, behavior = problem(6, 1.0)
    replicates[::7, 2] = math.nan
    behavior[5] = math.nan
    given, shortlist = (estimates, replicates, behavior), selection_oracle.order(estimates)[:2]
    found = predict(*given, shortlist)
    assert found["draws"] == 4_000 - 572 - 1
    check(found, given, shortlist)
    assert predict(estimates, np.full_like(replicates, math.nan), behavior, [0])["draws"] == 0


def test_units_and_origins_do_not_matter():
    estimates, replicates, behavior = problem(7, 1.0, 500)
    found = predict(estimates, replicates, behavior, [0, 1, 2])
    for scale, shift in ((2.0**20, 0.0), (2.0**-20, 0.0), (1.0, 64.0)):
        given = (scale * x + shift for x in (estimates, replicates, behavior))
        moved = predict(*given, [0, 1, 2])
        assert moved["sharpe_ratio"] == pytest.approx(found["sharpe_ratio"], rel=1e-6)
        assert moved["signal"] == pytest.approx(found["signal"], rel=1e-6)
        gain = scale * found["expected_gain"]
        assert moved["expected_gain"] == pytest.approx(gain, rel=1e-6)


def test_without_noise_there_is_no_doubt():
    estimates = np.array([4.0, 3.0, 1.0, 0.0, 2.0])
    replicates, behavior = np.tile(estimates, (200, 1)), np.full(200, 1.5)
    found = predict(estimates, replicates, behavior, [0, 1])
    assert found["sharpe_ratio"] == pytest.approx([5.0] * 3, rel=1e-9)
    assert (found["p_better"], found["signal"]) == (1.0, pytest.approx(1.0))
    assert found["expected_gain"] == pytest.approx(2.5)
    assert found["p_best"].tolist() == [1, 0, 0, 0, 0]


# Of an evaluation.


@pytest.mark.parametrize("score", ["value", "lower"])
@pytest.mark.parametrize("policies", [3, 6])
def test_a_portfolio_is_about_its_shortlist(policies, score):
    evaluation = evaluate(policies, n_resamples=3_000)
    values = evaluation.rows("sntis")["value"].to_numpy()
    given = (values, evaluation.replicates[:, :, 0], evaluation.behavior_replicates)
    for k in range(1, policies + 1):
        portfolio = evaluation.portfolio(k, "sntis", score)
        found = portfolio.predictive_sharpe_ratio
        shortlist = [evaluation.policies.index(p) for p in portfolio.policies]
        everyone = predict(*given, shortlist, evaluation.settings["seed"])["p_best"]
        assert list(found.p_best) == portfolio.policies
        assert list(found.p_best.values()) == everyone[shortlist].tolist()
        fields = {
            "sharpe_ratio": (found.low, found.median, found.high),
            "p_better": found.p_better,
            "expected_gain": found.expected_gain,
            "p_best": everyone,
            "signal": found.signal,
            "draws": found.n_draws,
        }
        check(fields, given, np.array(shortlist))
        words = portfolio.reason
        assert ("fewer than four policies" in words) == (policies < 4)
        assert ("SharpeRatio@k turns out" in words) == (k > 1)


def test_a_policy_without_an_estimate_is_left_out():
    estimates, replicates, behavior = problem(6, 1.0, 800)
    estimates[2], replicates[:, 2] = math.nan, math.nan
    evaluation = made(estimates, replicates, behavior, 2.5)
    found = evaluation.portfolio(3).predictive_sharpe_ratio
    others = [0, 1, 3, 4, 5]
    given = (estimates[others], replicates[:, others], behavior)
    shortlist = selection_oracle.order(estimates[others])[:3]
    seed = evaluation.settings["seed"]
    assert found.median == predict(*given, shortlist, seed)["sharpe_ratio"][1]
    assert found.n_draws == 800


def test_a_choice_among_some_is_predicted_from_them():
    evaluation = evaluate(7, n_resamples=500)
    among = ["p1", "p2", "p4", "p5", "p6"]
    which = [evaluation.policies.index(p) for p in among]
    found = evaluation.portfolio(2, "tis", among=among).predictive_sharpe_ratio
    values = evaluation.rows("tis")["value"].to_numpy()[which]
    given = (values, evaluation.replicates[:, which, 1], evaluation.behavior_replicates)
    shortlist = selection_oracle.order(values)[:2]
    alone = predict(*given, shortlist, evaluation.settings["seed"])
    assert [found.low, found.median, found.high] == alone["sharpe_ratio"]


# Portfolios of known value.


@dataclass
class Portfolios:
    """Shortlists of k policies whose true values are drawn, each with one noisy look at them."""

    policies: int
    k: int
    noise: float
    count: int = 300
    behavior: float = -1.0

    def run(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([self.policies, self.k, round(10 * self.noise)])
        rows = [self.one(rng, seed) for seed in range(self.count)]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def one(self, rng: np.random.Generator, seed: int) -> dict[str, float]:
        draws = 300
        true = rng.normal(size=self.policies)
        # What all policies and the behavior policy share cancels in the ratio.
        shared = 2 * rng.normal()
        estimates = true + shared + self.noise * rng.normal(size=self.policies)
        shift = 2 * rng.normal(size=(draws, 1))
        replicates = estimates + shift + self.noise * rng.normal(size=(draws, self.policies))
        behavior = self.behavior + shared + shift[:, 0] + 0.1 * rng.normal(size=draws)
        shortlist = selection_oracle.order(estimates)[: self.k]
        low, median, high = predict(estimates, replicates, behavior, shortlist, seed)[
            "sharpe_ratio"
        ]
        best = -np.sort(-replicates, axis=1)[:, : self.k]
        again = np.maximum(best[:, 0] - behavior, 0) / best.std(axis=1)
        return {
            "truth": selection_oracle.sharpe_ratio(true[shortlist], self.behavior),
            "low": low,
            "rule": median,
            "high": high,
            "ranked again": float(np.median(again)),
        }


def share_above(portfolios: dict[str, np.ndarray], name: str) -> float:
    """How often a prediction is above what turns out: half of the time, if it is a median."""
    return float((portfolios[name] > portfolios["truth"]).mean())


@pytest.mark.parametrize(("policies", "k"), [(10, 2), (10, 3), (50, 2), (50, 5)])
def test_ranking_replicates_again_overstates_and_the_rule_does_not(policies, k):
    found = Portfolios(policies, k, noise=1.0).run()
    medians = {name: np.median(values) for name, values in found.items()}
    assert medians["ranked again"] > 1.25 * medians["truth"]
    assert share_above(found, "ranked again") > 0.65
    assert medians["rule"] == pytest.approx(medians["truth"], rel=0.25)
    assert share_above(found, "rule") == pytest.approx(0.5, abs=3 * 0.5 / math.sqrt(300) + 0.04)


@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
@pytest.mark.parametrize(
    ("policies", "k"), [(4, 2), (4, 3), (10, 2), (10, 3), (10, 5), (50, 2), (50, 3), (50, 5)]
)
def test_nine_in_ten_turn_out_within_its_ends(policies, k, noise):
    found = Portfolios(policies, k, noise).run()
    inside = (found["low"] <= found["truth"]) & (found["truth"] <= found["high"])
    chance = 3 * math.sqrt(0.9 * 0.1 / 300)
    assert inside.mean() == pytest.approx(0.9, abs=chance + 0.02)


def test_more_noise_leaves_less_signal():
    signals = []
    for noise in (0.1, 0.5, 1.0, 2.0, 10.0):
        estimates, replicates, behavior = problem(40, noise)
        signals.append(predict(estimates, replicates, behavior, [0, 1])["signal"])
    assert signals == sorted(signals, reverse=True)
    assert signals[0] > 0.95
    assert signals[-1] < 0.3


def test_the_words_say_what_the_numbers_say():
    evaluation = evaluate(5, n_resamples=400)
    portfolio = evaluation.portfolio(2, "tis")
    found = portfolio.predictive_sharpe_ratio
    assert found.low <= found.median <= found.high
    assert found.sentence() in portfolio.reason
    assert f"{round(100 * found.signal)} % of the spread" in found.sentence()
    single = evaluation.portfolio(1, "tis").predictive_sharpe_ratio
    assert all(math.isnan(x) for x in (single.low, single.median, single.high))
    assert 0 < single.p_better < 1


# What replicates take as given.


def with_model(estimator: str, **options: object) -> cf.Evaluation:
    """Four policies with given q and v, by one estimator."""
    rng = np.random.default_rng(4)
    action = rng.integers(0, 2, 200)
    reward = rng.normal(size=200) + action
    log = cf.LoggedData.from_frame(
        {"action": action, "reward": reward, "propensity": np.full(200, 0.5)}
    )
    policies = {
        f"p{i}": cf.PolicyColumns(prob=rng.uniform(0.3, 0.7, 200), q=action, v=rng.random(200) + i)
        for i in range(4)
    }
    return cf.evaluate(log, policies, [estimator], seed=1, **options)


GIVEN = "Q is taken as given: neither standard errors nor replicates fit it again"


@pytest.mark.parametrize("n_resamples", [None, 200])
@pytest.mark.parametrize(
    ("estimator", "said"),
    [
        ("dm", f"{GIVEN}, and no figure here has its error in it."),
        ("dr", f"{GIVEN}; what was logged corrects its error."),
        ("sndr", f"{GIVEN}; what was logged corrects its error."),
        ("sntis", None),
    ],
)
def test_a_q_that_is_not_fitted_again_is_told(estimator, said, n_resamples, tmp_path):
    evaluation = with_model(estimator, n_resamples=n_resamples)
    portfolio = evaluation.portfolio(2)
    texts = [portfolio.reason, " ".join(repr(portfolio).split()), portfolio._repr_html_()]
    if n_resamples:
        predicted = portfolio.predictive_sharpe_ratio
        assert predicted.taken_as_given == said
        texts += [predicted.sentence(), " ".join(repr(predicted).split())]
    evaluation.to_html(tmp_path / "report.html")
    texts.append((tmp_path / "report.html").read_text("utf-8"))
    for text in texts:
        assert (GIVEN in text) == (said is not None), text
        assert said is None or text.count(said) == 1, text
