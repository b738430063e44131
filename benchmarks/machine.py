"""What this machine is, what it can do, and how many of its threads take part."""

import os
import platform
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

import threadpoolctl

import pyfast_nn as fnn
from pyfast_nn import _core

PACKAGES = ("numpy", "torch", "scikit-learn", "jax", "curvlinops-for-pytorch", "PyHessian")


def processor_name():
    try:
        with open("/proc/cpuinfo") as file:
            names = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def describe_machine():
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{package} not installed")
    processors = len(os.sched_getaffinity(0))
    return (
        f"{processor_name()}, {processors} processors, {_core.isa()}, "
        f"Python {platform.python_version()}, {', '.join(versions)}."
    )


def set_threads(threads):
    """The same number of threads for everybody who can be told so at run time."""
    with suppress(ImportError):
        import torch

        torch.set_num_threads(threads)
    threadpoolctl.threadpool_limits(threads)  # BLAS, whoever loaded it
    fnn.set_num_threads(threads)


@cache
def bandwidth(threads):
    """Bytes per second from memory."""
    return max(_core.memory_bandwidth(0.2, threads) for _ in range(3))


def last_level_cache():
    """Bytes; 0 where the system does not say."""
    units = {"K": 2**10, "M": 2**20, "G": 2**30}
    sizes = [
        file.read_text().strip()
        for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    ]
    return max((int(size[:-1]) * units[size[-1]] for size in sizes), default=0)
