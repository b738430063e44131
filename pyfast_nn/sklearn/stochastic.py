"""Training by steps over batches: scikit-learn's epochs around those of the core."""

import math
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .. import sources, training
from ..data import Examples
from ..engine import Engine
from ..history import History, add_record, amend_record, set_stopped_early
from ..listeners import check as check_callbacks
from ..listeners import tell
from ..models import Sequential, engine_of
from ..progress import check as check_verbose
from ..progress import progress
from ..threads import shared
from ..typing import Array, Floats, Integers
from .descent import Descent
from .objective import Objective
from .validation import Validation

NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)


class Task(NamedTuple):
    """What is trained on."""

    objective: Objective
    X: Any
    targets: Array
    weights: Floats | None  # of all rows
    rows: Integers  # that are trained on, in their first order
    validation: Validation | None

    @property
    def examples(self) -> list[Examples]:
        """What stays as it is in all epochs, but for weights."""
        own = Examples(self.X, self.targets, self.targets)
        return [own] if self.validation is None else [own, self.validation.examples]

    def batch_weights(
        self, order: Integers, batch_size: int, alpha: float, dtype: np.dtype[Any]
    ) -> tuple[Array | None, float | Floats]:
        """Return the weights of all rows, and the penalty of each step, for an epoch.

        scikit-learn divides the losses of a batch, and the penalty, by the sum of its weights; the
        core divides both by its rows.
        """
        scale = self.objective.scale
        if self.weights is None:
            return (None if scale == 1 else np.full(len(self.targets), scale, dtype)), alpha
        ordered = self.weights[order]
        starts = np.arange(0, len(order), batch_size)
        rows = np.diff(starts, append=len(order))
        sums = np.add.reduceat(ordered, starts)
        with np.errstate(divide="ignore", invalid="ignore"):
            factors = np.where(sums > 0, rows / sums, 0.0)  # without weight it does not count
        weights = np.zeros(len(self.targets), dtype)
        weights[order] = scale * ordered * np.repeat(factors, rows)
        return weights, alpha * factors


class Stochastic:
    """The part of a perceptron that trains it with "sgd", "adam" or an optimizer of ours."""

    model_: Sequential
    alpha: float
    batch_size: Any
    callbacks: Any
    early_stopping: bool
    max_iter: int
    n_iter_no_change: float
    shuffle: bool
    solver: Any
    tol: float
    verbose: Any
    best_loss_: float | None
    best_validation_score_: float | None
    loss_: float
    loss_curve_: list[float]
    n_iter_: int
    t_: int
    validation_loss_curve_: list[float] | None
    validation_scores_: list[float] | None
    _no_improvement_count: int
    _optimizer: Descent
    _random_state: np.random.RandomState

    def _begin_curves(self) -> None:
        """Forget what is known of earlier fits."""
        self.loss_curve_ = []
        self._no_improvement_count = 0
        self.validation_scores_ = self.validation_loss_curve_ = None
        self.best_validation_score_ = -np.inf if self.early_stopping else None
        self.best_loss_ = None if self.early_stopping else np.inf

    def _continue_curves(self, validated: bool) -> None:
        """Make what a fit that goes on adds to, if earlier ones did not."""
        if not hasattr(self, "loss_curve_"):  # by lbfgs
            self._begin_curves()
        if validated and self.validation_scores_ is None:
            self.validation_scores_, self.validation_loss_curve_ = [], []
        if self.early_stopping and self.best_validation_score_ is None:
            self.best_validation_score_ = -np.inf
        if not self.early_stopping and self.best_loss_ is None:
            self.best_loss_ = np.inf

    def _fit_stochastic(self, task: Task, incremental: bool) -> None:
        """Train for `max_iter` epochs at most, or for one."""
        engine = engine_of(self.model_)
        if not (incremental and hasattr(self, "_optimizer")):
            self._optimizer = Descent(self)
        descent = self._optimizer
        if incremental and descent.has_averages:
            raise ValueError(
                "partial_fit: expected a solver without ema and swa, which are the weights at the "
                f"end of fit, got {descent.optimizer!r}"
            )
        listeners = check_callbacks(() if self.callbacks is None else self.callbacks)
        batch_size = self._rows_of_batch(len(task.rows))
        sources.check_batches(engine, len(task.rows), batch_size)
        epochs = 1 if incremental else self.max_iter
        if not incremental or engine.history is None:
            engine.history = History()
        engine.loss = task.objective.loss
        style = check_verbose(1) if self.verbose == "bar" else "quiet"
        self._continue_curves(task.validation is not None)
        self._optimizer = descent
        with ExitStack() as ends:  # on every way out, the last of them first
            token = object()
            engine.claim(token)
            ends.callback(engine.release, token)
            engine.keep(*task.examples)
            ends.callback(engine.let_go)
            for listener in listeners:
                tell(listener, "on_fit_begin", self.model_)
                ends.callback(tell, listener, "on_fit_end", self.model_, engine.history)
            best = Best(engine)
            if self.early_stopping:
                ends.callback(best.restore)
            elif descent.has_averages:
                ends.callback(lambda: descent.make_average(engine.parameters))
            show = ends.enter_context(progress(style, epochs))
            take_share = ends.enter_context(shared())
            try:
                self._run_epochs(
                    *(task, batch_size, epochs, incremental, listeners, show, best, take_share)
                )
            except KeyboardInterrupt:
                warnings.warn("Training interrupted by user.", stacklevel=4)

    def _rows_of_batch(self, n: int) -> int:
        if self.batch_size == "auto":
            return min(200, n)
        if self.batch_size > n:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be "
                "clipped",
                stacklevel=5,
            )
        return int(min(self.batch_size, n))

    def _run_epochs(
        self,
        task: Task,
        batch_size: int,
        epochs: int,
        incremental: bool,
        listeners: list[Any],
        show: Callable[[Mapping[str, float]], None],
        best: "Best",
        take_share: Callable[[], None],
    ) -> None:
        engine, descent = engine_of(self.model_), self._optimizer
        order, told = task.rows, training.of_steps(listeners, self.model_)
        self.n_iter_ = 0
        for epoch in range(epochs):
            take_share()
            if self.shuffle:
                places = np.arange(len(order))
                self._random_state.shuffle(places)
                order = order[places]
            try:
                record = self._train_epoch(engine, task, order, batch_size, told)
            except FloatingPointError:
                self._diverge(incremental)
                return
            self.n_iter_ += 1
            self.t_ += len(order)
            self._note(record["loss"])
            self._judge(task.validation, record, best)
            descent.end_epoch(self.t_)
            add_record(engine.history, record)
            show(record)
            stops = [self._tell_epoch(each, epoch, record) for each in listeners]
            for listener in listeners:
                tell(listener, "on_epoch_recorded", self.model_, epoch, record)
            if self._is_over() or any(stops):
                set_stopped_early(engine.history, epoch + 1 < epochs)
                return
        if not incremental:
            self._warn_of_convergence(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                "optimization hasn't converged yet."
            )

    def _train_epoch(
        self, engine: Engine, task: Task, order: Integers, batch_size: int, told: Any
    ) -> dict[str, Any]:
        """Make the steps of an epoch and return its record, with the loss as it is reported."""
        objective = task.objective
        weights, ridge = task.batch_weights(order, batch_size, float(self.alpha), engine.dtype)
        record, penalty = training.train_epoch(
            engine,
            Examples(task.X, task.targets, task.targets, weights),
            order,
            objective.loss,
            self._optimizer.optimizer,
            batch_size,
            batches_per_step=1,
            ridge=ridge,
            told=told,
        )
        record["loss"] = (record["loss"] - penalty) * objective.reported + penalty
        constant = objective.constant(task.targets)
        if constant is not None:
            own = 1 if task.weights is None or weights is None else weights[order] / objective.scale
            record["loss"] += float(np.mean(constant[order] * own))
        return record

    def _note(self, loss: float) -> None:
        self.loss_ = loss
        self.loss_curve_.append(loss)
        if self.verbose and self.verbose != "bar":
            print(f"Iteration {self.n_iter_}, loss = {loss:.8f}")

    def _judge(self, validation: Validation | None, record: dict[str, Any], best: "Best") -> None:
        """Count the epochs that did not improve, and keep the best."""
        score = math.nan
        if validation is not None:
            with self._optimizer.averaged() if self._optimizer.has_averages else nullcontext():
                score, loss = validation.scores()
                best_score: Any = self.best_validation_score_
                if self.early_stopping and score > best_score:
                    best.keep()
            assert self.validation_scores_ is not None and self.validation_loss_curve_ is not None
            self.validation_scores_.append(score)
            self.validation_loss_curve_.append(loss)
            record |= {"val_score": score, "val_loss": loss}
            if self.verbose and self.verbose != "bar":
                print(f"Validation score: {score:f}")
        if self.early_stopping:
            level: Any = self.best_validation_score_
            fails = score < level + self.tol
            self.best_validation_score_ = max(level, score) if score == score else level
        else:
            level = self.best_loss_
            fails = self.loss_ > level - self.tol
            self.best_loss_ = min(level, self.loss_) if self.loss_ == self.loss_ else level
        self._no_improvement_count = self._no_improvement_count + 1 if fails else 0

    def _is_over(self) -> bool:
        """Whether so many epochs did not improve that the fit ends."""
        if self._no_improvement_count <= self.n_iter_no_change:
            return False
        over, how = self._optimizer.standstill()
        if self.verbose and self.verbose != "bar":
            what = "Validation score" if self.early_stopping else "Training loss"
            print(
                f"{what} did not improve more than tol={self.tol:f} for "
                f"{self.n_iter_no_change} consecutive epochs. {how}"
            )
        if not over:
            self._no_improvement_count = 0
        return over

    def _tell_epoch(self, listener: Any, epoch: int, record: dict[str, Any]) -> bool:
        try:
            return tell(listener, "on_epoch_end", self.model_, epoch, record)
        finally:
            amend_record(engine_of(self.model_).history, record)

    def _diverge(self, incremental: bool) -> None:
        """End a fit whose loss has overflowed, from where no step leads back."""
        if not self.early_stopping or incremental:
            raise ValueError(NOT_FINITE) from None
        self.n_iter_ += 1
        self._note(math.nan)
        assert self.validation_scores_ is not None and self.validation_loss_curve_ is not None
        self.validation_scores_.append(math.nan)
        self.validation_loss_curve_.append(math.nan)
        self._warn_of_convergence(
            f"Stochastic Optimizer: the loss is no longer finite in iteration {self.n_iter_}; the "
            "weights are those of the best validation score before. Likely cures: scaled "
            "inputs, a lower learning rate"
        )

    def _warn_of_convergence(self, message: str) -> None:
        warnings.warn(message, ConvergenceWarning, stacklevel=6)


class Best:
    """What a network had learned when its validation score was the best."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.keep()

    def keep(self) -> None:
        self._kept = [vector.copy() for vector in self._engine.vectors()]

    def restore(self) -> None:
        for vector, kept in zip(self._engine.vectors(), self._kept, strict=True):
            vector[:] = kept
