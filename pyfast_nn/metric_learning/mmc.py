"""The metric for clustering of Xing, Ng, Jordan and Russell."""

from typing import Any

import numpy as np

from .. import ops
from ..typing import Floats, Integer, Real
from .base import Objective, differ, factor
from .groups import squares
from .pairs import OfPairs


class MMC(OfPairs):
    """A metric for clustering: pairs that are not alike as far apart as those alike permit.

    Of all metrics for which the mean squared distance of pairs that are alike is 1, that with the
    largest sum of distances of pairs that are not.

    Parameters
    ----------
    n_constraints : int or None
        Pairs of each kind that `fit` draws. None: 20 times the number of labels squared.
    max_iter : int
        Iterations of L-BFGS, at most.
    tol : float
        Tolerance of L-BFGS, as `scipy.optimize.minimize` takes it.
    random_state : int, RandomState or None
        What the pairs that `fit` draws are a function of.

    Attributes
    ----------
    components_ : ndarray (n_features, n_features), float64
        The principal axes of the metric, the longest first.
    n_iter_ : int
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only where X had names that are strings.

    Notes
    -----
    The paper's convex problem, in coordinates in which pairs that are alike have differences of
    covariance 1. There ``A = M' M`` for any square M reaches every metric, the constraint is one
    number, by which the objective is divided, and L-BFGS needs some ten iterations of
    O(pairs n_features^2) operations, where the paper projects in each step.

    References
    ----------
    E. P. Xing, A. Y. Ng, M. I. Jordan, S. Russell (2002), "Distance metric learning, with
    application to clustering with side-information", NIPS 15. Factors reach the minimum of a convex
    function of A: S. Burer, R. D. C. Monteiro (2005), "Local minima and convergence in low-rank
    semidefinite programming", https://doi.org/10.1007/s10107-004-0564-1.

    Examples
    --------
    >>> from pyfast_nn.metric_learning import MMC
    >>> inked = X[:, X.std(axis=0) > 0.1]
    >>> mmc = MMC(random_state=0).fit(inked, y)
    >>> mmc.transform(inked).shape == inked.shape
    True
    """

    def __init__(
        self,
        *,
        n_constraints: Integer | None = None,
        max_iter: Integer = 1000,
        tol: Real = 1e-6,
        random_state: Any = None,
    ) -> None:
        self.n_constraints = n_constraints
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def _learn(self, alike: Floats, apart: Floats) -> Floats:
        near, far = differ(alike), differ(apart)
        values, axes = np.linalg.eigh(near.T @ near / len(near))
        known = values > values[-1] * len(values) * np.finfo(np.float64).eps
        whiten = axes[:, known] / np.sqrt(values[known])
        lost = far @ axes[:, ~known]
        if np.abs(lost).max(initial=0) > 1e-6 * np.abs(far).max():
            raise ValueError(
                "pairs: expected ones alike that differ wherever others do, or those may be as far "
                f"apart as one likes, got {known.sum()} directions of {far.shape[1]} from "
                f"{len(near)} pairs; more of them (n_constraints) or fewer columns may cure it"
            )
        found = self._minimize(spread(far @ whiten), np.eye(known.sum()))
        mapped = found @ whiten.T / np.linalg.norm(found)
        return factor(mapped.T @ mapped)


def spread(far: Floats) -> Objective:
    """Return the objective as a function of M: log of its norm, minus log of the sum of |M u|."""

    def objective(M: Floats) -> tuple[float, Floats]:
        mapped = ops.gemm(far, M, trans_b=True)
        distances = np.sqrt(squares(mapped))
        total, norm = distances.sum(), np.vdot(M, M)
        inverse = np.divide(1, distances, where=distances > 0, out=np.zeros_like(distances))
        slope = ops.gemm(inverse[:, None] * mapped, far, trans_a=True)
        return np.log(norm) / 2 - np.log(total), M / norm - slope / total

    return objective
