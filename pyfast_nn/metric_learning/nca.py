"""Neighbourhood components analysis."""

import numpy as np

from .. import ops
from ..typing import ArrayLike, Floats, Integer, Real
from .base import Mahalanobis, Objective
from .groups import BLOCK, Grouped, grouped, squares
from .start import start


class NCA(Mahalanobis):
    """Neighbourhood components analysis: nearest neighbours, one drawn at random, shall be right.

    An example draws another one as its neighbour, with probabilities that are the softmax of minus
    the squared distances; the linear map is learned that makes as many as possible, in the mean,
    draw one of their own class.

    Parameters
    ----------
    n_components : int or None
        Rows of the map, from 1 to n_features. None: n_features.
    init : {"auto", "pca", "lda", "identity"} or array_like (n_components, n_features)
        The map to begin with: principal components, linear discriminants or columns as they are.
        "auto" takes discriminants where there are enough, otherwise principal components where
        `n_components` is smaller than both sizes of X, otherwise the identity.
    max_iter : int
        Iterations of L-BFGS, at most.
    tol : float
        Tolerance of L-BFGS, as `scipy.optimize.minimize` takes it.

    Attributes
    ----------
    components_ : ndarray (n_components, n_features), float64
    n_iter_ : int
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only where X had names that are strings.

    See Also
    --------
    sklearn.neighbors.NeighborhoodComponentsAnalysis : The same minimum, in more time.

    Notes
    -----
    An iteration takes O(n^2 n_components) operations and O(n) memory, the latter as distances are
    looked at in blocks of rows. The objective is not convex: `init` counts. Where all
    distances are much smaller than 1 or much larger its gradient vanishes, and nothing is learned:
    columns should have a scale of about 1.

    References
    ----------
    J. Goldberger, G. Hinton, S. Roweis, R. Salakhutdinov (2004), "Neighbourhood components
    analysis", NIPS 17.

    Examples
    --------
    >>> from pyfast_nn.metric_learning import NCA
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> nca = NCA(n_components=8).fit(X, y)
    >>> neighbours = KNeighborsClassifier(3).fit(nca.transform(X), y)
    >>> neighbours.score(nca.transform(Xt), yt) > 0.9
    True
    """

    components_: Floats

    def __init__(
        self,
        n_components: Integer | None = None,
        *,
        init: str | ArrayLike = "auto",
        max_iter: Integer = 50,
        tol: Real = 1e-5,
    ) -> None:
        self.n_components = n_components
        self.init = init
        self.max_iter = max_iter
        self.tol = tol

    def fit(self, X: ArrayLike, y: ArrayLike) -> "NCA":
        """Learn the map.

        Parameters
        ----------
        X : array_like (n, n_features)
        y : array_like (n,)
            Labels.

        Returns
        -------
        NCA
            Itself.

        Raises
        ------
        TypeError, ValueError
            If an argument or a parameter is impossible.

        Warns
        -----
        ConvergenceWarning
            After `max_iter` iterations.
        """
        rows, labels = self._check_training(X, y)
        first = start(self.init, self.n_components, rows, labels)
        groups = grouped(labels)
        ordered = (rows - rows.mean(axis=0))[groups.order]
        self.components_ = self._minimize(right_neighbours(ordered, groups), first)
        return self


def right_neighbours(X: Floats, groups: Grouped) -> Objective:
    """Return minus the expected number of right neighbours, as a function of the map.

    With p_ij the probability that i draws j, p_i that it draws its class, and
    ``w_ij = p_ij ([j of the class of i] - p_i)``, the gradient is twice L times the sum of
    ``w_ij (x_i - x_j) (x_i - x_j)'``, that is of ``X' (diag(c) - W - W') X`` with c the sums of the
    columns of W, whose rows sum to zero.
    """
    n = len(X)
    room = np.empty((BLOCK, n))

    def objective(components: Floats) -> tuple[float, Floats]:
        Z = ops.gemm(X, components, trans_b=True)
        offsets = -squares(Z)
        value, columns, weighted = 0.0, np.zeros(n), np.zeros_like(Z)
        for rows, members in groups.blocks():
            # Up to a number for each row, minus the squared distances.
            p = ops.dense_forward(2 * Z[rows], Z.T, offsets, out=room[: rows.stop - rows.start])
            np.fill_diagonal(p[:, rows], -np.inf)
            ops.softmax(p, out=p)
            inside = p[:, members].copy()
            right = inside.sum(axis=1)
            p *= -right[:, None]
            p[:, members] += inside
            value -= right.sum()
            columns += p.sum(axis=0)
            weighted[rows] += ops.gemm(p, Z)
            ops.gemm(p, Z[rows], trans_a=True, beta=1.0, out=weighted)
        return value, 2 * ops.gemm(columns[:, None] * Z - weighted, X, trans_a=True)

    return objective
