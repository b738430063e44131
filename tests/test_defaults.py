"""What a fit does that is told no more than the loss."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

import pyfast_nn as fnn

pytestmark = pytest.mark.once


def test_plain_fits_learn_the_digits():
    """97 %, as scikit-learn's MLPClassifier, of inputs that nobody has scaled."""
    X, y = fnn.datasets.load_digits()
    right = []
    for seed in range(3):
        Xs, Xt, ys, yt = train_test_split(X, y, test_size=0.3, random_state=seed, stratify=y)
        model = fnn.Sequential([fnn.Dense(100), fnn.ReLU(), fnn.Dense(10)], seed=seed)
        assert model.fit(Xs, ys, loss="cross_entropy").epochs == 500
        right.append(model.evaluate(Xt, yt)["accuracy"])
    assert np.mean(right) > 0.97 and min(right) > 0.955, right


@pytest.mark.parametrize(
    ("rows", "options", "epochs"),
    [
        (1, {}, 1000),
        (640, {}, 1000),
        (641, {}, 834),
        (1280, {}, 500),
        (1280, {"batch_size": 32}, 125),
        (1280, {"batch_size": 32, "gradient_accumulation_steps": 4}, 500),
        (1280, {"batch_size": 1}, 10),
        (100_000, {}, 10),
        (1280, {"epochs": 2}, 2),
    ],
)
def test_how_long(rows, options, epochs):
    X = np.zeros((rows, 1), np.float32)
    history = fnn.Sequential([fnn.Dense(1)]).fit(X, X, loss="mse", **options)
    assert history.epochs == epochs
