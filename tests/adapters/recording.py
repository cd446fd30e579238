"""How objects of other libraries are written as trees; `replay.py` reads them."""

from __future__ import annotations

import inspect

import numpy as np
import torch

#: As all of float32's digits need.
DIGITS = 9


def numbers(array):
    return [numbers(x) for x in array] if array.ndim else json_number(array[()])


def json_number(x):
    return float(f"{x:.{DIGITS}g}") if isinstance(x, np.float32) else x.item()


def node(value):
    """Write one value."""
    if isinstance(value, torch.Tensor):
        array = value.detach().cpu().numpy()
        grad = {"requires_grad": True} if value.requires_grad else {}
        return {"tensor": numbers(array), "dtype": str(array.dtype), **grad}
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        return {"array": numbers(array), "dtype": str(array.dtype)}
    if isinstance(value, np.dtype):
        return {"dtype": str(value)}
    if isinstance(value, tuple):
        return {"tuple": [node(x) for x in value]}
    if isinstance(value, dict):
        return {"dict": {key: node(x) for key, x in value.items()}}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    raise TypeError(type(value))


def signature(function):
    """Names of parameters, and which need no value."""
    found = inspect.signature(function).parameters.values()
    return [[p.name, p.kind.name, p.default is not p.empty] for p in found]


def calls(function, *given, **options):
    """What a function answers to each tuple of arguments."""
    out = []
    for args in given:
        call = {"args": [node(x) for x in args], "kwargs": {k: node(v) for k, v in options.items()}}
        try:
            answer = function(*args, **options)
            call["answer"] = answer if isinstance(answer, Tree) else node(answer)
        except NotImplementedError as error:
            call["raises"] = [type(error).__name__, str(error)]
        out.append(call)
    return Tree({"signature": signature(function), "calls": out})


class Tree(dict):
    """A value that is written already."""


def thing(value, looked_for, **written):
    """Write an object: those of its attributes that are looked for, and which it lacks."""
    missing = [name for name in looked_for if not hasattr(value, name)]
    out = {"class": type(value).__name__}
    out["bases"] = [f"{c.__module__}.{c.__name__}" for c in type(value).__mro__[:-1]]
    out["attributes"] = {
        name: written[name] if name in written else node(getattr(value, name))
        for name in looked_for
        if name not in missing
    }
    assert set(written) <= set(out["attributes"]) | {"()"}, written
    if "()" in written:
        out["call"] = written["()"]
    out["lacks"] = missing
    return Tree(out)
