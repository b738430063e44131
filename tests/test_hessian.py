"""Products with Hessians and Jacobians against dense matrices: by differences, and by torch."""

from __future__ import annotations

import numpy as np
import pytest

import autodiff
from conftest import FULL
from problems import NETWORKS, RELU, SIGMOID, TANH, TARGETS, dense, draw

SMALL = {
    "relu": (4, [dense(6), RELU, dense(5), RELU, dense(3)]),
    "tanh": (4, [dense(6), TANH, dense(5), TANH, dense(3)]),
    "sigmoid": (4, [dense(6), SIGMOID, dense(5), SIGMOID, dense(3)]),
    "mixed": (3, [dense(5), TANH, RELU, dense(6), SIGMOID, dense(4), RELU, TANH, dense(2)]),
    "activations at both ends": (5, [TANH, dense(4), SIGMOID, dense(3), TANH, SIGMOID]),
    "linear": (4, [dense(3), dense(5), dense(2)]),
    "one layer": (6, [dense(4)]),
}
ROWS = 9

small_networks = pytest.mark.parametrize("name", SMALL)
every_target = pytest.mark.parametrize("target", TARGETS)


def relative_error(actual, expected):
    return np.abs(actual - expected).max(initial=0) / max(np.abs(expected).max(initial=0), 1e-300)


def central_differences(function, x, step=1e-5):
    """Dense Jacobian (outputs, inputs) of a function of a vector."""
    columns = []
    for i in range(x.size):
        ends = []
        for sign in (1, -1):
            moved = x.copy()
            moved[i] += sign * step
            ends.append(np.ravel(function(moved)))
        columns.append((ends[0] - ends[1]) / (2 * step))
    return np.stack(columns, axis=1)


def hessian_by_products(problem):
    """Dense Hessian, one product with each unit vector."""
    return np.stack([problem.hvp(unit) for unit in np.eye(problem.net.n_parameters)], axis=1)


def gradient_at(problem):
    def gradient(parameters):
        grad = problem.empty_vector()
        problem.net.loss_and_grad(parameters, problem.X, problem.y, problem.loss, grad)
        return grad

    return gradient


@small_networks
@every_target
def test_hvp_equals_dense_hessian(isa, rng, name, target):
    problem = draw(rng, *SMALL[name], ROWS, "float64", target, margin=1e-3)
    hessian = hessian_by_products(problem)
    differences = central_differences(gradient_at(problem), problem.parameters)
    assert relative_error(hessian, differences) < 1e-7
    assert relative_error(hessian, hessian.T) < 1e-13
    v = problem.vector(rng)
    assert relative_error(problem.hvp(v), hessian @ v) < 1e-12


@small_networks
@every_target
def test_hvp_equals_automatic_differentiation(isa, rng, name, target):
    torch = autodiff.torch()
    problem = draw(rng, *SMALL[name], ROWS, "float64", target)
    function = autodiff.loss_function(problem.reference, problem.X, problem.y, problem.loss)
    parameters = torch.tensor(problem.parameters)
    expected = torch.autograd.functional.hessian(function, parameters).numpy()
    assert relative_error(hessian_by_products(problem), expected) < 1e-12


@pytest.mark.parametrize("name", NETWORKS)
@every_target
def test_gradient_and_hvp_equal_automatic_differentiation(isa, rng, name, target):
    torch = autodiff.torch()
    problem = draw(rng, *NETWORKS[name], 33, "float64", target)
    if problem.net.n_parameters == 0:
        pytest.skip("a network without parameters has no gradient in torch")
    v = problem.vector(rng)
    function = autodiff.loss_function(problem.reference, problem.X, problem.y, problem.loss)
    parameters = torch.tensor(problem.parameters, requires_grad=True)
    value = function(parameters)
    (gradient,) = torch.autograd.grad(value, parameters, create_graph=True)
    (product,) = torch.autograd.grad(gradient @ torch.tensor(v), parameters)
    core_value, core_gradient = problem.loss_and_grad()
    assert abs(core_value - value.item()) <= 1e-13 * abs(value.item())
    assert relative_error(core_gradient, gradient.detach().numpy()) < 1e-12
    assert relative_error(problem.hvp(v), product.numpy()) < 1e-12


@small_networks
def test_jvp_and_vjp_equal_dense_jacobian(isa, rng, name):
    problem = draw(rng, *SMALL[name], ROWS, "float64", margin=1e-3)
    net, dout = problem.net, rng.standard_normal((ROWS, problem.net.out_features))

    def outputs(parameters, X):
        out = np.empty_like(dout)
        net.forward(parameters, X, out)
        return out

    in_parameters = central_differences(lambda p: outputs(p, problem.X), problem.parameters)
    in_X = central_differences(
        lambda x: outputs(problem.parameters, x.reshape(problem.X.shape)), problem.X.ravel()
    )
    v = problem.vector(rng)
    out, tangent = problem.jvp(v)
    assert relative_error(out, problem.forward()) < 1e-14
    assert relative_error(tangent.ravel(), in_parameters @ v) < 1e-8
    out, dparameters, dX = problem.vjp(dout)
    assert relative_error(out, problem.forward()) < 1e-14
    assert relative_error(dparameters, in_parameters.T @ dout.ravel()) < 1e-8
    assert relative_error(dX.ravel(), in_X.T @ dout.ravel()) < 1e-8


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("rows", [1, 14, 40])
def test_adjoint_identities(isa, rng, name, rows):
    """<dout, J v> = <J.T dout, v>, and <w, H v> = <v, H w>."""
    for _ in range(20 if FULL else 2):
        problem = draw(rng, *NETWORKS[name], rows, "float64", "labels")
        v, w = problem.vector(rng), problem.vector(rng)
        dout = rng.standard_normal((rows, problem.net.out_features))
        left, right = (dout * problem.jvp(v)[1]).sum(), problem.vjp(dout)[1] @ v
        size = np.linalg.norm(dout) * np.linalg.norm(problem.jvp(v)[1])
        assert abs(left - right) <= 1e-13 * size
        left, right = w @ problem.hvp(v), v @ problem.hvp(w)
        size = np.linalg.norm(w) * np.linalg.norm(problem.hvp(v))
        assert abs(left - right) <= 1e-12 * size


@every_target
def test_products_are_linear(isa, dtype, rng, target):
    """The product with 2 v is twice that with v, bit for bit; with 0 it is 0."""
    problem = draw(rng, *NETWORKS["deep"], 21, dtype, target)
    v = problem.vector(rng)
    np.testing.assert_array_equal(problem.hvp(2 * v), 2 * problem.hvp(v))
    np.testing.assert_array_equal(problem.jvp(2 * v)[1], 2 * problem.jvp(v)[1])
    assert not problem.hvp(0 * v).any()
    assert not problem.jvp(0 * v)[1].any()
