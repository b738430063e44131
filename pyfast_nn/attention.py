"""Layers that attend: attention, blocks of a transformer, and what tells positions apart."""

from collections.abc import Iterable
from functools import partial
from typing import Any, Literal

import numpy as np

from . import checks, initializers
from .branches import Branch, Unbuilt, as_layers
from .config import Setting
from .graph import Graph
from .layers import GELU, LAYERS, Dense, Dropout, Layer, LayerNorm, ReLU
from .typing import Array, Integer, Real, Shape


class _Sequences(Layer):
    """What layers have in common that read sequences, and are made of others by their width."""

    def __init__(self) -> None:
        vars(self)["_made"] = {}

    @property
    def learns(self) -> bool:
        return True

    def _of(self, name: str, make: Any, *sizes: int) -> Layer:
        """Return a part of the layer, the same one wherever the layer stands with such sizes."""
        made: dict[Any, Layer] = vars(self)["_made"]
        key = (name, *sizes)
        if key not in made:
            made[key] = make(*sizes)
        return made[key]

    def _dense(self, network: Graph, path: str, name: str, value: int, units: int) -> int:
        """Put a part that is a Dense into its place; while widths are not known, a mark of it."""
        if units == 0:
            return network.add(Dense(1), f"{path}.{name}", Dense.kind, (value,), ())
        return network.lay(self._of(name, Dense, units), f"{path}.{name}", value)

    def _check_sequence(self, network: Graph, path: str, value: int) -> None:
        shape = network.shape(value)
        if len(shape) == 1:
            raise ValueError(
                f"layers[{path}]: expected positions, examples of shape (T, features), for "
                f"{self!r}, got shape {shape}; Reshape makes them of columns, Embedding of codes"
            )


class _Attention(Layer):
    """What heads compute of queries, keys and values."""

    kind = "attention"
    heads: Setting[int] = Setting(partial(checks.integer, minimum=0))
    causal: Setting[bool] = Setting(checks.boolean)
    cross: Setting[bool] = Setting(checks.boolean)
    keys: Setting[int] = Setting(
        partial(checks.integer, minimum=0)
    )  # how many there are; 0 if not known

    def __init__(self, heads: int, causal: bool, cross: bool, keys: int) -> None:
        self._set(heads=heads, causal=causal, cross=cross, keys=keys)

    @property
    def values(self) -> tuple[float, ...]:
        return (float(self.heads), float(self.causal), float(self.cross))

    def __repr__(self) -> str:
        return f"attention of {self.heads} heads"


class _Rotary(Layer):
    """The first columns, which are heads side by side, turned by their positions."""

    kind = "rotary"
    passes_on = True
    heads: Setting[int] = Setting(partial(checks.integer, minimum=0))
    columns: Setting[int] = Setting(partial(checks.integer, minimum=0))

    def __init__(self, heads: int, columns: int) -> None:
        self._set(heads=heads, columns=columns)

    @property
    def values(self) -> tuple[float, ...]:
        return (float(self.heads), float(self.columns))

    def planes(self, shape: Shape) -> tuple[Array, Array, Array]:
        """Return cosines and sines of examples of a shape, and the map to the planes' others."""
        width, half, k = shape[-1], self.columns // self.heads // 2, np.arange(shape[-1])
        turn = np.arange(np.prod(shape[:-1]))[:, None] * 10000.0 ** (-(k % half) / half)
        turn[:, self.columns :] = 0
        turn, other = turn.reshape(shape), np.zeros((width, width))
        for i in range(self.columns):
            is_second = i // half % 2 == 1
            other[i - half if is_second else i + half, i] = 1 if is_second else -1
        return np.cos(turn), np.sin(turn), other

    def __repr__(self) -> str:
        return "turned by positions"


def _check_keys(value: Any, name: str) -> tuple[Layer, ...] | None:
    return None if value is None else as_layers(value, name)


class MultiHeadAttention(_Sequences):
    """Attention: each position puts together what it asks for at others, in several heads.

    With ``q``, ``k`` and ``v`` linear in the input, and cut into heads of
    ``width = features / num_heads`` columns each, a head computes
    ``softmax(q @ k.T / sqrt(width)) @ v``; what they put out side by side goes through one more
    linear map.

    Parameters
    ----------
    num_heads : int
        A divisor of the features.
    causal : bool
        Whether a position sees only itself and those before it.
    rotary : bool
        Whether queries and keys are turned by their positions, so that what they have in common
        depends on how far they are apart. The width of a head is even then.
    keys : sequence of Layer, optional
        Layers from the input to what keys and values are made of, which has as many features as
        the queries and any number of positions: cross attention. Without, the input itself.
    trainable : bool
        False: its parameters are constants, see the attribute, which may be assigned later.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above; when the network is built, if the shapes do not fit.

    Notes
    -----
    The input is (n, T, features), and so is the output. Parameters are those of torch's
    ``nn.MultiheadAttention``: ``in_proj.weight`` (features, 3 features), queries, keys and values
    side by side, ``in_proj.bias``, ``out_proj.weight`` and ``out_proj.bias``; with `keys`,
    ``q_proj`` and ``kv_proj`` in place of the first. There is no dropout of attention weights.

    Rotary positions turn numbers k of the first and the second half of a head by
    ``t / 10000**(k / half)`` at position t, as ONNX's ``RotaryEmbedding``.

    References
    ----------
    A. Vaswani et al. (2017), "Attention is all you need", NeurIPS. J. Su et al. (2021), "RoFormer:
    enhanced transformer with rotary position embedding", https://arxiv.org/abs/2104.09864.

    Examples
    --------
    >>> model = fnn.Sequential([fnn.MultiHeadAttention(2, causal=True)]).build((5, 8))
    >>> list(model.named_parameters())
    ['0.in_proj.weight', '0.in_proj.bias', '0.out_proj.weight', '0.out_proj.bias']
    """

    num_heads: Setting[int] = Setting(partial(checks.integer, minimum=1))
    causal: Setting[bool] = Setting(checks.boolean)
    rotary: Setting[bool] = Setting(checks.boolean)
    keys: Setting[tuple[Layer, ...] | None] = Setting(_check_keys)

    def __init__(
        self,
        num_heads: Integer,
        *,
        causal: bool = False,
        rotary: bool = False,
        keys: Iterable[Branch] | Unbuilt | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__()
        self._set(num_heads=num_heads, causal=causal, rotary=rotary, keys=keys)
        self.trainable = trainable

    def get_config(self) -> dict[str, Any]:
        keys = None if self.keys is None else list(self.keys)
        return super().get_config() | {"keys": keys}

    def lay(self, network: Graph, path: str, value: int) -> int:
        self._check_sequence(network, path, value)
        width, heads = network.width(value), self.num_heads
        if width % heads:
            raise ValueError(
                f"layers[{path}]: expected features that {heads} heads share, for {self!r}, got "
                f"{width}"
            )
        if self.rotary and width // heads % 2:
            raise ValueError(
                f"layers[{path}]: expected heads of even width, as rotary turns pairs of columns, "
                f"got {width // heads}"
            )
        if self.keys is None:
            projected = self._dense(network, path, "in_proj", value, 3 * width)
            read = [self._turned(network, path, projected, 2 * heads, 2 * width)]
        else:
            other = value
            for i, layer in enumerate(self.keys):
                other = network.lay(layer, f"{path}.keys.{i}", other)
            self._check_sequence(network, f"{path}.keys", other)
            if 0 != network.width(other) != width != 0:
                raise ValueError(
                    f"layers[{path}]: expected keys of {width} features, as come in, got "
                    f"{network.width(other)}; a Dense({width}) at the end of keys changes them"
                )
            queries = self._dense(network, path, "q_proj", value, width)
            pairs = self._dense(network, path, "kv_proj", other, 2 * width)
            read = [self._turned(network, path, each, heads, width) for each in (queries, pairs)]
        keys = int(np.prod(network.shape(read[-1])[:-1]))
        op = _Attention(heads, self.causal, self.keys is not None, keys)
        out = network.add(op, path, op.kind, tuple(read), network.shape(value))
        return self._dense(network, path, "out_proj", out, width)

    def _turned(self, network: Graph, path: str, value: int, heads: int, columns: int) -> int:
        if not self.rotary:
            return value
        op = _Rotary(heads, columns)
        return network.add(op, path, op.kind, (value,), network.shape(value))

    def __hash__(self) -> int:
        return hash((type(self), self.num_heads, self.causal, self.rotary))


def _check_activation(value: Any, name: str) -> str | Layer:
    if isinstance(value, Layer):
        return value
    return checks.choice(value, name, ("gelu", "relu"))


def _check_hidden(value: Any, name: str) -> int | None:
    return None if value is None else checks.integer(value, name, minimum=1)


class TransformerBlock(_Sequences):
    """A block of a transformer: attention, and two dense layers, each beside a short cut.

    With ``norm_first``, ``x = x + attention(norm1(x))`` and then
    ``x = x + linear2(activation(linear1(norm2(x))))``; without, as in the paper,
    ``x = norm1(x + attention(x))`` and then ``x = norm2(x + linear2(activation(linear1(x))))``.

    Parameters
    ----------
    num_heads : int
        A divisor of the features.
    hidden : int, optional
        Columns between the dense layers; four times the features if it is None.
    causal, rotary : bool
        See `MultiHeadAttention`.
    norm_first : bool
        Whether norms stand in front of what they serve; deep stacks learn more easily then.
    activation : {"gelu", "relu"} or Layer
    dropout : float
        In training, the share that `Dropout` drops of what attention and each dense layer put out.
    trainable : bool
        False: its parameters are constants, see the attribute, which may be assigned later.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of the above; when the network is built, if the shapes do not fit.

    Notes
    -----
    The input is (n, T, features), and so is the output. Parts have the names that they have in
    torch's ``nn.TransformerEncoderLayer``: ``self_attn``, ``norm1``, ``norm2``, ``linear1`` and
    ``linear2``. Attention weights are not dropped, as they are there.

    References
    ----------
    A. Vaswani et al. (2017), "Attention is all you need", NeurIPS. R. Xiong et al. (2020), "On
    layer normalization in the transformer architecture", ICML.

    Examples
    --------
    A model of sequences of 32 codes, which predicts the next at each position:

    >>> layers = [
    ...     fnn.Embedding(64, 48),
    ...     fnn.LearnedPositions(),
    ...     fnn.TransformerBlock(4, causal=True),
    ...     fnn.LayerNorm(),
    ...     fnn.Dense(64),
    ... ]
    >>> model = fnn.Sequential(layers).build(32)
    >>> model.forward(np.zeros((1, 32))).shape
    (1, 32, 64)
    """

    num_heads: Setting[int] = Setting(partial(checks.integer, minimum=1))
    hidden: Setting[int | None] = Setting(_check_hidden)
    causal: Setting[bool] = Setting(checks.boolean)
    rotary: Setting[bool] = Setting(checks.boolean)
    norm_first: Setting[bool] = Setting(checks.boolean)
    activation: Setting[str | Layer] = Setting(_check_activation)
    dropout: Setting[float] = Setting(partial(checks.real, minimum=0, below=1))

    def __init__(
        self,
        num_heads: Integer,
        hidden: Integer | None = None,
        *,
        causal: bool = False,
        rotary: bool = False,
        norm_first: bool = True,
        activation: Literal["gelu", "relu"] | Layer = "gelu",
        dropout: Real = 0.0,
        trainable: bool = True,
    ) -> None:
        super().__init__()
        self._set(num_heads=num_heads, hidden=hidden, causal=causal, rotary=rotary)
        self._set(norm_first=norm_first, activation=activation, dropout=dropout)
        self.trainable = trainable

    @property
    def attention(self) -> MultiHeadAttention:
        """The attention of the block (MultiHeadAttention)."""
        attention = self._of("self_attn", self._make_attention)
        assert isinstance(attention, MultiHeadAttention)
        return attention

    def _make_attention(self) -> Layer:
        return MultiHeadAttention(self.num_heads, causal=self.causal, rotary=self.rotary)

    def lay(self, network: Graph, path: str, value: int) -> int:
        self._check_sequence(network, path, value)
        width = network.width(value)
        x = self._beside(network, path, value, "norm1", "dropout1", self._attend)
        return self._beside(network, path, x, "norm2", "dropout2", partial(self._feed, width))

    def _attend(self, network: Graph, path: str, value: int) -> int:
        return network.lay(self.attention, f"{path}.self_attn", value)

    def _feed(self, width: int, network: Graph, path: str, value: int) -> int:
        between = self.hidden or 4 * width
        value = self._dense(network, path, "linear1", value, between)
        activation = self.activation
        if not isinstance(activation, Layer):
            activation = {"gelu": GELU, "relu": ReLU}[activation]()
        value = network.lay(activation, f"{path}.activation", value)
        return self._dense(
            network, path, "linear2", self._dropped(network, path, "dropout", value), width
        )

    def _beside(
        self, network: Graph, path: str, value: int, norm: str, dropout: str, branch: Any
    ) -> int:
        layer = self._of(norm, LayerNorm)
        inner = network.lay(layer, f"{path}.{norm}", value) if self.norm_first else value
        inner = self._dropped(network, path, dropout, branch(network, path, inner))
        both = network.add(_Sum(), path, _Sum.kind, (value, inner), network.shape(value))
        return both if self.norm_first else network.lay(layer, f"{path}.{norm}", both)

    def _dropped(self, network: Graph, path: str, name: str, value: int) -> int:
        if self.dropout == 0:
            return value
        return network.lay(self._of(name, partial(Dropout, self.dropout)), f"{path}.{name}", value)


class _Sum(Layer):
    kind = "add"
    passes_on = True


class _Rows(Layer):
    """A row for each of so many positions."""

    kind = "positions"
    passes_on = True

    def __init__(self, positions: int, features: int, fill: Any) -> None:
        vars(self).update(shape=(positions, features), fill=fill)

    def parameter_shapes(self, in_features: int) -> dict[str, Shape]:
        return {"weight": vars(self)["shape"]}

    def initialize(
        self,
        parameters: dict[str, Array],
        default: initializers.Initializer,
        seed: int,
        stream: int,
    ) -> None:
        vars(self)["fill"](parameters["weight"], seed, stream)

    def __repr__(self) -> str:
        return "{} positions of {} features".format(*vars(self)["shape"])


class LearnedPositions(_Sequences):
    """``x + weight[t]`` at position t: a row for each position, learned.

    Parameters
    ----------
    trainable : bool
        False: its parameters are constants, see the attribute, which may be assigned later.

    Raises
    ------
    TypeError, ValueError
        If it is none of that; when the network is built, if there are no positions.

    Notes
    -----
    ``weight`` has shape (T, features), the input (n, T, features), and so has the output. It begins
    as normal random numbers of standard deviation 0.02.

    References
    ----------
    J. Gehring, M. Auli, D. Grangier, D. Yarats, Y. N. Dauphin (2017), "Convolutional sequence to
    sequence learning", ICML.

    Examples
    --------
    >>> layers = [fnn.Embedding(64, 8), fnn.LearnedPositions()]
    >>> fnn.Sequential(layers).build(5).named_parameters()["1.weight"].shape
    (5, 8)
    """

    passes_on = True

    def __init__(self, *, trainable: bool = True) -> None:
        super().__init__()
        self.trainable = trainable

    def lay(self, network: Graph, path: str, value: int) -> int:
        self._check_sequence(network, path, value)
        shape = network.shape(value)
        layer: Layer = _Rows(1, 1, self._fill)
        if shape:
            sizes = int(np.prod(shape[:-1])), shape[-1]
            layer = self._of("weight", lambda t, c: _Rows(t, c, self._fill), *sizes)
        return network.add(layer, path, layer.kind, (value,), shape)

    @staticmethod
    def _fill(weight: Array, seed: int, stream: int) -> None:
        positions, features = weight.shape
        initializers.Normal(0.02).fill(weight, positions, features, seed, stream)


class SinusoidalPositions(LearnedPositions):
    """Waves added to the features, by which positions are told apart: constants.

    At position t the features 2k and 2k + 1 get the sine and the cosine of
    ``t / 10000**(2k / features)``.

    Raises
    ------
    ValueError
        When the network is built, if there are no positions.

    Notes
    -----
    They are parameters that are not trained: ``weight`` of shape (T, features).

    References
    ----------
    A. Vaswani et al. (2017), "Attention is all you need", NeurIPS, section 3.5.

    Examples
    --------
    >>> model = fnn.Sequential([fnn.SinusoidalPositions()]).build((3, 2))
    >>> model.forward(np.zeros((1, 3, 2))).round(2)
    array([[[ 0.  ,  1.  ],
            [ 0.84,  0.54],
            [ 0.91, -0.42]]], dtype=float32)
    """

    def __init__(self) -> None:
        vars(self).update(_made={}, _trainable=False)

    def get_config(self) -> dict[str, Any]:
        return {}

    @property
    def learns(self) -> bool:
        return False

    @staticmethod
    def _fill(weight: Array, seed: int, stream: int) -> None:
        positions, features = weight.shape
        k = np.arange(features) // 2
        turns = np.arange(positions)[:, None] / 10000.0 ** (2 * k / features)
        weight[...] = np.where(np.arange(features) % 2 == 0, np.sin(turns), np.cos(turns))


OF_SEQUENCES = (MultiHeadAttention, TransformerBlock, LearnedPositions, SinusoidalPositions)
LAYERS.extend(OF_SEQUENCES)

# The names of parts, which are those of modules of torch.
DROPOUTS = ("dropout", "dropout1", "dropout2")
PARTS = (
    *("in_proj", "q_proj", "kv_proj", "out_proj"),
    *("norm1", "norm2", "linear1", "activation", "linear2", *DROPOUTS),
)
