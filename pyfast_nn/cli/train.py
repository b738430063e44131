"""`pyfast-nn train`: read, split, fit, save, tell."""

import argparse
import contextlib
import math
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import (
    atomic,
    checks,
    data,
    datasets,
    inputs,
    layers,
    loading,
    modelfile,
    optim,
    runtime,
    schedules,
)
from ..callbacks import ModelCheckpoint
from ..history import History
from ..models import Sequential
from ..typing import Array
from . import curves, files, hidden, report, tasks

_OPTIMIZERS: dict[str, type] = {"adam": optim.Adam, "adamw": optim.AdamW, "sgd": optim.SGD}
# Of --lr and the number of all steps.
_SCHEDULES = {
    "constant": lambda lr, steps: lr,
    "linear": schedules.Linear,
    "cosine": schedules.Cosine,
    "exponential": lambda lr, steps: schedules.Exponential(lr, 0.01 ** (1 / steps)),
}


def add_to(commands: Any) -> None:
    text = "train a network and write a model file"
    command = commands.add_parser(
        "train",
        help=text,
        description=f"{text[0].upper()}{text[1:]}, and tell how good it is on examples that were "
        "kept apart. Ctrl-C ends the training; the file then has what was learned so far.",
    )
    command.set_defaults(run=run)
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
        help="whether y are labels or numbers to predict (default: what they look like)",
        choices=tasks.NAMES,
    )
    add(
        "--standardize",
        help="whether the model brings each column to mean 0 and standard deviation 1 (default: "
        "it does, except for pixels, which it divides by the largest)",
        action=argparse.BooleanOptionalAction,
    )
    add(
        "--class-weight",
        help="'balanced' gives all classes the same weight, however many examples they have",
        choices=("balanced",),
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
    add("--optimizer", help="update rule", choices=_OPTIMIZERS, default="adam")
    add("--lr", help="learning rate, instead of the optimizer's own", type=float, metavar="RATE")
    add(
        "--schedule",
        help="of the learning rate over all steps of all epochs: from its first value down to 0 "
        "(linear, cosine) or to a hundredth (exponential)",
        choices=_SCHEDULES,
        default="constant",
    )
    add("--weight-decay", help="instead of the optimizer's own", type=float, metavar="DECAY")
    add("--dtype", help="of all numbers", choices=("float32", "float64"), default="float32")
    add(
        "--seed",
        help="of the split, the parameters and the row order",
        type=int,
        default=0,
        metavar="N",
    )
    add("--threads", help="instead of OpenMP's choice", type=int, metavar="N")
    add("--val", help="fraction for validation", type=float, default=0.1, metavar="F")
    add("--test", help="fraction for the test", type=float, default=0.2, metavar="F")
    add(
        "--out",
        help="model file to write",
        type=files.path,
        default="model.safetensors",
        metavar="FILE",
    )
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
    add(
        "--force",
        help="let --out replace a file that is no model file, and --plot any",
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


def run(arguments: argparse.Namespace) -> int:
    _check_options(arguments)
    X, task, input_layers, remarks = _read(arguments)
    parts = _split(task.strata, arguments.val, arguments.test, arguments.seed)
    batch_size = hidden.batch_size(arguments, len(parts["train"]))
    if batch_size != arguments.batch_size:
        remarks.append(
            f"steps of {batch_size} examples: with {arguments.batch_size}, the last one would be "
            "alone, of which --norm batch has no statistics"
        )
        arguments.batch_size = batch_size
    optimizer = _optimizer(arguments, len(parts["train"]))
    model = _network(arguments, task, input_layers).build(X.shape[1])
    if not arguments.quiet:
        sizes = ", ".join(f"{len(rows):,} {name}" for name, rows in parts.items())
        print(f"{len(X):,} examples, {X.shape[1]} features, {task}; {sizes}", *remarks, sep="\n")
        print(model)
        threads = runtime.get_num_threads()
        print(f"{model.n_parameters:,} parameters, {threads} threads", flush=True)

    if arguments.checkpoint is not None and os.path.exists(arguments.checkpoint):
        history = loading.load(arguments.checkpoint).history
        done = f"{0 if history is None else history.epochs} of {arguments.epochs}"
        print(f"goes on after epoch {done}, from {arguments.checkpoint}", file=sys.stderr)
    ended = _learn(arguments, model, X, task, parts, optimizer)
    history = model.history
    assert history is not None  # a step was made
    if isinstance(ended, KeyboardInterrupt):
        whole = f"{model.epochs_trained} of {arguments.epochs} epochs"
        print(f"interrupted after {whole}; {arguments.out} is what was learned", file=sys.stderr)
    elif ended is not None:
        raise ended
    if arguments.plot is not None and history.epochs > 0:
        history.plot().savefig(arguments.plot, dpi=150)
    if not arguments.quiet:
        _report(arguments, model, X, task, parts, history)
    return 0 if ended is None else 130


def _read(
    arguments: argparse.Namespace,
) -> tuple[Array, tasks.Task, list[layers.Layer], list[str]]:
    """Return X (n, features), what to learn, what comes first in the model, and what to say."""
    X, y = files.read_examples(arguments.data)
    task = tasks.choose(arguments.task, y, arguments.dtype)
    if arguments.class_weight is not None and task.classes is None:
        raise ValueError("--class-weight: expected labels, got the numbers of a regression")
    pixels, X = _are_pixels(X), files.as_rows(X)
    # What is not finite is found here, where rows are still those of the user's file.
    data.check_finite(X, np.dtype("float64"), "X")
    input_layers, remark = _input_layers(X, pixels, arguments.standardize)
    if not input_layers:  # which would take what is beyond the range of the model's dtype
        data.check_finite(X, np.dtype(arguments.dtype), "X")
    remarks = [tasks.why(arguments.task, y, task), remark]
    if task.classes is None:
        remarks.append("targets are standardized for the training, whose losses are of these")
    return X, task, input_layers, [remark for remark in remarks if remark is not None]


def _network(
    arguments: argparse.Namespace, task: tasks.Task, input_layers: list[layers.Layer]
) -> Sequential:
    stack = [*input_layers, *hidden.hidden_layers(arguments), layers.Dense(task.out_features)]
    return Sequential(
        stack,
        classes=task.classes,
        dtype=arguments.dtype,
        seed=arguments.seed,
        standardize_targets=task.classes is None,
    )


def _learn(
    arguments: argparse.Namespace,
    model: Sequential,
    X: Array,
    task: tasks.Task,
    parts: dict[str, Array],
    optimizer: optim.Optimizer,
) -> KeyboardInterrupt | BrokenPipeError | None:
    """Train the model and write its file; return what has ended it early, if anything has."""
    sets = {name: (X[rows], task.y[rows]) for name, rows in parts.items() if name != "test"}
    ended, callbacks = None, []
    if arguments.checkpoint is not None:
        template = arguments.checkpoint.replace("{", "{{").replace("}", "}}")
        callbacks = [ModelCheckpoint(template)]
    with _interrupted_once(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "resume: ", UserWarning)  # that all is done: as was told
        try:
            model.fit(
                *sets["train"],
                loss=task.loss,
                optimizer=optimizer,
                epochs=arguments.epochs,
                batch_size=arguments.batch_size,
                class_weight=arguments.class_weight,
                validation_data=sets.get("validation"),
                metrics=["r2"] if task.classes is None and "validation" in sets else [],
                patience=arguments.patience,
                callbacks=callbacks,
                resume=arguments.checkpoint,
                verbose=0 if arguments.quiet else 1 if arguments.verbose else "auto",
            )
        except (KeyboardInterrupt, BrokenPipeError) as error:  # who read the progress has gone
            if optimizer.step_count == 0:
                raise
            ended = error
        with _handling_interrupts(signal.SIG_IGN):
            model.save(arguments.out)
    return ended


def _report(
    arguments: argparse.Namespace,
    model: Sequential,
    X: Array,
    task: tasks.Task,
    parts: dict[str, Array],
    history: History,
) -> None:
    if history.best_epoch is not None:
        print(f"{'best epoch':20} {history.best_epoch + 1} of {history.epochs}")
    for name, rows in parts.items():
        (score, text), *others = report.scores_of(model, X[rows], task.y[rows]).items()
        rest = "   ".join(" ".join(other) for other in others)
        print(f"{name + ' ' + score:20} {text:>8}   {rest}")
    if history.epochs > 0:
        milliseconds = np.median(history["seconds"]) * 1e3
        print(f"{'time per epoch':20} {milliseconds:.3g} ms (median of {history.epochs})")
    print(f"{'model file':20} {arguments.out}")
    if arguments.plot is not None and history.epochs > 0:
        print(f"{'learning curves':20} {arguments.plot}")
    if task.classes is not None:
        print(f"\nOn the {name} examples:")
        report.print_report(task.y[rows], model.predict(X[rows]))


def _check_options(arguments: argparse.Namespace) -> None:
    """Find what is wrong with the options before anything is read, printed or learned."""
    for name in ("epochs", "batch_size", "patience"):
        value = getattr(arguments, name)
        if value is not None:
            checks.integer(value, f"--{name.replace('_', '-')}", minimum=1)
    checks.integer(arguments.seed, "--seed", minimum=0, maximum=2**64 - 1)
    _optimizer(arguments, 1)
    hidden.check_options(arguments)
    for name in ("val", "test"):
        checks.real(getattr(arguments, name), f"--{name}", minimum=0, below=1)
    if arguments.val + arguments.test >= 1:
        raise ValueError(
            f"--val and --test: expected a sum below 1, got {arguments.val + arguments.test:g}"
        )
    if arguments.patience is not None and arguments.val == 0:
        raise ValueError("--patience: expected examples for validation, got --val 0")
    if arguments.threads is not None:
        runtime.set_num_threads(
            checks.integer(arguments.threads, "--threads", 1, runtime.MOST_THREADS)
        )
    rules: dict[str, Any] = {"force": arguments.force, "inputs": arguments.data}
    files.check_writable(arguments.out, "--out", ours=modelfile.is_model, **rules)
    if arguments.checkpoint is not None:  # what is there is read, and says what is wrong with it
        files.check_writable(arguments.checkpoint, "--checkpoint", ours=os.path.exists, **rules)
    if arguments.plot is not None:
        curves.check_kind(arguments.plot)
        files.check_writable(arguments.plot, "--plot", ours=curves.is_picture, **rules)
    known = [atomic.target(arguments.out)]
    for name in ("checkpoint", "plot"):
        if (value := getattr(arguments, name)) is not None:
            if atomic.target(value) in known:
                raise ValueError(f"--{name}: expected another file than --out, got {value!r}")
            known.append(atomic.target(value))


def _optimizer(arguments: argparse.Namespace, n: int) -> optim.Optimizer:
    """Return the optimizer that the options describe, for `n` training examples."""
    given = {"lr": arguments.lr, "weight_decay": arguments.weight_decay}
    given = {name: value for name, value in given.items() if value is not None}
    optimizer = _OPTIMIZERS[arguments.optimizer](**given)
    steps = arguments.epochs * math.ceil(n / arguments.batch_size)
    optimizer.lr = _SCHEDULES[arguments.schedule](optimizer.lr, steps)
    return optimizer


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


def _split(strata: Array, val: float, test: float, seed: int) -> dict[str, Array]:
    """Return {"train": rows, ...} without the parts of fraction 0."""
    fractions = {"train": 1 - val - test, "validation": val, "test": test}
    fractions = {name: fraction for name, fraction in fractions.items() if fraction > 0}
    rows = datasets.stratified_split(strata, list(fractions.values()), seed=seed)
    parts = dict(zip(fractions, rows, strict=True))
    for name, part in parts.items():
        if len(part) == 0:
            raise ValueError(f"--val and --test: expected to leave examples for {name}, got none")
    return parts


@contextlib.contextmanager
def _interrupted_once() -> Iterator[None]:
    """Let the first Ctrl-C end what follows, and others not what is done about the first."""

    def interrupt(*args: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    with _handling_interrupts(interrupt):
        yield


@contextlib.contextmanager
def _handling_interrupts(handler: Any) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # the only one that handles them
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
