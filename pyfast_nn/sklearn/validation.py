"""Examples that are held out of a stochastic fit, and how good the estimator is on them."""

import math
import warnings
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import check_scoring, r2_score
from sklearn.model_selection import train_test_split

from .. import outcome
from ..data import Examples
from ..models import engine_of
from ..typing import Array, Floats, Integers
from .objective import Objective


def split(
    n: int, fraction: float, classes: Array | None, random_state: np.random.RandomState
) -> tuple[Integers, Integers]:
    """Return rows to train on and rows that are held out, as scikit-learn draws them."""
    trained, held_out = train_test_split(
        np.arange(n), random_state=random_state, test_size=fraction, stratify=classes
    )
    if len(held_out) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of your "
            "dataset."
        )
    return trained, held_out


class Validation:
    """Examples, and the scores of an estimator on them.

    Parameters
    ----------
    mlp : MLPClassifier or MLPRegressor
    objective : Objective
    X : array or CSR matrix
    y : ndarray
        As the user has them.
    targets : ndarray
        As the core takes them.
    weights : ndarray (n,), float64, or None
    rows : ndarray of int or None
        Those of the above that are meant; None: all.

    Attributes
    ----------
    examples : Examples
    """

    def __init__(
        self,
        mlp: Any,
        objective: Objective,
        X: Any,
        y: Any,
        targets: Array,
        weights: Floats | None,
        rows: Integers | None = None,
    ) -> None:
        self._mlp, self._objective = mlp, objective
        if rows is not None:
            rows = np.sort(rows)  # scores do not depend on the order
            X, y, targets = X[rows], y[rows], targets[rows]
            weights = None if weights is None else weights[rows]
        self._y, self._weights = y, weights
        engine = engine_of(mlp.model_)
        own = None if weights is None else (weights / weights.mean()).astype(engine.dtype)
        self.examples: Examples = Examples(X, targets, targets, own)
        scoring = mlp.scoring
        self._scorer = None
        if scoring is not None and scoring != "loss":
            self._scorer = check_scoring(mlp, scoring)
        constant = objective.constant(targets)
        self._constant = 0.0 if constant is None else float(np.average(constant, weights=weights))

    def scores(self) -> tuple[float, float]:
        """Return the score, of which more is better, and the loss without its penalty."""
        engine = engine_of(self._mlp.model_)
        loss, accuracy = engine.means(self.examples, self._objective.loss)
        loss = self._objective.reported * loss + self._constant
        if self._scorer is not None:
            return self._score(), loss
        if self._mlp.scoring == "loss":
            return -loss, loss
        if is_classifier(self._mlp):
            return accuracy, loss
        predicted = engine.outputs(self.examples.X, outcome.link_of_values(self._objective.loss))
        if not np.isfinite(predicted).all():
            return math.nan, loss
        return float(r2_score(self._y, predicted, sample_weight=self._weights)), loss

    def _score(self) -> float:
        assert self._scorer is not None
        weights = {} if self._weights is None else {"sample_weight": self._weights}
        with warnings.catch_warnings():  # rows of the validated X have lost the names of columns
            warnings.filterwarnings("ignore", "X does not have valid feature names")
            return float(self._scorer(self._mlp, self.examples.X, self._y, **weights))
