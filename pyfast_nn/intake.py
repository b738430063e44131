"""What users pass to a model, checked and as its engine takes it."""

import hashlib
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core, checks, columns, config, data, losses
from .engine import Engine
from .graph import Graph
from .inputs import Column, InputLayer, Selected, SideBySide, Standardize
from .layers import Slice
from .losses import Loss
from .once import Once, each_time
from .rounding import varies_by_rounding
from .typing import Array, ArrayLike, ClassWeight, Floats, Inputs, Integers, Shape

Calls = Callable[..., Any]  # `each_time` or a `Once`, by which data are read


def check_loss(engine: Engine, loss: str | Loss | None, once: Calls = each_time) -> Loss:
    """Return the Loss that the argument `loss` of a method means."""
    if loss is None and engine.loss is None:
        names = ", ".join(losses.NAMES)
        raise ValueError(
            "loss: expected a loss, as this model has not been fitted, got None; pass loss=, "
            f"one of {names}"
        )
    checked = once(losses.check, engine.loss if loss is None else loss)
    if loss is not None:
        config.check_rounded(checked, engine.dtype, "loss: ")
    losses.check_last_layer(checked, engine.layers)
    if checked.task == "pairs" and engine.device != "cpu":
        raise NotImplementedError(
            f"loss: expected one that computes each row by itself with device={engine.device!r}, "
            f"got {checked.name!r}; device='cpu' has it"
        )
    if engine.standardize_targets and (checked.task != "values" or checked.link != "identity"):
        raise ValueError(
            "loss: expected one of values of any sign, such as 'mse', for a model with "
            f"standardize_targets=True, got {checked.name!r}"
        )
    return checked


# ---------------------------------------------------------------------- how layers act


def check_run(training: object, seed: object) -> _core.Run:
    """Return how layers act, as the arguments `training` and `seed` of a method say."""
    training = checks.boolean(training, "training")
    if seed is None:
        return _core.Run(training=training)
    if not training:
        raise ValueError(
            f"seed: expected None without training=True, got {seed!r}; nothing is random then"
        )
    return _core.Run(training=True, seed=checks.seed(seed))


def check_passes(engine: Engine, samples: object, seed: object) -> list[_core.Run]:
    """Return the passes whose mean is predicted: one in which nothing is random, or `samples`."""
    if samples is None:
        if seed is not None:
            raise ValueError(
                f"seed: expected None without samples, got {seed!r}; predictions are "
                "deterministic, predict(X, samples=50, seed=0) is the mean of random ones"
            )
        return [_core.Run()]
    samples = checks.integer(samples, "samples", minimum=1)
    seed = 0 if seed is None else checks.seed(seed)
    if not engine.network().is_random:
        raise ValueError(
            f"samples: expected None, as no layer draws random numbers, got {samples}; Dropout does"
        )
    return [_core.Run(random=True, seed=seed, step=i) for i in range(samples)]


# ---------------------------------------------------------------------- features


def feature_names(engine: Engine, X: Any, once: Calls = each_time) -> Array | None:
    """Return the names of columns that hold from a call with X on, (in_features,) or None."""
    names: Any = engine.feature_names_in_
    if names is None:
        names = once(columns.names_of, X, "X")
    return None if names is None else once(_as_names, *names)


def _as_names(*names: str) -> Array:
    return np.array(names, object)


def features(engine: Engine, X: Inputs, allow_nonfinite: bool = True) -> Array:
    """Return X to compute with; the first fixes the number of columns, and their names."""
    allow_nonfinite = checks.boolean(allow_nonfinite, "allow_nonfinite")
    names = engine.feature_names_in_ if engine.built else feature_names(engine, X)
    X, lengths = data.apart(X, "X", engine.in_shape[0] if engine.built else None)
    array = data.features(X, known=names, positions=True)
    if not engine.built:
        engine.has_lengths = lengths is not None
        engine.build(array.shape[1:], names=names)
        engine.feature_names_in_ = names
    _check_shape(array, engine.in_shape, "X")
    rows: Array = _with_lengths(engine, data.flat(array), lengths, engine.in_shape, "X")
    check_learned(engine)
    if not allow_nonfinite:
        check_finite(engine, rows, "X", names)
    return rows


def _with_lengths(
    engine: Engine, X: Any, lengths: Any, shape: Shape, name: str, once: Calls = each_time
) -> Any:
    """Return rows of numbers as the core reads them: with lengths where examples have them."""
    if engine.has_lengths:
        return once(data.beside_lengths, X, lengths, shape[0], name)
    if lengths is not None:
        raise ValueError(
            f"{name}: expected examples without lengths, as this model was built, got some with; "
            "a new model takes those of its first fit, or build(shape, lengths=True)"
        )
    return X


def existing(
    engine: Engine, X: Any, sample_weight: ArrayLike | None, in_shape: Shape | None = None
) -> ArrayLike | None:
    """Return the weights of examples, or of positions where some do not exist: theirs are 0."""
    if not engine.has_lengths or not engine.outputs_have_lengths(in_shape):
        return sample_weight
    positions = (engine.in_shape if in_shape is None else in_shape)[0]
    exist = (np.arange(positions) < X[:, -1:]).astype(np.float64)
    if sample_weight is None:
        return exist
    weights = data.contiguous(sample_weight, np.float64, "sample_weight")
    if weights.shape == (len(X),):
        weights = weights[:, None]
    return exist * weights if weights.shape in ((len(X), 1), exist.shape) else weights


def _check_shape(X: Any, shape: Shape, name: str) -> None:
    """Raise ValueError if examples have another shape; of columns the core says so."""
    came = X.shape[1:]
    if came == shape or len(came) == len(shape) == 1:
        return
    cure = ""
    if (*came, 1) == shape:
        cure = f"; {name}[..., None] is that"
    elif math.prod(came) == math.prod(shape):
        cure = f"; {name}.reshape({', '.join(map(str, (-1, *shape)))}) is that"
    raise ValueError(
        f"{name}: expected shape {('n', *shape)}, examples of which this model was built for, got "
        f"{X.shape}{cure}".replace("'n'", "n")
    )


def check_one_length(engine: Engine, name: str) -> None:
    """Raise NotImplementedError if examples have lengths, for what knows of none."""
    if engine.graph.has_lengths:
        raise NotImplementedError(
            f"{name}: expected a model of examples of one length, got one of (X, lengths); "
            "one that is built without lengths has parameters of the same names and shapes"
        )


def check_learned(engine: Engine) -> None:
    """Raise RuntimeError if a layer does not know yet what the first fit tells it."""
    for name, view in engine.statistics().items():
        if np.isnan(view).any():
            path, _, name = name.rpartition(".")
            raise RuntimeError(
                f"layers[{path}], {engine.layer_at(path)!r}, has not learned its {name} yet; "
                "fit the model first"
            )


def training_features(
    engine: Engine,
    X: Inputs,
    in_shape: Shape | None,
    names: Array | None,
    name: str = "X",
    once: Calls = each_time,
) -> tuple[Array, Shape]:
    """Return X to learn from, and the shape of its examples: that one, if it is known."""
    X, lengths = once(data.apart, X, name, None if in_shape is None else in_shape[0])
    if in_shape is None:
        engine.has_lengths = lengths is not None
    array: Array = once(data.features, X, name, names, True)
    if array.shape[0] == 0:
        raise ValueError(f"{name}: expected at least one row, got shape {array.shape}")
    shape = array.shape[1:]
    if in_shape is not None:
        _check_shape(array, in_shape, name)
        if shape != in_shape:
            raise ValueError(f"{name}: expected {in_shape[0]} columns, got shape {array.shape}")
    return _with_lengths(engine, once(data.flat, array), lengths, shape, name, once), shape


def check_finite(
    engine: Engine,
    X: Any,
    name: str,
    names: Array | None,
    rows: Integers | None = None,
    once: Calls = each_time,
    in_shape: Shape | None = None,
) -> None:
    """Raise ValueError if a number of X is not finite as the first layer reads it.

    `in_shape` is that of an example, if it is not built yet.
    """
    if engine.built and X.shape[1] != engine.net.in_features:
        return  # the core says so
    shape = X.shape[1:] if in_shape is None else in_shape
    lengths = engine.has_lengths
    graph = engine.graph if engine.built else Graph(engine.layers, shape, names, lengths)
    # Input layers bring into the range of the model's dtype what is beyond it.
    maps = any(isinstance(place.layer, InputLayer) for place in graph.places)
    dtype = np.dtype("float64") if maps else engine.dtype
    missing = _takes_nan(graph)
    if rows is not None and isinstance(once, Once) and once(_are_finite, X, dtype, missing):
        return  # nor is it any other's rows that have to be looked at
    once(data.check_finite, X, dtype, name, names, rows, missing)


def _are_finite(X: Any, dtype: np.dtype[Any], missing: Array | None) -> bool:
    try:
        data.check_finite(X, dtype, "X", missing=missing)
    except ValueError:
        return False
    return True


def _takes_nan(graph: Graph) -> NDArray[np.bool_] | None:
    """Return of which columns of X no layer reads NaN that does not take it; None: of none."""
    if not any(place.layer.takes_nan or place.kind == "select" for place in graph.places):
        return None
    taken = np.ones(graph.width(0), bool)
    sources = [np.arange(graph.width(0))]  # of each value: columns of X whose NaN is there, or -1
    for place in graph.places:
        layer, read = place.layer, [sources[value] for value in place.inputs]
        out = np.full(place.features, -1)
        if isinstance(layer, Selected):
            out = read[0][list(layer.places)]
        elif isinstance(layer, SideBySide):
            out = np.concatenate(read)
        elif isinstance(layer, Slice):
            out = read[0][layer.first : layer.first + layer.units]
        elif isinstance(layer, InputLayer) and not layer.takes_nan:
            out = np.repeat(read[0], layer.widens)
        elif not layer.takes_nan:
            for columns in read:
                taken[columns[columns >= 0]] = False
        sources.append(out)
    return taken


def learns_of_inputs(engine: Engine) -> bool:
    """Whether the first fit learns something of its inputs."""
    return any(
        np.isnan(first)
        for place in Graph(engine.layers).places
        for first in place.layer.initial_state.values()
    )


def knows_statistics(engine: Engine) -> bool:
    """Whether all that the first fit learns of its data is known."""
    return _knows_inputs(engine) and not (engine.standardize_targets and engine.target_mean is None)


def _knows_inputs(engine: Engine) -> bool:
    return not any(np.isnan(view).any() for view in engine.statistics().values())


def learn_statistics(
    engine: Engine,
    parts: Iterable[data.Examples],
    names: Array | None = None,
    once: Calls = each_time,
) -> None:
    """Let input layers, and what standardizes targets, learn from all parts what is not known.

    Their targets are those of `examples`, not yet scaled.
    """
    if knows_statistics(engine):
        return
    of_inputs, of_targets, held = _Moments(), _Moments(), []
    # Of affine maps of all columns, moments follow each other: the data are read once.
    by_moments, knows_inputs = not engine.net.encodes_inputs, _knows_inputs(engine)
    for part in parts:
        if by_moments:
            of_inputs.add(part.X, part.rows)
        elif not knows_inputs:
            held.append(part if isinstance(parts, list) else part._replace(X=part.X.copy()))
        if engine.standardize_targets:
            of_targets.add(part.targets, part.counted)
    if engine.standardize_targets and engine.target_mean is None:
        mean, std = of_targets.mean_and_std()
        wrong = ~(np.isfinite(mean) & np.isfinite(std))
        if wrong.any():
            raise ValueError(
                "y: expected numbers whose standard deviation a float64 holds, got larger ones in "
                f"column {np.argmax(wrong)}"
            )
        engine.target_mean, engine.target_std = mean, np.where(std > 0, std, 1)
    if knows_inputs:
        return
    if by_moments:
        _tell_layers(engine, *of_inputs.mean_and_std(engine.graph.in_shape[:-1]), names)
    else:
        _let_learn(engine, held, once)


_NUMBERS_AT_A_TIME = 1 << 22


def _let_learn(engine: Engine, parts: list[data.Examples], once: Calls) -> None:
    """Let input layers learn, one after the other, of what those before it make of the parts."""
    known = {name: not np.isnan(view).any() for name, view in engine.statistics().items()}
    state, n = engine.named_state(), sum(part.n for part in parts)
    targets = np.concatenate([part.own().targets for part in parts])
    of_targets = _digest(targets) if isinstance(once, Once) else b""
    for place in engine.graph.places:
        names = [name for name in place.layer.initial_state if f"{place.path}.{name}" in known]
        if not isinstance(place.layer, InputLayer) or not names:
            continue
        width = place.in_features
        some = max(_NUMBERS_AT_A_TIME // max(n, 1), 1)
        for first in range(0, width, some):
            count = min(some, width - first)
            read = [
                engine.input_columns(part.X, place.inputs[0], first, count, part.rows)
                for part in parts
            ]
            columns = read[0] if len(read) == 1 else np.concatenate(read)
            for j in range(count):
                numbers = np.ascontiguousarray(columns[:, j])
                column = Column(numbers, targets, parts[0].X.dtype)
                try:
                    learned = _learned(place.layer, column, of_targets, once)
                except ValueError as error:
                    raise ValueError(f"X: {error}, got others at layers[{place.path}]") from None
                for name in names:
                    if not known[f"{place.path}.{name}"]:
                        state[f"{place.path}.{name}"][..., first + j] = learned[name]


def _learned(layer: InputLayer, column: Column, of_targets: bytes, once: Calls) -> dict[str, Any]:
    """Return what a layer learns of a column; several fits, where it is the same."""
    if not isinstance(once, Once):
        return layer.learn(column)
    key = type(layer), repr(layer), column.dtype, _digest(column.numbers), of_targets
    return once.remember(key, lambda: layer.learn(column))


def _digest(values: Array) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(values).data, digest_size=16).digest()


def _tell_layers(engine: Engine, mean: Floats, std: Floats, names: Array | None) -> None:
    """Let `Standardize` know of mean and standard deviation of the inputs."""
    state = engine.named_state()
    for i, layer in enumerate(engine.layers):
        wrong = ~(np.isfinite(mean) & np.isfinite(std))
        if wrong.any():
            raise ValueError(
                "X: expected numbers whose standard deviation a float64 holds, got larger ones in "
                f"{columns.text(int(np.argmax(wrong)), names)}"
            )
        if isinstance(layer, Standardize):
            state[f"{i}.mean"][:], state[f"{i}.std"][:] = mean, np.where(std > 0, std, 1)
        if not isinstance(layer, InputLayer):
            break
        mean, std = layer.moments(mean, std)


class _Moments:
    """Mean and standard deviation of each column, of parts that come one after the other.

    They are joined as in T. F. Chan, G. H. Golub, R. J. LeVeque (1983), "Algorithms for computing
    the sample variance", The American Statistician 37(3).
    """

    def __init__(self) -> None:
        self._n = 0
        self._mean: Any = 0.0
        self._std: Any = 0.0
        self._dtype: np.dtype[Any] = np.dtype(np.float64)

    def add(self, X: Any, rows: Integers | None) -> None:
        """Take some rows of X (n, columns) into account; None: all."""
        m = X.shape[0] if rows is None else len(rows)
        if m == 0:
            return
        mean, std = np.empty(X.shape[1]), np.empty(X.shape[1])
        _core.column_statistics(X, mean, std, rows)
        n, self._dtype = self._n + m, X.dtype
        if self._n:
            share = m / n
            with np.errstate(over="ignore", invalid="ignore"):  # the caller reports it
                step = mean - self._mean
                within = self._std * np.sqrt(1 - share), std * np.sqrt(share)
                std = np.hypot(np.hypot(*within), step * np.sqrt(share * (1 - share)))
                mean = self._mean + share * step
        self._n, self._mean, self._std = n, mean, std

    def mean_and_std(self, positions: Shape = ()) -> tuple[Floats, Floats]:
        """Return both; a standard deviation that may be one of rounding is 0.

        Columns that are channels at so many positions, one after the other, have those of their
        channel over all of these.
        """
        n, mean, std = self._n, self._mean, self._std
        if positions:
            at_each = mean.reshape(math.prod(positions), -1), std.reshape(math.prod(positions), -1)
            n *= math.prod(positions)
            mean = at_each[0].mean(axis=0)
            with np.errstate(over="ignore", invalid="ignore"):  # the caller reports it
                deviations = np.hypot(at_each[1], at_each[0] - mean)
                std = np.sqrt(np.square(deviations).mean(axis=0))
        std = np.where(varies_by_rounding(mean, std, n, self._dtype), 0, std)
        return np.tile(mean, math.prod(positions)), np.tile(std, math.prod(positions))


# ---------------------------------------------------------------------- targets


def labels(loss: Loss, out_features: int, classes: Array | None) -> Array | None:
    """Return what outputs stand for in a model of such `classes_`; None: values."""
    own = loss.classes(out_features)
    return own if own is None or classes is None else classes


def find_classes(
    engine: Engine,
    y: ArrayLike,
    loss: Loss,
    shape: Shape,
    rows: Integers | None,
    name: str = "y",
    once: Calls = each_time,
) -> Array | None:
    """Return `classes_` from a fit on some rows on, whose outputs have that shape."""
    known, out_features = engine.classes_, shape[-1]
    if known is None:
        return once(data.find_classes, y, loss, shape, name, rows)
    own = loss.classes(out_features)
    if own is None or engine.loss is None or np.array_equal(known, own):
        return known
    # Where numbers stood for themselves under another loss, as 0 and 1, they may now: as -1 and 1.
    before: Any = losses.check(engine.loss).classes(out_features)
    if np.array_equal(known, before) and known.dtype == before.dtype:
        found = data.find_classes(y, loss, shape, name, rows)
        return found if found is not None and np.array_equal(found, own) else known
    return known


def examples(
    engine: Engine,
    X: Any,
    y: ArrayLike,
    loss: Loss,
    sample_weight: ArrayLike | None = None,
    class_weight: ClassWeight | None = None,
    *,
    classes: Array | None = None,
    dtype: np.dtype[Any] | None = None,
    names: tuple[str, str] = ("y", "sample_weight"),
    scaled: bool = True,
    in_shape: Shape | None = None,
    once: Calls = each_time,
) -> data.Examples:
    """Return features with their targets and weights, and without rows of weight 0.

    `in_shape` is that of one example, if it is not built yet. `classes` are those of the model, or
    will be; `names` are of the arguments. Targets that are standardized are so only if they are to
    be `scaled`, else `scale_targets` does it.
    """
    classes = engine.classes_ if classes is None else classes
    dtype = engine.dtype if dtype is None else dtype
    out_shape = engine.out_shape if in_shape is None else engine.out_shape_of(in_shape)
    shape = (X.shape[0], *out_shape)
    sample_weight = existing(engine, X, sample_weight, in_shape)
    weights, rows = once(data.sample_weights, sample_weight, shape[:-1], names[1])
    kept = dtype_of_targets(engine, dtype)
    targets = once(data.targets, y, loss, shape, classes, kept, names[0], rows)
    if loss.task == "pairs":
        data.check_shared(targets if rows is None else targets[rows], loss, names[0])
    given = once(data.given_targets, y, shape, names[0], rows)
    given = data.everywhere(given, math.prod(shape[:-1]), rows)
    unweighted = data.Examples(X, targets, given, rows=rows)
    if len(shape) > 2:
        positions = math.prod(shape[1:-1])
        rows = None if rows is None else np.unique(rows // positions)
        unweighted = unweighted._replace(rows=rows, positions=positions)
    of = labels(loss, shape[-1], classes)
    weighed = data.weigh(unweighted, weights, class_weight, loss, of, dtype, names[1])
    return scale_targets(engine, weighed, dtype) if scaled else weighed


def dtype_of_targets(engine: Engine, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in which targets are kept until they are scaled, where they are."""
    return np.dtype(np.float64) if engine.standardize_targets else dtype


def scale_targets(
    engine: Engine, examples: data.Examples, dtype: np.dtype[Any] | None = None
) -> data.Examples:
    """Return examples with the targets that a loss is computed of."""
    if not engine.standardize_targets:
        return examples
    check_targets_known(engine)
    targets = (examples.targets - engine.target_mean) / engine.target_std
    return examples._replace(targets=targets.astype(engine.dtype if dtype is None else dtype))


def check_targets_known(engine: Engine) -> None:
    """Raise RuntimeError if targets are standardized, and it is not known yet by what."""
    if engine.standardize_targets and engine.target_mean is None:
        raise RuntimeError(
            "this model, with standardize_targets=True, has not learned mean and deviation of its "
            "targets yet; fit it first"
        )
