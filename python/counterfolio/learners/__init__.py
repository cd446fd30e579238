"""Learners: candidates from the log itself, without torch."""

from counterfolio.learners.classification import WeightedClassification
from counterfolio.learners.cloning import BehaviorCloning
from counterfolio.learners.functions import LearnedQ
from counterfolio.learners.q_learners import FittedQIteration, PessimisticQ

__all__ = [
    "BehaviorCloning",
    "FittedQIteration",
    "LearnedQ",
    "PessimisticQ",
    "WeightedClassification",
]
