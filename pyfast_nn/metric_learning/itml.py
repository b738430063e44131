"""Information-theoretic metric learning."""

from typing import Any

import numpy as np
from scipy.spatial.distance import pdist

from .. import checks, data, ops
from ..typing import ArrayLike, Floats, Integer, Real
from .base import Objective, differ, factor
from .groups import squares
from .pairs import OfPairs

POINTS = 1000  # whose distances the bounds are found from, at most


class ITML(OfPairs):
    """Information-theoretic metric learning: the metric nearest to a given one that fits the pairs.

    Squared distances of pairs that are alike shall be at most the one bound, of those that are not
    at least the other. Near is meant in LogDet divergence, that of the normal distributions whose
    inverse covariances the metrics are; what violates a bound adds to it.

    Parameters
    ----------
    gamma : float
        How much the violations count, greater than 0.
    bounds : (float, float) or None
        Of the squared distances: at most, at least; both greater than 0. None: the 5th and 95th
        percentile of all squared distances by `prior`, of those of 1000 examples if there are more.
    prior : array_like (n_features, n_features) or None
        The matrix of the given metric, symmetric and positive definite. None: the identity.
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
    bounds_ : ndarray (2,), float64
    n_iter_ : int
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only where X had names that are strings.

    Notes
    -----
    The paper goes from pair to pair and projects onto one bound at a time. Its slack variables have
    a closed form, and without them the same problem is smooth and has no constraints:

    ``tr(A A0^-1) - log det(A) + gamma * (sum of r - log r - 1)``

    with r the squared distance of a violating pair over its bound. L-BFGS over ``A = L' L`` needs
    some twenty iterations of O(pairs n_features^2 + n_features^3) operations.

    References
    ----------
    J. V. Davis, B. Kulis, P. Jain, S. Sra, I. S. Dhillon (2007), "Information-theoretic metric
    learning", https://doi.org/10.1145/1273496.1273523.

    Examples
    --------
    >>> from pyfast_nn.metric_learning import ITML
    >>> itml = ITML(random_state=0).fit(X, y)
    >>> itml.get_mahalanobis_matrix().shape
    (64, 64)
    """

    bounds_: Floats

    def __init__(
        self,
        *,
        gamma: Real = 1.0,
        bounds: ArrayLike | None = None,
        prior: ArrayLike | None = None,
        n_constraints: Integer | None = None,
        max_iter: Integer = 1000,
        tol: Real = 1e-6,
        random_state: Any = None,
    ) -> None:
        self.gamma = gamma
        self.bounds = bounds
        self.prior = prior
        self.n_constraints = n_constraints
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def _learn(self, alike: Floats, apart: Floats) -> Floats:
        gamma = checks.real(self.gamma, "gamma", above=0)
        prior = self._prior(alike.shape[2])
        self.bounds_ = self._bounds(np.concatenate([alike, apart]), factor(prior))
        scales = np.repeat(self.bounds_, [len(alike), len(apart)])[:, None]
        differences = np.concatenate([differ(alike), differ(apart)]) / np.sqrt(scales)
        # In coordinates of about the curvature at the minimum: L = M whiten.
        inverse = np.linalg.inv(prior)
        root = np.linalg.cholesky(inverse + gamma * differences.T @ differences)
        whiten = np.linalg.inv(root)
        objective = divergence(
            differences @ whiten.T, len(alike), whiten @ inverse @ whiten.T, gamma
        )
        found = self._minimize(objective, factor(prior) @ root) @ whiten
        return factor(found.T @ found)

    def _prior(self, features: int) -> Floats:
        if self.prior is None:
            return np.eye(features)
        prior = data.as_numbers(self.prior, "prior").astype(np.float64)
        right = prior.shape == (features, features) and np.allclose(prior, prior.T)
        if not right or not np.linalg.eigvalsh(prior)[0] > 0:
            raise ValueError(
                "prior: expected None or a symmetric and positive definite matrix of shape "
                f"({features}, {features}), got {checks.describe(prior)}"
            )
        return prior

    def _bounds(self, pairs: Floats, prior: Floats) -> Floats:
        """Return the bounds of squared distances, of the lengths of examples times `prior`."""
        if self.bounds is not None:
            pair = checks.pair(self.bounds, "bounds", "(at most, at least)")
            return np.array([checks.real(bound, "bounds", above=0) for bound in pair])
        points = np.unique(pairs.reshape(-1, pairs.shape[2]), axis=0)
        points = points[:: -(-len(points) // POINTS)]
        found: Floats = np.percentile(pdist(points @ prior.T, "sqeuclidean"), (5, 95))
        if not found[0] > 0:
            raise ValueError(
                "bounds: expected squared distances by the prior that are greater than 0, got "
                f"{found[0]:.3g} as their 5th percentile; StandardScaler makes numbers larger"
            )
        return found


def divergence(differences: Floats, alike: int, linear: Floats, gamma: float) -> Objective:
    """Return the objective as a function of M.

    The first `alike` of the differences are at most 1 long if they violate nothing, the others at
    least 1; `linear` is the inverse of the prior.
    """

    def objective(M: Floats) -> tuple[float, Floats]:
        mapped = ops.gemm(differences, M, trans_b=True)
        ratios = squares(mapped)
        np.maximum(ratios[:alike], 1, out=ratios[:alike])
        np.minimum(ratios[alike:], 1, out=ratios[alike:])
        near = M @ linear
        value = np.vdot(near, M) - 2 * np.linalg.slogdet(M).logabsdet
        value += gamma * np.sum(ratios - np.log(ratios) - 1)
        slope = ops.gemm((1 - 1 / ratios)[:, None] * mapped, differences, trans_a=True)
        return value, 2 * (near - np.linalg.inv(M).T + gamma * slope)

    return objective
