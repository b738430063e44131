"""The optimizer of a fit in the file of its model."""

import copy
from typing import Any

from .. import checks
from ..engine import Engine
from ..typing import Array
from . import saved
from .base import Optimizer, attach, described, find, trains


def state_beside(engine: Engine, optimizer: Any) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the state of an optimizer that trains, or may train, a model, and its arrays."""
    if not isinstance(optimizer, Optimizer):
        came = checks.describe(optimizer)
        raise TypeError(f"optimizer: expected the optimizer of the fit, got {came}")
    name = type(optimizer).__name__
    if not engine.network().n_parameters:
        raise ValueError(f"optimizer: expected None, as the model has no parameters, got {name}")
    if find(name) is not type(optimizer):
        raise TypeError(f"optimizer: expected one of pyfast_nn.optim, got another class {name}")
    if not trains(optimizer, engine):
        optimizer = copy.copy(optimizer)  # for it stays as it is
        attach(optimizer, engine)
    state, arrays = saved.to_tensors(described(optimizer, "save"))
    for where in ("hyper_parameters", "param_groups"):
        path = saved.function_in(state[where])
        if path is not None:
            raise ValueError(
                f"optimizer: expected hyper-parameters that a file can hold, got {path} that is a "
                "function; make it of pyfast_nn.schedules or an array, or save the optimizer by "
                "itself and load that into one made with the same function"
            )
    return state, arrays


def optimizer_beside(engine: Engine, description: Any, arrays: dict[str, Array]) -> Optimizer:
    """Return the optimizer of a model that was saved so; TypeError or ValueError if none was."""
    saved.check_names(description, saved.FIELDS - {"state"}, "optimizer")
    optimizer = find(description["optimizer"], "optimizer")()
    keys = saved.keys_of(description["param_groups"])
    optimizer.load_state_dict(saved.of_tensors(description, arrays, keys))
    attach(optimizer, engine)
    return optimizer
