"""The joint bootstrap once more: its draws, replicates and ends of intervals, for tests only."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal, localcontext
from math import factorial, inf, isnan, nan
from typing import TYPE_CHECKING

import counterfolio as cf
import mdp
import numpy as np
import oracle
import polars as pl
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Iterable

LARGEST = 2**64
BOOTSTRAP, MULTINOMIAL = 0, 4  # what a draw is for


# Logs.

POLICIES = ("near", "far", "zeros")
ROLES = (("episode_id", "episode_id"),)


def lengths(n: int, longest: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, longest + 1, n)


def random_log(lengths: object, seed: int) -> mdp.Log:
    """Any lengths; "zeros" never takes some of the logged actions."""
    rng = np.random.default_rng(seed)
    lengths = np.asarray(lengths)
    n = int(lengths.sum())
    propensity = rng.uniform(0.2, 1.0, n)
    probs = {
        "near": np.clip(propensity * rng.uniform(0.8, 1.2, n), 0, 1),
        "far": rng.uniform(0.01, 1.0, n),
        "zeros": np.where(rng.random(n) < 0.5, 0, propensity),
    }
    columns = {
        "episode_id": mdp.row_ids(lengths),
        "timestep": np.concatenate([np.arange(length) for length in lengths]),
        "action": rng.integers(0, 3, n),
        "reward": rng.normal(0.5, 2.0, n),
        "propensity": propensity,
    }
    for name, prob in probs.items():
        columns |= {f"p_{name}": prob, f"q_{name}": rng.normal(size=n)}
        columns[f"v_{name}"] = columns[f"q_{name}"] + rng.normal(size=n)
    return mdp.Log(lengths, columns)


def simulated_log(seed: int, n: int, horizon: int, end: float = 0.0) -> mdp.Log:
    """From a decision process whose episodes end where and when they like."""
    process = mdp.random_mdp(seed, horizon=horizon)
    if end:
        process = replace(process, end=process.end * end)
    log = mdp.simulate(process, mdp.random_policy(seed, process), n, seed)
    for index, name in enumerate(POLICIES):
        spread = 1.5 if name == "far" else 0.5
        policy = mdp.random_policy(9 * seed + index, process, spread, zeros=name == "zeros")
        log = mdp.add_policy(log, process, name, policy, 0.9, seed=index)
    return log


def extreme_log(largest: float, n: int = 12, horizon: int = 250, seed: int = 0) -> mdp.Log:
    """Logarithms of final weights from -largest to largest, of episodes that wander there."""
    log = random_log(np.full(n, horizon), seed)
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(n, horizon)) * 2 + np.linspace(-1, 1, n)[:, None] * largest / horizon
    ratio = np.exp(steps.ravel())
    over = np.minimum(1, 1 / ratio)
    near = {"propensity": over, "p_near": np.minimum(1, ratio)}
    return log.with_columns(**near, p_far=over, p_zeros=over * (rng.random(n * horizon) < 0.999))


def clustered(n: int = 120, number: int = 70) -> tuple[mdp.Log, np.ndarray]:
    """Users who come back, not one after the other; and each episode's user, a number."""
    log = random_log(lengths(n, 5), 25)
    user = np.random.default_rng(1).integers(0, number, n)
    names = np.array([f"user {i}" for i in range(number)], dtype=object)
    return log.with_columns(user=np.repeat(names[user], log.lengths)), user


def columns_of(name: str) -> cf.PolicyColumns:
    return cf.PolicyColumns(prob=f"p_{name}", q=f"q_{name}", v=f"v_{name}")


def evaluate(frame: object, names=POLICIES, roles=ROLES, **options) -> cf.Evaluation:
    frame = pl.DataFrame(frame.columns) if isinstance(frame, mdp.Log) else frame
    log = cf.LoggedData.from_frame(frame, **dict(roles))
    options = {"estimators": oracle.NAMES, "n_resamples": 20, "seed": 3, **options}
    return cf.evaluate(log, {name: columns_of(name) for name in names}, **options)


def matrices(log: mdp.Log, name: str) -> oracle.DenseLog:
    episode = np.repeat(np.arange(log.n_episodes), log.lengths)
    roles = ("reward", "propensity", f"p_{name}", f"q_{name}", f"v_{name}")
    return oracle.dense(episode, *(log.columns[role] for role in roles))


def ids(log: mdp.Log) -> list:
    return log.columns["episode_id"][log.offsets[:-1]].tolist()


# Hashes of ids.


def hash_integer(x: int) -> int:
    """The finish of splitmix64 (Steele, Lea and Flood 2014), of 64 bits of two's complement."""
    z = (x + 0x9E3779B97F4A7C15) % LARGEST
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % LARGEST
    z = (z ^ z >> 27) * 0x94D049BB133111EB % LARGEST
    return z ^ z >> 31


SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
A, B, C = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
D, E, SMALL = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5, (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)


def _word(data: bytes, at: int, size: int = 8) -> int:
    return int.from_bytes(data[at : at + size], "little")


def _fold(x: int, y: int) -> int:
    return x * y % LARGEST ^ x * y // LARGEST


def _shuffle(z: int, shifts: tuple[int, ...], factors: tuple[int, ...]) -> int:
    for shift, factor in zip(shifts, (*factors, 1), strict=True):
        z = (z ^ z >> shift) * factor % LARGEST
    return z


def _finish(z: int) -> int:
    return _shuffle(z % LARGEST, (37, 32), (0x165667919E3779F9,))


def _mix(data: bytes, at: int, key: int) -> int:
    """Sixteen bytes and as many of the secret."""
    one, two = (_word(data, at + i) ^ _word(SECRET, key + i) for i in (0, 8))
    return _fold(one, two)


def hash_text(text: str) -> int:
    """XXH3 with 64 bits and seed 0 (Collet), of UTF-8."""
    data = text.encode()
    n = len(data)
    if n == 0:
        return _shuffle(_word(SECRET, 56) ^ _word(SECRET, 64), (33, 29, 32), (B, C))
    if n < 4:
        bits = data[-1] | n << 8 | data[0] << 16 | data[n // 2] << 24
        return _shuffle(bits ^ _word(SECRET, 0, 4) ^ _word(SECRET, 4, 4), (33, 29, 32), (B, C))
    if n < 9:
        z = _word(data, 0, 4) << 32 | _word(data, n - 4, 4)
        z ^= _word(SECRET, 8) ^ _word(SECRET, 16)
        z ^= (z << 49 | z >> 15) % LARGEST ^ (z << 24 | z >> 40) % LARGEST
        z = z * 0x9FB21C651E98DF25 % LARGEST
        z = (z ^ (z >> 35) + n) * 0x9FB21C651E98DF25 % LARGEST
        return z ^ z >> 28
    if n < 17:
        low = _word(data, 0) ^ _word(SECRET, 24) ^ _word(SECRET, 32)
        high = _word(data, n - 8) ^ _word(SECRET, 40) ^ _word(SECRET, 48)
        swapped = int.from_bytes(low.to_bytes(8, "little"), "big")
        return _finish(n + swapped + high + _fold(low, high))
    if n < 129:
        pairs = range((n - 1) // 32 + 1)  # one from either side
        both = [
            _mix(data, 16 * i, 32 * i) + _mix(data, n - 16 * i - 16, 32 * i + 16) for i in pairs
        ]
        return _finish(n * A + sum(both))
    if n < 241:
        z = _finish(n * A + sum(_mix(data, 16 * i, 16 * i) for i in range(8)))
        rest = sum(_mix(data, 16 * i, 16 * i - 125) for i in range(8, n // 16))
        return _finish(z + rest + _mix(data, n - 16, 119))
    return _hash_long(data)


def _hash_long(data: bytes) -> int:
    n = len(data)
    sums = [SMALL[2], A, B, C, D, SMALL[1], E, SMALL[0]]

    def take(at: int, key: int) -> None:
        for i in range(8):
            word = _word(data, at + 8 * i)
            keyed = word ^ _word(SECRET, key + 8 * i)
            sums[i ^ 1] = (sums[i ^ 1] + word) % LARGEST
            sums[i] = (sums[i] + keyed % 2**32 * (keyed >> 32)) % LARGEST

    for stripe in range((n - 1) // 64):
        take(64 * stripe, stripe % 16 * 8)
        if stripe % 16 == 15:
            for i in range(8):
                keyed = sums[i] ^ sums[i] >> 47 ^ _word(SECRET, 128 + 8 * i)
                sums[i] = keyed * SMALL[0] % LARGEST
    take(n - 64, 121)
    keys = [sums[i] ^ _word(SECRET, 11 + 8 * i) for i in range(8)]
    return _finish(n * A + sum(_fold(keys[i], keys[i + 1]) for i in range(0, 8, 2)))


def hash_id(x: int | str) -> int:
    return hash_text(x) if isinstance(x, str) else hash_integer(int(x))


# Draws.


def thresholds() -> list[int]:
    """The entries of floor(2^32 F(k)) of Poisson(1) that a uniform below 2^32 - 1 can reach."""
    with localcontext(prec=60):
        mass = [Decimal(-1).exp() / factorial(k) for k in range(20)]
        found = [int(2**32 * sum(mass[: k + 1])) for k in range(20)]
    return [entry for entry in found if entry < 2**32 - 1]


def uniforms(seed: int, item: int, octet: int, purpose: int, blocks: int = 1) -> np.ndarray:
    """Eight numbers below 2^32 to an item and the items that follow it, by numpy's Philox."""
    # numpy adds 1 to its counter of 256 bits before it draws.
    counter = (item + (octet << 64) + (purpose << 128) - 1) % 2**256
    words = np.array([counter >> 64 * i & LARGEST - 1 for i in range(4)], dtype=np.uint64)
    bits = np.random.Philox(key=np.array([seed, 0], dtype=np.uint64), counter=words)
    drawn = bits.random_raw(4 * blocks)
    half = np.uint64(32)
    low = drawn & np.uint64(2**32 - 1)
    return np.stack([low, drawn >> half], axis=1).reshape(blocks, 8)


def poisson(ids: Iterable[int | str], n_resamples: int, seed: int) -> np.ndarray:
    octets = range(-(-n_resamples // 8))
    drawn = [[uniforms(seed, hash_id(x), o, BOOTSTRAP)[0] for o in octets] for x in ids]
    drawn = [np.hstack(row) for row in drawn]
    found = np.searchsorted(thresholds(), np.array(drawn, dtype=np.uint64), side="right")
    return found.T[:n_resamples]


def multinomial(n: int, n_resamples: int, seed: int) -> np.ndarray:
    """Draw i of a replicate takes the unit of which its uniform is the share."""
    found = []
    for octet in range(-(-n_resamples // 8)):
        drawn = uniforms(seed, 0, octet, MULTINOMIAL, blocks=n) * np.uint64(n) >> np.uint64(32)
        found += [np.bincount(column.astype(np.int64), minlength=n) for column in drawn.T]
    return np.array(found[:n_resamples])


# Estimates under multiplicities.


def replicates(
    log: oracle.DenseLog, counts: np.ndarray, name: str, gamma: float
) -> tuple[np.ndarray, np.ndarray]:
    """Estimates, a row of counts to each, and the sums of absolute terms that rounding is relative
    to.
    """
    found = [_replicate(log, count, name, gamma) for count in counts]
    return np.array([value for value, _ in found]), np.array([scale for _, scale in found])


def _replicate(
    log: oracle.DenseLog, count: np.ndarray, name: str, gamma: float
) -> tuple[float, float]:
    # Episodes that were not drawn are left out: even infinite weights of theirs must not matter.
    drawn = count > 0
    if not drawn.any():
        return nan, 0.0
    parts = (log.log_weight, log.reward, log.q, log.v)
    some = oracle.DenseLog(*(part[drawn] for part in parts), count[drawn])
    with np.errstate(all="ignore"):
        found = oracle.estimate(some, name, gamma)
    return found.value, found.scale


def check(evaluation: cf.Evaluation, log: mdp.Log, counts: np.ndarray, tolerance=1e-12) -> None:
    """Every replicate of every policy and estimator, and those of the behavior policy."""
    gamma = evaluation.settings["gamma"]
    shape = (len(counts), len(evaluation.policies), len(evaluation.estimators))
    assert evaluation.replicates.shape == shape
    for p, policy in enumerate(evaluation.policies):
        dense = matrices(log, policy)
        for e, estimator in enumerate(evaluation.estimators):
            wanted, scale = replicates(dense, counts, estimator, gamma)
            found = evaluation.replicates[:, p, e]
            who = f"{policy}/{estimator}: {found} is not {wanted}"
            assert np.array_equal(np.isnan(found), np.isnan(wanted)), who
            known = ~np.isnan(wanted)
            assert (np.abs(found - wanted)[known] <= tolerance * scale[known]).all(), who
    returns = matrices(log, POLICIES[0]).reward @ gamma ** np.arange(log.lengths.max())
    with np.errstate(invalid="ignore"):
        wanted = counts @ returns / counts.sum(axis=1)
    assert np.allclose(evaluation.behavior_replicates, wanted, 1e-12, 1e-12, equal_nan=True)


def psi_of(log: mdp.Log, policy: str, estimator: str) -> np.ndarray:
    if policy == "behavior":
        return oracle.behavior(matrices(log, "near")).psi
    return oracle.estimate(matrices(log, policy), estimator).psi


def drawn(evaluation: cf.Evaluation, policy: str, estimator: str) -> np.ndarray:
    if policy == "behavior":
        return evaluation.behavior_replicates
    p, e = evaluation.policies.index(policy), evaluation.estimators.index(estimator)
    return evaluation.replicates[:, p, e]


# Ends of intervals.


def quantile(replicates: np.ndarray, p: float) -> float:
    return float(np.quantile(replicates[~np.isnan(replicates)], p))


def ends(
    value: float,
    replicates: np.ndarray,
    psi: np.ndarray | None = None,
    method: str = "percentile",
    confidence_level: float = 0.95,
    alternative: str = "two-sided",
) -> tuple[float, float]:
    """Efron and Tibshirani 1993, chapters 13 and 14; psi are influence values."""
    alpha = (1 - confidence_level) / (2 if alternative == "two-sided" else 1)
    low, high = alpha, 1 - alpha
    if method == "bca":
        known = replicates[~np.isnan(replicates)]
        below = ((known < value).sum() + (known == value).sum() / 2) / len(known)
        z0 = stats.norm.ppf(below)
        # Without spread any a does: every quantile is the value.
        a = (psi**3).sum() / (6 * (psi**2).sum() ** 1.5) if psi.any() else 0.0
        if not np.isfinite(z0) or isnan(a):
            return nan, nan
        low, high = (
            float(stats.norm.cdf(z0 + (z0 + z) / (1 - a * (z0 + z))))
            for z in stats.norm.ppf([low, high])
        )
    found = quantile(replicates, low), quantile(replicates, high)
    if method == "basic":
        found = 2 * value - found[1], 2 * value - found[0]
    if alternative == "greater":
        return found[0], inf
    return (-inf, found[1]) if alternative == "less" else found
