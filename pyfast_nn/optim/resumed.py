"""The optimizer of a fit in the file of its model."""

import copy
from typing import Any

from .. import checks
from ..engine import Engine
from ..guidance import is_ours
from ..modelfile import Part
from ..typing import Array
from . import saved
from .base import Optimizer, attach, described, find, go_on, has_groups, trains
from .bound import Snapshot


def settings_of(optimizer: Optimizer) -> dict[str, Any]:
    """Return an optimizer without its state as plain values."""
    name, of_none = type(optimizer).__name__, Snapshot({}, [], {}, {}, {})
    if find(name) is not type(optimizer):
        raise TypeError(f"optimizer: expected one of pyfast_nn.optim, got another class {name}")
    settings = saved.described(optimizer, of_none)
    path = saved.function_in(settings["hyper_parameters"])
    if path is not None or has_groups(optimizer):
        what = "groups" if path is None else path
        raise ValueError(
            f"optimizer: expected settings that a file can hold, got {what} that is a function"
        )
    return {name: settings[name] for name in ("optimizer", "hyper_parameters", "options")}


def made_of(settings: dict[str, Any]) -> Optimizer:
    """Return the optimizer that `settings_of` described; TypeError or ValueError if it did not."""
    optimizer = find(settings["optimizer"], "optimizer")()
    saved.set_values(optimizer, dict.fromkeys(saved.FIELDS) | settings, optimizer)
    return optimizer


def state_beside(engine: Engine, optimizer: Any, functions: bool = False) -> Part:
    """Return the state of an optimizer that trains, or may train, a model.

    With `functions`, hyper-parameters may be functions of the user's, of which it has only where
    they stand.
    """
    if not isinstance(optimizer, Optimizer):
        came = checks.describe(optimizer)
        raise TypeError(f"optimizer: expected the optimizer of the fit, got {came}")
    name = type(optimizer).__name__
    if not engine.network().n_parameters:
        raise ValueError(f"optimizer: expected None, as the model has no parameters, got {name}")
    if not is_ours(type(optimizer)):
        raise TypeError(f"optimizer: expected one of pyfast_nn.optim, got another class {name}")
    if not trains(optimizer, engine):
        optimizer = copy.copy(optimizer)  # for it stays as it is
        attach(optimizer, engine)
    state, arrays = saved.to_tensors(described(optimizer, "save"))
    path = function_beside(state)
    if path is not None and not functions:
        raise ValueError(
            f"optimizer: expected hyper-parameters that a file can hold, got {path} that is a "
            "function; make it of pyfast_nn.schedules or an array, or save the optimizer by "
            "itself and load that into one made with the same function"
        )
    return Part(state, arrays)


def function_beside(description: Any) -> str | None:
    """Return where a described optimizer has a function of the user's, if anywhere."""
    saved.check_names(description, saved.FIELDS - {"state"}, "optimizer")
    parts = (description["hyper_parameters"], description["param_groups"])
    return next(filter(None, map(saved.function_in, parts)), None)


def optimizer_beside(engine: Engine, part: Part) -> Optimizer:
    """Return the optimizer of a model that was saved so; TypeError or ValueError if none was."""
    description, arrays = part
    saved.check_names(description, saved.FIELDS - {"state"}, "optimizer")
    assert description is not None
    optimizer = find(description["optimizer"], "optimizer")()
    optimizer.load_state_dict(_state_dict(description, arrays))
    attach(optimizer, engine)
    return optimizer


def go_on_from(optimizer: Optimizer, engine: Engine, part: Part) -> None:
    """Let an optimizer of a model go on from where the saved one was; its functions remain.

    TypeError or ValueError if it is another one, or none was saved.
    """
    saved.check_names(part.description, saved.FIELDS - {"state"}, "optimizer")
    assert part.description is not None
    go_on(optimizer, engine, _state_dict(part.description, part.arrays))


def _state_dict(description: dict[str, Any], arrays: dict[str, Array]) -> dict[str, Any]:
    keys = saved.keys_of(description["param_groups"])
    return saved.of_tensors(description, arrays, keys)
