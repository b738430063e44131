"""Model files: safetensors, which is data and never code.

One tensor per named parameter and per named part of the state; the metadata key ``pyfast_nn`` holds
a JSON object with ``format_version``, ``weight_layout``, ``layers``, ``in_features``, ``dtype``,
``seed``, ``epochs_trained``, ``classes``, ``loss``, ``feature_names``, ``targets`` (by what they
are standardized), ``history``, and
``optimizer`` with all of its state but the arrays. Those are tensors, too: ``optimizer.`` with the
names of the parameter and of the state. A checkpoint holds besides, as ``fit`` and in tensors
``fit.``, what a fit keeps of itself (see `checkpoint`).

``in_features`` is a number or, where an example has positions, its shape as a list; of examples
that have lengths it is an object with this as ``shape``.

As the names of the tensors are torch's, their shapes are, too: in the file a weight is (out, in),
as ``weight_layout`` says, and not (in, out) as in the model; a kernel is (out, in, height, width).
The arrays of an optimizer have the shapes of the model.
"""

import math
import os
from typing import Any, NamedTuple

import numpy as np

from . import atomic, branches, checks, history, labels, losses
from .engine import Engine
from .typing import Array, Path, Shape

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
    "targets",
    "history",
    "optimizer",
    "fit",
}
_PARTS = ("optimizer", "fit")
# Which files there are, by the key of their metadata.
_KINDS = {
    KEY: "of a model, which pyfast_nn.load reads (and its optimizer by optimizer=True)",
    "pyfast_nn_optimizer": "of an optimizer, which the load method of one reads",
    "pyfast_nn_tabular": "of a tabular model, which pyfast_nn.tabular.load reads",
}


class ModelFileError(ValueError):
    """A file that is not an intact model; the message names the file and what is wrong."""


class Part(NamedTuple):
    """What a file may hold besides its model: plain values, or None, and arrays by their names."""

    description: dict[str, Any] | None = None
    arrays: dict[str, Array] = {}  # noqa: RUF012  # nobody adds to it


# ---------------------------------------------------------------------- save


def save(
    engine: Engine, path: Path, *, metadata: dict[str, str] | None = None, **parts: Part
) -> None:
    """Write a model to `path`, see `Sequential.save`, with parts ``optimizer`` and ``fit``.

    And with `metadata` of others, who read it by keys of their own.
    """
    atomic.replace(path, encode(engine, metadata=metadata, **parts))


def encode(engine: Engine, *, metadata: dict[str, str] | None = None, **parts: Part) -> bytes:
    """Return the bytes of the file that `save` writes."""
    import json

    import safetensors
    import safetensors.numpy

    names = engine.feature_names_in_
    description = {
        "format_version": FORMAT_VERSION,
        "weight_layout": WEIGHT_LAYOUT,
        "layers": branches.to_config(engine.layers),
        "in_features": _describe_inputs(engine),
        "dtype": engine.dtype.name,
        "seed": engine.seed,
        "epochs_trained": engine.epochs_trained,
        "classes": None if engine.classes_ is None else engine.classes_.tolist(),
        "loss": losses.to_config(engine.loss),
        "feature_names": None if names is None else list(names),
        "targets": _describe_targets(engine),
        "history": history.to_config(engine.history),
        **{name: parts.get(name, Part()).description for name in _PARTS},
    }
    arrays = engine.named_parameters() | engine.named_state()
    tensors = {
        name: np.ascontiguousarray(array.transpose(_axes_of_torch(array.ndim)))
        for name, array in arrays.items()
    }
    for part, (_, of_part) in parts.items():
        tensors |= {f"{part}.{name}": array for name, array in of_part.items()}
    try:
        return safetensors.numpy.save(
            tensors, metadata={KEY: json.dumps(description), **(metadata or {})}
        )
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"history: expected one that a file can hold, got {engine.history!r} ({error}); before "
            "saving, model.history = None"
        ) from None


def _axes_of_torch(ndim: int) -> tuple[int, ...]:
    """Return the axes of a parameter in the order of torch: (..., in, out) is (out, in, ...)."""
    return (*range(ndim)[-2:][::-1], *range(ndim - 2))


def _from_torch(tensor: Array) -> Array:
    """Return a tensor of a file as the model has it."""
    return tensor.transpose(np.argsort(_axes_of_torch(tensor.ndim)))


# ---------------------------------------------------------------------- read


def is_model(path: str) -> bool:
    """Return whether a file says of itself that it holds a model of ours, intact or not."""
    return not {KEY, "pyfast_nn_tabular"}.isdisjoint(metadata_of(path))


def metadata_of(path: str) -> dict[str, Any]:
    """Return what a safetensors file says of itself, intact or not; nothing of other files."""
    import json

    if not os.path.isfile(path):  # a pipe cannot be read twice
        return {}
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if length < os.fstat(file.fileno()).st_size else b""
    try:
        return dict(json.loads(header)["__metadata__"])
    except (ValueError, TypeError, LookupError, RecursionError):
        return {}


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


class Contents(NamedTuple):
    """What a file holds."""

    description: dict[str, Any]  # of the model
    tensors: dict[str, Array]  # of the model
    optimizer: Part
    fit: Part


def read(raw: bytes) -> Contents:
    """Return what the bytes of a file hold: each of the fields, not yet what is in them."""
    tensors = read_tensors(raw)
    description = describe(raw, KEY, FIELDS, FORMAT_VERSION)
    parts = []
    for part in _PARTS:
        of_part = description.pop(part)
        names = [name for name in tensors if name.startswith(f"{part}.") and of_part is not None]
        arrays = {name.removeprefix(f"{part}."): tensors.pop(name) for name in names}
        parts.append(Part(of_part, arrays))
    return Contents(description, tensors, *parts)


def fill(engine: Engine, contents: Contents) -> None:
    """Give an engine of the layers that a file describes all that it holds of them.

    ModelFileError if anything of it is impossible.
    """
    try:
        in_shape = _describe_engine(engine, contents.description)
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelFileError(f"its description is not valid: {error}") from error
    _check_tensors(
        contents.tensors,
        {
            name: (tuple(shape[axis] for axis in _axes_of_torch(len(shape))), dtype)
            for shapes, dtype in (
                (engine.parameter_shapes(in_shape), engine.dtype),
                (engine.state_shapes(in_shape), np.float64),
            )
            for name, shape in shapes.items()
        },
    )
    values = {name: _from_torch(tensor) for name, tensor in contents.tensors.items()}
    engine.build(in_shape, values)
    _check_state(engine)


def _describe_inputs(engine: Engine) -> Any:
    """Return the shape of inputs as plain values."""
    shape = engine.in_shape[0] if len(engine.in_shape) == 1 else list(engine.in_shape)
    return {"shape": shape, "lengths": True} if engine.has_lengths else shape


def _describe_engine(engine: Engine, description: dict[str, Any]) -> Shape:
    """Set the attributes of an engine that is not built; return the shape of its inputs."""
    checks.choice(description["weight_layout"], "weight_layout", (WEIGHT_LAYOUT,))
    inputs = description["in_features"]
    if isinstance(inputs, dict):
        if inputs.keys() != {"shape", "lengths"} or inputs["lengths"] is not True:
            raise ValueError(f"in_features: expected shape and lengths, got {inputs!r}")
        engine.has_lengths, inputs = True, inputs["shape"]
    in_shape = checks.shape(inputs, "in_features")
    engine.epochs_trained = checks.integer(
        description["epochs_trained"], "epochs_trained", minimum=0, maximum=2**63 - 1
    )
    engine.loss = losses.from_config(description["loss"])
    classes = description["classes"]
    if classes is not None:
        engine.classes_ = labels.check_classes(classes, engine.out_shape_of(in_shape)[-1])
    engine.feature_names_in_ = _check_names(description["feature_names"], math.prod(in_shape))
    _set_targets(engine, description["targets"], engine.out_shape_of(in_shape)[-1])
    engine.history = history.from_config(description["history"])
    return in_shape


def _check_state(engine: Engine) -> None:
    """Statistics are numbers by which one can divide; those of the first fit may all be unknown."""
    first = engine.statistics()
    unknown = all(np.isnan(view).all() for view in first.values())
    for name, view in engine.named_state().items():
        if unknown and name in first:
            continue
        path, _, own = name.rpartition(".")
        expected, right = engine.layer_at(path).judge_state(own, view)
        if not right:
            raise ModelFileError(f"tensor {name!r} has impossible values; expected {expected}")


def _check_tensors(tensors: dict[str, Array], expected: dict[str, tuple[Shape, Any]]) -> None:
    """Compare with the declared shapes before anything of their size is allocated."""
    if set(expected) != set(tensors):
        wrong = ", ".join(sorted(map(repr, set(expected) ^ set(tensors))))
        raise ModelFileError(f"missing or unknown tensors: {wrong}")
    for name, (shape, dtype) in expected.items():
        tensor = tensors[name]
        if tensor.shape != shape or tensor.dtype != dtype:
            raise ModelFileError(
                f"tensor {name!r} is {tensor.dtype} of shape {tensor.shape}, but the layers need "
                f"{dtype} of shape {shape}"
            )


def _describe_targets(engine: Engine) -> dict[str, Any] | None:
    """Return by what targets are standardized, as plain values; None: they are not."""
    if not engine.standardize_targets:
        return None
    known = {"mean": engine.target_mean, "std": engine.target_std}
    return {name: None if values is None else values.tolist() for name, values in known.items()}


def _set_targets(engine: Engine, description: Any, out_features: int) -> None:
    """Let an engine standardize targets as `_describe_targets` said."""
    engine.standardize_targets = description is not None
    engine.target_mean = engine.target_std = None
    if description is None or description == {"mean": None, "std": None}:
        return
    wanted = f"targets: expected None, or mean and std of {out_features} numbers, the latter > 0"
    if not isinstance(description, dict) or set(description) != {"mean", "std"}:
        raise TypeError(wanted)
    parts = {}
    for name, values in description.items():
        if not isinstance(values, list) or not all(type(x) in (int, float) for x in values):
            raise TypeError(wanted)
        parts[name] = np.array(values, np.float64)
        if parts[name].shape != (out_features,) or not np.isfinite(parts[name]).all():
            raise ValueError(wanted)
    if not (parts["std"] > 0).all():
        raise ValueError(wanted)
    engine.target_mean, engine.target_std = parts["mean"], parts["std"]


def _check_names(names: Any, in_features: int) -> Array | None:
    """Return the names of the columns as an array of distinct strings, or None."""
    if names is None:
        return None
    is_list = isinstance(names, list) and len(names) == in_features
    if not (is_list and all(type(x) is str for x in names) and len(set(names)) == in_features):
        raise ValueError(f"feature_names: expected {in_features} different strings")
    return np.array(names, object)
