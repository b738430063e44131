"""Whether what is said to be probable so often comes true so often."""

from typing import NamedTuple

import numpy as np

from ..typing import Array, Floats

_Z = 1.959963984540054  # 95 % of a normal distribution are within so many standard deviations


class Reliability(NamedTuple):
    """Rows in bins of similar probability; each an array (n_bins,).

    Attributes
    ----------
    predicted : ndarray
        Mean probability.
    observed : ndarray
        Share of the rows for which it came true.
    low, high : ndarray
        Of a Wilson interval of 95 % around that.
    counts : ndarray of int
    """

    predicted: Floats
    observed: Floats
    low: Floats
    high: Floats
    counts: Array

    @property
    def error(self) -> float:
        """Expected calibration error: how far apart predicted and observed are, on average."""
        return float(np.average(abs(self.predicted - self.observed), weights=self.counts))


def reliability(probabilities: Floats, came_true: Array, n_bins: int = 10) -> Reliability:
    """Return how often came true (n,) what had these probabilities (n,).

    Bins have equal numbers of rows, or fewer where probabilities are equal: those stay together.
    """
    edges = np.unique(np.quantile(probabilities, np.arange(1, n_bins) / n_bins))
    bins = np.searchsorted(edges, probabilities, side="left")
    _, bins, counts = np.unique(bins, return_inverse=True, return_counts=True)
    predicted = np.bincount(bins, probabilities) / counts
    observed = np.bincount(bins, came_true) / counts
    # Wilson (1927), "Probable inference, the law of succession, and statistical inference"
    middle = (observed + _Z**2 / (2 * counts)) / (1 + _Z**2 / counts)
    half = np.sqrt(observed * (1 - observed) / counts + (_Z / (2 * counts)) ** 2)
    half = _Z * half / (1 + _Z**2 / counts)
    return Reliability(predicted, observed, middle - half, middle + half, counts)


def coverage(y: Floats, quantiles: Floats) -> Floats:
    """Return the shares of y (n,) that are at or below each of their quantiles (n, k): (k,)."""
    return np.asarray((y[:, None] <= quantiles).mean(axis=0))
