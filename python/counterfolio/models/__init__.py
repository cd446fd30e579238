"""The models that feed the estimators: Q-functions, marginal ratios, propensities."""

from counterfolio.models.propensities import Propensities
from counterfolio.models.propensity import PropensityModel
from counterfolio.models.propensity_calibration import PropensityCalibration
from counterfolio.models.q_functions import QFunctions
from counterfolio.models.q_models import FittedQ, LinearQ
from counterfolio.models.ratios import LinearRatio, MarginalRatios

__all__ = [
    "FittedQ",
    "LinearQ",
    "LinearRatio",
    "MarginalRatios",
    "Propensities",
    "PropensityCalibration",
    "PropensityModel",
    "QFunctions",
]
