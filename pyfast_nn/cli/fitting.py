"""How `pyfast-nn train` fits a network: rows in parts, optimizer, Ctrl-C, file."""

import argparse
import contextlib
import math
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import (
    atomic,
    checks,
    cuda,
    datasets,
    layers,
    loading,
    modelfile,
    optim,
    runtime,
    schedules,
)
from ..callbacks import ModelCheckpoint
from ..models import Sequential
from ..typing import Array
from . import curves, files, hidden, tasks

OPTIMIZERS: dict[str, type] = {"adam": optim.Adam, "adamw": optim.AdamW, "sgd": optim.SGD}
# Of --lr and the number of all steps.
SCHEDULES: dict[str, Callable[[float, int], Any]] = {
    "constant": lambda lr, steps: lr,
    "linear": schedules.Linear,
    "cosine": schedules.Cosine,
    "exponential": lambda lr, steps: schedules.Exponential(lr, 0.01 ** (1 / steps)),
}


def check_options(arguments: argparse.Namespace) -> None:
    """Find what is wrong with the options of any training before anything is read or learned."""
    checks.integer(arguments.seed, "--seed", minimum=0, maximum=2**64 - 1)
    checks.real(arguments.test, "--test", minimum=0, below=1)
    if arguments.threads is not None:
        runtime.set_num_threads(
            checks.integer(arguments.threads, "--threads", 1, runtime.MOST_THREADS)
        )
    files.check_writable(
        arguments.out,
        "--out",
        ours=modelfile.is_model,
        force=arguments.force,
        inputs=arguments.data,
    )


def check_network_options(arguments: argparse.Namespace) -> None:
    """Find what is wrong with the options of one network before anything is read or learned."""
    for name in ("epochs", "batch_size", "patience"):
        value = getattr(arguments, name)
        if value is not None:
            checks.integer(value, f"--{name.replace('_', '-')}", minimum=1)
    checks.real(arguments.mixup, "--mixup", minimum=0)
    try:
        cuda.check_device(arguments.device)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"--{error}") from None
    optimizer_of(arguments, 1)
    hidden.check_options(arguments)
    checks.real(arguments.val, "--val", minimum=0, below=1)
    if arguments.val + arguments.test >= 1:
        raise ValueError(
            f"--val and --test: expected a sum below 1, got {arguments.val + arguments.test:g}"
        )
    if arguments.patience is not None and arguments.val == 0:
        raise ValueError("--patience: expected examples for validation, got --val 0")
    rules: dict[str, Any] = {"force": arguments.force, "inputs": arguments.data}
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


def train(
    arguments: argparse.Namespace,
    X: Array,
    task: tasks.Task,
    parts: dict[str, Array],
    input_layers: list[layers.Layer],
    said: list[str],
    save: Callable[[Sequential], None],
) -> tuple[Sequential, BaseException | None]:
    """Make, train and `save` one network; return it, and what has ended its training early.

    `said` are lines to print first.
    """
    batch_size = hidden.batch_size(arguments, len(parts["train"]))
    if batch_size != arguments.batch_size:
        said.append(
            f"steps of {batch_size} examples: with {arguments.batch_size}, the last one would be "
            "alone, of which --norm batch has no statistics"
        )
        arguments.batch_size = batch_size
    optimizer = optimizer_of(arguments, len(parts["train"]))
    model = _network(arguments, task, input_layers).build(X.shape[1:])
    if not arguments.quiet:
        print(*said, sep="\n")
        print(model)
        threads = runtime.get_num_threads()
        print(f"{model.n_parameters:,} parameters, {threads} threads", flush=True)

    if arguments.checkpoint is not None and os.path.exists(arguments.checkpoint):
        history = loading.load(arguments.checkpoint).history
        done = f"{0 if history is None else history.epochs} of {arguments.epochs}"
        print(f"goes on after epoch {done}, from {arguments.checkpoint}", file=sys.stderr)
    ended = _learn(arguments, model, X, task, parts, optimizer, save)
    history = model.history
    assert history is not None  # a step was made
    if isinstance(ended, KeyboardInterrupt):
        whole = f"{model.epochs_trained} of {arguments.epochs} epochs"
        print(f"interrupted after {whole}; {arguments.out} is what was learned", file=sys.stderr)
    elif ended is not None:
        raise ended
    if arguments.plot is not None and history.epochs > 0:
        history.plot().savefig(arguments.plot, dpi=150)
    return model, ended


def report_best_epoch(model: Sequential) -> None:
    history = model.history
    if history is not None and history.best_epoch is not None:
        print(f"{'best epoch':20} {history.best_epoch + 1} of {history.epochs}")


def report_time(model: Sequential) -> None:
    history = model.history
    if history is not None and history.epochs > 0:
        milliseconds = np.median(history["seconds"]) * 1e3
        print(f"{'time per epoch':20} {milliseconds:.3g} ms (median of {history.epochs})")


def report_files(arguments: argparse.Namespace, model: Sequential) -> None:
    print(f"{'model file':20} {arguments.out}")
    if arguments.plot is not None and model.history is not None and model.history.epochs > 0:
        print(f"{'learning curves':20} {arguments.plot}")


def _network(
    arguments: argparse.Namespace, task: tasks.Task, input_layers: list[layers.Layer]
) -> Sequential:
    lenet = arguments.model == "lenet"
    within = hidden.lenet() if lenet else hidden.hidden_layers(arguments)
    stack = [*input_layers, *within, layers.Dense(task.out_features)]
    return Sequential(
        stack,
        classes=task.classes,
        dtype=arguments.dtype,
        seed=arguments.seed,
        standardize_targets=task.classes is None,
        device=arguments.device,
    )


def split(
    strata: Array, val: float, test: float, seed: int, groups: Array | None = None
) -> dict[str, Array]:
    """Return {"train": rows, ...} without the parts of fraction 0.

    Rows of one of the `groups` (n,) are in one part; strata do not count then.
    """
    fractions = {"train": 1 - val - test, "validation": val, "test": test}
    fractions = {name: fraction for name, fraction in fractions.items() if fraction > 0}
    shares = list(fractions.values())
    if groups is None:
        rows = datasets.stratified_split(strata, shares, seed=seed)
    else:
        rows = _whole_groups(groups, shares, seed)
    parts = dict(zip(fractions, rows, strict=True))
    for name, part in parts.items():
        if len(part) == 0:
            raise ValueError(f"--val and --test: expected to leave examples for {name}, got none")
    return parts


def with_all_classes(parts: dict[str, Array], y: Array, groups: Array | None) -> dict[str, Array]:
    """Return the parts, in which "train" has all classes that any has: with rows of the others.

    Where there are `groups` (n,), those rows come with all others of their group.
    """
    lost = ~np.isin(y, y[parts["train"]])
    if not lost.any():
        return parts
    moved = lost if groups is None else np.isin(groups, groups[lost])
    result = {name: rows[~moved[rows]] for name, rows in parts.items()}
    others = [rows[moved[rows]] for rows in parts.values()]
    return result | {"train": np.concatenate([result["train"], *others])}


def _whole_groups(groups: Array, shares: list[float], seed: int) -> list[Array]:
    """Return rows in parts of nearly these shares; each group is where its middle row falls."""
    _, places, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(sizes))
    middles = np.empty(len(sizes))
    middles[order] = np.cumsum(sizes[order]) - sizes[order] / 2
    parts = np.searchsorted(np.cumsum(shares[:-1]) * len(groups), middles, side="right")
    return [np.flatnonzero(parts[places] == part) for part in range(len(shares))]


def optimizer_of(arguments: argparse.Namespace, n: int) -> optim.Optimizer:
    """Return the optimizer that the options describe, for `n` training examples."""
    given = {"lr": arguments.lr, "weight_decay": arguments.weight_decay}
    given = {name: value for name, value in given.items() if value is not None}
    optimizer = OPTIMIZERS[arguments.optimizer](**given)
    steps = arguments.epochs * math.ceil(n / arguments.batch_size)
    optimizer.lr = SCHEDULES[arguments.schedule](optimizer.lr, steps)
    return optimizer


def _learn(
    arguments: argparse.Namespace,
    model: Sequential,
    X: Array,
    task: tasks.Task,
    parts: dict[str, Array],
    optimizer: optim.Optimizer,
    save: Callable[[Sequential], None],
) -> KeyboardInterrupt | BrokenPipeError | None:
    """Train the model and save it; return what has ended it early, if anything has."""
    sets = {name: (X[rows], task.y[rows]) for name, rows in parts.items() if name != "test"}
    ended, callbacks = None, []
    if arguments.checkpoint is not None:
        template = arguments.checkpoint.replace("{", "{{").replace("}", "}}")
        callbacks = [ModelCheckpoint(template)]
    with interrupted_once(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "resume: ", UserWarning)  # that all is done: as was told
        try:
            model.fit(
                *sets["train"],
                loss=task.loss,
                optimizer=optimizer,
                epochs=arguments.epochs,
                batch_size=arguments.batch_size,
                mixup=arguments.mixup,
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
        with handling_interrupts(signal.SIG_IGN):
            save(model)
    return ended


@contextlib.contextmanager
def interrupted_once() -> Iterator[None]:
    """Let the first Ctrl-C end what follows, and others not what is done about the first."""

    def interrupt(*args: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    with handling_interrupts(interrupt):
        yield


@contextlib.contextmanager
def handling_interrupts(handler: Any) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # the only one that handles them
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
