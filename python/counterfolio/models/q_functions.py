"""`QFunctions`: what the models of Q found in every row of a log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.exceptions import InvalidArgumentError
from counterfolio.text import Column, html_table, number, plural, text_table, wrap

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from counterfolio.models.transitions import Transitions

    Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class QFunctions:
    """Q-functions of some policies, evaluated in every row of a log.

    Attributes
    ----------
    policies : list of str
    q, v
        (n_policies, n_rows) Q(s_t, a_t) of the logged action and V(s_t) = sum_a pi(a|s_t) Q(s_t,
        a).
    table : polars.DataFrame
        A row to a policy: policy; value (the direct method's estimate, mean v in the first rows);
        standard_error (sandwich, by episode or cluster; null for regressors); td_error (root mean
        square of r + gamma v' - q); unseen (share of the policy's probability on actions never seen
        in their state; null unless the features are one-hot).
    settings : dict
        How it was fitted: model, features, weighting, horizon, gamma, step_joins, cross_fit,
        n_repeats, seed.
    seconds : float
        Time that fitting took.
    notes : list of str
        What is to be known about the fit.
    """

    policies: list[str]
    q: Floats
    v: Floats
    table: pl.DataFrame
    settings: dict[str, Any]
    seconds: float
    notes: list[str]
    _fits: list[Any]
    _t: list[Transitions]

    def values(self, policy: str, rows: slice | None = None) -> Floats:
        """Take Q of all actions.

        Parameters
        ----------
        policy
            One of `policies`.
        rows
            Default: all.

        Returns
        -------
        (n_rows, n_actions); the median over repeats.

        Raises
        ------
        InvalidArgumentError
            If there is no such policy, or actions are a continuum.
        """
        p = self._index(policy)
        if not self._t[0].discrete:
            text = "actions are a continuum: there is no Q of all of them"
            raise InvalidArgumentError(text)
        n = self._t[0].log.n_rows
        start, stop, _ = (slice(0, n) if rows is None else rows).indices(n)
        return median([fit.values(p, slice(start, stop)) for fit in self._fits])

    def covariance(self, policy: str) -> Floats:
        """Covariance matrix of the coefficients of a linear fit, by the sandwich.

        M^{-1} (sum_i u_i u_i^T) M^{-T}, u_i = sum over an episode of phi (r + gamma v' - q), with M
        the matrix of the normal equations; both with the weights of rows, where these differ. Rows
        and columns are ordered by action, then by feature.

        Raises
        ------
        InvalidArgumentError
            If the fit is not linear in features (a table, a regressor) or was cross-fitted.
        """
        fit = self._fits[0]
        is_linear = getattr(fit, "has_coefficients", False)
        if len(self._fits) > 1 or self._t[0].n_folds > 1 or not is_linear:
            text = (
                "coefficients have a covariance where one linear fit was made on the whole log: "
                "LinearQ with features that are not one-hot, cross_fit=None and n_repeats=1"
            )
            raise InvalidArgumentError(text)
        p = self._index(policy)
        found: Floats = fit.covariance(p, differences(self._t[0], self.q[p], self.v[p]))
        return found

    def _index(self, policy: str) -> int:
        if policy not in self.policies:
            text = f'no policy "{policy}" here; there are {", ".join(self.policies)}'
            raise InvalidArgumentError(text)
        return self.policies.index(policy)

    def _columns(self) -> list[Column]:
        t = self.table
        columns = [
            Column("policy", t["policy"].to_list(), left=True),
            Column("value", [number(x) for x in t["value"]]),
        ]
        for name, header in (("standard_error", "std. error"), ("td_error", "TD error")):
            if t[name].null_count() < len(t):
                columns.append(Column(header, [number(x, 2) for x in t[name]]))
        if t["unseen"].null_count() < len(t):
            columns.append(Column("unseen", [f"{100 * x:.1f} %" for x in t["unseen"]]))
        return columns

    def _caption(self) -> str:
        s = self.settings
        folds = "" if s["cross_fit"] is None else f", {s['cross_fit']}-fold cross-fitted"
        weighted = "" if s["weighting"] is None else f"rows weighted by {s['weighting']}, "
        return (
            f"{s['model']} of {plural(len(self.policies), 'policy')}, features {s['features']}, "
            f"{weighted}gamma {s['gamma']:g}, horizon {s['horizon']}{folds}, {self.seconds:.2g} s"
        )

    def __repr__(self) -> str:
        parts = [wrap(self._caption()), text_table(self._columns()), *map(wrap, self.notes)]
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        return html_table(self._columns(), self._caption(), self.notes)


def median(each: list[Floats]) -> Floats:
    """Take the median over repeats."""
    if len(each) == 1:
        return each[0]
    out: Floats = np.median(each, axis=0)
    return out


def differences(t: Transitions, q: Floats, v: Floats) -> Floats:
    """R + gamma v' - q in the rows that are used, 0 elsewhere."""
    following = np.where(t.last, 0.0, np.append(v[1:], 0.0))
    return np.where(t.used, t.reward + t.gamma * following - q, 0.0)
