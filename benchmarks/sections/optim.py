"""Steps of optimizers on arrays of the user's own, beside other libraries and beside memory."""

import statistics

import numpy as np

import pyfast_nn as fnn
from contestants import numpy_mlp
from machine import last_level_cache, set_threads
from measure import interleave, note_disturbed
from pyfast_nn import _core
from pyfast_nn.optim.rule import state_names
from sections.table import markdown_table, microseconds

LARGE = 20_000_000
WORKLOADS = [
    (1, LARGE),
    (1, 1_000_000),
    (200, 500),
    (1, 10_000),
    (1, 1),
]  # tensors, numbers in each
ADAM_BYTES = 28  # for each parameter: it and both moments read and written, its gradient read

RULES = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("ASGD", {}),
    ("Adagrad", {}),
    ("Adadelta", {}),
    ("RMSprop", {}),
    ("RMSprop", {"centered": True, "momentum": 0.9}),
    ("Adam", {}),
    ("Adam", {"amsgrad": True}),
    ("AdamW", {}),
    ("Adamax", {}),
    ("NAdam", {}),
    ("RAdam", {}),
    ("Rprop", {}),
    ("Lion", {}),
]


class Memory:
    """Moves memory when it is its turn among the contestants: its rate is that of their minutes."""

    def __init__(self, threads):
        self.threads = threads
        self.rates = []

    def __call__(self, count):
        self.rates += [_core.memory_bandwidth(0.1, self.threads) for _ in range(count)]

    @property
    def bandwidth(self):
        """Bytes per second."""
        return statistics.median(self.rates)


def repeat(function, *arguments):
    def run(count):
        for _ in range(count):
            function(*arguments)

    return run


def arrays(tensors, size):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(size, dtype=np.float32) for _ in range(tensors)]


def contestants(tensors, size):
    """Adam with the same gradients again and again: its time does not depend on them."""
    params, grads = arrays(tensors, size), arrays(tensors, size)
    runs = {"pyfast_nn": repeat(fnn.optim.Adam(params).step, grads)}
    try:
        import torch
    except ImportError:
        pass
    else:
        for name, options in {"torch, fused": {"fused": True}, "torch, default": {}}.items():
            theirs = [torch.nn.Parameter(torch.randn(size)) for _ in range(tensors)]
            for parameter in theirs:
                parameter.grad = torch.randn(size)
            runs[name] = repeat(torch.optim.Adam(theirs, **options).step)
    params = arrays(tensors, size)
    runs["NumPy"] = repeat(numpy_mlp.Adam(params).step, params, grads)
    return runs


def adam_rows(tensors, size, arguments):
    """Rows of the table, and a note for its reader."""
    work = f"{tensors} x {size:,}"
    memory = Memory(arguments.threads)
    runs = contestants(tensors, size)
    exceeds_cache = 16 * tensors * size > 2 * last_level_cache()
    if exceeds_cache:
        runs["memory"] = memory
    results = interleave(
        runs, seconds=arguments.seconds, repeats=arguments.repeats, threads=arguments.threads
    )
    results.pop("memory", None)
    ours = results["pyfast_nn"].median
    rows = []
    for library, result in results.items():
        rate = ADAM_BYTES * tensors * size / result.median
        rows.append(
            [
                work,
                library,
                microseconds(result.median),
                f"{result.median / ours:.2f}",
                f"{rate / 1e9:.1f}" if exceeds_cache else "",
                f"{rate / memory.bandwidth:.0%}" if exceeds_cache else "",
            ]
        )
    return rows, note_disturbed(work, results)


def rule_row(name, options, arguments):
    """A row of the table, and a note for its reader."""
    param, grad = arrays(1, LARGE) + arrays(1, LARGE)
    optimizer = getattr(fnn.optim, name)(param, **options)
    states = len(state_names(optimizer))
    bytes_each = 4 * (2 + 1 + 2 * states)  # parameter and states read and written, gradient read
    rule = f"{name}({', '.join(f'{k}={v}' for k, v in options.items())})"
    memory = Memory(arguments.threads)
    results = interleave(
        {rule: repeat(optimizer.step, grad), "memory": memory},
        seconds=arguments.seconds,
        repeats=arguments.repeats,
        threads=arguments.threads,
    )
    del results["memory"]
    rate = bytes_each * LARGE / results[rule].median
    row = [
        f"`{rule}`",
        str(bytes_each),
        microseconds(results[rule].median),
        f"{rate / 1e9:.1f}",
        f"{memory.bandwidth / rate:.2f}",
    ]
    return row, note_disturbed(rule, results)


def run(arguments):
    set_threads(arguments.threads)
    rows, notes = [], ""
    for tensors, size in WORKLOADS:
        more, note = adam_rows(tensors, size, arguments)
        rows += more
        notes += note
    header = ["tensors", "library", "us per step", "times ours", "GB/s", "of bandwidth"]
    text = (
        f"Adam on arrays: float32, {arguments.threads} threads; medians of {arguments.repeats}. "
        f"{ADAM_BYTES} bytes a parameter, beside the bandwidth in the same minutes; that of one "
        "number is what a call from Python costs.\n\n"
        f"{markdown_table(header, rows, text_columns=2)}{notes}"
    )
    rows, notes = [], ""
    for name, options in RULES:
        row, note = rule_row(name, options, arguments)
        rows.append(row)
        notes += note
    header = ["rule", "bytes a parameter", "us per step", "GB/s", "times floor"]
    return (
        f"{text}\nEvery elementwise rule on one tensor of {LARGE:,} float32. The floor is the time "
        "in which memory moves its bytes: parameter and states read and written, the gradient "
        f"read.\n\n{markdown_table(header, rows)}{notes}"
    )
