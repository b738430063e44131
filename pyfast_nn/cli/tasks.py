"""What is to be learned, labels or numbers: the targets in the user's file decide, or `--task`."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import data, labels
from ..typing import Array

if TYPE_CHECKING:
    import pyarrow

NAMES = ("classification", "regression")
_MOST_FLOAT_CLASSES = 20
_MOST_CLASSES_UNSAID = 50
_MOST_SUGGESTED = 100  # different numbers that may be labels after all


class Task(NamedTuple):
    """A classification with its classes, or a regression."""

    y: Array  # (n,), or (n, outputs) of a regression
    classes: Array | None = None  # in order
    in_one: bool = False  # whether two classes have one output

    @property
    def name(self) -> str:
        return NAMES[self.classes is None]

    @property
    def loss(self) -> str:
        if self.classes is None:
            return "mse"
        return "binary_cross_entropy" if self.in_one else "cross_entropy"

    @property
    def out_features(self) -> int:
        if self.classes is not None:
            return 1 if self.in_one else len(self.classes)
        return 1 if self.y.ndim == 1 else self.y.shape[1]

    @property
    def strata(self) -> Array:
        """What each part is to have its share of (n,): the classes, or all rows alike."""
        return np.zeros(len(self.y), np.int8) if self.classes is None else self.y

    def __str__(self) -> str:
        if self.classes is not None:
            return f"{len(self.classes)} classes"
        return f"{self.out_features} number{'s' * (self.out_features > 1)} to predict"


def choose(name: str | None, y: Array, dtype: str) -> Task:
    """Return the task of that name, or the one that `y` looks like."""
    if y.dtype.kind == "f":
        labels.refuse_missing(np.isnan(y), y, "y")
    if name is None:
        name = _looks_like(y)
    return _classification(y, "y") if name == "classification" else _regression(y, dtype, "y")


def of_column(
    name: str | None, column: "pyarrow.ChunkedArray", target: str, dtype: str
) -> tuple[Task, str]:
    """Return the task of that name, or the one that a column of a table looks like, and why.

    Nothing is missing in the column. Whole numbers are labels if there are few different ones.
    """
    from pyarrow import types

    title, kind = f"--target {target}", column.type
    if types.is_temporal(kind):
        raise ValueError(f"{title}: expected labels or numbers, got dates; choose another column")
    if types.is_string(kind) or types.is_boolean(kind):
        return _of_labels(name, column, title)
    y = column.to_numpy().astype(np.float64)
    distinct = len(np.unique(y))
    what = f"{target!r} has {distinct:,} different numbers"
    if name is None:
        name, why = _looks_like(y), f"{what}: a "
        other = NAMES[name == NAMES[0]]
        takes = "labels" if other == NAMES[0] else "numbers"
        why += name
        if name == NAMES[0] or (distinct <= _MOST_SUGGESTED and (y == np.trunc(y)).all()):
            why += f" (--task {other} takes them as {takes})"
    else:
        why = f"{what}: a {name}, as --task says"
    if distinct == 1:
        raise ValueError(f"{title}: expected different values, got {y[0]:g} in every row")
    if name == NAMES[0]:
        _refuse_many(distinct, len(y), column[0].as_py(), title)
        return _classification(y, title), why
    return _regression(y, dtype, title), why


def _of_labels(name: str | None, column: "pyarrow.ChunkedArray", title: str) -> tuple[Task, str]:
    import pyarrow.compute as pc

    distinct, first = pc.count_distinct(column).as_py(), column[0].as_py()
    if name == NAMES[1]:
        raise ValueError(
            f"{title}: expected numbers for --task regression, got text such as {first!r}"
        )
    _refuse_many(distinct, len(column), first, title)
    y = np.array(column.to_pylist())
    return _classification(y, title), f"{title[9:]!r} has {distinct:,} labels: a classification"


def _refuse_many(distinct: int, n: int, example: Any, title: str) -> None:
    if distinct > max(n / 2, _MOST_FLOAT_CLASSES):
        raise ValueError(
            f"{title}: expected labels that are those of several rows each, got {distinct:,} "
            f"different ones in {n:,} rows, such as {example!r}; choose another column"
        )


def why(name: str | None, y: Array, task: Task) -> str | None:
    """Return what to say of a choice that may surprise."""
    if name is not None or y.dtype.kind not in "iuf":
        return None
    if task.classes is None:
        return f"targets are {y.dtype}: a regression (--task classification takes them as labels)"
    if y.dtype.kind == "f" or len(task.classes) > _MOST_CLASSES_UNSAID:
        return (
            f"targets are {len(task.classes)} different whole numbers: taken as labels "
            "(--task regression takes them as numbers)"
        )
    return None


def _looks_like(y: Array) -> str:
    """Floats are numbers, unless they are a few whole ones, as labels are that became floats."""
    if y.dtype.kind != "f":
        return "classification"
    whole = y.ndim == 1 and (y == np.trunc(y)).all()
    return NAMES[not (whole and len(np.unique(y)) <= _MOST_FLOAT_CLASSES)]


def _classification(y: Array, title: str) -> Task:
    if y.ndim != 1:
        raise ValueError(
            f"{title}: expected labels (n,), got shape {y.shape}; the labels of rows of 0 and 1 "
            "are y.argmax(axis=1), and --task regression predicts several numbers"
        )
    if labels.label_kind(y, title) == "number":
        y = labels.whole_numbers(y, title)
    classes = np.unique(y)
    if len(classes) < 2:
        raise ValueError(f"{title}: expected at least 2 classes, got {classes[0]} in every row")
    return Task(y, classes)


def _regression(y: Array, dtype: str, title: str) -> Task:
    if y.dtype.kind not in "iufb" or y.ndim > 2 or y.size == 0:
        raise ValueError(
            f"{title}: expected numbers (n,) or (n, outputs) for a regression, got an array of "
            f"shape {y.shape} and dtype {y.dtype}"
        )
    data.check_finite(y.reshape(len(y), -1), np.dtype(dtype), title)
    return Task(y.astype(np.float64))
