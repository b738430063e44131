"""What `Sequential.fit` does."""

import math
import time
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core, checks, columns, data, losses, optim
from .callbacks import check as check_callbacks
from .callbacks import tell
from .datasets.split import split_rows
from .guidance import written
from .history import History
from .layers import InputLayer, Layer, Standardize
from .losses import Loss
from .metrics import Metric, larger_is_better
from .metrics import check as check_metrics
from .optim import Optimizer
from .optim.minimizer import find as find_optimizer
from .progress import check as check_verbose
from .progress import progress
from .rounding import varies_by_rounding
from .typing import Array, ArrayLike, ClassWeight, Floats, Inputs, Integer, Integers, Real

if TYPE_CHECKING:
    from .models import Sequential

# Random streams: below, the initial parameters; from here on, the row orders; the last, splits.
_ORDERS = 2**32


def fit(model: "Sequential", X: Inputs, y: ArrayLike, **options: Any) -> History:
    """Train `model` in place and return its history; see `Sequential.fit`."""
    token = object()
    try:
        if model._claims.setdefault("fit", token) is not token:  # atomic, and safe from Ctrl-C
            raise RuntimeError("fit: this model is within a fit already")
        return _fit(model, X, y, **options)
    finally:
        if model._claims.get("fit") is token:
            model._claims.clear()


def _fit(
    model: "Sequential",
    X: Inputs,
    y: ArrayLike,
    *,
    loss: str | Loss | None,
    optimizer: Any,
    epochs: Integer,
    batch_size: Integer,
    gradient_accumulation_steps: Integer,
    shuffle: bool,
    validation_split: Real | None,
    validation_data: Any,
    sample_weight: ArrayLike | None,
    class_weight: ClassWeight | None,
    metrics: Any,
    patience: Integer | None,
    min_delta: Real,
    monitor: str,
    callbacks: Any,
    verbose: object,
) -> History:
    # What the user gave, as the core reads it: nothing is copied whole, nothing changed.
    given, loss = loss if loss is not None else model.loss, model._check_loss(loss)
    epochs = checks.integer(epochs, "epochs", minimum=1)
    batch_size = checks.integer(batch_size, "batch_size", minimum=1)
    batches_per_step = checks.integer(
        gradient_accumulation_steps, "gradient_accumulation_steps", minimum=1
    )
    shuffle = checks.boolean(shuffle, "shuffle")
    style = check_verbose(verbose)
    names = model._feature_names(X)
    X = model._training_features(X, model.in_features if model.built else None, names)
    sample_weight, rows = data.sample_weights(sample_weight, X.shape[0])
    classes = _find_classes(model, y, loss, X.shape, rows)
    examples = model._examples(X, y, loss, sample_weight, class_weight, classes=classes)
    model._check_finite(X, "X", names, examples.rows)
    validation = _check_validation(model, validation_data, loss, X.shape[1], names, classes)
    if validation_split is not None:
        if validation is not None:
            raise ValueError("validation_split: expected None beside validation_data")
        labels = model._labels(loss, model._widths(X.shape[1])[-1], classes)
        examples, validation = (
            data.weigh(part, sample_weight, of_classes, loss, labels, model.dtype)
            for part, of_classes in zip(
                _split(examples, loss, validation_split, model.seed),
                (class_weight, None),
                strict=True,
            )
        )
    metrics = _check_metrics(model, metrics, loss, X.shape[1], validation)
    patience, min_delta = _check_stopping(patience, min_delta, monitor, loss, metrics, validation)
    listeners = check_callbacks(callbacks)
    optimizer = _check_optimizer(model, optimizer)
    _warn_of_flat_layers(model.layers)

    # The network with its plan, built once, and the optimizer's state.
    model.build(X.shape[1])
    _learn_statistics(model, X, names, examples.rows)
    optimizer._attach(model)
    model._saved_optimizer = None  # from here on there is another one
    history = History()
    model.loss, model.classes_, model.history = given, classes, history
    model.feature_names_in_ = names
    stopping = _EarlyStopping(model, history, monitor, patience, min_delta)

    try:
        with ExitStack() as ends:  # on every way out, the last of them first
            for listener in listeners:
                tell(listener, "on_fit_begin", model)
                ends.callback(tell, listener, "on_fit_end", model, history)
            ends.callback(stopping.restore)
            show = ends.enter_context(progress(style, epochs))
            for epoch in range(epochs):
                order = _row_order(model, examples, shuffle)
                record = _train_epoch(
                    model, examples, order, loss, optimizer, batch_size, batches_per_step
                )
                if validation is not None:
                    scores = model._evaluate(validation, loss, metrics)
                    record |= {f"val_{key}": value for key, value in scores.items()}
                stopping.append(record)
                show(record)
                stops = [_tell_epoch(each, model, epoch, record, history) for each in listeners]
                if stopping.is_over or any(stops):
                    history._stopped_early = epoch + 1 < epochs
                    break
            if not np.isfinite(model._parameters).all():
                raise FloatingPointError(
                    f"the parameters are not finite after epoch {history.epochs}: the last "
                    "step overflowed. Likely cure: a lower learning rate"
                )
    finally:
        stopping.restore()  # Ctrl-C may have come before the first time
    return history


def _tell_epoch(
    listener: Any, model: "Sequential", epoch: int, record: dict[str, Any], history: History
) -> bool:
    """Tell of an epoch, and note what the listener made of its record; return whether to stop."""
    try:
        return tell(listener, "on_epoch_end", model, epoch, record)
    finally:
        history._amend(record)


def _train_epoch(
    model: "Sequential",
    examples: data.Examples,
    order: Integers,
    loss: Loss,
    optimizer: Optimizer,
    batch_size: int,
    batches_per_step: int,
) -> dict[str, Any]:
    """Train for one epoch and return the record of it."""
    train = _train_fused if optimizer._bound is None else _train_stepwise
    before = optimizer.step_count
    start = time.perf_counter()
    try:
        # (3,): weighted sums of loss and right answers, steps; and the last learning rate
        report, lr = train(model, examples, order, loss, optimizer, batch_size, batches_per_step)
    except FloatingPointError:
        step = optimizer.step_count
        raise FloatingPointError(
            f"the loss is not finite in epoch {model.history.epochs + 1}, step "
            f"{step - before + 1} of it (both counted from 1); this step was not applied. "
            f"Likely cures: a lower learning rate (it is {optimizer._rate(step):g}), inputs "
            "scaled to about -1 to 1"
        ) from None
    seconds = time.perf_counter() - start
    model.epochs_trained += 1
    weights = examples.weights
    total = len(order) if weights is None else weights[order].sum(dtype=np.float64)
    return {
        **model._scores(report[0] / total, report[1] / total, loss),
        "lr": float(lr),
        "seconds": seconds,
    }


def _train_fused(
    model: "Sequential",
    examples: data.Examples,
    order: Integers,
    loss: Loss,
    optimizer: Optimizer,
    batch_size: int,
    batches_per_step: int,
) -> tuple[Floats, float]:
    """Make all steps of an epoch in one call; return its report and last learning rate."""
    # The hyper-parameters of each step ...
    steps = _divide_up(_divide_up(len(order), batch_size), batches_per_step)
    lr, update = optimizer._next(optimizer.lr, "lr", steps), optimizer._update(steps)
    state = optimizer._vectors(model._parameters)
    before, report = optimizer._begin_epoch()
    # ... and one call, in which batches are gathered, and the parameters and state change.
    model._net.train(
        model._parameters,
        examples.X,
        examples.targets,
        loss._spec(),
        order,
        batch_size,
        lr,
        update,
        state,
        before,
        report,
        examples.weights,
        model._state,
        batches_per_step,
    )
    return report, lr if isinstance(lr, float) else lr[-1]


def _train_stepwise(
    model: "Sequential",
    examples: data.Examples,
    order: Integers,
    loss: Loss,
    optimizer: Optimizer,
    batch_size: int,
    batches_per_step: int,
) -> tuple[Floats, float]:
    """The same in which the core asks for each update: by an optimizer that is more than a rule."""
    gradient, report = np.empty_like(model._parameters), np.zeros(3)
    gradients = model._named(gradient)
    ascended = False

    def take_step(finite: bool) -> bool:
        nonlocal ascended
        if not finite:
            if not optimizer.skip_nonfinite:
                raise FloatingPointError
            gradient.fill(np.nan)
        if optimizer.sam is not None and not ascended:
            optimizer.ascend(gradients)
            ascended = True
            return True
        optimizer.step(gradients)
        ascended = False
        return False

    try:
        model._net.train_stepwise(
            model._parameters,
            examples.X,
            examples.targets,
            loss._spec(),
            order,
            batch_size,
            gradient,
            take_step,
            report,
            examples.weights,
            model._state,
            batches_per_step,
        )
    finally:
        optimizer._own("fit").descend()
    return report, optimizer._rate(max(0, optimizer.step_count - 1))


def _learn_statistics(
    model: "Sequential", X: Any, names: Array | None = None, rows: Integers | None = None
) -> None:
    """Let `Standardize` learn from the given rows of X (None: all) what it does not know yet."""
    if not np.isnan(model._state).any():
        return
    mean, std = np.empty(model.in_features), np.empty(model.in_features)
    _core.column_statistics(X, mean, std, rows)
    n = X.shape[0] if rows is None else len(rows)
    std[varies_by_rounding(mean, std, n, X.dtype)] = 0
    state = model.named_state()
    for i, layer in enumerate(model.layers):
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


def _divide_up(a: int, b: int) -> int:
    return -(-a // b)


def _row_order(model: "Sequential", examples: data.Examples, shuffle: bool) -> Integers:
    """Return the rows of this epoch: a function of the seed and the epochs trained."""
    rows = examples.rows
    if not shuffle:
        return np.arange(examples.n) if rows is None else rows
    order = _core.permutation(model.seed, _ORDERS + model.epochs_trained, examples.n)
    return order if rows is None else rows[order]


class _EarlyStopping:
    """Writes the history; with `patience` it finds the best epoch and restores its values."""

    def __init__(
        self,
        model: "Sequential",
        history: History,
        monitor: str,
        patience: int | None,
        min_delta: float,
    ) -> None:
        self._model, self._history, self._monitor = model, history, monitor
        self._patience, self._min_delta = patience, min_delta
        self._best = -math.inf  # value of the monitor so far, signed so that larger is better
        self._level = -math.inf  # from which an improvement counts
        self._waited = 0  # epochs since then
        self._kept: tuple[int, list[Array]] | None = (
            None  # the best epoch, and copies of what the model had learned
        )

    @property
    def is_over(self) -> bool:
        """Whether the patience has ended (bool)."""
        return self._patience is not None and self._waited >= self._patience

    def append(self, record: dict[str, Any]) -> None:
        """Add the record of an epoch to the history."""
        history, epoch, best = self._history, self._history.epochs, self._history.best_epoch
        if self._patience is None:
            history._append(record)
            return
        value = record[self._monitor]
        if not larger_is_better(self._monitor):
            value = -value
        if value > self._best or (best is None and not math.isnan(value)):
            best, self._best = epoch, value
        self._waited += 1
        if value > self._level + self._min_delta:
            self._level, self._waited = value, 0
        history._append(record, best)
        # If Ctrl-C comes here, the model has the values of the best epoch: nothing to restore.
        if best == epoch:
            self._kept = epoch, [vector.copy() for vector in self._model._vectors()]

    def restore(self) -> None:
        """Give the model the values of the best epoch."""
        if self._kept is not None and self._kept[0] == self._history.best_epoch:
            for vector, kept in zip(self._model._vectors(), self._kept[1], strict=True):
                vector[:] = kept
        self._kept = None


# ---------------------------------------------------------------------- validation


def _split(examples: data.Examples, loss: Loss, fraction: Real, seed: int) -> list[data.Examples]:
    """Return the examples in two parts without weights, the second of about that fraction.

    A function of the seed, the number of rows and the labels. In both parts each class has its
    share to within one row.
    """
    fraction = checks.real(fraction, "validation_split", minimum=0, below=1)
    n = examples.n
    held_out = round(n * fraction)
    if not 0 < held_out < n:
        raise ValueError(
            "validation_split: expected a fraction that leaves rows on both sides, got "
            f"{fraction:g}, which is {held_out} of {n}"
        )
    rows = np.arange(n) if examples.rows is None else examples.rows
    labels = _class_labels(examples.own().targets, loss)
    if labels is None:
        labels = np.zeros(n, np.int8)  # one class of all
    parts = split_rows(labels, [n - held_out, held_out], seed)
    return [examples._replace(weights=None, rows=rows[np.sort(part)]) for part in parts]


def _class_labels(targets: Array, loss: Loss) -> Array | None:
    """Return what the rows are to be shared by, (n,), or None."""
    if targets.ndim == 1:
        return targets
    if loss.task == "binary" and targets.shape[1] == 1 and np.isin(targets, loss.codes).all():
        return targets[:, 0]
    return None


# ---------------------------------------------------------------------- checks


def _check_validation(
    model: "Sequential",
    validation_data: Any,
    loss: Loss,
    in_features: int,
    names: Array | None,
    classes: Array | None,
) -> data.Examples | None:
    if validation_data is None:
        return None
    try:
        if not isinstance(validation_data, (list, tuple)):
            raise TypeError
        X, y, sample_weight = (
            validation_data if len(validation_data) == 3 else (*validation_data, None)
        )
    except (TypeError, ValueError):
        came = checks.describe(validation_data)
        raise TypeError(
            f"validation_data: expected (X, y) or (X, y, sample_weight), got {came}"
        ) from None
    X = model._training_features(X, in_features, names, "validation_data[0]")
    of_arguments = ("validation_data[1]", "validation_data[2]")
    examples = model._examples(X, y, loss, sample_weight, classes=classes, names=of_arguments)
    model._check_finite(X, "validation_data[0]", names, examples.rows)
    return examples


def _check_metrics(
    model: "Sequential",
    metrics: Any,
    loss: Loss,
    in_features: int,
    validation: data.Examples | None,
) -> list[Metric]:
    weighted = validation is not None and validation.weights is not None
    metrics = check_metrics(metrics, loss, model._widths(in_features)[-1], weighted)
    if metrics and validation is None:
        raise ValueError(
            "metrics: expected validation_split or validation_data, of which they are, got neither"
        )
    return metrics


def _check_stopping(
    patience: Integer | None,
    min_delta: Real,
    monitor: str,
    loss: Loss,
    metrics: list[Metric],
    validation: data.Examples | None,
) -> tuple[int | None, float]:
    """Return the checked `patience` and `min_delta`."""
    min_delta = checks.real(min_delta, "min_delta", minimum=0)
    if patience is None:
        return None, min_delta
    patience = checks.integer(patience, "patience", minimum=1)
    own = ["loss"] if loss.task == "values" else ["loss", "accuracy"]
    names = [*own, *(metric.name for metric in metrics if metric.name not in own)]
    known = own if validation is None else [*own, *(f"val_{name}" for name in names)]
    if monitor not in known:
        hint = ", as there are no validation data" if validation is None else ""
        raise ValueError(f"monitor: expected one of {', '.join(known)}{hint}; got {monitor!r}")
    larger_is_better(monitor)
    return patience, min_delta


def _find_classes(
    model: "Sequential",
    y: ArrayLike,
    loss: Loss,
    shape: tuple[int, int],
    rows: Integers | None,
) -> Array | None:
    """Return the `classes_` of the model from this fit on, on some rows of inputs of that shape."""
    known, out_features = model.classes_, model._widths(shape[1])[-1]
    if known is None:
        return data.find_classes(y, loss, shape[0], out_features, rows=rows)
    own = loss.classes(out_features)
    if own is None or model.loss is None or np.array_equal(known, own):
        return known
    # Where numbers stood for themselves under another loss, as 0 and 1, they may now: as -1 and 1.
    before: Any = losses.check(model.loss).classes(out_features)
    if np.array_equal(known, before) and known.dtype == before.dtype:
        found = data.find_classes(y, loss, shape[0], out_features, rows=rows)
        return found if found is not None and np.array_equal(found, own) else known
    return known


def _warn_of_flat_layers(layers: Sequence[Layer]) -> None:
    last = max((i for i, layer in enumerate(layers) if layer.flat), default=0)
    frozen = [f"layers[{i}]" for i in range(last) if layers[i].parameter_shapes(1)]
    if frozen:
        warnings.warn(
            f"the derivative of layers[{last}], {layers[last]!r}, is zero almost everywhere: no "
            f"gradient reaches the parameters in front of it, and {', '.join(frozen)} will not "
            "learn. A smooth relative such as Sigmoid() or Tanh() learns",
            UserWarning,
            stacklevel=6,  # the caller of Sequential.fit
        )


def _check_optimizer(model: "Sequential", optimizer: Any) -> Optimizer:
    if optimizer is None:
        if model._saved_optimizer is not None:
            warnings.warn(
                f"optimizer: this fit starts a new Adam(), though this model's file has the state "
                f"of {model._saved_optimizer}; to go on with that: "
                "model, optimizer = fnn.load(path, optimizer=True), and optimizer=optimizer here",
                UserWarning,
                stacklevel=6,  # the caller of Sequential.fit
            )
        return optim.Adam()
    if isinstance(optimizer, str):
        return find_optimizer(optimizer)()
    if not isinstance(optimizer, optim.Optimizer):
        came = f"{checks.describe(optimizer)}{written(optimizer)}"
        raise TypeError(
            f"optimizer: expected an optimizer such as fnn.optim.Adam(lr=1e-3), got {came}"
        )
    return optimizer
