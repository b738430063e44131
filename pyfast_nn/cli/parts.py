"""A table to learn from, and its rows in parts."""

from typing import TYPE_CHECKING, NamedTuple

from ..typing import Array
from . import tasks

if TYPE_CHECKING:
    import pyarrow


class Parts(NamedTuple):
    """A table to learn from.

    Attributes
    ----------
    X : pyarrow.Table
        The columns that are learned from.
    task : tasks.Task
    groups : ndarray (n,) or None
    rows : dict of ndarray
        ``"train"`` and so on, of X.
    numbers : ndarray (n,)
        Where each row of X stands in the file.
    """

    X: "pyarrow.Table"
    task: tasks.Task
    groups: Array | None
    rows: dict[str, Array]
    numbers: Array

    def of(self, name: str) -> "pyarrow.Table":
        """Return those rows of X."""
        return self.X.take(self.rows[name])
