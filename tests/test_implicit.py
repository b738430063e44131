"""Ops that evaluate a block of the network again and again, and the layers made of them.

Against the same steps as formulas (tests/graphs.py), and SciPy's solvers.
"""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

import pyfast_nn as fnn
from conftest import assert_close, assert_same_bits
from graphs import METHODS, Graph, filter_of
from pyfast_nn import _core
from test_ops_of_networks import OUT, Layers, Problem, check_maps, check_operators, everything

IN = 3
FIXED = [("euler", 3), ("midpoint", 2), ("rk4", 2)]


def ode(method, steps, start=0.0, stop=1.0, rtol=0.0, atol=0.0, time=0, adjoint=0):
    """adjoint: back by that, so many steps at a time."""
    return (METHODS.index(method), start, stop, steps, rtol, atol, time, adjoint)


class Blocks(Layers):
    """Layers with blocks; `width` is that of y, and of what else there is."""

    def __init__(self, width=5):
        super().__init__("dense", width)

    def features(self, x):
        return Graph(IN, self.list).widths[x]

    def solve(self, x, values, within, **fields):
        """The solution from x on, of a block that within(network, what it reads) adds."""
        time = int(values[6])
        state = self.add("evaluation", x, units=self.width + time)
        return self.add("neural_ode", x, within(self, state), values=values, **fields)


def mlp(n, x):
    return n.dense(n.add("tanh", n.dense(x, 2 * n.width)), n.width)


def bent(n, x):
    """An activation first and last, which nothing else computes."""
    return n.add("softplus", n.dense(n.add("tanh", x), n.width), values=(1.5,))


def many(n, x):
    """Branches, vectors that are learned, and numbers that are kept for the way back."""
    h = n.add("scale", n.add("layer_norm", n.dense(x, n.width), values=(0.1, 1)))
    gate = n.add("sigmoid", n.dense(x, n.width))
    return n.add("multiply", gate, n.add("add", h, n.add("tanh", n.dense(h, n.width))))


def normalized(n, x):
    return n.dense(n.add("tanh", n.add("weight_norm", x, units=n.width)), n.width)


def alone(n, values, within):
    n.width = IN
    n.solve(0, values, within)


def in_the_middle(n, values, within):
    n.dense(n.add("tanh", n.solve(n.add("tanh", n.dense(0, n.width)), values, within)), OUT)


def twice(n, values, within):
    """One after the other, the second beside a branch."""
    x = n.solve(n.dense(0, n.width), values, within)
    n.dense(n.add("concatenate", x, n.solve(x, values, within), x), OUT)


def with_shared_layers(n, values, within, adjoint=None):
    """The block's layers are those of another block, and one of them stands outside, too."""
    x = n.solve(n.dense(0, n.width), values, mlp)
    first = len(n.list) - 4

    def the_same(n, y):
        h = n.add("tanh", n.dense(y, 2 * n.width, shares=first))
        return n.dense(h, n.width, shares=first + 2)

    adjoint = values[-1] if adjoint is None else adjoint
    y = n.solve(x, (*values[:1], 1.0, 0.25, *values[3:-1], adjoint), the_same)
    n.dense(n.add("relu", n.dense(y, 2 * n.width, shares=first)), OUT)


def frozen_block(n, values, within):
    def still(n, x):
        return n.dense(n.add("tanh", n.dense(x, 4, trainable=False)), n.width, trainable=False)

    n.dense(n.solve(n.dense(0, n.width), values, still), OUT)


def over_what_is_frozen(n, values, within):
    n.dense(n.solve(n.dense(0, n.width, trainable=False), values, within), OUT)


in_every_place = pytest.mark.parametrize(
    ("place", "within"),
    [
        *((alone, mlp), (in_the_middle, mlp), (twice, mlp), (over_what_is_frozen, mlp)),
        *((alone, bent), (twice, bent), (in_the_middle, many), (over_what_is_frozen, many)),
        *((in_the_middle, normalized), (with_shared_layers, mlp), (frozen_block, mlp)),
    ],
)


@in_every_place
def test_in_every_place(isa, dtype, rng, place, within):
    n = Blocks()
    place(n, ode("rk4", 2, -0.5, 0.5), within)
    check_maps(Problem(rng, dtype, IN, n.list, 6))
    check_operators(Problem(rng, dtype, IN, n.list, 3, loss="labels"))


@in_every_place
def test_the_adjoint_in_every_place(isa, dtype, rng, place, within):
    """Gradients are those of the adjoint method, and what moves is exact."""
    n = Blocks()
    place(n, ode("rk4", 3, -0.5, 0.5, adjoint=2), within)
    check_maps(Problem(rng, dtype, IN, n.list, 6))
    check_operators(Problem(rng, dtype, IN, n.list, 3, loss="labels"))


@pytest.mark.parametrize(("method", "steps"), FIXED)
@pytest.mark.parametrize("time", [0, 1])
@pytest.mark.parametrize(("width", "adjoint"), [(2, 0), (16, 0), (33, 0), (2, 1), (33, 2)])
def test_methods_and_widths(isa, dtype, rng, method, steps, time, width, adjoint):
    n = Blocks(width)
    in_the_middle(n, ode(method, steps, 0.5, -1.0, time=time, adjoint=adjoint), mlp)
    check_maps(Problem(rng, dtype, IN, n.list, 7))


@pytest.mark.parametrize("adjoint", [0, 1])
def test_positions(isa, dtype, rng, adjoint):
    n = Blocks(2)
    x = n.add("reshape", 0, values=(2, 3, 2))
    y = n.solve(x, ode("midpoint", 2, time=1, adjoint=adjoint), mlp)
    n.dense(n.add("reshape", y, values=(1, 1, 12)), OUT)
    problem = Problem(rng, dtype, 12, n.list, 4)
    check_maps(problem)
    check_operators(problem)


def convolved(n, x):
    """Positions that depend on their neighbours."""
    of_both, of_row = (
        filter_of((3, 3), padding=(1, 1, 1, 1)),
        filter_of((1, 2), padding=(0, 0, 1, 0)),
    )
    h = n.add("tanh", n.add("convolution", x, units=2 * n.width, values=of_both))
    h = n.add("max_pool", h, values=(3, 1, 1, 1, 1, 0))
    return n.add("convolution", h, units=n.width, values=of_row)


@pytest.mark.parametrize(
    "values",
    [ode("rk4", 2, time=1), ode("rk4", 3, adjoint=2), ode("midpoint", 2, adjoint=1, time=1)],
)
def test_positions_that_depend_on_each_other(isa, dtype, rng, values):
    n = Blocks(3)
    n.solve(n.add("reshape", 0, values=(2, 4, 3)), values, convolved)
    problem = Problem(rng, dtype, 24, n.list, 3)
    check_maps(problem)
    check_operators(problem)


class WithSteps(Problem):
    """Whose sizes are functions of errors, and so of roundings."""

    inner = property(lambda self: 200 * Problem.inner.fget(self))


def adaptive(time=0, adjoint=0):
    n = Blocks(4)
    in_the_middle(n, ode("dopri5", 40, 0.0, 1.5, 0.05, 0.01, time, adjoint), mlp)
    return n.list


@pytest.mark.parametrize("time", [0, 1])
@pytest.mark.parametrize("adjoint", [0, 1, 3])
def test_steps_that_adapt(isa, rng, time, adjoint):
    """With SciPy's steps as constants; in float64, as they are functions of roundings."""
    check_maps(WithSteps(rng, "float64", IN, adaptive(time, adjoint), 7))
    if not adjoint:
        check_operators(WithSteps(rng, "float64", IN, adaptive(time), 3))


def filtered(n, x):
    h = n.add("convolution", x, units=4, values=filter_of((1, 3), padding=(0, 0, 1, 1)))
    return n.dense(n.add("tanh", h), n.width)


@pytest.mark.parametrize("adjoint", [0, 2])
@pytest.mark.parametrize("within", [mlp, filtered])
def test_positions_adapt_together(isa, rng, within, adjoint):
    n = Blocks(2)
    x = n.add("reshape", 0, values=(1, 3, 2))
    n.solve(x, ode("dopri5", 40, 0.0, 2.0, 0.05, 0.01, 1, adjoint), within)
    check_maps(WithSteps(rng, "float64", 6, n.list, 5))


@pytest.mark.parametrize(
    "values",
    [
        ode("rk4", 3),
        ode("rk4", 3, adjoint=2),
        ode("dopri5", 60, 0.0, 4.0, 1e-3, 1e-4),
        ode("dopri5", 60, 0.0, 4.0, 1e-3, 1e-4, adjoint=3),
    ],
)
def test_any_team_and_any_cut(isa, dtype, rng, restore_threads, values):
    """Also where examples that one thread has arrive before those of another."""
    n = Blocks(40)
    in_the_middle(n, values, many)
    problem = Problem(rng, dtype, IN, n.list, 90)
    problem.parameters *= 1.5
    problem.X[60:] *= 5
    _core.set_num_threads(1)
    expected = everything(problem)
    for threads in (2, 5):
        _core.set_num_threads(threads)
        for name, result in everything(problem).items():
            assert np.isfinite(result).all(), name
            assert_same_bits(result, expected[name])
    (out, _, dX), dout = problem.vjp(), problem.jvp()[1]
    for rows in (1, 2, 14, 33):
        some = slice(rows)
        few_out, _, few_dX = problem.vjp(some)
        for actual, whole in ((problem.forward(some), out), (few_out, out), (few_dX, dX)):
            assert_same_bits(actual, whole[some])
        assert_same_bits(problem.jvp(some)[1], dout[some])


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("adjoint", [0, 1])
def test_beside_what_couples_rows_or_is_random(isa, dtype, rng, training, adjoint):
    n = Blocks(4)
    x = n.add("batch_norm", n.dense(0, 4), values=(0.1, 1.0, 0.3))
    x = n.add("dropout", n.solve(x, ode("midpoint", 2, adjoint=adjoint), mlp), values=(0.3,))
    n.dense(n.add("batch_norm", x, values=(0.1, 1.0, 0.3)), OUT)
    check_maps(Problem(rng, dtype, IN, n.list, 9, training))


@pytest.mark.parametrize("adjoint", [0, 1])
def test_more_examples_than_a_chunk(isa, dtype, rng, adjoint):
    n = Blocks(4)
    in_the_middle(n, ode("rk4", 2, adjoint=adjoint), mlp)
    check_maps(Problem(rng, dtype, IN, n.list, 1030))


def test_the_adjoint_of_examples_that_arrive_before_others(isa, dtype, rng, restore_threads):
    """Whatever was in the memory of the evaluations that they do not need."""
    n = Blocks()
    alone(n, ode("dopri5", 60, 0.0, 2.0, 1e-3, 1e-4, adjoint=7), mlp)
    problem = Problem(rng, dtype, IN, n.list, 170)
    problem.X *= np.where(np.arange(170) < 85, 3, 1e-3)[:, None].astype(dtype)
    _core.set_num_threads(2)
    expected = problem.loss_and_grad()[1]
    X, problem.X = problem.X, np.full_like(problem.X, np.nan)
    assert np.isnan(problem.loss_and_grad()[1]).all()
    problem.X = X
    assert np.isfinite(expected).all()
    assert_same_bits(problem.loss_and_grad()[1], expected)


@pytest.mark.parametrize(("one", "other"), [(2, 0), (0, 2), (1, 3)])
def test_the_adjoint_in_one_of_two_blocks(isa, dtype, rng, one, other):
    """Of the same layers, whose gradient is that of both."""
    n = Blocks(4)
    with_shared_layers(n, ode("midpoint", 3, adjoint=one), mlp, other)
    check_maps(Problem(rng, dtype, IN, n.list, 6))


@pytest.mark.parametrize("place", [in_the_middle, with_shared_layers, twice])
def test_the_adjoint_over_batches(isa, dtype, rng, place):
    """Of a step of several batches the gradient is added up, in each over parts of the steps."""
    n = Blocks(4)
    place(n, ode("midpoint", 5, adjoint=2), mlp)
    problem = Problem(rng, dtype, IN, n.list, 12)
    assert_close(problem.train(5, 3), problem.train(12), dtype, 100)


@pytest.mark.parametrize(
    "values", [("midpoint", 7), ("dopri5", 60, 0.0, 4.0, 1e-3, 1e-4)], ids=lambda values: values[0]
)
def test_however_many_steps_at_a_time(isa, dtype, rng, values):
    results = []
    for adjoint in (1, 2, 5, 7):
        n = Blocks(5)
        in_the_middle(n, ode(*values, adjoint=adjoint), many)
        rng = np.random.default_rng(0)
        results.append(Problem(rng, dtype, IN, n.list, 9).vjp())
    for _, dparameters, dX in results[1:]:
        assert_close(dparameters, results[0][1], dtype, 500)
        assert_same_bits(dX, results[0][2])


# ------------------------------------------------------------------------------------- equilibria


class Equilibria(Blocks):
    def solve(self, x, values, within, **fields):
        """The fixed point of what is drawn together by a small factor."""
        state = self.add("evaluation", x, units=self.width + self.features(x))
        return self.add("equilibrium", x, within(self, state), values=values, **fields)


def drawn(n, x):
    return n.add("tanh", n.dense(n.add("tanh", n.dense(x, 2 * n.width)), n.width))


def drawn_by_many(n, x):
    h = n.add("scale", n.add("layer_norm", n.dense(x, n.width), values=(2.0, 1)))
    return n.add("multiply", n.add("sigmoid", n.dense(x, n.width)), n.add("tanh", h))


def equilibrium_problem(rng, dtype, layers, rows, **options):
    problem = Problem(rng, dtype, IN, layers, rows, **options)
    problem.parameters *= 0.4
    problem.V *= 0.1  # so that points are drawn together there, too
    return problem


TIGHT = 1e-15


@pytest.mark.parametrize(
    ("place", "within", "solver"),
    [
        (alone, drawn, 0),
        (in_the_middle, drawn, 1),
        (in_the_middle, drawn_by_many, 0),
        (twice, drawn, 0),
        (over_what_is_frozen, drawn_by_many, 1),
    ],
)
def test_equilibria_in_every_place(isa, rng, place, within, solver):
    n = Equilibria(3)
    place(n, (solver, TIGHT, 60), within)
    check_maps(equilibrium_problem(rng, "float64", n.list, 5))
    if place is in_the_middle:
        check_operators(equilibrium_problem(rng, "float64", n.list, 2, loss="labels"))


def test_equilibria_of_positions_that_depend_on_each_other(isa, rng):
    n = Equilibria(2)

    def drawn_around(n, x):
        h = n.add("convolution", x, units=4, values=filter_of((1, 3), padding=(0, 0, 1, 1)))
        return n.add("tanh", n.dense(n.add("tanh", h), n.width))

    n.solve(n.add("reshape", 0, values=(1, IN, 1)), (0, TIGHT, 60), drawn_around)
    check_maps(equilibrium_problem(rng, "float64", n.list, 5))


def test_equilibria_of_any_team_and_any_cut(isa, dtype, rng, restore_threads):
    n = Equilibria(20)
    in_the_middle(n, (0, 1e-5, 40), drawn)
    problem = equilibrium_problem(rng, dtype, n.list, 90)
    _core.set_num_threads(1)
    expected = everything(problem)
    for threads in (2, 5):
        _core.set_num_threads(threads)
        for name, result in everything(problem).items():
            assert np.isfinite(result).all(), name
            assert_same_bits(result, expected[name])
    out, _, dX = problem.vjp()
    for rows in (1, 2, 14, 33):
        few_out, _, few_dX = problem.vjp(slice(rows))
        assert_same_bits(problem.forward(slice(rows)), out[:rows])
        assert_same_bits(few_out, out[:rows])
        assert_same_bits(few_dX, dX[:rows])


# ------------------------------------------------------------------------------------------ layers

FIELD = [fnn.Dense(8), fnn.Tanh(), fnn.Dense(2)]


def of_ode(**options):
    layers = [fnn.NeuralODE(FIELD, **options), fnn.Dense(1)]
    return fnn.Sequential(layers, dtype="float64", seed=1).build(2)


def slope_of(model):
    w, b, v, c = list(model.named_parameters().values())[:4]
    return lambda t, y: np.tanh(y @ w[: len(y)] + b) @ v + c


@pytest.mark.once
@pytest.mark.parametrize("t", [2.0, (1.5, -0.5)])
def test_the_steps_are_those_of_scipy(rng, t):
    integrate = pytest.importorskip("scipy.integrate")
    model = of_ode(t=t, rtol=1e-5, atol=1e-8)
    X = 3 * rng.standard_normal((20, 2))
    span = t if isinstance(t, tuple) else (0.0, t)
    for x, y in zip(X, model[:1].forward(X), strict=True):
        expected = integrate.solve_ivp(slope_of(model), span, x, rtol=1e-5, atol=1e-8)
        np.testing.assert_allclose(y, expected.y[:, -1], rtol=1e-11, atol=1e-12)


@pytest.mark.once
def test_the_gradient_with_steps_that_are_undone(rng):
    """By differences, whose steps have nearly the same sizes."""
    integrate = pytest.importorskip("scipy.integrate")
    tolerance = {"rtol": 1e-8, "atol": 1e-10}
    model = of_ode(t=2.0, steps=500, **tolerance)
    model.parameters *= 2.5
    X, y = rng.standard_normal((6, 2)), rng.standard_normal((6, 1))
    found = [integrate.solve_ivp(slope_of(model), (0, 2), x, **tolerance) for x in X]
    undone = [(each.nfev - 2) // 6 - (len(each.t) - 1) for each in found]
    assert min(undone) == 0 < max(undone)
    gradient = model.loss_and_grad(X, y, loss="mse")[1]
    way, h, here = rng.standard_normal(gradient.size), 1e-4, model.parameters.copy()
    ends = []
    for t in (h, -h):
        model.parameters = here + t * way
        ends.append(model.evaluate(X, y, loss="mse")["loss"])
    assert gradient @ way == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-5)


@pytest.mark.once
@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_the_error_falls_with_the_order(rng, method, order):
    """Of y' = y, whose solution is known."""
    errors = []
    for steps in (8, 16):
        layer = fnn.NeuralODE(fnn.Dense(1), method=method, steps=steps)
        model = fnn.Sequential([layer], dtype="float64").build(1)
        model.parameters = np.array([1.0, 0.0])
        errors.append(abs(model.forward([[1.0]]).item() - np.e))
    assert abs(np.log2(errors[0] / errors[1]) - order) < 0.2


@pytest.mark.once
def test_time_is_the_last_column():
    """y' = t, from 1 to 3."""
    layer = fnn.NeuralODE(fnn.Dense(1), (1.0, 3.0), method="rk4", steps=1, time=True)
    model = fnn.Sequential([layer], dtype="float64").build(1)
    model.parameters = np.array([0.0, 1.0, 0.0])
    assert model.forward([[5.0]]).item() == pytest.approx(5 + (9 - 1) / 2)


@pytest.mark.once
def test_who_does_not_arrive_is_nan(rng):
    """And those who do are what they are without the others."""
    X = np.concatenate([rng.standard_normal((4, 2)), np.full((1, 2), np.nan)])
    model = of_ode(t=3.0)
    y = model[:1].forward(X)
    assert np.isfinite(y[:4]).all() and np.isnan(y[4]).all()
    dout = np.ones((5, 1))
    dparameters, dX = model.vjp(X)[1](dout)
    in_block = model.n_parameters - 3
    assert np.isnan(dparameters[:in_block]).all() and np.isnan(dX[4]).all()
    assert_same_bits(dX[:4], model.vjp(X[:4])[1](dout[:4])[1])
    assert np.isnan(model.hvp(X, dout, np.ones(model.n_parameters), loss="mse")).all()
    model.parameters *= 20
    few = fnn.Sequential([fnn.NeuralODE(FIELD, 3.0, steps=8)], dtype="float64").build(2)
    few.parameters = model[:1].parameters
    v = rng.standard_normal(few.n_parameters)
    y, dy = few.jvp(X[:4], v)
    assert np.isnan(y).all() and np.isnan(dy).all()


def of_adjoint(adjoint):
    n = Blocks(IN)
    n.solve(0, ode("midpoint", 2, adjoint=adjoint), mlp)
    return n.list


def gradients_of(model, X, u):
    """(in the parameters, in X) of the sum of u times the outputs."""
    return model.vjp(X)[1](u)


@pytest.mark.once
@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_the_error_of_the_adjoint_falls_with_the_order(rng, method, order):
    X, u = rng.standard_normal((5, 2)), rng.standard_normal((5, 1))
    errors = []
    for steps in (16, 32):
        found = [
            gradients_of(of_ode(method=method, steps=steps, adjoint=adjoint), X, u)
            for adjoint in (True, False)
        ]
        errors.append([np.abs(a - b).max() for a, b in zip(*found, strict=True)])
    orders = np.log2(np.divide(*errors))
    assert np.abs(orders - order).max() < 0.3


@pytest.mark.once
@pytest.mark.parametrize("rtol", [1e-4, 1e-8])
def test_the_adjoint_is_near_the_exact_gradient(rng, rtol):
    options = {"t": 2.0, "rtol": rtol, "atol": rtol, "steps": 500}
    X, u = rng.standard_normal((5, 2)), rng.standard_normal((5, 1))
    exact = gradients_of(of_ode(**options), X, u)
    for actual, expected in zip(
        gradients_of(of_ode(**options, adjoint=True), X, u), exact, strict=True
    ):
        error = np.linalg.norm(actual - expected) / np.linalg.norm(expected)
        assert 1e-3 * rtol < error < 10 * rtol


@pytest.mark.once
def test_the_adjoint_whatever_the_size_of_the_loss(rng):
    """Steps back are those of the derivative divided by its size."""
    X, u = rng.standard_normal((5, 2)), rng.standard_normal((5, 1))
    model = of_ode(t=3.0, adjoint=True)
    u[3] = 0
    dparameters, dX = gradients_of(model, X, u)
    assert not dX[3].any() and np.abs(dX[[0, 1, 2, 4]]).min() > 0
    for factor in (2.0**-40, 2.0**40):
        scaled = gradients_of(model, X, factor * u)
        assert_same_bits(scaled[0], factor * dparameters)
        assert_same_bits(scaled[1], factor * dX)
    few = [0, 1, 2, 4]
    assert_same_bits(gradients_of(model, X[few], u[few])[1], dX[few])
    assert not gradients_of(model, X, 0 * u)[0].any()


@pytest.mark.once
def test_whose_way_back_does_not_arrive_is_nan():
    """Of a flow that draws all points together, which takes small steps back."""
    layer = fnn.NeuralODE(fnn.Dense(1), 30.0, steps=70, rtol=1e-3, atol=1e-3, adjoint=True)
    model = fnn.Sequential([layer], dtype="float64").build(1)
    model.parameters = np.array([-5.0, 0.5])
    out, pull = model.vjp(np.array([[1e-3], [1.0]]))
    assert np.isfinite(out).all()
    dparameters, dX = pull(np.array([[0.0], [1.0]]))
    assert dX[0] == 0 and np.isnan(dX[1]) and np.isnan(dparameters).all()
    for bad in (np.nan, np.inf):
        dparameters, dX = pull(np.array([[bad], [0.0]]))
        assert np.isnan(dX[0]) and dX[1] == 0 and np.isnan(dparameters).all()
    dparameters, dX = model.vjp(np.ones((0, 1)))[1](np.ones((0, 1)))
    assert dX.shape == (0, 1) and not dparameters.any()
    layer = fnn.NeuralODE(fnn.Dense(1), 1e-9, adjoint=True)
    model = fnn.Sequential([layer]).build(1)
    model.parameters = np.array([-5e9, 0.0])
    dparameters, dX = model.vjp(np.ones((1, 1)))[1]([[1e30]])  # whose slope overflows at once
    assert np.isnan(dX).all() and np.isnan(dparameters).all()


@pytest.mark.once
def test_memory_of_the_adjoint_does_not_grow_with_the_steps(rng):
    """As many as no address space holds; exact gradients keep all, and so does what moves."""
    X, y = rng.standard_normal((70, 2)), rng.standard_normal((70, 1))
    few, many = (of_ode(steps=steps, adjoint=True) for steps in (1000, 2 * 10**9))
    of_few, of_many = (model.loss_and_grad(X, y, loss="mse") for model in (few, many))
    assert of_many[0] == of_few[0]
    assert_same_bits(of_many[1], of_few[1])
    many.fit(X, y, loss="mse", epochs=1, batch_size=20)
    sizes = [re.search(r"takes about (\S+) MiB", model.summary())[1] for model in (few, many)]
    assert sizes[0] == sizes[1]
    for call in (
        lambda: of_ode(steps=2 * 10**9).loss_and_grad(X, y, loss="mse"),
        lambda: many.jvp(X, np.ones(many.n_parameters)),
    ):
        with pytest.raises(MemoryError):
            call()


# torchdiffeq's rk4 is Kutta's other method of order 4, "the 3/8 rule".
TORCH_METHODS = [("euler", 1e-13), ("midpoint", 1e-13), ("rk4", 1e-6)]


def of_torch(solver, model, X, u, t, **options):
    """Outputs and derivatives of a flow alone, of torchdiffeq's."""
    torch = pytest.importorskip("torch", reason="torchdiffeq is the oracle")
    torchdiffeq = pytest.importorskip("torchdiffeq", reason="it is the oracle")
    learned = [torch.tensor(p, requires_grad=True) for p in model.named_parameters().values()]
    w, b, v, c = learned

    class Flow(torch.nn.Module):
        def forward(self, t, y):
            y = torch.cat([y, t.expand(len(y), 1)], dim=1) if len(w) > y.shape[1] else y
            return torch.tanh(y @ w + b) @ v + c

    solve = getattr(torchdiffeq, solver)
    if solver == "odeint_adjoint":
        options["adjoint_params"] = tuple(learned)
    x = torch.tensor(X, requires_grad=True)
    y = solve(Flow(), x, torch.tensor(t, dtype=torch.float64), **options)[-1]
    (y * torch.tensor(u)).sum().backward()
    gradient = np.concatenate([p.grad.numpy().ravel() for p in learned])
    return y.detach().numpy(), gradient, x.grad.numpy()


@pytest.mark.once
@pytest.mark.parametrize(("method", "tolerance"), TORCH_METHODS)
@pytest.mark.parametrize("t", [(0.0, 2.0), (1.5, -0.5)])
@pytest.mark.parametrize("time", [False, True])
@pytest.mark.parametrize(("solver", "adjoint"), [("odeint", False), ("odeint_adjoint", True)])
def test_steps_of_one_size_are_those_of_torchdiffeq(
    rng, method, tolerance, t, time, solver, adjoint
):
    """Outputs and gradients, by the adjoint and without."""
    model = of_ode(t=t, method=method, steps=32, time=time, adjoint=adjoint)[:1]
    X, u = rng.standard_normal((2, 6, 2))
    out, pull = model.vjp(X)
    steps = {"method": method, "options": {"step_size": 2.0 / 32}}
    expected = of_torch(solver, model, X, u, t, **steps)
    for actual, of_them in zip((out, *pull(u)), expected, strict=True):
        scale = np.abs(of_them).max()
        np.testing.assert_allclose(actual, of_them, rtol=0, atol=tolerance * scale)


@pytest.mark.once
@pytest.mark.parametrize(("solver", "adjoint"), [("odeint", False), ("odeint_adjoint", True)])
def test_steps_of_torchdiffeq_that_adapt(rng, solver, adjoint):
    """Whose sizes are those of a batch; so both are near the exact flow."""
    tight = {"rtol": 1e-9, "atol": 1e-11}
    model = of_ode(t=2.0, steps=1000, adjoint=adjoint, **tight)[:1]
    X, u = rng.standard_normal((2, 6, 2))
    out, pull = model.vjp(X)
    expected = of_torch(solver, model, X, u, (0.0, 2.0), method="dopri5", **tight)
    for actual, of_them in zip((out, *pull(u)), expected, strict=True):
        scale = np.abs(of_them).max()
        np.testing.assert_allclose(actual, of_them, rtol=0, atol=1e-7 * scale)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@pytest.mark.once
def test_images_flow(rng):
    """Of a block that convolves: as SciPy solves the whole image."""
    integrate = pytest.importorskip("scipy.integrate")
    block = [fnn.Conv2d(5, 3, padding=1), fnn.Tanh(), fnn.Conv2d(2, 3, padding=1)]
    tolerance = {"rtol": 1e-6, "atol": 1e-8}
    model = fnn.Sequential([fnn.NeuralODE(block, 2.0, **tolerance)], dtype="float64", seed=0)
    field = fnn.Sequential(block, dtype="float64")
    X = rng.standard_normal((3, 4, 5, 2))
    model.build((4, 5, 2)), field.build((4, 5, 2))
    field.parameters = model.parameters

    def slope(t, y):
        return field.forward(y.reshape(1, 4, 5, 2)).ravel()

    for x, y in zip(X, model.forward(X), strict=True):
        expected = integrate.solve_ivp(slope, (0, 2), x.ravel(), **tolerance).y[:, -1]
        np.testing.assert_allclose(y.ravel(), expected, rtol=1e-10, atol=1e-10)


def of_equilibrium(**options):
    block = [fnn.Dense(6, init="orthogonal"), fnn.Sigmoid()]
    deep = fnn.DeepEquilibrium(block, **options)
    return fnn.Sequential([deep, fnn.Dense(2)], dtype="float64", seed=3).build(4)


@pytest.mark.once
@pytest.mark.parametrize("solver", ["anderson", "broyden"])
def test_an_equilibrium_is_one(rng, solver):
    model = of_equilibrium(solver=solver, tol=1e-12)
    X = rng.standard_normal((9, 4))
    z = model[:1].forward(X)
    w, b = list(model.named_parameters().values())[:2]
    np.testing.assert_allclose(z, sigmoid(np.hstack([z, X]) @ w + b), rtol=0, atol=1e-11)


def moves_of_anderson(r):
    """Yield z of Walker and Ni's algorithm, with the last 5 moves, for a function r of z."""
    z, zs, rs = np.zeros(6), [], []
    while True:
        yield z
        zs, rs = [*zs, z][-6:], [*rs, r(z)][-6:]
        dz, dr = np.diff(zs, axis=0).T, np.diff(rs, axis=0).T
        c = np.linalg.lstsq(dr, rs[-1], rcond=None)[0] if len(zs) > 1 else np.zeros(0)
        z = z + rs[-1] - ((dz + dr) @ c if len(zs) > 1 else 0)


def moves_of_broyden(r):
    """Yield z of Broyden's first method, which begins with the plain iteration."""
    z, inverse = np.zeros(6), -np.eye(6)
    now = r(z)
    while True:
        yield z
        s = -inverse @ now
        z, before = z + s, now
        now = r(z)
        y = inverse @ (now - before)
        inverse += np.outer(s - y, s @ inverse) / (s @ y)


@pytest.mark.once
@pytest.mark.parametrize("solver", ["anderson", "broyden"])
def test_moves_are_those_of_the_method(rng, solver):
    x = rng.standard_normal(4)
    moves = moves_of_anderson if solver == "anderson" else moves_of_broyden
    w, b = list(of_equilibrium().named_parameters().values())[:2]

    def block(z):
        return sigmoid(np.concatenate([z, x]) @ w + b)

    for count, z in zip(range(1, 8), moves(lambda z: block(z) - z), strict=False):
        found = of_equilibrium(solver=solver, tol=1e-15, max_iter=count)[:1].forward(x[None])[0]
        np.testing.assert_allclose(found - block(z), 0, rtol=0, atol=1e-11)


BLOCKS = {
    "relu": [fnn.Dense(64), fnn.ReLU()],
    "tanh": [fnn.Dense(64), fnn.Tanh()],
    "two": [fnn.Dense(128), fnn.ReLU(), fnn.Dense(64), fnn.Tanh()],
    "two without an end": [fnn.Dense(128), fnn.ReLU(), fnn.Dense(64)],
    "norm": [fnn.Dense(64), fnn.LayerNorm()],
    "norm first": [fnn.LayerNorm(), fnn.Dense(64), fnn.GELU()],
    "weight norm": [fnn.WeightNorm(fnn.Dense(64)), fnn.ReLU()],
    "branches": [fnn.Concatenate([fnn.Dense(8), fnn.Tanh()], fnn.Identity()), fnn.Dense(64)],
    "residual": [fnn.Residual([fnn.Dense(84), fnn.ReLU()]), fnn.Dense(64), fnn.ReLU()],
}


@pytest.mark.once
@pytest.mark.parametrize("solver", ["anderson", "broyden"])
@pytest.mark.parametrize("case", BLOCKS)
def test_all_arrive_at_first(dtype, rng, case, solver):
    """With what is the default; within the root of epsilon, and not much nearer."""
    X = rng.standard_normal((300, 20)) * rng.uniform(0.5, 2, (300, 1))
    deep = fnn.DeepEquilibrium(BLOCKS[case], solver=solver)
    model = fnn.Sequential([deep], dtype=dtype, seed=1).build(20)
    distances = fnn.inspect.equilibrium_distances(model, X)["0"]
    tol = np.sqrt(np.finfo(dtype).eps)
    assert tol / 100 < distances.max() <= tol
    told = fnn.DeepEquilibrium(BLOCKS[case], solver=solver, tol=tol)
    again = fnn.Sequential([told], dtype=dtype, seed=1).build(20)
    assert_same_bits(again.forward(X), model.forward(X))


@pytest.mark.once
def test_initial_weights(dtype):
    """Rows that multiply z are smaller; others as they are where nothing comes back."""
    as_they_are = fnn.Sequential([fnn.Dense(64), fnn.ReLU()], dtype=dtype, seed=1).build(84)
    expected = as_they_are.named_parameters()["0.weight"]
    model = fnn.Sequential([fnn.DeepEquilibrium(BLOCKS["relu"])], dtype=dtype, seed=1).build(20)
    weight = model.named_parameters()["0.0.weight"]
    assert_same_bits(weight[64:], expected[64:])
    assert 0.2 < np.linalg.norm(weight[:64], 2) < 0.3
    factor = weight[0, 0] / expected[0, 0]
    np.testing.assert_allclose(weight[:64], factor * expected[:64], rtol=1e-5)
    # Columns of z behind others, and beside themselves.
    model = fnn.Sequential([fnn.DeepEquilibrium(BLOCKS["branches"])], dtype=dtype, seed=1).build(20)
    weights = model.named_parameters()
    assert np.linalg.norm(weights["0.0.0.0.weight"][:64], 2) < 0.3
    last = next(reversed([w for name, w in weights.items() if name.endswith("weight")]))
    assert last.shape == (92, 64) and np.linalg.norm(last[8:72], 2) < 0.3
    assert np.linalg.norm(last[:8], 2) > 0.5
    # What a layer says holds, and small numbers are not made larger.
    orthogonal = [fnn.Dense(64, init="orthogonal"), fnn.ReLU()]
    model = fnn.Sequential([fnn.DeepEquilibrium(orthogonal)], dtype=dtype, seed=1).build(20)
    said = model.named_parameters()["0.0.weight"]
    np.testing.assert_allclose(said.T @ said, np.eye(64), atol=1e-5)
    wide = fnn.Sequential([fnn.DeepEquilibrium([fnn.Dense(2)])], dtype=dtype, seed=1).build(2000)
    plain = fnn.Sequential([fnn.Dense(2)], dtype=dtype, seed=1).build(2002)
    assert_same_bits(wide.parameters, plain.parameters)


@pytest.mark.once
def test_a_fit_tells_who_has_not_arrived(rng):
    X, y = rng.standard_normal((300, 4)), rng.standard_normal((300, 1))

    def fit(X=X, y=y, **options):
        deep = fnn.DeepEquilibrium(BLOCKS["tanh"], **options)
        model = fnn.Sequential([fnn.Tanh(), deep, fnn.Dense(1)], seed=1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(X, y, loss="mse", epochs=2, verbose=0)
        return model, caught

    assert not fit()[1]
    model, (warned,) = fit(max_iter=3, tol=1e-5)
    distances = fnn.inspect.equilibrium_distances(model, X[:256])["1"]
    away = np.count_nonzero(distances > 1e-5)
    assert away > 3 and warned.filename == __file__
    assert f"layers[1]: {away} of 256 rows have not arrived" in str(warned.message)
    assert not fit(max_iter=3, tol=2 * distances.max())[1]
    _, (warned,) = fit(X[:90], y[:90], max_iter=3, tol=1e-5)
    assert "of 90 rows" in str(warned.message)


@pytest.mark.once
def test_a_fit_of_digits_keeps_arriving():
    sklearn = pytest.importorskip("sklearn.datasets", reason="its digits are not installed")
    X, y = sklearn.load_digits(return_X_y=True)
    for case in ("relu", "tanh", "norm"):
        deep = fnn.DeepEquilibrium(BLOCKS[case])
        model = fnn.Sequential([fnn.Standardize(), deep, fnn.Dense(10)], seed=0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.fit(X[:1500], y[:1500], loss="cross_entropy", epochs=10, verbose=0)
        assert model.evaluate(X[1500:], y[1500:])["accuracy"] > 0.85


@pytest.mark.once
def test_how_far_from_an_equilibrium(rng):
    X = rng.standard_normal((1030, 4))
    near = fnn.inspect.equilibrium_distances(of_equilibrium(tol=1e-4), X)
    assert list(near) == ["0"] and near["0"].shape == (1030,)
    assert 1e-9 < near["0"].max() <= 1e-4
    for count in (1, 2, 3):  # z = 0, f(0), and Anderson's first move but one
        model = of_equilibrium(tol=1e-14, max_iter=count)
        w, b = list(model.named_parameters().values())[:2]
        z = np.zeros((1030, 6))
        for _ in range(min(count, 2) - 1):
            z = sigmoid(np.hstack([z, X]) @ w + b)
        of_z = sigmoid(np.hstack([z, X]) @ w + b)
        expected = np.linalg.norm(of_z - z, axis=1) / np.linalg.norm(of_z, axis=1)
        actual = fnn.inspect.equilibrium_distances(model, X)["0"]
        if count < 3:
            np.testing.assert_allclose(actual, expected, rtol=1e-10)
        else:
            assert (actual < 0.5 * expected).mean() > 0.9
    layers = [fnn.Dense(1, init=0.0, bias_init=1.0), fnn.ReLU()]
    model = fnn.Sequential([fnn.DeepEquilibrium(layers, max_iter=2)]).build(1)
    model.parameters[0] = -5  # z = 1, of which it makes 0
    assert fnn.inspect.equilibrium_distances(model, X[:2, :1])["0"].tolist() == [np.inf, np.inf]


MODELS = [
    lambda: of_ode(),
    lambda: of_ode(method="rk4", time=True),
    lambda: of_ode(adjoint=True),
    of_equilibrium,
]


@pytest.mark.once
@pytest.mark.parametrize("make", MODELS)
def test_a_model_with_it_is_like_others(tmp_path, rng, make):
    model = make()
    X, y = (
        rng.standard_normal((30, model.in_features)),
        rng.standard_normal((30, model.out_shape[0])),
    )
    before = model.evaluate(X, y, loss="mse")["loss"]
    model.fit(X, y, loss="mse", epochs=5, batch_size=7, optimizer="adam")
    assert model.evaluate(X, y, loss="mse")["loss"] < before
    model.save(tmp_path / "model.safetensors")
    again = fnn.load(tmp_path / "model.safetensors")
    assert again.layers == model.layers
    assert_same_bits(again.forward(X), model.forward(X))
    assert_same_bits(model[1:].forward(model[:1].forward(X)), model.forward(X))
    assert list(model.activations(X)) == ["0", "1"]
    assert_same_bits(model.activations(X)["0"], model[:1].forward(X))
    assert eval(repr(model.layers[0]), vars(fnn)) == model.layers[0]
    model.layers[0].trainable = False
    names = {"0.0.weight", "0.0.bias"}
    held = {name: model.named_parameters()[name].copy() for name in names}
    model.fit(X, y, loss="mse", epochs=1)
    for name in names:
        assert_same_bits(model.named_parameters()[name], held[name])
    model.layers[0].trainable = True
    assert "NeuralODE" in model.summary() or "DeepEquilibrium" in model.summary()


@pytest.mark.once
def test_statistics_behind_a_flow(rng):
    layers = [fnn.Dense(2), fnn.NeuralODE(FIELD), fnn.BatchNorm()]
    model = fnn.Sequential(layers, dtype="float64").build(3)
    X = rng.standard_normal((1500, 3))
    model.calibrate(X)
    y = model[:2].forward(X)
    np.testing.assert_allclose(model.named_state()["2.running_mean"], y.mean(axis=0), atol=1e-12)


WITHIN = fnn.Sequential([fnn.NeuralODE([fnn.ReLU(), fnn.Dense(2)])]).build(2)
REFUSED = [
    (
        lambda: fnn.inspect.unit_activity(WITHIN, np.eye(2)),
        "model: expected layers that are computed",
    ),
    (lambda: fnn.inspect.penultimate_features(WITHIN, np.eye(2)), "model: expected a last Dense"),
    (
        lambda: fnn.inspect.equilibrium_distances(WITHIN, np.eye(2)),
        "model: expected a DeepEquilibrium",
    ),
    (lambda: fnn.NeuralODE([fnn.Dense(2), fnn.Dropout(0.5)]), "block: expected layers that make"),
    (lambda: fnn.NeuralODE([fnn.BatchNorm()]), "got BatchNorm()"),
    (lambda: fnn.NeuralODE([fnn.LSTM(3)]), "block: expected layers that make"),
    (
        lambda: fnn.Sequential([fnn.NeuralODE(fnn.Conv1d(2, 3))]).build((5, 2)),
        "layers[0]: expected a block that puts out shape (5, 2), as come in, got shape (3, 2)",
    ),
    (
        lambda: fnn.Sequential([fnn.NeuralODE(fnn.Conv1d(2, 3, padding=1))]).forward(
            (np.ones((2, 5, 2)), [5, 3])
        ),
        "expected layers that know of lengths",
    ),
    (lambda: fnn.NeuralODE([fnn.NeuralODE(FIELD)]), "got NeuralODE's y"),
    (lambda: fnn.NeuralODE([]), "block: expected at least one layer"),
    (lambda: fnn.NeuralODE(FIELD, (1.0, 1.0)), "t: expected another end than the start"),
    (lambda: fnn.NeuralODE(FIELD, method="rk45"), "method: expected one of"),
    (lambda: fnn.NeuralODE(FIELD, method="rk4", rtol=0.1), "rtol: expected none with method='rk4'"),
    (lambda: fnn.NeuralODE(FIELD, steps=0), "steps: expected an integer from 1"),
    (
        lambda: fnn.Sequential([fnn.NeuralODE([fnn.Scale()], steps=2**31 - 1)]).build(2**16),
        "layers[0]: steps: expected at most",
    ),
    (
        lambda: _core.Network("float64", IN, of_adjoint(3)),
        "adjoint: expected a whole number from 0 to steps, got 3",
    ),
    (
        lambda: _core.Network("float64", IN, of_adjoint(1.5)),
        "adjoint: expected a whole number from 0 to steps, got 1.5",
    ),
    (lambda: fnn.Sequential([fnn.NeuralODE(FIELD)]).build(3), "layers[0]: expected a block that"),
    (
        lambda: fnn.Sequential([fnn.NeuralODE([fnn.Identity()])]).build(3),
        "block: expected layers that compute something",
    ),
    (lambda: fnn.DeepEquilibrium([fnn.Tanh()]), "block: expected layers that say how many columns"),
    (lambda: fnn.DeepEquilibrium([fnn.Dense(3), fnn.GaussianNoise(1)]), "got GaussianNoise(1.0)"),
    (lambda: fnn.DeepEquilibrium(FIELD, solver="newton"), "solver: expected one of"),
    (lambda: fnn.DeepEquilibrium(FIELD, tol=0), "tol: expected a finite number > 0"),
    (
        lambda: fnn.curvature.exact_trace(
            fnn.curvature.GaussNewton(of_ode(), np.ones((2, 2)), [0.0, 1.0], loss="mse")
        ),
        "known",
    ),
]


@pytest.mark.once
@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_refused_by_name(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@pytest.mark.once
@pytest.mark.parametrize("make", [of_ode, of_equilibrium])
def test_not_exchanged(tmp_path, make):
    pytest.importorskip("torch")
    with pytest.raises(
        NotImplementedError, match=r"layers\[0\]: expected a layer that has a module"
    ):
        make().to_torch()
    with pytest.raises(NotImplementedError, match=r"layers\[0"):
        make().to_onnx(tmp_path / "model.onnx", loss="mse")
