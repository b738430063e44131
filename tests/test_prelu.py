"""PReLU: its maps against LeakyReLU, NumPy and differences."""

from __future__ import annotations

import numpy as np
import pytest

import oracle
import pyfast_nn as fnn
from conftest import assert_close, assert_same_bits
from problems import activation, core_network, dense, draw
from pyfast_nn import _core
from test_hessian import central_differences, relative_error

PRELU = activation("prelu")
IN, HIDDEN, OUT = 6, 37, 3
# places of the parameters: weight and bias, slopes, weight and bias
SLOPES = slice(IN * HIDDEN + HIDDEN, IN * HIDDEN + 2 * HIDDEN)


def problem(rng, rows, dtype="float64", slope=0.25):
    """One of LeakyReLU with inputs away from zero, and that of PReLU with the same slope."""
    layers = [dense(HIDDEN), activation("leaky_relu", slope), dense(OUT)]
    leaky = draw(rng, IN, layers, rows, dtype, "labels", margin=1e-3)
    net = core_network(dtype, IN, [dense(HIDDEN), PRELU, dense(OUT)])
    first, second = np.split(leaky.parameters, [SLOPES.start])
    slopes = np.full(HIDDEN, slope, dtype)
    parameters = np.concatenate([first, slopes, second])
    return leaky, type(leaky)(net, leaky.reference, parameters, leaky.X, leaky.y, leaky.loss)


def without_slopes(vector):
    return np.delete(vector, SLOPES)


@pytest.mark.parametrize("rows", [3, 50, 1500])
def test_equal_slopes_are_leaky_relu(isa, dtype, rng, rows):
    leaky, case = problem(rng, rows, dtype)
    assert case.net.parameter_layout[2] == ("1", "weight", SLOPES.start, (HIDDEN,))
    assert_same_bits(case.forward(), leaky.forward())
    (loss, grad), (leaky_loss, leaky_grad) = case.loss_and_grad(), leaky.loss_and_grad()
    assert loss == leaky_loss
    assert_close(without_slopes(grad), leaky_grad, dtype, case.inner)
    v = case.vector(rng)
    v[SLOPES] = 0
    moved = without_slopes(v)
    for actual, expected in zip(case.jvp(v), leaky.jvp(moved), strict=True):
        assert_close(actual, expected, dtype, case.inner)
    assert_close(without_slopes(case.hvp(v)), leaky.hvp(moved), dtype, case.inner)
    dout = rng.standard_normal((rows, OUT)).astype(dtype)
    for a, b in zip(case.vjp(dout), leaky.vjp(dout), strict=True):
        assert_close(without_slopes(a) if a.ndim == 1 else a, b, dtype, case.inner)


def test_all_derivatives_against_differences(isa, rng):
    _, case = problem(rng, 20)
    case.parameters[SLOPES] = rng.uniform(-0.5, 1.5, HIDDEN)
    net, X = case.net, case.X

    def outputs(parameters):
        W, b, slopes, V, c = np.split(
            parameters, np.cumsum([IN * HIDDEN, HIDDEN, HIDDEN, HIDDEN * OUT])
        )
        x = X @ W.reshape(IN, HIDDEN) + b
        return np.where(x > 0, x, slopes * x) @ V.reshape(HIDDEN, OUT) + c

    def gradient(parameters):
        grad = case.empty_vector()
        net.loss_and_grad(parameters, X, case.y, case.loss, grad)
        return grad

    np.testing.assert_allclose(case.forward(), outputs(case.parameters), rtol=1e-12, atol=1e-12)
    jacobian = central_differences(outputs, case.parameters)
    v, dout = case.vector(rng), rng.standard_normal((20, OUT))
    assert relative_error(case.jvp(v)[1].ravel(), jacobian @ v) < 1e-8
    assert relative_error(case.vjp(dout)[1], dout.ravel() @ jacobian) < 1e-8
    z = outputs(case.parameters)
    p = np.exp(oracle.log_softmax(z))
    p[np.arange(20), case.y] -= 1
    assert relative_error(gradient(case.parameters), p.ravel() / 20 @ jacobian) < 1e-8
    hessian = central_differences(gradient, case.parameters)
    assert relative_error(case.hvp(v), hessian @ v) < 1e-7


def test_at_zero_the_slope_is_that_below(isa, dtype):
    net = _core.Network(dtype, 3, [{"kind": "prelu"}])
    X = np.array([[0.0, -0.0, 1e-30]], dtype)
    slopes = np.array([0.5, 0.25, 0.75], dtype)
    out, dparameters, dX = np.empty_like(X), np.empty_like(slopes), np.empty_like(X)
    net.vjp(slopes, X, out)(np.ones_like(X), dparameters, dX)
    np.testing.assert_array_equal(dX, np.array([[0.5, 0.25, 1]], dtype))
    np.testing.assert_array_equal(dparameters, 0)


def test_same_bits_for_any_team(isa, dtype, rng, restore_threads):
    _, case = problem(rng, 900, dtype)
    v, results = case.vector(rng), []
    for n in (1, 2, 3, 8):
        _core.set_num_threads(n)
        results.append([case.loss_and_grad()[1], case.hvp(v)])
    for other in results[1:]:
        for a, b in zip(other, results[0], strict=True):
            assert_same_bits(a, b)


def test_traces_are_exact(rng):
    """It is piecewise linear for given slopes, and linear in these."""
    X, y = rng.standard_normal((30, 5)), rng.integers(0, 3, 30)
    model = fnn.Sequential(
        [fnn.Dense(7), fnn.PReLU(), fnn.Dense(3), fnn.PReLU()], dtype="float64", seed=2
    )
    operator = fnn.curvature.Hessian(model.build(5), X, y, loss="cross_entropy")
    dense = np.stack([operator @ unit for unit in np.eye(model.n_parameters)])
    np.testing.assert_allclose(fnn.curvature.exact_trace(operator), np.trace(dense), rtol=1e-10)
    diagonal = fnn.curvature.exact_diagonal(operator)
    np.testing.assert_allclose(diagonal, np.diag(dense), rtol=1e-9, atol=1e-12)


def test_as_a_layer(rng, tmp_path):
    X = rng.standard_normal((200, 4))
    y = np.where(X[:, 0] > 0, X[:, 0], -0.7 * X[:, 0])
    model = fnn.Sequential([fnn.Dense(16), fnn.PReLU(), fnn.Dense(1)], dtype="float64", seed=0)
    model.build(4)
    slopes = model.named_parameters()["1.weight"]
    np.testing.assert_array_equal(slopes, np.full(16, 0.25))
    weight = model.named_parameters()["0.weight"]
    relu = fnn.Sequential(
        [fnn.Dense(16), fnn.LeakyReLU(0.25), fnn.Dense(1)], seed=0, dtype="float64"
    )
    np.testing.assert_array_equal(weight, relu.build(4).named_parameters()["0.weight"])
    model.fit(X, y, loss="mse", epochs=200, optimizer=fnn.optim.Adam(lr=0.02))
    assert model.evaluate(X, y)["loss"] < 1e-2 and not np.allclose(slopes, 0.25)
    model.save(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(
        fnn.load(tmp_path / "model.safetensors").forward(X), model.forward(X)
    )


def test_gradients_equal_torch(rng):
    torch = pytest.importorskip("torch")
    X, slopes = rng.standard_normal((9, 5)), rng.uniform(-1, 1, 5)
    X[0] = 0
    net = _core.Network("float64", 5, [{"kind": "prelu"}])
    out, dX, dw = np.empty_like(X), np.empty_like(X), np.empty(5)
    net.vjp(slopes, X, out)(dout := rng.standard_normal(X.shape), dw, dX)
    x, w = (torch.tensor(v, requires_grad=True) for v in (X, slopes))
    expected = torch.nn.functional.prelu(x, w)
    expected.backward(torch.tensor(dout))
    for a, b in ((out, expected.detach()), (dX, x.grad), (dw, w.grad)):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-13, atol=1e-14)
