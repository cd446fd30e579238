"""Marginal estimators and transforms: against the oracle, each other, and exact values."""

from __future__ import annotations

import math

import counterfolio as cf
import mdp
import numpy as np
import oracle
import polars as pl
import pytest
import weights_oracle as wo
from counterfolio import _core

REGISTRY = {row["name"]: row for row in _core.registry()}
HORIZON = 6


def random_log(seed: int, n: int, gamma: float, *, same_length: bool = False) -> mdp.Log:
    """Ratios of any size, which are no ratios of anything: formulas must hold for all numbers."""
    process = mdp.random_mdp(seed, horizon=HORIZON)
    if same_length:
        process = mdp.MDP(**{**vars(process), "end": np.zeros_like(process.end)})
    behavior = mdp.random_policy(seed, process)
    log = mdp.simulate(process, behavior, n, seed=seed)
    target = mdp.random_policy(seed + 1, process, zeros=seed % 3 == 0)
    log = mdp.add_policy(log, process, "new", target, gamma)
    rng = np.random.default_rng([seed, 5])
    rows = len(log.columns["reward"])
    return log.with_columns(mu=rng.gamma(2.0, 0.5, rows), mu_sa=rng.gamma(1.5, 0.7, rows))


def logged(log: mdp.Log) -> cf.LoggedData:
    return cf.LoggedData.from_frame(pl.DataFrame(log.columns), episode_id="episode_id")


def policy(kind: str = "step", state: str = "mu", both: str = "mu_sa") -> cf.PolicyColumns:
    return cf.PolicyColumns(
        prob="p_new",
        q="q_new",
        v="v_new",
        state_ratio=state,
        state_action_ratio=both,
        ratio_kind=kind,
    )


NAMES = {"prob": "p_new", "q": "q_new", "v": "v_new", "state": "mu", "state_action": "mu_sa"}


def rows_of(evaluation: cf.Evaluation) -> dict[str, dict]:
    rows = evaluation.estimates.filter(pl.col("policy") == "new")
    return {row["estimator"]: row for row in rows.iter_rows(named=True)}


def marginal_estimators(n_step: int) -> list[cf.Estimator]:
    def with_step(name: str) -> cf.Estimator:
        takes = "n_step" in REGISTRY[name]["options"]
        return cf.Estimator(name, n_step=n_step if takes else 0)

    return [with_step(name) for name in wo.MARGINAL]


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize("n_step", [0, 1, 3, HORIZON])
@pytest.mark.parametrize("seed", range(4))
def test_against_the_oracle(seed, n_step, gamma):
    log = random_log(seed, 60 + 400 * seed, gamma)
    estimators = marginal_estimators(n_step)
    evaluation = cf.evaluate(logged(log), {"new": policy()}, estimators, gamma=gamma)
    found, steps = rows_of(evaluation), wo.steps(log.columns, NAMES)
    wrong = []
    for estimator in estimators:
        wanted = wo.marginal(steps, estimator.name, estimator.n_step, gamma, occupancy=False)
        wrong += oracle.disagreements(found[estimator.label], wanted)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("n_step", [0, 2, HORIZON])
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_occupancy_ratios_against_the_oracle(gamma, n_step):
    log = random_log(1, 300, gamma, same_length=True)
    assert set(log.lengths) == {HORIZON}
    estimators = marginal_estimators(n_step)
    evaluation = cf.evaluate(logged(log), {"new": policy("occupancy")}, estimators, gamma=gamma)
    found, steps = rows_of(evaluation), wo.steps(log.columns, NAMES)
    by_step = rows_of(cf.evaluate(logged(log), {"new": policy()}, estimators, gamma=gamma))
    for estimator in estimators:
        wanted = wo.marginal(steps, estimator.name, estimator.n_step, gamma, occupancy=True)
        assert not oracle.disagreements(found[estimator.label], wanted)
        normalised = estimator.row["form"].startswith("normalised")
        differs = by_step[estimator.label]["value"] != found[estimator.label]["value"]
        assert differs == normalised, estimator.label


@pytest.mark.parametrize("name", ["sm_snis", "sm_sndr", "sam_snis", "sam_sndr"])
def test_occupancy_ratios_are_not_normalised_where_lengths_differ(name):
    log = random_log(2, 50, 1.0)
    with pytest.raises(cf.InvalidPolicyError, match=rf'"{name}": policy "new" .* 1 to 6'):
        cf.evaluate(logged(log), {"new": policy("occupancy")}, [name])
    cf.evaluate(logged(log), {"new": policy("occupancy")}, [name.replace("sn", "")])


# Identities.


def values(log: mdp.Log, estimators: list, gamma: float, columns: cf.PolicyColumns) -> list[tuple]:
    rows = rows_of(cf.evaluate(logged(log), {"new": columns}, estimators, gamma=gamma))
    labels = [cf.estimators.parse(estimator).label for estimator in estimators]
    return [(rows[label]["value"], rows[label]["standard_error"]) for label in labels]


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_identities(gamma):
    log = random_log(3, 500, gamma)
    rho = log.columns["p_new"] / log.columns["propensity"]
    log = log.with_columns(mu_rho=log.columns["mu"] * rho)
    alike = policy(both="mu_rho")

    def same(first: object, second: object, columns: cf.PolicyColumns = alike) -> None:
        a, b = values(log, [first, second], gamma, columns)
        assert a == pytest.approx(b, rel=1e-11), (first, second)

    for n_step in (0, 1, 3, HORIZON + 2):
        for kind in ("is", "dr", "snis", "sndr"):
            first, second = (cf.Estimator(f"{s}_{kind}", n_step=n_step) for s in ("sm", "sam"))
            same(first, second)
    same("drl", cf.Estimator("sam_dr", n_step=0), policy())
    for marginal, basic in (("dr", "dr"), ("sndr", "sndr"), ("is", "pdis"), ("snis", "snpdis")):
        for family in ("sm", "sam"):
            same(cf.Estimator(f"{family}_{marginal}", n_step=HORIZON), basic, policy())
    same("sm_dm", "dm")
    for name, option in (("switch_dr", "switch"), ("dros", "shrinkage"), ("drps", "clip")):
        same(cf.Estimator(name, **{option: 1.7}), cf.Estimator("dr", **{option: 1.7}))
    same("mrdr", "dr")


def test_with_one_step_and_ratios_of_1_it_is_importance_sampling():
    process = mdp.random_mdp(5, horizon=1)
    log = mdp.simulate(process, mdp.random_policy(5, process), 200, seed=5)
    log = mdp.add_policy(log, process, "new", mdp.random_policy(6, process), 1.0)
    ones = np.ones(200)
    rho = log.columns["p_new"] / log.columns["propensity"]
    for frame_options in ({}, {"episode_id": "episode_id"}):
        bandit = cf.LoggedData.from_frame(pl.DataFrame(log.columns), **frame_options)
        columns = policy(state=ones, both=rho)
        rows = rows_of(
            cf.evaluate(bandit, {"new": columns}, ["ips", "sm_is", "sam_is", "drl", "dr"])
        )
        assert rows["sm_is"]["value"] == pytest.approx(rows["tis"]["value"], rel=1e-12)
        assert rows["sam_is"]["value"] == pytest.approx(rows["tis"]["value"], rel=1e-12)
        assert rows["drl"]["value"] == pytest.approx(rows["dr"]["value"], rel=1e-12)


@pytest.mark.parametrize("n_step", [0, 2])
def test_equal_policies_earn_the_mean_return(n_step):
    log = random_log(4, 400, 0.9)
    log = log.with_columns(p_new=log.columns["propensity"], one=np.ones(len(log.columns["mu"])))
    columns = policy(state="one", both="one")
    evaluation = cf.evaluate(logged(log), {"new": columns}, marginal_estimators(n_step), gamma=0.9)
    behavior = evaluation.estimates.row(-1, named=True)
    for name, row in rows_of(evaluation).items():
        if "is" in name:
            assert row["value"] == pytest.approx(behavior["value"], rel=1e-12), name
            assert row["standard_error"] == pytest.approx(behavior["standard_error"], rel=1e-10)


@pytest.mark.parametrize("name", wo.MARGINAL)
def test_relatives_are_told_apart(name):
    """On a log with all weights at work no two estimators agree but those that are one."""
    log = random_log(7, 300, 0.9)
    twins = {"drl": "sam_dr", "sam_dr": "drl"}
    others = [n for n in ("dm", *oracle.WEIGHTED, *wo.MARGINAL) if n not in (name, twins.get(name))]
    if name == "sm_dm":
        others.remove("dm")
    found = values(log, [name, *others], 0.9, policy())
    assert all(abs(found[0][0] - value) > 1e-6 for value, _ in found[1:])


# Transforms.

CASES = [
    ("clip", 1.5),
    ("exponent", 0.6),
    ("exponent", 0.0),
    ("shrinkage", 2.0),
    ("harmonic", 0.3),
    ("harmonic", 0.0),
    ("switch", 1.2),
]


@pytest.mark.parametrize(("option", "x"), CASES)
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_transforms_against_the_oracle(option, x, gamma):
    log = random_log(1, 700, gamma)
    steps = wo.steps(log.columns, NAMES)
    wrong = []
    for per_step in (False, True):
        names = oracle.WEIGHTED
        estimators = [cf.Estimator(n, **{option: x}, per_step=per_step) for n in names]
        found = rows_of(cf.evaluate(logged(log), {"new": policy()}, estimators, gamma=gamma))
        w = wo.transformed(steps, option, x, per_step=per_step)
        for estimator in estimators:
            wanted = wo.estimate(steps, wo.FORMS[estimator.name], w, gamma)
            if estimator.name == "dr":
                wanted = td_form(steps, w, gamma, wanted)
            wrong += oracle.disagreements(found[estimator.label], wanted)
    for name in ("sm_sndr", "sam_snis"):
        estimator = cf.Estimator(name, n_step=1, **{option: x})
        ratio = "state" if name.startswith("sm_") else "state_action"
        w = wo.TRANSFORMS[option](wo.weights(steps, ratio, 1), x)
        found = rows_of(cf.evaluate(logged(log), {"new": policy()}, [estimator], gamma=gamma))
        wanted = wo.estimate(steps, wo.FORMS[name.rpartition("_")[2]], w, gamma)
        wrong += oracle.disagreements(found[estimator.label], wanted)
    assert not wrong, "\n".join(wrong)


def td_form(steps: wo.Steps, w: np.ndarray, gamma: float, like: oracle.Estimate) -> oracle.Estimate:
    """v_0 + sum gamma^t f(w_t) (r + gamma v_{t+1} - q): w_{t-1} v_t would be another number."""
    power = gamma ** np.arange(w.shape[1])
    after = np.hstack([steps.v[:, 1:], np.zeros((len(w), 1))])
    terms = steps.v[:, 0] + (w * (steps.reward + gamma * after - steps.q)) @ power
    psi = terms - terms.mean()
    error = oracle.standard_error(psi)
    return oracle.Estimate(
        float(terms.mean()),
        error,
        psi,
        like.effective_sample_size,
        like.max_weight_share,
        like.scale,
        like.error_scale,
    )


def test_transforms_shrink_towards_what_they_should():
    """No clip at all is the plain estimate; an exponent of 0 is the logged policy's own value."""
    log = random_log(2, 200, 0.9)
    plain, clipped, none = values(
        log, ["pdis", "pdis[clip=1e12]", "pdis[exponent=0]"], 0.9, policy()
    )
    assert plain == clipped
    logged_value = cf.evaluate(logged(log), {"new": policy()}, ["tis"], gamma=0.9).estimates[
        "value"
    ][-1]
    assert none[0] == pytest.approx(logged_value, rel=1e-12)


@pytest.mark.parametrize("name", [n for n, row in REGISTRY.items() if "exponent" in row["options"]])
def test_an_exponent_of_0_leaves_the_log_and_what_q_adds(name):
    """Weights of 0 become 1 too: seed 3 has actions that the policy never takes."""
    log = random_log(3, 100, 0.9)
    step, reward, p, q, v = (
        log.columns[key] for key in ("timestep", "reward", "p_new", "q_new", "v_new")
    )
    assert (p == 0).any()
    earned = reward + v - q if "q" in REGISTRY[name]["needs"] else reward
    (found,) = values(log, [f"{name}[exponent=0]"], 0.9, policy())
    assert found[0] == pytest.approx(0.9**step @ earned / log.n_episodes, rel=1e-12)


# Exact values.


@pytest.mark.parametrize("gamma", [1.0, 0.8])
@pytest.mark.parametrize(
    ("kind", "n_step"), [("step", 0), ("step", 1), ("step", 2), ("step", 3), ("occupancy", 0)]
)
def test_population(kind, n_step, gamma):
    """On a log that is its own population every estimator equals the true value. Visits over all
    steps go no further than n_step = 0 here: the horizon cuts off at a step, not in a state."""
    process, behavior = mdp.dyadic_mdp()
    target = np.array([[0.9, 0.1], [0.75, 0.25]])
    log = mdp.population(process, behavior)
    # Errors of Q cancel step by step, and over all steps only where they do not depend on it.
    log = mdp.add_policy(log, process, "new", target, gamma, error=0.5 if kind == "step" else 0.0)
    log = mdp.add_ratios(log, process, "new", target, behavior, gamma)
    columns = policy(kind, f"{kind}_new", f"{kind}_sa_new")
    estimators = [e for e in marginal_estimators(n_step) if e.name != "sm_dm"]
    if kind == "occupancy":
        estimators = [e for e in estimators if not e.row["form"].startswith("normalised")]
    truth = process.value(target, gamma)
    rows = rows_of(cf.evaluate(logged(log), {"new": columns}, estimators, gamma=gamma))
    for label, row in rows.items():
        assert row["value"] == pytest.approx(truth, abs=1e-11), label


def z_scores(weigh, kind: str = "step", n_logs: int = 200) -> dict[str, np.ndarray]:
    """(value - truth) / standard error over many logs of a process whose end depends on the action;
    `weigh` may spoil the ratios of states. No episode reaches the horizon where visits over all
    steps count."""
    gamma = 0.9
    process = mdp.random_mdp(1, horizon=5 if kind == "step" else 200)
    behavior = mdp.random_policy(1, process, spread=0.4)
    target = 0.5 * behavior + 0.5 * mdp.random_policy(2, process, spread=0.4)
    truth = process.value(target, gamma)
    names = ["drl", "sm_is", "sm_dr", "sam_is", "sam_dr"]
    names += ["sm_snis", "sam_sndr"] if kind == "step" else []
    estimators = [cf.Estimator(n, n_step=k) for n in names for k in (0, 2) if k == 0 or n != "drl"]
    z: dict[str, list[float]] = {estimator.label: [] for estimator in estimators}
    for seed in range(n_logs):
        log = mdp.simulate(process, behavior, 800, seed=5000 + seed, ids="integer")
        log = mdp.add_policy(
            log, process, "new", target, gamma, error=0.3 if kind == "step" else 0.0
        )
        log = mdp.add_ratios(log, process, "new", target, behavior, gamma)
        log = log.with_columns(mu=weigh(log), mu_sa=log.columns[f"{kind}_sa_new"])
        if kind == "occupancy":
            log = log.with_columns(
                q_new=log.columns["q_new"] + 0.3, v_new=log.columns["v_new"] + 0.3
            )
        evaluation = cf.evaluate(logged(log), {"new": policy(kind)}, estimators, gamma=gamma)
        for label, row in rows_of(evaluation).items():
            z[label].append((row["value"] - truth) / row["standard_error"])
    return {label: np.array(scores) for label, scores in z.items()}


@pytest.mark.parametrize("kind", ["step", "occupancy"])
def test_unbiased_and_standard_errors_honest(kind):
    for label, scores in z_scores(lambda log: log.columns[f"{kind}_new"], kind).items():
        assert abs(scores.mean()) < 3 / math.sqrt(len(scores)), label
        assert 0.75 < scores.var(ddof=1) < 1.3, label


def test_a_planted_error_is_found():
    """The incumbent's: the state's ratio without the action's, here divided out beforehand."""

    def without_action(log: mdp.Log) -> np.ndarray:
        return log.columns["step_new"] * log.columns["propensity"] / log.columns["p_new"]

    scores = z_scores(without_action, n_logs=60)
    assert abs(scores["sm_is"].mean()) > 1
    assert abs(scores["sam_is"].mean()) < 3 / math.sqrt(60)


def test_ratios_that_are_0_everywhere_are_refused_where_nothing_else_is_left():
    log = random_log(1, 50, 1.0)
    zero = cf.PolicyColumns(state_action_ratio=np.zeros(len(log.columns["mu"])))
    with pytest.raises(cf.InvalidPolicyError, match="every importance weight is 0 at step 0"):
        cf.evaluate(logged(log), {"new": zero}, ["sam_snis"])
    rows = rows_of(cf.evaluate(logged(log), {"new": zero}, ["sam_snis", "sam_is"]))
    assert rows["sam_is"]["value"] == 0
    assert math.isnan(rows["sam_snis"]["value"])


def test_right_ratios_are_not_accused():
    """And those that are too large by a tenth are."""
    process = mdp.random_mdp(1, horizon=5)
    behavior, target = mdp.random_policy(1, process), mdp.random_policy(3, process)
    accused = {1.0: 0, 1.1: 0}
    for seed in range(40):
        log = mdp.simulate(process, behavior, 2000, seed=seed, ids="integer")
        log = mdp.add_policy(log, process, "new", target, 0.9)
        log = mdp.add_ratios(log, process, "new", target, behavior, 0.9)
        for factor in accused:
            columns = policy("step", factor * log.columns["step_new"], "step_sa_new")
            rows = rows_of(cf.evaluate(logged(log), {"new": columns}, ["sm_is"], gamma=0.9))
            accused[factor] += "by more than chance" in (rows["sm_is"]["note"] or "")
    assert accused[1.0] == 0
    assert accused[1.1] > 20
