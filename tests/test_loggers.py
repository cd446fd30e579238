"""Several loggers in one log: naive and balanced weights."""

from __future__ import annotations

from dataclasses import replace

import counterfolio as cf
import mdp as process
import numpy as np
import polars as pl
import pytest
from counterfolio.assumptions import assumptions
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

KEYS = {"episode_id": "episode_id", "timestep": "timestep"}
BOTH = {"logger": "logger", "logger_propensities": {"A": "p_A", "B": "p_B"}}


def brute_force(of: np.ndarray, lengths: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """M_t / M_{t-1}, the products formed as they stand in the definition."""
    share = np.bincount(of, minlength=len(columns)) / len(of)
    found, row = [], 0
    for length in lengths:
        before = 1.0
        for t in range(length):
            products = columns[:, row : row + t + 1].prod(axis=1)
            now = float(share @ products)
            found.append(now / before)
            before = now
        row += length
    return np.array(found)


def drawn(seed: int, n: int, n_loggers: int, longest: int = 6) -> tuple[dict, np.ndarray]:
    """Episodes of unequal length; a logger's propensity is at times 0 where another acted."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, n)
    of = np.concatenate([np.arange(n_loggers), rng.integers(n_loggers, size=n - n_loggers)])
    rows = int(lengths.sum())
    columns = rng.uniform(0.05, 1, (n_loggers, rows))
    own = np.repeat(of, lengths)
    columns[(rng.random(columns.shape) < 0.1) & (np.arange(n_loggers)[:, None] != own)] = 0
    frame = {
        "episode_id": np.repeat(np.arange(n), lengths),
        "action": np.zeros(rows, dtype=int),
        "reward": rng.normal(size=rows),
        "logger": np.array([f"logger {j}" for j in range(n_loggers)])[own],
        "propensity": columns[own, np.arange(rows)],
        **{f"p{j}": columns[j] for j in range(n_loggers)},
    }
    return frame, brute_force(of, lengths, columns)


def log_of(frame: object, n_loggers: int, **roles: object) -> cf.LoggedData:
    named = {f"logger {j}": f"p{j}" for j in range(n_loggers)}
    roles = {"episode_id": "episode_id", "logger": "logger", "logger_propensities": named} | roles
    return cf.LoggedData.from_frame(frame, **roles)


def propensity(log: cf.LoggedData) -> np.ndarray:
    return pl.DataFrame(log._propensity).to_series().to_numpy()


@pytest.mark.parametrize("n_loggers", [1, 2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_balanced_against_a_loop(seed, n_loggers):
    frame, wanted = drawn(seed, 60, n_loggers)
    log = log_of(frame, n_loggers)
    np.testing.assert_array_equal(propensity(log), frame["propensity"])
    balanced = log.balanced()
    np.testing.assert_allclose(propensity(balanced), wanted, rtol=1e-12)
    assert (log.propensity_source, balanced.propensity_source) == ("logged", "balanced")
    rng = np.random.default_rng(seed)
    prob = rng.uniform(size=len(wanted)) * (rng.random(len(wanted)) < 0.8)
    names = ["tis", "sntis", "pdis", "snpdis"]
    by_hand = cf.LoggedData.from_frame(frame | {"propensity": wanted}, episode_id="episode_id")
    found, again = (
        cf.evaluate(x, {"new": prob}, names, gamma=0.9).estimates["value"]
        for x in (balanced, by_hand)
    )
    np.testing.assert_allclose(found, again, rtol=1e-11)


def test_single_decisions():
    """sum_j alpha_j b_j(a|s)."""
    frame, _ = drawn(5, 300, 3, longest=1)
    columns = np.stack([frame[f"p{j}"] for j in range(3)])
    share = np.array([(frame["logger"] == f"logger {j}").mean() for j in range(3)])
    found = propensity(log_of(frame, 3, episode_id=None).balanced())
    np.testing.assert_allclose(found, share @ columns, rtol=1e-13)


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_balanced_properties(seed, n_loggers):
    frame, _ = drawn(seed, 12, n_loggers)
    found = propensity(log_of(frame, n_loggers).balanced())
    columns = np.stack([frame[f"p{j}"] for j in range(n_loggers)])
    assert (found >= columns.min(axis=0)).all()
    assert (found <= columns.max(axis=0)).all()
    # Names and their order mean nothing.
    named = {f"x{j}": f"p{j}" for j in reversed(range(n_loggers))}
    renamed = frame | {"logger": np.array([f"x{x[-1]}" for x in frame["logger"]])}
    again = propensity(log_of(renamed, n_loggers, logger_propensities=named).balanced())
    np.testing.assert_array_equal(found, again)
    # Nor does it when every episode stands there twice.
    twice = {k: np.concatenate([v, v]) for k, v in frame.items()}
    twice["episode_id"] = np.concatenate([frame["episode_id"], frame["episode_id"] + 1000])
    again = propensity(log_of(twice, n_loggers).balanced())
    np.testing.assert_allclose(again, np.concatenate([found, found]), rtol=1e-12)


def test_equal_loggers_are_one():
    frame, _ = drawn(7, 200, 3)
    equal = frame | {f"p{j}": frame["propensity"] for j in range(3)}
    log = log_of(equal, 3)
    np.testing.assert_array_equal(propensity(log.balanced()), frame["propensity"])


# Loggers of a decision process whose value is known, and whose end depends on the action.

WORLD = process.random_mdp(3, n_states=3, n_actions=2, horizon=4)
LOGGERS = {
    "A": process.random_policy(1, WORLD),
    "B": np.array([[0.25, 0.75], [0.8, 0.2], [0.8, 0.2]]),  # explores little
}
TARGET = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
GAMMA = 0.9


def by_both(logs: dict[str, process.Log]) -> pl.DataFrame:
    """The logs of both loggers below each other, with what either would have done."""
    frames = []
    for name, log in logs.items():
        frame = pl.DataFrame({k: v.tolist() for k, v in log.columns.items()})
        s, a = (frame[c].to_numpy() for c in ("state", "action"))
        both = {f"p_{j}": pl.Series(b[s, a]) for j, b in LOGGERS.items()}
        frame = frame.with_columns(
            episode_id=name + pl.col("episode_id").cast(pl.String),
            logger=pl.lit(name),
            p_new=pl.Series(TARGET[s, a]),
            **both,
        )
        frames.append(frame)
    return pl.concat(frames)


def test_balanced_weights_are_unbiased_exactly():
    """Over all trajectories of all loggers, each with its probability."""
    world = replace(WORLD, noise=0.0)
    found = {j: process.every_trajectory(world, b) for j, b in LOGGERS.items()}
    log = cf.LoggedData.from_frame(by_both({j: x for j, (x, _) in found.items()}), **KEYS, **BOTH)
    lengths = log._episodes.lengths()
    starts = np.cumsum(lengths) - lengths
    step = np.arange(log.n_rows) - np.repeat(starts, lengths)
    ratio = log.column("p_new").to_numpy() / propensity(log.balanced())
    discounted = GAMMA**step * log.column("reward").to_numpy()
    weights = np.multiply.reduceat(ratio, starts)
    share = {j: len(x.lengths) / log.n_episodes for j, (x, _) in found.items()}
    chance = np.concatenate([share[j] * p for j, (_, p) in found.items()])
    assert chance.sum() == pytest.approx(1, abs=1e-12)
    assert chance @ weights == pytest.approx(1, abs=1e-12)
    truth = world.value(TARGET, GAMMA)
    returns = np.add.reduceat(discounted, starts)
    assert chance @ (weights * returns) == pytest.approx(truth, abs=1e-12)
    running = np.concatenate(
        [np.cumprod(ratio[i : i + n]) for i, n in zip(starts, lengths, strict=True)]
    )
    by_step = np.add.reduceat(running * discounted, starts)
    assert chance @ by_step == pytest.approx(truth, abs=1e-12)


def test_balanced_varies_less_than_naive():
    """Where one logger explores little, its own weights are large."""
    logs = {
        j: process.simulate(WORLD, b, 10_000, seed=i) for i, (j, b) in enumerate(LOGGERS.items())
    }
    log = cf.LoggedData.from_frame(by_both(logs), **KEYS, **BOTH)
    truth, names = WORLD.value(TARGET, GAMMA), ["tis", "pdis", "sntis", "snpdis"]
    naive, balanced = (
        cf.evaluate(x, {"new": "p_new"}, names, gamma=GAMMA) for x in (log, log.balanced())
    )
    for evaluation in (naive, balanced):
        rows = evaluation.estimates[:4]
        assert (np.abs(rows["value"] - truth) < 4.5 * rows["standard_error"]).all()
    errors = [x.estimates["standard_error"][:4].to_numpy() for x in (naive, balanced)]
    assert (errors[1] < 0.95 * errors[0]).all()
    assert balanced.settings["propensity_source"] == "balanced"
    assert balanced.settings["logger"] == "logger"
    assert "balanced propensities" in repr(balanced)
    assert "balanced" not in repr(naive)
    assert any("all loggers together" in said for said in assumptions(balanced))


def test_a_logger_that_hardly_explores():
    """Its few rows with the other action weigh 90 each; balanced, none weighs above 1.8."""
    rng = np.random.default_rng(8)
    n, rare, new = 20_000, np.array([0.5, 0.01]), 0.9
    of = rng.integers(2, size=n)
    action = (rng.random(n) < rare[of]).astype(int)
    chance = np.where(action == 1, rare[:, None], 1 - rare[:, None])
    frame = {
        "action": action,
        "reward": action + rng.normal(0, 0.1, n),
        "logger": np.array(["A", "B"])[of],
        "p_A": chance[0],
        "p_B": chance[1],
        "p_new": np.where(action == 1, new, 1 - new),
    }
    log = cf.LoggedData.from_frame(frame, **BOTH)
    rows = [
        cf.evaluate(x, {"new": "p_new"}, ["tis"]).estimates.row(0, named=True)
        for x in (log, log.balanced())
    ]
    for row in rows:
        assert abs(row["value"] - new) < 4 * row["standard_error"]
    assert rows[1]["standard_error"] < 0.25 * rows[0]["standard_error"]


def test_products_that_underflow():
    """Ten thousand steps: products of 1e-20000 are never formed."""
    rng = np.random.default_rng(4)
    n, steps = 4, 10_000
    columns = rng.uniform(1e-3, 1e-1, (2, n * steps))
    of = np.array([0, 1, 1, 0])
    own = np.repeat(of, steps)
    frame = {
        "episode_id": np.repeat(np.arange(n), steps),
        "action": np.zeros(n * steps, dtype=int),
        "reward": np.ones(n * steps),
        "logger": np.array(["logger 0", "logger 1"])[own],
        "p0": columns[0],
        "p1": columns[1],
    }
    found = propensity(log_of(frame, 2).balanced()).reshape(n, steps)
    sums = np.log(columns).reshape(2, n, steps).cumsum(axis=2) + np.log(0.5)
    logs = special.logsumexp(sums, axis=0)
    wanted = np.exp(np.diff(logs, axis=1, prepend=0))
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_the_same_bits_for_any_number_of_threads(monkeypatch):
    frame, _ = drawn(11, 20_000, 3)
    assert len(frame["reward"]) > 50_000  # below that one thread does it all
    log = log_of(frame, 3)
    found = []
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("COUNTERFOLIO_NUM_THREADS", threads)
        found.append(propensity(log.balanced()))
    chunked = pl.concat([pl.DataFrame(frame)[:777], pl.DataFrame(frame)[777:]], rechunk=False)
    found.append(propensity(log_of(chunked, 3).balanced()))
    assert all(np.array_equal(found[0], x) for x in found[1:])


def test_densities():
    """Two normal loggers of a continuous action."""
    rng = np.random.default_rng(6)
    n = 20_000
    of = rng.integers(2, size=n)
    action = rng.normal([-1.0, 1.0], [0.3, 1.0], (n, 2))[np.arange(n), of]
    frame = {
        "action": action,
        "reward": action**2,
        "logger": of,
        "narrow": stats.norm.pdf(action, -1, 0.3),
        "wide": stats.norm.pdf(action, 1, 1.0),
        "new": stats.norm.pdf(action, 0, 0.5),
    }
    log = cf.LoggedData.from_frame(
        frame,
        action_type="continuous",
        logger="logger",
        logger_propensities={0: "narrow", 1: "wide"},
    )
    balanced = log.balanced()
    share = of.mean()
    mixed = (1 - share) * frame["narrow"] + share * frame["wide"]
    np.testing.assert_allclose(propensity(balanced), mixed, rtol=1e-13)
    row = cf.evaluate(balanced, {"new": "new"}, ["tis"]).estimates.row(0, named=True)
    assert abs(row["value"] - 0.25) < 4 * row["standard_error"]
