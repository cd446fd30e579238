"""Policies: as columns of the log, or as objects that know what they do in every state."""

from counterfolio.policies.columns import (
    BEHAVIOR,
    PolicyColumns,
    check_policies,
    describe,
    resolve,
)
from counterfolio.policies.protocol import ContinuousPolicy, DiscretePolicy, Policy

__all__ = [
    "BEHAVIOR",
    "ContinuousPolicy",
    "DiscretePolicy",
    "Policy",
    "PolicyColumns",
    "check_policies",
    "describe",
    "resolve",
]
