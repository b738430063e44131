"""`pyfast-nn predict`: labels or outputs, as text or as a file."""

import csv
import io
import os
import sys

import numpy as np

from .. import atomic
from ..loading import load
from . import files

_ENDINGS = (".npy", ".npz", ".csv")


def add_to(commands):
    text = "write what a model predicts for each example"
    command = commands.add_parser(
        "predict",
        help=text,
        description=f"{text[0].upper()}{text[1:]}: the label where the model was trained on "
        "labels, else its outputs; one line for each, with commas between several outputs.",
    )
    command.set_defaults(run=run)
    command.add_argument("model", metavar="MODEL", help="model file")
    command.add_argument(
        "data", metavar="DATA", nargs="+", help=f"{files.DATA}; the labels may be left out"
    )
    command.add_argument(
        "--out",
        metavar="FILE",
        help="file to write instead of printing: .npy, .npz (array 'predictions') or .csv",
    )


def run(arguments):
    out = arguments.out
    if out is not None:
        if not out.endswith(_ENDINGS):
            raise ValueError(f"--out: expected a name that ends in .npy, .npz or .csv, got {out!r}")
        files.check_writable(out, "--out")
    model = load(arguments.model)
    predictions = model.predict(files.read_features(arguments.data))
    if out is None:
        _write_text(sys.stdout, predictions)
    else:
        atomic.replace(out, _encode(predictions, os.path.splitext(out)[1]))


def _encode(predictions, ending):
    """Return the bytes of a file of that kind."""
    if ending == ".csv":
        text = io.StringIO()
        _write_text(text, predictions)
        return text.getvalue().encode()
    file = io.BytesIO()
    if ending == ".npy":
        np.save(file, predictions, allow_pickle=False)
    else:
        np.savez(file, predictions=predictions)
    return file.getvalue()


def _write_text(file, predictions):
    """Write one line per prediction (n,) or (n, out_features)."""
    rows = predictions[:, np.newaxis] if predictions.ndim == 1 else predictions
    csv.writer(file, lineterminator="\n").writerows(rows)
