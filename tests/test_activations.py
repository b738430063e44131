"""Every activation: values and derivatives against the oracle, differences and torch."""

from __future__ import annotations

import math

import numpy as np
import pytest

import autodiff
import oracle
import pyfast_nn as fnn
from conftest import FULL, assert_close, assert_same_bits
from problems import RELU, TANH, activation, core_network, dense, draw
from pyfast_nn import _core
from test_hessian import central_differences, gradient_at, hessian_by_products, relative_error
from test_network import check_all_maps

KINDS = [
    activation("identity"),
    activation("relu"),
    activation("leaky_relu", 0.01),
    activation("leaky_relu", 1.5),
    activation("elu", 1.0),
    activation("elu", 0.3),
    activation("softplus", 1.0),
    activation("softplus", 3.0),
    activation("gelu"),
    activation("gelu_tanh"),
    activation("silu"),
    activation("tanh"),
    activation("hardtanh", -1.0, 1.0),
    activation("hardtanh", -0.25, 2.0),
    activation("sigmoid"),
    activation("step"),
    activation("sign"),
]
SMOOTH = ("softmax", "softplus", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid", "elu")


def name_of(layer):
    return " ".join(map(str, (layer[0], *layer[2])))


every_kind = pytest.mark.parametrize("layer", KINDS, ids=name_of)
SOFTMAX = activation("softmax")
every_map = pytest.mark.parametrize("layer", [*KINDS, SOFTMAX], ids=name_of)


def test_all_kinds_are_here():
    assert {kind for kind, _, _ in KINDS} == oracle.ACTIVATIONS.keys()


# ------------------------------------------------------------------------------- element by element


def apply(layer, dtype, z):
    """Value and first and second derivative of an activation at every element of z (n,).

    The second by a Hessian product in the bias of a dense layer in front of it: with the loss
    (a - t)^2 / n it is 2 / n times f'^2 + (a - t) f''. Two targets tell the terms apart.
    """
    n, none = len(z), np.empty(0, dtype)
    z = np.asarray(z, dtype)[None]
    a, first, second, square = (np.empty_like(z) for _ in range(4))
    alone = core_network(dtype, n, [layer])
    alone.vjp(none, z, a)(np.ones_like(z), none, first)

    net = core_network(dtype, n, [dense(n), layer])
    parameters = np.concatenate([np.eye(n).ravel(), np.zeros(n)]).astype(dtype)
    v, hv = np.zeros_like(parameters), np.empty_like(parameters)
    v[n * n :] = n / 2
    for out, distance in ((square, 0), (second, 1)):
        net.hvp(parameters, v, z, a - np.asarray(distance, dtype), oracle.MSE, hv)
        out[0] = hv[n * n :]
    return a[0], first[0], square[0], (second - square)[0]


@every_kind
def test_elements(isa, dtype, layer):
    kind, _, numbers = layer
    z = np.concatenate([np.linspace(-12, 12, 301), [0.0, -0.0, 1e-30, -1e-30, 1e-5, -1e-5]])
    kinks = oracle.KINKS.get(kind, lambda *_: ())(*numbers)
    z = z[[all(x == 0 or abs(x - kink) > 1e-6 for kink in kinks) for x in z]].astype(dtype)
    a, first, square, second = apply(layer, dtype, z)
    exact = z.astype(np.float64)
    expected = [function(exact, *numbers) for function in oracle.ACTIVATIONS[kind]]
    eps, tiny = float(np.finfo(dtype).eps), float(np.finfo(dtype).tiny)
    np.testing.assert_allclose(a, expected[0], rtol=8 * eps, atol=4 * eps)
    np.testing.assert_allclose(first, expected[1], rtol=8 * eps, atol=4 * eps)
    np.testing.assert_allclose(square, expected[1] ** 2, rtol=16 * eps, atol=8 * eps)
    # (a - t) is 1 up to the rounding of a
    np.testing.assert_allclose(second, expected[2], rtol=64 * eps, atol=16 * eps)
    near_zero = np.abs(exact) < 1e-4
    if kind in ("elu", "gelu", "gelu_tanh", "silu", "tanh"):  # f(0) = 0, and no digits are lost
        np.testing.assert_allclose(a[near_zero], expected[0][near_zero], rtol=8 * eps, atol=tiny)


@every_kind
def test_extreme_inputs(isa, dtype, layer):
    """Values and derivatives stay finite and right; infinity has its limit."""
    kind, _, numbers = layer
    large = [16.0, 40.0, 88.0, 89.0, 104.0, 700.0, 746.0, 1e3, 1e4, 1e10, 1e30]
    large += [1e200] if dtype == "float64" else []
    z = np.array([sign * x for x in large for sign in (1, -1)], dtype)
    exact = z.astype(np.float64)
    a, first, square, second = apply(layer, dtype, z)
    with np.errstate(all="ignore"):
        expected = [function(exact, *numbers) for function in oracle.ACTIVATIONS[kind]]
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(a, expected[0], rtol=8 * eps, atol=4 * eps)
    np.testing.assert_allclose(first, expected[1], rtol=8 * eps, atol=4 * eps)
    np.testing.assert_allclose(square, expected[1] ** 2, rtol=16 * eps, atol=8 * eps)
    moderate = np.abs(a) < 1 / eps  # elsewhere a - 1 is a
    np.testing.assert_allclose(second[moderate], expected[2][moderate], atol=1e-4)
    assert np.isfinite(second).all()

    infinite = np.array([[np.inf, -np.inf, np.nan] * 7], dtype)
    out = np.empty_like(infinite)
    none = np.empty(0, dtype)
    pullback = core_network(dtype, 21, [layer]).vjp(none, infinite, out)
    limits = {
        "identity": (math.inf, -math.inf),
        "leaky_relu": (math.inf, -math.inf),
        "elu": (math.inf, -numbers[0] if numbers else None),
        "tanh": (1, -1),
        "hardtanh": numbers[::-1],
        "sigmoid": (1, 0),
        "step": (1, 0),
        "sign": (1, -1),
    }.get(kind, (math.inf, 0))
    np.testing.assert_array_equal(out[0], np.array([*limits, np.nan] * 7, dtype))
    pullback(np.ones_like(out), none, slopes := np.empty_like(out))
    slope_limits = {"leaky_relu": (1, numbers[0] if numbers else None), "identity": (1, 1)}
    flat = ("tanh", "hardtanh", "sigmoid", "step", "sign")
    expected = slope_limits.get(kind, (0, 0) if kind in flat else (1, 0))
    expected = np.tile(np.array(expected, dtype), (7, 1))
    np.testing.assert_array_equal(slopes[0].reshape(7, 3)[:, :2], expected)


@every_kind
def test_kinks(isa, dtype, layer):
    """The derivative that is taken where there is none."""
    kind, _, numbers = layer
    expected = {
        "relu": {0.0: 0},
        "leaky_relu": {0.0: numbers[0] if numbers else None},
        "elu": {0.0: numbers[0] if numbers else None},
        "hardtanh": dict.fromkeys(numbers, 0),
        "step": {0.0: 0},
        "sign": {0.0: 0},
    }.get(kind, {})
    for kink, slope in expected.items():
        a, first, _, _ = apply(layer, dtype, [kink])
        assert a[0] == oracle.ACTIVATIONS[kind][0](np.array(kink), *numbers).astype(dtype)
        assert first[0] == np.asarray(slope, dtype)


@every_kind
def test_nan_arrives(isa, dtype, rng, layer):
    """At its place, in outputs and (but where the derivative is constant) in tangents."""
    for width in (1, 7, 33):
        problem = draw(rng, width, [dense(width), layer], 19, dtype)
        clean = problem.forward()
        problem.X[11] = np.nan
        out = problem.forward()
        assert np.isnan(out[11]).all()
        assert_same_bits(np.delete(out, 11, axis=0), np.delete(clean, 11, axis=0))
        assert np.isnan(problem.loss_and_grad()[0])
        assert np.isnan(problem.jvp(problem.vector(rng))[1][11]).all()


# ------------------------------------------------------------------------------------------ softmax


@pytest.mark.parametrize("width", [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 63, 65, 200])
def test_softmax_of_every_width(isa, dtype, rng, width):
    for rows in (
        4,
        5,
        33,
    ):  # a single row may cancel: with two features its gradient is a difference
        for layers in ([SOFTMAX], [dense(width), SOFTMAX, dense(3)], [SOFTMAX, SOFTMAX, TANH]):
            check_all_maps(draw(rng, width, layers, rows, dtype), rng)


def test_softmax_of_extreme_inputs(isa, dtype, rng):
    """Rows of probabilities whatever is added to them, and derivatives that stay finite."""
    none = np.empty(0, dtype)
    for width in (1, 2, 19, 40):
        z = rng.standard_normal((12, width))
        z = np.concatenate(
            [size * z + shift for size in (1, 1e4, 1e30) for shift in (0, 1e3, -1e30)]
        )
        z = z.astype(dtype)
        out, dX, dout = np.empty_like(z), np.empty_like(z), rng.standard_normal(z.shape)
        net = core_network(dtype, width, [SOFTMAX])
        net.vjp(none, z, out)(dout.astype(dtype), none, dX)
        exact = z.astype(np.float64)
        eps = float(np.finfo(dtype).eps)
        np.testing.assert_allclose(out, oracle.softmax(exact), rtol=0, atol=8 * eps)
        np.testing.assert_allclose(out.sum(axis=1), 1, rtol=4 * width * eps)
        expected = oracle.product("softmax", (), exact, dout)
        np.testing.assert_allclose(dX, expected, rtol=0, atol=64 * eps)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_in_a_softmax(isa, dtype, rng, bad):
    """An infinity has all of its row, which is the limit; minus infinity has nothing."""
    for width in (1, 5, 20, 70):
        for column in {0, width // 2, width - 1}:
            problem = draw(rng, width, [SOFTMAX], 19, dtype)
            clean = problem.forward()
            problem.X[11, column] = bad
            out = problem.forward()
            if np.isnan(bad):
                assert np.isnan(out[11]).all()
            else:
                np.testing.assert_array_equal(out[11], np.arange(width) == column)
            assert_same_bits(np.delete(out, 11, axis=0), np.delete(clean, 11, axis=0))
            if width > 1:
                problem.X[11, column] = -np.inf
                out = problem.forward()
                assert out[11, column] == 0
                assert abs(out[11].sum() - 1) < 1e-5


# -------------------------------------------------------------------------------------- in networks


def networks(layer):
    """(in_features, layers): where the activation may stand."""
    yield 20, [dense(33), layer, dense(10)]
    yield 7, [layer, dense(5), layer]
    yield 23, [layer]
    yield 9, [dense(17), TANH, layer, dense(6), layer, RELU, dense(3), layer, layer]


@every_map
@pytest.mark.parametrize("target", ["mse", "labels"])
def test_all_maps(isa, dtype, rng, layer, target):
    for in_features, layers in networks(layer):
        for rows in (1, 13, 37):
            check_all_maps(draw(rng, in_features, layers, rows, dtype, target), rng)


@every_map
def test_hvp_equals_dense_hessian(isa, rng, layer):
    layers = [dense(5), layer, dense(4), TANH, layer, dense(2), layer]
    problem = draw(rng, 3, layers, 9, "float64", "labels", margin=1e-3)
    hessian = hessian_by_products(problem)
    differences = central_differences(gradient_at(problem), problem.parameters)
    assert relative_error(hessian, differences) < 1e-7
    assert relative_error(hessian, hessian.T) < 1e-13

    def loss(parameters):
        return problem.net.evaluate(parameters, problem.X, problem.y, problem.loss)[0]

    gradient = central_differences(loss, problem.parameters)[0]
    assert relative_error(problem.loss_and_grad()[1], gradient) < 1e-7


@every_map
def test_second_opinion(isa, rng, layer):
    """Value, gradient and Hessian product of torch."""
    torch = autodiff.torch()
    if layer[0] == "step":
        pytest.skip("torch does not differentiate heaviside")
    layers = [dense(11), layer, dense(6), TANH, layer, dense(3)]
    problem = draw(rng, 5, layers, 21, "float64", "labels")
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


@every_map
def test_same_bits_for_any_number_of_threads(isa, dtype, rng, layer, restore_threads):
    problem = draw(rng, 60, [dense(50), layer, dense(40), layer, dense(3)], 530, dtype)
    v = problem.vector(rng)
    update = ("sgd", {"momentum": 0.0, "nesterov": 0.0, "weight_decay": 0.0})

    def everything():
        trained, report = problem.parameters.copy(), np.zeros(3)
        epoch = {"order": np.arange(530), "batch_size": 300, "lr": 0.01, "update": update}
        epoch |= {"state": [], "step": 0, "report": report}
        problem.net.train(trained, problem.X, problem.y, problem.loss, **epoch)
        return (
            problem.forward(),
            *problem.jvp(v),
            problem.loss_and_grad()[1],
            problem.hvp(v),
            trained,
        )

    _core.set_num_threads(1)
    expected = everything()
    for threads in (2, 3, 8) if FULL else (3,):
        _core.set_num_threads(threads)
        for actual, reference in zip(everything(), expected, strict=True):
            assert_same_bits(actual, reference)


@every_map
def test_training(isa, rng, layer):
    """An epoch of steps equals the oracle's."""
    problem = draw(rng, 6, [dense(19), layer, dense(2)], 50, "float64")
    update = ("sgd", {"momentum": 0.0, "nesterov": 0.0, "weight_decay": 0.0})
    order, lr, report = rng.permutation(50), np.full(7, 1e-3), np.zeros(3)
    trained, expected = problem.parameters.copy(), problem.parameters.copy()
    examples = problem.X, problem.y, oracle.MSE
    epoch = {"order": order, "batch_size": 8, "lr": lr, "update": update, "state": [], "step": 0}
    problem.net.train(trained, *examples, **epoch, report=report)
    problem.reference.train(expected, *examples, **epoch)
    assert not np.array_equal(trained, problem.parameters)
    assert_close(trained, expected, "float64", 100)


@pytest.mark.once
def test_piecewise_linear():
    for layer in (*KINDS, SOFTMAX):
        net = core_network("float32", 4, [dense(3), layer])
        assert net.piecewise_linear == (layer[0] not in SMOOTH)


@pytest.mark.once
def test_identity_costs_nothing():
    """It adds no node: the same bits, and no more allocations, as without it."""
    rng = np.random.default_rng(0)
    X, parameters = rng.standard_normal((9, 4)), rng.standard_normal(4 * 5 + 5 + 5 * 2 + 2)
    identity, outs = activation("identity"), []
    for layers in (
        [dense(5), TANH, dense(2)],
        [dense(5), identity, TANH, identity, identity, dense(2), identity],
    ):
        outs.append(np.empty((9, 2)))
        core_network("float64", 4, layers).forward(parameters, X, outs[-1])
    assert_same_bits(*outs)


# ------------------------------------------------------------------------------------------- layers

LAYERS = [
    (fnn.Identity(), activation("identity")),
    (fnn.ReLU(), activation("relu")),
    (fnn.LeakyReLU(), activation("leaky_relu", 0.01)),
    (fnn.LeakyReLU(negative_slope=0.2), activation("leaky_relu", 0.2)),
    (fnn.ELU(), activation("elu", 1.0)),
    (fnn.ELU(alpha=2), activation("elu", 2.0)),
    (fnn.Softplus(), activation("softplus", 1.0)),
    (fnn.Softplus(beta=0.5), activation("softplus", 0.5)),
    (fnn.GELU(), activation("gelu")),
    (fnn.GELU(approximate="tanh"), activation("gelu_tanh")),
    (fnn.SiLU(), activation("silu")),
    (fnn.Tanh(), activation("tanh")),
    (fnn.Hardtanh(), activation("hardtanh", -1.0, 1.0)),
    (fnn.Hardtanh(min_val=0, max_val=6), activation("hardtanh", 0.0, 6.0)),
    (fnn.Sigmoid(), activation("sigmoid")),
    (fnn.Softmax(), activation("softmax")),
    (fnn.Step(), activation("step")),
    (fnn.Sign(), activation("sign")),
]
every_layer = pytest.mark.parametrize(("layer", "core"), LAYERS, ids=lambda x: repr(x))


@pytest.mark.once
@every_layer
def test_layer(layer, core, tmp_path):
    """What a layer means, prints, and becomes in a model file."""
    model = fnn.Sequential([fnn.Dense(4), layer, fnn.Dense(2)], dtype="float64", seed=3)
    X = np.random.default_rng(0).standard_normal((50, 3))
    out = model.forward(X)
    reference = oracle.Network(3, [dense(4), core, dense(2)])
    assert_close(out, reference.forward(model.parameters, X), "float64", 4)
    assert eval(repr(layer), vars(fnn)) == layer
    assert len({layer, eval(repr(layer), vars(fnn))}) == 1
    model.save(tmp_path / "m.safetensors")
    loaded = fnn.load(tmp_path / "m.safetensors")
    assert loaded.layers == model.layers
    assert_same_bits(loaded.forward(X), out)
    assert repr(layer) in model.summary()


@pytest.mark.once
def test_defaults_and_different_settings_are_different_layers():
    assert repr(fnn.LeakyReLU()) == "LeakyReLU()"
    assert repr(fnn.Hardtanh(max_val=6)) == "Hardtanh(max_val=6.0)"
    assert repr(fnn.GELU("tanh")) == "GELU(approximate='tanh')"
    assert len({layer for layer, _ in LAYERS}) == len(LAYERS)


@pytest.mark.once
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: fnn.LeakyReLU(-0.1), "negative_slope"),
        (lambda: fnn.LeakyReLU("steep"), "negative_slope"),
        (lambda: fnn.LeakyReLU(math.nan), "negative_slope"),
        (lambda: fnn.ELU(-1), "alpha"),
        (lambda: fnn.ELU(math.inf), "alpha"),
        (lambda: fnn.Softplus(0), "beta"),
        (lambda: fnn.Softplus(-1), "beta"),
        (lambda: fnn.Softplus(None), "beta"),
        (lambda: fnn.GELU("erf"), "approximate"),
        (lambda: fnn.GELU(True), "approximate"),
        (lambda: fnn.Hardtanh(1, 1), "max_val"),
        (lambda: fnn.Hardtanh(min_val=2), "max_val"),
        (lambda: fnn.Hardtanh(min_val=-math.inf), "min_val"),
    ],
)
def test_wrong_settings(make, name):
    with pytest.raises((TypeError, ValueError), match=name):
        make()


# ------------------------------------------------------------------- what does not go with a layer


def small_data():
    rng = np.random.default_rng(0)
    return rng.standard_normal((20, 3)), rng.integers(0, 2, 20)


@pytest.mark.once
@pytest.mark.parametrize("last", [fnn.Softmax(), fnn.Sigmoid()], ids=repr)
@pytest.mark.parametrize("behind", [[], [fnn.Identity()]], ids=["last", "Identity behind"])
@pytest.mark.parametrize(
    ("loss", "outputs"),
    [
        ("cross_entropy", "logits"),
        ("multi_margin", "scores"),
        ("binary_cross_entropy", "logits"),
        ("hinge", "scores"),
        ("poisson", "logarithms of rates"),
    ],
)
def test_losses_behind_probabilities_that_are_not_for_them(last, behind, loss, outputs):
    """Refused wherever the loss is known, in words that name the mend; nothing has changed then."""
    X, y = small_data()
    if loss not in ("cross_entropy", "multi_margin"):
        y = np.eye(2)[y] * 2 - 1 if loss == "hinge" else np.eye(2)[y]
    model = fnn.Sequential([fnn.Dense(2), last, *behind]).build(3)
    before = model.parameters.copy()
    for call in (
        lambda: model.fit(X, y, loss=loss),
        lambda: model.evaluate(X, y, loss=loss),
        lambda: model.loss_and_grad(X, y, loss=loss),
        lambda: model.hvp(X, y, before, loss=loss),
    ):
        expected = rf"^loss: expected .* {outputs}, .* {type(last).__name__}\(\); remove it"
        with pytest.raises(ValueError, match=expected):
            call()
    assert_same_bits(model.parameters, before)
    assert model.loss is None
    for loss in ("mse", "mae", "huber", "log_cosh", "quantile"):  # which take any outputs
        model.fit(X, np.eye(2)[small_data()[1]], loss=loss, epochs=1, verbose=0)


@pytest.mark.once
def test_loss_on_logits_behind_another_layer():
    X, y = small_data()
    layers = [fnn.Dense(4), fnn.Sigmoid(), fnn.Softmax(), fnn.Dense(2)]
    for last in ([], [fnn.Tanh()], [fnn.Identity()]):
        fnn.Sequential([*layers, *last]).fit(X, y, loss="cross_entropy", epochs=1, verbose=0)


@pytest.mark.once
@pytest.mark.parametrize("flat", [fnn.Step(), fnn.Sign()], ids=repr)
def test_training_through_a_flat_layer_warns_once_per_fit(flat):
    X, y = small_data()
    model = fnn.Sequential([fnn.Dense(4), fnn.Tanh(), fnn.Dense(5), flat, fnn.Dense(2)])
    for _ in range(2):
        with pytest.warns(UserWarning) as caught:
            model.fit(X, y, loss="cross_entropy", epochs=3, verbose=0)
        (warning,) = caught
        assert warning.filename == __file__
        for part in ("zero almost everywhere", repr(flat), "layers[3]", "layers[0], layers[2]"):
            assert part in str(warning.message)
    gradient = model.loss_and_grad(X, y)[1]
    last = 5 * 2 + 2
    assert not gradient[:-last].any() and gradient[-last:].any()


@pytest.mark.once
@pytest.mark.filterwarnings("error")
def test_no_warning_where_nothing_is_frozen():
    X, y = small_data()
    for layers in ([fnn.Step(), fnn.Dense(2)], [fnn.Dense(2), fnn.Tanh()]):
        fnn.Sequential(layers).fit(X, y, loss="cross_entropy", epochs=1, verbose=0)
