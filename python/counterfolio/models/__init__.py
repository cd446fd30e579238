"""The models that feed the estimators: Q-functions, marginal ratios, propensities."""

from counterfolio.models.propensities import Propensities
from counterfolio.models.propensity import PropensityModel
from counterfolio.models.propensity_calibration import PropensityCalibration

__all__ = ["Propensities", "PropensityCalibration", "PropensityModel"]
