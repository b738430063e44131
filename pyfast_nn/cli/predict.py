"""`pyfast-nn predict`: labels, probabilities or numbers, as text or as a file."""

import argparse
import csv
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import numpy as np

from .. import atomic, loading, losses
from ..models import Sequential
from ..typing import Array
from . import files, options, table_models, tables

_ENDINGS = (".npy", ".npz", ".csv")


def add_to(commands: Any) -> None:
    text = "write what a model predicts for each example"
    command = commands.add_parser(
        "predict",
        help=text,
        description=f"{text[0].upper()}{text[1:]}: the label where the model was trained on "
        "labels, else its outputs; one line for each, with commas between several outputs. Of a "
        "table columns are found by their names, and what is written has the name of the target.",
    )
    command.add_argument("model", metavar="MODEL", type=files.path, help="model file")
    command.add_argument(
        "data",
        metavar="DATA",
        nargs="+",
        type=files.path,
        help=f"{files.DATA}; the labels may be left out",
    )
    command.add_argument(
        "--proba",
        help="the probability of each class, in place of the label; the first line of text and "
        ".csv names the classes, .npz has them as array 'classes'",
        action="store_true",
    )
    command.add_argument(
        "--out",
        metavar="FILE",
        type=files.path,
        help="file to write instead of printing: .npy, .npz (array 'predictions', or "
        "'probabilities') or .csv; of a table also .tsv, .parquet, .arrow or .feather",
    )
    command.add_argument("--force", help="let --out replace a file", action="store_true")
    table = options.Options(command.add_argument_group("tables"))
    tables.add_options(table.add)
    command.set_defaults(run=run, table=table)


def run(arguments: argparse.Namespace) -> int:
    out = arguments.out
    files.check_order(arguments.model, arguments.data)
    is_of_table = table_models.is_of_table(arguments.model)
    if out is not None:
        endings = _ENDINGS + (files.TABLES if is_of_table else ())
        if not out.lower().endswith(endings):
            known = ", ".join(dict.fromkeys(endings))
            raise ValueError(f"--out: expected a name that ends in {known}; got {out!r}")
        inputs = [arguments.model, *arguments.data]
        files.check_writable(out, "--out", force=arguments.force, inputs=inputs)
    elif sys.stdout is None:
        raise ValueError("--out: expected a file, as standard output is closed")
    return _run_table(arguments) if is_of_table else _run_arrays(arguments)


def _run_arrays(arguments: argparse.Namespace) -> int:
    model = loading.load(arguments.model)
    arguments.table.refuse(arguments, "a model of tables, got one of arrays")
    classes = _classes(model) if arguments.proba else None
    X = files.as_inputs(files.read_features(arguments.data), model.in_shape)
    predictions = model.predict(X) if classes is None else model.predict_proba(X)
    written_whole = arguments.out is not None and arguments.out.lower().endswith((".npy", ".npz"))
    if len(model.out_shape) > 1 and not written_whole:
        raise ValueError(
            "--out: expected a name that ends in .npy or .npz, as outputs have positions, "
            f"{model.out_shape} of each example"
        )
    _write(arguments.out, predictions, classes)
    return 0


def _run_table(arguments: argparse.Namespace) -> int:
    arguments.table.settle(arguments)
    known = table_models.load(arguments.model)
    model, target = known.model, known.target or "prediction"
    if arguments.proba and model.classes_ is None:
        raise ValueError("--proba: expected a model of classes, got one of numbers")
    remarks: list[str] = []
    name, form = tables.only(arguments.data), tables.form_of(arguments)
    X = table_models.read(known, name, form, None, remarks)
    for remark in remarks:
        print(remark, file=sys.stderr)
    predictions = model.predict_proba(X) if arguments.proba else model.predict(X)
    classes = model.classes_ if arguments.proba else None
    header = [target] if classes is None else classes.tolist()
    ending = "" if arguments.out is None else os.path.splitext(arguments.out.lower())[1]
    if ending in files.TABLES and ending != ".csv":
        columns = predictions.T if arguments.proba else [predictions]
        raw = tables.write([str(name) for name in header], columns, ending)
        atomic.replace(arguments.out, raw)
    elif ending in (".npy", ".npz"):
        _write(arguments.out, predictions, classes)
    else:
        _write(arguments.out, predictions, header)
    return 0


def _write(out: str | None, predictions: Array, header: Sequence[Any] | Array | None) -> None:
    """Write predictions to a file, or print them."""
    if out is None:
        _write_text(sys.stdout, predictions, header)
    else:
        atomic.replace(out, _encode(predictions, header, os.path.splitext(out.lower())[1]))


def _classes(model: Sequential) -> Array:
    """Return what the columns of probabilities are of."""
    if model.loss is None:
        raise ValueError("--proba: expected a model that has been fitted, got another")
    loss = losses.check(model.loss)
    if not loss.gives_probabilities:
        raise ValueError(
            f"--proba: expected a model that gives probabilities, got one trained with {loss!r}"
        )
    if model.classes_ is not None:
        return model.classes_
    own = loss.classes(model.out_features)
    return np.arange(model.out_features) if own is None else own


def _encode(predictions: Array, classes: Sequence[Any] | Array | None, ending: str) -> bytes:
    """Return the bytes of a file of that kind."""
    if ending == ".csv":
        text = io.StringIO()
        _write_text(text, predictions, classes)
        return text.getvalue().encode()
    file = io.BytesIO()
    if ending == ".npy":
        np.save(file, predictions, allow_pickle=False)
    elif classes is None:
        np.savez(file, predictions=predictions)
    else:
        np.savez(file, probabilities=predictions, classes=classes)
    return file.getvalue()


def _write_text(file: TextIO, predictions: Array, header: Sequence[Any] | Array | None) -> None:
    """Write one line per prediction (n,) or (n, columns), after one of their names, if any."""
    writer = csv.writer(file, lineterminator="\n")
    if header is not None:
        writer.writerow(header)
    writer.writerows(predictions[:, np.newaxis] if predictions.ndim == 1 else predictions)
