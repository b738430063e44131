"""Files of tabular models: one of safetensors, with the file of each network as a tensor of bytes.

The metadata key ``pyfast_nn_tabular`` holds a JSON object with ``format_version``, ``schema``,
``classes``, ``eval_metric`` and ``leaderboard``; tensors are ``weights``, ``network.0``, ... and,
where values are predicted, ``residuals.edges``, ``residuals.values`` and ``residuals.sizes``.
"""

from typing import Any

import numpy as np

from .. import atomic, modelfile
from ..models import engine_of
from ..typing import Array, Path

KEY = "pyfast_nn_tabular"  # of the metadata
FORMAT_VERSION = 1
FIELDS = {"format_version", "schema", "classes", "eval_metric", "leaderboard"}


def save(model: Any, path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a `TabularModel`; see its method ``save``. And `metadata` of others, by other keys."""
    import json

    import safetensors.numpy

    classes = model.classes_
    description = {
        "format_version": FORMAT_VERSION,
        "schema": model.schema.description(),
        "classes": None if classes is None else [classes.dtype.str, classes.tolist()],
        "eval_metric": model.eval_metric,
        "leaderboard": list(model.leaderboard),
    }
    tensors: dict[str, Array] = {"weights": model.weights}
    for i, network in enumerate(model.networks):
        raw = modelfile.encode(engine_of(network))
        tensors[f"network.{i}"] = np.frombuffer(raw, np.uint8)
    if model.residuals is not None:
        tensors |= {f"residuals.{k}": v for k, v in model.residuals._asdict().items()}
    metadata = {KEY: json.dumps(description), **(metadata or {})}
    atomic.replace(path, safetensors.numpy.save(tensors, metadata=metadata))
