"""Which rows are held out, and which are trained on."""

import numpy as np

from ..typing import Array, Integers


def folds(
    n: int, n_folds: int, strata: Array | None, groups: Array | None, rng: np.random.Generator
) -> list[tuple[Integers, Integers]]:
    """Return the rows trained on and held out of each fold, rising.

    Parameters
    ----------
    n : int
        Rows, at least `n_folds`.
    n_folds : int
    strata : ndarray (n,) or None
        Each fold has of every value its part of the rows, to within one row.
    groups : ndarray (n,) or None
        All rows of a group are in the same fold; strata do not count then. The largest groups come
        first, each into the fold with fewest rows.
    rng : numpy.random.Generator

    Raises
    ------
    ValueError
        If there are fewer groups than folds.
    """
    order = rng.permutation(n)
    of_row = np.empty(n, np.int64)
    if groups is None:
        if strata is not None:
            order = order[np.argsort(strata[order], kind="stable")]
        of_row[order] = np.arange(n) % n_folds
    else:
        _, places, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        if len(sizes) < n_folds:
            raise ValueError(
                f"groups: expected at least {n_folds} different ones, got {len(sizes)}"
            )
        shuffled = rng.permutation(len(sizes))
        of_group, rows = np.empty(len(sizes), np.int64), np.zeros(n_folds, np.int64)
        for group in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
            of_group[group] = emptiest = np.argmin(rows)
            rows[emptiest] += sizes[group]
        of_row = of_group[places]
    return [(np.flatnonzero(of_row != k), np.flatnonzero(of_row == k)) for k in range(n_folds)]
