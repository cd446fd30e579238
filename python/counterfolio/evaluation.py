"""`Evaluation`: the result, and what follows from it: comparisons, rankings, shortlists, files."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from counterfolio import delta
from counterfolio import estimators as registry
from counterfolio.display import caption, interval_name, layout
from counterfolio.estimator_part import contrasts_of, replicates_of
from counterfolio.evaluation_files import read_evaluation, write_evaluation
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.files import check_folder, check_path, write_text
from counterfolio.policies import BEHAVIOR
from counterfolio.portfolio import Portfolio, portfolio
from counterfolio.ranking import places_of, ranking
from counterfolio.sources import take
from counterfolio.summary import verdict_of
from counterfolio.text import html_table, text_table, wrap

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from counterfolio.diagnostics import Diagnostics
    from counterfolio.distribution import Distribution
    from counterfolio.evaluated import Evaluated
    from counterfolio.validation import LogReport


@dataclass(frozen=True, repr=False, eq=False)
class Evaluation:
    """What each policy would have earned, by each estimator, and how sure that is.

    Attributes
    ----------
    estimates : polars.DataFrame
        One row to a policy and estimator: policy, estimator, value, standard_error, ci_low,
        ci_high, effective_sample_size, max_weight_share, n_episodes, note (null when nothing is to
        be said); last the behavior policy's own mean return.
    settings : dict
        Every argument as used, the version, and where the propensities came from.
    variances : numpy.ndarray
        (n_estimators, n_policies + 1, n_policies + 1), the behavior policy last: the variance of
        each estimate on the diagonal, of the difference of two policies' estimates off it.
    replicates : numpy.ndarray or None
        (n_resamples, n_policies, n_estimators): each estimate under each replicate's weights, the
        same for all policies and estimators; NaN where undefined. None without `n_resamples`.
    behavior_replicates : numpy.ndarray or None
        (n_resamples,): the behavior policy's mean return under the same weights.
    accelerations : numpy.ndarray or None
        In the places of `variances`: skewness / (6 sqrt(n)) of the terms. Of differences between
        two candidates for `method="bca"` alone, else NaN.
    """

    estimates: pl.DataFrame
    settings: dict[str, Any]
    variances: NDArray[np.float64]
    replicates: NDArray[np.float64] | None = None
    behavior_replicates: NDArray[np.float64] | None = None
    accelerations: NDArray[np.float64] | None = None
    _source: Evaluated | None = None

    @cached_property
    def diagnostics(self) -> Diagnostics:
        """Whether each policy's estimates can be trusted: its weights, and a verdict in words.

        Computed when first asked for.

        Raises
        ------
        InvalidArgumentError
            If the log is gone: a pickle keeps diagnostics only where they were computed before.
        """
        return self._need_source("diagnostics").diagnose(self.settings)

    @cached_property
    def log_report(self) -> LogReport:
        """The report of the log that was evaluated, with what it says of these policies.

        Raises
        ------
        InvalidArgumentError
            As for `diagnostics`.
        """
        return self._need_source("log_report").log_report()

    def _need_source(self, what: str) -> Evaluated:
        if self._source is None:
            text = (
                f"{what} needs the log, which this evaluation no longer holds; ask for {what} "
                "before pickling it, save it with to_parquet, or let evaluate_many keep it"
            )
            raise InvalidArgumentError(text)
        return self._source

    def __getstate__(self) -> dict[str, Any]:
        # The log stays behind; what was computed from it goes along.
        return {**vars(self), "_source": None}

    def __copy__(self) -> Evaluation:
        return replace(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Evaluation:
        own = [field.name for field in fields(self) if field.name != "_source"]
        return replace(self, **{name: deepcopy(getattr(self, name), memo) for name in own})

    @property
    def policies(self) -> list[str]:
        """Names of the policies, in the order given."""
        return list(self.settings["policies"])

    @property
    def estimators(self) -> list[str]:
        """Labels of the estimators, in the order given."""
        return list(self.settings["estimators"])

    def _estimator(self, estimator: str | None) -> str:
        return registry.evaluated(estimator, self.estimators)

    def rows(self, estimator: str | None = None) -> pl.DataFrame:
        """Rows of `estimates` for one estimator, in the order of the policies.

        Parameters
        ----------
        estimator
            May be None when one estimator was evaluated.
        """
        first, step = self.estimators.index(self._estimator(estimator)), len(self.estimators)
        return take(self.estimates, np.arange(first, len(self.estimates) - 1, step))

    @property
    def behavior_value(self) -> float:
        """The behavior policy's own mean return."""
        return float(self.estimates["value"][-1])

    def values(self, estimator: str | None = None) -> dict[str, float]:
        """Policy -> estimate, as `top_k` and `sharpe_ratio_at_k` take it.

        Parameters
        ----------
        estimator
            May be None when one estimator was evaluated.
        """
        rows = self.rows(estimator)
        return dict(zip(rows["policy"], rows["value"], strict=True))

    def compare(
        self,
        policy: str | None = None,
        baseline: str = BEHAVIOR,
        estimator: str | None = None,
        *,
        simultaneous: bool = False,
    ) -> pl.DataFrame:
        """Compare policies on the same episodes.

        Parameters
        ----------
        policy
            Name of a policy; None compares every other one with the baseline.
        baseline
            Name of a policy; "behavior" is the logged one.
        estimator
            May be None when one estimator was evaluated. "delta" (for single decisions) need not
            have been: it weighs rewards by the difference of the two policies' weights, less its
            best control variate (Jeunen & Ustimenko 2024), and so is sharp where both act alike.
        simultaneous
            Widens the intervals so that all of them hold together with the confidence level: the
            critical value is that of the largest of the standardised differences (max-t), by
            standard errors whatever the kind of interval. Not with "delta".

        Returns
        -------
        polars.DataFrame
            A row to a comparison: policy, baseline, estimator, difference (of the first less the
            second), standard_error, ci_low, ci_high, p_better, conclusion, note. The standard error
            comes from the difference of the influence values, so that what both share cancels.
            Intervals are of the kind evaluated where that is "normal", "t" or "bootstrap" (then of
            the replicates' differences), else normal. p_better is the probability that the first is
            better, by replicates or else as the intervals. conclusion is "better" or "worse"
            where the two-sided interval excludes 0, whichever side `alternative` leaves open, else
            "not told apart"; null where there is no interval. Where difference and error are within
            1e-6 of the values they are rounding: "not told apart", p_better 0.5.

        Raises
        ------
        InvalidArgumentError
            If a policy or estimator was not evaluated.
        """
        if estimator == delta.NAME:
            others = [p for p in self.policies if p != baseline] if policy is None else [policy]
            pairs = [(other, baseline) for other in others]
            source = self._need_source("delta")
            return source.delta(pairs, self.settings, simultaneous=simultaneous)
        label = self._estimator(estimator)
        return contrasts_of(self, label).compare(policy, baseline, simultaneous=simultaneous)

    def contenders(
        self, estimator: str | None = None, among: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """Find the policies that may be the best: the honest shortlist.

        A policy is out if another one is better than it by more than chance, all comparisons with
        it taken together (multiple comparisons with the best, Hsu 1996, with critical values by
        simulation from the correlations of the differences). With the confidence level the truly
        best policy is among the contenders, in large samples.

        Parameters
        ----------
        estimator
            May be None when one estimator was evaluated.
        among
            Names of the policies to choose from. Default: all, also those whose estimates are not
            to be trusted.

        Returns
        -------
        polars.DataFrame
            The leader first: policy, estimator, value, behind_leader, standard_error (of that
            difference), critical_value (standard errors by which another has to lead it), contender
            (null where the estimate is undefined).
        """
        label = self._estimator(estimator)
        return contrasts_of(self, label, among).contenders()

    def ranking(
        self,
        estimator: str | None = None,
        score: Literal["value", "lower"] = "value",
        among: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Rank the policies, highest first; undefined ones last, ties in the order given.

        Parameters
        ----------
        estimator
            May be None when one estimator was evaluated.
        score
            "value" ranks by the estimate, "lower" by the lower end of its interval: a policy that
            is merely uncertain then stands behind one that is surely good.
        among
            Names of the policies to rank, as in `contenders`.

        Returns
        -------
        polars.DataFrame
            policy, rank (1 is best), score; with replicates also p_best, rank_low and rank_high
            (an interval of the rank at the confidence level), p_top_1 .. p_top_P (the share of
            replicates in which it is among the top k).
        """
        label, which = self._estimator(estimator), places_of(among, self.policies)
        drawn = replicates_of(self, label, which)
        values = None if drawn is None else drawn.values
        return ranking(take(self.rows(label), which), score, values, self.settings)

    def portfolio(
        self,
        k: int,
        estimator: str | None = None,
        score: Literal["value", "lower"] = "value",
        among: Sequence[str] | None = None,
    ) -> Portfolio:
        """Take the top k as the shortlist for an online test, with its risk and return.

        Parameters
        ----------
        k
            How many policies the test has room for, 1 to P.
        estimator, score, among
            As in `ranking`; where `among` is left out, `reason` names those that are not to be
            trusted.

        Raises
        ------
        InvalidArgumentError
            If k is out of range, an argument names nothing, or one of the top k is undefined.
        """
        label, which = self._estimator(estimator), places_of(among, self.policies)
        rows = take(self.rows(label), which)
        rows = rows.with_columns(pl.Series("verdict", self._verdicts(rows["policy"]), pl.String))
        variances = self.variances[self.estimators.index(label)]
        kept = [*which, -1]
        return portfolio(
            rows,
            self.behavior_value,
            variances[np.ix_(kept, kept)],
            replicates_of(self, label, which),
            k,
            score,
            self.settings["alternative"],
            interval_name(self.settings),
        )

    def _verdicts(self, policies: Iterable[str]) -> list[str | None]:
        """Look up verdicts; null where the log is gone and none was given before."""
        if self._source is None and "diagnostics" not in vars(self):
            return [None for _ in policies]
        known = verdict_of(self)
        return [known[p] for p in policies]

    def to_html(
        self,
        path: str | Path,
        *,
        estimator: str | None = None,
        k: int | None = None,
        truth: Mapping[str, Any] | None = None,
        title: str | None = None,
        distribution: Distribution | None = None,
    ) -> None:
        """Write a report for someone who decides: one HTML file that needs nothing else.

        The file appears whole or not at all. Needs the extra `report` (matplotlib and jinja2).

        Parameters
        ----------
        path
            Of the file.
        estimator
            Ranks the policies and leads the report. Default: the first evaluated of sndr, snpdis,
            sntis, dr, pdis, tis, dm.
        k
            Size of the shortlist. Default: 3, or the number of policies if that is smaller.
        truth
            Policy -> true value or array of returns, of every policy, where known: adds
            SharpeRatio@k. The behavior policy's may be given as "behavior"; default: its own mean
            return.
        title
            Heads the report.
        distribution
            From `evaluate_distribution`, of the same log and policies: adds how returns are spread.

        Raises
        ------
        MissingExtraError
            If matplotlib or jinja2 is not installed.
        InvalidArgumentError
            If an argument names nothing, or there is no such folder.
        """
        from counterfolio.report import render

        target = check_path(path)
        check_folder(target)
        name = self._estimator(estimator or self._headline())
        text = render(
            self, estimator=name, k=k, truth=truth, title=title, distribution=distribution
        )
        write_text(text, target)

    def _headline(self) -> str:
        return registry.headline(self.estimators)

    def to_parquet(self, path: str | Path) -> None:
        """Write the estimates with settings, variances, diagnostics and the log's report.

        The file appears whole or not at all; what was not computed yet is computed for it.
        """
        write_evaluation(self, path)

    @classmethod
    def from_parquet(cls, path: str | Path) -> Evaluation:
        """Read what `to_parquet` wrote.

        Raises
        ------
        InvalidArgumentError
            If the file is not one that `to_parquet` wrote.
        """
        held, computed = read_evaluation(path)
        evaluation = cls(**held)
        vars(evaluation).update(computed)
        return evaluation

    def __repr__(self) -> str:
        columns, lines = layout(self.estimates, self.settings)
        parts = [caption(self.settings), text_table(columns), *(wrap(line) for line in lines)]
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        columns, lines = layout(self.estimates, self.settings)
        return html_table(columns, caption(self.settings), lines)
