"""Logs that are collected, beside what the tables say; estimators beside what they estimate."""

from __future__ import annotations

import functools

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from counterfolio import policies as pi
from counterfolio.simulate import Basic, RealTimeBidding, Recommender, Tabular
from scipy import stats

# What is collected.


WORLD = Tabular.random(4, 3, world_seed=5, end=0.25, horizon=5, reward_std=0.3)


def leaning(seed, share=0.5):
    """A policy of WORLD that does everything at times."""
    own = np.random.default_rng(seed).dirichlet(np.ones(3), 5)
    return (1 - share) / 3 + share * own


#: The candidate looks at what pays at once.
BEHAVIOR, CANDIDATE = leaning(1), np.exp(2 * WORLD.reward)
CANDIDATE /= CANDIDATE.sum(axis=1, keepdims=True)


def visits(env, table):
    """P(S_t = s, still going), by step: of shape (horizon, n_states)."""
    found = np.zeros((env.horizon, env.n_states))
    found[0] = env.initial
    for step in range(1, env.horizon):
        found[step] = np.einsum("s,sa,sat->t", found[step - 1], table, env.transition)
        found[step][list(env.terminal)] = 0
    return found


def fits(counts, probabilities, level=1e-3):
    """A chi-square test, what never happens apart."""
    probabilities = np.asarray(probabilities)
    assert counts[probabilities == 0].sum() == 0
    expected = probabilities / probabilities.sum() * counts.sum()
    # Rare ones together, as the test needs some of each.
    rare = expected < 5
    counts, expected = (
        np.append(x[~rare], x[rare].sum() if rare.any() else []) for x in (counts, expected)
    )
    kept = expected > 0
    return kept.sum() < 2 or stats.chisquare(counts[kept], expected[kept]).pvalue > level


def test_states_are_visited_and_left_as_the_tables_say():
    n = 20_000
    log = cf.collect(WORLD, pi.Tabular(BEHAVIOR), n, 7)
    names = ("episode", "step", "state", "action", "reward", "terminated", "truncated")
    rows = pl.DataFrame({name: log.column(name) for name in names})
    exact = visits(WORLD, BEHAVIOR)
    for step in range(5):
        now = rows.filter(pl.col("step") == step)["state"].to_numpy()
        counts = np.bincount(now, minlength=5)
        # Those that have ended are counted too: how many go on is what ends decide.
        assert fits(np.append(counts, n - len(now)), np.append(exact[step], 1 - exact[step].sum()))
    after = rows["state"].shift(-1, fill_value=0).to_numpy().copy()
    after[rows["terminated"].to_numpy()] = 4
    known = ~rows["truncated"].to_numpy()
    state, action = rows["state"].to_numpy(), rows["action"].to_numpy()
    for s in range(4):
        taken = np.bincount(action[state == s], minlength=3)
        assert fits(taken, BEHAVIOR[s])
        for a in range(3):
            here = known & (state == s) & (action == a)
            # The last step of the horizon shows its end alone.
            early = here & (rows["step"].to_numpy() < 4)
            assert fits(np.bincount(after[early], minlength=5), WORLD.transition[s, a])
    last = rows.filter(pl.col("step") == 4)
    ended = WORLD.transition[last["state"], last["action"], 4]
    z = (last["terminated"] - ended).sum() / np.sqrt((ended * (1 - ended)).sum())
    assert abs(z) < 4
    assert (last["terminated"] | last["truncated"]).all()
    assert not rows.filter(pl.col("step") < 4)["truncated"].any()
    noise = rows["reward"].to_numpy() - WORLD.reward[state, action]
    assert stats.kstest(noise / 0.3, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 4 / np.sqrt(len(noise))


# Estimators beside the exact value.

GAMMA = 0.9
UNBIASED = ["dm", "tis", "pdis", "dr", "sm_is", "sm_dr", "sam_is", "sam_dr", "drl"]
NORMALISED = ["sntis", "snpdis", "sndr", "sm_snis", "sm_sndr", "sam_snis", "sam_sndr"]
STEPS_BACK = [cf.Estimator(name, n_step=1) for name in ("sm_is", "sam_dr", "sm_snis")]
TRUTH = WORLD.exact_value(pi.Tabular(CANDIDATE), GAMMA)


@functools.cache
def by_step(error):
    """Q and V of CANDIDATE at each step, Q wrong by some error that no log decides."""
    q, v = np.zeros((5, 5, 3)), np.zeros((6, 5))
    for step in reversed(range(5)):
        q[step] = WORLD.reward + GAMMA * WORLD.transition @ v[step + 1]
        q[step, 4] = 0
        v[step] = (CANDIDATE * q[step]).sum(axis=1)
    q += error * np.random.default_rng(6).normal(size=q.shape)
    return q, np.einsum("sa,tsa->ts", CANDIDATE, q)


def columns(log, error=0.3, logged=BEHAVIOR):
    """All that estimators ask of CANDIDATE; dm has nothing but Q, so it needs the right one."""
    state, action, step = (log.column(name).to_numpy() for name in ("state", "action", "step"))
    q, v = by_step(error)
    ratio = visits(WORLD, CANDIDATE) / np.where((own := visits(WORLD, logged)) > 0, own, 1)
    mu, pi_a = ratio[step, state], CANDIDATE[state, action]
    return cf.PolicyColumns(
        prob=pi_a,
        q=q[step, state, action],
        v=v[step, state],
        state_ratio=mu,
        state_action_ratio=mu * pi_a / logged[state, action],
        ratio_kind="step",
    )


def evaluated(log, policies, estimators):
    table = cf.evaluate(log, policies, estimators, gamma=GAMMA).estimates
    return table.filter(pl.col("policy") != "behavior")


def unbiased(values, truth=TRUTH):
    values = np.asarray(values)
    z = (values.mean(axis=0) - truth) / (values.std(axis=0, ddof=1) / np.sqrt(len(values)))
    return np.abs(z) < 4


def over_logs(n_logs, n_episodes, policies, estimators, given, prepare=lambda log: log):
    """Values over many logs of their own seeds, and standard errors beside them."""
    values, errors = [], []
    for seed in range(n_logs):
        log = prepare(cf.collect(WORLD, policies, n_episodes, 1000 + seed))
        rows = evaluated(log, given(log), estimators)
        values.append(rows["value"].to_numpy())
        errors.append(rows["standard_error"].to_numpy())
    return np.array(values), np.array(errors)


def test_what_the_log_is_like():
    """Unequal lengths, ends that depend on the action, episodes cut off: what is hard is there."""
    log = cf.collect(WORLD, pi.Tabular(BEHAVIOR), 2000, 1)
    lengths = np.bincount(log.column("episode").to_numpy())
    assert set(lengths) == {1, 2, 3, 4, 5}
    assert 0.1 < log.column("truncated").sum() / 2000 < 0.9
    assert np.ptp(WORLD.transition[:4, :, 4], axis=1).max() > 0.1
    # The candidate is worth something else than what ran.
    assert abs(WORLD.exact_value(pi.Tabular(BEHAVIOR), GAMMA) - TRUTH) > 0.1


LOGS = [pytest.param(120, 150), pytest.param(1000, 300, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("n_logs", "n_episodes"), LOGS)
def test_estimators_are_unbiased_over_logs(n_logs, n_episodes):
    estimators = [*UNBIASED[1:], *STEPS_BACK[:2]]
    values, errors = over_logs(
        n_logs,
        n_episodes,
        pi.Tabular(BEHAVIOR),
        ["dm", *estimators],
        lambda log: {"right": columns(log, error=0.0), "wrong": columns(log)},
    )
    right, wrong = values[:, : len(estimators) + 1], values[:, len(estimators) + 1 :]
    assert unbiased(right).all(), right.mean(axis=0) - TRUTH
    assert unbiased(wrong[:, 1:]).all(), wrong.mean(axis=0) - TRUTH
    # The test finds what is wrong: dm rests on Q alone.
    assert not unbiased(wrong[:, 0])
    # Their standard errors are how far they stray.
    spread = values.std(axis=0, ddof=1)
    np.testing.assert_allclose(errors.mean(axis=0), spread, rtol=0.25 if n_logs < 500 else 0.1)


@pytest.mark.parametrize("error", [0.0, 0.3])
def test_estimators_find_the_exact_value_in_a_large_log(error):
    """Normalised ones too, whose bias is beyond sight with so many episodes."""
    log = cf.collect(WORLD, pi.Tabular(BEHAVIOR), 30_000, 3)
    names = [*UNBIASED[1:], *NORMALISED, *STEPS_BACK]
    rows = evaluated(log, {"new": columns(log, error)}, names)
    for label, value, se in rows.select("estimator", "value", "standard_error").iter_rows():
        assert abs(value - TRUTH) < 4 * se, label
        assert 0 < se < 0.05, label


def test_the_bias_of_normalised_estimators_vanishes():
    """It falls as 1 / n: that of few episodes is seen over many logs, that of more is not."""
    values, errors = over_logs(
        120, 150, pi.Tabular(BEHAVIOR), NORMALISED, lambda log: {"new": columns(log)}
    )
    bias = np.abs(values.mean(axis=0) - TRUTH)
    allowed = 4 * values.std(axis=0) / np.sqrt(120) + values.std(axis=0) / np.sqrt(150)
    assert (bias < allowed).all()
    np.testing.assert_allclose(errors.mean(axis=0), values.std(axis=0), rtol=0.25)


def test_ratios_of_another_log_are_found_out():
    """The marginal estimators rest on them: those of the wrong behavior policy do not pass."""
    log = cf.collect(WORLD, pi.Tabular(BEHAVIOR), 30_000, 3)
    rows = evaluated(log, {"new": columns(log, logged=leaning(3, 0.9))}, ["sam_is"])
    assert abs(rows["value"][0] - TRUTH) > 6 * rows["standard_error"][0]


LOGGERS = {"a": leaning(3, 0.6), "b": leaning(4, 0.6), "c": np.full((5, 3), 1 / 3)}


@pytest.mark.parametrize("balanced", [False, True])
def test_several_loggers(balanced):
    """Naive weights are those of who acted, balanced ones those of all; both are right."""
    names = ["tis", "pdis", "dr", "sntis", "snpdis", "sndr"]
    policies = {name: pi.Tabular(table) for name, table in LOGGERS.items()}
    values, errors = over_logs(
        100,
        150,
        policies,
        names,
        lambda log: {"new": columns(log)},
        lambda log: log.balanced() if balanced else log,
    )
    assert unbiased(values[:, :3]).all()
    spread = values.std(axis=0, ddof=1)
    assert (np.abs(values.mean(axis=0) - TRUTH) < spread * (4 / 10 + 1 / np.sqrt(150))).all()
    np.testing.assert_allclose(errors.mean(axis=0), spread, rtol=0.3)
    log = cf.collect(WORLD, policies, 30_000, 3)
    log = log.balanced() if balanced else log
    rows = evaluated(log, {"new": columns(log)}, names)
    assert (abs(rows["value"] - TRUTH) < 4 * rows["standard_error"]).all()


def test_balanced_weights_vary_less():
    policies = {name: pi.Tabular(table) for name, table in LOGGERS.items()}
    log = cf.collect(WORLD, policies, 30_000, 3)
    naive, balanced = (
        evaluated(own, {"new": columns(own)}, ["tis"])["standard_error"][0]
        for own in (log, log.balanced())
    )
    assert balanced < naive


# Elsewhere, beside roll-outs.

WEIGHTS = np.random.default_rng(0).normal(size=(7, 10))


def softmax(d, k, temperature):
    return pi.Softmax(lambda s: np.clip(s, -3, 3) @ WEIGHTS[:d, :k], temperature)


def paying(temperature):
    """A policy of `Basic` that looks at what actions pay."""
    env = Basic()
    points = [np.repeat(env.contexts[a : a + 1], 2**16, axis=0) for a in range(10)]
    return pi.Softmax(
        lambda s: np.stack([env.mean_reward(s, p[: len(s)]) for p in points], axis=1), temperature
    )


@pytest.mark.parametrize(
    ("env", "behavior", "candidate"),
    [
        (Basic(horizon=4, reward_std=0.5), pi.Uniform(10), paying(1.0)),
        (
            Basic(horizon=3, reward_type="binary", obs_std=0.1),
            pi.Uniform(10),
            paying(0.7),
        ),
        (
            Basic(horizon=3, action_type="continuous"),
            pi.Gaussian(lambda s: s[:, :3] * 0.3, 0.5),
            pi.Gaussian(lambda s: s[:, :3] * 0.5, 0.4),
        ),
        (Recommender(horizon=4), softmax(5, 5, 2.0), softmax(5, 5, 1.0)),
        (
            RealTimeBidding(horizon=4, search_volume_mean=50, search_volume_std=5),
            softmax(7, 10, 40.0),
            softmax(7, 10, 20.0),
        ),
        (
            RealTimeBidding(
                horizon=3, search_volume_mean=50, search_volume_std=5, action_type="continuous"
            ),
            pi.TruncatedGaussian(lambda s: np.zeros(len(s)), 0.5, -1, 1),
            pi.TruncatedGaussian(lambda s: np.full(len(s), 0.2), 0.4, -1, 1),
        ),
    ],
    ids=["Basic", "Basic-binary", "Basic-continuous", "Recommender", "bidding", "bidding-box"],
)
def test_estimates_are_within_error_of_roll_outs(env, behavior, candidate):
    log = cf.collect(env, behavior, 6000, 1)
    names = ["tis", "pdis", "sntis", "snpdis"]
    rows = evaluated(log, {"new": candidate}, names)
    truth = cf.on_policy_value(env, {"new": candidate, "old": behavior}, 6000, 2, gamma=GAMMA)
    own = truth.table["standard_error"][0]
    for label, value, se in rows.select("estimator", "value", "standard_error").iter_rows():
        assert abs(value - truth.value("new")) < 4 * np.hypot(se, own), label
    # There is a difference to be found.
    gap = truth.compare("new", "old").row(0, named=True)
    assert abs(gap["difference"]) > 4 * gap["standard_error"]
