"""What `Sequential.fit` does."""

import math
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np

from . import _core, checkpoint, checks, data, intake, optim, outcome
from .datasets.split import split_rows
from .engine import Engine
from .graph import Graph
from .guidance import written
from .history import History, add_record, amend_record, set_stopped_early
from .listeners import check as check_callbacks
from .listeners import tell
from .losses import Loss
from .metrics import Metric, larger_is_better
from .metrics import check as check_metrics
from .modelfile import Part
from .optim import Optimizer
from .optim.base import attach, tensors
from .optim.base import find as find_optimizer
from .optim.bound import Bound
from .optim.rule import rate_at
from .optim.saved import check_names
from .progress import check as check_verbose
from .progress import progress
from .typing import Array, ArrayLike, ClassWeight, Floats, Inputs, Integer, Integers, Path, Real

# Random streams: below, the initial parameters; from here on, the row orders; the last, splits.
_ORDERS = 2**32
_VECTORS = ("parameters", "state")  # that early stopping keeps, by their names in a file


def fit(
    model: object,
    engine: Engine,
    X: Inputs,
    y: ArrayLike,
    *,
    resume: Path | None = None,
    **options: Any,
) -> History:
    """Train in place and return the history; see `Sequential.fit`. Callbacks get the `model`.

    Beside its options there is `ridge`, at least 0: half of this many times the squares of all
    weights, but no biases, is a part of the sum of losses of every step.
    """
    token = object()
    try:
        engine.claim(token)
        start = None if resume is None else checkpoint.read(resume, engine)
        if start is not None:
            start.give_model(engine)
        return _fit(model, engine, X, y, start, **options)
    finally:
        engine.release(token)


def _fit(
    model: object,
    engine: Engine,
    X: Inputs,
    y: ArrayLike,
    start: checkpoint.Checkpoint | None,
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
    train_metrics: bool,
    patience: Integer | None,
    min_delta: Real,
    monitor: str,
    callbacks: Any,
    verbose: object,
    ridge: Real = 0.0,
) -> History:
    # What the user gave, as the core reads it: nothing is copied whole, nothing changed.
    given = loss if loss is not None else engine.loss
    loss = intake.check_loss(engine, loss)
    epochs = checks.integer(epochs, "epochs", minimum=1)
    batch_size = checks.integer(batch_size, "batch_size", minimum=1)
    batches_per_step = checks.integer(
        gradient_accumulation_steps, "gradient_accumulation_steps", minimum=1
    )
    ridge = checks.real(ridge, "ridge", minimum=0)
    shuffle = checks.boolean(shuffle, "shuffle")
    style = check_verbose(verbose)
    names = intake.feature_names(engine, X)
    in_features = engine.network().in_features if engine.built else None
    X = intake.training_features(engine, X, in_features, names)
    sample_weight, rows = data.sample_weights(sample_weight, X.shape[0])
    classes = intake.find_classes(engine, y, loss, X.shape, rows)
    examples = intake.examples(engine, X, y, loss, sample_weight, class_weight, classes=classes)
    intake.check_finite(engine, X, "X", names, examples.rows)
    validation = _check_validation(engine, validation_data, loss, X.shape[1], names, classes)
    if validation_split is not None:
        if validation is not None:
            raise ValueError("validation_split: expected None beside validation_data")
        labels = intake.labels(loss, engine.out_features(X.shape[1]), classes)
        examples, validation = (
            data.weigh(part, sample_weight, of_classes, loss, labels, engine.dtype)
            for part, of_classes in zip(
                _split(examples, loss, validation_split, engine.seed),
                (class_weight, None),
                strict=True,
            )
        )
    check_batches(engine, examples.n, batch_size)
    evaluated = {"train_": examples} if checks.boolean(train_metrics, "train_metrics") else {}
    if validation is not None:
        evaluated["val_"] = validation
    metrics = _check_metrics(metrics, loss, engine.out_features(X.shape[1]), evaluated, classes)
    patience, min_delta = _check_stopping(patience, min_delta, monitor, loss, metrics, evaluated)
    listeners = check_callbacks(callbacks)
    optimizer = _check_optimizer(engine, optimizer)
    _warn_of_flat_layers(Graph(engine.layers, X.shape[1]))

    # The network with its plan, built once, and the optimizer's state.
    if not engine.built:
        engine.build(X.shape[1])
    intake.learn_statistics(engine, X, names, examples.rows)
    attach(optimizer, engine)
    engine.saved_optimizer = None  # from here on there is another one
    history = History() if start is None else engine.history
    engine.loss, engine.classes_, engine.history = given, classes, history
    engine.feature_names_in_ = names
    stopping = _EarlyStopping(engine, history, monitor, patience, min_delta)
    running = checkpoint.Running(optimizer, stopping, listeners)
    told = of_steps(listeners, model)
    if start is not None:
        start.give_fit(engine, running)
        _warn_of_the_end(start, history.epochs, epochs, stopping.is_over or running.asked_to_stop)
    engine.running = running

    try:
        with ExitStack() as ends:  # on every way out, the last of them first
            engine.net.keep_memory(True)  # large networks: for the next epoch
            ends.callback(engine.net.keep_memory, False)
            for listener in listeners:
                tell(listener, "on_fit_begin", model)
                ends.callback(tell, listener, "on_fit_end", model, history)
            ends.callback(stopping.restore)
            show = ends.enter_context(progress(style, epochs, history.epochs))
            while history.epochs < epochs and not (stopping.is_over or running.asked_to_stop):
                epoch = history.epochs
                order = _row_order(engine, examples, shuffle)
                record, _ = train_epoch(
                    *(engine, examples, order, loss, optimizer),
                    *(batch_size, batches_per_step, ridge, told),
                )
                for prefix, part in evaluated.items():
                    scores = outcome.evaluate(engine, part, loss, metrics)
                    record |= {f"{prefix}{key}": value for key, value in scores.items()}
                stopping.append(record)
                show(record)
                stops = [_tell_epoch(each, model, epoch, record, history) for each in listeners]
                running.asked_to_stop = any(stops)
                for listener in listeners:
                    tell(listener, "on_epoch_recorded", model, epoch, record)
            set_stopped_early(history, history.epochs < epochs)
            for vector, name in zip(engine.vectors(), ("parameters", "statistics"), strict=True):
                if not np.isfinite(vector).all():
                    raise FloatingPointError(
                        f"the {name} are not finite after epoch {history.epochs}: the last "
                        "step overflowed. Likely cure: a lower learning rate"
                    )
    finally:
        stopping.restore()  # Ctrl-C may have come before the first time
    return history


def of_steps(listeners: list[Any], model: object) -> Callable[[int, dict[str, float]], None] | None:
    """Return what tells those who want to know of a step, if anybody does."""
    asking = [each for each in listeners if hasattr(each, "on_step_end")]

    def told(step: int, record: dict[str, float]) -> None:
        for listener in asking:
            tell(listener, "on_step_end", model, step, record)

    return told if asking else None


def _tell_epoch(
    listener: Any, model: object, epoch: int, record: dict[str, Any], history: History
) -> bool:
    """Tell of an epoch, and note what the listener made of its record; return whether to stop."""
    try:
        return tell(listener, "on_epoch_end", model, epoch, record)
    finally:
        amend_record(history, record)


def train_epoch(
    engine: Engine,
    examples: data.Examples,
    order: Integers,
    loss: Loss,
    optimizer: Optimizer,
    batch_size: int,
    batches_per_step: int,
    ridge: float | Floats,
    told: Callable[[int, dict[str, float]], None] | None = None,
) -> tuple[dict[str, Any], float]:
    """Train for one epoch; return the record of it, and the part of its loss that `ridge` is.

    All steps are made by one call of the core; by a call for each where somebody is `told` of each
    with its number and record. The bits are the same.
    """
    before, seconds = optimizer.step_count, 0.0
    rows_per_step = batch_size * batches_per_step
    rows_per_call = len(order) if told is None else rows_per_step
    report = np.zeros(4)  # see Engine.train_epoch
    clock = attach(optimizer, engine).begin_epoch(_divide_up(len(order), rows_per_step))

    def scores(report: Floats, rows: Integers) -> dict[str, float]:
        weights = examples.weights
        total = len(rows) if weights is None else weights[rows].sum(dtype=np.float64)
        mean = (report[0] - report[3]) / total + report[3] / len(rows)
        return outcome.scores(mean, report[1] / total, loss) | {"lr": float(lr)}

    for first in range(0, len(order), rows_per_call):
        rows, step = order[first : first + rows_per_call], first // rows_per_step
        bound = attach(optimizer, engine)  # again: callbacks may have changed its options or state
        bound.follow(clock)
        train = _train_fused if bound.fused else _train_stepwise
        ridge_of_call = (
            ridge if told is None or isinstance(ridge, float) else ridge[step : step + 1]
        )
        start = time.perf_counter()
        try:
            part, lr = train(
                *(engine, examples, rows, loss, optimizer, bound),
                *(batch_size, batches_per_step, ridge_of_call, step),
            )
        except FloatingPointError:
            step = optimizer.step_count
            raise FloatingPointError(
                f"the loss is not finite in epoch {engine.history.epochs + 1}, step "
                f"{step - before + 1} of it (both counted from 1); this step was not applied. "
                f"Likely cures: a lower learning rate (it is {rate_at(optimizer, step):g}), inputs "
                "scaled to about -1 to 1"
            ) from None
        seconds += time.perf_counter() - start
        report += part
        if told is not None:
            told(step, scores(part, rows))
    engine.epochs_trained += 1
    bound.epochs += 1
    return {**scores(report, order), "seconds": seconds}, float(report[3] / len(order))


def _train_fused(
    engine: Engine,
    examples: data.Examples,
    order: Integers,
    loss: Loss,
    optimizer: Optimizer,
    bound: Bound,
    batch_size: int,
    batches_per_step: int,
    ridge: float | Floats,
    first_step: int,
) -> tuple[Floats, float]:
    """Make the steps over the rows of `order` in one call; return its report and last rate.

    They are steps of an epoch from number `first_step` on.
    """
    # The hyper-parameters of each step ...
    steps = _divide_up(_divide_up(len(order), batch_size), batches_per_step)
    epoch = bound.next_epoch(steps)
    # ... and one call, in which batches are gathered, and the parameters and state change.
    engine.train_epoch(
        *(examples, loss, order, batch_size, batches_per_step),
        **(epoch | {"ridge": ridge, "first_step": first_step}),
    )
    lr = epoch["lr"]
    return epoch["report"], lr if isinstance(lr, float) else lr[-1]


def _train_stepwise(
    engine: Engine,
    examples: data.Examples,
    order: Integers,
    loss: Loss,
    optimizer: Optimizer,
    bound: Bound,
    batch_size: int,
    batches_per_step: int,
    ridge: float | Floats,
    first_step: int,
) -> tuple[Floats, float]:
    """The same in which the core asks for each update: by an optimizer that is more than a rule."""
    gradient, report = np.empty_like(engine.parameters), np.zeros(4)
    gradients = tensors(engine, gradient)
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
        engine.train_stepwise(
            examples,
            loss,
            order,
            batch_size,
            batches_per_step,
            gradient=gradient,
            take_step=take_step,
            report=report,
            ridge=ridge,
            first_step=first_step,
        )
    finally:
        bound.descend()
    return report, rate_at(optimizer, max(0, optimizer.step_count - 1))


def _divide_up(a: int, b: int) -> int:
    return -(-a // b)


def _row_order(engine: Engine, examples: data.Examples, shuffle: bool) -> Integers:
    """Return the rows of this epoch: a function of the seed and the epochs trained."""
    rows = examples.rows
    if not shuffle:
        return np.arange(examples.n) if rows is None else rows
    order = _core.permutation(engine.seed, _ORDERS + engine.epochs_trained, examples.n)
    return order if rows is None else rows[order]


class _EarlyStopping:
    """Writes the history; with `patience` it finds the best epoch and restores its values."""

    def __init__(
        self,
        engine: Engine,
        history: History,
        monitor: str,
        patience: int | None,
        min_delta: float,
    ) -> None:
        self._engine, self._history, self._monitor = engine, history, monitor
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
            add_record(history, record)
            return
        value = record[self._monitor]
        if not larger_is_better(self._monitor):
            value = -value
        if value > self._best or (best is None and not math.isnan(value)):
            best, self._best = epoch, value
        self._waited += 1
        if value > self._level + self._min_delta:
            self._level, self._waited = value, 0
        add_record(history, record, best)
        # If Ctrl-C comes here, the model has the values of the best epoch: nothing to restore.
        if best == epoch:
            self._kept = epoch, [vector.copy() for vector in self._engine.vectors()]

    def state(self) -> Part:
        """Return what it has counted, and the vectors that it has kept, for a file."""
        if self._patience is None:
            return Part()
        kept, vectors = (None, []) if self._kept is None else self._kept
        counts = {
            "monitor": self._monitor,
            "best": float(self._best),
            "level": float(self._level),
            "waited": self._waited,
            "kept": kept,
        }
        return Part(counts, dict(zip(_VECTORS, vectors, strict=False)))

    def go_on_from(self, part: Part) -> None:
        """Go on from what `state` gave; TypeError or ValueError if it did not."""
        if self._patience is None or part.description is None:
            return
        names = ("monitor", "best", "level", "waited", "kept")
        counts = check_names(part.description, names, "stopping")
        if counts["monitor"] != self._monitor:
            raise ValueError(
                f"monitor: expected {counts['monitor']!r}, whose best value it has, got "
                f"{self._monitor!r}"
            )
        waited = checks.integer(counts["waited"], "waited", 0, self._history.epochs)
        if not all(isinstance(counts[name], float) for name in ("best", "level")):
            raise TypeError("stopping: expected best and level to be numbers")
        if (kept := counts["kept"]) is not None:
            kept = checks.integer(kept, "kept", 0, self._history.epochs - 1)
            mine = self._engine.vectors()
            vectors = [part.arrays[name] for name in _VECTORS if name in part.arrays]
            if [(v.shape, v.dtype) for v in vectors] != [(v.shape, v.dtype) for v in mine]:
                raise ValueError("stopping: expected values of the parameters and the state")
            self._kept = kept, vectors
        self._best, self._level, self._waited = counts["best"], counts["level"], waited

    def restore(self) -> None:
        """Give the model the values of the best epoch."""
        if self._kept is not None and self._kept[0] == self._history.best_epoch:
            for vector, kept in zip(self._engine.vectors(), self._kept[1], strict=True):
                vector[:] = kept
        self._kept = None


def _warn_of_the_end(
    start: checkpoint.Checkpoint, done: int, epochs: int, has_stopped: bool
) -> None:
    """Tell that there is nothing left to do."""
    if done >= epochs or has_stopped:
        why = "had stopped early" if done < epochs else f"had done all of its {epochs} epochs"
        warnings.warn(
            f"resume: the run of {start.path} {why}, so that nothing is trained; for another run, "
            "remove that file or name a new one",
            UserWarning,
            stacklevel=6,  # the caller of Sequential.fit
        )


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


def check_batches(engine: Engine, n: int, batch_size: int) -> None:
    """One row has no statistics."""
    place = engine.first_that_couples_rows()
    if place is None or (n - 1) % batch_size > 0:  # rows of the last batch besides one
        return
    why = f"as layers[{place.path}], {place.layer!r}, takes statistics of each batch"
    if n == 1:
        raise ValueError(f"X: expected at least two rows to train on, {why}; got one")
    cure = next(size for size in range(batch_size + 1, n + 1) if (n - 1) % size > 0)
    raise ValueError(
        f"batch_size: expected one that leaves no batch with a single row, {why}; got "
        f"{batch_size}, and one of the {n} rows is alone; batch_size={cure}, say"
    )


def _check_validation(
    engine: Engine,
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
    X = intake.training_features(engine, X, in_features, names, "validation_data[0]")
    of_arguments = ("validation_data[1]", "validation_data[2]")
    examples = intake.examples(
        engine, X, y, loss, sample_weight, classes=classes, names=of_arguments
    )
    intake.check_finite(engine, X, "validation_data[0]", names, examples.rows)
    return examples


def _check_metrics(
    metrics: Any,
    loss: Loss,
    out_features: int,
    evaluated: dict[str, data.Examples],
    classes: Array | None,
) -> list[Metric]:
    weighted = any(part.weights is not None for part in evaluated.values())
    metrics = check_metrics(metrics, loss, out_features, weighted)
    if metrics and not evaluated:
        raise ValueError(
            "metrics: expected validation_split or validation_data, of which they are, or "
            "train_metrics=True, got none of them"
        )
    for part in evaluated.values():
        outcome.check_scorers(part, loss, metrics, out_features, classes)
    return metrics


def _check_stopping(
    patience: Integer | None,
    min_delta: Real,
    monitor: str,
    loss: Loss,
    metrics: list[Metric],
    evaluated: dict[str, data.Examples],
) -> tuple[int | None, float]:
    """Return the checked `patience` and `min_delta`."""
    min_delta = checks.real(min_delta, "min_delta", minimum=0)
    if patience is None:
        return None, min_delta
    patience = checks.integer(patience, "patience", minimum=1)
    own = ["loss"] if loss.task == "values" else ["loss", "accuracy"]
    names = [*own, *(metric.name for metric in metrics if metric.name not in own)]
    known = [*own, *(f"{prefix}{name}" for prefix in evaluated for name in names)]
    if monitor not in known:
        hint = "" if "val_" in evaluated else ", as there are no validation data"
        raise ValueError(f"monitor: expected one of {', '.join(known)}{hint}; got {monitor!r}")
    larger_is_better(monitor)
    return patience, min_delta


def _warn_of_flat_layers(graph: Graph) -> None:
    """Tell of layers from which every way to the outputs leads through one without slope."""
    reached = {len(graph.places)}
    for number, place in reversed(list(enumerate(graph.places))):
        if number + 1 in reached and not place.layer.flat:
            reached.update(place.inputs)
    stuck = [
        place.path
        for number, place in enumerate(graph.places)
        if number + 1 not in reached and place.layer.parameter_shapes(1) and place.trainable
    ]
    if stuck:
        flat = next(place for place in reversed(graph.places) if place.layer.flat)
        names = ", ".join(f"layers[{path}]" for path in stuck)
        warnings.warn(
            f"the derivative of layers[{flat.path}], {flat.layer!r}, is zero almost everywhere: no "
            f"gradient reaches the parameters in front of it, and {names} will not "
            "learn. A smooth relative such as Sigmoid() or Tanh() learns",
            UserWarning,
            stacklevel=6,  # the caller of Sequential.fit
        )


def _check_optimizer(engine: Engine, optimizer: Any) -> Optimizer:
    if optimizer is None:
        if engine.saved_optimizer is not None:
            warnings.warn(
                f"optimizer: this fit starts a new Adam(), though this model's file has the state "
                f"of {engine.saved_optimizer}; to go on with that: "
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
