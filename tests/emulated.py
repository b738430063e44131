"""The library for GPUs, of the same sources, for the processor: by an emulator in place of CUDA."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import pyfast_nn as fnn
from pyfast_nn import _core

HERE = Path(__file__).resolve().parent
CSRC = HERE.parent / "csrc"
COMPILER = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
OPTIONS = [
    *("-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"),
    "-Wno-unknown-pragmas",  # of OpenMP
    *(f"-I{CSRC}", f"-I{HERE / 'cuda'}", "-DFNN_ISA=cuda", f'-DFNN_VERSION="{fnn.__version__}"'),
]


def cublaslt(folder):
    """Build what stands for NVIDIA's library in a folder; return its path."""
    path = folder / "cublaslt.so"
    command = [*COMPILER.split(), *OPTIONS, "-shared", str(HERE / "cuda" / "cublaslt.cpp")]
    subprocess.run([*command, "-o", str(path)], check=True)
    return path


def need_compiler():
    """Skip a test where nothing can be built for the emulator."""
    if not CSRC.is_dir():
        pytest.skip("the sources are not beside the tests")
    if COMPILER is None or platform.machine() != "x86_64":
        pytest.skip("the emulator needs a C++ compiler, and x86-64")


def library(folder, *options):
    """Build it in a folder, with more options of the compiler; return its path."""
    need_compiler()

    def compile_one(source):
        to = folder / f"{source.name}.o"
        command = [*COMPILER.split(), *OPTIONS, *options]
        command += ["-x", "c++", "-c", str(source), "-o", str(to)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return str(to)

    sources = [*sorted((CSRC / "cuda").glob("*.cu")), CSRC / "exec" / "memory.cpp"]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, sources))
    path = folder / "_cuda.so"
    subprocess.run([*COMPILER.split(), *options, "-shared", *objects, "-o", str(path)], check=True)
    return path


@pytest.fixture
def gpu(request):
    """Have the core know of the GPUs of the emulator, of which there are two."""
    _core.open_device(str(request.getfixturevalue("library")))
    assert fnn.cuda.is_available() and fnn.cuda.get_device_name() == "emulator"


def run_elsewhere(code, path, **environment):
    """Return what a process with its own emulator prints."""
    first = f"import pyfast_nn as fnn; fnn._core.open_device({str(path)!r})"
    done = subprocess.run(
        [sys.executable, "-c", f"{first}\n{code}"],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def asked(path):
    """Return the library as one that answers what tests ask of the emulator."""
    emulator = ctypes.CDLL(str(path))
    emulator.emulate_new_stream.restype = ctypes.c_void_p
    for function in (emulator.emulate_queued, emulator.emulate_wait):
        function.argtypes = [ctypes.c_void_p]
    return emulator


@pytest.fixture
def without(monkeypatch):
    """A build without code for GPUs, and with no library open."""
    monkeypatch.setattr(_core, "is_open_device", lambda kind: False)
    monkeypatch.setattr(fnn.cuda, "library", lambda: None)


@pytest.fixture
def emulator(gpu, library):
    """Answers what tests ask of the GPUs that the core knows of."""
    return asked(library)
