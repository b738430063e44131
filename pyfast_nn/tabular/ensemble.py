"""Which networks an ensemble is made of, and how much each counts."""

from collections.abc import Callable

import numpy as np

from ..typing import Array, Floats


def select(predictions: Array, score: Callable[[Array], float], rounds: int) -> Floats:
    """Return the weights of networks in the average that scores best, found greedily.

    The best network comes first; then, in each round, the one that improves the average most, or
    harms it least, which may be there already. Of all rounds the best counts.

    Parameters
    ----------
    predictions : ndarray (n_networks, n) or (n_networks, n, n_classes)
        Of rows that no network was trained on.
    score : callable
        Of an average of predictions: a number, larger where it is better.
    rounds : int
        At least 1.

    Returns
    -------
    ndarray (n_networks,) of float64
        At least 0, with sum 1.

    Raises
    ------
    ValueError
        If no network has a score that is a number.

    References
    ----------
    R. Caruana et al. (2004), "Ensemble selection from libraries of models", ICML,
    https://doi.org/10.1145/1015330.1015432.
    """
    counts = np.zeros(len(predictions), np.int64)
    best, best_counts = -np.inf, counts
    total = np.zeros(predictions.shape[1:])
    for size in range(1, rounds + 1):
        scores = np.array([score((total + each) / size) for each in predictions], np.float64)
        if np.isnan(scores).all():
            break
        chosen = int(np.nanargmax(scores))
        counts[chosen] += 1
        total += predictions[chosen]
        if scores[chosen] > best:
            best, best_counts = scores[chosen], counts.copy()
    if not best_counts.any():
        raise ValueError(
            "eval_metric: expected a number as the score of some network on the held-out rows, got "
            "NaN or minus infinity of each"
        )
    return best_counts / best_counts.sum()
