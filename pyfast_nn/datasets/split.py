"""A split of rows into parts."""

import numpy as np

from .. import _core, checks
from ..data import as_array


def stratified_split(y, fractions, *, seed=0):
    """Return shuffled row numbers cut into parts in which each class has nearly its share.

    Parameters
    ----------
    y : array_like (n,)
        Labels of any kind that sorts.
    fractions : sequence of float
        Size of each part, at least 0, of sum 1.
    seed : int
        At least 0. The same seed gives the same parts.

    Returns
    -------
    list of ndarray, int64
        One array of row numbers for each fraction; together all rows once. The number of rows of
        each class in each part is its share to within one.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above.

    Examples
    --------
    >>> train, test = fnn.datasets.stratified_split(y, [0.8, 0.2], seed=0)
    >>> history = model.fit(X[train], y[train], loss="cross_entropy")
    """
    y = as_array(y, "y")
    if y.ndim != 1:
        raise ValueError(f"y: expected labels (n,), got shape {y.shape}")
    fractions = [checks.real(f, f"fractions[{i}]", minimum=0) for i, f in enumerate(fractions)]
    if abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"fractions: expected numbers of sum 1, got sum {sum(fractions):g}")
    seed = checks.integer(seed, "seed", minimum=0, maximum=2**64 - 1)
    shuffled = _core.permutation(seed, 0, len(y))
    _, column, counts = np.unique(y[shuffled], return_inverse=True, return_counts=True)
    by_class = np.argsort(column, kind="stable")
    rank = np.empty(len(y), np.int64)  # of each row within its class
    rank[by_class] = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    # Ordered by quantile within the class, classes advance together: a stretch is a fair sample.
    order = shuffled[np.argsort((rank + 0.5) / counts[column], kind="stable")]
    cuts = np.rint(np.cumsum(fractions[:-1]) * len(y)).astype(np.int64)
    return np.split(order, cuts)
