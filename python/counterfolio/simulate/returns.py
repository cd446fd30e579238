"""`OnPolicyValue`: what policies returned in roll-outs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio import _core
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.return_statistics import DEFAULT_ALPHA, STATISTICS, at_levels
from counterfolio.simulate.returns_files import read_returns, write_returns
from counterfolio.text import Column, html_table, number, suggest, text_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class OnPolicyValue(Mapping[str, Any]):
    """Returns of policies that were rolled out: a mapping from policy to its returns.

    `counterfolio.assess` takes it as the truth, and takes off the noise that is left in it.

    Attributes
    ----------
    returns : dict of numpy.ndarray
        Discounted return of each episode, by policy.
    lengths : dict of numpy.ndarray
        Steps of each episode, by policy.
    common_random_numbers : bool
        Whether episode i of every policy had the same seed, so that differences are known better
        than values. `assess` reads it.
    settings : dict
        gamma, seed, n_episodes, max_episode_steps, confidence_level, common_random_numbers.
    """

    returns: dict[str, Floats]
    lengths: dict[str, NDArray[np.int64]]
    settings: dict[str, Any]

    def __getitem__(self, policy: str) -> Floats:
        return self.returns[policy]

    def __iter__(self) -> Iterator[str]:
        return iter(self.returns)

    def __len__(self) -> int:
        return len(self.returns)

    # Those of a mapping would compare arrays.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @property
    def common_random_numbers(self) -> bool:
        """Whether episode i of every policy had the same seed."""
        return bool(self.settings["common_random_numbers"])

    @cached_property
    def table(self) -> pl.DataFrame:
        """A row to each policy, with its mean return.

        policy, value, standard_error, ci_low, ci_high, std (of returns), n_episodes, mean_length.
        """
        rows = []
        for policy, returns in self.returns.items():
            n, value, std = len(returns), float(returns.mean()), float(returns.std(ddof=1))
            error = std / np.sqrt(n)
            low, high = self._interval(value, error, n)
            rows.append((policy, value, error, low, high, std, n, self.lengths[policy].mean()))
        names = ("policy", "value", "standard_error", "ci_low", "ci_high", "std", "n_episodes")
        return pl.DataFrame(rows, schema=[*names, "mean_length"], orient="row")

    def _interval(self, value: float, error: float, n: int) -> tuple[float, float]:
        """Give the t interval of a mean."""
        level = self.settings["confidence_level"]
        (low,), (high,) = _core.intervals([value], [error], "t", n - 1, level, "two-sided")
        return low, high

    def value(self, policy: str) -> float:
        """Return a policy's mean return."""
        return float(self.returns[self._known(policy)].mean())

    def statistics(self, alpha: Sequence[float] = DEFAULT_ALPHA) -> pl.DataFrame:
        """Tabulate statistics of the returns.

        Parameters
        ----------
        alpha
            Levels of quantile, cvar and interquantile_range.

        Returns
        -------
        polars.DataFrame
            policy, statistic ("mean", "variance", "quantile", "cvar", "interquantile_range"), alpha
            (null where it has none), value, standard_error. Definitions as in
            `counterfolio.return_statistic`.

        Raises
        ------
        InvalidArgumentError
            If a level is not in (0, 1].
        """
        rows = []
        for policy, returns in self.returns.items():
            for name, level in at_levels(alpha, STATISTICS):
                value, error = _core.return_statistic(returns, (name, level))
                rows.append((policy, name, level or None, value, error))
        names = ("policy", "statistic", "alpha", "value", "standard_error")
        types = (pl.String, pl.String, pl.Float64, pl.Float64, pl.Float64)
        return pl.DataFrame(rows, schema=dict(zip(names, types, strict=True)), orient="row")

    def compare(self, policy: str, baseline: str) -> pl.DataFrame:
        """Estimate a difference of two policies.

        Where episodes have common random numbers, it is the mean of differences of the same
        episode, which vary less.
        Of policies that seldom differ a few episodes carry it, and the interval needs many of
        them: hundreds rather than tens.

        Returns
        -------
        polars.DataFrame
            One row: policy, baseline, difference, standard_error, ci_low, ci_high.

        Raises
        ------
        InvalidArgumentError
            If there is no such policy.
        """
        a, b = (self.returns[self._known(name)] for name in (policy, baseline))
        value, n = float(a.mean() - b.mean()), len(a)
        if self.common_random_numbers:
            error = float((a - b).std(ddof=1) / np.sqrt(n))
        else:
            error = float(np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / n))
        low, high = self._interval(value, error, n)
        names = ("policy", "baseline", "difference", "standard_error", "ci_low", "ci_high")
        row = (policy, baseline, value, error, low, high)
        return pl.DataFrame([row], schema=list(names), orient="row")

    def select(self, policies: Sequence[str]) -> OnPolicyValue:
        """Keep some policies: those that an evaluation is of, say.

        Parameters
        ----------
        policies
            Names, in the order wanted.

        Raises
        ------
        InvalidArgumentError
            If there is no such policy.
        """
        kept = [self._known(policy) for policy in policies]
        returns = {policy: self.returns[policy] for policy in kept}
        lengths = {policy: self.lengths[policy] for policy in kept}
        return OnPolicyValue(returns, lengths, self.settings)

    def join(self, other: OnPolicyValue) -> OnPolicyValue:
        """Add policies that were rolled out later, in the same environment and with the same seed.

        Parameters
        ----------
        other
            Of the same settings, with common random numbers.

        Raises
        ------
        InvalidArgumentError
            If settings differ, a policy is in both, or random numbers are not common: those of
            another call are then not independent either.
        """
        if twice := [policy for policy in other if policy in self]:
            text = f'policy "{twice[0]}" is in both; select(..) those to be added'
            raise InvalidArgumentError(text)
        if not self.common_random_numbers:
            text = "without common random numbers all policies have to be rolled out in one call"
            raise InvalidArgumentError(text)
        drawn = [name for name in self.settings if name != "confidence_level"]
        if differ := [name for name in drawn if other.settings[name] != self.settings[name]]:
            name = differ[0]
            text = (
                f"{name} was {self.settings[name]} here and {other.settings[name]} there; roll the "
                "others out with the settings of this one"
            )
            raise InvalidArgumentError(text)
        returns, lengths = self.returns | other.returns, self.lengths | other.lengths
        return OnPolicyValue(returns, lengths, self.settings)

    def to_parquet(self, path: str | Path) -> None:
        """Write it to a file: policy, episode, return and length, a row to each episode.

        Parameters
        ----------
        path
            File to write. It appears whole or not at all.

        Raises
        ------
        InvalidArgumentError
            If nothing can be written there.
        """
        write_returns(self, path)

    @classmethod
    def from_parquet(cls, path: str | Path) -> OnPolicyValue:
        """Read what `to_parquet` wrote.

        Parameters
        ----------
        path
            File to read.

        Raises
        ------
        InvalidArgumentError
            If it is not one of these.
        """
        return cls(*read_returns(path))

    def _known(self, policy: str) -> str:
        if policy not in self.returns:
            text = f'no policy "{policy}" was rolled out; {suggest(policy, self.returns)}'
            raise InvalidArgumentError(text)
        return policy

    def _columns(self) -> list[Column]:
        t = self.table
        level = f"{100 * self.settings['confidence_level']:g} % interval"
        spans = zip(t["ci_low"], t["ci_high"], strict=True)
        return [
            Column("policy", t["policy"].to_list(), left=True),
            Column("value", [number(x) for x in t["value"]]),
            Column("std. error", [number(x, 2) for x in t["standard_error"]]),
            Column(level, [f"{number(low)} to {number(high)}" for low, high in spans]),
            Column("std", [number(x, 3) for x in t["std"]]),
            Column("length", [number(x, 3) for x in t["mean_length"]]),
        ]

    def _caption(self) -> str:
        s = self.settings
        common = ", common random numbers" if self.common_random_numbers else ""
        return (
            f"On-policy values by {s['n_episodes']:,} roll-outs each, gamma {s['gamma']:g}{common}"
        )

    def __repr__(self) -> str:
        return "\n".join([self._caption(), text_table(self._columns())])

    def _repr_html_(self) -> str:
        return html_table(self._columns(), self._caption(), [])
