"""What users pass to a model, checked and as its engine takes it."""

from typing import Any

import numpy as np

from . import _core, checks, columns, config, data, losses
from .engine import Engine
from .layers import InputLayer, Standardize
from .losses import Loss
from .rounding import varies_by_rounding
from .typing import Array, ArrayLike, ClassWeight, Inputs, Integers


def check_loss(engine: Engine, loss: str | Loss | None) -> Loss:
    """Return the Loss that the argument `loss` of a method means."""
    if loss is None and engine.loss is None:
        names = ", ".join(losses.NAMES)
        raise ValueError(
            "loss: expected a loss, as this model has not been fitted, got None; pass loss=, "
            f"one of {names}"
        )
    checked = losses.check(engine.loss if loss is None else loss)
    if loss is not None:
        config.check_rounded(checked, engine.dtype, "loss: ")
    losses.check_last_layer(checked, engine.layers)
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


def feature_names(engine: Engine, X: Any) -> Array | None:
    """Return the names of columns that hold from a call with X on, (in_features,) or None."""
    if engine.feature_names_in_ is not None:
        return engine.feature_names_in_
    names = columns.names_of(X, "X")
    return None if names is None else np.array(names, object)


def features(engine: Engine, X: Inputs, allow_nonfinite: bool = True) -> Array:
    """Return X to compute with; the first fixes the number of columns, and their names."""
    allow_nonfinite = checks.boolean(allow_nonfinite, "allow_nonfinite")
    names = engine.feature_names_in_ if engine.built else feature_names(engine, X)
    X = data.features(X, known=names)
    if not engine.built:
        engine.build(X.shape[1])
        engine.feature_names_in_ = names
    check_learned(engine)
    if not allow_nonfinite:
        check_finite(engine, X, "X", names)
    return X


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
    engine: Engine, X: Inputs, in_features: int | None, names: Array | None, name: str = "X"
) -> Array:
    """Return X to learn from, with so many columns if their number is known."""
    X = data.features(X, name, names)
    if X.shape[0] == 0:
        raise ValueError(f"{name}: expected at least one row, got shape {X.shape}")
    if in_features not in (None, X.shape[1]):
        raise ValueError(f"{name}: expected {in_features} columns, got shape {X.shape}")
    return X


def check_finite(
    engine: Engine, X: Any, name: str, names: Array | None, rows: Integers | None = None
) -> None:
    """Raise ValueError if a number of X is not finite as the first layer reads it."""
    if engine.built and X.shape[1] != engine.net.in_features:
        return  # the core says so
    # Input layers bring into the range of the model's dtype what is beyond it.
    maps = any(isinstance(layer, InputLayer) for layer in engine.layers)
    data.check_finite(X, np.dtype("float64") if maps else engine.dtype, name, names, rows)


def learn_statistics(
    engine: Engine, X: Any, names: Array | None = None, rows: Integers | None = None
) -> None:
    """Let `Standardize` learn from the given rows of X (None: all) what it does not know yet."""
    if not any(np.isnan(view).any() for view in engine.statistics().values()):
        return
    mean, std = np.empty(X.shape[1]), np.empty(X.shape[1])
    _core.column_statistics(X, mean, std, rows)
    n = X.shape[0] if rows is None else len(rows)
    std[varies_by_rounding(mean, std, n, X.dtype)] = 0
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


# ---------------------------------------------------------------------- targets


def labels(loss: Loss, out_features: int, classes: Array | None) -> Array | None:
    """Return what outputs stand for in a model of such `classes_`; None: values."""
    own = loss.classes(out_features)
    return own if own is None or classes is None else classes


def find_classes(
    engine: Engine, y: ArrayLike, loss: Loss, shape: tuple[int, int], rows: Integers | None
) -> Array | None:
    """Return `classes_` from a fit on some rows of inputs of that shape on."""
    known, out_features = engine.classes_, engine.out_features(shape[1])
    if known is None:
        return data.find_classes(y, loss, shape[0], out_features, rows=rows)
    own = loss.classes(out_features)
    if own is None or engine.loss is None or np.array_equal(known, own):
        return known
    # Where numbers stood for themselves under another loss, as 0 and 1, they may now: as -1 and 1.
    before: Any = losses.check(engine.loss).classes(out_features)
    if np.array_equal(known, before) and known.dtype == before.dtype:
        found = data.find_classes(y, loss, shape[0], out_features, rows=rows)
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
) -> data.Examples:
    """Return features with their targets and weights, and without rows of weight 0.

    `classes` are those of the model, or will be; `names` are of the arguments.
    """
    classes = engine.classes_ if classes is None else classes
    dtype = engine.dtype if dtype is None else dtype
    n, out_features = X.shape[0], engine.out_features(X.shape[1])
    weights, rows = data.sample_weights(sample_weight, n, names[1])
    targets = data.targets(y, loss, n, out_features, classes, dtype, names[0], rows)
    given = data.everywhere(data.as_targets(y, names[0], rows), n, rows)
    unweighted = data.Examples(X, targets, given, rows=rows)
    of = labels(loss, out_features, classes)
    return data.weigh(unweighted, weights, class_weight, loss, of, dtype, names[1])
