"""Settings of what is within parameters, by scikit-learn's names: ``layers__0__units``."""

import copy
from collections.abc import Iterator
from typing import Any

from ..config import Configured
from ..optim import Optimizer
from ..optim.rule import hyper_parameters


def settings(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield (name, value) of all that is within a value which goes by that name."""
    for key, inner in _items(value):
        yield f"{name}__{key}", inner
        yield from settings(inner, f"{name}__{key}")


def replaced(value: Any, names: list[str], new: Any) -> Any:
    """Return a copy of a value in which what `names` lead to is new; LookupError if nothing."""
    name, *rest = names
    old = dict(_items(value))[name]
    if isinstance(value, Optimizer):
        value = copy.deepcopy(value)
        setattr(value, name, new if not rest else replaced(old, rest, new))
        return value
    if isinstance(value, (list, tuple)):
        if not rest:
            places: list[Any] = [*value]
            places[int(name)] = new
            return type(value)(places)
        changed = replaced(old, rest, new)  # a layer in two places stays one layer
        return type(value)(changed if each is old else each for each in value)
    config = value.get_config() | {name: new if not rest else replaced(old, rest, new)}
    return type(value)(*config.pop("branches", ()), **config)


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (list, tuple)):
        yield from ((str(i), each) for i, each in enumerate(value) if _has_settings(each))
    elif isinstance(value, Configured):
        yield from value.get_config().items()
    elif isinstance(value, Optimizer):
        yield from ((name, getattr(value, name)) for name in hyper_parameters(value))


def _has_settings(value: Any) -> bool:
    return isinstance(value, (list, tuple, Configured))
