"""Marginal estimators on ratios and Q-functions that `prepare` fitted."""

from __future__ import annotations

import math

import counterfolio as cf
import numpy as np
import pytest
from model_logs import BEHAVIOR, EXACT_TARGET, MDP, TARGET, exact_log, sampled

GAMMA = 0.9
PLAIN = ("drl", "sm_is", "sm_dr", "sam_is", "sam_dr")


def test_on_a_population_every_estimate_is_the_true_value():
    """The states carry the step, so that visits over all steps are all that there is to know."""
    log, columns, _ = exact_log(propensity="propensity", state=["state", "timestep"])
    policies = {"new": EXACT_TARGET[columns["state"]]}
    prepared = cf.prepare(log, policies, PLAIN, gamma=GAMMA, cross_fit=5)
    found = cf.evaluate(log, prepared, gamma=GAMMA)
    assert found.estimators == list(PLAIN)
    assert found.settings["conditions_on"] == "q, v and ratios as given"
    assert prepared.table["for"].to_list() == ["q and v", "ratios"]
    from model_logs import dyadic_mdp

    truth = dyadic_mdp()[0].value(EXACT_TARGET, GAMMA)
    # Folds are not populations of their own; they are near it.
    for name in PLAIN:
        assert found.values(name)["new"] == pytest.approx(truth, abs=0.02), name


def test_fitted_ratios_bring_down_the_error():
    """Over 40 logs of long episodes, against the product of all ratios."""
    process = type(MDP)(**{**vars(MDP), "horizon": 12, "end": np.full_like(MDP.end, 0.02)})
    truth = process.value(TARGET, GAMMA)
    errors = {name: [] for name in ("tis", "sm_is", "drl")}
    z = []
    for seed in range(40):
        log, columns, _ = sampled(300, seed, process, BEHAVIOR, propensity="propensity")
        policies = {"new": TARGET[columns["state"]]}
        prepared = cf.prepare(log, policies, ["sm_is", "drl"], gamma=GAMMA)
        found = cf.evaluate(log, prepared, list(errors), gamma=GAMMA)
        rows = found.estimates.head(3)
        for name, value, error in rows.select("estimator", "value", "standard_error").rows():
            errors[name].append(value - truth)
            if name == "drl":
                z.append((value - truth) / error)
    rmse = {name: math.sqrt(np.mean(np.square(e))) for name, e in errors.items()}
    assert rmse["sm_is"] < rmse["tis"] / 2
    assert rmse["drl"] < rmse["tis"] / 2
    assert abs(np.mean(z)) < 3 / math.sqrt(len(z)) * 1.5


def test_n_step_needs_probabilities_too():
    log, columns, _ = sampled(200, propensity="propensity")
    ones = np.ones(log.n_rows)
    own = cf.PolicyColumns(q=ones, v=ones, state_action_ratio=ones)
    assert cf.evaluate(log, {"new": own}, ["sam_dr"]).estimators == ["sam_dr"]
    asked = [cf.Estimator("sam_dr", n_step=2)]
    with pytest.raises(cf.InvalidPolicyError, match=r'"sam_dr\[n_step=2\]" needs prob'):
        cf.evaluate(log, {"new": own}, asked)
    prepared = cf.prepare(log, {"new": TARGET[columns["state"]]}, asked, gamma=GAMMA)
    assert prepared.estimators == ["sam_dr[n_step=2]"]
    assert cf.evaluate(log, prepared, gamma=GAMMA).estimators == ["sam_dr[n_step=2]"]


def test_ratios_are_not_normalised_where_lengths_differ():
    log, columns, _ = sampled(200, propensity="propensity")
    prepared = cf.prepare(log, {"new": TARGET[columns["state"]]}, ["sm_snis"], gamma=GAMMA)
    with pytest.raises(cf.InvalidPolicyError, match='use "sm_is", or ratios of kind "step"'):
        cf.evaluate(log, prepared, gamma=GAMMA)


def test_drl_refuses_models_of_the_same_episodes():
    log, columns, _ = sampled(200, propensity="propensity")
    policies = {"new": TARGET[columns["state"]]}
    with pytest.raises(cf.InvalidArgumentError, match="pass cross_fit=5"):
        cf.prepare(log, policies, ["drl"], gamma=GAMMA, cross_fit=None)
    # Told, by columns of its own.
    p = cf.prepare(log, policies, ["sam_dr"], gamma=GAMMA, cross_fit=None)["new"]
    own = cf.PolicyColumns(
        q=p.q, v=p.v, state_action_ratio=p.state_action_ratio, ratio_kind="occupancy"
    )
    found = cf.evaluate(log, {"new": own}, ["drl", "sam_dr"], gamma=GAMMA)
    assert found.values("drl") == found.values("sam_dr")
