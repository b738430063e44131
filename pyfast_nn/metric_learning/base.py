"""What learned metrics have in common: a linear map, and distances after it."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.optimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from .. import checks, ops
from ..sklearn.types import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from ..typing import Array, ArrayLike, Floats, Integer, Real

# A function of a matrix: its value and its gradient, of the matrix's shape.
Objective = Callable[[Floats], tuple[float, Floats]]


class Mahalanobis(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """An estimator whose `components_` map examples to where Euclid measures them."""

    components_: Floats
    n_iter_: int
    n_features_in_: int
    feature_names_in_: Array
    max_iter: Integer
    tol: Real

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def _check_training(self, X: Any, y: Any) -> tuple[Floats, Any]:
        """Return X, float64, and labels to fit on."""
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        check_classification_targets(y)
        check_size(X, "X")
        return X, y

    def _minimize(self, objective: Objective, start: Floats) -> Floats:
        """Return the matrix at which L-BFGS ends that begins at `start`."""
        checks.integer(self.max_iter, "max_iter", 1)
        checks.real(self.tol, "tol", minimum=0)

        def flat(x: Floats) -> tuple[float, Floats]:
            value, gradient = objective(x.reshape(start.shape))
            return value, gradient.ravel()

        result = scipy.optimize.minimize(
            flat,
            start.ravel(),
            method="L-BFGS-B",
            jac=True,
            tol=self.tol,
            options={"maxiter": self.max_iter},
        )
        self.n_iter_ = result.nit
        if result.status == 1:
            warnings.warn(
                f"{type(self).__name__} has not converged after {self.n_iter_} iterations: a larger"
                " max_iter or tol, or columns of one scale, may cure it",
                ConvergenceWarning,
                stacklevel=3,
            )
        found: Floats = result.x.reshape(start.shape)
        return found

    def transform(self, X: ArrayLike) -> Array:
        """Return the examples where Euclidean distance is the learned one.

        Parameters
        ----------
        X : array_like (n, n_features)

        Returns
        -------
        ndarray (n, n_components), float64
            ``X @ components_.T``

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X has other columns than in `fit`, or numbers that are not finite.
        """
        check_is_fitted(self)
        return ops.gemm(
            validate_data(self, X, dtype=np.float64, reset=False), self.components_, trans_b=True
        )

    def pair_distance(self, pairs: ArrayLike) -> Floats:
        """Return the learned distance of the two examples of each pair.

        Parameters
        ----------
        pairs : array_like (n_pairs, 2, n_features)

        Returns
        -------
        ndarray (n_pairs,), float64
            The root of ``(a - b) @ get_mahalanobis_matrix() @ (a - b)``.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If `pairs` has another shape, or numbers that are not finite.
        """
        check_is_fitted(self)
        differences = differ(check_pairs(pairs, self.n_features_in_))
        return np.linalg.norm(differences @ self.components_.T, axis=1)

    def pair_score(self, pairs: ArrayLike) -> Floats:
        """Return how alike the two examples of each pair are: minus their distance.

        Parameters
        ----------
        pairs : array_like (n_pairs, 2, n_features)

        Returns
        -------
        ndarray (n_pairs,), float64
            As `sklearn.metrics.roc_auc_score` takes it, beside which pairs are alike.

        Raises
        ------
        NotFittedError, ValueError
            As for `pair_distance`.
        """
        return -self.pair_distance(pairs)

    def get_mahalanobis_matrix(self) -> Floats:
        """Return the matrix of the learned metric.

        Returns
        -------
        ndarray (n_features, n_features), float64
            ``components_.T @ components_``, symmetric and positive semi-definite.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        check_is_fitted(self)
        return self.components_.T @ self.components_


def check_pairs(pairs: Any, n_features: int | None = None) -> Floats:
    """Return pairs of examples, float64 (n_pairs, 2, n_features)."""
    checked: Floats = check_array(pairs, dtype=np.float64, allow_nd=True, input_name="pairs")
    columns = "n_features" if n_features is None else n_features
    if checked.ndim != 3 or checked.shape[1:] != (2, n_features or checked.shape[2]):
        raise ValueError(
            f"pairs: expected an array of shape (n_pairs, 2, {columns}), got shape {checked.shape}"
        )
    return checked


def check_size(examples: Floats, name: str) -> None:
    """Raise ValueError if squared distances are too large for a number."""
    if not np.isfinite(np.vdot(examples, examples)):
        raise ValueError(
            f"{name}: expected numbers whose squares have a finite sum, got up to "
            f"{np.abs(examples).max():.3g}; StandardScaler makes them smaller"
        )


def differ(pairs: Floats) -> Floats:
    """Return the differences of pairs (n_pairs, n_features)."""
    return pairs[:, 0] - pairs[:, 1]


def factor(metric: Floats) -> Floats:
    """Return L with ``L.T @ L == metric``: its principal axes, the longest first."""
    values, vectors = np.linalg.eigh(metric)
    axes = vectors.T[::-1]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1, keepdims=True), axis=1)
    scales: Floats = np.sqrt(np.maximum(values[::-1, None], 0)) * np.sign(largest)
    return scales * axes
