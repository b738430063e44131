"""What a fit shows while it runs."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from . import checks

_NOT_SHOWN = ("lr", "seconds")


def check(verbose: object) -> str:
    """Return the style for `verbose`: "bar", "lines" or "quiet"."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if isinstance(verbose, str):
        checks.choice(verbose, "verbose", ("auto",))
        return "bar" if terminal else "quiet"
    if isinstance(verbose, bool):
        verbose = int(verbose)
    if not checks.integer(verbose, "verbose", 0, 1):
        return "quiet"
    return "bar" if terminal else "lines"


@contextmanager
def progress(style: str, epochs: int) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """Yield a function that shows the record of one finished epoch, on stderr."""
    if style == "quiet":
        yield lambda record: None
    elif style == "lines":
        done = iter(range(1, epochs + 1))
        yield lambda record: print(
            f"epoch {next(done)}/{epochs}", *_texts(record), sep="  ", file=sys.stderr, flush=True
        )
    else:
        with _bar(epochs) as show:
            yield show


@contextmanager
def _bar(epochs: int) -> Iterator[Callable[[Mapping[str, float]], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("epoch"),
        MofNCompleteColumn(),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[numbers]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        refresh_per_second=8,
    )
    with bar:
        task = bar.add_task("", total=epochs, numbers="")
        done, shown = 0, 0.0

        def show(record: Mapping[str, float]) -> None:
            nonlocal done, shown
            done += 1
            now = time.monotonic()
            if done == epochs or now - shown > 0.1:  # an epoch may take microseconds
                shown = now
                bar.update(task, completed=done, numbers="  ".join(_texts(record)))

        yield show


def _texts(record: Mapping[str, float]) -> list[str]:
    texts = [f"{key} {value:.4f}" for key, value in record.items() if key not in _NOT_SHOWN]
    return [*texts, f"{record['seconds']:.3g} s/epoch"]
