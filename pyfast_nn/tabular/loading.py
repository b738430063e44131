"""Reading a tabular model from its file, without scikit-learn."""

from typing import Any

import numpy as np

from .. import checks, labels, modelfile
from ..loading import decode as decode_network
from ..modelfile import ModelFileError
from ..typing import Array, Path
from .files import FIELDS, FORMAT_VERSION, KEY
from .intervals import Residuals
from .model import TabularModel
from .schema import Schema
from .table import Table


def load(path: Path) -> TabularModel:
    """Read a tabular model; it predicts without scikit-learn.

    Parameters
    ----------
    path : str or os.PathLike
        Of a file that the method ``save`` of `TabularClassifier`, `TabularRegressor` or
        `TabularModel` wrote.

    Returns
    -------
    TabularModel

    Raises
    ------
    ModelFileError
        If the file is not an intact tabular model; a subclass of ValueError.
    OSError
        If it cannot be read.
    """
    path = checks.path(path)
    with open(path, "rb") as file:
        raw = file.read()
    try:
        return decode(raw)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error.__cause__


def decode(raw: bytes) -> TabularModel:
    """Return the model in the bytes of a file."""
    tensors = modelfile.read_tensors(raw)
    description = modelfile.describe(raw, KEY, FIELDS, FORMAT_VERSION)
    try:
        return _made_of(description, tensors)
    except ModelFileError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise ModelFileError(f"its tabular model is not valid: {error}") from error


def _made_of(description: dict[str, Any], tensors: dict[str, Array]) -> TabularModel:
    schema = Schema.described(description["schema"])
    classes = description["classes"]
    if classes is not None:
        dtype, values = classes
        classes = np.array(values, np.dtype(dtype))
    weights = tensors.pop("weights")
    networks = [
        decode_network(tensors.pop(f"network.{i}").tobytes(), wanted=False)[0]
        for i in range(len(weights))
    ]
    residuals = None
    if classes is None:
        residuals = Residuals(*(tensors.pop(f"residuals.{name}") for name in Residuals._fields))
        _check_residuals(residuals)
    if tensors:
        raise ValueError(f"expected no other tensors, got {', '.join(sorted(tensors))}")
    if weights.dtype != np.float64 or weights.ndim != 1 or not abs(weights.sum() - 1) < 1e-6:
        raise ValueError("weights: expected float64 numbers with sum 1")
    outputs = 1 if classes is None else len(labels.check_classes(classes, None))
    for network in networks:
        shape = network.in_features, network.out_features
        if shape != (len(schema.inputs), outputs if outputs > 2 else 1):
            raise ValueError(f"networks: expected other sizes, got {shape}")
    return TabularModel(
        schema,
        networks,
        weights,
        classes,
        str(description["eval_metric"]),
        Table(dict(row) for row in description["leaderboard"]),
        residuals,
    )


def _check_residuals(residuals: Residuals) -> None:
    edges, values, sizes = residuals
    right = edges.dtype == values.dtype == np.float64 and sizes.dtype == np.int64
    right = right and edges.ndim == values.ndim == sizes.ndim == 1
    if not (right and len(sizes) == len(edges) + 1 and (sizes > 0).all()):
        raise ValueError("residuals: expected groups of float64 numbers")
    if sizes.sum() != len(values) or not (np.isfinite(values).all() and np.isfinite(edges).all()):
        raise ValueError("residuals: expected as many finite numbers as there are")
