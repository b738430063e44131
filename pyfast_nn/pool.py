"""Threads that take whole networks, and those that several work on together."""

import contextvars
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from . import _core, checks
from .history import History
from .metrics import larger_is_better
from .runtime import get_num_threads
from .training import Fit
from .typing import Array

# Multiply-adds of an epoch's forward passes for which one more thread is worth it: what Python does
# between epochs takes about a tenth of a millisecond, and threads take turns at it.
TURN = 1_000_000

Hook = Callable[[int, Any, int, dict[str, Any], Any], bool | None]


@contextmanager
def named(number: int) -> Iterator[None]:
    """Name a network in what is raised within."""
    try:
        yield
    except Exception as error:
        if len(error.args) == 1 and isinstance(error.args[0], str):
            error.args = (f"models[{number}]: {error.args[0]}",)
        elif hasattr(error, "add_note"):  # from Python 3.11 on
            error.add_note(f"of models[{number}]")
        raise


class Pool:
    """Threads that take whole networks, and those that several work on together."""

    def __init__(self, fits: list[Fit], on_epoch_end: Hook | None, progress: "Progress") -> None:
        self._fits, self._on_epoch_end, self._progress = fits, on_epoch_end, progress
        self._threads = self._free = get_num_threads()  # _free: those that work on nothing
        self._left = {number: fit.work_from(fit.done) for number, fit in enumerate(fits)}
        self._waiting = deque(sorted(self._left, key=lambda number: -self._left[number]))
        self._taken = dict.fromkeys(self._left, 0)  # threads of each network
        self._total, self._busy = sum(self._left.values()), 0  # of those; how many are trained
        self._changed = threading.Condition()  # with the lock of all of this
        self._stop = _core.Stop()
        self._error: BaseException | None = None
        self._telling = threading.Lock()
        self._histories: list[Any] = [None] * len(fits)

    def run(self) -> list[History]:
        """Train all; return the histories."""
        try:
            for _ in range(min(self._threads, len(self._fits), self._useful())):
                context = contextvars.copy_context()
                threading.Thread(target=context.run, args=(self._work,), daemon=True).start()
            self._wait()
        except BaseException:  # Ctrl-C, or what a handler of another signal raises
            self._end(None)
            self._wait()
            raise
        if self._error is not None:
            raise self._error
        return self._histories

    def _wait(self) -> None:
        """Wait until no network is trained, and none waits that will be.

        Not by joining threads: where a signal interrupts that, Python 3.11 takes them for ended.
        """
        with self._changed:
            while self._busy or (self._left and not self._stop.is_set()):
                self._changed.wait()

    def _useful(self) -> int:
        """Return how many threads of Python are worth having."""
        epochs = sum(fit.epochs - fit.done for fit in self._fits)
        return 1 + self._total // (TURN * max(1, epochs))

    def _end(self, error: BaseException | None) -> None:
        """End all fits, because of an error if they do not end already."""
        with self._changed:
            if not self._stop.is_set():
                self._error = error
            self._stop.set()
            self._changed.notify_all()

    def _work(self) -> None:
        """Train networks until there are none left, in a thread of its own."""
        _core.obey(self._stop)
        while (number := self._next()) is not None:
            try:
                with named(number):
                    self._train(number)
            except BaseException as error:
                self._end(error)
            finally:
                self._leave(number)

    def _next(self) -> int | None:
        """Return the next network, with one thread at least; None if there is none left."""
        with self._changed:
            while self._waiting and not self._free and not self._stop.is_set():
                self._changed.wait()
            if not self._waiting or self._stop.is_set():
                return None
            number = self._waiting.popleft()
            self._busy += 1
            self._take(number)
            return number

    def _take(self, number: int) -> None:
        """Let a network have its part of the threads, of which it is part of the work."""
        part = self._left[number] / (self._total or 1)
        room = self._free + self._taken[number]
        threads = min(max(1, int(self._threads * part)), room)
        if threads < self._taken[number]:
            self._changed.notify()
        self._free, self._taken[number] = room - threads, threads
        _core.set_own_threads(threads)

    def _leave(self, number: int) -> None:
        """Take a network and its threads away."""
        with self._changed:
            self._busy -= 1
            self._free += self._taken.pop(number)
            self._total -= self._left.pop(number)
            self._changed.notify_all()

    def _train(self, number: int) -> None:
        fit = self._fits[number]

        def after_epoch(epoch: int, record: dict[str, Any], outputs: Array | None) -> bool:
            stops = self._tell(number, epoch, record, outputs)
            with self._changed:
                left = fit.work_from(epoch + 1)
                self._total += left - self._left[number]
                self._left[number] = left
                self._take(number)
            if self._stop.is_set():
                _core.obey(None)  # as where it ends a call
                raise KeyboardInterrupt
            return stops

        @contextmanager
        def shown(epochs: int, done: int) -> Iterator[Callable[[dict[str, Any]], None]]:
            yield lambda record: self._progress.epoch(number, record)

        wants_outputs = self._on_epoch_end is not None
        self._histories[number] = fit.run(shown, after_epoch, wants_outputs)
        self._progress.end(number)

    def _tell(self, number: int, epoch: int, record: dict[str, Any], outputs: Any) -> bool:
        if self._on_epoch_end is None:
            return False
        with self._telling:
            model: Any = self._fits[number].model
            answer = self._on_epoch_end(number, model, epoch, record, outputs)
        return answer is not None and checks.boolean(answer, "what on_epoch_end returned")


class Progress:
    """Counts networks and epochs, and knows the best score."""

    def __init__(self, fits: list[Fit], show: Callable[..., None]) -> None:
        self._fits, self._show = fits, show
        self._lock = threading.Lock()
        self._ended = self._epochs = 0
        self._done = [fit.done for fit in fits]
        self._best: dict[str, float] = {}

    def epoch(self, number: int, record: dict[str, Any]) -> None:
        """Count an epoch of a network, and show its record."""
        name = self._fits[number].watched
        value = record[name]
        with self._lock:
            self._epochs += 1
            self._done[number] += 1
            if not math.isnan(value):
                better = max if larger_is_better(name) else min
                self._best[name] = better(value, self._best.get(name, value))
            self._show(self._ended, self._epochs, self._best, False)

    def end(self, number: int) -> None:
        """Count a network, which may have ended before its last epoch."""
        with self._lock:
            self._ended += 1
            self._epochs += self._fits[number].epochs - self._done[number]
            self._show(self._ended, self._epochs, self._best, True)
