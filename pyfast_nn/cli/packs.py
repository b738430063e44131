"""How `pyfast-nn train` learns from a table: a pack of networks, or one."""

import argparse
import contextlib
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import branches, inputs
from ..layers import Layer
from ..models import Sequential
from ..tabular import TabularModel, networks, pack
from ..tabular.intervals import Residuals
from ..tabular.schema import Input, Schema
from ..tabular.scoring import Score
from ..tabular.table import Table
from . import fitting, tasks
from .parts import Parts
from .table_models import TableModel

Ended = BaseException | None


def train(
    arguments: argparse.Namespace, parts: Parts, said: list[str]
) -> tuple[TabularModel, Ended]:
    """Train a pack, and write its file; return it, and what has ended it early."""
    from ..sklearn import TabularClassifier, TabularRegressor

    if not arguments.quiet:
        print(*said, sep="\n", flush=True)
    options: dict[str, Any] = {
        "time_limit": arguments.time_limit,
        "dates": arguments.dates,
        "random_state": arguments.seed,
        "verbose": 0 if arguments.quiet else 1 if arguments.verbose else "auto",
    }
    estimator: Any
    if parts.task.classes is None:
        estimator = TabularRegressor(**options)
    else:
        estimator = TabularClassifier(**options, class_weight=arguments.class_weight)
    rows = parts.rows["train"]
    groups = None if parts.groups is None else parts.groups[rows]
    ended: Ended = None
    with fitting.interrupted_once(), _warnings_as_lines(arguments.quiet):
        try:
            estimator.fit(parts.of("train"), parts.task.y[rows], groups=groups)
        except KeyboardInterrupt as error:
            if not hasattr(estimator, "model_"):  # before anything was learned
                raise
            ended = error
        model: TabularModel = estimator.model_
        TableModel(model, arguments.target).save(arguments.out)
    if ended is not None:
        print(f"interrupted; {arguments.out} is what was learned", file=sys.stderr)
    return model, ended


def train_one(
    arguments: argparse.Namespace, parts: Parts, said: list[str]
) -> tuple[TabularModel, Ended]:
    """Train one network, as the options say, and write its file."""
    task = parts.task
    if task.classes is None and "validation" not in parts.rows:
        raise ValueError("--val: expected examples, of whose errors quantiles are taken, got none")
    known = np.sort(np.concatenate([part for k, part in parts.rows.items() if k != "test"]))
    with _warnings_as_lines(arguments.quiet):
        schema, _ = Schema.learn(parts.X.take(known), arguments.dates)
    X = schema.encode(parts.X)
    codes = task
    if task.classes is not None:
        k = len(task.classes)
        codes = tasks.Task(np.searchsorted(task.classes, task.y), np.arange(k), in_one=k == 2)
    made: list[TabularModel] = []

    def save(network: Sequential) -> None:
        made.append(_as_table_model(network, schema, X, parts))
        TableModel(made[0], arguments.target).save(arguments.out)

    input_layers = _input_layers(schema.inputs, arguments.standardize is not False)
    network, ended = fitting.train(arguments, X, codes, parts.rows, input_layers, said, save)
    if not arguments.quiet:
        fitting.report_best_epoch(network)
        fitting.report_time(network)
    return made[0], ended


def _input_layers(columns: list[Input], standardize: bool) -> list[Layer]:
    """Return what makes of numbers, codes and missing values what a network can use."""
    numbers = [i for i, each in enumerate(columns) if each.n_codes == 0]
    missing = [i for i, each in enumerate(columns) if each.missing]
    found: list[tuple[list[int], list[Layer]]] = []
    if numbers:
        scaled = [inputs.Standardize()] if standardize else []
        found.append((numbers, [inputs.Impute(), *scaled]))
    if missing:
        found.append((missing, [inputs.MissingIndicator()]))
    for i, each in enumerate(columns):
        if each.n_codes:
            found.append(([i], [networks.of_codes(each.n_codes)]))
    return [branches.Columns(found)]


def _as_table_model(network: Sequential, schema: Schema, X: Any, parts: Parts) -> TabularModel:
    """Return a model of tables of one network."""
    task, held = parts.task, parts.rows.get("validation", parts.rows["train"])
    outputs = pack.predict(network, X[held])
    score = Score(None, task.y[held], task.classes, None)
    history = network.history
    row = {
        "network": 0,
        score.name: score.value(outputs),
        "weight": 1.0,
        "epochs": network.epochs_trained,
        "seconds": 0.0 if history is None else sum(history["seconds"]),
    }
    residuals = None if task.classes is not None else Residuals.of(outputs, task.y[held])
    classes, board = task.classes, Table([row])
    return TabularModel(schema, [network], np.ones(1), classes, score.name, board, residuals)


@contextlib.contextmanager
def _warnings_as_lines(quiet: bool) -> Iterator[None]:
    """Print what is warned of the columns as a line each, unless all is to be `quiet`."""

    def show(message: Any, *_: Any, **__: Any) -> None:
        if not quiet:
            print(f"warning: {str(message).removeprefix('X: ')}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield
