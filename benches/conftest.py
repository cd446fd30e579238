"""Logs of any size, and numpy's way of doing the same work."""

import counterfolio as cf
import numpy as np
import pytest


class Case:
    """A log of equal episodes with columns that vary."""

    def __init__(self, rows: int, steps: int, policies: int = 1) -> None:
        rng = np.random.default_rng(0)
        self.steps = steps
        self.columns = {
            "action": np.zeros(rows, dtype=np.int8),
            "reward": rng.normal(size=rows),
            "propensity": rng.uniform(0.3, 0.7, size=rows),
            "prob": rng.uniform(0.3, 0.7, size=rows),
            "q": rng.normal(size=rows),
            "v": rng.normal(size=rows),
        }
        if steps > 1:
            self.columns["episode_id"] = np.repeat(np.arange(rows // steps), steps)
        self.log = cf.LoggedData.from_frame(
            self.columns, episode_id="episode_id" if steps > 1 else None
        )
        one = cf.PolicyColumns(prob="prob", q="q", v="v")
        self.policies = {f"policy {i}": one for i in range(policies)}

    def evaluate(self) -> cf.Evaluation:
        """All seven estimators with standard errors."""
        return cf.evaluate(self.log, self.policies, gamma=0.95)

    def sum_columns(self) -> float:
        """The floor: numpy reads the same five columns once."""
        names = ("reward", "propensity", "prob", "q", "v")
        return sum(self.columns[name].sum() for name in names)

    def numpy_values(self) -> dict[str, float]:
        """SCOPE-RL's way: whole columns at a time, values without standard errors."""
        shape = (-1, self.steps)
        ratio = self.columns["prob"] / self.columns["propensity"]
        w = np.cumprod(ratio.reshape(shape), axis=1)
        before = np.hstack([np.ones((len(w), 1)), w[:, :-1]])
        reward, q, v = (self.columns[name].reshape(shape) for name in ("reward", "q", "v"))
        discount = 0.95 ** np.arange(self.steps)
        returns = reward @ discount
        return {
            "tis": (w[:, -1] * returns).mean(),
            "pdis": ((w * reward) @ discount).mean(),
            "sntis": (w[:, -1] * returns).sum() / w[:, -1].sum(),
            "snpdis": (w * reward).sum(0) / w.sum(0) @ discount,
            "dm": v[:, 0].mean(),
            "dr": ((w * (reward - q) + before * v) @ discount).mean(),
            "sndr": ((w * (reward - q)).sum(0) / w.sum(0) + (before * v).sum(0) / before.sum(0))
            @ discount,
        }


@pytest.fixture(scope="module", params=[1, 5, 20, 100], ids=lambda steps: f"{steps} steps")
def steps(request):
    return request.param
