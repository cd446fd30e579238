"""Draw the pictures of the documentation: `python docs/pictures.py [FOLDER]`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import counterfolio as cf
import matplotlib as mpl
import numpy as np
from counterfolio import plots
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, GREY, DARK, LIGHT = "#222222", "#777777", "#3b528b", "#9ecae1"


def panels(n: int, width: float, height: float) -> Any:
    """Axes side by side, with nothing but what is drawn on them."""
    axes: Any = Figure(figsize=(width, height), layout="constrained").subplots(1, n)
    for ax in np.atleast_1d(axes):
        ax.spines[["top", "right"]].set_visible(False)
    return axes


def overlap() -> Axes:
    """Two policies over five actions, and the weights that their quotient makes."""
    behavior = np.array([0.35, 0.30, 0.20, 0.10, 0.05])
    near = np.array([0.25, 0.35, 0.25, 0.10, 0.05])
    far = np.array([0.02, 0.03, 0.05, 0.20, 0.70])
    axes = panels(2, 8, 2.9)
    at = np.arange(len(behavior))
    for ax, policy, title in zip(
        axes, (near, far), ("a policy nearby", "one far away"), strict=True
    ):
        ax.bar(at - 0.2, behavior, 0.38, color=LIGHT, edgecolor=INK, label="behavior policy")
        ax.bar(at + 0.2, policy, 0.38, color=DARK, edgecolor=INK, label="evaluation policy")
        for x, (a, b) in enumerate(zip(policy, behavior, strict=True)):
            ax.text(x, max(a, b) + 0.015, f"×{a / b:.2g}", ha="center", color=INK)
        ax.set_xticks(at, [f"action {a}" for a in "ABCDE"], fontsize="small")
        ax.set_ylim(0, 0.85)
        ax.set_title(title, loc="left", fontsize="medium")
    axes[0].set_ylabel("probability")
    axes[0].legend(frameon=False, fontsize="small")
    first: Axes = axes[0]
    return first


def sizes() -> Axes:
    """Forty episodes as dots whose area is their weight, with the effective sample size."""
    rng = np.random.default_rng(3)
    n = 40
    one = np.full(n, 0.1)
    one[17] = 30.0
    cases = (("all alike", np.ones(n)), ("uneven", rng.gamma(0.9, size=n)), ("one giant", one))
    axes = panels(3, 8, 2.4)
    x, y = np.arange(n) % 8, np.arange(n) // 8
    for ax, (title, weights) in zip(axes, cases, strict=True):
        ess = weights.sum() ** 2 / (weights**2).sum()
        ax.scatter(x, y, 1500 * weights / weights.sum(), color=DARK, edgecolor=INK, linewidth=0.4)
        ax.set_title(f"{title}: ESS {ess:.3g} of {n}", loc="left", fontsize="medium")
        ax.set_xlim(-1, 8)
        ax.set_ylim(-1, 5)
        ax.set_axis_off()
    first: Axes = axes[0]
    return first


def episodes() -> cf.Evaluation:
    """Thirty steps of a coin's tosses, and policies that lean to one side more and more."""
    rng = np.random.default_rng(5)
    n, steps = 2000, 30
    heads = rng.random(n * steps) < 0.5
    log = cf.LoggedData.from_frame(
        {
            "episode": np.repeat(np.arange(n), steps),
            "action": heads.astype(int),
            "reward": rng.random(n * steps) < np.where(heads, 0.6, 0.5),
            "propensity": np.full(n * steps, 0.5),
        },
        episode_id="episode",
    )
    leanings = {"a little (0.52)": 0.52, "somewhat (0.6)": 0.6, "a lot (0.75)": 0.75}
    policies = {name: np.where(heads, p, 1 - p) for name, p in leanings.items()}
    return cf.evaluate(log, policies, ["snpdis"], gamma=0.95)


def candidates() -> cf.Evaluation:
    """Eight policies over six actions, some of them hardly told apart, under replicates."""
    rng = np.random.default_rng(2)
    n = 3000
    action = rng.integers(6, size=n)
    log = cf.LoggedData.from_frame(
        {
            "action": action,
            "reward": rng.random(n) < np.linspace(0.1, 0.3, 6)[action],
            "propensity": np.full(n, 1 / 6),
        }
    )
    policies = {f"policy {i + 1}": rng.dirichlet(np.full(6, 2.0))[action] for i in range(8)}
    return cf.evaluate(log, policies, ["sntis"], n_resamples=1000, seed=1)


def pictures() -> dict[str, Axes]:
    """Every picture, by the name of its file."""
    evaluation, many = episodes(), candidates()
    return {
        "ranks": plots.ranks(many),
        "predicted": plots.predictive_sharpe_ratio(many),
        "overlap": overlap(),
        "sizes": sizes(),
        "ess-by-step": plots.effective_sample_size(evaluation),
        "estimates": plots.estimates(evaluation),
        "differences": plots.differences(evaluation),
        "weights": plots.weights(evaluation),
    }


def main(folder: Path) -> None:
    """Write them as SVG, the same bytes each time."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, ax in pictures().items():
        with mpl.rc_context({"svg.hashsalt": name}):
            figure: Any = ax.figure
            metadata = {"Date": None, "Creator": None}
            figure.savefig(folder / f"{name}.svg", facecolor="white", metadata=metadata)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pictures")
