"""`pyfast-nn train`: read, split, fit, tell, save."""

import argparse
import math

import numpy as np

from .. import atomic, checks, datasets, layers, optim, runtime, schedules
from ..models import Sequential
from . import curves, files, report

_OPTIMIZERS: dict[str, type] = {"adam": optim.Adam, "adamw": optim.AdamW, "sgd": optim.SGD}
_ACTIVATIONS = {
    "relu": layers.ReLU,
    "leaky_relu": layers.LeakyReLU,
    "elu": layers.ELU,
    "gelu": layers.GELU,
    "silu": layers.SiLU,
    "softplus": layers.Softplus,
    "tanh": layers.Tanh,
    "hardtanh": layers.Hardtanh,
    "sigmoid": layers.Sigmoid,
}
# Of --lr and the number of all steps.
_SCHEDULES = {
    "constant": lambda lr, steps: lr,
    "linear": schedules.Linear,
    "cosine": schedules.Cosine,
    "exponential": lambda lr, steps: schedules.Exponential(lr, 0.01 ** (1 / steps)),
}


def add_to(commands):
    command = commands.add_parser(
        "train",
        help="train a classifier and write a model file",
        description="Train a classifier, write it to a model file, and tell how good it is on "
        "examples that were kept apart.",
    )
    command.set_defaults(run=run)
    command.add_argument(
        "data",
        metavar="DATA",
        nargs="*",
        default=["digits"],
        help=f"{files.DATA} (default: digits)",
    )

    def add(name, text, **keywords):
        if "default" in keywords:
            text += " (default: %(default)s)"
        command.add_argument(name, help=text, **keywords)

    add("--hidden", "hidden units, or 'none'", type=_units, default="512,256", metavar="N,N")
    add("--activation", "between the layers", choices=_ACTIVATIONS, default="relu")
    add("--epochs", "passes over the training data", type=int, default=40, metavar="N")
    add(
        "--patience",
        "stop after so many epochs in which the loss on the validation examples did not fall, and "
        "go back to the best",
        type=int,
        metavar="N",
    )
    add("--batch-size", "examples per step", type=int, default=32, metavar="N")
    add("--optimizer", "update rule", choices=_OPTIMIZERS, default="adam")
    add("--lr", "learning rate, instead of the optimizer's own", type=float, metavar="RATE")
    add(
        "--schedule",
        "of the learning rate over all steps of all epochs: from its first value down to 0 "
        "(linear, cosine) or to a hundredth (exponential)",
        choices=_SCHEDULES,
        default="constant",
    )
    add("--weight-decay", "instead of the optimizer's own", type=float, metavar="DECAY")
    add("--dtype", "of all numbers", choices=("float32", "float64"), default="float32")
    add(
        "--seed", "of the split, the parameters and the row order", type=int, default=0, metavar="N"
    )
    add("--threads", "instead of OpenMP's choice", type=int, metavar="N")
    add("--val", "fraction of the examples for validation", type=float, default=0.1, metavar="F")
    add("--test", "fraction of the examples for the test", type=float, default=0.2, metavar="F")
    add("--out", "model file to write", default="model.safetensors", metavar="FILE")
    add(
        "--plot",
        "write a picture of the learning curves; needs Matplotlib: pip install 'pyfast-nn[plot]'",
        metavar="FILE.png",
    )


def run(arguments):
    files.check_writable(arguments.out, "--out")
    if arguments.plot is not None:
        curves.check(arguments.plot)
        if atomic.target(arguments.plot) == atomic.target(arguments.out):
            raise ValueError(f"--plot: expected another file than --out, got {arguments.plot!r}")
    if arguments.threads is not None:
        runtime.set_num_threads(
            checks.integer(arguments.threads, "--threads", 1, runtime.MOST_THREADS)
        )
    X, y = files.read_examples(arguments.data)
    if y.ndim != 1:
        raise ValueError(f"data: expected labels (n,), got shape {y.shape}")
    parts = _split(y, arguments.val, arguments.test, arguments.seed)
    out_features = _count_classes(y)
    if arguments.patience is not None and "validation" not in parts:
        raise ValueError("--patience: needs examples for validation, got --val 0")
    print(f"{len(X):,} examples, {X.shape[1]} features, {out_features} classes; ", end="")
    print(", ".join(f"{len(rows):,} {name}" for name, rows in parts.items()))

    activation = _ACTIVATIONS[arguments.activation]
    stack = _input_layers(X)
    stack += [layer for n in arguments.hidden for layer in (layers.Dense(n), activation())]
    stack += [layers.Dense(out_features)]
    model = Sequential(stack, dtype=arguments.dtype, seed=arguments.seed).build(X.shape[1])
    print(
        f"{model!r}\n{model.n_parameters:,} parameters, {runtime.get_num_threads()} threads",
        flush=True,
    )
    sets = {name: (X[rows], y[rows]) for name, rows in parts.items()}
    history = model.fit(
        *sets["train"],
        loss="cross_entropy",
        optimizer=_optimizer(arguments, len(parts["train"])),
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        validation_data=sets.get("validation"),
        patience=arguments.patience,
    )
    if history.best_epoch is not None:
        print(f"{'best epoch':20} {history.best_epoch + 1} of {history.epochs}")

    for name, (X_part, y_part) in sets.items():
        scores = model.evaluate(X_part, y_part)
        print(f"{name + ' accuracy':20} {scores['accuracy']:7.2%}   loss {scores['loss']:.4f}")
    milliseconds = np.median(history["seconds"]) * 1e3
    print(f"{'time per epoch':20} {milliseconds:.3g} ms (median of {history.epochs})")
    model.save(arguments.out)
    print(f"{'model file':20} {arguments.out}")
    if arguments.plot is not None:
        history.plot().savefig(arguments.plot)
        print(f"{'learning curves':20} {arguments.plot}")
    print(f"\nOn the {name} examples:")
    report.print_report(model, X_part, y_part)


def _optimizer(arguments, n):
    """Return the optimizer that the options describe, for `n` training examples."""
    given = {"lr": arguments.lr, "weight_decay": arguments.weight_decay}
    given = {name: value for name, value in given.items() if value is not None}
    optimizer = _OPTIMIZERS[arguments.optimizer](**given)
    epochs = checks.integer(arguments.epochs, "--epochs", minimum=1)
    batch_size = checks.integer(arguments.batch_size, "--batch-size", minimum=1)
    steps = epochs * math.ceil(n / batch_size)
    optimizer.lr = _SCHEDULES[arguments.schedule](optimizer.lr, steps)
    return optimizer


def _units(text):
    if text.strip() == "none":
        return []
    try:
        return [checks.integer(int(units), "--hidden", minimum=1) for units in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected numbers such as 128,64, or none; got {text!r}"
        ) from None


def _input_layers(X):
    """Return the layer that brings pixels into 0 to 1; for other numbers none."""
    if X.dtype.kind not in "iu" or X.min() < 0 or X.max() == 0:
        return []
    print(f"integer features: the model divides them by {X.max()}, the largest")
    return [layers.Rescale(1 / int(X.max()))]


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
