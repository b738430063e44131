"""Traces and diagonals from a basis of A Ω, for random Ω, and random vectors for the rest.

With Q an orthonormal basis of A Ω, what Q sees of A is known from AQ, and random vectors are needed
for the remainder only: far better than Hutchinson's estimates where eigenvalues decay. Hutch++
takes new vectors for it; the leave-one-out estimators take each column of Ω, with the basis made
from the other columns.
"""

import numpy as np

from .. import checks
from ..typing import Array, Floats, Integer, Operator, Real
from .products import Products
from .stopping import Estimate, Stop, mean_and_error

_FIRST = 8  # vectors in Ω, where their number is to be found out
_OTHERS = 2**32  # the vectors that Ω does not contain are numbered from here


def hutch_pp(
    A: Operator,
    *,
    n: Integer | None = None,
    rtol: Real | None = None,
    num_matvecs: Integer | None = None,
    time_limit: Real | None = None,
    max_matvecs: Integer = 1000,
    batch_size: Integer = 16,
    seed: Integer | None = 0,
) -> Estimate[float]:
    """Estimate the trace of a symmetric `A` by Hutch++.

    With Q an orthonormal basis of A Ω for k random sign vectors Ω, and k further ones g::

        tr A ~ tr(Q'AQ) + mean of u'Au,    u = (I - QQ') g

    which is exact if A has rank k or less. For positive semidefinite A the relative error is of
    order 1 / (products) whatever the eigenvalues, where Hutchinson's is 1 / sqrt(products).

    Parameters
    ----------
    A : LinearOperator, array, sparse array (n, n), or callable
        Real and symmetric. A function takes v (n,), float64, and returns A v (n,).
    n, rtol, time_limit, max_matvecs, seed
        As for `hutchinson_trace`.
    num_matvecs : int, optional
        Use this number of products, at least 3, without `rtol` and `time_limit`: 3 k, one or two
        more vectors g if it is no multiple of 3, and 2 n if it is at least 3 n, as the basis is
        complete then and the value exact.
    batch_size : int
        Number of products to ask for at a time. The samples do not depend on it.

    Returns
    -------
    Estimate
        With one sample per vector g. Its error is that of the second part, given Q.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above, a product is not finite, or `A` is not symmetric.

    Warns
    -----
    RuntimeWarning
        If `max_matvecs` came first.

    Notes
    -----
    Without `num_matvecs` k grows from 8 by a half at a time; the basis is extended, and every
    product is used again. Memory is 4 n k numbers in float64, work besides the products O(n k^2).

    References
    ----------
    R. A. Meyer, C. Musco, C. Musco, D. P. Woodruff (2021), "Hutch++: optimal stochastic trace
    estimation", SOSA, https://arxiv.org/abs/2010.09649.

    Examples
    --------
    >>> A = np.diag(0.5 ** np.arange(50))
    >>> round(fnn.curvature.hutch_pp(A, num_matvecs=45).value, 3)
    2.0
    """
    stop = Stop(rtol, num_matvecs, time_limit, max_matvecs, fewest=3)
    products = Products(A, n, batch_size)
    seed = checks.seed(seed)

    sketch = _Sketch(products)
    G, AG = np.empty((products.n, 0)), np.empty((products.n, 0))
    while True:
        room = stop.limit - products.num_matvecs
        k = _growth(sketch, room // 3, num_matvecs)
        sketch.extend(products.probes("rademacher", seed, sketch.rank, k))
        if sketch.complete:
            return sketch.exact_trace(stop)
        if room - 3 * k < 3:
            k = room - 2 * k
        V = products.probes("rademacher", seed, _OTHERS + G.shape[1], k)
        G, AG = np.hstack([G, V]), np.hstack([AG, products.matmat(V)])
        rest = _remainder(sketch.H, sketch.Q.T @ G, sketch.Q.T @ AG, np.sum(G * AG, axis=0))
        samples = np.trace(sketch.H) + rest
        value, std_error = mean_and_error(samples)
        if stop.reached(value, std_error, samples.size, products.num_matvecs):
            return stop.estimate(value, std_error, products.num_matvecs, samples)


def xtrace(
    A: Operator,
    *,
    n: Integer | None = None,
    rtol: Real | None = None,
    num_matvecs: Integer | None = None,
    time_limit: Real | None = None,
    max_matvecs: Integer = 1000,
    batch_size: Integer = 16,
    seed: Integer | None = 0,
) -> Estimate[float]:
    """Estimate the trace of a symmetric `A` by XTrace.

    For each of k random vectors, with P the projector on A times the k - 1 others,
    ``u = (I - P) w`` scaled to length sqrt(n - k + 1)::

        tr A ~ tr(PAP) + u'Au

    and the estimate is the mean of all k: it is unbiased, does not depend on the order of the
    vectors, and is exact if A has rank k - 1 or less.

    Parameters
    ----------
    A : LinearOperator, array, sparse array (n, n), or callable
        Real and symmetric. A function takes v (n,), float64, and returns A v (n,).
    n, rtol, time_limit, max_matvecs, seed
        As for `hutchinson_trace`.
    num_matvecs : int, optional
        Use this number of products, at least 2, without `rtol` and `time_limit`; one less if it is
        odd, and 2 n if it is more, as the value is exact then.
    batch_size : int
        Number of products to ask for at a time. The samples do not depend on it.

    Returns
    -------
    Estimate
        With one sample per two products. Its error is the standard deviation of the samples
        through sqrt(k), as if they were independent (section 2.1 of the paper): up to a quarter
        below the true one where the spectrum is flat or falls slowly.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above, a product is not finite, or `A` is not symmetric.

    Warns
    -----
    RuntimeWarning
        If `max_matvecs` came first.

    Notes
    -----
    Without `num_matvecs` k grows from 8 by a half at a time; the basis is extended, and every
    product is used again. Memory is 3 n k numbers in float64, work besides the products O(n k^2).

    References
    ----------
    E. N. Epperly, J. A. Tropp, R. J. Webber (2024), "XTrace: making the most of every sample in
    stochastic trace estimation", SIAM Journal on Matrix Analysis and Applications 45(1),
    https://arxiv.org/abs/2301.07825.

    Examples
    --------
    >>> A = np.diag(0.5 ** np.arange(50))
    >>> round(fnn.curvature.xtrace(A, num_matvecs=40).value, 3)
    2.0
    """
    stop = Stop(rtol, num_matvecs, time_limit, max_matvecs, fewest=2)
    products = Products(A, n, batch_size)
    seed = checks.seed(seed)

    sketch = _LeaveOneOut(products)
    while True:
        k = _growth(sketch, (stop.limit - products.num_matvecs) // 2, num_matvecs)
        sketch.extend(products.probes("gaussian", seed, sketch.rank, k))
        if sketch.complete:
            return sketch.exact_trace(stop)
        H, R, S = sketch.H, sketch.R, sketch.left_out()
        W = sketch.Q.T @ sketch.Omega
        lengths = np.sum(sketch.Omega**2, axis=0)
        wAw = np.sum(W * R, axis=0)
        W -= S * np.sum(S * W, axis=0)  # coefficients of P w
        rest = _remainder(H, W, R, wAw) / (lengths - np.sum(W**2, axis=0))
        samples = np.trace(H) - np.sum(S * (H @ S), axis=0) + (products.n - sketch.rank + 1) * rest
        value, std_error = mean_and_error(samples)
        if stop.reached(value, std_error, samples.size, products.num_matvecs):
            return stop.estimate(value, std_error, products.num_matvecs, samples)


def xdiag(
    A: Operator,
    *,
    n: Integer | None = None,
    rtol: Real | None = None,
    num_matvecs: Integer | None = None,
    time_limit: Real | None = None,
    max_matvecs: Integer = 1000,
    batch_size: Integer = 16,
    seed: Integer | None = 0,
) -> Estimate[Floats]:
    """Estimate the diagonal of a symmetric `A` by XDiag.

    For each of k random sign vectors w, with P the projector on A times the k - 1 others::

        diag A ~ diag(PA) + w * (I - P) A w

    and the estimate is the mean of all k: it is unbiased, and exact if A has rank k - 1 or less.

    Parameters
    ----------
    A : LinearOperator, array, sparse array (n, n), or callable
        Real and symmetric. A function takes v (n,), float64, and returns A v (n,).
    n, num_matvecs, time_limit, max_matvecs, batch_size, seed
        As for `xtrace`.
    rtol : float, optional
        Stop when the norm of the standard errors is at most `rtol` times that of the diagonal.

    Returns
    -------
    Estimate
        With `value` and `std_error` (n,), and without samples. The errors are those of `xtrace`,
        element by element.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above, a product is not finite, or `A` is not symmetric.

    Warns
    -----
    RuntimeWarning
        If `max_matvecs` came first.

    References
    ----------
    E. N. Epperly, J. A. Tropp, R. J. Webber (2024), "XTrace: making the most of every sample in
    stochastic trace estimation", SIAM Journal on Matrix Analysis and Applications 45(1),
    https://arxiv.org/abs/2301.07825.

    Examples
    --------
    >>> A = np.diag(0.5 ** np.arange(50))
    >>> fnn.curvature.xdiag(A, num_matvecs=40).value[:3].round(2)
    array([1.  , 0.5 , 0.25])
    """
    stop = Stop(rtol, num_matvecs, time_limit, max_matvecs, fewest=2)
    products = Products(A, n, batch_size)
    seed = checks.seed(seed)

    sketch = _LeaveOneOut(products)
    while True:
        k = _growth(sketch, (stop.limit - products.num_matvecs) // 2, num_matvecs)
        sketch.extend(products.probes("rademacher", seed, sketch.rank, k))
        diagonal = np.sum(sketch.Q * sketch.AQ, axis=1)
        if sketch.complete:
            stop.reached(diagonal, np.zeros(products.n), 1, products.num_matvecs, exact=True)
            return stop.estimate(diagonal, np.zeros(products.n), products.num_matvecs)
        S = sketch.left_out()
        # (I - P) A w = Q s (s'r), where r are the coefficients of A w in Q.
        rest = sketch.Omega * np.sum(S * sketch.R, axis=0) - sketch.AQ @ S
        rest *= sketch.Q @ S
        correction, std_error = mean_and_error(rest, axis=1)
        value = diagonal + correction
        if stop.reached(value, std_error, sketch.rank, products.num_matvecs):
            return stop.estimate(value, std_error, products.num_matvecs)


class _Sketch:
    """An orthonormal basis Q of A Ω, with AQ and H = Q'AQ, that grows with Ω."""

    def __init__(self, products: Products) -> None:
        self.products = products
        self.Q = self.AQ = np.empty((products.n, 0))

    @property
    def rank(self) -> int:
        return self.Q.shape[1]

    @property
    def complete(self) -> bool:
        """Whether Q is a basis of the whole space."""
        return self.rank == self.products.n

    def extend(self, Omega: Array) -> Array:
        """Add columns (n, k), and return A times them, in 2 k products."""
        AO = self.products.matmat(Omega)
        # Householder's QR leaves the columns that are orthonormal already, up to signs, and
        # completes the basis even if the new ones depend on them.
        Q = np.linalg.qr(np.hstack([self.Q, AO]))[0][:, self.rank :]
        self.Q = np.hstack([self.Q, Q])
        self.AQ = np.hstack([self.AQ, self.products.matmat(Q)])
        H = self.products.check_symmetric(self.Q, self.AQ)
        self.H = (H + H.T) / 2
        return AO

    def exact_trace(self, stop: Stop) -> Estimate[float]:
        value, used = float(np.trace(self.H)), self.products.num_matvecs
        stop.reached(value, 0.0, 1, used, exact=True)
        return stop.estimate(value, 0.0, used, np.array([value]))


class _LeaveOneOut(_Sketch):
    """A sketch that keeps Ω, and R with A Ω = Q R."""

    def __init__(self, products: Products) -> None:
        super().__init__(products)
        self.Omega = np.empty((products.n, 0))
        self.R = np.empty((0, 0))

    def extend(self, Omega: Array) -> Array:
        before = self.rank
        AO = super().extend(Omega)
        self.Omega = np.hstack([self.Omega, Omega])
        below = np.zeros((self.rank - before, before))
        self.R = np.hstack([np.vstack([self.R, below]), self.Q.T @ AO])
        return AO

    def left_out(self) -> Array:
        """Return S (k, k): Q s_i is the direction that leaves the basis with column i of Ω.

        s_i has length 1 and is orthogonal to all columns of R but number i, so it is that column
        of inv(R'), scaled. Where columns of A Ω depend on others, any of the directions that A Ω
        does not reach will do, and those are what the smallest singular values give.
        """
        U, sigma, Vt = np.linalg.svd(self.R)
        floor = np.finfo(np.float64).eps * sigma[0] or 1.0
        S = U @ (Vt / np.maximum(sigma, floor)[:, None])
        return S / np.linalg.norm(S, axis=0)


def _growth(sketch: _Sketch, room: int, num_matvecs: Integer | None) -> int:
    """Return how many vectors to add: all there is room for, or half of those that are there."""
    wanted = room if num_matvecs is not None else max(_FIRST, sketch.rank // 2)
    return min(wanted, room, sketch.products.n - sketch.rank)


def _remainder(H: Array, W: Array, QAG: Array, gAg: Array) -> Array:
    """Return u'Au, with u = g - Q w for columns g of G and w of W, from Q'AG and g'Ag."""
    return gAg - 2 * np.sum(W * QAG, axis=0) + np.sum(W * (H @ W), axis=0)
