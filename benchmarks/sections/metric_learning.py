"""Metrics that are learned: ours, scikit-learn's and metric-learn's, and how good they are."""

import warnings

import numpy as np
from scipy.spatial.distance import pdist
from sklearn.datasets import load_digits, load_wine
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.preprocessing import StandardScaler

from machine import set_threads
from measure import interleave, note_disturbed
from pyfast_nn import metric_learning as ours
from pyfast_nn.metric_learning import groups, itml, lmnn, nca
from sections.table import markdown_table

OURS, SKLEARN, METRIC_LEARN = "pyfast_nn", "scikit-learn", "metric-learn"
PAIRS = 2000
NCA_STEPS = {"init": "identity", "max_iter": 20, "tol": 1e-12}  # for all of them the same
LMNN_RATE = {"wine": 1e-3, "digits": 1e-6}  # of metric-learn: no larger one goes down


def data():
    """{name: (X, y)}, without the pixels that few digits have."""
    for name, load in (("wine", load_wine), ("digits", load_digits)):
        X, y = load(return_X_y=True)
        X = X[:, np.count_nonzero(X, axis=0) > len(X) / 20]
        yield name, StandardScaler().fit_transform(X), y


def works(name, X, y, theirs):
    """{method: ({library: fit()}, value(components))}: of values, less is better."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(X), size=(PAIRS, 2))
    pairs, signs = X[drawn], np.where(y[drawn[:, 0]] == y[drawn[:, 1]], 1, -1)
    near, far = (pairs[signs == sign, 0] - pairs[signs == sign, 1] for sign in (1, -1))
    bounds = np.percentile(pdist(X, "sqeuclidean"), (5, 95))
    order = groups.grouped(y)
    ordered = X[order.order]

    def itml_value(components):
        scaled = np.concatenate([near / np.sqrt(bounds[0]), far / np.sqrt(bounds[1])])
        objective = itml.divergence(scaled, len(near), np.eye(X.shape[1]), 1.0)
        return objective(components)[0]

    def mmc_value(components):
        apart = np.linalg.norm(far @ components.T, axis=1).mean()
        return np.sqrt(np.mean(np.sum((near @ components.T) ** 2, axis=1))) / apart

    found = {
        "NCA, 20 iterations": (
            {
                OURS: lambda: ours.NCA(**NCA_STEPS).fit(X, y),
                SKLEARN: lambda: NeighborhoodComponentsAnalysis(**NCA_STEPS).fit(X, y),
            },
            lambda L: nca.right_neighbours(ordered, order)(L)[0],
        ),
        "LMNN": (
            {OURS: lambda: ours.LMNN(init="identity").fit(X, y)},
            lambda L: lmnn.pull_and_push(ordered, order, lmnn.nearest(ordered, order, 3), 0.5)(L)[
                0
            ],
        ),
        "MMC": ({OURS: lambda: ours.MMC().fit_pairs(pairs, signs)}, mmc_value),
        "ITML": ({OURS: lambda: ours.ITML(bounds=bounds).fit_pairs(pairs, signs)}, itml_value),
    }
    if theirs is not None:
        fits = [
            lambda: theirs.NCA(**NCA_STEPS).fit(X, y),
            lambda: theirs.LMNN(init="identity", learn_rate=LMNN_RATE[name]).fit(X, y),
            lambda: theirs.MMC().fit(pairs, signs),
            lambda: theirs.ITML().fit(pairs, signs, bounds=bounds.copy()),
        ]
        for (libraries, _), fit in zip(found.values(), fits, strict=True):
            libraries[METRIC_LEARN] = fit
    return found


def run(arguments):
    set_threads(arguments.threads)
    try:
        from contestants import metric_learn_metrics as theirs
    except ImportError:
        theirs = None
    rows, notes = [], ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NCA has not converged, and metric-learn uses old names
        for name, X, y in data():
            for method, (libraries, value) in works(name, X, y, theirs).items():
                fitted = {}

                def times(library, fit, fitted=fitted):
                    def run(count):
                        for _ in range(count):
                            fitted[library] = fit().components_

                    return run

                results = interleave(
                    {library: times(library, fit) for library, fit in libraries.items()},
                    seconds=arguments.seconds,
                    repeats=arguments.repeats,
                    threads=arguments.threads,
                )
                for library, result in results.items():
                    slower = result.median / results[OURS].median
                    rows.append(
                        [
                            f"{name} {X.shape[0]} x {X.shape[1]}, {method}",
                            library,
                            f"{1e3 * result.median:,.1f}",
                            f"{slower:.{0 if slower >= 10 else 1}f}",
                            f"{value(fitted[library]):.6g}",
                        ]
                    )
                notes += note_disturbed(f"{name}, {method}", results)
    header = ["data, method", "library", "ms per fit", "times ours", "objective"]
    missing = "" if theirs else "\nmetric-learn is not installed and is left out.\n"
    return (
        f"Fits in float64, {arguments.threads} threads, {PAIRS:,} pairs; medians of "
        f"{arguments.repeats}. Of objectives, less is better.\n\n"
        f"{markdown_table(header, rows, text_columns=2)}{notes}{missing}"
    )
