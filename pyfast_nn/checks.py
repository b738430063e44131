"""Checks of single values that users pass: errors say which, what came, what was expected."""

import math
import operator
import os
import secrets
from collections.abc import Callable, Collection
from typing import Any, TypeAlias

import numpy as np

from .guidance import near

Size: TypeAlias = int | tuple[int, ...]  # one number for all axes, or one each


def scalar(value: Any) -> Any:
    """Return the number or string that a scalar of NumPy or an array without axes holds."""
    is_array = getattr(value, "ndim", None) == 0 and hasattr(value, "item")
    return value.item() if is_array else value


def integer(value: Any, name: str, minimum: int, maximum: int = 2**31 - 1) -> int:
    """Return `value`, an integer or an integral float, as an int in [minimum, maximum]."""
    number = scalar(value)
    try:
        if isinstance(number, bool):
            raise TypeError
        integral = isinstance(number, (float, np.floating)) and number == np.trunc(number)
        result = int(number) if integral else operator.index(number)
    except (TypeError, OverflowError):  # the latter: infinity
        raise TypeError(f"{name}: expected an integer, got {describe(value)}") from None
    if not minimum <= result <= maximum:
        raise ValueError(f"{name}: expected an integer from {minimum} to {maximum}, got {result}")
    return result


def shape(value: Any, name: str) -> tuple[int, ...]:
    """Return `value`, the shape of one example or its only number, as a tuple of positive ints."""
    try:
        sizes = tuple(value)
    except TypeError:
        sizes = (value,)
    if not 1 <= len(sizes) <= 3:
        raise ValueError(
            f"{name}: expected (channels,), (positions, channels) or (height, width, channels), "
            f"got {describe(value)}"
        )
    found = tuple(integer(size, f"{name}[{i}]", minimum=1) for i, size in enumerate(sizes))
    if math.prod(found) >= 2**31:
        raise ValueError(f"{name}: expected fewer than 2**31 numbers in an example, got {found}")
    return found


def sizes(axes: int, minimum: int) -> Callable[[object, str], Size]:
    """Return the check of a number for all axes, or one for each."""

    def check(value: object, name: str) -> Size:
        if not isinstance(value, (tuple, list)):
            return integer(value, name, minimum)
        if len(value) != axes:
            expected = "one number" if axes == 1 else f"one number, or {axes}"
            raise ValueError(f"{name}: expected {expected}, got {value!r}")
        return tuple(integer(each, f"{name}[{i}]", minimum) for i, each in enumerate(value))

    return check


def real(
    value: object,
    name: str,
    minimum: float = -math.inf,
    below: float = math.inf,
    above: float = -math.inf,
) -> float:
    """Return `value` as a finite float in [minimum, below), and greater than `above`."""
    number = scalar(value)
    if isinstance(number, bool) or not isinstance(number, (int, float, np.floating)):
        raise TypeError(f"{name}: expected a number, got {describe(value)}")
    try:
        result = float(number)
    except OverflowError:
        result = math.inf
    if not (math.isfinite(result) and minimum <= result < below and above < result):
        bounds = "" if minimum == -math.inf else f" >= {minimum:g}"
        bounds += "" if above == -math.inf else f" > {above:g}"
        bounds += "" if below == math.inf else f" and < {below:g}"
        raise ValueError(f"{name}: expected a finite number{bounds}, got {value!r}")
    return result


def boolean(value: object, name: str) -> bool:
    """Return `value` as a bool."""
    if not isinstance(scalar(value), bool):
        raise TypeError(f"{name}: expected True or False, got {describe(value)}")
    return bool(value)


def seed(value: object, name: str = "seed") -> int:
    """Return `value`, an integer from 0 to 2**64 - 1, as an int; for None draw one."""
    return secrets.randbelow(2**32) if value is None else integer(value, name, 0, 2**64 - 1)


def choice(value: object, name: str, choices: Collection[str]) -> str:
    """Return `value`, one of the strings `choices`."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected one of {', '.join(choices)}, got {describe(value)}")
    if value not in choices:
        hint = near(value, choices)
        raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {value!r}{hint}")
    return value


def dtype(value: Any) -> np.dtype[Any]:
    """Return `value`, float32 or float64 by any of its names, as a numpy.dtype."""
    try:
        name = np.dtype(value).name if value is not None else "None"
    except TypeError:
        name = repr(value)
    return np.dtype(choice(name, "dtype", ("float32", "float64")))


def path(value: Any, name: str = "path") -> str:
    """Return `value`, the name of a file, as a str."""
    try:
        result = os.fsdecode(value)
    except TypeError:
        raise TypeError(f"{name}: expected str or os.PathLike, got {describe(value)}") from None
    if "\0" in result:
        raise ValueError(f"{name}: expected a name without null characters, got {result!r}")
    return result


def pair(value: Any, name: str, meaning: str) -> tuple[Any, Any]:
    """Return both items of `value`."""
    try:
        first, second = value
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected a pair, {meaning}, got {describe(value)}") from None
    return first, second


def describe(value: object) -> str:
    """Return what came, short enough for one line of an error message."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    text = repr(value)
    kind = type(value).__name__
    return f"{text} ({kind})" if len(text) <= 60 and "\n" not in text else f"a value of type {kind}"
