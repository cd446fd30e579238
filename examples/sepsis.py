# %% [markdown]
# # No propensities, no model: treatments in intensive care
#
# ICU-Sepsis (Choudhary et al. 2024, arXiv 2406.05646) is a process of 716 states and 25 treatments,
# estimated from real patients: who survives earns 1. It is small enough to be solved exactly, so
# that every estimate below stands beside the truth.
#
# Run it as a script, `python examples/sepsis.py`, or open it as a notebook with jupytext. It
# needs `pip install icu-sepsis "counterfolio[report]"`, and takes less than a minute.

# %%
from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

import counterfolio as cf
import matplotlib as mpl
import numpy as np
import polars as pl
from counterfolio import plots

mpl.use("agg")  # the plots go to files

parser = argparse.ArgumentParser(description="Off-policy evaluation on ICU-Sepsis.")
parser.add_argument("--output", type=Path, default=Path("demo-report"), help="folder of the report")
parser.add_argument("--episodes", type=int, default=20_000, help="patients in the log")
options, _ = parser.parse_known_args()


def show(frame: pl.DataFrame, decimals: int = 3) -> None:
    """Print a table without polars' frame."""
    with pl.Config(
        tbl_formatting="NOTHING",
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
        tbl_cell_numeric_alignment="RIGHT",
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_width_chars=80,
        float_precision=decimals,
        thousands_separator=",",
    ):
        print("\n".join(line.rstrip() for line in str(frame).splitlines()), end="\n\n")


# %% [markdown]
# ## The process
#
# Only the numbers of the package are read; importing it would import gym, which is not needed.
# States 713 (death) and 714 (survival) end an episode, 715 follows them and is left out here.

# %%
package = importlib.util.find_spec("icu_sepsis")
if package is None or not package.submodule_search_locations:
    raise SystemExit("the process is in the package icu-sepsis: pip install icu-sepsis")
dynamics = np.load(Path(package.submodule_search_locations[0]) / "envs/assets/dynamics.npz")
STATES, ACTIONS, SURVIVAL = 713, 25, 714
moves = dynamics["tx_mat"][:STATES]  # P(s' | s, a), of shape (713, 25, 716)
onwards, survival = moves[:, :, :STATES], moves[:, :, SURVIVAL]
start = dynamics["d_0"][:STATES]


def visits(policy: np.ndarray) -> np.ndarray:
    """Expected visits of each state in an episode."""
    flow = np.einsum("sa,sax->sx", policy, onwards)
    return np.linalg.solve(np.eye(STATES) - flow.T, start)


def value(policy: np.ndarray) -> float:
    """Probability of survival."""
    return float(visits(policy) @ (policy * survival).sum(axis=1))


def extreme_policy(best: bool) -> np.ndarray:
    """The policy with the highest probability of survival, or with the lowest."""
    v = np.zeros(STATES)
    while True:
        q = survival + onwards @ v
        new = q.max(axis=1) if best else q.min(axis=1)
        if np.abs(new - v).max() < 1e-13:
            return np.eye(ACTIONS)[q.argmax(axis=1) if best else q.argmin(axis=1)]
        v = new


expert = dynamics["expert_policy"][:STATES]
uniform = np.full((STATES, ACTIONS), 1 / ACTIONS)
optimal, worst = extreme_policy(best=True), extreme_policy(best=False)
# What the authors of the process publish.
assert abs(value(uniform) - 0.7800709) < 1e-7
assert abs(value(expert) - 0.7818449) < 1e-7
assert abs(value(optimal) - 0.8751417) < 1e-7


# %% [markdown]
# ## Who ran, and who might
#
# Patients were treated by the experts in 7 of 10 decisions and at random in the other 3, so that
# everything was tried at times. The candidates lean from the experts towards what is best, by 10 %
# to 100 %; two more are random, and a fourth part bad.


# %%
def mixed(share: float, policy: np.ndarray, other: np.ndarray = expert) -> np.ndarray:
    return share * policy + (1 - share) * other


behavior = mixed(0.3, uniform)
tables = {
    "expert": expert,
    "uniform": uniform,
    "best_10": mixed(0.1, optimal),
    "best_25": mixed(0.25, optimal),
    "best_50": mixed(0.5, optimal),
    "best_soft": mixed(0.8, optimal, uniform),
    "best": optimal,
    "worst_25": mixed(0.25, worst),
}
candidates = {name: cf.policies.Tabular(table) for name, table in tables.items()}
truth = {name: value(table) for name, table in tables.items()}


# %% [markdown]
# ## The log
#
# One row to a decision, *without* the propensity. `ended` marks the last decision of a patient.


# %%
def draw(n: int, seed: int) -> pl.DataFrame:
    """Treat n patients by the behavior policy, all of them together, decision by decision."""
    rng = np.random.default_rng(seed)
    # One row of cumulated probabilities after the other, so that one search serves all patients.
    cumulated = moves.reshape(STATES * ACTIONS, -1).cumsum(axis=1)
    cumulated[cumulated > 1 - 1e-12] = 1
    cumulated += np.arange(STATES * ACTIONS)[:, None]
    chances = behavior.cumsum(axis=1)
    patient = np.arange(n)
    state = np.searchsorted(start.cumsum(), rng.random(n), side="right")
    parts, step = [], 0
    while len(patient):
        action = (rng.random((len(patient), 1)) > chances[state]).sum(axis=1).clip(max=ACTIONS - 1)
        row = state * ACTIONS + action
        drawn = row + rng.random(len(patient))
        after = np.searchsorted(cumulated.ravel(), drawn, side="right") - row * moves.shape[2]
        ended = after >= STATES
        columns = {"patient": patient, "state": state, "treatment": action}
        columns |= {"survived": (after == SURVIVAL) * 1.0, "ended": ended}
        parts.append(pl.DataFrame(columns).with_columns(step=pl.lit(step)))
        patient, state, step = patient[~ended], after[~ended], step + 1
    return pl.concat(parts).sort("patient", "step").drop("step")


table = draw(options.episodes, seed=0)
log = cf.LoggedData.from_frame(
    table,
    action="treatment",
    reward="survived",
    propensity=None,
    episode_id="patient",
    terminated="ended",
    state="state",
    actions=list(range(ACTIONS)),
)
print(f"{log.n_rows:,} decisions about {log.n_episodes:,} patients")
print(f"{log.n_rows / (STATES * ACTIONS):.1f} for each state and treatment", end="\n\n")

# %% [markdown]
# ## Fit what is missing
#
# `prepare` fits propensities, Q and marginal ratios: here all of them tables, as the state is one
# number that comes back often. `cross_fit=None`: every table learns from all rows. With folds the
# propensities would be of no use, as the end of this page shows.

# %%
needs = ["dm", "sntis", "snpdis", "dr", "sndr", "state_action_ratio"]
prepared = cf.prepare(log, candidates, needs, cross_fit=None)
print(prepared, end="\n\n")
print(prepared.q_functions, end="\n\n")

# %% [markdown]
# The notes are worth reading. In some states a treatment was never tried: nothing is known of it,
# and the mean over what was tried there stands for it. That concerns the two that are partly
# random.
#
# ## Evaluate

# %%
evaluation = cf.evaluate(log, prepared, n_resamples=1000, seed=0)
estimators = evaluation.estimators
values = pl.DataFrame({name: list(evaluation.values(name).values()) for name in estimators})
beside = pl.concat(
    [pl.DataFrame({"policy": list(truth), "truth": list(truth.values())}), values],
    how="horizontal",
)
print("Estimates beside the exact truth")
show(beside)
show(evaluation.diagnostics.table.select("policy", "verdict", "effective_sample_size"), 1)

# %% [markdown]
# (Figures in these notes are those of 20,000 patients.)
#
# **What came out right.** dm is within 0.01 of every truth and has the order right. The state of
# this process is all there is to know, and a table can hold any Q: the two things that dm needs and
# that a real log seldom gives.
#
# **What came out wrong.** Everything that multiplies weights over the decisions of a patient. The
# experts are close to the behavior policy, and still the 20,000 patients are worth 255. `best` does
# one thing in each state, which the log did there one time in five: after nine decisions hardly any
# patient was treated as it would have treated them. The verdicts say so: do not trust.
#
# **Support.** snpdis of `best` is less than half of the truth. The mean weight is far below 1:
# paths that `best` would take are not in the log, and the sum over those that are there lacks what
# they bring. sntis divides by the weights of whole episodes, which hides the gap and leaves the
# noise. dr and sndr stay nearer, carried by Q, and are still worse than Q alone.
#
# ## How sure is dm?
#
# The interval of dm takes Q as given: it only knows that the patients who come in differ. The error
# of the fit is in `q_functions.table`, and seven times as large. For `uniform` this is not enough
# either: 3 % of what it does was never tried, and what was assumed of that is no matter of chance.

# %%
fit = prepared.q_functions.table
own = evaluation.rows("dm")["standard_error"]
sure = beside.select("policy", "truth", "dm").with_columns(
    error=pl.col("dm") - pl.col("truth"),
    se_of_dm=own,
    se_of_fit=fit["standard_error"],
    errors=(pl.col("dm") - pl.col("truth")) / fit["standard_error"],
    unseen=fit["unseen"],
)
print("dm: its error, what its interval knows, and what the fit knows")
show(sure, 4)

# %% [markdown]
# ## Marginal ratios
#
# How often a candidate would be in a state and treat so, to how often the log did: no product over
# decisions, so no weight that explodes. The exact ratio is known here. `value` is the mean of ratio
# times reward, which for a table is the same number as dm: both solve the same equations.
# `length` is how many decisions a patient needs.

# %%
of_log = visits(behavior)[:, None] * behavior
cells = table["state"].to_numpy(), table["treatment"].to_numpy()
rows = []
for i, (name, policy) in enumerate(tables.items()):
    exact = (visits(policy)[:, None] * policy / of_log)[cells]
    fitted = prepared.ratios.state_action[i]
    rows.append(
        {
            "policy": name,
            "length": float(prepared.ratios.table["mass"][i]),
            "exact_length": float(visits(policy).sum()),
            "correlation": float(np.corrcoef(fitted, exact)[0, 1]),
            "largest": float(fitted.max()),
            "exact_largest": float(exact.max()),
            "value": float(prepared.ratios.table["value"][i]),
        }
    )
ratios = pl.DataFrame(rows)
print("Marginal ratios beside the exact ones, row by row")
show(ratios)

# %% [markdown]
# Lengths agree; single ratios are noisy where a treatment was given once or twice in a state.
#
# ## Which of them to test?
#
# By dm, as here it can be believed. The verdict looks at weights and stays with its "do not trust":
# it cannot know that the states are complete. Who does not know it either should take `best_10`, or
# log more. The spread and the prediction that are printed do not contain the error of Q.

# %%
print(evaluation.portfolio(k=3, estimator="dm"), end="\n\n")
assessed = cf.assess(evaluation, truth, behavior_value=value(behavior))
print(assessed, end="\n\n")

# %% [markdown]
# ## Propensities: with folds or without?
#
# A treatment that a state saw once is, for the model that must speak about that row, one that was
# never given: the row was in the fold that it did not learn from. So it gets a tiny propensity, and
# its weight explodes. Without folds a treatment seen once in ten rows gets about 1/10.
#
# The price: a table that learnt from its own rows is calibrated by construction, so its calibration
# proves nothing. With few rows to a state take a model that shares between states
# (`PropensityModel(features="linear")` of lab values, say), and then cross-fit.

# %%
model = cf.models.PropensityModel(features="one_hot")
found = {
    "known": behavior[cells],
    "all rows": prepared.propensities.propensity,
    "5 folds": model.fit(log, cross_fit=5).propensity,
}
inverse = pl.DataFrame(
    {
        "propensities": list(found),
        "least": [float(b.min()) for b in found.values()],
        "mean of 1/b": [float((1 / b).mean()) for b in found.values()],
    }
)
print("Propensities of the logged treatments; right ones have a mean of 1/b near 25")
show(inverse, 5)
weighted = {
    name: cf.evaluate(log.with_propensity(b), candidates, ["sntis"]).values()
    for name, b in found.items()
}
sntis = pl.DataFrame(
    {"policy": list(truth), "truth": list(truth.values())}
    | {name: list(estimates.values()) for name, estimates in weighted.items()}
)
print("sntis with each of them")
show(sntis)

# %% [markdown]
# Even the true propensities do not save the candidates that are far away: that is support, not the
# model of propensities. Nearby candidates are fine with the table of all rows; with folds none is.
#
# ## To hand on

# %%
options.output.mkdir(parents=True, exist_ok=True)
report = options.output / "icu_sepsis.html"
evaluation.to_html(report, estimator="dm", truth=truth | {"behavior": value(behavior)}, k=3)
drawings = {
    "icu_sepsis_estimates.png": plots.estimates(evaluation, estimator=["dm", "dr", "sntis"]),
    "icu_sepsis_sample_size.png": plots.effective_sample_size(evaluation),
}
for name, axes in drawings.items():
    axes.figure.savefig(options.output / name, dpi=120, bbox_inches="tight")
print("Written:", *(str(options.output / name) for name in (report.name, *drawings)), sep="\n")
