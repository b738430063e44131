"""What the outputs of a model mean: labels, values, and how good they are."""

from typing import Any

import numpy as np

from . import metrics
from .data import Examples
from .engine import Engine
from .intake import labels
from .losses import Loss
from .typing import Array


def link_of_values(loss: Loss) -> str:
    """Return what takes the outputs to the scale of the targets, where these are values."""
    return loss.link if loss.task == "values" else "identity"


def predictions(engine: Engine, out: Array, loss: Loss) -> tuple[Array, Array | None]:
    """Return what `loss` makes of outputs, those of values through their link.

    And which of it are labels of outputs without an order; None if none can.

    Returns
    -------
    predictions : ndarray (n,) or (n, out_features)
    unknown : None or ndarray of bool, of the same shape
    """
    names: Any = labels(loss, out.shape[1], engine.classes_)
    if loss.task == "classes":
        largest = out.max(axis=1, keepdims=True)
        unknown = np.isnan(largest[:, 0])
        if np.isinf(largest).any():  # of several that are alike none is larger
            unknown |= (np.isinf(out) & (out == largest)).sum(axis=1) > 1
        return names[out.argmax(axis=1)], unknown
    if loss.task == "binary":
        above, unknown = (out > 0).astype(np.intp), np.isnan(out)
        if names is None:
            return np.array(loss.codes)[above], unknown
        return names[above[:, 0]], unknown[:, 0]
    return out[:, 0] if out.shape[1] == 1 else out, None


def evaluate(
    engine: Engine, examples: Examples, loss: Loss, checked: list[metrics.Metric]
) -> dict[str, float]:
    """Return the scores of examples: loss, accuracy where there is one, and the metrics."""
    if examples.n == 0:
        raise ValueError(f"X: expected at least one row, got shape {examples.X.shape}")
    result = scores(*engine.means(examples, loss), loss)
    if any(metric.function for metric in checked):
        out = engine.outputs(examples.X, link_of_values(loss), examples.rows)
        predicted: Any
        predicted, unknown = predictions(engine, out, loss)
        if unknown is not None and unknown.any():
            predicted = None
        own = examples.own()
        result |= metrics.compute(checked, own.targets, out, own.y, predicted, own.weights)
    return result


def scores(value: float, accuracy: float, loss: Loss) -> dict[str, float]:
    """Return the means of losses and right answers as a record of the history."""
    result = {"loss": float(value)}
    if loss.task != "values":
        result["accuracy"] = float(accuracy)
    return result
