"""Notes: each that the documentation lists is given where it belongs, and only there."""

import re
from pathlib import Path

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

DOCS = Path(__file__).parents[1] / "docs" / "errors.md"


def evaluate(prob, propensity=0.5, reward=None, steps=1, cluster=None, **options):
    rows = len(prob)
    rng = np.random.default_rng(0)
    columns = {
        "action": np.zeros(rows, dtype=int),
        "reward": rng.normal(size=rows) if reward is None else np.broadcast_to(reward, rows),
        "propensity": np.broadcast_to(propensity, rows).astype(float),
        "episode": np.arange(rows) // steps,
        "user": np.zeros(rows, dtype=int),
        "day": np.arange(rows) // steps % 29,
    }
    log = cf.LoggedData.from_frame(columns, episode_id="episode", cluster=cluster)
    return cf.evaluate(log, {"new": np.asarray(prob, dtype=float)}, **options)


def notes(evaluation: cf.Evaluation) -> dict[str, str | None]:
    rows = evaluation.estimates
    return dict(zip(rows["estimator"], rows["note"], strict=True))


def uniform(rows: int) -> np.ndarray:
    """Weights that vary, with mean 1."""
    return np.random.default_rng(1).uniform(0.25, 0.75, size=rows)


def few() -> cf.Evaluation:
    """Fifteen episodes, of which one has far the largest weight and reward."""
    prob, reward = np.full(15, 0.02), np.zeros(15)
    prob[0], reward[0] = 1.0, 1.0
    return evaluate(prob, np.where(prob == 1.0, 0.2, 0.1), reward)


def heavy() -> cf.Evaluation:
    """Weights whose tail falls like the power -1.7."""
    u = np.random.default_rng(0).uniform(size=5000)
    weights = 0.7 / 1.7 * u ** (-1 / 1.7)
    return evaluate(np.full(5000, 1e-4) * weights, 1e-4)


def resampled(prob, n_resamples, **options) -> cf.Evaluation:
    given = {"n_resamples": n_resamples, "seed": 1, "estimators": ["tis", "sntis"]}
    return evaluate(prob, interval="bootstrap", **given, **options)


def modelled(model) -> cf.Evaluation:
    """The direct method by a model that is fitted on the log."""
    rng = np.random.default_rng(4)
    columns = {"x": rng.normal(size=400), "action": rng.integers(2, size=400)}
    columns["reward"] = columns["x"] * columns["action"] + rng.normal(size=400)
    log = cf.LoggedData.from_frame(columns, state="x", propensity=None)
    policies = {"new": np.tile([0.2, 0.8], (400, 1))}
    return cf.evaluate(log, cf.prepare(log, policies, ["dm"], q_model=model))


def clipped() -> cf.Evaluation:
    """A normal density, cut off at the bounds of the action."""
    rng = np.random.default_rng(5)
    action = rng.normal(size=1000)
    columns = {
        "action": np.clip(action, -1, 1),
        "reward": rng.normal(size=1000),
        "propensity": np.exp(-(action**2) / 2) / np.sqrt(2 * np.pi),
    }
    log = cf.LoggedData.from_frame(columns, action_type="continuous")
    kernel = cf.policies.Kernel("gaussian", 0.5, (-1, 1))
    policies = {"new": cf.PolicyColumns(action=np.zeros(1000), kernel=kernel)}
    return cf.evaluate(log, policies, ["sntis"])


def distributed(prob, estimator, **columns):
    """A statistic of a distribution as an evaluation."""
    rows = len(prob)
    frame = {"action": np.zeros(rows, int), "reward": np.arange(rows) % 7.0, **columns}
    log = cf.LoggedData.from_frame(frame | {"propensity": np.full(rows, 0.5)})
    policies = {"new": cf.PolicyColumns(prob=prob, v=frame["reward"])}
    return cf.evaluate_distribution(log, policies, [estimator]).evaluation("cvar", 0.1)


def unvisited() -> cf.Evaluation:
    """A state's ratio of 0 wherever the log is at the second step."""
    rows = {"id": np.arange(200) // 2, "action": np.zeros(200, int), "reward": np.arange(200.0)}
    log = cf.LoggedData.from_frame(rows | {"propensity": np.full(200, 0.5)}, episode_id="id")
    policy = cf.PolicyColumns(prob=np.full(200, 0.5), state_ratio=np.arange(200) % 2 == 0)
    return cf.evaluate(log, {"new": policy}, ["sm_is", "sm_snis"])


def overvisited() -> cf.Evaluation:
    """Ratios by step whose mean is 1.5."""
    rows = {"id": np.arange(400) // 2, "action": np.zeros(400, int), "reward": np.arange(400.0)}
    log = cf.LoggedData.from_frame(rows | {"propensity": np.full(400, 0.5)}, episode_id="id")
    ratio = np.random.default_rng(1).uniform(1, 2, 400)
    return cf.evaluate(log, {"new": cf.PolicyColumns(state_action_ratio=ratio)}, ["sam_is"])


CASES = {
    "of logged actions are exactly at a bound": clipped,
    "a point mass at v_0": lambda: distributed(uniform(200), "cd_dm"),
    "total mass": lambda: distributed(uniform(200), "cd_tis"),
    "with the error of the fitted model": lambda: modelled(cf.models.LinearQ("linear")),
    "it has no error of the fitted model": lambda: modelled(cf.models.FittedQ(Ridge())),
    "undefined: every importance weight is 0": lambda: evaluate(
        [0.5, 0.0] * 100, steps=2, estimators=["tis", "snpdis"]
    ),
    "undefined: every importance weight is 0 at step 1": unvisited,
    "where ratios by step have 1": overvisited,
    "every importance weight is 0": lambda: evaluate(
        uniform(200), estimators=["tis", "tis[switch=0.001]"]
    ),
    "every importance weight is 0: the policy": lambda: evaluate(
        np.zeros(100), estimators=["tis", "sntis"]
    ),
    "weight overflow": lambda: evaluate(np.ones(60 * 400), 0.1, 1.0, steps=400),
    "weight underflow": lambda: evaluate(np.full(60 * 400, 0.01), 1.0, 1.0, steps=400),
    "standard error underflow": lambda: evaluate(uniform(200), 0.5, 1e-200 * uniform(200)),
    "one episode: no standard error": lambda: evaluate([0.5]),
    "is below 50": lambda: evaluate(uniform(30)),
    "of the weight": lambda: evaluate([1.0] + [0.1] * 4999, [0.00125] + [0.1] * 4999),
    "is too high by more than chance": lambda: evaluate(np.ones(1000), 1 / 34),
    "is too low by more than chance": lambda: evaluate(np.full(1000, 0.3), 0.5),
    "self-normalisation biases it": few,
    "heavy tail": heavy,
    "terms so skewed": lambda: evaluate(
        uniform(300), reward=np.random.default_rng(2).lognormal(0, 2, 300)
    ),
    "clusters are fewer than 30": lambda: evaluate(uniform(300), cluster="day"),
    "one cluster: no standard error": lambda: evaluate(uniform(200), cluster="user"),
    "no interval: one episode cannot be resampled": lambda: resampled([0.5], 9),
    "replicates are undefined": lambda: resampled([0.5] + [0.0] * 19, 200),
    "no bca interval: every replicate is on one side": lambda: resampled(
        uniform(200), 1, method="bca"
    ),
    "replicates are too few for the level": lambda: resampled(uniform(200), 19),
    "the bounds exclude each other": lambda: evaluate(
        np.ones(2000),
        1 / 8,
        0.5,
        estimators=["tis"],
        interval="log_smoothing",
        return_range=(0, 1),
    ),
}


def logged(rows=300, states=60, **columns):
    """Many states, of which most have not seen both actions in every fold."""
    rng = np.random.default_rng(6)
    frame = {"s": rng.integers(states, size=rows), "action": rng.integers(2, size=rows)}
    frame |= {"reward": rng.normal(size=rows), "episode": np.arange(rows) // 5} | columns
    return cf.LoggedData.from_frame(frame, state="s", episode_id="episode", propensity=None)


def folded() -> cf.models.Propensities:
    return cf.models.PropensityModel(features="one_hot").fit(logged(), cross_fit=5)


def wild() -> cf.models.MarginalRatios:
    log = logged().with_propensity(np.full(300, 0.1))
    policies = {"new": np.tile([0.5, 0.5], (300, 1))}
    return cf.models.LinearRatio("one_hot").fit(log, policies, of="state")


def tiny() -> cf.models.Propensities:
    action = np.repeat([0, 1], 150)
    separated = np.where(action, 1.0, -1.0) * np.linspace(1, 2, 300)
    separated[7] = 8.0
    log = logged(s=separated, action=action)
    return cf.models.PropensityModel(LogisticRegression()).fit(log)


def warned() -> cf.models.Propensities:
    return cf.models.PropensityModel(LogisticRegression(max_iter=1)).fit(logged())


MODEL_CASES = {
    "with a propensity below 1e-06": tiny,
    "the model warned": warned,
    "an action that the other folds do not have in that state": folded,
    "that cannot be right": wild,
}


@pytest.mark.parametrize("note", MODEL_CASES)
def test_a_note_of_a_model_is_given(note):
    assert any(note in said for said in MODEL_CASES[note]().notes)


@pytest.mark.parametrize("note", CASES)
def test_a_note_is_given(note):
    assert any(note in (said or "") for said in notes(CASES[note]()).values())


def test_a_policy_that_never_acts_like_the_log():
    with pytest.raises(cf.InvalidPolicyError, match="never takes the logged actions"):
        evaluate(np.zeros(100), estimators=["sntis"])
    said = notes(evaluate(np.zeros(100), estimators=["tis", "sntis"]))
    assert said["tis"].startswith("every importance weight is 0")
    assert said["sntis"].startswith("undefined")


def test_a_note_on_differences_is_given():
    given = {"estimators": ["tis"], "interval": "hcope", "alternative": "greater", "seed": 1}
    found = evaluate(uniform(200), reward=uniform(200), **given)
    (said,) = found.compare()["note"]
    assert said == "the interval is a normal one, not hcope: that bounds no difference"


@pytest.mark.parametrize(("table", "cases", "least"), [(1, CASES, 10), (2, MODEL_CASES, 4)])
def test_every_documented_note_has_a_case(table, cases, least):
    table = DOCS.read_text("utf-8").split("| note | value |")[table].split("\n\n")[0]
    documented = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
    assert len(documented) >= least
    for text in documented:
        if "difference" in text:  # of a comparison, which has a test of its own
            continue
        words = [re.sub(r"\(.*?\)", "", part).strip() for part in re.split(r"\.\.|,", text)]
        assert any(w and (w in case or case in text) for w in words for case in cases), text


@pytest.mark.parametrize("rows", [50, 1000, 30_000])
def test_sound_logs_are_not_accused(rows):
    accused = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        b = rng.uniform(0.2, 0.8, size=rows)  # of action 1
        action = rng.random(rows) < b
        p = 0.5 * b + 0.25
        said = notes(evaluate(np.where(action, p, 1 - p), np.where(action, b, 1 - b)))
        accused += any("mean weight" in (note or "") for note in said.values())
    assert accused <= 1


def test_no_number_is_missing_without_a_word():
    for case in CASES.values():
        rows = case().estimates
        numbers = rows["value"].is_finite() & rows["standard_error"].is_finite()
        assert (numbers | rows["note"].is_not_null()).all()
        assert rows.schema["note"] == pl.String
