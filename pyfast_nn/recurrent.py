"""Layers that walk a sequence: at each position they read it and what they made of those before."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal

from . import checks, graph, initializers
from .config import Setting
from .layers import LAYERS, Layer
from .typing import Array, Integer, Shape


class _Uniform(Layer):
    """What learns from between -1 / sqrt(hidden_size) and 1 / sqrt(hidden_size)."""

    def __init__(self, hidden_size: int, gates: int) -> None:
        vars(self).update(_hidden_size=hidden_size, _gates=gates)

    def initialize(
        self,
        parameters: dict[str, Array],
        default: initializers.Initializer,
        seed: int,
        stream: int,
    ) -> None:
        bound = 1 / math.sqrt(vars(self)["_hidden_size"])
        for i, view in enumerate(parameters.values()):
            initializers.Uniform(-bound, bound).fill(view, 1, 1, seed, stream + i)


class _Gates(_Uniform):
    """What the gates of all positions get from the input: a part of a recurrent layer."""

    kind = "gates"

    @property
    def units(self) -> int:
        units: int = vars(self)["_gates"] * vars(self)["_hidden_size"]
        return units

    def parameter_shapes(self, in_features: int) -> dict[str, Shape]:
        return {"weight_ih": (in_features, self.units), "bias_ih": (self.units,)}

    def __repr__(self) -> str:
        return "x @ weight_ih + bias_ih"


class _Walk(_Uniform):
    """The walk along the positions, in one direction: a part of a recurrent layer."""

    walks_positions = True

    def __init__(
        self, kind: str, hidden_size: int, gates: int, values: tuple[float, ...], text: str
    ) -> None:
        super().__init__(hidden_size, gates)
        vars(self).update(_kind=kind, _values=values, _text=text)

    @property
    def kind(self) -> str:  # type: ignore[override]
        kind: str = vars(self)["_kind"]
        return kind

    @property
    def units(self) -> int:
        units: int = vars(self)["_hidden_size"]
        return units

    @property
    def values(self) -> tuple[float, ...]:
        values: tuple[float, ...] = vars(self)["_values"]
        return values

    def parameter_shapes(self, in_features: int) -> dict[str, Shape]:
        width = vars(self)["_gates"] * self.units
        return {"weight_hh": (self.units, width), "bias_hh": (width,)}

    def __repr__(self) -> str:
        text: str = vars(self)["_text"]
        return text


class _BothWays(Layer):
    """What both directions put out, side by side: a part of a recurrent layer."""

    kind = "concatenate"

    def __repr__(self) -> str:
        return "both directions"


class Recurrent(Layer):
    """What recurrent layers have in common."""

    cell: ClassVar[str]  # the core's name
    gates: ClassVar[int]
    hidden_size: Setting[int] = Setting(partial(checks.integer, minimum=1))
    num_layers: Setting[int] = Setting(partial(checks.integer, minimum=1))
    bidirectional: Setting[bool] = Setting(checks.boolean)
    outputs: Setting[str] = Setting(partial(checks.choice, choices=("all", "last")))

    @classmethod
    def _cure(cls, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        size = args[-1] if args else kwargs.get("hidden_size", "hidden_size")
        if len(args) > 1 or "input_size" in kwargs:
            return f"how many channels come in is found out from X: {cls.__name__}({size})"
        if "batch_first" in kwargs:
            return "X has shape (n, positions, channels), as with batch_first=True"
        if "bias" in kwargs:
            return "it always has biases"
        if "dropout" in kwargs:
            return "a layer Dropout(rate) stands between recurrent layers"
        if "return_sequences" in kwargs:
            return "outputs='all' puts out h at all positions, outputs='last' the last"
        return None

    def _make(self) -> None:
        """Make the layers that it is made of, once: whoever uses it again uses them."""
        vars(self)["_parts"] = [
            [
                (
                    _Gates(self.hidden_size, self.gates),
                    _Walk(
                        self.cell,
                        self.hidden_size,
                        self.gates,
                        (float(backward), float(self._ends(i)), *self._numbers()),
                        f"{type(self).__name__}({self.hidden_size})"
                        + (", from the last position on" if backward else ""),
                    ),
                )
                for backward in range(1 + self.bidirectional)
            ]
            for i in range(self.num_layers)
        ]

    def _ends(self, i: int) -> bool:
        """Whether layer i puts out its last position alone."""
        return self.outputs == "last" and i == self.num_layers - 1

    def _numbers(self) -> tuple[float, ...]:
        return ()

    @property
    def units(self) -> int:
        return self.hidden_size * (1 + self.bidirectional)

    def parameter_shapes(self, in_features: int) -> dict[str, Shape]:
        """Return {name: shape} of those of its parts, by the names that they have behind its path.

        They stand in the places of its parts.
        """
        shapes: dict[str, Shape] = {}
        for i, ways in enumerate(vars(self)["_parts"]):
            for end, parts in zip(("", "_reverse"), ways, strict=False):
                for part in parts:
                    own = part.parameter_shapes(self.units if i > 0 else in_features)
                    shapes |= {f"l{i}{end}.{name}": shape for name, shape in own.items()}
        return shapes

    def lay(self, network: "graph.Graph", path: str, value: int) -> int:
        shape = network.shape(value)
        if len(shape) not in (0, 2):
            raise ValueError(
                f"layers[{path}]: expected a sequence, shape (positions, channels) of one example, "
                f"for {self!r}, got {network.text(value)}; Reshape makes another shape of it"
            )
        for i, ways in enumerate(vars(self)["_parts"]):
            out: Shape | int = self.hidden_size
            if self._ends(i):
                out = (self.hidden_size,)
            values = []
            for name, (gates, walk) in zip(("", "_reverse"), ways, strict=False):
                own = f"{path}.l{i}{name}"
                argument = network.add(gates, own, gates.kind, (value,), gates.units)
                values.append(network.add(walk, own, walk.kind, (argument,), out))
            value = values[0]
            if self.bidirectional:
                both = self.units if isinstance(out, int) else (self.units,)
                value = network.add(_BothWays(), path, _BothWays.kind, tuple(values), both)
        return value


class RNN(Recurrent):
    """Elman network: ``h = f(x @ weight_ih + bias_ih + h @ weight_hh + bias_hh)``.

    Parameters
    ----------
    hidden_size : int
        Columns of `h`, at least 1.
    num_layers : int
        Layers above each other: each reads what the one below puts out.
    bidirectional : bool
        Whether each layer has a second one beside it that begins with the last position. What both
        put out stands side by side, ``2 * hidden_size`` columns.
    outputs : {"all", "last"}
        What comes out: `h` at all positions, or where the walk ends. That is the last position; of
        the second direction, the first.
    nonlinearity : {"tanh", "relu"}
        `f`.
    trainable : bool
        False: its parameters are constants, see the attribute, which may be assigned later.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above; when the network is built, if no sequence comes in.

    Notes
    -----
    The input is (n, positions, channels), the output (n, positions, hidden_size), or (n,
    hidden_size) of the last. `h` is zero before the first position. Where examples come with their
    lengths, ``(X, lengths)``, positions from there on do not exist: the last is the last that does,
    where the second direction begins, and zeros come out behind it.

    Parameters are called as in torch, with the layer in front: ``"l0.weight_ih"`` (channels,
    hidden_size), ``"l0.bias_ih"``, ``"l0.weight_hh"`` (hidden_size, hidden_size), ``"l0.bias_hh"``,
    and those of the second direction ``"l0_reverse.weight_ih"``. All of them begin uniform between
    -1 / sqrt(hidden_size) and 1 / sqrt(hidden_size).

    Parameters are used at each position, so exact traces and diagonals of curvature and gradients
    of single examples are refused; all other derivatives and products are exact.

    References
    ----------
    J. L. Elman (1990), "Finding structure in time", Cognitive Science 14.

    Examples
    --------
    >>> model = fnn.Sequential([fnn.RNN(16, outputs="last"), fnn.Dense(1)]).build((20, 3))
    >>> list(model.named_parameters())[:2]
    ['0.l0.weight_ih', '0.l0.bias_ih']
    """

    cell = "rnn"
    gates = 1
    nonlinearity: Setting[str] = Setting(partial(checks.choice, choices=("tanh", "relu")))

    def __init__(
        self,
        hidden_size: Integer,
        *,
        num_layers: Integer = 1,
        bidirectional: bool = False,
        outputs: Literal["all", "last"] = "all",
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        trainable: bool = True,
    ) -> None:
        self._set(hidden_size=hidden_size, num_layers=num_layers, bidirectional=bidirectional)
        self._set(outputs=outputs, nonlinearity=nonlinearity)
        self._make()
        self.trainable = trainable

    def _numbers(self) -> tuple[float, ...]:
        return (float(self.nonlinearity == "relu"),)


class GRU(Recurrent):
    """Gated recurrent unit, which learns when to keep `h` and when to forget it.

    With ``a = x @ weight_ih + bias_ih`` and ``b = h @ weight_hh + bias_hh``, each three times as
    wide as `h`, it computes ``r = sigmoid(a_r + b_r)``, ``z = sigmoid(a_z + b_z)``, ``n = tanh(a_n
    + r * b_n)`` and the next ``h = (1 - z) * n + z * h``.

    Parameters
    ----------
    hidden_size : int
        Columns of `h`, at least 1.
    num_layers : int
        Layers above each other: each reads what the one below puts out.
    bidirectional : bool
        Whether each layer has a second one beside it that begins with the last position. What both
        put out stands side by side, ``2 * hidden_size`` columns.
    outputs : {"all", "last"}
        What comes out: `h` at all positions, or where the walk ends. That is the last position; of
        the second direction, the first.
    trainable : bool
        False: its parameters are constants, see the attribute, which may be assigned later.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above; when the network is built, if no sequence comes in.

    Notes
    -----
    As in `RNN`; the columns of ``"l0.weight_ih"`` (channels, 3 hidden_size) are those of r, z and
    n, as in torch.

    References
    ----------
    K. Cho et al. (2014), "Learning phrase representations using RNN encoder-decoder for statistical
    machine translation", EMNLP, https://arxiv.org/abs/1406.1078; with the product in front of r,
    as in cuDNN, torch and Keras.

    Examples
    --------
    >>> model = fnn.Sequential([fnn.GRU(16, bidirectional=True), fnn.Dense(5)]).build((20, 3))
    >>> model.named_parameters()["0.l0_reverse.weight_hh"].shape
    (16, 48)
    """

    cell = "gru"
    gates = 3

    def __init__(
        self,
        hidden_size: Integer,
        *,
        num_layers: Integer = 1,
        bidirectional: bool = False,
        outputs: Literal["all", "last"] = "all",
        trainable: bool = True,
    ) -> None:
        self._set(hidden_size=hidden_size, num_layers=num_layers, bidirectional=bidirectional)
        self._set(outputs=outputs)
        self._make()
        self.trainable = trainable


class LSTM(Recurrent):
    """Long short-term memory: beside `h` a cell `c` that a sequence passes with little change.

    With ``a = x @ weight_ih + bias_ih + h @ weight_hh + bias_hh``, four times as wide as `h`, it
    computes ``i = sigmoid(a_i)``, ``f = sigmoid(a_f)``, ``g = tanh(a_g)``, ``o = sigmoid(a_o)`` and
    the next ``c = f * c + i * g``, ``h = o * tanh(c)``.

    Parameters
    ----------
    hidden_size : int
        Columns of `h`, at least 1.
    num_layers : int
        Layers above each other: each reads what the one below puts out.
    bidirectional : bool
        Whether each layer has a second one beside it that begins with the last position. What both
        put out stands side by side, ``2 * hidden_size`` columns.
    outputs : {"all", "last"}
        What comes out: `h` at all positions, or where the walk ends. That is the last position; of
        the second direction, the first.
    trainable : bool
        False: its parameters are constants, see the attribute, which may be assigned later.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above; when the network is built, if no sequence comes in.

    Notes
    -----
    As in `RNN`; the columns of ``"l0.weight_ih"`` (channels, 4 hidden_size) are those of i, f, g
    and o, as in torch.

    References
    ----------
    S. Hochreiter, J. Schmidhuber (1997), "Long short-term memory", Neural Computation 9(8); with
    the gate f: F. A. Gers, J. Schmidhuber, F. Cummins (2000), "Learning to forget: continual
    prediction with LSTM", Neural Computation 12(10).

    Examples
    --------
    >>> layers = [fnn.LSTM(64, num_layers=2, outputs="last"), fnn.Dense(6)]
    >>> model = fnn.Sequential(layers).build((128, 9))
    >>> model.named_parameters()["0.l1.weight_ih"].shape
    (64, 256)
    """

    cell = "lstm"
    gates = 4

    def __init__(
        self,
        hidden_size: Integer,
        *,
        num_layers: Integer = 1,
        bidirectional: bool = False,
        outputs: Literal["all", "last"] = "all",
        trainable: bool = True,
    ) -> None:
        self._set(hidden_size=hidden_size, num_layers=num_layers, bidirectional=bidirectional)
        self._set(outputs=outputs)
        self._make()
        self.trainable = trainable


LAYERS.extend([RNN, GRU, LSTM])
