"""The maps of a network against the oracle, against differences, and what they refuse."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
from conftest import assert_close, assert_same_bits
from problems import (
    NETWORKS,
    RELU,
    SIGMOID,
    TANH,
    TARGETS,
    activation,
    core_network,
    dense,
    draw,
    draw_targets,
)
from pyfast_nn import _core

every_network = pytest.mark.parametrize("name", NETWORKS)
every_target = pytest.mark.parametrize("target", TARGETS)


def check_all_maps(problem, rng):
    """Every map of the network equals the oracle's, and no input is changed."""
    net, reference, dtype = problem.net, problem.reference, problem.net.dtype
    parameters, X, y, loss = problem.parameters, problem.X, problem.y, problem.loss
    v, dout = problem.vector(rng), rng.standard_normal((len(X), net.out_features)).astype(dtype)
    inputs = (parameters, X, y, v, dout)
    before = [array.copy() for array in inputs]

    def close(actual, expected):
        assert_close(actual, expected, dtype, problem.inner)

    outputs = reference.forward(parameters, X)
    close(problem.forward(), outputs)

    value, gradient = reference.loss_and_grad(parameters, X, y, loss)
    core_value, core_gradient = problem.loss_and_grad()
    close(core_value, value)
    close(core_gradient, gradient)

    core_value, accuracy = net.evaluate(parameters, X, y, loss)
    close(core_value, value)
    assert accuracy == oracle.right_rows(problem.forward(), y, loss).mean()

    if net.n_parameters:
        ways = np.stack([v, problem.vector(rng)])
        steps = np.array([[0.0, 0.0], [0.3, 0.0], [0.0, -0.2], [0.1, 0.2]])
        losses = problem.losses_along(ways, steps)
        assert losses[0] == core_value
        moved = parameters + steps @ np.float64(ways)
        close(losses, [reference.loss_and_grad(there, X, y, loss)[0] for there in moved])

    for actual, expected in zip(
        problem.vjp(dout), (outputs, *reference.vjp(parameters, X, dout)), strict=True
    ):
        close(actual, expected)
    for actual, expected in zip(problem.jvp(v), reference.jvp(parameters, v, X), strict=True):
        close(actual, expected)
    close(problem.hvp(v), reference.hvp(parameters, v, X, y, loss))

    for array, copy in zip(inputs, before, strict=True):
        assert_same_bits(array, copy)


@every_network
@every_target
def test_all_maps(isa, dtype, rng, name, target):
    for rows in (1, 2, 13, 37):
        check_all_maps(draw(rng, *NETWORKS[name], rows, dtype, target), rng)


@pytest.mark.parametrize("rows", [3, 7, 8, 12, 14, 15, 16, 17, 28, 31, 32, 33, 64, 65, 127, 300])
def test_every_number_of_rows(isa, dtype, rng, rows):
    check_all_maps(draw(rng, 10, [dense(20), RELU, dense(5)], rows, dtype, "labels"), rng)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 63, 64, 65])
def test_every_width(isa, dtype, rng, width):
    """As the number of inputs, of hidden units, and of outputs."""
    for sizes in [(width, 5, 3), (6, width, 3), (6, 5, width), (width, width, width)]:
        layers = [dense(sizes[1]), TANH, dense(sizes[2])]
        check_all_maps(draw(rng, sizes[0], layers, 11, dtype, "labels"), rng)


@pytest.mark.parametrize("rows", [1, 400])
def test_deep_and_wide(isa, dtype, rng, rows):
    deep = [layer for _ in range(20) for layer in (dense(9), TANH)]
    check_all_maps(draw(rng, 9, [*deep, dense(3)], rows, dtype, "labels"), rng)
    wide = [dense(300), TANH, dense(129), SIGMOID, dense(17)]
    check_all_maps(draw(rng, 200, wide, rows, dtype), rng)


@pytest.mark.parametrize("rows", [1024, 1025, 4500])
def test_many_rows(isa, dtype, rng, rows):
    """Sums over so many rows that they are cut."""
    check_all_maps(draw(rng, 5, [dense(19), TANH, dense(3)], rows, dtype, "labels"), rng)


@pytest.mark.parametrize("features", [512, 513, 1024, 1025, 2100, 4500])
def test_many_features(isa, dtype, rng, features):
    """Sums over so many inputs, or hidden units, that they are cut."""
    check_all_maps(draw(rng, features, [dense(5), TANH, dense(3)], 17, dtype), rng)
    check_all_maps(draw(rng, 3, [dense(features), RELU, dense(6), TANH], 17, dtype), rng)


@pytest.mark.parametrize("threads", [1, 3], indirect=True)
@pytest.mark.parametrize(("rows", "in_features"), [(600, 1100), (1500, 200)])
def test_blocks(isa, dtype, rng, threads, rows, in_features):
    """More rows and features than the second-level cache holds, and last panels that are narrow."""
    layers = [dense(136), TANH, dense(72)]
    check_all_maps(draw(rng, in_features, layers, rows, dtype), rng)


@given(
    in_features=st.integers(1, 70),
    layers=st.lists(
        st.one_of(st.builds(dense, st.integers(1, 70)), st.sampled_from([RELU, TANH, SIGMOID])),
        min_size=1,
        max_size=7,
    ),
    rows=st.integers(1, 70),
    target=st.sampled_from(TARGETS),
    seed=st.integers(0, 2**32),
)
def test_any_network(isa, dtype, in_features, layers, rows, target, seed):
    rng = np.random.default_rng(seed)
    check_all_maps(draw(rng, in_features, layers, rows, dtype, target), rng)


@pytest.mark.parametrize("rows", [1, 2, 3, 8, 31, 32, 33])
@pytest.mark.parametrize("name", NETWORKS)
def test_few_rows_have_the_bits_of_many(isa, dtype, rng, name, rows):
    """A few rows are computed from the parameters as they lie, many from panels."""
    problem = draw(rng, *NETWORKS[name], 50, dtype)
    many = np.empty((50, problem.net.out_features), dtype)
    few = np.empty((rows, problem.net.out_features), dtype)
    problem.net.forward(problem.parameters, problem.X, many)
    problem.net.forward(problem.parameters, problem.X[:rows], few)
    assert_same_bits(few, many[:rows])


@pytest.mark.parametrize("in_features", [1, 7, 8, 9, 40])
def test_one_row_of_any_width(isa, dtype, rng, in_features):
    for width in (*range(1, 36), 47, 48, 49, 63, 64, 65, 129):
        problem = draw(rng, in_features, [dense(width)], 33, dtype)
        many, one = (np.empty((rows, width), dtype) for rows in (33, 1))
        problem.net.forward(problem.parameters, problem.X, many)
        problem.net.forward(problem.parameters, problem.X[:1], one)
        assert_same_bits(one, many[:1])


@pytest.mark.parametrize("rows", [1, 3, 32])
def test_few_rows_on_a_team(isa, dtype, rng, restore_threads, rows):
    """Enough parameters for threads to share the columns of a layer."""
    layers = [dense(801), RELU, activation("softmax"), TANH, dense(3), SIGMOID, dense(400)]
    problem = draw(rng, 799, layers, 50, dtype)
    many = np.empty((50, 400), dtype)
    problem.net.forward(problem.parameters, problem.X, many)
    for threads in (1, 2, 5):
        _core.set_num_threads(threads)
        few = np.empty((rows, 400), dtype)
        problem.net.forward(problem.parameters, problem.X[:rows], few)
        assert_same_bits(few, many[:rows])


def test_no_rows(isa, dtype, rng):
    """Outputs of an empty batch are empty; its pullback is zero. It has no mean loss."""
    problem = draw(rng, 6, [dense(5), TANH, dense(3)], 0, dtype)
    assert problem.forward().shape == (0, 3)
    assert [part.shape for part in problem.jvp(problem.vector(rng))] == [(0, 3), (0, 3)]
    _, dparameters, dX = problem.vjp(problem.empty(0, 3))
    assert dX.shape == (0, 6)
    assert (dparameters == 0).all()
    with pytest.raises(ValueError, match=r"\bX\b"):
        problem.loss_and_grad()
    with pytest.raises(ValueError, match=r"\bX\b"):
        problem.net.evaluate(problem.parameters, problem.X, problem.y, oracle.MSE)
    with pytest.raises(ValueError, match=r"\bX\b"):
        problem.hvp(problem.vector(rng))


# ------------------------------------------------------------------------------------- properties


@every_network
def test_properties(name, dtype):
    in_features, layers = NETWORKS[name]
    net, reference = core_network(dtype, in_features, layers), oracle.Network(in_features, layers)
    assert (net.dtype, net.in_features) == (dtype, in_features)
    assert net.out_features == reference.out_features
    assert net.n_parameters == reference.n_parameters
    layout = [(int(path), *rest) for path, *rest in net.parameter_layout]
    assert layout == reference.layout()
    assert (net.couples_rows, net.is_random, net.has_state) == (False, False, False)
    assert net.piecewise_linear == all(kind in ("dense", "relu") for kind, _, _ in layers)


# --------------------------------------------------------------------------------- differentiation


@pytest.mark.parametrize("name", ["relu", "deep", "begins with tanh", "two in a row"])
@every_target
def test_gradient_by_central_differences(isa, rng, name, target):
    problem = draw(rng, *NETWORKS[name], 9, "float64", target, margin=1e-4)
    step, (_, gradient) = 1e-6, problem.loss_and_grad()
    for i in rng.permutation(problem.net.n_parameters)[:60]:
        values = []
        for sign in (1, -1):
            parameters = problem.parameters.copy()
            parameters[i] += sign * step
            arguments = (parameters, problem.X, problem.y, problem.loss)
            values.append(problem.net.evaluate(*arguments)[0])
        difference = (values[0] - values[1]) / (2 * step)
        assert abs(gradient[i] - difference) <= 1e-8 * (1 + abs(difference))


@pytest.mark.parametrize("name", ["relu", "deep", "begins with tanh", "only activations"])
def test_gradient_in_X_by_central_differences(isa, rng, name):
    problem = draw(rng, *NETWORKS[name], 5, "float64", margin=1e-4)
    dout = rng.standard_normal((5, problem.net.out_features))
    step, (_, _, dX) = 1e-6, problem.vjp(dout)
    for index in np.ndindex(dX.shape):
        values = []
        for sign in (1, -1):
            X = problem.X.copy()
            X[index] += sign * step
            out = np.empty_like(dout)
            problem.net.forward(problem.parameters, X, out)
            values.append((dout * out).sum())
        difference = (values[0] - values[1]) / (2 * step)
        assert abs(dX[index] - difference) <= 1e-8 * (1 + abs(difference))


def test_pullback_is_repeatable_and_owns_what_it_needs(isa, dtype, rng):
    problem = draw(rng, 12, [TANH, dense(18), RELU, dense(4)], 21, dtype)
    net, parameters = problem.net, problem.parameters
    douts = rng.standard_normal((2, 21, 4)).astype(dtype)
    X, out = problem.X.copy(), problem.empty(21, 4)
    pullback = net.vjp(parameters, X, out)
    out[...], X[...] = np.nan, np.nan
    del X, out, net
    # whatever the network computes in between must not disturb the pullback
    draw_again = draw(rng, 12, [TANH, dense(18), RELU, dense(4)], 21, dtype)
    draw_again.loss_and_grad()
    problem.net.forward(parameters, draw_again.X, problem.empty(21, 4))
    gc.collect()
    results = []
    for dout in (douts[0], douts[1], douts[0]):
        results.append((problem.empty_vector(), problem.empty(21, 12)))
        pullback(dout, *results[-1])
        for actual, expected in zip(
            results[-1], problem.reference.vjp(parameters, problem.X, dout), strict=True
        ):
            assert_close(actual, expected, dtype, problem.inner)
    assert_same_bits(results[0][0], results[2][0])
    assert_same_bits(results[0][1], results[2][1])


# ------------------------------------------------------------------------------------ kinds of X


def layouts(X):
    """The same values as `X` in other memory."""
    rows, columns = X.shape
    wide = np.full((2 * rows, 3 * columns), 99, X.dtype)
    wide[::2, ::3] = X
    raw = np.zeros(X.nbytes + 1, np.uint8)[1:].view(X.dtype).reshape(X.shape)  # misaligned
    raw[...] = X
    frozen = X.copy()
    frozen.flags.writeable = False
    return {
        "fortran": np.asfortranarray(X),
        "strided": wide[::2, ::3],
        "negative rows": X[::-1].copy()[::-1],
        "negative columns": X[:, ::-1].copy()[:, ::-1],
        "negative both": X[::-1, ::-1].copy()[::-1, ::-1],
        "misaligned": raw,
        "read-only": frozen,
    }


def check_X(net, reference, parameters, X, clean, y):
    """All maps on X give the bits that they give on `clean`, which is C-contiguous."""
    dtype, rows = net.dtype, len(X)
    before = X.copy()
    dout = np.ones((rows, net.out_features), dtype)

    def results(X):
        out, dout_, grad = np.empty_like(dout), np.empty_like(dout), np.empty_like(parameters)
        hv, dparameters, dX = grad.copy(), grad.copy(), np.empty((rows, X.shape[1]), dtype)
        net.forward(parameters, X, out)
        net.jvp(parameters, parameters, X, out.copy(), dout_)
        loss = net.loss_and_grad(parameters, X, y, oracle.MSE, grad)
        net.hvp(parameters, parameters, X, y, oracle.MSE, hv)
        net.vjp(parameters, X, out.copy())(dout, dparameters, dX)
        trained, report = parameters.copy(), np.zeros(3)
        update = ("sgd", {"momentum": 0.0, "nesterov": 0.0, "weight_decay": 0.0})
        order, lr = np.arange(rows, dtype=np.int64)[::-1].copy(), np.full(-(-rows // 4), 0.1)
        epoch = {"order": order, "batch_size": 4, "lr": lr, "update": update, "state": []}
        net.train(trained, X, y, oracle.MSE, **epoch, step=0, report=report)
        loss = np.array([loss, net.evaluate(parameters, X, y, oracle.MSE)[0]])
        return out, dout_, grad, hv, dparameters, dX, trained, report, loss

    for actual, expected in zip(results(X), results(clean), strict=True):
        assert_same_bits(actual, expected)
    out = np.empty_like(dout)
    net.forward(parameters, X, out)
    assert_close(out, reference.forward(parameters, clean), dtype, 64)
    assert_same_bits(X, before)


def test_strides_of_X(isa, dtype, rng):
    for layers in ([dense(13), TANH, dense(3)], [TANH, dense(3)]):
        problem = draw(rng, 19, layers, 23, dtype)
        net, parameters, X, y = problem.net, problem.parameters, problem.X, problem.y
        for array in layouts(X).values():
            check_X(net, problem.reference, parameters, array, X, y)
        constant = np.broadcast_to(X[:1], X.shape)  # stride 0
        check_X(net, problem.reference, parameters, constant, constant.copy(), y)
        one_value = np.broadcast_to(X[:1, :1], X.shape)
        check_X(net, problem.reference, parameters, one_value, one_value.copy(), y)


@pytest.mark.parametrize(
    "kind",
    [
        *("bool", "float32", "float64"),
        *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    ],
)
def test_dtypes_of_X(isa, dtype, rng, kind):
    problem = draw(rng, 19, [dense(13), TANH, dense(3)], 23, dtype)
    if kind.startswith("float"):
        X = rng.standard_normal((23, 19)).astype(kind)
    elif kind == "bool":
        X = rng.integers(0, 2, (23, 19)).astype(bool)
    else:
        X = rng.integers(max(np.iinfo(kind).min, -90), 91, (23, 19)).astype(kind)
    extreme = X.copy()
    if not kind.startswith("float") and kind != "bool":
        extreme[0, 0], extreme[-1, -1] = np.iinfo(kind).min, np.iinfo(kind).max
    for array in (X, extreme):
        for layout in layouts(array).values():
            clean = array.astype(dtype)
            arguments = (problem.net, problem.reference, problem.parameters)
            check_X(*arguments, layout, clean, problem.y)


# ---------------------------------------------------------------------------------- extreme values


def identity_network(dtype, width):
    """A dense layer that returns its input, so that a test chooses the outputs."""
    net = core_network(dtype, width, [dense(width)])
    return net, np.concatenate([np.eye(width).ravel(), np.zeros(width)]).astype(dtype)


@pytest.mark.parametrize("width", [1, 2, 5, 10, 16, 17, 33])
@pytest.mark.parametrize("target", ["labels", "probabilities"])
def test_cross_entropy_of_extreme_outputs(isa, dtype, rng, width, target):
    net, parameters = identity_network(dtype, width)
    random = rng.standard_normal((1, width))
    first = np.eye(width)[:1]
    shifts, directions = (0.0, -200.0, 200.0, 1e4, -1e4, 1e30), (random, first, -first)
    Z = np.concatenate(
        [shift + size * d for shift in shifts for d in directions for size in (1.0, 1e4)]
        + [1e30 * d for d in directions]
    ).astype(dtype)
    y = draw_targets(rng, len(Z), width, target, dtype)
    out, grad, hv = np.empty_like(Z), np.empty_like(parameters), np.empty_like(parameters)
    bias = slice(width * width, None)
    for row in range(len(Z)):
        z, target_row = Z[row : row + 1], y[row : row + 1]
        net.forward(parameters, z, out[:1])
        assert_same_bits(out[:1], z + 0)
        exact_z, eps = z.astype(np.float64), float(np.finfo(dtype).eps) * width

        value = net.loss_and_grad(parameters, z, target_row, oracle.CROSS_ENTROPY, grad)
        expected = oracle.loss_value(exact_z, target_row, oracle.CROSS_ENTROPY)
        assert abs(value - expected) <= 4 * eps * (np.ptp(exact_z) + 1)

        # the gradient in the bias is the gradient in the outputs: no element exceeds one
        expected = oracle.loss_gradient(exact_z, target_row, oracle.CROSS_ENTROPY)[0]
        assert abs(grad[bias] - expected).max() <= 16 * eps
        assert np.isfinite(grad).all()

        v = np.zeros_like(parameters)
        v[bias] = rng.uniform(-1, 1, width)
        net.hvp(parameters, v, z, target_row, oracle.CROSS_ENTROPY, hv)
        dz = v[None, bias].astype(np.float64)
        expected = oracle.loss_hvp(exact_z, dz, target_row, oracle.CROSS_ENTROPY)[0]
        assert abs(hv[bias] - expected).max() <= 16 * eps


@pytest.mark.parametrize("kind", ["relu", "tanh", "sigmoid"])
def test_activations_of_extreme_inputs(isa, dtype, rng, kind):
    """Values, first and second derivatives stay finite and right; infinity has its limit."""
    net = core_network(dtype, 13, [(kind, 0, ())])
    reference = oracle.Network(13, [(kind, 0, ())])
    none = np.empty(0, dtype)
    large = [0.0, -0.0, 1e-30, -1e-30, 1e-5, 1.0, -1.0, 9.0, -9.0, 88.0, -88.0, 89.0, -89.0]
    X = np.array([large, [1e3 * x for x in large], [1e25 * x for x in large]], dtype)
    out, dX = np.empty_like(X), np.empty_like(X)
    net.vjp(none, X, out)(np.ones_like(X), none, dX)
    with np.errstate(all="ignore"):
        expected, (_, dX_expected) = (
            reference.forward(none, X),
            reference.vjp(none, X, np.ones_like(X)),
        )
    eps, tiny = float(np.finfo(dtype).eps), float(np.finfo(dtype).tiny)
    np.testing.assert_allclose(out, expected, rtol=8 * eps, atol=2 * tiny)
    np.testing.assert_allclose(dX, dX_expected, rtol=8 * eps, atol=2 * eps)
    infinite = np.array([[np.inf, -np.inf, np.nan] * 4 + [1.0]], dtype)
    out = np.empty_like(infinite)
    net.forward(none, infinite, out)
    limits = {"relu": (np.inf, 0.0), "tanh": (1.0, -1.0), "sigmoid": (1.0, 0.0)}[kind]
    np.testing.assert_array_equal(out[0, :12], np.array([*limits, np.nan] * 4, dtype))


def test_mse_of_large_outputs(isa, dtype):
    net, parameters = identity_network(dtype, 3)
    X, y = np.full((2, 3), 1e15, dtype), np.zeros((2, 3), dtype)
    assert net.evaluate(parameters, X, y, oracle.MSE)[0] == pytest.approx(1e30, rel=1e-6)


@every_network
def test_nan_arrives(isa, dtype, rng, name):
    """A NaN in a row of X is NaN in that row's outputs, the loss and the gradient, nowhere else."""
    rows = 29
    problem = draw(rng, *NETWORKS[name], rows, dtype)
    clean = problem.forward()
    for row in (0, 11, rows - 1):
        good = problem.X
        problem.X = good.copy()
        problem.X[row] = np.nan
        out, (value, grad) = problem.forward(), problem.loss_and_grad()
        assert np.isnan(out[row]).all()
        assert_same_bits(np.delete(out, row, axis=0), np.delete(clean, row, axis=0))
        assert np.isnan(value)
        shapes = [shape for shape in problem.reference.shapes if shape]
        if shapes:
            first = shapes[0][0] * shapes[0][1]
            assert np.isnan(grad[:first]).all()
        assert np.isnan(
            problem.net.evaluate(problem.parameters, problem.X, problem.y, oracle.MSE)[0]
        )
        assert np.isnan(problem.jvp(problem.vector(rng))[1][row]).all() or not shapes
        assert np.isnan(problem.hvp(problem.vector(rng))).any() or not shapes
        problem.X = good


def test_nan_in_parameters_arrives(isa, dtype, rng):
    problem = draw(rng, 6, [dense(9), RELU, dense(4)], 5, dtype, "labels")
    for index, _, offset, _ in problem.reference.layout():
        good = problem.parameters.copy()
        problem.parameters[offset] = np.nan
        out = problem.forward()
        assert np.isnan(out).all() if index == 0 else np.isnan(out[:, 0]).all()
        assert np.isnan(problem.loss_and_grad()[0])
        problem.parameters[:] = good


# ------------------------------------------------------------------------------------- refusals

SGD = ("sgd", {"momentum": 0.0, "nesterov": 0.0, "weight_decay": 0.0})
MOMENTUM = ("sgd", {"momentum": 0.9, "nesterov": 0.0, "weight_decay": 0.0})
ADAM = ("adam", {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0})


def good_arguments():
    """Right arguments of every map of a 5-4-3 network on seven rows (39 parameters), by name."""
    P, n = np.ones(39), 7
    X, out, y, hits = np.ones((n, 5)), np.ones((n, 3)), np.ones((n, 3)), np.zeros(n, np.int64)
    return {
        "forward": {"parameters": P, "X": X, "out": out},
        "evaluate": {"parameters": P, "X": X, "y": y, "loss": oracle.MSE},
        "evaluate labels": {"parameters": P, "X": X, "y": hits, "loss": oracle.CROSS_ENTROPY},
        "losses_along": {
            "parameters": P,
            "directions": np.ones((2, 39)),
            "steps": np.zeros((4, 2)),
            "X": X,
            "y": y,
            "loss": oracle.MSE,
            "losses": np.zeros(4),
        },
        "loss_and_grad": {"parameters": P, "X": X, "y": y, "loss": oracle.MSE, "grad": P.copy()},
        "vjp": {"parameters": P, "X": X, "out": out},
        "pullback": {"dout": out, "dparameters": P.copy(), "dX": X.copy()},
        "jvp": {"parameters": P, "v": P.copy(), "X": X, "out": out, "dout": out.copy()},
        "hvp": {"parameters": P, "v": P.copy(), "X": X, "y": y, "loss": oracle.MSE, "hv": P.copy()},
        "train": {
            "parameters": P,
            "X": X,
            "y": y,
            "loss": oracle.MSE,
            "order": np.arange(n, dtype=np.int64),
            "batch_size": 3,
            "lr": np.ones(3),
            "update": MOMENTUM,
            "state": [P.copy()],
            "step": 0,
            "report": np.zeros(3),
        },
    }


def wrong_values():
    """(map, argument, wrong value): everything else is right."""

    def frozen(*shape):
        array = np.ones(shape)
        array.flags.writeable = False
        return array

    def wrong_vectors():
        yield from (np.ones(38), np.ones(40), np.ones((39, 1)), np.ones(0), np.ones(78)[::2])
        yield from (np.ones(39, "float32"), np.ones(39, "int64"), np.ones(39, ">f8"), [1.0] * 39)

    def wrong_matrices(rows, columns):
        yield from (np.ones((rows + 1, columns)), np.ones((rows, columns + 1)), np.ones(rows))
        yield from (np.ones((rows, columns), "float32"), np.ones((rows, columns), ">f8"))
        yield from (np.ones((columns, rows)).T, np.ones((rows, 2 * columns))[:, ::2], None)
        yield np.ones((1, rows, columns))

    wrong_losses = ("mse", 3, None, (), ("nonsense", {}), ("mse", {"q": 1.0}), ("mse",))
    wrong_losses += (("huber", {}), ("huber", {"delta": "much"}), ({}, "mse"))
    for name, arguments in good_arguments().items():
        if "X" in arguments:
            yield from ((name, "X", np.ones(shape)) for shape in [(7, 4), (7, 6), 5, (7, 5, 1)])
            kinds = ["complex128", "longdouble", "S1", "object", "M8[s]"]
            yield from ((name, "X", np.ones((7, 5)).astype(kind)) for kind in kinds)
            yield name, "X", [[1.0] * 5] * 7
        for vector in {"parameters", "v", "grad", "hv", "dparameters"} & arguments.keys():
            yield from ((name, vector, array) for array in wrong_vectors())
        for vector in {"grad", "hv", "dparameters"} & arguments.keys():
            yield name, vector, frozen(39)
        for matrix in {"out", "dout"} & arguments.keys():
            yield from ((name, matrix, array) for array in wrong_matrices(7, 3))
            if not (name == "pullback" and matrix == "dout"):
                yield name, matrix, frozen(7, 3)
        if "dX" in arguments:
            yield from ((name, "dX", array) for array in (*wrong_matrices(7, 5), frozen(7, 5)))
        if "y" in arguments and name != "evaluate labels":
            yield from ((name, "y", array) for array in wrong_matrices(7, 3))
            yield name, "y", np.zeros(7, np.int64)
        if "loss" in arguments:
            yield from ((name, "loss", value) for value in wrong_losses)
    for directions in (np.ones((2, 38)), np.ones(78), np.ones((2, 39), "float32")):
        yield "losses_along", "directions", directions
    for steps in (np.zeros((4, 1)), np.zeros(8), np.zeros((4, 2), "float32"), [[0.0, 0.0]] * 4):
        yield "losses_along", "steps", steps
    for losses in (np.zeros(3), np.zeros((4, 1)), np.zeros(4, "float32"), frozen(4)):
        yield "losses_along", "losses", losses
    labels = ([0] * 7, np.zeros(6, np.int64), np.zeros(8, np.int64), np.zeros(14, np.int64)[::2])
    labels += (np.full(7, 3), np.full(7, -1), np.zeros(7, np.int32), np.zeros(7), np.zeros((7, 1)))
    yield from (("evaluate labels", "y", y) for y in labels)
    yield "train", "parameters", frozen(39)
    orders = (np.arange(7) + 1, np.arange(7) - 1, np.arange(7.0), np.arange(7, dtype=np.int32))
    orders += (np.arange(7)[:, None], np.arange(14)[::2], list(range(7)), np.full(7, 2**62))
    yield from (("train", "order", order) for order in orders)
    yield from (("train", "batch_size", size) for size in (0, -1, 1.5, "3"))
    rates = (np.ones(2), np.ones(4), np.ones(3, "float32"), np.ones((3, 1)), np.ones(6)[::2])
    rates += ("0.1", [0.1] * 3, None)
    yield from (("train", "lr", lr) for lr in rates)
    yield from (("train", "step", step) for step in (-1, 0.5, None))
    yield from (("train", "report", report) for report in (np.zeros(2), frozen(3), None))
    yield "train", "report", np.zeros(3, "float32")
    states = ([], [np.ones(39)] * 2, [np.ones(38)], [np.ones(39, "float32")], [frozen(39)], 3)
    yield from (("train", "state", state) for state in states)
    options = MOMENTUM[1]
    updates = ("sgd", ("nonsense", options), ("sgd",), ("sgd", {}), ("sgd", {**options, "a": 1.0}))
    updates += (("sgd", {**options, "momentum": "much"}), ADAM[::-1], None)
    yield from (("train", "update", update) for update in updates)


@pytest.mark.parametrize(("name", "argument", "value"), list(wrong_values()))
def test_wrong_arguments(name, argument, value):
    """ValueError or TypeError names the argument, and nothing has been written."""
    arguments = {**good_arguments()[name], argument: value}
    net = core_network("float64", 5, [dense(4), TANH, dense(3)])
    if name == "pullback":
        function = net.vjp(**good_arguments()["vjp"])
    else:
        function = getattr(net, name.split()[0])
    arrays = [array for array in arguments.values() if isinstance(array, np.ndarray)]
    before = [array.copy() for array in arrays]
    with pytest.raises((ValueError, TypeError), match=rf"\b{argument}\b"):
        function(**arguments)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("name", good_arguments())
def test_right_arguments(name):
    """What test_wrong_arguments starts from is accepted."""
    net = core_network("float64", 5, [dense(4), TANH, dense(3)])
    if name == "pullback":
        function = net.vjp(**good_arguments()["vjp"])
    else:
        function = getattr(net, name.split()[0])
    function(**good_arguments()[name])


@pytest.mark.parametrize(
    ("argument", "arguments"),
    [
        ("dtype", ("float16", 3, [dense(2)])),
        ("dtype", ("int64", 3, [dense(2)])),
        ("in_features", ("float64", 0, [dense(2)])),
        ("in_features", ("float64", -3, [dense(2)])),
        ("layers", ("float64", 3, [])),
        ("layers", ("float64", 3, [("nonsense", 2, ())])),
        ("layers", ("float64", 3, [("dense", 0, ())])),
        ("layers", ("float64", 3, [("dense", -1, ())])),
        ("layers", ("float64", 3, [dense(2), ("dense", -1, ())])),
        ("layers", ("float64", 3, [("dense", 2, (1.0,))])),
        ("layers", ("float64", 3, [("relu", 0, (1.0,))])),
        ("layers", ("float64", 3, [("elu", 0, ())])),
        ("layers", ("float64", 3, [("hardtanh", 0, (1.0,))])),
        ("layers", ("float64", 3, [("elu", 0, ("steep",))])),
    ],
)
def test_wrong_networks(argument, arguments):
    with pytest.raises((ValueError, TypeError), match=rf"\b{argument}\b"):
        core_network(*arguments)
