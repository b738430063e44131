"""What several fits ask of the same data is computed once."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

Result = TypeVar("Result")

_VALUES = (str, int, float, np.dtype, type(None))  # the same where they are equal
_FEW = 1000  # bytes; arrays of so few likewise


def each_time(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function, as `Once` does that remembers nothing."""
    return function(*arguments)


class Once:
    """Calls a function once for the same arguments.

    Arrays are the same if they are one object, short ones if they are equal.
    """

    def __init__(self) -> None:
        self._results: dict[Any, Any] = {}
        self._held: list[Any] = []  # so that the id of an argument remains its own

    def __call__(self, function: Callable[..., Result], *arguments: Any) -> Result:
        key = (function, *map(_key, arguments))
        if key not in self._results:
            self._results[key] = function(*arguments)
            self._held.append(arguments)
        result: Result = self._results[key]
        return result


def _key(value: Any) -> Any:
    if isinstance(value, _VALUES):
        return type(value), value
    if isinstance(value, np.ndarray) and value.nbytes <= _FEW and not value.dtype.hasobject:
        return value.dtype, value.shape, value.tobytes()
    return id(value)
