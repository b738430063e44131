"""A model cut between its layers."""

from collections.abc import Iterable, Iterator

from ..layers import Identity, Layer
from ..models import Sequential, engine_of


def stages(model: Sequential) -> Iterator[tuple[int, Sequential]]:
    """Yield models which, one after the other, compute what `model` does.

    The first is all input layers, or hands its input on if there are none; then one for each other
    layer, with a copy of its parameters and state.

    Parameters
    ----------
    model : Sequential
        Built.

    Yields
    ------
    (int, Sequential)
        Each with the number of its layer in the model; -1 for the first.
    """
    if engine_of(model).has_lengths:
        raise ValueError(
            "model: expected one whose examples have no lengths, got one built for them"
        )
    first = sum(layer.is_input for layer in model.layers)
    yield -1, _copy_of(model, 0, (*model.layers[:first], Identity()))
    for i in range(first, len(model)):
        yield i, _copy_of(model, i, model.layers[i : i + 1])


def _copy_of(model: Sequential, first: int, layers: tuple[Layer, ...]) -> Sequential:
    engine = engine_of(model)
    part = Sequential(
        layers, dtype=model.dtype, device=model.device, compute_dtype=model.compute_dtype
    )
    engine_of(part).build(engine.shape_before(first), engine.views_of(layers, first))
    return part


def layer_names(model: Sequential, numbers: Iterable[int]) -> tuple[str, ...]:
    """Return "input" for -1 and "0 Dense" for other numbers of layers (tuple of str)."""
    return tuple("input" if i < 0 else f"{i} {type(model.layers[i]).__name__}" for i in numbers)
