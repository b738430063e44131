"""Batches as what a fit trains on: of an iterable, or of what a function makes for each epoch."""

import math
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np

from . import checks, data, intake
from .engine import Engine
from .losses import Loss
from .sources import FEWEST_EPOCHS, Block
from .typing import Array, Shape

# What one call of the core gets, if it is not one batch that is larger.
_BATCHES_OF_CALL, _BYTES_OF_CALL = 64, 32 << 20


class Batches:
    """Batches (X, y) or (X, y, sample_weight) of an iterable, or of what a function makes.

    Attributes
    ----------
    names, classes, in_shape, out_shape
        As of `Arrays`; those of the first batch.
    """

    def __init__(
        self,
        engine: Engine,
        source: Any,
        loss: Loss,
        *,
        batch_size: int | None,
        batches_per_step: int,
    ) -> None:
        if hasattr(source, "shape") or hasattr(source, "__array__") or isinstance(source, str):
            raise TypeError(
                f"y: expected targets beside X, {checks.describe(source)}, got None; without y, X "
                "is an iterable of batches (X, y)"
            )
        if not callable(source) and not isinstance(source, Iterable):
            raise TypeError(
                "X: expected an array with y, an iterable of batches (X, y), or a function that "
                f"makes one, got {checks.describe(source)}"
            )
        if batch_size is None and batches_per_step > 1:
            raise ValueError(
                "batch_size: expected a number of rows beside gradient_accumulation_steps, into "
                "which the rows of the batches are cut, got None"
            )
        if loss.task == "pairs" and batch_size is not None:
            raise ValueError(
                f"batch_size: expected None beside batches under {loss.name!r}, a loss of pairs of "
                f"rows, so that each is one, got {batch_size}"
            )
        self._engine, self._loss, self._source = engine, loss, source
        self._batch_size, self._batches_per_step = batch_size, batches_per_step
        self.once: bool = isinstance(source, Iterator)
        self.steps: int | None = None  # of an epoch; known after the first, if not before
        if batch_size is None and hasattr(source, "__len__"):
            self.steps = len(source)
        self.names: Array | None = None
        self.classes: Array | None = engine.classes_
        iterator = self._new()
        first = next(iterator, None)
        if first is None:
            raise ValueError("X: expected at least one batch, got an iterable without any")
        self._begun: Iterator[Any] | None = chain([first], iterator)
        self._check_statistics()
        X, y, sample_weight = self._parts(first, 0)
        self.names = intake.feature_names(engine, X)
        in_shape = engine.in_shape if engine.built else None
        X, in_shape = intake.training_features(engine, X, in_shape, self.names, _name("X", 0))
        self.in_shape: Shape = in_shape
        self.out_shape: Shape = engine.out_shape_of(in_shape)
        shape = (X.shape[0], *self.out_shape)
        sample_weight = intake.existing(engine, X, sample_weight, in_shape)
        _, rows = data.sample_weights(sample_weight, shape[:-1], _name("sample_weight", 0))
        self.classes = intake.find_classes(engine, y, loss, shape, rows, _name("y", 0))
        self._read(first, 0)

    def epochs(self, given: int | None) -> int:
        """Return how often to go through them."""
        if not self.once:
            return FEWEST_EPOCHS if given is None else given
        if given not in (None, 1):
            raise ValueError(
                f"epochs: expected 1, as X is an iterator, which gives its batches once, got "
                f"{given}; a list, a DataLoader or a function that makes iterators gives more"
            )
        return 1

    def learn_statistics(self) -> None:
        """Let the model learn what it does not know of the data yet, from all batches."""
        if intake.knows_statistics(self._engine):
            return  # the first batch has been read, and may not come again
        parts = (self._read(batch, number) for number, batch in enumerate(self._batches()))
        intake.learn_statistics(self._engine, parts, self.names)

    def blocks(self) -> Iterator[Block]:
        """Yield what the next epoch trains on."""
        size, is_empty, rows = self._batch_size, True, 0
        waiting = _Waiting()
        for number, batch in enumerate(self._batches()):
            part = self._read(batch, number)
            if part.n == 0:
                continue
            is_empty, rows = False, rows + (1 if size is None else part.n)
            part = intake.scale_targets(self._engine, part)
            if part.rows is not None:
                part = _rows_of(part, part.rows)
            if size is None:  # each batch by itself; the last of a call may be smaller
                if waiting.ends_before(part.n):
                    yield waiting.taken()
                if waiting.add(part, part.n):
                    yield waiting.taken()
            elif waiting.add(part, size, self._batches_per_step):
                yield waiting.taken(by_steps=True)
        if waiting.n:
            yield waiting.taken()
        self.steps = -(-rows // (1 if size is None else size * self._batches_per_step))
        if is_empty:
            raise ValueError(
                "X: expected batches in every epoch, got none in one; a function is to make a new "
                "iterator whenever it is called"
            )

    def _check_statistics(self) -> None:
        engine = self._engine
        learns = intake.learns_of_inputs(engine)
        if not self.once or not (learns or engine.standardize_targets):
            return
        if not engine.built or not intake.knows_statistics(engine):
            raise ValueError(
                "X: expected batches that come more than once, as what standardizes first learns "
                "from all of them, got an iterator; a function that makes iterators gives them "
                '(Standardize may be told: model.build(columns).named_state()["0.mean"][:] = mean, '
                'and so "0.std")'
            )

    def _new(self) -> Iterator[Any]:
        return iter(self._source() if callable(self._source) else self._source)

    def _batches(self) -> Iterator[Any]:
        begun, self._begun = self._begun, None
        return self._new() if begun is None else begun

    def _parts(self, batch: Any, number: int) -> tuple[Any, Any, Any]:
        if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
            raise TypeError(
                "X: expected an iterable of batches (X, y) or (X, y, sample_weight), got "
                f"{checks.describe(batch)} as batch {number}"
            )
        return batch[0], batch[1], batch[2] if len(batch) == 3 else None

    def _read(self, batch: Any, number: int) -> data.Examples:
        """Return a batch as the core reads it."""
        engine = self._engine
        X, y, sample_weight = self._parts(batch, number)
        name = _name("X", number)
        X, _ = intake.training_features(engine, X, self.in_shape, self.names, name)
        name_of_weights = _name("sample_weight", number)
        shape, positions = (X.shape[0], *self.out_shape), math.prod(self.out_shape[:-1])
        weights, rows = None, None
        sample_weight = intake.existing(engine, X, sample_weight, self.in_shape)
        if sample_weight is not None:
            weights = data.contiguous(sample_weight, np.float64, name_of_weights)
            if weights.size and not weights.any():
                rows = np.zeros(0, np.int64)
                weights = np.zeros(len(X) * positions)
            else:
                weights, rows = data.sample_weights(weights, shape[:-1], name_of_weights)
        dtype = intake.dtype_of_targets(engine, engine.dtype)
        of_loss = (self._loss, shape, self.classes, dtype)
        targets = data.targets(y, *of_loss, _name("y", number), rows)
        if rows is not None and positions > 1:
            rows = np.unique(rows // positions)
        intake.check_finite(engine, X, name, self.names, rows, in_shape=self.in_shape)
        if weights is not None:
            weights = data.in_range(weights, engine.dtype, name_of_weights)
        return data.Examples(X, targets, targets, weights, rows, positions)


class _Waiting:
    """Batches until there are enough for a call: copies, as whoever makes them may reuse memory."""

    def __init__(self) -> None:
        self.n = 0  # rows
        self._parts: list[data.Examples] = []
        self._size = self._least = 0

    def ends_before(self, n: int) -> bool:
        """Whether a batch of n rows has no place behind these in one call."""
        return self.n > 0 and (n > self._size or self.n % self._size > 0)

    def add(self, part: data.Examples, batch_size: int, batches_per_step: int = 1) -> bool:
        """Add rows for batches of that size; return whether there are enough of them."""
        if not self._parts:
            self._size, self._least = batch_size, batch_size * batches_per_step
        if self._parts and isinstance(part.X, np.ndarray) != isinstance(
            self._parts[0].X, np.ndarray
        ):
            raise TypeError("X: expected batches that are all arrays, or all sparse, got both")
        self.n += part.n
        each = part.X.nbytes if isinstance(part.X, np.ndarray) else part.X.data.nbytes
        wanted = min(_BATCHES_OF_CALL * self._size, _BYTES_OF_CALL * part.n // max(1, each))
        enough = self.n >= max(wanted, self._least)
        self._parts.append(part if enough else _copy(part))
        return enough

    def taken(self, by_steps: bool = False) -> Block:
        """Take all of them, or those of whole steps."""
        n = self.n // self._least * self._least if by_steps else self.n
        whole = _joined(self._parts)
        block = Block(_rows_of(whole, slice(0, n)), np.arange(n), self._size)
        self._parts = [_copy(_rows_of(whole, slice(n, None)))] if n < self.n else []
        self.n -= n
        return block


def _rows_of(part: data.Examples, rows: Any) -> data.Examples:
    weights, positions = part.weights, part.positions
    weights = None if weights is None else data.rows_of(weights, rows, positions)
    targets = data.rows_of(part.targets, rows, positions)
    return data.Examples(part.X[rows], targets, targets, weights, None, positions)


def _copy(part: data.Examples) -> data.Examples:
    weights, targets = part.weights, part.targets.copy()
    weights = None if weights is None else weights.copy()
    return data.Examples(part.X.copy(), targets, targets, weights, None, part.positions)


def _joined(parts: list[data.Examples]) -> data.Examples:
    if len(parts) == 1:
        return parts[0]
    known = [part.weights.dtype for part in parts if part.weights is not None]
    weights = None
    if known:
        weights = np.concatenate(
            [np.ones(len(p.targets), known[0]) if p.weights is None else p.weights for p in parts]
        )
    if isinstance(parts[0].X, np.ndarray):
        X = np.concatenate([part.X for part in parts])
    else:
        from scipy import sparse

        X = sparse.vstack([part.X for part in parts], format="csr")
    targets = np.concatenate([part.targets for part in parts])
    return data.Examples(X, targets, targets, weights, None, parts[0].positions)


def _name(argument: str, number: int) -> str:
    return f"{argument} of batch {number}"
