"""Eigenpairs at the ends of a spectrum, by SciPy."""

import inspect

import numpy as np

from .. import checks
from .products import Products, check_seed, check_symmetric

_WHICH = ("LA", "SA", "LM", "SM", "BE")
_SMALL = 20  # vectors that ARPACK would keep: up to here the dense matrix costs no more products


def top_eigenpairs(A, k, *, which="LA", tol=1e-6, max_matvecs=1000, seed=0, n=None):
    """Return `k` eigenvalues of a symmetric `A` at the ends of its spectrum, with eigenvectors.

    By ``scipy.sparse.linalg.eigsh`` (implicitly restarted Lanczos), or from the n products with
    unit vectors where n is no larger than the space that it would keep.

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
    seed : int
        Of the start vector, from 0 to 2**64 - 1.
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
    return _eigenpairs(products, k, which, tol, max_matvecs, check_seed(seed))


def condition_number(A, *, tol=1e-6, max_matvecs=1000, seed=0, n=None):
    """Return the condition number of a symmetric `A`, in the spectral norm.

    The largest through the smallest absolute eigenvalue; infinite if that is 0. Made for definite
    operators, such as those with damping: both ends of the spectrum are taken from one run of
    `top_eigenpairs`. If they differ in sign, the smallest absolute eigenvalue is looked for in
    between, which may need many products. What is singular up to rounding may not converge.

    Parameters
    ----------
    A, tol, max_matvecs, seed, n
        As for `top_eigenpairs`.

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
    seed = check_seed(seed)
    ends = (products.n, "LA") if products.n <= _SMALL else (2, "BE")
    values, _ = _eigenpairs(products, *ends, tol, max_matvecs, seed)
    if products.n > _SMALL and values[0] > 0 > values[1]:
        values = np.append(values, _eigenpairs(products, 1, "SM", tol, max_matvecs, seed)[0])
    sizes = np.abs(values)
    return float(sizes.max() / sizes.min()) if sizes.min() > 0 else np.inf


def _eigenpairs(products, k, which, tol, max_matvecs, seed):
    tol = checks.real(tol, "tol", minimum=0)
    max_matvecs = checks.integer(max_matvecs, "max_matvecs", minimum=1)

    def product(V):
        if products.num_matvecs + V.shape[1] > max_matvecs:
            raise RuntimeError(
                f"{k} eigenpairs ({which}) not converged to tol={tol:g} after "
                f"{products.num_matvecs} products; expected a larger max_matvecs (got "
                f"{max_matvecs}) or tol"
            )
        return products.matmat(V)

    if products.n <= max(_SMALL, 2 * k + 1):
        unit = np.eye(products.n)
        matrix = check_symmetric(unit, product(unit))
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    else:
        V = products.probes("gaussian", seed, 0, 2)
        AV = product(V)
        check_symmetric(V, AV)
        if AV.any():
            values, vectors = _arpack(product, V[:, 0], k, which, tol, seed)
        else:  # A = 0 (but for a chance of none), from which ARPACK cannot start
            values, vectors = np.zeros(k), np.eye(products.n, k)
    wanted = _wanted(values, k, which)
    return values[wanted], vectors[:, wanted].astype(products.dtype, copy=False)


def _arpack(product, start, k, which, tol, seed):
    try:
        from scipy.sparse.linalg import LinearOperator, eigsh
    except ImportError as error:
        raise ImportError(
            f"eigenpairs need SciPy: pip install 'pyfast-nn[curvature]' ({error})", name=error.name
        ) from None
    operator = LinearOperator(
        (start.size, start.size), lambda v: product(v.reshape(-1, 1)), dtype=np.float64
    )
    options = {}
    if "rng" in inspect.signature(eigsh).parameters:  # before: random numbers of its own
        options["rng"] = np.random.default_rng(seed)
    # More restarts than `product` lets it begin.
    return eigsh(
        operator, k, which=which, v0=start.astype(float), tol=tol, maxiter=2**31 - 1, **options
    )


def _wanted(values, k, which):
    """Return the numbers of the k eigenvalues that `which` means, in its order."""
    keys = {"LA": -values, "SA": values, "LM": -np.abs(values), "SM": np.abs(values)}
    order = np.argsort(keys.get(which, -values), kind="stable")
    if which == "BE":
        return np.append(order[: (k + 1) // 2], order[len(order) - k // 2 :])
    return order[:k]
