"""Which estimator to believe: SLOPE and cross-validation, against brute force and known truths."""

from __future__ import annotations

import counterfolio as cf
import mdp
import numpy as np
import polars as pl
import pytest
from counterfolio.slope import slope
from hypothesis import given
from hypothesis import strategies as st

CLIPS = (1000.0, 10.0, 3.0, 1.0, 0.3)
FAMILY = [cf.Estimator("tis", clip=c) for c in CLIPS]


def by_hand(values: list[float], widths: list[float]) -> int:
    """Algorithm 1, one interval at a time."""
    widths = [max(widths[i:]) for i in range(len(widths))]
    chosen = -1
    for i in range(len(values)):
        ends = [(values[j] - 2 * widths[j], values[j] + 2 * widths[j]) for j in range(i + 1)]
        if max(low for low, _ in ends) <= min(high for _, high in ends):
            chosen = i
        else:
            break
    return chosen


@given(
    st.lists(
        st.tuples(st.floats(-10, 10), st.floats(0, 5)),
        min_size=1,
        max_size=8,
    )
)
def test_slope_against_the_algorithm(pairs):
    values, widths = zip(*pairs, strict=True)
    assert slope(values, widths).index == by_hand(list(values), list(widths))


def test_slope_passes_over_what_is_undefined():
    nan = float("nan")
    assert slope([nan, 1.0, 1.1], [nan, 0.5, 0.1]).index == 2
    assert slope([1.0, nan, 9.0], [0.1, nan, 0.1]).index == 0
    assert slope([nan], [nan]).index == -1
    assert slope([1.0, 1.0], [0.0, 0.0]).index == 1


def bandit(seed: int, n: int, skew: float = 1.0) -> tuple[cf.LoggedData, dict, dict[str, float]]:
    """Decisions among three actions; one candidate goes far from what was logged."""
    rng = np.random.default_rng(seed)
    b = np.array([0.9, 0.09, 0.01])
    policies = {"far": np.array([0.1, 0.2, 0.7]), "near": np.array([0.85, 0.12, 0.03])}
    means = np.array([0.2, 0.5, 0.2 + skew])
    action = rng.choice(3, n, p=b)
    frame = pl.DataFrame(
        {
            "action": action,
            "reward": means[action] + 0.1 * rng.normal(size=n),
            "propensity": b[action],
            **{name: p[action] for name, p in policies.items()},
        }
    )
    truth = {name: float(p @ means) for name, p in policies.items()}
    return cf.LoggedData.from_frame(frame), {name: name for name in policies}, truth


def test_slope_keeps_the_weights_that_matter():
    """Where rare actions pay, clipping shows in the estimates; elsewhere it is welcome."""
    log, policies, truth = bandit(1, 20_000)
    found = cf.select_estimator(log, policies, FAMILY)
    assert found.by_policy["far"] == "tis[clip=1000]"
    value = dict(zip(*found.table.filter(chosen=True).select("policy", "value"), strict=True))
    assert abs(value["far"] - truth["far"]) < 0.1
    log, policies, truth = bandit(1, 200, skew=0.0)
    few = cf.select_estimator(log, policies, FAMILY)
    assert FAMILY.index(cf.estimators.parse(few.by_policy["far"])) > 0
    # One for all: the least biased of those chosen.
    places = [found.evaluation.estimators.index(e) for e in found.by_policy.values()]
    assert found.estimator == found.evaluation.estimators[min(places)]


def test_slope_is_near_the_best_of_the_family():
    """Its squared error, over many logs, is within the theorem's constant of the best one's."""
    errors = {e.label: [] for e in FAMILY} | {"chosen": []}
    for seed in range(60):
        log, _, truth = bandit(seed, 1000, skew=0.3)
        found = cf.select_estimator(log, {"far": "far"}, FAMILY)
        for label, value, chosen in found.table.select("estimator", "value", "chosen").rows():
            errors[label].append((value - truth["far"]) ** 2)
            if chosen:
                errors["chosen"].append(errors[label][-1])
    mean = {label: np.mean(e) for label, e in errors.items()}
    best = min(mean[e.label] for e in FAMILY)
    assert mean["chosen"] <= 6**2 * best
    assert mean["chosen"] < max(mean.values())


def test_the_order_of_a_family_does_not_matter_where_it_is_known():
    log, policies, _ = bandit(2, 3000)
    sorted_ones = cf.select_estimator(log, policies, FAMILY)
    shuffled = cf.select_estimator(log, policies, [FAMILY[i] for i in (3, 0, 4, 1, 2)])
    assert shuffled.table.equals(sorted_ones.table)
    labels = sorted_ones.evaluation.estimators
    assert labels == [f"tis[clip={c:g}]" for c in CLIPS]
    harmonic = [cf.Estimator("tis", harmonic=x) for x in (0.5, 0.1)]
    found = cf.select_estimator(log, policies, ["tis", *harmonic])
    assert found.evaluation.estimators == ["tis", "tis[harmonic=0.1]", "tis[harmonic=0.5]"]
    mixed = ["tis[clip=3]", "sntis"]
    assert cf.select_estimator(log, policies, mixed).evaluation.estimators == mixed


def test_n_step_of_marginal_estimators():
    """A wrong ratio shows: the more steps behind it, the less it does harm."""
    gamma = 0.9
    process = mdp.random_mdp(3, horizon=4)
    behavior, target = mdp.random_policy(3, process), mdp.random_policy(4, process)
    log = mdp.simulate(process, behavior, 20_000, seed=3)
    log = mdp.add_policy(log, process, "new", target, gamma)
    log = mdp.add_ratios(log, process, "new", target, behavior, gamma)
    logged = cf.LoggedData.from_frame(pl.DataFrame(log.columns), episode_id="episode_id")
    family = [cf.Estimator("sm_is", n_step=k) for k in range(5)]
    right = {"new": cf.PolicyColumns(prob="p_new", state_ratio="step_new")}
    found = cf.select_estimator(logged, right, family, gamma=gamma)
    assert found.evaluation.estimators[0] == "sm_is[n_step=4]"
    assert found.estimator == "sm_is"
    wrong = {"new": cf.PolicyColumns(prob="p_new", state_ratio=2 * log.columns["step_new"])}
    found = cf.select_estimator(logged, wrong, family, gamma=gamma)
    assert found.estimator in ("sm_is[n_step=4]", "sm_is[n_step=3]")


@pytest.mark.parametrize("clusters", [False, True])
def test_cross_validation(clusters):
    """It finds the clip that is near the truth, and leaves alone the one that is far from it."""
    log, policies, _ = bandit(5, 20_000)
    if clusters:
        frame = pl.DataFrame({n: log.column(n) for n in log._table.names})
        frame = frame.with_columns(user=np.arange(20_000) // 4)
        log = cf.LoggedData.from_frame(frame, cluster="user")
    found = cf.select_estimator(log, policies, FAMILY, method="cross_validation", seed=3)
    far = found.table.filter(policy="far")
    losses = dict(zip(*far.select("estimator", "loss"), strict=True))
    assert losses["tis[clip=0.3]"] > 10 * losses["tis[clip=1000]"]
    assert found.by_policy["far"] == min(losses, key=losses.get)
    # A loss is bias^2 + 2 (own variance + the validator's), where the parts have equal variances.
    row = far.row(0, named=True)
    assert losses["tis[clip=1000]"] == pytest.approx(4 * row["standard_error"] ** 2, rel=0.6)
    again = cf.select_estimator(log, policies, FAMILY, method="cross_validation", seed=3)
    assert again.table.equals(found.table)
    other = cf.select_estimator(log, policies, FAMILY, method="cross_validation", seed=4)
    assert not other.table.equals(found.table)


def test_the_validator():
    log, _, _ = bandit(6, 500)
    zero = np.zeros(500)
    policies = {"far": cf.PolicyColumns(prob="far", q=zero, v=zero)}
    options = {"method": "cross_validation", "n_splits": 4}
    assert (
        cf.select_estimator(log, policies, ["dr", "tis"], **options).settings["validator"] == "dr"
    )
    found = cf.select_estimator(log, {"far": "far"}, ["snips", "tis"], **options)
    assert found.settings["validator"] == "pdis"
    with pytest.raises(cf.InvalidArgumentError, match='validator "sntis" is biased'):
        cf.select_estimator(log, policies, ["dr", "tis"], validator="sntis", **options)
    with pytest.raises(cf.InvalidArgumentError, match='validator is for method="cross_validation"'):
        cf.select_estimator(log, policies, ["dr", "tis"], validator="tis")


def test_what_is_refused():
    log, policies, _ = bandit(7, 50)
    with pytest.raises(cf.InvalidArgumentError, match="one estimator, tis, leaves no choice"):
        cf.select_estimator(log, policies, ["tis"])
    with pytest.raises(cf.InvalidArgumentError, match="unknown method 'slop'"):
        cf.select_estimator(log, policies, FAMILY, method="slop")
    with pytest.raises(cf.InvalidArgumentError, match="n_splits must be a whole number of 2"):
        cf.select_estimator(log, policies, FAMILY, method="cross_validation", n_splits=1)


def test_how_it_is_shown():
    log, policies, _ = bandit(8, 300)
    for method, word in (("slope", "SLOPE over 5 estimators"), ("cross_validation", "32 splits")):
        found = cf.select_estimator(log, policies, FAMILY, method=method)
        assert word in repr(found)
        assert found.estimator in repr(found)
        assert word in found._repr_html_()
        assert max(map(len, repr(found).splitlines())) <= 100
