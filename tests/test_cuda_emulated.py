"""The emulator of CUDA, and what sanitizers find under it: planted faults, and none of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import emulated
from emulated import COMPILER, CSRC, OPTIONS

HERE = Path(__file__).resolve().parent / "cuda"
SANITIZERS = {"address": "-fsanitize=address,undefined", "thread": "-fsanitize=thread"}
ORDERS = ["0", "1", "7"]  # from the first thread on, from the last, shuffled

pytestmark = pytest.mark.once


def sanitizer_works(flag, folder):
    source = folder / "works.cpp"
    source.write_text("int main() { return 0; }")
    command = [*COMPILER.split(), flag, str(source), "-o", str(folder / "works")]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        return False
    return subprocess.run([folder / "works"], check=False).returncode == 0


@pytest.fixture(scope="module", params=SANITIZERS)
def sanitizer(request, tmp_path_factory):
    emulated.need_compiler()
    folder = tmp_path_factory.mktemp(request.param)
    if not sanitizer_works(SANITIZERS[request.param], folder):
        pytest.skip(f"the compiler has no {request.param} sanitizer")
    return request.param, folder


@pytest.fixture(scope="module")
def build(sanitizer):
    """Compiles a program of tests/cuda with some of our sources."""
    name, folder = sanitizer

    def build(program, *sources):
        to = folder / program
        command = [
            *COMPILER.split(),
            *OPTIONS,
            "-g",
            SANITIZERS[name],
            str(HERE / f"{program}.cpp"),
        ]
        for source in sources:
            command += ["-x", "c++", str(CSRC / "cuda" / source)]
        subprocess.run([*command, "-o", str(to)], check=True)
        return to

    return build


@pytest.fixture(scope="module")
def faults(build):
    return build("faults")


def run(program, *arguments, order="0"):
    environment = {**os.environ, "EMULATE_ORDER": order}
    command = [str(program), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=300, check=False
    )


# What the emulator says itself.
SAID = {
    "divergent": "__syncthreads() after some threads of the block have returned",
    "different_barriers": "threads of a block wait at different __syncthreads()",
    "lost_lane": "a shuffle waits for a lane that has returned",
    "outside_mask": "a lane calls a shuffle whose mask does not name it",
    "wrong_side": "cudaMemcpyAsync: the memory is on another side than its kind says",
}
# What sanitizers say, where they can: of a race, that of threads; of memory, that of addresses.
SEEN = {
    "address": {
        "beyond_shared": "heap-buffer-overflow",
        "beyond_memory": "heap-buffer-overflow",
        "host_reads": "use-after-poison",
        "other_gpu": "use-after-poison",
    },
    "thread": {"no_barrier": "data race"},
}


@pytest.mark.parametrize("order", ORDERS)
def test_planted_faults_are_found(sanitizer, faults, order):
    assert run(faults, "none", order=order).returncode == 0
    for fault, says in SAID.items():
        done = run(faults, fault, order=order)
        assert done.returncode != 0 and f"emulator: {says}" in done.stderr
    for fault, says in SEEN[sanitizer[0]].items():
        done = run(faults, fault, order=order)
        assert done.returncode != 0 and says in done.stderr
    if sanitizer[0] == "address":  # what is wrong by then, whoever looks
        for fault in ("no_barrier", "no_wait"):
            assert run(faults, fault, order=order).returncode == 1


def test_kernels(sanitizer, build):
    program = build("kernels", "product.cu", "cublaslt.cu")
    large = ["large"] if sanitizer[0] == "address" else []
    for order in ORDERS if large else ORDERS[:1]:
        done = run(program, *large, order=order)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_walks_of_networks(tmp_path):
    emulated.need_compiler()
    if not sanitizer_works(SANITIZERS["address"], tmp_path):
        pytest.skip("the compiler has no address sanitizer")
    # In front of Python; with the library that throws, or it would not know what to call for that.
    runtimes = []
    for name in ("libasan.so", "libstdc++.so"):
        command = [*COMPILER.split(), f"-print-file-name={name}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        runtimes.append(done.stdout.strip())
    if not all(Path(runtime).is_absolute() for runtime in runtimes):
        pytest.skip("the address sanitizer is no library that could be loaded first")
    library = emulated.library(tmp_path, "-fsanitize=address")
    environment = {"LD_PRELOAD": " ".join(runtimes), "ASAN_OPTIONS": "detect_leaks=0"}
    bits = set()
    for order in ("0", "7"):
        done = subprocess.run(
            [sys.executable, str(HERE / "walks.py"), str(library)],
            capture_output=True, text=True, timeout=600, check=False,
            env={**os.environ, **environment, "EMULATE_ORDER": order},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr[-4000:]
        bits.add(done.stdout)
    assert len(bits) == 1  # the same for any order of a block's threads
