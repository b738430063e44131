"""`pyfast-nn predict`: labels or outputs, as text or as a file."""

import csv
import os
import sys

import numpy as np

from ..modelfile import load
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
        return
    ending = os.path.splitext(out)[1]
    if ending == ".csv":
        with open(out, "w", newline="") as file:
            _write_text(file, predictions)
    elif ending == ".npy":
        np.save(out, predictions, allow_pickle=False)
    else:
        np.savez(out, predictions=predictions)


def _write_text(file, predictions):
    """Write one line per prediction (n,) or (n, out_features)."""
    rows = predictions[:, np.newaxis] if predictions.ndim == 1 else predictions
    csv.writer(file, lineterminator="\n").writerows(rows)
