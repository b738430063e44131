"""Arrays as what a fit trains on; `batches` has what comes one after the other."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from . import checks, data, intake, orders
from .datasets.split import split_rows
from .engine import Engine
from .losses import Loss
from .once import each_time
from .typing import Array, ArrayLike, ClassWeight, Inputs, Integer, Integers, Real, Shape

# Of a fit that is not told how long to train; docs/limits.rst has the measurements.
_STEPS, FEWEST_EPOCHS, _MOST_EPOCHS = 5000, 10, 1000


class Block(NamedTuple):
    """Rows that one call of the core trains on, in that order."""

    examples: data.Examples
    order: Integers
    batch_size: int


class Arrays:
    """X and y in memory, or in a file that is mapped.

    Attributes
    ----------
    names, classes : ndarray or None
        Of the columns; of the model from this fit on.
    in_shape : tuple of int
        Of one example of X.
    out_shape : tuple of int
        Of one example of the outputs.
    examples : Examples
    """

    def __init__(
        self,
        engine: Engine,
        X: Inputs,
        y: ArrayLike,
        loss: Loss,
        *,
        sample_weight: ArrayLike | None,
        class_weight: ClassWeight | None,
        batch_size: int | None,
        batches_per_step: int,
        shuffle: bool,
        once: intake.Calls,
        groups: ArrayLike | None = None,
        per_class: Integer | None = None,
    ) -> None:
        self._engine, self._loss, self._class_weight = engine, loss, class_weight
        self._once = once
        self._batches_per_step, self._shuffle = batches_per_step, shuffle
        self.names: Array | None = intake.feature_names(engine, X, once)
        in_shape = engine.in_shape if engine.built else None
        X, in_shape = intake.training_features(engine, X, in_shape, self.names, once=once)
        self.in_shape: Shape = in_shape
        self.out_shape: Shape = engine.out_shape_of(in_shape)
        shape = (X.shape[0], *self.out_shape)
        sample_weight = intake.existing(engine, X, sample_weight, in_shape)
        self._weight, rows = once(data.sample_weights, sample_weight, shape[:-1])
        self.classes: Array | None = intake.find_classes(engine, y, loss, shape, rows, once=once)
        self.examples: data.Examples = intake.examples(
            *(engine, X, y, loss, sample_weight, class_weight),
            classes=self.classes,
            scaled=False,
            in_shape=in_shape,
            once=once,
        )
        intake.check_finite(engine, X, "X", self.names, self.examples.rows, once, in_shape)
        if per_class is not None and groups is not None:
            raise ValueError(
                f"per_class: expected None beside groups, as either orders rows, got {per_class!r}"
            )
        self._groups: Array | None = None
        self._per_class: int | None = None
        together = 1  # rows
        if groups is not None:
            self._groups = self._own_groups(groups)
            together = orders.size_of_groups(self._groups)
        elif per_class is not None:
            self._per_class = together = checks.integer(per_class, "per_class", minimum=2)
        self._batch_size = orders.usual_batch_size(together) if batch_size is None else batch_size

    def hold_out(self, fraction: Real) -> data.Examples:
        """Keep that fraction of the rows apart, and return them."""
        engine, loss = self._engine, self._loss
        labels = intake.labels(loss, self.out_shape[-1], self.classes)
        self.examples, held_out = (
            data.weigh(part, self._weight, of_classes, loss, labels, engine.dtype)
            for part, of_classes in zip(
                split(self.examples, loss, fraction, engine.seed),
                (self._class_weight, None),
                strict=True,
            )
        )
        if loss.task == "pairs":
            data.check_shared(held_out.own().targets, loss, "validation_split")
        return held_out

    def check_batches(self) -> None:
        """Raise ValueError if a layer takes statistics of one row, or rows lack their partners."""
        n, size = self.examples.n, self._batch_size
        check_batches(self._engine, n, size)
        self._order_of_epoch: orders.Order = orders.shuffled(n)
        if self._groups is not None:
            self._order_of_epoch = orders.by_groups(self._groups, size, self._shuffle)
        elif self._per_class is not None:
            labels = self._own_labels()
            self._order_of_epoch = orders.by_classes(labels, self._per_class, size)
        elif not self._shuffle:
            self._order_of_epoch = orders.as_they_come(n)
        if self._loss.task == "pairs":
            rows = self._order_of_epoch(self._engine.seed, self._engine.epochs_trained)
            orders.check_partners(self.examples.own(), rows, size, self._groups is not None)

    def _own_groups(self, given: ArrayLike) -> Array:
        """Return the group of each row that is trained on."""
        groups, n = data.as_targets(given, "groups"), self.examples.X.shape[0]
        if groups.shape != (n,):
            raise ValueError(
                f"groups: expected shape ({n},), a group for each row, got {groups.shape}"
            )
        return groups if self.examples.rows is None else groups[self.examples.rows]

    def _own_labels(self) -> Integers:
        """Return the label of each row that is trained on, for an order by classes."""
        labels = self.examples.own().targets
        if self._loss.task == "binary" and labels.shape[1] == 1:
            labels = labels[:, 0]
        if self._loss.task == "values" or labels.ndim != 1 or self.examples.positions > 1:
            raise ValueError(
                "per_class: expected one label for each example in y, got targets of shape "
                f"{labels.shape} under {self._loss.name!r}"
            )
        if not self._shuffle:
            raise ValueError("per_class: expected None with shuffle=False, as it draws rows")
        return labels

    @property
    def steps(self) -> int:
        """Of an epoch (int)."""
        return -(-self.examples.n // (self._batch_size * self._batches_per_step))

    def epochs(self, given: int | None) -> int:
        """Return how often to go through them."""
        if given is not None:
            return given
        return min(max(-(-_STEPS // self.steps), FEWEST_EPOCHS), _MOST_EPOCHS)

    def learn_statistics(self) -> None:
        """Let the model learn what it does not know of the data yet; targets are scaled by it."""
        intake.learn_statistics(self._engine, [self.examples], self.names, self._once)
        self._once = each_time  # for it holds what the fits that have not begun yet ask for
        self.examples = intake.scale_targets(self._engine, self.examples)

    def blocks(self) -> Iterator[Block]:
        """Yield what the next epoch trains on: a function of the seed and the epochs trained."""
        yield Block(self.examples, self._order(), self._batch_size)

    def _order(self) -> Integers:
        rows = self.examples.rows
        order = self._order_of_epoch(self._engine.seed, self._engine.epochs_trained)
        return order if rows is None else rows[order]


def check_batches(engine: Engine, n: int, batch_size: int) -> None:
    """Raise ValueError if a layer takes statistics of one row of n."""
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


def split(examples: data.Examples, loss: Loss, fraction: Real, seed: int) -> list[data.Examples]:
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
    targets = examples.own().targets
    labels = _class_labels(targets, loss) if examples.positions == 1 else None
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
