"""From what was drawn of a network to the network: its layers and its optimizer."""

import math

from .. import branches, inputs, layers, optim, schedules
from ..layers import Layer
from ..models import Sequential
from . import recipe
from .recipe import Network
from .schema import Input


def make(network: Network, columns: list[Input], n_classes: int) -> Sequential:
    """Return an untrained network.

    Parameters
    ----------
    network : Network
    columns : list of Input
        Of the array that it is given.
    n_classes : int
        Classes, numbered; 0: values.
    """
    hidden: list[Layer] = []
    for _ in range(network.depth):
        hidden += [layers.Dense(network.width), layers.ReLU()]
    outputs = n_classes if n_classes > 2 else 1  # of two classes one output
    return Sequential(
        [_encoding(network, columns), *hidden, layers.Dense(outputs)],
        dtype="float32",
        seed=network.seed,
        classes=range(n_classes) if n_classes else None,
        standardize_targets=n_classes == 0,
    )


def _encoding(network: Network, columns: list[Input]) -> Layer:
    """Return what makes of numbers, codes and NaN what a first layer can use."""
    numbers = [i for i, each in enumerate(columns) if each.n_codes == 0]
    missing = [i for i, each in enumerate(columns) if each.missing]
    parts: list[tuple[list[int], list[Layer]]] = []
    if numbers:
        scaled: list[Layer] = [inputs.Impute(), inputs.QuantileNormal()]
        if network.encoding == "periodic":
            scaled.append(layers.PeriodicEmbedding(recipe.N_FREQUENCIES, network.scale))
        parts.append((numbers, scaled))
        if network.encoding == "bins":
            parts.append((numbers, [inputs.Impute(), inputs.PiecewiseLinear(recipe.N_BINS)]))
    if missing:
        parts.append((missing, [inputs.MissingIndicator()]))
    for i, each in enumerate(columns):
        if each.n_codes > recipe.ONE_HOT_UP_TO:
            parts.append(([i], [layers.Embedding(each.n_codes, recipe.EMBEDDING_UNITS)]))
        elif each.n_codes:
            parts.append(([i], [inputs.OneHot(each.n_codes)]))
    return branches.Columns(parts)


def optimizer(network: Network, n: int) -> optim.Optimizer:
    """Return the optimizer of a network that is trained on n rows."""
    steps = recipe.EPOCHS * math.ceil(n / recipe.batch_size(n))
    lr = schedules.Cosine(network.lr, steps)
    return optim.AdamW(lr=lr, weight_decay=network.weight_decay)
