"""Parameters in the memory of a GPU: arrays of CuPy, torch and others that say where they lie.

The core takes them by their addresses, as NumPy arrays that nobody here reads or writes: what is
done with the numbers is done there.
"""

import math
import sys
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import _core, cuda
from ..typing import Array, Shape


class _Place:
    """What NumPy makes an array of that lies elsewhere; holds what owns the memory."""

    def __init__(self, interface: dict[str, Any], owner: object) -> None:
        names = ("shape", "typestr", "data", "strides")
        self.__array_interface__ = {name: interface.get(name) for name in names} | {"version": 3}
        self.owner: object = owner


def is_on_gpu(value: object) -> bool:
    """Whether an array says that it lies in the memory of a GPU."""
    return not isinstance(value, np.ndarray) and hasattr(value, "__cuda_array_interface__")


def at_address(value: Any) -> Array:
    """Return an array with the address, shape and strides of one on a GPU: not to be read here.

    Raises
    ------
    RuntimeError
        If nothing computes there.
    TypeError
        If elements are masked.
    """
    cuda.require()
    interface = value.__cuda_array_interface__
    if interface.get("mask") is not None:
        raise TypeError("expected an array without a mask")
    return np.asarray(_Place(interface, value))


def stream_of(tree: Any) -> int:
    """Return the stream behind whose work the arrays of a tree are ready, as CUDA numbers it.

    That of the first array that names one; 1, the default stream, if none does.
    """
    for leaf in _leaves(tree):
        if type(leaf).__module__ == "torch":  # whose arrays do not name it
            return sys.modules["torch"].cuda.current_stream(leaf.device).cuda_stream or 1
        stream = leaf.__cuda_array_interface__.get("stream") if is_on_gpu(leaf) else None
        if stream is not None:
            return int(stream)
    return 1


def _leaves(tree: Any) -> Any:
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        for child in tree:
            yield from _leaves(child)
    elif tree is not None:
        yield tree


class DeviceArray:
    """An array of an optimizer's in the memory of a GPU.

    What reads ``__cuda_array_interface__`` takes it as it is (``cupy.asarray(array)``,
    ``torch.as_tensor(array, device="cuda")``); ``np.asarray(array)`` is a copy of it.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    """

    def __init__(self, memory: Any, shape: Shape, dtype: np.dtype[Any], fortran: bool) -> None:
        self._memory = memory
        self.shape: Shape = shape
        self.dtype: np.dtype[Any] = dtype
        self._fortran = fortran

    @classmethod
    def full(cls, size: int, dtype: DTypeLike, value: float) -> "DeviceArray":
        """Return a vector (size,) of equal numbers."""
        return cls.like(np.full(size, value, dtype))

    @classmethod
    def like(cls, vector: Array) -> "DeviceArray":
        """Return a copy of a vector of NumPy's."""
        memory = _core.DeviceMemory("cuda", vector.nbytes)
        memory.write(vector)
        return cls(memory, vector.shape, vector.dtype, False)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        steps = [math.prod(self.shape[:d]) for d in range(len(self.shape))]
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self._memory.address, False),
            "strides": tuple(n * self.dtype.itemsize for n in steps) if self._fortran else None,
            "stream": None,
            "version": 3,
        }

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("copy: expected True or None, as the array is on a GPU, got False")
        return self.copy().astype(dtype or self.dtype, copy=False)

    def __setitem__(self, key: object, values: Any) -> None:
        if key is not Ellipsis:
            raise TypeError(f"key: expected ..., all of the array, got {key!r}")
        all_values = np.broadcast_to(np.asarray(values, self.dtype), self.shape)
        self._memory.write((all_values.T if self._fortran else all_values).ravel())

    def copy(self) -> Array:
        """Return its numbers in an array of NumPy's."""
        vector = np.empty(self.size, self.dtype)
        self._memory.read(vector)
        return vector.reshape(self.shape, order="F" if self._fortran else "C")

    def reshape(self, shape: Shape, order: str = "C") -> "DeviceArray":
        """Return the same numbers, a vector's, in another shape."""
        return DeviceArray(self._memory, shape, self.dtype, order == "F")

    def __repr__(self) -> str:
        return f"DeviceArray({self.copy()!r})"
