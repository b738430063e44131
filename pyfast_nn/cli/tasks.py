"""What is to be learned, labels or numbers: the targets in the user's file decide, or `--task`."""

from typing import NamedTuple

import numpy as np

from .. import data, labels
from ..typing import Array

NAMES = ("classification", "regression")
_MOST_FLOAT_CLASSES = 20
_MOST_CLASSES_UNSAID = 50


class Task(NamedTuple):
    """A classification with its classes, or a regression."""

    y: Array  # (n,), or (n, outputs) of a regression
    classes: Array | None = None  # in order

    @property
    def name(self) -> str:
        return NAMES[self.classes is None]

    @property
    def loss(self) -> str:
        return "mse" if self.classes is None else "cross_entropy"

    @property
    def out_features(self) -> int:
        if self.classes is not None:
            return len(self.classes)
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
    return _classification(y) if name == "classification" else _regression(y, dtype)


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


def _classification(y: Array) -> Task:
    if y.ndim != 1:
        raise ValueError(
            f"y: expected labels (n,), got shape {y.shape}; the labels of rows of 0 and 1 are "
            "y.argmax(axis=1), and --task regression predicts several numbers"
        )
    if labels.label_kind(y, "y") == "number":
        y = labels.whole_numbers(y, "y")
    classes = np.unique(y)
    if len(classes) < 2:
        raise ValueError(f"y: expected at least 2 classes, got {classes[0]} in every row")
    return Task(y, classes)


def _regression(y: Array, dtype: str) -> Task:
    if y.dtype.kind not in "iufb" or y.ndim > 2 or y.size == 0:
        raise ValueError(
            "y: expected numbers (n,) or (n, outputs) for a regression, got an array of shape "
            f"{y.shape} and dtype {y.dtype}"
        )
    data.check_finite(y.reshape(len(y), -1), np.dtype(dtype), "y")
    return Task(y.astype(np.float64))
