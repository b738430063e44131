"""Examples side by side with those of their class."""

from typing import NamedTuple

import numpy as np

from ..typing import Array, Floats, Integers

BLOCK = 256  # rows of a matrix of distances that are looked at together


class Grouped(NamedTuple):
    """Rows in the order of their classes.

    Attributes
    ----------
    order : ndarray (n,)
        The rows as they came: ``rows[order]`` are in the order of their classes.
    classes : list of slice
        Those of each class among the ordered rows.
    """

    order: Integers
    classes: list[slice]

    def blocks(self) -> list[tuple[slice, slice]]:
        """Return runs of at most `BLOCK` rows of one class, each with the rows of the class."""
        return [
            (slice(first, min(first + BLOCK, members.stop)), members)
            for members in self.classes
            for first in range(members.start, members.stop, BLOCK)
        ]


def grouped(y: Array) -> Grouped:
    """Return where the rows of each label stand."""
    _, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    stops = np.cumsum(counts)
    classes = [slice(stop - count, stop) for stop, count in zip(stops, counts, strict=True)]
    return Grouped(np.argsort(codes, kind="stable"), classes)


def squares(rows: Floats) -> Floats:
    """Return the squared length of each row."""
    lengths: Floats = np.einsum("ij,ij->i", rows, rows)
    return lengths
