"""Features of the data: derivatives in the parameters, and what comes into the last layer."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import checks, curvature, intake
from ..layers import Dense, WeightNorm
from ..models import Sequential, engine_of
from ..pictures import axes_or_new
from ..typing import Array, ArrayLike, Floats, Inputs, Integer
from .stages import stages

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DENSE = 1024  # rows of the Gram matrix up to which it is formed: 8 MiB, eigh within a second
_BLOCK = 64  # of its columns at a time


def local_features(model: Sequential, X: Inputs, k: Integer = 10) -> "Features":
    """Return the leading singular values and vectors of the Jacobian in the parameters.

    Close to its parameters w a network is linear in them, ``f(x; w + v) ~ f(x; w) + J(x) v``: row
    J(x) of the Jacobian holds the local features of x, one per parameter. With ``J = U S V'`` the
    columns of U are the synthetic features, in the order in which gradient descent on the squared
    error learns them; ``S^2`` are the eigenvalues of the tangent kernel J J' [1]_.

    Parameters
    ----------
    model : Sequential
    X : array_like (n, in_features)
        At least one row, of finite numbers.
    k : int
        How many, from 1 to the smaller of n * out_features and n_parameters.

    Returns
    -------
    Features
        With ``n_rows = n * out_features``, row ``i * out_features + c`` for output c of example i.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above.
    ImportError
        If SciPy is not there.

    Notes
    -----
    In float64 whatever the model's dtype. If the smaller side of the Jacobian has 1024 elements or
    fewer, by the eigenvectors of the Gram matrix of that side (of the rows it is the tangent
    kernel). Otherwise by ``scipy.sparse.linalg.svds`` from products with the Jacobian, which is
    never formed.

    References
    ----------
    .. [1] A. Jacot, F. Gabriel, C. Hongler (2018), "Neural tangent kernel: convergence and
       generalization in neural networks", NeurIPS, https://arxiv.org/abs/1806.07572.

    Examples
    --------
    >>> features = fnn.inspect.local_features(model, X[:50], k=5)
    >>> features.singular_values.shape, features.synthetic.shape
    ((5,), (500, 5))
    >>> features.directions.shape == (model.n_parameters, 5)
    True
    """
    _examples(model, X)
    J = curvature.Jacobian(model, X, dtype="float64")
    k = checks.integer(k, "k", minimum=1, maximum=min(J.shape))
    _check_finite(J.T @ np.ones(J.shape[0]), "derivatives in the parameters")
    # svds keeps fewer than all.
    svd = _svd_by_gram if min(J.shape) <= max(_DENSE, k) else _svd_by_products
    return Features(*svd(J, k))


def penultimate_features(model: Sequential, X: Inputs, k: Integer | None = None) -> "Features":
    """Return the singular values and vectors of what comes into the last `Dense` layer.

    Of several, the one that is computed last, also within other layers.

    These features and a constant one are what the last layer's weights see, and for those of one
    output they are the local features.

    Parameters
    ----------
    model : Sequential
        With at least one `Dense`.
    X : array_like (n, in_features)
        At least one row, of finite numbers.
    k : int, optional
        How many, from 1 to the smaller of n and the number of features; by default all.

    Returns
    -------
    Features
        With ``n_rows = n``; `values` has the features themselves, without the constant one.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above.

    Examples
    --------
    >>> features = fnn.inspect.penultimate_features(model, X)
    >>> features.values.shape == (len(X), 32)
    True
    >>> local = fnn.inspect.local_features(model, X[:50])
    >>> axes = features.plot(local.plot())
    """
    X = _examples(model, X)
    engine = engine_of(model)
    places = engine.graph.places
    dense = [place for place in places if isinstance(place.layer, (Dense, WeightNorm))]
    if not dense:
        raise ValueError(f"model: expected a Dense layer, got {model!r}")
    last, value = dense[-1].path, dense[-1].inputs[0]
    if dense[-1].kept > 1:
        raise ValueError(
            f"model: expected a last Dense that is computed once, got that of layers[{last}], "
            "which a layer evaluates again and again"
        )
    values = engine.values(X)[value - 1] if value else next(stages(model))[1].forward(X)
    values = values.reshape(-1, values.shape[-1])  # of every position
    k = checks.integer(min(values.shape) if k is None else k, "k", 1, min(values.shape))
    _check_finite(values, f"features before layers[{last}]")
    U, sigma, Vt = np.linalg.svd(values.astype(np.float64), full_matrices=False)
    return Features(sigma[:k], U[:, :k], Vt[:k].T, values)


class Features:
    """What `local_features` and `penultimate_features` return: a matrix of features, by its SVD.

    Attributes
    ----------
    singular_values : ndarray (k,), float64
        Falling.
    synthetic : ndarray (n_rows, k), float64
        Left singular vectors: the leading synthetic features at each row.
    directions : ndarray (n_features, k), float64
        Right singular vectors: which features they are made of; directions in the space of
        parameters, for local features.
    values : ndarray (n_rows, n_features) or None
        The features themselves, if they were formed.
    """

    def __init__(
        self,
        singular_values: Floats,
        synthetic: Floats,
        directions: Floats,
        values: Array | None = None,
    ) -> None:
        self.singular_values = singular_values
        self.synthetic = synthetic
        self.directions = directions
        self.values = values

    def __repr__(self) -> str:
        (n_rows, k), n_features = self.synthetic.shape, len(self.directions)
        return f"Features({k} singular values of {n_rows} rows, {n_features} features)"

    def plot(self, ax: "Axes | None" = None, label: str | None = None) -> "Axes":
        """Draw the singular values, each through the first, without those that are rounding.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where; by default in a new figure, which is ``.figure`` of what is returned.
        label : str, optional
            For a legend.

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = axes_or_new(ax)
        sigma = self.singular_values / self.singular_values[0]
        sigma = sigma[sigma > len(self.synthetic) * np.finfo(np.float64).eps]
        ax.loglog(np.arange(1, len(sigma) + 1), sigma, ".-", label=label)
        ax.set(xlabel="number", ylabel="singular value / first")
        ax.grid(alpha=0.3)
        return ax

    def plot_synthetic(self, x: ArrayLike, k: Integer = 4, ax: "Axes | None" = None) -> "Axes":
        """Draw the leading synthetic features over a number that each row has.

        Parameters
        ----------
        x : array_like (n_rows,)
            Where each row is drawn: the input, if it is one number.
        k : int
            How many.
        ax : matplotlib.axes.Axes, optional
            Where; by default in a new figure, which is ``.figure`` of what is returned.

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = axes_or_new(ax)
        x = np.ravel(np.asarray(x))
        order = np.argsort(x, kind="stable")
        for i in range(min(k, self.synthetic.shape[1])):
            ax.plot(x[order], self.synthetic[order, i], linewidth=1.2, label=f"{i + 1}")
        ax.set(xlabel="input", ylabel="synthetic feature")
        ax.legend(fontsize=8, ncols=2)
        return ax


def _examples(model: Sequential, X: Inputs) -> Array:
    X = intake.features(engine_of(model), X, allow_nonfinite=False)
    if X.shape[0] == 0:
        raise ValueError(f"X: expected at least one row, got shape {X.shape}")
    return X


def _check_finite(values: Array, what: str) -> None:
    if not np.isfinite(values).all():
        raise ValueError(f"model: expected finite {what}, got NaN or infinity for X")


def _svd_by_gram(J: Any, k: int) -> tuple[Floats, Floats, Floats]:
    """Return k singular values, left and right vectors from the smaller of J J' and J'J."""
    wide = J.shape[0] <= J.shape[1]
    A = J if wide else J.T
    n = A.shape[0]
    gram = np.empty((n, n))
    for start in range(0, n, _BLOCK):
        columns = np.eye(n, min(_BLOCK, n - start), -start)
        gram[:, start : start + _BLOCK] = A @ (A.T @ columns)
    first = np.linalg.eigh((gram + gram.T) / 2)[1][:, : -k - 1 : -1]
    # The Gram matrix squares the singular values; those of A restricted to its eigenvectors, and
    # their order, are as exact as those of A.
    other, sigma, rotation = np.linalg.svd(A.T @ first, full_matrices=False)
    first = first @ rotation.T
    return (sigma, first, other) if wide else (sigma, other, first)


def _svd_by_products(J: Any, k: int) -> tuple[Floats, Floats, Floats]:
    try:
        from scipy.sparse.linalg import svds
    except ImportError as error:
        raise ImportError(
            f"features need SciPy: pip install 'pyfast-nn[curvature]' ({error})", name=error.name
        ) from None
    start = np.random.default_rng(0).standard_normal(min(J.shape))
    U, sigma, Vt = svds(J, k, v0=start)
    order = np.argsort(-sigma, kind="stable")
    return sigma[order], U[:, order], Vt[order].T
