"""Training on an array in a file: the process stays small whatever its size, and loses nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from conftest import FULL

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status"),
]

# MB that may be resident. Rows of 40 GB in a random order take many hours where memory is less.
GIGABYTES = {True: 2, False: 40 if FULL else 2}  # by whether they are shuffled
MOST = {2: 500, 40: 1000}  # labels and the order of ten million rows are 300

SCRIPT = """
import numpy as np, os, sys, time
import pyfast_nn as fnn

path, rows, order = sys.argv[1], int(sys.argv[2]), sys.argv[3]
X = np.memmap(path, np.float32, "r+", shape=(rows, 1024), order=order)
changed = np.linspace(0, rows - 1, 50).astype(int)
X[changed, 3] = np.arange(50)  # which no file has yet
y = np.zeros(rows, np.int8)
y[::3] = 1
layers = [fnn.Standardize(), fnn.Dense(4), fnn.ReLU(), fnn.Dense(2)]
model = fnn.Sequential(layers, seed=0)
start = time.time()
history = model.fit(
    X, y, loss="cross_entropy", epochs=1, batch_size=1024, shuffle=sys.argv[4] == "True",
    validation_data=(X[: rows // 2], y[: rows // 2]), metrics=["top_5_accuracy"],
)
assert np.isfinite(history["val_loss"]).all()
np.testing.assert_array_equal(X[changed, 3], np.arange(50))
status = open("/proc/self/status").read()
kilobytes = int(status.split("VmHWM:")[1].split()[0])
print(kilobytes // 1000, round(time.time() - start, 1))
"""


def sparse_file(folder, gigabytes):
    """A file of that many bytes of zeros, which takes no room."""
    path, rows = folder / "x.bin", gigabytes * 10**9 // 4096
    with open(path, "wb") as file:
        file.truncate(rows * 4096)
    if os.stat(path).st_blocks * 512 > 10**7:
        pytest.skip("the file system has no sparse files")
    return path, rows


@pytest.mark.parametrize("shuffle", [True, False])
def test_training_stays_small(shuffle, tmp_path):
    path, rows = sparse_file(tmp_path, GIGABYTES[shuffle])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, path, f"{rows}", "C", f"{shuffle}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    resident, _ = map(float, done.stdout.split())
    assert resident < MOST[GIGABYTES[shuffle]], f"{resident} MB for {GIGABYTES[shuffle]} GB"


def test_private_changes_are_kept(tmp_path):
    """Of a file that is mapped as copy-on-write nothing is let go of."""
    import pyfast_nn as fnn

    path, rows = sparse_file(tmp_path, 1)
    X = np.memmap(path, np.float32, "c", shape=(rows, 1024))
    changed = np.linspace(0, rows - 1, 50).astype(int)
    X[changed] = 7
    model = fnn.Sequential([fnn.Dense(1)], seed=0)
    model.fit(X, np.zeros(rows), loss="mse", epochs=1, batch_size=4096)
    assert (X[changed] == 7).all()
