"""Convolutions as users write them; what they compute is in test_ops_with_positions.py."""

import re

import numpy as np
import pytest

import pyfast_nn as fnn
from graphs import OPS
from pyfast_nn import graph
from pyfast_nn.models import engine_of

pytestmark = pytest.mark.once

# A layer, the shape that comes in, and what it becomes: zeros around it or between its numbers.
SHAPES = [
    (fnn.Conv1d(4, 3), (9, 2), (7, 4)),
    (fnn.Conv1d(4, 4, padding="same", dilation=2), (9, 2), (9, 4)),
    (fnn.Conv1d(4, 3, 2, 1), (9, 2), (5, 4)),
    (fnn.Conv2d(6, 5, padding=2), (28, 28, 1), (28, 28, 6)),
    (fnn.Conv2d(6, (3, 1), (2, 1), (1, 0)), (8, 7, 4), (4, 7, 6)),
    (fnn.Conv2d(4, 3, padding="valid", groups=2), (8, 7, 4), (6, 5, 4)),
    (fnn.Conv2d(4, (2, 3), padding="same", groups=4), (8, 7, 4), (8, 7, 4)),
    (fnn.ConvTranspose2d(3, 4, 2, 1), (7, 5, 2), (14, 10, 3)),
    (fnn.ConvTranspose2d(4, 3, (3, 2), 1, 1, groups=2), (4, 5, 2), (11, 10, 4)),
    (fnn.ConvTranspose2d(2, 2, dilation=3), (4, 5, 2), (7, 8, 2)),
]


@pytest.mark.parametrize(("layer", "into", "out"), SHAPES, ids=lambda value: str(value))
def test_shapes_are_those_of_the_formula(layer, into, out):
    network = graph.Graph((layer,), into)
    assert network.out_shape == out
    (place,) = [place for place in network.places if place.path == "0"]
    described = network.described("float32")[-1]
    described["values"] = [int(value) for value in described["values"]]
    core = (1, *into)[-3:], (1, *out)[-3:]
    assert OPS["convolution"].out_shape(described, (core[0],)) == core[1]
    (weight, bias) = layer.parameter_shapes(into[-1]).values()
    assert weight[-2:] == (into[-1] // layer.groups, out[-1]) and bias == out[-1:]
    assert place.multiply_adds == int(np.prod(weight)) * int(np.prod(out[:-1]))
    fnn.Sequential([layer]).build(into)  # the core says so, too


def as_conv(layer, x, p):
    """A transposed convolution by its definition: each number adds its product to the output."""
    (kh, kw), (s, t) = layer.kernel_size, layer.stride
    n, height, width, _ = x.shape
    out = np.zeros((n, (height - 1) * s + kh, (width - 1) * t + kw, layer.out_channels))
    turned = p["0.weight"][::-1, ::-1]
    for i in range(height):
        for j in range(width):
            each = np.einsum("nc,hwco->nhwo", x[:, i, j], turned)
            out[:, i * s : i * s + kh, j * t : j * t + kw] += each
    return out + p["0.bias"]


def test_a_transposed_convolution_adds_each_number_times_the_kernel(rng):
    layer = fnn.ConvTranspose2d(3, (3, 2), (2, 3), bias_init=0.5)
    model = fnn.Sequential([layer], dtype="float64", seed=0).build((4, 3, 2))
    x = rng.normal(size=(5, 4, 3, 2))
    expected = as_conv(layer, x, model.named_parameters())
    out = np.empty((expected.size // 3, 3))
    engine_of(model).net.forward(model.parameters, x.reshape(5, -1), out)
    np.testing.assert_allclose(out.reshape(expected.shape), expected, rtol=0, atol=1e-12)


def test_initial_weights_have_the_variance_of_what_they_sum():
    layers = [fnn.Conv2d(64, 3, groups=2), fnn.ReLU(), fnn.ConvTranspose2d(64, 4, 2), fnn.ReLU()]
    model = fnn.Sequential(layers, seed=0).build((9, 9, 32))
    deviations = [view.std() for view in model.named_parameters().values() if view.ndim > 1]
    expected = [np.sqrt(2 / (9 * 16)), np.sqrt(2 / (16 * 64 / 4))]
    np.testing.assert_allclose(deviations, expected, rtol=0.02)
    wide = fnn.Sequential([fnn.Conv1d(4, 5, init="orthogonal")], dtype="float64").build((9, 3))
    weight = wide.named_parameters()["0.weight"].reshape(15, 4)
    np.testing.assert_allclose(weight.T @ weight, np.eye(4), rtol=0, atol=1e-12)


REFUSED = [
    (lambda: fnn.Conv2d(4, 3, groups=3), "groups: expected a divisor of the 4 channels"),
    (lambda: fnn.Conv2d(4, 3, 2, "same"), "padding: expected numbers where stride is more than 1"),
    (lambda: fnn.Conv1d(4, 3, padding="full"), "padding: expected one of valid, same, got 'full'"),
    (lambda: fnn.Conv1d(4, (3, 3)), "kernel_size: expected one number, got (3, 3)"),
    (lambda: fnn.Conv2d(4, (3, 0)), "kernel_size[1]: expected an integer from 1"),
    (lambda: fnn.Conv2d(4, 3, bias_init="orthogonal"), "bias_init: expected a law for vectors"),
    (lambda: fnn.ConvTranspose2d(4, 3, 2, 3), "padding: expected at most 2, dilation *"),
    (lambda: fnn.ConvTranspose2d(4, 3, 2, 1, 2), "output_padding: expected less than stride"),
    (lambda: fnn.Conv2d(4, 3, in_channels=1), "how many channels come in is found out from X"),
    (lambda: fnn.Conv2d(4, 3, bias=False), "it always has a bias"),
    (lambda: fnn.Conv2d(4, 3, activation="relu"), "an activation is a layer of its own"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=lambda value: str(value)[:30])
def test_what_is_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        make()


MISPLACED = [
    (fnn.Conv2d(4, 3), (28, 28), "layers[0]: expected examples of shape (height, width, channels)"),
    (fnn.Conv1d(4, 3), 28, "got 28 features; Reshape"),
    (fnn.Conv2d(4, 3, groups=2), (9, 9, 3), "layers[0]: expected channels that 2 groups divide"),
    (fnn.Conv2d(4, 3), (9, 2, 1), "layers[0]: expected examples that the kernel of"),
    (fnn.Conv2d(4, 2**30, padding=2**30), (4, 4, 16), "a kernel of at most 2147483648 numbers"),
    (fnn.ConvTranspose2d(4, 3, 2**30), (5, 5, 1), "examples of at most 2147483648 numbers"),
]


@pytest.mark.parametrize(("layer", "into", "message"), MISPLACED)
def test_what_comes_in_is_refused(layer, into, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        fnn.Sequential([layer]).build(into)


@pytest.mark.parametrize("layer", [layer for layer, _, _ in SHAPES], ids=repr)
def test_files_hold_it(layer, tmp_path):
    into = (8, 7, 4) if len(layer.axes) > 1 else (9, 2)
    model = fnn.Sequential([layer, fnn.Tanh()], seed=1).build(into)
    model.save(tmp_path / "m.npz")
    back = fnn.load(tmp_path / "m.npz")
    assert back.layers == model.layers and repr(back.layers[0]) == repr(layer)
    np.testing.assert_array_equal(back.parameters, model.parameters)
