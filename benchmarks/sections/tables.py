"""Real tables: a pack of networks, boosted trees and other networks; scores and times."""

import importlib.util
import statistics
import time
import warnings

import numpy as np
from sklearn.metrics import log_loss, roc_auc_score

from contestants.tables import LIBRARIES
from machine import set_threads
from measure import foreign_seconds
from real_tables import SOURCES, TUNED_ON, load
from sections.table import markdown_table

SEEDS = range(3)
SCORES = {"regression": "RMSE", "binary": "ROC AUC", "classes": "log loss"}


def score(task, y, predicted):
    if task == "regression":
        return float(np.sqrt(np.mean((y - predicted) ** 2)))
    if task == "binary":
        return float(roc_auc_score(y, predicted))
    return float(log_loss(y, predicted))


def run(arguments):
    set_threads(arguments.threads)
    names = {**SOURCES, **TUNED_ON} if arguments.only else SOURCES
    if arguments.only not in (None, *names):
        raise SystemExit(f"--only: {arguments.only} is none of {', '.join(names)}")
    missing = {
        name: needs
        for name, (_, needs) in LIBRARIES.items()
        if not all(map(importlib.util.find_spec, needs))
    }
    rows = []
    for name in names if arguments.only is None else [arguments.only]:
        table = load(name)
        results = {library: [] for library in LIBRARIES if library not in missing}
        for seed in SEEDS:
            train, validation, test = table.parts(seed)
            for library, found in results.items():
                fit = LIBRARIES[library][0]
                wall, cpu, foreign = time.perf_counter(), time.process_time(), foreign_seconds()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    predict = fit(table, train, validation, seed, arguments.threads)
                    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                    value = score(table.task, table.y[test], predict(table.X.iloc[test]))
                found.append((value, wall, cpu, (foreign_seconds() - foreign) / wall))
        for library, found in results.items():
            values, walls, cpus, busy = zip(*found, strict=True)
            rows.append(
                [
                    f"{name}, {len(table.y):,} rows, {SCORES[table.task]}",
                    library,
                    f"{statistics.mean(values):.4f}",
                    " ".join(f"{value:.4f}" for value in values),
                    f"{statistics.mean(walls):.1f}",
                    f"{statistics.mean(cpus):.1f}",
                    f"{max(busy):.0%}",
                ]
            )
            print(*rows[-1], sep=" | ", flush=True)
    header = ["table", "library", "mean", "each", "s", "processor s", "used by others"]
    absent = "".join(f"\n{name} is left out: {needs[0]}.\n" for name, needs in missing.items())
    return (
        f"70 % to train on, 15 % to stop and choose by, the score on 15 %; {len(SEEDS)} seeds, "
        f"{arguments.threads} threads. RMSE and log loss are better if smaller, AUC if larger. The "
        f"recipe of pyfast_nn was chosen on other tables: {', '.join(TUNED_ON)}.\n\n"
        f"{markdown_table(header, rows, text_columns=2)}{absent}"
    )
