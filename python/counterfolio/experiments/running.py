"""`experiment`: logs from a simulator, candidates, estimates, truth, and who was right."""

from __future__ import annotations

import importlib.util
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from counterfolio import estimators as registry
from counterfolio.arguments import check_gamma, check_k, check_seed
from counterfolio.assessing import assess
from counterfolio.evaluations_files import open_folder
from counterfolio.exceptions import MissingExtraError
from counterfolio.experiments.candidates import learned_behavior, learned_candidates
from counterfolio.experiments.keeping import described, keep_asked
from counterfolio.experiments.result import Experiment
from counterfolio.many import evaluate_many
from counterfolio.models import LinearQ, LinearRatio
from counterfolio.policies import BEHAVIOR, check_policies
from counterfolio.preparation import prepare
from counterfolio.simulate import collect, on_policy_value
from counterfolio.simulate.environment import check_count
from counterfolio.threads import check_threads, one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from counterfolio.estimators import Estimator
    from counterfolio.log import LoggedData
    from counterfolio.policies import Policy

#: The estimators of arXiv 2311.18207, and what stands for the marginal ones where episodes differ
#: in length: ratios of visits, normalised, would leave out how long they are.
ESTIMATORS = ("dm", "snpdis", "sndr", "sm_snis", "sm_sndr")
OF_ANY_LENGTH = ("dm", "snpdis", "sndr", "sm_is", "sm_dr")
#: Of the models: with little, Q and ratios of policies far from the log run away.
RIDGE = 1e-2


def experiment(
    env: Any = "counterfolio/RealTimeBidding-v0",
    behavior: Policy | None = None,
    candidates: Mapping[str, Policy] | Callable[[LoggedData], Mapping[str, Policy]] | None = None,
    *,
    estimators: Sequence[str | Estimator] | None = None,
    n_logs: int = 20,
    n_episodes: int = 1000,
    n_training: int = 2000,
    n_roll_outs: int = 10_000,
    gamma: float = 1.0,
    k: int | None = None,
    cross_fit: int | None = 2,
    q_model: Any = None,
    ratio_model: Any = None,
    seed: int = 0,
    max_episode_steps: int | None = None,
    num_threads: int | None = None,
    path: str | Path | None = None,
) -> Experiment:
    """Ask of many simulated logs which estimator chooses the better shortlist for its risk.

    Candidates are learned from one log of the behavior policy; every estimator ranks them on each
    of `n_logs` others; roll-outs say what they are really worth (the protocol of arXiv 2311.18207,
    section 5, with models fitted by cross-fitting on each log).

    Parameters
    ----------
    env
        As for `collect`.
    behavior
        Makes the logs. Default: `experiments.learned_behavior`.
    candidates
        By name, or a function of the training log that makes them. Default:
        `experiments.learned_candidates`, twelve.
    estimators
        As in `evaluate`. Default: those of the paper, dm, snpdis, sndr, sm_snis and sm_sndr; sm_is
        and sm_dr in place of the last two where episodes of the training log differ in length.
    n_logs
        How many logs.
    n_episodes
        Of each log.
    n_training
        Episodes from which candidates, and the behavior policy, are learned.
    n_roll_outs
        Episodes behind each true value.
    gamma
        Discount factor in (0, 1].
    k
        Size of the shortlist. Default: 4, or as many as there are candidates.
    cross_fit
        As in `prepare`.
    q_model, ratio_model
        As in `prepare`. Default: `LinearQ(ridge=1e-2)` and `LinearRatio(ridge=1e-2)`: with a
        smaller ridge, Q and ratios of policies far from the log run away.
    seed
        One for everything. More logs of the same seed begin with the same ones.
    max_episode_steps
        As for `collect`: for environments that have no limit of their own.
    num_threads
        As in `evaluate_many`.
    path
        Of a folder for the evaluations; a run that was stopped goes on, more logs are added. The
        file "experiment.json" in it says what was asked.

    Returns
    -------
    Experiment

    Raises
    ------
    InvalidArgumentError
        If an argument is out of its range, policies would have to be learned for continuous
        actions, or the folder holds another experiment.
    MissingExtraError
        If candidates are to be learned and scikit-learn is missing.
    """
    began = time.perf_counter()
    for what, value in (
        ("n_logs", n_logs),
        ("n_episodes", n_episodes),
        ("n_training", n_training),
        ("n_roll_outs", n_roll_outs),
    ):
        check_count(what, value, 2)
    seed = check_seed(seed)
    # What takes long begins only when the rest is known to be right.
    check_gamma(gamma)
    if isinstance(estimators, str | registry.Estimator):
        estimators = [estimators]
    if estimators is not None:
        registry.resolve(estimators)
    check_threads(num_threads)
    if candidates is None and importlib.util.find_spec("sklearn") is None:
        text = (
            "one of the learned candidates needs scikit-learn; pip install "
            '"counterfolio[models]", or pass candidates'
        )
        raise MissingExtraError(text)
    folder = None if path is None else open_folder(path)
    q_model = LinearQ(ridge=RIDGE) if q_model is None else q_model
    ratio_model = LinearRatio(ridge=RIDGE) if ratio_model is None else ratio_model
    learning, training, truth_seed, *logged = (
        int(s) for s in np.random.SeedSequence(seed).generate_state(3 + n_logs)
    )
    limit: dict[str, Any] = {"max_episode_steps": max_episode_steps}
    with one_blas_thread():
        if behavior is None:
            behavior = learned_behavior(env, n_training, learning, gamma=gamma, **limit)
        past = collect(env, behavior, n_training, training, **limit)
        if candidates is None:
            candidates = partial(learned_candidates, gamma=gamma)
        learned = callable(candidates)
        if callable(candidates):
            candidates = candidates(past)
        if estimators is None:
            estimators = ESTIMATORS if _same_length(past) else OF_ANY_LENGTH
        asked = registry.resolve(estimators)
        named: dict[str, Any] = check_policies(candidates)
        k = min(4, len(named)) if k is None else check_k(k, len(named))
        truth = on_policy_value(
            env, {**named, BEHAVIOR: behavior}, n_roll_outs, truth_seed, gamma=gamma, **limit
        )
        settings: dict[str, Any] = {
            "env": env if isinstance(env, str) else type(env).__name__,
            "n_logs": int(n_logs),
            "n_episodes": int(n_episodes),
            "n_training": int(n_training),
            "n_roll_outs": int(n_roll_outs),
            "gamma": float(gamma),
            "k": k,
            "cross_fit": cross_fit,
            "q_model": described(q_model),
            "ratio_model": described(ratio_model),
            "seed": seed,
            **limit,
        }
        if folder is not None:
            fixed = {key: x for key, x in settings.items() if key not in ("n_logs", "k")}
            keep_asked(folder, fixed, {name: truth.value(name) for name in truth})
        # Names stay the same as logs are added.
        logs = {
            f"log_{i}": _source(env, partial(collect, env, behavior, n_episodes, own, **limit))
            for i, own in enumerate(logged)
        }
        evaluations = evaluate_many(
            logs,
            lambda log: prepare(
                log,
                named,
                asked,
                gamma=gamma,
                cross_fit=cross_fit,
                q_model=q_model,
                ratio_model=ratio_model,
            ),
            asked,
            gamma=gamma,
            seed=seed,
            num_threads=num_threads,
            path=folder,
            keep="estimates",
        )
    settings |= {"learned": learned, "seconds": time.perf_counter() - began}
    assessed = assess(evaluations, truth, k=k, relative_safety=1.0)
    return Experiment(behavior, named, truth, logs, evaluations, assessed, settings)


#: One environment plays one log at a time, whatever threads ask for more.
_TURN = threading.Lock()


def _source(env: Any, collected: Callable[[], LoggedData]) -> Callable[[], LoggedData]:
    """Give a function that collects a log; logs are collected on several threads."""
    shared = isinstance(env, gym.Env | gym.vector.VectorEnv)
    return partial(_in_turn, collected) if shared else collected


def _in_turn(collected: Callable[[], LoggedData]) -> LoggedData:
    with _TURN:
        return collected()


def _same_length(log: LoggedData) -> bool:
    lengths = log._episodes.lengths()
    return bool((lengths == lengths[0]).all())
