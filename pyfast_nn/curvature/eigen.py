"""Eigenpairs at the ends of a spectrum, by SciPy."""

import inspect
from collections.abc import Callable
from itertools import count
from typing import Any, Literal

import numpy as np

from .. import checks
from ..typing import Array, Floats, Integer, Operator, Real
from .products import Products

_WHICH = ("LA", "SA", "LM", "SM", "BE")
_SMALL = 20  # vectors that ARPACK would keep: up to here the dense matrix costs no more products


def top_eigenpairs(
    A: Operator,
    k: Integer,
    *,
    which: Literal["LA", "SA", "LM", "SM", "BE"] = "LA",
    tol: Real = 1e-6,
    max_matvecs: Integer = 1000,
    seed: Integer | None = 0,
    n: Integer | None = None,
) -> tuple[Floats, Array]:
    """Return `k` eigenvalues of a symmetric `A` at the ends of its spectrum, with eigenvectors.

    By ``scipy.sparse.linalg.eigsh`` (implicitly restarted Lanczos), or from the n products with
    unit vectors where n is no larger than the space that it would keep. Copies of a multiple
    eigenvalue, which that finds by chance only, are looked for in the complement of the
    eigenvectors found (not under ``"SM"``), for `k` > 1 by 20 products and more: one that lies near
    the next eigenvalues may still be missed, with those in its place.

    Parameters
    ----------
    A : LinearOperator, array, sparse array (n, n), or callable
        Real and symmetric. A function takes v (n,), float64, and returns A v (n,).
    k : int
        From 1 to n.
    which : {"LA", "SA", "LM", "SM", "BE"}
        Which eigenvalues, and in which order:

        * ``"LA"``: the largest, falling;
        * ``"SA"``: the smallest, rising;
        * ``"LM"``: those of largest absolute value, which falls;
        * ``"SM"``: those of smallest absolute value, which rises (slow to converge);
        * ``"BE"``: (k + 1) // 2 of the largest and k // 2 of the smallest, falling.
    tol : float
        Relative accuracy: the norm of ``A v - x v`` is at most about tol times the absolute value
        of x, and the error of x itself is smaller. 0 means as far as rounding lets.
    max_matvecs : int
        Products to use at most.
    seed : int or None
        Of the start vector, from 0 to 2**64 - 1; None draws one.
    n : int, optional
        Length of vectors, if `A` is a function.

    Returns
    -------
    values : ndarray (k,), float64
    vectors : ndarray (n, k)
        In the dtype of the operator; column i, of length 1, belongs to ``values[i]``.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above, a product is not finite, or `A` is not symmetric.
    RuntimeError
        If `max_matvecs` is not enough.
    ImportError
        If SciPy is not there.

    References
    ----------
    R. B. Lehoucq, D. C. Sorensen, C. Yang (1998), "ARPACK users' guide", SIAM,
    https://doi.org/10.1137/1.9780898719628.

    Examples
    --------
    >>> A = np.diag(np.arange(100.0))
    >>> values, vectors = fnn.curvature.top_eigenpairs(A, k=2)
    >>> values.round(6)
    array([99., 98.])
    """
    products = Products(A, n)
    k = checks.integer(k, "k", minimum=1, maximum=products.n)
    checks.choice(which, "which", _WHICH)
    if which == "BE" and k == 1:  # ARPACK has none
        which = "LA"
    return _eigenpairs(products, k, which, tol, max_matvecs, checks.seed(seed))


def condition_number(
    A: Operator,
    *,
    tol: Real = 1e-2,
    max_matvecs: Integer = 1000,
    seed: Integer | None = 0,
    n: Integer | None = None,
) -> float:
    """Return the condition number of a symmetric `A`, in the spectral norm.

    The largest through the smallest absolute eigenvalue; infinite if that is 0. Made for definite
    operators, such as those with damping: both ends of the spectrum are taken from one run of
    `top_eigenpairs`, by some hundred products for 1e3, and some thousand for 1e4 if the eigenvalues
    crowd at the lower end. If they differ in sign, the smallest absolute eigenvalue is looked for
    in between, which may need many more. What is singular up to rounding may not converge.

    Parameters
    ----------
    A, max_matvecs, seed, n
        As for `top_eigenpairs`.
    tol : float
        Relative accuracy of both ends, as for `top_eigenpairs`; mostly they are far nearer.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError, RuntimeError, ImportError
        As for `top_eigenpairs`.

    Examples
    --------
    >>> A = np.diag(np.linspace(1, 10, 50))
    >>> round(fnn.curvature.condition_number(A), 6)
    10.0
    """
    products = Products(A, n)
    seed = checks.seed(seed)
    ends = (products.n, "LA") if products.n <= _SMALL else (2, "BE")
    options: Any = (tol, max_matvecs, seed, 2 * _SMALL)  # a larger space needs half of the products
    values, _ = _eigenpairs(products, *ends, *options)
    if products.n > _SMALL and values[0] > 0 > values[1]:
        values = np.append(values, _eigenpairs(products, 1, "SM", *options)[0])
    sizes = np.abs(values)
    return float(sizes.max() / sizes.min()) if sizes.min() > 0 else np.inf


def _eigenpairs(
    products: Products,
    k: int,
    which: str,
    tol: Real,
    max_matvecs: Integer,
    seed: int,
    space: int = _SMALL,
) -> tuple[Floats, Array]:
    tol = checks.real(tol, "tol", minimum=0)
    max_matvecs = checks.integer(max_matvecs, "max_matvecs", minimum=1)

    def product(V: Array) -> Array:
        if products.num_matvecs + V.shape[1] > max_matvecs:
            raise RuntimeError(
                f"{k} eigenpairs ({which}) not converged to tol={tol:g} after "
                f"{products.num_matvecs} products; expected a larger max_matvecs (got "
                f"{max_matvecs}) or tol"
            )
        return products.matmat(V)

    if products.n <= max(_SMALL, 2 * k + 1):
        unit = np.eye(products.n)
        matrix = products.check_symmetric(unit, product(unit))
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    else:
        V = products.probes("gaussian", seed, 0, 2)
        AV = product(V)
        products.check_symmetric(V, AV)
        if AV.any():
            values, vectors = _arpack(products, product, k, which, tol, seed, space)
        else:  # A = 0 (but for a chance of none), from which ARPACK cannot start
            values, vectors = np.zeros(k), np.eye(products.n, k)
    wanted = _wanted(values, k, which)
    return values[wanted], vectors[:, wanted].astype(products.dtype, copy=False)


def _arpack(
    products: Products,
    product: Callable[[Array], Array],
    k: int,
    which: str,
    tol: float,
    seed: int,
    space: int,
) -> tuple[Array, Array]:
    """Return k eigenvalues or more, and their vectors, from that many vectors kept, or more."""
    try:
        from scipy.sparse.linalg import LinearOperator, eigsh
    except ImportError as error:
        raise ImportError(
            f"eigenpairs need SciPy: pip install 'pyfast-nn[curvature]' ({error})", name=error.name
        ) from None
    n = products.n
    starts = (products.probes("gaussian", seed, i, 1)[:, 0].astype(float) for i in count())
    options: dict[str, Any] = {
        "tol": tol,
        "maxiter": 2**31 - 1,
    }  # more restarts than `product` lets it begin
    if "rng" in inspect.signature(eigsh).parameters:  # before: random numbers of its own
        options["rng"] = np.random.default_rng(seed)

    def pairs(matmat: Callable[[Array], Array], k: int, which: str, start: Array) -> Any:
        operator = LinearOperator((n, n), lambda v: matmat(v.reshape(-1, 1)), dtype=np.float64)
        ncv = min(n, max(space, 2 * k + 1))
        return eigsh(operator, k, which=which, v0=start, ncv=ncv, **options)

    values, vectors = pairs(product, k, which, next(starts))
    # A Krylov space has one vector of each eigenspace, that of its start, and only rounding brings
    # others: copies of a multiple eigenvalue that are missing lie in the complement of what was
    # found, and show from another start.
    ends = {"BE": {"LA": (k + 1) // 2, "SA": k // 2}, "SM": {}}.get(which, {which: k})
    for end, wanted in ends.items():
        for _ in range(wanted - 1):  # no more can be better than the worst
            worst, size = values[_wanted(values, wanted, end)[-1]], np.abs(values).max()
            value, start = _best_outside(product, vectors, next(starts), end)
            gain = _KEYS[end](worst) - _KEYS[end](value)
            if gain <= max(tol * abs(worst), 10 * np.finfo(products.dtype).eps * size):
                break
            # What those found get for an eigenvalue, so that none of them is found again.
            hidden = {"LA": worst - size, "SA": worst + size, "LM": 0.0}[end]

            def outside(V: Array, found: Array = vectors, hidden: float = hidden) -> Array:
                inside = found.T @ V
                AV = product(V - found @ inside)
                return AV - found @ (found.T @ AV - hidden * inside)

            value, vector = pairs(outside, 1, end, start)
            values, vectors = np.append(values, value), np.hstack([vectors, vector])
    return values, vectors


def _best_outside(
    product: Callable[[Array], Array], found: Array, start: Array, end: str
) -> tuple[float, Array]:
    """Return the Ritz value nearest to `end`, and its vector, after some steps of Lanczos' method.

    In the complement of the columns of `found`, which are orthonormal.
    """
    n, size = found.shape
    steps = min(n - size, max(2 * size + 1, _SMALL))
    basis, H = np.empty((n, size + steps), order="F"), np.zeros((steps, steps))
    basis[:, :size] = found
    v = start
    for j in range(steps):
        before, length = basis[:, : size + j], np.linalg.norm(v)
        for _ in range(2):  # the second time for what rounding left
            v = v - before @ (before.T @ v)
        rest = np.linalg.norm(v)
        if not rest > 1e-12 * length:  # the space is invariant
            steps = j
            break
        basis[:, size + j] = v / rest
        v = product(basis[:, size + j, None])[:, 0].astype(np.float64)
        H[: j + 1, j] = basis[:, size : size + j + 1].T @ v
    values, vectors = np.linalg.eigh(H[:steps, :steps], UPLO="U")
    best = _wanted(values, 1, end)[0]
    return values[best], basis[:, size : size + steps] @ vectors[:, best]


_KEYS: dict[str, Callable[[Any], Any]] = {
    "LA": np.negative,
    "SA": np.positive,
    "LM": lambda x: -np.abs(x),
    "SM": np.abs,
}


def _wanted(values: Array, k: int, which: str) -> Array:
    """Return the numbers of the k eigenvalues that `which` means, in its order."""
    order = np.argsort(_KEYS.get(which, np.negative)(values), kind="stable")
    if which == "BE":
        return np.append(order[: (k + 1) // 2], order[len(order) - k // 2 :])
    return order[:k]
