"""How good predictions of some rows are, by the metric that a pack is chosen by."""

import warnings
from typing import Any

import numpy as np

from .. import losses, metrics
from ..scorers import Predicted
from ..typing import Array, Floats

DEFAULTS = {"classes": "log_loss", "values": "rmse"}
_TINY = np.finfo(np.float32).tiny  # probabilities are at least that, as their logarithm is taken


class Score:
    """The score of predictions; larger is better.

    Parameters
    ----------
    eval_metric : str, callable or None
        ``"log_loss"`` of probabilities, or what `pyfast_nn.metrics` knows: a name of ours, one of a
        scorer of scikit-learn, or a function ``f(y_true, y_pred)``. None: ``"log_loss"`` of
        classes, ``"rmse"`` of values.
    y : ndarray (n,)
        Labels or values.
    classes : ndarray (n_classes,) or None
        Sorted labels; None: values.
    weights : ndarray (n,) or None
        Of the rows.

    Attributes
    ----------
    name : str
    sign : int
        What makes the metric a score: -1 where less is better.
    """

    name: str
    sign: int

    def __init__(
        self, eval_metric: Any, y: Array, classes: Array | None, weights: Floats | None
    ) -> None:
        self._y, self._classes, self._weights = y, classes, weights
        if eval_metric is None:
            eval_metric = DEFAULTS["values" if classes is None else "classes"]
        self._codes = None if classes is None else np.searchsorted(classes, y)
        if eval_metric == "log_loss" and classes is not None:
            self.name, self.sign, self._metric = "log_loss", -1, None
            return
        loss = losses.MSE() if classes is None else losses.CrossEntropy()
        outputs = 1 if classes is None else len(classes)
        try:
            (self._metric,) = metrics.check([eval_metric], loss, outputs, weights is not None)
            self.name = self._metric.name
            self.sign = 1 if metrics.larger_is_better(self.name) else -1
        except (TypeError, ValueError, ImportError) as error:
            kind, text = type(error), str(error)
            text = text.removeprefix("metrics: ").removeprefix("monitor: ")
            raise kind(f"eval_metric: {text}") from None

    def __call__(self, predictions: Array) -> float:
        """Return the score of values (n,) or of probabilities (n, n_classes)."""
        return self.sign * self.value(predictions)

    def check(self) -> None:
        """Raise an error if the metric cannot be computed of these rows, whatever is predicted."""
        shape = () if self._classes is None else (len(self._classes),)
        predictions = np.full((len(self._y), *shape), 1 / max(shape, default=1))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of predictions that are all the same
            try:
                self.value(predictions)
            except ValueError as error:
                text = str(error).removeprefix("metrics: ")
                raise ValueError(f"eval_metric: {text}") from None

    def value(self, predictions: Array) -> float:
        """Return the metric of values (n,) or of probabilities (n, n_classes)."""
        y, weights = self._y, self._weights
        if self._classes is None:
            outputs, targets = predictions[:, None], y[:, None]
            predicted = Predicted(y, predictions)
        else:
            assert self._codes is not None
            outputs, targets = predictions, self._codes
            labels = self._classes[predictions.argmax(axis=1)]
            if self._metric is None:
                of_right = np.take_along_axis(predictions, targets[:, None], axis=1)[:, 0]
                return float(np.average(-np.log(np.maximum(of_right, _TINY)), weights=weights))
            if self.name == "accuracy":
                return float(np.average(labels == y, weights=weights))
            decisions = predictions
            if len(self._classes) == 2:
                decisions = predictions[:, 1] - predictions[:, 0]
            predicted = Predicted(y, labels, self._classes, decisions, predictions)
        assert self._metric is not None
        if not np.isfinite(outputs).all():
            return np.nan
        values = metrics.compute(
            [self._metric], targets, outputs, y, predicted.predictions, weights, predicted
        )
        return values[self.name]
