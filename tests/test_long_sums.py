"""Sums over very many rows: float32 loses no digits by their number."""

import numpy as np
import pytest

import pyfast_nn as fnn
from pyfast_nn import curvature

N = 300_000
SLACK = 2e-6  # of float32, whose eps is 1e-7; added up in float32 they are wrong by 1e-4


@pytest.fixture(scope="module")
def examples():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(N, 2))
    return X.astype(np.float32), (3 * X[:, 0] + rng.uniform(size=N)).astype(np.float32)


def model_of(dtype):
    """One whose sums have terms of one sign."""
    model = fnn.Sequential([fnn.Dense(2), fnn.Softplus(), fnn.Dense(1)], dtype=dtype, seed=0)
    model.build(2).parameters = [0.5, 0.4, 0.3, 0.2, 0.1, 0.2, 0.3, 0.4, -1.0]
    return model


def gradient(model, X, y):
    return model.loss_and_grad(X, y, loss="mse")[1]


def weighted_gradient(model, X, y):
    return model.loss_and_grad(X, y, loss="mse", sample_weight=1 + X[:, 0])[1]


def hessian_product(model, X, y):
    return model.hvp(X, y, np.ones(9), loss="mse")


def operators(model, X, y):
    H = curvature.Hessian(model, X, y, loss="mse")
    G = curvature.GaussNewton(model, X, y, loss="mse")
    V = np.eye(9)[:, ::3] + 1
    traces = [curvature.exact_trace(G)], H.quadratic_form(V), curvature.exact_diagonal(G)
    return np.concatenate([(H @ V).ravel(), (G @ V).ravel(), *traces])


def transposed_jacobian(model, X, y):
    return curvature.Jacobian(model, X).T @ np.full(len(X), 1 / len(X))


def pullback(model, X, y):
    return model.vjp(X)[1](np.full((len(X), 1), 1 / len(X)))[0]


def dense_backward(model, X, y):
    dz = np.ones((len(X), 1), model.dtype)
    _, dw, db = fnn.ops.dense_backward(dz, X.astype(model.dtype), np.ones((2, 1), model.dtype))
    return np.append(dw, db) / len(X)


def gemm(model, X, y):
    X = X.astype(model.dtype)
    return fnn.ops.gemm(X, y.astype(model.dtype)[:, None], trans_a=True, alpha=1 / len(X)).ravel()


def step(model, X, y, batch_size, **options):
    before = model.parameters.astype(np.float64)
    sgd = fnn.optim.SGD(lr=1.0, **options.pop("optimizer", {}))
    given = {"loss": "mse", "optimizer": sgd, "batch_size": batch_size, "shuffle": False}
    model.fit(X, y, **given, epochs=1, verbose=0, **options)
    return before - model.parameters


def whole_batch(model, X, y):
    return step(model, X, y, len(X))


def accumulated(model, X, y):
    return step(model, X, y, 100, gradient_accumulation_steps=len(X))


def stepwise(model, X, y):
    return step(model, X, y, len(X), optimizer={"clip_norm": 1e9})


@pytest.mark.parametrize(
    "compute",
    [
        gradient,
        weighted_gradient,
        hessian_product,
        operators,
        transposed_jacobian,
        pullback,
        dense_backward,
        gemm,
        whole_batch,
        accumulated,
        stepwise,
    ],
    ids=lambda function: function.__name__,
)
def test_digits(isa, examples, compute):
    expected = compute(model_of("float64"), *examples)
    actual = compute(model_of("float32"), *examples)
    np.testing.assert_allclose(actual, expected, rtol=SLACK, atol=SLACK * abs(expected).max())


@pytest.mark.parametrize("compute", [gradient, hessian_product, gemm, whole_batch, accumulated])
def test_threads(examples, compute, restore_threads):
    """Parts are cut by the number of rows: the same bits for any team."""
    X, y = (part[:5000] for part in examples)
    results = []
    for threads in (1, 2, 5):
        fnn.set_num_threads(threads)
        results.append(compute(model_of("float32"), X, y).tobytes())
    assert len(set(results)) == 1
