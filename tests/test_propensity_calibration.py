"""What is said of estimated propensities, beside numpy, scipy and scikit-learn; every error."""

from __future__ import annotations

import json

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from counterfolio.models import PropensityModel
from counterfolio.models.propensity_calibration import of_densities, of_probabilities
from counterfolio.models.propensity_words import doubts, is_calibrated, sentences
from made_logs import draw, softmax
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier
from test_propensity import (
    folds_of,
    gaussian,
    gaussian_log,
    logit,
    logit_log,
    sparse_log,
    table_log,
)

LABELS = ["0", "1", "2"]


def judged(probs, frame):
    numbers = np.column_stack([frame["x"], frame["y"]])
    return of_probabilities(probs, frame["action"], LABELS, numbers, ["x", "y"])


def bins_of(p):
    """Tenths by rank; those of equal value go with the first of them."""
    ordered = sorted(p)
    edges = sorted({ordered[int(np.ceil(len(p) * k / 10 - 1e-9)) - 1] for k in range(1, 10)})
    return np.array([sum(x > edge for edge in edges) for x in p])


def error_of(p, taken):
    of = bins_of(p)
    parts = [(of == b).mean() * abs(p[of == b].mean() - taken[of == b].mean()) for b in set(of)]
    return sum(parts)


def test_scores_are_those_of_scikit_learn():
    frame, probs = logit(700)
    found = judged(probs, frame)
    assert np.isclose(found.log_loss, log_loss(frame["action"], probs))
    brier = brier_score_loss(frame["action"], probs, labels=[0, 1, 2], scale_by_half=False)
    assert np.isclose(found.brier, brier)
    overall = np.tile(np.bincount(frame["action"]) / 700, (700, 1))
    brier = brier_score_loss(frame["action"], overall, labels=[0, 1, 2], scale_by_half=False)
    assert np.isclose(found.brier_of_frequencies, brier)


@pytest.mark.parametrize("digits", [12, 1])
def test_calibration_is_that_of_a_plain_computation(digits):
    """Also where many predictions are the same."""
    frame, probs = logit(403)
    probs = probs.round(digits) + 1e-9
    found = judged(probs, frame)
    taken = np.eye(3)[frame["action"]]
    wanted = np.mean([error_of(probs[:, a], taken[:, a]) for a in range(3)])
    assert np.isclose(found.expected_calibration_error, wanted)
    of = bins_of(probs.ravel())
    for row in found.reliability.rows(named=True):
        here = of == sorted(set(of))[row["bin"]]
        p = probs.ravel()[here]
        assert row["n"] == here.sum()
        assert np.isclose(row["predicted"], p.mean())
        assert np.isclose(row["observed"], taken.ravel()[here].mean())
        assert np.isclose(row["standard_error"], np.sqrt((p * (1 - p)).sum()) / here.sum())
    assert found.reliability["n"].sum() == 3 * 403


def test_right_probabilities_err_as_chance_has_it():
    errors = []
    for seed in range(20):
        frame, probs = logit(1000, seed)
        found = judged(probs, frame)
        errors.append(found.expected_calibration_error / found.calibration_error_by_chance)
    assert abs(np.mean(errors) - 1) < 0.1
    assert max(errors) < 2


def test_balance_is_that_of_a_plain_computation():
    frame, probs = logit(500)
    found = judged(probs, frame)
    w = 1 / probs[np.arange(500), frame["action"]]
    for row in found.balance.rows(named=True):
        mine = frame["action"] == int(row["action"])
        weight = w * mine
        effective = weight.sum() ** 2 / (weight**2).sum()
        assert np.isclose(row["effective_rows"], effective)
        if row["feature"] == "(constant)":
            difference, error = weight.mean() - 1, weight.std() / np.sqrt(500)
        else:
            f = frame[row["feature"]]
            mean = np.average(f, weights=weight)
            difference = (mean - f.mean()) / f.std()
            error = np.sqrt((weight**2 * (f - mean) ** 2).sum()) / weight.sum() / f.std()
        assert np.isclose(row["difference"], difference)
        assert np.isclose(row["standard_error"], error)
    assert len(found.balance) == 9
    assert found.balance_score == found.balance["difference"].abs().max()
    assert found.overlap["effective_rows"] == pytest.approx(w.sum() ** 2 / (w**2).sum())
    assert found.overlap["share_rare"] == (probs.min(axis=1) < 0.01).mean()
    quantiles = [found.overlap[x] for x in ("min", "q01", "q05", "q50")]
    np.testing.assert_allclose(quantiles, np.quantile(1 / w, [0, 0.01, 0.05, 0.5]))


def test_standard_errors_of_balance_are_right():
    z = []
    for seed in range(60):
        frame, probs = logit(800, seed, spread=0.7)
        balance = judged(probs, frame).balance
        z += (balance["difference"] / balance["standard_error"]).to_list()
    assert abs(np.std(z) - 1) < 0.1


def test_the_smallest_numbers_overflow_nothing():
    frame, probs = logit(500)
    probs[3] = 1e-300
    probs[4] = 1e-320
    found = judged(probs, frame)
    assert found.overlap["effective_rows"] == pytest.approx(1)
    assert np.isfinite(found.balance["difference"].to_numpy()).all()


def test_actions_of_few_rows_are_left_out_of_balance():
    frame, probs = logit(60)
    few = judged(probs, frame)
    assert set(few.balance["action"]) < set(LABELS)
    frame, probs = logit(20)
    none = judged(probs, frame)
    assert none.balance_score is None
    assert none.imbalance is None


def test_densities_are_judged_as_scipy_does():
    rng = np.random.default_rng(0)
    residuals = rng.standard_t(5, size=(400, 2))
    found = of_densities(np.full(400, 0.2), residuals)
    wanted = [stats.kstest(column, "norm").statistic for column in residuals.T]
    np.testing.assert_allclose(found.kolmogorov_smirnov, wanted)
    for row in found.reliability.rows(named=True):
        half = stats.norm.ppf((1 + row["predicted"]) / 2)
        assert np.isclose(row["observed"], (np.abs(residuals) <= half).mean())
        assert row["n"] == 800
    assert found.log_loss == pytest.approx(-np.log(0.2))


# What it says.


def test_sound_propensities_are_called_so():
    frame, _ = logit(4000)
    found = PropensityModel().fit(logit_log(frame))
    text = repr(found)
    assert "Well calibrated: " in text
    assert "Balanced" in text
    assert "Overlap: propensities of logged actions go down to" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "<table>" in found._repr_html_()
    assert found.notes == []
    kept = json.loads(json.dumps(found.summary(), allow_nan=False))
    assert kept == found.summary()
    assert len(kept["reliability"]) == 10


def test_miscalibrated_propensities_are_called_so():
    frame, _ = logit(4000)
    # Four times the same evidence.
    model = PropensityModel(GaussianNB(), features=lambda x: np.tile(x, (1, 4)))
    found = model.fit(logit_log(frame))
    assert "Not calibrated: predicted probabilities are off by" in repr(found)


def test_what_a_model_misses_is_named():
    """Frequencies by a coarse state, where the logger looked closer."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=8000)
    probs = softmax(np.column_stack([x, -x]))
    frame = {"x": x, "y": np.zeros(8000), "action": draw(rng, probs), "reward": x}
    model = PropensityModel(LogisticRegression(), features=lambda x: x[:, 1:])
    found = model.fit(logit_log(frame))
    assert found.calibration.imbalance["feature"] == "x"
    text = " ".join(repr(found).split())
    assert 'Not balanced: weighted by 1/b, the rows of action "' in text
    assert "The model misses what the behavior policy looked at." in text
    assert "Well calibrated" in text  # calibration alone would not have told


def test_propensities_that_are_too_small_are_unbalanced_in_the_constant():
    frame, probs = logit(4000)
    probs[:, 1] *= 0.5
    found = judged(probs, frame)
    assert found.imbalance["feature"] == "(constant)"
    assert found.imbalance["difference"] == pytest.approx(1, abs=0.2)
    assert found.imbalance["action"] == "1"


def test_a_table_is_not_praised_for_agreeing_with_its_own_rows():
    log, _, _ = sparse_log()
    for frame in (log, table_log(2000)[0]):
        found = PropensityModel(features="one_hot").fit(frame)
        text = " ".join(repr(found).split())
        assert "Calibration says nothing here: frequencies agree with the rows that they" in text
        assert "on its own rows, which says nothing" in text
        assert "alibrated:" not in text
        assert is_calibrated(found.summary())
    folds = " ".join(repr(PropensityModel().fit(table_log(2000)[0], cross_fit=5)).split())
    assert "Well calibrated: " in folds
    assert "by chance if right" in folds


@pytest.mark.parametrize("n_repeats", [1, 3])
def test_folds_without_what_the_log_has_are_told(n_repeats):
    log, columns, _ = sparse_log()
    state, action, n = columns["state"], columns["action"], log.n_rows
    counted = np.zeros(n)
    for repeat in range(n_repeats):
        fold = folds_of(log, 5, 0, repeat)
        for i in range(n):
            counted[i] += not (
                (fold != fold[i]) & (state == state[i]) & (action == action[i])
            ).any()
    alone = np.flatnonzero(counted > n_repeats / 2)
    assert len(alone) > 100
    found = PropensityModel(features="one_hot").fit(log, cross_fit=5, n_repeats=n_repeats)
    assert found.guessed == found.summary()["guessed"] == len(alone)
    (note,) = found.notes
    assert note.startswith(
        f"{len(alone)} rows with an action that the other folds do not have in that state, first "
        f"row {alone[0]} ("
    )
    assert note.endswith("take no folds (cross_fit=None), or merge rare states or actions")
    said = " ".join(repr(found).split())
    assert "Not balanced: " in said
    assert "The folds do not have all that the log has: take no folds (cross_fit=None)" in said
    assert "The model misses" not in said
    assert any("take no folds (cross_fit=None)" in doubt for doubt in doubts(found.summary()))
    # And the cure is one.
    cured = PropensityModel(features="one_hot").fit(log)
    assert (cured.notes, cured.guessed) == ([], 0)
    assert cured.calibration.balance_score < found.calibration.balance_score / 2


def test_a_table_says_where_an_action_was_never_taken():
    """Weighted by its own frequencies its rows look like all rows of the states that have it."""
    rng = np.random.default_rng(0)
    state = rng.integers(4, size=8000)
    action = np.where(state == 3, 0, rng.integers(2, size=8000))
    log = cf.LoggedData.from_frame(
        {"state": state, "action": action, "reward": rng.random(8000)},
        state="state",
        propensity=None,
    )
    found = PropensityModel().fit(log)
    off = (state[state < 3].mean() - state.mean()) / state.std()
    assert found.calibration.imbalance["difference"] == pytest.approx(off, abs=0.002)
    assert (found.calibration.imbalance["action"], found.notes) == ("1", [])
    text = " ".join(repr(found).split())
    assert "It was never taken in some states of the other rows: what it does there" in text


def test_a_summary_of_before_is_still_read():
    log, _, _ = sparse_log()
    kept = PropensityModel(features="one_hot").fit(log, cross_fit=5).summary()
    del kept["guessed"]
    assert "The model misses what the behavior policy looked at." in " ".join(sentences(kept))


def test_thin_overlap_is_called_so():
    frame, _ = logit(4000, spread=6)
    text = " ".join(repr(PropensityModel(features="linear").fit(logit_log(frame))).split())
    assert "Thin overlap: propensities of logged actions go down to" in text


def test_what_is_not_normal_is_called_so():
    frame, _, action = gaussian(3000)
    good = PropensityModel().fit(gaussian_log(frame, action))
    assert "Well calibrated: actions lie around" in repr(good).replace("\n", " ")
    assert max(map(len, repr(good).splitlines())) <= 80
    odd = action + np.where(np.arange(3000)[:, None] % 2, 4.0, -4.0)
    bad = PropensityModel().fit(gaussian_log(frame, odd))
    assert "Not calibrated: actions do not lie" in repr(bad).replace("\n", " ")


# Notes and errors.


def test_tiny_propensities_are_kept_and_noted():
    frame, _ = logit(1000)
    frame["x"][7] = 60.0
    frame["action"][7] = 2
    frame["y"][7] = 0.0
    found = PropensityModel(features="linear").fit(logit_log(frame))
    assert found.propensity[7] < 1e-6
    (note,) = found.notes
    assert note.startswith("1 row with a propensity below 1e-06, first row 7 (")
    assert "Note: 1 row" in repr(found)
    frame, _, action = gaussian(1000)
    action[9] += 6
    (note,) = PropensityModel().fit(gaussian_log(frame, action)).notes
    assert note.startswith("1 row with a density below 1e-06 of the peak's, first row 9 (")


def test_warnings_of_a_model_become_notes():
    frame, _ = logit(400)
    found = PropensityModel(LogisticRegression(max_iter=1)).fit(logit_log(frame))
    assert len(found.notes) == 1
    assert found.notes[0].startswith(
        'the model warned 5 times in 5 fits: "lbfgs failed to converge'
    )


def test_an_action_that_only_its_own_fold_has():
    frame, _ = logit(200)
    frame["action"][50] = 3
    for model in (PropensityModel(features="linear"), PropensityModel(features="one_hot")):
        with pytest.raises(
            cf.InvalidLogError,
            match=r'column "action": propensity 0 for 1 of 200 rows, of action "3", first at row '
            r"50: no episode outside its fold has that action; merge rare actions, ask for more",
        ):
            model.fit(logit_log(frame), cross_fit=5)


def test_an_action_that_the_model_rules_out():
    frame, _ = logit(400)
    with pytest.raises(
        cf.InvalidLogError,
        match=r"propensity 0 for \d+ of 400 rows, of action .*, and of 2 other actions: the model "
        "rules it out; take one that rules nothing out",
    ):
        PropensityModel(DecisionTreeClassifier()).fit(logit_log(frame))


def test_one_action_alone():
    frame, _ = logit(100)
    frame["action"][:] = 1
    for model in (PropensityModel(features="linear"), PropensityModel(features="one_hot")):
        assert (model.fit(logit_log(frame)).propensity == 1).all()


class Odd:
    """A classifier and regressor that answers what it is told to."""

    def __init__(self, answer):
        self.answer = answer

    def fit(self, x, y):
        return self

    def predict_proba(self, x):
        return self.answer(len(x))

    predict = predict_proba


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: PropensityModel(features="sines"), "unknown features 'sines'"),
        (lambda: PropensityModel(3), "classifier must be an object with fit and predict_proba"),
        (lambda: PropensityModel(LogisticRegression), "classifier must be an object with fit"),
        (lambda: PropensityModel(regressor="x"), "regressor must be an object with fit and predic"),
        (
            lambda: PropensityModel(GaussianNB(), features="one_hot"),
            "is a table of frequencies and takes no classifier",
        ),
        (lambda: PropensityModel().fit("log"), "fit takes a LoggedData, not a str; make one with"),
        (
            lambda: PropensityModel(regressor=LogisticRegression()).fit(table_log(9)[0]),
            "the log's actions are discrete: pass a classifier, not a regressor",
        ),
        (
            lambda: PropensityModel(GaussianNB()).fit(gaussian_log(*gaussian(50)[::2])),
            "the log's actions are continuous: pass a regressor, not a classifier",
        ),
        (
            lambda: PropensityModel(features="one_hot").fit(gaussian_log(*gaussian(50)[::2])),
            "which continuous actions have none of",
        ),
        (lambda: PropensityModel().fit(table_log(9)[0], cross_fit=10), "cross_fit must be None or"),
        (
            lambda: PropensityModel().fit(table_log(9)[0], cross_fit="five"),
            "unknown cross_fit 'fiv",
        ),
        (lambda: PropensityModel().fit(table_log(9)[0], n_repeats=0), "n_repeats must be a whole"),
        (lambda: PropensityModel().fit(table_log(9)[0], seed=-1), "seed must be a whole number"),
        (
            lambda: PropensityModel(Odd(lambda n: np.ones((n, 2)))).fit(logit_log(logit(90)[0])),
            r"Odd: predict_proba returned shape \(18, 2\) for 18 rows and 3 classes",
        ),
        (
            lambda: PropensityModel(Odd(lambda n: np.ones((n, 3)))).fit(logit_log(logit(90)[0])),
            "do not sum to 1 within 1e-05 for 18 of 18 rows",
        ),
        (
            lambda: PropensityModel(regressor=Odd(lambda n: np.full((n, 2), np.nan))).fit(
                gaussian_log(*gaussian(50)[::2])
            ),
            "Odd: predict returned NaN, an infinite number, or shape",
        ),
        (
            lambda: PropensityModel(regressor=Odd(lambda n: np.ones((n, 2)))).fit(
                gaussian_log(*gaussian(5)[::2])
            ),
            "one half of a fold is empty; ask for fewer folds",
        ),
    ],
)
def test_arguments(make, text):
    with pytest.raises(cf.InvalidArgumentError, match=text):
        make()


def spoilt(value):
    frame, _, action = gaussian(50)
    return gaussian_log(frame, value(action))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: table_log(9, state=None)[0], "the log names no state column"),
        (
            lambda: logit_log({**logit(90)[0], "action": np.arange(90) * 10**9}),
            'column "action": 90 rows and 89,000,000,001 actions make more probabilities than fit',
        ),
        (
            lambda: spoilt(lambda a: np.array(["a", "b"] * 25)),
            'column "action" holds String; a continuous action is a number or a list',
        ),
        (
            lambda: spoilt(lambda a: np.where(np.arange(50) == 3, np.inf, a[:, 0])),
            'column "action": an infinite number, first at row 3; mend or drop the row',
        ),
        (lambda: spoilt(lambda a: np.ones(50)), "the actions have no spread"),
        (lambda: spoilt(lambda a: a[:, [0, 0]]), "or one of their numbers follows from the others"),
        (
            lambda: spoilt(lambda a: a[:, 0] + 1e6 * (np.arange(50) == 4)),
            'column "action": density 0 for 1 of 50 rows, first at row 4: .* too far',
        ),
        (lambda: gaussian_log(*gaussian(7)[::2]), "5 rows cannot tell 6 features and a spread"),
        (
            lambda: logit_log({**logit(90)[0], "x": np.where(np.arange(90) == 3, np.nan, 1.0)}),
            'column "x": 1 of 90 values are null or NaN',
        ),
    ],
)
def test_logs(make, text):
    with pytest.raises(cf.InvalidLogError, match=text):
        PropensityModel().fit(make())


def test_a_table_of_states_of_which_models_know_no_features():
    """Balance is judged by the columns that are left."""
    rng = np.random.default_rng(0)
    days = pl.Series("day", np.arange(600) % 3).cast(pl.Date)
    frame = {"day": days, "x": rng.integers(2, size=600), "action": np.arange(600) % 2}
    log = cf.LoggedData.from_frame(
        pl.DataFrame({**frame, "reward": np.ones(600)}), state=["day", "x"], propensity=None
    )
    found = PropensityModel(features="one_hot").fit(log)
    assert set(found.calibration.balance["feature"]) == {"(constant)", "x"}
