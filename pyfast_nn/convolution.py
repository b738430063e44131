"""Convolutions of signals and images."""

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeAlias

from . import checks, initializers
from .checks import Size
from .config import Setting
from .graph import Graph
from .layers import LAYERS, Init, Layer, check_init
from .typing import Array, Integer, Real, Shape

Sizes: TypeAlias = Integer | tuple[Integer, ...]


def _padding(axes: int) -> Callable[[object, str], str | Size]:
    """Return the check of what stands around a signal or an image."""
    numbers = checks.sizes(axes, 0)

    def check(value: object, name: str) -> str | Size:
        if isinstance(value, str):
            return checks.choice(value, name, ("valid", "same"))
        return numbers(value, name)

    return check


def _bias_init(value: object, name: str) -> Init:
    return initializers.check(value, name)


class AnyConvolution(Layer):
    """What convolutions have in common."""

    kind = "convolution"
    axes: ClassVar[tuple[str, ...]]  # of one example, but for channels
    out_channels: Setting[int] = Setting(lambda value, name: checks.integer(value, name, 1))
    groups: Setting[int] = Setting(lambda value, name: checks.integer(value, name, 1))
    init: Setting[Init | None] = Setting(check_init)
    bias_init: Setting[Init] = Setting(_bias_init)
    kernel_size: Setting[Size]
    stride: Setting[Size]
    dilation: Setting[Size]

    @classmethod
    def _cure(cls, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        name, rest = cls.__name__, args[1:] if len(args) > 2 else ("...",)
        if "in_channels" in kwargs:
            return f"how many channels come in is found out from X: {name}(out_channels, ...)"
        if not {"bias", "use_bias"}.isdisjoint(kwargs):
            return "it always has a bias, which begins as bias_init says"
        if "activation" in kwargs:
            return (
                f"an activation is a layer of its own: {name}({', '.join(map(str, rest))}), ReLU()"
            )
        return None

    def _check(self) -> None:
        if self.out_channels % self.groups != 0:
            raise ValueError(
                f"groups: expected a divisor of the {self.out_channels} channels that come out, "
                f"got {self.groups}"
            )
        if self.bias_init == "orthogonal" or isinstance(self.bias_init, initializers.Orthogonal):
            raise ValueError(f"bias_init: expected a law for vectors, got {self.bias_init!r}")

    @property
    def units(self) -> int:
        return self.out_channels

    def _each(self, size: Size) -> tuple[int, ...]:
        return size if isinstance(size, tuple) else (size,) * len(self.axes)

    def _around(self) -> tuple[tuple[int, int], ...]:
        """Return how many zeros stand before and after, by axis."""
        raise NotImplementedError

    def _spacing(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return steps of the output, and of what comes in, by axis."""
        return self._each(self.stride), (1,) * len(self.axes)

    @property
    def values(self) -> tuple[float, ...]:
        stride, spacing = self._spacing()
        kernel, dilation = self._each(self.kernel_size), self._each(self.dilation)
        numbers: list[float] = []
        for each, missing in ((kernel, 1), (stride, 1), (dilation, 1)):
            numbers += (missing,) * (2 - len(each)) + each
        for around in ((0, 0),) * (2 - len(self.axes)) + self._around():
            numbers += around
        numbers += (1,) * (2 - len(self.axes)) + spacing
        return (*map(float, numbers), float(self.groups))

    def parameter_shapes(self, in_features: int) -> dict[str, Shape]:
        kernel = self._each(self.kernel_size)
        weight = (*kernel, in_features // self.groups, self.out_channels)
        return {"weight": weight, "bias": (self.out_channels,)}

    def out_shape(self, in_shape: Shape) -> Shape:
        """Return the shape of one example that comes out; a number that is not positive: none."""
        (stride, spacing), sizes = self._spacing(), []
        kernel, dilation, around = (
            self._each(self.kernel_size),
            self._each(self.dilation),
            self._around(),
        )
        for i, size in enumerate(in_shape[:-1]):
            padded = sum(around[i]) + (size - 1) * spacing[i] + 1
            sizes.append((padded - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1)
        return (*sizes, self.out_channels)

    def lay(self, network: Graph, path: str, value: int) -> int:
        shape = network.shape(value)
        if not shape:
            return network.add(self, path, self.kind, (value,), self.out_channels)
        if len(shape) != len(self.axes) + 1:
            example = f"({', '.join(self.axes)}, channels)"
            raise ValueError(
                f"layers[{path}]: expected examples of shape {example} for {self!r}, got "
                f"{network.text(value)}; Reshape((...)) in front of it gives X that shape"
            )
        if shape[-1] % self.groups != 0:
            raise ValueError(
                f"layers[{path}]: expected channels that {self.groups} groups divide for {self!r}, "
                f"got {shape[-1]} of shape {shape}"
            )
        out = self.out_shape(shape)
        if min(out) < 1:
            raise ValueError(
                f"layers[{path}]: expected examples that the kernel of {self!r} fits into, got "
                f"shape {shape}; a smaller kernel or more padding does"
            )
        return network.add(self, path, self.kind, (value,), out)

    def fans(self, channels: int) -> tuple[int, int]:
        """Return how many numbers an output is the sum of, and how many outputs read a number."""
        taps = math.prod(self._each(self.kernel_size))
        return taps * channels, taps * self.out_channels // self.groups

    def initialize(
        self,
        parameters: dict[str, Array],
        default: initializers.Initializer,
        seed: int,
        stream: int,
    ) -> None:
        weight, bias = parameters["weight"], parameters["bias"]
        fans = self.fans(weight.shape[-2])
        init = default if self.init is None else initializers.resolve(self.init)
        init.fill(weight.reshape(-1, self.out_channels), *fans, seed, stream)
        initializers.resolve(self.bias_init).fill(bias, *fans, seed, stream + 1)


class _Strided(AnyConvolution):
    """A convolution, of one or two axes."""

    padding: Setting[str | Size]

    def __init__(
        self,
        out_channels: Integer,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: str | Sizes = 0,
        dilation: Sizes = 1,
        groups: Integer = 1,
        *,
        init: str | Real | initializers.Initializer | None = None,
        bias_init: str | Real | initializers.Initializer = "zeros",
        trainable: bool = True,
    ) -> None:
        self._set(out_channels=out_channels, kernel_size=kernel_size, stride=stride)
        self._set(padding=padding, dilation=dilation, groups=groups)
        self._set(init=init, bias_init=bias_init)
        self.trainable = trainable
        self._check()
        if self.padding == "same" and max(self._each(self.stride)) > 1:
            half = max(self._each(self.kernel_size)) // 2
            raise ValueError(
                "padding: expected numbers where stride is more than 1, got 'same'; "
                f"padding={half} leaves out nothing"
            )

    def _around(self) -> tuple[tuple[int, int], ...]:
        kernel, dilation = self._each(self.kernel_size), self._each(self.dilation)
        if self.padding == "valid":
            return ((0, 0),) * len(self.axes)
        if self.padding == "same":
            missing = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
            return tuple((m // 2, m - m // 2) for m in missing)
        assert not isinstance(self.padding, str)
        return tuple((each, each) for each in self._each(self.padding))


class Conv1d(_Strided):
    """Convolution of signals or sequences, (n, positions, channels).

    Each position that comes out is a product of the positions around it, of all their channels,
    with one weight for all positions.

    Parameters
    ----------
    out_channels : int
        Channels of the output, at least 1.
    kernel_size : int
        Positions that each output reads.
    stride : int
        From one that is computed to the next.
    padding : int or {"valid", "same"}
        Zeros on both sides. ``"valid"`` is none; ``"same"``, with stride 1, as many as keep the
        number of positions.
    dilation : int
        From one position that is read to the next.
    groups : int
        Parts into which channels are divided, those that come in and those that come out, each of
        which knows nothing of the others. A divisor of both.
    init : None, str, float or pyfast_nn.initializers.Initializer
        Initial weights, as those of `Dense`, where fan_in is kernel_size * channels / groups.
    bias_init : str, float or pyfast_nn.initializers.Initializer
        Initial biases.
    trainable : bool
        False: its parameters are constants, see the attribute, which may be assigned later.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above.

    Notes
    -----
    ``weight`` has shape (kernel_size, channels / groups, out_channels), ``bias`` (out_channels,).
    As everywhere in deep learning, the kernel is not turned round.

    Examples
    --------
    >>> fnn.Sequential([fnn.Conv1d(16, 5, padding="same"), fnn.ReLU()]).build((128, 9)).out_shape
    (128, 16)
    """

    axes: ClassVar[tuple[str, ...]] = ("positions",)
    kernel_size: Setting[Size] = Setting(checks.sizes(1, 1))
    stride: Setting[Size] = Setting(checks.sizes(1, 1))
    padding: Setting[str | Size] = Setting(_padding(1))
    dilation: Setting[Size] = Setting(checks.sizes(1, 1))


class Conv2d(_Strided):
    """Convolution of images, (n, height, width, channels).

    Each position that comes out is a product of the positions around it, of all their channels,
    with one weight for all positions. Of two axes, numbers are (height, width), or one for both.

    Parameters
    ----------
    out_channels : int
        Channels of the output, at least 1.
    kernel_size : int or tuple of int
        Positions that each output reads.
    stride : int or tuple of int
        From one that is computed to the next.
    padding : int, tuple of int or {"valid", "same"}
        Zeros on both sides. ``"valid"`` is none; ``"same"``, with stride 1, as many as keep height
        and width.
    dilation : int or tuple of int
        From one position that is read to the next.
    groups : int
        Parts into which channels are divided, those that come in and those that come out, each of
        which knows nothing of the others. A divisor of both. As many groups as channels is a
        depthwise convolution.
    init : None, str, float or pyfast_nn.initializers.Initializer
        Initial weights, as those of `Dense`, where fan_in is the numbers that each output reads.
    bias_init : str, float or pyfast_nn.initializers.Initializer
        Initial biases.
    trainable : bool
        False: its parameters are constants, see the attribute, which may be assigned later.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above.

    Notes
    -----
    ``weight`` has shape (height, width, channels / groups, out_channels), the first two those of
    the kernel, ``bias`` (out_channels,): torch's ``weight`` is its ``transpose(3, 2, 0, 1)``. As
    everywhere in deep learning, the kernel is not turned round.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner (1998), "Gradient-based learning applied to document
    recognition", Proceedings of the IEEE 86(11).

    Examples
    --------
    >>> layers = [fnn.Conv2d(6, 5, padding=2), fnn.ReLU(), fnn.Conv2d(16, 5, stride=2)]
    >>> model = fnn.Sequential(layers).build((28, 28, 1))
    >>> model.out_shape
    (12, 12, 16)
    >>> model.named_parameters()["2.weight"].shape
    (5, 5, 6, 16)
    """

    axes: ClassVar[tuple[str, ...]] = ("height", "width")
    kernel_size: Setting[Size] = Setting(checks.sizes(2, 1))
    stride: Setting[Size] = Setting(checks.sizes(2, 1))
    padding: Setting[str | Size] = Setting(_padding(2))
    dilation: Setting[Size] = Setting(checks.sizes(2, 1))


class ConvTranspose2d(AnyConvolution):
    """Transposed convolution of images, (n, height, width, channels): it makes them larger.

    Its output has the shape that a `Conv2d` with the same kernel, stride and padding reads to put
    out what comes in: about stride times the height and width.

    Parameters
    ----------
    out_channels : int
        Channels of the output, at least 1.
    kernel_size : int or tuple of int
        Positions of the output to which each that comes in adds.
    stride : int or tuple of int
        How far these are from those of the next.
    padding : int or tuple of int
        Positions that are left out at the edges; at most dilation * (kernel_size - 1).
    output_padding : int or tuple of int
        Positions more at the end of each axis, as a stride leaves several sizes to choose from;
        less than stride or dilation.
    groups : int
        As those of `Conv2d`.
    dilation : int or tuple of int
        From one position that is added to to the next.
    init : None, str, float or pyfast_nn.initializers.Initializer
        Initial weights, as those of `Dense`, where fan_in is the numbers that each output sums.
    bias_init : str, float or pyfast_nn.initializers.Initializer
        Initial biases.
    trainable : bool
        False: its parameters are constants, see the attribute, which may be assigned later.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above.

    Notes
    -----
    It is computed as a convolution of the image with zeros between its numbers, and ``weight``, of
    shape (height, width, channels / groups, out_channels), is that convolution's: torch's, which is
    that of the convolution the other way, is turned round in height and width.

    References
    ----------
    V. Dumoulin, F. Visin (2016), "A guide to convolution arithmetic for deep learning",
    https://arxiv.org/abs/1603.07285.

    Examples
    --------
    >>> layers = [fnn.ConvTranspose2d(8, 4, stride=2, padding=1)]
    >>> fnn.Sequential(layers).build((7, 7, 16)).out_shape
    (14, 14, 8)
    """

    axes: ClassVar[tuple[str, ...]] = ("height", "width")
    kernel_size: Setting[Size] = Setting(checks.sizes(2, 1))
    stride: Setting[Size] = Setting(checks.sizes(2, 1))
    padding: Setting[Size] = Setting(checks.sizes(2, 0))
    output_padding: Setting[Size] = Setting(checks.sizes(2, 0))
    dilation: Setting[Size] = Setting(checks.sizes(2, 1))

    def __init__(
        self,
        out_channels: Integer,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: Integer = 1,
        dilation: Sizes = 1,
        *,
        init: str | Real | initializers.Initializer | None = None,
        bias_init: str | Real | initializers.Initializer = "zeros",
        trainable: bool = True,
    ) -> None:
        self._set(out_channels=out_channels, kernel_size=kernel_size, stride=stride)
        self._set(padding=padding, output_padding=output_padding, groups=groups)
        self._set(dilation=dilation, init=init, bias_init=bias_init)
        self.trainable = trainable
        self._check()
        kernel, stride, dilation = map(self._each, (self.kernel_size, self.stride, self.dilation))
        for axis, (padding, more) in enumerate(
            zip(self._each(self.padding), self._each(self.output_padding), strict=True)
        ):
            most = dilation[axis] * (kernel[axis] - 1)
            if padding > most:
                raise ValueError(
                    f"padding: expected at most {most}, dilation * (kernel_size - 1), got {padding}"
                )
            if more >= max(stride[axis], dilation[axis]):
                raise ValueError(
                    f"output_padding: expected less than stride or dilation, got {more}"
                )

    def _spacing(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return (1,) * len(self.axes), self._each(self.stride)

    def _around(self) -> tuple[tuple[int, int], ...]:
        kernel, dilation = self._each(self.kernel_size), self._each(self.dilation)
        padding, more = self._each(self.padding), self._each(self.output_padding)
        before = [d * (k - 1) - p for k, d, p in zip(kernel, dilation, padding, strict=True)]
        return tuple((b, b + m) for b, m in zip(before, more, strict=True))

    def fans(self, channels: int) -> tuple[int, int]:
        into, out = super().fans(channels)
        return max(into // math.prod(self._each(self.stride)), 1), out


LAYERS.extend([Conv1d, Conv2d, ConvTranspose2d])
