"""Models of stable-baselines3 2 as policies."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.adapters.models import (
    as_array,
    check_shape,
    kind_of,
    labels_of,
    observations,
    refuse_option,
    require,
)
from counterfolio.exceptions import InvalidArgumentError, InvalidPolicyError
from counterfolio.policies.continuous import DeterministicAction, Gaussian
from counterfolio.policies.discrete import Deterministic
from counterfolio.policies.head import codes_of, one_hot
from counterfolio.policies.probabilities import Probabilities
from counterfolio.policies.squashed import SquashedGaussian

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    Transform: TypeAlias = Callable[[Any], Any] | None
    Made: TypeAlias = (
        Probabilities | Deterministic | Gaussian | SquashedGaussian | DeterministicAction
    )

LIBRARY = "stable-baselines3"
#: What a model's policy is known by.
NAMES = ("predict", "obs_to_tensor", "set_training_mode", "observation_space", "action_space")


def from_stable_baselines3(
    model: Any,
    *,
    deterministic: bool = False,
    actions: Sequence[Any] | None = None,
    kernel: Any = None,
    transform: Transform = None,
) -> Made:
    """Make a policy of a trained model of stable-baselines3 2.

    What it becomes depends on what the model has:

    - `policy.get_distribution` (PPO, A2C): `Probabilities`, or a `Gaussian` with the model's own
      standard deviation. The library clips the latter's actions to the bounds when it executes
      them: log them unclipped, or the density at a bound is wrong.
    - `policy.actor.get_action_dist_params` (SAC, TQC, CrossQ): a `SquashedGaussian` between the
      bounds of the actions.
    - `policy.q_net` (DQN): `Deterministic`, the action of the highest value. What it explored with
      while it was trained is not part of it: `EpsilonGreedy(adapters.q_values(model), 0.05)`.
    - `policy.actor` (TD3, DDPG): `DeterministicAction`, without the noise of training.

    Parameters
    ----------
    model
        Trained or loaded; or its `policy` alone.
    deterministic
        Take the action of `predict(states, deterministic=True)`, always. This works for every
        model that needs nothing but a state.
    actions
        Labels in the log of the model's actions 0 to K - 1. Default: these numbers.
    kernel
        `policies.Kernel`, for importance weights of deterministic continuous actions.
    transform
        What was done to states before the model saw them, such as the `normalize_obs` of a
        `VecNormalize`. Default: nothing.

    Returns
    -------
    Probabilities, Deterministic, Gaussian, SquashedGaussian or DeterministicAction

    Raises
    ------
    InvalidPolicyError
        If the interface is not one of these; if the policy needs masks or the states of a recurrent
        network; if its noise is drawn for several steps (gSDE); if its environment normalizes
        observations and `transform` is not given.
    InvalidArgumentError
        If an option is for actions of the other kind.
    """
    policy = _policy_of(model)
    has_distribution = hasattr(policy, "get_distribution")
    if has_distribution:
        _check_inputs(policy)
    size = n_actions(policy)
    if size is not None:
        refuse_option(model, "kernel", kernel, "continuous")
        labels = labels_of(model, actions, size)
        if deterministic:
            return Deterministic(Best(model, transform), labels)
        if has_distribution:
            return Probabilities(ActionProbs(model, transform), labels)
        if hasattr(policy, "q_net"):
            return Deterministic(NetworkValues(model, transform), labels)
        raise _unknown(policy, "get_distribution, q_net")
    refuse_option(model, "actions", actions, "discrete")
    actor = getattr(policy, "actor", None)
    known = has_distribution or hasattr(actor, "get_action_dist_params")
    if deterministic or (actor is not None and not known):
        return DeterministicAction(Best(model, transform), kernel)
    refuse_option(model, "kernel", kernel, "deterministic")
    if not known:
        raise _unknown(policy, "get_distribution, actor.get_action_dist_params, actor")
    if getattr(policy if has_distribution else actor, "use_sde", False):
        text = (
            f"{kind_of(policy)} explores by gSDE: its noise is drawn once for several steps, and a "
            "step has no density of its own; pass deterministic=True"
        )
        raise InvalidPolicyError(text)
    if has_distribution:
        return Gaussian(*(NormalPart(model, transform, x) for x in ("mean", "stddev")))
    mean, std = (ActorPart(model, transform, x) for x in ("mean", "stddev"))
    low, high = (
        np.asarray(x, dtype=np.float64).reshape(-1)
        for x in (policy.action_space.low, policy.action_space.high)
    )
    return SquashedGaussian(mean, std, low, high)


@dataclass(frozen=True, eq=False)
class Network:
    """What the functions below share: a model that is asked about states."""

    model: Any
    transform: Transform = None

    def __post_init__(self) -> None:
        check_shape(self.policy, self.policy.observation_space.shape)
        _check_transform(self.model, self.transform)

    @property
    def policy(self) -> Any:
        """The networks, and how they are asked."""
        return _policy_of(self.model)

    def _observed(self, states: Any) -> NDArray[Any]:
        """Bring states to the shape and type of the model's observations."""
        policy = self.policy
        given = states if self.transform is None else self.transform(states)
        space = policy.observation_space
        return observations(policy, given, check_shape(policy, space.shape), space.dtype)

    def _tensor(self, states: Any) -> Any:
        """Bring states to what the networks take, and these out of the mode of training."""
        policy = self.policy
        # What depends on the mode are layers such as dropout; predict does the same.
        policy.set_training_mode(False)
        return policy.obs_to_tensor(self._observed(states))[0]


@dataclass(frozen=True, eq=False)
class ActionProbs(Network):
    """states -> pi(.|s) of an actor over discrete actions, of shape (n, K)."""

    def __call__(self, states: Any) -> NDArray[np.float64]:
        """Return the probabilities that the model itself would draw by."""
        found = self.policy.get_distribution(self._tensor(states)).distribution.probs
        return as_array(found).astype(np.float64)


@dataclass(frozen=True, eq=False)
class NetworkValues(Network):
    """states -> Q(s, .) of a network of values, of shape (n, K)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if n_actions(self.policy) is None:
            raise _unknown(self.policy, "an action_space of numbered actions")

    def __call__(self, states: Any) -> NDArray[np.float64]:
        """Return what the network says."""
        return as_array(self.policy.q_net(self._tensor(states))).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Best(Network):
    """What `predict` does: states -> 1 for its action and 0 for others, or its action."""

    def __call__(self, states: Any) -> NDArray[np.float64]:
        """Return an array of shape (n, K), or (n, d) where actions are continuous."""
        policy = self.policy
        seen = self._observed(states)
        found = as_array(policy.predict(seen, deterministic=True)[0])
        size = n_actions(policy)
        if size is None:
            return found.reshape(len(seen), -1).astype(np.float64)
        codes = codes_of(f"{kind_of(policy)}: predict returned", found, None, len(seen), size)
        return one_hot(codes, size)


@dataclass(frozen=True, eq=False)
class NormalPart(Network):
    """states -> means or standard deviations of an actor's normal distribution, (n, d)."""

    #: "mean" or "stddev".
    part: str = "mean"

    def __call__(self, states: Any) -> NDArray[np.float64]:
        """Return them in units of actions."""
        normal = self.policy.get_distribution(self._tensor(states)).distribution
        return as_array(getattr(normal, self.part)).astype(np.float64)


@dataclass(frozen=True, eq=False)
class ActorPart(Network):
    """states -> means or standard deviations before squashing, of shape (n, d)."""

    #: "mean" or "stddev".
    part: str = "mean"

    def __call__(self, states: Any) -> NDArray[np.float64]:
        """Return them in units of the network's last layer."""
        mean, log_std, _ = self.policy.actor.get_action_dist_params(self._tensor(states))
        if self.part == "mean":
            return as_array(mean).astype(np.float64)
        return np.exp(as_array(log_std).astype(np.float64))


def n_actions(policy: Any) -> int | None:
    """Say how many actions there are, or None if they are vectors.

    Raises
    ------
    InvalidPolicyError
        If they are neither.
    """
    space = policy.action_space
    if hasattr(space, "low") and hasattr(space, "high"):
        return None
    # Sets of switches (MultiBinary) have n too, but each action is then several numbers.
    if hasattr(space, "n") and tuple(space.shape) == ():
        return int(space.n)
    text = (
        f"{kind_of(policy)} acts in {space}: each action is several choices; number the "
        "combinations, and give their probabilities as a function to Probabilities"
    )
    raise InvalidPolicyError(text)


def _policy_of(model: Any) -> Any:
    """Take a model's policy; a policy is one itself."""
    policy = getattr(model, "policy", model)
    require(policy, NAMES, LIBRARY)
    return policy


def _check_transform(model: Any, transform: object) -> None:
    """Raise where observations were normalized on their way to the model, and nothing is said."""
    if transform is not None:
        if not callable(transform):
            text = f"transform must be a callable that takes states, not {transform!r}"
            raise InvalidArgumentError(text)
        return
    wrapper = model.get_vec_normalize_env() if hasattr(model, "get_vec_normalize_env") else None
    if wrapper is not None and wrapper.norm_obs:
        text = (
            f"{kind_of(model)} was trained on observations that a VecNormalize normalized; pass "
            "transform=model.get_vec_normalize_env().normalize_obs, or transform=lambda x: x if "
            "the log's states are normalized already"
        )
        raise InvalidPolicyError(text)


def _check_inputs(policy: Any) -> None:
    """Raise unless a policy needs nothing but a state."""
    wanted = list(inspect.signature(policy.get_distribution).parameters)
    if len(wanted) != 1:
        text = (
            f"{kind_of(policy)}: get_distribution takes {', '.join(wanted)}, but a log has states "
            "alone; give its probabilities as a function to Probabilities or Gaussian"
        )
        raise InvalidPolicyError(text)


def _unknown(policy: Any, looked_for: str) -> InvalidPolicyError:
    """Say what was looked for."""
    text = (
        f"{kind_of(policy)} is no policy of {LIBRARY} that is known; looked for: {looked_for}; "
        "deterministic=True takes the action of predict"
    )
    return InvalidPolicyError(text)
