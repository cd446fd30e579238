"""The HTML report: whole, self-contained, escaped, small, and in words that the verdicts drive."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser

import counterfolio as cf
import numpy as np
import pytest

SECTIONS = [
    "summary",
    "log",
    "estimates",
    "comparison",
    "weights",
    "shortlist",
    "changes",
    "assumptions",
    "words",
    "settings",
]
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "{{7*7}}{% raw %}",
    "$x^2$ &amp; <b>",
    "line\nbreak",
    "url(http://evil.example/x)",
    "漢字 🙂 عربى",
    "x" * 300,
]
VOID = {"meta", "br", "hr", "img", "link", "input"}


def softmax(scores):
    out = np.exp(scores - scores.max(axis=1, keepdims=True))
    return out / out.sum(axis=1, keepdims=True)


def world(names=("near", "far"), *, n=3000, longest=1, lift=0.3, tilt=0.4, model=False, **roles):
    """A log, and candidates that lean towards the action that pays by `lift` more."""
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(n), rng.integers(1, longest + 1, n))
    rows = np.arange(len(ids))
    probs = softmax(0.5 * rng.normal(size=(len(ids), 3)))
    action = (probs.cumsum(axis=1) < rng.random((len(ids), 1))).sum(axis=1).clip(max=2)
    frame = {
        "id": ids,
        "action": action,
        "reward": rng.random(len(ids)) + lift * action,
        "propensity": probs[rows, action],
        **roles,
    }
    policies = {}
    for i, name in enumerate(names):
        leaning = softmax(np.log(probs) + tilt * (i + 1) * np.arange(3) / len(names))
        q = np.tile([0.5, 0.5 + lift, 0.5 + 2 * lift], (len(ids), 1)) if model else None
        policies[name] = cf.PolicyColumns(action_probs=leaning, q_values=q)
    return cf.LoggedData.from_frame(frame, episode_id="id"), policies


def page(evaluation, tmp_path, **options):
    path = tmp_path / "report.html"
    evaluation.to_html(path, **options)
    return path.read_text("utf-8")


class Reader(HTMLParser):
    """Checks that tags close in order; gathers ids, references, tags and words by section."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.references, self.tags = [], [], [], Counter()
        self.sections, self.section, self.words = {}, "", []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags[tag] += 1
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "section":
            self.section = found["id"]
        self.references += [
            v for k, v in found.items() if k in ("src", "href", "xlink:href", "action", "style")
        ]
        self.references += [v for v in found.values() if v and "url(" in v]
        assert not [k for k in found if k.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "section":
            self.section = ""

    def handle_data(self, data):
        self.sections.setdefault(self.section, []).append(data)

    def text(self, section):
        return " ".join(" ".join(self.sections[section]).split())


def read(text):
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    log, policies = world(model=True)
    return page(cf.evaluate(log, policies), tmp_path_factory.mktemp("good"))


def test_it_is_whole_and_stands_alone(good):
    reader = read(good)
    assert [i for i in reader.ids if i in SECTIONS] == SECTIONS
    assert [i for i, times in Counter(reader.ids).items() if times > 1] == []
    assert reader.tags["svg"] == 4
    for tag in ("script", "link", "img", "iframe", "object", "image"):
        assert reader.tags[tag] == 0
    for reference in reader.references:
        assert "http" not in reference, reference
        if reference.startswith("#"):
            assert reference[1:] in reader.ids
        for target in re.findall(r"url\(#([^)]*)\)", reference):
            assert target in reader.ids
    assert "@media print" in good
    assert "@import" not in good


def test_the_same_evaluation_gives_the_same_bytes(tmp_path):
    log, policies = world()
    pages = {page(cf.evaluate(log, policies), tmp_path) for _ in range(2)}
    assert len(pages) == 1


def test_a_saved_evaluation_gives_the_same_report(tmp_path):
    evaluation = cf.evaluate(*world())
    evaluation.to_parquet(tmp_path / "kept.parquet")
    kept = cf.Evaluation.from_parquet(tmp_path / "kept.parquet")
    assert page(kept, tmp_path) == page(evaluation, tmp_path)


def test_thirty_policies_and_seven_estimators_stay_small(tmp_path):
    log, policies = world([f"policy {i}" for i in range(30)], longest=4, model=True)
    evaluation = cf.evaluate(log, policies)
    text = page(evaluation, tmp_path, truth=evaluation.values("dr"))
    assert len(evaluation.estimators) == 7
    assert len(text.encode()) < 1_000_000
    read(text)


def test_hostile_names_are_escaped(tmp_path):
    log, policies = world(
        HOSTILE,
        **{"<i>group</i>": [HOSTILE[i % 8] for i in range(3000)], "secret": ["</style>"] * 3000},
    )
    evaluation = cf.evaluate(log, policies, ["sntis"])
    text = page(evaluation, tmp_path, title=HOSTILE[0], truth=evaluation.values())
    reader = read(text)
    for tag in ("script", "img", "i>", "b>"):
        assert f"<{tag}" not in text.replace("<i>What would help:</i>", "").replace(
            "<b>effective sample size</b>", ""
        ).replace("<b>mean weight</b>", "").replace("<b>Pareto k</b>", "")
    assert html.escape(HOSTILE[0]) in text
    assert "{{7*7}}" in reader.text("estimates")
    assert "49{" not in text
    assert "漢字 🙂" in text
    assert reader.tags["title"] == 1


# What it says.


def headline(text):
    return html.unescape(re.search(r'<p class="head">(.*?)</p>', text, re.DOTALL)[1])


def test_a_good_log_recommends(good):
    reader = read(good)
    assert headline(good) == "Test far and near."
    summary = reader.text("summary")
    assert "far is estimated" in summary
    assert "above the behavior policy (95 % interval of the difference:" in summary
    assert "The risk of testing them" in summary
    assert 'earns 0.8105 ("reward" for each decision), by more than chance at 95 %' in summary
    assert "2 can be told apart from the behavior policy as better and none as worse" in summary
    assert "Every estimator puts far first" in reader.text("changes")
    assert "q and v" in reader.text("assumptions")


def test_nothing_is_told_apart(tmp_path):
    log, policies = world(lift=0.0, n=2000)
    text = page(cf.evaluate(log, policies, ["sntis"]), tmp_path)
    assert headline(text).startswith("No candidate that can be trusted is shown to be better")
    summary = read(text).text("summary")
    assert "cannot be told apart" in summary
    assert "episodes logged alike to see it, where this log has 2,000" in summary
    assert "Only sntis was evaluated" in read(text).text("changes")


def test_all_are_worse(tmp_path):
    log, policies = world(lift=-0.3)
    assert headline(page(cf.evaluate(log, policies, ["sntis"]), tmp_path)).startswith("Test none")


def test_what_cannot_be_trusted_is_not_recommended(tmp_path):
    log, policies = world(["near", "wild"], n=3000)
    action = log.column("action").to_numpy()
    propensity = log.column("propensity").to_numpy()
    wild = np.where(action == 2, 0.97, 0.015)
    rare = np.where(np.arange(3000) % 500 == 7, 1.0, 0.0) * (action == 2)
    policies["wild"] = np.minimum(1, wild * rare + 1e-9) * (propensity > 0)
    text = page(cf.evaluate(log, policies, ["sntis"]), tmp_path)
    assert headline(text) == "Test near."
    summary = read(text).text("summary")
    assert "wild cannot be judged by this log: its estimate must not be trusted" in summary
    assert "Left out, since their estimates are not to be trusted: wild." in text


def test_wrong_propensities_stop_everything(tmp_path):
    log, policies = world()
    wrong = log.with_propensity(0.6 * log.column("propensity").to_numpy())
    text = page(cf.evaluate(wrong, policies, ["sntis"]), tmp_path)
    assert headline(text) == "Do not choose by these estimates: none of them can be trusted."
    summary = read(text).text("summary")
    assert "the log itself is in doubt" in summary
    assert "look too small" in summary
    assert "must not be trusted" in summary
    assert "Propensities were estimated" in read(text).text("assumptions")


def test_truth_adds_the_sharpe_ratio(tmp_path, good):
    assert "Judged by the true values" not in good
    evaluation = cf.evaluate(*world(["a", "b", "c"], model=True))
    truth = {"a": 1.0, "b": 1.2, "c": 1.3}
    text = page(evaluation, tmp_path, truth={**truth, "behavior": 0.9})
    shown = read(text).text("shortlist")
    expected = cf.sharpe_ratio_at_k(evaluation.values("dr"), truth, 0.9)
    assert f"{expected[1]:.2f}" in shown
    assert "SharpeRatio@k by true values" in shown
    ideal = cf.sharpe_ratio_at_k(truth, truth, 0.9)
    assert f"truth 1.30 1.17 1.00 0.12 {ideal[2]:.2f}" in shown
    for wrong, match in (
        ({"a": 1.0, "b": 1.2}, 'truth lacks policy "c"'),
        ({**truth, "d": 1.0}, 'truth names policy "d"'),
        ([1.0], "truth must map"),
    ):
        with pytest.raises(cf.InvalidArgumentError, match=match):
            evaluation.to_html(tmp_path / "no.html", truth=wrong)
    assert not (tmp_path / "no.html").exists()


def one_policy():
    log, policies = world(["only"])
    return cf.evaluate(log, policies)


def direct():
    frame = {"action": np.arange(80) % 2, "reward": np.arange(80.0)}
    log = cf.LoggedData.from_frame(frame, propensity=None)
    return cf.evaluate(
        log, {"a": cf.PolicyColumns(v=np.arange(80.0)), "b": cf.PolicyColumns(v=np.ones(80))}
    )


def one_episode():
    return cf.evaluate(*world(n=1, longest=5))


def one_sided():
    return cf.evaluate(*world(), ["sntis"], alternative="greater")


def other_side():
    return cf.evaluate(*world(), ["sntis"], alternative="less")


def undefined():
    n, horizon = 60, 800
    ids = np.repeat(np.arange(n), horizon)
    frame = {
        "id": ids,
        "action": np.zeros(len(ids), dtype=int),
        "reward": np.ones(len(ids)),
        "propensity": np.full(len(ids), 0.1),
    }
    log = cf.LoggedData.from_frame(frame, episode_id="id")
    stops = np.where(np.arange(len(ids)) % horizon < 400, 0.1, 0.0)
    policies = {"huge": np.ones(len(ids)), "stops": stops, "same": np.full(len(ids), 0.1)}
    return cf.evaluate(log, policies, ["tis", "snpdis"])


@pytest.mark.parametrize(
    "make", [one_policy, direct, one_episode, one_sided, other_side, undefined]
)
def test_every_kind_of_result_has_a_report(make, tmp_path):
    evaluation = make()
    for estimator in evaluation.estimators:
        text = page(
            evaluation, tmp_path, estimator=estimator, truth=dict.fromkeys(evaluation.policies, 1.0)
        )
        reader = read(text)
        words = " ".join(reader.text(section) for section in SECTIONS if section != "settings")
        assert not re.search(r"\bnan\b|\bNone\b|-?\binf to|to inf\b", words), words
    if make is one_sided:
        assert "above 0" in reader.text("comparison") or "above" in reader.text("estimates")
    if make is direct:
        assert "nothing in the log checks its model" in words


def test_arguments_are_checked_before_anything_is_written(tmp_path):
    evaluation = one_policy()
    for options, match in (
        ({"k": 2}, "k must be a whole number from 1 to 1"),
        ({"k": True}, "k must be"),
        ({"estimator": "dr"}, 'estimator "dr" was not evaluated'),
    ):
        with pytest.raises(cf.InvalidArgumentError, match=match):
            evaluation.to_html(tmp_path / "no.html", **options)
    with pytest.raises(cf.InvalidArgumentError, match=r"the folder .* does not exist"):
        evaluation.to_html(tmp_path / "nowhere" / "no.html")
    assert list(tmp_path.iterdir()) == []


def test_one_side_left_open_does_not_change_what_is_told_apart(tmp_path):
    log, policies = world(["good", "bad"], lift=0.4)
    bad = policies["bad"].action_probs[:, ::-1]
    policies["bad"] = cf.PolicyColumns(action_probs=bad)
    words = {}
    for alternative in ("two-sided", "greater", "less"):
        evaluation = cf.evaluate(log, policies, ["sntis"], alternative=alternative)
        text = page(evaluation, tmp_path)
        assert headline(text) == "Test good."
        summary = read(text).text("summary")
        assert "1 can be told apart from the behavior policy as better and 1 as worse" in summary
        assert "comes next" not in summary
        words[alternative] = read(text).text("comparison")
        assert evaluation.compare()["conclusion"].to_list() == ["better", "worse"]
    assert "worse" in words["greater"]


def test_rounding_is_no_difference(tmp_path):
    """Not to the last bit, and not in single precision."""
    rng = np.random.default_rng(0)
    n = 20_000
    frame = {"action": rng.integers(3, size=n), "reward": rng.random(n) < 0.3}
    for kind in (np.float32, np.float64):
        propensity = np.full(n, 1 / 3, dtype=kind)
        log = cf.LoggedData.from_frame({**frame, "propensity": propensity})
        same = np.full(n, 1 / 3) * (1 + 2e-16)
        for estimators in (["tis"], None):
            evaluation = cf.evaluate(log, {"control": same}, estimators)
            text = page(evaluation, tmp_path)
            assert headline(text).startswith("Test none")
            label = evaluation.estimators[-1]
            row = evaluation.compare(estimator=label).row(0, named=True)
            assert row["conclusion"] == "not told apart"
            assert row["p_better"] == 0.5


def test_a_wrong_model_is_named(tmp_path):
    log, policies = world(["a", "b"], model=True)
    wrong = {
        name: cf.PolicyColumns(action_probs=p.action_probs, q_values=p.q_values + 3)
        for name, p in policies.items()
    }
    changes = read(page(cf.evaluate(log, wrong), tmp_path)).text("changes")
    assert "The Q-model is wrong for 2 candidates" in changes
    sound = read(page(cf.evaluate(log, policies), tmp_path)).text("changes")
    assert "The Q-model is wrong" not in sound
    by_model = page(cf.evaluate(log, wrong), tmp_path, estimator="dm")
    assert headline(by_model).startswith("By the Q-model alone, which nothing in the log checks")


def test_the_words_of_the_report_are_explained(good):
    words = read(good).text("words")
    for word in ("behavior policy", "propensity", "ESS", "sndr", "self-normalised"):
        assert word in words
    assert "reward" in read(good).text("settings")


def test_names_of_several_words_stand_in_quotes(tmp_path):
    log, policies = world(["all, or none", "b"])
    evaluation = cf.evaluate(log, policies, ["sntis"])
    assert headline(page(evaluation, tmp_path)) == 'Test b and "all, or none".'
    assert 'Top 2: b, "all, or none".' in evaluation.portfolio(2).reason


WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "jinja2":
            raise ImportError("no jinja2 here")
sys.meta_path.insert(0, Absent())
import counterfolio as cf
log = cf.LoggedData.from_frame({"action": [0, 1], "reward": [0, 1], "propensity": [0.5, 0.5]})
try:
    cf.evaluate(log, {"a": [0.5, 0.5]}).to_html("report.html")
except cf.MissingExtraError as error:
    print(error)
"""


def test_without_jinja2(tmp_path):
    command = [sys.executable, "-c", WITHOUT]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    wanted = 'the report needs matplotlib and jinja2; pip install "counterfolio[report]"\n'
    assert done.stdout == wanted, done.stderr
    assert list(tmp_path.iterdir()) == []
