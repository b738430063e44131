"""Metrics: how good predictions are, by name or by any function of scikit-learn's kind.

Whatever takes ``metrics=`` takes a list of

======================  =====================  =================================================
name                    for                    value
======================  =====================  =================================================
``"accuracy"``          labels                 fraction of right examples
``"top_5_accuracy"``    several classes        fraction with fewer than 5 outputs above the
                                               right one
``"auc"``               two classes            area under the ROC curve, ties counted half
``"mae"``               values                 mean of ``|z - y|``
``"mse"``               values                 mean of ``(z - y)^2``
``"rmse"``              values                 its square root
``"r2"``                values                 ``1 - sum (z - y)^2 / sum (y - mean y)^2``, averaged
                                               over the outputs whose y varies (by more than
                                               rounding); NaN if none does
======================  =====================  =================================================

with the targets ``y`` and the outputs ``z``, under ``"poisson"`` the rates ``exp(outputs)``; and

* names of scikit-learn's scorers [1]_, ``sklearn.metrics.get_scorer_names()``, such as
  ``"f1_macro"``, ``"neg_log_loss"``, ``"roc_auc_ovr"``, ``"average_precision"``: what they say of
  an estimator that predicts what the model does, from its labels, its probabilities or its outputs
  (``decision_function``), whichever a scorer asks for. Larger is always better. Where outputs are
  not finite they are NaN. They need scikit-learn, the extra ``sklearn``;
* functions ``f(y_true, y_pred)`` such as those of `sklearn.metrics`: they get the targets as they
  were given and what `Sequential.predict` returns (labels, values, rates; not probabilities), and
  give a number, which goes by the name of the function.

Weights of the examples, if there are any, come as ``sample_weight``.

References
----------
.. [1] https://scikit-learn.org/stable/modules/model_evaluation.html#string-name-scorers
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from . import checks, scorers
from .guidance import written
from .rounding import varies_by_rounding
from .typing import Array

if TYPE_CHECKING:
    from .losses import Loss

__all__: list[str] = []  # metrics go by the names of the table


def __dir__() -> list[str]:
    return __all__


def _top_5_accuracy(y: Array, z: Array, w: Array) -> Any:
    y = y if y.ndim == 1 else y.argmax(axis=1)
    above = (z > np.take_along_axis(z, y[:, None], axis=1)).sum(axis=1)
    return np.average((above < 5) & ~np.isnan(z).any(axis=1), weights=w)


def _auc(y: Array, z: Array, w: Array) -> Any:
    """Probability that a positive example scores above a negative one (Mann and Whitney 1947)."""
    positive = y.argmax(axis=1) if y.ndim == 2 and y.shape[1] == 2 else y.ravel() > 0
    score = z[:, -1] - z[:, 0] if z.shape[1] == 2 else z[:, 0]
    if np.isnan(score).any():
        return np.nan  # they have no order
    _, place = np.unique(score, return_inverse=True)
    ups = np.bincount(place, weights=positive * w)
    downs = np.bincount(place, weights=(1 - positive) * w)
    with np.errstate(invalid="ignore"):  # without examples of one class there is none: NaN
        return np.sum(ups * (np.cumsum(downs) - downs / 2)) / (np.sum(ups) * np.sum(downs))


def _mae(y: Array, z: Array, w: Array) -> Any:
    return np.average(np.abs(z - y).mean(axis=1), weights=w)


def _mse(y: Array, z: Array, w: Array) -> Any:
    return np.average(((z - y) ** 2).mean(axis=1), weights=w)


def _rmse(y: Array, z: Array, w: Array) -> Any:
    return np.sqrt(_mse(y, z, w))


def _r2(y: Array, z: Array, w: Array) -> Any:
    mean = np.average(y, axis=0, weights=w)
    total = w @ (y - mean) ** 2
    std = np.sqrt(total / w.sum())
    varies = ~varies_by_rounding(mean, std, int(np.count_nonzero(w)), y.dtype)
    if not varies.any():
        return np.nan
    return np.mean(1 - (w @ (z - y) ** 2)[varies] / total[varies])


_BY_NAME = {
    "accuracy": None,  # the core counts right answers whenever it evaluates a loss
    "top_5_accuracy": _top_5_accuracy,
    "auc": _auc,
    "mae": _mae,
    "mse": _mse,
    "rmse": _rmse,
    "r2": _r2,
}
_LARGER_IS_BETTER = ("accuracy", "top_5_accuracy", "auc", "r2")


MetricLike: TypeAlias = str | Callable[[Any, Any], Any]
MetricsLike: TypeAlias = MetricLike | Iterable[MetricLike]


class Metric:
    """A checked metric.

    Attributes
    ----------
    name : str
    kind : {"own", "scorer", "function"}
        Whether it is one of the table, of scikit-learn or of the user.
    function : callable or None
    """

    name: str
    kind: Literal["own", "scorer", "function"]
    function: Callable[..., Any] | None

    def __init__(self, metric: Any, loss: "Loss", out_features: int, weighted: bool) -> None:
        if isinstance(metric, str):
            self.name = metric
            self.kind = "own" if metric in _BY_NAME else "scorer"
            if self.kind == "scorer":
                self.function = scorers.find(metric, tuple(_BY_NAME))
                return
            self.function = _BY_NAME[metric]
            if not _applies(metric, loss, out_features):
                raise ValueError(
                    f"metrics: expected those defined for {loss!r} of {out_features} outputs, "
                    f"got {metric!r}"
                )
        elif callable(metric) and not isinstance(metric, type):
            self.name = getattr(metric, "__name__", type(metric).__name__)
            self.kind, self.function = "function", metric
            if self.name in (*_BY_NAME, "loss"):
                raise ValueError(f"metrics: expected a name that is not taken, got {metric!r}")
            _check_signature(metric, self.name, weighted)
        else:
            raise TypeError(
                "metrics: expected names or functions of (y_true, y_pred), "
                f"got {checks.describe(metric)}{written(metric)}"
            )


def check(metrics: Any, loss: "Loss", out_features: int, weighted: bool) -> list[Metric]:
    """Return `metrics`, one or a list, as a list of `Metric`, for examples with weights or not."""
    if isinstance(metrics, str) or callable(metrics):
        metrics = [metrics]
    if not np.iterable(metrics):
        raise TypeError(
            f"metrics: expected a list of names or functions, got {checks.describe(metrics)}"
        )
    checked = [Metric(metric, loss, out_features, weighted) for metric in metrics]
    names = [metric.name for metric in checked]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"metrics: expected each name once, got {name!r} twice")
    return checked


def _check_signature(function: Callable[..., Any], name: str, weighted: bool) -> None:
    """Find out before the training whether `compute` can call the function."""
    import inspect

    weights = {"sample_weight": None} if weighted else {}
    try:
        inspect.signature(function).bind(None, None, **weights)
    except TypeError as error:
        arguments = ", ".join(["y_true", "y_pred", *weights])
        raise TypeError(
            f"metrics: expected a function of ({arguments}), got {name}: {error}"
        ) from None
    except ValueError:  # some in C do not tell
        pass


def compute(
    metrics: Sequence[Metric],
    targets: Array,
    outputs: Array,
    y_true: Array,
    y_pred: Array | None,
    weights: Array | None = None,
    predicted: scorers.Predicted | None = None,
) -> dict[str, float]:
    """Return {name: float} of checked `metrics`.

    Parameters
    ----------
    metrics : list of Metric
    targets, outputs : ndarray
        As the core takes them, and gives them through the link of a loss of values: for the metrics
        of the table.
    y_true, y_pred : ndarray
        As the user gave and would get them: for functions. None for predictions that are no
        labels, as outputs are NaN; so is then the value.
    weights : ndarray (n,), optional
        Of the examples; functions get them as ``sample_weight``.
    predicted : scorers.Predicted, optional
        For scorers. None where outputs are not finite.
    """
    if y_pred is not None and y_true.size == y_pred.size:
        y_true = y_true.reshape(y_pred.shape)  # (n, 1) and (n,)
    outputs = outputs.astype(np.float64)
    weights = None if weights is None else weights.astype(np.float64)
    values = {}
    for metric in metrics:
        if metric.function is None:
            continue
        value: Any = np.nan
        if metric.kind == "own":
            w = np.ones(len(outputs)) if weights is None else weights
            value = metric.function(targets, outputs, w)
        elif metric.kind == "scorer":
            if predicted is not None:
                value = _score(metric, predicted, weights)
        elif y_pred is not None:
            options = {} if weights is None else {"sample_weight": weights}
            value = metric.function(y_true, y_pred, **options)
        try:
            values[metric.name] = float(value)
        except (TypeError, ValueError):
            raise TypeError(
                f"metrics: expected a number from {metric.name}, got {checks.describe(value)}"
            ) from None
    return values


def _score(metric: Metric, predicted: scorers.Predicted, weights: Array | None) -> Any:
    assert metric.function is not None
    try:
        return scorers.score(metric.function, predicted, weights)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            "metrics: expected scorers that scikit-learn can compute of these targets and what the "
            f"loss makes of outputs, got {metric.name!r}: {error}"
        ) from error


def larger_is_better(name: str) -> bool:
    """Whether a larger value of the loss or metric `name` is a better one.

    Also with ``val_`` or ``train_`` in front.
    """
    name = name.removeprefix("val_").removeprefix("train_")
    if name in _LARGER_IS_BETTER or name.startswith("neg_") or name.endswith("_score"):
        return True
    if name in ("loss", *_BY_NAME) or name.endswith(("_error", "_loss", "_deviance")):
        return False
    try:
        if name in scorers.names():
            return True
    except ImportError:
        pass
    raise ValueError(
        "monitor: expected a name that tells whether larger is better, ..._score, or smaller, "
        f"..._error, ..._loss or ..._deviance, as scikit-learn's do; got {name!r}"
    )


def _applies(name: str, loss: "Loss", out_features: int) -> bool:
    if name == "accuracy":
        return loss.gives_labels
    if name == "top_5_accuracy":
        return loss.task == "classes"
    if name == "auc":
        return (loss.task, out_features) in (("classes", 2), ("binary", 1))
    return loss.task == "values"
