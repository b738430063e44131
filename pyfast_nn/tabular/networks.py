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
        hidden += [layers.Dense(network.width), recipe.ACTIVATIONS[network.activation]()]
        if network.dropout > 0:
            hidden.append(layers.Dropout(network.dropout))
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
        parts.append((numbers, scaled))
        if network.encoding == "periodic":
            scaled.append(layers.PeriodicEmbedding(recipe.N_FREQUENCIES, network.scale))
        else:
            for n_bins, group in _groups(network, columns, numbers).items():
                encoded = inputs.PiecewiseLinear(n_bins, bins=network.encoding)
                parts.append((group, [inputs.Impute(), encoded]))
    if missing:
        parts.append((missing, [inputs.MissingIndicator()]))
    for i, each in enumerate(columns):
        if each.n_codes and (network.codes or not each.again):
            parts.append(([i], [of_codes(each.n_codes)]))
    return branches.Columns(parts)


def of_codes(n_codes: int) -> Layer:
    """Return the layer that reads a column of so many codes."""
    if n_codes > recipe.ONE_HOT_UP_TO:
        return layers.Embedding(n_codes, recipe.EMBEDDING_UNITS)
    return inputs.OneHot(n_codes)


def _groups(network: Network, columns: list[Input], numbers: list[int]) -> dict[int, list[int]]:
    """Return {number of bins: those columns of numbers that have so many}."""
    most = min(network.n_bins, max(recipe.FEWEST_BINS, recipe.BINS_IN_ALL // len(numbers)))
    groups: dict[int, list[int]] = {}
    for i in numbers:
        # Between k values there are k - 1 bins; of two values, scaling has said all.
        n_bins = min(most, columns[i].n_distinct - 1)
        if n_bins > 1:
            groups.setdefault(n_bins, []).append(i)
    return groups


def optimizer(network: Network, n: int) -> optim.Optimizer:
    """Return the optimizer of a network that is trained on n rows."""
    steps = recipe.epochs(n) * math.ceil(n / recipe.batch_size(n))
    lr = schedules.Cosine(network.lr, steps)
    return optim.AdamW(lr=lr, weight_decay=network.weight_decay)
