"""Files of estimators: that of the network, and beside it what else an estimator knows.

The metadata key ``pyfast_nn_estimator`` holds a JSON object with ``format_version``, the name of
the ``estimator``, its ``parameters`` and its other ``attributes``.
"""

import json
from typing import Any

import numpy as np

from .. import branches, checks, losses, modelfile
from ..layers import Layer
from ..losses import Loss
from ..models import engine_of
from ..optim import Optimizer, resumed
from ..typing import Path
from .labels import Labels

KEY = "pyfast_nn_estimator"  # of the metadata
FORMAT_VERSION = 1
FIELDS = {"format_version", "estimator", "parameters", "attributes"}
NOT_SAVED = (
    "model_",
    "optimizer_",
    "_optimizer",
    "_random_state",
)  # in the file anyway, or made by each fit


def save(estimator: Any, path: Path) -> None:
    """Write a fitted estimator; see its method ``save``."""
    known = estimator.__getstate__()
    descent = known.get("_optimizer")
    metadata = metadata_of(estimator, {} if descent is None else {"_optimizer": descent.rates()})
    engine = engine_of(estimator.model_)
    parts = {}
    optimizer = known.get("optimizer_") if descent is None else descent.optimizer
    if optimizer is not None:
        parts["optimizer"] = resumed.state_beside(engine, optimizer)
    modelfile.save(engine, path, metadata=metadata, **parts)


def metadata_of(estimator: Any, beside: dict[str, Any]) -> dict[str, str]:
    """Return what a file has of an estimator in its metadata, and attributes `beside` those."""
    name = type(estimator).__name__
    if not type(estimator).__module__.startswith(f"{__package__}."):
        raise TypeError(f"save: expected an estimator of ours, got another class, {name}")
    parameters = estimator.get_params(deep=False)
    attributes = {
        name: _plain(value, name)
        for name, value in estimator.__getstate__().items()
        if name not in parameters and name not in NOT_SAVED
    }
    description = {
        "format_version": FORMAT_VERSION,
        "estimator": name,
        "parameters": {name: _plain(value, name) for name, value in parameters.items()},
        "attributes": attributes | beside,
    }
    return {KEY: json.dumps(description)}


# ---------------------------------------------------------------------- plain values


def _plain(value: Any, name: str) -> Any:
    """Return a value as what JSON holds: itself, or a dict of its kind and what is in it."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.generic):
        return _plain(value.item(), name)
    if isinstance(value, (list, tuple)) and value and all(isinstance(v, Layer) for v in value):
        described = {"layers": branches.to_config(value)}  # at once: one may stand in two places
        return described if isinstance(value, list) else {"tuple": described}
    if isinstance(value, list):
        return [_plain(each, name) for each in value]
    if isinstance(value, tuple):
        return {"tuple": [_plain(each, name) for each in value]}
    if isinstance(value, dict):
        return {"dict": [[_plain(k, name), _plain(v, name)] for k, v in value.items()]}
    if isinstance(value, np.ndarray):
        return {"array": _plain(value.tolist(), name), "dtype": value.dtype.str}
    if isinstance(value, Layer):
        return {"layer": branches.to_config([value])}
    if isinstance(value, Loss):
        return {"loss": losses.to_config(value)}
    if isinstance(value, Optimizer):
        return {"optimizer": resumed.settings_of(value)}
    if isinstance(value, Labels):
        return {"labels": _plain(value.description(), name)}
    raise ValueError(
        f"{name}: expected what a file can hold (numbers, strings, lists, our layers, losses and "
        f"optimizers), got {checks.describe(value)}; set_params({name}=...) before saving"
    )


def value_of(plain: Any) -> Any:
    """Return what a plain value stands for; TypeError, ValueError or KeyError if for nothing."""
    if isinstance(plain, list):
        return [value_of(each) for each in plain]
    if not isinstance(plain, dict):
        return plain
    if "array" in plain:
        return np.array(value_of(plain["array"]), np.dtype(plain["dtype"]))
    ((kind, inner),) = plain.items()
    if kind == "tuple":
        return tuple(value_of(inner))
    if kind == "dict":
        return {value_of(k): value_of(v) for k, v in inner}
    if kind == "layers":
        return branches.from_config(inner)
    if kind == "layer":
        return branches.from_config(inner)[0]
    if kind == "loss":
        return losses.from_config(inner)
    if kind == "optimizer":
        return resumed.made_of(inner)
    if kind == "labels":
        return Labels.described(value_of(inner))
    raise ValueError(f"expected a kind of value that is known, got {kind!r}")
