"""`Evaluation`: what it holds, ranks, compares, prints and stores; policies in every form."""

from __future__ import annotations

import copy
import math
import re
import time
import unicodedata

import counterfolio as cf
import numpy as np
import oracle
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from test_invariants import bits as bits_of

LENGTHS = np.random.default_rng(0).integers(1, 6, 200)
N = int(LENGTHS.sum())
NUMBERS = ("value", "standard_error", "ci_low", "ci_high")
CONCENTRATION = ("effective_sample_size", "max_weight_share")
SCHEMA = {"policy": pl.String, "estimator": pl.String}
SCHEMA |= dict.fromkeys((*NUMBERS, *CONCENTRATION), pl.Float64)
SCHEMA |= {"n_episodes": pl.Int64, "note": pl.String}
BASIC = ["tis", "pdis", "sntis", "snpdis"]


def columns(**changes: object) -> dict[str, object]:
    rng = np.random.default_rng(1)
    draws = {name: rng.uniform(0.2, 1.0, N) for name in ("propensity", "p", "p_b", "p_c")}
    values = {name: rng.normal(0.5, 1.0, N) for name in ("reward", "q", "v")}
    ids = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    return {"id": ids, "action": rng.integers(0, 3, N), **draws, **values, **changes}


def log_of(**changes: object) -> cf.LoggedData:
    return cf.LoggedData.from_frame(columns(**changes), episode_id="id")


LOG = log_of()
POLICIES = {"a": "p", "b": "p_b", "c": "p_c"}
WITH_MODEL = {name: cf.PolicyColumns(prob=p, q="q", v="v") for name, p in POLICIES.items()}


def bits(policy: object, log: cf.LoggedData = LOG, **options: object) -> dict:
    return bits_of(cf.evaluate(log, {"new": policy}, gamma=0.9, **options).estimates)


def steps(n_episodes: int, probs: dict[str, float], n_steps: int = 400) -> cf.Evaluation:
    """Long episodes of constant probabilities; propensities are 0.1."""
    n = n_episodes * n_steps
    rewards = np.arange(n_episodes).repeat(n_steps) % 3 / n_steps
    data = {"id": np.arange(n) // n_steps, "action": np.zeros(n, int), "reward": rewards}
    log = cf.LoggedData.from_frame(data | {"propensity": np.full(n, 0.1)}, episode_id="id")
    policies = {name: np.full(n, p) for name, p in probs.items()}
    return cf.evaluate(log, policies, ["tis", "sntis"])


# What it holds.


def test_schema_and_order():
    evaluation = cf.evaluate(LOG, WITH_MODEL, ["sndr", "wis", "dm"])
    rows = evaluation.estimates
    assert dict(rows.schema) == SCHEMA
    wanted = [(policy, name) for policy in "abc" for name in ("sndr", "sntis", "dm")]
    assert rows.select("policy", "estimator").rows() == [*wanted, ("behavior", "on_policy")]
    assert (evaluation.policies, evaluation.estimators) == ([*"abc"], ["sndr", "sntis", "dm"])
    assert set(rows["n_episodes"]) == {200}
    assert evaluation.behavior_value == rows["value"][-1]
    assert evaluation.rows("snips").equals(rows.filter(estimator="sntis"))
    dm = rows.filter(estimator="dm")
    assert evaluation.values("dm") == dict(dm.select("policy", "value").rows())
    assert dm["effective_sample_size"].is_null().all()
    # Columns of nulls keep their types.
    same = cf.evaluate(LOG, {"same": cf.PolicyColumns(v="v")}, "dm").estimates[:1]
    assert dict(same.schema) == SCHEMA
    assert same["note"].is_null().all()


def test_default_estimators():
    """Those that all policies and the log allow."""
    bare = cf.LoggedData.from_frame(columns(), propensity=None, episode_id="id")
    v_alone = {"v alone": cf.PolicyColumns(v="v")}
    for log, policies, wanted in (
        (LOG, WITH_MODEL, [*BASIC, "dm", "dr", "sndr"]),
        (LOG, WITH_MODEL | {"bare": "p"}, BASIC),
        (LOG, {"no q": cf.PolicyColumns(prob="p", v="v")}, BASIC),
        (bare, WITH_MODEL | v_alone, ["dm"]),
    ):
        assert cf.evaluate(log, policies).estimators == wanted


def test_copies_keep_what_they_need():
    evaluation = cf.evaluate(LOG, POLICIES, "tis")
    for other in (copy.copy(evaluation), copy.deepcopy(evaluation)):
        assert other.diagnostics.table.equals(evaluation.diagnostics.table)
        assert other.estimates.equals(evaluation.estimates)
    deep = copy.deepcopy(evaluation)
    deep.variances[:] = 0
    deep.settings["gamma"] = 9
    assert evaluation.variances.any()
    assert evaluation.settings["gamma"] == 1


def test_a_shortlist_names_what_is_not_to_be_trusted():
    wild = np.where(np.arange(N) % 50 == 7, 1.0, 0.001)
    evaluation = cf.evaluate(LOG, {"a": "p", "wild": wild}, "tis")
    found = evaluation.portfolio(2)
    assert found.table["verdict"].to_list().count("do not trust") >= 1
    assert "wild on this evidence: the diagnostics say not to trust" in found.reason
    alone = evaluation.portfolio(1, among=["wild"])
    assert alone.policies == ["wild"]
    assert math.isclose(alone.best, evaluation.values()["wild"])
    for options, match in (
        ({"k": 2, "among": ["a"]}, "from 1 to 1"),
        ({"k": 1, "among": ["x"]}, "among: policy 'x' was not evaluated"),
    ):
        with pytest.raises(cf.InvalidArgumentError, match=match):
            evaluation.portfolio(**options)


def test_settings_hold_every_argument():
    options = {"gamma": 0.5, "interval": "t", "confidence_level": 0.9, "alternative": "less"}
    settings = cf.evaluate(LOG, POLICIES, ["ips", "snpdis"], **options, num_threads=2).settings
    assert settings == {
        "version": cf.__version__,
        "policies": ["a", "b", "c"],
        "estimators": ["tis", "snpdis"],
        "action": "action",
        "reward": "reward",
        "propensity": "propensity",
        "episode_id": "id",
        "cluster": None,
        "logger": None,
        **options,
        "n_resamples": 0,
        "method": None,
        "resampling": None,
        "value_range": None,
        "return_range": None,
        "weight_range": None,
        "return_min": None,
        "seed": None,
        "num_threads": 2,
        "n_rows": N,
        "n_episodes": 200,
        "n_clusters": None,
        "action_type": "discrete",
        "propensity_source": "logged",
        "models": [],
        "propensity_model": None,
        "bandwidths": [],
        "conditions_on": None,
    }
    model = cf.evaluate(LOG, WITH_MODEL, "dr").settings
    assert model["conditions_on"] == "q and v as given"


# Rankings and shortlists.


def test_ranking():
    evaluation = cf.evaluate(LOG, POLICIES)
    for score, column in (("value", "value"), ("lower", "ci_low")):
        found = evaluation.ranking("ips", score)
        rows = evaluation.rows("tis").sort(column, descending=True)
        assert found.columns == ["policy", "rank", "score"]
        assert found["rank"].to_list() == [1, 2, 3]
        assert found["policy"].equals(rows["policy"])
        assert found["score"].to_list() == rows[column].to_list()


def test_lower_bounds_put_the_sure_before_the_uncertain():
    wild = np.arange(200) == 7
    data = {"action": wild, "reward": 1.0 + wild, "propensity": np.full(200, 0.5)}
    policies = {"wild": 0.02 + 0.98 * wild, "sure": np.full(200, 0.5)}
    evaluation = cf.evaluate(cf.LoggedData.from_frame(data), policies, "sntis")
    assert evaluation.ranking(score="value")["policy"].to_list() == ["wild", "sure"]
    assert evaluation.ranking(score="lower")["policy"].to_list() == ["sure", "wild"]
    assert evaluation.portfolio(1, score="lower").policies == ["sure"]


def test_ranking_of_ties_and_undefined_values():
    data = {"action": np.zeros(60), "reward": np.arange(60.0) % 7, "propensity": np.full(60, 0.5)}
    log = cf.LoggedData.from_frame(data)
    half, never = np.full(60, 0.5), np.zeros(60)
    policies = {"never": never, "x": half, "y": half / 2, "neither": never, "w": half}
    evaluation = cf.evaluate(log, policies, ["tis", "sntis"])
    for score in ("value", "lower"):
        found = evaluation.ranking("sntis", score)
        assert found["policy"].to_list() == ["x", "y", "w", "never", "neither"]
        assert found["score"].is_nan().to_list() == [False] * 3 + [True] * 2
    assert "2 policies without" in evaluation.portfolio(3, "sntis").reason
    with pytest.raises(cf.InvalidArgumentError, match=r'top 4 hold .* not finite: "never"'):
        evaluation.portfolio(4, "sntis")


@pytest.mark.parametrize("score", ["value", "lower"])
@pytest.mark.parametrize("k", [1, 2, 3, np.int64(2)])
def test_portfolio_by_hand(k, score):
    evaluation = cf.evaluate(LOG, POLICIES, gamma=0.9)
    found = evaluation.portfolio(k, "pdis", score)
    ranking = evaluation.ranking("pdis", score).head(int(k))
    rows = evaluation.rows("pdis")
    values = np.array([dict(rows.select("policy", "value").rows())[p] for p in ranking["policy"]])
    assert found.policies == found.table["policy"].to_list() == ranking["policy"].to_list()
    assert found.table["rank"].to_list() == list(range(1, int(k) + 1))
    assert found.table["value"].to_list() == values.tolist()
    for column in ("standard_error", "ci_low", "ci_high", "note"):
        by_name = dict(rows.select("policy", column).rows())
        assert found.table[column].to_list() == [by_name[p] for p in found.policies]
    behavior = evaluation.behavior_value
    assert (found.estimator, found.score, found.behavior_value) == ("pdis", score, behavior)
    assert (found.best, found.worst) == (values.max(), values.min())
    assert found.mean == pytest.approx(values.mean(), rel=1e-12)
    assert found.std == pytest.approx(values.std(), rel=1e-9, abs=1e-15)
    assert found.excess_return == max(values.max(), behavior) - behavior
    ratio = found.excess_return / values.std() if k > 1 else math.nan
    assert found.sharpe_ratio == pytest.approx(ratio, rel=1e-9, nan_ok=True)
    leader = found.policies[int(values.argmax())]
    for words in (", ".join(found.policies), leader, "behavior policy", "plug-in"):
        assert words in found.reason
    assert ("standard deviation" in found.reason) == (k > 1)


def test_portfolio_below_the_behavior_policy():
    rng = np.random.default_rng(3)
    good = rng.random(2_000) < 0.5
    data = {"action": good, "reward": good + rng.normal(0, 0.1, 2_000)}
    log = cf.LoggedData.from_frame(data | {"propensity": np.full(2_000, 0.5)})
    policies = {"bad": np.where(good, 0.2, 0.8), "worse": np.where(good, 0.1, 0.9)}
    found = cf.evaluate(log, policies, "tis").portfolio(2)
    assert found.policies == ["bad", "worse"]
    assert (found.excess_return, found.sharpe_ratio) == (0.0, 0.0)
    assert "below the behavior policy" in found.reason
    assert "more than chance" in found.reason
    assert "differ in more than noise" in found.reason


def test_portfolio_refuses_what_it_cannot_weigh():
    evaluation = cf.evaluate(LOG, POLICIES, "tis")
    for k in (True, None, "2", 2.0, np.array([2]), 4):
        with pytest.raises(cf.InvalidArgumentError, match=r"k must be a whole number from 1 to 3"):
            evaluation.portfolio(k)
    open_below = cf.evaluate(LOG, POLICIES, "tis", alternative="less")
    for act in (open_below.ranking, lambda **o: open_below.portfolio(1, **o)):
        with pytest.raises(cf.InvalidArgumentError, match="leaves open"):
            act(score="lower")
    # An infinite estimate ranks first, and must not count as some finite number.
    overflow = steps(60, {"over": 1.0, "same": 0.1, "half": 0.0999})
    assert overflow.rows("tis")["value"][0] == math.inf
    for k in (1, 2):
        with pytest.raises(cf.InvalidArgumentError, match=r"over|finite"):
            overflow.portfolio(k, "tis")
    assert "over" in overflow.portfolio(3, "sntis").policies


# Comparisons.


def test_variances_are_those_of_influence_values():
    evaluation = cf.evaluate(LOG, WITH_MODEL, oracle.NAMES, gamma=0.9)
    data = columns()
    fixed = [data[name] for name in ("id", "reward", "propensity")]
    logs = [oracle.dense(*fixed, data[p], data["q"], data["v"]) for p in POLICIES.values()]
    assert evaluation.variances.shape == (7, 4, 4)
    for name, matrix in zip(oracle.NAMES, evaluation.variances, strict=True):
        psi = [oracle.estimate(log, name, 0.9).psi for log in logs]
        psi.append(oracle.behavior(logs[0], 0.9).psi)
        for i in range(4):
            for j in range(4):
                difference = psi[i] if i == j else psi[i] - psi[j]
                wanted = oracle.standard_error(difference) ** 2
                assert matrix[i, j] == pytest.approx(wanted, rel=1e-9, abs=1e-25)


def test_compare_all_is_compare_each():
    evaluation = cf.evaluate(LOG, POLICIES, "snpdis", interval="t", gamma=0.9)
    assert evaluation.compare().equals(pl.concat([evaluation.compare(p) for p in "abc"]))
    found = evaluation.compare(baseline="b")
    assert found["policy"].to_list() == ["a", "c"]
    assert found.equals(pl.concat([evaluation.compare(p, "b") for p in "ac"]))
    values = evaluation.values()
    assert found["difference"].to_list() == [values[p] - values["b"] for p in "ac"]
    for policy in ("a", "behavior"):
        row = evaluation.compare(policy, policy).row(0, named=True)
        assert (row["difference"], row["standard_error"], row["p_better"]) == (0.0, 0.0, 0.5)


# Files.

EXTREMES = {
    "plain": lambda: cf.evaluate(LOG, WITH_MODEL, gamma=0.9),
    "infinite": lambda: steps(60, {"over": 1.0, "under": 0.001, "same": 0.1}),
    "undefined": lambda: cf.evaluate(LOG, {"never": np.zeros(N), "b": "p"}, ["tis", "sntis"]),
    "one episode": lambda: steps(1, {"same": 0.1, "other": 0.2}, n_steps=3),
    "open ends": lambda: cf.evaluate(LOG, POLICIES, alternative="greater"),
    "names": lambda: cf.evaluate(LOG, {'"Ünï\n\\{}" 策略 <b>': "p", "😀" * 99: "p_b"}),
    "estimated": lambda: cf.evaluate(LOG.with_propensity(columns()["p"]), POLICIES),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_an_evaluation_survives_its_file(name, tmp_path):
    evaluation = EXTREMES[name]()
    evaluation.to_parquet(tmp_path / "evaluation.parquet")
    found = cf.Evaluation.from_parquet(str(tmp_path / "evaluation.parquet"))
    assert bits_of(found.estimates) == bits_of(evaluation.estimates)
    assert found.estimates.schema == evaluation.estimates.schema
    assert found.settings == evaluation.settings
    assert found.variances.tobytes() == evaluation.variances.tobytes()
    assert repr(found) == repr(evaluation)
    tables = [e.compare(estimator="tis") for e in (found, evaluation)]
    assert bits_of(tables[0]) == bits_of(tables[1])
    assert [path.name for path in tmp_path.iterdir()] == ["evaluation.parquet"]


def test_other_files_are_no_evaluations(tmp_path):
    pl.DataFrame({"x": [1]}).write_parquet(tmp_path / "x.parquet")
    LOG.to_parquet(tmp_path / "log.parquet")
    (tmp_path / "text.parquet").write_text("text")
    for name in ("x.parquet", "log.parquet", "text.parquet", "none.parquet"):
        with pytest.raises(cf.InvalidArgumentError, match=name):
            cf.Evaluation.from_parquet(tmp_path / name)


# Text.


def width(text: str) -> int:
    """Columns of a terminal that the longest line takes: two for an ideograph."""
    sizes = {letter: 1 + (unicodedata.east_asian_width(letter) in "WF") for letter in set(text)}
    return max(sum(map(sizes.get, line)) for line in text.splitlines())


NAMES = ["p", "x" * 150, "Ünïcödé nämé of a pölicy " * 6, "策略名称" * 20, "😀" * 40]


@pytest.mark.parametrize("name", NAMES, ids=["short", "one word", "words", "ideographs", "emoji"])
@pytest.mark.parametrize("several", [1, 5, 30, 50])
def test_text_fits_a_terminal(name, several):
    labels = [f"{i} {name}" for i in range(several)]
    for policy, options in (
        (WITH_MODEL["a"], {"alternative": "greater", "interval": "t"}),
        ("p", {"estimators": ["snpdis"], "confidence_level": 0.999}),
    ):
        evaluation = cf.evaluate(LOG, dict.fromkeys(labels, policy), gamma=0.9, **options)
        text = repr(evaluation)
        for i in range(min(several, 40)):
            assert f"\n{i} " in text
        assert width(text) <= 80
        assert width(repr(evaluation.portfolio(min(several, 3), "snpdis"))) <= 80


def test_html_is_escaped():
    name = "<img src=x onerror='alert(1)'> & <script>"
    evaluation = cf.evaluate(LOG, {name: "p", "b": "p_b"}, ["tis", "sntis"])
    for page in (evaluation._repr_html_(), evaluation.portfolio(2, "tis")._repr_html_()):
        tags = set(re.findall(r"<\s*(\w+)", page))
        assert tags <= {"div", "p", "table", "thead", "tbody", "tr", "th", "td"}
        assert "&lt;img src=x onerror=&#x27;alert(1)&#x27;&gt; &amp; &lt;script&gt;" in page


def test_silent_where_nobody_watches(capfd):
    """An evaluation long enough for a progress line, which only a terminal gets."""
    data = {"action": np.zeros(100_000), "reward": np.ones(100_000), "half": np.full(100_000, 0.5)}
    log = cf.LoggedData.from_frame(data, propensity="half")
    several, seconds = 150, 0.0
    while seconds < 2.5:
        began, several = time.monotonic(), int(1.5 * several)
        cf.evaluate(log, {f"policy {i}": "half" for i in range(several)})
        seconds = time.monotonic() - began
    assert capfd.readouterr() == ("", "")


# Policies in every form.


def test_probabilities_in_every_form():
    p = columns()["p"]
    expected = bits("p")
    for form in (p, pl.Series(p), pd.Series(p), pa.array(p), p.tolist(), tuple(p.tolist())):
        assert bits(form) == expected
        assert bits(cf.PolicyColumns(prob=form)) == expected
    chunks = pa.chunked_array([p[:3], p[3:3], p[3:]])
    assert bits(chunks) == bits(pl.Series(chunks)) == bits(np.repeat(p, 2)[::2]) == expected
    model = cf.PolicyColumns(prob="p", q=pl.Series(columns()["q"]), v=columns()["v"].tolist())
    assert bits(model) == bits(WITH_MODEL["a"])
    assert bits(p.astype(np.float32)) == bits(p.astype(np.float32).astype(np.float64))
    sure = (p > 0.5).astype(np.int8)
    assert bits(sure) == bits(sure.astype(bool)) == bits(sure.astype(np.float64))


def test_dense_arrays_in_every_form():
    probs = np.random.default_rng(2).dirichlet(np.ones(3), N)
    logged = (np.arange(N), columns()["action"])
    expected = bits(probs[logged])
    lists = {"list": pl.Series(probs.tolist()), "array": pl.Series(probs)}
    lists["fixed"] = pa.FixedSizeListArray.from_arrays(pa.array(probs.ravel()), 3)
    log = log_of(**lists)
    for form in (probs, np.asfortranarray(probs), lists["list"], lists["array"]):
        assert bits(form, log) == bits(cf.PolicyColumns(action_probs=form), log) == expected
    for name in lists:
        assert bits(cf.PolicyColumns(action_probs=name), log) == expected
    single = probs.astype(np.float32)
    assert bits(single) == bits(single[logged].astype(np.float64))
    greedy = np.eye(3, dtype=int)[probs.argmax(axis=1)]
    assert bits(greedy) == bits(greedy.astype(bool)) == bits(greedy[logged].astype(float))


@pytest.mark.parametrize("text", [False, True], ids=["integer actions", "text actions"])
@pytest.mark.parametrize("mixed", [False, True], ids=["numeric states", "mixed states"])
def test_objects_are_asked_in_blocks(mixed, text):
    n = 140_000
    rng = np.random.default_rng(4)
    state = {
        "income": rng.uniform(size=n),
        "age": rng.integers(0, 90, n).astype(np.int8),
        "member": rng.random(n) < 0.5,
        **({"city": np.array(["A", "B"])[rng.integers(0, 2, n)]} if mixed else {}),
    }
    actions = np.array(["x", "y", "z"] if text else [0, 1, 2])[rng.integers(0, 3, n)]
    data = {"action": actions, "reward": rng.normal(size=n), "propensity": np.full(n, 0.3)}
    frame = pl.DataFrame(state | data)
    frame = pl.concat([frame[:999], frame[999:]], rechunk=False)
    log = cf.LoggedData.from_frame(frame, state=list(state))
    asked = []

    class Policy:
        def prob(self, states: object, actions: np.ndarray) -> np.ndarray:
            asked.append((states, actions))
            income = states["income"].to_numpy() if mixed else states[:, 0]
            return np.where(actions == ("y" if text else 1), income, income / 2)

    prob = np.where(actions == ("y" if text else 1), state["income"], state["income"] / 2)
    assert bits(Policy(), log) == bits(prob, log)
    blocks, logged = zip(*asked, strict=True)
    assert [len(block) for block in blocks] == [65_536, 65_536, 8_928]
    assert np.array_equal(np.concatenate(logged), actions)
    if mixed:
        assert pl.concat(blocks).equals(frame.select(*state))
    else:
        assert all(block.dtype == np.float64 for block in blocks)
        assert np.array_equal(np.concatenate(blocks), np.column_stack([*state.values()]))
