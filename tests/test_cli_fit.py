"""Models on the command line: --fit, and candidates that know every action."""

from __future__ import annotations

import json
from pathlib import Path

import cli_log
import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from cli_log import wrong

CARTPOLE = Path(__file__).parents[1] / "data" / "policies" / "CartPole-v1"


call = cli_log.call


@pytest.fixture
def log(call):
    """A log of sessions without propensities, and what two candidates would do."""
    rng = np.random.default_rng(3)
    n, steps = 800, 3
    x = rng.integers(4, size=n * steps)
    action = (rng.random(n * steps) < np.array([0.2, 0.4, 0.6, 0.8])[x]).astype(int)
    reward = 0.5 * action + 0.1 * x + rng.normal(size=n * steps)
    frame = pl.DataFrame(
        {
            "session": np.repeat(np.arange(n), steps),
            "x": x,
            "action": action,
            "reward": reward,
            "end": np.tile([False, False, True], n),
            "a_new": (x >= 2).astype(int),
            "p_all": np.column_stack([np.full(n * steps, 0.3), np.full(n * steps, 0.7)]),
        }
    )
    frame.write_parquet("log.parquet")
    return frame


ROLES = ("--episode-id", "session", "--state", "x", "--terminated", "end")
CANDIDATES = ("--policy", "new=action=a_new", "--policy", "more=action_probs=p_all")


def test_a_table_alone_gets_doubly_robust_estimates(log, call):
    _, out, err = call("evaluate", "log.parquet", *ROLES, *CANDIDATES, "--fit", "--format", "json")
    found = json.loads(out)
    assert found["settings"]["propensity_source"] == "estimated"
    assert found["settings"]["models"][0]["model"] == "LinearQ"
    assert "Prepared for" in err
    taken = cf.LoggedData.from_frame(
        log, propensity=None, episode_id="session", state="x", terminated="end"
    )
    policies = {
        "new": cf.PolicyColumns(action="a_new"),
        "more": cf.PolicyColumns(action_probs="p_all"),
    }
    prepared = cf.prepare(taken, policies)
    wanted = cf.evaluate(taken, prepared)
    rows = {(r["policy"], r["estimator"]): r["value"] for r in found["estimates"]}
    for row in wanted.estimates.rows(named=True):
        assert rows[row["policy"], row["estimator"]] == pytest.approx(row["value"], rel=1e-12)


def test_folds_and_features(log, call):
    options = ("--fit", "--features", "linear", "--cross-fit", "0", "--estimators", "dr")
    _, out, _ = call("evaluate", "log.parquet", *ROLES, *CANDIDATES, *options, "--format", "json")
    model = json.loads(out)["settings"]["models"][0]
    assert (model["features"], model["cross_fit"]) == ("linear", None)


def test_a_run_is_saved_and_repeated(log, call):
    options = ("--fit", "--cross-fit", "3", "--format", "csv")
    first = call(
        "evaluate", "log.parquet", *ROLES, *CANDIDATES, *options, "--save-config", "r.toml"
    )
    assert call("evaluate", "--config", "r.toml")[1] == first[1]


def test_a_candidate_from_a_model(call):
    rng = np.random.default_rng(0)
    states = rng.normal(0, 0.1, size=(400, 4))
    columns = {f"s{i}": states[:, i] for i in range(4)}
    action = rng.integers(2, size=400)
    pl.DataFrame(
        {**columns, "action": action, "reward": states[:, 2] * action, "propensity": 0.5}
    ).write_csv("log.csv")
    file = CARTPOLE / "behavior.onnx"
    state = [word for i in range(4) for word in ("--state", f"s{i}")]
    policy = f"net=onnx={file},head=softmax,parameter=1.0"
    _, out, _ = call("evaluate", "log.csv", *state, "--policy", policy, "--fit", "--format", "json")
    rows = {r["estimator"]: r for r in json.loads(out)["estimates"]}
    assert {"dm", "dr", "snpdis"} <= set(rows)
    log = cf.LoggedData.from_frame(pl.read_csv("log.csv"), state=list(columns))
    net = cf.policies.Softmax(cf.policies.Onnx(file), 1.0)
    wanted = cf.evaluate(log, {"net": net}, ["snpdis"]).values()["net"]
    assert rows["snpdis"]["value"] == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--policy", "new=action=a_new", "--fit"), "--fit needs the state"),
        (("--policy", "new=action=a_new", "--features", "linear"), "add --fit"),
        (("--policy", "new=action=a_new", "--cross-fit", "2"), "--cross-fit is for models"),
        (("--policy", "n=onnx=x.onnx"), "onnx needs head=HEAD"),
        (("--policy", "n=onnx=x.onnx,head=softmx"), 'did you mean "softmax"'),
        (("--policy", "n=onnx=x.onnx,head=softmax"), "needs parameter=NUMBER"),
        (("--policy", "n=onnx=x.onnx,head=deterministic,parameter=1"), "takes no parameter"),
        (("--policy", "n=onnx=x.onnx,head=softmax,parameter=a"), "is no number"),
        (("--policy", "n=a_new,head=softmax"), "name it with onnx=FILE"),
        (("--policy", "n=a_new,onnx=x.onnx"), "has both onnx and prob"),
    ],
)
def test_what_goes_wrong(log, call, words, said):
    wrong(call("evaluate", "log.parquet", "--no-propensity", *words), said)
