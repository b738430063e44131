"""`pyfast-nn predict`: labels, probabilities or numbers, as text or as a file."""

import argparse
import csv
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import numpy as np

from .. import atomic, losses
from ..models import Sequential
from ..typing import Array
from . import files

_ENDINGS = (".npy", ".npz", ".csv")


def add_to(commands: Any) -> None:
    text = "write what a model predicts for each example"
    command = commands.add_parser(
        "predict",
        help=text,
        description=f"{text[0].upper()}{text[1:]}: the label where the model was trained on "
        "labels, else its outputs; one line for each, with commas between several outputs.",
    )
    command.set_defaults(run=run)
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
        "'probabilities') or .csv",
    )
    command.add_argument("--force", help="let --out replace a file", action="store_true")


def run(arguments: argparse.Namespace) -> int:
    out = arguments.out
    if out is not None:
        if not out.endswith(_ENDINGS):
            raise ValueError(f"--out: expected a name that ends in .npy, .npz or .csv, got {out!r}")
        inputs = [arguments.model, *arguments.data]
        files.check_writable(out, "--out", force=arguments.force, inputs=inputs)
    elif sys.stdout is None:
        raise ValueError("--out: expected a file, as standard output is closed")
    model = files.load_model(arguments.model, arguments.data)
    classes = _classes(model) if arguments.proba else None
    X = files.as_rows(files.read_features(arguments.data))
    predictions = model.predict(X) if classes is None else model.predict_proba(X)
    if out is None:
        _write_text(sys.stdout, predictions, classes)
    else:
        atomic.replace(out, _encode(predictions, classes, os.path.splitext(out)[1]))
    return 0


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


def _encode(predictions: Array, classes: Array | None, ending: str) -> bytes:
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
