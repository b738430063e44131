"""Columns that give the target away."""

from typing import TYPE_CHECKING

import numpy as np

from . import tables, tasks

if TYPE_CHECKING:
    import pyarrow

_SAME = 1 - 1e-12  # correlation from which numbers are multiples of others, but for rounding


def found(
    X: "pyarrow.Table", target: "pyarrow.ChunkedArray", task: tasks.Task, name: str
) -> list[str]:
    """Return a warning for each column that is the target in other words, in every row.

    That is one with a value for each class, and no other; or with multiples of the numbers.
    """
    is_same = _is_multiple if task.classes is None else _is_renamed
    return [
        f"column {column!r} tells {name!r} in every row, so it leaks what is to be predicted; "
        f"--exclude {tables.quoted(column)}, unless it is known beforehand"
        for column in X.column_names
        if X[column].null_count == 0 and is_same(X[column], target)
    ]


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
