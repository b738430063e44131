"""Orders of rows for an epoch, which bring rows that belong together into one batch.

A batch is so many consecutive rows of an order. Each order is a function of a seed and of the
number of the epoch.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from . import _core
from .data import Examples, group_numbers, rows_of
from .typing import Array, Integers

# Random streams: below, the initial parameters; from here on, the row orders; from there on, the
# orders of classes; the last, splits.
_ROWS, _CLASSES = 2**32, 2**33

Order: TypeAlias = Callable[[int, int], Integers]  # of (seed, epoch)

_BATCH_SIZE = 128


def usual_batch_size(together: int = 1) -> int:
    """Return how many rows a batch has unless it is said, of which so many stay side by side."""
    # Of groups two: rows of one are compared with those of another.
    return max(_BATCH_SIZE // together, 2 if together > 1 else 1) * together


def shuffled(n: int) -> Order:
    """Return the order of n rows in which each comes once, at random."""
    return lambda seed, epoch: _core.permutation(seed, _ROWS + epoch, n)


def as_they_come(n: int) -> Order:
    """Return the order of n rows as they are."""
    return lambda seed, epoch: np.arange(n)


def size_of_groups(groups: Array) -> int:
    """Return how many rows each group has; ValueError if these are not two or more, and as many."""
    _, sizes = group_numbers(groups, "groups")
    if (sizes != sizes[0]).any() or sizes[0] < 2:
        raise ValueError(
            "groups: expected two rows or more in each, and as many in all, got from "
            f"{sizes.min()} to {sizes.max()}"
        )
    return int(sizes[0])


def by_groups(groups: Array, batch_size: int, shuffle: bool) -> Order:
    """Return the order that keeps the rows of a group side by side, as they come.

    ValueError if these may be cut by the end of a batch.
    """
    size, (numbers, _) = size_of_groups(groups), group_numbers(groups, "groups")
    if batch_size % size:
        raise ValueError(
            f"batch_size: expected a multiple of {size}, as so many rows of a group stay together, "
            f"got {batch_size}"
        )
    rows = np.argsort(numbers, kind="stable").reshape(-1, size)
    if not shuffle:
        return lambda seed, epoch: rows.ravel()
    return lambda seed, epoch: rows[_core.permutation(seed, _ROWS + epoch, len(rows))].ravel()


def by_classes(labels: Integers, size: int, batch_size: int) -> Order:
    """Return the order in which so many rows of one class follow each other, then of another.

    As many rows as there are, but each class as often as the others: rows of small classes come
    more than once, of large ones not each in every epoch. ValueError if that is impossible.
    """
    if batch_size % size:
        raise ValueError(f"batch_size: expected a multiple of per_class, {size}, got {batch_size}")
    numbers, counts = group_numbers(labels, "y")
    n, classes = len(labels), len(counts)
    if counts.min() < size:
        raise ValueError(
            f"per_class: expected at most {counts.min()}, as so many rows has the smallest class, "
            f"got {size}"
        )
    starts = np.cumsum(counts) - counts
    rounds = -(-n // (size * classes))  # of all classes

    def order(seed: int, epoch: int) -> Integers:
        rows = _core.permutation(seed, _ROWS + epoch, n)
        rows = rows[np.argsort(numbers[rows], kind="stable")]  # class by class
        keys = _core.permutation(seed, _CLASSES + epoch, rounds * classes).reshape(rounds, classes)
        own = np.argsort(keys, axis=1)[
            ..., None
        ]  # in each round the classes in an order of its own
        place = np.arange(rounds)[:, None, None] * size + np.arange(size)
        result: Integers = rows[starts[own] + place % counts[own]].ravel()[:n]
        return result

    return order


def check_partners(own: Examples, rows: Integers, batch_size: int, grouped: bool) -> None:
    """Raise ValueError if few rows of an epoch meet others with their label in their batch."""
    batches = np.repeat(np.arange(len(rows)) // batch_size, own.positions)
    places = batches * (own.targets.max() + 1) + rows_of(own.targets, rows, own.positions)
    if own.weights is not None:
        places = places[rows_of(own.weights, rows, own.positions) > 0]
    _, met, sizes = np.unique(places, return_inverse=True, return_counts=True)
    if np.mean(sizes[met] - 1) < 0.5:
        wanted = "groups=y, or per_class=2 say"
        if grouped or own.positions > 1:
            wanted = "rows that share a label in each"
        came = "others" if grouped else "None"
        raise ValueError(
            f"groups: expected {wanted}, as of {len(rows)} rows in batches of {batch_size} few "
            f"meet another with their label, got {came}"
        )
