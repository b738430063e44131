"""The command line: `pyfast-nn train` and `pyfast-nn info`."""

import argparse
import os
import sys

import numpy as np

from . import checks, datasets, optim, runtime
from .layers import Dense, ReLU, Rescale
from .modelfile import load
from .models import Sequential

_OPTIMIZERS = {"adam": optim.Adam, "adamw": optim.AdamW, "sgd": optim.SGD}


def main(argv=None):
    """Run `pyfast-nn`.

    Parameters
    ----------
    argv : list of str, optional
        The arguments; None takes those of the process.

    Returns
    -------
    int
        Exit code: 0, or 130 after Ctrl-C. A user's mistake ends with one line on stderr and
        ``SystemExit(2)``.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        arguments.run(arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, FloatingPointError, MemoryError) as error:
        parser.error(_one_line(error))
    return 0


def train(arguments):
    """`pyfast-nn train`: read, split, fit, tell, save."""
    _check_out(arguments.out)
    if arguments.threads is not None:
        runtime.set_num_threads(checks.integer(arguments.threads, "--threads", minimum=1))
    X, y = _read(arguments.data)
    parts = _split(y, arguments.val, arguments.test, arguments.seed)
    out_features = _count_classes(y)
    print(f"{len(X):,} examples, {X.shape[1]} features, {out_features} classes; ", end="")
    print(", ".join(f"{len(rows):,} {name}" for name, rows in parts.items()))

    layers = _input_layers(X)
    layers += [layer for units in arguments.hidden for layer in (Dense(units), ReLU())]
    model = Sequential([*layers, Dense(out_features)], seed=arguments.seed).build(X.shape[1])
    optimizer = _OPTIMIZERS[arguments.optimizer]
    print(
        f"{model!r}\n{model.n_parameters:,} parameters, {runtime.get_num_threads()} threads",
        flush=True,
    )
    sets = {name: (X[rows], y[rows]) for name, rows in parts.items()}
    history = model.fit(
        *sets["train"],
        loss="cross_entropy",
        optimizer=optimizer() if arguments.lr is None else optimizer(lr=arguments.lr),
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        validation_data=sets.get("validation"),
    )

    for name, (X_part, y_part) in sets.items():
        scores = model.evaluate(X_part, y_part)
        print(f"{name + ' accuracy':20} {scores['accuracy']:7.2%}   loss {scores['loss']:.4f}")
    milliseconds = np.median(history["seconds"]) * 1e3
    print(f"{'time per epoch':20} {milliseconds:.3g} ms (median of {history.epochs})")
    model.save(arguments.out)
    print(f"{'model file':20} {arguments.out}")


def info(arguments):
    """`pyfast-nn info`: this build, or a model file."""
    if arguments.model is None:
        values = runtime.build_config()
    else:
        model = load(arguments.model)
        print(model.summary())
        classes = model.classes_
        values = {
            "loss": model.loss,
            "classes": None if classes is None else ", ".join(map(str, classes)),
            "seed": model.seed,
            "epochs trained": model.epochs_trained,
        }
    for name, value in values.items():
        print(f"{name:20} {', '.join(value) if isinstance(value, (list, tuple)) else value}")


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"pyfast-nn: error: {message}\n")


def _parser():
    parser = _Parser(prog="pyfast-nn", description="Train small neural networks, fast.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    command = commands.add_parser("train", help="train a classifier and write a model file")
    command.set_defaults(run=train)
    command.add_argument(
        "data",
        nargs="*",
        default=["digits"],
        help="'digits' (built in, the default), one .npz file with X and y, or two IDX files, "
        "images and labels",
    )

    def add(name, text, **keywords):
        if "default" in keywords:
            text += " (default: %(default)s)"
        command.add_argument(name, help=text, **keywords)

    add(
        "--hidden",
        "hidden units, or 'none'",
        type=_units,
        default="512,256",
        metavar="N,N",
    )
    add("--epochs", "passes over the training data", type=int, default=40, metavar="N")
    add("--batch-size", "examples per step", type=int, default=32, metavar="N")
    add("--lr", "learning rate, instead of the optimizer's own", type=float, metavar="RATE")
    add("--optimizer", "update rule", choices=_OPTIMIZERS, default="adam")
    add(
        "--seed", "of the split, the parameters and the row order", type=int, default=0, metavar="N"
    )
    add("--threads", "instead of OpenMP's choice", type=int, metavar="N")
    add("--val", "fraction of the examples for validation", type=float, default=0.1, metavar="F")
    add("--test", "fraction of the examples for the test", type=float, default=0.2, metavar="F")
    add("--out", "model file to write", default="model.safetensors", metavar="FILE")

    command = commands.add_parser("info", help="show this build, or what is in a model file")
    command.set_defaults(run=info)
    command.add_argument("model", nargs="?", metavar="MODEL", help="model file")
    return parser


def _units(text):
    if text.strip() == "none":
        return []
    try:
        return [checks.integer(int(units), "--hidden", minimum=1) for units in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected numbers such as 128,64, or none; got {text!r}"
        ) from None


def _read(data):
    """Return X (n, features) and labels y (n,) of what the command line names."""
    if data == ["digits"]:
        return datasets.load_digits()
    if len(data) == 1 and data[0].endswith(".npz"):
        X, y = datasets.read_npz(data[0])
    elif len(data) == 2:
        X, y = datasets.read_idx(data[0]), datasets.read_idx(data[1])
    else:
        raise ValueError(
            f"data: expected 'digits', one .npz file, or two IDX files; got {' '.join(data)!r}"
        )
    if X.ndim < 2 or y.ndim != 1 or len(X) != len(y) or len(X) == 0:
        raise ValueError(
            f"data: expected examples (n, ...) and labels (n,), got shapes {X.shape} and {y.shape}"
        )
    return X.reshape(len(X), -1), y


def _input_layers(X):
    """Return the layer that brings pixels into 0 to 1; for other numbers none."""
    if X.dtype.kind not in "iu" or X.min() < 0 or X.max() == 0:
        return []
    print(f"integer features: the model divides them by {X.max()}, the largest")
    return [Rescale(1 / int(X.max()))]


def _split(y, val, test, seed):
    """Return {"train": rows, ...} without the parts of fraction 0."""
    for name, fraction in (("--val", val), ("--test", test)):
        checks.real(fraction, name, minimum=0, below=1)
    if val + test >= 1:
        raise ValueError(f"--val and --test: expected a sum below 1, got {val + test:g}")
    fractions = {"train": 1 - val - test, "validation": val, "test": test}
    fractions = {name: fraction for name, fraction in fractions.items() if fraction > 0}
    parts = datasets.stratified_split(y, list(fractions.values()), seed=seed)
    parts = dict(zip(fractions, parts, strict=True))
    for name, rows in parts.items():
        if len(rows) == 0:
            raise ValueError(f"--val and --test: no examples are left for {name}")
    return parts


def _count_classes(y):
    """Return the number of outputs that labels `y` need."""
    if y.dtype.kind not in "iuf":
        return 2 if y.dtype.kind == "b" else len(np.unique(y))
    largest = y.max()
    if not 0 <= largest < 2**20:
        raise ValueError(f"labels: expected whole numbers from 0, got a largest label of {largest}")
    return int(largest) + 1


def _check_out(path):
    """Find a mistake in --out before the training, not after it."""
    folder = os.path.dirname(os.path.realpath(path))
    if os.path.isdir(path) or not os.access(folder, os.W_OK):
        raise ValueError(f"--out: cannot write {path!r}")


def _one_line(error):
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__
