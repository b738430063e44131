"""Sharpness in three senses, against losses whose worst points are known in closed form."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import pyfast_nn as fnn
from pyfast_nn.curvature import sharpness

pytestmark = pytest.mark.once


def least_squares(rng, n=40, d=5, noise=1.0):
    """A linear model at the minimum of its squared error; the Hessian of that, and its minimum."""
    X = rng.standard_normal((n, d)) * np.geomspace(1, 0.1, d)
    y = X @ rng.standard_normal(d) + noise * rng.standard_normal(n)
    A = np.c_[X, np.ones(n)]
    w = np.linalg.lstsq(A, y, rcond=None)[0]
    model = fnn.Sequential([fnn.Dense(1)], dtype="float64").build(d)
    model.parameters = w
    return model, X, y, 2 / n * A.T @ A, np.mean((A @ w - y) ** 2)


def corners(n):
    return np.array(np.meshgrid(*[[-1, 1]] * n)).reshape(n, -1).T


def classifier(seed=0, dtype="float64"):
    """A network trained on digits until it fits them, and these rows."""
    X, y = fnn.datasets.load_digits()
    X, y = X[:300] / 16, y[:300]
    model = fnn.Sequential([fnn.Dense(16), fnn.Tanh(), fnn.Dense(10)], dtype=dtype, seed=seed)
    adam = fnn.optim.Adam(lr=0.01)
    model.fit(X, y, loss="cross_entropy", optimizer=adam, epochs=30, verbose=0)
    return model, X, y


class TestBall:
    @pytest.mark.parametrize("radius", [0.05, 2.0])
    def test_one_step_is_that_of_the_paper(self, rng, radius):
        model, X, y, H, _ = least_squares(rng)
        shift = rng.standard_normal(6)
        model.parameters += shift
        before = model.parameters.copy()
        g = H @ shift
        e = radius * g / np.linalg.norm(g)
        expected = g @ e + e @ H @ e / 2
        actual = sharpness(model, X, y, "ball", loss="mse", radius=radius, max_iter=1)
        np.testing.assert_allclose(actual, expected, rtol=1e-10)
        np.testing.assert_array_equal(model.parameters, before)

    def test_radius_is_that_of_the_paper_by_default(self, rng):
        model, X, y, _, _ = least_squares(rng)
        model.parameters += 1
        values = [sharpness(model, X, y, "ball", loss="mse", radius=r) for r in (None, 0.05)]
        assert values[0] == values[1]

    def test_further_steps_find_the_worst_point_at_a_minimum(self, rng):
        """There it is radius times the first eigenvector: what one step does not see."""
        model, X, y, H, _ = least_squares(rng)
        model.parameters += 1e-7 * rng.standard_normal(6)
        worst = 0.3**2 / 2 * np.linalg.eigvalsh(H)[-1]
        one, ten, many = (
            sharpness(model, X, y, "ball", loss="mse", radius=0.3, max_iter=k) for k in (1, 10, 200)
        )
        assert one <= ten <= many <= worst * (1 + 1e-6)
        np.testing.assert_allclose(many, worst, rtol=1e-5)
        assert one < 0.999 * worst

    def test_worst_point_away_from_a_minimum(self, rng):
        """Of a convex quadratic the worst point solves (mu I - H) e = g with |e| = radius."""
        model, X, y, H, _ = least_squares(rng)
        shift = 0.05 * rng.standard_normal(6)
        model.parameters += shift
        g, values, U = H @ shift, *np.linalg.eigh(H)
        low, high = values[-1] * (1 + 1e-12), values[-1] + 1e3
        for _ in range(200):
            mu = (low + high) / 2
            e = U @ ((U.T @ g) / (mu - values))
            low, high = (mu, high) if np.linalg.norm(e) > 0.2 else (low, mu)
        actual = sharpness(model, X, y, "ball", loss="mse", radius=0.2, max_iter=300)
        np.testing.assert_allclose(actual, g @ e + e @ H @ e / 2, rtol=1e-8)


class TestBox:
    @pytest.mark.parametrize("radius", [1e-3, 0.1])
    def test_worst_corner(self, rng, radius):
        """A convex quadratic is largest in a corner, and the box has 64."""
        model, X, y, H, f = least_squares(rng)
        w = model.parameters.copy()
        model.parameters = w + 0.05 * rng.standard_normal(6)
        loss = model.evaluate(X, y, loss="mse")["loss"]
        z = radius * (np.abs(model.parameters) + 1) * corners(6)
        away = model.parameters - w + z
        worst = f + np.max(np.sum(away * (away @ H), axis=1)) / 2
        expected = 100 * (worst - loss) / (1 + loss)
        actual = sharpness(model, X, y, "box", loss="mse", radius=radius)
        np.testing.assert_allclose(actual, expected, rtol=1e-9)

    def test_radius_is_that_of_the_paper_by_default(self, rng):
        model, X, y, _, _ = least_squares(rng)
        values = [sharpness(model, X, y, "box", loss="mse", radius=r) for r in (None, 1e-3)]
        assert values[0] == values[1] > 0

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_beats_signs_of_the_gradient_at_a_minimum(self, dtype):
        """No worse than the corner that the gradient points to, whose loss is a lower bound."""
        model, X, y = classifier(dtype=dtype)
        before = model.parameters.copy()
        loss, grad = model.loss_and_grad(X, y)
        value = sharpness(model, X, y, "box", radius=1e-2)
        np.testing.assert_array_equal(model.parameters, before)
        model.parameters += 1e-2 * (np.abs(model.parameters) + 1) * np.sign(grad)
        corner = 100 * (model.evaluate(X, y)["loss"] - loss) / (1 + loss)
        assert corner < value < 3 * corner


class TestEigenvalue:
    def test_of_least_squares(self, rng):
        model, X, y, H, _ = least_squares(rng)
        values = np.linalg.eigvalsh(H)
        np.testing.assert_allclose(sharpness(model, X, y, loss="mse"), values[-1], rtol=1e-9)

    def test_of_a_network(self, rng, dtype):
        """Where the Hessian has negative eigenvalues that are larger in absolute value."""
        layers = [fnn.Dense(5), fnn.Tanh(), fnn.Dense(3)]
        model = fnn.Sequential(layers, dtype=dtype).build(4)
        model.parameters = 2 * rng.standard_normal(model.n_parameters)
        X, y = rng.standard_normal((20, 4)), 9 * rng.standard_normal((20, 3))
        units = np.eye(model.n_parameters)
        H = np.stack([np.float64(model.hvp(X, y, e, loss="mse")) for e in units])
        values = np.linalg.eigvalsh((H + H.T) / 2)
        assert -values[0] > values[-1]
        np.testing.assert_allclose(sharpness(model, X, y, loss="mse"), values[-1], rtol=1e-5)


KINDS = pytest.mark.parametrize("kind", ["eigenvalue", "box", "ball"])


@KINDS
def test_weights_are_heeded(rng, kind):
    """A weight of 2 is the same row twice."""
    model, X, y, _, _ = least_squares(rng)
    model.parameters += 0.1
    twice = np.r_[:40, :10]
    actual = sharpness(model, X, y, kind, loss="mse", sample_weight=1 + (np.arange(40) < 10))
    expected = sharpness(model, X[twice], y[twice], kind, loss="mse")
    np.testing.assert_allclose(actual, expected, rtol=1e-9)


@pytest.mark.parametrize("kind", ["box", "ball"])
def test_where_the_gradient_is_exactly_zero(kind):
    """A random direction leads away from the minimum."""
    X, y = np.array([[1.0], [-1.0]]), np.array([1.0, -1.0])
    model = fnn.Sequential([fnn.Dense(1)], dtype="float64").build(1)
    model.parameters = [1.0, 0.0]
    assert sharpness(model, X, y, kind, loss="mse") > 0


@pytest.mark.parametrize("kind", ["box", "ball"])
def test_a_flat_loss_is_not_sharp(kind):
    """All units dead, and zero outputs: the gradient of the first layer is zero for good."""
    X, y = np.ones((2, 1)), np.zeros(2)
    layers = [fnn.Dense(2, init=-1.0), fnn.Step(), fnn.Dense(1, init="zeros"), fnn.Step()]
    model = fnn.Sequential(layers, dtype="float64").build(1)
    model.parameters[-1] = -1
    assert sharpness(model, X, y, kind, loss="mse") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "flat"}, "kind: expected one of eigenvalue, box, ball, got 'flat'"),
        ({"kind": "ball", "radius": 0}, "radius: expected a finite number"),
        ({"kind": "box", "radius": -1.0}, "radius: expected a finite number"),
        ({"radius": 0.1}, "radius: expected None for 'eigenvalue', got 0.1"),
        ({"kind": "ball", "max_iter": 0}, "max_iter: expected an integer from 1"),
        ({"kind": "ball", "seed": -1}, "seed: expected an integer from 0"),
        (
            {"kind": "ball", "radius": 1e170},
            "expected a finite loss and gradient at parameters that differ by",
        ),
    ],
)
def test_impossible_arguments(rng, arguments, message):
    model, X, y, _, _ = least_squares(rng)
    with pytest.raises(ValueError, match=message):
        sharpness(model, X, y, loss="mse", **arguments)


def test_without_scipy():
    code = """
import sys
sys.modules["scipy"] = sys.modules["scipy.optimize"] = None
import numpy as np
import pyfast_nn as fnn
model = fnn.Sequential([fnn.Dense(1)], dtype="float64").build(1)
X, y = np.ones((3, 1)), np.zeros(3)
assert fnn.curvature.sharpness(model, X, y, "ball", loss="mse") > 0
try:
    fnn.curvature.sharpness(model, X, y, "box", loss="mse")
except ImportError as error:
    assert "pip install 'pyfast-nn[curvature]'" in str(error)
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("kind", ["box", "ball"])
def test_no_parameters(kind):
    model = fnn.Sequential([fnn.Tanh()])
    model.build(2)
    X = np.ones((4, 2))
    assert sharpness(model, X, [0, 1, 0, 1], kind, loss="cross_entropy") == 0
