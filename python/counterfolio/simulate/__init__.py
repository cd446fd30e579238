"""Environments whose truth is known, logs made in them, and what policies really return there.

Importing it makes the environments known to gymnasium, as "counterfolio/Basic-v0",
"counterfolio/Recommender-v0", "counterfolio/RealTimeBidding-v0" and "counterfolio/Tabular-v0".
"""

from counterfolio.exceptions import MissingExtraError

try:
    import gymnasium  # noqa: F401
except ImportError as error:
    text = 'counterfolio.simulate needs gymnasium; pip install "counterfolio[gym]"'
    raise MissingExtraError(text) from error

from counterfolio.simulate.auctions import Auctions
from counterfolio.simulate.basic import Basic
from counterfolio.simulate.collection import collect
from counterfolio.simulate.environment import Advance, Environment, Episodes
from counterfolio.simulate.real_time_bidding import RealTimeBidding
from counterfolio.simulate.recommender import Recommender
from counterfolio.simulate.registration import register
from counterfolio.simulate.returns import OnPolicyValue
from counterfolio.simulate.streams import EpisodeRandom, Streams, episode_seeds
from counterfolio.simulate.tabular import Tabular
from counterfolio.simulate.truth import on_policy_value

__all__ = [
    "Advance",
    "Auctions",
    "Basic",
    "Environment",
    "EpisodeRandom",
    "Episodes",
    "OnPolicyValue",
    "RealTimeBidding",
    "Recommender",
    "Streams",
    "Tabular",
    "collect",
    "episode_seeds",
    "on_policy_value",
]

register()
