"""Reading a model file: whatever is in it becomes a model, or a ModelFileError."""

from typing import Any, Literal, overload

import numpy as np

from . import branches, checks, history, labels, losses
from .modelfile import (
    FIELDS,
    FORMAT_VERSION,
    KEY,
    OF_OPTIMIZER,
    WEIGHT_LAYOUT,
    ModelFileError,
    describe,
    read_tensors,
)
from .models import Sequential, engine_of
from .optim import Optimizer, resumed
from .typing import Array, Path, Shape


@overload
def load(path: Path, *, optimizer: Literal[False] = False) -> Sequential: ...
@overload
def load(path: Path, *, optimizer: Literal[True]) -> tuple[Sequential, Optimizer]: ...
def load(path: Path, *, optimizer: bool = False) -> Sequential | tuple[Sequential, Optimizer]:
    """Read a model that `Sequential.save` wrote.

    Parameters
    ----------
    path : str or os.PathLike
    optimizer : bool
        Whether to return also the optimizer that was saved with it, to go on with.

    Returns
    -------
    model : Sequential
        With its parameters and state, and all of its attributes.
    optimizer : Optimizer
        Only if asked for.

    Raises
    ------
    ModelFileError
        If the file is not an intact model, or has no optimizer that is asked for; a subclass of
        ValueError.
    OSError
        If it cannot be read; FileNotFoundError if there is none.

    Examples
    --------
    >>> model.save("m.safetensors")
    >>> model = fnn.load("m.safetensors")

    Training that goes on as if it had not been interrupted:

    >>> adam = fnn.optim.Adam(lr=fnn.schedules.Cosine(1e-3, 1000))
    >>> history = model.fit(X, y, optimizer=adam, epochs=2)
    >>> model.save("m.safetensors", optimizer=adam)
    >>> model, adam = fnn.load("m.safetensors", optimizer=True)
    >>> history = model.fit(X, y, optimizer=adam, epochs=3)
    """
    wanted = checks.boolean(optimizer, "optimizer")
    path = checks.path(path)
    with open(path, "rb") as file:  # read, not mapped: a mapped file that shrinks kills the process
        raw = file.read()
    try:
        model, saved = _decode(raw)
        if wanted and saved is None:
            raise ModelFileError("has no optimizer; expected a file of save(path, optimizer=...)")
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error.__cause__
    return model if saved is None or not wanted else (model, saved)


def _decode(raw: bytes) -> tuple[Sequential, Optimizer | None]:
    tensors = read_tensors(raw)
    description = describe(raw, KEY, FIELDS, FORMAT_VERSION)
    try:
        model = _make_model(description)
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelFileError(f"its description is not valid: {error}") from error
    engine, in_features = engine_of(model), int(description["in_features"])
    of_optimizer = {
        name.removeprefix(OF_OPTIMIZER): tensors.pop(name)
        for name in list(tensors)
        if name.startswith(OF_OPTIMIZER) and description["optimizer"] is not None
    }
    _check_tensors(
        tensors,
        {
            name: (shape[::-1], model.dtype)
            for name, shape in engine.parameter_shapes(in_features).items()
        }
        | {name: (shape, np.float64) for name, shape in engine.state_shapes(in_features).items()},
    )
    engine.build(in_features, {name: tensor.T for name, tensor in tensors.items()})
    _check_state(model)
    if description["optimizer"] is None:
        return model, None
    try:
        saved = resumed.optimizer_beside(engine, description["optimizer"], of_optimizer)
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelFileError(f"its optimizer is not valid: {error}") from error
    engine.saved_optimizer = f"{type(saved).__name__} ({saved.step_count} steps)"
    return model, saved


def _make_model(description: dict[str, Any]) -> Sequential:
    """Return the unbuilt model; TypeError or ValueError if a value is impossible."""
    checks.choice(description["weight_layout"], "weight_layout", (WEIGHT_LAYOUT,))
    model = Sequential(
        branches.from_config(description["layers"]),
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
        model.classes_ = labels.check_classes(classes, engine_of(model).out_features(in_features))
    model.feature_names_in_ = _check_names(description["feature_names"], in_features)
    model.history = history.from_config(description["history"])
    return model


def _check_state(model: Sequential) -> None:
    """Statistics are numbers by which one can divide; those of the first fit may all be unknown."""
    first = engine_of(model).statistics()
    unknown = all(np.isnan(view).all() for view in first.values())
    for name, view in model.named_state().items():
        if unknown and name in first:
            continue
        expected, right = "finite numbers", np.isfinite(view)
        if name.endswith(".std"):
            expected, right = "positive numbers", right & (view > 0)
        if name.endswith(".running_var"):
            expected, right = "numbers of at least 0", right & (view >= 0)
        if not right.all():
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


def _check_names(names: Any, in_features: int) -> Array | None:
    """Return the names of the columns as an array of distinct strings, or None."""
    if names is None:
        return None
    is_list = isinstance(names, list) and len(names) == in_features
    if not (is_list and all(type(x) is str for x in names) and len(set(names)) == in_features):
        raise ValueError(f"feature_names: expected {in_features} different strings")
    return np.array(names, object)
