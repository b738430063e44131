"""Model files: safetensors, which is data and never code.

One tensor per named parameter and per named part of the state; the metadata key ``pyfast_nn`` holds
a JSON object with ``format_version``, ``weight_layout``, ``layers``, ``in_features``, ``dtype``,
``seed``, ``epochs_trained``, ``classes``, ``loss`` and ``feature_names``.

As the names of the tensors are torch's, their shapes are, too: in the file a weight is (out, in),
as ``weight_layout`` says, and not (in, out) as in the model.
"""

import numpy as np

from . import checks

FORMAT_VERSION = 2
_WEIGHT_LAYOUT = "(out, in)"
_KEY = "pyfast_nn"
_FIELDS = {
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
}


class ModelFileError(ValueError):
    """A file that is not an intact model; the message names the file and what is wrong."""


# ---------------------------------------------------------------------- save


def save(model, path):
    """Write `model` to `path`; see `Sequential.save`."""
    import json

    import safetensors.numpy

    from . import atomic, config, losses

    names = model.feature_names_in_
    description = {
        "format_version": FORMAT_VERSION,
        "weight_layout": _WEIGHT_LAYOUT,
        "layers": [config.to_config(layer) for layer in model.layers],
        "in_features": model.in_features,
        "dtype": model.dtype.name,
        "seed": model.seed,
        "epochs_trained": model.epochs_trained,
        "classes": None if model.classes_ is None else model.classes_.tolist(),
        "loss": losses.to_config(model.loss),
        "feature_names": None if names is None else list(names),
    }
    arrays = model.named_parameters() | model.named_state()
    tensors = {name: np.ascontiguousarray(array.T) for name, array in arrays.items()}
    raw = safetensors.numpy.save(tensors, metadata={_KEY: json.dumps(description)})
    atomic.replace(path, raw)


# ---------------------------------------------------------------------- load


def load(path):
    """Read a model that `Sequential.save` wrote.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    Sequential
        With its parameters, `classes_`, `loss`, `seed` and `epochs_trained`. The optimizer's state
        is not part of the file.

    Raises
    ------
    ModelFileError
        If the file is not an intact model; a subclass of ValueError.
    OSError
        If it cannot be read; FileNotFoundError if there is none.

    Examples
    --------
    >>> model.save("m.safetensors")
    >>> model = fnn.load("m.safetensors")
    """
    path = checks.path(path)
    with open(path, "rb") as file:  # read, not mapped: a mapped file that shrinks kills the process
        raw = file.read()
    try:
        return _decode(raw)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error.__cause__


def _decode(raw):
    tensors = read_tensors(raw)
    description = describe(raw, _KEY, _FIELDS, FORMAT_VERSION)
    try:
        model = _make_model(description)
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelFileError(f"its description is not valid: {error}") from error
    in_features = int(description["in_features"])
    _check_tensors(
        tensors,
        {name: (shape[::-1], model.dtype) for name, shape in model._shapes(in_features).items()}
        | {name: (shape, np.float64) for name, shape in model._state_shapes(in_features).items()},
    )
    model._net, model._parameters, model._state = model._allocate(in_features)
    for name, view in (model.named_parameters() | model.named_state()).items():
        view[...] = tensors[name].T
    _check_state(model)
    return model


def read_tensors(raw):
    """Return the arrays of a safetensors file, by name."""
    import safetensors
    import safetensors.numpy

    try:
        return safetensors.numpy.load(raw)
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ModelFileError(f"not an intact safetensors file ({error})") from error


def describe(raw, key, fields, format_version):
    """Return the JSON object in the metadata of a file that `read_tensors` has accepted."""
    import json

    length = int.from_bytes(raw[:8], "little")
    try:
        metadata = json.loads(raw[8 : 8 + length]).get("__metadata__") or {}
        description = json.loads(metadata[key])
    except KeyError:
        raise ModelFileError(
            f"a safetensors file, but not of pyfast_nn: no metadata {key!r}"
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


def _make_model(description):
    """Return the unbuilt model; TypeError or ValueError if a value is impossible."""
    from . import labels, layers, losses
    from .models import Sequential

    checks.choice(description["weight_layout"], "weight_layout", (_WEIGHT_LAYOUT,))
    if not isinstance(description["layers"], list):
        raise TypeError("layers: expected a list")
    model = Sequential(
        [layers.from_config(config) for config in description["layers"]],
        dtype=checks.choice(description["dtype"], "dtype", ("float32", "float64")),
        seed=checks.integer(description["seed"], "seed", minimum=0, maximum=2**64 - 1),
    )
    in_features = checks.integer(description["in_features"], "in_features", minimum=1)
    model.epochs_trained = checks.integer(
        description["epochs_trained"], "epochs_trained", minimum=0, maximum=2**63 - 1
    )
    model.loss = losses.from_config(description["loss"])
    classes = description["classes"]
    if classes is not None:
        model.classes_ = labels.check_classes(classes, model._widths(in_features)[-1])
    model.feature_names_in_ = _check_names(description["feature_names"], in_features)
    return model


def _check_state(model):
    """Statistics are numbers by which one can divide, or all unknown."""
    if np.isnan(model.state).all():
        return
    for name, view in model.named_state().items():
        if not np.isfinite(view).all() or (name.endswith(".std") and not (view > 0).all()):
            expected = "positive numbers" if name.endswith(".std") else "finite numbers"
            raise ModelFileError(f"tensor {name!r} has impossible values; expected {expected}")


def _check_tensors(tensors, expected):
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


def _check_names(names, in_features):
    """Return the names of the columns as an array of distinct strings, or None."""
    if names is None:
        return None
    is_list = isinstance(names, list) and len(names) == in_features
    if not (is_list and all(type(x) is str for x in names) and len(set(names)) == in_features):
        raise ValueError(f"feature_names: expected {in_features} different strings")
    return np.array(names, object)
