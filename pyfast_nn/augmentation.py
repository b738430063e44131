"""Layers that change examples at random while training, as if there were more of them."""

from functools import partial
from typing import TypeAlias

from . import checks
from .config import Setting
from .graph import Graph
from .layers import LAYERS, Layer
from .typing import Integer, Shape

Size: TypeAlias = int | tuple[int, int]


def _size(value: object, name: str) -> Size:
    if not isinstance(value, (tuple, list)):
        return checks.integer(value, name, 1)
    if len(value) != 2:
        raise ValueError(f"{name}: expected one number, or height and width, got {value!r}")
    height, width = (checks.integer(each, f"{name}[{i}]", 1) for i, each in enumerate(value))
    return height, width


class Augmentation(Layer):
    """What augmentations have in common."""

    kind = "augment"
    passes_on = True

    def out_shape(self, in_shape: Shape) -> Shape:
        """Return the shape of one example that comes out."""
        return in_shape

    def padding_at_rest(self, in_shape: Shape) -> list[tuple[int, int]]:
        """Return the zeros in front of and behind each axis of positions, but in training.

        A negative number is of positions that are left out.
        """
        pairs = list(zip(in_shape[:-1], self.out_shape(in_shape)[:-1], strict=True))
        first = [int((size - out) / 2) for size, out in pairs]  # towards 0, as the core has it
        return [(-at, at + out - size) for at, (size, out) in zip(first, pairs, strict=True)]

    def lay(self, network: Graph, path: str, value: int) -> int:
        shape = network.shape(value)
        if not shape:
            return network.add(self, path, self.kind, (value,), shape)
        if len(shape) == 1:
            raise ValueError(
                f"layers[{path}]: expected examples of shape (height, width, channels) or "
                f"(positions, channels) for {self!r}, got {network.text(value)}; Reshape((...)) in "
                "front of it gives X that shape"
            )
        return network.add(self, path, self.kind, (value,), self.out_shape(shape))


class RandomFlip(Augmentation):
    """In training, every second example turned round, at random; otherwise ``x``.

    Parameters
    ----------
    horizontal : bool
        Whether the positions of a row may come in the opposite order, or those of a sequence.
    vertical : bool
        Whether the rows of an image may.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of that, or both are False.

    Notes
    -----
    As in `Dropout`, each example is drawn anew in each step, and the numbers are functions of the
    model's seed, the step, the layer and the example: derivatives are those of what was drawn.

    Examples
    --------
    >>> layers = [fnn.RandomFlip(), fnn.Conv2d(16, 3), fnn.ReLU(), fnn.Flatten(), fnn.Dense(10)]
    """

    horizontal: Setting[bool] = Setting(checks.boolean)
    vertical: Setting[bool] = Setting(checks.boolean)

    def __init__(self, horizontal: bool = True, vertical: bool = False) -> None:
        self._set(horizontal=horizontal, vertical=vertical)
        if not (self.horizontal or self.vertical):
            raise ValueError("horizontal: expected True, or vertical=True, got False for both")

    @property
    def values(self) -> tuple[float, ...]:
        return 0, 0, 0, self.vertical, self.horizontal, 0


class RandomShift(Augmentation):
    """In training, ``x`` moved by up to so many positions, with zeros behind; otherwise ``x``.

    Parameters
    ----------
    pixels : int
        At least 1. Images move by any whole number from -pixels to pixels along both axes,
        sequences along their one.

    Raises
    ------
    TypeError, ValueError
        If it is none of that.

    Notes
    -----
    Random numbers are those of `RandomFlip`.

    Examples
    --------
    >>> layers = [fnn.RandomShift(2), fnn.Conv2d(16, 3), fnn.ReLU(), fnn.Flatten(), fnn.Dense(10)]
    """

    pixels: Setting[int] = Setting(partial(checks.integer, minimum=1))

    def __init__(self, pixels: Integer) -> None:
        self._set(pixels=pixels)

    @property
    def values(self) -> tuple[float, ...]:
        return 0, 0, self.pixels, 0, 0, 0


class RandomCrop(Augmentation):
    """In training, a part of ``x`` from a random place; otherwise the one in the middle.

    Parameters
    ----------
    size : int or tuple of int
        What comes out: height and width, or one number for both, or the length of a sequence.
    padding : int
        Zeros around ``x`` that may belong to the part.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of that.

    Notes
    -----
    Random numbers are those of `RandomFlip`. With the size of the images that come in, ``padding``
    moves them as `RandomShift` does.

    Examples
    --------
    >>> layers = [fnn.RandomCrop(24), fnn.Conv2d(16, 3), fnn.ReLU(), fnn.Flatten(), fnn.Dense(10)]
    """

    size: Setting[Size] = Setting(_size)
    padding: Setting[int] = Setting(partial(checks.integer, minimum=0))

    def __init__(self, size: Integer | tuple[Integer, Integer], padding: Integer = 0) -> None:
        self._set(size=size, padding=padding)

    @property
    def _height_and_width(self) -> tuple[int, int]:
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)

    @property
    def values(self) -> tuple[float, ...]:
        height, width = self._height_and_width
        return height, width, self.padding, 0, 0, 0

    def out_shape(self, in_shape: Shape) -> Shape:
        if len(in_shape) == 2 and not isinstance(self.size, tuple):
            return self.size, in_shape[-1]
        return (*self._height_and_width, in_shape[-1])

    def lay(self, network: Graph, path: str, value: int) -> int:
        shape = network.shape(value)
        out = self.out_shape(shape) if len(shape) > 1 else ()
        room = [size + 2 * self.padding if size > 1 else 1 for size in shape[:-1]]
        if out and (
            len(out) != len(shape) or any(a > b for a, b in zip(out[:-1], room, strict=True))
        ):
            raise ValueError(
                f"layers[{path}]: expected examples that {self!r} is a part of, got shape {shape}; "
                "a smaller size or more padding is"
            )
        return super().lay(network, path, value)


class CutOut(Augmentation):
    """In training, zeros in a square around a random position; otherwise ``x``.

    Parameters
    ----------
    size : int
        Length of its sides, at least 1. It may reach beyond the edges.

    Raises
    ------
    TypeError, ValueError
        If it is none of that.

    Notes
    -----
    Random numbers are those of `RandomFlip`. In a sequence it is a stretch of positions.

    References
    ----------
    T. DeVries, G. W. Taylor (2017), "Improved regularization of convolutional neural networks with
    Cutout", arXiv:1708.04552.

    Examples
    --------
    >>> layers = [fnn.CutOut(8), fnn.Conv2d(16, 3), fnn.ReLU(), fnn.Flatten(), fnn.Dense(10)]
    """

    size: Setting[int] = Setting(partial(checks.integer, minimum=1))

    def __init__(self, size: Integer) -> None:
        self._set(size=size)

    @property
    def values(self) -> tuple[float, ...]:
        return 0, 0, 0, 0, 0, self.size


LAYERS.extend([RandomFlip, RandomShift, RandomCrop, CutOut])
