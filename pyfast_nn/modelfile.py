"""Model files: safetensors, which is data and never code.

One tensor per named parameter and per named part of the state; the metadata key ``pyfast_nn`` holds
a JSON object with ``format_version``, ``weight_layout``, ``layers``, ``in_features``, ``dtype``,
``seed``, ``epochs_trained``, ``classes``, ``loss``, ``feature_names``, ``history``, and
``optimizer`` with all of its state but the arrays. Those are tensors, too: ``optimizer.`` with the
names of the parameter and of the state.

As the names of the tensors are torch's, their shapes are, too: in the file a weight is (out, in),
as ``weight_layout`` says, and not (in, out) as in the model. The arrays of an optimizer have the
shapes of the model.
"""

import os
from typing import Any

import numpy as np

from . import atomic, branches, history, losses
from .engine import Engine
from .typing import Array, Path

FORMAT_VERSION = 2
WEIGHT_LAYOUT = "(out, in)"
KEY = "pyfast_nn"
FIELDS = {
    "format_version",
    "weight_layout",
    "layers",
    "in_features",
    "dtype",
    "seed",
    "epochs_trained",
    "classes",
    "loss",
    "feature_names",
    "history",
    "optimizer",
}
# Which files there are, by the key of their metadata.
_KINDS = {
    KEY: "of a model, which pyfast_nn.load reads (and its optimizer by optimizer=True)",
    "pyfast_nn_optimizer": "of an optimizer, which the load method of one reads",
}
OF_OPTIMIZER = "optimizer."  # how the names of its tensors begin


class ModelFileError(ValueError):
    """A file that is not an intact model; the message names the file and what is wrong."""


# ---------------------------------------------------------------------- save


def save(
    engine: Engine,
    path: Path,
    optimizer: dict[str, Any] | None = None,
    of_optimizer: dict[str, Array] | None = None,
) -> None:
    """Write a model to `path`, see `Sequential.save`, with what describes an optimizer's state."""
    import json

    import safetensors
    import safetensors.numpy

    names = engine.feature_names_in_
    description = {
        "format_version": FORMAT_VERSION,
        "weight_layout": WEIGHT_LAYOUT,
        "layers": branches.to_config(engine.layers),
        "in_features": engine.network().in_features,
        "dtype": engine.dtype.name,
        "seed": engine.seed,
        "epochs_trained": engine.epochs_trained,
        "classes": None if engine.classes_ is None else engine.classes_.tolist(),
        "loss": losses.to_config(engine.loss),
        "feature_names": None if names is None else list(names),
        "history": history.to_config(engine.history),
        "optimizer": optimizer,
    }
    arrays = engine.named_parameters() | engine.named_state()
    tensors = {name: np.ascontiguousarray(array.T) for name, array in arrays.items()}
    tensors |= {OF_OPTIMIZER + name: array for name, array in (of_optimizer or {}).items()}
    try:
        raw = safetensors.numpy.save(tensors, metadata={KEY: json.dumps(description)})
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"history: expected one that a file can hold, got {engine.history!r} ({error}); before "
            "saving, model.history = None"
        ) from None
    atomic.replace(path, raw)


# ---------------------------------------------------------------------- read


def is_model(path: str) -> bool:
    """Return whether a file says of itself that it holds a model of ours, intact or not."""
    import json

    if not os.path.isfile(path):  # a pipe cannot be read twice
        return False
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if length < os.fstat(file.fileno()).st_size else b""
    try:
        return KEY in json.loads(header)["__metadata__"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return False


def read_tensors(raw: bytes) -> dict[str, Array]:
    """Return the arrays of a safetensors file, by name."""
    import safetensors
    import safetensors.numpy

    try:
        tensors: dict[str, Array] = safetensors.numpy.load(raw)
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ModelFileError(f"not an intact safetensors file ({error})") from error
    return tensors


def describe(raw: bytes, key: str, fields: set[str], format_version: int) -> dict[str, Any]:
    """Return the JSON object in the metadata of a file that `read_tensors` has accepted."""
    import json

    length = int.from_bytes(raw[:8], "little")
    try:
        metadata = json.loads(raw[8 : 8 + length]).get("__metadata__") or {}
        description = json.loads(metadata[key])
    except KeyError:
        kinds = [what for other, what in _KINDS.items() if other in metadata]
        raise ModelFileError(
            f"a safetensors file, but {kinds[0] if kinds else 'not of pyfast_nn'}: "
            f"no metadata {key!r}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"metadata {key!r} is not valid JSON ({error})") from error
    if not isinstance(description, dict):
        raise ModelFileError(f"metadata {key!r} is not a JSON object")
    version = description.get("format_version")
    if version != format_version:
        raise ModelFileError(
            f"format version {version!r}; this pyfast_nn reads version {format_version}"
        )
    if set(description) != fields:
        wrong = ", ".join(sorted(map(repr, set(description) ^ fields)))
        raise ModelFileError(f"metadata {key!r} has missing or unknown fields: {wrong}")
    return description
