"""`LinearQ`: the paper's equations, the exact Q of solved processes, and honest standard errors."""

from __future__ import annotations

import counterfolio as cf
import models_oracle as oracle
import numpy as np
import polars as pl
import pytest
from counterfolio.models import LinearQ
from counterfolio.models.folds import deal
from mdp import dyadic_mdp, random_mdp, random_policy, simulate
from model_logs import (
    BEHAVIOR,
    EXACT_TARGET,
    MDP,
    TARGET,
    ended,
    exact_log,
    features,
    rows_of,
    sampled,
    take,
)

GAMMAS = (1.0, 0.9)


def of_states(policy, columns):
    return {"pi": policy[columns["state"]]}


def labels_of(columns, *, step):
    if not step:
        return columns["state"].tolist()
    return list(zip(columns["timestep"].tolist(), columns["state"].tolist(), strict=True))


def cells(columns, lengths, gamma, *, step, probs=None, left_out=None):
    probs = TARGET[columns["state"]] if probs is None else probs
    phi, phibar = oracle.one_hot_cells(labels_of(columns, step=step), columns["action"], probs)
    return rows_of(phi, phibar, columns, lengths, gamma, left_out)


ENDS = {
    "terminated": ({"truncated": None, "terminated": "terminated"}, None, True),
    "truncated": ({}, None, True),
    "both": ({"terminated": "terminated"}, None, True),
    "no marks": ({"truncated": None}, None, True),
    "step=False": ({}, False, False),
    "step=True": ({}, True, True),
}


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("ends", ENDS)
def test_a_table_solves_the_normal_equations(ends, gamma):
    roles, step, joins = ENDS[ends]
    log, columns, lengths = sampled(300, **roles)
    fit = LinearQ("one_hot", ridge=1e-3, step=step, unseen="zero").fit(
        log, of_states(TARGET, columns), gamma=gamma
    )
    rows = cells(columns, lengths, gamma, step=joins)
    q, v = oracle.q_and_v(rows, 1e-3)
    np.testing.assert_allclose(fit.q[0], q, atol=1e-8)
    np.testing.assert_allclose(fit.v[0], v, atol=1e-8)
    error = fit.table["standard_error"][0]
    assert error == pytest.approx(oracle.value_error(rows, 1e-3), rel=1e-8)
    assert fit.settings["step_joins"] is joins
    assert any("no column says how" in note for note in fit.notes) == (ends == "no marks")
    assert any("projection" in note for note in fit.notes) == (ends == "step=False")


def test_episodes_that_all_end_by_themselves_need_no_step():
    columns, _, probs, _ = features()
    log = take(columns, state=["x", "y"], terminated="terminated")
    fit = LinearQ("linear").fit(log, {"pi": probs})
    assert not fit.settings["step_joins"]
    assert fit.notes == []


def test_a_table_that_continues_leaves_out_what_was_cut_off():
    log, columns, lengths = sampled(300)
    fit = LinearQ("one_hot", ridge=1e-3, horizon="continue", unseen="zero").fit(
        log, of_states(TARGET, columns), gamma=0.9
    )
    rows = cells(columns, lengths, 0.9, step=False, left_out=columns["truncated"])
    q, v = oracle.q_and_v(rows, 1e-3)
    kept = ~columns["truncated"]
    np.testing.assert_allclose(fit.q[0][kept], q[kept], atol=1e-8)
    np.testing.assert_allclose(fit.v[0], v, atol=1e-8)
    assert not fit.settings["step_joins"]


def own_map(x):
    return np.column_stack([np.sin(x), x[:, :1] * x[:, 1:]])


SETS = {
    "linear": ("linear", oracle.linear),
    "polynomial": ("polynomial", oracle.polynomial),
    "own": (own_map, lambda x: np.column_stack([np.ones(len(x)), own_map(x)])),
}


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize("name", SETS)
def test_features_solve_the_normal_equations(name, step, gamma):
    columns, x, probs, lengths = features()
    log = take(columns, state=["x", "y"], terminated="terminated")
    given, again = SETS[name]
    policies = {"other": np.full_like(probs, 1 / 3), "pi": probs}
    fit = LinearQ(given, ridge=1e-4, step=step).fit(log, policies, gamma=gamma)
    made = again(x)
    if step:
        made = oracle.with_steps(made, np.concatenate([np.arange(n) for n in lengths]))
    logged = np.eye(3)[columns["action"]]
    phi, phibar = oracle.crossed(made, logged), oracle.crossed(made, probs)
    rows = rows_of(phi, phibar, columns, lengths, gamma)
    q, v = oracle.q_and_v(rows, 1e-4)
    np.testing.assert_allclose(fit.q[1], q, atol=1e-8)
    np.testing.assert_allclose(fit.v[1], v, atol=1e-8)
    np.testing.assert_allclose(
        fit.covariance("pi"), oracle.sandwich(rows, 1e-4), rtol=1e-6, atol=1e-10
    )
    error = fit.table["standard_error"][1]
    assert error == pytest.approx(oracle.value_error(rows, 1e-4), rel=1e-8)
    values = fit.values("pi")
    np.testing.assert_allclose((values * probs).sum(axis=1), v, atol=1e-8)
    np.testing.assert_array_equal(fit.values("pi", slice(10, 20)), values[10:20])


def test_long_episodes_know_the_share_of_the_steps():
    rng = np.random.default_rng(3)
    lengths = np.array([60, 55, 70, 64])
    n = lengths.sum()
    columns = {
        "episode_id": np.repeat(np.arange(4), lengths),
        "state": rng.normal(size=n),
        "action": rng.integers(0, 2, n),
        "reward": rng.normal(size=n),
        "propensity": np.full(n, 0.5),
    }
    log = take(columns)
    probs = rng.dirichlet([1, 1], n)
    fit = LinearQ("linear", ridge=1e-3).fit(log, {"pi": probs}, gamma=0.8)
    step = np.concatenate([np.arange(length) for length in lengths])
    made = oracle.with_steps(oracle.linear(columns["state"]), step)
    phi = oracle.crossed(made, np.eye(2)[columns["action"]])
    rows = rows_of(phi, oracle.crossed(made, probs), columns, lengths, 0.8)
    np.testing.assert_allclose(fit.q[0], oracle.q_and_v(rows, 1e-3)[0], atol=1e-8)


def test_a_cluster_counts_once():
    log, columns, lengths = sampled(300)
    cluster = np.repeat(np.arange(300) // 3, lengths)
    log = take({**columns, "cluster": cluster}, truncated="truncated", cluster="cluster")
    fit = LinearQ("one_hot", ridge=1e-3, unseen="zero").fit(log, of_states(TARGET, columns))
    rows = cells(columns, lengths, 1.0, step=True)
    wanted = oracle.value_error(rows, 1e-3, np.arange(300) // 3)
    assert fit.table["standard_error"][0] == pytest.approx(wanted, rel=1e-8)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_with_exact_expectations_a_table_is_exact(gamma):
    log, columns, _ = exact_log()
    mdp, _ = dyadic_mdp()
    fit = LinearQ("one_hot", ridge=1e-12).fit(log, of_states(EXACT_TARGET, columns), gamma=gamma)
    tables = mdp.q_tables(EXACT_TARGET, gamma)
    step, state, action = (columns[k] for k in ("timestep", "state", "action"))
    np.testing.assert_allclose(fit.q[0], tables[step, state, action], atol=1e-6)
    values = (EXACT_TARGET * tables).sum(axis=2)
    np.testing.assert_allclose(fit.v[0], values[step, state], atol=1e-6)
    np.testing.assert_allclose(fit.values("pi"), tables[step, state], atol=1e-6)
    assert fit.table["value"][0] == pytest.approx(mdp.value(EXACT_TARGET, gamma), abs=1e-6)


def test_with_exact_expectations_continuing_is_exact():
    log, columns, _ = exact_log()
    mdp, _ = dyadic_mdp()
    model = LinearQ("one_hot", ridge=1e-12, horizon="continue")
    fit = model.fit(log, of_states(EXACT_TARGET, columns), gamma=0.9)
    q, _ = oracle.endless(mdp, EXACT_TARGET, 0.9)
    np.testing.assert_allclose(fit.values("pi"), q[columns["state"]], atol=1e-6)


def test_the_policy_is_taken_as_it_is_and_not_its_greedy_shadow():
    # The greedy action has all but the whole value; a policy of 60 to 40 is far from it.
    log, columns, _ = exact_log()
    mdp, _ = dyadic_mdp()
    greedy = np.eye(2)[EXACT_TARGET.argmax(axis=1)]
    policies = {"pi": EXACT_TARGET[columns["state"]], "shadow": greedy[columns["state"]]}
    fit = LinearQ("one_hot", ridge=1e-12).fit(log, policies)
    for i, policy in enumerate((EXACT_TARGET, greedy)):
        first = mdp.q_tables(policy, 1.0)[0, columns["state"], columns["action"]]
        at_first = columns["timestep"] == 0
        np.testing.assert_allclose(fit.q[i][at_first], first[at_first], atol=1e-6)
    assert abs(fit.q[0] - fit.q[1]).max() > 0.1


@pytest.mark.parametrize("gamma", GAMMAS)
def test_on_a_sample_q_is_exact_but_for_sampling(gamma):
    log, columns, _ = sampled(20_000, seed=4)
    fit = LinearQ("one_hot").fit(log, of_states(TARGET, columns), gamma=gamma)
    step, state, action = (columns[k] for k in ("timestep", "state", "action"))
    off = fit.q[0] - MDP.q_tables(TARGET, gamma)[step, state, action]
    assert np.sqrt(np.mean(off**2)) < 0.03
    assert abs(off).max() < 0.25
    truth = MDP.value(TARGET, gamma)
    assert abs(fit.table["value"][0] - truth) < 4 * fit.table["standard_error"][0]


def test_the_behavior_policy_earns_what_was_logged():
    log, columns, lengths = sampled(2000, seed=2)
    # In the table's own eyes: how often each action was taken in each state at each step.
    table = np.zeros((MDP.horizon, 3, 2))
    np.add.at(table, (columns["timestep"], columns["state"], columns["action"]), 1.0)
    table /= table.sum(axis=2, keepdims=True)
    own = table[columns["timestep"], columns["state"]]
    fit = LinearQ("one_hot", ridge=1e-12).fit(log, {"b": own}, gamma=0.9)
    returns = np.bincount(
        np.repeat(np.arange(2000), lengths), 0.9 ** columns["timestep"] * columns["reward"]
    )
    assert fit.table["value"][0] == pytest.approx(returns.mean(), abs=1e-9)
    # Which action was drawn is no error of the direct method, which averages over actions.
    assert fit.table["standard_error"][0] < returns.std(ddof=1) / np.sqrt(2000)


@pytest.mark.parametrize("kind", ["one_hot", "linear"])
def test_no_fold_sees_its_own_rewards(kind):
    log, columns, lengths = sampled(200)
    policies = of_states(TARGET, columns)
    how = {"gamma": 0.9, "cross_fit": 4, "seed": 3}
    fold = np.repeat(deal(log, 4, 3, 0), lengths)
    before = LinearQ(kind).fit(log, policies, **how)
    for own in range(4):
        reward = columns["reward"] + np.where(fold == own, 100.0, 0.0)
        other = take({**columns, "reward": reward}, truncated="truncated")
        after = LinearQ(kind).fit(other, policies, **how)
        np.testing.assert_array_equal(after.q[0][fold == own], before.q[0][fold == own])
        assert (after.q[0] != before.q[0])[fold != own].mean() > 0.9


def test_each_fold_solves_the_equations_of_the_others():
    columns, x, probs, lengths = features()
    log = take(columns, state=["x", "y"], terminated="terminated")
    fit = LinearQ("linear", ridge=1e-4).fit(log, {"pi": probs}, gamma=0.9, cross_fit=3, seed=1)
    folds = deal(log, 3, 1, 0)
    made = oracle.linear(x)
    phi = oracle.crossed(made, np.eye(3)[columns["action"]])
    phibar = oracle.crossed(made, probs)
    fold = np.repeat(folds, lengths)
    for own in range(3):
        train, here = fold != own, fold == own
        of_others = {"reward": columns["reward"][train]}
        rows = rows_of(phi[train], phibar[train], of_others, lengths[folds != own], 0.9)
        theta = oracle.lstdq(rows, 1e-4)
        np.testing.assert_allclose(fit.q[0][here], phi[here] @ theta, atol=1e-8)


def test_folds_go_with_ids_and_not_with_the_order_of_rows():
    sample = simulate(MDP, BEHAVIOR, 200, 0)
    shuffled = np.random.default_rng(0).permutation(200)
    fits = []
    for own in (sample, sample.take(shuffled)):
        columns = ended(own, MDP.horizon)
        log = take(columns, truncated="truncated")
        fit = LinearQ("one_hot").fit(log, of_states(TARGET, columns), cross_fit=5, seed=2)
        key = list(zip(columns["episode_id"], columns["timestep"].tolist(), strict=True))
        fits.append(dict(zip(key, fit.q[0].tolist(), strict=True)))
    assert fits[0] == pytest.approx(fits[1], abs=1e-12)


def test_clusters_stay_together():
    log, columns, lengths = sampled(200)
    cluster = np.repeat(np.arange(200) % 37, lengths)
    log = take({**columns, "cluster": cluster}, truncated="truncated", cluster="cluster")
    folds = deal(log, 4, 0, 0)
    for own in range(37):
        assert len(set(folds[np.arange(200) % 37 == own])) == 1
    assert set(folds) == {0, 1, 2, 3}


@pytest.mark.parametrize("kind", ["one_hot", "linear", "polynomial", "fourier"])
def test_the_same_bits_for_any_number_of_threads(kind):
    log, columns, _ = sampled(3000)
    policies = of_states(TARGET, columns) | {"b": BEHAVIOR[columns["state"]]}
    fits = [
        LinearQ(kind, ridge=1e-4).fit(log, policies, gamma=0.9, cross_fit=3, num_threads=n)
        for n in (1, 2, 8)
    ]
    for fit in fits[1:]:
        assert fit.q.tobytes() == fits[0].q.tobytes()
        assert fit.v.tobytes() == fits[0].v.tobytes()
        assert fit.table.equals(fits[0].table)


def test_repeats_are_the_median():
    log, columns, _ = sampled(150)
    policies = of_states(TARGET, columns)
    how = {"gamma": 0.9, "cross_fit": 3, "seed": 8}
    whole = LinearQ("one_hot").fit(log, policies, n_repeats=5, **how)
    assert whole.settings["n_repeats"] == 5
    again = LinearQ("one_hot").fit(log, policies, n_repeats=5, **how)
    assert whole.q.tobytes() == again.q.tobytes()
    each = np.array([fit.values(0, slice(0, log.n_rows)) for fit in whole._fits])
    assert len({one.tobytes() for one in each}) == 5
    middle = np.sort(each, axis=0)[2]
    np.testing.assert_array_equal(whole.values("pi"), middle)
    rows = np.arange(log.n_rows)
    np.testing.assert_array_equal(whole.q[0], middle[rows, columns["action"]])
    one = LinearQ("one_hot").fit(log, policies, **how)
    np.testing.assert_array_equal(one.values("pi"), each[0])


def unseen_log():
    """Two states; in the second, action 1 was never taken."""
    columns = {
        "state": np.array([0, 0, 0, 1, 1]),
        "action": np.array([0, 1, 1, 0, 0]),
        "reward": np.array([1.0, 2.0, 4.0, 5.0, 7.0]),
        "propensity": np.full(5, 0.5),
    }
    return take(columns, episode_id=None), np.array([[0.5, 0.5], [0.25, 0.75]])[columns["state"]]


@pytest.mark.parametrize(("unseen", "second"), [("state", 6.0), ("zero", 1.5)])
def test_actions_never_seen(unseen, second):
    log, probs = unseen_log()
    fit = LinearQ("one_hot", ridge=1e-12, unseen=unseen).fit(log, {"pi": probs})
    np.testing.assert_allclose(fit.v[0], [2, 2, 2, second, second], atol=1e-9)
    assert fit.table["unseen"][0] == pytest.approx(0.3)
    (note,) = fit.notes
    assert "1 of 1 policies" in note
    assert ("Q is 0" in note) == (unseen == "zero")
    assert '"pi" 30.0%' in note


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["one_hot", "linear"])
def test_the_standard_error_is_the_spread_between_logs(kind):
    mdp = random_mdp(9, n_states=3, n_actions=2, horizon=4)
    behavior, target = random_policy(9, mdp), random_policy(10, mdp, spread=1.0)
    # "linear" cannot hold the exact Q: its errors are around its own limit.
    found = []
    for seed in range(200):
        log, columns, _ = sampled(500, seed, mdp, behavior)
        table = LinearQ(kind).fit(log, of_states(target, columns), gamma=0.95).table
        found.append((table["value"][0], table["standard_error"][0]))
    value, error = np.array(found).T
    assert value.std(ddof=1) / error.mean() == pytest.approx(1.0, abs=0.15)
    truth = mdp.value(target, 0.95) if kind == "one_hot" else value.mean()
    covered = np.mean(abs(value - truth) <= 1.96 * error)
    assert 0.90 <= covered <= 0.99


def test_text_states_are_a_table():
    log, columns, _ = sampled(300)
    named = {**columns, "state": pl.Series([f"ward {s}" for s in columns["state"]])}
    other = take(named, truncated="truncated")
    policies = of_states(TARGET, columns)
    a, b = (LinearQ().fit(own, policies, gamma=0.9) for own in (log, other))
    assert a.settings["features"] == b.settings["features"] == "one_hot"
    np.testing.assert_allclose(a.q, b.q, atol=1e-12)
    # One-hot columns add up to the constant: the ridge parts them.
    linear = LinearQ("linear", ridge=1e-6).fit(other, policies, gamma=0.9)
    assert np.isfinite(linear.q).all()


def test_on_single_decisions_q_is_a_regression_of_rewards():
    rng = np.random.default_rng(0)
    x, action = rng.normal(size=(400, 2)), rng.integers(0, 3, 400)
    reward = x @ [1.0, -1.0] * action + rng.normal(size=400)
    columns = {"x": x, "action": action, "reward": reward, "propensity": np.full(400, 1 / 3)}
    log = cf.LoggedData.from_frame(columns, state="x")
    fit = LinearQ("linear", ridge=0.0).fit(log, {"pi": rng.dirichlet([1, 1, 1], 400)})
    made = oracle.linear(x)
    for a in range(3):
        own = action == a
        theta, *_ = np.linalg.lstsq(made[own], reward[own], rcond=None)
        np.testing.assert_allclose(fit.values("pi")[:, a], made @ theta, atol=1e-8)
    assert not fit.settings["step_joins"]


def test_results_print_and_say_what_they_are():
    log, columns, _ = sampled(100)
    fit = LinearQ("one_hot").fit(log, of_states(TARGET, columns), gamma=0.9, cross_fit=2)
    text = " ".join(repr(fit).split())
    for part in ("LinearQ of 1 policy", "one_hot", "gamma 0.9", "2-fold cross-fitted", "pi"):
        assert part in text
    assert "<table" in fit._repr_html_()
    assert fit.q.shape == fit.v.shape == (1, log.n_rows)
