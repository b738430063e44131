"""Plain Monte-Carlo: traces and diagonals from products with random vectors."""

from typing import Literal, overload

import numpy as np

from .. import checks
from ..typing import Floats, Integer, Operator, Real
from .products import Products
from .stopping import Estimate, Stop, mean_and_error

_DISTRIBUTIONS = ("rademacher", "gaussian")


@overload
def hutchinson_trace(
    A: Operator,
    *,
    n: Integer | None = ...,
    rtol: Real | None = ...,
    num_matvecs: Integer | None = ...,
    time_limit: Real | None = ...,
    max_matvecs: Integer = ...,
    distribution: Literal["rademacher", "gaussian"] = ...,
    batch_size: Integer = ...,
    seed: Integer | None = ...,
    per_parameter: Literal[False] = ...,
) -> Estimate[float]: ...
@overload
def hutchinson_trace(
    A: Operator,
    *,
    n: Integer | None = ...,
    rtol: Real | None = ...,
    num_matvecs: Integer | None = ...,
    time_limit: Real | None = ...,
    max_matvecs: Integer = ...,
    distribution: Literal["rademacher", "gaussian"] = ...,
    batch_size: Integer = ...,
    seed: Integer | None = ...,
    per_parameter: Literal[True],
) -> dict[str, Estimate[float]]: ...
def hutchinson_trace(
    A: Operator,
    *,
    n: Integer | None = None,
    rtol: Real | None = None,
    num_matvecs: Integer | None = None,
    time_limit: Real | None = None,
    max_matvecs: Integer = 1000,
    distribution: Literal["rademacher", "gaussian"] = "rademacher",
    batch_size: Integer = 16,
    seed: Integer | None = 0,
    per_parameter: bool = False,
) -> Estimate[float] | dict[str, Estimate[float]]:
    """Estimate the trace of `A` by the mean of v'Av over random v.

    With E[vv'] = I the mean is unbiased. For symmetric A the variance of one sample is
    ``2 (|A|_F^2 - sum_i a_ii^2)`` with signs and ``2 |A|_F^2`` with normal vectors; the standard
    error falls as 1 / sqrt(products).

    Parameters
    ----------
    A : LinearOperator, array, sparse array (n, n), or callable
        Real operator. If it has a method ``quadratic_form(V)``, which returns v'Av for each column
        of V (n, k), that is used in place of products, and each of its values counts as one. A
        function takes v (n,), float64, and returns A v (n,). The estimate is right without
        symmetry, too.
    n : int, optional
        Length of vectors, if `A` is a function.
    rtol : float, optional
        Stop when the standard error is at most `rtol` times the absolute value, with
        `per_parameter` when that holds for the norms of both. Looked at after each block, from 8
        samples on.
    num_matvecs : int, optional
        Use this number of products, without `rtol` and `time_limit`.
    time_limit : float, optional
        Stop after the block in which so many seconds are over, if `rtol` is not reached before.
    max_matvecs : int
        Stop there in any case, with RuntimeWarning; has no effect beside `num_matvecs`.
    distribution : {"rademacher", "gaussian"}
        Of the elements of v: independent signs, or standard normal numbers.
    batch_size : int
        Number of products to ask for at a time; memory is n times as many numbers. The samples do
        not depend on it.
    seed : int or None
        Of the random vectors, from 0 to 2**64 - 1; None draws one.
    per_parameter : bool
        Estimate the trace of each weight's and bias's block, of `Hessian`, `GaussNewton`, `Fisher`
        or `EmpiricalFisher`. Each is noisier than from the operator of that block alone (see
        `restrict` there), as v'Av of a block has the products with the other blocks in it; and
        `quadratic_form` is of no use.

    Returns
    -------
    Estimate, or dict of Estimate
        With one sample per product. With `per_parameter` ``{"0.weight": ..., "0.bias": ..., ...}``.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above, or a product is not finite.

    Warns
    -----
    RuntimeWarning
        If `max_matvecs` came first.

    Notes
    -----
    ``value`` plus and minus ``t std_error``, with t the quantile of Student's distribution with one
    degree of freedom less than samples, is an interval that covers the trace at the rate of that
    quantile as far as the samples are normal: many eigenvalues of one size. Where few dominate,
    samples are skewed, and it covers less: 91 % in place of 95 % with 24 products and eigenvalues
    1, 1/4, 1/9, ...

    References
    ----------
    M. F. Hutchinson (1990), "A stochastic estimator of the trace of the influence matrix for
    Laplacian smoothing splines", Communications in Statistics - Simulation and Computation 19(2),
    https://doi.org/10.1080/03610919008812866.

    Examples
    --------
    >>> A = np.diag([1.0, 2.0, 3.0]) + 0.5
    >>> estimate = fnn.curvature.hutchinson_trace(A, num_matvecs=1000, seed=0)
    >>> abs(estimate.value - 7.5) < 3 * estimate.std_error < 0.2
    True
    """
    stop = Stop(rtol, num_matvecs, time_limit, max_matvecs, fewest=1)
    products = Products(A, n, batch_size)
    checks.choice(distribution, "distribution", _DISTRIBUTIONS)
    seed = checks.seed(seed)
    blocks = _blocks(A, per_parameter)

    samples = np.empty((0, len(blocks)) if per_parameter else 0)
    while True:
        k = min(products.batch_size, stop.limit - products.num_matvecs)
        V = products.probes(distribution, seed, len(samples), k)
        if per_parameter:
            terms = np.multiply(V, products.matmat(V), dtype=np.float64)
            new = np.stack([terms[block].sum(axis=0) for block in blocks.values()], axis=1)
        else:
            new = products.quadratic_form(V)
        samples = np.concatenate([samples, new])
        value, std_error = mean_and_error(samples)
        if stop.reached(value, std_error, len(samples), products.num_matvecs):
            break

    def estimate(value: float, std_error: float, samples: Floats) -> Estimate[float]:
        return stop.estimate(float(value), float(std_error), products.num_matvecs, samples)

    if not per_parameter:
        return estimate(value, std_error, samples)
    return dict(zip(blocks, map(estimate, value, std_error, samples.T), strict=True))


def _blocks(A: object, per_parameter: bool) -> dict[str, slice]:
    """Return {key: slice of v} of an operator of a model, if that is asked for."""
    if not checks.boolean(per_parameter, "per_parameter"):
        return {}
    from .operators import SymmetricOperator, derivatives_of

    if not isinstance(A, SymmetricOperator):
        raise TypeError(
            "A: expected Hessian, GaussNewton, Fisher or EmpiricalFisher with per_parameter=True, "
            f"got {checks.describe(A)}"
        )
    return derivatives_of(A).blocks()


def hutchinson_diagonal(
    A: Operator,
    *,
    n: Integer | None = None,
    rtol: Real | None = None,
    num_matvecs: Integer | None = None,
    time_limit: Real | None = None,
    max_matvecs: Integer = 1000,
    distribution: Literal["rademacher", "gaussian"] = "rademacher",
    batch_size: Integer = 16,
    seed: Integer | None = 0,
) -> Estimate[Floats]:
    """Estimate the diagonal of `A` by the mean of v * Av, element by element, over random v.

    With E[vv'] = I the mean is unbiased. The variance of element i of one sample is
    ``sum_j a_ij^2 - a_ii^2`` with signs and ``sum_j a_ij^2 + a_ii^2`` with normal vectors.

    Parameters
    ----------
    A : LinearOperator, array, sparse array (n, n), or callable
        As for `hutchinson_trace`; its products are used.
    n, num_matvecs, time_limit, max_matvecs, distribution, batch_size, seed
        As for `hutchinson_trace`.
    rtol : float, optional
        Stop when the norm of the standard errors is at most `rtol` times that of the diagonal.

    Returns
    -------
    Estimate
        With `value` and `std_error` (n,), and without samples.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above, or a product is not finite.

    Warns
    -----
    RuntimeWarning
        If `max_matvecs` came first.

    References
    ----------
    C. Bekas, E. Kokiopoulou, Y. Saad (2007), "An estimator for the diagonal of a matrix", Applied
    Numerical Mathematics 57(11-12), https://doi.org/10.1016/j.apnum.2007.01.003.

    Examples
    --------
    >>> A = np.diag([1.0, 2.0, 3.0]) + 0.01
    >>> fnn.curvature.hutchinson_diagonal(A, num_matvecs=50).value.round(1)
    array([1., 2., 3.])
    """
    stop = Stop(rtol, num_matvecs, time_limit, max_matvecs, fewest=1)
    products = Products(A, n, batch_size)
    checks.choice(distribution, "distribution", _DISTRIBUTIONS)
    seed = checks.seed(seed)

    m = 0
    mean, squares = np.zeros(products.n), np.zeros(products.n)  # squares of deviations, summed
    while True:
        k = min(products.batch_size, stop.limit - products.num_matvecs)
        V = products.probes(distribution, seed, m, k)
        samples = np.multiply(V, products.matmat(V), dtype=np.float64)
        # Chan, Golub, LeVeque (1983): the moments of two sets from those of each.
        block = samples.mean(axis=1)
        squares += ((samples - block[:, None]) ** 2).sum(axis=1)
        squares += (block - mean) ** 2 * (m * k / (m + k))
        mean += (block - mean) * (k / (m + k))
        m += k
        variance = squares / (m - 1) if m > 1 else np.full(products.n, np.nan)
        std_error = np.sqrt(variance / m)
        if stop.reached(mean, std_error, m, products.num_matvecs):
            return stop.estimate(mean, std_error, products.num_matvecs)
