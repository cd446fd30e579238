"""counterfolio: which candidate policies deserve an online A/B test, and at what risk.

From logged data alone: estimate what each candidate would have earned (off-policy evaluation), rank
the candidates, and weigh the return of the shortlist against its risk (SharpeRatio@k).
"""

import importlib.util
from typing import TYPE_CHECKING, Any

from counterfolio import adapters, learners, models, policies
from counterfolio._core import DEBUG_BUILD, __version__
from counterfolio.assessing import assess
from counterfolio.assessment import Assessment
from counterfolio.assessments import Assessments
from counterfolio.diagnostics import Diagnostics
from counterfolio.distribution import Distribution
from counterfolio.distribution_estimation import evaluate_distribution
from counterfolio.estimation import evaluate
from counterfolio.estimator_selection import EstimatorSelection, select_estimator
from counterfolio.estimators import Estimator
from counterfolio.evaluation import Evaluation
from counterfolio.evaluations import Evaluations
from counterfolio.exceptions import (
    CounterfolioError,
    InvalidArgumentError,
    InvalidLogError,
    InvalidPolicyError,
    MissingExtraError,
)
from counterfolio.loading import read_parquet
from counterfolio.log import LoggedData
from counterfolio.many import evaluate_many
from counterfolio.policies import Policy, PolicyColumns
from counterfolio.portfolio import Portfolio
from counterfolio.prediction import PredictiveSharpeRatio
from counterfolio.preparation import Prepared, prepare
from counterfolio.resampling import resample_weights
from counterfolio.return_statistics import return_statistic
from counterfolio.selection import sharpe_ratio_at_k, top_k
from counterfolio.validation import LogReport

if TYPE_CHECKING:
    from counterfolio import experiments, simulate
    from counterfolio.experiments import experiment
    from counterfolio.simulate import collect, on_policy_value

__all__ = [
    "Assessment",
    "Assessments",
    "CounterfolioError",
    "Diagnostics",
    "Distribution",
    "Estimator",
    "EstimatorSelection",
    "Evaluation",
    "Evaluations",
    "InvalidArgumentError",
    "InvalidLogError",
    "InvalidPolicyError",
    "LogReport",
    "LoggedData",
    "MissingExtraError",
    "Policy",
    "PolicyColumns",
    "Portfolio",
    "PredictiveSharpeRatio",
    "Prepared",
    "__version__",
    "adapters",
    "assess",
    "collect",
    "evaluate",
    "evaluate_distribution",
    "evaluate_many",
    "experiment",
    "experiments",
    "learners",
    "models",
    "on_policy_value",
    "policies",
    "prepare",
    "read_parquet",
    "resample_weights",
    "return_statistic",
    "select_estimator",
    "sharpe_ratio_at_k",
    "simulate",
    "top_k",
]


#: Where to find what only who simulates waits for, since it needs gymnasium.
_LATER = {
    "collect": "simulate",
    "experiment": "experiments",
    "on_policy_value": "simulate",
}

if importlib.util.find_spec("gymnasium") is None:
    # `help`, and who imports all there is, come upon no error.
    for _name in {*_LATER, *_LATER.values()}:
        __all__.remove(_name)


def __getattr__(name: str) -> Any:
    module = _LATER.get(name, name)
    if module not in _LATER.values():
        text = f"module 'counterfolio' has no attribute {name!r}"
        raise AttributeError(text)
    found = importlib.import_module(f"counterfolio.{module}")
    return found if name == module else getattr(found, name)


def __dir__() -> list[str]:
    # What is looked up late is there to be found too.
    return sorted({*globals(), *__all__})


if DEBUG_BUILD:
    import warnings

    warnings.warn(
        "counterfolio was built without optimisation; build with --release before timing anything",
        RuntimeWarning,
        stacklevel=2,
    )
