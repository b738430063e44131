"""Ops that evaluate a block of the network again and again, and the layers made of them.

Against the same steps as formulas (tests/graphs.py), and SciPy's solvers.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

import pyfast_nn as fnn
from conftest import assert_same_bits
from graphs import METHODS, Graph
from pyfast_nn import _core
from test_ops_of_networks import OUT, Layers, Problem, check_maps, check_operators, everything

IN = 3
FIXED = [("euler", 3), ("midpoint", 2), ("rk4", 2)]


def ode(method, steps, start=0.0, stop=1.0, rtol=0.0, atol=0.0, time=0):
    return (METHODS.index(method), start, stop, steps, rtol, atol, time)


class Blocks(Layers):
    """Layers with blocks; `width` is that of y, and of what else there is."""

    def __init__(self, width=5):
        super().__init__("dense", width)

    def features(self, x):
        return Graph(IN, self.list).widths[x]

    def solve(self, x, values, within, **fields):
        """The solution from x on, of a block that within(network, what it reads) adds."""
        time = int(values[-1])
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


def with_shared_layers(n, values, within):
    """The block's layers are those of another block, and one of them stands outside, too."""
    x = n.solve(n.dense(0, n.width), values, mlp)
    first = len(n.list) - 4

    def the_same(n, y):
        h = n.add("tanh", n.dense(y, 2 * n.width, shares=first))
        return n.dense(h, n.width, shares=first + 2)

    y = n.solve(x, (*values[:1], 1.0, 0.25, *values[3:]), the_same)
    n.dense(n.add("relu", n.dense(y, 2 * n.width, shares=first)), OUT)


def frozen_block(n, values, within):
    def still(n, x):
        return n.dense(n.add("tanh", n.dense(x, 4, trainable=False)), n.width, trainable=False)

    n.dense(n.solve(n.dense(0, n.width), values, still), OUT)


def over_what_is_frozen(n, values, within):
    n.dense(n.solve(n.dense(0, n.width, trainable=False), values, within), OUT)


@pytest.mark.parametrize(
    ("place", "within"),
    [
        *((alone, mlp), (in_the_middle, mlp), (twice, mlp), (over_what_is_frozen, mlp)),
        *((alone, bent), (twice, bent), (in_the_middle, many), (over_what_is_frozen, many)),
        *((in_the_middle, normalized), (with_shared_layers, mlp), (frozen_block, mlp)),
    ],
)
def test_in_every_place(isa, dtype, rng, place, within):
    n = Blocks()
    place(n, ode("rk4", 2, -0.5, 0.5), within)
    check_maps(Problem(rng, dtype, IN, n.list, 6))
    check_operators(Problem(rng, dtype, IN, n.list, 3, loss="labels"))


@pytest.mark.parametrize(("method", "steps"), FIXED)
@pytest.mark.parametrize("time", [0, 1])
@pytest.mark.parametrize("width", [2, 16, 33])
def test_methods_and_widths(isa, dtype, rng, method, steps, time, width):
    n = Blocks(width)
    in_the_middle(n, ode(method, steps, 0.5, -1.0, time=time), mlp)
    check_maps(Problem(rng, dtype, IN, n.list, 7))


def test_positions(isa, dtype, rng):
    n = Blocks(2)
    x = n.add("reshape", 0, values=(2, 3, 2))
    y = n.solve(x, ode("midpoint", 2, time=1), mlp)
    n.dense(n.add("reshape", y, values=(1, 1, 12)), OUT)
    problem = Problem(rng, dtype, 12, n.list, 4)
    check_maps(problem)
    check_operators(problem)


class WithSteps(Problem):
    """Whose sizes are functions of errors, and so of roundings."""

    inner = property(lambda self: 200 * Problem.inner.fget(self))


def adaptive(time=0):
    n = Blocks(4)
    in_the_middle(n, ode("dopri5", 40, 0.0, 1.5, 0.05, 0.01, time), mlp)
    return n.list


@pytest.mark.parametrize("time", [0, 1])
def test_steps_that_adapt(isa, rng, time):
    """With SciPy's steps as constants; in float64, as they are functions of roundings."""
    check_maps(WithSteps(rng, "float64", IN, adaptive(time), 7))
    check_operators(WithSteps(rng, "float64", IN, adaptive(time), 3))


def test_positions_adapt_together(isa, rng):
    n = Blocks(2)
    x = n.add("reshape", 0, values=(1, 3, 2))
    n.solve(x, ode("dopri5", 40, 0.0, 2.0, 0.05, 0.01, 1), mlp)
    check_maps(WithSteps(rng, "float64", 6, n.list, 5))


@pytest.mark.parametrize("values", [ode("rk4", 3), ode("dopri5", 60, 0.0, 4.0, 1e-3, 1e-4)])
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
def test_beside_what_couples_rows_or_is_random(isa, dtype, rng, training):
    n = Blocks(4)
    x = n.add("batch_norm", n.dense(0, 4), values=(0.1, 1.0, 0.3))
    x = n.add("dropout", n.solve(x, ode("midpoint", 2), mlp), values=(0.3,))
    n.dense(n.add("batch_norm", x, values=(0.1, 1.0, 0.3)), OUT)
    check_maps(Problem(rng, dtype, IN, n.list, 9, training))


def test_more_examples_than_a_chunk(isa, dtype, rng):
    n = Blocks(4)
    in_the_middle(n, ode("rk4", 2), mlp)
    check_maps(Problem(rng, dtype, IN, n.list, 1030))


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
    model.parameters *= 20
    few = fnn.Sequential([fnn.NeuralODE(FIELD, 3.0, steps=8)], dtype="float64").build(2)
    few.parameters = model[:1].parameters
    v = rng.standard_normal(few.n_parameters)
    y, dy = few.jvp(X[:4], v)
    assert np.isnan(y).all() and np.isnan(dy).all()


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


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


MODELS = [lambda: of_ode(), lambda: of_ode(method="rk4", time=True), of_equilibrium]


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
    (lambda: fnn.NeuralODE([fnn.Conv1d(3, 3)]), "block: expected layers that make"),
    (lambda: fnn.NeuralODE([fnn.NeuralODE(FIELD)]), "got NeuralODE's y"),
    (lambda: fnn.NeuralODE([]), "block: expected at least one layer"),
    (lambda: fnn.NeuralODE(FIELD, (1.0, 1.0)), "t: expected another end than the start"),
    (lambda: fnn.NeuralODE(FIELD, method="rk45"), "method: expected one of"),
    (lambda: fnn.NeuralODE(FIELD, method="rk4", rtol=0.1), "rtol: expected none with method='rk4'"),
    (lambda: fnn.NeuralODE(FIELD, steps=0), "steps: expected an integer from 1"),
    (lambda: fnn.Sequential([fnn.NeuralODE(FIELD)]).build(3), "layers[0]: expected a block that"),
    (
        lambda: fnn.Sequential([fnn.NeuralODE([fnn.Identity()])]).build(3),
        "block: expected layers that compute something",
    ),
    (lambda: fnn.DeepEquilibrium([fnn.Tanh()]), "block: expected layers that say how many columns"),
    (lambda: fnn.DeepEquilibrium([fnn.Dense(3), fnn.GaussianNoise(1)]), "got GaussianNoise(1.0)"),
    (lambda: fnn.DeepEquilibrium(FIELD, solver="newton"), "solver: expected one of"),
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
