"""Networks as lists of layers, (kind, numbers ...), which each contestant translates.

=================================  ================================================
("dense", inputs, outputs)         x @ w + b
("relu",)                          max(x, 0)
("dropout", rate)
("batch_norm", features)           with weight, bias and running statistics
("layer_norm", features)           with weight and bias
("residual", layers)               x + layers(x)
=================================  ================================================
"""

from itertools import pairwise

CHAIN = {"dense", "relu"}
ALL = CHAIN | {"dropout", "batch_norm", "layer_norm", "residual"}


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
