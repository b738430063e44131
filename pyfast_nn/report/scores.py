"""How good predictions are, and what would be reached without any of the columns."""

import numpy as np

from ..tabular.scoring import Score
from ..typing import Array


def scores_of(y: Array, predictions: Array, classes: Array | None) -> dict[str, float]:
    """Return scores by their names, the best known first.

    Parameters
    ----------
    y : ndarray (n,)
        Labels, or values.
    predictions : ndarray (n, n_classes) or (n,)
        Probabilities, or values.
    classes : ndarray (n_classes,) or None
        Sorted labels; None: values.

    Returns
    -------
    dict of float
        ``accuracy``, ``log_loss`` and, of two classes that are both there, ``auc``; or ``r2``,
        ``mae`` and ``rmse``.
    """
    names = ["r2", "mae", "rmse"]
    if classes is not None:
        both = len(classes) == 2 and len(np.unique(y)) == 2
        names = ["accuracy", "log_loss", *(["auc"] if both else [])]
    return {name: Score(name, y, classes, None).value(predictions) for name in names}


def without_columns(y_train: Array, y: Array, classes: Array | None) -> dict[str, float]:
    """Return the scores of who knows only the training's targets: class shares, or the mean."""
    if classes is None:
        return scores_of(y, np.full(len(y), y_train.mean()), None)
    shares = (y_train[:, None] == classes).mean(axis=0)
    return scores_of(y, np.tile(shares, (len(y), 1)), classes)


def as_texts(scores: dict[str, float]) -> dict[str, str]:
    """Return scores as people write them."""
    return {
        NAMES[name]: f"{value:.2%}" if name == "accuracy" else f"{value:.6g}"
        for name, value in scores.items()
    }


NAMES = {
    "accuracy": "accuracy",
    "log_loss": "log loss",
    "auc": "AUC",
    "r2": "R2",
    "mae": "MAE",
    "rmse": "RMSE",
}
MEANINGS = {
    "accuracy": "share of right answers",
    "log_loss": "minus the log of the probability of what is true, on average",
    "auc": "how often a row of the second class is ranked above one of the first",
    "r2": "share of the variance that is explained",
    "mae": "how far off, on average",
    "rmse": "root of the mean squared error",
}
