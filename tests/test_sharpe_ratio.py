"""SharpeRatio@k and the top-k table: the paper's figures, the definition, what is undefined."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

GOLDEN = json.loads((Path(__file__).parent / "goldens" / "sharpe_ratio.json").read_text())
STATISTICS = ("best", "worst", "mean", "std", "safety_violation_rate", "sharpe_ratio")
NAN, INF = math.nan, math.inf


def example(curve: str) -> tuple[list[float], list[float], float]:
    """Estimates, truth and behavior value of a golden curve such as `ex2_W_Jb5_ddof0`."""
    number, estimator, baseline, _ = curve.split("_")
    data = GOLDEN[number.replace("ex", "example")]
    return data[estimator], data["true"], float(baseline.removeprefix("Jb"))


def statistics(chosen, baseline, ddof, threshold) -> list[float]:
    """The definition, for one set of true values."""
    chosen = np.asarray(chosen, dtype=float)
    best, worst = chosen.max(), chosen.min()
    if len(chosen) == 1 and ddof == 1:
        std = NAN
    else:
        std = 0.0 if best == worst else np.std(chosen, ddof=ddof)
    excess = max(best, baseline) - baseline
    if len(chosen) == 1:
        ratio = NAN
    elif best == worst:
        ratio = INF if excess > 0 else NAN
    else:
        ratio = excess / std
    return [best, worst, chosen.mean(), std, np.mean(chosen < threshold), ratio]


# Published numbers.


@pytest.mark.parametrize("curve", GOLDEN["curves"])
def test_golden_curves(curve):
    estimated, true, baseline = example(curve)
    table = cf.top_k(estimated, true, baseline, ddof=int(curve[-1]), ties="last")
    rows = GOLDEN["curves"][curve]
    assert [row["k"] for row in rows] == table["k"].to_list()[1:]
    # The golden's best is that of the top k and the behavior policy.
    assert table["best"].clip(baseline).to_list()[1:] == [row["best"] for row in rows]
    assert table["std"].to_list()[1:] == pytest.approx([row["std"] for row in rows], abs=1e-9)
    ratios = cf.sharpe_ratio_at_k(estimated, true, baseline, ddof=int(curve[-1]), ties="last")
    assert ratios[1:] == pytest.approx([row["sharpe"] for row in rows], abs=1e-9)


@pytest.mark.parametrize(
    ("estimator", "published"),
    [
        ("X", [1.4142, 1.5119, 1.5209, 1.4805, 1.4142, 1.3369, 1.3139, 1.3631, 1.1853]),
        ("Y", [0.7071, 0.8109, 0.9039, 1.0226, 1.1421, 1.2472, 1.3242, 1.3631, 1.1853]),
    ],
)
def test_published_figure_needs_compat(estimator, published):
    data = GOLDEN["example1"]
    ratios = cf.sharpe_ratio_at_k(data[estimator], data["true"], 8.0, compat="scope_rl")
    assert np.round(ratios[1:], 4).tolist() == published
    # The paper's formula is another number.
    assert cf.sharpe_ratio_at_k(data["X"], data["true"], 8.0, 2) == 2.0


@pytest.mark.parametrize("estimator", ["cdf_dm", "dm"])
def test_notebook_of_the_incumbent(estimator):
    data = GOLDEN["scope_rl_notebook"]
    order = data[f"{estimator}_order"]
    order += [policy for policy in data["true"] if policy not in order]
    estimated = {policy: -place for place, policy in enumerate(order)}
    ratios = cf.sharpe_ratio_at_k(estimated, data["true"], data["J_b"], compat="scope_rl")
    # The truth is printed with six decimals, and the first two differ by 0.065: rel. 1e-5 of std@2.
    assert ratios[1:5] == pytest.approx(data[f"{estimator}_sharpe_k2_to_5"], rel=1.5e-5)


# The definition.

values = st.integers(-80, 80).map(lambda i: i / 8)
pairs = st.lists(st.tuples(st.integers(-3, 3).map(float) | st.just(NAN), values), min_size=1)


@given(pairs=pairs, baseline=values, ddof=st.sampled_from([0, 1]), last=st.booleans())
def test_every_k_is_the_definition(pairs, baseline, ddof, last):
    estimated, true = map(list, zip(*pairs, strict=True))
    named = [i for i, e in enumerate(estimated) if not math.isnan(e)]
    ranked = sorted(named[::-1] if last else named, key=lambda i: -estimated[i])
    ranked += [i for i in range(len(true)) if i not in named]
    table = cf.top_k(
        estimated,
        true,
        baseline,
        safety_threshold=0.5,
        ddof=ddof,
        ties="last" if last else "first",
    )
    assert table["kth"].to_list() == [true[i] for i in ranked]
    for k, *found in table.select("k", *STATISTICS).iter_rows():
        wanted = statistics([true[i] for i in ranked[:k]], baseline, ddof, 0.5)
        assert found == pytest.approx(wanted, rel=1e-12, abs=1e-12, nan_ok=True)


def brute_force(estimated, true, baseline, ddof, k) -> list[float]:
    """The average over all sets that may be the top k."""
    kth = sorted(estimated, reverse=True)[k - 1]
    certain = [t for e, t in zip(estimated, true, strict=True) if e > kth]
    tied = [t for e, t in zip(estimated, true, strict=True) if e == kth]
    sets = itertools.combinations(tied, k - len(certain))
    with np.errstate(invalid="ignore"):
        return list(np.mean([statistics(certain + list(s), baseline, ddof, 0.5) for s in sets], 0))


@given(
    pairs=st.lists(st.tuples(st.integers(0, 2), values), min_size=1, max_size=9),
    baseline=values,
    ddof=st.sampled_from([0, 1]),
    random=st.randoms(use_true_random=False),
)
def test_average_is_over_all_completions(pairs, baseline, ddof, random):
    estimated, true = map(list, zip(*pairs, strict=True))

    def table(pairs):
        estimated, true = zip(*pairs, strict=True)
        return cf.top_k(estimated, true, baseline, safety_threshold=0.5, ddof=ddof, ties="average")

    for k, *found in table(pairs).select("k", *STATISTICS).iter_rows():
        wanted = brute_force(estimated, true, baseline, ddof, k)
        assert found == pytest.approx(wanted, rel=1e-12, abs=1e-12, nan_ok=True)
    ranked = sorted(estimated, reverse=True)
    wanted = [np.mean([t for e, t in pairs if e == kth]) for kth in ranked]
    assert table(pairs)["kth"].to_list() == pytest.approx(wanted, rel=1e-12, abs=1e-12)
    shuffled = random.sample(pairs, len(pairs))
    assert table(shuffled).equals(table(pairs))


def test_average_over_a_sample_of_many_completions():
    rng = np.random.default_rng(0)
    true = rng.normal(size=20)
    estimated = np.r_[np.ones(18), 2.0, 0.0]
    ratios = cf.sharpe_ratio_at_k(estimated, true, 0.5, ties="average")
    for k in (9, 10, 11):  # 43,758 and 48,620 completions
        sets = np.array(list(itertools.combinations(true[:18], k - 1)))
        chosen = np.column_stack([sets, np.full(len(sets), true[18])])
        exact = (np.maximum(chosen.max(axis=1), 0.5) - 0.5) / chosen.std(axis=1)
        assert abs(ratios[k - 1] - exact.mean()) < 4 * exact.std() / math.sqrt(1000)
        assert ratios[k - 1] != exact.mean()
    order = rng.permutation(20)
    again = cf.sharpe_ratio_at_k(estimated[order], true[order], 0.5, ties="average")
    assert np.array_equal(ratios, again, equal_nan=True)


def test_ties_by_hand():
    estimated, true = [1.0, 2.0, 2.0, 2.0, NAN, 3.0, NAN], [0.0, 4.0, 6.0, 8.0, 1.0, 5.0, 2.0]
    kth = {
        ties: cf.top_k(estimated, true, 0.0, ties=ties)["kth"].to_list()
        for ties in ("first", "last", "average")
    }
    assert kth["first"] == [5, 4, 6, 8, 0, 1, 2]
    assert kth["last"] == [5, 8, 6, 4, 0, 1, 2]
    assert kth["average"] == [5, 6, 6, 6, 0, 1, 2]
    # {5, 4}, {5, 6}, {5, 8}: (5 / .5 + 6 / .5 + 8 / 1.5) / 3
    assert cf.sharpe_ratio_at_k(estimated, true, 0.0, 2, ties="average") == pytest.approx(82 / 9)
    # Zero has two signs and one value.
    assert cf.top_k([0.0, -0.0], [1, 2], 0.0, ties="last")["kth"].to_list() == [2, 1]


# Undefined cases.


def test_one_policy_has_no_ratio():
    assert math.isnan(cf.sharpe_ratio_at_k([1.0], [5.0], 0.0, 1))
    assert math.isnan(cf.sharpe_ratio_at_k([1.0, 2.0], [5.0, 1.0], 0.0, k=1, compat="scope_rl"))
    for ddof, std in ((0, [0.0]), (1, [NAN])):
        assert cf.top_k([1], [5], 0, ddof=ddof)["std"].to_list() == pytest.approx(std, nan_ok=True)


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize(
    ("true", "baseline", "plain", "clipped", "compat"),
    [
        ([0.1] * 4, 0.0, INF, 7.0, 100.0),
        ([0.1] * 4, 0.1, NAN, NAN, 0.0),
        ([0.1] * 4, 0.2, NAN, NAN, 0.0),
        ([1.0, 2.0, 3.0, 4.0], 5.0, 0.0, 0.0, 0.0),
        ([1.0, 1.0, 1.0, 1.0 + 2**-52], 0.0, None, 7.0, 100.0),
    ],
)
def test_no_spread_or_no_gain(true, baseline, plain, clipped, compat, ddof):
    def ratio(**options):
        return cf.sharpe_ratio_at_k([1, 2, 3, 4], true, baseline, 4, **options)

    if plain is None:  # the least spread there is: large, but a number
        assert 1e15 < ratio(ddof=ddof) < 1e17
    else:
        assert ratio(ddof=ddof) == pytest.approx(plain, nan_ok=True)
    assert ratio(ddof=ddof, clip=7) == pytest.approx(clipped, nan_ok=True)
    assert ratio(compat="scope_rl") == compat


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e290])
@pytest.mark.parametrize("level", [0.0, 1e9])
def test_spread_keeps_its_digits(scale, level):
    true = [scale * (level + x) for x in (1.0, 2.0, 3.0, 4.0)]
    std = cf.top_k([4, 3, 2, 1], true, 0.0)["std"][3]
    assert std == pytest.approx(scale * math.sqrt(1.25), rel=1e-12 if level == 0 else 1e-6)


def test_safety_criteria():
    def rate(**criterion):
        table = cf.top_k([4, 3, 2, 1], [-1.0, -1.05, -1.2, 0.0], -1.0, **criterion)
        return table["safety_violation_rate"]

    assert rate(safety_threshold=-1.0).to_list() == [0, 1 / 2, 2 / 3, 2 / 4]
    # 90 % of a negative value is a concession as well: -1.1, not -0.9.
    assert rate(relative_safety=0.9).to_list() == [0, 0, 1 / 3, 1 / 4]
    assert rate().null_count() == 4
    assert rate().dtype == pl.Float64


# Invariants.

distinct = st.lists(
    st.tuples(st.integers(), values), min_size=2, max_size=12, unique_by=lambda pair: pair[0]
)


@given(pairs=distinct, baseline=values, random=st.randoms(use_true_random=False))
def test_order_of_policies_does_not_matter_without_ties(pairs, baseline, random):
    rank = {e: float(i) for i, e in enumerate(sorted(e for e, _ in pairs))}
    tables = []
    for sample in (pairs, random.sample(pairs, len(pairs))):
        estimated, true = [rank[e] for e, _ in sample], [t for _, t in sample]
        tables += [
            cf.top_k(estimated, true, baseline, ties=t) for t in ("first", "last", "average")
        ]
    assert all(table.equals(tables[0]) for table in tables)


@given(
    pairs=pairs, baseline=values, scale=st.sampled_from([0.125, 3.0, 1e6]), shift=st.integers(-9, 9)
)
def test_ratio_is_free_of_unit_and_origin(pairs, baseline, scale, shift):
    estimated, true = map(np.array, zip(*pairs, strict=True))
    ratios = cf.sharpe_ratio_at_k(estimated, true, baseline)
    moved = cf.sharpe_ratio_at_k(estimated, scale * true + shift, scale * baseline + shift)
    assert moved == pytest.approx(ratios, rel=1e-9, nan_ok=True)


@given(pairs=pairs, baseline=values, extra=values)
def test_a_policy_ranked_last_leaves_the_shorter_lists(pairs, baseline, extra):
    estimated, true = map(list, zip(*pairs, strict=True))
    table = cf.top_k(estimated, true, baseline)
    longer = cf.top_k([*estimated, NAN], [*true, extra], baseline)
    assert longer.head(len(true)).equals(table)
    assert table["best"].is_sorted()
    assert table["worst"].is_sorted(descending=True)
    assert (table["worst"] <= table["mean"]).all()
    assert (table["mean"] <= table["best"]).all()
    ratios = cf.sharpe_ratio_at_k(estimated, true, baseline)
    assert np.array_equal(ratios, table["sharpe_ratio"].to_numpy(), equal_nan=True)
    for k in range(1, len(true) + 1):
        one = cf.sharpe_ratio_at_k(estimated, true, baseline, k)
        assert isinstance(one, float)
        assert one == pytest.approx(ratios[k - 1], rel=0, abs=0, nan_ok=True)
