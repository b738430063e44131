"""The state of an optimizer as plain numbers and arrays, and its files."""

import collections
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import atomic, checks, modelfile
from ..typing import Array, Path
from . import around
from .bound import COUNTS, Bound

if TYPE_CHECKING:
    from .base import Optimizer

_FIELDS = {
    "optimizer",
    "step_count",
    *COUNTS,
    "hyper_parameters",
    "options",
    "param_groups",
    "state",
}
FORMAT_VERSION = 1
_KEY = "pyfast_nn_optimizer"  # of the metadata of a file
FUNCTION = "function"  # stands for a hyper-parameter that is one


# ---------------------------------------------------------------------- to plain values


def state_dict(optimizer: "Optimizer") -> dict[str, Any]:
    """See `Optimizer.state_dict`."""
    bound = optimizer._own("state_dict")
    bound.check_at_rest("state_dict")
    bound.allocate()
    return {
        "optimizer": type(optimizer).__name__,
        **bound.counts(),
        "hyper_parameters": {
            name: _plain(getattr(optimizer, name)) for name in optimizer._hyper_parameters()
        },
        "options": {name: _plain(getattr(optimizer, name)) for name in around.names(optimizer)},
        "param_groups": [
            {"params": list(group.params)} | {k: _plain(v) for k, v in group._own.items()}
            for group in bound.groups
        ],
        "state": {
            key: {name: array.copy() for name, array in arrays.items()}
            for key, arrays in bound.named_state().items()
        },
    }


def _plain(value: Any) -> Any:
    if hasattr(value, "_hyper_parameters"):  # Muon's fallback
        names = value._hyper_parameters()
        return {"optimizer": type(value).__name__} | {k: _plain(getattr(value, k)) for k in names}
    if callable(value):
        return FUNCTION
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _merged(value: Any, present: Any, name: str) -> Any:
    """Return what a plain value stands for, functions being those that are there."""
    if isinstance(value, dict):
        return {k: _merged(v, getattr(present, k, None), f"{name}.{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple)) and isinstance(present, tuple):
        if len(value) != len(present):
            return value  # for the check of the hyper-parameter
        return tuple(
            _merged(v, p, f"{name}[{i}]")
            for i, (v, p) in enumerate(zip(value, present, strict=True))
        )
    if not isinstance(value, str) or value != FUNCTION:
        return value
    if not callable(present):
        raise ValueError(
            f"{name}: expected this optimizer to have a function there, as the saved one had, got "
            f"{checks.describe(present)}"
        )
    return present


# ---------------------------------------------------------------------- from plain values


def load_state_dict(optimizer: "Optimizer", state: dict[str, Any]) -> None:
    """See `Optimizer.load_state_dict`."""
    bound = optimizer._own("load_state_dict")
    bound.check_at_rest("load_state_dict")
    _check_names(state, _FIELDS, "state_dict")
    if state["optimizer"] != type(optimizer).__name__:
        raise ValueError(
            f"state_dict['optimizer']: expected {type(optimizer).__name__!r}, "
            f"got {state['optimizer']!r}"
        )
    # All is made new beside what there is, and takes its place at the end.
    new = object.__new__(type(optimizer))
    vars(new).update(vars(optimizer), _bound=None)
    names = optimizer._hyper_parameters()
    saved = _check_names(state["hyper_parameters"], names, "state_dict['hyper_parameters']")
    for name in names:
        setattr(new, name, _merged(saved[name], getattr(optimizer, name), name))
    names = around.names(optimizer)
    saved = _check_names(state["options"], names, "state_dict['options']")
    vars(new).update({name: getattr(type(new), name).default for name in names})
    for name in names:
        setattr(new, name, saved[name])
    fresh = bound.made_again(new, _own_values(bound, state["param_groups"]))
    counts = _check_counts(new, state)
    buffers = fresh.new_buffers(counts)
    fresh.set_counts(counts, buffers)
    fresh.allocate()
    _fill(fresh.named_state(), state["state"])

    fresh.take_over(optimizer, bound)
    targets = [vars(optimizer), *map(vars, bound.groups)]
    values = {k: v for k, v in vars(new).items() if k in [*new._hyper_parameters(), *names]}
    sources = [{**values, "_bound": fresh}, *({"_own": own} for own in fresh.own)]
    # One call, so that Ctrl-C comes before or after it.
    collections.deque(map(dict.update, targets, sources), maxlen=0)


def _check_names(values: Any, names: Collection[str], what: str) -> dict[str, Any]:
    """Return `values`, a dict with exactly these names."""
    if not isinstance(values, dict):
        raise TypeError(f"{what}: expected a dict, got {checks.describe(values)}")
    for name in names:
        if name not in values:
            raise ValueError(f"{what}[{name!r}]: expected a value, got none")
    for name in values:
        if name not in names:
            raise ValueError(f"{what}[{name!r}]: expected nothing of this name")
    return values


def _own_values(bound: Bound, saved: Any) -> list[dict[str, Any]]:
    """Return the hyper-parameters of each group's own."""
    if not isinstance(saved, (list, tuple)):
        raise TypeError(f"param_groups: expected a list, got {checks.describe(saved)}")
    if len(saved) != len(bound.groups):
        raise ValueError(
            f"param_groups: expected {len(bound.groups)}, as many as there are, got {len(saved)}"
        )
    own = []
    for place, (values, group) in enumerate(zip(saved, bound.groups, strict=True)):
        what = f"param_groups[{place}]"
        if not isinstance(values, dict):
            raise TypeError(f"{what}: expected a dict, got {checks.describe(values)}")
        if values.get("params") != group.params:
            raise ValueError(
                f"{what}['params']: expected {group.params}, got {values.get('params')!r}"
            )
        for name in values:
            if name != "params" and name not in group:
                raise ValueError(f"{what}[{name!r}]: expected nothing of this name")
        own.append(
            {
                name: _merged(value, group[name], f"{what}[{name!r}]")
                for name, value in values.items()
                if name != "params"
            }
        )
    return own


def _check_counts(optimizer: "Optimizer", state: dict[str, Any]) -> dict[str, Any]:
    most = 2**62
    counts: dict[str, Any] = {
        name: checks.integer(state[name], name, minimum=0, maximum=most)
        for name in ("step_count", *COUNTS)
        if name != "since_lookahead" or state[name] is not None
    }
    counts.setdefault("since_lookahead", None)
    for name, options, none in [
        ("averaged", ("ema", "swa"), 0),
        ("since_lookahead", ("lookahead",), None),
    ]:
        if counts[name] != none and all(getattr(optimizer, o) is None for o in options):
            raise ValueError(
                f"{name}: expected {none} without {' or '.join(options)}, got {counts[name]}"
            )
    return counts


def _fill(arrays: dict[str, dict[str, Array]], saved: Any) -> None:
    """Copy the saved arrays into `arrays`, {key: {name: array}}."""
    _check_names(saved, list(arrays), "state")
    for key, of_key in arrays.items():
        what = f"state[{key!r}]"
        _check_names(saved[key], list(of_key), what)
        for name, array in of_key.items():
            came = saved[key][name]
            if not isinstance(came, np.ndarray):
                raise TypeError(f"{what}[{name!r}]: expected an array, got {checks.describe(came)}")
            if came.shape != array.shape:
                raise ValueError(
                    f"{what}[{name!r}]: expected shape {array.shape}, got {came.shape}"
                )
            if came.dtype != array.dtype:
                raise TypeError(f"{what}[{name!r}]: expected dtype {array.dtype}, got {came.dtype}")
            array[...] = came


# ---------------------------------------------------------------------- files


def save(optimizer: "Optimizer", path: Path) -> None:
    """See `Optimizer.save`."""
    import json

    import safetensors.numpy

    state = state_dict(optimizer)
    arrays = {
        f"{key}.{name}" if key else name: np.array(array, order="C")
        for key, of_key in state.pop("state").items()
        for name, array in of_key.items()
    }
    description = json.dumps({"format_version": FORMAT_VERSION, **state})
    atomic.replace(path, safetensors.numpy.save(arrays, metadata={_KEY: description}))


def load(optimizer: "Optimizer", path: Path) -> None:
    """See `Optimizer.load`."""
    keys = optimizer._own("load").keys
    path = checks.path(path)
    with open(path, "rb") as file:  # read, not mapped: a mapped file that shrinks kills the process
        raw = file.read()
    try:
        arrays = modelfile.read_tensors(raw)
        state = modelfile.describe(
            raw, _KEY, {"format_version", *_FIELDS} - {"state"}, FORMAT_VERSION
        )
        del state["format_version"]
        state["state"] = {key: {} for key in keys}
        for full_name, array in arrays.items():
            key, _, name = full_name.rpartition(".")
            state["state"].setdefault(key, {})[name] = array
        load_state_dict(optimizer, state)
    except (TypeError, ValueError, RecursionError) as error:
        raise modelfile.ModelFileError(f"{path}: {error}") from error
