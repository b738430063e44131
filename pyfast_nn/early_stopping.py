"""Early stopping: the best epoch of a fit, and the values that the model had then."""

import math
from typing import Any

from . import checks
from .engine import Engine
from .history import History, add_record
from .metrics import larger_is_better
from .modelfile import Part
from .optim.saved import check_names
from .typing import Array

_VECTORS = ("parameters", "state")  # that it keeps, by their names in a file


class EarlyStopping:
    """Writes the history; with `patience` it finds the best epoch and restores its values."""

    def __init__(
        self,
        engine: Engine,
        history: History,
        monitor: str,
        patience: int | None,
        min_delta: float,
    ) -> None:
        self._engine, self._history, self._monitor = engine, history, monitor
        self._patience, self._min_delta = patience, min_delta
        self._best = -math.inf  # value of the monitor so far, signed so that larger is better
        self._level = -math.inf  # from which an improvement counts
        self._waited = 0  # epochs since then
        self._kept: tuple[int, list[Array]] | None = (
            None  # the best epoch, and copies of what the model had learned
        )

    @property
    def is_over(self) -> bool:
        """Whether the patience has ended (bool)."""
        return self._patience is not None and self._waited >= self._patience

    def append(self, record: dict[str, Any]) -> None:
        """Add the record of an epoch to the history."""
        history, epoch, best = self._history, self._history.epochs, self._history.best_epoch
        if self._patience is None:
            add_record(history, record)
            return
        value = record[self._monitor]
        if not larger_is_better(self._monitor):
            value = -value
        if value > self._best or (best is None and not math.isnan(value)):
            best, self._best = epoch, value
        self._waited += 1
        if value > self._level + self._min_delta:
            self._level, self._waited = value, 0
        add_record(history, record, best)
        # If Ctrl-C comes here, the model has the values of the best epoch: nothing to restore.
        if best == epoch:
            self._kept = epoch, [vector.copy() for vector in self._engine.vectors()]

    def state(self) -> Part:
        """Return what it has counted, and the vectors that it has kept, for a file."""
        if self._patience is None:
            return Part()
        kept, vectors = (None, []) if self._kept is None else self._kept
        counts = {
            "monitor": self._monitor,
            "best": float(self._best),
            "level": float(self._level),
            "waited": self._waited,
            "kept": kept,
        }
        return Part(counts, dict(zip(_VECTORS, vectors, strict=False)))

    def go_on_from(self, part: Part) -> None:
        """Go on from what `state` gave; TypeError or ValueError if it did not."""
        if self._patience is None or part.description is None:
            return
        names = ("monitor", "best", "level", "waited", "kept")
        counts = check_names(part.description, names, "stopping")
        if counts["monitor"] != self._monitor:
            raise ValueError(
                f"monitor: expected {counts['monitor']!r}, whose best value it has, got "
                f"{self._monitor!r}"
            )
        waited = checks.integer(counts["waited"], "waited", 0, self._history.epochs)
        if not all(isinstance(counts[name], float) for name in ("best", "level")):
            raise TypeError("stopping: expected best and level to be numbers")
        if (kept := counts["kept"]) is not None:
            kept = checks.integer(kept, "kept", 0, self._history.epochs - 1)
            mine = self._engine.vectors()
            vectors = [part.arrays[name] for name in _VECTORS if name in part.arrays]
            if [(v.shape, v.dtype) for v in vectors] != [(v.shape, v.dtype) for v in mine]:
                raise ValueError("stopping: expected values of the parameters and the state")
            self._kept = kept, vectors
        self._best, self._level, self._waited = counts["best"], counts["level"], waited

    def restore(self) -> None:
        """Give the model the values of the best epoch."""
        if self._kept is not None and self._kept[0] == self._history.best_epoch:
            for vector, kept in zip(self._engine.vectors(), self._kept[1], strict=True):
                vector[:] = kept
        self._kept = None
