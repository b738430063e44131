"""How gradient descent, with and without momentum, goes along each eigenvector of the Hessian."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import checks, curvature, data
from ..pictures import axes_or_new
from ..typing import ArrayLike, Floats, Operator, Real

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def max_stable_lr(A: Operator, *, momentum: Real = 0.0, **options: Any) -> float:
    """Return the largest learning rate at which gradient descent on a quadratic is stable.

    ``2 (1 + momentum) / lambda_max``; beyond it the iterates grow along the first eigenvector.

    Parameters
    ----------
    A : LinearOperator, array, sparse array (n, n), or callable
        The Hessian, as for `curvature.top_eigenpairs`.
    momentum : float
        Of heavy-ball momentum, in [0, 1).
    **options
        Of `curvature.top_eigenpairs`: ``tol``, ``max_matvecs``, ``seed``, ``n``.

    Returns
    -------
    float
        Infinite if there is no positive eigenvalue.

    Raises
    ------
    TypeError, ValueError, RuntimeError, ImportError
        As for `curvature.top_eigenpairs`.

    Examples
    --------
    >>> fnn.inspect.max_stable_lr(np.diag([1.0, 4.0]))
    0.5
    >>> fnn.inspect.max_stable_lr(np.diag([1.0, 4.0]), momentum=0.9)
    0.95
    """
    momentum = checks.real(momentum, "momentum", minimum=0, below=1)
    largest = float(curvature.top_eigenpairs(A, 1, **options)[0][0])
    return 2 * (1 + momentum) / largest if largest > 0 else np.inf


def convergence_modes(
    eigenvalues: ArrayLike, lr: Real, *, momentum: Real = 0.0
) -> "ConvergenceModes":
    """Return how fast each mode of a quadratic shrinks or grows under gradient descent.

    Along an eigenvector of the Hessian with eigenvalue x the distance from the minimum follows
    ``e_{k+1} = (1 - lr x) e_k + momentum (e_k - e_{k-1})`` [1]_: pairs ``(e_{k+1}, e_k)`` are
    multiplied by ::

        [1 - lr x + momentum   -momentum]
        [1                             0]

    whose eigenvalues are the roots of ``z^2 - (1 - lr x + momentum) z + momentum``. The larger of
    their absolute values is the rate, asymptotically the factor per step: ``|1 - lr x|`` without
    momentum. The mode is stable if ``0 < lr x < 2 (1 + momentum)``; its roots are complex, of
    absolute value sqrt(momentum), where ``lr x`` is within ``(1 -+ sqrt(momentum))^2``.

    Parameters
    ----------
    eigenvalues : array_like (k,)
        Of the Hessian, such as those of `curvature.top_eigenpairs`.
    lr : float
        Learning rate, above 0.
    momentum : float
        In [0, 1); as in ``optim.SGD(lr, momentum=momentum)``.

    Returns
    -------
    ConvergenceModes

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above.

    References
    ----------
    .. [1] B. T. Polyak (1964), "Some methods of speeding up the convergence of iteration methods",
       USSR Computational Mathematics and Mathematical Physics 4(5),
       https://doi.org/10.1016/0041-5553(64)90137-5.

    Examples
    --------
    >>> modes = fnn.inspect.convergence_modes([4.0, 1.0, 0.1], lr=0.4)
    >>> modes.rates.round(2)
    array([0.6 , 0.6 , 0.96])
    >>> fnn.inspect.convergence_modes([4.0, 1.0, 0.1], lr=0.4, momentum=0.5).rates.round(2)
    array([0.71, 0.71, 0.91])
    """
    eigenvalues = data.as_numbers(eigenvalues, "eigenvalues").astype(np.float64)
    if eigenvalues.ndim != 1 or not np.isfinite(eigenvalues).all():
        came = checks.describe(eigenvalues)
        raise ValueError(f"eigenvalues: expected finite numbers (k,), got {came}")
    lr = checks.real(lr, "lr", above=0)
    momentum = checks.real(momentum, "momentum", minimum=0, below=1)
    half = (1 - lr * eigenvalues + momentum) / 2
    root = np.sqrt((half**2 - momentum).astype(complex))
    # Vieta: the smaller as momentum through the larger, without cancellation.
    larger = np.where(half < 0, half - root, half + root)
    smaller = np.divide(momentum, larger, out=np.zeros_like(larger), where=larger != 0)
    roots = np.stack([larger, smaller], axis=1)
    return ConvergenceModes(eigenvalues, lr, momentum, roots, np.abs(larger))


class ConvergenceModes:
    """What `convergence_modes` returns.

    Attributes
    ----------
    eigenvalues : ndarray (k,), float64
        Of the Hessian, as they were given.
    lr, momentum : float
    roots : ndarray (k, 2), complex128
        Eigenvalues of each mode's iteration matrix, the larger absolute value first; without
        momentum ``1 - lr x`` and 0.
    rates : ndarray (k,), float64
        Factor per step of each mode, asymptotically; the mode is stable if it is less than 1.
    """

    def __init__(
        self,
        eigenvalues: Floats,
        lr: float,
        momentum: float,
        roots: NDArray[np.complex128],
        rates: Floats,
    ) -> None:
        self.eigenvalues = eigenvalues
        self.lr = lr
        self.momentum = momentum
        self.roots = roots
        self.rates = rates

    def __repr__(self) -> str:
        return f"ConvergenceModes(lr={self.lr:g}, momentum={self.momentum:g}, rates={self.rates!r})"

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the rates over ``lr * eigenvalue``, with the curve on which they lie.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where; by default in a new figure, which is ``.figure`` of what is returned.

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = axes_or_new(ax)
        x = self.lr * self.eigenvalues
        end = 2 * (1 + self.momentum)
        grid = np.linspace(min(0, x.min(initial=0)), max(1.1 * end, x.max(initial=0)), 800)
        curve = convergence_modes(grid, 1.0, momentum=self.momentum).rates
        ax.plot(grid, curve, color="0.6", linewidth=1)
        ax.plot(x, self.rates, "o", markersize=4, label=f"momentum {self.momentum:g}")
        ax.axhline(1, color="k", linewidth=0.8, linestyle="--")
        ax.axvline(end, color="k", linewidth=0.8, linestyle=":")
        ax.set(xlabel="learning rate * eigenvalue", ylabel="factor per step")
        ax.legend(fontsize=8, loc="upper center")
        return ax

    def plot_roots(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the eigenvalues of the iteration matrices in the complex plane.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where; by default in a new figure, which is ``.figure`` of what is returned.

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = axes_or_new(ax, height=4.4)
        angle = np.linspace(0, 2 * np.pi, 200)
        ax.plot(np.cos(angle), np.sin(angle), "k--", linewidth=0.8)
        if self.momentum > 0:
            inner = np.sqrt(self.momentum)
            ax.plot(inner * np.cos(angle), inner * np.sin(angle), color="0.7", linewidth=0.8)
        color = np.repeat(self.lr * self.eigenvalues, 2)
        points = ax.scatter(self.roots.real.ravel(), self.roots.imag.ravel(), 16, color, zorder=3)
        ax.figure.colorbar(points, ax=ax, label="learning rate * eigenvalue", shrink=0.8)
        ax.set(xlabel="real part", ylabel="imaginary part", aspect="equal")
        return ax
