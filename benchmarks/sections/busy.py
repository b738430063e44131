"""An epoch while other processes keep the processors busy."""

import statistics
import subprocess
import sys
from contextlib import contextmanager

from contestants import pyfast_mlp
from contestants.networks import mlp
from machine import set_threads
from measure import timed
from sections.table import markdown_table
from sections.training import Workload

WORKLOADS = [
    Workload("64-512-256-10", mlp(64, 512, 256, 10), batch=32, steps=56),
    Workload("784-512-512-10", mlp(784, 512, 512, 10), batch=256, steps=24),
]


@contextmanager
def busy(processes):
    """Processes that compute without end."""
    others = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)
    ]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def run(arguments):
    threads, rows = arguments.threads, []
    for workload in WORKLOADS:
        x, y = workload.data()
        ours = {
            count: pyfast_mlp.trainer(workload.layers, x, y, workload.batch)
            for count in {1, threads}
        }
        trainers = {(f"pyfast_nn, {count} threads", count): run for count, run in ours.items()}
        try:
            from contestants import torch_mlp
        except ImportError:
            pass
        else:
            torch = torch_mlp.trainer(workload.layers, x, y, workload.batch)
            trainers[f"torch, {threads} threads", threads] = torch
        for processes in (0, threads // 2, threads, 2 * threads):
            with busy(processes):
                for (library, count), train in trainers.items():
                    set_threads(count)
                    train(1)
                    times = []
                    for _ in range(arguments.repeats):
                        epochs = 1
                        while (elapsed := timed(train, epochs)) < arguments.seconds:
                            epochs *= 2
                        times.append(1e3 * elapsed / epochs)
                    rows.append(
                        [
                            workload.title,
                            processes,
                            library,
                            f"{statistics.median(times):.1f}",
                            f"{max(times):.1f}",
                        ]
                    )
    header = ["network, batch", "busy processes", "library", "ms per epoch", "slowest"]
    return (
        f"Epochs beside processes that compute without end, on {threads} processors; medians and "
        f"slowest of {arguments.repeats} runs of at least {arguments.seconds:g} s.\n\n"
        + markdown_table(header, rows, text_columns=1)
    )
