"""Policies: as columns of the log, or as objects that know what they do in every state."""

from counterfolio.policies.asking import dense_probs
from counterfolio.policies.columns import (
    BEHAVIOR,
    PolicyColumns,
    check_policies,
    describe,
    only_prob,
    resolve,
)
from counterfolio.policies.continuous import DeterministicAction, Gaussian, TruncatedGaussian
from counterfolio.policies.discrete import Deterministic, EpsilonGreedy, Softmax
from counterfolio.policies.kernel import Kernel
from counterfolio.policies.mixture import Mixture
from counterfolio.policies.onnx import Onnx
from counterfolio.policies.probabilities import Classifier, Probabilities, Tabular, Uniform
from counterfolio.policies.protocol import ContinuousPolicy, DiscretePolicy, Policy
from counterfolio.policies.squashed import SquashedGaussian

__all__ = [
    "BEHAVIOR",
    "Classifier",
    "ContinuousPolicy",
    "Deterministic",
    "DeterministicAction",
    "DiscretePolicy",
    "EpsilonGreedy",
    "Gaussian",
    "Kernel",
    "Mixture",
    "Onnx",
    "Policy",
    "PolicyColumns",
    "Probabilities",
    "Softmax",
    "SquashedGaussian",
    "Tabular",
    "TruncatedGaussian",
    "Uniform",
    "check_policies",
    "dense_probs",
    "describe",
    "only_prob",
    "resolve",
]
