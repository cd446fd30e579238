"""What is to be estimated: a log, policies and estimators, checked against each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from counterfolio import _core
from counterfolio import estimators as registry
from counterfolio.arguments import check_gamma
from counterfolio.bandwidth import with_bandwidth
from counterfolio.estimator_inputs import check_log_for
from counterfolio.estimators import Estimator
from counterfolio.exceptions import InvalidLogError
from counterfolio.log import LoggedData, check_log
from counterfolio.policies import Kernel, PolicyColumns, check_policies, describe, resolve
from counterfolio.policies.kernel import vectors_of
from counterfolio.preparation import Prepared
from counterfolio.progress import progress
from counterfolio.threads import check_threads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from counterfolio.policies.columns import CorePolicy

#: Columns that a result names.
ROLES = ("action", "reward", "propensity", "episode_id", "cluster", "logger")


@dataclass(frozen=True, eq=False)
class Task:
    """Everything that estimates depend on, checked.

    Attributes
    ----------
    log
        With estimated propensities, where `prepare` estimated them.
    prepared
        Where the policies came from, if from `prepare`.
    policies
        Name -> columns, as described.
    estimators
        In the order asked for.
    inputs
        The policies as the core reads them.
    gamma, threads
        Discount factor; threads to use.
    bandwidths
        On what evidence the log chose the bandwidth of a policy's kernel, one to each.
    notes
        Policy -> what speaks against its weights before any is computed.
    """

    log: LoggedData
    prepared: Prepared | None
    policies: dict[str, PolicyColumns]
    estimators: list[Estimator]
    inputs: list[CorePolicy]
    gamma: float
    threads: int
    bandwidths: list[dict[str, Any]]
    notes: dict[str, str | None]

    @property
    def labels(self) -> list[str]:
        """Labels of the estimators."""
        return [estimator.label for estimator in self.estimators]

    @property
    def weighted(self) -> list[str]:
        """Labels of the estimators that have weights."""
        return [e.label for e in self.estimators if e.row["ratio"] != "none"]

    @property
    def conditions_on(self) -> str | None:
        """What intervals take as given, and so know no error of."""
        needs = {key for estimator in self.estimators for key in estimator.needs}
        ratios = bool({"state_ratio", "state_action_ratio"} & needs)
        if "v" in needs:
            return "q, v and ratios as given" if ratios else "q and v as given"
        return "ratios as given" if ratios else None

    @property
    def probs(self) -> dict[str, _core.Column | None]:
        """Policy -> pi(a_t|s_t) as the core reads it; None where no estimator weighs by it."""
        return {name: prob for name, prob, *_ in self.inputs}

    def settings(self) -> dict[str, Any]:
        """Say what is estimated from what, for the settings of a result."""
        log, roles = self.log, self.log.roles
        return {
            "version": _core.__version__,
            "policies": list(self.policies),
            "estimators": self.labels,
            **{name: roles[name] for name in ROLES},
            "gamma": self.gamma,
            "num_threads": self.threads,
            "n_rows": log.n_rows,
            "n_episodes": log.n_episodes,
            "n_clusters": None if log.clusters is None else log.clusters[1],
            "action_type": roles["action_type"],
            "propensity_source": log.propensity_source,
            "models": [] if self.prepared is None else self.prepared.settings,
            "propensity_model": log.propensity_model,
            "bandwidths": self.bandwidths,
            "conditions_on": self.conditions_on,
        }

    def resample(
        self,
        n_resamples: int,
        seed: int,
        resampling: str | tuple[float, bool],
        what: str = "resampling",
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Estimate every policy with every estimator in every replicate.

        Parameters
        ----------
        resampling
            By name, or the share of one part of the episodes and whether the rest is meant.

        Returns
        -------
        values : (n_resamples, n_policies, n_estimators)
        behavior : (n_resamples,)
        """
        log = self.log
        with progress(what) as report:
            values, behavior = _core.bootstrap(
                log.for_core,
                self.inputs,
                [estimator.for_core for estimator in self.estimators],
                self.gamma,
                n_resamples,
                seed,
                resampling,
                log.draw_ids,
                log.clusters,
                self.threads,
                report,
            )
        shape = (n_resamples, len(self.inputs), len(self.estimators))
        return values.reshape(shape), behavior


def check_task(
    caller: str,
    log: LoggedData,
    policies: Mapping[str, object],
    estimators: Sequence[str | Estimator] | None,
    *,
    gamma: object,
    num_threads: object,
    distribution: bool = False,
) -> Task:
    """Check what is to be estimated; None as estimators are those that the inputs allow.

    Parameters
    ----------
    distribution
        Whether distributions of the return are wanted, not its mean.

    Raises
    ------
    InvalidArgumentError
        If gamma is out of its range, or there is no such estimator.
    InvalidLogError
        If an estimator needs propensities and the log has none.
    InvalidPolicyError
        If an input is missing.
    """
    check_log(log, caller)
    prepared = policies if isinstance(policies, Prepared) else None
    gamma = check_gamma(gamma)
    if prepared is not None:
        log = prepared.log_for(log, gamma)
        if estimators is None and not distribution:
            estimators = prepared.estimators or None
    threads = check_threads(num_threads)
    named = check_policies(policies)
    described = {name: describe(name, policy, log) for name, policy in named.items()}
    bandwidths = []
    notes: dict[str, str | None] = {}
    for name, columns in described.items():
        described[name], evidence = with_bandwidth(name, columns, log, gamma, threads)
        if evidence is not None:
            bandwidths.append(evidence)
        if isinstance(columns.kernel, Kernel):
            notes[name] = columns.kernel.at_a_bound(vectors_of(log))
    asked = _choose(estimators, log, described, distribution=distribution)
    if prepared is not None:
        prepared.check_estimators(asked)
    needs = {estimator.label: estimator.needs for estimator in asked}
    if log._propensity is None and (weighted := [n for n in needs if "prob" in needs[n]]):
        text = (
            f'"{weighted[0]}" needs propensities, and the log has none; name their column with '
            "propensity=..., or use the direct method (dm), which needs v alone"
        )
        raise InvalidLogError(text)
    check_log_for(asked, log, described)
    inputs = [resolve(name, columns, log, needs, threads) for name, columns in described.items()]
    return Task(log, prepared, described, asked, inputs, gamma, threads, bandwidths, notes)


def _choose(
    estimators: Sequence[str | Estimator] | None,
    log: LoggedData,
    policies: Mapping[str, PolicyColumns],
    *,
    distribution: bool,
) -> list[Estimator]:
    """Take the estimators asked for, or those that the inputs allow."""
    if estimators is not None:
        return registry.resolve(estimators, distribution=distribution)
    weighted = registry.WEIGHTED_DEFAULT if log._propensity is not None else ()

    def have(*keys: str) -> bool:
        return all(
            p.q_values is not None or all(getattr(p, key) is not None for key in keys)
            for p in policies.values()
        )

    if distribution:
        default = registry.DISTRIBUTION_DEFAULT[have("v")] if weighted else ("cd_dm",)
        return registry.resolve(default, distribution=True)
    if weighted and have("q", "v"):
        return registry.resolve([*weighted, *registry.MODEL_DEFAULT])
    if not weighted and have("v"):
        return [Estimator("dm")]
    return registry.resolve(registry.WEIGHTED_DEFAULT)
