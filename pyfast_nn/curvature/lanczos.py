"""Stochastic Lanczos quadrature: how eigenvalues are distributed, and sums of functions of them."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _core, checks, data
from ..typing import Array, ArrayLike, Floats, Integer, Operator, Real
from .products import Products
from .stopping import Estimate, mean_and_error

_VECTOR_BYTES = 2**27  # of the vectors of probes that advance together


def spectral_density(
    A: Operator,
    *,
    num_probes: Integer = 8,
    lanczos_steps: Integer = 80,
    seed: Integer | None = 0,
    n: Integer | None = None,
) -> "SpectralDensity":
    """Estimate the distribution of the eigenvalues of a symmetric `A`.

    From each of `num_probes` random sign vectors v, `lanczos_steps` steps of Lanczos' method make a
    tridiagonal matrix T. Vectors are made orthogonal to all before them whenever they would lose
    half the digits otherwise, which makes T as exact as if they always were [3]_. Its eigenvalues,
    with the squares of the first elements of its eigenvectors as weights, are the nodes of a Gauss
    quadrature [2]_ with ``sum_j w_j f(t_j) = v'f(A)v / v'v`` for all polynomials f of degree
    2 lanczos_steps - 1 or less; n times the mean of that over v is tr f(A) [1]_.

    Parameters
    ----------
    A : LinearOperator, array, sparse array (n, n), or callable
        Real and symmetric. A function takes v (n,), float64, and returns A v (n,).
    num_probes : int
        Number of random vectors. They advance together, each step a block of products, as many as
        128 MiB hold with all that came before; at least one. Few long ones stay in the cache.
    lanczos_steps : int
        At least 1. A vector whose Krylov space is smaller stops there, with an exact quadrature.
    seed : int or None
        Of the random vectors, from 0 to 2**64 - 1; None draws one.
    n : int, optional
        Length of vectors, if `A` is a function.

    Returns
    -------
    SpectralDensity

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above, a product is not finite, or `A` is not symmetric (which
        is seen with two steps or more).

    Notes
    -----
    Costs num_probes * lanczos_steps products, memory for lanczos_steps + 1 vectors of each probe
    that advances with others, and at most O(num_probes * lanczos_steps^2 * n) operations besides.

    References
    ----------
    .. [1] S. Ubaru, J. Chen, Y. Saad (2017), "Fast estimation of tr(f(A)) via stochastic Lanczos
       quadrature", SIAM Journal on Matrix Analysis and Applications 38(4),
       https://doi.org/10.1137/16M1104974.
    .. [2] G. H. Golub, J. H. Welsch (1969), "Calculation of Gauss quadrature rules", Mathematics of
       Computation 23(106), https://doi.org/10.1090/S0025-5718-69-99647-1.
    .. [3] H. D. Simon (1984), "The Lanczos algorithm with partial reorthogonalization", Mathematics
       of Computation 42(165), https://doi.org/10.1090/S0025-5718-1984-0725988-X.

    Examples
    --------
    >>> A = np.diag(np.linspace(0, 1, 200))
    >>> spectrum = fnn.curvature.spectral_density(A, lanczos_steps=30)
    >>> spectrum.cdf([0.25, 0.5]).round(2)
    array([0.25, 0.5 ])
    >>> spectrum.effective_dimension(damping=0.1)
    Estimate(value=151.73..., std_error=..., num_matvecs=240, converged=True)
    """
    products = Products(A, n)
    num_probes = checks.integer(num_probes, "num_probes", minimum=1)
    lanczos_steps = checks.integer(lanczos_steps, "lanczos_steps", minimum=1)
    seed = checks.seed(seed)
    steps = min(lanczos_steps, products.n)
    together = _VECTOR_BYTES // ((steps + 1) * products.n * products.dtype.itemsize)
    together = min(max(1, together), num_probes)
    memory = np.empty(together * (steps + 1) * products.n, products.dtype)
    diagonals, off_diagonals = [], []
    for first in range(0, num_probes, together):
        probes = min(together, num_probes - first)
        shape = steps + 1, probes, products.n
        basis = memory[: math.prod(shape)].reshape(shape)
        parts = _lanczos(products, basis, first, seed)
        diagonals += parts[0]
        off_diagonals += parts[1]

    nodes = np.empty((num_probes, max(map(len, diagonals))))
    weights = np.zeros_like(nodes)
    for i, (alpha, beta) in enumerate(zip(diagonals, off_diagonals, strict=True)):
        T = np.diag(alpha) + np.diag(beta, -1)
        eigenvalues, eigenvectors = np.linalg.eigh(T)  # of the lower triangle
        nodes[i] = eigenvalues[-1]  # what is left over, of weight 0
        nodes[i, : len(alpha)] = eigenvalues
        weights[i, : len(alpha)] = eigenvectors[0] ** 2
    return SpectralDensity(nodes, weights, products.n, products.num_matvecs)


class SpectralDensity:
    """The distribution of the eigenvalues of an operator; what `spectral_density` returns.

    Attributes
    ----------
    nodes : ndarray (num_probes, steps), float64
        Of the quadrature of each random vector, rising.
    weights : ndarray (num_probes, steps), float64
        At least 0, of sum 1 in each row; 0 for what fills up the row of a vector that stopped
        before others.
    n : int
        Number of eigenvalues.
    num_matvecs : int
        Products with the operator that were used.

    Notes
    -----
    Sums over the spectrum come with the error from the choice of random vectors, as `Estimate`.
    The error of the quadrature is not in it; it vanishes fast with more steps where the function is
    smooth, which a small damping is not.
    """

    def __init__(self, nodes: Floats, weights: Floats, n: int, num_matvecs: int) -> None:
        self.nodes = nodes
        self.weights = weights
        self.n = n
        self.num_matvecs = num_matvecs

    def __repr__(self) -> str:
        return (
            f"SpectralDensity(n={self.n}, num_probes={len(self.nodes)}, "
            f"num_matvecs={self.num_matvecs})"
        )

    def density(self, grid: ArrayLike, width: Real) -> Floats:
        """Return the density, each node smoothed to a normal law of standard deviation `width`.

        Parameters
        ----------
        grid : array_like
            Where to take it.
        width : float
            More than 0. The integral over all grid points is 1.

        Returns
        -------
        ndarray, float64, of the shape of `grid`
        """
        grid = _real_array(grid, "grid")
        width = checks.real(width, "width", above=0)
        scale = len(self.nodes) * width * math.sqrt(2 * math.pi)
        result = np.zeros(grid.shape)
        for node, weight in zip(self.nodes.ravel(), self.weights.ravel(), strict=True):
            result += (weight / scale) * np.exp(-0.5 * ((grid - node) / width) ** 2)
        return result

    def cdf(self, x: ArrayLike) -> Floats:
        """Return the share of eigenvalues that are at most `x`, a step at each node.

        Parameters
        ----------
        x : array_like

        Returns
        -------
        ndarray, float64, of the shape of `x`
        """
        x = _real_array(x, "x")
        order = np.argsort(self.nodes, axis=None, kind="stable")
        shares = np.append(0, np.cumsum(self.weights.ravel()[order]) / len(self.nodes))
        return shares[np.searchsorted(self.nodes.ravel()[order], x, side="right")]

    def spectral_sum(self, f: Callable[[Floats], ArrayLike]) -> Estimate[float]:
        """Return the sum of `f` over all eigenvalues, tr f(A).

        Parameters
        ----------
        f : callable
            From a float64 array of eigenvalues to an array of the same shape.

        Returns
        -------
        Estimate
            With one sample per random vector.
        """
        values = np.asarray(f(self.nodes.copy()))
        if values.shape != self.nodes.shape or values.dtype.kind not in "fiub":
            raise ValueError(
                f"f: expected real values of shape {self.nodes.shape}, got "
                f"{checks.describe(values)}"
            )
        samples = self.n * np.sum(self.weights * values, axis=1)
        value, std_error = mean_and_error(samples)
        return Estimate(value, std_error, self.num_matvecs, samples, True)

    def moment(self, degree: Integer) -> Estimate[float]:
        """Return the mean of the `degree`-th powers of all eigenvalues, tr(A^degree) / n.

        The quadrature has no error up to degree 2 lanczos_steps - 1.

        Parameters
        ----------
        degree : int
            At least 0.

        Returns
        -------
        Estimate
        """
        degree = checks.integer(degree, "degree", minimum=0)
        return self.spectral_sum(lambda x: x**degree / self.n)

    def log_determinant(self, damping: Real = 0.0) -> Estimate[float]:
        """Return log det(A + damping I), the sum of log(x + damping) over all eigenvalues x.

        Parameters
        ----------
        damping : float
            At least 0.

        Returns
        -------
        Estimate

        Raises
        ------
        ValueError
            If A + damping I has an eigenvalue of 0 or less, as far as the nodes show.
        """
        damping = self._check_damping(damping)
        return self.spectral_sum(lambda x: np.log(x + damping))

    def effective_dimension(self, damping: Real) -> Estimate[float]:
        """Return tr(A (A + damping I)^-1), the sum of x / (x + damping) over all eigenvalues x.

        Parameters
        ----------
        damping : float
            At least 0.

        Returns
        -------
        Estimate

        Raises
        ------
        ValueError
            As for `log_determinant`.

        References
        ----------
        D. J. C. MacKay (1992), "Bayesian interpolation", Neural Computation 4(3),
        https://doi.org/10.1162/neco.1992.4.3.415 (there the number of well-measured parameters).
        """
        damping = self._check_damping(damping)
        return self.spectral_sum(lambda x: x / (x + damping))

    def trace_inverse(self, damping: Real = 0.0) -> Estimate[float]:
        """Return tr((A + damping I)^-1), the sum of 1 / (x + damping) over all eigenvalues x.

        Parameters
        ----------
        damping : float
            At least 0.

        Returns
        -------
        Estimate

        Raises
        ------
        ValueError
            As for `log_determinant`.
        """
        damping = self._check_damping(damping)
        return self.spectral_sum(lambda x: 1 / (x + damping))

    def _check_damping(self, damping: Real) -> float:
        damping = checks.real(damping, "damping", minimum=0)
        smallest = self.nodes.min()
        if not smallest + damping > 0:
            raise ValueError(
                "damping: expected A + damping I to be positive definite, but A has an eigenvalue "
                f"of at most {smallest:.6g}, and damping is {damping:g}"
            )
        return damping


def _lanczos(products: Products, basis: Array, first: int, seed: int) -> list[list[Array]]:
    """Return diagonals [(m,)] and subdiagonals [(m - 1,)] of T, one of each for every probe.

    `basis` (steps + 1, probes, n) is memory for their vectors; `first` is the number of the first.
    """
    steps, num_probes = basis.shape[0] - 1, basis.shape[1]
    basis[0] = products.probes("rademacher", seed, first, num_probes).T / math.sqrt(products.n)
    diagonals: list[list[float]] = [[] for _ in range(num_probes)]
    off_diagonals: list[list[float]] = [[] for _ in range(num_probes)]
    states = [(0.0, 0.0, 0.0, 0.0, False)] * num_probes  # what a step leaves for the next
    negligible = 100 * np.finfo(products.dtype).eps
    active = list(range(num_probes))
    for j in range(steps):
        V = (basis[j] if len(active) == num_probes else basis[j, active]).T
        AV = products.matmat(V, check_finite=j < 2)
        if j == 0:
            first_AV = AV.copy()
            # Of each probe's numbers: squares of lengths in it have the range of floats.
            units = [_power_of_two(np.abs(Av).max()) for Av in AV.T]
        elif j == 1:
            products.check_symmetric_pairs(basis[0, active].T, first_AV[:, active], V, AV)
        going_on = []
        for p, Av in zip(active, np.ascontiguousarray(AV.T), strict=True):
            alpha, states[p] = _core.lanczos_step(
                basis[: j + 2], p, Av, 1 / units[p], negligible, states[p]
            )
            if not math.isfinite(alpha):
                products.check_finite(AV)
                raise ValueError(
                    f"A: expected products that stay in the range of {products.dtype}; numbers of "
                    f"the first were about {units[p]:.2g}, and then {np.abs(Av).max():.2g}"
                )
            beta, scale = states[p][:2]
            diagonals[p].append(alpha)
            if j + 1 < steps and beta > negligible * scale:
                off_diagonals[p].append(beta)
                going_on.append(p)
        active = going_on
        if not active:
            break
    return [
        [np.multiply(each, unit) for each, unit in zip(lists, units, strict=True)]
        for lists in (diagonals, off_diagonals)
    ]


def _power_of_two(x: Any) -> float:
    """Return one near x >= 0 (1 for 0), a float; it and its inverse are normal in x's dtype."""
    info = np.finfo(x.dtype)
    return 2.0 ** int(np.clip(np.frexp(x)[1], info.minexp + 1, info.maxexp - 2))


def _real_array(value: ArrayLike, name: str) -> Floats:
    value = data.as_array(value, name)
    if value.dtype.kind not in "fiub":
        raise TypeError(f"{name}: expected real numbers, got dtype {value.dtype}")
    return value.astype(np.float64)
