"""Objects as they were recorded by tests/adapters/record.py: they have and answer that alone."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import numpy as np
from counterfolio import adapters

FOLDER = Path(__file__).parent / "adapters"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


class Tensor:
    """What a tensor of torch does that an adapter may need, and no more."""

    def __init__(self, array, requires_grad=False):
        self.array, self.requires_grad = array, requires_grad

    def detach(self):
        return Tensor(self.array)

    def cpu(self):
        return self

    def numpy(self):
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        return self.array

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("a tensor may be on another device")


class Thing:
    """An object with the attributes that were recorded."""

    def __init__(self, lacks):
        self._lacks = lacks

    def __getattr__(self, name):
        if name in self._lacks or name.startswith("__"):
            raise AttributeError(f"{type(self).__name__} has no attribute {name}")
        raise AssertionError(f"whether {type(self).__name__} has {name} was not recorded")


class Calls:
    """A function that answers the calls that were recorded."""

    def __init__(self, calls, parameters):
        self.calls = calls
        self.__signature__ = inspect.Signature(
            [
                inspect.Parameter(
                    name,
                    getattr(inspect.Parameter, kind),
                    default=None if optional else inspect.Parameter.empty,
                )
                for name, kind, optional in parameters
            ]
        )

    def __call__(self, *args, **kwargs):
        for call in self.calls:
            wanted, options = [read(x) for x in call["args"]], call["kwargs"]
            if len(args) == len(wanted) and kwargs.keys() == options.keys():
                pairs = [*zip(args, wanted, strict=True)]
                pairs += [(kwargs[key], read(options[key])) for key in options]
                if all(same(*pair) for pair in pairs):
                    if "raises" in call:
                        kind, text = call["raises"]
                        raise {"NotImplementedError": NotImplementedError}[kind](text)
                    return read(call["answer"])
        raise AssertionError(f"no such call was recorded: {args} {kwargs}")


def same(given, wanted):
    """Whether two values are the same, type and shape included."""
    if isinstance(wanted, Tensor):
        return isinstance(given, Tensor) and same(given.array, wanted.array)
    if isinstance(wanted, np.ndarray):
        alike = isinstance(given, np.ndarray) and given.dtype == wanted.dtype
        return alike and np.array_equal(given, wanted)
    return type(given) is type(wanted) and given == wanted


def read(tree):
    """Make what a node says."""
    if "class" in tree:
        made = type(tree["class"], (Thing,), {})
        if "call" in tree:
            answers = read(tree["call"])
            made.__call__ = lambda self, *args, **kwargs: answers(*args, **kwargs)
        out = made(tree["lacks"])
        for name, node in tree["attributes"].items():
            setattr(out, name, read(node))
        return out
    if "calls" in tree:
        return Calls(tree["calls"], tree["signature"])
    if "tensor" in tree:
        array = np.array(tree["tensor"], tree["dtype"])
        return Tensor(array, tree.get("requires_grad", False))
    if "array" in tree:
        return np.array(tree["array"], tree["dtype"])
    if "tuple" in tree:
        return tuple(read(x) for x in tree["tuple"])
    if "dict" in tree:
        return {key: read(x) for key, x in tree["dict"].items()}
    return np.dtype(tree["dtype"]) if "dtype" in tree else tree["value"]


class Recording:
    """One file: the model, the states it was asked about, what the library says of them."""

    def __init__(self, name):
        self.tree = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
        self.model = read(self.tree["object"])
        if "states" in self.tree:
            states = read(self.tree["states"])
            #: As a log hands them over.
            self.states = np.float64(states).reshape(len(states), -1)

    def expected(self, name):
        return array(read(self.tree["expected"][name]))

    def draws(self):
        """Actions that the library drew, with what it says of each."""
        return [{k: array(read(x)) for k, x in d.items()} for d in self.tree["expected"]["draws"]]

    def greedy(self):
        """The actions of `predict`."""
        policy = self.tree["object"]["attributes"].get("policy", self.tree["object"])
        (call,) = policy["attributes"]["predict"]["calls"]
        answer = read(call["answer"])
        return answer[0] if isinstance(answer, tuple) else answer


def array(value):
    """What a tensor holds, or the array itself."""
    return value.array if isinstance(value, Tensor) else value


def made(recording, **options):
    """The policy of a recording, whichever library it is of."""
    if "d3rlpy" in recording.tree["versions"]:
        return adapters.from_d3rlpy(recording.model, **options)
    return adapters.from_stable_baselines3(recording.model, **options)
