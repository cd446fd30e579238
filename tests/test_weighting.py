"""Models of Q with the weights of `mrdr`, beside weighted least squares in plain numpy."""

from __future__ import annotations

import counterfolio as cf
import models_oracle as oracle
import numpy as np
import pytest
from counterfolio.models import FittedQ, LinearQ
from counterfolio.models.folds import deal
from hypothesis import assume, given
from hypothesis import strategies as st
from model_logs import TARGET, sampled
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeRegressor

ACTIONS = 3


def decisions(n=400, seed=0):
    """Columns of single decisions with a state of two numbers, b of all actions, two policies.

    The first is deterministic and never takes the last action: many of its weights are 0.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal([1.0, -2.0], 1.0, size=(n, 2))
    scores = np.exp(x @ rng.normal(size=(2, ACTIONS)))
    b = scores / scores.sum(axis=1, keepdims=True)
    action = (rng.random((n, 1)) > b.cumsum(axis=1)).sum(axis=1)
    columns = {
        "x": x[:, 0],
        "y": x[:, 1],
        "action": action,
        "reward": (x @ [0.5, 1.0]) ** 2 * (action - 1) + rng.normal(size=n),
        "propensity": b[np.arange(n), action],
    }
    policies = {
        "greedy": np.eye(ACTIONS)[(x[:, 0] > 1).astype(int)],
        "soft": rng.dirichlet(np.ones(ACTIONS), size=n),
    }
    return columns, x, policies


def take(columns, **roles):
    return cf.LoggedData.from_frame(columns, **{"state": ["x", "y"], **roles})


def weights(columns, probs):
    """(pi / b)^2 (1 - b)."""
    b = columns["propensity"]
    return (probs[np.arange(len(b)), columns["action"]] / b) ** 2 * (1 - b)


def least_squares(phi, reward, weight, ridge=0.0):
    """Coefficients of the weighted normal equations, lambda in parts of their mean diagonal."""
    gram = (phi * weight[:, None]).T @ phi
    d = len(gram)
    return np.linalg.solve(gram + ridge * np.trace(gram) / d * np.eye(d), phi.T @ (weight * reward))


def features(columns, x, probs):
    """Of the logged action, and averaged over a policy's."""
    made = oracle.linear(x)
    return oracle.crossed(made, np.eye(ACTIONS)[columns["action"]]), oracle.crossed(made, probs)


# What is fitted.


@pytest.mark.parametrize("cross_fit", [None, 4])
def test_linear_models_are_weighted_least_squares(cross_fit):
    columns, x, policies = decisions()
    log = take(columns)
    model = LinearQ("linear", ridge=1e-3, weighting="mrdr")
    fit = model.fit(log, policies, cross_fit=cross_fit, seed=2)
    fold = deal(log, cross_fit or 1, 2, 0)
    for p, probs in enumerate(policies.values()):
        phi, phibar = features(columns, x, probs)
        weight = weights(columns, probs)
        assert (weight == 0).any() == (p == 0)
        for f in range(cross_fit or 1):
            rows, train = fold == f, (fold != f) | (cross_fit is None)
            theta = least_squares(phi[train], columns["reward"][train], weight[train], 1e-3)
            np.testing.assert_allclose(fit.q[p][rows], (phi @ theta)[rows], atol=1e-8)
            np.testing.assert_allclose(fit.v[p][rows], (phibar @ theta)[rows], atol=1e-8)
    plain = LinearQ("linear", ridge=1e-3).fit(log, policies, cross_fit=cross_fit, seed=2)
    assert (np.abs(fit.q - plain.q).max(axis=1) > 0.1).all()


def test_a_policy_has_the_same_q_in_any_company():
    columns, _, policies = decisions()
    log, model = take(columns), LinearQ("polynomial", weighting="mrdr")
    both = model.fit(log, policies, cross_fit=3)
    for p, (name, probs) in enumerate(policies.items()):
        alone = model.fit(log, {name: probs}, cross_fit=3)
        assert (alone.q[0] == both.q[p]).all()
        assert (alone.v[0] == both.v[p]).all()


def test_a_table_holds_weighted_means():
    rng = np.random.default_rng(1)
    n = 600
    state, action = rng.integers(4, size=n), rng.integers(2, size=n)
    columns = {
        "s": state,
        "action": action,
        "reward": rng.normal(size=n) + state,
        "propensity": rng.uniform(0.2, 0.8, n),  # of a logger that saw more than the state
    }
    probs = np.array([[0.3, 0.7], [1.0, 0.0], [0.5, 0.5], [0.9, 0.1]])[state]
    log = take(columns, state="s")
    fit = LinearQ("one_hot", ridge=0.0, weighting="mrdr").fit(log, {"pi": probs})
    weight = weights(columns, probs)
    found = fit.values("pi")
    for s in range(4):
        for a in range(2):
            here = (state == s) & (action == a)
            if probs[state == s][0, a] > 0:
                wanted = np.average(columns["reward"][here], weights=weight[here])
                np.testing.assert_allclose(found[state == s, a], wanted, rtol=1e-12)
    assert fit.table["unseen"].to_list() == [0.0]
    np.testing.assert_allclose(fit.v[0], (found * probs).sum(axis=1), rtol=1e-12)


def test_what_the_log_always_does_is_not_called_unseen():
    columns = {
        "s": np.repeat([0, 1], 50),
        "action": np.append(np.zeros(50, int), np.arange(50) % 2),
        "reward": np.arange(100.0),
        "propensity": np.repeat([1.0, 0.5], 50),
    }
    log = take(columns, state="s")
    fit = LinearQ("one_hot", weighting="mrdr").fit(log, {"pi": np.tile([0.8, 0.2], (100, 1))})
    assert fit.table["unseen"][0] == pytest.approx(0.1)  # action 1 in state 0


@pytest.mark.parametrize("cross_fit", [None, 4])
def test_regressors_get_the_weights(cross_fit):
    columns, x, policies = decisions()
    log = take(columns)
    fold = deal(log, cross_fit or 1, 2, 0)
    inputs = np.column_stack([oracle.standardised(x), np.eye(ACTIONS)[columns["action"]]])
    for regressor, same in (
        (LinearRegression(), np.column_stack([np.ones(len(x)), inputs])),
        (DecisionTreeRegressor(max_depth=3, min_samples_leaf=20, random_state=0), None),
        (Ridge(5.0), None),
    ):
        fit = FittedQ(regressor, weighting="mrdr").fit(log, policies, cross_fit=cross_fit, seed=2)
        for p, probs in enumerate(policies.values()):
            weight = weights(columns, probs)
            for f in range(cross_fit or 1):
                rows = fold == f
                train = ((fold != f) | (cross_fit is None)) & (weight > 0)
                w, r = weight[train], columns["reward"][train]
                fresh = type(regressor)(**regressor.get_params())
                seen = fit._fits[0].inputs.logged(slice(0, len(x)))
                wanted = fresh.fit(seen[train], r, sample_weight=w / w.mean()).predict(seen[rows])
                np.testing.assert_allclose(fit.q[p][rows], wanted, atol=1e-9)
                if same is not None:
                    root = np.sqrt(w)
                    theta = np.linalg.lstsq(same[train] * root[:, None], r * root, rcond=None)[0]
                    # What a policy never does is nowhere in its equations.
                    rows = rows & np.isin(columns["action"], columns["action"][train])
                    np.testing.assert_allclose(fit.q[p][rows], same[rows] @ theta, atol=1e-8)


def test_a_classifier_gets_the_weights():
    columns, _, policies = decisions()
    columns["reward"] = (columns["reward"] > 0).astype(float)
    log = take(columns)
    fit = FittedQ(LogisticRegression(), weighting="mrdr").fit(log, policies)
    seen = fit._fits[0].inputs.logged(slice(0, log.n_rows))
    for p, probs in enumerate(policies.values()):
        w = weights(columns, probs)
        own = LogisticRegression().fit(
            seen[w > 0], columns["reward"][w > 0], sample_weight=w[w > 0] / w[w > 0].mean()
        )
        np.testing.assert_allclose(fit.q[p], own.predict_proba(seen)[:, 1], atol=1e-9)


# Errors of the fit.


def test_standard_errors_are_those_of_weighted_least_squares():
    columns, x, policies = decisions()
    n = len(x)
    fit = LinearQ("linear", ridge=1e-6, weighting="mrdr").fit(take(columns), policies)
    for p, (name, probs) in enumerate(policies.items()):
        phi, phibar = features(columns, x, probs)
        weight = weights(columns, probs)
        weight = weight / weight.max()
        gram = (phi * weight[:, None]).T @ phi
        inverse = np.linalg.inv(gram + 1e-6 * np.trace(gram) / len(gram) * np.eye(len(gram)))
        theta = inverse @ phi.T @ (weight * columns["reward"])
        u = phi * (weight * (columns["reward"] - phi @ theta))[:, None]
        np.testing.assert_allclose(fit.covariance(name), inverse @ u.T @ u @ inverse, atol=1e-7)
        v = phibar @ theta
        psi = v - v.mean() + n * u @ inverse @ phibar.mean(axis=0)
        error = np.sqrt(n / (n - 1) * (psi**2).sum()) / n
        assert fit.table["standard_error"][p] == pytest.approx(error, rel=1e-6)


# Properties.


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(30, 200), smallest=st.floats(0.001, 0.4))
def test_weighted_residuals_are_orthogonal_to_the_features(seed, n, smallest):
    rng = np.random.default_rng(seed)
    columns, x, policies = decisions(n, seed)
    columns["propensity"] = rng.uniform(smallest, 0.9, n)
    # Enough rows for as many features, of a policy that takes one action only too.
    assume(all((weights(columns, probs) > 0).sum() >= 10 for probs in policies.values()))
    fit = LinearQ("linear", ridge=1e-10, weighting="mrdr").fit(take(columns), policies)
    for p, probs in enumerate(policies.values()):
        phi, _ = features(columns, x, probs)
        weight = weights(columns, probs)
        off = phi.T @ (weight * (columns["reward"] - fit.q[p]))
        size = np.abs(phi).T @ (weight * (np.abs(columns["reward"]) + np.abs(fit.q[p])))
        assert (np.abs(off) <= 1e-5 * size.max()).all()


@pytest.mark.parametrize("kind", ["linear", "one_hot"])
def test_the_same_bits_for_any_number_of_threads(kind):
    columns, _, policies = decisions(5000)
    columns["x"], columns["y"] = columns["x"].round(), columns["y"].round()
    log, model = take(columns), LinearQ(kind, weighting="mrdr")
    fits = [model.fit(log, policies, cross_fit=3, n_repeats=2, num_threads=k) for k in (1, 2, 8)]
    for fit in fits[1:]:
        assert fit.q.tobytes() == fits[0].q.tobytes()
        assert fit.table.equals(fits[0].table)


def test_the_smallest_propensities_overflow_nothing():
    columns, _, policies = decisions()
    columns["propensity"][3] = 1e-300
    fit = LinearQ("linear", weighting="mrdr").fit(take(columns), {"soft": policies["soft"]})
    assert np.isfinite(fit.q).all()
    # All that counts is one row, and its residual is 0.
    assert fit.q[0][3] == pytest.approx(columns["reward"][3], rel=1e-3)


# What it is for.


def bent(n, seed):
    """Rewards bend with the state, and where they are large the candidate's action is rare."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, n)
    b = np.where(x > 0.5, 0.05, 0.9)  # of action 1, which the candidate takes
    action = (rng.random(n) < b).astype(int)
    reward = np.where(action == 1, 4 * np.maximum(x, 0) ** 2, 0.0) + rng.normal(0, 0.1, n)
    columns = {
        "x": x,
        "action": action,
        "reward": reward,
        "propensity": np.where(action == 1, b, 1 - b),
    }
    return take(columns, state="x"), {"one": np.tile([0.0, 1.0], (n, 1))}


def test_dr_varies_less_with_its_own_q():
    """Over 200 logs: Q is a straight line, and with these weights right where weights are large."""
    truth = 4 / 2 / 3
    found = {}
    for weighting in (None, "mrdr"):
        model = LinearQ("linear", weighting=weighting)
        found[weighting] = []
        for seed in range(200):
            log, policies = bent(400, seed)
            prepared = cf.prepare(log, policies, ["dr"], q_model=model)
            found[weighting].append(cf.evaluate(log, prepared, ["dr"]).values()["one"] - truth)
    deviations = {k: np.std(x, ddof=1) for k, x in found.items()}
    assert deviations["mrdr"] < 0.8 * deviations[None], deviations
    for k, x in found.items():
        assert abs(np.mean(x)) < 3.5 * deviations[k] / np.sqrt(200), k


# Prepare.


def test_prepare_fits_it_for_each_policy():
    columns, _, policies = decisions()
    log = take(columns)
    model = LinearQ("linear", weighting="mrdr")
    prepared = cf.prepare(log, policies, ["dr", "dm"], q_model=model, seed=3)
    alone = model.fit(log, policies, cross_fit=5, seed=3)
    assert (prepared["soft"].q == alone.q[1]).all()
    assert prepared.settings[0]["weighting"] == "mrdr"
    assert "rows weighted by mrdr" in " ".join(repr(prepared.q_functions).split())
    evaluation = cf.evaluate(log, prepared)
    assert evaluation.settings["models"][0]["weighting"] == "mrdr"
    assert any("rows weighted by mrdr" in said for said in assumptions_of(evaluation))


def assumptions_of(evaluation):
    from counterfolio.assumptions import assumptions

    return assumptions(evaluation)


@pytest.mark.parametrize("model", [LinearQ(weighting="mrdr"), FittedQ(Ridge(), weighting="mrdr")])
@pytest.mark.parametrize("needs", [["dr"], ["dm"]])
def test_prepare_estimates_the_propensities_that_weights_need(model, needs):
    columns, _, policies = decisions()
    log = take(columns, propensity=None)
    prepared = cf.prepare(log, policies, needs, q_model=model)
    assert prepared.table["for"].to_list() == ["propensity", "q and v"]
    alone = model.fit(prepared.log, policies, cross_fit=5)
    assert (prepared["soft"].q == alone.q[1]).all()
    cf.evaluate(log, prepared, needs)
    own = cf.PolicyColumns(action_probs=policies["soft"], q=np.ones(400), v=np.ones(400))
    assert len(cf.prepare(log, {"own": own}, ["dm"], q_model=model).table) == 0


# Refused.


def test_what_is_refused():
    columns, _, policies = decisions(100)
    log = take(columns)
    steps, of_steps, _ = sampled(50)
    probs = TARGET[of_steps["state"]]
    for model in (LinearQ(weighting="mrdr"), FittedQ(Ridge(), weighting="mrdr")):
        with pytest.raises(
            cf.InvalidArgumentError,
            match=f'weighting="mrdr" is for single decisions, and this log has {steps.n_rows} rows '
            "in 50 episodes; leave weighting out",
        ):
            model.fit(steps, {"pi": probs})
        with pytest.raises(cf.InvalidLogError, match='weighting="mrdr" needs propensities, and'):
            model.fit(take(columns, propensity=None), policies)
        continuous = take(columns | {"action": columns["x"]}, action_type="continuous")
        gaussian = cf.policies.Gaussian(lambda states: states[:, 0], 1.0)
        with pytest.raises(cf.InvalidArgumentError, match='weighting="mrdr" is for discrete act'):
            model.fit(continuous, {"pi": gaussian})
        never = np.eye(ACTIONS)[(columns["action"] + 1) % ACTIONS]
        with pytest.raises(
            cf.InvalidPolicyError,
            match='policy "never": weighting="mrdr" gives no weight to any row: the policy never',
        ):
            model.fit(log, policies | {"never": never})
        once = never.copy()
        once[7] = np.eye(ACTIONS)[columns["action"][7]]
        with pytest.raises(cf.InvalidPolicyError, match=r"to any row outside fold \d of 5: the p"):
            model.fit(log, {"once": once}, cross_fit=5)
    with pytest.raises(cf.InvalidArgumentError, match="unknown weighting 'mdr'; did you mean \"mr"):
        LinearQ(weighting="mdr").fit(log, policies)
    with pytest.raises(
        cf.InvalidArgumentError, match="KNeighborsRegressor takes no sample_weight in its fit"
    ):
        FittedQ(KNeighborsRegressor(), weighting="mrdr").fit(log, policies)
