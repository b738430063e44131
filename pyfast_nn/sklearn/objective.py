"""What is minimised: our losses in scikit-learn's scale."""

from typing import Any, NamedTuple

import numpy as np
from scipy.special import xlogy

from ..losses import (
    MAE,
    MSE,
    BinaryCrossEntropy,
    CrossEntropy,
    Huber,
    LogCosh,
    Loss,
    Poisson,
    Quantile,
)
from ..typing import Array, Floats
from .labels import Labels

LOSSES: dict[str, type[Loss]] = {
    "squared_error": MSE,
    "poisson": Poisson,
    "absolute_error": MAE,
    "huber": Huber,
    "log_cosh": LogCosh,
    "quantile": Quantile,
}


class Objective(NamedTuple):
    """A loss, which is a mean over the outputs, and by what scikit-learn multiplies it.

    scikit-learn descends the sum over the outputs, of half of the squared error. What it reports of
    the squared error is half of the mean, and of the Poisson loss the deviance: the loss and a
    number that depends on the targets alone.
    """

    loss: Loss
    scale: float  # of what is descended
    reported: float  # of what is reported
    out_activation: str  # as scikit-learn names it

    def constant(self, targets: Array) -> Floats | None:
        """Return what is reported of each row besides (n,), or None."""
        if not isinstance(self.loss, Poisson):
            return None
        y = targets.astype(np.float64)
        return (xlogy(y, y) - y).sum(axis=1)


def of_labels(labels: Labels) -> Objective:
    """Return the log-loss of such labels."""
    if labels.kind == "multiclass":
        return Objective(CrossEntropy(), 1.0, 1.0, "softmax")
    n_outputs = float(labels.n_outputs)
    return Objective(BinaryCrossEntropy(), n_outputs, n_outputs, "logistic")


def of_values(loss: Any, n_outputs: int) -> Objective:
    """Return the objective of a regressor's `loss`, a name or an object."""
    loss = LOSSES[loss]() if isinstance(loss, str) else loss
    if loss.task != "values":
        raise ValueError(f"loss: expected one of values, such as fnn.losses.Huber(), got {loss!r}")
    out_activation = "exp" if loss.link == "exp" else "identity"
    if isinstance(loss, MSE):
        return Objective(loss, 0.5 * n_outputs, 0.5, out_activation)
    return Objective(loss, float(n_outputs), float(n_outputs), out_activation)
