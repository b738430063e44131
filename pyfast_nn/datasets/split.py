"""The one rule by which rows are split into parts."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import _core, checks
from ..data import as_targets
from ..labels import refuse_missing
from ..typing import Array, ArrayLike, Integer, Integers, Real

_STREAM = 2**64 - 1  # of random numbers; those of models are below it


def stratified_split(
    y: ArrayLike, fractions: Iterable[Real], *, seed: Integer | None = 0
) -> list[Integers]:
    """Return shuffled row numbers cut into parts in which each class has nearly its share.

    Parameters
    ----------
    y : array_like (n,)
        Labels: numbers, bool or strings.
    fractions : sequence of float
        Size of each part, at least 0, of sum 1.
    seed : int or None
        At least 0. The same seed gives the same parts; None draws one.

    Returns
    -------
    list of ndarray, int64
        One array of row numbers for each fraction; together all rows once. With two parts each
        class has its share in both to within one row (method of the largest remainder). Of more
        parts the largest is split off first, and so on, each with its share of what is left.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above.

    Examples
    --------
    >>> train, test = fnn.datasets.stratified_split(y, [0.8, 0.2], seed=0)
    >>> history = model.fit(X[train], y[train], loss="cross_entropy")
    """
    y = as_targets(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.dtype.kind == "f":
        refuse_missing(np.isnan(y), y, "y")
    if y.ndim != 1:
        raise ValueError(f"y: expected labels (n,), got shape {y.shape}")
    if not np.iterable(fractions):
        raise TypeError(
            f"fractions: expected a sequence of numbers, got {checks.describe(fractions)}"
        )
    shares = [checks.real(f, f"fractions[{i}]", minimum=0) for i, f in enumerate(fractions)]
    if abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"fractions: expected numbers of sum 1, got sum {sum(shares):g}")
    seed = checks.seed(seed)
    cuts = np.rint(np.cumsum(shares[:-1]) * len(y)).astype(np.int64)
    return split_rows(y, np.diff(cuts, prepend=0, append=len(y)), seed)


def split_rows(labels: Array, sizes: Any, seed: int) -> list[Integers]:
    """Return shuffled row numbers in parts of `sizes`, in which each class has its share.

    A function of `labels` (n,), `sizes` of sum n, and `seed`; see `stratified_split`.
    """
    n = len(labels)
    shuffled = _core.permutation(seed, _STREAM, n)
    _, column, counts = np.unique(labels[shuffled], return_inverse=True, return_counts=True)
    by_class = np.argsort(column, kind="stable")
    rank = np.empty(n, np.int64)  # of each row in its class
    rank[by_class] = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
    parts, taken = [shuffled] * len(sizes), np.zeros_like(counts)
    for i in np.argsort(-np.asarray(sizes), kind="stable"):
        until = taken + _largest_remainder(counts - taken, sizes[i])
        parts[i] = shuffled[(taken[column] <= rank) & (rank < until[column])]
        taken = until
    return parts


def _largest_remainder(counts: Integers, total: Integer) -> Integers:
    """Return whole numbers of sum `total` in proportion to `counts`, each to within one."""
    shares = total * counts / max(counts.sum(), 1)
    whole = np.floor(shares).astype(np.int64)
    rest = np.argsort(whole - shares, kind="stable")[: total - whole.sum()]
    whole[rest] += 1
    return whole
