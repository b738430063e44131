"""Probabilities of the classes from a network, for one row and for many."""

from itertools import pairwise

import numpy as np

from contestants import installed, networks
from machine import set_threads
from measure import interleave, note_disturbed
from sections.table import markdown_table, microseconds

WORKLOADS = [
    ((64, 64, 10), 1),
    ((64, 64, 10), 1000),
    ((784, 512, 512, 10), 1),
    ((784, 512, 512, 10), 1000),
]


def run(arguments):
    set_threads(arguments.threads)
    modules, absent = installed("predictor")
    rows, notes = [], ""
    for sizes, n in WORKLOADS:
        name = f"{'-'.join(map(str, sizes))}, {n}"
        x = np.random.default_rng(0).standard_normal((n, sizes[0]), dtype=np.float32)
        predictors = {module.NAME: module.predictor(networks.mlp(*sizes), x) for module in modules}
        results = interleave(
            predictors,
            seconds=arguments.seconds,
            repeats=arguments.repeats,
            threads=arguments.threads,
        )
        notes += note_disturbed(name, results)
        ours = next(iter(results.values())).median
        flops = 2 * n * sum(inputs * outputs for inputs, outputs in pairwise(sizes))
        for library, result in results.items():
            rows.append(
                [
                    name,
                    library,
                    microseconds(result.median),
                    f"{result.median / ours:.1f}",
                    f"{flops / result.median / result.peak:.0%}",
                ]
            )
    header = ["network, rows", "library", "us", "times ours", "of FMA peak"]
    left_out = f"\nNot installed: {', '.join(absent)}.\n" if absent else ""
    return (
        f"Inference: probabilities of the classes, float32, {arguments.threads} threads; medians "
        f"of {arguments.repeats}.\n\n"
        f"{markdown_table(header, rows, text_columns=2)}{notes}{left_out}"
    )
