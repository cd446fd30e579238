"""`prepare`: what it fits, for whom, and that estimates by it are right."""

from __future__ import annotations

import pickle

import counterfolio as cf
import numpy as np
import pytest
from counterfolio.models.behavior import Frequencies
from mdp import random_mdp, random_policy, simulate
from model_logs import BEHAVIOR, MDP, TARGET, sampled, take

GAMMA = 0.9
DENSE = ("dm", "dr", "sndr")


def log_of(n=400, seed=0, *, propensity=False):
    log, columns, _ = sampled(n, seed, propensity="propensity" if propensity else None)
    return log, columns


def dense(columns, policy=TARGET):
    return policy[columns["state"]]


# What is fitted.


def test_nothing_is_fitted_that_is_not_needed():
    log, columns = log_of(propensity=True)
    prepared = cf.prepare(log, {"new": dense(columns)}, ["tis", "snips"])
    assert len(prepared.table) == 0
    assert prepared.log is log
    assert "nothing had to be fitted" in repr(prepared)
    found = cf.evaluate(log, prepared)
    assert found.estimators == ["tis", "sntis"]
    assert found.values("tis") == cf.evaluate(log, {"new": dense(columns)}).values("tis")


def test_dm_needs_no_propensities():
    log, columns = log_of()
    prepared = cf.prepare(log, {"new": dense(columns)}, ["dm"], gamma=GAMMA)
    assert prepared.table["for"].to_list() == ["q and v"]
    assert prepared.log.propensity_source is None
    found = cf.evaluate(log, prepared, gamma=GAMMA)
    assert found.values()["new"] == pytest.approx(prepared.q_functions.table["value"][0])


def test_all_that_is_lacking():
    log, columns = log_of()
    prepared = cf.prepare(log, {"new": dense(columns)}, gamma=GAMMA)
    assert prepared.table["for"].to_list() == ["propensity", "q and v"]
    assert (prepared.table["seconds"] > 0).all()
    found = cf.evaluate(log, prepared, gamma=GAMMA)
    assert found.settings["propensity_source"] == "estimated"
    assert found.settings["models"] == [prepared.q_functions.settings]
    assert "estimated propensities" in repr(found)
    assert found.estimates.equals(cf.evaluate(prepared.log, prepared, gamma=GAMMA).estimates)


def test_a_policy_keeps_its_own_q():
    log, columns = log_of(propensity=True)
    own = cf.PolicyColumns(
        action_probs=dense(columns), q=np.ones(log.n_rows), v=np.ones(log.n_rows)
    )
    prepared = cf.prepare(log, {"own": own, "new": dense(columns)}, ["dr", "dm"])
    assert prepared.q_functions.policies == ["new"]
    found = cf.evaluate(log, prepared)
    assert found.values("dm")["own"] == 1.0
    assert found.values("dm")["new"] != 1.0


def test_ratios_are_fitted_where_they_are_asked_for():
    log, columns = log_of()
    prepared = cf.prepare(log, {"new": dense(columns)}, ["state_ratio", "state_action_ratio"])
    new = prepared["new"]
    assert new.ratio_kind == "occupancy"
    assert (new.state_ratio == prepared.ratios.state[0]).all()
    assert (new.state_action_ratio == prepared.ratios.state_action[0]).all()
    assert prepared.q_functions is None
    assert prepared.table["for"].to_list() == ["propensity", "ratios"]


def test_objects_and_chosen_actions_are_as_good_as_arrays():
    log, columns = log_of()
    chosen = TARGET.argmax(axis=1)[columns["state"]]
    policies = {
        "array": dense(columns),
        "object": cf.policies.Tabular(TARGET),
        "chosen": cf.PolicyColumns(action=chosen),
        "greedy": np.eye(2)[chosen],
    }
    found = cf.evaluate(log, cf.prepare(log, policies, ["dm", "dr"]))
    for name in ("dm", "dr"):
        values = found.values(name)
        assert values["array"] == pytest.approx(values["object"], rel=1e-12)
        assert values["chosen"] == pytest.approx(values["greedy"], rel=1e-12)
        assert values["array"] != values["greedy"]


def test_models_of_ones_own():
    log, columns = log_of()
    prepared = cf.prepare(
        log,
        {"new": dense(columns)},
        ["dr", "state_action_ratio"],
        q_model=cf.models.LinearQ("linear"),
        ratio_model=cf.models.LinearRatio("polynomial"),
        propensity_model=cf.models.PropensityModel(features="linear"),
        cross_fit=3,
        n_repeats=2,
    )
    assert prepared.table["features"].to_list() == ["linear", "linear", "polynomial"]
    assert prepared.table["cross_fit"].to_list() == [3, 3, 3]
    assert prepared.table["n_repeats"].to_list() == [2, 2, 2]


def test_frequencies_of_a_table_come_from_all_rows():
    log, columns = log_of()
    prepared = cf.prepare(log, {"new": dense(columns)}, ["dr"])
    assert prepared.table["cross_fit"].to_list() == [None, 5]
    # pi = b: weights of rows that made the frequencies are exactly balanced.
    same = cf.prepare(log, {"b": prepared.propensities.action_probs}, ["tis"])
    assert cf.evaluate(log, same).values()["b"] == pytest.approx(
        cf.evaluate(log, same).behavior_value, rel=1e-12
    )


def test_a_table_of_propensities_is_fitted_once(monkeypatch):
    log, columns = log_of()
    fits, probs = [], Frequencies.probs

    def counted(self, train, test, seed):
        fits.append(len(train))
        return probs(self, train, test, seed)

    monkeypatch.setattr(Frequencies, "probs", counted)
    prepared = cf.prepare(log, {"new": dense(columns)}, ["tis"], cross_fit=3, n_repeats=2)
    assert fits == [log.n_rows]
    assert prepared.table["n_repeats"].to_list() == [1]
    model = cf.models.PropensityModel(features="linear")
    prepared = cf.prepare(
        log, {"new": dense(columns)}, ["tis"], cross_fit=3, propensity_model=model
    )
    assert prepared.table["cross_fit"].to_list() == [3]
    with pytest.raises(cf.InvalidArgumentError, match="cross_fit must be None or a whole number"):
        cf.prepare(log, {"new": dense(columns)}, ["tis"], cross_fit=1)


# The same again.


def test_the_same_bits_twice_and_by_any_number_of_threads():
    log, columns = log_of(2000)
    policies = {"new": dense(columns), "other": dense(columns, random_policy(7, MDP))}
    runs = [cf.prepare(log, policies, DENSE, num_threads=threads) for threads in (1, 1, 2)]
    for name in policies:
        for key in ("q", "v"):
            first = getattr(runs[0][name], key)
            assert all((getattr(run[name], key) == first).all() for run in runs)
    other = cf.prepare(log, policies, DENSE, seed=1)
    assert (other["new"].q != runs[0]["new"].q).any()


def test_the_order_of_episodes_does_not_matter():
    sample = simulate(MDP, BEHAVIOR, 300, 0)
    shuffled = sample.take(np.random.default_rng(0).permutation(sample.n_episodes))
    values = []
    for one in (sample, shuffled):
        log = take(one.columns, propensity=None)
        found = cf.evaluate(log, cf.prepare(log, {"new": dense(one.columns)}, DENSE))
        values.append([found.values(name)["new"] for name in DENSE])
    np.testing.assert_allclose(values[0], values[1], rtol=1e-9)


def test_it_travels():
    log, columns = log_of()
    prepared = pickle.loads(pickle.dumps(cf.prepare(log, {"new": dense(columns)}, DENSE)))
    found = cf.evaluate(prepared.log, prepared)
    assert found.values("dr") == cf.evaluate(
        log, cf.prepare(log, {"new": dense(columns)}, DENSE)
    ).values("dr")


def test_a_saved_evaluation_knows_its_models(tmp_path):
    log, columns = log_of()
    found = cf.evaluate(log, cf.prepare(log, {"new": dense(columns)}, DENSE))
    found.to_parquet(tmp_path / "saved.parquet")
    again = cf.Evaluation.from_parquet(tmp_path / "saved.parquet")
    assert again.settings["models"] == found.settings["models"]
    again.to_html(tmp_path / "report.html", estimator="dr")
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "fitted by LinearQ (features: one_hot; 5-fold cross-fitted" in text
    assert "LinearQ (features one_hot" in text


# Right.


def test_models_are_better_than_weights():
    """Over 50 logs the models' errors are smaller than those of tis, and their means right."""
    mdp = random_mdp(3)
    behavior = random_policy(4, mdp)
    policy = (behavior + random_policy(5, mdp)) / 2
    truth = mdp.value(policy, GAMMA)
    names = ("tis", "dm", "dr", "sndr")
    errors = {source: [] for source in ("logged", "estimated")}
    for seed in range(50):
        sample = simulate(mdp, behavior, 400, seed)
        for source, column in (("logged", "propensity"), ("estimated", None)):
            log = take(sample.columns, propensity=column)
            prepared = cf.prepare(log, {"new": policy[sample.columns["state"]]}, names, gamma=GAMMA)
            found = cf.evaluate(log, prepared, gamma=GAMMA)
            errors[source].append([found.values(name)["new"] - truth for name in names])
    for source, found in errors.items():
        found = np.array(found)
        rmse = np.sqrt((found**2).mean(axis=0))
        assert (rmse[1:] < rmse[0]).all(), (source, rmse)
        z = found.mean(axis=0) / (found.std(axis=0, ddof=1) / np.sqrt(len(found)))
        assert (np.abs(z) < 3).all(), (source, z)


def test_dm_says_what_its_interval_leaves_out():
    log, columns = log_of()
    found = cf.evaluate(log, cf.prepare(log, {"new": dense(columns)}, ["dm", "dr"]))
    notes = dict(found.estimates.select("estimator", "note").iter_rows())
    assert "with the error of the fitted model the standard error is" in notes["dm"]
    assert notes["dr"] is None or "fitted" not in notes["dr"]


# Refused.


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"needs": ["drr"]}, 'did you mean "dr"'),
        ({"needs": []}, "needs must be a list of names"),
        ({"cross_fit": 1}, "cross_fit must be None or a whole number from 2 to 400"),
        ({"n_repeats": 0}, "n_repeats must be"),
        ({"seed": -1}, "seed must be"),
        ({"gamma": 0.0}, "gamma must be in"),
        (
            {"q_model": cf.models.LinearQ(horizon="continue"), "gamma": 0.9},
            'horizon="continue" is for dm alone',
        ),
    ],
)
def test_wrong_arguments(options, said):
    log, columns = log_of()
    with pytest.raises(cf.InvalidArgumentError, match=said):
        cf.prepare(log, {"new": dense(columns)}, **{"needs": ["dr"], **options})


def test_no_estimators_are_none():
    log, columns = log_of()
    prepared = cf.prepare(log, {"new": dense(columns)}, ["dm"])
    with pytest.raises(cf.InvalidArgumentError, match="no estimators"):
        cf.evaluate(log, prepared, [])


def test_what_goes_with_another_log_or_gamma():
    log, columns = log_of()
    prepared = cf.prepare(log, {"new": dense(columns)}, ["dr"], gamma=GAMMA)
    with pytest.raises(cf.InvalidArgumentError, match=r"for gamma 0\.9, but evaluated at 1"):
        cf.evaluate(log, prepared)
    other, _ = log_of(seed=1)
    with pytest.raises(cf.InvalidArgumentError, match="prepared for another log"):
        cf.evaluate(other, prepared, gamma=GAMMA)


def test_who_has_to_be_asked():
    log, columns = log_of(propensity=True)
    with pytest.raises(cf.InvalidPolicyError, match='"new": a model has to know what it does'):
        cf.prepare(log, {"new": dense(columns)[:, 0]}, ["dr"])
    bare = take(columns, state=None)
    with pytest.raises(cf.InvalidLogError, match="the log names no state column"):
        cf.prepare(bare, {"new": dense(columns)}, ["dr"])
    with pytest.raises(cf.InvalidArgumentError, match="prepare takes a LoggedData"):
        cf.prepare(columns, {"new": dense(columns)})


def test_continue_is_for_the_direct_method():
    log, columns = log_of(propensity=True)
    model = cf.models.LinearQ(horizon="continue")
    prepared = cf.prepare(log, {"new": dense(columns)}, ["dm"], gamma=GAMMA, q_model=model)
    assert prepared.settings[0]["horizon"] == "continue"
    with pytest.raises(cf.InvalidArgumentError, match="is for dm alone, not for dr"):
        cf.evaluate(log, prepared, ["dr"], gamma=GAMMA)
