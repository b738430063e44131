"""Whatever a user calls an operator, as one thing: counted and checked products with blocks."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _core, checks, data
from ..typing import Array, Floats, Integer, Shape

_STREAM = 2**62  # of random numbers; those of models are far below it
_ASYMMETRY = 1e-4  # far above rounding in float32, far below that of a matrix without symmetry


class Products:
    """Products with `A` (n, n): `matmat`, `quadratic_form`, and how many there were.

    Blocks go in and come out in `dtype`, float32 or float64; the operator is asked for `batch_size`
    columns at a time.
    """

    n: int
    dtype: np.dtype[Any]
    num_matvecs: int

    def __init__(self, A: Any, n: Integer | None, batch_size: Integer | None = None) -> None:
        if hasattr(A, "matmat") or hasattr(A, "matvec") or hasattr(A, "toarray"):
            dtype = getattr(A, "dtype", None)
            self.dtype = np.dtype(np.float64 if dtype is None else dtype)
            self._shape = tuple(A.shape)
            if hasattr(A, "matmat"):
                self._matmat = A.matmat
            else:
                self._matmat = A.__matmul__ if hasattr(A, "toarray") else _by_columns(A.matvec)
        elif callable(A):
            if n is None:
                raise TypeError("n: expected the length of vectors, as A is a function; got None")
            n = checks.integer(n, "n", minimum=1)
            self.dtype = np.dtype(np.float64)
            self._shape = (n, n)
            self._matmat = _by_columns(A)
        else:
            A = data.as_array(A, "A")
            self.dtype, self._shape = A.dtype, A.shape
        if self.dtype.kind not in "fiub":
            raise TypeError(f"A: expected real numbers, got dtype {self.dtype}")
        if len(self._shape) != 2 or self._shape[0] != self._shape[1] or self._shape[0] < 1:
            raise ValueError(f"A: expected shape (n, n) with n >= 1, got {self._shape}")
        self.n = int(self._shape[0])
        if n is not None and n != self.n:
            raise ValueError(f"n: expected {self.n}, as A has shape {self._shape}; got {n}")
        if self.dtype != np.float32:
            self.dtype = np.dtype(np.float64)
        if isinstance(A, np.ndarray):
            self._matmat = np.asarray(A, self.dtype).__matmul__
        self._quadratic_form = getattr(A, "quadratic_form", None)
        # Those of a model are by construction. Near a minimum their float32 products are small
        # differences of large numbers, whose rounding no bound on asymmetry would let pass.
        self._self_adjoint = getattr(A, "H", None) is A
        self.batch_size: Any = (
            None if batch_size is None else checks.integer(batch_size, "batch_size", minimum=1)
        )
        self.num_matvecs = 0

    def matmat(self, V: Array, check_finite: bool = True) -> Array:
        """Return A @ V for V (n, k), an array that may be the operator's own: do not write.

        One who reads all of it anyway need not have it read once more, and calls `check_finite`
        when something is not.
        """
        V = np.asarray(V, self.dtype, order="F")
        k = V.shape[1]
        size = self.batch_size or k
        if k <= size:
            AV = self._check(self._matmat(V), V.shape, k, "A @ V")
            if check_finite:
                self.check_finite(AV)
            return AV.astype(self.dtype, copy=False)
        AV = np.empty_like(V)
        for i in range(0, k, size):
            AV[:, i : i + size] = self.matmat(V[:, i : i + size], check_finite)
        return AV

    def quadratic_form(self, V: Array) -> Floats:
        """Return v'Av, float64 (k,), for each column of V (n, k)."""
        if self._quadratic_form is None:
            return np.einsum("ij,ij->j", V, self.matmat(V), dtype=np.float64)
        k = V.shape[1]
        values = self._quadratic_form(np.asarray(V, self.dtype))
        values = self._check(values, (k,), k, "A.quadratic_form(V)")
        self.check_finite(values, "A.quadratic_form(V)")
        return values.astype(np.float64)

    def probes(self, distribution: str, seed: int, first: int, k: int) -> Array:
        """Return random vectors `first` to `first` + k as columns (n, k), each contiguous.

        Number i is a function of `seed` and i, in float32 the same as in float64, rounded.
        """
        V = np.empty((k, self.n), self.dtype)
        v = np.empty(self.n)
        for i in range(k):
            stream = _STREAM + first + i
            if distribution == "gaussian":
                _core.random_normal(seed, stream, v)
                V[i] = v
            else:
                _core.random_uniform(seed, stream, v)
                np.copysign(1, v - 0.5, out=V[i], casting="same_kind")
        return V.T

    def check_symmetric(self, V: Array, AV: Array) -> Array:
        """Raise unless V'AV is symmetric, up to far more than rounding, and return it in float64.

        An operator that says itself that it is its own adjoint is believed.
        """
        scale = float(np.abs(AV).max()) or 1.0  # squares of large and small numbers have no range
        AV = AV / AV.dtype.type(scale)
        VAV = (V.T @ AV).astype(np.float64)
        lengths = np.linalg.norm(V, axis=0).max() * np.linalg.norm(AV, axis=0).max()
        self._check_equal(VAV, VAV.T, lengths)
        return VAV * scale

    def check_symmetric_pairs(self, U: Array, AU: Array, V: Array, AV: Array) -> None:
        """As above, for columns u of U and v of V that have the same place; all are of length 1.

        Without BLAS, whose threads would go on to spin beside those of the next products.
        """
        scale = max(float(np.abs(AU).max()), float(np.abs(AV).max())) or 1.0
        AU, AV = (each / each.dtype.type(scale) for each in (AU, AV))
        uAv, vAu = np.einsum("ij,ij->j", U, AV), np.einsum("ij,ij->j", V, AU)
        longest = max(np.linalg.norm(each, axis=0).max() for each in (AU, AV))
        self._check_equal(uAv, vAu, longest)

    def _check_equal(self, uAv: Array, vAu: Array, lengths: float) -> None:
        difference = np.abs(uAv - vAu).max()
        if difference > _ASYMMETRY * lengths and not self._self_adjoint:
            raise ValueError(
                "A: expected a symmetric operator that does not change between products, got u'Av "
                f"and v'Au that differ by {difference / lengths:.2g} of |u| |Av|"
            )

    def _check(self, result: Any, shape: Shape, k: int, what: str) -> Array:
        result = np.asarray(result)
        if result.dtype.kind not in "fiub":
            raise TypeError(f"A: expected {what} to be real, got dtype {result.dtype}")
        if result.shape != shape:
            raise ValueError(f"A: expected {what} of shape {shape}, got {result.shape}")
        self.num_matvecs += k
        return result

    def check_finite(self, result: Array, what: str = "A @ V") -> None:
        """Raise if what the operator made of k vectors, (..., k), has NaN or infinity."""
        if not np.isfinite(result).all():
            shape = self.n, result.shape[-1]
            raise ValueError(
                f"A: expected finite {what}, as V of shape {shape} is, got NaN or infinity"
            )


def _by_columns(matvec: Callable[[Array], Any]) -> Callable[[Array], Array]:
    def matmat(V: Array) -> Array:
        columns = []
        for v in V.T:
            Av = np.asarray(matvec(v))
            if Av.shape != v.shape:
                raise ValueError(f"A: expected A(v) of shape {v.shape}, got {Av.shape}")
            columns.append(Av.copy())  # it may be a buffer that the next call fills again
        return np.stack(columns, axis=1)

    return matmat
