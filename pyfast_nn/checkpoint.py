"""Checkpoints: model files that hold a fit, too, which goes on from there as if nothing had been.

Beside the model and the optimizer such a file has, as ``fit``, what early stopping and the
callbacks have counted, and whether one has asked to stop; the values that early stopping has kept
are tensors, ``fit.parameters`` and ``fit.state``.
"""

import collections
from typing import Any, NamedTuple, Protocol

import numpy as np

from . import branches, checks, modelfile
from .engine import Engine
from .history import is_json
from .modelfile import ModelFileError, Part
from .optim import Optimizer, resumed
from .typing import Path

_FIELDS = {"stopping", "callbacks", "asked_to_stop"}


class Stopping(Protocol):
    """Early stopping, whose values a file can hold."""

    def state(self) -> Part:
        """Return what it has counted, and the vectors that it has kept."""

    def go_on_from(self, part: Part) -> None:
        """Go on from what `state` gave."""


class Running:
    """What a fit keeps of itself while it runs, besides its model.

    Attributes
    ----------
    optimizer : Optimizer
    stopping : Stopping
    callbacks : list
    asked_to_stop : bool
        Whether a callback has.
    """

    def __init__(self, optimizer: Optimizer, stopping: Stopping, callbacks: list[Any]) -> None:
        self.optimizer = optimizer
        self.stopping = stopping
        self.callbacks = callbacks
        self.asked_to_stop: bool = False


# ---------------------------------------------------------------------- to a file


def save(engine: Engine, path: Path) -> None:
    """Write a checkpoint of the fit that trains a model, between two epochs."""
    modelfile.save(engine, path, metadata=None, **_parts(engine))


def check(engine: Engine) -> None:
    """Raise TypeError or ValueError if no file can hold the fit that trains a model."""
    _parts(engine)


def _parts(engine: Engine) -> dict[str, Part]:
    running: Running | None = engine.running
    if running is None:
        raise RuntimeError("checkpoint: expected a model within a fit, got one without")
    stopping, arrays = running.stopping.state()
    fit = {
        "stopping": stopping,
        "callbacks": [_described(i, each) for i, each in enumerate(running.callbacks)],
        "asked_to_stop": running.asked_to_stop,
    }
    parts = {"fit": Part(fit, arrays)}
    if engine.network().n_parameters:
        parts["optimizer"] = resumed.state_beside(engine, running.optimizer, functions=True)
    return parts


def _described(i: int, callback: Any) -> dict[str, Any]:
    state = callback.state_dict() if hasattr(callback, "state_dict") else None
    if not is_json(state):
        raise ValueError(
            f"callbacks[{i}]: expected a state_dict of what JSON can hold (str, int, float, bool, "
            f"None, lists, and dicts by str), got {checks.describe(state)}"
        )
    return {"type": type(callback).__name__, "state": state}


# ---------------------------------------------------------------------- from a file


class Checkpoint(NamedTuple):
    """A checkpoint that was read, and fits a model.

    Attributes
    ----------
    path : str
    engine : Engine
        What the file holds of the model.
    optimizer, fit : Part
        What it holds of those.
    """

    path: str
    engine: Engine
    optimizer: Part
    fit: Part

    def give_model(self, engine: Engine) -> None:
        """Let a model be what it was."""
        pairs = zip(*map(branches.flattened, (engine.layers, self.engine.layers)), strict=True)
        for mine, its in pairs:
            if mine.trainable != its.trainable:
                mine.trainable = its.trainable
        engine.become(self.engine)

    def give_fit(self, engine: Engine, running: Running) -> None:
        """Let a fit go on from where it was."""
        states = _checked(self.fit, running.callbacks, self.path)
        try:
            if self.optimizer.description is not None:
                resumed.go_on_from(running.optimizer, engine, self.optimizer)
            running.stopping.go_on_from(self.fit._replace(description=states["stopping"]))
            for callback, state in zip(running.callbacks, states["callbacks"], strict=True):
                if state is not None:
                    callback.load_state_dict(state)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"resume: {self.path}: {error}") from error
        running.asked_to_stop = states["asked_to_stop"]


def read(path: Path, engine: Engine) -> Checkpoint | None:
    """Return a checkpoint of a fit of this model; None if there is no such file yet.

    ModelFileError if it is not intact or no checkpoint, ValueError if it is of another model.
    """
    path = checks.path(path, "resume")
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except FileNotFoundError:
        return None
    try:
        contents = modelfile.read(raw)
        if contents.fit.description is None:
            raise ModelFileError(
                "a model without a fit; expected a file that ModelCheckpoint wrote. To train a "
                "model further, fit what load returns"
            )
        saved = _engine_of(contents)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error.__cause__
    _check_model(path, saved, engine)
    return Checkpoint(path, saved, contents.optimizer, contents.fit)


def _engine_of(contents: modelfile.Contents) -> Engine:
    description = contents.description
    try:
        dtype = checks.choice(description["dtype"], "dtype", ("float32", "float64"))
        seed = checks.integer(description["seed"], "seed", minimum=0, maximum=2**64 - 1)
        engine = Engine(branches.from_config(description["layers"]), np.dtype(dtype), seed)
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelFileError(f"its description is not valid: {error}") from error
    modelfile.fill(engine, contents)
    return engine


def _check_model(path: str, saved: Engine, engine: Engine) -> None:
    expected, came = (_without_flags(branches.to_config(e.layers)) for e in (engine, saved))
    if came != expected:
        raise ValueError(
            f"resume: expected a checkpoint of this model's layers, {list(engine.layers)}, got "
            f"{path} of {list(saved.layers)}"
        )
    numbers: dict[str, tuple[Any, Any]] = {"dtype": (engine.dtype, saved.dtype)}
    if engine.built:
        numbers["in_features"], numbers["in_shape"] = (
            (engine.network().in_features, saved.network().in_features),
            (engine.in_shape, saved.in_shape),
        )
    for what, (mine, its) in numbers.items():
        if mine != its:
            raise ValueError(
                f"resume: expected a checkpoint of this model, whose {what} is {mine}, got {path} "
                f"with {its}"
            )


def _without_flags(config: Any) -> Any:
    """Return what describes layers without `trainable`, which may change in a fit."""
    if isinstance(config, (list, tuple)):
        return [_without_flags(each) for each in config]
    if isinstance(config, dict):
        return {k: _without_flags(v) for k, v in config.items() if k != "trainable"}
    return config


def _checked(fit: Part, callbacks: list[Any], path: str) -> dict[str, Any]:
    """Return what a file holds of a fit, with a state, or None, for each of the callbacks."""
    description = fit.description
    try:
        if description is None or set(description) != _FIELDS:
            raise TypeError(f"fit: expected a dict of {', '.join(sorted(_FIELDS))}")
        checks.boolean(description["asked_to_stop"], "asked_to_stop")
        states: dict[str, list[Any]] = collections.defaultdict(list)
        for each in description["callbacks"]:
            states[each["type"]].append(each["state"])
    except (TypeError, KeyError) as error:
        raise ModelFileError(f"{path}: its fit is not valid: {error}") from error
    given = []
    for callback in callbacks:
        of_kind = states[type(callback).__name__]
        given.append(of_kind.pop(0) if of_kind else None)
    for kind, of_kind in states.items():
        if any(state is not None for state in of_kind):
            raise ValueError(
                f"callbacks: expected a {kind} as in the run of {path}, which has the state of "
                "one; got none"
            )
    return description | {"callbacks": given}
