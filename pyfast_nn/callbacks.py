"""What is told of a fit while it runs."""

import contextlib
import math
import os
import re
import string
from typing import Any, Literal

from . import atomic, checkpoint, checks
from .guidance import Guided, written
from .history import History
from .metrics import larger_is_better
from .models import Sequential, engine_of
from .optim import Optimizer
from .optim.base import trains
from .optim.saved import check_names
from .typing import Integer, Path, Real


class Callback(Guided):
    """What `Sequential.fit` tells of itself; a callback has any of these methods.

    To derive from this class is convenient, and not needed.

    One that counts may have `state_dict`, which returns that as what JSON can hold (or None, if
    there is nothing), and `load_state_dict`, which takes it: then `ModelCheckpoint` saves it, and a
    fit that resumes gives it back before `on_fit_begin`.

    One with a method ``on_step_end(model, step, record)`` is told of each step, too: its number
    within the epoch, from 0, and ``loss``, ``accuracy`` and ``lr`` of its rows, as they were before
    the update. It is not defined here: only where somebody asks for it are steps made one by one,
    which takes some microseconds each, and gives the same bits. The model may be used and changed
    there as well; what is assigned to the optimizer holds from the next step on.

    Examples
    --------
    >>> class Norms(fnn.Callback):
    ...     def on_epoch_end(self, model, epoch, record):
    ...         record["norm"] = np.linalg.norm(model.parameters)
    >>> history = model.fit(X, y, loss="cross_entropy", epochs=3, callbacks=[Norms()])
    >>> len(history["norm"])
    3
    """

    def on_fit_begin(self, model: Sequential) -> None:
        """Called when all arguments are checked and the parameters exist.

        Parameters
        ----------
        model : Sequential
            May be used and changed here and in all that follows, but not fitted.
        """

    def on_epoch_end(self, model: Sequential, epoch: int, record: dict[str, Any]) -> bool | None:
        """Called after each epoch and its validation.

        Parameters
        ----------
        model : Sequential
        epoch : int
            0 for the first of this fit; one that resumes goes on counting.
        record : dict
            What the history holds of this epoch; what is added to it is part of the history.

        Returns
        -------
        bool or None
            True ends the fit after this epoch.
        """

    def on_epoch_recorded(self, model: Sequential, epoch: int, record: dict[str, Any]) -> None:
        """Called when all callbacks have been told of the end of an epoch: to write things down.

        Parameters
        ----------
        model : Sequential
        epoch : int
            As for `on_epoch_end`.
        record : dict
            With all that callbacks have added.
        """

    def on_fit_end(self, model: Sequential, history: History) -> None:
        """Called however the fit ends: also by Ctrl-C or an exception, after `on_fit_begin`.

        Parameters
        ----------
        model : Sequential
            With early stopping its parameters are those of the best epoch by now.
        history : History
        """


class ReduceLROnPlateau(Callback):
    """Lowers the learning rate when a quantity no longer improves.

    As in ``torch.optim.lr_scheduler.ReduceLROnPlateau``: an epoch is bad if `monitor` is not better
    than the best so far by `threshold`. After more than `patience` bad epochs in a row the rate is
    multiplied by `factor`; then `cooldown` epochs do not count as bad.

    Parameters
    ----------
    optimizer : pyfast_nn.optim.Optimizer
        The one that the fit is given; its ``lr``, and those of its groups, are numbers, and change.
    monitor : str
        ``"loss"``, ``"val_loss"``, ``"val_accuracy"``, ... of the history. Whether less or more is
        better (torch's ``mode``) follows from the name, as for the `monitor` of `Sequential.fit`.
    factor : float
        At least 0 and below 1.
    patience : int
        At least 0.
    threshold : float
        At least 0.
    threshold_mode : {"rel", "abs"}
        What is better than ``best``, when less is: less than ``best - threshold * abs(best)`` or
        ``best - threshold``; when more is, more than the same with plus.
    cooldown : int
        At least 0.
    min_lr : float
        At least 0; the rate does not fall below it.

    Raises
    ------
    TypeError, ValueError
        If an argument is impossible; at the end of an epoch, if `monitor` is not in its record.

    Notes
    -----
    NaN is not better than anything. torch's relative threshold is ``best * (1 - threshold)``, which
    is worse than a negative best, so that standing still counts as better for ever. torch leaves
    the rate alone where it would change by 1e-8 or less (its ``eps``). A second fit with the same
    object goes on with its best and its counts.

    Examples
    --------
    >>> sgd = fnn.optim.SGD(lr=0.1)
    >>> plateau = fnn.ReduceLROnPlateau(sgd, factor=0.5, patience=2)
    >>> history = model.fit(X, y, loss="cross_entropy", optimizer=sgd, epochs=20,
    ...                     validation_data=(Xv, yv), callbacks=[plateau])

    In a loop of one's own it is told of each epoch by `step`:

    >>> sgd = fnn.optim.SGD(lr=0.1)
    >>> plateau = fnn.ReduceLROnPlateau(sgd, factor=0.5, patience=2)
    >>> for loss in [3.0, 2.0, 2.0, 2.0, 2.0]:
    ...     plateau.step(loss)
    >>> sgd.lr
    0.05
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        monitor: str = "val_loss",
        factor: Real = 0.1,
        patience: Integer = 10,
        threshold: Real = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: Integer = 0,
        min_lr: Real = 0.0,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"optimizer: expected an optimizer, got {checks.describe(optimizer)}"
                f"{written(optimizer)}"
            )
        if not isinstance(monitor, str):
            raise TypeError(f"monitor: expected a name, got {checks.describe(monitor)}")
        self._optimizer = optimizer
        self._monitor = monitor
        self._sign = 1 if larger_is_better(monitor) else -1
        self._factor = checks.real(factor, "factor", minimum=0, below=1)
        self._patience = checks.integer(patience, "patience", minimum=0)
        self._threshold = checks.real(threshold, "threshold", minimum=0)
        self._relative = checks.choice(threshold_mode, "threshold_mode", ("rel", "abs")) == "rel"
        self._cooldown = checks.integer(cooldown, "cooldown", minimum=0)
        self._min_lr = checks.real(min_lr, "min_lr", minimum=0)
        self._level: Any = -self._sign * math.inf  # which a better value is beyond
        self._bad = 0  # epochs in a row
        self._rest = 0  # epochs of the cooldown
        self._check_rates()

    def _check_rates(self) -> list[float]:
        """Return the learning rates of the optimizer and its groups, all of them floats."""
        rates = [self._optimizer.lr, *(group["lr"] for group in self._optimizer.param_groups)]
        for lr in rates:
            if not isinstance(lr, float):
                raise TypeError(
                    "optimizer: expected one whose lr is a number, which can be lowered, "
                    f"got lr={checks.describe(lr)}"
                )
        return rates

    def _lower_rates(self) -> None:
        rates = [max(lr * self._factor, min(self._min_lr, lr)) for lr in self._check_rates()]
        self._optimizer.lr = rates[0]
        for group, lr in zip(self._optimizer.param_groups, rates[1:], strict=True):
            if group["lr"] != lr:  # it has one of its own
                group["lr"] = lr

    def step(self, value: Real) -> None:
        """Take notice of what `monitor` was after an epoch.

        Parameters
        ----------
        value : float
        """
        if self._sign * value > self._sign * self._level:
            if self._relative:  # value + sign * threshold * |value|
                self._level = value * (1 + self._sign * math.copysign(self._threshold, value))
            else:
                self._level = value + self._sign * self._threshold
            self._bad = 0
        else:
            self._bad += 1
        if self._rest > 0:
            self._rest, self._bad = self._rest - 1, 0
        if self._bad > self._patience:
            self._lower_rates()
            self._rest, self._bad = self._cooldown, 0

    def on_fit_begin(self, model: Sequential) -> None:
        """Refuse a fit with another optimizer."""
        if not trains(self._optimizer, engine_of(model)):
            raise ValueError(
                "optimizer: expected that of this fit, got another; make ReduceLROnPlateau with it"
            )

    def on_epoch_end(self, model: Sequential, epoch: int, record: dict[str, Any]) -> None:
        """Call `step` with what the record holds."""
        if self._monitor not in record:
            raise ValueError(f"monitor: expected one of {', '.join(record)}; got {self._monitor!r}")
        self.step(record[self._monitor])

    def state_dict(self) -> dict[str, Any]:
        """Return the best so far and the counts, for a checkpoint.

        Returns
        -------
        dict
        """
        return {"level": float(self._level), "bad": self._bad, "rest": self._rest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave.

        Parameters
        ----------
        state : dict
        """
        check_names(state, ("level", "bad", "rest"), "state_dict")
        if not isinstance(state["level"], float):
            raise TypeError(f"level: expected a float, got {checks.describe(state['level'])}")
        bad, rest = (checks.integer(state[name], name, minimum=0) for name in ("bad", "rest"))
        self._level, self._bad, self._rest = state["level"], bad, rest


class ModelCheckpoint(Callback):
    """Saves the model, and all that the fit needs to go on from there: the last, the best, some.

    The file is one of `Sequential.save`, with the optimizer, that `load` reads; it also holds what
    early stopping and the callbacks have counted. ``fit(..., resume=path)`` goes on from it, and
    ends with the bits of a run that was never interrupted.

    Parameters
    ----------
    path : str or os.PathLike
        Where to: replaced at each save, as a whole or not at all. Or a template with fields as of
        ``str.format``: ``{epoch}`` is the number of epochs done, others are names of the record, as
        in ``"runs/{epoch:03d}-{val_loss:.4f}.safetensors"``. Folders that are missing are made.
    monitor : str, optional
        ``"loss"``, ``"val_loss"``, ``"val_accuracy"``, ... of the history: only an epoch in which
        that is better than at all saves before is saved. Whether less or more is better follows
        from the name, as for the `monitor` of `Sequential.fit`. None: whatever it is.
    every : int
        Save after this many epochs, and again after as many; at least 1.
    keep : int, optional
        With a template: how many files there are at most, the last ones that were saved; older ones
        are removed. Only files of this callback are. None keeps all.

    Raises
    ------
    TypeError, ValueError
        If an argument is impossible; by `fit`, if no file can hold the state of the optimizer or of
        a callback; at the end of an epoch, if `monitor` or a field is not in its record.
    OSError
        By `fit`, if a file cannot be written.

    Notes
    -----
    Each save waits until the disk has it. Callbacks are saved by their `state_dict`, where they
    have one, in any order of the list. Of several `ModelCheckpoint` let the last in the list be the
    one to resume from: it is written when the files of the others are there.

    The model in the file is that of its epoch. What early stopping keeps for the end of the fit is
    beside it, and ``monitor="val_loss"`` saves that as a model.

    Examples
    --------
    This script may be killed at any moment, and started again:

    >>> path = "run.safetensors"
    >>> history = model.fit(X, y, loss="cross_entropy", epochs=3, resume=path,
    ...                     callbacks=[fnn.ModelCheckpoint(path)])

    The best model, and every tenth epoch, of which three files remain:

    >>> best = fnn.ModelCheckpoint("best.safetensors", monitor="val_loss")
    >>> some = fnn.ModelCheckpoint("runs/{epoch:03d}.safetensors", every=10, keep=3)
    >>> history = model.fit(X, y, validation_data=(Xv, yv), epochs=40, callbacks=[best, some])
    >>> import os
    >>> sorted(os.listdir("runs"))
    ['020.safetensors', '030.safetensors', '040.safetensors']
    """

    def __init__(
        self,
        path: Path,
        *,
        monitor: str | None = None,
        every: Integer = 1,
        keep: Integer | None = None,
    ) -> None:
        self._path = checks.path(path)
        self._is_template = _has_fields(self._path)
        self._pattern = _pattern(self._path)
        if monitor is not None and not isinstance(monitor, str):
            raise TypeError(f"monitor: expected a name, got {checks.describe(monitor)}")
        self._monitor = monitor
        self._sign = -1 if monitor is None or not larger_is_better(monitor) else 1
        self._every = checks.integer(every, "every", minimum=1)
        self._keep = None if keep is None else checks.integer(keep, "keep", minimum=1)
        if keep is not None and not self._is_template:
            raise ValueError(
                "keep: expected None with one file, which each save replaces; a template such as "
                f"'runs/{{epoch}}.safetensors' has several, got {self._path!r}"
            )
        self._best: float | None = None  # of the monitor at all saves
        self._files: list[str] = []  # which are there, as far as we know

    def on_fit_begin(self, model: Sequential) -> None:
        """Refuse a fit that no file can hold, and a path that cannot be a file."""
        checkpoint.check(engine_of(model))
        if not self._is_template:
            atomic.target(self._file(0, {}))
        self._prune()

    def on_epoch_recorded(self, model: Sequential, epoch: int, record: dict[str, Any]) -> None:
        """Save, if it is due."""
        if (epoch + 1) % self._every != 0 or not self._is_better(record):
            return
        path = self._file(epoch + 1, record)
        self._files = [*(file for file in self._files if file != path), path]
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        checkpoint.save(engine_of(model), path)
        self._prune()

    def _prune(self) -> None:
        """Remove what is too old; a kill on the way leaves what the next resume removes."""
        older = [] if self._keep is None else self._files[: -self._keep]
        for file in older:
            with contextlib.suppress(FileNotFoundError):
                os.remove(file)
        self._files = self._files[len(older) :]

    def _is_better(self, record: dict[str, Any]) -> bool:
        """Return whether the record is that of a new best, which it is from now on."""
        if self._monitor is None:
            return True
        if self._monitor not in record:
            raise ValueError(f"monitor: expected one of {', '.join(record)}; got {self._monitor!r}")
        value = float(record[self._monitor])
        if math.isnan(value) or (
            self._best is not None and self._sign * value <= self._sign * self._best
        ):
            return False
        self._best = value
        return True

    def _file(self, epoch: int, record: dict[str, Any]) -> str:
        if not self._is_template:
            return self._path.format()
        values = record | {"epoch": epoch}
        try:
            return self._path.format(**values)
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise ValueError(
                f"path: expected a template whose fields are of {', '.join(values)}, got "
                f"{self._path!r} ({type(error).__name__}: {error})"
            ) from None

    def state_dict(self) -> dict[str, Any] | None:
        """Return the best so far and the names of the files, for a checkpoint.

        Returns
        -------
        dict or None
            None without `monitor` and `keep`, which need nothing of it.
        """
        if self._monitor is None and self._keep is None:
            return None
        return {"best": self._best, "files": [*self._files]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave.

        Parameters
        ----------
        state : dict
        """
        check_names(state, ("best", "files"), "state_dict")
        best, files = state["best"], state["files"]
        if not (best is None or isinstance(best, float)):
            raise TypeError(f"best: expected a float or None, got {checks.describe(best)}")
        if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
            raise TypeError(f"files: expected a list of names, got {checks.describe(files)}")
        for file in files:  # a file may come from anywhere, and those that it names are removed
            if not self._pattern.fullmatch(file):
                raise ValueError(
                    f"path: expected that of the run, which has written {file!r}, got "
                    f"{self._path!r}"
                )
        self._best, self._files = best, list(files)


def _pattern(path: str) -> re.Pattern[str]:
    """Return what names of files match that a template makes; no field reaches another folder."""
    parts = string.Formatter().parse(path)
    texts = (re.escape(text) + f"[^{os.sep}]*" * (name is not None) for text, name, *_ in parts)
    return re.compile("".join(texts))


def _has_fields(path: str) -> bool:
    """Return whether a path is a template; ValueError if it is not even that."""
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(path) if name is not None]
    except ValueError as error:
        raise ValueError(
            f"path: expected a name or a template as of str.format, where {{{{ and }}}} stand for "
            f"braces, got {path!r} ({error})"
        ) from None
    if any(name[:1] in ("", *string.digits) for name in names):
        raise ValueError(f"path: expected fields with names, such as {{epoch}}, got {path!r}")
    return bool(names)
