"""Matrices of `scipy.sparse`, which is not imported here, as the core reads them."""

from itertools import chain
from typing import Any

import numpy as np

from .checks import describe
from .typing import Array


def canonical_csr(X: Any, name: str) -> Any:
    """Return a sparse matrix in CSR format without duplicates: `X` itself, if it is like that."""
    # SciPy looks at the parts of a matrix when it is made, if at all, and trusts them from then on.
    if X.format in _CHECKS:
        _CHECKS[X.format](X, name)
    try:
        csr = X.tocsr()
        if not csr.has_canonical_format:
            csr = csr.copy() if csr is X else csr
            csr.sum_duplicates()
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"{name}: expected a sparse matrix of numbers, got {type(X).__name__}: {error}"
        ) from None
    return csr


def _check_compressed(X: Any, name: str) -> None:
    """CSR, CSC and BSR: numbers `indices[indptr[i] : indptr[i + 1]]` for row, or column, i."""
    rows, columns = X.shape
    blocks = _part(X, "data", name, ndim=3 if X.format == "bsr" else 1)
    if X.format == "bsr":
        _, r, c = blocks.shape
        if not (r and c) or rows % r or columns % c:
            raise ValueError(
                f"{name}.data: expected blocks (n, r, c) that tile {X.shape}, got {blocks.shape}"
            )
        rows, columns = rows // r, columns // c
    n, end = (columns, rows) if X.format == "csc" else (rows, columns)
    places = _part(X, "indices", name, length=len(blocks))
    starts = _part(X, "indptr", name, length=n + 1)
    _check_range(starts, 0, len(places), f"{name}.indptr")
    if starts[0] != 0 or (starts[1:] < starts[:-1]).any():
        i = np.argmax(starts[1:] < starts[:-1])
        raise ValueError(
            f"{name}.indptr: expected 0 and numbers that never fall, "
            f"got {starts[0]}, ..., {starts[i]}, {starts[i + 1]}, ..."
        )
    _check_range(places[: starts[-1]], 0, end - 1, f"{name}.indices")


def _check_coo(X: Any, name: str) -> None:
    n = len(_part(X, "data", name))
    for part, end in zip(("row", "col"), X.shape, strict=True):
        _check_range(_part(X, part, name, length=n), 0, end - 1, f"{name}.{part}")


def _check_dia(X: Any, name: str) -> None:
    n = len(_part(X, "data", name, ndim=2))
    offsets = _part(X, "offsets", name, length=n)
    _check_range(offsets, -(2**31), 2**31 - 1, f"{name}.offsets")  # SciPy makes them int32


def _check_lil(X: Any, name: str) -> None:
    rows, columns = X.shape
    lists = [_part(X, part, name, length=rows) for part in ("rows", "data")]
    for i, (places, numbers) in enumerate(zip(*lists, strict=True)):
        if len(places) != len(numbers):
            raise ValueError(
                f"{name}.rows: expected as many places as numbers, "
                f"got {len(places)} and {len(numbers)} in row {i}"
            )
    _check_range(np.array([*chain(*lists[0])]), 0, columns - 1, f"{name}.rows")


_CHECKS = {
    **dict.fromkeys(("csr", "csc", "bsr"), _check_compressed),
    "coo": _check_coo,
    "dia": _check_dia,
    "lil": _check_lil,
}


def _part(X: Any, part: str, name: str, ndim: int = 1, length: int | None = None) -> Array:
    """Return the array `X.part`, which has `ndim` dimensions, the first of `length`."""
    array = getattr(X, part)
    if not isinstance(array, np.ndarray) or array.ndim != ndim:
        raise TypeError(
            f"{name}.{part}: expected an array of {ndim} dimensions, got {describe(array)}"
        )
    if length not in (None, len(array)):
        raise ValueError(f"{name}.{part}: expected length {length}, got {len(array)}")
    return array


def _check_range(places: Array, first: int, last: int, name: str) -> None:
    """Raise unless `places` are integers from `first` to `last`."""
    if not len(places):
        return
    if places.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, got an array of dtype {places.dtype}")
    if places.min() < first or places.max() > last:
        i = np.argmax((places < first) | (places > last))
        raise ValueError(
            f"{name}: expected numbers from {first} to {last}, got {places[i]} at position {i}"
        )
