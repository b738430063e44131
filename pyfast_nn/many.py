"""Many networks in one call: whole ones are shared out over the threads, the data are shared."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Literal

from . import checks
from .guidance import near
from .history import History
from .listeners import CallbackLike
from .listeners import check as check_callbacks
from .losses import Loss
from .metrics import MetricsLike
from .models import Sequential, engine_of
from .once import Once
from .optim import Optimizer
from .pool import Hook, Pool, Progress, named
from .progress import check as check_verbose
from .progress import progress_of_many
from .training import Fit
from .typing import ArrayLike, ClassWeight, Inputs, Integer, Path, Real
from .workers import fit_by_joblib, import_joblib


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
    mixup: Real = 0.0,
    gradient: Literal["backward", "forward"] = "backward",
    shuffle: bool = True,
    groups: ArrayLike | None = None,
    per_class: Integer | None = None,
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
    backend: Literal["threads", "joblib"] = "threads",
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
        `outputs` (rows, out_features), or (rows, ..., out_features) with positions, what the
        network puts out for the validation data: values on the scale of y, or else what
        `Sequential.forward` gives; None without validation data. They come from the pass that the
        validation loss comes from, and have no rows of weight 0. True ends the fit of that network.
        What is added to the record is in the history.
    optimizer : pyfast_nn.optim.Optimizer or str, optional
        An object given here is copied for each network; those of `each` are used as they are, and
        may not be the same.
    callbacks : Callback or list of those
        For one network only; of several each has its own, in `each`. They are called in the thread
        that trains the network, those of different networks at the same time.
    resume : str or os.PathLike, optional
        Likewise a file for each network, in `each`.
    loss, epochs, batch_size, gradient_accumulation_steps, mixup, gradient, shuffle, groups, \
per_class, validation_split, validation_data, sample_weight, class_weight, metrics, train_metrics, \
patience, min_delta, monitor
        As for `Sequential.fit`.
    backend : {"threads", "joblib"}
        "threads" are those of this process. "joblib" is for what outgrows a machine: whole networks
        go as tasks to whatever ``joblib.parallel_config`` names, such as processes of loky, Dask or
        Ray, and models, histories and optimizers come back into the objects that were given. Data
        are sent once to a worker; loky maps them into memory. There `on_epoch_end`, `callbacks` and
        `resume` are refused, as they would be called elsewhere; and Ctrl-C keeps the networks that
        have come back, the others are as they were. Needs joblib, the extra ``parallel``.
    verbose : {"auto", 0, 1}
        As for `Sequential.fit`: one bar for all, or a line for each network that ends.

    Returns
    -------
    list of History
        That of each model; also its `history`.

    Raises
    ------
    ImportError
        If joblib is needed and not there.
    TypeError, ValueError
        If an argument is impossible: nothing is trained then. The message names the network:
        ``models[3]: batch_size: ...``.
    Exception
        What ends the fit of one network ends the others, as Ctrl-C does, and is raised when all
        have ended; its message begins with the name of the network, too.

    Notes
    -----
    The bits are those of each fit alone, for any number of threads; on other machines those of the
    instruction set there, see `build_config`. As many threads as
    `get_num_threads` says take whole networks, those with most work first. The work of a network is
    its multiply-adds by rows and epochs. A network whose part of all that is left to do is more
    than one thread's gets a team: ``threads * part`` threads, asked for anew at each of its epochs,
    so that the last ones have all threads. Networks whose epochs take less than some tenths of a
    millisecond are trained by fewer threads, as those take turns at what Python does between
    epochs.

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

    On the processes of a cluster; `client` is a ``dask.distributed.Client``, say::

        with joblib.parallel_config(backend="dask"):
            histories = fnn.fit_many(models, X, y, loss="mse", backend="joblib")
    """
    common = {
        "loss": loss,
        "optimizer": optimizer,
        "epochs": epochs,
        "batch_size": batch_size,
        "gradient_accumulation_steps": gradient_accumulation_steps,
        "mixup": mixup,
        "gradient": gradient,
        "shuffle": shuffle,
        "groups": groups,
        "per_class": per_class,
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
    if checks.choice(backend, "backend", ("threads", "joblib")) == "joblib":
        _refuse_in_workers(options, on_epoch_end)
    return _fit_all(models, X, y, options, on_epoch_end, backend, check_verbose(verbose))


def _fit_all(
    models: list[Sequential],
    X: Any,
    y: Any,
    options: list[dict[str, Any]],
    on_epoch_end: Hook | None,
    backend: str,
    style: str,
) -> list[History]:
    joblib = import_joblib() if backend == "joblib" else None
    with ExitStack() as ends:
        for number, model in enumerate(models):
            engine, token = engine_of(model), object()
            with named(number):
                ends.callback(engine.release, token)
                engine.claim(token)
        fits = _prepare(models, X, y, options)
        total = sum(fit.epochs - fit.done for fit in fits)
        show = ends.enter_context(progress_of_many(style, len(fits), total))
        progress = Progress(fits, show)
        if joblib is not None:
            return fit_by_joblib(joblib, fits, X, y, options, progress)
        return Pool(fits, on_epoch_end, progress).run()


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


def _refuse_in_workers(options: list[dict[str, Any]], on_epoch_end: Hook | None) -> None:
    """Raise ValueError if something is given that works in this process only."""
    given: list[tuple[str, Any]] = [("on_epoch_end", on_epoch_end)]
    for of_one in options:
        given.append(("callbacks", check_callbacks(of_one["callbacks"]) or None))
        given.append(("resume", of_one["resume"]))
    for name, value in given:
        if value is not None:
            raise ValueError(
                f"{name}: expected none with backend='joblib', whose networks are trained in "
                f"other processes, got {checks.describe(value)}; backend='threads' takes it"
            )


def _prepare(models: list[Sequential], X: Any, y: Any, options: list[dict[str, Any]]) -> list[Fit]:
    """Return the fits, whose arguments are checked; what they share is read once."""
    once, fits = Once(), []
    owners: dict[int, int] = {}  # of what may belong to one network only, by its id
    for number, (model, of_one) in enumerate(zip(models, options, strict=True)):
        with named(number):
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
