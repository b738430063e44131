"""Networks as lists of layers, (kind, numbers ...), which each contestant translates.

Examples are (features,), (positions, channels) or (height, width, channels).

===================================================  =============================================
("dense", inputs, outputs)                           x @ w + b, at every position
("relu",), ("gelu",)
("dropout", rate)
("batch_norm", features)                             with weight, bias and running statistics
("layer_norm", features)                             with weight and bias
("residual", layers)                                 x + layers(x)
("conv1d", kernel, inputs, outputs, stride, padding)
("conv2d", kernel, inputs, outputs, stride, padding)
("max_pool1d", size), ("max_pool2d", size)
("mean_pool",), ("sum_pool",)                        over all positions
("flatten", height, width, channels)
("lstm", inputs, units), ("gru", inputs, units)      the last state
("embedding", categories, units)                     of positions that are integers
("positions", positions, units)                      a vector that is learned is added at each
("attention", units, heads)                          causal, with a product before and after it
===================================================  =============================================
"""

from itertools import pairwise
from math import prod

import numpy as np

CHAIN = {"dense", "relu"}
CONVOLUTIONS = {"conv1d", "conv2d"}
ALL = CHAIN | CONVOLUTIONS
ALL |= {"dropout", "batch_norm", "layer_norm", "residual", "gelu", "lstm", "gru", "flatten"}
ALL |= {"max_pool1d", "max_pool2d", "mean_pool", "sum_pool", "embedding", "positions", "attention"}


def mlp(*sizes, before=lambda features: (), after=lambda features: ()):
    """Dense layers of these sizes, with ReLU and what stands before and after it between them."""
    layers = []
    for inputs, outputs in pairwise(sizes):
        layers += [("dense", inputs, outputs), *before(outputs), ("relu",), *after(outputs)]
    while layers[-1][0] != "dense":
        layers.pop()
    return layers


def each(layers):
    """Every layer, those within others too."""
    for layer in layers:
        yield layer
        if layer[0] == "residual":
            yield from each(layer[1])


def kinds(layers):
    return {kind for kind, *_ in each(layers)}


def dense_sizes(layers):
    """(inputs, outputs) of every Dense layer."""
    return [tuple(numbers) for kind, *numbers in each(layers) if kind == "dense"]


def widths(layers):
    """Features, hidden ..., outputs of a chain."""
    sizes = dense_sizes(layers)
    return [sizes[0][0], *(outputs for _, outputs in sizes)]


def parameter_shapes(kind, *numbers):
    """Of what a layer learns, as we order it: matrices take rows of inputs to rows of outputs."""
    if kind in ("conv1d", "conv2d"):
        kernel, inputs, outputs, _, _ = numbers
        return [(*[kernel] * int(kind[4]), inputs, outputs), (outputs,)]
    if kind == "dense":
        return [tuple(numbers), (numbers[1],)]
    if kind in ("batch_norm", "layer_norm"):
        return [tuple(numbers)] * 2
    if kind in ("lstm", "gru"):
        inputs, units = numbers
        gates = {"lstm": 4, "gru": 3}[kind] * units
        return [(inputs, gates), (gates,), (units, gates), (gates,)]
    if kind in ("embedding", "positions"):
        return [tuple(numbers)]
    if kind == "attention":
        units, _ = numbers
        return [(units, 3 * units), (3 * units,), (units, units), (units,)]
    return []


def initial(layers, rng):
    """Weights to start from: for each layer a list of arrays, for a residual one such a list."""
    return [_initial(rng, *layer) for layer in layers]


def _initial(rng, kind, *numbers):
    if kind == "residual":
        return initial(numbers[0], rng)
    arrays = [
        rng.normal(0, np.sqrt(2 / prod(shape[:-1])), shape) if len(shape) > 1 else np.zeros(shape)
        for shape in parameter_shapes(kind, *numbers)
    ]
    if kind in ("batch_norm", "layer_norm"):
        arrays[0] += 1
    return [array.astype(np.float32) for array in arrays]


def leaves(entries):
    """The arrays of `initial`, one after another."""
    for entry in entries:
        yield from leaves(entry) if isinstance(entry, list) else (entry,)


def shape_after(shape, kind, *numbers):
    """The shape of an example behind a layer."""
    if kind in ("conv1d", "conv2d"):
        kernel, _, outputs, stride, padding = numbers
        return (*((n + 2 * padding - kernel) // stride + 1 for n in shape[:-1]), outputs)
    if kind in ("max_pool1d", "max_pool2d"):
        return (*(n // numbers[0] for n in shape[:-1]), shape[-1])
    if kind in ("mean_pool", "sum_pool"):
        return shape[-1:]
    if kind == "flatten":
        return (prod(shape),)
    if kind in ("lstm", "gru"):
        return (numbers[1],)
    if kind == "dense":
        return (*shape[:-1], numbers[1])
    if kind == "embedding":
        return (*shape, numbers[1])
    return shape


def out_shape(layers, shape):
    for layer in layers:
        shape = shape_after(shape, *layer)
    return shape


def products(layers, shape):
    """Multiply-adds of an example for each matrix product on its way forward."""
    found = []
    for kind, *numbers in layers:
        if kind == "residual":
            found += products(numbers[0], shape)
            continue
        before, shape = shape, shape_after(shape, kind, *numbers)
        matrices = [of for of in parameter_shapes(kind, *numbers) if len(of) > 1]
        if kind in ("dense", "conv1d", "conv2d"):
            found.append(prod(shape[:-1]) * prod(matrices[0]))
        elif kind in ("lstm", "gru"):
            found += [before[0] * prod(matrix) for matrix in matrices]
        elif kind == "attention":
            times = before[0]
            of_pairs = (
                times * (times + 1) * shape[-1]
            )  # half of the scores are none, as it is causal
            found += [times * prod(matrices[0]), of_pairs, times * prod(matrices[1])]
        elif kind == "embedding":
            found.append(0)
    return found
