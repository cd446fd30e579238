"""From an environment to a shortlist and back to the truth, without torch, in one go."""

from __future__ import annotations

import subprocess
import sys
import textwrap

PROGRAM = textwrap.dedent(
    """
    import sys
    import counterfolio as cf

    env = cf.simulate.Basic(horizon=4, n_actions=4)
    coin = cf.policies.Uniform(4)
    log = cf.collect(env, coin, 800, seed=1)
    learners = {
        "fqi": cf.learners.FittedQIteration(),
        "pessimistic": cf.learners.PessimisticQ(beta=0.5),
    }
    learned = {name: x.fit(log, gamma=0.9) for name, x in learners.items()}
    candidates = {
        f"{name} {epsilon}": cf.policies.EpsilonGreedy(q, epsilon, actions=q.actions)
        for name, q in learned.items()
        for epsilon in (0.2, 0.6)
    }
    candidates["clone"] = cf.learners.BehaviorCloning().fit(log)

    fresh = cf.collect(env, coin, 800, seed=2)
    prepared = cf.prepare(fresh, candidates, ["dm", "snpdis", "sndr"], gamma=0.9)
    evaluation = cf.evaluate(fresh, prepared, gamma=0.9, n_resamples=200, seed=0)
    shortlist = evaluation.portfolio(2, "sndr")
    selected = cf.select_estimator(fresh, prepared, ["snpdis", "sndr", "dm"], gamma=0.9)
    truth = cf.on_policy_value(env, {**candidates, "behavior": coin}, 4000, seed=3, gamma=0.9)
    assessed = cf.assess(evaluation, truth, k=2)

    best = max(candidates, key=truth.value)
    assert set(shortlist.policies) == {"fqi 0.2", "pessimistic 0.2"}, shortlist
    assert best in shortlist.policies
    assert shortlist.predictive_sharpe_ratio is not None
    assert assessed.table.filter(estimator="sndr", metric="rank_correlation")["value"][0] > 0.8
    # The clone of a coin is worth what the coin is.
    gap = truth.compare("clone", "behavior")
    assert abs(gap["difference"][0]) < 4 * gap["standard_error"][0] + 0.05
    assert not {"torch", "d3rlpy", "stable_baselines3"} & set(sys.modules)
    print(type(selected).__name__)
    """
)


def test_the_chain_runs_without_torch():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "EstimatorSelection\n"), done.stderr


def test_torch_is_installed_nowhere():
    import importlib.util

    for name in ("torch", "d3rlpy", "stable_baselines3"):
        assert importlib.util.find_spec(name) is None, name
