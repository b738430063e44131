"""Whole networks to the workers of joblib: to other processes, and those of other machines."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .history import History
from .models import Sequential, engine_of
from .optim import Optimizer
from .optim.base import go_on
from .pool import Progress, named
from .threads import shared
from .training import Fit


def import_joblib() -> Any:
    """Return the module; ImportError that says what brings it."""
    try:
        import joblib
    except ImportError as error:
        raise ImportError(
            f"backend='joblib' needs joblib: pip install 'pyfast-nn[parallel]' ({error})",
            name=error.name,
        ) from error
    return joblib


def fit_by_joblib(
    joblib: Any, fits: list[Fit], X: Any, y: Any, options: list[dict[str, Any]], progress: Progress
) -> list[History]:
    """Train networks, which become what comes back of them; return the histories."""
    longest_first = sorted(
        range(len(fits)), key=lambda number: -fits[number].work_from(fits[number].done)
    )
    tasks = (
        joblib.delayed(_train)(number, fits[number].model, *_apart(options[number], X, y))
        for number in longest_first
    )
    # Ctrl-C keeps what has come back.
    for number, model, optimizer in joblib.Parallel(return_as="generator_unordered")(tasks):
        fit: Any = fits[number]
        engine = engine_of(fit.model)
        engine.become(engine_of(model))
        if optimizer is not None:
            go_on(fit.optimizer, engine, optimizer)
        history = engine.history
        for epoch in range(history.epochs):
            progress.epoch(number, {key: column[epoch] for key, column in history.items()})
        progress.end(number)
    return [engine_of(fit.model).history for fit in fits]


def _apart(options: dict[str, Any], X: Any, y: Any) -> tuple[Any, ...]:
    """Return options and, beside them, all data: arguments that are one object are sent once."""
    data = ("validation_data", "sample_weight")
    others = {name: value for name, value in options.items() if name not in data}
    return others, X, y, options["sample_weight"], *(options["validation_data"] or ())


def _train(
    number: int,
    model: Sequential,
    options: dict[str, Any],
    X: Any,
    y: Any,
    sample_weight: Any,
    *validation_data: Any,
) -> tuple[int, Sequential, dict[str, Any] | None]:
    """Train a copy of a network where this is called; return it, and its optimizer's state."""
    # In a thread of the caller's process it would go on after that has left for an error.
    model, optimizer = copy.deepcopy((model, options["optimizer"]))
    options = options | {
        "optimizer": optimizer,
        "sample_weight": sample_weight,
        "validation_data": validation_data or None,
    }
    with named(number), shared() as take:

        def after_epoch(epoch: int, record: dict[str, Any], outputs: Any) -> bool:
            take()
            return False

        Fit(model, engine_of(model), X, y, **options).run(_unseen, after_epoch)
    return number, model, optimizer.state_dict() if isinstance(optimizer, Optimizer) else None


@contextmanager
def _unseen(epochs: int, done: int) -> Iterator[Any]:
    yield lambda record: None
