"""The networks of the perceptrons: their layers, first numbers, and views of them."""

import copy
from typing import Any

import numpy as np

from .. import checks
from ..layers import Dense, Dropout, Identity, Layer, ReLU, Sigmoid, Tanh
from ..layers import Norm as NormLayer
from ..models import Sequential
from ..typing import Array

ACTIVATIONS: dict[str, type[Layer]] = {
    "identity": Identity,
    "logistic": Sigmoid,
    "tanh": Tanh,
    "relu": ReLU,
}


def activations(activation: Any, n_hidden: int) -> list[Layer]:
    """Return the activation of each hidden layer."""
    each = activation if isinstance(activation, (list, tuple)) else [activation] * n_hidden
    if len(each) != n_hidden:
        raise ValueError(
            f"activation: expected one, or one for each of {n_hidden} hidden layers, got "
            f"{len(each)}"
        )
    found = []
    for i, one in enumerate(each):
        if isinstance(one, str):
            name = checks.choice(one, f"activation[{i}]", tuple(ACTIVATIONS))
            found.append(ACTIVATIONS[name]())
        elif isinstance(one, Layer) and not isinstance(one, (Dense, Dropout, NormLayer)):
            found.append(copy.deepcopy(one))  # a layer in two places would share what it learns
        else:
            raise ValueError(
                f"activation[{i}]: expected one of {', '.join(ACTIVATIONS)}, or an activation such "
                f"as fnn.GELU(), got {checks.describe(one)}"
            )
    return found


def make_layers(
    hidden: list[int], n_outputs: int, activation: Any, norm: Layer | None, dropout: float
) -> list[Layer]:
    """Return the layers: of each hidden one its product, norm, activation and dropout."""
    if norm is not None and not isinstance(norm, NormLayer):
        raise ValueError(
            f"norm: expected None or a layer such as fnn.BatchNorm(), got {checks.describe(norm)}"
        )
    layers: list[Layer] = []
    for units, bend in zip(hidden, activations(activation, len(hidden)), strict=True):
        layers.append(Dense(units))
        if norm is not None:
            layers.append(copy.deepcopy(norm))
        if not isinstance(bend, Identity):
            layers.append(bend)
        if dropout > 0:
            layers.append(Dropout(dropout))
    return [*layers, Dense(n_outputs)]


def make_model(
    layers: list[Layer],
    dtype: Any,
    in_features: int,
    feature_names: Array | None,
    classes: Array | None,
) -> Sequential:
    """Return the network, with what it knows of columns and classes."""
    model = Sequential(layers, dtype=dtype).build(in_features)
    model.feature_names_in_ = None if feature_names is None else np.array(feature_names, object)
    model.classes_ = classes
    return model


def views(model: Sequential) -> tuple[list[Array], list[Array]]:
    """Return the weights (in, out) and the biases (out,) of all dense layers."""
    named = model.named_parameters()
    dense = [i for i, layer in enumerate(model.layers) if isinstance(layer, Dense)]
    return [named[f"{i}.weight"] for i in dense], [named[f"{i}.bias"] for i in dense]


def draw(model: Sequential, activation: Any, random_state: np.random.RandomState) -> None:
    """Give weights and biases first numbers, as scikit-learn draws them (Glorot and Bengio 2010).

    Uniform within ``sqrt(f / (in + out))``, with f 2 for the logistic function and 6 otherwise.
    """
    weights, biases = views(model)
    bends = activations(activation, len(weights) - 1)
    if isinstance(activation, str):
        bends = [ACTIVATIONS[activation]()]  # there may be no hidden layer
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        bend = bends[min(i, len(bends) - 1)] if bends else None  # the last is that of the outputs
        factor = 2.0 if isinstance(bend, Sigmoid) else 6.0
        bound = np.sqrt(factor / sum(weight.shape))
        weight[...] = random_state.uniform(-bound, bound, weight.shape)
        bias[...] = random_state.uniform(-bound, bound, bias.shape)
