"""Pooling: windows of positions, or all of them, become one."""

from collections.abc import Callable
from typing import ClassVar, TypeAlias

from . import checks
from .checks import Size
from .config import Setting
from .graph import Graph
from .layers import LAYERS, Layer
from .typing import Integer, Shape

Sizes: TypeAlias = Integer | tuple[Integer, ...]

_AXES = {1: "(positions, channels)", 2: "(height, width, channels)"}


def _strides(axes: int) -> Callable[[object, str], Size | None]:
    """Return the check of the distance between windows; None is their size."""
    numbers = checks.sizes(axes, 1)
    return lambda value, name: None if value is None else numbers(value, name)


class _Pool(Layer):
    """What those have in common that pool windows of positions."""

    passes_on = True
    _axes: ClassVar[int] = 2

    def _each(self, size: Size) -> tuple[int, ...]:
        return size if isinstance(size, tuple) else (size,) * self._axes

    def _by_axis(self, size: Size, missing: int) -> tuple[float, ...]:
        """Return sizes as the core has them, of height and width."""
        return (*(float(missing),) * (2 - self._axes), *map(float, self._each(size)))

    def _counts(self, path: str, positions: Shape) -> Shape:
        """Return how many windows there are, by axis."""
        raise NotImplementedError

    def lay(self, network: Graph, path: str, value: int) -> int:
        shape = network.shape(value)
        if not shape:
            return network.add(self, path, self.kind, (value,), network.width(value))
        if len(shape) != self._axes + 1:
            raise ValueError(
                f"layers[{path}]: expected examples of {_AXES[self._axes]} for {self!r}, got those "
                f"of shape {shape}"
            )
        out = (*self._counts(path, shape[:-1]), shape[-1])
        return network.add(self, path, self.kind, (value,), out)


class _WindowPool(_Pool):
    """Windows of one size, at equal distances."""

    kernel_size: Setting[Size] = Setting(checks.sizes(2, 1))
    stride: Setting[Size | None] = Setting(_strides(2))
    padding: Setting[Size] = Setting(checks.sizes(2, 0))

    def __init__(self, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0) -> None:
        self._set(kernel_size=kernel_size, stride=stride, padding=padding)
        for kernel, pad in zip(self._each(self.kernel_size), self._each(self.padding), strict=True):
            if 2 * pad > kernel:
                raise ValueError(
                    f"padding: expected at most half of kernel_size, {kernel // 2}, got {pad}"
                )

    @property
    def _distance(self) -> Size:
        return self.kernel_size if self.stride is None else self.stride

    @property
    def values(self) -> tuple[float, ...]:
        numbers = ((self.kernel_size, 1), (self._distance, 1), (self.padding, 0))
        return tuple(number for pair in numbers for number in self._by_axis(*pair))

    def _counts(self, path: str, positions: Shape) -> Shape:
        numbers = map(self._each, (self.kernel_size, self._distance, self.padding))
        sizes = zip(positions, *numbers, strict=True)
        counts = tuple((n + 2 * pad - size) // stride + 1 for n, size, stride, pad in sizes)
        if min(counts) < 1:
            raise ValueError(
                f"layers[{path}]: expected a kernel_size of at most {positions}, the positions of "
                f"what comes in, got {self!r}; it may have been pooled too often"
            )
        return counts


class _WindowPool1d(_WindowPool):
    """The same of sequences."""

    _axes = 1
    kernel_size: Setting[Size] = Setting(checks.sizes(1, 1))
    stride: Setting[Size | None] = Setting(_strides(1))
    padding: Setting[Size] = Setting(checks.sizes(1, 0))


class MaxPool2d(_WindowPool):
    """The largest number of each window, channel by channel.

    Parameters
    ----------
    kernel_size : int or tuple of two ints
        Height and width of the windows.
    stride : None, int or tuple of two ints
        From one window to the next; None is `kernel_size`.
    padding : int or tuple of two ints
        By how many positions windows reach outside at each end, where there is nothing: at most
        half of `kernel_size`.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of that; when the network is built, if examples are no images or
        smaller than a window.

    Notes
    -----
    Examples are (height, width, channels), as all of ours; the arguments are torch's. Of equal
    numbers the first counts: derivatives go to it alone. NaN is larger than any number.

    Examples
    --------
    >>> fnn.Sequential([fnn.MaxPool2d(2)]).build((28, 28, 6)).out_shape
    (14, 14, 6)
    """

    kind = "max_pool"


class MaxPool1d(_WindowPool1d, MaxPool2d):
    """The largest number of each window of a sequence, channel by channel.

    Parameters
    ----------
    kernel_size : int
        Positions of a window.
    stride : None or int
        From one window to the next; None is `kernel_size`.
    padding : int
        By how many positions windows reach outside at each end, see `MaxPool2d`.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of that; when the network is built, if examples are no sequences or
        shorter than a window.

    Examples
    --------
    >>> fnn.Sequential([fnn.MaxPool1d(4)]).build((128, 9)).out_shape
    (32, 9)
    """


class AvgPool2d(_WindowPool):
    """The mean of each window, channel by channel.

    Parameters
    ----------
    kernel_size : int or tuple of two ints
        Height and width of the windows.
    stride : None, int or tuple of two ints
        From one window to the next; None is `kernel_size`.
    padding : int or tuple of two ints
        By how many positions windows reach outside at each end: at most half of `kernel_size`.
    count_include_pad : bool
        Whether positions outside are zeros that count, or do not count.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of that; when the network is built, if examples are no images or
        smaller than a window.

    Examples
    --------
    >>> fnn.Sequential([fnn.AvgPool2d(3, stride=2, padding=1)]).build((32, 32, 6)).out_shape
    (16, 16, 6)
    """

    kind = "avg_pool"
    count_include_pad: Setting[bool] = Setting(checks.boolean)

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self._set(count_include_pad=count_include_pad)

    @property
    def values(self) -> tuple[float, ...]:
        return (*super().values, float(self.count_include_pad))


class AvgPool1d(_WindowPool1d, AvgPool2d):
    """The mean of each window of a sequence, channel by channel.

    Parameters
    ----------
    kernel_size : int
        Positions of a window.
    stride : None or int
        From one window to the next; None is `kernel_size`.
    padding : int
        By how many positions windows reach outside at each end: at most half of `kernel_size`.
    count_include_pad : bool
        Whether positions outside are zeros that count, or do not count.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of that; when the network is built, if examples are no sequences or
        shorter than a window.

    Examples
    --------
    >>> fnn.Sequential([fnn.AvgPool1d(4)]).build((128, 9)).out_shape
    (32, 9)
    """


class _AdaptivePool(_Pool):
    """As many windows as are asked for, over all positions."""

    output_size: Setting[Size] = Setting(checks.sizes(2, 1))

    def __init__(self, output_size: Sizes) -> None:
        self._set(output_size=output_size)

    @property
    def values(self) -> tuple[float, ...]:
        return self._by_axis(self.output_size, 1)

    def _counts(self, path: str, positions: Shape) -> Shape:
        return self._each(self.output_size)


class _AdaptivePool1d(_AdaptivePool):
    """The same of sequences."""

    _axes = 1
    output_size: Setting[Size] = Setting(checks.sizes(1, 1))


class AdaptiveAvgPool2d(_AdaptivePool):
    """The means of windows that make an image of a given size.

    Parameters
    ----------
    output_size : int or tuple of two ints
        Height and width of the output.

    Raises
    ------
    TypeError, ValueError
        If it is none of that; when the network is built, if examples are no images.

    Notes
    -----
    As torch's: of n windows over L positions, window k is of those from floor(k L / n) up to
    ceil((k + 1) L / n).

    Examples
    --------
    >>> fnn.Sequential([fnn.AdaptiveAvgPool2d(7)]).build((30, 40, 6)).out_shape
    (7, 7, 6)
    """

    kind = "adaptive_avg_pool"


class AdaptiveAvgPool1d(_AdaptivePool1d, AdaptiveAvgPool2d):
    """The means of windows that make a sequence of a given length.

    Parameters
    ----------
    output_size : int
        Positions of the output.

    Raises
    ------
    TypeError, ValueError
        If it is none of that; when the network is built, if examples are no sequences.

    Examples
    --------
    >>> fnn.Sequential([fnn.AdaptiveAvgPool1d(10)]).build((128, 9)).out_shape
    (10, 9)
    """


class AdaptiveMaxPool2d(_AdaptivePool):
    """The largest numbers of windows that make an image of a given size.

    Parameters
    ----------
    output_size : int or tuple of two ints
        Height and width of the output. The windows are those of `AdaptiveAvgPool2d`.

    Raises
    ------
    TypeError, ValueError
        If it is none of that; when the network is built, if examples are no images.

    Examples
    --------
    >>> fnn.Sequential([fnn.AdaptiveMaxPool2d((5, 1))]).build((30, 40, 6)).out_shape
    (5, 1, 6)
    """

    kind = "adaptive_max_pool"


class AdaptiveMaxPool1d(_AdaptivePool1d, AdaptiveMaxPool2d):
    """The largest numbers of windows that make a sequence of a given length.

    Parameters
    ----------
    output_size : int
        Positions of the output. The windows are those of `AdaptiveAvgPool1d`.

    Raises
    ------
    TypeError, ValueError
        If it is none of that; when the network is built, if examples are no sequences.

    Examples
    --------
    >>> fnn.Sequential([fnn.AdaptiveMaxPool1d(10)]).build((128, 9)).out_shape
    (10, 9)
    """


class GlobalPool(Layer):
    """What those have in common that make one position of all there are."""

    passes_on = True

    def lay(self, network: Graph, path: str, value: int) -> int:
        shape = network.shape(value)
        if len(shape) == 1:
            raise ValueError(
                f"layers[{path}]: expected examples of {_AXES[1]} or {_AXES[2]} for {self!r}, got "
                f"those of shape {shape}"
            )
        out = shape[-1:] or network.width(value)
        return network.add(self, path, self.kind, (value,), out)


class GlobalAvgPool(GlobalPool):
    """The mean over all positions, channel by channel.

    Raises
    ------
    ValueError
        When the network is built, if examples have no positions.

    References
    ----------
    M. Lin, Q. Chen, S. Yan (2014), "Network in network", ICLR.

    Examples
    --------
    >>> fnn.Sequential([fnn.GlobalAvgPool()]).build((7, 7, 64)).out_shape
    (64,)
    """

    kind = "mean_positions"


class GlobalMaxPool(GlobalPool):
    """The largest number of all positions, channel by channel.

    Raises
    ------
    ValueError
        When the network is built, if examples have no positions.

    Examples
    --------
    >>> fnn.Sequential([fnn.GlobalMaxPool()]).build((128, 9)).out_shape
    (9,)
    """

    kind = "max_positions"


LAYERS.extend(
    [
        *(MaxPool1d, MaxPool2d, AvgPool1d, AvgPool2d),
        *(AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d),
        *(GlobalAvgPool, GlobalMaxPool),
    ]
)
