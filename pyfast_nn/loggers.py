"""Callbacks that write the records of epochs down for other programs."""

import io
import os
from collections.abc import Iterable
from typing import Any

from . import atomic, checks
from .callbacks import Callback
from .history import History
from .models import Sequential
from .typing import Path

_FLUSH_SECONDS = 2  # after which TensorBoard sees what was written


class CSVLogger(Callback):
    """Writes the history of a fit to a file of comma-separated values, a row for each epoch.

    The first line names the columns: ``epoch``, the number of epochs done, and what the history
    holds. A row is there as soon as all callbacks have been told of its epoch.

    Parameters
    ----------
    path : str or os.PathLike
        The file, which each fit begins anew. One that resumes begins with the rows of the epochs
        that its checkpoint knows, so that each epoch stands there once. Folders that are missing
        are made.

    Raises
    ------
    TypeError, ValueError
        If `path` is none.
    OSError
        By `fit`, if the file cannot be written.

    Notes
    -----
    Numbers have all of their digits; one that an epoch does not have is ``nan``, as in the history.
    Where a column comes with a later epoch, the file is written anew, as a whole or not at all.

    Examples
    --------
    >>> logger = fnn.CSVLogger("log.csv")
    >>> history = model.fit(X, y, loss="cross_entropy", epochs=3, callbacks=[logger])
    >>> with open("log.csv") as file:
    ...     print(file.readline())
    epoch,loss,accuracy,lr,seconds
    """

    def __init__(self, path: Path) -> None:
        self._path = checks.path(path)
        self._columns: list[str] = []  # of the file

    def on_fit_begin(self, model: Sequential) -> None:
        """Begin the file."""
        os.makedirs(os.path.dirname(self._path) or ".", exist_ok=True)
        self._write(model.history)

    def on_epoch_recorded(self, model: Sequential, epoch: int, record: dict[str, Any]) -> None:
        """Add a row."""
        history = model.history
        if self._columns != _columns(history):
            self._write(history)
            return
        with open(self._path, "a", encoding="utf-8", newline="") as file:
            file.write(_lines([_row(history, history.epochs - 1)]))

    def _write(self, history: History) -> None:
        """Write the whole file."""
        self._columns = _columns(history)
        rows = (_row(history, epoch) for epoch in range(history.epochs))
        atomic.replace(self._path, _lines([self._columns, *rows]).encode())


def _columns(history: History) -> list[str]:
    return ["epoch", *history]


def _row(history: History, epoch: int) -> list[Any]:
    return [epoch + 1, *(column[epoch] for column in history.values())]


def _lines(rows: Iterable[list[Any]]) -> str:
    import csv

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


class TensorBoard(Callback):
    """Writes the history of a fit as scalars that TensorBoard shows; ``tensorboard --logdir runs``.

    All numbers of the record by their names there (``loss``, ``val_loss``, ...), over the number of
    epochs done. Needs tensorboardX, the extra ``tensorboard``.

    Parameters
    ----------
    log_dir : str or os.PathLike
        The folder of this run, which is made if it is missing. A fit that resumes begins there with
        the epochs that its checkpoint knows, in place of all that was written before.

    Raises
    ------
    ImportError
        If tensorboardX is not there.
    TypeError, ValueError
        If `log_dir` is none.
    OSError
        By `fit`, if the files cannot be written.

    Examples
    --------
    >>> import tensorboardX  # is there
    >>> board = fnn.TensorBoard("runs/first")
    >>> history = model.fit(X, y, epochs=3, callbacks=[board])
    """

    def __init__(self, log_dir: Path) -> None:
        self._log_dir = checks.path(log_dir, "log_dir")
        _writer_class()  # not there: said before a training
        self._writer: Any = None  # while a fit runs

    def on_fit_begin(self, model: Sequential) -> None:
        """Begin a file in the folder."""
        done = model.history.epochs
        # Killed, its thread has not written all: so what the history has is written again.
        purge = {"purge_step": 0} if done else {}
        self._writer = _writer_class()(self._log_dir, flush_secs=_FLUSH_SECONDS, **purge)
        for epoch in range(done):
            self._write(model.history, epoch)

    def on_epoch_recorded(self, model: Sequential, epoch: int, record: dict[str, Any]) -> None:
        """Write the numbers of an epoch."""
        self._write(model.history, epoch)

    def _write(self, history: History, epoch: int) -> None:
        for name, column in history.items():
            value = column[epoch]
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                self._writer.add_scalar(name, value, epoch + 1)

    def on_fit_end(self, model: Sequential, history: History) -> None:
        """Close the file."""
        self._writer, writer = None, self._writer
        if writer is not None:
            writer.close()

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_writer": None}


def _writer_class() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ImportError(
            f"TensorBoard: needs tensorboardX: pip install 'pyfast-nn[tensorboard]' ({error})",
            name=error.name,
        ) from None
    return SummaryWriter
