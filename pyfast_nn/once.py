"""What several fits ask of the same data is computed once."""

import collections
import threading
from collections.abc import Callable, Hashable
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
        self._waiting = collections.defaultdict[Any, threading.Lock](threading.Lock)

    def __call__(self, function: Callable[..., Result], *arguments: Any) -> Result:
        def compute() -> Result:
            self._held.append(arguments)
            return function(*arguments)

        return self.remember((function, *map(_key, arguments)), compute)

    def remember(self, key: Hashable, compute: Callable[[], Result]) -> Result:
        """Return what was computed for this key; threads that want the same wait for one."""
        with self._waiting[key]:
            if key not in self._results:
                self._results[key] = compute()
            result: Result = self._results[key]
        return result


def _key(value: Any) -> Any:
    if isinstance(value, _VALUES):
        return type(value), value
    if isinstance(value, np.ndarray) and value.nbytes <= _FEW and not value.dtype.hasobject:
        return value.dtype, value.shape, value.tobytes()
    if isinstance(value, tuple):
        return tuple(map(_key, value))
    return id(value)
