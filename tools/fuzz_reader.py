"""One reader of files under libFuzzer; see tools/fuzz.

    python fuzz_reader.py model|idx CORPUS [options of libFuzzer]

Anything but a result or the documented error ends it, and the file that did it is kept.
"""

import gzip
import sys
import tempfile
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["pyfast_nn"]):
    import pyfast_nn as fnn

BLOCKS = (
    fnn.NeuralODE,
    fnn.DeepEquilibrium,
)  # evaluated as often, in as much memory, as the file says
FILE = Path(tempfile.mkdtemp()) / "file"


def model(raw):
    """The bytes as they are, or, after an odd one, as a header whose length is right."""
    if raw[:1] and raw[0] % 2:
        end = raw.find(b"\0")
        end = len(raw) if end < 0 else end
        raw = (end - 1).to_bytes(8, "little") + raw[1:end] + raw[end + 1 :]
    FILE.write_bytes(raw)
    try:
        found = fnn.load(FILE)
    except fnn.ModelFileError:
        return
    if not any(isinstance(layer, BLOCKS) for layer in found.layers):
        found.forward(np.zeros((1, *found.in_shape)))


def model_seeds():
    for shape, layers in (
        (2, [fnn.Dense(2), fnn.ReLU(), fnn.Dense(1)]),
        (2, [fnn.Dense(2, init=0.5)]),
        (2, [fnn.Tanh()]),
        (2, [fnn.Residual([fnn.WeightNorm(fnn.Dense(2)), fnn.PReLU()]), fnn.LayerNorm()]),
        (2, [fnn.NeuralODE(fnn.Dense(2), steps=2), fnn.DeepEquilibrium(fnn.Dense(1))]),
        ((4, 2), [fnn.Conv1d(2, 3), fnn.MultiHeadAttention(1), fnn.GRU(1), fnn.SetPool()]),
        ((4, 4, 1), [fnn.Conv2d(1, 2, dilation=2), fnn.MaxPool2d(2), fnn.Flatten()]),
    ):
        fnn.Sequential(layers).build(shape).save(FILE)
        raw = FILE.read_bytes()
        yield raw
        end = 8 + int.from_bytes(raw[:8], "little")
        yield b"\1" + raw[8:end] + b"\0" + raw[end:]


def idx(raw):
    FILE.write_bytes(raw)
    try:
        fnn.datasets.read_idx(FILE)
    except ValueError as error:
        assert str(error).startswith(str(FILE)), error


def idx_seeds():
    for code, size in ((0x08, 1), (0x0B, 2), (0x0D, 4), (0x0E, 8)):
        raw = bytes([0, 0, code, 2, 0, 0, 0, 2, 0, 0, 0, 3]) + bytes(6 * size)
        yield raw
        yield gzip.compress(raw)


def main(name, corpus, options):
    read, seeds = {"model": (model, model_seeds), "idx": (idx, idx_seeds)}[name]
    for number, seed in enumerate(seeds()):
        (Path(corpus) / f"seed{number}").write_bytes(seed)
        read(seed)
    atheris.Setup([sys.argv[0], corpus, *options], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
