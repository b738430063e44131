"""Models of tables as files: what predicts, and which column it was trained to predict."""

import json
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .. import modelfile, tabular
from ..guidance import near
from ..labels import label_kind
from ..report import scores
from ..tabular import TabularModel
from ..tabular import files as tabular_files
from ..typing import Array
from . import report, tables

if TYPE_CHECKING:
    import pyarrow

KEY = "pyfast_nn_table"  # of the metadata
_FORMAT_VERSION = 1


class TableModel(NamedTuple):
    """A model, and the name of the column that it predicts; None: it was not trained here."""

    model: TabularModel
    target: str | None

    def save(self, path: str) -> None:
        description = {"format_version": _FORMAT_VERSION, "target": self.target}
        tabular_files.save(self.model, path, {KEY: json.dumps(description)})


def load(path: str) -> TableModel:
    """Return the model of a table in a file."""
    model = tabular.load(path)
    metadata = modelfile.metadata_of(path)
    if KEY not in metadata:
        return TableModel(model, None)
    with open(path, "rb") as file:
        raw = file.read()
    description = modelfile.describe(raw, KEY, {"format_version", "target"}, _FORMAT_VERSION)
    return TableModel(model, str(description["target"]))


def is_of_table(path: str) -> bool:
    """Whether a file says of itself that it holds a model of tables."""
    return tabular_files.KEY in modelfile.metadata_of(path)


def read(
    known: TableModel, name: str, form: tables.Form, target: str | None, remarks: list[str]
) -> "pyarrow.Table":
    """Return the columns of a file that a model reads, and the `target`, if one is named."""
    import pyarrow

    schema = known.model.schema
    if schema.names is None:
        raise ValueError(
            f"{name}: expected an array, as the model was trained on columns without names; "
            "pyfast_nn.tabular.load reads it in Python"
        )
    pairs = list(zip(schema.names, schema.columns, strict=True))
    read = [column for column, what in pairs if what.n_codes or what.kind in ("number", "date")]
    texts = [column for column, what in pairs if what.kind == "category"]
    if target is not None and _are_strings(known.model.classes_):
        texts.append(target)

    def chosen(columns: list[str]) -> list[str]:
        if target is not None:
            tables.check_known([target], columns, "--target")
        lost = [column for column in read if column not in columns]
        if lost:
            raise ValueError(
                f"{name}: expected the columns of the training, got none named "
                f"{tables.listed(lost)}{near(lost[0], columns)}; columns are "
                f"{tables.listed(columns)}"
            )
        return [*read, *([] if target is None else [target])]

    table = tables.read(name, form, chosen, remarks, texts=texts)
    for column in schema.names:  # those that were left out: of no use, so they need not be there
        if column not in read:
            table = table.append_column(column, pyarrow.nulls(table.num_rows))
    return table


def labels_of(column: "pyarrow.ChunkedArray", model: TabularModel, target: str) -> Array:
    """Return the targets of a table as the model has them; ValueError if it never saw one."""
    from pyarrow import types

    missing = tables.missing(column)
    if missing.any():
        raise ValueError(
            f"--target {target}: expected a value in every row, got none in row "
            f"{int(np.argmax(missing))} ({missing.sum():,} in all); drop such rows"
        )
    classes = model.classes_
    wants_text = _are_strings(classes)
    if wants_text != (types.is_string(column.type) or types.is_large_string(column.type)):
        raise ValueError(
            f"--target {target}: expected {'labels' if wants_text else 'numbers'}, as in the "
            f"training, got {column[0].as_py()!r} in row 0"
        )
    y = np.array(column.to_pylist()) if wants_text else column.to_numpy()
    if classes is None:
        return y.astype(np.float64)
    unknown = ~np.isin(y, classes)
    if unknown.any():
        row = int(np.argmax(unknown))
        shown = tables.listed([str(c) for c in classes])
        raise ValueError(
            f"--target {target}: expected the classes of the training, {shown}, "
            f"got {str(y[row])!r} in row {row} ({unknown.sum():,} such in all); drop such rows, or "
            "train with them"
        )
    return y.astype(classes.dtype)


def score_texts(model: TabularModel, X: "pyarrow.Table", y: Array) -> dict[str, str]:
    """Return how good a model is on a table, as texts: the first score is the best known."""
    predictions = model.predict(X) if model.classes_ is None else model.predict_proba(X)
    return scores.as_texts(scores.scores_of(y, predictions, model.classes_))


def print_mistakes(model: TabularModel, X: "pyarrow.Table", y: Array) -> None:
    """Print what a model of classes takes for what in a table."""
    if model.classes_ is not None:
        report.print_report(y, model.predict(X))


def _are_strings(classes: Array | None) -> bool:
    return classes is not None and label_kind(classes, "classes_") == "string"
