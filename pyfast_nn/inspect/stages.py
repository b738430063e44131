"""A model cut between its layers."""

from collections.abc import Iterable

from ..layers import Identity, InputLayer
from ..models import Sequential


def stages(model: Sequential) -> list[tuple[int, Sequential]]:
    """Return models which, one after the other, compute what `model` does.

    The first is all input layers, or hands its input on if there are none; then one for each other
    layer, which shares the model's parameters.

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
    inputs = Sequential((*model.layers[:first], Identity()), dtype=model.dtype)
    inputs.build(model.in_features)
    inputs.state = model.state[: len(inputs.state)]
    return [(-1, inputs), *((i, model[i]) for i in range(first, len(model)))]


def layer_names(model: Sequential, numbers: Iterable[int]) -> tuple[str, ...]:
    """Return "input" for -1 and "0 Dense" for other numbers of layers (tuple of str)."""
    return tuple("input" if i < 0 else f"{i} {type(model.layers[i]).__name__}" for i in numbers)
