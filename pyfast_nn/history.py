"""What a fit did, epoch by epoch."""

import collections
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from . import checks, pictures
from .guidance import Guided, near

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOT_SCORES = ("lr", "seconds")  # keys of things that are neither better nor worse
_SHOWN = 6  # scores in one line
_CURVES = (
    ("", "training", "C0"),
    ("train_", "training, after the epoch", "C2"),
    ("val_", "validation", "C1"),
)


class History(Guided, dict[str, list[float]]):
    """A dict of lists with one value per epoch: ``history["loss"]``.

    Keys are ``loss``, ``lr`` and ``seconds``; for classification ``accuracy``; with validation data
    ``val_loss``, ``val_accuracy`` and ``val_`` with the name of each metric; under
    ``train_metrics=True`` the same with ``train_``; and what callbacks
    added to the records, NaN for epochs without. Before the first epoch is done there are none.
    Values are Python's numbers, so that ``json.dumps(history)`` and ``pandas.DataFrame(history)``
    take it as it is.

    * ``loss`` and ``accuracy`` are means over the examples of the epoch as they were trained on,
      while the parameters changed, weighted if the examples are; all ``val_...`` and ``train_...``
      are taken after it.
    * ``lr`` is the learning rate of the epoch's last step.
    * ``seconds`` is the time that training took, without what is evaluated after it.

    Examples
    --------
    >>> history = model.fit(X, y, loss="cross_entropy", epochs=3)
    >>> len(history["loss"])
    3
    >>> figure = history.plot()
    >>> figure.savefig("curves.png")
    """

    def __init__(self) -> None:
        super().__init__()
        self._best_epochs: list[int | None] = []  # as known after each epoch
        self._stopped_early = False

    def _advice(self, name: str) -> str:
        if name == "history":
            return '; it is a dict of lists itself: history["loss"]'
        return f'; write history["{name}"]' if name in self else super()._advice(name)

    def __missing__(self, key: str) -> list[float]:
        raise KeyError(f"history: expected one of {', '.join(self)}, got {key!r}{near(key, self)}")

    @property
    def epochs(self) -> int:
        """Number of epochs done (int)."""
        return len(self._best_epochs)

    @property
    def best_epoch(self) -> int | None:
        """With early stopping the epoch, from 0, whose parameters the model has (int or None)."""
        return self._best_epochs[-1] if self._best_epochs else None

    @property
    def stopped_early(self) -> bool:
        """Whether early stopping or a callback ended the fit before its last epoch (bool)."""
        return self._stopped_early

    def _scores(self) -> list[str]:
        """Return the keys of columns with a number for each epoch, but those that tell no score."""
        return [
            key
            for key, column in self.items()
            if key not in NOT_SCORES and len(column) == self.epochs and _are_numbers(column)
        ]

    def plot(self) -> "Figure":
        """Draw the learning curves: a picture each of loss, accuracy and all else that is recorded.

        What was taken of the validation data is beside what is of the training, and the best epoch
        is marked. Needs Matplotlib, the extra ``plot``.

        Returns
        -------
        matplotlib.figure.Figure
            Which a notebook shows; ``.savefig("curves.png")`` writes it.

        Raises
        ------
        ImportError
            If Matplotlib is not there.
        ValueError
            If there is no epoch to draw.
        """
        keys = self._scores()
        names = list(dict.fromkeys(key.removeprefix("val_").removeprefix("train_") for key in keys))
        if not self.epochs or not names:
            raise ValueError(f"plot: expected an epoch of numbers to draw, got {self!r}")
        columns = min(len(names), 3)
        rows = -(-len(names) // columns)
        figure = pictures.new_figure(4.5 * columns, 4 * rows)
        epochs = range(1, self.epochs + 1)
        for place, name in enumerate(names):
            axes = figure.add_subplot(rows, columns, place + 1)
            for prefix, label, color in _CURVES:
                key = prefix + name
                if key in keys:
                    dots = len(epochs) < 40 or any(map(math.isnan, self[key]))  # beside gaps
                    marker = "." if dots else ""
                    axes.plot(epochs, self[key], label=label, color=color, marker=marker)
            if self.best_epoch is not None:
                axes.axvline(self.best_epoch + 1, color="gray", linewidth=0.8, label="best epoch")
            axes.set(xlabel="epoch", ylabel=name)
            axes.locator_params(axis="x", integer=True)
            axes.grid(alpha=0.3)
            axes.legend()
        return figure

    def __repr__(self) -> str:
        """Of the epoch whose parameters the model has: the best, or the last."""
        parts = [f"{self.epochs} epoch{'s' * (self.epochs != 1)}"]
        if self.stopped_early:
            parts.append("stopped early")
        if self.best_epoch is not None:
            parts.append(f"best_epoch={self.best_epoch}")
        if self.epochs:
            epoch = self.epochs - 1 if self.best_epoch is None else self.best_epoch
            scores = self._scores()
            parts += [f"{key} {self[key][epoch]:.4g}" for key in scores[:_SHOWN]]
            parts += ["..."] * (len(scores) > _SHOWN)
        return f"History({', '.join(parts)})"


def add_record(history: History, record: Mapping[str, Any], best_epoch: int | None = None) -> None:
    """Add the record of an epoch."""
    _add_columns(history, record)
    columns: list[list[Any]] = [*history.values(), history._best_epochs]
    values = [_plain(record.get(key, math.nan)) for key in history]
    # One call, so that an interrupt leaves no columns of different lengths.
    collections.deque(map(list.append, columns, [*values, best_epoch]), maxlen=0)


def amend_record(history: History, record: Mapping[str, Any]) -> None:
    """Take what has been added to the record of the last epoch."""
    _add_columns(history, record)
    for key, value in record.items():
        history[key][-1] = _plain(value)


def set_stopped_early(history: History, stopped: bool) -> None:
    """Say whether the fit ended before its last epoch."""
    history._stopped_early = stopped


def _add_columns(history: History, keys: Iterable[str]) -> None:
    history.update({key: [math.nan] * history.epochs for key in keys if key not in history})


def to_config(history: History | None) -> dict[str, Any] | None:
    """Return a history as plain values, for the model file."""
    if history is None:
        return None
    for key, column in history.items():
        if not (isinstance(key, str) and isinstance(column, list) and is_json(column)):
            raise ValueError(
                f"history: expected lists of what JSON can hold, but history[{key!r}] is none; "
                f"before saving, del model.history[{key!r}]"
            )
    return {
        "columns": dict(history),
        "best_epochs": history._best_epochs,
        "stopped_early": history._stopped_early,
    }


def from_config(description: Any) -> History | None:
    """Return the history that `to_config` described; TypeError or ValueError on anything else."""
    if description is None:
        return None
    fields = {"columns", "best_epochs", "stopped_early"}
    if not isinstance(description, dict) or set(description) != fields:
        raise TypeError(f"history: expected None or a dict of {', '.join(sorted(fields))}")
    columns, best = description["columns"], description["best_epochs"]
    if not isinstance(columns, dict) or not isinstance(best, list):
        raise TypeError("history: expected a dict of columns and a list of best_epochs")
    if any(not isinstance(column, list) or len(column) != len(best) for column in columns.values()):
        raise ValueError(f"history: expected columns of {len(best)} epochs")
    history = History()
    history.update(columns)
    history._best_epochs = [
        None if epoch is None else checks.integer(epoch, "best_epochs", 0, i)
        for i, epoch in enumerate(best)
    ]
    history._stopped_early = checks.boolean(description["stopped_early"], "stopped_early")
    return history


def is_json(value: Any) -> bool:
    """Return whether JSON can hold a value, and gives it back as it was."""
    if isinstance(value, list):
        return all(map(is_json, value))
    if isinstance(value, dict):
        return all(isinstance(k, str) and is_json(v) for k, v in value.items())
    return value is None or isinstance(value, (bool, int, float, str))


def _plain(value: Any) -> Any:
    """Return a value of NumPy, or of a library like it, as Python's own."""
    return value.tolist() if hasattr(value, "tolist") else value


def _are_numbers(column: list[Any]) -> bool:
    return all(isinstance(value, (int, float)) for value in column)
