"""Checks of single values that users pass: errors say which, what came, what was expected."""

import math
import operator
import os

import numpy as np


def integer(value, name, minimum, maximum=2**31 - 1):
    """Return `value` as an int in [minimum, maximum]."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        result = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {describe(value)}") from None
    if not minimum <= result <= maximum:
        raise ValueError(f"{name}: expected an integer from {minimum} to {maximum}, got {result}")
    return result


def real(value, name, minimum=-math.inf, below=math.inf, above=-math.inf):
    """Return `value` as a finite float in [minimum, below), and greater than `above`."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name}: expected a number, got {describe(value)}")
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not (math.isfinite(result) and minimum <= result < below and above < result):
        bounds = "" if minimum == -math.inf else f" >= {minimum:g}"
        bounds += "" if above == -math.inf else f" > {above:g}"
        bounds += "" if below == math.inf else f" and < {below:g}"
        raise ValueError(f"{name}: expected a finite number{bounds}, got {value!r}")
    return result


def boolean(value, name):
    """Return `value` as a bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {describe(value)}")
    return bool(value)


def choice(value, name, choices):
    """Return `value`, one of the strings `choices`."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected one of {', '.join(choices)}, got {describe(value)}")
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")
    return value


def dtype(value):
    """Return `value`, float32 or float64 by any of its names, as a numpy.dtype."""
    try:
        name = np.dtype(value).name if value is not None else "None"
    except TypeError:
        name = repr(value)
    return np.dtype(choice(name, "dtype", ("float32", "float64")))


def path(value, name="path"):
    """Return `value`, the name of a file, as a str."""
    try:
        result = os.fsdecode(value)
    except TypeError:
        raise TypeError(f"{name}: expected str or os.PathLike, got {describe(value)}") from None
    if "\0" in result:
        raise ValueError(f"{name}: expected a name without null characters, got {result!r}")
    return result


def pair(value, name, meaning):
    """Return both items of `value`."""
    try:
        first, second = value
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected a pair, {meaning}, got {describe(value)}") from None
    return first, second


def describe(value):
    """Return what came, short enough for one line of an error message."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    text = repr(value)
    kind = type(value).__name__
    return f"{text} ({kind})" if len(text) <= 60 and "\n" not in text else f"a value of type {kind}"
