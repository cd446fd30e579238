"""The names by which `gymnasium.make` and `collect` know our environments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium as gym

from counterfolio.simulate.basic import Basic
from counterfolio.simulate.gymnasium_form import GymnasiumForm
from counterfolio.simulate.real_time_bidding import RealTimeBidding
from counterfolio.simulate.recommender import Recommender
from counterfolio.simulate.tabular import Tabular
from counterfolio.simulate.vector_form import VectorForm

if TYPE_CHECKING:
    from counterfolio.simulate.environment import Environment

#: By the name between "counterfolio/" and "-v0".
ENVIRONMENTS: dict[str, type[Environment]] = {
    kind.__name__: kind for kind in (Basic, Recommender, RealTimeBidding, Tabular)
}


def make(environment: str, **arguments: Any) -> GymnasiumForm:
    """Make the form of one episode at a time, for `gymnasium.make`."""
    return GymnasiumForm(_made(environment, arguments))


def make_vector(environment: str, num_envs: int = 1, **arguments: Any) -> VectorForm:
    """Make the form of many episodes side by side, for `gymnasium.make_vec`."""
    return VectorForm(_made(environment, arguments), num_envs)


def _made(environment: str, arguments: dict[str, Any]) -> Environment:
    # There is nothing to look at.
    arguments.pop("render_mode", None)
    return ENVIRONMENTS[environment](**arguments)


def register() -> None:
    """Make the names known; a second time changes nothing."""
    for name in ENVIRONMENTS:
        if f"counterfolio/{name}-v0" not in gym.registry:
            gym.register(
                f"counterfolio/{name}-v0",
                entry_point=f"{__name__}:make",
                vector_entry_point=f"{__name__}:make_vector",
                kwargs={"environment": name},
            )
