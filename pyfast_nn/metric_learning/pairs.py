"""Pairs of examples that are alike, and pairs that are not."""

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from .. import checks
from ..typing import Array, ArrayLike, Floats
from .base import Mahalanobis, check_pairs, check_size, differ
from .groups import grouped


class OfPairs(Mahalanobis):
    """A metric that is learned from pairs, which labels may stand for."""

    components_: Floats
    n_features_in_: int
    n_constraints: Any
    random_state: Any

    def _learn(self, alike: Floats, apart: Floats) -> Floats:
        """Return the map learned from pairs of examples (n_pairs, 2, n_features) of both kinds."""
        raise NotImplementedError

    def fit(self, X: ArrayLike, y: ArrayLike) -> Any:
        """Learn the metric from labelled examples.

        Parameters
        ----------
        X : array_like (n, n_features)
        y : array_like (n,)
            Labels. Pairs of the same label and pairs of different ones, `n_constraints` of each,
            are drawn at random: an example, then another that goes with it. Of pairs with different
            labels those of equal examples are left out, as no metric tells them apart.

        Returns
        -------
        estimator
            Itself.

        Raises
        ------
        TypeError, ValueError
            If an argument or a parameter is impossible; if no two examples have the same label, or
            all have.

        Warns
        -----
        ConvergenceWarning
            After `max_iter` iterations.
        """
        rows, labels = self._check_training(X, y)
        self._fit(*self._draw(rows, labels))
        return self

    def fit_pairs(self, pairs: ArrayLike, y: ArrayLike) -> Any:
        """Learn the metric from pairs, where nothing else is known of the examples.

        Parameters
        ----------
        pairs : array_like (n_pairs, 2, n_features)
        y : array_like (n_pairs,)
            1 for examples that are alike, -1 for those that are not; both must be there. Of the
            latter those of equal examples are left out, as no metric tells them apart.

        Returns
        -------
        estimator
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
        checked, signs = check_pairs(pairs), np.asarray(y)
        if signs.shape != (len(checked),):
            raise ValueError(f"y: expected {len(checked)} signs, got {checks.describe(y)}")
        if set(signs.tolist()) != {-1, 1}:
            raise ValueError(f"y: expected -1 and 1, got {np.unique(signs)[:5]}")
        check_size(checked, "pairs")
        self.n_features_in_ = checked.shape[2]
        vars(self).pop("feature_names_in_", None)  # of an earlier fit
        self._fit(checked[signs == 1], checked[signs == -1])
        return self

    def _fit(self, alike: Floats, apart: Floats) -> None:
        apart = apart[differ(apart).any(axis=1)]
        if not len(apart):
            raise ValueError("pairs: expected some not alike that differ, got equal ones only")
        self.components_ = self._learn(alike, apart)

    def _draw(self, X: Floats, y: Array) -> tuple[Floats, Floats]:
        """Return pairs of the same label, and pairs of different ones."""
        groups = grouped(y)
        if not 1 < len(groups.classes) < len(X):
            raise ValueError(
                "y: expected more than one label, and one of them twice, got labels "
                f"{y[groups.order[[members.start for members in groups.classes[:5]]]].tolist()} "
                f"of {len(X)} examples"
            )
        count = 20 * len(groups.classes) ** 2
        if self.n_constraints is not None:
            count = checks.integer(self.n_constraints, "n_constraints", 1)
        random = check_random_state(self.random_state)
        counts = [members.stop - members.start for members in groups.classes]
        sizes, stops = np.repeat([counts, np.cumsum(counts)], counts, axis=1)
        starts = stops - sizes
        # Rows stand in the order of their classes: those of the same class are a way along the
        # circle of the class, all others along that of all rows from the end of the class.
        first = random.choice(np.flatnonzero(sizes > 1), count)
        ways = random.randint(1, sizes[first])
        other = starts[first] + (first - starts[first] + ways) % sizes[first]
        alike = groups.order[np.c_[first, other]]
        first = random.randint(len(X), size=count)
        ways = random.randint(0, len(X) - sizes[first])
        apart = groups.order[np.c_[first, (stops[first] + ways) % len(X)]]
        return X[alike], X[apart]
