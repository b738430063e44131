"""The curvature of the loss, beside the history of a fit."""

import math
from typing import Any

import numpy as np

from .. import checks, columns, data, losses
from ..callbacks import Callback
from ..models import Sequential
from ..typing import ArrayLike, Inputs, Integer
from .derivatives import check_each_loss
from .eigen import top_eigenpairs
from .exact import exact_trace


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
        If an argument is impossible, or a number of X is not finite; by `fit`, if the loss
        or a layer has no exact trace (see `curvature.exact_trace`).
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
        X, y = data.features(X, positions=True), data.as_targets(y)
        n = X.shape[0]
        if n == 0:
            raise ValueError(f"X: expected at least one row, got shape {X.shape}")
        data.check_finite(data.flat(X), np.float64, "X")
        if y.ndim == 0 or len(y) != n:
            raise ValueError(f"y: expected shape ({n},) or ({n}, outputs), got {y.shape}")
        n_samples = checks.integer(n_samples, "n_samples", minimum=1)
        rng = np.random.default_rng(checks.seed(seed))
        rows = np.sort(rng.choice(n, min(n, n_samples), replace=False))
        self._X, self._y = X[rows], y[rows]
        self._every = checks.integer(every, "every", minimum=1)

    def on_fit_begin(self, model: Sequential) -> None:
        """Measure on one row, so that what cannot be measured is refused before the training."""
        check_each_loss(losses.check(model.loss))
        self._measure(model, slice(1))

    def on_epoch_end(self, model: Sequential, epoch: int, record: dict[str, Any]) -> None:
        """Add what is measured to the record."""
        if (epoch + 1) % self._every == 0:
            record |= self._measure(model, slice(None))

    def _measure(self, model: Sequential, rows: slice) -> dict[str, float]:
        order = columns.order_of(self._names, model.feature_names_in_, "X")
        X = self._X[rows] if order is None else self._X[rows][:, order]
        return _measure(model, X, self._y[rows])


def _measure(model: Sequential, X: Inputs, y: ArrayLike) -> dict[str, float]:
    """Return what CurvatureMonitor adds to a record."""
    grad = model.loss_and_grad(X, y)[1]
    if np.isfinite(grad).all():
        from .operators import GaussNewton, Hessian  # need SciPy

        eigenvalue = float(top_eigenpairs(Hessian(model, X, y), 1, tol=1e-3)[0][0])
        trace = exact_trace(GaussNewton(model, X, y))
    else:
        eigenvalue = trace = math.nan
    return {
        "max_eigenvalue": eigenvalue,
        "gauss_newton_trace": trace,
        "grad_norm": float(np.linalg.norm(grad.astype(np.float64))),
    }
