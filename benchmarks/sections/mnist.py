"""Test accuracy on MNIST: 784-256-128-10, pixels / 255, Adam 1e-3, batch 128, 10 epochs."""

import gzip
import os
import statistics
from pathlib import Path

import numpy as np

import pyfast_nn as fnn
from machine import set_threads
from sections.table import markdown_table

SEEDS = range(5)


def read_idx(path):
    """Array of unsigned bytes in an IDX file (Y. LeCun's format), gzipped or not."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    if data[:3] != b"\0\0\x08":
        raise SystemExit(f"{path.name} is no IDX file of unsigned bytes")
    dimensions = data[3]
    shape = np.frombuffer(data, ">i4", dimensions, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def read_part(folder, part):
    """Pixels / 255 as (n, 784) float32, and labels (n,)."""
    arrays = []
    for kind in ("images-idx3", "labels-idx1"):
        found = sorted(folder.glob(f"{part}-{kind}-ubyte*"))
        if not found:
            raise SystemExit(f"{folder} has no {part}-{kind}-ubyte[.gz]")
        arrays.append(read_idx(found[0]))
    images, labels = arrays
    return images.reshape(len(images), -1) / np.float32(255), labels.astype(np.int64)


def run(arguments):
    if not os.environ.get("PYFAST_NN_MNIST"):
        raise SystemExit("mnist: set PYFAST_NN_MNIST to the folder of the four IDX files")
    folder = Path(os.environ["PYFAST_NN_MNIST"])
    x, y = read_part(folder, "train")
    x_test, y_test = read_part(folder, "t10k")
    set_threads(arguments.threads)
    rows, accuracies = [], []
    for seed in SEEDS:
        layers = [fnn.Dense(256), fnn.ReLU(), fnn.Dense(128), fnn.ReLU(), fnn.Dense(10)]
        model = fnn.Sequential(layers, dtype="float32", seed=seed)
        adam = fnn.optim.Adam(lr=1e-3)
        history = model.fit(
            x, y, loss="cross_entropy", optimizer=adam, epochs=10, batch_size=128, verbose=0
        )
        accuracy = float(model.evaluate(x_test, y_test, loss="cross_entropy")["accuracy"])
        accuracies.append(accuracy)
        seconds = statistics.median(history["seconds"])
        rows.append([seed, f"{accuracy:.2%}", f"{seconds:.2f}"])
    rows.append(["mean", f"{statistics.mean(accuracies):.2%}", ""])
    header = ["seed", "test accuracy", "seconds per epoch"]
    return f"MNIST, 784-256-128-10, 10 epochs, batch 128.\n\n{markdown_table(header, rows)}"
