"""Perceptrons of scikit-learn become ours."""

import copy
import math
from typing import Any

from sklearn import neural_network
from sklearn.utils.validation import check_is_fitted

from .. import checks
from ..models import engine_of
from . import networks
from .classifier import MLPClassifier
from .labels import Labels
from .objective import of_labels, of_values
from .regressor import MLPRegressor


def from_sklearn(mlp: Any) -> MLPClassifier | MLPRegressor:
    """Return an estimator of ours that predicts what a fitted one of scikit-learn does.

    Parameters
    ----------
    mlp : sklearn.neural_network.MLPClassifier or MLPRegressor
        Fitted; with one output or several, two classes or more, or several labels.

    Returns
    -------
    MLPClassifier or MLPRegressor
        Fitted, with the same parameters and attributes, in the same dtype, and copies of the
        weights. Its `model_` is the `Sequential`.

    Raises
    ------
    TypeError
        If it is no perceptron of scikit-learn.
    NotFittedError
        If it is not fitted.

    Notes
    -----
    `partial_fit` and `warm_start` go on from the weights. What the optimizer of scikit-learn has
    kept, as the averages of Adam, begins anew.

    Examples
    --------
    >>> from sklearn.neural_network import MLPClassifier
    >>> theirs = MLPClassifier((32,), tol=0.01, random_state=0).fit(X, y)
    >>> ours = fnn.sklearn.from_sklearn(theirs)
    >>> np.allclose(ours.predict_proba(Xt), theirs.predict_proba(Xt))
    True
    >>> ours.model_.layers
    (Dense(32), ReLU(), Dense(10))
    """
    kinds = {
        neural_network.MLPClassifier: MLPClassifier,
        neural_network.MLPRegressor: MLPRegressor,
    }
    kind = next((ours for theirs, ours in kinds.items() if isinstance(mlp, theirs)), None)
    if kind is None:
        raise TypeError(
            "mlp: expected an MLPClassifier or MLPRegressor of sklearn.neural_network, got "
            f"{checks.describe(mlp)}"
        )
    check_is_fitted(mlp)
    parameters = copy.deepcopy(mlp.get_params(deep=False))
    estimator = kind(**parameters)
    attributes = {
        name: copy.deepcopy(value)
        for name, value in vars(mlp).items()
        if name.endswith("_") and not name.startswith("_") and name not in ("coefs_", "intercepts_")
    }
    attributes["_no_improvement_count"] = getattr(mlp, "_no_improvement_count", 0)
    scores = attributes.get("validation_scores_")
    # scikit-learn does not compute losses of validation data.
    attributes["validation_loss_curve_"] = None if scores is None else [math.nan] * len(scores)
    classes = None
    if kind is MLPClassifier:
        labels = attributes["_labels"] = _labels_of(mlp)
        classes, objective = labels.of_model, of_labels(labels)
    else:
        objective = of_values(parameters.get("loss", "squared_error"), mlp.n_outputs_)
    hidden = [len(bias) for bias in mlp.intercepts_[:-1]]
    model = networks.make_model(
        networks.make_layers(hidden, mlp.n_outputs_, mlp.activation, None, 0.0),
        mlp.coefs_[0].dtype,
        mlp.n_features_in_,
        getattr(mlp, "feature_names_in_", None),
        classes,
    )
    weights, biases = networks.views(model)
    for view, values in zip([*weights, *biases], [*mlp.coefs_, *mlp.intercepts_], strict=True):
        view[...] = values
    engine_of(model).loss = objective.loss
    estimator.__setstate__(parameters | attributes | {"model_": model})
    return estimator


def _labels_of(mlp: Any) -> Labels:
    """Return what the outputs of a classifier of scikit-learn stand for."""
    kind = "binary" if mlp.n_outputs_ == 1 else "multilabel-indicator"
    kind = "multiclass" if mlp.out_activation_ == "softmax" else kind
    binarizer = getattr(mlp, "_label_binarizer", None)
    is_sparse = getattr(binarizer, "sparse_input_", False)
    return Labels.described({"kind": kind, "classes": mlp.classes_.copy(), "sparse": is_sparse})
