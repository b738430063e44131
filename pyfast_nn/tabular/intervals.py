"""Quantiles of what is true, given what is predicted, from how wrong held-out predictions were."""

from typing import NamedTuple

import numpy as np

from ..typing import Floats
from . import recipe


class Residuals(NamedTuple):
    """Held-out residuals in groups of similar prediction.

    Attributes
    ----------
    edges : ndarray (n_groups - 1,)
        Predictions at which one group ends and the next begins.
    values : ndarray (n,)
        True minus predicted, group by group, rising within each.
    sizes : ndarray (n_groups,) of int64
        Of the groups.
    """

    edges: Floats
    values: Floats
    sizes: np.ndarray

    @classmethod
    def of(cls, predicted: Floats, y: Floats) -> "Residuals":
        """Return the residuals of held-out rows (n,)."""
        groups = max(1, min(recipe.GROUPS, len(y) // recipe.GROUP_ROWS))
        edges = np.unique(np.quantile(predicted, np.arange(1, groups) / groups, method="lower"))
        edges = edges[edges > predicted.min()]  # so that each group has rows
        places = np.searchsorted(edges, predicted, side="right")
        each = [np.sort((y - predicted)[places == group]) for group in range(len(edges) + 1)]
        return cls(edges, np.concatenate(each), np.array([len(one) for one in each], np.int64))

    def quantiles(self, predicted: Floats, quantiles: Floats) -> Floats:
        """Return quantiles (n, n_quantiles) of what is true of rows with these predictions (n,).

        The k-th of m residuals stands for ``k / (m + 1)``, with straight lines between: the share
        of such rows below it, on average over what was held out.
        """
        groups = np.split(self.values, np.cumsum(self.sizes)[:-1])
        of_groups = np.array([np.quantile(each, quantiles, method="weibull") for each in groups])
        places = np.searchsorted(self.edges, predicted, side="right")
        return predicted[:, None] + of_groups[places]
