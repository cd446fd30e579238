"""Thousands of steps, and weights that float64 cannot hold.

The oracle here multiplies the very floats of the log in 60-digit decimals with an exponent that
does not run out, one episode at a time; a second opinion on `oracle.py`, which takes logarithms.
"""

from __future__ import annotations

import math
from decimal import Context, Decimal, localcontext
from itertools import pairwise

import counterfolio as cf
import numpy as np
import oracle
import polars as pl
import pytest

WIDE = Context(prec=60, Emax=10**9, Emin=-(10**9))
PLAIN = ("tis", "pdis", "dr")


def table(n: int, steps: int | list[int], seed: int = 0, **columns) -> dict[str, np.ndarray]:
    """Rows of `n` episodes; a column given as a number is constant, as a pair drawn between the
    two.
    """
    rng = np.random.default_rng(seed)
    lengths = np.full(n, steps) if isinstance(steps, int) else np.array(steps)
    size = int(lengths.sum())
    given = {"reward": (0.0, 2.0), "propensity": (0.2, 1.0), "p": (0.2, 1.0)} | columns
    given = {"q": (-1.0, 1.0), "v": (-1.0, 1.0)} | given
    drawn = {
        name: rng.uniform(*value, size) if isinstance(value, tuple) else np.full(size, value)
        for name, value in given.items()
    }
    return {
        "episode_id": np.repeat(np.arange(n), lengths),
        "timestep": np.concatenate([np.arange(length) for length in lengths]),
        "action": np.zeros(size, dtype=np.int64),
        **drawn,
    }


def evaluate(columns: dict[str, np.ndarray], **options) -> dict[str, dict]:
    log = cf.LoggedData.from_frame(
        pl.DataFrame(columns), episode_id="episode_id", timestep="timestep"
    )
    policy = cf.PolicyColumns(prob="p", q="q", v="v")
    options = {"estimators": oracle.NAMES, **options}
    estimates = cf.evaluate(log, {"new": policy}, **options).estimates
    return {row["estimator"]: row for row in estimates.iter_rows(named=True)}


def exact(columns: dict[str, np.ndarray], gamma: float = 1.0) -> dict[str, tuple[Decimal, Decimal]]:
    """(value, sum of absolute terms) of the weighted estimators, as decimals."""
    with localcontext(WIDE):
        return _exact(columns, Decimal(gamma))


def _exact(columns: dict[str, np.ndarray], gamma: Decimal) -> dict[str, tuple[Decimal, Decimal]]:
    zero, one = Decimal(0), Decimal(1)
    ids = columns["episode_id"]
    starts = [0, *(np.flatnonzero(np.diff(ids)) + 1).tolist(), len(ids)]
    horizon = int(np.diff(starts).max())
    roles = ("reward", "propensity", "p", "q", "v")
    # For every step: sum w, sum w_{t-1}, and signed and absolute sums of w r, w (r - q), w_{t-1} v.
    steps = [dict.fromkeys(("w", "before", *TERMS), zero) for _ in range(horizon)]
    final = {"w": zero, "tis": zero, "|tis|": zero}
    for low, high in pairwise(starts):
        weight, total, magnitude, power = one, zero, zero, one
        for step in range(horizon):
            at, before = steps[step], weight
            at["before"] += before
            if low + step < high:
                r, b, p, q, v = (Decimal(float(columns[role][low + step])) for role in roles)
                weight = weight * p / b
                terms = (weight * r, weight * (r - q), before * v)
                sizes = (weight * abs(r), weight * (abs(r) + abs(q)), before * abs(v))
                for key, term in zip(TERMS, (*terms, *sizes), strict=True):
                    at[key] += term
                total, magnitude = total + power * r, magnitude + power * abs(r)
            at["w"] += weight
            power *= gamma
        final["w"] += weight
        final["tis"] += weight * total
        final["|tis|"] += weight * magnitude
    n = len(starts) - 1
    powers = [one]
    for _ in range(horizon - 1):
        powers.append(powers[-1] * gamma)

    def summed(*parts: tuple[str, str | None]) -> Decimal:
        """sum_t gamma^t sum of numerator / denominator; None divides by n."""
        return sum(
            power * sum(at[top] / (at[below] if below else n) for top, below in parts)
            for power, at in zip(powers, steps, strict=True)
        )

    found = {"tis": (final["tis"] / n, final["|tis|"] / n)}
    found["pdis"] = (summed(("wr", None)), summed(("|wr|", None)))
    found["dr"] = (
        summed(("wd", None), ("wv", None)),
        summed(("|wd|", None), ("|wv|", None)),
    )
    if all(at["w"] for at in steps):
        found["sntis"] = (final["tis"] / final["w"], final["|tis|"] / final["w"])
        found["snpdis"] = (summed(("wr", "w")), summed(("|wr|", "w")))
        found["sndr"] = (
            summed(("wd", "w"), ("wv", "before")),
            summed(("|wd|", "w"), ("|wv|", "before")),
        )
    return found


TERMS = ("wr", "wd", "wv", "|wr|", "|wd|", "|wv|")


def check(rows: dict[str, dict], columns: dict, names: tuple[str, ...], gamma: float = 1.0) -> None:
    wanted = exact(columns, gamma)
    for name in names:
        value, scale = wanted[name]
        found = rows[name]["value"]
        assert math.isfinite(found), name
        with localcontext(WIDE):
            wrong = abs(Decimal(found) - value)
            assert wrong <= Decimal("1e-9") * scale, (name, found, value)


def assert_agrees(row: dict, columns: dict[str, np.ndarray], name: str, gamma: float) -> None:
    """One row of the result and the dense oracle."""
    roles = ("episode_id", "reward", "propensity", "p", "q", "v")
    log = oracle.dense(*(columns[role] for role in roles))
    wrong = oracle.disagreements(row, oracle.estimate(log, name, gamma))
    assert not wrong, "\n".join(wrong)


# pi = b.


@pytest.mark.parametrize("n_steps", [2_000, 10_000])
def test_pi_equal_to_b_is_exact(n_steps):
    """Ten actions at 0.1 each: the products of propensities alone would be 0 after 330 steps."""
    columns = table(5, n_steps, reward=1.0, propensity=0.1, p=0.1, q=0.0, v=0.0)
    rows = evaluate(columns)
    for name in (*oracle.WEIGHTED, "on_policy"):
        assert rows[name]["value"] == n_steps, name
        assert rows[name]["effective_sample_size"] == 5, name
        assert rows[name]["max_weight_share"] == 1 / 5, name
        assert rows[name]["standard_error"] == 0.0, name


@pytest.mark.parametrize("gamma", [1.0, 0.999])
def test_pi_equal_to_b_with_any_propensities(gamma):
    columns = table(9, [2_000, 1, 700, 10_000, 3, 3, 50, 999, 1_000], propensity=(1e-12, 1.0))
    columns |= {"p": columns["propensity"], "q": columns["v"]}
    rows = evaluate(columns, gamma=gamma)
    for name in oracle.WEIGHTED:
        wanted = rows["on_policy"]
        assert rows[name]["value"] == pytest.approx(wanted["value"], rel=1e-12), name
        assert rows[name]["standard_error"] == pytest.approx(wanted["standard_error"], rel=1e-10)
        assert rows[name]["effective_sample_size"] == pytest.approx(9, rel=1e-12), name


# Weights within float64 at the end, but not on the way.


@pytest.mark.parametrize("first", ["up", "down"])
def test_weights_that_come_back(first):
    """A thousand ratios of 16 and a thousand of 1/16: the weight passes 2^4000 and ends at 1."""
    columns = table(4, 2_000, reward=0.0)
    high = (columns["timestep"] < 1_000) == (first == "up")
    columns |= {"p": np.where(high, 0.5, 1 / 32), "propensity": np.where(high, 1 / 32, 0.5)}
    columns["reward"] = np.where(columns["timestep"] == 1_999, 3.0, 0.0)
    columns |= {"q": np.zeros(8_000), "v": np.zeros(8_000)}
    rows = evaluate(columns)
    for name in oracle.WEIGHTED:
        assert rows[name]["value"] == 3.0, name
        assert "overflow" not in (rows[name]["note"] or ""), name
        assert "underflow" not in (rows[name]["note"] or ""), name


@pytest.mark.parametrize("steps", [500, 3_000])
def test_weights_that_grow_as_fast_as_the_discount_shrinks(steps):
    """Every ratio is 2 and gamma 1/2: gamma^t w_t is 2 at every step, and w 2^3000 at last."""
    columns = table(4, steps, p=0.5, propensity=0.25, q=0.0, v=0.0)
    rows = evaluate(columns, gamma=0.5)
    sums = columns["reward"].reshape(4, steps).sum(axis=1)
    for name in ("pdis", "dr"):
        assert rows[name]["value"] == pytest.approx(2 * sums.mean(), rel=1e-12), name
        error = 2 * sums.std(ddof=1) / 2
        assert rows[name]["standard_error"] == pytest.approx(error, rel=1e-10), name
    for name in oracle.SELF_NORMALISED:
        assert rows[name]["value"] == pytest.approx(rows["on_policy"]["value"], rel=1e-12), name
    for name in oracle.WEIGHTED:
        assert rows[name]["effective_sample_size"] == pytest.approx(4, rel=1e-12), name


# Weights that overflow or underflow.


@pytest.mark.parametrize("gamma", [1.0, 0.99])
def test_overflow(gamma):
    columns = table(20, 2_000, propensity=(0.05, 0.3), p=(0.3, 1.0))
    rows = evaluate(columns, gamma=gamma)
    check(rows, columns, oracle.SELF_NORMALISED, gamma)
    for name in PLAIN:
        wanted = exact(columns, gamma)[name][0]
        assert abs(wanted) > Decimal("1e400"), name
        assert rows[name]["value"] == math.copysign(math.inf, wanted), name
        assert "weight overflow" in rows[name]["note"], name
    for name in oracle.WEIGHTED:
        assert 1.0 <= rows[name]["effective_sample_size"] <= 20.0, name
        assert 1 / 20 <= rows[name]["max_weight_share"] <= 1.0, name


@pytest.mark.parametrize("threads", [2, 3])
def test_overflow_in_some_blocks_and_threads(threads):
    """Some blocks of episodes need the wide weights and some do not: the same bits all the same."""
    columns = table(6_000, 12, propensity=(0.2, 1.0))
    wild = np.isin(columns["episode_id"], (7, 2_500, 5_999))
    columns["propensity"] = np.where(wild, 1e-30, columns["propensity"])
    one, several = evaluate(columns, num_threads=1), evaluate(columns, num_threads=threads)
    assert one == several
    check(one, columns, oracle.SELF_NORMALISED)
    assert one["tis"]["value"] == math.inf


def test_contrast_with_an_overflow_says_so():
    """inf less inf is no number: a note, not a warning from numpy."""
    columns = table(20, 2_000, propensity=(0.05, 0.3), p=(0.3, 1.0))
    log = cf.LoggedData.from_frame(
        pl.DataFrame(columns), episode_id="episode_id", timestep="timestep"
    )
    policies = {"new": "p", "same": "propensity"}
    evaluation = cf.evaluate(log, policies, estimators=["tis", "sntis"])
    found = evaluation.compare("new", "same", estimator="tis").row(0, named=True)
    assert math.isnan(found["standard_error"])
    assert found["note"]
    found = evaluation.compare("new", "same", estimator="sntis").row(0, named=True)
    assert math.isfinite(found["difference"])
    assert found["standard_error"] > 0


def test_overflow_keeps_the_sign():
    columns = table(20, 1_000, reward=(-2.0, -1.0), propensity=(0.05, 0.3), p=(0.3, 1.0), q=0.0)
    rows = evaluate(columns | {"v": np.zeros(20_000)})
    for name in PLAIN:
        assert rows[name]["value"] == -math.inf, name
        assert "weight overflow" in rows[name]["note"], name


@pytest.mark.parametrize("gamma", [1.0, 0.99])
def test_underflow(gamma):
    """Every final weight vanishes: tis is 0 and says so; pdis and dr still see the first steps."""
    columns = table(20, 2_000, propensity=(0.3, 1.0), p=(0.05, 0.3))
    rows = evaluate(columns, gamma=gamma)
    assert exact(columns, gamma)["tis"][0] < Decimal("1e-400")
    assert rows["tis"]["value"] == 0.0
    assert "weight underflow" in rows["tis"]["note"]
    check(rows, columns, ("pdis", "dr", *oracle.SELF_NORMALISED), gamma)
    for name in ("pdis", "dr"):
        assert "weight underflow" not in (rows[name]["note"] or "")


@pytest.mark.parametrize("gamma", [1.0, 0.99])
def test_weights_from_one_end_to_the_other(gamma):
    """Episodes of very different lengths whose weights go up in some and down in others; sums must
    keep the largest, whatever comes first."""
    columns = table(12, [1_500, 2, 900, 1, 1_200, 40, 1_500, 7, 300, 1_000, 1, 2_000], seed=3)
    rising = columns["episode_id"] % 3 != 1
    columns["propensity"] *= np.where(rising, 0.2, 1.0)
    columns["p"] *= np.where(rising, 1.0, 0.2)
    for order in (1, -1):
        rows = evaluate(reversed_episodes(columns) if order == -1 else columns, gamma=gamma)
        check(rows, columns, oracle.SELF_NORMALISED, gamma)
        for name in PLAIN:
            assert not math.isnan(rows[name]["value"]), name


def reversed_episodes(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    order = np.lexsort((columns["timestep"], -columns["episode_id"]))
    return {name: values[order] for name, values in columns.items()}


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_standard_errors_far_from_one(gamma):
    """Multiplying every first ratio by 2^-900 changes no share of the weights, so no
    self-normalised number; and dr is left with the mean of v at the first step, and its error.
    """
    columns = table(30, 60, propensity=(0.3, 1.0))
    first = columns["timestep"] == 0
    moved = columns | {"p": np.where(first, columns["p"] * 2.0**-900, columns["p"])}
    rows = evaluate(moved, gamma=gamma)
    for name in oracle.SELF_NORMALISED:
        assert_agrees(rows[name], columns, name, gamma)
    for name in PLAIN:
        assert_agrees(rows[name], moved, name, gamma)


# Tiny propensities.


def test_subnormal_propensities():
    """0.5 / 1e-320 is beyond float64; the next step takes it back, and the weights are ordinary."""
    columns = table(6, 2, reward=(1.0, 2.0))
    tiny = np.array([1e-320, 5e-324, 1e-310, 3e-308, 1e-320, 2e-316]).repeat(2)
    first = columns["timestep"] == 0
    columns |= {"propensity": np.where(first, tiny, 0.5), "p": np.where(first, 0.25, tiny)}
    rows = evaluate(columns)
    with localcontext(WIDE):
        assert float(exact(columns)["tis"][0]) < 10
    check(rows, columns, oracle.SELF_NORMALISED)
    check(rows, columns, ("tis",))


@pytest.mark.parametrize("n", [1, 5, 1_025])
@pytest.mark.parametrize("kind", ["ordinary", "wide", "zeros", "tiny", "one left"])
def test_one_step_with_wild_weights(kind, n):
    """A bandit log may take a shorter way through the code; it has the same traps."""
    columns, rng = table(n, 1), np.random.default_rng(1)
    if kind == "wide":
        columns["propensity"] = np.exp(rng.uniform(-200, 0, n))
    elif kind == "zeros":
        columns["p"] = np.where(np.arange(n) % 3 == 1, 0.0, columns["p"])
    elif kind == "tiny":
        columns["p"] = np.full(n, 1e-310)
    elif kind == "one left":
        columns["p"] = np.where(np.arange(n) == n - 1, columns["p"], 0.0)
    rows = evaluate(columns, gamma=0.9)
    for name in oracle.NAMES:
        assert_agrees(rows[name], columns, name, 0.9)


def test_one_tiny_propensity_overflows_its_episode_only():
    columns = table(60, 3)
    columns["propensity"][0] = 1e-320
    rows = evaluate(columns)
    check(rows, columns, oracle.SELF_NORMALISED)
    for name in ("tis", "pdis"):
        assert rows[name]["value"] == math.inf
        assert "weight overflow" in rows[name]["note"]
        assert rows[name]["effective_sample_size"] == pytest.approx(1.0, rel=1e-12)


def test_zero_weight_is_not_underflow():
    """A policy that would never have acted so has weight 0; nothing was lost to float64."""
    columns = table(60, 3)
    columns["p"] = np.where(columns["episode_id"] < 59, columns["p"], 0.0)
    rows = evaluate(columns)
    check(rows, columns, oracle.WEIGHTED)
    columns["p"] = np.zeros(180)
    rows = evaluate(columns)
    assert rows["tis"]["value"] == 0.0
    assert "underflow" not in (rows["tis"]["note"] or "")
    assert all(math.isnan(rows[name]["value"]) for name in oracle.SELF_NORMALISED)
    assert all(rows[name]["note"] for name in oracle.SELF_NORMALISED)
