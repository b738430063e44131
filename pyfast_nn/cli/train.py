"""`pyfast-nn train`: read, split, fit, save, tell."""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import data, inputs, layers
from ..models import Sequential
from ..typing import Array
from . import files, fitting, hidden, options, report, tables, tasks, train_table

MODELS = ("tabular", "mlp", "lenet")


def add_to(commands: Any) -> None:
    text = "train a network and write a model file"
    command = commands.add_parser(
        "train",
        help=text,
        description=f"{text[0].upper()}{text[1:]}, and tell how good it is on examples that were "
        "kept apart. Ctrl-C ends the training; the file then has what was learned so far.",
    )
    command.add_argument(
        "data",
        metavar="DATA",
        nargs="*",
        type=files.path,
        default=["digits"],
        help=f"{files.DATA} (default: digits)",
    )

    def add(*names: str, **keywords: Any) -> None:
        if keywords.get("default") is not None:
            keywords["help"] += " (default: %(default)s)"
        command.add_argument(*names, **keywords)

    add(
        "--task",
        help="whether the targets are labels or numbers to predict (default: what they look like)",
        choices=tasks.NAMES,
    )
    add(
        "--class-weight",
        help="'balanced' gives all classes the same weight, however many examples they have",
        choices=("balanced",),
    )
    add(
        "--model",
        help="'mlp': one network, as the options below say, which is what arrays are trained by; "
        "'lenet': a small network of convolutions, for images; 'tabular': a pack of networks with "
        "drawn hyper-parameters, of which the best predict together, which is what tables are "
        "trained by",
        choices=MODELS,
    )
    add("--test", help="fraction for the test", type=float, default=0.2, metavar="F")
    add(
        "--seed",
        help="of the split, the parameters and the row order",
        type=int,
        default=0,
        metavar="N",
    )
    add("--threads", help="instead of OpenMP's choice", type=int, metavar="N")
    add(
        "--out",
        help="model file to write",
        type=files.path,
        default="model.safetensors",
        metavar="FILE",
    )
    add(
        "--force",
        help="let --out replace a file that is no model file, --plot any, and --report a page",
        action="store_true",
    )
    loudness = command.add_mutually_exclusive_group()
    loudness.add_argument("-q", "--quiet", help="print nothing but errors", action="store_true")
    loudness.add_argument(
        "-v",
        "--verbose",
        help="show a line for each epoch where there is no terminal for a bar",
        action="store_true",
    )

    table = options.Options(command.add_argument_group("tables"))
    train_table.add_options(table.add)
    network = options.Options(
        command.add_argument_group("one network", "of arrays, and of tables with --model mlp")
    )
    _add_network_options(network.add)
    command.set_defaults(run=run, table=table, network=network)


def _add_network_options(add: Callable[..., None]) -> None:
    add(
        "--standardize",
        help="whether the model brings each column to mean 0 and standard deviation 1 (default: "
        "it does, except for pixels, which it divides by the largest)",
        action=argparse.BooleanOptionalAction,
    )
    hidden.add_options(add)
    add("--epochs", help="passes over the training data", type=int, default=40, metavar="N")
    add(
        "--patience",
        help="stop after so many epochs in which the loss on the validation examples did not "
        "fall, and go back to the best",
        type=int,
        metavar="N",
    )
    add("--batch-size", help="examples per step", type=int, default=32, metavar="N")
    add(
        "--mixup",
        help="train on pairs of examples, mixed in shares of Beta(ALPHA, ALPHA); 0.1 to 0.4 is "
        "usual, 0 mixes nothing",
        type=float,
        default=0.0,
        metavar="ALPHA",
    )
    add("--optimizer", help="update rule", choices=fitting.OPTIMIZERS, default="adam")
    add("--lr", help="learning rate, instead of the optimizer's own", type=float, metavar="RATE")
    add(
        "--schedule",
        help="of the learning rate over all steps of all epochs: from its first value down to 0 "
        "(linear, cosine) or to a hundredth (exponential)",
        choices=fitting.SCHEDULES,
        default="constant",
    )
    add("--weight-decay", help="instead of the optimizer's own", type=float, metavar="DECAY")
    add("--dtype", help="of all numbers", choices=("float32", "float64"), default="float32")
    add(
        "--device",
        help="what computes: cpu, the processor, or cuda, a GPU that CUDA knows, of several cuda:1 "
        "and so on (experimental)",
        metavar="DEVICE",
        default="cpu",
    )
    add("--val", help="fraction for validation", type=float, default=0.1, metavar="F")
    add(
        "--checkpoint",
        help="after each epoch, write to this file all that is needed to go on; where it is there "
        "already, go on from it, however the training before has ended, and be it by a kill",
        type=files.path,
        metavar="FILE",
    )
    add(
        "--plot",
        help="write a picture of the learning curves; needs Matplotlib: "
        "pip install 'pyfast-nn[plot]'",
        type=files.path,
        metavar="FILE.png",
    )


def run(arguments: argparse.Namespace) -> int:
    if tables.is_table(arguments.data):
        return train_table.run(arguments)
    files.check_arrays(arguments.data)
    arguments.table.refuse(arguments, f"a table, got {' '.join(arguments.data)}")
    if arguments.model == "tabular":
        raise ValueError("--model: expected mlp or lenet for arrays, got tabular")
    if arguments.model == "lenet":
        hidden.refuse(arguments, "--model mlp, as the layers of lenet are its own")
    arguments.network.settle(arguments)
    fitting.check_options(arguments)
    fitting.check_network_options(arguments)
    X, task, input_layers, remarks = _read(arguments)
    parts = fitting.split(task.strata, arguments.val, arguments.test, arguments.seed)
    sizes = ", ".join(f"{len(rows):,} {name}" for name, rows in parts.items())
    what = "images" if X.ndim > 2 else "features"
    numbers = " x ".join(map(str, X.shape[1:]))
    said = [f"{len(X):,} examples, {numbers} {what}, {task}; {sizes}", *remarks]
    model, ended = fitting.train(
        arguments, X, task, parts, input_layers, said, lambda model: model.save(arguments.out)
    )
    if not arguments.quiet:
        _report(arguments, model, X, task, parts)
    return 0 if ended is None else 130


def _read(
    arguments: argparse.Namespace,
) -> tuple[Array, tasks.Task, list[layers.Layer], list[str]]:
    """Return X (n, features), what to learn, what comes first in the model, and what to say."""
    X, y = files.read_examples(arguments.data)
    task = tasks.choose(arguments.task, y, arguments.dtype)
    if arguments.class_weight is not None and task.classes is None:
        raise ValueError("--class-weight: expected labels, got the numbers of a regression")
    shape = files.shape_of_images(X) if arguments.model == "lenet" else None
    pixels, X = _are_pixels(X), files.as_rows(X)
    # What is not finite is found here, where rows are still those of the user's file.
    data.check_finite(X, np.dtype("float64"), "X")
    input_layers, remark = _input_layers(X, pixels, arguments.standardize)
    if not input_layers:  # which would take what is beyond the range of the model's dtype
        data.check_finite(X, np.dtype(arguments.dtype), "X")
    remarks = [tasks.why(arguments.task, y, task), remark]
    if task.classes is None:
        remarks.append("targets are standardized for the training, whose losses are of these")
    if shape is not None:
        X = X.reshape(len(X), *shape)
    return X, task, input_layers, [remark for remark in remarks if remark is not None]


def _report(
    arguments: argparse.Namespace,
    model: Sequential,
    X: Array,
    task: tasks.Task,
    parts: dict[str, Array],
) -> None:
    fitting.report_best_epoch(model)
    for name, rows in parts.items():
        (score, text), *others = report.scores_of(model, X[rows], task.y[rows]).items()
        rest = "   ".join(" ".join(other) for other in others)
        print(f"{name + ' ' + score:20} {text:>8}   {rest}")
    fitting.report_time(model)
    fitting.report_files(arguments, model)
    if task.classes is not None:
        print(f"\nOn the {name} examples:")
        report.print_report(task.y[rows], model.predict(X[rows]))


def _are_pixels(X: Array) -> bool:
    """Whether X (n, ...) are bytes, or images: of more than two dimensions."""
    return X.dtype == np.uint8 or (X.dtype.kind in "iuf" and X.ndim > 2)


def _input_layers(
    X: Array, pixels: bool, standardize: bool | None
) -> tuple[list[layers.Layer], str | None]:
    """Return what the model does to X (n, features) first, and what to say of it."""
    pixels = pixels and X.min() >= 0
    if standardize or (standardize is None and not pixels):
        return [inputs.Standardize()], (
            "the model standardizes each column (--no-standardize leaves them as they are)"
        )
    largest = X.max()
    if not pixels or largest == 0 or (largest <= 1 and X.dtype.kind == "f"):
        return [], None  # they are in 0 to 1 already
    return [inputs.Rescale(1 / float(largest))], (
        f"pixels: the model divides them by {largest:g}, the largest"
    )
