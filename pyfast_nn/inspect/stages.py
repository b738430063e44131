"""A model cut between its layers."""

from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import DTypeLike

from ..layers import Identity, InputLayer, Layer
from ..models import Sequential
from ..typing import Array


def stages(model: Sequential) -> list[tuple[int, Sequential]]:
    """Return models which, one after the other, compute what `model` does.

    The first is all input layers, or hands its input on if there are none; then one for each other
    layer. They have copies of the model's parameters and state.

    Parameters
    ----------
    model : Sequential
        Built.

    Returns
    -------
    list of (int, Sequential)
        Each with the number of its layer in the model; -1 for the first.
    """
    first = sum(isinstance(layer, InputLayer) for layer in model.layers)
    cuts: list[tuple[int, tuple[Layer, ...], Collection[int]]] = [
        (-1, (*model.layers[:first], Identity()), range(first))
    ]
    cuts += [(i, model.layers[i : i + 1], (i,)) for i in range(first, len(model.layers))]
    result, width = [], model.in_features
    for number, layers, of in cuts:
        stage = Sequential(layers, dtype=model.dtype).build(width)
        stage.parameters = _those_of(of, model.named_parameters(), model.dtype)
        stage.state = _those_of(of, model.named_state(), np.float64)
        result.append((number, stage))
        width = stage.out_features
    return result


def layer_names(model: Sequential, numbers: Iterable[int]) -> tuple[str, ...]:
    """Return "input" for -1 and "0 Dense" for other numbers of layers (tuple of str)."""
    return tuple("input" if i < 0 else f"{i} {type(model.layers[i]).__name__}" for i in numbers)


def _those_of(numbers: Collection[int], named: dict[str, Array], dtype: DTypeLike) -> Array:
    """Return what {"number.name": array} holds for some layers, as one flat vector."""
    parts = [view.ravel() for key, view in named.items() if int(key.split(".")[0]) in numbers]
    return np.concatenate([*parts, np.empty(0, dtype)])
