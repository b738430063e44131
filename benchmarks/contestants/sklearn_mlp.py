"""scikit-learn: `MLPClassifier.fit` in float32, neither early stopping nor penalty."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from contestants import networks

NAME = "scikit-learn"
KINDS = networks.CHAIN


def predictor(layers, x):
    _, *hidden, classes = networks.widths(layers)
    model = MLPClassifier(hidden_layer_sizes=hidden, max_iter=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        examples = x[np.arange(max(len(x), classes)) % len(x)]  # every class must occur
        model.fit(examples, np.arange(len(examples)) % classes)

    def run(count):
        for _ in range(count):
            model.predict_proba(x)

    return run


def trainer(layers, x, y, batch_size):
    _, *hidden, _ = networks.widths(layers)
    model = MLPClassifier(
        hidden_layer_sizes=hidden,
        solver="adam",
        alpha=0.0,
        batch_size=batch_size,
        learning_rate_init=1e-3,
        random_state=0,
        warm_start=True,
        tol=0.0,
        n_iter_no_change=10**9,
    )

    def run(epochs):
        model.set_params(max_iter=epochs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it trains for all of max_iter
            model.fit(x, y)

    return run
