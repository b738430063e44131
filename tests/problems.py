"""Networks, inputs and targets for the tests of the core, drawn away from the kinks of ReLU."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass

import numpy as np

import oracle
import pyfast_nn as fnn
from pyfast_nn import _core, graph


def activation(kind, *values):
    return (kind, 0, values)


RELU, TANH, SIGMOID = activation("relu"), activation("tanh"), activation("sigmoid")


def dense(units):
    return ("dense", units, ())


def core_network(dtype, in_features, layers):
    """The core's network of a chain of layers (kind, units, values)."""
    fields = [dict(zip(("kind", "units", "values"), layer, strict=True)) for layer in layers]
    return _core.Network(dtype, in_features, fields)


# name: (in_features, layers)
NETWORKS = {
    "one dense": (5, [dense(3)]),
    "one by one": (1, [dense(1)]),
    "relu": (20, [dense(33), RELU, dense(10)]),
    "tanh": (17, [dense(16), TANH, dense(7)]),
    "sigmoid": (31, [dense(18), SIGMOID, dense(2)]),
    "deep": (7, [dense(13), TANH, dense(17), RELU, dense(32), SIGMOID, dense(15), RELU, dense(4)]),
    "dense after dense": (9, [dense(12), dense(65), dense(5)]),
    "begins with relu": (19, [RELU, dense(6)]),
    "begins with tanh": (6, [TANH, dense(5), SIGMOID, dense(3)]),
    "ends with relu": (8, [dense(40), RELU]),
    "ends with sigmoid": (8, [dense(6), TANH, dense(21), SIGMOID]),
    "two in a row": (11, [dense(14), TANH, RELU, dense(35), SIGMOID, TANH, dense(6)]),
    "three in a row at both ends": (4, [TANH, SIGMOID, TANH, dense(5), SIGMOID, RELU, TANH]),
    "only an activation": (23, [TANH]),
    "only activations": (10, [SIGMOID, RELU, TANH]),
    "wide": (64, [dense(127), RELU, dense(63)]),
}

# What layers take that are not made without.
ARGUMENTS = {
    "Dense": (4,),
    "WeightNorm": (fnn.Dense(4),),
    "Dropout": (0.5,),
    "GaussianNoise": (0.1,),
    "GroupNorm": (1,),
    "Embedding": (3, 4),
    "OneHot": (3,),
    "Columns": ([(slice(None), [])],),
    "Residual": ([fnn.Tanh()],),
    "Add": (fnn.Identity(), [fnn.Tanh()]),
    "Multiply": (fnn.Identity(), [fnn.Sigmoid()]),
    "Concatenate": (fnn.Identity(), [fnn.Tanh()]),
    **dict.fromkeys(("Conv1d", "Conv2d", "ConvTranspose2d"), (4, 1)),
    **dict.fromkeys(("RNN", "GRU", "LSTM"), (4,)),
    **dict.fromkeys(("MaxPool1d", "MaxPool2d", "AvgPool1d", "AvgPool2d"), (1,)),
    **dict.fromkeys(("AdaptiveAvgPool1d", "AdaptiveAvgPool2d"), (3,)),
    **dict.fromkeys(("AdaptiveMaxPool1d", "AdaptiveMaxPool2d"), (3,)),
    "MultiHeadAttention": (1,),
    "TransformerBlock": (1,),
    "Reshape": ((4, 1),),
    "Permute": ((2, 1),),
    **dict.fromkeys(("RandomShift", "CutOut"), (1,)),
    "RandomCrop": (4,),
    "DeepSet": ([fnn.Dense(4)], [fnn.Dense(4)]),
    "NeuralODE": ([fnn.Dense(5), fnn.Tanh(), fnn.Dense(4)],),
    "DeepEquilibrium": ([fnn.Dense(4), fnn.Tanh()],),
}


def example_of(layer):
    """One of a class of layers."""
    return layer(*ARGUMENTS.get(layer.__name__, ()))


def on_four_columns(layer):
    """Layers with one of that class, which make rows of rows of four: some read positions."""
    one = example_of(layer)
    for shape in ((4,), (4, 1), (2, 2, 1)):
        with contextlib.suppress(ValueError):
            graph.Graph((one,), shape)
            break
    if len(shape + graph.Graph((one,), shape).out_shape) == 2:
        return [one]
    return [fnn.Reshape(shape), one, fnn.Flatten()]


# How a test names what is compared: the loss, and the kind of its targets.
TARGETS = ["mse", "labels", "probabilities"]


@dataclass
class Problem:
    """A network of the core, the same one of the oracle, and matching arrays."""

    net: object
    reference: oracle.Network
    parameters: np.ndarray  # (n_parameters,) of the network's dtype
    X: np.ndarray  # (rows, in_features)
    y: np.ndarray  # (rows,) int64 or (rows, out_features)
    loss: tuple  # as the core takes it: (name, {parameter: number})

    @property
    def inner(self):
        """Length of the longest sum in any of the products, for tolerances."""
        sizes = [len(self.X), *(size for shape in self.reference.shapes if shape for size in shape)]
        return max(sizes) + 4 * len(self.reference.layers)

    def empty(self, *shape):
        """An output array full of NaN, of the network's dtype."""
        return np.full(shape, np.nan, self.net.dtype)

    def empty_vector(self):
        return self.empty(self.net.n_parameters)

    def vector(self, rng):
        """A random vector of the parameters' shape."""
        return rng.standard_normal(self.net.n_parameters).astype(self.net.dtype)

    def forward(self):
        out = self.empty(len(self.X), self.net.out_features)
        self.net.forward(self.parameters, self.X, out)
        return out

    def loss_and_grad(self):
        grad = self.empty_vector()
        return self.net.loss_and_grad(self.parameters, self.X, self.y, self.loss, grad), grad

    def vjp(self, dout):
        dparameters, dX = self.empty_vector(), self.empty(*self.X.shape)
        out = self.empty(len(self.X), self.net.out_features)
        self.net.vjp(self.parameters, self.X, out)(dout, dparameters, dX)
        return out, dparameters, dX

    def jvp(self, v):
        out = self.empty(len(self.X), self.net.out_features)
        dout = np.full_like(out, np.nan)
        self.net.jvp(self.parameters, v, self.X, out, dout)
        return out, dout

    def losses_along(self, directions, steps):
        losses = np.full(len(steps), np.nan)
        arguments = (self.X, self.y, self.loss, losses)
        self.net.losses_along(self.parameters, directions, steps, *arguments)
        return losses

    def hvp(self, v):
        hv = self.empty_vector()
        self.net.hvp(self.parameters, v, self.X, self.y, self.loss, hv)
        return hv


def draw_parameters(rng, reference, dtype):
    """Weights that keep activations near one, and biases."""
    parameters = rng.standard_normal(reference.n_parameters)
    for weights in filter(None, reference.unflatten(parameters)):
        weights[0][...] /= np.sqrt(len(weights[0]))
    return parameters.astype(dtype)


def draw_targets(rng, rows, width, target, dtype):
    """Labels (rows,), outputs (rows, width), or probabilities, the sum of a row not quite one."""
    if target == "labels":
        return rng.integers(0, width, rows)
    if target == "probabilities":
        return rng.dirichlet(np.ones(width), rows).astype(dtype) * np.asarray(1.1, dtype)
    return rng.standard_normal((rows, width)).astype(dtype)


def draw(rng, in_features, layers, rows, dtype="float64", target="mse", margin=None):
    """Draw a problem; every input of a ReLU is at least `margin` away from zero (and so with other
    kinks), so that neither rounding nor a finite difference turns one on or off."""
    reference = oracle.Network(in_features, layers)
    margin = 1e3 * np.finfo(dtype).eps if margin is None else margin
    near = np.ones(rows, bool)
    X = np.empty((rows, in_features), dtype)
    for attempt in itertools.count():
        if attempt % 20 == 0:
            parameters, near[:] = draw_parameters(rng, reference, dtype), True
        X[near] = rng.standard_normal((near.sum(), in_features))
        near = reference.distance_to_kink(parameters, X) < margin
        if not near.any():
            break
    y = draw_targets(rng, rows, reference.out_features, target, dtype)
    loss = oracle.MSE if target == "mse" else oracle.CROSS_ENTROPY
    return Problem(core_network(dtype, in_features, layers), reference, parameters, X, y, loss)
