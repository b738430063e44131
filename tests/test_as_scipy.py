"""Optimizers as methods of `scipy.optimize.minimize`: loops by hand, and SciPy's own methods."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

import pyfast_nn as fnn
from pyfast_nn.optim import as_scipy

optimize = pytest.importorskip("scipy.optimize", reason="SciPy calls the method")

pytestmark = pytest.mark.once

NAMES = [name for name in fnn.optim.__all__ if name not in ("Optimizer", "as_scipy")]


def quadratic(n=6, seed=0):
    """Return a convex function with its gradient, where it is least, and its Hessian."""
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    hessian = (q * np.linspace(1, 4, n)) @ q.T
    best = rng.normal(size=n)

    def fun(x):
        slope = hessian @ (x - best)
        return 0.5 * (x - best) @ slope, slope

    return fun, best, hessian


def adam_by_hand(fun, x, steps, lr, low=-np.inf, high=np.inf):
    """Return the points of Adam with projection (steps + 1, n)."""
    m, v, points = 0.0, 0.0, [np.clip(x, low, high)]
    for t in range(1, steps + 1):
        _, g = fun(points[-1])
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        step = lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        points.append(np.clip(points[-1] - step, low, high))
    return np.array(points)


def test_the_points_are_those_of_a_loop_by_hand():
    fun, _, _ = quadratic()
    x0 = np.linspace(-3, 3, 6)
    low, high = np.full(6, -1.0), np.array([0.1, 2, 2, 2, 2, np.inf])
    for bounds, limits in [(None, ()), (optimize.Bounds(low, high), (low, high))]:
        points = []
        result = optimize.minimize(
            fun,
            x0,
            jac=True,
            method=as_scipy("adam", lr=0.1, max_steps=40),
            bounds=bounds,
            callback=points.append,
        )
        expected = adam_by_hand(fun, x0, 40, 0.1, *limits)
        np.testing.assert_allclose(points, expected[1:], atol=1e-13)
        np.testing.assert_array_equal(result.x, points[-1])  # the last one
        assert result.fun == fun(result.x)[0] and (result.jac == fun(result.x)[1]).all()
        assert (result.nit, result.nfev, result.njev) == (40, 41, 41)
        assert (result.success, result.status) == (False, 1)
        assert "Maximum number of steps" in result.message
    np.testing.assert_array_equal(x0, np.linspace(-3, 3, 6))


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer(name):
    fun, _, _ = quadratic()
    kind = getattr(fnn.optim, name)
    hyper = {"lr": 0.01} | ({"fallback": "adam"} if name == "Muon" else {})
    for optimizer in (name.upper(), name.lower(), kind):
        result = optimize.minimize(
            fun, np.ones(6), jac=True, method=as_scipy(optimizer, max_steps=5, **hyper)
        )
        x = np.ones(6)
        update = kind(x, **hyper)
        for _ in range(5):
            update.step(fun(x)[1])
        assert not np.array_equal(x, np.ones(6))
        np.testing.assert_array_equal(result.x, x)


@pytest.mark.parametrize(
    ("name", "hyper"),
    [
        ("sgd", {"lr": 0.2}),
        ("sgd", {"lr": 0.1, "momentum": 0.8, "nesterov": True}),
        ("adagrad", {"lr": 0.5}),
        ("adam", {"lr": 0.05}),
        ("rprop", {"lr": 0.1}),
        ("lion", {"lr": lambda step: 0.2 * 0.98**step}),
    ],
)
def test_minima_of_convex_functions(name, hyper):
    fun, best, _ = quadratic()
    method = as_scipy(name, max_steps=5000, **hyper)
    result = optimize.minimize(fun, np.zeros(6), jac=True, method=method)
    assert result.success and result.status == 0 and 0 < result.nit < 5000
    np.testing.assert_allclose(result.x, best, atol=1e-5)
    assert np.abs(result.jac).max() <= 1e-5


def test_tol_is_the_largest_component_of_the_gradient():
    fun, _, _ = quadratic()
    method = as_scipy("sgd", lr=0.1)
    points = [np.zeros(6)]
    result = optimize.minimize(
        fun, points[0], jac=True, method=method, tol=1e-3, callback=points.append
    )
    norms = [np.abs(fun(x)[1]).max() for x in points]
    assert result.success and norms[-1] <= 1e-3 < norms[-2]
    at_once = optimize.minimize(fun, points[0], jac=True, method=method, tol=1e3)
    assert at_once.success and (at_once.nit, at_once.nfev) == (0, 1)


def test_rosenbrock_within_bounds():
    bounds = [(None, 0.5), (-1.0, None), (0, 2)]
    x0 = np.array([3.0, -2, 1])  # outside: clipped
    expected = optimize.minimize(
        optimize.rosen, x0, jac=optimize.rosen_der, bounds=bounds, method="L-BFGS-B", tol=1e-12
    )
    seen = []
    result = optimize.minimize(
        lambda x: seen.append(x) or optimize.rosen(x),
        x0,
        jac=optimize.rosen_der,
        bounds=bounds,
        method=as_scipy("adam", lr=0.01, max_steps=20_000),
        tol=1e-7,
    )
    assert result.success
    np.testing.assert_allclose(result.x, expected.x, atol=1e-6)
    assert result.x[0] == 0.5 and result.jac[0] < -1e-2  # held by its bound
    np.testing.assert_array_equal(seen[0], [0.5, -1, 1])
    low, high = [-np.inf, -1, 0], [0.5, np.inf, 2]
    assert all((x >= low).all() and (x <= high).all() for x in seen)
    np.testing.assert_array_equal(x0, [3, -2, 1])


def test_least_squares_of_weights_that_are_not_negative():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(30, 8)), rng.normal(size=30)
    expected, _ = optimize.nnls(a, b)
    assert 0 < np.count_nonzero(expected) < 8
    for bounds in (optimize.Bounds(0, np.inf), [(0, None)] * 8):
        result = optimize.minimize(
            lambda x: (0.5 * np.sum((a @ x - b) ** 2), a.T @ (a @ x - b)),
            np.ones(8),
            jac=True,
            bounds=bounds,
            method=as_scipy("sgd", lr=0.01, max_steps=5000),
            tol=1e-9,
        )
        assert result.success
        np.testing.assert_allclose(result.x, expected, atol=1e-8)


def test_fixed_variables_stay():
    fun, best, hessian = quadratic()
    fixed = np.array([True, False] * 3)
    low, high = np.where(fixed, 0.25, -np.inf), np.where(fixed, 0.25, np.inf)
    result = optimize.minimize(
        fun,
        np.zeros(6),
        jac=True,
        bounds=optimize.Bounds(low, high),
        method=as_scipy("sgd", lr=0.2),
        tol=1e-10,
    )
    free = ~fixed
    pull = hessian[np.ix_(free, fixed)] @ (0.25 - best[fixed])
    expected = best[free] - np.linalg.solve(hessian[np.ix_(free, free)], pull)
    assert result.success and (result.x[fixed] == 0.25).all()
    np.testing.assert_allclose(result.x[free], expected, atol=1e-9)


def test_callbacks():
    fun, _, _ = quadratic()
    method = as_scipy("sgd", lr=0.1, max_steps=5)
    plain = optimize.minimize(fun, np.zeros(6), jac=True, method=method)
    told = []

    def of_point(x):
        told.append(x.copy())
        x[:] = np.nan  # theirs

    def of_result(intermediate_result):
        told.append((intermediate_result.x, intermediate_result.fun))

    result = optimize.minimize(fun, np.zeros(6), jac=True, method=method, callback=of_point)
    np.testing.assert_array_equal(result.x, plain.x)
    assert len(told) == 5 and (told[-1] == plain.x).all()

    told.clear()
    optimize.minimize(fun, np.zeros(6), jac=True, method=method, callback=of_result)
    assert len(told) == 5
    assert all(value == fun(x)[0] for x, value in told)
    assert (told[0][0] != told[1][0]).any()

    def stop(x):
        told.append(x)
        if len(told) == 3:
            raise StopIteration

    told.clear()
    result = optimize.minimize(fun, np.zeros(6), jac=True, method=method, callback=stop)
    assert (result.success, result.status, result.nit) == (False, 99, 3)
    assert "StopIteration" in result.message
    np.testing.assert_array_equal(result.x, told[-1])


def test_arguments_and_options():
    fun, _, _ = quadratic()
    method = as_scipy("adam", lr=0.1, max_steps=7)

    def scaled(x, factor, shift):
        value, slope = fun(x)
        return factor * value + shift, factor * slope

    result = optimize.minimize(scaled, np.zeros(6), args=(3.0, 1.0), jac=True, method=method)
    apart = optimize.minimize(
        lambda *all: scaled(*all)[0],
        np.zeros(6),
        args=(3.0, 1.0),
        jac=lambda *all: scaled(*all)[1],
        method=method,
    )
    np.testing.assert_array_equal(result.x, apart.x)
    assert result.fun == scaled(result.x, 3, 1)[0]

    options = {"max_steps": 3000, "lr": 0.05, "betas": (0.8, 0.99), "tol": 1e-4}
    result = optimize.minimize(fun, np.zeros(6), jac=True, method=method, options=options)
    same = as_scipy("adam", lr=0.05, betas=(0.8, 0.99), max_steps=3000, tol=1e-4)
    expected = optimize.minimize(fun, np.zeros(6), jac=True, method=same)
    assert result.success and result.nit == expected.nit > 7
    np.testing.assert_array_equal(result.x, expected.x)

    again = optimize.minimize(fun, np.zeros(6), jac=True, method=method)  # nothing has stuck
    assert again.nit == 7


@pytest.mark.parametrize(
    "x0", [[1, 2], (np.float32(1), 2), np.array([1, 2], np.float32), 3, [True]]
)
def test_start(x0):
    kinds = []

    def fun(x):
        kinds.append(x.dtype)
        return np.sum(x**2), (2 * x).astype(np.float32)

    result = optimize.minimize(fun, x0, jac=True, method=as_scipy("sgd", lr=0.25))
    assert result.success and result.x.shape == np.atleast_1d(x0).shape
    assert {result.x.dtype, result.jac.dtype, *kinds} == {np.dtype(np.float64)}
    assert isinstance(result.fun, float)


def test_what_the_function_does_to_its_argument_is_its_own_affair():
    kept = []

    def fun(x):
        kept.append(x)
        value, slope = np.sum(x**2) / 2, x.copy()
        x[:] = 1e9
        return value, slope

    method = as_scipy("sgd", lr=0.5, max_steps=3)
    optimize.minimize(fun, [8.0], jac=True, method=method)
    result = method(lambda x: np.sum(x**2) / 2, [8.0], jac=lambda x: x)  # the gradient is x itself
    assert result.x == 1.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("part", ["value", "gradient"])
def test_what_is_not_finite_ends_it(bad, part):
    def fun(x):
        value, slope = x @ x / 2, x.copy()
        if x[0] < 5:
            value = bad if part == "value" else value
            slope[1] = bad if part == "gradient" else slope[1]
        return value, slope

    result = optimize.minimize(fun, [10.0, 1], jac=True, method=as_scipy("sgd", lr=0.2))
    assert (result.success, result.status, result.nit) == (False, 3, 4)
    assert "not finite" in result.message
    np.testing.assert_allclose(result.x, [10 * 0.8**4, 0.8**4])
    np.testing.assert_array_equal(result.fun, fun(result.x)[0])
    at_once = optimize.minimize(fun, [1.0, 1], jac=True, method=as_scipy("sgd", lr=0.2))
    assert (at_once.status, at_once.nit) == (3, 0)


def test_a_point_at_infinity_is_no_minimum():
    def fun(x):
        with np.errstate(over="ignore", invalid="ignore"):
            return np.exp(-np.sum(x)), -np.exp(-x)

    method = as_scipy("sgd", lr=1e308, tol=1e-9)
    result = optimize.minimize(fun, [0.0], jac=True, method=method)
    assert result.success and np.isfinite(result.x)
    result = optimize.minimize(fun, [-600.0], jac=True, method=method)
    assert result.x == np.inf and result.fun == 0
    assert (result.success, result.status) == (False, 3)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"constraints": {"type": "eq", "fun": sum}},
            "constraints: expected none, as Adam knows bounds only",
        ),
        (
            {"constraints": optimize.LinearConstraint(np.eye(2), 0, 1)},
            "constraints: expected none, as Adam knows bounds only",
        ),
        ({"jac": None}, "jac: expected True or a function, as Adam needs the gradient"),
        ({"jac": lambda x: x[:1]}, r"jac: expected an array of shape \(2,\), got shape \(1,\)"),
        ({"jac": lambda x: x[None]}, r"jac: expected an array of shape \(2,\), got shape \(1, 2\)"),
        ({"fun": lambda x: x}, "fun: expected a number, got an array"),
        ({"bounds": [(0, 1)]}, "bounds: expected a pair for each of 2 variables"),
        ({"bounds": [(0, 1), (0, 1, 2)]}, "bounds: expected a pair for each of 2 variables"),
        ({"bounds": [(0, 1), (2, 1)]}, "bounds: expected lower <= upper, got 2.0 and 1.0 at 1"),
        (
            {"bounds": [(0, np.nan), (0, 1)]},
            "bounds: expected lower <= upper, got 0.0 and nan at 0",
        ),
        ({"bounds": optimize.Bounds([0, 0, 0], 1)}, r"bounds: expected numbers of shape \(2,\)"),
        ({"options": {"max_steps": -1}}, "max_steps: expected an integer from 0"),
        ({"options": {"lr": -1}}, "lr: expected a finite number >= 0, got -1"),
        ({"tol": -1.0}, "tol: expected a finite number >= 0, got -1"),
    ],
)
def test_impossible_problems(arguments, text):
    arguments = {"fun": optimize.rosen, "jac": optimize.rosen_der, "x0": np.ones(2), **arguments}
    with pytest.raises(ValueError, match=text):
        optimize.minimize(**arguments, method=as_scipy("adam"))


@pytest.mark.parametrize(
    ("arguments", "hyper", "error", "text"),
    [
        (["newton"], {}, ValueError, "optimizer: expected one of .*adam.*, got 'newton'"),
        (["optimizer"], {}, ValueError, "optimizer: expected one of"),
        (["as_scipy"], {}, ValueError, "optimizer: expected one of"),
        ([3], {}, TypeError, r"optimizer: expected the name .* or its class, got 3 \(int\)"),
        (["adam"], {"lr": -1}, ValueError, "lr: expected a finite number >= 0, got -1"),
        (["adam"], {"momentum": 0.9}, TypeError, "momentum"),
        (["adam"], {"max_steps": 1.5}, TypeError, "max_steps: expected an integer, got 1.5"),
        (["adam"], {"tol": np.nan}, ValueError, "tol: expected a finite number >= 0, got nan"),
    ],
)
def test_impossible_methods(arguments, hyper, error, text):
    with pytest.raises(error, match=text):
        as_scipy(*arguments, **hyper)


def test_complex_start():
    with pytest.raises(TypeError, match="x0: expected real numbers"):
        optimize.minimize(optimize.rosen, [1j, 1], jac=optimize.rosen_der, method=as_scipy("adam"))


def test_the_hessian_is_not_used_and_one_is_told():
    with pytest.warns(RuntimeWarning, match="Adam does not use Hessian information"):
        optimize.minimize(
            optimize.rosen,
            np.zeros(2),
            jac=optimize.rosen_der,
            hess=optimize.rosen_hess,
            method=as_scipy("adam", max_steps=1),
        )


def test_pickled():
    fun, _, _ = quadratic()
    method = as_scipy("rmsprop", lr=0.1, max_steps=9)
    results = [
        optimize.minimize(fun, np.zeros(6), jac=True, method=each)
        for each in (method, pickle.loads(pickle.dumps(method)))
    ]
    assert results[1].nit == 9
    np.testing.assert_array_equal(results[0].x, results[1].x)


def test_scipy_is_imported_when_used():
    code = """
import sys, pyfast_nn as fnn
method = fnn.optim.as_scipy("adam", lr=0.1)
assert not any(name.partition(".")[0] == "scipy" for name in sys.modules)
assert method(lambda x: x @ x, [1.0], jac=lambda x: 2 * x).nit > 0
"""
    subprocess.run([sys.executable, "-c", code], check=True)
