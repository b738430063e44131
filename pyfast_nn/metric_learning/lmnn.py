"""Large margin nearest neighbours."""

from typing import Any

import numpy as np
import scipy.sparse
from sklearn.neighbors import NearestNeighbors

from .. import checks, ops
from ..typing import ArrayLike, Floats, Integer, Integers, Real
from .base import Mahalanobis, Objective
from .groups import BLOCK, Grouped, grouped, squares
from .start import start


class LMNN(Mahalanobis):
    """Large margin nearest neighbours: those of other classes shall be farther away by a margin.

    The targets of an example are its nearest neighbours of its class, before anything is learned.
    The map pulls them near, and pushes away each example of another class that is not farther than
    a target by at least 1, in squared distances.

    Parameters
    ----------
    n_components : int or None
        Rows of the map, from 1 to n_features. None: n_features.
    n_neighbors : int
        Targets of each example; every class has more examples.
    regularization : float
        The weight of the pull, from 0 up to 1; the push has the rest.
    init : {"auto", "pca", "lda", "identity"} or array_like (n_components, n_features)
        The map to begin with, as for `NCA`.
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

    Notes
    -----
    An iteration takes O(n^2 n_components) operations and O(n) memory, the latter as distances are
    looked at in blocks of rows. The objective has kinks, at which L-BFGS may end.

    References
    ----------
    K. Q. Weinberger, L. K. Saul (2009), "Distance metric learning for large margin nearest neighbor
    classification", JMLR 10.

    Examples
    --------
    >>> from pyfast_nn.metric_learning import LMNN
    >>> lmnn = LMNN(n_components=8, tol=1e-3).fit(X, y)
    >>> lmnn.transform(Xt).shape
    (300, 8)
    """

    components_: Floats

    def __init__(
        self,
        n_components: Integer | None = None,
        *,
        n_neighbors: Integer = 3,
        regularization: Real = 0.5,
        init: str | ArrayLike = "auto",
        max_iter: Integer = 1000,
        tol: Real = 1e-5,
    ) -> None:
        self.n_components = n_components
        self.n_neighbors = n_neighbors
        self.regularization = regularization
        self.init = init
        self.max_iter = max_iter
        self.tol = tol

    def fit(self, X: ArrayLike, y: ArrayLike) -> "LMNN":
        """Learn the map.

        Parameters
        ----------
        X : array_like (n, n_features)
        y : array_like (n,)
            Labels.

        Returns
        -------
        LMNN
            Itself.

        Raises
        ------
        TypeError, ValueError
            If an argument or a parameter is impossible, or a class has too few examples.

        Warns
        -----
        ConvergenceWarning
            After `max_iter` iterations.
        """
        rows, labels = self._check_training(X, y)
        checks.real(self.regularization, "regularization", minimum=0, below=1)
        first = start(self.init, self.n_components, rows, labels)
        groups = grouped(labels)
        ordered = (rows - rows.mean(axis=0))[groups.order]
        targets = nearest(ordered, groups, checks.integer(self.n_neighbors, "n_neighbors", 1))
        objective = pull_and_push(ordered, groups, targets, float(self.regularization))
        self.components_ = self._minimize(objective, first)
        return self


def nearest(X: Floats, groups: Grouped, count: int) -> Integers:
    """Return the nearest rows of its class for each row (n, count)."""
    fewest = min(members.stop - members.start for members in groups.classes)
    if fewest <= count:
        raise ValueError(
            f"n_neighbors: expected fewer than a class has examples, got {count} where one has "
            f"{fewest}"
        )
    found = np.empty((len(X), count), np.int64)
    for members in groups.classes:
        neighbors = NearestNeighbors(n_neighbors=count).fit(X[members])
        found[members] = members.start + neighbors.kneighbors(return_distance=False)
    return found


def pull_and_push(X: Floats, groups: Grouped, targets: Integers, pull: float) -> Objective:
    """Return the loss of LMNN as a function of the map.

    It is ``pull`` times the squared distances to targets, and the rest of 1 times the hinges
    ``1 + d_it - d_il`` that are positive, t a target of i and l of another class. So it is a sum of
    ``w_ij d_ij`` and a number, for weights that are constant between kinks, and its gradient twice
    L times ``X' (diag(r + c) - W - W') X`` with r and c the sums of rows and columns of W.
    """
    n, count = targets.shape
    sources = np.repeat(np.arange(n), count)
    room = np.empty((BLOCK, n))

    def objective(components: Floats) -> tuple[float, Floats]:
        Z = ops.gemm(X, components, trans_b=True)
        lengths = squares(Z)
        margins = squares(Z[sources] - Z[targets.ravel()]).reshape(n, count)
        value = pull * margins.sum()
        margins += 1
        active = np.zeros((n, count))  # hinges of each target
        weighted = np.zeros_like(Z)  # (diag(r + c) - W - W') Z
        for rows, members in groups.blocks():
            # Of each row its squared length, minus the squared distances.
            near = ops.dense_forward(2 * Z[rows], Z.T, -lengths, out=room[: rows.stop - rows.start])
            near[:, members] = -np.inf
            within = margins[rows]
            reach = lengths[rows] - within.max(axis=1)
            i, j = np.divmod(np.flatnonzero(near > reach[:, None]), n)
            hinges = within[i] - (lengths[rows][i] - near[i, j])[:, None]
            positive = hinges > 0
            value += (1 - pull) * np.sum(hinges, where=positive)
            np.add.at(active[rows], i, positive)
            _add(weighted, Z, rows, ((pull - 1) * positive.sum(axis=1), (i, j)))
        pulls = pull + (1 - pull) * active
        _add(weighted, Z, slice(0, n), (pulls.ravel(), (sources, targets.ravel())))
        return value, 2 * ops.gemm(weighted, X, trans_a=True)

    return objective


def _add(weighted: Floats, Z: Floats, rows: slice, entries: Any) -> None:
    """Add what entries of some rows of W make of Z, (values, (rows, columns)), to `weighted`."""
    W = scipy.sparse.csr_array(entries, shape=(rows.stop - rows.start, len(Z)))
    weighted[rows] += W.sum(axis=1)[:, None] * Z[rows] - W @ Z
    weighted += W.sum(axis=0)[:, None] * Z - W.T @ Z[rows]
