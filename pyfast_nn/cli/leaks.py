"""Columns that give the target away."""

from typing import TYPE_CHECKING

import numpy as np

from ..typing import Array
from . import tables, tasks

if TYPE_CHECKING:
    import pyarrow

_SAME = 1 - 1e-12  # correlation from which numbers are multiples of others, but for rounding


def found(
    X: "pyarrow.Table",
    target: "pyarrow.ChunkedArray",
    task: tasks.Task,
    name: str,
    numbers: Array,
) -> list[str]:
    """Return a warning for each column that tells what is to be predicted, or where a row stands.

    That is one with a value for each class, and no other; or with multiples of the numbers; or one
    that counts the rows, of the file in which they have these `numbers` (n,).
    """
    is_same = _is_multiple if task.classes is None else _is_renamed
    result = []
    for column in X.column_names:
        if X[column].null_count:
            continue
        if is_same(X[column], target):
            what = f"tells {name!r} in every row, so it leaks what is to be predicted"
        elif _counts(X[column], numbers):
            what = "counts the rows, so it tells where in the file they stand"
        else:
            continue
        result.append(
            f"column {column!r} {what}; --exclude {tables.quoted(column)}, unless it is known "
            "beforehand"
        )
    return result


def _is_renamed(column: "pyarrow.ChunkedArray", target: "pyarrow.ChunkedArray") -> bool:
    a, b = (x.combine_chunks().dictionary_encode() for x in (column, target))
    k = len(b.dictionary)
    if len(a.dictionary) != k:
        return False
    pairs = np.asarray(a.indices).astype(np.int64) * k + np.asarray(b.indices)
    return len(np.unique(pairs)) == k


def _is_multiple(column: "pyarrow.ChunkedArray", target: "pyarrow.ChunkedArray") -> bool:
    from pyarrow import types

    if not (types.is_integer(column.type) or types.is_floating(column.type)):
        return False
    x, y = (np.asarray(a.to_numpy(), np.float64) for a in (column, target))
    if not np.isfinite(x).all() or len(x) < 3:
        return False
    with np.errstate(over="ignore", invalid="ignore"):  # then it is no multiple
        x, y = x - x.mean(), y - y.mean()
        x, y = x / (abs(x).max() or 1), y / (abs(y).max() or 1)
        return bool(abs(x @ y) >= _SAME * np.sqrt((x @ x) * (y @ y)) > 0)


def _counts(column: "pyarrow.ChunkedArray", numbers: Array) -> bool:
    from pyarrow import types

    if not types.is_integer(column.type) or len(numbers) < 3:
        return False
    steps = np.diff(column.to_numpy().astype(np.float64) - numbers)
    return not steps.any()
