"""MLPClassifier of pyfast_nn.sklearn and of scikit-learn, same parameters, and Sequential.fit."""

import os
import statistics
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn import neural_network
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning

import pyfast_nn as fnn
from machine import set_threads
from measure import interleave, note_disturbed
from pyfast_nn.sklearn import MLPClassifier
from sections.mnist import read_part
from sections.table import markdown_table

SEEDS = range(5)
HIDDEN, BATCH = (100,), 200  # what MLPClassifier() has
OURS, THEIRS, BARE = "pyfast_nn.sklearn", "scikit-learn", "pyfast_nn, Sequential.fit"


class Workload(NamedTuple):
    name: str
    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    epochs: int  # to the accuracy


def digits():
    x, y = fnn.datasets.load_digits()
    x = (x / 16).astype(np.float32)
    return Workload("digits", x[300:], y[300:], x[:300], y[:300], 100)


def table():
    x, y = make_classification(
        120_000, 50, n_informative=20, n_classes=5, class_sep=0.7, random_state=0
    )
    x = x.astype(np.float32)
    return Workload("table, 100,000 x 50", x[20_000:], y[20_000:], x[:20_000], y[:20_000], 20)


def mnist():
    folder = Path(os.environ["PYFAST_NN_MNIST"])
    train, test = read_part(folder, "train"), read_part(folder, "t10k")
    return Workload("MNIST, 60,000 x 784", *train, *test, 10)


def estimator(kind, **parameters):
    """One that makes all of its epochs."""
    return kind(tol=0.0, n_iter_no_change=np.inf, **parameters)


def trainers(workload):
    """{library: run(epochs)}."""

    def runs(model):
        def run(epochs):
            model.set_params(max_iter=epochs).fit(workload.x, workload.y)

        return run

    kinds = {OURS: MLPClassifier, THEIRS: neural_network.MLPClassifier}
    found = {
        name: runs(estimator(kind, random_state=0, warm_start=True)) for name, kind in kinds.items()
    }
    layers = [fnn.Dense(HIDDEN[0]), fnn.ReLU(), fnn.Dense(int(workload.y.max()) + 1)]
    model, adam = fnn.Sequential(layers), fnn.optim.Adam()

    def bare(epochs):
        model.fit(
            *(workload.x, workload.y),
            loss="cross_entropy",
            optimizer=adam,
            epochs=epochs,
            batch_size=BATCH,
            verbose=0,
        )

    return found | {BARE: bare}


def accuracies(workload, kind):
    """Right shares of the test examples, one for each seed."""
    for seed in SEEDS:
        model = estimator(kind, random_state=seed, max_iter=workload.epochs)
        yield model.fit(workload.x, workload.y).score(workload.x_test, workload.y_test)


def run(arguments):
    set_threads(arguments.threads)
    makers = {"digits": digits, "mnist": mnist, "table": table}
    if not os.environ.get("PYFAST_NN_MNIST"):
        del makers["mnist"]
    if arguments.only not in (None, *makers):
        raise SystemExit(f"--only: {arguments.only} is none of {', '.join(makers)}")
    rows, notes = [], ""
    for name, make in makers.items():
        if arguments.only not in (None, name):
            continue
        workload = make()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # they train for all of max_iter
            results = interleave(
                trainers(workload),
                seconds=arguments.seconds,
                repeats=arguments.repeats,
                threads=arguments.threads,
            )
            right = {
                OURS: list(accuracies(workload, MLPClassifier)),
                THEIRS: list(accuracies(workload, neural_network.MLPClassifier)),
            }
        ours = results[OURS].median
        for library, result in results.items():
            shares = right.get(library)
            rows.append(
                [
                    workload.name,
                    library,
                    f"{result.median * 1e3:,.1f}",
                    f"{result.median / ours:.2f}",
                    "" if shares is None else f"{statistics.mean(shares):.2%}",
                ]
            )
        notes += note_disturbed(workload.name, results)
    header = ["data", "library", "ms per epoch", "times ours", "test accuracy"]
    missing = "" if "mnist" in makers else "\nPYFAST_NN_MNIST names no folder: MNIST is left out.\n"
    return (
        f"`MLPClassifier()`, float32, {arguments.threads} threads; medians of {arguments.repeats} "
        f"fits of several epochs. Accuracies: means over {len(SEEDS)} seeds after "
        "100, 10 and 20 epochs.\n\n"
        f"{markdown_table(header, rows, text_columns=2)}{notes}{missing}"
    )
