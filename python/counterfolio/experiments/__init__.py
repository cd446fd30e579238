"""Experiments where the truth is known, which say what estimator chooses the better shortlist."""

# First of all, since without gymnasium it says what to install.
import counterfolio.simulate  # noqa: F401
from counterfolio.experiments.candidates import learned_behavior, learned_candidates
from counterfolio.experiments.result import Experiment
from counterfolio.experiments.running import experiment

__all__ = ["Experiment", "experiment", "learned_behavior", "learned_candidates"]
