"""Layers of shapes, pooling and sets; test_ops_with_positions.py holds what the core computes."""

from __future__ import annotations

import itertools
import json
import re

import numpy as np
import pytest

import autodiff
import pyfast_nn as fnn
from conftest import assert_close
from pyfast_nn import branches

# ------------------------------------------------------------------------ shapes


def built(layers, shape, dtype="float64"):
    """A model whose outputs are rows of numbers."""
    return fnn.Sequential([*layers, fnn.Flatten()], dtype=dtype).build(shape)


def forward(layers, x, dtype="float64"):
    return built(layers, x.shape[1:], dtype).forward(x)


def test_shapes_of_one_example(rng):
    x = rng.standard_normal((3, 4, 5, 2))
    assert (forward([fnn.Reshape((10, 4))], x) == x.reshape(3, -1)).all()
    assert fnn.Sequential([fnn.Reshape((10, 4))]).build((4, 5, 2)).out_shape == (10, 4)
    for dims in itertools.permutations((1, 2, 3)):
        expected = x.transpose(0, *dims)
        assert (forward([fnn.Permute(dims)], x) == expected.reshape(3, -1)).all()
        assert fnn.Sequential([fnn.Permute(dims)]).build((4, 5, 2)).out_shape == expected.shape[1:]
    x = x.reshape(3, 20, 2)
    assert (forward([fnn.Permute((2, 1))], x) == x.transpose(0, 2, 1).reshape(3, -1)).all()


@pytest.mark.once
def test_what_is_written_is_printed_and_stored():
    for layer in (
        fnn.Reshape((5, 2)),
        fnn.Flatten(),
        fnn.Permute((2, 1)),
        fnn.MaxPool2d((2, 3), stride=1, padding=(1, 0)),
        fnn.AvgPool1d(4, stride=2, padding=1, count_include_pad=False),
        fnn.AdaptiveAvgPool2d((5, 3)),
        fnn.SetPool("max"),
        fnn.DeepSet([fnn.Dense(3), fnn.ReLU()], [fnn.Dense(2)], pool="mean"),
    ):
        assert eval(repr(layer), vars(fnn)) == layer
        assert branches.from_config(json.loads(json.dumps(branches.to_config([layer])))) == [layer]
    model = fnn.Sequential([fnn.Flatten(), fnn.Dense(3)]).build((4, 5, 2))
    assert "Flatten()" in model.summary()


@pytest.mark.once
@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (lambda: fnn.Reshape((5, 2)), (4, 3), "12 numbers, as (12,) has, got Reshape((5, 2)), whi"),
        (lambda: fnn.Permute((2, 1)), (4, 3, 2), "of 2 axes for Permute((2, 1)), got those of sh"),
        (
            lambda: fnn.Permute((2, 2)),
            (),
            "dims: expected each of the axes 1 to 2 once, got (2, 2)",
        ),
        (lambda: fnn.MaxPool2d(2), (4, 3), "of (height, width, channels) for MaxPool2d(2), got th"),
        (lambda: fnn.MaxPool1d(5), (4, 3), "kernel_size of at most (4,), the positions of what co"),
        (
            lambda: fnn.AvgPool2d(3, padding=2),
            (),
            "padding: expected at most half of kernel_size, 1",
        ),
        (
            lambda: fnn.AvgPool2d((3, 3, 3)),
            (),
            "kernel_size: expected one number, or 2, got (3, 3,",
        ),
        (lambda: fnn.AvgPool1d((3, 3)), (), "kernel_size: expected one number, got (3, 3)"),
        (lambda: fnn.AdaptiveMaxPool2d(0), (), "output_size: expected an integer from 1 to 2147"),
        (lambda: fnn.AdaptiveMaxPool2d(2**30), (4, 4, 16), "examples of at most 2147483648 numb"),
        (lambda: fnn.GlobalAvgPool(), (3,), "(positions, channels) or (height, width, channels)"),
        (lambda: fnn.SetPool("sums"), (), "pool: expected one of sum, mean, max, got 'sums'"),
    ],
)
def test_what_does_not_fit(layer, shape, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        fnn.Sequential([layer()]).build(shape)


# ----------------------------------------------------------------------- pooling

POOLS = {
    "MaxPool2d": [(2,), (3, 2, 1), ((3, 2), (1, 2), (1, 0))],
    "AvgPool2d": [(2,), (3, 2, 1), ((3, 2), (1, 2), (1, 0)), (3, 2, 1, False)],
    "MaxPool1d": [(2,), (3, 1, 1)],
    "AvgPool1d": [(2,), (3, 1, 1), (3, 1, 1, False)],
    "AdaptiveAvgPool2d": [(3,), ((5, 11),)],
    "AdaptiveMaxPool2d": [((2, 3),)],
    "AdaptiveAvgPool1d": [(4,)],
    "AdaptiveMaxPool1d": [(4,), (11,)],
}


@pytest.mark.parametrize(
    ("name", "arguments"), [(name, each) for name, many in POOLS.items() for each in many]
)
def test_pooling_beside_torch(rng, name, arguments):
    """Numbers of which many are equal, some NaN and infinite: which of a window it is counts."""
    torch = autodiff.torch()
    x = rng.integers(0, 3, (2, 9, 8, 5)).astype(np.float64)
    if name.endswith("1d"):
        x = x.reshape(2, 72, 5)
    if "Max" in name:
        x[rng.random(x.shape) < 0.1] = np.nan
        x[rng.random(x.shape) < 0.4] = -np.inf
    pool = getattr(torch.nn, name)(
        *arguments[:3], **({"count_include_pad": False} if len(arguments) > 3 else {})
    )
    there = torch.tensor(np.moveaxis(x, -1, 1), requires_grad=True)
    expected = pool(there)
    dout = rng.standard_normal(expected.shape)
    expected.backward(torch.tensor(dout))
    model = built([getattr(fnn, name)(*arguments)], x.shape[1:])
    rows = [np.moveaxis(each, 1, -1).reshape(2, -1) for each in (expected.detach().numpy(), dout)]
    out, pullback = model.vjp(x)
    dx = np.moveaxis(there.grad.numpy(), 1, -1)
    for actual, theirs in ((out, rows[0]), (pullback(rows[1])[1], dx)):
        np.testing.assert_allclose(actual, theirs, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("positions", [7, 3000])
def test_all_positions(rng, dtype, positions):
    x = rng.standard_normal((2, positions, 3)).astype(dtype) + 100
    for layer, function in (
        (fnn.GlobalAvgPool(), np.mean),
        (fnn.GlobalMaxPool(), np.max),
        (fnn.SetPool(), np.sum),
    ):
        expected, eps = function(x.astype(np.float64), axis=1), np.finfo(dtype).eps
        np.testing.assert_allclose(forward([layer], x, dtype), expected, rtol=32 * eps)


# -------------------------------------------------------------------------- sets


def test_the_order_of_a_set_does_not_count(rng):
    phi, rho = [fnn.Dense(7), fnn.Tanh()], [fnn.Dense(3)]
    for pool in ("sum", "mean", "max"):
        model = fnn.Sequential([fnn.DeepSet(phi, rho, pool)], dtype="float64").build((6, 2))
        names = ["0.phi.0.weight", "0.phi.0.bias", "0.rho.0.weight", "0.rho.0.bias"]
        assert list(model.named_parameters()) == names
        x = rng.standard_normal((4, 6, 2))
        out, other = (model.forward(each) for each in (x, x[:, rng.permutation(6)]))
        assert_close(out, other, "float64")
        w, b, v, c = model.named_parameters().values()
        pooled = getattr(np, pool)(np.tanh(x @ w + b), axis=1)
        assert_close(out, pooled @ v + c, "float64")


@pytest.mark.once
def test_a_deep_set_adds_digits(rng):
    """Zaheer et al., section 4.1.2: trained on sets of ten, it adds up sets of any size."""
    X, y = fnn.datasets.load_digits()
    X = (X / 16).astype(np.float32)

    def draw(n, size):
        which = rng.integers(0, len(X), (n, size))
        return X[which], y[which].sum(1).astype(np.float32)

    phi = [fnn.Dense(64), fnn.ReLU(), fnn.Dense(32), fnn.ReLU()]
    deep_set = fnn.DeepSet(phi, [fnn.Dense(1)])
    model = fnn.Sequential([deep_set], seed=0)
    sets, sums = draw(4000, 10)
    model.fit(sets, sums, loss="mse", optimizer=fnn.optim.Adam(lr=3e-3), epochs=40, batch_size=64)
    large = fnn.Sequential([deep_set]).build((50, 64))
    large.parameters = model.parameters
    for trained, size in ((model, 10), (large, 50)):
        sets, sums = draw(200, size)
        error = np.abs(trained.forward(sets)[:, 0] - sums).mean()
        assert error < 0.06 * sums.mean(), size


@pytest.mark.once
def test_sets_of_different_sizes_are_not_exchanged(tmp_path, rng):
    model = fnn.Sequential([fnn.DeepSet([fnn.Dense(3)], [fnn.Dense(1)])])
    model.fit((rng.standard_normal((4, 6, 2)), [6, 2, 0, 5]), np.ones(4), loss="mse", epochs=1)
    for name, write in (("onnx", lambda: model.to_onnx(tmp_path / "m")), ("torch", model.to_torch)):
        pytest.importorskip(name)
        with pytest.raises(NotImplementedError, match=f"to_{name}: expected .* of one length"):
            write()


@pytest.mark.parametrize("pool", ["sum", "mean", "max"])
def test_any_order_of_a_set_gives_the_same(rng, dtype, pool):
    """A maximum has no rounding: to the bit. Elements beyond a length may be anything.

    Derivatives in the parameters are the same, too, and those in the elements follow these.
    """
    phi, rho = [fnn.Dense(7), fnn.Tanh()], [fnn.Dense(3)]
    x, lengths = rng.standard_normal((4, 6, 2)).astype(dtype), np.array([6, 4, 2, 1])
    model = fnn.Sequential([fnn.DeepSet(phi, rho, pool)], dtype=dtype).build((6, 2), lengths=True)
    out, pullback = model.vjp((x, lengths))
    dout = rng.standard_normal(out.shape).astype(dtype)
    dw, dx = pullback(dout)
    for _ in range(5):
        orders = [[*rng.permutation(length), *range(length, 6)] for length in lengths]
        other = np.take_along_axis(x, np.array(orders)[..., None], axis=1)
        other[np.arange(6) >= lengths[:, None]] = rng.standard_normal(2)
        again, pullback = model.vjp((other, lengths))
        if pool == "max":
            np.testing.assert_array_equal(again, out)
        assert_close(again, out, dtype, 16)
        dw_again, dx_again = pullback(dout)
        assert_close(dw_again, dw, dtype, 64)
        expected = np.take_along_axis(dx, np.array(orders)[..., None], axis=1)
        assert_close(dx_again, expected, dtype, 16)
    reversed_ = x.copy()
    reversed_[0, 0] += 1  # another set
    assert np.abs(model.forward((reversed_, lengths)) - out)[0].max() > 1e-3


@pytest.mark.parametrize(
    ("layers", "follows"),
    [
        ([fnn.Dense(5), fnn.Tanh()], True),
        ([fnn.MultiHeadAttention(2)], True),
        ([fnn.TransformerBlock(2), fnn.TransformerBlock(2)], True),
        ([fnn.Residual([fnn.LayerNorm(), fnn.MultiHeadAttention(2)]), fnn.Dense(3)], True),
        ([fnn.SinusoidalPositions(), fnn.MultiHeadAttention(2)], False),
        ([fnn.MultiHeadAttention(2, causal=True)], False),
        ([fnn.MultiHeadAttention(2, rotary=True)], False),
    ],
)
def test_outputs_of_a_set_follow_its_elements(rng, dtype, layers, follows):
    """Without positions, permuted elements give permuted outputs; with them they do not."""
    model = fnn.Sequential(layers, dtype=dtype).build((6, 4))
    x, order = rng.standard_normal((3, 6, 4)).astype(dtype), [3, 0, 5, 1, 4, 2]
    out, pullback = model.vjp(x)
    moved, pullback_moved = model.vjp(x[:, order])
    dout = rng.standard_normal(out.shape).astype(dtype)
    (dw, dx), (dw_moved, dx_moved) = pullback(dout), pullback_moved(dout[:, order])
    if not follows:
        assert np.abs(moved - out[:, order]).max() > 1e-3
        return
    assert_close(moved, out[:, order], dtype, 16)
    assert_close(dx_moved, dx[:, order], dtype, 64)
    assert_close(dw_moved, dw, dtype, 64)  # which does not know of the order
    pooled = fnn.Sequential([*layers, fnn.SetPool("mean")], dtype=dtype).build((6, 4))
    assert_close(pooled.forward(x[:, order]), pooled.forward(x), dtype, 16)


@pytest.mark.parametrize("layer", [fnn.MultiHeadAttention(2), fnn.TransformerBlock(2)])
def test_outputs_of_sets_of_different_sizes_follow_their_elements(rng, dtype, layer):
    model = fnn.Sequential([layer], dtype=dtype).build((6, 4), lengths=True)
    x, lengths = rng.standard_normal((3, 6, 4)).astype(dtype), np.array([6, 4, 1])
    orders = np.array([[*rng.permutation(length), *range(length, 6)] for length in lengths])
    moved = np.take_along_axis(x, orders[..., None], axis=1)
    exist = np.arange(6) < lengths[:, None]
    moved[~exist] = 5
    expected = np.take_along_axis(model.forward((x, lengths)), orders[..., None], axis=1)
    assert_close(model.forward((moved, lengths))[exist], expected[exist], dtype, 16)
