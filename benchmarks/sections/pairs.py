"""InfoNCE over the pairs of a batch of embeddings: loss and gradient."""

from contextlib import suppress

import numpy as np

import pyfast_nn as fnn
from machine import set_threads
from measure import interleave, note_disturbed
from sections.curvature import repeat
from sections.table import markdown_table, microseconds

SHAPES = [(128, 64), (512, 128), (2048, 128)]
TEMPERATURE = 0.1


def functions(z):
    """Return {library: function() that gives (loss, gradient)} of what is installed."""
    pairs, out = np.arange(len(z)) // 2, np.empty_like(z)
    all_of_them = {
        "pyfast_nn": lambda: fnn.ops.info_nce(z, pairs, temperature=TEMPERATURE, out=out)
    }
    with suppress(ImportError):
        from contestants import torch_pairs

        all_of_them["torch"] = torch_pairs.info_nce(z, TEMPERATURE)
    return all_of_them


def run(arguments):
    set_threads(arguments.threads)
    rows, notes = [], ""
    for n, features in SHAPES:
        name = f"{n} x {features}"
        z = np.random.default_rng(0).standard_normal((n, features), dtype=np.float32)
        contestants = functions(z)
        expected, gradient = contestants["pyfast_nn"]()
        for other in contestants.values():
            loss, its = other()
            np.testing.assert_allclose(loss, expected, rtol=1e-5)
            np.testing.assert_allclose(its, gradient, rtol=0, atol=1e-4 * abs(gradient).max())
        results = interleave(
            {library: repeat(function) for library, function in contestants.items()},
            seconds=arguments.seconds,
            repeats=arguments.repeats,
            threads=arguments.threads,
        )
        notes += note_disturbed(name, results)
        ours = results["pyfast_nn"].median
        rows += [
            [name, library, microseconds(result.median), f"{result.median / ours:.1f}"]
            for library, result in results.items()
        ]
    header = ["rows", "library", "us", "times ours"]
    return (
        f"InfoNCE of pairs, loss and gradient, float32, {arguments.threads} threads; medians of "
        f"{arguments.repeats}.\n\n{markdown_table(header, rows, text_columns=2)}{notes}"
    )
