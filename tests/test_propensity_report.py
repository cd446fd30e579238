"""Estimated propensities on their way: log, file, evaluation, report, plot."""

from __future__ import annotations

import html
import pickle

import counterfolio as cf
import numpy as np
import pytest
from counterfolio import plots
from counterfolio.models import PropensityModel
from sklearn.naive_bayes import GaussianNB
from test_html_report import SECTIONS, page, read
from test_plots import picture
from test_propensity import gaussian, gaussian_log, logit, logit_log


@pytest.fixture(scope="module")
def estimated():
    """A log without propensities, what was estimated, and its true probabilities."""
    frame, probs = logit(3000)
    log = logit_log(frame)
    return log, PropensityModel().fit(log), probs


def leaning(probs):
    tilted = probs * np.array([1.0, 1.0, 1.5])
    return {"new": tilted / tilted.sum(axis=1, keepdims=True)}


# The log.


def test_a_log_takes_what_was_estimated(estimated):
    log, found, _ = estimated
    marked = log.with_propensity(found)
    assert marked.propensity_source == "estimated"
    assert marked.propensity_model == found.summary()
    assert (marked.column("propensity").to_numpy() == found.propensity).all()
    assert log.propensity_model is None
    plain = marked.with_propensity(found.propensity)
    assert plain.propensity_source == "estimated"
    assert plain.propensity_model is None


def test_it_survives_pickling_and_parquet(estimated, tmp_path):
    log, found, probs = estimated
    marked = log.with_propensity(found)
    marked.to_parquet(tmp_path / "log.parquet")
    values = cf.evaluate(marked, leaning(probs)).values("tis")
    for again in (
        pickle.loads(pickle.dumps(marked)),
        cf.read_parquet(tmp_path / "log.parquet"),
    ):
        assert again.propensity_model == marked.propensity_model
        assert again.propensity_source == "estimated"
        assert cf.evaluate(again, leaning(probs)).values("tis") == values


def test_those_of_another_log_are_refused(estimated):
    _, found, _ = estimated
    with pytest.raises(cf.InvalidLogError, match='"propensity" has 3000 rows, but the log has 90'):
        logit_log(logit(90)[0]).with_propensity(found)


# The evaluation.


def test_evaluations_keep_it(estimated):
    log, found, probs = estimated
    evaluation = cf.evaluate(log.with_propensity(found), leaning(probs))
    assert evaluation.settings["propensity_source"] == "estimated"
    assert evaluation.settings["propensity_model"] == found.summary()
    array = cf.evaluate(log.with_propensity(found.propensity), leaning(probs))
    assert array.settings["propensity_model"] is None


# The report.


@pytest.fixture(scope="module")
def evaluation(estimated):
    log, found, probs = estimated
    return cf.evaluate(log.with_propensity(found), leaning(probs))


def test_the_report_has_a_section(evaluation, estimated, tmp_path):
    text = page(evaluation, tmp_path)
    reader = read(text)
    at = SECTIONS.index("weights")
    wanted = [*SECTIONS[:at], "propensities", *SECTIONS[at:]]
    assert [i for i in reader.ids if i in wanted] == wanted
    assert reader.tags["svg"] == 5
    said = reader.text("propensities")
    how = "multinomial logistic regression on polynomial features, cross-fitted in 5 folds, seed 0"
    assert said.startswith("Propensities were estimated Nobody logged how likely each action was")
    assert f"a model says it: {how}." in said
    assert "in doubt" not in reader.text("summary")
    for sentence in ("Well calibrated: ", "Balanced", "Overlap: propensities of logged actions"):
        assert sentence in said
    assert "predicted probability of an action" in said
    assert "expected calibration error" in said
    assert f"Propensities were estimated, not logged ({how}): no interval" in reader.text(
        "assumptions"
    )
    assert f"propensity model {how}" in reader.text("settings")
    assert '<a href="#propensities">' in text


def test_a_saved_evaluation_has_the_same_section(evaluation, tmp_path):
    evaluation.to_parquet(tmp_path / "kept.parquet")
    kept = cf.Evaluation.from_parquet(tmp_path / "kept.parquet")
    assert kept.settings["propensity_model"] == evaluation.settings["propensity_model"]
    assert page(kept, tmp_path) == page(evaluation, tmp_path)


def test_no_section_without_a_model(estimated, tmp_path):
    log, found, probs = estimated
    text = page(cf.evaluate(log.with_propensity(found.propensity), leaning(probs)), tmp_path)
    assert 'id="propensities"' not in text
    assert "#propensities" not in text
    assert "Propensities were estimated, not logged: no interval" in text


def test_what_is_wrong_is_said_and_escaped(tmp_path):
    frame, probs = logit(3000)
    frame["<b>x</b>"] = frame.pop("x")
    log = logit_log(frame, state=["<b>x</b>", "y"])

    def doubled(x):
        return np.tile(x, (1, 4))

    doubled.__name__ = "<i>many</i>"
    found = PropensityModel(GaussianNB(), features=doubled).fit(log)
    text = page(cf.evaluate(log.with_propensity(found), leaning(probs)), tmp_path)
    said = read(text).text("propensities")
    assert "Not calibrated: predicted probabilities are off by" in said
    assert "GaussianNB on <i>many</i> features" in said
    summary = read(text).text("summary")
    assert "Propensities were estimated, and are in doubt. Not calibrated: predicted" in summary
    assert "<i>many" not in text
    assert html.escape("<i>many</i>") in text


def test_continuous_actions_have_their_section(tmp_path):
    frame, _, action = gaussian(2000)
    log = gaussian_log(frame, action)
    found = PropensityModel().fit(log)
    log = log.with_propensity(found)
    text = page(cf.evaluate(log, {"same": found.propensity}), tmp_path)
    said = read(text).text("propensities")
    assert "Well calibrated: actions lie around their predicted means" in said
    assert "nominal coverage of a central interval" in said
    assert "least density" in said


# The plot.


def test_the_plot_takes_either(evaluation, estimated, tmp_path):
    words = picture(plots.reliability(evaluation), tmp_path)
    assert words == picture(plots.reliability(estimated[1]), tmp_path)
    assert "predicted probability of an action" in words
    assert "more often than predicted" in words


def test_the_plot_shows_the_table(estimated):
    ax = plots.reliability(estimated[1])
    table = estimated[1].calibration.reliability
    (dots,) = (line for line in ax.lines if line.get_marker() == "o")
    np.testing.assert_allclose(dots.get_xdata(), table["predicted"])
    np.testing.assert_allclose(dots.get_ydata(), table["observed"])


def test_rare_actions_fill_the_plot(tmp_path):
    """The axes end where the predictions do."""
    rng = np.random.default_rng(0)
    frame = {"s": np.zeros(5000), "action": rng.integers(50, size=5000), "reward": np.ones(5000)}
    log = cf.LoggedData.from_frame(frame, state="s", propensity=None)
    ax = plots.reliability(PropensityModel(features="one_hot").fit(log))
    assert ax.get_xlim()[1] < 0.1
    picture(ax, tmp_path)


def test_there_may_be_nothing_to_draw(estimated):
    log, found, probs = estimated
    array = cf.evaluate(log.with_propensity(found.propensity), leaning(probs))
    with pytest.raises(cf.InvalidArgumentError, match="there is no reliability to draw"):
        plots.reliability(array)
