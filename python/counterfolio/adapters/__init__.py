"""Trained models of other libraries, as policies.

None of these libraries is imported: a model is known by the methods it has.
"""

from counterfolio.adapters.d3rlpy import from_d3rlpy
from counterfolio.adapters.stable_baselines3 import from_stable_baselines3
from counterfolio.adapters.values import q_values

__all__ = ["from_d3rlpy", "from_stable_baselines3", "q_values"]
