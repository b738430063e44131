"""Layers that are made of layers: chains, and branches that join."""

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias

from . import checks, config, initializers
from .graph import Graph
from .guidance import near, written
from .inputs import INPUT_LAYERS, InputLayer, Selected, SideBySide
from .layers import LAYERS, Layer, MaxNorm, Slice
from .typing import Integer


class Unbuilt(Protocol):
    """A model without parameters yet, which stands for its layers."""

    @property
    def layers(self) -> tuple[Layer, ...]: ...
    @property
    def built(self) -> bool: ...


Branch: TypeAlias = Layer | list[Any] | tuple[Any, ...] | Unbuilt


class Chain(Layer):
    """Layers one after the other, as one layer: what a list within a list of layers becomes.

    Parameters
    ----------
    layers : sequence of Layer
        Also lists and unbuilt models, which are chains.
    """

    passes_on = False
    reads_flat = True  # each of its layers says for itself

    def __init__(self, layers: Iterable[Branch] | Unbuilt) -> None:
        vars(self)["layers"] = as_layers(layers, "layers")

    @property
    def learns(self) -> bool:
        return any(layer.learns for layer in vars(self)["layers"])

    @property
    def units(self) -> int:
        return Graph(vars(self)["layers"]).features

    def get_config(self) -> dict[str, Any]:
        return {"layers": list(vars(self)["layers"])} | super().get_config()

    def lay(self, network: Graph, path: str, value: int) -> int:
        for i, layer in enumerate(vars(self)["layers"]):
            value = network.lay(layer, f"{path}.{i}", value)
        return value

    def __hash__(self) -> int:
        return hash((type(self), *vars(self)["layers"]))

    def __repr__(self) -> str:
        return repr(list(vars(self)["layers"]))


class Residual(Layer):
    """``x + layers(x)``, or ``shortcut(x) + layers(x)``.

    Parameters
    ----------
    layers : sequence of Layer
        One after the other. Without a shortcut they put out as many columns as came in.
    shortcut : Layer or sequence of Layer, optional
        What `x` goes through on its other way, such as ``Dense(64)`` where the width changes.

    Raises
    ------
    TypeError, ValueError
        If they are none of that; when the network is built, if the widths differ.

    Notes
    -----
    The parameters of its layers are called ``"3.0.weight"`` where it is the layer 3 of the model,
    those of the shortcut ``"3.shortcut.weight"``.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun (2016), "Deep residual learning for image recognition", CVPR.

    Examples
    --------
    >>> block = fnn.Residual([fnn.Dense(64), fnn.ReLU(), fnn.Dense(64)])
    >>> model = fnn.Sequential([fnn.Dense(64), block, fnn.Dense(10)]).build(20)
    >>> list(model.named_parameters())[2:5]
    ['1.0.weight', '1.0.bias', '1.2.weight']
    """

    kind = "add"
    passes_on = True

    def __init__(self, layers: Iterable[Branch] | Unbuilt, shortcut: Branch | None = None) -> None:
        vars(self)["layers"] = as_layers(layers, "layers")
        vars(self)["shortcut"] = None if shortcut is None else as_layer(shortcut, "shortcut")

    @property
    def _branches(self) -> list[Layer]:
        shortcut = vars(self)["shortcut"]
        return [*vars(self)["layers"], *([] if shortcut is None else [shortcut])]

    @property
    def learns(self) -> bool:
        return any(layer.learns for layer in self._branches)

    @property
    def units(self) -> int:
        return Graph((self,)).features

    def get_config(self) -> dict[str, Any]:
        own = {"layers": list(vars(self)["layers"]), "shortcut": vars(self)["shortcut"]}
        return own | super().get_config()

    def lay(self, network: Graph, path: str, value: int) -> int:
        deep, short = value, value
        for i, layer in enumerate(vars(self)["layers"]):
            deep = network.lay(layer, f"{path}.{i}", deep)
        if vars(self)["shortcut"] is not None:
            short = network.lay(vars(self)["shortcut"], f"{path}.shortcut", value)
        elif (network.width(deep) or network.width(value)) != network.width(value) != 0:
            raise ValueError(
                f"layers[{path}]: expected layers that put out {network.text(value)}, as come in, "
                f"got {network.text(deep)}; shortcut=Dense({network.width(deep)}) makes the other "
                "way as wide"
            )
        width = network.same_shape(self, path, (short, deep))
        return network.add(self, path, self.kind, (short, deep), width)

    def __hash__(self) -> int:
        return hash((type(self), *self._branches))


class Joined(Layer):
    """What layers have in common that join branches."""

    passes_on = True
    reads_flat = True  # each of its branches says for itself
    _fewest = 2

    def __init__(self, *branches: Branch) -> None:
        if len(branches) < self._fewest:
            name = type(self).__name__
            raise ValueError(
                f"branches: expected at least {self._fewest}, {name}(one, other), got "
                f"{len(branches)}; each is a layer or a list of layers, Identity() hands on what "
                "comes in"
            )
        vars(self)["branches"] = tuple(
            as_layer(branch, f"branches[{i}]") for i, branch in enumerate(branches)
        )

    @property
    def learns(self) -> bool:
        return any(layer.learns for layer in vars(self)["branches"])

    @property
    def units(self) -> int:
        return Graph((self,)).features

    def get_config(self) -> dict[str, Any]:
        return {"branches": list(vars(self)["branches"])} | super().get_config()

    def lay(self, network: Graph, path: str, value: int) -> int:
        values = tuple(
            network.lay(layer, f"{path}.{i}", value)
            for i, layer in enumerate(vars(self)["branches"])
        )
        return self._join(network, path, values)

    def _join(self, network: Graph, path: str, values: tuple[int, ...]) -> int:
        return network.add(self, path, self.kind, values, network.same_shape(self, path, values))

    def __hash__(self) -> int:
        return hash((type(self), *vars(self)["branches"]))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, vars(self)['branches']))})"


class Add(Joined):
    """The sum of what its branches make of the same input.

    Parameters
    ----------
    *branches : Layer or sequence of Layer
        Two or more, which put out as many columns each.

    Raises
    ------
    TypeError, ValueError
        If they are none of that; when the network is built, if the widths differ.

    Examples
    --------
    >>> fnn.Add(fnn.Dense(8), [fnn.Dense(32), fnn.ReLU(), fnn.Dense(8)])
    Add(Dense(8), [Dense(32), ReLU(), Dense(8)])
    """

    kind = "add"


class Multiply(Joined):
    """The product, element by element, of what its branches make of the same input: a gate.

    Parameters
    ----------
    *branches : Layer or sequence of Layer
        Two or more, which put out as many columns each.

    Raises
    ------
    TypeError, ValueError
        If they are none of that; when the network is built, if the widths differ.

    References
    ----------
    Y. N. Dauphin, A. Fan, M. Auli, D. Grangier (2017), "Language modeling with gated convolutional
    networks", ICML. N. Shazeer (2020), "GLU variants improve transformer",
    https://arxiv.org/abs/2002.05202.

    Examples
    --------
    >>> fnn.Multiply(fnn.Dense(64), [fnn.Dense(64), fnn.Sigmoid()])
    Multiply(Dense(64), [Dense(64), Sigmoid()])
    """

    kind = "multiply"
    passes_on = False

    def _join(self, network: Graph, path: str, values: tuple[int, ...]) -> int:
        width = network.same_shape(self, path, values)
        product = values[0]
        for value in values[1:]:  # two at a time
            product = network.add(self, path, self.kind, (product, value), width)
        return product


class Concatenate(Joined):
    """What its branches make of the same input, side by side.

    Parameters
    ----------
    *branches : Layer or sequence of Layer
        Two or more.

    Raises
    ------
    TypeError, ValueError
        If they are none of that.

    Examples
    --------
    Wide and deep: a linear model beside a network.

    >>> fnn.Concatenate(fnn.Identity(), [fnn.Dense(32), fnn.ReLU()])
    Concatenate(Identity(), [Dense(32), ReLU()])
    """

    kind = "concatenate"

    def _join(self, network: Graph, path: str, values: tuple[int, ...]) -> int:
        network.same_positions(self, path, values)
        widths = [network.width(value) for value in values]
        return network.add(self, path, self.kind, values, sum(widths) if all(widths) else 0)


# ---------------------------------------------------------------------- parts of the columns

Which: TypeAlias = Integer | str | Sequence[Integer | str] | slice


class Columns(Layer):
    """Layers for some columns of X each, and what they put out side by side.

    It stands first in a model. Columns that are in no part are not read; one may be in several.

    Parameters
    ----------
    parts : sequence of (columns, layers)
        `columns`: the number of one or its name (of a DataFrame), a list of these, or a slice of
        numbers; negative ones count from the end. `layers`: first those that are applied while
        inputs are read, such as `Impute`, `QuantileNormal`, `OneHot`, and then any others, such as
        `Dense`; an empty list hands the columns on.

    Raises
    ------
    TypeError, ValueError
        If they are none of that; when the network is built, if there are no such columns.

    Notes
    -----
    The layers are applied to a row when it is read, in float64 and rounded once, except those that
    learn and what follows them. What the layer 1 of part 0 keeps is called ``"0.0.1.value"``.

    References
    ----------
    scikit-learn's ``ColumnTransformer``.

    Examples
    --------
    Two columns of numbers, with holes in one of them, and one of codes:

    >>> columns = fnn.Columns(
    ...     [
    ...         ([0, 1], [fnn.Impute(), fnn.QuantileNormal()]),
    ...         (1, [fnn.MissingIndicator()]),
    ...         (2, [fnn.OneHot(3)]),
    ...     ]
    ... )
    >>> table = np.array([[0.5, np.nan, 2], [1.5, 3.0, 0], [0.7, 2.0, 1], [0.1, 2.5, 2]])
    >>> model = fnn.Sequential([columns, fnn.Dense(16), fnn.ReLU(), fnn.Dense(2)])
    >>> history = model.fit(table, [0, 1, 0, 1], loss="cross_entropy", epochs=1)
    >>> model.activations(table)["0"].shape
    (4, 6)
    """

    kind = "concatenate"
    passes_on = True

    def __init__(self, parts: Iterable[tuple[Which, Iterable[Branch]]]) -> None:
        name = "parts"
        if isinstance(parts, (str, dict, Layer)) or not isinstance(parts, Iterable):
            raise TypeError(
                f"{name}: expected a list of pairs (columns, layers), got {checks.describe(parts)}"
            )
        found = []
        for i, part in enumerate(parts):
            which, layers = checks.pair(part, f"{name}[{i}]", "(columns, layers)")
            found.append((_check_which(which, f"{name}[{i}][0]"), _part(layers, f"{name}[{i}][1]")))
        if not found:
            raise ValueError(f"{name}: expected at least one pair (columns, layers), got none")
        vars(self)["parts"] = tuple(found)

    @property
    def _layers(self) -> list[Layer]:
        return [layer for _, layers in vars(self)["parts"] for layer in layers]

    @property
    def is_input(self) -> bool:  # type: ignore[override]
        return _are_inputs(self._layers)

    @property
    def learns(self) -> bool:
        return any(layer.learns for layer in self._layers)

    @property
    def units(self) -> int:
        return Graph((self,)).features

    def get_config(self) -> dict[str, Any]:
        parts = [(which, list(layers)) for which, layers in vars(self)["parts"]]
        return {"parts": parts} | super().get_config()

    def lay(self, network: Graph, path: str, value: int) -> int:
        if len(network.in_shape) > 1:
            raise ValueError(
                f"layers[{path}]: expected X of columns, as Columns reads, got examples of shape "
                f"{network.in_shape}"
            )
        width = network.width(value)
        values = []
        for i, (which, layers) in enumerate(vars(self)["parts"]):
            at = f"{path}.{i}"
            places = _places(which, width, network.names, f"layers[{path}]: parts[{i}][0]")
            out = Selected(places).lay(network, at, value)
            for k, layer in enumerate(layers):
                if layer.is_input:
                    out = network.lay(layer, f"{at}.{k}", out)
            network.outputs[at] = out
            values.append(out)
        widths = [network.width(each) for each in values]
        width = sum(widths) if all(widths) else 0
        everything = network.add(SideBySide(), path, "join", tuple(values), width)
        return everything if self.is_input else self._lay_others(network, path, everything, widths)

    def _lay_others(self, network: Graph, path: str, everything: int, widths: list[int]) -> int:
        """Put the layers that are no input layers into their places, behind those that are."""
        outs, first = [], 0
        others = [
            [(k, layer) for k, layer in enumerate(layers) if not layer.is_input]
            for _, layers in vars(self)["parts"]
        ]
        for _, group in itertools.groupby(
            range(len(others)), lambda i: i if others[i] else None
        ):  # a part that has others, or those between two such
            numbers = list(group)
            count = sum(widths[i] for i in numbers)
            at, out = f"{path}.{numbers[0]}", everything
            if len(numbers) < len(others):
                out = network.add(Slice(first, max(count, 1)), at, "slice", (everything,), count)
            for k, layer in others[numbers[0]]:
                out = network.lay(layer, f"{at}.{k}", out)
            if others[numbers[0]]:
                del network.outputs[at]  # so that the part stands behind its layers
                network.outputs[at] = out
            first += count
            outs.append(out)
        ends = [network.width(each) for each in outs]
        width = sum(ends) if all(ends) else 0
        return network.add(self, path, self.kind, tuple(outs), width)

    def __hash__(self) -> int:
        return hash((type(self), *self._layers))

    def __repr__(self) -> str:
        parts = ", ".join(f"({which!r}, {list(layers)!r})" for which, layers in vars(self)["parts"])
        return f"Columns([{parts}])"


def _are_inputs(layers: Iterable[Layer]) -> bool:
    return all(layer.is_input for layer in layers)


def _check_which(value: Any, name: str) -> Any:
    """Return the number or name of a column, a list of such, or a slice of numbers."""
    whole = functools.partial(checks.integer, minimum=-(2**31))
    if isinstance(value, slice):
        parts = (value.start, value.stop, value.step)
        steps = [None if each is None else whole(each, name) for each in parts]
        if steps[2] == 0:
            raise ValueError(f"{name}: expected another step than 0, got {value!r}")
        return slice(*steps)
    if isinstance(value, str):
        return value
    if not isinstance(value, Iterable):
        try:
            return whole(value, name)
        except TypeError:
            raise TypeError(
                f"{name}: expected the number or the name of a column, a list of such, or a slice, "
                f"got {checks.describe(value)}"
            ) from None
    columns = [
        each if isinstance(each, str) else whole(each, f"{name}[{i}]")
        for i, each in enumerate(value)
    ]
    if not columns:
        raise ValueError(f"{name}: expected at least one column, got none")
    return columns


def _places(which: Any, width: int, names: Any, name: str) -> list[int]:
    """Return the numbers of columns among so many, 0 if it is not known how many there are.

    In place of those that take what is not known, -1.
    """
    if isinstance(which, slice):
        places = list(range(*which.indices(width)))
        if width and not places:
            raise ValueError(f"{name}: expected some of {width} columns, got none of {which!r}")
        return places
    known = {each: i for i, each in enumerate([] if names is None else names)}
    places = []
    for each in which if isinstance(which, list) else [which]:
        if isinstance(each, str):
            if known and each not in known:
                raise ValueError(
                    f"{name}: expected names of the columns of X, got {each!r}{near(each, known)}"
                )
            places.append(known.get(each, -1))
        elif width and not -width <= each < width:
            raise ValueError(f"{name}: expected numbers of {width} columns, got {each}")
        else:
            places.append(each % width if width else max(each, -1))
    return places


def _part(layers: Any, name: str) -> tuple[Layer, ...]:
    """Return the layers of a part: those that are applied to inputs first; maybe none."""
    if isinstance(layers, (list, tuple)) and not layers:
        return ()
    layers = as_layers(layers, name, outermost=True)
    for i, layer in enumerate(layers):
        if isinstance(layer, Columns):
            raise ValueError(f"{name}[{i}]: expected layers for these columns, got {layer!r}")
        if layer.is_input and i > 0 and not layers[i - 1].is_input:
            raise ValueError(
                f"{name}[{i}]: expected {layer!r} in front of other layers, as it is applied while "
                f"the inputs are read, got it after {layers[i - 1]!r}"
            )
    return layers


# ---------------------------------------------------------------------- what users write

JOINS = (Chain, Residual, Add, Multiply, Concatenate, Columns)


def _all() -> tuple[type[Layer], ...]:
    """Return all classes of layers that there are."""
    return (*INPUT_LAYERS, *LAYERS, *JOINS)


def as_layers(layers: Any, name: str, outermost: bool = False) -> tuple[Layer, ...]:
    """Return a list of layers as a tuple of Layer; TypeError or ValueError if it is none.

    `outermost`: those of a model, which may begin with input layers.
    """
    layers = getattr(layers, "layers", layers) if _is_model(layers, name) else layers
    try:
        layers = tuple(layers)
    except TypeError:
        hint = f"; write [{layers!r}]" if isinstance(layers, Layer) else ""
        raise TypeError(
            f"{name}: expected a list of layers, got {checks.describe(layers)}{hint}"
        ) from None
    if not layers:
        raise ValueError(f"{name}: expected at least one layer, got none")
    return tuple(as_layer(layer, f"{name}[{i}]", outermost) for i, layer in enumerate(layers))


def as_layer(layer: Any, name: str, outermost: bool = False) -> Layer:
    """Return a layer, or a list or model as a chain; TypeError or ValueError if it is none."""
    if isinstance(layer, (InputLayer, Columns)) and not outermost:
        raise ValueError(
            f"{name}: expected a layer, got {layer!r}, which is applied while the inputs are read; "
            "it stands in front of all other layers of the model"
        )
    if isinstance(layer, Layer):
        return layer
    if isinstance(layer, (list, tuple)) or _is_model(layer, name):
        return Chain(layer)
    raise TypeError(
        f"{name}: expected a layer, got {checks.describe(layer)}{written(layer) or _hint(layer)}"
    )


def _is_model(value: Any, name: str) -> bool:
    if not hasattr(value, "layers") or not hasattr(value, "built") or isinstance(value, type):
        return False
    if value.built:
        raise ValueError(
            f"{name}: expected layers or a model that is not built, got one with parameters, which "
            "would be lost; its layers are *model.layers"
        )
    return True


def _hint(value: object) -> str:
    """Return the end of a message: how a layer is written that came as its name or its units."""
    if isinstance(value, str):
        cls = {cls.__name__.lower(): cls for cls in _all()}.get(value.lower())
        arguments = {"Dense": "units", "WeightNorm": "Dense(units)"}
        if cls is None:
            return ""
        return f"; write {cls.__name__}({arguments.get(cls.__name__, '')})"
    is_units = isinstance(value, int) and not isinstance(value, bool)
    return f"; write Dense({value})" if is_units else ""


def flattened(layers: Iterable[Any]) -> Iterator[Layer]:
    """Yield layers and those that they are made of, each as often as it stands somewhere."""
    for each in layers:
        if isinstance(each, (list, tuple)):
            yield from flattened(each)
        elif isinstance(each, Layer):
            yield each
            yield from flattened(each.get_config().values())


# ---------------------------------------------------------------------- in files


def to_config(layers: Sequence[Layer]) -> list[dict[str, Any]]:
    """Return layers as plain values; one that learns and stands in several places once."""
    numbers: dict[int, int] = {}  # {id of a layer: how many came before it}
    count = itertools.count()

    def describe(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [describe(each) for each in value]
        if isinstance(value, slice):
            return {"type": "slice", "of": [value.start, value.stop, value.step]}
        if not isinstance(value, Layer):
            return config.to_config(value) if isinstance(value, config.Configured) else value
        if value.learns and id(value) in numbers:
            return {"type": "same", "as": numbers[id(value)]}
        numbers[id(value)] = next(count)
        own = {name: describe(each) for name, each in value.get_config().items()}
        return {"type": type(value).__name__, **own}

    described: list[dict[str, Any]] = describe(layers)
    return described


def from_config(description: object) -> list[Layer]:
    """Return the layers that `to_config` described; TypeError or ValueError if it did not."""
    if not isinstance(description, list):
        raise TypeError("layers: expected a list")
    seen: list[Layer | None] = []

    def layer_of(value: dict[str, Any]) -> Layer:
        if value.get("type") == "same":
            number = value.get("as")
            known = dict(enumerate(seen))
            same = known.get(number) if type(number) is int else None
            if set(value) != {"type", "as"} or same is None or not same.learns:
                raise ValueError(f"layers: expected the number of a layer before, got {number!r}")
            return same
        place = len(seen)
        seen.append(None)
        arguments = {name: made_of(each) for name, each in value.items()}
        trainable = arguments.pop("trainable", None)
        branches = arguments.pop("branches", None)
        if branches is not None:
            kinds = {cls.__name__: cls for cls in JOINS if issubclass(cls, Joined)}
            kind = checks.choice(arguments.pop("type", None), "layer type", tuple(kinds))
            if arguments or not isinstance(branches, list):
                raise ValueError(f"layers: expected branches of {kind}, got {value!r}")
            layer: Layer = kinds[kind](*branches)
        else:
            layer = config.from_config(arguments, _all(), "layer")
        seen[place] = layer
        if trainable is not None:
            if not layer.learns:
                raise ValueError(f"trainable: expected a layer that learns, got {layer!r}")
            layer.trainable = trainable
        return layer

    def slice_of(value: dict[str, Any]) -> slice:
        of = value.get("of")
        if set(value) != {"type", "of"} or not isinstance(of, list) or len(of) != 3:
            raise ValueError(f"parts: expected start, stop and step of a slice, got {value!r}")
        return slice(*of)

    def made_of(value: Any) -> Any:
        if isinstance(value, list):
            return [made_of(each) for each in value]
        if not isinstance(value, dict):
            return value
        if value.get("type") == "slice":
            return slice_of(value)
        by_name = {cls.__name__ for cls in _all()}
        if value.get("type") in by_name or value.get("type") == "same":
            return layer_of(value)
        if value.get("type") == MaxNorm.__name__:
            return config.from_config(value, (MaxNorm,), "constraint")
        return initializers.from_config(value)

    layers = []
    for each in description:
        if not isinstance(each, dict):
            raise TypeError(f"layer: expected a dict, got {checks.describe(each)}")
        layers.append(layer_of(each))
    return layers
