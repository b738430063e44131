"""What is told of a fit while it runs."""

import math
from typing import Any, Literal

from . import checks
from .guidance import Guided, written
from .history import History
from .metrics import larger_is_better
from .models import Sequential, engine_of
from .optim import Optimizer
from .optim.base import trains
from .typing import Integer, Real


class Callback(Guided):
    """What `Sequential.fit` tells of itself; a callback has any of these methods.

    To derive from this class is convenient, and not needed.

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
            0 for the first of this fit.
        record : dict
            What the history holds of this epoch; what is added to it is part of the history.

        Returns
        -------
        bool or None
            True ends the fit after this epoch.
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
