"""What the outputs of a model mean: labels, values, and how good they are."""

from collections.abc import Callable
from typing import Any

import numpy as np

from . import _core, metrics
from .data import Examples
from .engine import Engine
from .intake import labels
from .losses import Loss
from .typing import Array


def link_of_values(loss: Loss) -> str:
    """Return what takes the outputs to the scale of the targets, where these are values."""
    return loss.link if loss.task == "values" else "identity"


def outputs(engine: Engine, X: Any, loss: Loss, passes: list[_core.Run]) -> Array:
    """Return outputs to predict from; of several passes the mean of what they mean.

    These are probabilities where the loss gives some, and the scale of the targets for values.
    """
    link = link_of_values(loss)
    if len(passes) == 1:
        return engine.outputs(X, link, run=passes[0])
    if not loss.gives_probabilities:
        return _mean(lambda run: engine.outputs(X, link, run=run), passes)
    mean = probabilities(engine, X, loss, passes)
    if loss.task == "binary":  # above 0 is the label 1
        return (mean if mean.shape[1] == engine.net.out_features else mean[:, 1:]) - 0.5
    return mean


def probabilities(engine: Engine, X: Any, loss: Loss, passes: list[_core.Run]) -> Array:
    """Return the probability of each class, the mean of several passes."""

    def of_pass(run: _core.Run) -> Array:
        if loss.task == "binary" and engine.net.out_features == 1:
            out = engine.outputs(X, run=run)
            # The probability of the other class is that of -out; 1 - p is 0 where p rounds to 1.
            return _core.activation(loss.link, (), np.hstack([-out, out]), None)
        return engine.outputs(X, loss.link, run=run)

    return _mean(of_pass, passes)


def _mean(of_pass: Callable[[_core.Run], Array], passes: list[_core.Run]) -> Array:
    first = of_pass(passes[0])
    if len(passes) == 1:
        return first
    total = first.astype(np.float64)
    for run in passes[1:]:
        total += of_pass(run)
    return (total / len(passes)).astype(first.dtype)


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
