"""The progress bar of a fit, drawn by rich: on a terminal, or in a notebook."""

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

_BAR_WIDTH = 20
_NOTEBOOK_WIDTH = 100

Show = Callable[..., None]  # (numbers) of the next epoch, or (numbers, epochs done)


@contextmanager
def on_terminal(epochs: int, done: int = 0) -> Iterator[Show]:
    """Yield a function that counts an epoch, after those done, and shows numbers it is given."""
    with make_bar(Console(stderr=True, force_jupyter=False), epochs, done) as bar:
        counter = _Counter(bar, seconds=0.1)
        try:
            yield counter.show
        finally:
            counter.draw()


@contextmanager
def in_notebook(epochs: int, done: int = 0) -> Iterator[Show]:
    """Yield the same for a cell of a notebook: one line of text that is written anew.

    rich's own bar there needs ipywidgets, and shows nothing where the notebook is read later.
    """
    from IPython.display import display

    console = Console(
        file=io.StringIO(), width=_NOTEBOOK_WIDTH, color_system=None, force_jupyter=False
    )
    bar = make_bar(console, epochs, done)

    def drawn() -> dict[str, str]:
        with console.capture() as capture:
            console.print(bar.get_renderable())
        return {"text/plain": capture.get().rstrip()}

    cell = display(drawn(), raw=True, display_id=True)
    counter = _Counter(bar, seconds=0.2, drawn=lambda: cell.update(drawn(), raw=True))
    try:
        yield counter.show
    finally:
        counter.draw()


def make_bar(console: Console, epochs: int, done: int = 0) -> Progress:
    """Return a bar of so many epochs that fits any console of 40 columns or more."""
    bar = Progress(
        TextColumn("epoch"),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        BarColumn(_BAR_WIDTH),  # the only one that rich may narrow
        _Numbers(console),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        console=console,
        refresh_per_second=8,
    )
    bar.add_task("", total=epochs, completed=done, numbers=[])
    return bar


class _Numbers(ProgressColumn):
    """As many of the numbers as the rest of the line leaves room for."""

    def __init__(self, console: Console) -> None:
        self._console = console
        super().__init__(Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        epochs = f"{task.total:.0f}"
        others = ("epoch", f"{epochs}/{epochs}", " " * _BAR_WIDTH, "", "0:00:00")
        room = self._console.width - len(" ".join(others))
        return Text("  ".join(fitting(task.fields["numbers"], room)))


def fitting(numbers: list[str], width: int) -> list[str]:
    """Return those of the texts that fit in so many columns: of the validation data first."""
    kept: set[int] = set()
    for i in sorted(range(len(numbers)), key=lambda i: not numbers[i].startswith("val_")):
        width -= len(numbers[i]) + 2 * bool(kept)
        if width < 0:
            break
        kept.add(i)
    return [numbers[i] for i in sorted(kept)]


class _Counter:
    """Counts epochs, and moves the bar now and then: an epoch may take microseconds."""

    def __init__(
        self, bar: Progress, seconds: float, drawn: Callable[[], None] = lambda: None
    ) -> None:
        self._bar, self._seconds, self._drawn = bar, seconds, drawn
        self._done, self._moved = int(bar.tasks[0].completed), 0.0
        self._numbers: list[str] = []

    def show(self, numbers: list[str], done: int | None = None) -> None:
        self._done, self._numbers = self._done + 1 if done is None else done, numbers
        if time.monotonic() - self._moved >= self._seconds:
            self.draw()

    def draw(self) -> None:
        (task,) = self._bar.task_ids
        self._bar.update(task, completed=self._done, numbers=self._numbers)
        self._drawn()
        self._moved = time.monotonic()
