"""What the outputs of a model mean: labels, values, and how good they are."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import _core, metrics
from .data import Examples
from .engine import Engine
from .intake import check_targets_known, labels
from .losses import Loss
from .metrics import Metric
from .scorers import Predicted
from .typing import Array, Floats


def link_of_values(loss: Loss) -> str:
    """Return what takes the outputs to the scale of the targets, where these are values."""
    return loss.link if loss.task == "values" else "identity"


def outputs(engine: Engine, X: Any, loss: Loss, passes: list[_core.Run]) -> Array:
    """Return outputs to predict from; of several passes the mean of what they mean.

    These are probabilities where the loss gives some, and the scale of the targets for values.
    """
    link = link_of_values(loss)
    if not loss.gives_probabilities or len(passes) == 1:
        return _unscaled(engine, _mean(lambda run: engine.outputs(X, link, run=run), passes))
    mean = probabilities(engine, X, loss, passes)
    if loss.task == "binary":  # above 0 is the label 1
        return (mean if mean.shape[1] == engine.net.out_features else mean[:, 1:]) - 0.5
    return mean


def _unscaled(engine: Engine, out: Array) -> Array:
    """Return outputs on the scale of the targets, where these are standardized."""
    if not engine.standardize_targets:
        return out
    check_targets_known(engine)
    return (out * engine.target_std + engine.target_mean).astype(out.dtype)


def probabilities(engine: Engine, X: Any, loss: Loss, passes: list[_core.Run]) -> Array:
    """Return the probability of each class, the mean of several passes."""

    def of_pass(run: _core.Run) -> Array:
        if loss.task == "binary" and engine.net.out_features == 1:
            return _probabilities_of(engine.outputs(X, run=run), loss)
        return engine.outputs(X, loss.link, run=run)

    return _mean(of_pass, passes)


def _probabilities_of(out: Array, loss: Loss) -> Array:
    """Return the probability of each class for outputs."""
    if loss.task == "binary" and out.shape[1] == 1:
        # The probability of the other class is that of -out; 1 - p is 0 where p rounds to 1.
        out = np.hstack([-out, out])
    if loss.link == "softmax":
        return _core.softmax(out, False, None)
    return _core.activation(loss.link, (), out, None)


def _mean(of_pass: Callable[[_core.Run], Array], passes: list[_core.Run]) -> Array:
    first = of_pass(passes[0])
    if len(passes) == 1:
        return first
    total = first.astype(np.float64)
    for run in passes[1:]:
        total += of_pass(run)
    return (total / len(passes)).astype(first.dtype)


def predictions(out: Array, loss: Loss, classes: Array | None = None) -> tuple[Array, Array | None]:
    """Return what `loss` makes of outputs, those of values through their link.

    And which of it are labels of outputs without an order; None if none can.

    Returns
    -------
    predictions : ndarray (n,) or (n, out_features)
    unknown : None or ndarray of bool, of the same shape
    """
    names: Any = labels(loss, out.shape[1], classes)
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
    engine: Engine,
    examples: Examples,
    loss: Loss,
    checked: Sequence[Metric],
    wants_outputs: bool = False,
) -> tuple[dict[str, float], Array | None]:
    """Return the scores of examples: loss, accuracy where there is one, and the metrics.

    And the outputs of which these are, those of values on the scale of the targets, if they are
    wanted or a metric is computed of them.
    """
    if examples.n == 0:
        raise ValueError(f"X: expected at least one row, got shape {examples.X.shape}")
    has_metrics = any(metric.function for metric in checked)
    if not has_metrics and not wants_outputs:
        return scores(*engine.means(examples, loss), loss), None
    means, out = engine.means_and_outputs(examples, loss, link_of_values(loss))
    result, out = scores(*means, loss), _unscaled(engine, out)
    if has_metrics:
        if engine.standardize_targets:
            own = examples.y.astype(np.float64).reshape(examples.targets.shape)
            examples = examples._replace(targets=own)
        result |= _compute(checked, examples, out, loss, engine.classes_)
    return result, out


def check_scorers(
    examples: Examples,
    loss: Loss,
    checked: Sequence[Metric],
    out_features: int,
    classes: Array | None,
) -> None:
    """Raise ValueError if a scorer cannot be computed of examples, whatever the outputs."""
    of_scikit_learn = [metric for metric in checked if metric.kind == "scorer"]
    if of_scikit_learn:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of outputs that are all the same
            out = np.ones((examples.n * examples.positions, out_features))
            _compute(of_scikit_learn, examples, out, loss, classes)


def _compute(
    checked: Sequence[Metric], examples: Examples, out: Array, loss: Loss, classes: Array | None
) -> dict[str, float]:
    """Return the metrics of examples with these outputs, those of values through their link."""
    own = examples.own()
    if own.weights is not None and not own.weights.all():  # positions that do not count
        counted = own.weights > 0
        out, own = (
            out[counted],
            own._replace(
                **{name: getattr(own, name)[counted] for name in ("targets", "y", "weights")}
            ),
        )
    y_pred: Array | None
    y_pred, unknown = predictions(out, loss, classes)
    predicted = None
    if np.isfinite(out).all() and any(metric.kind == "scorer" for metric in checked):
        predicted = _as_scikit_learn(own, out.astype(np.float64), y_pred, loss, classes)
    if unknown is not None and unknown.any():
        y_pred = None
    return metrics.compute(checked, own.targets, out, own.y, y_pred, own.weights, predicted)


def _as_scikit_learn(
    own: Examples, out: Array, y_pred: Array, loss: Loss, classes: Array | None
) -> Predicted:
    """Return what a model makes of examples as an estimator of scikit-learn would."""
    names = labels(loss, out.shape[1], classes)
    if loss.task == "values":
        return Predicted(own.y.reshape(y_pred.shape), y_pred)
    if loss.task == "pairs":
        raise ValueError(
            f"metrics: expected functions f(y_true, y_pred) under {loss.name!r}, whose outputs "
            "predict no targets, got scorers"
        )
    probabilities = _probabilities_of(out, loss) if loss.gives_probabilities else None
    if loss.task == "classes":
        numbers = own.targets
    else:
        numbers = (own.targets > np.mean(loss.codes)).astype(np.intp)
        if (np.array(loss.codes)[numbers] != own.targets).any():
            numbers = own.targets
    if (numbers.dtype.kind, numbers.ndim) != ("i", 1 if loss.task == "classes" else 2):
        raise ValueError("metrics: expected labels in y for scorers, got probabilities")
    if names is None:  # several labels of each example
        y_pred = (out > 0).astype(np.intp)
        each = [np.array([0, 1])] * out.shape[1]
        return Predicted(numbers, y_pred, each, out, probabilities)
    order = np.argsort(names)  # scikit-learn's classes are sorted
    decisions = (np.hstack([-out, out]) / 2 if out.shape[1] == 1 else out)[:, order]
    if len(names) == 2:
        decisions = decisions[:, 1] - decisions[:, 0]
    if probabilities is not None:
        probabilities = probabilities[:, order]
    return Predicted(names[numbers.ravel()], y_pred, names[order], decisions, probabilities)


def scores(value: float, accuracy: float, loss: Loss) -> dict[str, float]:
    """Return the means of losses and right answers as a record of the history."""
    result = {"loss": float(value)}
    if loss.gives_labels:
        result["accuracy"] = float(accuracy)
    return result


def equilibrium_distances(engine: Engine, X: Any) -> dict[str, Floats]:
    """Return {path: how far each example (n,) is from the fixed point} of each `DeepEquilibrium`.

    That is ``norm(block([z, x]) - z) / norm(block([z, x]))``. In memory for all activations.
    """
    places = engine.graph.places
    solved = [place for place in places if place.kind == "equilibrium"]
    if not solved:
        return {}
    values = engine.values(X)
    starts = {place.path: i for i, place in enumerate(places) if place.kind == "evaluation"}
    found: dict[str, Floats] = {}
    for place in solved:
        of_z = values[place.inputs[1] - 1].astype(np.float64)
        z = values[starts[place.path]][..., : place.features]
        axes = tuple(range(1, of_z.ndim))
        off, size = (np.sqrt((each**2).sum(axis=axes)) for each in (of_z - z, of_z))
        with np.errstate(divide="ignore"):  # beside nothing, anything is infinite
            found[place.path] = np.divide(off, size, out=off, where=off != 0)
    return found
