"""The callback that watches the curvature, against dense matrices of the same model."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import pyfast_nn as fnn

pytestmark = pytest.mark.once


class Keep(fnn.Callback):
    """Keeps copies of the model."""

    def __init__(self):
        self.models = []

    def on_epoch_end(self, model, epoch, record):
        self.models.append(copy.copy(model))


def problem(rng, activation=None, n=30, dtype="float64"):
    layers = [fnn.Dense(4), activation or fnn.ReLU(), fnn.Dense(3)]
    model = fnn.Sequential(layers, dtype=dtype, seed=1)
    return model, rng.standard_normal((n, 3)), rng.integers(0, 3, n)


def dense(model, X, y):
    """Largest eigenvalue of the Hessian, trace of the Gauss-Newton matrix, norm of the gradient."""
    n = model.n_parameters
    hessian = np.stack([model.hvp(X, y, e) for e in np.eye(n)])
    J = np.stack([model.jvp(X, e)[1] for e in np.eye(n)], axis=2)  # (rows, outputs, n)
    z = model.forward(X)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    outputs = np.einsum("ic,cd->icd", p, np.eye(3)) - np.einsum("ic,id->icd", p, p)
    trace = np.einsum("icn,icd,idn->", J, outputs, J) / len(X)
    grad = model.loss_and_grad(X, y)[1]
    return np.linalg.eigvalsh(hessian)[-1], trace, np.linalg.norm(grad)


KEYS = ["max_eigenvalue", "gauss_newton_trace", "grad_norm"]


@pytest.mark.parametrize("activation", [fnn.ReLU(), fnn.Tanh()], ids=repr)
def test_what_it_records(rng, activation):
    model, X, y = problem(rng, activation)
    keep, monitor = Keep(), fnn.CurvatureMonitor(X, y)
    history = model.fit(
        X, y, loss="cross_entropy", epochs=3, callbacks=[keep, monitor], batch_size=10, verbose=0
    )
    for epoch, then in enumerate(keep.models):
        expected = dense(then, X, y)
        actual = [history[key][epoch] for key in KEYS]
        np.testing.assert_allclose(actual[0], expected[0], rtol=2e-3)
        np.testing.assert_allclose(actual[1:], expected[1:], rtol=1e-10)
        assert all(type(value) is float for value in actual)


def test_it_changes_nothing(rng):
    model, X, y = problem(rng)
    alone = copy.copy(model)
    model.fit(X, y, loss="cross_entropy", callbacks=[fnn.CurvatureMonitor(X, y)], verbose=0)
    alone.fit(X, y, loss="cross_entropy", verbose=0)
    np.testing.assert_array_equal(model.parameters, alone.parameters)


def test_every_few_epochs(rng):
    model, X, y = problem(rng)
    monitor = fnn.CurvatureMonitor(X, y, every=3)
    history = model.fit(X, y, loss="cross_entropy", epochs=7, callbacks=[monitor], verbose=0)
    for key in KEYS:
        np.testing.assert_array_equal(np.isfinite(history[key]), [0, 0, 1, 0, 0, 1, 0])


def test_the_sample_is_fixed(rng):
    """Each measurement is on the same rows, which are some of those that were given."""
    model, X, y = problem(rng, n=40)
    monitor = fnn.CurvatureMonitor(X, y, n_samples=10, seed=3)
    still = fnn.optim.SGD(lr=0.0)
    options = {"loss": "cross_entropy", "optimizer": still, "epochs": 2, "verbose": 0}
    history = model.fit(X, y, callbacks=[monitor], **options)
    norms = history["grad_norm"]
    assert norms[0] == norms[1]
    other = fnn.CurvatureMonitor(X, y, n_samples=10, seed=4)
    assert model.fit(X, y, callbacks=[other], **options)["grad_norm"][0] != norms[0]
    everything = model.fit(X, y, callbacks=[fnn.CurvatureMonitor(X, y)], **options)
    np.testing.assert_allclose(everything["grad_norm"][0], dense(model, X, y)[2], rtol=1e-10)


def test_labels_that_are_strings(rng):
    model, X, y = problem(rng)
    y = np.array(["a", "b", "c"])[y]
    monitor = fnn.CurvatureMonitor(X, y)
    history = model.fit(X, y, loss="cross_entropy", epochs=1, callbacks=[monitor], verbose=0)
    assert history["max_eigenvalue"][0] > 0


def test_parameters_that_overflow_are_nan(rng):
    model, X, y = problem(rng, dtype="float32")
    model.build(3)
    record = {}
    model.loss = "cross_entropy"
    model.parameters[0] = np.inf
    fnn.CurvatureMonitor(X, y).on_epoch_end(model, 0, record)
    assert list(record) == KEYS and np.isnan(list(record.values())).all()


@pytest.mark.parametrize("loss", ["cross_entropy", "mae"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loss_that_has_no_curvature_left(dtype, loss):
    """Of sure predictions, and of errors that cancel: what rounding leaves is not symmetric."""
    rng = np.random.default_rng(1)
    X = 10 * rng.standard_normal((200, 10))
    y = (X[:, 0] > 0).astype(int)
    if loss == "mae":
        X, y = np.r_[X, X], np.r_[np.full(200, 1e3), np.full(200, -1e3)]
    for seed in range(20):
        layers = [fnn.Dense(32), fnn.ReLU() if loss == "cross_entropy" else fnn.Tanh()]
        model = fnn.Sequential([*layers, fnn.Dense(2 - (loss == "mae"))], dtype=dtype, seed=seed)
        monitor = fnn.CurvatureMonitor(X, y)
        history = model.fit(X, y, loss=loss, epochs=1, callbacks=[monitor], verbose=0)
        assert np.isfinite([history[key] for key in KEYS]).all()


def test_refused_before_the_training(rng):
    model, X, y = problem(rng)
    loss = fnn.losses.CrossEntropy(confidence_penalty=0.1)
    with pytest.raises(ValueError, match="confidence"):
        model.fit(X, y, loss=loss, callbacks=[fnn.CurvatureMonitor(X, y, every=100)], verbose=0)
    assert model.epochs_trained == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every": 0}, "every: expected an integer from 1"),
        ({"n_samples": 0}, "n_samples: expected an integer from 1"),
        ({"seed": -1}, "seed: expected an integer from 0"),
        ({"y": np.zeros(3)}, r"y: expected shape \(30,\) or \(30, outputs\), got \(3,\)"),
        ({"X": np.zeros((0, 3)), "y": []}, r"X: expected at least one row, got shape \(0, 3\)"),
    ],
)
def test_impossible_arguments(rng, arguments, message):
    _, X, y = problem(rng)
    with pytest.raises(ValueError, match=message):
        fnn.CurvatureMonitor(**({"X": X, "y": y} | arguments))
