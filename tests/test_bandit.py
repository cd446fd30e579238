"""Estimators of single decisions, and what options are allowed: against plain numpy."""

from __future__ import annotations

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from counterfolio import _core


def decisions(seed: int, n: int = 500) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    b = rng.uniform(0.05, 0.9, n)
    return {
        "action": np.zeros(n, dtype=int),
        "propensity": b,
        "reward": rng.gamma(1.0, 1.0, n),
        "p_new": np.where(rng.random(n) < 0.1, 0.0, rng.uniform(0.0, 1.0, n)),
        "p_old": rng.uniform(0.0, 1.0, n),
        "q": rng.normal(1.0, 0.3, n),
        "v": rng.normal(1.0, 0.3, n),
    }


def evaluate(rows: dict[str, np.ndarray], estimators: list, **options) -> cf.Evaluation:
    log = cf.LoggedData.from_frame(pl.DataFrame(rows))
    policies = {name: cf.PolicyColumns(prob=f"p_{name}", q="q", v="v") for name in ("new", "old")}
    return cf.evaluate(log, policies, estimators, **options)


def row_of(evaluation: cf.Evaluation, label: str, policy: str = "new") -> dict:
    rows = evaluation.estimates.filter(pl.col("policy") == policy, pl.col("estimator") == label)
    return rows.row(0, named=True)


def mean_and_error(terms: np.ndarray, value: float | None = None) -> tuple[float, float]:
    value = terms.mean() if value is None else value
    psi = terms - value
    n = len(psi)
    return float(value), float(np.sqrt((psi**2).sum() / (n * (n - 1))))


def terms_of(rows: dict[str, np.ndarray], label: str) -> np.ndarray:
    b, r, q, v = (rows[key] for key in ("propensity", "reward", "q", "v"))
    w = rows["p_new"] / b
    if label == "ix[exploration=0.2]":
        return rows["p_new"] / (b + 0.2) * r
    if label == "ls[smoothing=0.5]":
        return np.log(1 + 0.5 * w * r) / 0.5
    if label == "switch_dr[switch=1.5]":
        return v + np.where(w <= 1.5, w, 0.0) * (r - q)
    if label == "dros[shrinkage=2]":
        return v + 2 * w / (w**2 + 2) * (r - q)
    if label == "drps[clip=1.5]":
        return v + np.minimum(w, 1.5) * (r - q)
    if label == "mrdr":
        return v + w * (r - q)
    assert label == "beta_ips"
    c = np.cov(w * r, w)[0, 1] / np.var(w, ddof=1)
    return w * (r - c) + c


LABELS = [
    "ix[exploration=0.2]",
    "ls[smoothing=0.5]",
    "switch_dr[switch=1.5]",
    "dros[shrinkage=2]",
    "drps[clip=1.5]",
    "mrdr",
    "beta_ips",
]


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("n", [2, 37, 5000])
def test_against_numpy(label, n):
    rows = decisions(n, n)
    found = row_of(evaluate(rows, [label]), label)
    value, error = mean_and_error(terms_of(rows, label))
    assert found["value"] == pytest.approx(value, rel=1e-9)
    assert found["standard_error"] == pytest.approx(error, rel=1e-9)


def test_with_episode_ids_it_is_the_same():
    """The general way instead of the short one."""
    rows = decisions(3, 3000)
    short = evaluate(rows, LABELS)
    log = cf.LoggedData.from_frame(pl.DataFrame({**rows, "id": np.arange(3000)}), episode_id="id")
    policies = {name: cf.PolicyColumns(prob=f"p_{name}", q="q", v="v") for name in ("new", "old")}
    long = cf.evaluate(log, policies, LABELS)
    for a, b in zip(
        short.estimates.iter_rows(named=True), long.estimates.iter_rows(named=True), strict=True
    ):
        assert a["value"] == pytest.approx(b["value"], rel=1e-12)
        assert a["standard_error"] == pytest.approx(b["standard_error"], rel=1e-12)


def test_replicates_are_the_estimates_of_repeated_decisions():
    """Centring redone in every replicate, for each policy."""
    rows = decisions(4, 60)
    labels = [*LABELS, "sntis", "tis[clip=2]"]
    options = {"n_resamples": 20, "seed": 5, "resampling": "poisson"}
    evaluation = evaluate(rows, labels, **options)
    drawn = cf.resample_weights(np.arange(60), 20, 5)
    for replicate, m in enumerate(drawn):
        repeated = {key: np.repeat(x, m) for key, x in rows.items()}
        again = evaluate(repeated, labels)
        for p, policy in enumerate(evaluation.policies):
            for e, label in enumerate(labels):
                wanted = row_of(again, label, policy)["value"]
                found = evaluation.replicates[replicate, p, e]
                assert found == pytest.approx(wanted, rel=1e-10), (label, policy)


def test_the_control_variate_lowers_the_variance():
    """Never above that of importance sampling; weights without spread are left alone."""
    for seed in range(20):
        rows = decisions(seed, 200)
        evaluation = evaluate(rows, ["ips", "beta_ips"])
        plain, best = (row_of(evaluation, e)["standard_error"] for e in ("tis", "beta_ips"))
        assert best < plain
    rows["p_new"] = rows["propensity"] / 3
    evaluation = evaluate(rows, ["ips", "beta_ips"])
    assert row_of(evaluation, "beta_ips")["value"] == row_of(evaluation, "tis")["value"]
    rows["p_new"] = rows["propensity"]
    evaluation = evaluate(rows, ["beta_ips"])
    assert row_of(evaluation, "beta_ips")["value"] == pytest.approx(rows["reward"].mean())


def test_pessimists_are_below_importance_sampling():
    rows = decisions(1)
    evaluation = evaluate(rows, ["ips", "ix[exploration=0.1]", "ls[smoothing=0.1]"])
    plain, ix, ls = (row["value"] for row in evaluation.estimates.head(3).iter_rows(named=True))
    assert ix < plain
    assert ls < plain
    # Without exploration and smoothing they are importance sampling.
    near = evaluate(rows, ["ix[exploration=1e-12]", "ls[smoothing=1e-12]"])
    assert near.estimates["value"][0] == pytest.approx(plain, rel=1e-9)
    assert near.estimates["value"][1] == pytest.approx(plain, rel=1e-9)


# Differences.


def difference(rows: dict[str, np.ndarray], first: str, second: str) -> tuple[float, float]:
    own = {"behavior": rows["propensity"], "new": rows["p_new"], "old": rows["p_old"]}
    d = (own[first] - own[second]) / rows["propensity"]
    r = rows["reward"]
    c = (d**2 @ r) / (d @ d)
    return mean_and_error(d * (r - c))


@pytest.mark.parametrize("pair", [("new", "old"), ("old", "behavior"), ("behavior", "new")])
def test_delta_against_numpy(pair):
    rows = decisions(6, 3000)
    found = evaluate(rows, ["ips"]).compare(*pair, "delta").row(0, named=True)
    value, error = difference(rows, *pair)
    assert found["difference"] == pytest.approx(value, rel=1e-9)
    assert found["standard_error"] == pytest.approx(error, rel=1e-9)
    assert (found["policy"], found["baseline"], found["estimator"]) == (*pair, "delta")


def test_delta_is_sharp_where_policies_are_alike():
    rows = decisions(7, 2000)
    rows["p_old"] = np.clip(rows["p_new"] + 0.001 * rows["q"], 0, 1)
    evaluation = evaluate(rows, ["ips", "sntis"])
    errors = {e: evaluation.compare("new", "old", e)["standard_error"][0] for e in ("tis", "delta")}
    assert errors["delta"] < errors["tis"]
    every = evaluation.compare(estimator="delta")
    assert every["policy"].to_list() == ["new", "old"]
    rows["p_old"] = rows["p_new"]
    same = evaluate(rows, ["ips"]).compare("new", "old", "delta").row(0, named=True)
    assert same["difference"] == same["standard_error"] == 0


def test_delta_under_the_joint_bootstrap():
    """The interval is of the replicates, each of them the estimate of the repeated decisions."""
    rows = decisions(8, 300)
    options = {"interval": "bootstrap", "n_resamples": 40, "seed": 3, "resampling": "poisson"}
    found = evaluate(rows, ["ips"], **options).compare("new", "old", "delta").row(0, named=True)
    drawn = [
        difference({key: np.repeat(x, m) for key, x in rows.items()}, "new", "old")[0]
        for m in cf.resample_weights(np.arange(300), 40, 3)
    ]
    ends = np.quantile(drawn, [0.025, 0.975])
    assert (found["ci_low"], found["ci_high"]) == pytest.approx(tuple(ends), rel=1e-9)
    assert found["p_better"] == pytest.approx(np.mean(np.array(drawn) > 0))


def test_delta_with_clusters():
    rows = decisions(9, 400) | {"user": np.arange(400) // 7}
    log = cf.LoggedData.from_frame(pl.DataFrame(rows), cluster="user")
    evaluation = cf.evaluate(log, {"new": "p_new", "old": "p_old"}, ["ips"])
    found = evaluation.compare("new", "old", "delta").row(0, named=True)
    d = (rows["p_new"] - rows["p_old"]) / rows["propensity"]
    terms = d * (rows["reward"] - (d**2 @ rows["reward"]) / (d @ d))
    sums = np.bincount(rows["user"], terms - terms.mean())
    error = np.sqrt(len(sums) / (len(sums) - 1) * (sums**2).sum()) / 400
    assert found["standard_error"] == pytest.approx(error, rel=1e-9)


def test_delta_where_it_makes_no_sense():
    rows = decisions(1, 20)
    evaluation = evaluate(rows, ["ips"])
    with pytest.raises(cf.InvalidArgumentError, match="one pair of policies at a time"):
        evaluation.compare(estimator="delta", simultaneous=True)
    with pytest.raises(cf.InvalidArgumentError, match="policy 'gnu' was not evaluated"):
        evaluation.compare("gnu", estimator="delta")
    with pytest.raises(cf.InvalidArgumentError, match='delta" is no value of a policy'):
        evaluate(rows, ["delta"])
    with pytest.raises(cf.InvalidArgumentError, match="propensities and prob of policy 'new'"):
        evaluate(rows, ["dm"]).compare("new", "old", "delta")
    longer = pl.DataFrame({**rows, "id": np.arange(20) // 2})
    log = cf.LoggedData.from_frame(longer, episode_id="id")
    with pytest.raises(cf.InvalidArgumentError, match="20 rows in 10 episodes"):
        cf.evaluate(log, {"new": "p_new"}, ["ips"]).compare("new", estimator="delta")


# What is refused.


def test_longer_episodes_are_refused():
    rows = {**decisions(1, 4), "id": np.array([1, 1, 2, 2])}
    log = cf.LoggedData.from_frame(pl.DataFrame(rows), episode_id="id")
    for label in ("ix[exploration=0.2]", "ls[smoothing=1]", "beta_ips"):
        with pytest.raises(
            cf.InvalidArgumentError, match=r"single decisions.*4 rows in 2 episodes"
        ):
            cf.evaluate(log, {"new": "p_new"}, [label])


def test_negative_rewards_are_refused_where_a_logarithm_is_taken():
    rows = decisions(1, 10)
    rows["reward"][[3, 7]] = -0.5
    with pytest.raises(cf.InvalidLogError, match=r'"reward": 2 of 10 .* row 3 \(-0.5\)'):
        evaluate(rows, ["ls[smoothing=1]"])


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("pdis", {"n_step": 1}, '"pdis" does not take n_step; its options: clip, exponent'),
        ("sm_is", {"n_step": -1}, "n_step must be a whole number of 0 or more, not -1"),
        ("sm_is", {"n_step": 1.5}, "n_step must be a whole number"),
        ("drl", {"n_step": 1}, '"drl" does not take n_step'),
        ("sm_is", {"clip": 2, "per_step": True}, '"sm_is" does not take per_step'),
        ("tis", {"clip": 0}, "clip must be a number above 0, not 0"),
        ("tis", {"clip": np.inf}, "clip must be a number above 0"),
        ("tis", {"exponent": 1.5}, "exponent must be a number from 0 to 1"),
        ("tis", {"harmonic": 1}, "harmonic must be a number from 0 to below 1"),
        ("tis", {"shrinkage": "2"}, "shrinkage must be a number above 0, not '2'"),
        ("tis", {"clip": 2, "switch": 3}, "clip and switch both transform"),
        ("tis", {"per_step": True}, "per_step says how a transform is applied"),
        ("tis", {"exploration": 0.1}, '"tis" does not take exploration'),
        ("dm", {"clip": 2}, '"dm" does not take clip; its options: none'),
        ("ix", {}, '"ix" needs exploration'),
        ("dros", {}, '"dros" needs shrinkage'),
        ("dros", {"clip": 1}, '"dros" does not take clip'),
        ("tiss", {}, "unknown estimator 'tiss'"),
    ],
)
def test_options_that_make_no_sense(name, options, match):
    with pytest.raises(cf.InvalidArgumentError, match=match):
        cf.Estimator(name, **options)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("pdis[clap=2]", "no option 'clap'"),
        ("pdis[clip=two]", "clip cannot be 'two'"),
        ("pdis[clip]", "clip cannot be ''"),
        ("pdis[clip=2", "unknown estimator"),
        ("sm_is[n_step=1.5]", "n_step cannot be '1.5'"),
        ("dr[per_step=no,clip=2]", "per_step cannot be 'no'"),
    ],
)
def test_labels_that_make_no_sense(text, match):
    with pytest.raises(cf.InvalidArgumentError, match=match):
        evaluate(decisions(1, 5), [text])


def test_labels():
    """Options in one order whatever the order they came in; labels are read back."""
    assert cf.Estimator("ips", clip=10).label == "tis[clip=10]"
    assert cf.Estimator("sm_dr", clip=0.25, n_step=3).label == "sm_dr[n_step=3,clip=0.25]"
    assert cf.Estimator("dr", clip=2, per_step=True).label == "dr[clip=2,per_step=True]"
    assert cf.Estimator("sm_dr", n_step=0).label == "sm_dr"
    rows = decisions(1, 50)
    found = evaluate(rows, ["ips[clip=10.0]", cf.Estimator("dr", per_step=True, clip=2), "dr"])
    assert found.estimators == ["tis[clip=10]", "dr[clip=2,per_step=True]", "dr"]
    assert len(found.ranking(cf.Estimator("tis", clip=10))) == 2
    assert found.compare("new", "old", "tis[clip=10]").height == 1
    with pytest.raises(cf.InvalidArgumentError, match=r'"tis\[clip=2\]" was not evaluated'):
        found.ranking("tis[clip=2]")
    with pytest.raises(cf.InvalidArgumentError, match=r'are all "tis\[clip=10\]"'):
        evaluate(rows, ["tis[clip=10]", cf.Estimator("ips", clip=10)])


VALUES = [row for row in _core.registry() if row["form"]]


@pytest.mark.parametrize("row", VALUES, ids=lambda row: row["name"])
def test_every_row_of_the_registry_can_be_evaluated(row):
    """With what it says that it needs, and nothing else; without any one of them it says so."""
    rows = decisions(2, 80)
    columns = {key: "q" if key == "q" else "v" for key in ("q", "v")}
    columns |= {"prob": "p_new", "state_ratio": "p_old", "state_action_ratio": "p_old"}
    option = {row["required"]: 0.5} if row["required"] else {}
    estimator = cf.Estimator(row["name"], **option)
    log = cf.LoggedData.from_frame(pl.DataFrame(rows))
    given = {key: columns[key] for key in row["needs"]}
    found = cf.evaluate(log, {"new": cf.PolicyColumns(**given)}, [estimator])
    assert np.isfinite(row_of(found, estimator.label)["standard_error"])
    for key in row["needs"]:
        less = cf.PolicyColumns(**{k: x for k, x in given.items() if k != key})
        with pytest.raises(cf.InvalidPolicyError, match=f"needs .*{key}"):
            cf.evaluate(log, {"new": less}, [estimator])
    assert row["title"]
    assert row["source"]
