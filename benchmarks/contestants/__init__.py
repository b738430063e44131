"""One module for each library: the network, trained and used as its users would.

Each offers ``NAME``, the ``KINDS`` of layers that it has (`networks.py` describes them), perhaps
those that it is ``FOR``, and some of

- ``trainer(layers, x, y, batch_size)``: a function ``run(epochs)`` that trains the network
  with Adam (rate 1e-3) on softmax cross-entropy in float32, rows shuffled in each epoch, the data
  in memory from the start;
- ``gradient(layers, weights, x, y)``: the loss of all rows, and its gradient by arrays, at weights
  that are arrays in the order and with the shapes of `networks.parameter_shapes`;
- ``predictor(layers, x)``: a function ``run(count)`` that computes so many times the probabilities
  of the classes for all rows of x, a NumPy array, into a NumPy array.
"""

from importlib import import_module

MODULES = (
    *("pyfast_mlp", "torch_mlp", "torch_channels_last", "torch_compiled"),
    *("jax_mlp", "jax_step", "sklearn_mlp", "numpy_mlp"),
)


def installed(what):
    """The modules that offer `what`, ours first, and the names of libraries that are not there."""
    present, absent = [], {}
    for name in MODULES:
        try:
            present.append(import_module(f"contestants.{name}"))
        except ImportError:
            absent[name.partition("_")[0]] = None
    return [module for module in present if hasattr(module, what)], list(absent)
