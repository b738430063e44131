"""The state of an optimizer as plain numbers and arrays, and its files."""

import collections
import itertools
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import atomic, checks, modelfile, schedules
from ..typing import Array, Path
from . import around
from .bound import BUFFERS, COUNTS, Bound, ParamGroup, resolve_groups

if TYPE_CHECKING:
    from .base import Optimizer

FIELDS = {
    "optimizer",
    "step_count",
    *COUNTS,
    "missed_steps",
    "hyper_parameters",
    "options",
    "param_groups",
    "state",
}
FORMAT_VERSION = 1
_KEY = "pyfast_nn_optimizer"  # of the metadata of a file
FUNCTION = "function"  # stands for a hyper-parameter that is one


# ---------------------------------------------------------------------- snapshots

# What is kept of the parameters of an optimizer: {"counts": {...}, "groups": [{"params": keys, and
# what it has of its own}], "state": {key: {name: array}}, "values": hyper-parameters and options
# with which that came}. The arrays may be views.


def snapshot(optimizer: "Optimizer", what: str) -> dict[str, Any]:
    """Return the snapshot of an optimizer, for the method `what`."""
    values = {name: vars(optimizer)[name] for name in _names_of_values(optimizer)}
    if optimizer._bound is not None:
        return optimizer._bound.snapshot(what) | {"values": values}
    if optimizer._waiting is not None:
        return optimizer._waiting
    if optimizer._dtype is None:
        raise RuntimeError(
            f"{what}: expected an optimizer with parameters of its own or one that has trained a "
            f"model, got {type(optimizer).__name__} without; make it with params, or fit first"
        )
    return {
        "counts": {"step_count": optimizer.step_count}
        | dict.fromkeys(COUNTS, 0)
        | {"since_lookahead": None, "missed_steps": {}},
        "groups": [{"params": list(optimizer._shapes)}],
        "state": optimizer._named_vectors(),
        "values": values,
    }


def _names_of_values(optimizer: "Optimizer") -> list[str]:
    return [*optimizer._hyper_parameters(), *around.names(optimizer)]


def copied(state: dict[str, Any]) -> dict[str, Any]:
    """Return a snapshot or state dict with arrays of its own."""
    return {**state, "state": _copies(state["state"])}


def _copies(state: dict[str, dict[str, Array]]) -> dict[str, dict[str, Array]]:
    return {key: {k: array.copy() for k, array in arrays.items()} for key, arrays in state.items()}


def bind(optimizer: "Optimizer", params: dict[str, Array], snapshot: dict[str, Any]) -> Bound:
    """Return the parameters of a fit, bound as the snapshot says; TypeError, ValueError if not."""
    groups = snapshot["groups"]
    places = {key: place for place, group in enumerate(groups) for key in group["params"]}
    check_names(places, list(params), "state")
    own: list[dict[str, Any]] = [
        {k: v for k, v in group.items() if k != "params"} for group in groups
    ]
    then = object.__new__(type(optimizer))  # as it was: what has been assigned since comes last
    vars(then).update(vars(optimizer) | snapshot["values"] | {"_bound": None})
    bound = Bound(then, params, own, [places[key] for key in params])
    _resume(bound, snapshot["counts"], snapshot["state"])
    bound.hand_over(optimizer)
    return bound


def _resume(bound: Bound, counts: dict[str, Any], state: dict[str, dict[str, Array]]) -> None:
    """Go on from counts and arrays, which are copied."""
    with_gradient = [key for key, of_key in state.items() if BUFFERS["gradient"] in of_key]
    bound.set_counts(counts, bound.new_buffers(counts, with_gradient))
    bound.allocate()
    _fill(bound.named_state(), state)


# ---------------------------------------------------------------------- to plain values


def state_dict(optimizer: "Optimizer") -> dict[str, Any]:
    """See `Optimizer.state_dict`."""
    return copied(described(optimizer, "state_dict"))


def described(optimizer: "Optimizer", what: str) -> dict[str, Any]:
    """Return a state dict whose arrays are views, for the method `what`."""
    now = snapshot(optimizer, what)
    return {
        "optimizer": type(optimizer).__name__,
        **now["counts"],
        "hyper_parameters": {
            name: _plain(getattr(optimizer, name)) for name in optimizer._hyper_parameters()
        },
        "options": {name: _plain(getattr(optimizer, name)) for name in around.names(optimizer)},
        "param_groups": [
            {name: _plain(value) for name, value in group.items()} for group in now["groups"]
        ],
        "state": now["state"],
    }


def _plain(value: Any) -> Any:
    if hasattr(value, "_hyper_parameters"):  # Muon's fallback
        names = value._hyper_parameters()
        return {"optimizer": type(value).__name__} | {k: _plain(getattr(value, k)) for k in names}
    if type(value).__module__ == schedules.__name__:
        settings = {name: _plain(setting) for name, setting in value.get_config().items()}
        return {"type": type(value).__name__} | settings
    if callable(value):
        return FUNCTION
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [_plain(each) for each in value] if isinstance(value, (tuple, list)) else value


def function_in(value: Any, path: str = "") -> str | None:
    """Return where in plain values a function is meant, as ``"betas[0]"``; None if nowhere."""
    if isinstance(value, dict):
        items = [(f"{path}.{key}" if path else str(key), each) for key, each in value.items()]
    elif isinstance(value, list):
        items = [(f"{path}[{i}]", each) for i, each in enumerate(value)]
    else:
        return path if isinstance(value, str) and value == FUNCTION else None
    return next((found for inner, each in items if (found := function_in(each, inner))), None)


def _merged(value: Any, present: Any, name: str) -> Any:
    """Return what a plain value stands for, functions being those that are there."""
    if isinstance(value, dict):
        merged = {k: _merged(v, getattr(present, k, None), f"{name}.{k}") for k, v in value.items()}
        return _schedule(merged, name) if "type" in merged else merged
    if isinstance(value, (list, tuple)):
        beside = present if isinstance(present, tuple) else ()
        pairs = itertools.zip_longest(value, beside[: len(value)])
        return [_merged(v, p, f"{name}[{i}]") for i, (v, p) in enumerate(pairs)]
    if not isinstance(value, str) or value != FUNCTION:
        return value
    if not callable(present):
        raise ValueError(
            f"{name}: expected this optimizer to have a function there, as the saved one had, got "
            f"{checks.describe(present)}"
        )
    return present


def _schedule(settings: dict[str, Any], name: str) -> schedules.Schedule:
    kind = checks.choice(settings.pop("type"), f"{name}.type", schedules.__all__)
    try:
        made: schedules.Schedule = getattr(schedules, kind)(**settings)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
    return made


# ---------------------------------------------------------------------- from plain values


def load_state_dict(optimizer: "Optimizer", state: dict[str, Any]) -> None:
    """See `Optimizer.load_state_dict`."""
    bound = optimizer._bound
    if bound is not None:
        bound.check_at_rest("load_state_dict")
    check_names(state, FIELDS, "state_dict")
    if state["optimizer"] != type(optimizer).__name__:
        raise ValueError(
            f"state_dict['optimizer']: expected {type(optimizer).__name__!r}, "
            f"got {state['optimizer']!r}"
        )
    # All is made new beside what there is, and takes its place at the end.
    new = object.__new__(type(optimizer))
    vars(new).update(vars(optimizer), _bound=None)
    names = optimizer._hyper_parameters()
    saved = check_names(state["hyper_parameters"], names, "state_dict['hyper_parameters']")
    for name in names:
        setattr(new, name, _merged(saved[name], getattr(optimizer, name), name))
    names = around.names(optimizer)
    saved = check_names(state["options"], names, "state_dict['options']")
    vars(new).update({name: getattr(type(new), name).default for name in names})
    for name in names:
        setattr(new, name, saved[name])
    values = {name: vars(new)[name] for name in _names_of_values(new)}
    if bound is None:
        waiting, start = _waiting(new, state) | {"values": dict(values)}, (0, np.zeros(3))
        values |= {"_waiting": waiting, "_groups": None, "_state": {}, "_progress": start}
        if optimizer._dtype is not None:  # else the next fit finds out whether it fits
            shapes, new._groups = optimizer._shapes.items(), None
            zeros = {key: np.zeros(shape, new._dtype) for key, shape in shapes}
            flat = new._flat_state(bind(new, zeros, waiting))
            values |= {} if flat is None else {"_waiting": None} | flat
        vars(optimizer).update(values)
        return
    fresh = bound.made_again(new, _own_values(bound.groups, state["param_groups"]))
    _resume(fresh, _check_counts(new, state), state["state"])

    fresh.take_over(optimizer, bound)
    targets = [vars(optimizer), *map(vars, bound.groups)]
    sources = [{**values, "_bound": fresh}, *({"_own": own} for own in fresh.own)]
    # One call, so that Ctrl-C comes before or after it.
    collections.deque(map(dict.update, targets, sources), maxlen=0)


def check_names(values: Any, names: Collection[str], what: str) -> dict[str, Any]:
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


def _waiting(new: "Optimizer", state: dict[str, Any]) -> dict[str, Any]:
    """Return the snapshot that a state for parameters that are not known yet is."""
    saved = state["param_groups"]
    keys = keys_of(saved)
    if new._groups is None:
        groups = [ParamGroup(new, {}) for _ in saved]
        places = [place for place, values in enumerate(saved) for _ in values["params"]]
    else:
        own, places = resolve_groups(keys, new._groups)
        groups = [ParamGroup(new, each) for each in own]
    for key, place in zip(keys, places, strict=True):
        groups[place].params.append(key)
    for group, values in zip(groups, _own_values(groups, saved), strict=True):
        group._own = ParamGroup(new, values)._own  # checked
    check_names(state["state"], keys, "state")
    for key, arrays in state["state"].items():
        if not isinstance(arrays, dict):
            raise TypeError(f"state[{key!r}]: expected a dict, got {checks.describe(arrays)}")
        for name, array in arrays.items():
            _check_array(array, f"state[{key!r}][{name!r}]")
    return {
        "counts": _check_counts(new, state),
        "groups": [{"params": group.params, **group._own} for group in groups],
        "state": _copies(state["state"]),
    }


def keys_of(param_groups: Any) -> list[str]:
    """Return the keys of the parameters of all groups."""
    if not isinstance(param_groups, (list, tuple)):
        raise TypeError(f"param_groups: expected a list, got {checks.describe(param_groups)}")
    keys: list[str] = []
    for place, values in enumerate(param_groups):
        what = f"param_groups[{place}]"
        if not isinstance(values, dict):
            raise TypeError(f"{what}: expected a dict, got {checks.describe(values)}")
        params = values.get("params")
        if not isinstance(params, list) or not all(isinstance(key, str) for key in params):
            raise TypeError(
                f"{what}['params']: expected a list of keys, got {checks.describe(params)}"
            )
        keys += params
    if len(set(keys)) != len(keys):
        raise ValueError("param_groups: expected each parameter once, got one several times")
    return keys


def _own_values(groups: list[ParamGroup], saved: Any) -> list[dict[str, Any]]:
    """Return the hyper-parameters of each group's own."""
    if not isinstance(saved, (list, tuple)):
        raise TypeError(f"param_groups: expected a list, got {checks.describe(saved)}")
    if len(saved) != len(groups):
        raise ValueError(
            f"param_groups: expected {len(groups)}, as many as there are, got {len(saved)}"
        )
    keys_of(saved)
    # Parameters, and so their groups, may come in another order.
    places = {frozenset(values["params"]): place for place, values in enumerate(saved)}
    own = []
    for number, group in enumerate(groups):
        if (place := places.get(frozenset(group.params))) is None:
            raise ValueError(
                f"param_groups[{number}]['params']: expected {group.params}, "
                f"got {saved[number]['params']!r}"
            )
        what, values = f"param_groups[{place}]", saved[place]
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
    missed = state["missed_steps"]
    if not isinstance(missed, dict) or not set(missed) <= set(keys_of(state["param_groups"])):
        came = checks.describe(missed)
        raise ValueError(f"missed_steps: expected a dict of keys of parameters, got {came}")
    counts["missed_steps"] = {
        key: checks.integer(n, f"missed_steps[{key!r}]", minimum=0, maximum=counts["step_count"])
        for key, n in missed.items()
    }
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
    check_names(saved, list(arrays), "state")
    for key, of_key in arrays.items():
        what = f"state[{key!r}]"
        check_names(saved[key], list(of_key), what)
        for name, array in of_key.items():
            came = saved[key][name]
            _check_array(came, f"{what}[{name!r}]")
            if came.shape != array.shape:
                raise ValueError(
                    f"{what}[{name!r}]: expected shape {array.shape}, got {came.shape}"
                )
            if came.dtype != array.dtype:
                raise TypeError(f"{what}[{name!r}]: expected dtype {array.dtype}, got {came.dtype}")
            array[...] = came


def _check_array(value: object, what: str) -> None:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{what}: expected an array, got {checks.describe(value)}")


# ---------------------------------------------------------------------- files


def to_tensors(state: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return a state dict without its arrays, and those by their full names."""
    arrays = {
        f"{key}.{name}" if key else name: np.asarray(array, order="C")
        for key, of_key in state["state"].items()
        for name, array in of_key.items()
    }
    return {name: value for name, value in state.items() if name != "state"}, arrays


def of_tensors(
    description: dict[str, Any], arrays: dict[str, Array], keys: list[str]
) -> dict[str, Any]:
    """Return the state dict of which `to_tensors` made this."""
    state: dict[str, dict[str, Array]] = {key: {} for key in keys}
    for full_name, array in arrays.items():
        key, _, name = full_name.rpartition(".")
        state.setdefault(key, {})[name] = array
    return {**description, "state": state}


def save(optimizer: "Optimizer", path: Path) -> None:
    """See `Optimizer.save`."""
    import json

    import safetensors.numpy

    state, arrays = to_tensors(described(optimizer, "save"))
    description = json.dumps({"format_version": FORMAT_VERSION, **state})
    atomic.replace(path, safetensors.numpy.save(arrays, metadata={_KEY: description}))


def load(optimizer: "Optimizer", path: Path) -> None:
    """See `Optimizer.load`."""
    path = checks.path(path)
    with open(path, "rb") as file:  # read, not mapped: a mapped file that shrinks kills the process
        raw = file.read()
    try:
        arrays = modelfile.read_tensors(raw)
        state = modelfile.describe(
            raw, _KEY, {"format_version", *FIELDS} - {"state"}, FORMAT_VERSION
        )
        del state["format_version"]
        bound = optimizer._bound
        keys = keys_of(state["param_groups"]) if bound is None else bound.keys
        load_state_dict(optimizer, of_tensors(state, arrays, keys))
    except (TypeError, ValueError, RecursionError) as error:
        raise modelfile.ModelFileError(f"{path}: {error}") from error
