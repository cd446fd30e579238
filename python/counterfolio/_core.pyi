"""The compiled core; one section to a file of rust/py/src."""

from collections.abc import Callable, Sequence
from typing import Any, Self, TypedDict, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DEBUG_BUILD",
    "TRUSTED_ACCELERATION",
    "Column",
    "CounterfolioError",
    "Distribution",
    "Episodes",
    "InvalidArgumentError",
    "InvalidLogError",
    "InvalidPolicyError",
    "MissingExtraError",
    "__version__",
    "assess",
    "band_bounds",
    "bootstrap",
    "bootstrap_intervals",
    "bounded_mean",
    "cdf",
    "check_column",
    "check_present",
    "delta",
    "diagnose",
    "episode_draws",
    "episode_terms",
    "evaluate",
    "fold_keys",
    "hash_text",
    "hcope",
    "hold_auctions",
    "intervals",
    "kernel_density",
    "kernels",
    "metrics",
    "mixture_propensities",
    "predict_sharpe_ratio",
    "product_sums",
    "rank",
    "rank_counts",
    "read_column",
    "read_table",
    "registry",
    "resample_weights",
    "return_influence",
    "return_statistic",
    "summarise_column",
    "top_k",
    "weighted_mean",
]

__version__: str
DEBUG_BUILD: bool
TRUSTED_ACCELERATION: float

# exceptions.rs

class CounterfolioError(Exception): ...
class InvalidLogError(CounterfolioError, ValueError): ...
class InvalidPolicyError(CounterfolioError, ValueError): ...
class InvalidArgumentError(CounterfolioError, ValueError): ...
class MissingExtraError(CounterfolioError, ImportError): ...

# arrow.rs

@final
class Column:
    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def is_ordinal(self) -> bool: ...
    @property
    def is_text(self) -> bool: ...
    @property
    def null_count(self) -> int: ...
    @property
    def addresses(self) -> list[int]: ...
    def __len__(self) -> int: ...
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...

def read_column(name: str, object: object) -> Column: ...
def read_table(object: object) -> list[Column]: ...

# log.rs

@final
class Episodes:
    @staticmethod
    def each_row(rows: int) -> Episodes: ...
    @staticmethod
    def from_ids(ids: Column, label: str) -> Episodes: ...
    @staticmethod
    def from_ends(rows: int, flags: Sequence[tuple[str, Column]]) -> Episodes: ...
    @property
    def n_rows(self) -> int: ...
    @property
    def n_episodes(self) -> int: ...
    def lengths(self) -> NDArray[np.int64]: ...
    def check_timesteps(self, column: Column, label: str) -> int: ...
    def check_ends(self, column: Column, label: str) -> int: ...

def check_column(column: Column, rule: str, label: str) -> None: ...
def check_present(column: Column, label: str) -> None: ...
def summarise_column(column: Column, label: str) -> tuple[float, float, float, float, int, int]: ...
def mixture_propensities(
    episodes: Episodes,
    loggers: Sequence[tuple[str, Column]],
    shares: Sequence[float],
    num_threads: int,
) -> NDArray[np.float64]: ...

# inputs.rs

#: Episodes, reward, propensity, and whether propensities are densities.
_Log = tuple[Episodes, Column, Column | None, bool]
#: Name, prob, q, v, state_ratio, state_action_ratio, and whether these are of kind "occupancy".
_Policy = tuple[
    str, Column | None, Column | None, Column | None, Column | None, Column | None, bool
]
#: Canonical name, n_step, transform with its parameter, and whether it is applied to each step.
_Estimator = tuple[str, int, tuple[str, float] | None, bool]
#: Integers by row, or hashes by episode.
_Ids = Column | NDArray[np.uint64]
#: The number of each episode's cluster, and how many there are.
_Clusters = tuple[NDArray[np.uint32], int]

# bounds.rs

def episode_terms(
    log: _Log, policy: _Policy, estimator: _Estimator, gamma: float, num_threads: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]: ...
def bounded_mean(
    terms: NDArray[np.float64],
    interval: str,
    value_range: tuple[float, float],
    confidence_level: float,
    alternative: str,
) -> tuple[float, float]: ...
def hcope(
    terms: NDArray[np.float64],
    log: _Log,
    ids: _Ids | None,
    seed: int,
    confidence_level: float,
) -> float: ...
def weighted_mean(
    weights: NDArray[np.float64],
    rewards: NDArray[np.float64],
    interval: str,
    return_range: tuple[float, float],
    weight_range: tuple[float, float] | None,
    confidence_level: float,
    alternative: str,
) -> tuple[float, float]: ...

# delta.rs

def delta(
    log: _Log,
    policies: tuple[_Policy | None, _Policy | None],
    clusters: _Clusters | None,
    draw: tuple[int, int, str, _Ids | None] | None,
    num_threads: int,
) -> tuple[float, float, float, NDArray[np.float64]]: ...

# diagnostics.rs

class _Diagnosis(TypedDict):
    n_episodes: NDArray[np.float64]
    effective_sample_size: NDArray[np.float64]
    mean_weight: NDArray[np.float64]
    z: NDArray[np.float64]
    influence_share: NDArray[np.float64]
    evidence: NDArray[np.float64]
    pareto_k: float
    largest: list[tuple[int, int, float]]
    low: list[float]
    high: list[float]
    in_bin: list[float]

def diagnose(
    log: _Log,
    policy: _Policy,
    gamma: float,
    num_threads: int,
    progress: Callable[[float], None] | None,
) -> _Diagnosis: ...

# distribution.rs

#: A statistic by name, at a level.
_Statistic = tuple[str, float]

@final
class Distribution:
    def __new__(
        cls,
        log: _Log,
        policies: Sequence[_Policy],
        estimators: Sequence[str],
        gamma: float,
        num_threads: int,
        progress: Callable[[float], None] | None,
    ) -> Self: ...
    def curve(self, i: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
    def places(self, i: int, values: NDArray[np.float64]) -> NDArray[np.int64]: ...
    def returned(self) -> NDArray[np.float64]: ...
    def weights(self, i: int) -> tuple[float | None, float | None]: ...
    def doubt(self, i: int, clusters: int | None) -> str | None: ...
    def mass(self, i: int) -> float: ...
    def pointwise(self, i: int) -> NDArray[np.float64]: ...
    def statistics(
        self, statistics: Sequence[_Statistic], clusters: _Clusters | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str | None]]: ...
    def influence(
        self, i: int, statistic: _Statistic, clusters: _Clusters | None
    ) -> NDArray[np.float64]: ...
    def quantile_interval(
        self, i: int, alpha: float, z: float, clusters: _Clusters | None
    ) -> tuple[float, float]: ...
    def replicates(
        self,
        log: _Log,
        statistics: Sequence[_Statistic],
        n_resamples: int,
        seed: int,
        resampling: str | tuple[float, bool],
        ids: _Ids | None,
        clusters: _Clusters | None,
        num_threads: int,
        progress: Callable[[float], None] | None,
    ) -> NDArray[np.float64]: ...

def band_bounds(
    x: NDArray[np.float64],
    floor: NDArray[np.float64],
    ceiling: NDArray[np.float64],
    left: float,
    value_range: tuple[float, float],
    statistics: Sequence[_Statistic],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
def return_statistic(
    returns: NDArray[np.float64], statistic: _Statistic
) -> tuple[float, float]: ...
def return_influence(
    returns: NDArray[np.float64], statistic: _Statistic
) -> NDArray[np.float64]: ...

# evaluation.rs

class _Entry(TypedDict):
    name: str
    aliases: list[str]
    title: str
    family: str
    form: str | None
    ratio: str
    needs: list[str]
    options: list[str]
    required: str | None
    one_step: bool
    source: str

class _Found(TypedDict):
    value: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    effective_sample_size: list[float | None]
    max_weight_share: list[float | None]
    note: list[str | None]
    variances: NDArray[np.float64]
    accelerations: NDArray[np.float64]

def evaluate(
    log: _Log,
    policies: Sequence[_Policy],
    estimators: Sequence[_Estimator],
    gamma: float,
    clusters: _Clusters | None,
    accelerations: bool,
    asymptotic: bool,
    num_threads: int,
    progress: Callable[[float], None] | None,
) -> _Found: ...
def intervals(
    values: Sequence[float] | NDArray[np.float64],
    standard_errors: Sequence[float] | NDArray[np.float64],
    interval: str,
    degrees: float,
    confidence_level: float,
    alternative: str,
) -> tuple[list[float], list[float]]: ...
def cdf(x: float, interval: str, degrees: float) -> float: ...
def registry() -> list[_Entry]: ...

# kernel.rs

def kernels() -> list[str]: ...
def kernel_density(
    kernel: str,
    actions: NDArray[np.float64],
    centres: NDArray[np.float64],
    bandwidths: Sequence[float],
    bounds: Sequence[tuple[float, float]] | None,
    num_threads: int,
) -> NDArray[np.float64]: ...

# models.rs

def product_sums(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    p: NDArray[np.float64],
    groups: NDArray[np.uint32],
    n_groups: int,
    num_threads: int,
) -> NDArray[np.float64]: ...
def fold_keys(
    episodes: Episodes, ids: _Ids | None, seed: int, repeat: int
) -> NDArray[np.uint64]: ...

# resampling.rs

class _Prediction(TypedDict):
    sharpe_ratio: list[float]
    p_better: float
    expected_gain: float
    p_best: NDArray[np.float64]
    signal: float | None
    draws: int

def bootstrap(
    log: _Log,
    policies: Sequence[_Policy],
    estimators: Sequence[_Estimator],
    gamma: float,
    n_resamples: int,
    seed: int,
    resampling: str | tuple[float, bool],
    ids: _Ids | None,
    clusters: _Clusters | None,
    num_threads: int,
    progress: Callable[[float], None] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
def bootstrap_intervals(
    estimates: NDArray[np.float64],
    replicates: NDArray[np.float64],
    accelerations: NDArray[np.float64],
    method: str,
    confidence_level: float,
    alternative: str,
) -> tuple[list[float], list[float], list[str | None]]: ...
def hash_text(texts: Sequence[str]) -> NDArray[np.uint64]: ...
def predict_sharpe_ratio(
    estimates: NDArray[np.float64],
    replicates: NDArray[np.float64],
    behavior: NDArray[np.float64],
    shortlist: Sequence[int],
    seed: int,
) -> _Prediction: ...
def rank_counts(
    scores: NDArray[np.float64], n_policies: int
) -> tuple[NDArray[np.float64], int]: ...
def resample_weights(
    ids: _Ids,
    n_episodes: int,
    n_resamples: int,
    seed: int,
    resampling: str | tuple[float, bool],
    progress: Callable[[float], None] | None,
) -> NDArray[np.int32]: ...

# selection.rs

def assess(
    estimates: NDArray[np.float64],
    scores: NDArray[np.float64],
    truth: NDArray[np.float64],
    squared_errors: NDArray[np.float64],
    behavior_value: float,
    *,
    ddof: int,
    ties: str,
    safety_threshold: float | None,
    relative_safety: float | None,
    quantiles: tuple[Sequence[int], Sequence[float]] | None,
    num_threads: int,
    difference_errors: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]: ...
def metrics() -> tuple[list[str], list[str]]: ...
def rank(estimated: NDArray[np.float64], ties: str) -> NDArray[np.int64]: ...
def top_k(
    estimated: NDArray[np.float64],
    truth: NDArray[np.float64],
    behavior_value: float,
    *,
    ddof: int,
    ties: str,
    safety_threshold: float | None = None,
    relative_safety: float | None = None,
    clip: float | None = None,
    scope_rl: bool = False,
) -> dict[str, Any]: ...

# simulation.rs

def episode_draws(
    seeds: NDArray[np.uint64],
    calls: NDArray[np.uint64],
    step: int,
    purpose: int,
    width: int,
    distribution: str,
    shapes: NDArray[np.float64] | None,
) -> NDArray[np.float64]: ...
def hold_auctions(
    seeds: NDArray[np.uint64],
    volumes: NDArray[np.int64],
    budgets: NDArray[np.float64],
    step: int,
    purposes: Sequence[int],
    width: int,
    pairs: tuple[int, int],
    click: tuple[NDArray[np.float64], float] | NDArray[np.float64],
    conversion: tuple[NDArray[np.float64], float] | NDArray[np.float64],
    prices: tuple[NDArray[np.float64], NDArray[np.float64]] | NDArray[np.float64],
    bids: tuple[bool, NDArray[np.float64]],
    objective: str,
    charged: str,
) -> list[NDArray[np.float64]]: ...
