"""Tables of a classifier's mistakes; formatted on a terminal, plain text elsewhere."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import losses
from ..models import Sequential
from ..report.mistakes import class_scores, confusion_matrix, top_confusions
from ..typing import Array

_MOST_CLASSES = 20  # that are shown one by one
_WORST = 10


def scores_of(model: Sequential, X: Array, y: Array) -> dict[str, str]:
    """Return how good the model is on examples, as texts: the first score is the best known."""
    task = "classes" if model.loss is None else losses.check(model.loss).task
    if task == "values":
        scores = model.evaluate(X, y, metrics=["r2", "mae", "mse"])
        names = {"R2": "r2", "MAE": "mae", "MSE": "mse", "loss": "loss"}
        return {text: f"{scores[name]:.6g}" for text, name in names.items()}
    scores = model.evaluate(X, y)
    if task == "pairs":
        return {"loss": f"{scores['loss']:.6g}"}
    return {"accuracy": f"{scores['accuracy']:.2%}", "loss": f"{scores['loss']:.6g}"}


def print_report(y: Array, predictions: Array) -> None:
    """Print what is right and wrong about `predictions`, if `y` (n,) and they are labels.

    That is scores of each class and the confusion matrix; of many classes those that go worst, and
    what is taken for what most often.
    """
    if y.ndim != 1 or predictions.ndim != 1 or predictions.dtype.kind == "f":
        return
    labels = y.astype(predictions.dtype)
    if (labels != y).any():  # probabilities
        return
    classes, columns = np.unique(np.concatenate([labels, predictions]), return_inverse=True)
    true, predicted = columns.reshape(2, -1)
    names = [str(c) for c in classes]
    k = len(names)

    scores, support = class_scores(true, predicted, k)
    shown = np.arange(k)
    if k > _MOST_CLASSES:
        shown = np.lexsort((-support, scores[:, 2]))[:_WORST]
        print(f"The {_WORST} of {k:,} classes with the lowest f1:")
    rows: list[tuple[Any, ...]] = [(names[c], *scores[c], support[c]) for c in shown]
    rows.append(("macro average", *scores.mean(axis=0), len(y)))
    rows.append(("weighted average", *np.average(scores, axis=0, weights=support), len(y)))
    _print_table(["class", "precision", "recall", "f1", "support"], rows, footer=2)

    if k <= _MOST_CLASSES:
        matrix = confusion_matrix(true, predicted, k)
        rows = [(name, *counts) for name, counts in zip(names, matrix, strict=True)]
        _print_table(["true \\ predicted", *names], rows)
    elif (true != predicted).any():
        print("\nWhat is taken for something else most often:")
        rows = [(names[a], names[b], n) for a, b, n in top_confusions(true, predicted, k, _WORST)]
        _print_table(["class", "taken for", "times"], rows)


def _print_table(columns: Sequence[str], rows: Sequence[tuple[Any, ...]], footer: int = 0) -> None:
    """Print `rows` of names and numbers, the last `footer` of them apart from the others."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Into a text first: rich itself ends the process where the reader has left. A row is a line:
    # numbers are not cut to fit a window.
    text = io.StringIO()
    console = Console(file=text, width=10_000, force_terminal=Console().is_terminal)
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False)
    for column, value in zip(columns, rows[0], strict=True):
        table.add_column(Text(column), justify="left" if isinstance(value, str) else "right")
    for i, row in enumerate(rows):
        texts = [f"{x:.4f}" if isinstance(x, float) else f"{x}" for x in row]
        table.add_row(*map(Text, texts), end_section=i + 1 == len(rows) - footer)
    console.print(table)
    print("\n" + text.getvalue(), end="")
