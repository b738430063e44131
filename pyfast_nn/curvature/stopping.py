"""What an estimate is, and when an estimator stops."""

import math
import time
import warnings
from typing import Any, Generic, TypeVar

import numpy as np

from .. import checks
from ..typing import Array, Floats, Integer, Real

Value = TypeVar("Value")  # float, or an array for a diagonal
_FEWEST = 8  # samples before their spread is believed


class Estimate(Generic[Value]):
    """A random estimate with its error; what `hutchinson_trace` and its kin return.

    Attributes
    ----------
    value : float, or ndarray (n,) for a diagonal
    std_error : float, or ndarray (n,)
        Estimated standard deviation of `value`. 0 where the value is exact up to rounding, NaN
        where a single sample tells nothing of it.
    num_matvecs : int
        Products with the operator that were used.
    samples : ndarray (m,), float64, or None for a diagonal
        Estimates whose mean is `value`.
    converged : bool
        Whether the estimator stopped because of what was asked: `num_matvecs` done, `rtol`
        reached, or, without `rtol`, `time_limit` over.
    """

    def __init__(
        self,
        value: Value,
        std_error: Value,
        num_matvecs: int,
        samples: Floats | None,
        converged: bool,
    ) -> None:
        self.value = value
        self.std_error = std_error
        self.num_matvecs = num_matvecs
        self.samples = samples
        self.converged = converged

    def __repr__(self) -> str:
        names = ("value", "std_error", "num_matvecs", "converged")
        return f"Estimate({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


class Stop:
    """The rule by which an estimator stops, and what it knows when it does.

    After every block of products the estimator says what it has with `reached`; `limit` is the
    number of products that it may use at most, `fewest` how many its smallest step needs.
    """

    limit: int

    def __init__(
        self,
        rtol: Real | None,
        num_matvecs: Integer | None,
        time_limit: Real | None,
        max_matvecs: Integer,
        fewest: int,
    ) -> None:
        self._start = time.perf_counter()
        if (num_matvecs is None) == (rtol is None and time_limit is None):
            raise ValueError(
                "num_matvecs: expected either it, or rtol or time_limit or both; got "
                f"num_matvecs={num_matvecs!r}, rtol={rtol!r}, time_limit={time_limit!r}"
            )
        self._rtol = None if rtol is None else checks.real(rtol, "rtol", above=0)
        self._time_limit = (
            math.inf if time_limit is None else checks.real(time_limit, "time_limit", above=0)
        )
        max_matvecs = checks.integer(max_matvecs, "max_matvecs", minimum=fewest)
        self._asked = num_matvecs is not None
        self.limit = max_matvecs
        if self._asked:
            self.limit = checks.integer(num_matvecs, "num_matvecs", minimum=fewest)
        self._fewest = fewest
        self._converged = False

    def reached(
        self, value: Any, std_error: Any, num_samples: int, num_matvecs: int, exact: bool = False
    ) -> bool:
        """Whether to stop with `value`; warns if it is for lack of products."""
        if not np.isfinite(value).all():
            raise ValueError(
                "A: expected products whose squares are finite, got an estimate of NaN or infinity"
            )
        if exact:
            self._converged = True
        elif self._rtol is not None:
            # Of a diagonal the norms are compared.
            error, size = np.linalg.norm(std_error), np.linalg.norm(value)
            self._converged = bool(num_samples >= _FEWEST and error <= self._rtol * size)
        over = time.perf_counter() - self._start >= self._time_limit
        spent = num_matvecs + self._fewest > self.limit
        if self._rtol is None:
            self._converged |= over or (spent and self._asked)
        if spent and not (self._converged or over):
            warnings.warn(
                f"stopped at max_matvecs={self.limit} before "
                + (f"rtol={self._rtol:g}" if self._rtol is not None else "time_limit"),
                RuntimeWarning,
                stacklevel=3,
            )
        return self._converged or over or spent

    def estimate(
        self, value: Value, std_error: Value, num_matvecs: int, samples: Floats | None = None
    ) -> Estimate[Value]:
        """Return the Estimate, after `reached` said True."""
        return Estimate(value, std_error, num_matvecs, samples, self._converged)


def mean_and_error(samples: Array, axis: int = 0) -> tuple[Any, Any]:
    """Return the mean of independent samples and its standard error, NaN for one sample."""
    m = samples.shape[axis]
    mean = samples.mean(axis=axis)
    error = samples.std(axis=axis, ddof=1) / math.sqrt(m) if m > 1 else np.full_like(mean, np.nan)
    return (mean, error) if samples.ndim > 1 else (float(mean), float(error))
