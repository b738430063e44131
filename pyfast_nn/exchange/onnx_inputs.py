"""Layers that are applied to inputs, as nodes of ONNX: computed in float64, as the core does."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..graph import Place

# As those of `onnx_file`: (graph, names of inputs, place, {name: what the layer has learned}).
_Rule = Callable[[Any, list[str], Place, dict[str, Any]], str]


def _join(graph: Any, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    name: str = graph.node("Concat", *xs, axis=1, name=place.path)
    return name


def _rescale(graph: Any, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    scale, offset = (graph.tensor(each, dtype=np.float64) for each in place.layer.values)
    return graph.node("Add", graph.node("Mul", *xs, scale), offset, name=place.path)


def _standardize(graph: Any, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    mean, std = (graph.tensor(own[name], dtype=np.float64) for name in ("mean", "std"))
    return graph.node("Div", graph.node("Sub", *xs, mean), std, name=place.path)


def _select(graph: Any, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    places = graph.tensor(place.layer.places, dtype=np.int64)
    return graph.node("Gather", *xs, places, axis=1)


def _wide(graph: Any, x: str) -> str:
    """(n, columns, 1)"""
    return graph.node("Unsqueeze", x, graph.tensor([2], dtype=np.int64))


def _flat(graph: Any, x: str, place: Place) -> str:
    """(n, columns, k) -> (n, columns k)"""
    shape = graph.tensor([-1, place.features], dtype=np.int64)
    return graph.node("Reshape", x, shape, name=place.path)


def _double(graph: Any, value: Any) -> str:
    """Add numbers in which input layers are computed."""
    return graph.tensor(value, dtype=np.float64)


def _robust_scale(graph: Any, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    center, scale = (_double(graph, own[name]) for name in ("center", "scale"))
    z = graph.node("Div", graph.node("Sub", *xs, center), scale)
    clip = place.layer.clip
    if clip is None:
        return z
    t = graph.node("Div", z, _double(graph, clip))
    length = graph.node("Sqrt", graph.node("Add", graph.node("Mul", t, t), _double(graph, 1)))
    return graph.node("Div", z, length, name=place.path)


def _quantile_normal(graph: Any, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    (x,), quantiles = xs, own["quantiles"].T
    columns, most = quantiles.shape
    counts = np.count_nonzero(~np.isnan(quantiles), axis=1)
    constant = counts < 2
    quantiles = np.where(np.isnan(quantiles), np.inf, quantiles)
    quantiles[constant, :2], counts[constant] = [0, 1], 2
    table = _double(graph, quantiles.ravel())
    first = graph.tensor(most * np.arange(columns), dtype=np.int64)
    last = graph.tensor(counts - 2, dtype=np.int64)

    def at(places: str) -> str:
        return graph.node("Gather", table, graph.node("Add", places, first))

    # The place of the lower neighbour, by halves: as in csrc/net/inputs.h.
    never = graph.node("Greater", x, _double(graph, np.inf))
    place_of = graph.cast(never, np.int64)
    steps = 2 ** np.arange(max(int(counts.max() - 1).bit_length(), 1))[::-1]
    for step in steps:
        next_one = graph.node("Add", place_of, graph.tensor(step, dtype=np.int64))
        next_one = graph.node("Min", next_one, last)
        below = graph.node("LessOrEqual", at(next_one), x)
        place_of = graph.node("Where", below, next_one, place_of)
    low = at(place_of)
    high = at(graph.node("Add", place_of, graph.tensor(1, dtype=np.int64)))
    width = graph.node("Max", graph.node("Sub", high, low), _double(graph, 5e-324))
    between = graph.node("Div", graph.node("Sub", x, low), width)
    rank = graph.node("Add", graph.cast(place_of, np.float64), between)
    rank = graph.node("Div", rank, _double(graph, counts - 1.0))
    least = 1e-7
    p = graph.node("Max", graph.node("Min", rank, _double(graph, 1 - least)), _double(graph, least))
    z = _normal_quantile(graph, p)
    return graph.node(
        "Where", graph.tensor(constant, dtype=bool), _double(graph, 0), z, name=place.path
    )


# Of Wichura (1988), "Algorithm AS 241", PPND16: numerator and denominator around 1/2 and of tails.
_MIDDLE = (
    [
        *(3.3871328727963666080, 1.3314166789178437745e2, 1.9715909503065514427e3),
        *(1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4),
        *(3.3430575583588128105e4, 2.5090809287301226727e3),
    ],
    [
        *(1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3),
        *(2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4),
        5.2264952788528545610e3,
    ],
)
_TAIL = (
    [
        *(1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550),
        *(3.64784832476320460504, 1.27045825245236838258, 2.41780725177450611770e-1),
        *(2.27238449892691845833e-2, 7.74545014278341407640e-4),
    ],
    [
        *(1.0, 2.05319162663775882187, 1.67638483018380384940, 6.89767334985100004550e-1),
        *(1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4),
        1.05075007164441684324e-9,
    ],
)


def _normal_quantile(graph: Any, p: str) -> str:
    """The formula of csrc/rules/inputs.h."""

    def ratio(x: str, of: tuple[list[float], list[float]]) -> str:
        sums = []
        for coefficients in of:
            total = _double(graph, coefficients[-1])
            for each in coefficients[-2::-1]:
                product = graph.node("Mul", total, x)
                total = graph.node("Add", product, _double(graph, each))
            sums.append(total)
        return graph.node("Div", *sums)

    q = graph.node("Sub", p, _double(graph, 0.5))
    square = graph.node("Mul", q, q)
    r = graph.node("Sub", _double(graph, 0.180625), square)
    middle = graph.node("Mul", q, ratio(r, _MIDDLE))
    rest = graph.node("Min", p, graph.node("Sub", _double(graph, 1), p))
    s = graph.node("Sqrt", graph.node("Neg", graph.node("Log", rest)))
    tail = ratio(graph.node("Sub", s, _double(graph, 1.6)), _TAIL)
    tail = graph.node("Mul", tail, graph.node("Sign", q))
    far = graph.node("Greater", graph.node("Abs", q), _double(graph, 0.425))
    return graph.node("Where", far, tail, middle)


def _piecewise_linear(graph: Any, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    edges = own["edges"].T
    low, high = edges[:, :-1], edges[:, 1:]
    there = ~np.isnan(high)
    last = there & ~np.column_stack([there[:, 1:], np.zeros(len(edges), bool)])
    least, most = np.zeros(there.shape), np.where(there, 1.0, 0.0)
    least[there[:, 0], 0] = -1
    most[last] = 2
    w = graph.node("Sub", _wide(graph, *xs), _double(graph, np.where(there, low, 0)))
    w = graph.node("Div", w, _double(graph, np.where(there, high - low, 1)))
    w = graph.node("Max", graph.node("Min", w, _double(graph, most)), _double(graph, least))
    return _flat(graph, w, place)


def _one_hot(graph: Any, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    counts, least = own["counts"].T, place.layer.min_count
    codes = _double(graph, np.arange(counts.shape[1]))
    is_code = graph.cast(graph.node("Equal", _wide(graph, *xs), codes), np.float64)
    common = graph.node("Mul", is_code, _double(graph, (counts >= least) * 1.0))
    if least > 1:
        are_rare = (counts > 0) & (counts < least)
        rare = graph.node("Mul", is_code, _double(graph, are_rare * 1.0))
        rare = graph.node("ReduceSum", rare, graph.tensor([2], dtype=np.int64))
        common = graph.node("Concat", common, rare, axis=2)
    return _flat(graph, common, place)


def _impute(graph: Any, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    value = _double(graph, own["value"])
    return graph.node("Where", graph.node("IsNaN", *xs), value, *xs, name=place.path)


def _missing_indicator(graph: Any, xs: list[str], place: Place, own: dict[str, Any]) -> str:
    return graph.cast(graph.node("IsNaN", *xs), np.float64, name=place.path)


RULES: dict[str, _Rule] = {
    "rescale": _rescale,
    "standardize": _standardize,
    "robust_scale": _robust_scale,
    "quantile_normal": _quantile_normal,
    "piecewise_linear": _piecewise_linear,
    "one_hot": _one_hot,
    "impute": _impute,
    "missing_indicator": _missing_indicator,
    "select": _select,
    "join": _join,
}
