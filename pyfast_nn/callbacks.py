"""What is told of a fit while it runs."""

import math
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np

from . import checks, columns, curvature, data
from .guidance import Guided, written
from .history import History
from .metrics import larger_is_better
from .optim import Optimizer
from .typing import ArrayLike, Inputs, Integer, Real

if TYPE_CHECKING:
    from .models import Sequential


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

    def on_fit_begin(self, model: "Sequential") -> None:
        """Called when all arguments are checked and the parameters exist.

        Parameters
        ----------
        model : Sequential
            May be used and changed here and in all that follows, but not fitted.
        """

    def on_epoch_end(self, model: "Sequential", epoch: int, record: dict[str, Any]) -> bool | None:
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

    def on_fit_end(self, model: "Sequential", history: History) -> None:
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

    def on_fit_begin(self, model: "Sequential") -> None:
        """Refuse a fit with another optimizer."""
        if self._optimizer._owner is not model._owner:
            raise ValueError(
                "optimizer: expected that of this fit, got another; make ReduceLROnPlateau with it"
            )

    def on_epoch_end(self, model: "Sequential", epoch: int, record: dict[str, Any]) -> None:
        """Call `step` with what the record holds."""
        if self._monitor not in record:
            raise ValueError(f"monitor: expected one of {', '.join(record)}; got {self._monitor!r}")
        self.step(record[self._monitor])


class CurvatureMonitor(Callback):
    """Adds to the history how curved the loss is, and how steep, on a fixed sample of rows.

    * ``max_eigenvalue``: the largest eigenvalue of the Hessian, to three digits;
    * ``gauss_newton_trace``: the exact trace of the Gauss-Newton matrix, which is that of the
      Hessian if the network is piecewise linear, as with ReLU;
    * ``grad_norm``: the norm of the gradient.

    Parameters
    ----------
    X, y
        Rows and targets to measure on, such as those of the fit.
    every : int
        Measure after this many epochs, and again after as many; NaN is between.
    n_samples : int
        How many rows are drawn of X, once, without replacement; all, if there are fewer.
    seed : int or None
        Of the draw, from 0 to 2**64 - 1; None draws one.

    Raises
    ------
    TypeError, ValueError
        If an argument is impossible, or a number of X is not finite; by `fit`, if the loss has no
        exact trace (see `curvature.exact_trace`).
    ImportError
        By `fit`, if SciPy is not there.

    Notes
    -----
    The loss is that of the fit, without weights. Costs some tens of products with the Hessian of
    the sample each time, and is not part of the ``seconds`` of the history. Where the gradient is
    not finite, all three are NaN.

    Gradient descent with a constant rate lr is stable as long as ``max_eigenvalue`` is below 2 /
    lr, and tends to end there: J. Cohen et al. (2021), "Gradient descent on neural networks
    typically occurs at the edge of stability", ICLR, https://arxiv.org/abs/2103.00065.

    Examples
    --------
    >>> monitor = fnn.CurvatureMonitor(X, y, every=2, n_samples=200)
    >>> history = model.fit(X, y, loss="cross_entropy", epochs=4, callbacks=[monitor])
    >>> np.isfinite(history["max_eigenvalue"])
    array([False,  True, False,  True])
    """

    def __init__(
        self,
        X: Inputs,
        y: ArrayLike,
        *,
        every: Integer = 1,
        n_samples: Integer = 1000,
        seed: Integer | None = 0,
    ) -> None:
        self._names = columns.names_of(X, "X")
        X, y = data.features(X), data.as_targets(y)
        n = X.shape[0]
        if n == 0:
            raise ValueError(f"X: expected at least one row, got shape {X.shape}")
        data.check_finite(X, np.float64, "X")
        if y.ndim == 0 or len(y) != n:
            raise ValueError(f"y: expected shape ({n},) or ({n}, outputs), got {y.shape}")
        n_samples = checks.integer(n_samples, "n_samples", minimum=1)
        rng = np.random.default_rng(checks.seed(seed))
        rows = np.sort(rng.choice(n, min(n, n_samples), replace=False))
        self._X, self._y = X[rows], y[rows]
        self._every = checks.integer(every, "every", minimum=1)

    def on_fit_begin(self, model: "Sequential") -> None:
        """Measure on one row, so that what cannot be measured is refused before the training."""
        self._measure(model, slice(1))

    def on_epoch_end(self, model: "Sequential", epoch: int, record: dict[str, Any]) -> None:
        """Add what is measured to the record."""
        if (epoch + 1) % self._every == 0:
            record |= self._measure(model, slice(None))

    def _measure(self, model: "Sequential", rows: slice) -> dict[str, float]:
        order = columns.order_of(self._names, model.feature_names_in_, "X")
        X = self._X[rows] if order is None else self._X[rows][:, order]
        return _measure(model, X, self._y[rows])


def _measure(model: "Sequential", X: Inputs, y: ArrayLike) -> dict[str, float]:
    """Return what CurvatureMonitor adds to a record."""
    grad = model.loss_and_grad(X, y)[1]
    if np.isfinite(grad).all():
        hessian, gauss_newton = curvature.Hessian(model, X, y), curvature.GaussNewton(model, X, y)
        eigenvalue = float(curvature.top_eigenpairs(hessian, 1, tol=1e-3)[0][0])
        trace = curvature.exact_trace(gauss_newton)
    else:
        eigenvalue = trace = math.nan
    return {
        "max_eigenvalue": eigenvalue,
        "gauss_newton_trace": trace,
        "grad_norm": float(np.linalg.norm(grad.astype(np.float64))),
    }


class _HasFitBegin(Protocol):
    def on_fit_begin(self, model: Any, /) -> object: ...


class _HasEpochEnd(Protocol):
    def on_epoch_end(self, model: Any, epoch: Any, record: Any, /) -> object: ...


class _HasFitEnd(Protocol):
    def on_fit_end(self, model: Any, history: Any, /) -> object: ...


CallbackLike: TypeAlias = _HasFitBegin | _HasEpochEnd | _HasFitEnd
_METHODS = ("on_fit_begin", "on_epoch_end", "on_fit_end")


def check(callbacks: Any) -> list[Any]:
    """Return `callbacks` as a list of objects with all methods."""
    try:
        alone = any(hasattr(callbacks, name) for name in _METHODS)
        callbacks = [callbacks] if alone else list(callbacks)
    except TypeError:
        came = checks.describe(callbacks)
        raise TypeError(f"callbacks: expected a list of callbacks, got {came}") from None
    for i, callback in enumerate(callbacks):
        if isinstance(callback, type) or not any(hasattr(callback, name) for name in _METHODS):
            raise TypeError(
                f"callbacks[{i}]: expected an object with any of {', '.join(_METHODS)}, "
                f"got {checks.describe(callback)}{written(callback)}"
            )
        for name in dir(callback):
            if (
                name.startswith("on_")
                and name not in _METHODS
                and callable(getattr(callback, name))
            ):
                raise TypeError(
                    f"callbacks[{i}]: expected no methods on_... but {', '.join(_METHODS)}, got "
                    f"{type(callback).__name__}.{name}, which nothing would call"
                )
    return callbacks


def tell(callback: Any, method: str, *arguments: Any) -> bool:
    """Call a method of a callback that has it; return whether it asks to stop."""
    function = getattr(callback, method, None)
    answer = None if function is None else function(*arguments)
    if answer is None or method != "on_epoch_end":
        return False
    return checks.boolean(answer, f"what {type(callback).__name__}.{method} returned")
