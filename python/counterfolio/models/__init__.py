"""The models that feed the estimators: Q-functions, marginal ratios, propensities."""
