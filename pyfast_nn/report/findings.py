"""What is found out about a model of a table, on rows that it was not trained on."""

import math
from typing import Any, NamedTuple

import numpy as np

from ..tabular import TabularModel
from ..typing import Array, Floats
from . import calibration, scores
from .calibration import Reliability

LEVELS = np.array([0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95])  # of quantiles
_WORST = 12
_MOST_ROWS = 5000  # that importances are measured on


class Importance(NamedTuple):
    """What permuting a column costs."""

    column: str
    mean: float
    std: float


class Wrong(NamedTuple):
    """A row that is predicted badly.

    Attributes
    ----------
    row : int
        Its number.
    true, predicted : str
    how : str
        How far off it is.
    values : list of str
        Of the columns that are shown.
    """

    row: int
    true: str
    predicted: str
    how: str
    values: list[str]


class Findings(NamedTuple):
    """What a page shows; numbers that no column of the page has are its own.

    Attributes
    ----------
    target : str
    model : TabularModel
    y : ndarray (n,)
        Of the test.
    predictions : ndarray (n,)
        Labels, or values.
    scores, without_columns : dict of float
        Of the model, and of who knows the targets of the training only.
    reliability : Reliability or None
        Of the second of two classes, or of the most probable one; None of values.
    coverage : ndarray or None
        The share of rows below each of the quantiles `LEVELS`; None of classes.
    importances : list of Importance
        Of the columns that networks are given, the largest first.
    n_importances : int
        Rows that they were measured on.
    shown : list of str
        The columns whose values `worst` has.
    worst : list of Wrong
    """

    target: str
    model: TabularModel
    y: Array
    predictions: Array
    scores: dict[str, float]
    without_columns: dict[str, float]
    reliability: Reliability | None
    coverage: Floats | None
    importances: list[Importance]
    n_importances: int
    shown: list[str]
    worst: list[Wrong]


def find(
    model: TabularModel,
    target: str,
    X: Any,
    y: Array,
    numbers: Array,
    y_train: Array,
    *,
    seed: int,
) -> Findings:
    """Return what is found out on rows X that the model was not trained on.

    Parameters
    ----------
    model : TabularModel
    target : str
        What y is called.
    X : pyarrow.Table
        Of n rows.
    y, numbers : ndarray (n,)
        Their labels or values, and by which numbers people know them.
    y_train : ndarray
        Labels or values of the training.
    seed : int
        Of the permutations.
    """
    classes = model.classes_
    reliability, coverage = None, None
    if classes is None:
        outputs = predictions = model.predict(X)
        coverage = calibration.coverage(y, model.predict_quantiles(X, LEVELS))
        wrongness = abs(y - predictions)
        how = [("+" if e > 0 else "") + number(e) for e in (predictions - y).tolist()]
    else:
        outputs = model.predict_proba(X)
        predictions = classes[outputs.argmax(axis=1)]
        of_true = outputs[np.arange(len(y)), np.searchsorted(classes, y)]
        wrongness = 1 - of_true
        how = [f"{p:.2%}" for p in of_true]
        if len(classes) == 2:
            reliability = calibration.reliability(outputs[:, 1], y == classes[1])
        else:
            reliability = calibration.reliability(outputs.max(axis=1), predictions == y)
    some = np.random.default_rng(seed).permutation(len(y))[:_MOST_ROWS]
    found = model.feature_importances(X.take(some), y[some], random_state=seed % 2**32)
    names = [str(name) for name in found.feature_names]
    each = zip(names, found.importances_mean.tolist(), found.importances_std.tolist(), strict=True)
    used = {names[i] for i in {column.column for column in model.schema.inputs}}
    importances = [Importance(*one) for one in each if one[0] in used]
    importances.sort(key=lambda each: -each.mean)
    shown = [each.column for each in importances]
    shown += [name for name in names if name not in used]
    table = X.select(shown)
    worst = [
        Wrong(
            int(numbers[i]),
            as_text(y[i]),
            as_text(predictions[i]),
            how[i],
            [as_text(value) for value in table.slice(int(i), 1).to_pylist()[0].values()],
        )
        for i in np.argsort(-wrongness, kind="stable")[:_WORST]
    ]
    return Findings(
        target,
        model,
        y,
        predictions,
        scores.scores_of(y, outputs, classes),
        scores.without_columns(y_train, y, classes),
        reliability,
        coverage,
        importances,
        len(some),
        shown,
        worst,
    )


def as_text(value: Any) -> str:
    """Return a value as a table shows it; "" where it is missing."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value != value:
        return ""
    return number(value, 6) if isinstance(value, float) else str(value)


def number(value: float, digits: int = 4) -> str:
    """Return a number with so many digits that count, and without an exponent if it has a size that
    people read."""
    if not 1e-4 <= abs(value) < 1e9:
        return f"{value:.{digits}g}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if decimals else text
