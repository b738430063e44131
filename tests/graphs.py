"""Networks that are graphs: the reference, in float64 NumPy, with an autodiff of its own.

An op is one formula over `Traced` arrays. Derivatives are made of the same operations, so they have
derivatives themselves: Jacobian and Hessian products follow for every network. Nothing is shared
with the C++. A layer is what the core takes, a dict with "kind", "units", "values", "inputs" (0 is
the network's input, i + 1 the output of layers[i]), "shares" and "trainable". A value of n examples
with P positions has n P rows, a row for each position, as in the core; shapes of one example are
(height, width, channels).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

import oracle
from oracle import ACTIVATIONS
from test_noise import TRAINING, factors, philox

# ---------------------------------------------------------------------------------------- autodiff

_count = itertools.count()


class Traced:
    """An array and how it was made: pairs of a source and what a derivative becomes there."""

    __array_ufunc__ = None  # NumPy leaves mixed operations to this class

    def __init__(self, data, sources=()):
        self.data = np.asarray(data, np.float64)
        self.sources = sources
        self.place = next(_count)  # behind its sources

    @property
    def shape(self):
        return self.data.shape

    def __add__(self, other):
        other = traced(other)
        pairs = [(x, lambda g, x=x: sum_to(g, x.shape)) for x in (self, other)]
        return Traced(self.data + other.data, pairs)

    def __mul__(self, other):
        other = traced(other)
        pairs = [
            (x, lambda g, x=x, y=y: sum_to(g * y, x.shape))
            for x, y in ((self, other), (other, self))
        ]
        return Traced(self.data * other.data, pairs)

    def __matmul__(self, other):
        pairs = [(self, lambda g: g @ other.T), (other, lambda g: self.T @ g)]
        return Traced(self.data @ other.data, pairs)

    def __pow__(self, exponent):
        value = self.data**exponent
        return Traced(value, [(self, lambda g: g * exponent * self ** (exponent - 1))])

    def __neg__(self):
        return self * -1.0

    def __sub__(self, other):
        return self + -traced(other)

    def __truediv__(self, other):
        return self * traced(other) ** -1.0

    __radd__, __rmul__ = __add__, __mul__

    def __getitem__(self, key):
        return Traced(self.data[key], [(self, lambda g: put(g, key, self.shape))])

    @property
    def T(self):
        return Traced(self.data.T, [(self, lambda g: g.T)])

    def reshape(self, *shape):
        return Traced(self.data.reshape(shape), [(self, lambda g: g.reshape(*self.shape))])

    def sum(self, axis=None):
        """The axis stays, with length one."""
        total = self.data.sum(axis=axis, keepdims=True)
        return Traced(total, [(self, lambda g: g * np.ones(self.shape))])

    def mean(self, axis):
        return self.sum(axis) * (1.0 / self.shape[axis])


def traced(x):
    return x if isinstance(x, Traced) else Traced(x)


def put(x, key, shape):
    """Zeros of that shape, but for x at the key."""
    data = np.zeros(shape)
    data[key] = x.data
    return Traced(data, [(x, lambda g: g[key])])


def sum_to(x, shape):
    """The sum over what broadcasting had added to an array of that shape."""
    if x.shape == shape:
        return x
    for axis in range(len(x.shape) - len(shape)):
        x = x.sum(axis)
    x = x.reshape(*x.shape[len(x.shape) - len(shape) :])
    for axis, length in enumerate(shape):
        if length == 1:
            x = x.sum(axis)
    return x


def exp(x):
    value = Traced(np.exp(x.data))
    value.sources = [(x, lambda g: g * value)]
    return value


def concatenate(xs):
    """Along the columns."""
    ends = np.cumsum([x.shape[1] for x in xs])
    pairs = [
        (x, lambda g, a=end - x.shape[1], b=end: g[:, a:b]) for x, end in zip(xs, ends, strict=True)
    ]
    return Traced(np.concatenate([x.data for x in xs], axis=1), pairs)


def slice_of(xs, parameters, call):
    first, count = map(int, call.layer["values"])
    return xs[0][:, first : first + count]


def all_but_the_first(width):
    """Of the columns, if there are others."""
    return (1, width - 1) if width > 1 else (0, 1)


def activation(kind, values, x, order=0):
    """An activation of the oracle, or its first derivative; the second has none here."""
    functions = ACTIVATIONS[kind]
    data = functions[order](x.data, *values)
    if order == 2:
        return Traced(data)
    return Traced(data, [(x, lambda g: g * activation(kind, values, x, order + 1))])


def derivatives(y, sources, seed=None):
    """Of sum(y * seed) in each of the sources, as functions of everything that y is made of."""
    gradients = {id(y): traced(np.ones(y.shape)) if seed is None else traced(seed)}
    reached, waiting = {}, [y]
    while waiting:
        node = waiting.pop()
        if id(node) not in reached:
            reached[id(node)] = node
            waiting += [source for source, _ in node.sources]
    for node in sorted(reached.values(), key=lambda node: -node.place):
        if id(node) not in gradients:
            continue
        for source, pull in node.sources:
            part = pull(gradients[id(node)])
            gradients[id(source)] = (
                gradients[id(source)] + part if id(source) in gradients else part
            )
    return [gradients.get(id(source), Traced(np.zeros(source.shape))) for source in sources]


# -------------------------------------------------------------------------------------------- ops


@dataclass(frozen=True)
class Call:
    """What a formula may look at besides its inputs and parameters."""

    layer: dict
    training: bool
    seed: int
    step: int
    dtype: str  # the core's
    random: int  # its number among the layers that draw random numbers
    state: list  # of its states (features,), views that it may write
    examples: int = 0
    shapes: tuple = ()  # of its inputs
    shape: tuple = ()  # of its output
    block: Callable | None = None  # of what evaluates one: what it reads -> what it puts out
    parameters: tuple = ()  # all of the network
    adjoint: bool = False  # derivatives are those that the core's gradients are


@dataclass(frozen=True)
class Op:
    """One line of the registry of test_ops_of_networks.py."""

    formula: Callable  # (inputs, parameters, call) -> Traced
    values: tuple | Callable = ()  # numbers of a layer of this kind; or by the width
    parameters: tuple = ()  # names
    states: tuple = ()  # names, each with what it is in the tests
    inputs: tuple = (1,)  # how many it may have
    random: bool = False  # in training
    couples_rows: bool = False  # in training
    piecewise_linear: bool = False
    exact: bool = True  # traces, diagonals and gradients of examples
    widths: tuple = (1, 2, 15, 16, 17, 31, 33, 100)

    def values_for(self, in_features):
        return self.values(in_features) if callable(self.values) else self.values

    def parameter_shape(self, name, layer, shapes, shape):
        if self.matrix_shape is not None:
            rows, cols = self.matrix_shape(layer, shapes)
        else:
            cols = shape[-1]
            rows = int(layer["values"][0]) if self.codes else shapes[0][-1]
        return (rows, cols) if name == self.matrix else (cols,)

    matrix: str = ""  # which of the parameters is one
    # What mixes positions: (layer, shapes of the inputs) -> shape of the output; of the matrix.
    out_shape: Callable | None = None
    matrix_shape: Callable | None = None
    # Its cases in test_ops_with_positions.py: shapes of the inputs and fields of the layer.
    cases: tuple = ()
    codes: bool = False  # it reads one column, of row numbers of its matrix
    affine: int | None = None  # the place among the values of the one that is 0 without parameters


def product(xs):
    result = xs[0]
    for x in xs[1:]:
        result = result * x
    return result


def row_norm(groups, eps, *, centred=True):
    """(x - mean) / sqrt(variance + eps) over the columns of each group, then affine."""

    def formula(xs, p, call):
        (x,) = xs
        rows, features = x.shape
        count = groups(call)
        grouped = x.reshape(rows * count, features // count)
        if centred:
            grouped = grouped - grouped.mean(1)
        h = grouped * ((grouped * grouped).mean(1) + eps(call)) ** -0.5
        h = h.reshape(rows, features)
        for name, apply in (("weight", Traced.__mul__), ("bias", Traced.__add__)):
            h = apply(h, p[name]) if name in p else h
        return h

    return formula


def machine_eps(call):
    return call.layer["values"][0] or float(np.finfo(call.dtype).eps)


def reshape(xs, parameters, call):
    height, width, channels = call.shape
    return xs[0].reshape(call.examples * height * width, channels)


def permute(xs, parameters, call):
    axes = [0, *(1 + int(axis) for axis in call.layer["values"])]
    rows = np.arange(xs[0].data.size).reshape(call.examples, *call.shapes[0])
    order = rows.transpose(axes).reshape(-1, call.shape[2])
    return xs[0].reshape(-1)[order]


def permuted(layer, shapes):
    return tuple(shapes[0][int(axis)] for axis in layer["values"])


def windows(layer, shapes):
    """Of each position of a pooled image: positions in the image, and how many with padding."""
    (height, width, _), values = shapes[0], [int(value) for value in layer["values"]]
    if layer["kind"].startswith("adaptive"):
        axes = [
            [(range(k * n // count, -(-(k + 1) * n // count)), 0) for k in range(count)]
            for n, count in zip((height, width), values, strict=True)
        ]
        axes = [[(each, len(each)) for each, _ in axis] for axis in axes]
    else:
        axes = []
        for n, size, stride, pad in zip(
            (height, width), *np.reshape(values[:6], (3, 2)), strict=True
        ):
            starts = range(-pad, n + pad - size + 1, stride)
            axes.append([(range(max(a, 0), min(a + size, n)), size) for a in starts])
    return [
        ([y * width + x for y in ys for x in xs], whole * other)
        for ys, whole in axes[0]
        for xs, other in axes[1]
    ], (len(axes[0]), len(axes[1]))


def pooled_shape(layer, shapes):
    return (*windows(layer, shapes)[1], shapes[0][2])


def one_position(layer, shapes):
    return (1, 1, shapes[0][2])


def windows_of(xs, call):
    """Of each row of the output: the rows of the input, and how many with padding."""
    size = positions(call.shapes[0])
    if call.layer["kind"].endswith("positions"):
        known = xs[1].data[:, 0] if len(xs) > 1 else np.full(call.examples, size)
        each = [[(list(range(int(np.clip(n, 0, size)))), 1)] for n in known]
    else:
        each = [windows(call.layer, call.shapes)[0]] * call.examples
    return [
        ([example * size + position for position in window], whole)
        for example, of_example in enumerate(each)
        for window, whole in of_example
    ]


def average(share):
    """The sum of each window times share(how many it is of, with padding, call)."""

    def formula(xs, parameters, call):
        found = windows_of(xs, call)
        weights = np.zeros((len(found), xs[0].shape[0]))
        for row, (window, whole) in enumerate(found):
            weights[row, window] = share(len(window), whole, call)
        return traced(weights) @ xs[0]

    return formula


def mean_of_window(count, whole, call):
    values = call.layer["values"]
    return 1 / (whole if values[6:] and values[6] else count)


def largest(xs, parameters, call):
    """Number k of each window, where that is the first of the largest ones."""
    found, (x, *_) = [window for window, _ in windows_of(xs, call)], xs
    where = np.array(
        [x.data[window].argmax(0) if window else x.data[0] * 0 - 1 for window in found]
    )
    result = traced(np.zeros(where.shape))
    for k in range(max(map(len, found))):
        taken = np.zeros((len(found), x.shape[0]))
        for row, window in enumerate(found):
            taken[row, window[k : k + 1]] = 1
        result = result + (traced(taken) @ x) * traced(where == k)
    return result


IMAGES = (
    (((5, 4, 3),), {"values": (2, 2, 2, 2, 0, 0)}),
    (((4, 6, 17),), {"values": (2, 3, 2, 3, 0, 0)}),
    (((5, 3, 33),), {"values": (3, 2, 1, 2, 1, 1)}),
)
ADAPTIVE = ((((2, 6, 17),), {"values": (3, 4)}),)
SETS = (
    (((2, 3, 17),), {}),
    (((1, 5, 3), (1, 1, 1)), {"lengths": 1}),
)


def cropped(layer, shapes):
    (height, width, channels), (out_height, out_width, *_) = shapes[0], layer["values"]
    return int(out_height or height), int(out_width or width), channels


def augment(xs, parameters, call):
    """A matrix of zeros and ones times the positions."""
    (height, width, _), (out_height, out_width, _) = call.shapes[0], call.shape
    *_, margin, flips_rows, flips_columns, hole = (int(v) for v in call.layer["values"])
    place = (call.random << 48) + 2 * np.arange(call.examples)
    start = philox(call.seed, TRAINING | call.step, place)
    centre = philox(call.seed, TRAINING | call.step, place + 1)
    take = np.zeros((call.examples, out_height, out_width, height, width))
    for e in range(call.examples):
        kept, sources = [], []
        for axis, size, out, flips in (
            (0, height, out_height, flips_rows),
            (1, width, out_width, flips_columns),
        ):
            source = np.arange(out) + (size - out) // 2
            inside = np.ones(out, bool)
            if call.training and (axis == 1 or height > 1):
                first, turn = (int(start[2 * axis + k][e]) for k in range(2))
                source = np.arange(out) + (first * (size - out + 2 * margin + 1) >> 32) - margin
                source = source[::-1] if flips and turn >> 31 else source
                corner = (int(centre[axis][e]) * out >> 32) - hole // 2
                inside = (np.arange(out) < corner) | (np.arange(out) >= corner + hole)
            elif call.training and hole:
                inside = np.zeros(out, bool)
            sources.append(source)
            kept.append(inside)
        for i, y in enumerate(sources[0]):
            for j, x in enumerate(sources[1]):
                if 0 <= y < height and 0 <= x < width and (kept[0][i] or kept[1][j]):
                    take[e, i, j, y, x] = 1
    size = call.examples, out_height * out_width, height * width
    x = xs[0]
    parts = [
        traced(take.reshape(size)[e]) @ x[e * size[2] : (e + 1) * size[2]]
        for e in range(call.examples)
    ]
    return concatenate([part.T for part in parts]).T


def filtered(layer, shapes):
    """The shape of what a convolution puts out."""
    (height, width, _), v = shapes[0], layer["values"]
    out = [
        (before + (n - 1) * spacing + after - dilation * (kernel - 1)) // stride + 1
        for n, kernel, stride, dilation, before, after, spacing in (
            (height, v[0], v[2], v[4], v[6], v[7], v[10]),
            (width, v[1], v[3], v[5], v[8], v[9], v[11]),
        )
    ]
    return (*out, layer["units"])


def convolution(xs, p, call):
    """The sum over taps of what lies under each, as a strided slice of X in zeros."""
    (height, width, channels), (out_height, out_width, out) = call.shapes[0], call.shape
    kh, kw, sh, sw, dh, dw, top, bottom, left, right, zh, zw, groups = call.layer["values"]
    halo = (top + (height - 1) * zh + 1 + bottom, left + (width - 1) * zw + 1 + right)
    inside = np.s_[:, top : top + height * zh : zh, left : left + width * zw : zw]
    x = xs[0].reshape(-1, height, width, channels)
    zeros = (x.shape[0], *halo, channels)
    x = Traced(put(x, inside, zeros).data, [(x, lambda g: g[inside])])
    depth, parts = channels // groups, []
    for group in range(groups):
        columns = slice(group * out // groups, (group + 1) * out // groups)
        z = p["bias"].reshape(1, out)[:, columns]
        for tap, (ky, kx) in enumerate(np.ndindex(kh, kw)):
            under = x[
                :,
                ky * dh : ky * dh + (out_height - 1) * sh + 1 : sh,
                kx * dw : kx * dw + (out_width - 1) * sw + 1 : sw,
                group * depth : (group + 1) * depth,
            ]
            rows = slice(tap * depth, (tap + 1) * depth)
            z = under.reshape(-1, depth) @ p["weight"][rows, columns] + z
        parts.append(z)
    return concatenate(parts)


def filter_of(
    kernel, stride=(1, 1), dilation=(1, 1), padding=(0, 0, 0, 0), spacing=(1, 1), groups=1
):
    return (*kernel, *stride, *dilation, *padding, *spacing, groups)


def total(xs):
    result = xs[0]
    for x in xs[1:]:
        result = result + x
    return result


def softmax(x):
    e = exp(x - x.data.max(axis=1, keepdims=True))
    return e / e.sum(1)


def dropout(xs, parameters, call):
    (x,) = xs
    if not call.training:
        return x
    where = {"seed": call.seed, "step": call.step, "number": call.random}
    return x * factors(*call.layer["values"], *x.shape, **where)


def gaussian_noise(xs, parameters, call):
    """Box and Muller (1958), as in tests/test_random.py."""
    (x,) = xs
    if not call.training:
        return x
    counter = (call.random << 48) + np.arange(x.data.size)
    a, b, c, d = (w.astype(np.float64) for w in philox(call.seed, TRAINING | call.step, counter))
    if call.dtype == "float32":
        radius, angle = (b // 2 + 1) * 2.0**-31, d // 256 * 2.0**-24
    else:
        radius = 1 - (b * 2.0**-32 + a // 2**11 * 2.0**-53)
        angle = d * 2.0**-32 + c // 2**11 * 2.0**-53
    normal = np.sqrt(-2 * np.log(radius)) * np.cos(2 * np.pi * angle)
    return x + call.layer["values"][0] * normal.reshape(x.shape)


def prelu(xs, parameters, call):
    (x,) = xs
    positive = (x.data > 0).astype(np.float64)
    return x * positive + x * (1.0 - positive) * parameters["weight"]


def batch_norm(xs, parameters, call):
    (x,) = xs
    eps, affine, _ = call.layer["values"]
    mean, variance = call.state
    if call.training:
        mean = x.mean(0)
        variance = ((x - mean) ** 2).mean(0)
    h = (x - mean) * (traced(variance) + eps) ** -0.5
    return h * parameters["weight"] + parameters["bias"] if affine else h


def weight_norm(xs, p, call):
    v = p["weight_v"]
    norms = (v * v).sum(0) ** 0.5
    return xs[0] @ (v / norms * p["weight_g"]) + p["bias"]


def spread(xs, p, call):
    """A factor and a shift for each of the columns that a feature stands for."""
    (x,) = xs
    copies = int(call.layer["values"][0])
    each = np.repeat(np.eye(x.shape[1]), copies, axis=1)
    return (x @ traced(each)) * p["weight"] + p["bias"]


def cosine(x, turned=0.0):
    """cos(2 pi x), the argument turned by so many radians: its derivative is turned by pi / 2."""
    value = np.cos(2 * np.pi * x.data + turned)
    return Traced(value, [(x, lambda g: g * 2 * np.pi * cosine(x, turned + np.pi / 2))])


def embedding(xs, p, call):
    """A row of the table, by a product with what is 1 at its code."""
    (x,) = xs
    codes = np.arange(int(call.layer["values"][0]))
    return traced(x.data == codes) @ p["weight"]


def sigmoid(x):
    return activation("sigmoid", (), x)


def tanh(x):
    return activation("tanh", (), x)


def rnn_step(x, product, state, call):
    function = "relu" if call.layer["values"][2] else "tanh"
    return (activation(function, (), x + product),)


def gru_step(x, product, state, call):
    h, units = state[0], state[0].shape[1]
    part = [slice(k * units, (k + 1) * units) for k in range(3)]
    r, z = (sigmoid(x[:, p] + product[:, p]) for p in part[:2])
    n = tanh(x[:, part[2]] + r * product[:, part[2]])
    return (n + z * (h - n),)


def lstm_step(x, product, state, call):
    h, c = state
    units = h.shape[1]
    a = [(x + product)[:, k * units : (k + 1) * units] for k in range(4)]
    i, f, g, o = sigmoid(a[0]), sigmoid(a[1]), tanh(a[2]), sigmoid(a[3])
    c = f * c + i * g
    return o * tanh(c), c


def recurrent(step, states):
    """A walk along the positions; those beyond an example's length leave its state as it is."""

    def formula(xs, p, call):
        n, (_, count, width) = call.examples, call.shapes[0]
        units = call.shape[-1]
        backward, last = call.layer["values"][:2]
        lengths = xs[1].data[:, 0] if len(xs) > 1 else np.full(n, count)
        x = xs[0].reshape(n, count, width)
        state = [traced(np.zeros((n, units)))] * states
        outputs = [None] * count
        for t in reversed(range(count)) if backward else range(count):
            exists = (t < lengths)[:, None].astype(np.float64)
            product = state[0] @ p["weight_hh"] + p["bias_hh"]
            new = step(x[:, t], product, state, call)
            state = [a * exists + b * (1 - exists) for a, b in zip(new, state, strict=True)]
            outputs[t] = state[0] * exists
        if last:
            return state[0]
        return concatenate(outputs).reshape(n * count, units)

    return formula


def recurrent_op(step, states, gates, numbers=(), more=()):
    """Its line: odd widths, whole panels, the ways back and the ends of examples with lengths."""
    cases = (
        (((1, 5, gates * 3),), {"values": (0, 0, *numbers), "units": 3}),
        (((1, 3, gates * 32), (1, 1, 1)), {"values": (1, 0, *numbers), "units": 32, "lengths": 1}),
        (((1, 4, gates * 20), (1, 1, 1)), {"values": (0, 1, *numbers), "units": 20, "lengths": 1}),
        (((1, 1, gates * 7),), {"values": (1, 1, *numbers), "units": 7}),
        *more,
    )
    return Op(
        recurrent(step, states),
        parameters=("weight_hh", "bias_hh"),
        matrix="weight_hh",
        inputs=(1, 2),
        exact=False,
        matrix_shape=lambda layer, shapes: (layer["units"], gates * layer["units"]),
        out_shape=lambda layer, shapes: (
            1,
            1 if layer["values"][1] else shapes[0][1],
            layer["units"],
        ),
        cases=cases,
    )


def attention(xs, p, call):
    """Head by head of each example; what is beyond a length is neither query nor key."""
    heads, causal, cross = map(int, call.layer["values"])
    units, count = call.shape[-1], positions(call.shape)
    most = positions(call.shapes[cross])
    lengths = xs[1 + cross].data[:, 0] if len(xs) > 1 + cross else [most] * call.examples
    width = units // heads
    outputs = traced(np.zeros((call.examples * count, units)))
    for e, h in itertools.product(range(call.examples), range(heads)):
        keys = int(np.clip(lengths[e], 0, most))
        queries = count if cross else keys
        if keys == 0:
            continue
        own = slice(e * count, e * count + queries), slice(h * width, (h + 1) * width)
        of_keys = slice(e * most, e * most + keys)
        k, v = (xs[cross][of_keys, (i - cross) * units + h * width :][:, :width] for i in (1, 2))
        scores = xs[0][own] @ k.T * (1 / np.sqrt(width))
        if causal:
            scores = scores + np.where(np.tri(queries, keys), 0, -np.inf)
        outputs = outputs + put(softmax(scores) @ v, own, outputs.shape)
    return outputs


def rotary(xs, p, call):
    """Every plane of a column of the first half of a head and of the second, turned."""
    (x,) = xs
    heads, count = map(int, call.layer["values"])
    half, columns = count // heads // 2, np.arange(x.shape[1])
    k = columns % half
    turn = np.arange(x.shape[0])[:, None] % positions(call.shape) * 10000.0 ** (-k / half)
    turn[:, count:] = 0
    is_second = columns // half % 2
    other = np.zeros((x.shape[1], x.shape[1]))
    for i in range(count):
        other[i - half if is_second[i] else i + half, i] = 1 if is_second[i] else -1
    return x * np.cos(turn) + x @ traced(other) * np.sin(turn)


def learned_positions(xs, p, call):
    each = np.tile(np.eye(positions(call.shape)), (call.examples, 1))
    return xs[0] + traced(each) @ p["weight"]


OPS = {
    "dense": Op(
        lambda xs, p, call: xs[0] @ p["weight"] + p["bias"],
        parameters=("weight", "bias"),
        matrix="weight",
        piecewise_linear=True,
    ),
    "gates": Op(
        lambda xs, p, call: xs[0] @ p["weight_ih"] + p["bias_ih"],
        parameters=("weight_ih", "bias_ih"),
        matrix="weight_ih",
        piecewise_linear=True,
    ),
    "convolution": Op(
        convolution,
        parameters=("weight", "bias"),
        matrix="weight",
        piecewise_linear=True,
        exact=False,
        out_shape=filtered,
        matrix_shape=lambda layer, shapes: (
            layer["values"][0] * layer["values"][1] * shapes[0][-1] // layer["values"][-1],
            layer["units"],
        ),
        cases=(
            (((4, 5, 3),), {"units": 6, "values": filter_of((3, 2), padding=(1, 1, 0, 1))}),
            (((5, 7, 2),), {"units": 18, "values": filter_of((3, 3), (2, 2), padding=(1,) * 4)}),
            (((1, 9, 17),), {"units": 36, "values": filter_of((1, 3), dilation=(1, 2))}),
            (
                ((3, 3, 2),),
                {"units": 3, "values": filter_of((3, 3), (1, 1), (1, 1), (1, 2, 2, 2), (2, 2))},
            ),
            (
                ((3, 4, 6),),
                {"units": 9, "values": filter_of((2, 2), padding=(1, 0, 1, 0), groups=3)},
            ),
            (((3, 5, 5),), {"units": 5, "values": filter_of((2, 3), (1, 2), groups=5)}),
        ),
    ),
    "weight_norm": Op(
        weight_norm,
        parameters=("weight_v", "bias", "weight_g"),
        matrix="weight_v",
        piecewise_linear=True,
        exact=False,
    ),
    "embedding": Op(
        embedding,
        values=(2,),
        parameters=("weight",),
        matrix="weight",
        codes=True,
        piecewise_linear=True,
        exact=False,
    ),
    "spread": Op(
        spread,
        values=(3,),
        parameters=("weight", "bias"),
        piecewise_linear=True,
    ),
    "cosine": Op(lambda xs, p, call: cosine(xs[0])),
    "softmax": Op(lambda xs, p, call: softmax(xs[0])),
    "add": Op(lambda xs, p, call: total(xs), inputs=(1, 2, 3), piecewise_linear=True),
    "multiply": Op(lambda xs, p, call: product(xs), inputs=(2,)),
    "concatenate": Op(lambda xs, p, call: concatenate(xs), inputs=(1, 2, 3), piecewise_linear=True),
    "slice": Op(slice_of, values=all_but_the_first, piecewise_linear=True),
    "dropout": Op(dropout, values=(0.3,), random=True, piecewise_linear=True),
    "gaussian_noise": Op(gaussian_noise, values=(0.4,), random=True, piecewise_linear=True),
    "scale": Op(
        lambda xs, p, call: xs[0] * p["weight"], parameters=("weight",), piecewise_linear=True
    ),
    "prelu": Op(prelu, parameters=("weight",), piecewise_linear=True),
    "layer_norm": Op(
        row_norm(lambda call: 1, lambda call: call.layer["values"][0]),
        values=(0.1, 1),
        parameters=("weight", "bias"),
        affine=1,
    ),
    "rms_norm": Op(
        row_norm(lambda call: 1, machine_eps, centred=False),
        values=(0.1, 1),
        parameters=("weight",),
        affine=1,
    ),
    "group_norm": Op(
        row_norm(lambda call: int(call.layer["values"][0]), lambda call: call.layer["values"][1]),
        values=(1, 0.1, 1),
        parameters=("weight", "bias"),
        affine=2,
    ),
    "batch_norm": Op(
        batch_norm,
        values=(0.1, 1.0, 0.3),
        parameters=("weight", "bias"),
        states=(
            ("running_mean", lambda rng, n: rng.standard_normal(n)),
            ("running_var", lambda rng, n: rng.uniform(0.5, 2, n)),
        ),
        affine=1,
        couples_rows=True,
        piecewise_linear=True,
        cases=((((2, 3, 5),), {}), (((1, 4, 40),), {})),
    ),
    "identity": Op(lambda xs, p, call: xs[0], piecewise_linear=True),
    "reshape": Op(
        reshape,
        piecewise_linear=True,
        out_shape=lambda layer, shapes: tuple(map(int, layer["values"])),
        cases=(
            (((2, 3, 4),), {"values": (1, 1, 24)}),
            (((1, 1, 40),), {"values": (2, 2, 10)}),
            (((2, 3, 6),), {"values": (1, 2, 18)}),
            (((1, 2, 35),), {"values": (5, 14, 1)}),
        ),
    ),
    "permute": Op(
        permute,
        piecewise_linear=True,
        out_shape=permuted,
        cases=tuple(
            (((2, 17, 3),), {"values": axes}) for axes in ((1, 0, 2), (2, 0, 1), (0, 2, 1))
        ),
    ),
    "max_pool": Op(largest, piecewise_linear=True, out_shape=pooled_shape, cases=IMAGES),
    "avg_pool": Op(
        average(mean_of_window),
        piecewise_linear=True,
        out_shape=pooled_shape,
        cases=tuple(
            (shapes, {"values": (*fields["values"], number % 2)})
            for number, (shapes, fields) in enumerate(IMAGES)
        ),
    ),
    "adaptive_max_pool": Op(largest, piecewise_linear=True, out_shape=pooled_shape, cases=ADAPTIVE),
    "adaptive_avg_pool": Op(
        average(mean_of_window), piecewise_linear=True, out_shape=pooled_shape, cases=ADAPTIVE
    ),
    "sum_positions": Op(
        average(lambda count, whole, call: 1),
        piecewise_linear=True,
        out_shape=one_position,
        cases=SETS,
    ),
    "mean_positions": Op(
        average(lambda count, whole, call: 1 / max(count, 1)),
        piecewise_linear=True,
        out_shape=one_position,
        cases=SETS,
    ),
    "max_positions": Op(largest, piecewise_linear=True, out_shape=one_position, cases=SETS),
    "augment": Op(
        augment,
        random=True,
        piecewise_linear=True,
        exact=False,
        out_shape=cropped,
        cases=(
            (((5, 6, 3),), {"values": (0, 0, 0, 1, 1, 0)}),
            (((4, 5, 34),), {"values": (0, 0, 2, 0, 0, 0)}),
            (((5, 7, 2),), {"values": (4, 3, 1, 0, 0, 0)}),
            (((1, 9, 2),), {"values": (0, 0, 1, 1, 1, 4)}),
        ),
    ),
    "rnn": recurrent_op(rnn_step, 1, 1, (0,), [(((1, 4, 6),), {"values": (0, 0, 1), "units": 6})]),
    "gru": recurrent_op(gru_step, 1, gates=3),
    "lstm": recurrent_op(lstm_step, 2, gates=4),
    "attention": Op(
        attention,
        inputs=(1, 2, 3),
        out_shape=lambda layer, shapes: (
            *shapes[0][:2],
            shapes[0][-1] // (1 if layer["values"][2] else 3),
        ),
        cases=(
            (((1, 5, 18),), {"values": (2, 0, 0)}),
            (((2, 3, 120),), {"values": (2, 1, 0)}),
            (((1, 4, 18), (1, 1, 1)), {"values": (3, 0, 0), "lengths": 1}),
            (((1, 3, 12), (1, 1, 1)), {"values": (2, 1, 0), "lengths": 1}),
            (((1, 3, 8), (1, 5, 16)), {"values": (2, 0, 1)}),
            (((1, 2, 6), (2, 2, 12), (1, 1, 1)), {"values": (1, 0, 1), "lengths": 1}),
        ),
    ),
    "rotary": Op(
        rotary,
        piecewise_linear=True,
        out_shape=lambda layer, shapes: shapes[0],
        cases=(
            (((1, 4, 10),), {"values": (1, 6)}),
            (((2, 3, 80),), {"values": (2, 80)}),
            (((1, 5, 40),), {"values": (4, 32)}),
        ),
    ),
    "positions": Op(
        learned_positions,
        parameters=("weight",),
        matrix="weight",
        piecewise_linear=True,
        exact=False,
        out_shape=lambda layer, shapes: shapes[0],
        matrix_shape=lambda layer, shapes: (positions(shapes[0]), shapes[0][-1]),
        cases=((((1, 4, 5),), {}), (((2, 3, 33),), {})),
    ),
}


# -------------------------------------------------------------------- ops that evaluate a block

TABLEAUS = {  # a, b, c
    "euler": ([[]], [1], [0]),
    "midpoint": ([[], [1 / 2]], [0, 1], [0, 1 / 2]),
    "rk4": (
        [[], [1 / 2], [0, 1 / 2], [0, 0, 1]],
        [1 / 6, 1 / 3, 1 / 3, 1 / 6],
        [0, 1 / 2, 1 / 2, 1],
    ),
    "dopri5": (
        [
            [],
            [1 / 5],
            [3 / 40, 9 / 40],
            [44 / 45, -56 / 15, 32 / 9],
            [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
            [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
        ],
        [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84],
        [0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1],
    ),
}
METHODS = tuple(TABLEAUS)


def neural_ode(xs, parameters, call):
    """Every step as a formula; their sizes are constants, which SciPy finds for each example."""
    method, start, stop, steps, rtol, atol, time, by_adjoint = call.layer["values"]
    a, b, c = TABLEAUS[METHODS[int(method)]]
    (y, *_), each = xs, positions(call.shape)

    def slope(t, y):
        column = [traced(np.broadcast_to(t, (y.shape[0], 1)))] * bool(time)
        return call.block(concatenate([y, *column]) if time else y)

    def sizes(move, state, start, stop):
        """Of the steps of all examples, of move(t, a part of the rows of the state)."""
        if METHODS[int(method)] != "dopri5":
            return np.full((int(steps), 1, 1), (stop - start) / steps)
        found = [
            steps_of_scipy(move, state[..., e * each : (e + 1) * each, :], start, stop, rtol, atol)
            for e in range(call.examples)
        ]
        count = max(map(len, found))
        found = np.array([[*own, *[0.0] * (count - len(own))] for own in found]).T
        return np.repeat(found, each, axis=1)[:, :, None]

    t = start
    for h in sizes(lambda t, y: slope(t, traced(y)).data, y.data, start, stop):
        slopes = []
        for row, part in zip(a, c, strict=True):
            moved = total([y, *(h * weight * k for weight, k in zip(row, slopes, strict=True))])
            slopes.append(slope(t + part * h, moved))
        y = total([y, *(h * weight * k for weight, k in zip(b, slopes, strict=True))])
        t = t + h
    if call.adjoint and by_adjoint:
        return with_adjoint(xs[0], y.data, slope, lambda *of: sizes(*of, stop, start), stop, call)
    return y


def with_adjoint(x, y, slope, sizes, stop, call):
    """y (rows, channels), with derivatives in x and in all parameters by the adjoint method."""
    a, b, c = TABLEAUS[METHODS[int(call.layer["values"][0])]]

    def both(t, state):
        y = Traced(state[0])
        out = slope(t, y)
        return np.stack([out.data, -derivatives(out, [y], state[1])[0].data])

    def solve(v):
        unit = np.sqrt((v.reshape(call.examples, -1) ** 2).mean(axis=1))
        unit = np.where(unit > 0, unit, 1).repeat(positions(call.shape))[:, None]
        state, t = np.stack([y, v]), stop
        gradients = [np.zeros(p.shape) for p in call.parameters]
        for h in sizes(both, np.stack([y, v / unit])):
            slopes = []
            for row, part, weight in zip(a, c, b, strict=True):
                at = sum((h * w * k for w, k in zip(row, slopes, strict=True)), state)
                slopes.append(both(t + part * h, at))
                out = slope(t + part * h, Traced(at[0]))
                terms = derivatives(out, list(call.parameters), -h * weight * at[1])
                gradients = [g + term.data for g, term in zip(gradients, terms, strict=True)]
            state = sum((h * w * k for w, k in zip(b, slopes, strict=True)), state)
            t = t + h
        return [state[1], *gradients]

    found = {}  # {id of what comes back: it, and the derivatives}

    def pull(i, g):
        if id(g) not in found:
            found[id(g)] = (g, solve(g.data))
        return Traced(found[id(g)][1][i])

    sources = enumerate([x, *call.parameters])
    return Traced(y, [(source, lambda g, i=i: pull(i, g)) for i, source in sources])


def steps_of_scipy(move, y, start, stop, rtol, atol):
    """The sizes of the steps that SciPy's RK45 accepts for one example."""
    from scipy.integrate import RK45

    solver = RK45(
        lambda t, z: move(t, z.reshape(y.shape)).ravel(),
        start,
        y.ravel(),
        stop,
        rtol=rtol,
        atol=atol,
    )
    times = [start]
    while solver.status == "running":
        assert solver.step() is None
        times.append(solver.t)
    return np.diff(times)


def equilibrium(xs, parameters, call):
    """So many iterations that the rest is nothing, where the block draws points together."""
    z = traced(np.zeros((xs[0].shape[0], call.shape[-1])))
    for _ in range(40):
        z = call.block(concatenate([z, xs[0]]))
    return z


# By the core's kinds, as OPS: what tests/test_implicit.py tests.
BLOCKS = {
    "evaluation": Op(
        lambda xs, p, call: xs[0],
        exact=False,
        out_shape=lambda layer, shapes: (*shapes[0][:2], layer["units"]),
    ),
    "neural_ode": Op(neural_ode, exact=False, out_shape=lambda layer, shapes: shapes[0]),
    "equilibrium": Op(equilibrium, exact=False, out_shape=lambda layer, shapes: shapes[1]),
}
ALL = OPS | BLOCKS

BY_ROWS = [kind for kind in OPS if OPS[kind].out_shape is None]


# ----------------------------------------------------------------------------------------- networks


def positions(shape):
    return shape[0] * shape[1]


@dataclass
class Graph:
    """The same network as the core's; functions of flat parameters (n,) and inputs X (rows, in)."""

    in_features: int
    layers: list
    training: bool = False
    seed: int = 0
    step: int = 0
    dtype: str = "float64"
    state: np.ndarray | None = None  # (n_state,) float64
    slots: list = field(default_factory=list)  # (layer, name, offset, shape)
    state_slots: list = field(default_factory=list)

    def __post_init__(self):
        shapes, at, at_state = [(1, 1, self.in_features)], 0, 0
        for i, layer in enumerate(self.layers):
            into = [shapes[k] for k in self.inputs(i)]
            op = ALL.get(layer["kind"])
            shapes.append(self._shape(op, layer, into))
            if op is not None and "shares" not in layer:
                for name in self.names(i):
                    shape = op.parameter_shape(name, layer, into, shapes[-1])
                    self.slots.append((i, name, at, shape))
                    at += int(np.prod(shape))
            for name, _ in op.states if op is not None else ():
                self.state_slots.append((i, name, at_state, shapes[-1][-1:]))
                at_state += shapes[-1][-1]
        self.n_parameters, self.n_state, self.shapes = at, at_state, shapes
        self.widths = [shape[-1] for shape in shapes]
        self.out_features = self.widths[-1]
        self.out_positions = positions(shapes[-1])

    @staticmethod
    def _shape(op, layer, into):
        if op is not None and op.out_shape is not None:
            return op.out_shape(layer, into)
        channels = layer["units"] if op is not None and op.matrix else into[0][-1]
        if layer["kind"] == "spread":
            channels *= int(layer["values"][0])
        if layer["kind"] == "slice":
            channels = int(layer["values"][1])
        if layer["kind"] == "concatenate":
            channels = sum(shape[-1] for shape in into)
        return (*into[0][:2], channels)

    def inputs(self, i):
        return self.layers[i].get("inputs", [i])

    def names(self, i):
        """Of what a layer learns."""
        op, values = ALL[self.layers[i]["kind"]], self.layers[i].get("values", ())
        return op.parameters if op.affine is None or values[op.affine] else ()

    def is_trained(self):
        """Of each parameter, (n,) bools."""
        trained = np.ones(self.n_parameters, bool)
        for i, _, offset, shape in self.slots:
            trained[offset : offset + int(np.prod(shape))] = self.layers[i].get("trainable", True)
        return trained

    def values(self, parameters, X, adjoint=False):
        """Input and output of every layer, of Traced flat parameters and inputs."""
        own = {}
        for i, name, offset, shape in self.slots:
            part = parameters[offset : offset + int(np.prod(shape))]
            own.setdefault(i, {})[name] = part.reshape(*shape)
        values = [X] + [None] * len(self.layers)
        self._compute(range(len(self.layers)), values, own, adjoint)
        return values

    def _compute(self, layers, values, own, adjoint):
        """Fill in what some of the layers put out."""
        i = layers.start
        while i < layers.stop:
            if self.layers[i]["kind"] == "evaluation":
                first, i = i, next(j for j in layers if j > i and self.layers[j]["kind"] in BLOCKS)

                def block(state, first=first, end=i):
                    within = list(values)
                    within[first + 1] = state
                    self._compute(range(first + 1, end), within, own, adjoint)
                    return within[self.inputs(end)[1]]

                values[i + 1] = self._put_out(i, values, own, adjoint, block)
            else:
                values[i + 1] = self._put_out(i, values, own, adjoint)
            i += 1

    def _put_out(self, i, values, own, adjoint, block=None):
        layer = self.layers[i]
        xs = [values[k] for k in self.inputs(i)]
        op = ALL.get(layer["kind"])
        if op is None:
            return activation(layer["kind"], layer.get("values", ()), xs[0])
        state = [
            self.state[offset : offset + shape[0]]
            for j, _, offset, shape in self.state_slots
            if j == i
        ]
        run = (self.training, self.seed, self.step, self.dtype)
        before = [ALL[each["kind"]] for each in self.layers[:i] if each["kind"] in ALL]
        random = sum(each.random for each in before)
        shapes = tuple(self.shapes[k] for k in self.inputs(i))
        examples = values[0].shape[0]
        parameters = tuple(each for names in own.values() for each in names.values())
        shape = self.shapes[i + 1]
        evaluates = (block, parameters, adjoint)
        call = Call(layer, *run, random, state, examples, shapes, shape, *evaluates)
        return op.formula(xs, own.get(layer.get("shares", i), {}), call)

    def traced(self, parameters, X, adjoint=False):
        """(parameters, inputs, outputs), traced; `adjoint`: with the core's gradients."""
        parameters, X = Traced(parameters), Traced(X)
        return parameters, X, self.values(parameters, X, adjoint)[-1]

    def forward(self, parameters, X):
        return self.traced(parameters, X)[2].data

    def _trained(self, gradient):
        return np.where(self.is_trained(), gradient, 0.0)

    def vjp(self, parameters, X, dout, adjoint=True):
        """(in the parameters, in X)"""
        p, x, out = self.traced(parameters, X, adjoint)
        dparameters, dx = derivatives(out, [p, x], dout)
        return self._trained(dparameters.data), dx.data

    def jvp(self, parameters, v, X):
        """(out, dout): the derivative of u' J v in u."""
        p, _, out = self.traced(parameters, X)
        u = Traced(np.zeros(out.shape))
        (pulled,) = derivatives(out, [p], u)
        (dout,) = derivatives(pulled, [u], self._trained(v))
        return out.data, dout.data

    def loss_and_grad(self, parameters, X, y, loss, weights=None):
        out = self.forward(parameters, X)
        dout = oracle.loss_gradient(out, y, loss, weights)
        return oracle.loss_value(out, y, loss, weights), self.vjp(parameters, X, dout)[0]

    def gauss_newton_product(self, parameters, v, X, y, loss, weights=None):
        out, dout = self.jvp(parameters, v, X)
        curved = oracle.loss_hvp(out, dout, y, loss, weights)
        return self.vjp(parameters, X, curved, adjoint=False)[0]

    def hvp(self, parameters, v, X, y, loss, weights=None):
        """What the loss and what the network curves."""
        p, _, out = self.traced(parameters, X)
        (gradient,) = derivatives(out, [p], oracle.loss_gradient(out.data, y, loss, weights))
        (second,) = derivatives(gradient, [p], self._trained(v))
        first = self.gauss_newton_product(parameters, v, X, y, loss, weights)
        return first + self._trained(second.data)

    def jacobian(self, parameters, X):
        """(rows, out, n)"""
        p, _, out = self.traced(parameters, X)
        jacobian = np.empty((*out.shape, self.n_parameters))
        for place in np.ndindex(out.shape):
            seed = np.zeros(out.shape)
            seed[place] = 1
            jacobian[place] = self._trained(derivatives(out, [p], seed)[0].data)
        return jacobian
