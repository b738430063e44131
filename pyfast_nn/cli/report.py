"""Tables of a classifier's mistakes; formatted on a terminal, plain text elsewhere."""

import numpy as np

_WIDEST_MATRIX = 30  # classes


def print_report(model, X, y):
    """Print scores of each class and the confusion matrix, if `y` (n,) are labels."""
    predictions = model.predict(X)
    if y.ndim != 1 or predictions.ndim != 1 or predictions.dtype.kind == "f":
        return
    labels = y.astype(predictions.dtype)
    if (labels != y).any():  # probabilities
        return
    classes, columns = np.unique(np.concatenate([labels, predictions]), return_inverse=True)
    true, predicted = columns.reshape(2, -1)
    names = [str(c) for c in classes]

    scores, support = class_scores(true, predicted, len(classes))
    rows = [(name, *s, n) for name, s, n in zip(names, scores, support, strict=True)]
    rows.append(("macro average", *scores.mean(axis=0), len(y)))
    rows.append(("weighted average", *np.average(scores, axis=0, weights=support), len(y)))
    _print_table(["class", "precision", "recall", "f1", "support"], rows, footer=2)

    if len(classes) <= _WIDEST_MATRIX:
        matrix = confusion_matrix(true, predicted, len(classes))
        rows = [(name, *counts) for name, counts in zip(names, matrix, strict=True)]
        _print_table(["true \\ predicted", *names], rows)


def class_scores(true, predicted, k):
    """Return precision, recall and f1 of each class (k, 3), and its number of examples (k,).

    `true` and `predicted` (n,) number the classes. A ratio is 0 where its denominator is.
    """
    right = np.bincount(true[true == predicted], minlength=k)
    guessed, support = (np.bincount(x, minlength=k) for x in (predicted, true))
    ratios = (right, guessed), (right, support), (2 * right, guessed + support)
    return np.column_stack([a / np.maximum(b, 1) for a, b in ratios]), support


def confusion_matrix(true, predicted, k):
    """Return how often each true class (row) was taken for each class (column): (k, k)."""
    return np.bincount(true * k + predicted, minlength=k * k).reshape(k, k)


def _print_table(columns, rows, footer=0):
    """Print `rows` of a name and numbers, the last `footer` of them apart from the others."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=10_000)  # a row is a line: numbers are not cut to fit a window
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if i else "left")
    for i, (name, *numbers) in enumerate(rows):
        texts = [f"{x:.4f}" if isinstance(x, float) else f"{x}" for x in numbers]
        table.add_row(Text(name), *texts, end_section=i + 1 == len(rows) - footer)
    console.print()
    console.print(table)
