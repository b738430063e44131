"""What a classifier takes for what. Classes are numbered 0, 1, ..., k - 1."""

import numpy as np

from ..typing import Array


def class_scores(true: Array, predicted: Array, k: int) -> tuple[Array, Array]:
    """Return precision, recall and f1 of each class (k, 3), and its number of examples (k,).

    `true` and `predicted` (n,) number the classes. A ratio is 0 where its denominator is.
    """
    right = np.bincount(true[true == predicted], minlength=k)
    guessed, support = (np.bincount(x, minlength=k) for x in (predicted, true))
    ratios = (right, guessed), (right, support), (2 * right, guessed + support)
    return np.column_stack([a / np.maximum(b, 1) for a, b in ratios]), support


def confusion_matrix(true: Array, predicted: Array, k: int) -> Array:
    """Return how often each true class (row) was taken for each class (column): (k, k)."""
    return np.bincount(true * k + predicted, minlength=k * k).reshape(k, k)


def top_confusions(true: Array, predicted: Array, k: int, most: int) -> Array:
    """Return (true class, class it was taken for, how often) of the most frequent: (<= most, 3)."""
    wrong = true != predicted
    pairs, counts = np.unique(true[wrong] * k + predicted[wrong], return_counts=True)
    first = np.argsort(-counts, kind="stable")[:most]
    return np.column_stack([*np.divmod(pairs[first], k), counts[first]])
