"""What `Sequential.fit` does."""

import functools
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any, TypeAlias

import numpy as np

from . import checkpoint, checks, data, intake, optim, outcome
from .batches import Batches
from .early_stopping import EarlyStopping
from .engine import Engine
from .graph import Graph
from .guidance import written
from .history import History, amend_record, set_stopped_early
from .listeners import check as check_callbacks
from .listeners import tell
from .losses import Loss
from .metrics import Metric, larger_is_better
from .metrics import check as check_metrics
from .once import each_time
from .optim import Optimizer
from .optim.base import attach, check_free, tensors
from .optim.base import find as find_optimizer
from .optim.bound import Bound
from .optim.rule import rate_at
from .progress import check as check_verbose
from .progress import progress
from .sources import Arrays, Block
from .typing import Array, ArrayLike, ClassWeight, Floats, Integer, Integers, Path, Real

# What is asked after an epoch: its number, its record and the outputs; it returns whether to stop.
AfterEpoch: TypeAlias = Callable[[int, dict[str, Any], Array | None], bool]


def fit(
    model: object, engine: Engine, X: Any, y: ArrayLike | None, *, verbose: object, **options: Any
) -> History:
    """Train in place and return the history; see `Sequential.fit`. Callbacks get the `model`.

    Beside its options there is `ridge`, at least 0: half of this many times the squares of all
    weights, but no biases, is a part of the sum of losses of every step.
    """
    token = object()
    try:
        engine.claim(token)
        style = check_verbose(verbose)
        return Fit(model, engine, X, y, **options).run(functools.partial(progress, style))
    finally:
        engine.release(token)


class Fit:
    """A fit whose arguments are checked; the model is as it was, or as a checkpoint has it.

    Attributes
    ----------
    model : object
    optimizer : Optimizer
    listeners : list
    epochs, done : int
        Of them in all, and those that were made before.
    """

    def __init__(
        self,
        model: object,
        engine: Engine,
        X: Any,
        y: ArrayLike | None,
        *,
        loss: str | Loss | None,
        optimizer: Any,
        epochs: Integer | None,
        batch_size: Integer | None,
        gradient_accumulation_steps: Integer,
        mixup: Real,
        gradient: str,
        shuffle: bool,
        validation_split: Real | None,
        validation_data: Any,
        sample_weight: ArrayLike | None,
        class_weight: ClassWeight | None,
        metrics: Any,
        train_metrics: bool = False,
        patience: Integer | None,
        min_delta: Real,
        monitor: str,
        callbacks: Any,
        resume: Path | None = None,
        groups: ArrayLike | None = None,
        per_class: Integer | None = None,
        ridge: Real = 0.0,
        once: intake.Calls = each_time,
    ) -> None:
        # What the user gave, as the core reads it: nothing is copied whole, nothing changed.
        self._start = None if resume is None else checkpoint.read(resume, engine)
        if self._start is not None:
            self._start.give_model(engine)
        self._given = loss if loss is not None else engine.loss
        loss = intake.check_loss(engine, loss, once)
        if epochs is not None:
            epochs = checks.integer(epochs, "epochs", minimum=1)
        if batch_size is not None:
            batch_size = checks.integer(batch_size, "batch_size", minimum=1)
        batches_per_step = checks.integer(
            gradient_accumulation_steps, "gradient_accumulation_steps", minimum=1
        )
        self._ridge = checks.real(ridge, "ridge", minimum=0)
        self._mixup: float = checks.real(mixup, "mixup", minimum=0)
        checks.choice(gradient, "gradient", ("backward", "forward"))
        self._forward = gradient == "forward"
        shuffle = checks.boolean(shuffle, "shuffle")
        train_metrics = checks.boolean(train_metrics, "train_metrics")
        cut: dict[str, Any] = {"batch_size": batch_size, "batches_per_step": batches_per_step}
        source: Arrays | Batches
        if y is None:
            _refuse_beside_batches(
                *(validation_split, sample_weight, class_weight, train_metrics, groups, per_class)
            )
            source = Batches(engine, X, loss, **cut)
        else:
            cut |= {"sample_weight": sample_weight, "class_weight": class_weight}
            cut |= {"groups": groups, "per_class": per_class}
            source = Arrays(engine, X, y, loss, **cut, shuffle=shuffle, once=once)
        self.epochs: int = source.epochs(epochs)
        classes = source.classes
        if self._mixup > 0:
            _check_mixup(engine, loss, self._mixup)
        if self._forward:
            _check_forward(engine, loss)
        evaluated = {}
        validation = _check_validation(engine, validation_data, loss, source, once)
        if isinstance(source, Arrays):
            if validation_split is not None:
                if validation is not None:
                    raise ValueError("validation_split: expected None beside validation_data")
                if groups is not None:
                    raise ValueError(
                        "validation_split: expected None beside groups, which it would take apart, "
                        f"got {validation_split}; validation_data=(X, y) is evaluated"
                    )
                validation = source.hold_out(validation_split)
            source.check_batches()
            if train_metrics:
                evaluated["train_"] = source.examples
        if validation is not None:
            evaluated["val_"] = validation
        metrics = _check_metrics(metrics, loss, source.out_shape[-1], evaluated, classes)
        patience, min_delta = _check_stopping(
            patience, min_delta, monitor, loss, metrics, evaluated
        )
        self.model: object = model
        self._engine, self._loss, self._source = engine, loss, source
        self._batches_per_step, self._evaluated, self._metrics = (
            batches_per_step,
            evaluated,
            metrics,
        )
        self._monitor, self._patience, self._min_delta = monitor, patience, min_delta
        self.listeners: list[Any] = check_callbacks(callbacks)
        self.optimizer: Optimizer = _check_optimizer(engine, optimizer)
        graph = Graph(engine.layers, source.in_shape, has_lengths=engine.has_lengths)
        _warn_of_flat_layers(graph)
        self.done: int = 0 if self._start is None else engine.history.epochs
        rows = source.examples.n if isinstance(source, Arrays) else 1
        self._work: int = rows * sum(place.multiply_adds for place in graph.places)

    def work_from(self, epoch: int) -> int:
        """Return the multiply-adds of forward passes of all epochs from that number on."""
        return self._work * (self.epochs - epoch)

    @property
    def watched(self) -> str:
        """The score of a record by which fits are compared (str)."""
        if self._patience is not None:
            return self._monitor
        return "val_loss" if "val_" in self._evaluated else "loss"

    def run(
        self,
        shown: Callable[[int, int], AbstractContextManager[Callable[[dict[str, Any]], None]]],
        after_epoch: AfterEpoch | None = None,
        wants_outputs: bool = False,
    ) -> History:
        """Train; the model's engine has been claimed.

        Parameters
        ----------
        shown : callable
            ``with shown(epochs, done) as show:`` within which ``show(record)`` shows an epoch.
        after_epoch : callable, optional
            ``after_epoch(epoch, record, outputs)``, whether to stop, after the callbacks; what it
            adds to the record is in the history.
        wants_outputs : bool
            Whether `after_epoch` wants the outputs on the validation data; else they may be None.
        """
        engine, source, loss, optimizer = self._engine, self._source, self._loss, self.optimizer
        listeners, model, start, epochs = self.listeners, self.model, self._start, self.epochs

        # The network with its plan, built once, and the optimizer's state.
        if not engine.built:
            engine.build(source.in_shape, names=source.names)
        source.learn_statistics()
        stays = [source.examples] if isinstance(source, Arrays) else []
        evaluated = {
            name: stays[0] if name == "train_" else intake.scale_targets(engine, each)
            for name, each in self._evaluated.items()
        }
        attach(optimizer, engine)
        engine.saved_optimizer = None  # from here on there is another one
        history = History() if start is None else engine.history
        engine.loss, engine.history = self._given, history
        engine.classes_ = None if source.classes is None else source.classes.copy()
        engine.feature_names_in_ = None if source.names is None else source.names.copy()
        stopping = EarlyStopping(engine, history, self._monitor, self._patience, self._min_delta)
        running = checkpoint.Running(optimizer, stopping, listeners)
        told = of_steps(listeners, model)
        if start is not None:
            start.give_fit(engine, running)
            _warn_of_the_end(
                start, history.epochs, epochs, stopping.is_over or running.asked_to_stop
            )
        engine.running = running

        try:
            with ExitStack() as ends:  # on every way out, the last of them first
                engine.keep(*stays, *evaluated.values())  # for the next epoch
                ends.callback(engine.let_go)
                for listener in listeners:
                    tell(listener, "on_fit_begin", model)
                    ends.callback(tell, listener, "on_fit_end", model, history)
                ends.callback(stopping.restore)
                show = ends.enter_context(shown(epochs, history.epochs))
                while history.epochs < epochs and not (stopping.is_over or running.asked_to_stop):
                    epoch = history.epochs
                    record, _ = _train_blocks(
                        *(engine, source.blocks(), source.steps, loss, optimizer),
                        *(self._batches_per_step, self._ridge, told),
                        mixup=self._mixup,
                        forward=self._forward,
                    )
                    outputs = None
                    for prefix, part in evaluated.items():
                        wanted = wants_outputs and prefix == "val_"
                        scores, out = outcome.evaluate(engine, part, loss, self._metrics, wanted)
                        record |= {f"{prefix}{key}": value for key, value in scores.items()}
                        outputs = engine.in_examples(out) if wanted and out is not None else None
                    stopping.append(record)
                    show(record)
                    stops = [_tell_epoch(each, model, epoch, record, history) for each in listeners]
                    if after_epoch is not None:
                        try:
                            stops.append(after_epoch(epoch, record, outputs))
                        finally:
                            amend_record(history, record)
                    running.asked_to_stop = any(stops)
                    for listener in listeners:
                        tell(listener, "on_epoch_recorded", model, epoch, record)
                set_stopped_early(history, history.epochs < epochs)
                finite = {
                    "parameters": np.isfinite(engine.parameters).all(),
                    "statistics": engine.is_finite_state(engine.state),
                }
                for name, is_finite in finite.items():
                    if not is_finite:
                        raise FloatingPointError(
                            f"the {name} are not finite after epoch {history.epochs}: the last "
                            "step overflowed. Likely cure: a lower learning rate"
                        )
            if isinstance(source, Arrays):
                _warn_who_has_not_arrived(engine, source.examples)
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
    """Train for one epoch on arrays; return the record of it, and what of its loss is `ridge`."""
    steps = _divide_up(len(order), batch_size * batches_per_step)
    blocks = [Block(examples, order, batch_size)]
    return _train_blocks(engine, blocks, steps, loss, optimizer, batches_per_step, ridge, told)


def _train_blocks(
    engine: Engine,
    blocks: Iterable[Block],
    steps: int | None,
    loss: Loss,
    optimizer: Optimizer,
    batches_per_step: int,
    ridge: float | Floats,
    told: Callable[[int, dict[str, float]], None] | None = None,
    mixup: float = 0.0,
    forward: bool = False,
) -> tuple[dict[str, Any], float]:
    """Train for one epoch; return the record of it, and the part of its loss that `ridge` is.

    All steps of a block are made by one call of the core; by a call for each where somebody is
    `told` of each with its number and record. The bits are the same. `steps` are those of the
    epoch, None: nobody knows.
    """
    before, step, seconds, lr = optimizer.step_count, 0, 0.0, math.nan
    all_sums, total, rows = np.zeros(4), 0.0, 0  # see Engine.train_epoch; of weights; of rows
    bound = attach(optimizer, engine)
    clock = None if steps is None else bound.begin_epoch(steps)

    def scores(sums: Floats, total: float, rows: int) -> dict[str, float]:
        mean = (sums[0] - sums[3]) / total + sums[3] / rows
        return outcome.scores(mean, sums[1] / total, loss) | {"lr": float(lr)}

    for block in blocks if told is None else _single_steps(blocks, batches_per_step):
        bound = attach(optimizer, engine)  # again: callbacks may have changed its options or state
        bound.follow(clock)
        train = _train_fused if bound.fused else _train_stepwise
        n = len(block.order)
        count = _divide_up(_divide_up(n, block.batch_size), batches_per_step)
        of_block = ridge if isinstance(ridge, float) else ridge[step : step + count]
        start = time.perf_counter()
        try:
            sums, lr = train(
                *(engine, block, loss, optimizer, bound, batches_per_step),
                *(of_block, mixup, forward, step),
            )
        except FloatingPointError:
            done = optimizer.step_count
            raise FloatingPointError(
                f"the loss is not finite in epoch {engine.history.epochs + 1}, step "
                f"{done - before + 1} of it (both counted from 1); this step was not applied. "
                f"Likely cures: a lower learning rate (it is {rate_at(optimizer, done):g}), inputs "
                "scaled to about -1 to 1"
            ) from None
        seconds += time.perf_counter() - start
        weights = block.examples.weights
        positions = block.examples.positions
        weight = n * positions
        if weights is not None:
            weight = data.rows_of(weights, block.order, positions).sum(dtype=np.float64)
        all_sums, total, rows = all_sums + sums, total + weight, rows + n
        if told is not None:
            told(step, scores(sums, weight, n))
        step += count
    engine.epochs_trained += 1
    bound.epochs += 1
    return {**scores(all_sums, total, rows), "seconds": seconds}, float(all_sums[3] / rows)


def _single_steps(blocks: Iterable[Block], batches_per_step: int) -> Iterator[Block]:
    """Yield the rows of each step as a block of its own."""
    for block in blocks:
        rows = block.batch_size * batches_per_step
        for first in range(0, len(block.order), rows):
            yield block._replace(order=block.order[first : first + rows])


def _train_fused(
    engine: Engine,
    block: Block,
    loss: Loss,
    optimizer: Optimizer,
    bound: Bound,
    batches_per_step: int,
    ridge: float | Floats,
    mixup: float,
    forward: bool,
    first_step: int,
) -> tuple[Floats, float]:
    """Make all steps of a block in one call; return its report and last learning rate.

    They are steps of an epoch from number `first_step` on.
    """
    # The hyper-parameters of each step ...
    steps = _divide_up(_divide_up(len(block.order), block.batch_size), batches_per_step)
    epoch = bound.next_epoch(steps)
    # ... and one call, in which batches are gathered, and the parameters and state change.
    engine.train_epoch(
        *(block.examples, loss, block.order, block.batch_size, batches_per_step),
        **(epoch | {"ridge": ridge, "mixup": mixup, "forward": forward, "first_step": first_step}),
    )
    lr = epoch["lr"]
    return epoch["report"], lr if isinstance(lr, float) else lr[-1]


def _train_stepwise(
    engine: Engine,
    block: Block,
    loss: Loss,
    optimizer: Optimizer,
    bound: Bound,
    batches_per_step: int,
    ridge: float | Floats,
    mixup: float,
    forward: bool,
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
            *(block.examples, loss, block.order, block.batch_size, batches_per_step),
            gradient=gradient,
            take_step=take_step,
            report=report,
            ridge=ridge,
            mixup=mixup,
            forward=forward,
            first_step=first_step,
        )
    finally:
        bound.descend()
    return report, rate_at(optimizer, max(0, optimizer.step_count - 1))


def _divide_up(a: int, b: int) -> int:
    return -(-a // b)


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


# ---------------------------------------------------------------------- checks


def _refuse_beside_batches(
    validation_split: object,
    sample_weight: object,
    class_weight: object,
    train_metrics: bool,
    groups: object,
    per_class: object,
) -> None:
    given = {
        "validation_split": (validation_split, "validation_data=(X, y) is evaluated"),
        "sample_weight": (sample_weight, "weights come in the batches, (X, y, sample_weight)"),
        "class_weight": (class_weight, "weights come in the batches, (X, y, sample_weight)"),
        "train_metrics": (train_metrics or None, "validation_data=(X, y) is evaluated"),
        "groups": (groups, "each batch holds what belongs together"),
        "per_class": (per_class, "each batch holds what belongs together"),
    }
    for name, (value, cure) in given.items():
        if value is not None:
            raise ValueError(
                f"{name}: expected none beside batches, got {checks.describe(value)}; {cure}"
            )


def _check_mixup(engine: Engine, loss: Loss, mixup: float) -> None:
    """Raise ValueError if examples, or their targets, cannot be mixed."""
    embedding = next((p for p in Graph(engine.layers).places if p.kind == "embedding"), None)
    why = ""
    if not loss.mixes:
        why = f"for {loss.name!r}, whose targets are labels and nothing between them"
    elif engine.has_lengths:
        why = "for examples of different lengths"
    elif embedding is not None:
        why = f"for layers[{embedding.path}], {embedding.layer!r}, whose codes do not mix"
    if why:
        raise ValueError(f"mixup: expected 0 {why}, got {mixup}")


def _check_forward(engine: Engine, loss: Loss) -> None:
    """Raise ValueError if gradients cannot be estimated by passes forward."""
    why = ""
    coupling = engine.first_that_couples_rows()
    walks = (place for place in Graph(engine.layers).places if place.kind in ("rnn", "gru", "lstm"))
    recurrent = next(walks, None)
    if engine.device != "cpu":
        why = f"with device={engine.device!r}"
    elif loss.task == "pairs":
        why = f"for {loss.name!r}, a loss of pairs of examples"
    elif coupling is not None:
        why = f"for layers[{coupling.path}], {coupling.layer!r}, in which examples depend on others"
    elif recurrent is not None:
        why = f"for layers[{recurrent.path}], whose own steps would have to be perturbed"
    if why:
        raise ValueError(f"gradient: expected 'backward' {why}, got 'forward'")


def _check_validation(
    engine: Engine,
    validation_data: Any,
    loss: Loss,
    source: Arrays | Batches,
    once: intake.Calls,
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
    names, name = source.names, "validation_data[0]"
    X, in_shape = intake.training_features(engine, X, source.in_shape, names, name, once)
    of_arguments = ("validation_data[1]", "validation_data[2]")
    examples = intake.examples(
        *(engine, X, y, loss, sample_weight),
        classes=source.classes,
        names=of_arguments,
        scaled=False,
        in_shape=in_shape,
        once=once,
    )
    intake.check_finite(engine, X, name, names, examples.rows, once, in_shape)
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
    own = ["loss", "accuracy"] if loss.gives_labels else ["loss"]
    names = [*own, *(metric.name for metric in metrics if metric.name not in own)]
    known = [*own, *(f"{prefix}{name}" for prefix in evaluated for name in names)]
    if monitor not in known:
        hint = "" if "val_" in evaluated else ", as there are no validation data"
        raise ValueError(f"monitor: expected one of {', '.join(known)}{hint}; got {monitor!r}")
    larger_is_better(monitor)
    return patience, min_delta


_LOOKED_AT = 256  # rows


def _warn_who_has_not_arrived(engine: Engine, examples: data.Examples) -> None:
    """Tell of fixed points that layers did not find, of some of the rows that were trained on."""
    if not any(place.kind == "equilibrium" for place in engine.graph.places):
        return
    rows = slice(_LOOKED_AT) if examples.rows is None else examples.rows[:_LOOKED_AT]
    for path, distances in outcome.equilibrium_distances(engine, examples.X[rows]).items():
        solves = next(p for p in engine.graph.places if (p.path, p.kind) == (path, "equilibrium"))
        _, tol, max_iter = solves.layer.values_in(engine.dtype)
        away = np.count_nonzero(~(distances <= tol))
        if away > len(distances) / 100:
            warnings.warn(
                f"layers[{path}]: {away} of {len(distances)} rows have not arrived at a fixed "
                f"point within tol={tol:.2g} after {max_iter:g} evaluations, and their gradients "
                "are not those of one; fnn.inspect.equilibrium_distances shows how far they are. "
                "Likely cures: norms or Tanh() in the block, weight decay, clip_norm, a larger "
                "max_iter",
                UserWarning,
                stacklevel=6,  # the caller of Sequential.fit
            )


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
    check_free(optimizer, engine)
    return optimizer
