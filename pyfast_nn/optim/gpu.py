"""Parameters in the memory of a GPU: arrays of CuPy, torch and others that say where they lie.

The core takes them by their addresses, as NumPy arrays that nobody here reads or writes: what is
done with the numbers is done there.
"""

import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import _core, cuda
from ..typing import Array, Shape

DEFAULT_STREAM = 1  # as CUDA numbers it: the one that waits for all others


class _Place:
    """What NumPy makes an array of that lies elsewhere; holds what owns the memory."""

    def __init__(self, interface: dict[str, Any], owner: object) -> None:
        names = ("shape", "typestr", "data", "strides")
        self.__array_interface__ = {name: interface.get(name) for name in names} | {"version": 3}
        self.owner: object = owner


def at_address(value: Any, stream: int = DEFAULT_STREAM) -> Array:
    """Return an array with the address, shape and strides of one on a GPU: not to be read here.

    What speaks DLPack alone is asked to have it ready for that stream.

    Raises
    ------
    BufferError
        If it is not to be had by DLPack.
    RuntimeError
        If nothing computes there.
    TypeError
        If elements are masked, or of a type that NumPy lacks.
    """
    cuda.open_library()
    if not hasattr(value, "__cuda_array_interface__"):
        return np.asarray(_core.BorrowedArray(_capsule_of(value, stream)))
    interface = value.__cuda_array_interface__
    if interface.get("mask") is not None:
        raise TypeError("expected an array without a mask")
    return np.asarray(_Place(interface, value))


def _capsule_of(value: Any, stream: int) -> object:
    try:
        return value.__dlpack__(stream=stream, max_version=(1, 0))
    except TypeError:  # it does not know of versions
        return value.__dlpack__(stream=stream)


def stream_of(tree: Any) -> tuple[int, bool]:
    """Return the stream behind whose work the arrays of a tree are ready, and whether to wait.

    The stream, as CUDA numbers it, is that of the first array that names one; else the default one.
    Somebody has to wait for what is queued there if arrays name none: those who own them cannot.
    """
    stream = None
    waits = False
    for leaf in leaves(tree):
        if stream is None:
            stream = _named_stream(leaf)
        waits = waits or not names_stream(leaf)
    return (DEFAULT_STREAM, True) if stream is None else (stream, waits)


def names_stream(leaf: Any) -> bool:
    """Whether an array may name the stream of its work, as DLPack alone cannot."""
    return hasattr(type(leaf), "__cuda_array_interface__")


def _named_stream(leaf: Any) -> int | None:
    if type(leaf).__module__.partition(".")[0] == "torch":  # whose arrays do not name it
        current = sys.modules["torch"].cuda.current_stream(leaf.device)
        return int(current.cuda_stream) or DEFAULT_STREAM
    interface: dict[str, Any] = getattr(leaf, "__cuda_array_interface__", {})
    return interface.get("stream")


def leaves(tree: Any) -> Iterator[Any]:
    """Yield what is in a tree of lists, tuples and dicts, but None."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        for child in tree:
            yield from leaves(child)
    elif tree is not None:
        yield tree


class DeviceArray:
    """An array of an optimizer's in the memory of a GPU.

    What reads ``__cuda_array_interface__`` or speaks DLPack takes it as it is
    (``cupy.asarray(array)``, ``torch.from_dlpack(array)``), when all that was queued on that GPU is
    done; ``np.asarray(array)`` is a copy of it.

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
    def full(cls, size: int, dtype: DTypeLike, value: float, device: str) -> "DeviceArray":
        """Return a vector (size,) of equal numbers."""
        return cls.like(np.full(size, value, dtype), device)

    @classmethod
    def like(cls, vector: Array, device: str) -> "DeviceArray":
        """Return a copy of a vector of NumPy's."""
        memory = _core.DeviceMemory(device, vector.nbytes)
        memory.write(vector)
        return cls(memory, vector.shape, vector.dtype, False)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def strides(self) -> Shape:
        """Bytes from an element to the next along each axis (tuple of int)."""
        axes = range(len(self.shape))
        sizes = [self.shape[:d] if self._fortran else self.shape[d + 1 :] for d in axes]
        return tuple(math.prod(size) * self.dtype.itemsize for size in sizes)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        self._memory.wait()
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self._memory.address, False),
            "strides": self.strides if self._fortran else None,
            "stream": None,
            "version": 3,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self._memory.number  # 2: CUDA

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> object:
        if dl_device not in (None, self.__dlpack_device__()):
            raise BufferError(
                f"dl_device: expected {self.__dlpack_device__()}, where the array is, got "
                f"{dl_device}; np.asarray(array) is a copy of it"
            )
        if copy:
            raise BufferError("copy: expected False or None, as the array is lent, got True")
        if stream != -1:
            self._memory.wait()
        steps = [step // self.dtype.itemsize for step in self.strides]
        versioned = max_version is not None and max_version[0] >= 1
        return self._memory.lend(list(self.shape), steps, self.dtype.itemsize, versioned)

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
