"""Labels (whole numbers, bool or strings), and the classes that they name, in order of outputs."""

import sys
from typing import Any

import numpy as np

from . import checks

KINDS = "whole numbers, bool or strings"


# ---------------------------------------------------------------------- of one kind


def native(array: np.ndarray, given: Any, name: str, rows: np.ndarray | None = None) -> np.ndarray:
    """Return targets, objects among them as numbers, bool or strings, all of one kind.

    `array` is what NumPy has made of `given`. What is missing is named with its row: `rows` (here
    and below) are the numbers of all; None: 0, 1, ...
    """
    if array.dtype.kind == "U" and isinstance(given, (list, tuple)):
        array = np.array(given, dtype=object)  # NaN among strings is no string
    if array.dtype.kind != "O" or array.ndim == 0:
        return array
    refuse_missing(_is_missing(array), array, name, rows)
    types = set(map(type, array.flat))
    kinds = set(map(_kind_of, types))
    if len(kinds) > 1 or None in kinds:
        own = [_kind_of(type(label)) for label in array.flat]
        odd = next(i for i, kind in enumerate(own) if kind is None or kind != own[0])
        which = [i for i in sorted({0, odd}) if own[odd] or i == odd]
        size = np.size(array[0])
        came = [f"{array.flat[i]!r} in row {row_number(i // size, rows)}" for i in which]
        raise TypeError(f"{name}: expected {KINDS}, all of one kind, got {' and '.join(came)}")
    if kinds == {"number"}:
        is_whole = all(issubclass(each, (int, np.integer)) for each in types)
        try:
            return array.astype(np.int64 if is_whole else np.float64)
        except OverflowError:
            raise ValueError(
                f"{name}: expected integers of at most 64 bits, got objects that are longer"
            ) from None
    return array.astype(np.bool_ if kinds == {"bool"} else np.str_)


def _kind_of(type_: type) -> str | None:
    if issubclass(type_, (bool, np.bool_)):
        return "bool"
    if issubclass(type_, (int, float, np.integer, np.floating)):
        return "number"
    return "string" if issubclass(type_, str) else None


def _is_missing(array: np.ndarray) -> np.ndarray:
    """Return which of some objects are None, NaN, NaT or NA."""
    pandas = sys.modules.get("pandas")  # not loaded: no NA of its own is among them
    if pandas is not None:
        return np.asarray(pandas.isna(array))
    nan = (float, np.floating, np.datetime64, np.timedelta64)
    missing = [x is None or (isinstance(x, nan) and x != x) for x in array.flat]
    return np.array(missing, bool).reshape(array.shape)


def row_number(place: int | np.integer, rows: np.ndarray | None) -> int:
    """Return the number of the row that is at a place among `rows`."""
    return int(place if rows is None else rows[place])


def refuse_missing(
    missing: np.ndarray, array: np.ndarray, name: str, rows: np.ndarray | None = None
) -> None:
    """Raise ValueError if any of `missing`, which of `array` are, is True."""
    places = np.argwhere(missing)
    if len(places):
        others = f" ({len(places)} in all)" if len(places) > 1 else ""
        raise ValueError(
            f"{name}: expected a label or number in every row, got {array[tuple(places[0])]} in "
            f"row {row_number(places[0][0], rows)}{others}; drop such rows"
        )


def label_kind(labels: np.ndarray, name: str) -> str:
    """Return "number", "bool" or "string"."""
    kinds = {"f": "number", "i": "number", "u": "number", "b": "bool", "U": "string"}
    if labels.dtype.kind not in kinds:
        raise TypeError(
            f"{name}: expected labels that are {KINDS}, got an array of dtype {labels.dtype}"
        )
    return kinds[labels.dtype.kind]


def whole_numbers(labels: np.ndarray, name: str, rows: np.ndarray | None = None) -> np.ndarray:
    """Return numbers (n,) as int64; ValueError names the first that is missing or not whole."""
    wrong = np.zeros(len(labels), bool)
    if labels.dtype.kind == "f":
        refuse_missing(np.isnan(labels), labels, name, rows)
        largest = np.float64(2**53)  # up to which all are floats
        wrong = (labels != np.trunc(labels)) | (abs(labels) > largest)
    elif labels.dtype.kind == "u":
        wrong = labels > np.uint64(2**63 - 1)
    if wrong.any():
        first = np.argmax(wrong)
        kinds = "whole numbers below 2**63" if labels.dtype.kind == "u" else KINDS
        raise ValueError(
            f"{name}: expected {kinds} as labels, got {labels[first]} in row "
            f"{row_number(first, rows)}; for values take a loss such as 'mse'"
        )
    return np.require(labels, np.int64, ["C", "A"])


# ---------------------------------------------------------------------- classes


def check_classes(classes: Any, out_features: int | None) -> np.ndarray:
    """Return `classes`, distinct labels of one kind in the order of the outputs, as an array.

    `out_features` is how many outputs there are, if that is known.
    """
    given = classes if hasattr(classes, "dtype") else np.array(classes, dtype=object)
    array = native(np.asarray(given), classes, "classes")
    if array.ndim != 1:
        raise TypeError(f"classes: expected a list of labels, got {checks.describe(classes)}")
    if label_kind(array, "classes") == "number":
        array = whole_numbers(array, "classes")
    needed = None if out_features is None else max(2, out_features)
    if len(array) < 2 or needed not in (None, len(array)):
        outputs = "one output" if out_features == 1 else f"{out_features} outputs"
        expected = "at least 2" if needed is None else f"{needed} for {outputs}"
        raise ValueError(f"classes: expected {expected}, got {len(array)} ({some(array)})")
    values, counts = np.unique(array, return_counts=True)
    if len(values) < len(array):
        raise ValueError(f"classes: expected distinct labels, got {values[counts > 1][0]} twice")
    return array.copy()


def places_in(
    labels: np.ndarray, classes: np.ndarray, name: str, rows: np.ndarray | None = None
) -> np.ndarray:
    """Return the place in `classes`, int64 (n,), of each of `labels`.

    False and True are 0 and 1. ValueError names the first label that is none of the classes.
    """
    came, known = label_kind(labels, name), label_kind(classes, "classes_")
    labels = whole_numbers(labels, name, rows) if came == "number" else labels
    if "string" in (came, known) and came != known:
        raise ValueError(
            f"{name}: expected labels of the classes of this model ({some(classes)}), "
            f"got {came} labels"
        )
    if came == "bool":
        labels = labels.astype(np.int64)
    if known == "bool":
        classes = classes.astype(np.int64)
    if are_columns(classes):
        places, unknown = labels, (labels < 0) | (labels >= len(classes))
    else:
        order = np.argsort(classes)
        found = np.searchsorted(classes, labels, sorter=order)
        places = order[np.minimum(found, len(classes) - 1)]
        unknown = classes[places] != labels
    if unknown.any():
        first = np.argmax(unknown)
        raise ValueError(
            f"{name}: expected one of the classes of this model ({some(classes)}), got "
            f"{labels[first]} in row {row_number(first, rows)}; they are fixed by the first fit, "
            "or by Sequential(layers, classes=[...])"
        )
    return np.require(places, np.int64, ["C", "A"])


def are_among(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return which of whole numbers (n,) are some of `classes`, numbers too."""
    if are_columns(classes):  # a tenth of the time of a search
        return (labels >= 0) & (labels < len(classes))
    return np.isin(labels, classes)


def are_columns(classes: np.ndarray) -> bool:
    """Whether `classes` are the numbers of the columns, 0, 1, ..."""
    return classes.dtype.kind in "iu" and np.array_equal(classes, np.arange(len(classes)))


def some(classes: np.ndarray) -> str:
    """Return the first of `classes` as a text."""
    return ", ".join(map(str, classes[:5])) + (", ..." if len(classes) > 5 else "")
