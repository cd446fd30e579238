"""`LinearRatio`: the equations of Liu and Uehara, exact occupancies, one ratio by six names."""

from __future__ import annotations

import counterfolio as cf
import models_oracle as oracle
import numpy as np
import pytest
from counterfolio.models import LinearQ, LinearRatio
from counterfolio.models.folds import deal
from counterfolio.models.ratios import _implausible
from counterfolio.models.transitions import Transitions
from counterfolio.policies import Gaussian
from mdp import dyadic_mdp, random_policy
from model_logs import (
    BEHAVIOR,
    EXACT_TARGET,
    MDP,
    TARGET,
    exact_log,
    features,
    rows_of,
    sampled,
    take,
)

GAMMAS = (1.0, 0.9)
BOTH = ("state", "state_action")
METHODS = ("mwl", *oracle.DICE)


def of_states(policy, columns):
    return {"pi": policy[columns["state"]]}


def feature_rows(gamma):
    """A log with numbers to its states, and what the oracle needs of it."""
    columns, x, probs, lengths = features()
    log = take(columns, state=["x", "y"], terminated="terminated")
    made = oracle.linear(x)
    logged = np.eye(3)[columns["action"]]
    phi, phibar = oracle.crossed(made, logged), oracle.crossed(made, probs)
    rows = rows_of(phi, phibar, columns, lengths, gamma)
    rho = probs[np.arange(len(probs)), columns["action"]] / columns["propensity"]
    return log, {"pi": probs}, rows, made, rho


@pytest.mark.parametrize("gamma", GAMMAS)
def test_features_solve_the_equations(gamma):
    log, policies, rows, made, rho = feature_rows(gamma)
    fit = LinearRatio("linear", ridge=1e-4).fit(log, policies, gamma=gamma, of=BOTH)
    both = rows.phi @ oracle.mwl(rows, 1e-4)
    states = made @ oracle.state_mwl(made, rho, rows, 1e-4)
    # Linear solutions turn negative at times, and are cut off at 0.
    assert (both < 0).any()
    np.testing.assert_allclose(fit.state_action[0], np.maximum(both, 0), atol=1e-8)
    np.testing.assert_allclose(fit.state[0], np.maximum(states, 0), atol=1e-8)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("step", [False, True])
def test_a_table_solves_the_equations(step, gamma):
    log, columns, lengths = sampled(400)
    fit = LinearRatio("one_hot", ridge=1e-3, step=step, unseen="zero").fit(
        log, of_states(TARGET, columns), gamma=gamma, of=BOTH
    )
    state, at = columns["state"], columns["timestep"]
    labels = list(zip(at * step, state, strict=True))
    probs = TARGET[state]
    phi, phibar = oracle.one_hot_cells(labels, columns["action"], probs)
    rows = rows_of(phi, phibar, columns, lengths, gamma)
    wanted = phi @ oracle.mwl(rows, 1e-3)
    np.testing.assert_allclose(fit.state_action[0], wanted, atol=1e-8)
    one = np.zeros(len(state), dtype=int)
    x, _ = oracle.one_hot_cells(labels, one, probs)
    rho = probs[np.arange(len(state)), columns["action"]] / columns["propensity"]
    wanted = x @ oracle.state_mwl(x, rho, rows, 1e-3)
    np.testing.assert_allclose(fit.state[0], wanted, atol=1e-8)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_with_exact_expectations_occupancies_are_exact(gamma):
    log, columns, _ = exact_log()
    mdp, behavior = dyadic_mdp()
    fit = LinearRatio("one_hot", ridge=1e-12).fit(
        log, of_states(EXACT_TARGET, columns), gamma=gamma, of=BOTH
    )
    ours, logged = (oracle.occupancies(mdp, p, gamma) for p in (EXACT_TARGET, behavior))
    step, state, action = (columns[k] for k in ("timestep", "state", "action"))
    np.testing.assert_allclose(fit.state_action[0], (ours / logged)[step, state, action], atol=1e-6)
    wanted = ours.sum(axis=2) / logged.sum(axis=2)
    np.testing.assert_allclose(fit.state[0], wanted[step, state], atol=1e-6)
    value = mdp.value(EXACT_TARGET, gamma)
    assert fit.table["value"].to_list() == pytest.approx([value, value], abs=1e-6)
    assert fit.table["mass"].to_list() == pytest.approx([ours.sum()] * 2, abs=1e-6)
    assert fit.table["logged_mass"].to_list() == pytest.approx([logged.sum()] * 2, abs=1e-9)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_a_reward_of_one_is_the_length_of_the_candidates_own_episodes(gamma):
    log, columns, lengths = exact_log()
    log = take({**columns, "reward": np.ones(len(columns["state"]))}, truncated="truncated")
    mdp, behavior = dyadic_mdp()
    # Both actions that seldom end the episode.
    lasting = np.array([[0.95, 0.05], [0.95, 0.05]])
    ours, logged = (oracle.occupancies(mdp, p, gamma).sum() for p in (lasting, behavior))
    assert ours > 1.25 * logged
    fit = LinearRatio("one_hot", ridge=1e-12).fit(
        log, of_states(lasting, columns), gamma=gamma, of=BOTH
    )
    for row in fit.table.iter_rows(named=True):
        assert row["value"] == pytest.approx(ours, abs=1e-6)
        assert row["mass"] == pytest.approx(ours, abs=1e-6)
        assert row["logged_mass"] == pytest.approx(logged, abs=1e-9)
    discount = gamma ** columns["timestep"]
    mean = (discount * fit.state_action[0]).sum() / discount.sum()
    assert mean == pytest.approx(ours / logged, abs=1e-6)
    assert len(lengths) == 2**13


@pytest.mark.parametrize("gamma", GAMMAS)
def test_on_a_sample_ratios_are_exact_but_for_sampling(gamma):
    log, columns, lengths = sampled(20_000, seed=4)
    fit = LinearRatio("one_hot").fit(log, of_states(TARGET, columns), gamma=gamma, of=BOTH)
    ours, logged = (oracle.occupancies(MDP, p, gamma) for p in (TARGET, BEHAVIOR))
    step, state, action = (columns[k] for k in ("timestep", "state", "action"))
    exact = (ours / logged)[step, state, action]
    assert np.sqrt(np.mean((fit.state_action[0] - exact) ** 2)) < 0.05 * exact.mean()
    exact = (ours.sum(axis=2) / logged.sum(axis=2))[step, state]
    assert np.sqrt(np.mean((fit.state[0] - exact) ** 2)) < 0.05 * exact.mean()
    # The state's ratio weighs each action with pi / b, which varies.
    rho = (TARGET / BEHAVIOR)[state, action]
    terms = gamma**step * fit.state[0] * rho * columns["reward"]
    error = np.bincount(np.repeat(np.arange(20_000), lengths), terms).std() / np.sqrt(20_000)
    truth = MDP.value(TARGET, gamma)
    assert fit.table["value"][0] == pytest.approx(truth, abs=4 * error)
    assert fit.table["value"][1] == pytest.approx(truth, abs=0.05)
    assert fit.table["mass"].to_list() == pytest.approx([ours.sum()] * 2, rel=0.02)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("method", METHODS)
def test_every_name_is_the_same_ratio(method, gamma):
    log, policies, rows, _, _ = feature_rows(gamma)
    fit = LinearRatio("linear", ridge=0.0, method=method).fit(log, policies, gamma=gamma)
    plain = LinearRatio("linear", ridge=0.0).fit(log, policies, gamma=gamma)
    assert fit.state_action.tobytes() == plain.state_action.tobytes()
    assert fit.settings["method"] == method
    assert f"by {method}" in " ".join(repr(fit).split())
    if method != "mwl":
        zeta = oracle.dice(rows, method)
        np.testing.assert_allclose(fit.state_action[0], np.maximum(zeta, 0), atol=1e-8)


def test_the_other_regularisation_is_another_ratio():
    # alpha_nu > 0 and alpha_R = 1: that the DICE above agree is no tautology.
    _, _, rows, _, _ = feature_rows(0.9)
    same = oracle.dice(rows, "algae_dice")
    oracle.DICE["other"] = (0.0, 1.0, 1.0)
    try:
        other = oracle.dice(rows, "other")
    finally:
        del oracle.DICE["other"]
    assert abs(other - same).max() > 0.01


def test_the_ratio_weighs_rewards_as_q_does():
    # With gamma = 1 both solve one matrix: c^T M^-1 sum phi r, read from either side.
    log, policies, rows, _, _ = feature_rows(1.0)
    value = LinearQ("linear", ridge=1e-4).fit(log, policies).table["value"][0]
    raw = rows.phi @ oracle.mwl(rows, 1e-4)
    assert value == pytest.approx((raw * rows.reward).sum() / len(rows.lengths), abs=1e-10)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_the_table_by_hand(gamma):
    log, policies, rows, made, rho = feature_rows(gamma)
    fit = LinearRatio("linear", ridge=1e-4).fit(log, policies, gamma=gamma, of=BOTH)
    assert fit.table["ratio"].to_list() == list(BOTH)
    n, discount = len(rows.lengths), gamma**rows.step
    raws = {
        "state": (made @ oracle.state_mwl(made, rho, rows, 1e-4), rho),
        "state_action": (rows.phi @ oracle.mwl(rows, 1e-4), np.ones(len(rho))),
    }
    for row in fit.table.iter_rows(named=True):
        raw, factor = raws[row["ratio"]]
        weight = discount * np.maximum(raw, 0)
        wanted = {
            "value": (weight * factor * rows.reward).sum() / n,
            "mass": weight.sum() / n,
            "logged_mass": discount.sum() / n,
            "effective_rows": weight.sum() ** 2 / (weight**2).sum(),
            "max_share": weight.max() / weight.sum(),
            "clipped": np.mean(raw < 0),
            "clipped_mass": (discount * np.maximum(-raw, 0)).sum() / weight.sum(),
        }
        assert {k: row[k] for k in wanted} == pytest.approx(wanted, rel=1e-8, abs=1e-12)
    assert fit.table["clipped"][1] > 0


@pytest.mark.parametrize("gamma", GAMMAS)
def test_the_behavior_policy_has_a_ratio_of_one(gamma):
    log, columns, _ = exact_log()
    _, behavior = dyadic_mdp()
    model = LinearRatio("one_hot", ridge=1e-12)
    fit = model.fit(log, of_states(behavior, columns), gamma=gamma, of=BOTH)
    np.testing.assert_allclose(fit.state, 1, atol=1e-8)
    np.testing.assert_allclose(fit.state_action, 1, atol=1e-8)
    assert fit.table["effective_rows"].to_list() == pytest.approx(
        [(gamma ** columns["timestep"]).sum() ** 2 / (gamma ** (2 * columns["timestep"])).sum()] * 2
    )
    assert fit.table["clipped_mass"].to_list() == [0.0, 0.0]
    assert not np.signbit(fit.table["clipped_mass"].to_numpy()).any()
    # With rho = 1 the equations of states say so of any sample.
    log, columns, _ = sampled(300)
    fit = LinearRatio("one_hot", ridge=1e-12).fit(
        log, of_states(BEHAVIOR, columns), gamma=gamma, of="state"
    )
    np.testing.assert_allclose(fit.state, 1, atol=1e-8)
    assert fit.state_action is None


def test_continuing_leaves_out_what_was_cut_off():
    log, columns, lengths = exact_log()
    mdp, _ = dyadic_mdp()
    gamma = 0.9
    fit = LinearRatio("one_hot", ridge=1e-12, horizon="continue").fit(
        log, of_states(EXACT_TARGET, columns), gamma=gamma, of=BOTH
    )
    q, occupancy = oracle.endless(mdp, EXACT_TARGET, gamma)
    cut = columns["truncated"]
    weight = np.where(cut, 0.0, gamma ** columns["timestep"]) / len(lengths)
    logged = np.zeros((2, 2))
    np.add.at(logged, (columns["state"], columns["action"]), weight)
    wanted = (occupancy / logged)[columns["state"], columns["action"]]
    np.testing.assert_allclose(fit.state_action[0], np.where(cut, 0, wanted), atol=1e-6)
    wanted = (occupancy.sum(axis=1) / logged.sum(axis=1))[columns["state"]]
    assert cut.any()
    value = mdp.start @ (EXACT_TARGET * q).sum(axis=1)
    assert fit.table["value"][1] == pytest.approx(value, abs=1e-6)
    assert fit.table["mass"][1] == pytest.approx(occupancy.sum(), abs=1e-6)
    # Of states: rows that are left out by their own chance leave pi / b unbiased.
    assert (fit.state[0][cut] == 0).all()
    np.testing.assert_allclose(fit.state[0][~cut], wanted[~cut], atol=1e-6)


@pytest.mark.parametrize("kind", ["one_hot", "linear"])
def test_no_fold_sees_its_own_rows(kind):
    log, columns, lengths = sampled(200)
    how = {"gamma": 0.9, "cross_fit": 4, "seed": 3, "of": BOTH}
    policies = of_states(TARGET, columns)
    fold = np.repeat(deal(log, 4, 3, 0), lengths)
    before = LinearRatio(kind, ridge=1e-3).fit(log, policies, **how)
    # Other actions in one fold; its own actions' ratios of the same actions stay.
    flipped = np.where(fold == 0, 1 - columns["action"], columns["action"])
    other = take({**columns, "action": flipped}, truncated="truncated")
    after = LinearRatio(kind, ridge=1e-3).fit(other, policies, **how)
    if kind == "one_hot":
        np.testing.assert_array_equal(before.state[0][fold == 0], after.state[0][fold == 0])
    assert (before.state_action[0] != after.state_action[0])[fold != 0].mean() > 0.5


@pytest.mark.parametrize("kind", ["one_hot", "linear", "polynomial"])
def test_the_same_bits_for_any_number_of_threads(kind):
    log, columns, _ = sampled(3000)
    policies = of_states(TARGET, columns) | {"b": BEHAVIOR[columns["state"]]}
    fits = [
        LinearRatio(kind, ridge=1e-3).fit(
            log, policies, gamma=0.9, cross_fit=3, n_repeats=2, num_threads=n, of=BOTH
        )
        for n in (1, 2, 8)
    ]
    for fit in fits[1:]:
        assert fit.state.tobytes() == fits[0].state.tobytes()
        assert fit.state_action.tobytes() == fits[0].state_action.tobytes()


def test_a_gaussian_bandit():
    # r = 2 - a^2 in a state that matters to the logger only: E r = 2 - mean^2 - std^2.
    rng = np.random.default_rng(0)
    x = rng.normal(size=8000)
    a = 0.3 * x + rng.normal(size=8000)
    density = np.exp(-((a - 0.3 * x) ** 2) / 2) / np.sqrt(2 * np.pi)
    columns = {"x": x, "action": a, "reward": 2 - a**2, "propensity": density}
    log = cf.LoggedData.from_frame(columns, state="x", action_type="continuous")
    policy = Gaussian(lambda states: 0.2 + 0.3 * states[:, 0], 0.9)
    fit = LinearRatio().fit(log, {"pi": policy}, of=BOTH)
    truth = 2 - (0.2**2 + 0.3**2) - 0.9**2
    assert fit.settings["features"] == "polynomial"
    assert fit.table["value"].to_list() == pytest.approx([truth] * 2, abs=0.12)
    assert fit.table["mass"].to_list() == pytest.approx([1, 1], abs=0.05)
    # One decision to an episode, and the states are as they come.
    np.testing.assert_allclose(fit.state, 1, atol=1e-6)


def test_what_is_refused():
    log, columns, _ = sampled(50)
    policies = of_states(TARGET, columns)
    bare = take(columns, truncated="truncated", propensity=None)
    with pytest.raises(cf.InvalidLogError, match="the ratio of states needs propensities"):
        LinearRatio().fit(bare, policies, of="state")
    assert LinearRatio().fit(bare, policies).state is None
    with pytest.raises(cf.InvalidLogError, match="names no state column"):
        LinearRatio().fit(take(columns, state=None), policies)
    for model, given, text in (
        (LinearRatio(method="dualdice"), {}, 'did you mean "dual_dice"'),
        (LinearRatio(), {"of": "stat"}, "unknown ratio 'stat'"),
        (LinearRatio(), {"of": ()}, "of names no ratio"),
        (LinearRatio(horizon="continue"), {}, 'horizon="continue" needs gamma below 1'),
        (LinearRatio(ridge=-1.0), {}, "ridge must be a number of 0 or more"),
        (LinearRatio("onehot"), {}, 'did you mean "one_hot"'),
        (LinearRatio(unseen="no"), {}, "unknown unseen"),
        (LinearRatio(), {"cross_fit": 1}, "cross_fit must be None or a whole number"),
    ):
        with pytest.raises(cf.InvalidArgumentError, match=text):
            model.fit(log, policies, **given)
    with pytest.raises(cf.InvalidArgumentError, match="fit takes a LoggedData, not a dict"):
        LinearRatio().fit(columns, policies)
    with pytest.raises(cf.InvalidPolicyError, match="a model has to know what it does"):
        LinearRatio().fit(log, {"pi": "propensity"})


def test_a_policy_that_never_takes_an_action_has_no_mass_there():
    log, columns, _ = sampled(500)
    never = random_policy(6, MDP, zeros=True)
    fit = LinearRatio("one_hot").fit(log, of_states(never, columns), gamma=0.9)
    zero = never[columns["state"], columns["action"]] == 0
    assert zero.any()
    assert (fit.state_action[0][zero] == 0).all()
    assert "<table" in fit._repr_html_()


# What cannot be right.


def chain(n=200, states=40, actions=6, steps=10, seed=0):
    """Columns of a log of a few rows to a state and action, its end marked, and two policies."""
    rng = np.random.default_rng(seed)
    move = rng.dirichlet(np.full(states, 0.2), size=(states, actions))
    behavior, target = rng.dirichlet(np.full(actions, 0.5), size=(2, states))
    rows = []
    for episode in range(n):
        state, length = rng.integers(states), rng.integers(steps // 2, steps + 1)
        for step in range(length):
            action = rng.choice(actions, p=behavior[state])
            rows.append((episode, state, action, rng.normal(), step == length - 1))
            state = rng.choice(states, p=move[state, action])
    names = ("episode_id", "state", "action", "reward", "terminated")
    columns = dict(zip(names, map(np.array, zip(*rows, strict=True)), strict=True))
    columns["propensity"] = behavior[columns["state"], columns["action"]]
    return columns, target


@pytest.mark.parametrize("gamma", GAMMAS)
def test_masses_that_cannot_be_are_told(gamma):
    """Of states, by propensities of a table whose folds lack what the log has."""
    columns, target = chain()
    bare = take(columns, terminated="terminated", propensity=None)
    table = cf.models.PropensityModel(features="one_hot")
    log = bare.with_propensity(table.fit(bare, cross_fit=5))
    policies = of_states(target, columns)
    fit = LinearRatio("one_hot", step=True).fit(log, policies, gamma=gamma, of=BOTH, cross_fit=5)
    longest = sum(gamma**t for t in range(10))
    mass = dict(fit.table.select("ratio", "mass").rows())
    assert mass["state"] > 1.25 * longest
    (note,) = (note for note in fit.notes if "cannot be right" in note)
    assert note == (
        'ratios of state that cannot be right: 1 of 1 policy, "pi" with a length of '
        f"{mass['state']:.3g}, where episodes have 1 to {longest:.3g}; take propensities without "
        "folds, other features, or estimators without these ratios"
    )
    assert "cannot be right" in " ".join(repr(fit).split())
    sound = take(columns, terminated="terminated")
    fit = LinearRatio("one_hot", step=False).fit(sound, policies, gamma=gamma, of=BOTH)
    assert (fit.table["mass"] < 1.25 * longest).all()
    assert not any("cannot be right" in note for note in fit.notes)


@pytest.mark.parametrize(("mass", "told"), [(0.79, True), (0.81, False), (5, False), (5.2, True)])
def test_an_episode_has_a_first_step_and_an_end(mass, told):
    """Four steps at most, and a quarter of leeway at either end."""
    log, _, _ = sampled(50)
    t = Transitions.of(log, 1.0)
    row = {"policy": "pi", "ratio": "state_action", "mass": mass}
    notes = _implausible(t, [row, row | {"policy": "other", "mass": 2.0}])
    assert len(notes) == told
    if told:
        assert notes[0].startswith(
            "ratios of state and action that cannot be right: 1 of 2 policies, "
            f'"pi" with a length of {mass:g}, where episodes have 1 to 4; take other features'
        )


def test_without_an_end_an_episode_may_be_as_long_as_the_discount_lets_it():
    log, _, _ = sampled(50)
    t = Transitions.of(log, 0.9, "continue")
    row = {"policy": "pi", "ratio": "state_action", "mass": 12.4}
    assert _implausible(t, [row]) == []
    assert "episodes have 1 to 10;" in _implausible(t, [row | {"mass": 12.6}])[0]
