"""Many networks in one call: whole ones are shared out over the threads, the data are shared."""

import contextvars
import copy
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

from . import _core, checks
from .guidance import near
from .history import History
from .listeners import CallbackLike
from .listeners import check as check_callbacks
from .losses import Loss
from .metrics import MetricsLike, larger_is_better
from .models import Sequential, engine_of
from .once import Once
from .optim import Optimizer
from .progress import check as check_verbose
from .progress import progress_of_many
from .runtime import get_num_threads
from .training import Fit
from .typing import Array, ArrayLike, ClassWeight, Inputs, Integer, Path, Real

Hook = Callable[[int, Sequential, int, dict[str, Any], Any], bool | None]


def fit_many(
    models: Iterable[Sequential],
    X: Inputs,
    y: ArrayLike,
    *,
    each: Sequence[Mapping[str, Any]] | None = None,
    on_epoch_end: Hook | None = None,
    loss: str | Loss | None = None,
    optimizer: str | Optimizer | None = None,
    epochs: Integer | None = None,
    batch_size: Integer | None = None,
    gradient_accumulation_steps: Integer = 1,
    shuffle: bool = True,
    validation_split: Real | None = None,
    validation_data: tuple[Inputs, ArrayLike]
    | tuple[Inputs, ArrayLike, ArrayLike]
    | list[Any]
    | None = None,
    sample_weight: ArrayLike | None = None,
    class_weight: ClassWeight | None = None,
    metrics: MetricsLike = (),
    train_metrics: bool = False,
    patience: Integer | None = None,
    min_delta: Real = 0.0,
    monitor: str = "val_loss",
    callbacks: CallbackLike | Iterable[CallbackLike] = (),
    resume: Path | None = None,
    verbose: Literal["auto"] | int = "auto",
) -> list[History]:
    """Train many networks on the same data, side by side; each as by `Sequential.fit` alone.

    Parameters
    ----------
    models : iterable of Sequential
        Each with its own layers, dtype and seed.
    X : array_like (n, in_features)
        As for `Sequential.fit`; it is read and checked once.
    y : array_like
        Likewise.
    each : sequence of dict, optional
        For each model those options that are its own, in place of the ones below:
        ``[{"optimizer": fnn.optim.Adam(lr=lr)} for lr in rates]``. A network trains on some of the
        rows by its ``"sample_weight"``, where rows of weight 0 are as if they were not there.
    on_epoch_end : callable, optional
        ``on_epoch_end(number, model, epoch, record, outputs)`` after each epoch of each network,
        never two at a time, in the thread that trains it. `number` is the place in `models`,
        `outputs` (rows, out_features) what the network puts out for the validation data: values on
        the scale of y, or else what `Sequential.forward` gives; None without validation data. They
        come from the pass that the validation loss comes from. True ends the fit of that network.
        What is added to the record is in the history.
    optimizer : pyfast_nn.optim.Optimizer or str, optional
        An object given here is copied for each network; those of `each` are used as they are, and
        may not be the same.
    callbacks : Callback or list of those
        For one network only; of several each has its own, in `each`. They are called in the thread
        that trains the network, those of different networks at the same time.
    resume : str or os.PathLike, optional
        Likewise a file for each network, in `each`.
    loss, epochs, batch_size, gradient_accumulation_steps, shuffle, validation_split, \
validation_data, sample_weight, class_weight, metrics, train_metrics, patience, min_delta, monitor
        As for `Sequential.fit`.
    verbose : {"auto", 0, 1}
        As for `Sequential.fit`: one bar for all, or a line for each network that ends.

    Returns
    -------
    list of History
        That of each model; also its `history`.

    Raises
    ------
    TypeError, ValueError
        If an argument is impossible: nothing is trained then. The message names the network:
        ``models[3]: batch_size: ...``.
    Exception
        What ends the fit of one network ends the others, as Ctrl-C does, and is raised when all
        have ended; its message begins with the name of the network, too.

    Notes
    -----
    The bits are those of each fit alone, for any number of threads. As many threads as
    `get_num_threads` says take whole networks, those with most work first. The work of a network is
    its multiply-adds by rows and epochs. A network whose part of all that is left to do is more
    than one thread's gets a team: ``threads * part`` threads, asked for anew at each of its epochs,
    so that the last ones have all threads.

    After Ctrl-C every network is left as `Sequential.fit` leaves it then.

    Examples
    --------
    >>> models = [fnn.Sequential([fnn.Dense(32), fnn.ReLU(), fnn.Dense(10)], seed=s)
    ...           for s in range(4)]
    >>> histories = fnn.fit_many(models, X, y, loss="cross_entropy", epochs=5,
    ...                          validation_data=(Xv, yv),
    ...                          each=[{"batch_size": b} for b in (32, 64, 128, 256)])
    >>> [history.epochs for history in histories]
    [5, 5, 5, 5]

    Successive halving (Jamieson and Talwalkar 2016, https://arxiv.org/abs/1502.07943): after 1, 2,
    4, ... epochs only the better half of what has come so far goes on.

    >>> seen = {}
    >>> def halve(number, model, epoch, record, outputs):
    ...     rung = epoch + 1
    ...     if rung & (rung - 1):
    ...         return False
    ...     others = seen.setdefault(rung, [])
    ...     others.append(record["val_loss"])
    ...     return record["val_loss"] > np.median(others)
    >>> models = [fnn.Sequential([fnn.Dense(w), fnn.ReLU(), fnn.Dense(10)]) for w in (4, 16, 64)]
    >>> histories = fnn.fit_many(models, X, y, loss="cross_entropy", epochs=8,
    ...                          validation_data=(Xv, yv), on_epoch_end=halve)
    """
    common = {
        "loss": loss,
        "optimizer": optimizer,
        "epochs": epochs,
        "batch_size": batch_size,
        "gradient_accumulation_steps": gradient_accumulation_steps,
        "shuffle": shuffle,
        "validation_split": validation_split,
        "validation_data": validation_data,
        "sample_weight": sample_weight,
        "class_weight": class_weight,
        "metrics": list(metrics) if isinstance(metrics, Iterator) else metrics,
        "train_metrics": train_metrics,
        "patience": patience,
        "min_delta": min_delta,
        "monitor": monitor,
        "callbacks": callbacks,
        "resume": resume,
    }
    if y is None:
        raise TypeError(
            "y: expected targets beside X, got None; batches are for Sequential.fit, one network "
            "after the other"
        )
    if on_epoch_end is not None and not callable(on_epoch_end):
        came = checks.describe(on_epoch_end)
        raise TypeError(f"on_epoch_end: expected a function, got {came}")
    models = _check_models(models)
    options = _options(common, each, len(models))
    style = check_verbose(verbose)
    with ExitStack() as ends:
        for number, model in enumerate(models):
            engine, token = engine_of(model), object()
            with _named(number):
                ends.callback(engine.release, token)
                engine.claim(token)
        fits = _prepare(models, X, y, options)
        total = sum(fit.epochs - fit.done for fit in fits)
        show = ends.enter_context(progress_of_many(style, len(fits), total))
        return _Pool(fits, on_epoch_end, _Progress(fits, show)).run()


# ---------------------------------------------------------------------- checks


def _check_models(models: Any) -> list[Sequential]:
    try:
        models = list(models)
    except TypeError:
        came = checks.describe(models)
        raise TypeError(f"models: expected a list of models, got {came}") from None
    places: dict[int, int] = {}
    for number, model in enumerate(models):
        if not isinstance(model, Sequential):
            raise TypeError(
                f"models[{number}]: expected a Sequential, got {checks.describe(model)}"
            )
        # Parts of a model, such as model[:-1], are views of its parameters.
        parameters = engine_of(model).parameters
        memory: Any = model if parameters is None else parameters
        while getattr(memory, "base", None) is not None:
            memory = memory.base
        other = places.setdefault(id(memory), number)
        if other != number:
            raise ValueError(
                "models: expected models with parameters of their own, got the same ones in "
                f"models[{other}] and models[{number}]"
            )
    return models


def _options(common: dict[str, Any], each: Any, n: int) -> list[dict[str, Any]]:
    """Return the options of each of n networks."""
    own: list[Any] = [{}] * n if each is None else _check_each(each, common, n)
    given_by_all = [name for name in common if sum(name not in of_one for of_one in own) > 1]
    if "callbacks" in given_by_all and check_callbacks(common["callbacks"]):
        raise ValueError(
            "callbacks: expected callbacks of its own for each network, got the same for several; "
            'name them in each=[{"callbacks": ...}, ...], or use on_epoch_end'
        )
    if "resume" in given_by_all and common["resume"] is not None:
        raise ValueError(
            "resume: expected a checkpoint of its own for each network, got one for several; name "
            'them in each=[{"resume": ...}, ...]'
        )
    optimizer = common["optimizer"]
    if isinstance(optimizer, Optimizer) and (optimizer.step_count or len(optimizer.state)):
        raise ValueError(
            "optimizer: expected a new one, of which each network gets a copy, got "
            f"{type(optimizer).__name__} with the state of a model ({optimizer.step_count} steps); "
            'name it in each=[{"optimizer": ...}, ...]'
        )
    result = []
    for of_one in own:
        options = common | dict(of_one)
        if isinstance(optimizer, Optimizer) and "optimizer" not in of_one:
            options["optimizer"] = copy.deepcopy(optimizer)
        result.append(options)
    return result


def _check_each(each: Any, common: dict[str, Any], n: int) -> list[Mapping[str, Any]]:
    if not isinstance(each, Sequence) or isinstance(each, str):
        came = checks.describe(each)
        raise TypeError(f"each: expected a list of dicts, one for each model, got {came}")
    if len(each) != n:
        raise ValueError(f"each: expected {n} dicts, one for each model, got {len(each)}")
    for number, of_one in enumerate(each):
        if not isinstance(of_one, Mapping):
            raise TypeError(f"each[{number}]: expected a dict, got {checks.describe(of_one)}")
        for name in of_one:
            if name not in common:
                raise ValueError(
                    f"each[{number}]: expected options of one network, got {name!r}"
                    f"{near(str(name), common)}"
                )
    return list(each)


def _prepare(models: list[Sequential], X: Any, y: Any, options: list[dict[str, Any]]) -> list[Fit]:
    """Return the fits, whose arguments are checked; what they share is read once."""
    once, fits = Once(), []
    owners: dict[int, int] = {}  # of what may belong to one network only, by its id
    for number, (model, of_one) in enumerate(zip(models, options, strict=True)):
        with _named(number):
            fit = Fit(model, engine_of(model), X, y, **of_one, once=once)
        fits.append(fit)
        for name, mine in (("optimizer", [fit.optimizer]), ("callbacks", fit.listeners)):
            for each in mine:
                other = owners.setdefault(id(each), number)
                if other != number:
                    why = ", as it belongs to one model" if name == "optimizer" else ""
                    raise ValueError(
                        f"{name}: expected one of its own for each network{why}, got the same "
                        f"{type(each).__name__} for models[{other}] and models[{number}]"
                    )
    return fits


@contextmanager
def _named(number: int) -> Iterator[None]:
    """Name a network in what is raised within."""
    try:
        yield
    except Exception as error:
        _name(error, number)
        raise


def _name(error: BaseException, number: int) -> None:
    if len(error.args) == 1 and isinstance(error.args[0], str):
        error.args = (f"models[{number}]: {error.args[0]}",)
    elif hasattr(error, "add_note"):  # from Python 3.11 on
        error.add_note(f"of models[{number}]")


# ---------------------------------------------------------------------- threads


class _Pool:
    """Threads that take whole networks, and those that several work on together."""

    def __init__(self, fits: list[Fit], on_epoch_end: Hook | None, progress: "_Progress") -> None:
        self._fits, self._on_epoch_end, self._progress = fits, on_epoch_end, progress
        self._threads = self._free = get_num_threads()  # _free: those that work on nothing
        self._left = {number: fit.work * (fit.epochs - fit.done) for number, fit in enumerate(fits)}
        self._waiting = deque(sorted(self._left, key=lambda number: -self._left[number]))
        self._taken = dict.fromkeys(self._left, 0)  # threads of each network
        self._changed = threading.Condition()  # with the lock of all of this
        self._at_work = 0  # threads of Python
        self._stop = _core.Stop()
        self._error: tuple[int, BaseException] | None = None
        self._telling = threading.Lock()
        self._histories: list[Any] = [None] * len(fits)

    def run(self) -> list[History]:
        """Train all; return the histories."""
        self._at_work = min(self._threads, len(self._fits))
        for _ in range(self._at_work):
            context = contextvars.copy_context()
            threading.Thread(target=context.run, args=(self._work,), daemon=True).start()
        try:
            self._wait()
        except BaseException:  # Ctrl-C, or what a handler of another signal raises
            self._stop.set()
            self._wait()
            raise
        if self._error is not None:
            number, error = self._error
            _name(error, number)
            raise error
        return self._histories

    def _wait(self) -> None:
        with self._changed:
            while self._at_work:
                self._changed.wait()

    def _work(self) -> None:
        """Train networks until there are none left, in a thread of its own."""
        _core.obey(self._stop)
        try:
            while (number := self._next()) is not None:
                try:
                    self._train(number)
                except BaseException as error:
                    with self._changed:
                        if not self._stop.is_set():  # else it is the end that all were told of
                            self._error = number, error
                        self._stop.set()
                finally:
                    self._give_back(number)
        finally:
            _core.obey(None)
            with self._changed:
                self._at_work -= 1
                self._changed.notify_all()

    def _next(self) -> int | None:
        """Return the next network, with one thread at least; None if there is none left."""
        with self._changed:
            while self._waiting and not self._free and not self._stop.is_set():
                self._changed.wait()
            if not self._waiting or self._stop.is_set():
                return None
            number = self._waiting.popleft()
            self._take(number)
            return number

    def _take(self, number: int) -> None:
        """Let a network have its part of the threads, of which it is part of the work."""
        part = self._left[number] / (sum(self._left.values()) or 1)
        room = self._free + self._taken[number]
        threads = min(max(1, int(self._threads * part)), room)
        self._free, self._taken[number] = room - threads, threads
        _core.set_own_threads(threads)
        self._changed.notify_all()

    def _give_back(self, number: int) -> None:
        with self._changed:
            self._free += self._taken.pop(number)
            del self._left[number]
            self._changed.notify_all()

    def _train(self, number: int) -> None:
        fit = self._fits[number]

        def after_epoch(epoch: int, record: dict[str, Any], outputs: Array | None) -> bool:
            stops = self._tell(number, epoch, record, outputs)
            with self._changed:
                self._left[number] = fit.work * (fit.epochs - epoch - 1)
                self._take(number)
            if self._stop.is_set():
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


class _Progress:
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
            self._show(self._ended, self._epochs, self._texts(), False)

    def end(self, number: int) -> None:
        """Count a network, which may have ended before its last epoch."""
        with self._lock:
            self._ended += 1
            self._epochs += self._fits[number].epochs - self._done[number]
            self._show(self._ended, self._epochs, self._texts(), True)

    def _texts(self) -> list[str]:
        return [f"best {name} {value:.4f}" for name, value in self._best.items()]
