"""The compiled core; one section to a file of rust/py/src."""

from collections.abc import Callable, Sequence
from typing import Any, TypedDict, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DEBUG_BUILD",
    "Column",
    "CounterfolioError",
    "Episodes",
    "InvalidArgumentError",
    "InvalidLogError",
    "InvalidPolicyError",
    "MissingExtraError",
    "__version__",
    "check_column",
    "check_present",
    "diagnose",
    "evaluate",
    "intervals",
    "normal_cdf",
    "rank",
    "read_column",
    "read_table",
    "registry",
    "summarise_column",
    "top_k",
]

__version__: str
DEBUG_BUILD: bool

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
    episodes: Episodes,
    reward: Column,
    propensity: Column,
    density: bool,
    name: str,
    prob: Column,
    gamma: float,
    num_threads: int,
    progress: Callable[[float], None] | None,
) -> _Diagnosis: ...

# evaluation.rs

class _Entry(TypedDict):
    name: str
    aliases: list[str]
    title: str
    family: str
    needs: list[str]
    source: str

class _Found(TypedDict):
    value: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    effective_sample_size: list[float | None]
    max_weight_share: list[float | None]
    note: list[str | None]
    variances: NDArray[np.float64]

def evaluate(
    episodes: Episodes,
    reward: Column,
    propensity: Column | None,
    density: bool,
    policies: Sequence[tuple[str, Column | None, Column | None, Column | None]],
    estimators: Sequence[str],
    gamma: float,
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
def normal_cdf(x: float) -> float: ...
def registry() -> list[_Entry]: ...

# selection.rs

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
