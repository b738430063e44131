"""One module for each library: the network, trained and used as its users would.

Each offers ``NAME`` and

- ``trainer(sizes, x, y, batch_size)``: a function ``run(epochs)`` that trains a ReLU network of
  these sizes with Adam (rate 1e-3) on softmax cross-entropy in float32, rows shuffled in each
  epoch, the data in memory from the start;
- ``predictor(sizes, x)``: a function ``run(count)`` that computes so many times the probabilities
  of the classes for all rows of x, a NumPy array, into a NumPy array.
"""

from importlib import import_module

MODULES = ("pyfast_mlp", "torch_mlp", "jax_mlp", "sklearn_mlp", "numpy_mlp")


def installed():
    """The modules whose library is installed, ours first, and the names of those left out."""
    present, absent = [], []
    for name in MODULES:
        try:
            present.append(import_module(f"contestants.{name}"))
        except ImportError:
            absent.append(name.removesuffix("_mlp"))
    return present, absent
