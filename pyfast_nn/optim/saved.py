"""The state of an optimizer as plain numbers and arrays, and its files."""

import itertools
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from .. import atomic, checks, modelfile, schedules
from ..typing import Array, Path
from . import rule as rules
from .bound import BUFFERS, COUNTS, Bound, ParamGroup, Snapshot, own_of, resolve_groups
from .rule import Rule

FIELDS = {
    "optimizer",
    "step_count",
    "epoch_count",
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


def copied(now: Snapshot) -> Snapshot:
    """Return a snapshot with arrays of its own."""
    if not now.vectors:
        return now._replace(state=_copies(now.state))
    vectors, state, first = {k: vector.copy() for k, vector in now.vectors.items()}, {}, 0
    for key, arrays in now.state.items():
        size = next(iter(arrays.values())).size
        part = slice(first, first + size)
        state[key] = {k: vectors[k][part].reshape(array.shape) for k, array in arrays.items()}
        first += size
    return now._replace(vectors=vectors, state=state)


def _copies(state: dict[str, dict[str, Array]]) -> dict[str, dict[str, Array]]:
    return {key: {k: array.copy() for k, array in arrays.items()} for key, arrays in state.items()}


def bind(then: Rule, params: dict[str, Array], flat: Array | None, now: Snapshot) -> Bound:
    """Return the parameters of a fit, bound as the snapshot says; TypeError, ValueError if not.

    `then` is the optimizer as it was.
    """
    places = {key: place for place, group in enumerate(now.groups) for key in group["params"]}
    check_names(places, list(params), "state")
    own = [{k: v for k, v in group.items() if k != "params"} for group in now.groups]
    bound = Bound(then, params, own, [places[key] for key in params], flat=flat)
    resume(bound, now.counts, now.state)
    return bound


def rebound(then: Rule, bound: Bound, params: dict[str, Array], flat: Array, groups: Any) -> Bound:
    """Return other parameters of the same fit, with what is kept of those that were there before.

    New ones begin now, as if all steps so far had been without them. `groups` says in which group;
    those of a file or a copy, where nobody does, go where nothing differs from the optimizer.
    """
    now = bound.snapshot("fit")
    of_now = {key: place for place, group in enumerate(now.groups) for key in group["params"]}
    given = [{k: v for k, v in group.items() if k != "params"} for group in now.groups]
    if groups is None:
        own = given if {} in given or len(given) == 1 else [*given, {}]
        fallback = 0 if len(own) == 1 else own.index({})
        places = [of_now.get(key, fallback) for key in params]
    else:
        own, places = resolve_groups(list(params), groups)
        for key, place in zip(params, places, strict=True):
            if key in of_now:  # with what has been assigned since
                own[place] = given[of_now[key]]
    fresh = Bound(then, params, own, places, flat=flat)
    missed = {key: now.counts["step_count"] for key in params if key not in now.state}
    missed |= {key: n for key, n in now.counts["missed_steps"].items() if key in params}
    counts = now.counts | {"missed_steps": missed}
    with_gradient = [key for key, of_key in now.state.items() if BUFFERS["gradient"] in of_key]
    fresh.set_counts(counts, fresh.new_buffers(counts, with_gradient))
    fresh.allocate()
    for key, of_key in fresh.named_state().items():
        for name, array in of_key.items():
            if key in now.state:
                array[...] = now.state[key][name]
            elif name in (BUFFERS["average"], BUFFERS["slow"]):
                array[...] = params[key]
    return fresh


def resume(bound: Bound, counts: dict[str, Any], state: dict[str, dict[str, Array]]) -> None:
    """Go on from counts and arrays, which are copied."""
    with_gradient = [key for key, of_key in state.items() if BUFFERS["gradient"] in of_key]
    bound.set_counts(counts, bound.new_buffers(counts, with_gradient))
    bound.allocate()
    _fill(bound.named_state(), state)


# ---------------------------------------------------------------------- to plain values


def described(rule: Rule, now: Snapshot) -> dict[str, Any]:
    """Return a state dict whose arrays are those of the snapshot."""
    return {
        "optimizer": type(rule).__name__,
        **now.counts,
        "hyper_parameters": {
            name: _plain(getattr(rule, name)) for name in rules.hyper_parameters(rule)
        },
        "options": {name: _plain(getattr(rule, name)) for name in rules.options(rule)},
        "param_groups": [
            {name: _plain(value) for name, value in group.items()} for group in now.groups
        ],
        "state": now.state,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Rule):  # Muon's fallback
        names = rules.hyper_parameters(value)
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


def set_values(new: Rule, state: dict[str, Any], present: Rule) -> None:
    """Give `new` the hyper-parameters and options of a state dict; functions are those present."""
    check_names(state, FIELDS, "state_dict")
    if state["optimizer"] != type(new).__name__:
        raise ValueError(
            f"state_dict['optimizer']: expected {type(new).__name__!r}, got {state['optimizer']!r}"
        )
    names = rules.hyper_parameters(new)
    saved = check_names(state["hyper_parameters"], names, "state_dict['hyper_parameters']")
    for name in names:
        setattr(new, name, _merged(saved[name], getattr(present, name), name))
    names = rules.options(new)
    saved = check_names(state["options"], names, "state_dict['options']")
    vars(new).update({name: getattr(type(new), name).default for name in names})
    for name in names:
        setattr(new, name, saved[name])


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


def snapshot(
    new: Rule, groups_of: Callable[[str], dict[str, Any]] | None, state: dict[str, Any]
) -> Snapshot:
    """Return the snapshot that a state dict for parameters that are not known yet is.

    With the values of `new`, and `groups_of` a key, if the user gave that.
    """
    saved = state["param_groups"]
    keys = keys_of(saved)
    if groups_of is None:
        groups = [ParamGroup(new, {}) for _ in saved]
        places = [place for place, values in enumerate(saved) for _ in values["params"]]
    else:
        own, places = resolve_groups(keys, groups_of)
        groups = [ParamGroup(new, each) for each in own]
    for key, place in zip(keys, places, strict=True):
        groups[place].params.append(key)
    checked = [own_of(ParamGroup(new, each)) for each in own_values(groups, saved)]
    check_names(state["state"], keys, "state")
    for key, arrays in state["state"].items():
        if not isinstance(arrays, dict):
            raise TypeError(f"state[{key!r}]: expected a dict, got {checks.describe(arrays)}")
        for name, array in arrays.items():
            _check_array(array, f"state[{key!r}][{name!r}]")
    return Snapshot(
        check_counts(new, state),
        [{"params": group.params, **own} for group, own in zip(groups, checked, strict=True)],
        _copies(state["state"]),
        {name: vars(new)[name] for name in (*rules.hyper_parameters(new), *rules.options(new))},
        {},
    )


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


def own_values(groups: list[ParamGroup], saved: Any) -> list[dict[str, Any]]:
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


def check_counts(rule: Rule, state: dict[str, Any]) -> dict[str, Any]:
    most = 2**62
    counts: dict[str, Any] = {
        name: checks.integer(state[name], name, minimum=0, maximum=most)
        for name in ("step_count", "epoch_count", *COUNTS)
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
        if counts[name] != none and all(getattr(rule, o) is None for o in options):
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


def save(state: dict[str, Any], path: Path) -> None:
    """Write a state dict to a file."""
    import json

    import safetensors.numpy

    state, arrays = to_tensors(state)
    description = json.dumps({"format_version": FORMAT_VERSION, **state})
    atomic.replace(path, safetensors.numpy.save(arrays, metadata={_KEY: description}))


def load(path: Path, keys: list[str] | None, take: Callable[[dict[str, Any]], None]) -> None:
    """Let `take` have the state dict of a file, for parameters of these keys; None: of any."""
    path = checks.path(path)
    with open(path, "rb") as file:  # read, not mapped: a mapped file that shrinks kills the process
        raw = file.read()
    try:
        arrays = modelfile.read_tensors(raw)
        state = modelfile.describe(
            raw, _KEY, {"format_version", *FIELDS} - {"state"}, FORMAT_VERSION
        )
        del state["format_version"]
        take(of_tensors(state, arrays, keys_of(state["param_groups"]) if keys is None else keys))
    except (TypeError, ValueError, RecursionError) as error:
        raise modelfile.ModelFileError(f"{path}: {error}") from error
