"""Random numbers of many episodes side by side, each from streams of its own.

What an episode draws is a function of its seed, the step, what is drawn and nothing else: it is the
same episode whichever others are played beside it, alone or among thousands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio import _core
from counterfolio.arguments import check_seed, is_whole
from counterfolio.exceptions import InvalidArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Seeds = NDArray[np.uint64]

#: Seeds of episodes are below this: what every environment takes.
MOST_SEEDS = 2**32


class NotByRow(InvalidArgumentError):
    """A method of a generator was asked for that has no rows, or with a size that has none."""


def episode_seeds(seed: int, n_episodes: int) -> Seeds:
    """Give every episode a seed of its own: those of `collect` and `on_policy_value`.

    Parameters
    ----------
    seed
        One for everything. More episodes of the same seed begin with the same ones.
    n_episodes
        How many.

    Returns
    -------
    numpy.ndarray of shape (n_episodes,)
        Different numbers below 2^32, with which `env.reset(seed=...)` plays an episode again.

    Raises
    ------
    InvalidArgumentError
        If an argument is out of its range.
    """
    if not is_whole(n_episodes) or not 1 <= n_episodes < MOST_SEEDS:
        text = f"n_episodes must be a whole number from 1 to 2^32 - 1, not {n_episodes!r}"
        raise InvalidArgumentError(text)
    first, second = np.random.SeedSequence(check_seed(seed)).generate_state(2)
    # Every step can be undone, so that no two numbers below 2^32 become one.
    x = _mixed(np.arange(n_episodes, dtype=np.uint32) ^ first)
    return _mixed(x + second).astype(np.uint64)


def _mixed(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Scatter 32-bit numbers one to one (the finish of MurmurHash3)."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return x ^ (x >> np.uint32(16))


@cache
def purpose_hash(name: str) -> int:
    """Hash what is drawn, for the core."""
    return int(_core.hash_text([name])[0])


@dataclass(frozen=True, eq=False)
class Streams:
    """The streams of some episodes at one step.

    Called with what is drawn, such as "reward", it gives the generator for that.
    """

    seeds: Seeds
    step: int

    def __call__(self, purpose: str) -> EpisodeRandom:
        """Give the generator for what is drawn."""
        return EpisodeRandom(self.seeds, self.step, purpose)


class EpisodeRandom:
    """A generator of random numbers whose row i belongs to episode i.

    Like `numpy.random.Generator`, but every size begins with the number of episodes, and a row
    comes from its own episode's stream. Offered are `random`, `uniform`, `integers`,
    `standard_normal`, `normal`, `exponential`, `standard_gamma` and `gamma`.

    Parameters
    ----------
    seeds
        One to each episode.
    step
        Steps since they began.
    purpose
        What is drawn: different purposes are independent.
    """

    def __init__(self, seeds: Seeds, step: int, purpose: str) -> None:
        self._seeds = np.ascontiguousarray(seeds, dtype=np.uint64)
        self._step, self._purpose = step, purpose
        #: Draws of each episode so far: of its own alone, however often others had to draw.
        self._calls = np.zeros(len(self._seeds), dtype=np.uint64)

    def __len__(self) -> int:
        return len(self._seeds)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        text = (
            f"rng.{name} is not offered to episodes side by side; use random, uniform, integers, "
            "standard_normal, normal, exponential, standard_gamma or gamma"
        )
        raise NotByRow(text)

    def _draw(self, distribution: str, size: Any, shapes: Floats | None = None) -> Floats:
        shape = (size,) if is_whole(size) else tuple(size or ())
        n = len(self._seeds)
        if not shape or shape[0] != n:
            text = f"size must begin with the number of episodes, {n}, not {size!r}"
            raise NotByRow(text)
        width = int(np.prod(shape[1:], dtype=np.int64))
        rows = np.arange(n)
        return self._rows(rows, width, distribution, shapes).reshape(shape)

    def _rows(
        self, rows: NDArray[np.intp], width: int, distribution: str, shapes: Floats | None = None
    ) -> Floats:
        """Draw `width` numbers for some episodes, of shape (len(rows), width)."""
        found = _core.episode_draws(
            self._seeds[rows],
            self._calls[rows],
            self._step,
            purpose_hash(self._purpose),
            width,
            distribution,
            shapes,
        )
        self._calls[rows] += np.uint64(1)
        return found.reshape(len(rows), width)

    def at(self, elements: NDArray[np.intp], width: int) -> Elements:
        """Give a generator for some of (n, width) elements, by their flat positions in order."""
        return Elements(self, elements, width)

    def random(self, size: Any = None) -> Floats:
        """Draw uniform numbers on [0, 1)."""
        return self._draw("uniform", size)

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Floats:
        """Draw uniform numbers on [low, high)."""
        size = np.broadcast_shapes(np.shape(low), np.shape(high)) if size is None else size
        found: Floats = low + (np.asarray(high) - low) * self._draw("uniform", size)
        return found

    def integers(self, low: Any, high: Any = None, size: Any = None) -> NDArray[np.int64]:
        """Draw whole numbers from low to high - 1, or from 0 to low - 1."""
        low, high = (0, low) if high is None else (low, high)
        # What is cut off is the fraction, at 0 and above.
        found = self._draw("uniform", size) * (np.asarray(high) - low)
        whole: NDArray[np.int64] = found.astype(np.int64) + low
        return whole

    def standard_normal(self, size: Any = None) -> Floats:
        """Draw normal numbers of mean 0 and variance 1."""
        return self._draw("normal", size)

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Floats:
        """Draw normal numbers."""
        size = np.broadcast_shapes(np.shape(loc), np.shape(scale)) if size is None else size
        found: Floats = loc + scale * self._draw("normal", size)
        return found

    def exponential(self, scale: Any = 1.0, size: Any = None) -> Floats:
        """Draw exponential numbers of mean `scale`."""
        size = np.shape(scale) if size is None else size
        found: Floats = -scale * np.log1p(-self._draw("uniform", size))
        return found

    def standard_gamma(self, shape: Any, size: Any = None) -> Floats:
        """Draw gamma numbers of scale 1."""
        size = np.shape(shape) if size is None else size
        full = np.broadcast_to(np.asarray(shape, dtype=np.float64), size)
        return self._draw("gamma", size, np.ascontiguousarray(full).ravel())

    def gamma(self, shape: Any, scale: Any = 1.0, size: Any = None) -> Floats:
        """Draw gamma numbers."""
        size = np.broadcast_shapes(np.shape(shape), np.shape(scale)) if size is None else size
        found: Floats = scale * self.standard_gamma(shape, size)
        return found


class Elements:
    """Draws one number to each of some elements, whose episodes alone move on."""

    def __init__(self, rng: EpisodeRandom, elements: NDArray[np.intp], width: int) -> None:
        self._rng = rng
        self._rows, self._first, counts = np.unique(
            elements // width, return_index=True, return_counts=True
        )
        self._of = np.repeat(np.arange(len(counts)), counts)
        self._place = np.arange(len(elements)) - np.repeat(self._first, counts)
        self._width = int(counts.max(initial=0))

    def random(self, size: int) -> Floats:
        """Draw uniform numbers on [0, 1)."""
        return self._drawn("uniform")

    def standard_normal(self, size: int) -> Floats:
        """Draw normal numbers of mean 0 and variance 1."""
        return self._drawn("normal")

    def _drawn(self, distribution: str) -> Floats:
        found = self._rng._rows(self._rows, self._width, distribution)
        picked: Floats = found[self._of, self._place]
        return picked
