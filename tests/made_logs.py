"""Logs made for tests, and what the report says of them."""

from __future__ import annotations

import counterfolio as cf
import numpy as np


def softmax(scores):
    """Probabilities of each row's actions."""
    out = np.exp(scores - scores.max(axis=1, keepdims=True))
    return out / out.sum(axis=1, keepdims=True)


def draw(rng, probs):
    """An action for each row."""
    return (
        (probs.cumsum(axis=1) < rng.random((len(probs), 1)))
        .sum(axis=1)
        .clip(max=probs.shape[1] - 1)
    )


def world(seed, n=6000, actions=5):
    """A contextual bandit's table and its logger."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    probs = softmax(x @ rng.normal(size=(2, actions)))
    action = draw(rng, probs)
    frame = {
        "x": x[:, 0],
        "action": action,
        "reward": (rng.random(n) < 0.1 + 0.05 * action).astype(float),
        "propensity": probs[np.arange(n), action],
    }
    return frame, probs


def report_of(frame, **roles):
    return cf.LoggedData.from_frame(frame, **roles).report


def spoilt(frame, **columns):
    return report_of({**frame, **columns})


def found(report, text):
    """Findings whose message holds the text."""
    return [f for f in report.findings if text in f.message]
