"""Losses of scores that are infinite, or so large that differences of them are.

The reference is the float64 formula in long double, whose range is so much wider that a number of
the size of `FAR` stands for infinity, and the formula's value there for the limit.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import oracle
import pyfast_nn as fnn
from conftest import tolerance
from pyfast_nn import _core
from test_losses import CASES, Outputs, every_case

FAR = np.longdouble("1e4000")
pytestmark = pytest.mark.skipif(not np.isfinite(FAR), reason="long double is no wider than double")


def far(z):
    """Return z (n, k) in long double, with numbers in place of infinities."""
    z = z.astype(np.longdouble)
    return np.where(np.isinf(z), np.copysign(FAR, z), z)


def rounded(x, dtype):
    """Return a limit as the dtype has it."""
    with np.errstate(over="ignore"):
        return np.asarray(x).astype(dtype).astype(np.float64)


def scores(case, dtype):
    """Return rows (n, 3) of scores, of which every one is finite, huge or infinite."""
    huge = np.finfo(dtype).max * 0.6
    kinds = [0.0, 1.5, -2.5, huge, -huge, np.inf, -np.inf]
    rows = np.array([*itertools.product(kinds, repeat=3)], dtype)
    if CASES[case][0][0] in ("cross_entropy", "multi_margin"):
        # of several that are the same infinity there is no limit
        rows = rows[[len({*row}) == 3 or not np.isinf(row).any() for row in rows]]
    return rows


def targets(case, rows, rng, dtype):
    kind = CASES[case][1]
    if kind == "labels":
        return rng.integers(0, 3, rows)
    if kind == "probabilities":
        y = rng.dirichlet(np.ones(3), rows)
        y[::2] = np.eye(3)[rng.integers(0, 3, len(y[::2]))]
    else:
        numbers = {
            "binary": [0, 1],
            "chances": [0, 0.25, 1],
            "signs": [-1, 1],
            "values": [0, 1.5, -3, np.finfo(dtype).max * -0.6],
            "counts": [0, 1, 5],
        }[kind]
        y = rng.choice(np.array(numbers, dtype), (rows, 3))
    return y.astype(dtype)


def value_of(z, y, loss, dtype):
    """Return the loss of a row: infinite if that of one output is beyond the dtype."""
    name, parameters = loss
    if name in oracle.ELEMENTWISE:
        return rounded(oracle.ELEMENTWISE[name][0](z, y, **parameters), dtype).mean(dtype=z.dtype)
    return oracle.loss_value(z, y, loss)


def agree(actual, expected, dtype, size=1):
    """Compare with limits: infinite where these are, of the same sign, else to rounding."""
    expected = rounded(expected, dtype)
    actual = np.asarray(actual, np.float64)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite])
    atol = tolerance(dtype, 8) * size
    np.testing.assert_allclose(actual[finite], expected[finite], rtol=tolerance(dtype), atol=atol)


@every_case
def test_limits(isa, dtype, rng, case):
    """Each row by itself: its value, its gradient, and its Hessian times a direction."""
    loss, _ = CASES[case]
    Z = scores(case, dtype)
    y = targets(case, len(Z), rng, dtype)
    for z, target in zip(Z, y, strict=True):
        z, target = z[None], np.asarray(target)[None]
        dz = rng.uniform(-1, 1, z.shape).astype(dtype)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            exact = far(z)
            expected = [
                value_of(exact, target, loss, dtype),
                oracle.loss_gradient(exact, target, loss),
                oracle.loss_hvp(exact, dz.astype(np.longdouble), target, loss),
            ]
        value, gradient = _core.loss(loss, z, target, None, None)
        agree(value, expected[0], dtype)
        if loss[0] in ("mse", "poisson") and np.isinf(value):
            continue  # so may be the gradient
        agree(gradient, expected[1], dtype)
        value, gradient, product = Outputs(z).derivatives(target, loss, dz)
        agree(value, expected[0], dtype)
        agree(gradient, expected[1], dtype)
        agree(product, expected[2], dtype)


@pytest.mark.parametrize("case", ["cross_entropy", "smoothed", "penalised", "both"])
@pytest.mark.parametrize("tie", [[np.inf, 0, np.inf], [-np.inf] * 3, [np.inf] * 3])
def test_scores_without_an_order_are_nan(isa, dtype, rng, case, tie):
    """A softmax of several scores that are the same infinity has no limit."""
    loss, _ = CASES[case]
    Z = np.array([[0, 1, 2], tie, [3, 2, 1]], dtype)
    y = targets(case, 3, rng, dtype)
    value, gradient = _core.loss(loss, Z, y, None, None)
    assert np.isnan(value)
    assert np.isnan(gradient).tolist() == [[False] * 3, [True] * 3, [False] * 3]
    assert np.isnan(Outputs(Z[1:2]).derivatives(y[1:2], loss, Z[:1])[2]).all()
    for function in (fnn.ops.softmax, fnn.ops.log_softmax):
        assert np.isnan(function(Z)).tolist() == [[False] * 3, [True] * 3, [False] * 3]


@pytest.mark.parametrize("k", [1, 2, 3, 16, 17, 40])
def test_softmax(isa, dtype, rng, k):
    kinds = np.array([0.0, 2, -3, np.finfo(dtype).max * 0.6, np.finfo(dtype).max * -0.6, -np.inf])
    Z = rng.choice(kinds, (50, k)).astype(dtype)
    Z[::3, k // 2] = np.inf
    Z[np.isneginf(Z).all(axis=1), 0] = 1
    with np.errstate(under="ignore"):
        expected = oracle.log_softmax(far(Z))
        agree(fnn.ops.log_softmax(Z), expected, dtype)
        agree(fnn.ops.softmax(Z), np.exp(expected), dtype)
    da = rng.standard_normal(Z.shape).astype(dtype)
    p = np.exp(expected)
    expected = p * (da - (p * da).sum(axis=1, keepdims=True))
    agree(fnn.ops.softmax_backward(da, Z), expected, dtype)
    model = fnn.Sequential([fnn.Softmax()], dtype=dtype)
    agree(model.forward(Z), p, dtype)


@every_case
def test_nan_arrives_beside_infinity(isa, dtype, rng, case):
    loss, _ = CASES[case]
    for row in ([np.nan, 0, np.inf], [-np.inf, np.nan, 0], [np.inf, -np.inf, np.nan]):
        z = np.array([row], dtype)
        for y in (targets(case, 1, rng, dtype) for _ in range(4)):
            value, gradient = _core.loss(loss, z, y, None, None)
            assert np.isnan(value) and np.isnan(gradient).any()


@pytest.mark.once
def test_of_the_issue():
    value, gradient = fnn.ops.multi_margin([[1, -np.inf, 2.0]], [0])
    assert value == pytest.approx(2 / 3)
    np.testing.assert_allclose(gradient, [[-1 / 3, 0, 1 / 3]])
    z = np.array([[2e38, -2e38, 0]], np.float32)
    for label, expected, slopes in [
        (0, 0, [0, 0, 0]),
        (1, 2e38, [1 / 3, -2 / 3, 1 / 3]),
        (2, 2e38 / 3, [1 / 3, 0, -1 / 3]),
    ]:
        value, gradient = fnn.ops.multi_margin(z, [label])
        assert value == pytest.approx(expected, rel=1e-6)
        np.testing.assert_allclose(gradient, [slopes], rtol=1e-6)


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "hinge", "multi_margin"])
def test_a_network_of_huge_weights(isa, dtype, loss):
    """Its scores overflow, and are infinitely sure; who is right has loss and gradient 0."""
    k = 1 if loss in ("binary_cross_entropy", "hinge") else 2
    model = fnn.Sequential([fnn.Dense(3), fnn.ReLU(), fnn.Dense(k)], dtype=dtype).build(2)
    weights = model.named_parameters()
    huge = np.finfo(dtype).max * 0.5
    weights["0.weight"][:] = [[1, 0, 0], [0, 1, 0]]
    weights["2.weight"][:] = (np.array([[1], [-1], [0]]) * [[1, -1]][0][:k]) * huge
    X = np.array([[10.0, 0.5], [0.5, 10]])
    out = model.forward(X)
    assert np.isinf(out).all()
    right = {"hinge": [1, -1], "binary_cross_entropy": [1, 0]}.get(loss, [0, 1])
    v = np.ones(model.n_parameters)
    v[:9] = 0  # along the weights in front, the scores change infinitely fast
    value, grad = model.loss_and_grad(X, right, loss=loss)
    assert value == 0 and (grad == 0).all()
    assert (model.hvp(X, right, v, loss=loss) == 0).all()
    value, grad = model.loss_and_grad(X[:1], right[1:], loss=loss)
    assert value == np.inf and np.isfinite(grad[-k:]).all() and grad[-k:].all()
    if loss.endswith("entropy"):
        p = model.predict_proba(X, loss=loss)
        np.testing.assert_array_equal(p, np.eye(2)[::-1] if k == 1 else np.eye(2))
