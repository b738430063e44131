"""Derivatives of a model as SciPy's linear operators, whose products are made in the core."""

import math
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from .. import _core, checks, data, intake, losses
from ..guidance import Guided
from ..models import Sequential, engine_of
from ..typing import Array, ArrayLike, ClassWeight, Floats, Inputs, Integer, Restrict
from .derivatives import Derivatives, as_rows, check_columns, check_each_loss

try:
    from scipy.sparse.linalg import LinearOperator
except ImportError as _error:
    raise ImportError(
        f"operators need SciPy: pip install 'pyfast-nn[curvature]' ({_error})", name=_error.name
    ) from None

if TYPE_CHECKING:
    from typing_extensions import Self

MEMORY_BUDGET = 2**30  # bytes
_BLOCK = 64  # columns that the core gets at a time where more than the result would have to be held


class ScipyOperator(Guided, LinearOperator):
    """SciPy's linear operator, with the types that SciPy leaves out."""

    _assigned: tuple[str, ...] = ("keys", "dtype", "shape")  # the last two by SciPy

    keys: list[str]
    if TYPE_CHECKING:
        shape: tuple[int, int]
        dtype: np.dtype[Any]

        def __new__(cls, *args: Any, **kwargs: Any) -> "Self": ...
        def matvec(self, x: npt.ArrayLike) -> Array: ...
        def rmatvec(self, x: npt.ArrayLike) -> Array: ...
        def matmat(self, X: npt.ArrayLike) -> Array: ...
        def rmatmat(self, X: npt.ArrayLike) -> Array: ...
        @overload
        def __matmul__(self, x: npt.ArrayLike) -> Array: ...
        @overload
        def __matmul__(self, x: LinearOperator) -> LinearOperator: ...
        def __matmul__(self, x: Any) -> Any: ...


class ModelOperator(ScipyOperator):
    """What operators of a model have in common: a snapshot of it, its data, and parameters.

    Attributes
    ----------
    keys : list of str
        Which parameters it acts on, in their order; see `Sequential.named_parameters`.
    """

    def __init__(
        self,
        model: Sequential,
        kind: str,
        examples: data.Examples,
        loss: losses.Loss | None,
        restrict: Restrict,
        dtype: np.dtype[Any],
        memory_budget: Integer,
        run: _core.Run,
    ) -> None:
        self._derivatives = Derivatives(
            engine_of(model), kind, examples, loss, restrict, dtype, memory_budget, run
        )
        self.keys: list[str] = self._derivatives.keys

    def _matvec(self, v: Array) -> Array:
        return self._matmat(v.reshape(-1, 1))[:, 0]

    def _rmatvec(self, v: Array) -> Array:
        return self._rmatmat(v.reshape(-1, 1))[:, 0]


class SymmetricOperator(ModelOperator):
    """What `Hessian` and its kin have in common."""

    _kind: str  # as the core names it

    def __init__(
        self,
        model: Sequential,
        X: Inputs,
        y: ArrayLike,
        loss: str | losses.Loss | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        class_weight: ClassWeight | None = None,
        damping: ArrayLike = 0.0,
        restrict: Restrict | None = None,
        dtype: npt.DTypeLike | None = None,
        memory_budget: Integer = MEMORY_BUDGET,
        training: bool = False,
        seed: Integer | None = None,
    ) -> None:
        run = intake.check_run(training, seed)
        engine = engine_of(model)
        dtype = engine.dtype if dtype is None else checks.dtype(dtype)
        loss = intake.check_loss(engine, loss)
        self._check_loss(loss)
        X = intake.features(engine, X)
        examples = intake.examples(engine, X, y, loss, sample_weight, class_weight, dtype=dtype)
        super().__init__(model, self._kind, examples, loss, restrict, dtype, memory_budget, run)
        self._derivatives.damp(damping)
        n = self._derivatives.n
        LinearOperator.__init__(self, dtype, (n, n))

    def _check_loss(self, loss: losses.Loss) -> None:
        """Raise ValueError if this matrix does not exist for `loss`."""

    def _matmat(self, V: Array) -> Array:
        of = self._derivatives
        rows = of.whole(V)
        of.core.products(rows, out := np.empty_like(rows))
        AV = of.part(out)
        if of.damping is not None:
            AV += (of.damping * of.part(rows).T).T
        return AV

    _rmatmat = _matmat

    def _adjoint(self) -> "Self":
        return self

    _transpose = _adjoint

    def quadratic_form(self, V: ArrayLike) -> Floats:
        """Return v'Av for each column v of `V`, without Av: cheaper than `matmat`.

        Parameters
        ----------
        V : array_like (n, k)

        Returns
        -------
        ndarray (k,), float64
        """
        of = self._derivatives
        rows = of.whole(V)
        of.core.quadratic_forms(rows, out := np.empty(len(rows)))
        if of.damping is not None:
            V = of.part(rows)
            out += np.einsum("ij,ij,i->j", V, V, np.broadcast_to(of.damping, of.n))
        return out


class Hessian(SymmetricOperator):
    """The Hessian of the mean loss in the parameters.

    An operator is a snapshot: it copies the parameters, and refers to the data, which are not to
    change while it is used. Its products are those of Pearlmutter (1994), many at a time: ``H @ V``
    is one computation. They have the same bits for any number of threads, of columns beside them,
    and for any `memory_budget`.

    Parameters
    ----------
    model : Sequential
    X, y, loss, sample_weight, class_weight
        As for `Sequential.evaluate`.
    damping : float or array_like (n,)
        What is added to the diagonal, at least 0.
    restrict : int, str, or list of those, optional
        Layers by their number or path (``"3.0"``, within a layer that is made of layers), or
        parameters by their key (``"0.weight"``): only these vary, and the operator is that block
        of the whole.
    dtype : {"float32", "float64"}, optional
        In which it computes; that of the model unless given.
    memory_budget : int
        Bytes for what the forward and backward passes of examples leave. What has no room is
        computed again by each block of products.
    training, seed
        As for `Sequential.forward`: an operator in training is linear and symmetric, too, as its
        random numbers are those of its seed.

    Attributes
    ----------
    keys : list of str
        Which parameters it acts on, in their order; see `Sequential.named_parameters`.
    shape : tuple of int
        ``(n, n)`` with the number of those.

    Raises
    ------
    TypeError, ValueError
        As for `Sequential.evaluate`, or if an argument is none of the above.
    ImportError
        If SciPy is not there.

    References
    ----------
    B. A. Pearlmutter (1994), "Fast exact multiplication by the Hessian", Neural Computation 6(1),
    https://doi.org/10.1162/neco.1994.6.1.147.

    Examples
    --------
    >>> H = fnn.curvature.Hessian(model, X, y, loss="cross_entropy")
    >>> v = np.ones(model.n_parameters)
    >>> np.allclose(v @ (H @ v), H.quadratic_form(v[:, None]), rtol=1e-3)
    True
    """

    _kind = "hessian"


class GaussNewton(SymmetricOperator):
    """The generalised Gauss-Newton matrix, J' H J.

    J are the derivatives of the outputs in the parameters, H the Hessian of the losses in the
    outputs: what is left of the Hessian where the network is taken as linear in its parameters.
    Positive semi-definite if the loss is convex in the outputs; of losses of pairs of rows, which
    are not, H is what is convex of it (`pyfast_nn.losses`).

    Parameters
    ----------
    model, X, y, loss, sample_weight, class_weight
    damping, restrict, dtype, memory_budget, training, seed
        As for `Hessian`.

    References
    ----------
    N. N. Schraudolph (2002), "Fast curvature matrix-vector products for second-order gradient
    descent", Neural Computation 14(7), https://doi.org/10.1162/08997660260028683.

    Examples
    --------
    >>> G = fnn.curvature.GaussNewton(model, X, y, loss="cross_entropy", damping=1e-3)
    >>> bool(G.quadratic_form(np.ones((model.n_parameters, 1)))[0] > 0)
    True
    """

    _kind = "gauss_newton"


class Fisher(SymmetricOperator):
    """Fisher's information matrix of the distribution that the model gives to the labels.

    The mean over the examples of the expectation of ``g g'``, where g is the gradient of minus the
    log-likelihood of a label drawn from the model. For cross-entropy, binary cross-entropy, the
    squared error and Poisson's loss the outputs are natural parameters, and it is the Gauss-Newton
    matrix (Martens 2020), which is what is computed.

    Parameters
    ----------
    model, X, y, sample_weight, class_weight
    damping, restrict, dtype, memory_budget, training, seed
        As for `Hessian`; of `y` only the shape matters.
    loss : str or Loss, optional
        One of those. Under ``"mse"`` the labels are normal, with the variance for which that is
        minus the log-likelihood of an example.

    Raises
    ------
    ValueError
        For other losses, which are no log-likelihood, or whose outputs are not natural parameters.

    References
    ----------
    J. Martens (2020), "New insights and perspectives on the natural gradient method", JMLR 21(146),
    https://jmlr.org/papers/v21/17-678.html.

    Examples
    --------
    >>> F = fnn.curvature.Fisher(model, X, y, loss="cross_entropy")
    >>> G = fnn.curvature.GaussNewton(model, X, y, loss="cross_entropy")
    >>> v = np.ones(model.n_parameters)
    >>> np.array_equal(F @ v, G @ v)
    True
    """

    _kind = "gauss_newton"
    _losses = (
        losses.CrossEntropy,
        losses.BinaryCrossEntropy,
        losses.MSE,
        losses.Poisson,
    )

    def _check_loss(self, loss: losses.Loss) -> None:
        if not isinstance(loss, self._losses) or getattr(loss, "confidence_penalty", 0) != 0:
            raise ValueError(
                "loss: expected a log-likelihood whose natural parameters are the outputs "
                "(cross_entropy without confidence_penalty, binary_cross_entropy, mse, poisson), "
                f"got {loss!r}"
            )


class EmpiricalFisher(SymmetricOperator):
    """The mean over the examples of ``g g'``, where g is the gradient of an example's loss.

    With weights ``sum(w g g') / sum(w)``. Its labels are those of the data, not drawn from the
    model: it is neither Fisher's matrix nor an approximation of the Hessian (Kunstner, Hennig and
    Balles 2019), but the second moment of the noise of SGD.

    Parameters
    ----------
    model, X, y, loss, sample_weight, class_weight
    damping, restrict, dtype, memory_budget, training, seed
        As for `Hessian`.

    References
    ----------
    F. Kunstner, P. Hennig, L. Balles (2019), "Limitations of the empirical Fisher approximation for
    natural gradient descent", NeurIPS, https://arxiv.org/abs/1905.12558.

    Examples
    --------
    >>> E = fnn.curvature.EmpiricalFisher(model, X, y, loss="cross_entropy")
    >>> norms = fnn.curvature.per_example_gradient_norms(model, X, y, loss="cross_entropy")
    >>> bool(np.isclose(fnn.curvature.exact_trace(E), np.mean(norms**2), rtol=1e-5))
    True
    """

    _kind = "empirical_fisher"

    def _check_loss(self, loss: losses.Loss) -> None:
        check_each_loss(loss)


class Jacobian(ModelOperator):
    """The derivatives of the outputs in the parameters, (n_rows * n_outputs, n).

    Row ``i * n_outputs + c`` is the gradient of output c of example i: the local features of that
    example.

    Parameters
    ----------
    model : Sequential
    X : array_like (n_rows, in_features)
    restrict, dtype, memory_budget, training, seed
        As for `Hessian`.

    Examples
    --------
    >>> J = fnn.curvature.Jacobian(model, X[:5])
    >>> J.shape == (5 * model.out_features, model.n_parameters)
    True
    >>> out, dout = model.jvp(X[:5], v := np.ones(model.n_parameters))
    >>> np.allclose((J @ v).reshape(out.shape), dout, rtol=1e-4, atol=1e-4)
    True
    """

    def __init__(
        self,
        model: Sequential,
        X: Inputs,
        *,
        restrict: Restrict | None = None,
        dtype: npt.DTypeLike | None = None,
        memory_budget: Integer = MEMORY_BUDGET,
        training: bool = False,
        seed: Integer | None = None,
    ) -> None:
        run = intake.check_run(training, seed)
        engine = engine_of(model)
        dtype = engine.dtype if dtype is None else checks.dtype(dtype)
        X = intake.features(engine, X)
        examples = data.Examples(X, X, X)  # without targets
        super().__init__(model, "jacobian", examples, None, restrict, dtype, memory_budget, run)
        of = self._derivatives
        LinearOperator.__init__(self, dtype, (of.n_rows * math.prod(engine.out_shape), of.n))

    def _matmat(self, V: Array) -> Array:
        rows = self._derivatives.whole(V)
        out = np.empty((len(rows), self.shape[0]), self.dtype)
        self._derivatives.core.jacobian_products(rows, out)
        return out.T

    def _rmatmat(self, U: ArrayLike) -> Array:
        of = self._derivatives
        U = as_rows(check_columns(U, self.shape[0]), self.dtype)
        out = np.empty((len(U), of.net.n_parameters), self.dtype)
        of.core.jacobian_transposed_products(U, out)
        return of.part(out)


class NTK(ScipyOperator):
    """The neural tangent kernel of some examples, J J' with their `Jacobian`.

    Row and column ``i * n_outputs + c`` belong to output c of example i.

    Parameters
    ----------
    model, X, restrict, dtype, memory_budget, training, seed
        As for `Jacobian`.

    References
    ----------
    A. Jacot, F. Gabriel, C. Hongler (2018), "Neural tangent kernel: convergence and generalization
    in neural networks", NeurIPS, https://arxiv.org/abs/1806.07572.

    Examples
    --------
    >>> K = fnn.curvature.NTK(model, X[:5])
    >>> K.shape == (5 * model.out_features,) * 2
    True
    """

    _assigned = (*ScipyOperator._assigned, "jacobian")

    def __init__(
        self,
        model: Sequential,
        X: Inputs,
        *,
        restrict: Restrict = None,
        dtype: npt.DTypeLike | None = None,
        memory_budget: Integer = MEMORY_BUDGET,
        training: bool = False,
        seed: Integer | None = None,
    ) -> None:
        self.jacobian: Jacobian = Jacobian(
            model,
            X,
            restrict=restrict,
            dtype=dtype,
            memory_budget=memory_budget,
            training=training,
            seed=seed,
        )
        self.keys: list[str] = self.jacobian.keys
        m = self.jacobian.shape[0]
        super().__init__(self.jacobian.dtype, (m, m))

    def _matmat(self, U: Array) -> Array:
        KU = np.empty(U.shape, self.dtype, order="F")
        for i in range(0, U.shape[1], _BLOCK):
            block = slice(i, i + _BLOCK)
            KU[:, block] = self.jacobian._matmat(self.jacobian._rmatmat(U[:, block]))
        return KU

    _rmatmat = _matmat

    def _matvec(self, u: Array) -> Array:
        return self._matmat(u.reshape(-1, 1))[:, 0]

    _rmatvec = _matvec

    def _adjoint(self) -> "Self":
        return self

    _transpose = _adjoint

    def quadratic_form(self, U: ArrayLike) -> Floats:
        """Return ``u'Ku = |J'u|^2`` for each column u of `U` (m, k), float64 (k,)."""
        JU = self.jacobian._rmatmat(U)
        return np.einsum("ij,ij->j", JU, JU, dtype=np.float64)


def derivatives_of(A: ModelOperator) -> Derivatives:
    """Return what makes the products of an operator."""
    return A._derivatives
