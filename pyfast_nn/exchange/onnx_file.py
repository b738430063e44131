"""A model as a file of ONNX: the places of its graph become nodes, each layer by a rule of its own.

Numbers are exact: what ONNX would keep as an attribute of float32 stands as a tensor of the model's
dtype, and what ONNX Runtime computes of float32 only is made of what it computes of float64, too.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import atomic, intake
from ..engine import Engine
from ..graph import Place
from ..inputs import InputLayer
from ..labels import are_columns
from ..losses import Loss
from ..runtime import build_config
from ..typing import Path
from . import onnx_inputs

OPSET, IR_VERSION = 17, 8  # of 2022: ONNX Runtime 1.12, for one
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(26)


def save(engine: Engine, path: Path, loss: Loss) -> None:
    """Write a model to `path`, see `Sequential.to_onnx`."""
    import json

    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            f"to_onnx: needs onnx: pip install 'pyfast-nn[onnx]' ({error})", name=error.name
        ) from None

    network = engine.network()
    intake.check_one_length(engine, "to_onnx")
    intake.check_learned(engine)
    graph = _Graph(onnx, engine.dtype)
    outputs = _outputs(graph, engine, loss, _network(graph, engine))
    value = onnx.helper.make_tensor_value_info
    inputs = [value("X", graph.element_type(engine.dtype), ["n", network.in_features])]
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            "pyfast_nn",
            inputs,
            [value(name, kind, ["n", *shape]) for name, kind, shape in outputs],
            graph.tensors,
        ),
        producer_name="pyfast_nn",
        producer_version=str(build_config()["version"]),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    known = {"feature_names": engine.feature_names_in_, "classes": engine.classes_}
    told = {
        name: json.dumps(list(each.tolist())) for name, each in known.items() if each is not None
    }
    onnx.helper.set_model_props(proto, told)
    onnx.checker.check_model(proto, full_check=True)
    atomic.replace(path, proto.SerializeToString())


class _Graph:
    """Nodes and tensors of a graph of ONNX, as they are added."""

    def __init__(self, onnx: Any, dtype: np.dtype[Any]) -> None:
        self._onnx = onnx
        self.dtype = dtype
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []
        self.path = ""  # of the layer whose nodes are added: their names begin with it
        # {path of a recurrent layer: what it reads, and what that is multiplied by}
        self.arguments: dict[str, tuple[str, str, str]] = {}
        self._names: set[str] = {"X"}

    def element_type(self, dtype: Any) -> int:
        """Return the number that ONNX has for a dtype."""
        number: int = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return number

    def _new(self, name: str) -> str:
        number = 0
        while (unique := name if number == 0 else f"{name}_{number}") in self._names:
            number += 1
        self._names.add(unique)
        return unique

    def tensor(self, value: Any, name: str | None = None, dtype: Any = None) -> str:
        """Add a constant, of the model's dtype unless another is given; return its name."""
        name = self._new(f"{self.path}/constant" if name is None else name)
        array = np.ascontiguousarray(value, self.dtype if dtype is None else dtype)
        array = array.reshape(np.shape(value))  # of a number as well
        self.tensors.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def node(self, op: str, *inputs: Any, name: str | None = None, **attributes: Any) -> str:
        """Add a node; return its output. Inputs are names, or numbers of the model's dtype."""
        names = [each if isinstance(each, str) else self.tensor(each) for each in inputs]
        output = self._new(f"{self.path}/{op}" if name is None else name)
        node = self._onnx.helper.make_node(op, names, [output], name=output, **attributes)
        self.nodes.append(node)
        return output

    def cast(self, x: str, dtype: Any, name: str | None = None) -> str:
        """Add a conversion to a dtype."""
        return self.node("Cast", x, to=self.element_type(dtype), name=name)


def _network(graph: _Graph, engine: Engine) -> str:
    """Add all layers; return the name of the outputs."""
    learned: dict[str, Any] = engine.named_parameters()
    parameters = {name: graph.tensor(view, name) for name, view in learned.items()}
    places = engine.graph.places
    values = ["X"]
    count = sum(isinstance(place.layer, InputLayer) for place in places)
    if count and engine.dtype != np.float64:  # in which input layers are computed
        values = [graph.cast("X", np.float64)]
    for number, place in enumerate(places):
        owner = places[place.shares].path if place.shares >= 0 else place.path
        names = place.layer.parameter_shapes(place.in_features)
        state = {
            name: engine.named_state()[f"{place.path}.{name}"] for name in place.layer.initial_state
        }
        own = {name: parameters[f"{owner}.{name}"] for name in names} | state
        inputs = [values[each] for each in place.inputs]
        graph.path = place.path
        try:
            rule = RULES[place.kind]
        except KeyError:
            raise NotImplementedError(
                f"layers[{place.path}]: expected a layer that ONNX has, or that is made of such, "
                f"got {place.layer!r}; model[:i] without it can be written"
            ) from None
        value = rule(graph, inputs, place, own)
        if number == count - 1 and engine.dtype != np.float64:
            value = graph.cast(value, engine.dtype)
        values.append(value)
    graph.path = "outputs"
    return values[-1]


def _outputs(
    graph: _Graph, engine: Engine, loss: Loss, out: str
) -> list[tuple[str, int, list[int]]]:
    """Add what the loss makes of outputs; return (name, type, shape of a row) of each."""
    number = graph.element_type(graph.dtype)
    width = engine.network().out_features
    if not loss.gives_labels:
        if engine.standardize_targets:
            intake.check_targets_known(engine)
            product = graph.node("Mul", out, graph.tensor(engine.target_std))
            out = graph.node("Add", product, graph.tensor(engine.target_mean))
        link = {"identity": "Identity", "exp": "Exp"}[loss.link]
        graph.node(link, out, name="variable")
        return [("variable", number, [width])]
    names = intake.labels(loss, width, engine.classes_)
    names = np.array(loss.codes) if names is None else names
    if loss.task == "classes":
        place, scores = graph.node("ArgMax", out, axis=1, keepdims=0), out
    else:
        column = out if width > 1 else graph.node("Squeeze", out, graph.tensor([1], dtype=np.int64))
        place = graph.cast(graph.node("Greater", column, 0.0), np.int64)
        both = [graph.node("Neg", out), out]
        scores = out if width > 1 else graph.node("Concat", *both, axis=1)
    is_text = names.dtype.kind == "U"
    if are_columns(names):
        graph.node("Identity", place, name="label")
    else:
        table = graph.tensor(names, "classes", object if is_text else np.int64)
        graph.node("Gather", table, place, name="label")
    link = {"softmax": "Softmax", "sigmoid": "Sigmoid", "identity": "Identity"}[loss.link]
    along = {"axis": 1} if link == "Softmax" else {}
    graph.node(link, scores, name="probabilities", **along)
    several = loss.task == "binary" and width > 1
    label = graph.element_type(object) if is_text else graph.element_type(np.int64)
    return [
        ("label", label, [width] if several else []),
        ("probabilities", number, [max(width, 2)]),
    ]


# ---------------------------------------------------------------------- a rule for each layer

# (graph, names of inputs, place, {name: what the layer has learned}) -> name of the output.
# Parameters come as names of tensors, what the layer keeps besides as arrays of float64.
_Rule = Callable[[_Graph, list[str], Place, dict[str, Any]], str]


def _op(op: str, **attributes: Any) -> _Rule:
    """Return the rule of a layer that is one node."""
    return lambda graph, xs, place, own: graph.node(op, *xs, name=place.path, **attributes)


def _slice(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    first = place.layer.first
    ends = [graph.tensor([each], dtype=np.int64) for each in (first, first + place.features, 1)]
    return graph.node("Slice", *xs, *ends)


def _reshape(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    shape = graph.tensor([0, *place.shape], dtype=np.int64)  # 0: as many as there are
    return graph.node("Reshape", *xs, shape, name=place.path)


def _permute(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    return graph.node("Transpose", *xs, perm=[0, *place.layer.dims], name=place.path)


def _over_positions(op: str) -> _Rule:
    """Return the rule of what is one node over all positions."""

    def rule(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
        axes = list(range(1, len(place.in_shape)))
        if op == "ReduceSum":  # which takes them as a tensor
            xs = [*xs, graph.tensor(axes, dtype=np.int64)]
            return graph.node(op, *xs, keepdims=0, name=place.path)
        return graph.node(op, *xs, axes=axes, keepdims=0, name=place.path)

    return rule


def _slice_along(graph: _Graph, x: str, ranges: dict[int, tuple[int, int, int]]) -> str:
    """Add a slice: {axis: (first, end, step)}."""
    first, end, step = (list(each) for each in zip(*ranges.values(), strict=True))
    ends = [graph.tensor(each, dtype=np.int64) for each in (first, end, [*ranges], step)]
    return graph.node("Slice", x, *ends)


def _augment(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    """The part in the middle."""
    (x,), shape = xs, place.in_shape
    around = [(0, 0), *place.layer.padding_at_rest(shape), (0, 0)]
    if any(max(pair) > 0 for pair in around):
        pads = np.maximum(around, 0).T.ravel()
        x = graph.node("Pad", x, graph.tensor(pads, dtype=np.int64))
    cut = {
        axis: (-min(before, 0), -min(before, 0) + place.shape[axis - 1], 1)
        for axis, (before, after) in enumerate(around)
        if min(before, after) < 0
    }
    return graph.node("Identity", _slice_along(graph, x, cut) if cut else x, name=place.path)


def _convolution(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    """Of an image in zeros: the node of ONNX, or of float64 a sum over taps of products."""
    (x,), values = xs, [int(value) for value in place.layer.values]
    kernel, stride, dilation, spacing = (values[i : i + 2] for i in (0, 2, 4, 10))
    around, groups = np.reshape(values[6:10], (2, 2)), values[-1]
    *sizes, channels = (1, *place.in_shape)[-3:]
    *counts, out = (1, *place.shape)[-3:]
    depth = channels // groups

    def shaped(x: str, *shape: int) -> str:
        return graph.node("Reshape", x, graph.tensor(shape, dtype=np.int64))

    def padded(x: str, before: list[int], after: list[int]) -> str:
        return graph.node("Pad", x, graph.tensor([*before, *after], dtype=np.int64))

    x = shaped(x, 0, sizes[0], 1, sizes[1], 1, channels)  # 0: as many as there are
    x = padded(x, [0] * 6, [0, 0, spacing[0] - 1, 0, spacing[1] - 1, 0])
    x = shaped(x, 0, sizes[0] * spacing[0], sizes[1] * spacing[1], channels)
    x = _slice_along(graph, x, {i + 1: (0, (sizes[i] - 1) * spacing[i] + 1, 1) for i in range(2)})
    x = padded(x, [0, *around[:, 0], 0], [0, *around[:, 1], 0])
    if graph.dtype == np.float32:
        weight = shaped(own["weight"], *kernel, depth, out)
        weight = graph.node("Transpose", weight, perm=[3, 2, 0, 1])
        x = graph.node("Transpose", x, perm=[0, 3, 1, 2])
        steps: dict[str, Any] = {"strides": stride, "dilations": dilation, "group": groups}
        x = graph.node("Conv", x, weight, own["bias"], **steps)
        x = graph.node("Transpose", x, perm=[0, 2, 3, 1])
        return shaped(x, 0, *place.shape)
    weight, each, parts = shaped(own["weight"], -1, out), out // groups, []
    for group in range(groups):
        terms = []
        for tap, at in enumerate(np.ndindex(*kernel)):
            first = np.multiply(at, dilation).tolist()
            under: dict[int, tuple[int, int, int]] = {
                i + 1: (first[i], first[i] + (counts[i] - 1) * stride[i] + 1, stride[i])
                for i in range(2)
            }
            under[3] = (group * depth, (group + 1) * depth, 1)
            of_tap = {
                0: (tap * depth, (tap + 1) * depth, 1),
                1: (group * each, (group + 1) * each, 1),
            }
            rows = _slice_along(graph, weight, of_tap)
            terms.append(graph.node("MatMul", _slice_along(graph, x, under), rows))
        parts.append(graph.node("Sum", *terms))
    x = graph.node("Add", graph.node("Concat", *parts, axis=3), own["bias"])
    return shaped(x, 0, *place.shape)


def _windows(place: Place) -> list[list[tuple[int, int, int]]]:
    """Return of each axis (first position, last and one, how many with those outside)."""
    sizes, counts = place.in_shape[:-1], place.shape[:-1]
    if place.kind.startswith("adaptive"):
        pairs = zip(sizes, counts, strict=True)
        each = [[(k * n // m, -(-(k + 1) * n // m)) for k in range(m)] for n, m in pairs]
        return [[(begin, end, end - begin) for begin, end in axis] for axis in each]
    axes = len(sizes)
    numbers = np.reshape(place.layer.values[:6], (3, 2)).astype(int)[:, 2 - axes :]
    return [
        [(max(k * stride - pad, 0), min(k * stride - pad + kernel, n), kernel) for k in range(m)]
        for n, m, kernel, stride, pad in zip(sizes, counts, *numbers, strict=True)
    ]


def _avg_pool(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    """A product along each axis, as ONNX Runtime has no average pooling of float64."""
    (x,), shape = xs, list(place.in_shape)
    outside = getattr(place.layer, "count_include_pad", False)
    for axis, windows in enumerate(_windows(place)):
        matrix = np.zeros((len(windows), shape[axis]))
        for row, (begin, end, whole) in zip(matrix, windows, strict=True):
            row[begin:end] = 1 / (whole if outside else end - begin)
        rows = [0, *shape[:axis], shape[axis], -1]
        x = graph.node("Reshape", x, graph.tensor(rows, dtype=np.int64))
        x = graph.node("MatMul", matrix, x)
        shape[axis] = len(windows)
        x = graph.node("Reshape", x, graph.tensor([0, *shape], dtype=np.int64))
    return x


def _max_pool(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    """Along one axis after the other, as windows of different sizes need."""
    (x,) = xs
    if place.kind == "max_pool":
        image = [0, *(1,) * (3 - len(place.in_shape)), *place.in_shape]  # 0: as many as there are
        x = graph.node("Reshape", x, graph.tensor(image, dtype=np.int64))
        x = graph.node("Transpose", x, perm=[0, 3, 1, 2])
        kernel, strides, pads = np.reshape(place.layer.values, (3, 2)).astype(int).tolist()
        around = graph.tensor([0, 0, *pads] * 2, dtype=np.int64)
        x = graph.node("Pad", x, around, -np.inf)
        x = graph.node("MaxPool", x, kernel_shape=kernel, strides=strides)
        x = graph.node("Transpose", x, perm=[0, 2, 3, 1])
        out = graph.tensor([0, *place.shape], dtype=np.int64)
        return graph.node("Reshape", x, out, name=place.path)
    for axis, windows in enumerate(_windows(place), start=1):
        parts = []
        for begin, end, _ in windows:
            ends = [graph.tensor([each], dtype=np.int64) for each in (begin, end, axis)]
            parts.append(graph.node("ReduceMax", graph.node("Slice", x, *ends), axes=[axis]))
        x = graph.node("Concat", *parts, axis=axis)
    return x


def _dense(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    if len(place.shape) > 1:
        product = graph.node("MatMul", *xs, own["weight"])
        return graph.node("Add", product, own["bias"], name=place.path)
    return graph.node("Gemm", *xs, own["weight"], own["bias"], name=place.path)


def _gates(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    """What a recurrent node computes itself."""
    graph.arguments[place.path] = (*xs, own["weight_ih"], own["bias_ih"])
    return xs[0]


# Names of recurrent nodes, and which of our gates come first, second, ... in theirs.
_RECURRENT = {"rnn": ("RNN", [0]), "gru": ("GRU", [1, 0, 2]), "lstm": ("LSTM", [0, 3, 1, 2])}


def _recurrent(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    """Positions stand in front of examples there; the second direction has them turned around."""
    if len(xs) > 1:
        raise NotImplementedError(
            f"layers[{place.path}]: expected examples without lengths, of which a file would know "
            "nothing, got some with them"
        )
    if graph.dtype != np.float32:
        return _unrolled(graph, place, own)
    op, order = _RECURRENT[place.kind]
    units, (positions, _) = place.features, place.in_shape
    backward, last = place.layer.values[:2]
    x, weight, bias = graph.arguments[place.path]
    rows = graph.tensor(
        np.concatenate([np.arange(k * units, (k + 1) * units) for k in order]), dtype=np.int64
    )
    zero, one = (graph.tensor([each], dtype=np.int64) for each in (0, 1))

    def by_gates(name: str) -> str:
        return graph.node("Gather", name, rows, axis=0)

    def turned(name: str) -> str:
        if not backward:
            return name
        ends = [graph.tensor([each], dtype=np.int64) for each in (-1, -positions - 1, 0, -1)]
        return graph.node("Slice", name, *ends)

    matrices = [
        graph.node("Unsqueeze", by_gates(graph.node("Transpose", each)), zero)
        for each in (weight, own["weight_hh"])
    ]
    biases = graph.node("Concat", by_gates(bias), by_gates(own["bias_hh"]), axis=0)
    options: dict[str, Any] = {"hidden_size": units}
    if op == "GRU":
        options["linear_before_reset"] = 1
    if op == "RNN":
        options["activations"] = ["Relu" if place.layer.values[2] else "Tanh"]
    x = turned(graph.node("Transpose", x, perm=[1, 0, 2]))
    h = graph.node(op, x, *matrices, graph.node("Unsqueeze", biases, zero), **options)
    h = graph.node("Squeeze", h, one)
    if last:
        end = graph.tensor(positions - 1, dtype=np.int64)
        return graph.node("Gather", h, end, axis=0, name=f"{place.path}/last")
    return graph.node("Transpose", turned(h), perm=[1, 0, 2], name=f"{place.path}/all")


def _unrolled(graph: _Graph, place: Place, own: dict[str, Any]) -> str:
    """Each step by itself, as ONNX Runtime has no recurrent nodes of float64."""
    units, (positions, _) = place.features, place.in_shape
    backward, last = place.layer.values[:2]
    x, weight, bias = graph.arguments[place.path]
    arguments = graph.node("Add", graph.node("MatMul", x, weight), bias)
    ends = [graph.tensor([k * units], dtype=np.int64) for k in range(5)]
    one = graph.tensor([1], dtype=np.int64)

    def at(t: int) -> str:
        return graph.node("Gather", arguments, graph.tensor(t, dtype=np.int64), axis=1)

    def part(name: str, k: int) -> str:
        return graph.node("Slice", name, ends[k], ends[k + 1], one)

    def sigmoid(name: str, k: int) -> str:
        return graph.node("Sigmoid", part(name, k))

    h = c = graph.node("MatMul", at(0), np.zeros((place.in_shape[-1], units)))
    outputs = [""] * positions
    for t in reversed(range(positions)) if backward else range(positions):
        p, q = at(t), graph.node("Add", graph.node("MatMul", h, own["weight_hh"]), own["bias_hh"])
        total = graph.node("Add", p, q)
        if place.kind == "rnn":
            h = graph.node("Relu" if place.layer.values[2] else "Tanh", total)
        elif place.kind == "gru":
            r, z = sigmoid(total, 0), sigmoid(total, 1)
            product = graph.node("Mul", r, part(q, 2))
            n = graph.node("Tanh", graph.node("Add", part(p, 2), product))
            h = graph.node("Add", n, graph.node("Mul", z, graph.node("Sub", h, n)))
        else:
            news = graph.node("Mul", sigmoid(total, 0), graph.node("Tanh", part(total, 2)))
            c = graph.node("Add", graph.node("Mul", sigmoid(total, 1), c), news)
            h = graph.node("Mul", sigmoid(total, 3), graph.node("Tanh", c))
        outputs[t] = h
    if last:
        return h
    return graph.node("Concat", *[graph.node("Unsqueeze", each, one) for each in outputs], axis=1)


def _weight_norm(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    v, first = own["weight_v"], graph.tensor([0], dtype=np.int64)
    norms = graph.node("Sqrt", graph.node("ReduceSum", graph.node("Mul", v, v), first))
    weight = graph.node("Mul", v, graph.node("Div", own["weight_g"], norms))
    return graph.node("Gemm", *xs, weight, own["bias"], name=place.path)


def _scale(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    return graph.node("Mul", *xs, own["weight"], name=place.path)


def _prelu(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    return graph.node("PRelu", *xs, own["weight"], name=place.path)


def _leaky_relu(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    return graph.node("PRelu", *xs, [place.layer.negative_slope], name=place.path)


def _elu(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    if graph.dtype == np.float32:
        return graph.node("Elu", *xs, alpha=place.layer.alpha, name=place.path)
    # exp(x) - 1 = 2 t / (1 - t) with t = tanh(x / 2), which loses no digits near 0.
    below = graph.node("Min", *xs, 0.0)
    t = graph.node("Tanh", graph.node("Mul", below, 0.5))
    rest = graph.node("Sub", 1.0, t)
    less = graph.node("Div", graph.node("Mul", t, 2.0 * place.layer.alpha), rest)
    return graph.node("Add", graph.node("Max", *xs, 0.0), less, name=place.path)


def _softplus(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    beta = place.layer.beta
    bx = graph.node("Mul", *xs, beta)
    if graph.dtype == np.float32:
        return graph.node("Div", graph.node("Softplus", bx), beta, name=place.path)
    small = graph.node("Exp", graph.node("Neg", graph.node("Abs", bx)))
    log = graph.node("Log", graph.node("Add", small, 1.0))
    total = graph.node("Add", graph.node("Max", bx, 0.0), log)
    return graph.node("Div", total, beta, name=place.path)


def _gelu(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    scaled = graph.node("Mul", *xs, np.sqrt(0.5))
    erf = graph.node("Erf", scaled) if graph.dtype == np.float32 else _erf(graph, scaled)
    half = graph.node("Mul", graph.node("Add", erf, 1.0), 0.5)
    return graph.node("Mul", *xs, half, name=place.path)


def _erf(graph: _Graph, x: str) -> str:
    """Gauss and Legendre's sum for 2 / sqrt(pi) x times the integral of exp(-(x t)^2) to t = 1.

    Within 3e-15 of erf.
    """
    far = graph.node("Greater", graph.node("Abs", x), 6.0)  # where erf rounds to -1 and 1
    near = graph.node("Clip", x, -6.0, 6.0)
    square = graph.node("Neg", graph.node("Mul", near, near))
    terms = graph.node("Unsqueeze", square, graph.tensor([-1], dtype=np.int64))
    terms = graph.node("Exp", graph.node("Mul", terms, ((_NODES + 1) / 2) ** 2))
    near = graph.node("Mul", near, graph.node("MatMul", terms, _WEIGHTS / np.sqrt(np.pi)))
    return graph.node("Where", far, graph.node("Sign", x), near)


def _gelu_tanh(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    cube = graph.node("Mul", graph.node("Mul", *xs, *xs), *xs)
    inner = graph.node("Add", *xs, graph.node("Mul", cube, 0.044715))
    tanh = graph.node("Tanh", graph.node("Mul", inner, np.sqrt(2 / np.pi)))
    half = graph.node("Mul", graph.node("Add", tanh, 1.0), 0.5)
    return graph.node("Mul", *xs, half, name=place.path)


def _silu(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    return graph.node("Mul", *xs, graph.node("Sigmoid", *xs), name=place.path)


def _hardtanh(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    return graph.node("Clip", *xs, place.layer.min_val, place.layer.max_val, name=place.path)


def _step(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    return graph.cast(graph.node("Greater", *xs, 0.0), graph.dtype, name=place.path)


def _row_norm(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    """LayerNorm, RMSNorm and GroupNorm."""
    (x,), layer = xs, place.layer
    eps = float(np.finfo(graph.dtype).eps) if layer.eps is None else layer.eps
    groups = getattr(layer, "groups", 1)
    if groups > 1:
        parts = [0, groups, place.features // groups]  # 0: as many as there are
        x = graph.node("Reshape", x, graph.tensor(parts, dtype=np.int64))
    if place.kind != "rms_norm":
        x = graph.node("Sub", x, graph.node("ReduceMean", x, axes=[-1]))
    variance = graph.node("ReduceMean", graph.node("Mul", x, x), axes=[-1])
    x = graph.node("Div", x, graph.node("Sqrt", graph.node("Add", variance, eps)))
    if groups > 1:
        x = graph.node("Reshape", x, graph.tensor([0, place.features], dtype=np.int64))
    return _affine(graph, x, place, own)


def _batch_norm(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    deviation = np.sqrt(own["running_var"] + place.layer.eps)
    x = graph.node("Div", graph.node("Sub", *xs, own["running_mean"]), deviation)
    return _affine(graph, x, place, own)


def _affine(graph: _Graph, x: str, place: Place, own: dict[str, Any]) -> str:
    """What a norm has learned of each feature."""
    for op, name in (("Mul", "weight"), ("Add", "bias")):
        x = graph.node(op, x, own[name]) if name in own else x
    return x


def _spread(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    """A factor and a shift for each of the columns that a feature stands for."""
    each = place.layer.n_frequencies
    apart = graph.node("Unsqueeze", *xs, graph.tensor([2], dtype=np.int64))
    parts = graph.tensor([place.in_features, each], dtype=np.int64)
    weight, bias = (graph.node("Reshape", own[name], parts) for name in ("weight", "bias"))
    waves = graph.node("Add", graph.node("Mul", apart, weight), bias)
    width = graph.tensor([0, place.features], dtype=np.int64)  # 0: as many as there are
    return graph.node("Reshape", waves, width)


def _cosine(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    """cos(2 pi x) less whole turns, which float32 would lose digits of.

    As the sine of what is missing to a quarter, where ONNX Runtime has no cosine of float64.
    """
    part = graph.node("Abs", graph.node("Sub", *xs, graph.node("Round", *xs)))
    if graph.dtype == np.float32:
        return graph.node("Cos", graph.node("Mul", part, 2 * np.pi))
    return graph.node("Sin", graph.node("Mul", graph.node("Sub", 0.25, part), 2 * np.pi))


def _embedding(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    """Row n_categories, of zeros, is that of whatever is no code."""
    n = place.layer.n_categories
    code = graph.node("Squeeze", *xs, graph.tensor([-1], dtype=np.int64))
    is_code = graph.node("Equal", code, graph.node("Floor", code))  # NaN is not
    for op, bound in (("GreaterOrEqual", 0.0), ("Less", float(n))):
        is_code = graph.node("And", is_code, graph.node(op, code, bound))
    place_of_it = graph.cast(graph.node("Where", is_code, code, float(n)), np.int64)
    nothing = graph.tensor(np.zeros((1, place.features)))
    table = graph.node("Concat", own["weight"], nothing, axis=0)
    return graph.node("Gather", table, place_of_it, name=place.path)


def _attention(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    op, width = place.layer, place.features // place.layer.heads

    def part(x: str, number: int, parts: int) -> str:
        """Return queries, keys or values by head."""
        split = graph.tensor([0, -1, parts, op.heads, width], dtype=np.int64)
        x = graph.node("Reshape", x, split)
        x = graph.node("Gather", x, graph.tensor(number, dtype=np.int64), axis=2)
        return graph.node("Transpose", x, perm=[0, 2, 1, 3])

    first = 0 if op.cross else 1
    q = part(xs[0], 0, 1 if op.cross else 3)
    k, v = (part(xs[-1], first + i, 2 + first) for i in range(2))
    scores = graph.node("MatMul", q, graph.node("Transpose", k, perm=[0, 1, 3, 2]))
    scores = graph.node("Mul", scores, 1 / np.sqrt(width))
    if op.causal:
        queries = int(np.prod(place.shape[:-1]))
        scores = graph.node("Add", scores, np.where(np.tri(queries, op.keys), 0, -np.inf))
    out = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), v)
    out = graph.node("Transpose", out, perm=[0, 2, 1, 3])
    shape = graph.tensor([0, *place.shape], dtype=np.int64)  # 0: as many as there are
    return graph.node("Reshape", out, shape, name=place.path)


def _rotary(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    """x cos + y sin, where y is what shares a plane with x."""
    cosine, sine, other = place.layer.planes(place.shape)
    turned = graph.node("Mul", graph.node("MatMul", *xs, other), sine)
    return graph.node("Add", graph.node("Mul", *xs, cosine), turned, name=place.path)


def _positions(graph: _Graph, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    shape = graph.tensor(place.shape, dtype=np.int64)
    rows = graph.node("Reshape", own["weight"], shape)
    return graph.node("Add", *xs, rows, name=place.path)


RULES: dict[str, _Rule] = {
    **onnx_inputs.RULES,
    "slice": _slice,
    "augment": _augment,
    "convolution": _convolution,
    "reshape": _reshape,
    "permute": _permute,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "adaptive_max_pool": _max_pool,
    "adaptive_avg_pool": _avg_pool,
    "sum_positions": _over_positions("ReduceSum"),
    "mean_positions": _over_positions("ReduceMean"),
    "max_positions": _over_positions("ReduceMax"),
    "dense": _dense,
    "gates": _gates,
    **dict.fromkeys(_RECURRENT, _recurrent),
    "weight_norm": _weight_norm,
    "embedding": _embedding,
    "spread": _spread,
    "cosine": _cosine,
    "attention": _attention,
    "rotary": _rotary,
    "positions": _positions,
    "identity": _op("Identity"),
    "relu": _op("Relu"),
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "softplus": _softplus,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": _silu,
    "tanh": _op("Tanh"),
    "hardtanh": _hardtanh,
    "sigmoid": _op("Sigmoid"),
    "softmax": _op("Softmax", axis=1),
    "step": _step,
    "sign": _op("Sign"),
    "scale": _scale,
    "prelu": _prelu,
    "dropout": _op("Identity"),  # in training alone they do something
    "gaussian_noise": _op("Identity"),
    "layer_norm": _row_norm,
    "rms_norm": _row_norm,
    "group_norm": _row_norm,
    "batch_norm": _batch_norm,
    "add": _op("Sum"),
    "multiply": _op("Mul"),
    "concatenate": _op("Concat", axis=-1),
}
