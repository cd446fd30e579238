"""What was evaluated: a log and policies, for all that is computed only when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from counterfolio import delta
from counterfolio.diagnostics import Diagnostics, diagnose
from counterfolio.sources import column_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

    from counterfolio import _core
    from counterfolio.log import LoggedData
    from counterfolio.policies import PolicyColumns
    from counterfolio.validation import LogReport


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A log and the policies that were evaluated on it."""

    log: LoggedData
    policies: Mapping[str, PolicyColumns]
    #: pi(a_t|s_t) as the core reads it; None for a policy that was evaluated without weights.
    probs: Mapping[str, _core.Column | None]

    def diagnose(self, settings: Mapping[str, Any]) -> Diagnostics:
        """Diagnose the policies' weights, under the settings of the evaluation."""
        gamma, threads = settings["gamma"], settings["num_threads"]
        return diagnose(self.log, self.policies, self.probs, gamma, threads)

    def delta(
        self,
        pairs: Sequence[tuple[str, str]],
        settings: Mapping[str, Any],
        *,
        simultaneous: bool,
    ) -> pl.DataFrame:
        """Compare pairs of policies by the differences of their weights."""
        return delta.compare(self.log, self.probs, pairs, settings, simultaneous=simultaneous)

    def log_report(self) -> LogReport:
        """Report on the log, with what it says of these policies."""
        probs = {n: column_values(p) for n, p in self.probs.items() if p is not None}
        return self.log.inspect(policies=probs)
