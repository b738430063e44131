"""Layers in their places: which reads what another puts out, and of which shape that is.

The shape of one example is (channels,), (positions, channels) or (height, width, channels).
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from numpy.typing import DTypeLike

from .typing import Array, Shape

# The core's kinds that take the lengths of examples as one more input, and those that compute each
# position by itself. Others are refused where examples have lengths: what does not exist counts.
_KNOW_LENGTHS = {
    *("rnn", "gru", "lstm", "attention"),
    *("sum_positions", "mean_positions", "max_positions"),
}
_BY_POSITION = {
    *("dense", "gates", "weight_norm", "embedding", "spread", "cosine", "identity", "softmax"),
    *("relu", "leaky_relu", "elu", "softplus", "gelu", "gelu_tanh", "silu", "tanh", "hardtanh"),
    *("sigmoid", "step", "sign", "scale", "prelu", "dropout", "gaussian_noise"),
    *("layer_norm", "rms_norm", "group_norm", "add", "multiply", "concatenate", "slice"),
    *("positions", "rotary"),
}


class Place(NamedTuple):
    """A layer where it stands in a network.

    Attributes
    ----------
    path : str
        ``"3.0"`` is the first layer of the one that is the fourth.
    layer : Layer
    kind : str
        The core's name of what it computes.
    inputs : tuple of int
        The values that it reads: 0 is the network's input, i + 1 the output of the i-th place.
    in_shape, shape : tuple of int
        Of one example of (the first) input and of the output; () if not known.
    in_features, features : int
        Their channels, the last number; 0 if not known.
    shares : int
        The place where the layer stands first, if it learns and stands in several; else -1.
    trainable : bool
    evaluations, kept : int
        How often it is computed for an example, at most, and how many of these times stay for the
        way back; 1 unless a layer evaluates it again and again.
    """

    path: str
    layer: Any
    kind: str
    inputs: tuple[int, ...]
    in_shape: Shape
    shape: Shape
    in_features: int
    features: int
    shares: int
    trainable: bool
    evaluations: int = 1
    kept: int = 1

    @property
    def size(self) -> int:
        """Numbers that one example has in the output (int); those of one position if not known."""
        return math.prod(self.shape) if self.shape else self.features

    @property
    def multiply_adds(self) -> int:
        """What one row costs on its way forward, at most (int)."""
        shapes = self.layer.parameter_shapes(self.in_features).values()
        walks = self.layer.walks_positions
        products = sum(
            math.prod(shape)
            for shape in shapes
            if len(shape) > 2 or (len(shape) == 2 and (walks or shape[0] == self.in_features))
        )
        positions = (self.in_shape if walks else self.shape)[:-1]
        return (products * math.prod(positions) or self.size) * self.evaluations


class Graph:
    """The places of all layers, in the order of computation.

    Attributes
    ----------
    places : list of Place
    outputs : dict of int
        ``{path: value}``: what each layer puts out, also one that is made of others.
    inputs : dict of tuple
        ``{path: shape}``: of one example of what each layer reads; () if not known.
    know_lengths : set of str
        The paths of layers that read values whose positions may not all exist.
    in_shape : tuple of int
        Of one example of X; () if not known.
    has_lengths : bool
        Whether examples come with how many of their positions exist: as one more number, the last.
    names : ndarray or None
        Of the columns that come in.
    returning : dict of list of int
        ``{number of a place: rows of its matrix}`` that multiply what comes back to it: what is
        put out of a block that reads it.
    """

    def __init__(
        self,
        layers: tuple[Any, ...],
        in_shape: Shape | int = (),
        names: Array | None = None,
        has_lengths: bool = False,
    ) -> None:
        if isinstance(in_shape, int):
            in_shape = (in_shape,) if in_shape else ()
        self.places: list[Place] = []
        self.outputs: dict[str, int] = {}
        self.inputs: dict[str, Shape] = {}
        self.know_lengths: set[str] = set()
        self.returning: dict[int, list[int]] = {}
        self.names = names
        self.in_shape = in_shape
        self.has_lengths = has_lengths
        # X comes as rows of numbers, and input layers read columns.
        columns = math.prod(in_shape) + has_lengths if in_shape else 0
        self._shapes: list[Shape] = [(columns,) if in_shape else ()]
        self._widths = [columns]
        self._flat = {0: in_shape} if len(in_shape) > 1 else {}  # {value: its shape by right}
        self._ragged: set[int] = set()  # values whose positions may not all exist
        self._lengths = 0  # the value that says how many do, once somebody reads it
        self._shaped: dict[int, int] = {}  # {such a value: the one of that shape}
        self._first: dict[int, int] = {}  # {id of what learns or keeps: first place}
        self._trainable = True
        self._evaluations = (1, 1)  # and how many are kept
        value = 0
        for i, layer in enumerate(layers):
            if has_lengths and i == 0:
                value = self._split_lengths(layer)
            value = self.lay(layer, str(i), value)

    @property
    def features(self) -> int:
        """Channels of the last output (int); 0 if not known."""
        return self._widths[-1]

    @property
    def out_shape(self) -> Shape:
        """Shape of one example of the last output (tuple); () if not known."""
        return self._shapes[-1]

    def width(self, value: int) -> int:
        """Return the channels of a value; 0 if not known."""
        return self._widths[value]

    def shape(self, value: int) -> Shape:
        """Return the shape of one example of a value; () if not known."""
        return self._shapes[value]

    def example_shape(self, value: int) -> Shape:
        """Return the shape of one example of a value; also of X where it comes as rows."""
        return self._flat.get(value, self._shapes[value])

    def text(self, value: int) -> str:
        """Return what one example of a value has, for messages."""
        shape = self._shapes[value]
        return f"shape {shape}" if len(shape) > 1 else f"{self._widths[value]} features"

    def lay(self, layer: Any, path: str, value: int) -> int:
        """Put a layer that reads `value` into its place; return what it puts out."""
        self.inputs[path] = self.example_shape(value)
        if self.is_ragged(value):
            self.know_lengths.add(path)
        if value in self._flat and not layer.reads_flat:
            value = self._in_shape(layer, value)
        before, self._trainable = self._trainable, self._trainable and layer.trainable
        try:
            out: int = layer.lay(self, path, value)
        finally:
            self._trainable = before
        self.outputs[path] = out
        return out

    @contextlib.contextmanager
    def evaluating(self, times: int, kept: int) -> Iterator[None]:
        """Lay layers that are computed so many times for an example, of which some are kept."""
        before, self._evaluations = self._evaluations, (times, kept)
        yield
        self._evaluations = before

    def _in_shape(self, layer: Any, value: int) -> int:
        """Return rows of numbers in the shape that they have by right, for layers that read it."""
        if value not in self._shaped:
            shape = self._flat[value]
            self._shaped[value] = self.add(layer.shaped(shape), "X", "reshape", (value,), shape)
        return self._shaped[value]

    def _split_lengths(self, layer: Any) -> int:
        """Return the value of all columns of X but the last, which are lengths."""
        if layer.is_input:
            raise ValueError(
                f"layers[0]: expected a layer that is not applied while the inputs are read, as "
                f"examples have lengths, got {layer!r}; Dense, LayerNorm and their like are not"
            )
        size = self._widths[0] - 1
        numbers = self.add(layer.part_of_x(0, size), "X", "slice", (0,), (size,))
        if len(self.in_shape) > 1:
            self._flat[numbers] = self.in_shape
        self._ragged.add(numbers)
        return numbers

    def is_ragged(self, value: int) -> bool:
        """Return whether the positions of a value may not all exist."""
        return value in self._ragged

    def lengths_of(self, value: int, layer: Any) -> int | None:
        """Return the value that tells a layer how many positions of another exist; None: all do."""
        if value not in self._ragged:
            return None
        if not self._lengths:
            size = self._widths[0] - 1
            self._lengths = self.add(layer.part_of_x(size, 1), "X", "slice", (0,), (1,))
        return self._lengths

    def _with_lengths(
        self, layer: Any, path: str, kind: str, inputs: tuple[int, ...], by_position: bool
    ) -> tuple[int, ...]:
        """Return the inputs of a layer that is to know of lengths; ValueError if it cannot."""
        if kind in _KNOW_LENGTHS:
            lengths = self.lengths_of(inputs[-1], layer)
            return inputs if lengths is None else (*inputs, lengths)
        if any(map(self.is_ragged, inputs)) and not by_position:
            raise ValueError(
                f"layers[{path}]: expected layers that know of lengths, as examples have them, got "
                f"{layer!r}; recurrent layers, attention and SetPool do"
            )
        return inputs

    def add(
        self, layer: Any, path: str, kind: str, inputs: tuple[int, ...], shape: Shape | int
    ) -> int:
        """Add a place; return its value.

        `shape` is that of one example of the output, () if not known; a number means that of the
        first input with so many channels.
        """
        in_features, in_shape = self._widths[inputs[0]], self._shapes[inputs[0]]
        codes = kind == "reshape" and not isinstance(shape, int) and shape[:1] == in_shape
        known = kind in _BY_POSITION and len(in_shape) != 1
        first_input = inputs[0]
        if path != "X":  # which gives X its shape
            inputs = self._with_lengths(layer, path, kind, inputs, known or codes)
        here = len(self.places)
        if isinstance(shape, int):
            features, shape = shape, (*in_shape[:-1], shape) if in_shape and shape else ()
        else:
            features = shape[-1] if shape else 0
        shares = -1
        if layer.parameter_shapes(1) or layer.state_shapes(1):
            first = self._first.setdefault(id(layer.learner), here)
            shares = -1 if first == here else first
        if shares >= 0 and layer.state_shapes(1):
            raise ValueError(
                f"layers[{path}]: expected a {type(layer).__name__} of its own, got that of "
                f"layers[{self.places[shares].path}]; its statistics are those of one place"
            )
        if shares >= 0 and kind != self.places[shares].kind:
            raise ValueError(
                f"layers[{path}]: expected layers of one kind where the same {layer.learner!r} "
                f"stands, got {layer!r} and, at layers[{self.places[shares].path}], "
                f"{self.places[shares].layer!r}"
            )
        if shares >= 0 and 0 != in_features != self.places[shares].in_features != 0:
            raise ValueError(
                f"layers[{path}]: expected {self.places[shares].in_features} features, as at "
                f"layers[{self.places[shares].path}], where the same {layer!r} stands, got "
                f"{in_features}"
            )
        place = Place(
            *(path, layer, kind, inputs, in_shape, shape, in_features, features, shares),
            self._trainable,
            *self._evaluations,
        )
        self.places.append(place)
        self._shapes.append(shape)
        self._widths.append(features)
        if first_input in self._ragged and len(shape) > 1:
            self._ragged.add(here + 1)
        if layer.is_input and inputs[0] in self._flat:
            by_right = self._flat[inputs[0]]
            self._flat[here + 1] = (*by_right[:-1], by_right[-1] * features // in_features)
        return here + 1

    def same_shape(self, layer: Any, path: str, values: tuple[int, ...]) -> int:
        """Return the channels of all the values; ValueError if their shapes differ."""
        self.same_positions(layer, path, values)
        known = sorted({self.width(value) for value in values} - {0})
        if len(known) > 1:
            raise ValueError(
                f"layers[{path}]: expected branches of one width for {layer!r}, got "
                f"{' and '.join(map(str, known))} features; a Dense in a branch changes its width"
            )
        return known[0] if known else 0

    def same_positions(self, layer: Any, path: str, values: tuple[int, ...]) -> None:
        """Raise ValueError if the values differ in their positions."""
        known = {shape[:-1]: shape for shape in map(self.shape, values) if shape}
        if len(known) > 1:
            raise ValueError(
                f"layers[{path}]: expected branches of the same positions for {layer!r}, got "
                f"shapes {' and '.join(map(str, sorted(known.values())))} of one example; stride, "
                "padding and pooling have to be those of both"
            )

    def readers(self, value: int) -> Iterator[tuple[int, Place]]:
        """Yield (number, place) of those that read a value."""
        for i, place in enumerate(self.places):
            if value in place.inputs:
                yield i, place

    def followers(self, place: int) -> Iterator[Any]:
        """Yield the layers that make something of what a place puts out, in their order.

        It looks through those that only pass on: norms, dropout, sums.
        """
        for i, reader in self.readers(place + 1):
            if reader.layer.passes_on:
                yield from self.followers(i)
            else:
                yield reader.layer

    def ends(self, value: int | None = None) -> Iterator[Any]:
        """Yield the layers of the last outputs, through those that only pass on."""
        value = len(self.places) if value is None else value
        if value == 0:
            return
        place = self.places[value - 1]
        if place.layer.passes_on:
            for before in place.inputs:
                yield from self.ends(before)
        else:
            yield place.layer

    def owners(self) -> Iterator[Place]:
        """Yield the places of layers that learn, each layer once."""
        for place in self.places:
            if place.shares < 0 and place.layer.parameter_shapes(1):
                yield place

    def parameter_shapes(self) -> dict[str, Shape]:
        """Return {name: shape} of all parameters."""
        return {
            f"{place.path}.{name}": shape
            for place in self.owners()
            for name, shape in place.layer.parameter_shapes(place.in_features).items()
        }

    def state_shapes(self) -> dict[str, Shape]:
        """Return {name: shape} of all that layers keep."""
        return {
            f"{place.path}.{name}": shape
            for place in self.places
            for name, shape in place.layer.state_shapes(place.in_features).items()
        }

    def described(self, dtype: DTypeLike) -> list[dict[str, Any]]:
        """Return the places as the core takes them, which computes in `dtype`."""
        return [
            {
                "kind": place.kind,
                "units": place.layer.units if place.kind == place.layer.kind else 0,
                "values": place.layer.values_in(dtype) if place.kind == place.layer.kind else (),
                "path": place.path,
                "inputs": list(place.inputs),
                "shares": place.shares,
                "trainable": place.trainable,
                "max_norm": place.layer.max_norm if place.kind == place.layer.kind else 0.0,
            }
            for place in self.places
        ]


# How often `trainable` of any layer has been set: an engine compares it with what it saw last.
_changes = 0


def count_change() -> None:
    """Note that `trainable` of a layer has been set."""
    global _changes
    _changes += 1


def changes() -> int:
    """Return how often `trainable` of any layer has been set."""
    return _changes
