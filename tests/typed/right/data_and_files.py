"""Data to start with, and files."""

import os
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

import pyfast_nn as fnn
from pyfast_nn import datasets

X, y = datasets.load_digits()
pixels: npt.NDArray[np.uint8] = X
digits: npt.NDArray[np.int64] = y
points, sides = datasets.make_gaussian_mixture(9, [[0.0, 0.0], [1.0, 1.0]], std=[0.1, 0.2])
bits, odd = datasets.make_parity(n_features=3)
print(pixels.shape, digits[0], points.mean(), sides.sum(), bits[0], odd[-1])

with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    np.savez(folder / "data.npz", X=X, y=y)
    X_again, y_again = datasets.read_npz(folder / "data.npz")
    print(X_again.dtype, y_again.dtype)

    model = fnn.Sequential([fnn.Dense(3, init=fnn.initializers.Orthogonal(2.0))]).build(2)
    model.save(folder / "model.safetensors")
    again: fnn.Sequential = fnn.load(os.fspath(folder / "model.safetensors"))
    adamw = fnn.optim.AdamW(lr=1e-2)
    model.fit([[0.0, 1.0], [1.0, 0.0]], [0, 2], loss="cross_entropy", optimizer=adamw, epochs=1)
    model.save(folder / "model.safetensors", optimizer=adamw)
    resumed, optimizer = fnn.load(folder / "model.safetensors", optimizer=True)
    optimizer.lr = 1e-3
    resumed.fit([[0.0, 1.0]], [0], optimizer=optimizer, epochs=1)
    try:
        fnn.load(folder / "data.npz")
    except fnn.ModelFileError as error:
        print(str(error), again.seed)

    adam = fnn.optim.Adam(np.zeros(3))
    adam.step(np.ones(3))
    adam.save(folder / "adam.safetensors")
    adam.load(folder / "adam.safetensors")

fnn.set_num_threads(1)
threads: int = fnn.get_num_threads()
isa: str = fnn.build_config()["isa"]
