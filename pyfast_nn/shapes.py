"""Layers that give what comes in another shape, or its axes another order."""

import math
from typing import Any

from . import checks
from .config import Setting
from .graph import Graph
from .layers import LAYERS, Layer, Shaped
from .typing import Integer, Shape


class Reshape(Shaped):
    """The same numbers, in their order, as examples of another shape.

    Parameters
    ----------
    shape : tuple of int
        Of one example of the output: ``(channels,)``, ``(positions, channels)`` or
        ``(height, width, channels)``.

    Raises
    ------
    TypeError, ValueError
        If it is none of that; when the network is built, if the numbers are more or fewer.

    Notes
    -----
    The order is NumPy's: channels change fastest.

    Examples
    --------
    >>> layers = [fnn.Reshape((50, 3)), fnn.Dense(8), fnn.GlobalAvgPool()]
    >>> fnn.Sequential(layers).build(150).out_shape
    (8,)
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)

    def lay(self, network: Graph, path: str, value: int) -> int:
        there = network.shape(value)
        if there and math.prod(there) != math.prod(self.shape):
            raise ValueError(
                f"layers[{path}]: expected a shape of {math.prod(there)} numbers, as {there} has, "
                f"got {self!r}, which has {math.prod(self.shape)}"
            )
        return network.add(self, path, self.kind, (value,), self.shape)

    def __repr__(self) -> str:
        return f"Reshape({self.shape})"


class Flatten(Layer):
    """All numbers of an example as one row: in front of the dense layers behind convolutions.

    Notes
    -----
    The order is NumPy's, channels change fastest. In torch, whose images have their channels in
    front, the columns of a `Dense` behind it stand in another order.

    Examples
    --------
    >>> fnn.Sequential([fnn.Flatten(), fnn.Dense(10)]).build((28, 28, 1)).n_parameters
    7850
    """

    kind = "reshape"
    passes_on = True
    reads_flat = True

    def lay(self, network: Graph, path: str, value: int) -> int:
        shape = network.shape(value)
        if not shape:
            return network.add(self, path, self.kind, (value,), ())
        if len(shape) == 1:
            return network.add(self, path, "identity", (value,), shape)
        return network.add(_Flat(shape), path, self.kind, (value,), (math.prod(shape),))


class _Flat(Shaped):
    """What `Flatten` is where it knows the shape of what comes in."""

    def __init__(self, shape: Shape) -> None:
        super().__init__((math.prod(shape),))

    def __repr__(self) -> str:
        return repr(Flatten())


def _check_dims(value: Any, name: str) -> Shape:
    dims = checks.shape(value, name)
    if sorted(dims) != list(range(1, len(dims) + 1)):
        raise ValueError(
            f"{name}: expected each of the axes 1 to {len(dims)} once, got {dims}; axis 0 are the "
            "examples"
        )
    return dims


class Permute(Layer):
    """The axes of an example in another order.

    Parameters
    ----------
    dims : tuple of int
        Where each axis of the output comes from; axis 0 are the examples, which stay. ``(2, 1)``
        makes the positions of sequences their channels.

    Raises
    ------
    TypeError, ValueError
        If it is none of that; when the network is built, if examples have other axes.

    Examples
    --------
    >>> fnn.Sequential([fnn.Permute((3, 1, 2))]).build((8, 6, 3)).out_shape
    (3, 8, 6)
    """

    kind = "permute"
    passes_on = True
    dims: Setting[Shape] = Setting(_check_dims)

    def __init__(self, dims: tuple[Integer, ...]) -> None:
        self._set(dims=dims)

    @property
    def values(self) -> tuple[float, ...]:
        before = 3 - len(self.dims)  # the core's examples have three axes
        return (*map(float, range(before)), *(float(axis - 1 + before) for axis in self.dims))

    def lay(self, network: Graph, path: str, value: int) -> int:
        shape = network.shape(value)
        if shape and len(shape) != len(self.dims):
            raise ValueError(
                f"layers[{path}]: expected examples of {len(self.dims)} axes for {self!r}, got "
                f"those of shape {shape}"
            )
        out = tuple(shape[axis - 1] for axis in self.dims) if shape else ()
        return network.add(self, path, self.kind, (value,), out)


LAYERS.extend([Reshape, Flatten, Permute])
