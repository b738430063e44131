"""Ridge regression as something to differentiate through: what learns features for it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from . import checks, data
from .config import Configured, Setting
from .typing import Array, ArrayLike, Floats, Real


class Ridge(Configured):
    """Ridge regression of some rows, and its predictions for others, with all derivatives.

    ``predictions = query @ W`` with the W that minimises
    ``|support @ W - targets|^2 + lam |W|^2``. Where the rows are what a network makes of examples,
    it learns features of which few examples are enough to fit a new task [1]_: the gradient in the
    predictions goes through the fit, ``vjp``, and on through the network, `Sequential.vjp`.

    Parameters
    ----------
    lam : float
        Above 0. `pullback` gives the derivative in it, too; what learns it makes a new object for
        each step, which costs nothing.

    Raises
    ------
    TypeError, ValueError
        If it is none of that.

    Notes
    -----
    A task has n rows ``support`` (n, d), their ``targets`` (n, k), and m rows ``query`` (m, d).
    Axes in front of these, the same for all three, are tasks, each with a fit of its own. There is
    no intercept: a column of ones is one.

    Computed in float64: W is the solution of d equations, ``(S' S + lam I) W = S' Y``, or of n, if
    these are fewer, ``W = S' C`` with ``(S S' + lam I) C = Y`` (the Woodbury identity). A task
    costs O(min(n, d)^2 (n + d)), forward as backward. Results are float32 if all inputs of floats
    are, and float64 otherwise.

    References
    ----------
    .. [1] L. Bertinetto, J. F. Henriques, P. H. S. Torr, A. Vedaldi (2019), "Meta-learning with
       differentiable closed-form solvers", ICLR, https://arxiv.org/abs/1805.08136 (R2-D2).

    Examples
    --------
    >>> network = fnn.Sequential([fnn.Dense(16), fnn.Tanh()], seed=0).build(64)
    >>> features, through_network = network.vjp(X[:30])
    >>> labels = np.eye(10)[y[:30]]
    >>> ridge = fnn.Ridge(0.1)
    >>> out, through_fit = ridge.vjp(features[:20], labels[:20], features[20:])
    >>> dsupport, _, dquery, _ = through_fit(out - labels[20:])  # of half the squared error
    >>> dparameters, _ = through_network(np.concatenate([dsupport, dquery]))
    >>> dparameters.shape == network.parameters.shape
    True
    """

    lam: Setting[float] = Setting(partial(checks.real, above=0))

    def __init__(self, lam: Real = 1.0) -> None:
        self._set(lam=lam)

    def forward(self, support: ArrayLike, targets: ArrayLike, query: ArrayLike) -> Array:
        """Return the predictions for `query` of the fit of `targets` to `support`.

        Parameters
        ----------
        support : array_like (..., n, d)
            At least one row and one column.
        targets : array_like (..., n, k)
        query : array_like (..., m, d)

        Returns
        -------
        ndarray (..., m, k)

        Raises
        ------
        TypeError, ValueError
            If an argument is none of the above.
        """
        (S, Y, Q), dtype = _checked(support, targets, query)
        return (Q @ _Fit(S, Y, self.lam).weights).astype(dtype)

    def vjp(
        self, support: ArrayLike, targets: ArrayLike, query: ArrayLike
    ) -> tuple[Array, Callable[[ArrayLike], "RidgeGradients"]]:
        """Return the predictions and a function that pulls their gradient back.

        Parameters
        ----------
        support, targets, query
            As for `forward`.

        Returns
        -------
        out : ndarray (..., m, k)
        pullback : callable
            ``dsupport, dtargets, dquery, dlam = pullback(dout)`` takes the gradient (..., m, k) of
            a number in `out` and returns that number's gradients in the inputs, arrays of their
            shapes, and in `lam`, a float: of several tasks the sum.

        Raises
        ------
        TypeError, ValueError
            As for `forward`, also from the function.
        """
        (S, Y, Q), dtype = _checked(support, targets, query)
        fit = _Fit(S, Y, self.lam)
        out = Q @ fit.weights

        def pullback(dout: ArrayLike) -> RidgeGradients:
            G = data.as_numbers(dout, "dout").astype(np.float64)
            if G.shape != out.shape:
                raise ValueError(f"dout: expected shape {out.shape}, got {G.shape}")
            dS, dY, dlam = fit.pull(_t(Q) @ G)
            dQ = G @ _t(fit.weights)
            return RidgeGradients(dS.astype(dtype), dY.astype(dtype), dQ.astype(dtype), dlam)

        return out.astype(dtype), pullback


class RidgeGradients(NamedTuple):
    """What the function returns that `Ridge.vjp` returns."""

    support: Array
    targets: Array
    query: Array
    lam: float


class _Fit:
    """The weights (..., d, k) that fit Y to S, and the way back from their gradient."""

    def __init__(self, S: Floats, Y: Floats, lam: float) -> None:
        self._S = S
        self._dual = S.shape[-2] < S.shape[-1]
        self._matrix = (S @ _t(S) if self._dual else _t(S) @ S) + lam * np.eye(min(S.shape[-2:]))
        try:
            solved = np.linalg.solve(self._matrix, Y if self._dual else _t(S) @ Y)
        except np.linalg.LinAlgError:
            raise ValueError(
                f"lam: expected a number that counts beside products of rows of support, got {lam}"
            ) from None
        if self._dual:
            self._coefficients = solved
            self.weights = _t(S) @ solved
        else:
            self.weights = solved
            self._residual = Y - S @ solved

    def pull(self, dW: Floats) -> tuple[Floats, Floats, float]:
        """Return the gradients in S, Y and lam.

        With A = S'S + lam I and P = A^-1 dW they are R P' - S P W', S P and -sum(P W), where the
        residual R is lam C. The dual form has S P of n equations, and lam P without dividing.
        """
        if self._dual:
            dY: Any = np.linalg.solve(self._matrix, self._S @ dW)
            P, R = dW - _t(self._S) @ dY, self._coefficients  # lam P, R / lam
            dlam = -np.sum(dY * self._coefficients)
        else:
            P, R = np.linalg.solve(self._matrix, dW), self._residual
            dY = self._S @ P
            dlam = -np.sum(P * self.weights)
        return R @ _t(P) - dY @ _t(self.weights), dY, float(dlam)


def _t(array: Floats) -> Floats:
    """Return the matrices of an array transposed."""
    return np.swapaxes(array, -1, -2)


def _checked(support: Any, targets: Any, query: Any) -> tuple[list[Floats], np.dtype[Any]]:
    """Return the arrays in float64, and the dtype of results."""
    named = {"support": support, "targets": targets, "query": query}
    arrays = [data.as_numbers(value, name) for name, value in named.items()]
    sizes = {array.dtype.itemsize for array in arrays if array.dtype.kind == "f"}
    dtype = np.dtype(np.float32 if sizes and max(sizes) <= 4 else np.float64)
    S, Y, Q = (array.astype(np.float64) for array in arrays)
    if S.ndim < 2 or 0 in S.shape[-2:]:
        raise ValueError(f"support: expected shape (..., n, d) of 1 or more, got {S.shape}")
    tasks, (n, d) = S.shape[:-2], S.shape[-2:]
    if Y.ndim != S.ndim or Y.shape[:-1] != (*tasks, n):
        raise ValueError(f"targets: expected shape {_like(*tasks, n, 'k')}, got {Y.shape}")
    if Q.ndim != S.ndim or (*Q.shape[:-2], Q.shape[-1]) != (*tasks, d):
        raise ValueError(f"query: expected shape {_like(*tasks, 'm', d)}, got {Q.shape}")
    return [S, Y, Q], dtype


def _like(*sizes: int | str) -> str:
    return f"({', '.join(map(str, sizes))})"
