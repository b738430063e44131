"""Recurrent layers as users write them; what the ops compute is in test_ops_with_positions.py."""

import re

import numpy as np
import pytest

import autodiff
import pyfast_nn as fnn
from conftest import assert_close
from pyfast_nn import _core, graph
from pyfast_nn.models import engine_of

KINDS = {"rnn": fnn.RNN, "gru": fnn.GRU, "lstm": fnn.LSTM}
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
every_kind = pytest.mark.parametrize("kind", KINDS)


def built(layers, shape, rng):
    model = fnn.Sequential(layers, dtype="float64").build(shape)
    model.parameters = rng.normal(size=model.n_parameters) / 2
    return model


def vjp(model, X, dout):
    """(out, gradients by name, dX) of X (n, positions, channels)."""
    out, pullback = model.vjp(X)
    dparameters, dX = pullback(dout)
    return out, engine_of(model).named_parameters(dparameters), dX


# ------------------------------------------------------------------------------- torch


def in_torch(layer, features, own):
    """Torch's module with the parameters of ours, and {our name: its parameter}."""
    torch = autodiff.torch()
    options = {"nonlinearity": layer.nonlinearity} if isinstance(layer, fnn.RNN) else {}
    module = getattr(torch.nn, type(layer).__name__)(
        features,
        layer.hidden_size,
        layer.num_layers,
        batch_first=True,
        bidirectional=layer.bidirectional,
        dtype=torch.float64,
        **options,
    )
    pairs = {}
    for name in own:
        place, parameter = name.split(".")[1:]
        pairs[name] = getattr(module, f"{parameter}_{place}")
        pairs[name].data = torch.tensor(own[name].T)
    assert len(pairs) == len(list(module.parameters()))
    return module, pairs


LIKE_TORCH = [
    fnn.RNN(3),
    fnn.RNN(5, nonlinearity="relu", outputs="last"),
    fnn.GRU(7, num_layers=2, bidirectional=True),
    fnn.GRU(32, outputs="last"),
    fnn.LSTM(6, num_layers=2, bidirectional=True, outputs="last"),
    fnn.LSTM(16, bidirectional=True),
]


@pytest.mark.once
@pytest.mark.parametrize("layer", LIKE_TORCH, ids=repr)
def test_outputs_and_gradients_are_those_of_torch(rng, layer):
    torch = autodiff.torch()
    model, X = built([layer], (9, 4), rng), rng.normal(size=(5, 9, 4))
    module, pairs = in_torch(layer, 4, model.named_parameters())
    x = torch.tensor(X, requires_grad=True)
    expected, state = module(x)
    if layer.outputs == "last":
        h = state[0] if isinstance(layer, fnn.LSTM) else state
        expected = torch.cat(list(h[-1 - layer.bidirectional :]), 1)
    dout = rng.normal(size=tuple(expected.shape))
    expected.backward(torch.tensor(dout))
    out, gradients, dX = vjp(model, X, dout)
    np.testing.assert_allclose(out, expected.detach().numpy(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(dX, x.grad.numpy(), rtol=0, atol=1e-12)
    for name, parameter in pairs.items():
        limit = 1e-12 * max(1, parameter.grad.abs().max())
        np.testing.assert_allclose(gradients[name], parameter.grad.numpy().T, rtol=0, atol=limit)


# --------------------------------------------------------------------------------- positions


@pytest.mark.once
@every_kind
def test_the_second_direction_is_the_first_on_reversed_positions(rng, kind):
    X = rng.normal(size=(4, 6, 3))
    both = built([KINDS[kind](5, bidirectional=True)], (6, 3), rng)
    one = built([KINDS[kind](5)], (6, 3), rng)
    own, other = both.named_parameters(), one.named_parameters()
    for name, view in other.items():
        view[...] = own[name.replace("l0", "l0_reverse")]
    out = vjp(both, X, np.zeros((4, 6, 10)))[0]
    turned = vjp(one, X[:, ::-1].copy(), np.zeros((4, 6, 5)))[0]
    np.testing.assert_array_equal(out[:, :, 5:], turned[:, ::-1])


def walk(kind, dtype, positions, units, backward, last, lengths=True):
    """The core's network of X (n, positions * width + 1), the last column being lengths."""
    width = GATES[kind] * units
    values = (backward, last, *([0] if kind == "rnn" else []))
    layers = [
        {"kind": "slice", "inputs": [0], "values": (0, positions * width)},
        {"kind": "reshape", "inputs": [1], "values": (1, positions, width)},
        {"kind": "slice", "inputs": [0], "values": (positions * width, 1)},
        {"kind": kind, "inputs": [2, 3], "units": units, "values": values},
    ]
    if not lengths:
        layers = [
            {"kind": "reshape", "inputs": [0], "values": (1, positions, width)},
            {"kind": kind, "inputs": [1], "units": units, "values": values},
        ]
    return _core.Network(dtype, positions * width + lengths, layers)


@every_kind
@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("backward", [0, 1])
def test_an_example_with_a_length_is_a_shorter_one(isa, dtype, rng, kind, backward, last):
    """To the bits, but for sums over examples; nothing depends on what stands behind it."""
    positions, units = 7, 20
    width, n = GATES[kind] * units, 6
    X = rng.normal(size=(n, positions, width)).astype(dtype)
    lengths = np.array([7, 0, 3, 9, 1, 5])  # what is beyond all positions is all of them
    net = walk(kind, dtype, positions, units, backward, last)
    parameters = (rng.normal(size=net.n_parameters) / 4).astype(dtype)
    rows = 1 if last else positions
    dout = rng.normal(size=(n, rows, units)).astype(dtype)

    def run(net, X, dout):
        out, dX = np.full((len(X) * dout.shape[1], units), np.nan, dtype), np.full_like(X, np.nan)
        dparameters = np.full(net.n_parameters, np.nan, dtype)
        pullback = net.vjp(parameters, X, out)
        pullback(dout.reshape(out.shape), dparameters, dX)
        return out.reshape(dout.shape), dparameters, dX

    flat = np.concatenate([X.reshape(n, -1), lengths[:, None].astype(dtype)], axis=1)
    out, dparameters, dX = run(net, flat, dout)
    assert (dX[:, -1] == 0).all()
    dX, total = dX[:, :-1].reshape(X.shape), np.zeros(net.n_parameters)
    for i, length in enumerate(np.minimum(lengths, positions)):
        np.testing.assert_array_equal(dX[i, length:], 0)
        if not last:
            np.testing.assert_array_equal(out[i, length:], 0)
        if length == 0:
            np.testing.assert_array_equal(out[i], 0)
            continue
        shorter = walk(kind, dtype, int(length), units, backward, last, lengths=False)
        kept = 1 if last else length
        own = run(shorter, X[i : i + 1, :length].reshape(1, -1), dout[i : i + 1, :kept])
        np.testing.assert_array_equal(out[i, :kept], own[0][0])
        np.testing.assert_array_equal(dX[i, :length], own[2].reshape(length, width))
        total += own[1]
    assert_close(dparameters, total, dtype, n * positions)


@pytest.mark.once
@every_kind
def test_what_stands_long_ago_is_remembered(rng, kind):
    """Gradients of a sum over more rows than are summed at a time, in float32."""
    X = rng.normal(size=(3, 700, 2))
    layers = [KINDS[kind](4, outputs="last"), fnn.Dense(1)]
    gradients = []
    for dtype in ("float32", "float64"):
        model = fnn.Sequential(layers, dtype=dtype, seed=1).build((700, 2))
        gradients.append(model.vjp(X)[1](np.ones((3, 1)))[0])
    scale = np.abs(gradients[1]).max()
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=0, atol=2e-5 * scale)


# ------------------------------------------------------------------------------------ layers


@pytest.mark.once
@every_kind
def test_parameters_begin_as_in_torch(kind):
    model = fnn.Sequential([KINDS[kind](64, num_layers=2)], seed=3).build((3, 50))
    for view in model.named_parameters().values():
        assert np.abs(view).max() <= 1 / 8
        assert abs(view.std() * 8 - 1 / np.sqrt(3)) < 0.1
    first, second = (model.named_parameters()[f"0.l{i}.bias_hh"] for i in range(2))
    assert (first != second).any()


@pytest.mark.once
def test_shapes_and_work():
    network = graph.Graph((fnn.LSTM(8, num_layers=2, bidirectional=True, outputs="last"),), (5, 3))
    assert network.out_shape == (16,)
    assert [place.shape for place in network.places if place.kind == "lstm"] == [(5, 8)] * 2 + [
        (8,)
    ] * 2
    assert network.parameter_shapes()["0.l1_reverse.weight_ih"] == (16, 32)
    assert [place.multiply_adds for place in network.places][1:3] == [5 * 3 * 32, 5 * 8 * 32]
    assert graph.Graph((fnn.GRU(8, bidirectional=True),), (5, 3)).out_shape == (5, 16)
    assert graph.Graph((fnn.GRU(8),)).features == 8


@pytest.mark.once
def test_a_layer_that_stands_twice_has_one_set_of_parameters(rng):
    layer = fnn.GRU(4)
    model = built([layer, layer, fnn.Residual([layer])], (5, 4), rng)
    assert list(model.named_parameters()) == [
        f"0.l0.{name}" for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")
    ]


@pytest.mark.once
def test_what_is_not_trained_has_no_gradient(rng):
    layer = fnn.LSTM(4, trainable=False)
    model, X = built([fnn.Dense(3), layer, fnn.Dense(2)], (5, 3), rng), rng.normal(size=(2, 5, 3))
    _, gradients, _ = vjp(model, X, np.ones((2, 5, 2)))
    for name, view in gradients.items():
        assert (view == 0).all() == name.startswith("1.")
    layer.trainable = True
    assert all((view != 0).any() for view in vjp(model, X, np.ones((2, 5, 2)))[1].values())


@pytest.mark.once
@pytest.mark.parametrize("layer", LIKE_TORCH[1::2], ids=repr)
def test_files_hold_it(layer, tmp_path):
    model = fnn.Sequential([layer, fnn.Dense(2)], seed=1).build((5, 3))
    model.save(tmp_path / "m.npz")
    back = fnn.load(tmp_path / "m.npz")
    assert back.layers == model.layers and repr(back.layers[0]) == repr(layer)
    np.testing.assert_array_equal(back.parameters, model.parameters)


@pytest.mark.once
def test_curvature_of_a_recurrent_network(rng):
    """Hessian products are those of differences of gradients; exact traces are refused."""
    model = built(
        [fnn.LSTM(3, num_layers=2), fnn.GRU(4, outputs="last"), fnn.Dense(2)], (6, 2), rng
    )
    X, y, p = rng.normal(size=(5, 6, 2)), rng.integers(0, 2, 5), np.array(model.parameters)
    v, eps = rng.normal(size=len(p)), 1e-5
    hv = model.hvp(X, y, v, loss="cross_entropy")
    gradients = []
    for step in (eps, -eps):
        model.parameters = p + step * v
        gradients.append(model.loss_and_grad(X, y, loss="cross_entropy")[1])
    difference = (gradients[0] - gradients[1]) / (2 * eps)
    np.testing.assert_allclose(hv, difference, rtol=0, atol=1e-7 * np.abs(hv).max())
    with pytest.raises(ValueError, match=r"0\.l0 are used at several"):
        fnn.curvature.exact_trace(fnn.curvature.GaussNewton(model, X, y, loss="cross_entropy"))


@pytest.mark.once
@every_kind
def test_a_network_learns_to_remember(rng, kind):
    """The sign of what came first, with noise behind it."""
    X = rng.normal(size=(256, 6, 1))
    model = fnn.Sequential([KINDS[kind](8, outputs="last"), fnn.Dense(1)], seed=0)
    y = X[:, 0, 0] > 0
    optimizer = fnn.optim.Adam(lr=0.02)
    model.fit(
        X, y, loss="binary_cross_entropy", optimizer=optimizer, epochs=40, batch_size=16, verbose=0
    )
    assert (model.predict(X) == y).mean() > 0.9


REFUSED = [
    (lambda: fnn.LSTM(9, 64), "how many channels come in is found out from X: LSTM(64)"),
    (lambda: fnn.GRU(64, input_size=9), "found out from X: GRU(64)"),
    (lambda: fnn.LSTM(64, batch_first=True), "X has shape (n, positions, channels)"),
    (lambda: fnn.LSTM(64, return_sequences=True), "outputs='all' puts out h at all positions"),
    (lambda: fnn.GRU(0), "hidden_size: expected an integer from 1"),
    (lambda: fnn.GRU(4, num_layers=0), "num_layers: expected an integer from 1"),
    (lambda: fnn.GRU(4, outputs="first"), "outputs: expected one of all, last, got 'first'"),
    (lambda: fnn.RNN(4, nonlinearity="gelu"), "nonlinearity: expected one of tanh, relu"),
    (
        lambda: fnn.Sequential([fnn.LSTM(4)]).build(10),
        "layers[0]: expected a sequence, shape (positions, channels) of one example, for LSTM(4), "
        "got 10 features",
    ),
]


@pytest.mark.once
@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_what_is_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        make()


@pytest.mark.once
@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 3, 4),), "expected a sequence, got (2, 3, 4)"),
        (((1, 3, 7),), "expected 4 channels for the gates, got 7"),
        (((1, 3, 4), (1, 2, 1)), "expected one number for the length of an example, got (2, 1)"),
    ],
)
def test_what_the_core_refuses(shapes, message):
    layers = []
    for shape in shapes:
        size = int(np.prod(shape))
        layers.append({"kind": "slice", "inputs": [0], "values": (0, size)})
        layers.append({"kind": "reshape", "inputs": [len(layers)], "values": shape})
    inputs = [2, 4][: len(shapes)]
    layers.append({"kind": "lstm", "units": 1, "inputs": inputs, "values": (0, 0)})
    with pytest.raises(ValueError, match=re.escape(message)):
        _core.Network("float32", 24, layers)
