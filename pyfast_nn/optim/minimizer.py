"""An optimizer as a method of `scipy.optimize.minimize`."""

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import checks
from ..typing import Floats, Integer, Real, Shape
from .base import Optimizer, find

# The numbers of SciPy's BFGS.
CONVERGED, OUT_OF_STEPS, NOT_FINITE, CALLBACK = 0, 1, 3, 99
MESSAGES = {
    CONVERGED: "Optimization terminated successfully: no component of the gradient exceeds tol.",
    OUT_OF_STEPS: "Maximum number of steps has been reached.",
    NOT_FINITE: "The point, its value or its gradient is not finite.",
    CALLBACK: "`callback` raised `StopIteration`.",
}


def as_scipy(
    optimizer: str | type[Optimizer], *, max_steps: Integer = 1000, tol: Real = 1e-5, **hyper: Any
) -> Callable[..., Any]:
    """Return an optimizer as a `method` of `scipy.optimize.minimize`.

    Each step takes one value and one gradient, at the point that the step before it has reached;
    there is no line search. The result is the last point, which need not be the best.

    Parameters
    ----------
    optimizer : str or type
        The name of a class in `fnn.optim`, in any case (``"adam"``), or such a class.
    max_steps : int
        At least 0.
    tol : float
        The minimizer has converged where the infinity norm of the gradient is at most this, as for
        ``gtol`` of SciPy's BFGS; at least 0. With bounds it is the projected gradient: a component
        that points out of them counts as far as its bound is away.
    **hyper
        The optimizer's hyper-parameters: ``lr=0.1``.

    Returns
    -------
    callable
        For ``minimize(fun, x0, args, method=..., jac=..., bounds=..., tol=..., callback=...,
        options=...)``. `fun` returns value and gradient (``jac=True``), or `jac` is a function that
        returns the latter. After each step the point is clipped to `bounds`, as `x0` is at the
        start. `options` holds whatever of the arguments above is to be different. All is done in
        float64, and `x0` is not changed.

        `minimize` returns an ``OptimizeResult`` with ``x`` (n,), ``fun``, ``jac`` (n,), ``nit``,
        ``nfev``, ``njev``, ``success``, ``message`` and ``status``: 0 where it has converged, 1
        after `max_steps` steps, 3 at a point, value or gradient that is not finite, 99 where
        `callback` raised ``StopIteration``.

    Raises
    ------
    TypeError, ValueError
        If there is no such optimizer or a hyper-parameter is impossible; by `minimize`, if there is
        no gradient, if there are constraints, or if an array has another shape than `x0`.

    References
    ----------
    The projected gradient is that of R. H. Byrd, P. Lu, J. Nocedal, C. Zhu (1995), "A limited
    memory algorithm for bound constrained optimization", https://doi.org/10.1137/0916069.

    Examples
    --------
    >>> from scipy.optimize import minimize, rosen, rosen_der
    >>> adam = fnn.optim.as_scipy("adam", lr=0.02, max_steps=10_000)
    >>> result = minimize(rosen, [-1.0, 2.0], jac=rosen_der, method=adam, tol=1e-6)
    >>> result.success, result.x.round(4)
    (True, array([1., 1.]))
    """
    kind = find(optimizer)
    kind(**hyper)  # so that what is impossible shows now
    checks.integer(max_steps, "max_steps", 0)
    checks.real(tol, "tol", minimum=0)
    return functools.partial(descend, optimizer=kind, max_steps=max_steps, tol=tol, **hyper)


def descend(
    fun: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...] = (),
    *,
    optimizer: type[Optimizer],
    max_steps: Integer,
    tol: Real,
    jac: Any = None,
    hess: Any = None,
    hessp: Any = None,
    bounds: Any = None,
    constraints: Any = (),
    callback: Callable[..., Any] | None = None,
    **hyper: Any,
) -> Any:
    """Minimize as `scipy.optimize.minimize` asks a method to."""
    from scipy.optimize import OptimizeResult

    if constraints is not None and not (isinstance(constraints, (tuple, list)) and not constraints):
        raise ValueError(
            f"constraints: expected none, as {optimizer.__name__} knows bounds only, got "
            f"{checks.describe(constraints)}"
        )
    if not callable(jac):
        raise ValueError(
            f"jac: expected True or a function, as {optimizer.__name__} needs the gradient, got "
            f"{checks.describe(jac)}"
        )
    if hess is not None or hessp is not None:
        message = f"{optimizer.__name__} does not use Hessian information (hess, hessp)"
        warnings.warn(message, RuntimeWarning, stacklevel=3)
    checks.integer(max_steps, "max_steps", 0)
    checks.real(tol, "tol", minimum=0)

    if np.asarray(x0).dtype.kind not in "biuf":
        raise TypeError(f"x0: expected real numbers, got {checks.describe(x0)}")
    lower, upper = read_bounds(bounds, np.shape(x0))
    x = np.clip(np.array(x0, np.float64), lower, upper)
    update = optimizer(x, **hyper)
    tell = teller(callback)

    def evaluate() -> tuple[float, Floats]:  # on copies: what the user keeps, or changes, is theirs
        value = np.asarray(fun(x.copy(), *args), np.float64)
        grad = np.array(jac(x.copy(), *args), np.float64)
        if value.size != 1:
            raise ValueError(f"fun: expected a number, got {checks.describe(value)}")
        if grad.shape != x.shape:
            raise ValueError(f"jac: expected an array of shape {x.shape}, got shape {grad.shape}")
        return value.item(), grad

    value, grad = evaluate()
    steps, status = 0, None
    while status is None:
        if not (np.isfinite(value) and np.isfinite(grad).all() and np.isfinite(x).all()):
            status = NOT_FINITE
        elif np.max(np.abs(projected(grad, x, lower, upper)), initial=0) <= tol:
            status = CONVERGED
        elif steps == max_steps:
            status = OUT_OF_STEPS
        else:
            update.step(grad)
            np.clip(x, lower, upper, out=x)
            steps += 1
            value, grad = evaluate()
            try:
                tell(OptimizeResult(x=x.copy(), fun=value))
            except StopIteration:
                status = CALLBACK
    return OptimizeResult(
        x=x,
        fun=value,
        jac=grad,
        nit=steps,
        nfev=steps + 1,
        njev=steps + 1,
        success=status == CONVERGED,
        status=status,
        message=MESSAGES[status],
    )


def projected(grad: Floats, x: Floats, lower: Floats, upper: Floats) -> Floats:
    """Return the gradient, its components no longer than the way that they have within bounds."""
    return np.where(grad < 0, np.maximum(x - upper, grad), np.minimum(x - lower, grad))


def read_bounds(bounds: Any, shape: Shape) -> tuple[Floats, Floats]:
    """Return the two bounds of SciPy's argument as arrays of this shape."""
    low: Any
    high: Any
    if bounds is None:
        low, high = -np.inf, np.inf
    elif hasattr(bounds, "lb"):  # scipy.optimize.Bounds
        low, high = bounds.lb, bounds.ub
    else:
        pairs = [tuple(pair) for pair in bounds]
        if len(pairs) != np.prod(shape) or any(len(pair) != 2 for pair in pairs):
            raise ValueError(
                f"bounds: expected a pair for each of {np.prod(shape)} variables, got {pairs}"
            )
        low = [-np.inf if each is None else each for each, _ in pairs]
        high = [np.inf if each is None else each for _, each in pairs]
    try:
        lower, upper = (np.broadcast_to(np.asarray(b, np.float64), shape) for b in (low, high))
    except ValueError:
        raise ValueError(
            f"bounds: expected numbers of shape {shape}, got {low} and {high}"
        ) from None
    if not (lower <= upper).all():
        i = np.flatnonzero(~(lower <= upper))[0]
        raise ValueError(f"bounds: expected lower <= upper, got {lower[i]} and {upper[i]} at {i}")
    return lower, upper


def teller(callback: Callable[..., Any] | None) -> Callable[[Any], Any]:
    """Return a function of an OptimizeResult that calls `callback` in the way that it takes."""
    if callback is None:
        return lambda result: None
    if set(inspect.signature(callback).parameters) == {"intermediate_result"}:
        return lambda result: callback(intermediate_result=result)
    return lambda result: callback(result.x)
