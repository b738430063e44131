"""What a fit shows while it runs."""

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from . import checks
from .history import NOT_SCORES


def check(verbose: object) -> str:
    """Return the style for `verbose`: "terminal", "notebook", "lines" or "quiet"."""
    if isinstance(verbose, str):
        checks.choice(verbose, "verbose", ("auto",))
        return _place() or "quiet"
    if isinstance(verbose, bool):
        verbose = int(verbose)
    if not checks.integer(verbose, "verbose", 0, 1):
        return "quiet"
    return _place() or "lines"


def _place() -> str | None:
    """Return where a bar can be drawn, if anywhere."""
    ipython = sys.modules.get("IPython")  # not loaded: this is no notebook
    if ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None:
        return "notebook"
    return "terminal" if sys.stderr is not None and sys.stderr.isatty() else None


@contextmanager
def progress(
    style: str, epochs: int, done: int = 0
) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """Yield a function that shows the record of one finished epoch, on stderr or in a notebook.

    Of so many epochs in all, some of which may be done.
    """
    if style == "quiet":
        yield lambda record: None
    elif style == "lines":
        number = itertools.count(done + 1)
        yield lambda record: print(
            f"epoch {next(number)}/{epochs}", *_texts(record), sep="  ", file=sys.stderr, flush=True
        )
    else:
        from . import bar  # and with it rich, which takes as long to import as all else

        draws = bar.in_notebook if style == "notebook" else bar.on_terminal
        with draws(epochs, done) as show:
            yield lambda record: show(_texts(record))


@contextmanager
def progress_of_many(style: str, networks: int, epochs: int) -> Iterator[Callable[..., None]]:
    """Yield a function that shows how far many fits are, in the same places.

    ``show(networks done, epochs done, best scores, ends)``, where `ends` says that a network has
    ended: lines are of those only. Of so many networks and epochs in all.
    """

    def texts(best: Mapping[str, float]) -> list[str]:
        return [f"best {name} {value:.4f}" for name, value in best.items()]

    if style == "quiet":
        yield lambda done, epoch, best, ends: None
    elif style == "lines":

        def line(done: int, epoch: int, best: Mapping[str, float], ends: bool) -> None:
            if ends:
                counts = (f"network {done}/{networks}", f"epoch {epoch}/{epochs}")
                print(*counts, *texts(best), sep="  ", file=sys.stderr, flush=True)

        yield line
    else:
        from . import bar

        draws = bar.in_notebook if style == "notebook" else bar.on_terminal
        with draws(epochs) as show:
            yield lambda done, epoch, best, ends: show(
                [f"network {done}/{networks}", *texts(best)], epoch
            )


def _texts(record: Mapping[str, float]) -> list[str]:
    texts = [f"{key} {value:.4f}" for key, value in record.items() if key not in NOT_SCORES]
    return [*texts, f"{record['seconds']:.3g} s/epoch"]
