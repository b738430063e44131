"""What the pictures share; they need Matplotlib, the extra `plot`."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> "Figure":
    """Return a figure of that size in inches: without pyplot's state, and shown by a notebook."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f"plot: needs Matplotlib: pip install 'pyfast-nn[plot]' ({error})", name=error.name
        ) from None

    class Picture(Figure):
        def _repr_png_(self) -> bytes:
            file = io.BytesIO()
            self.savefig(file, format="png")
            return file.getvalue()

    return Picture(figsize=(width, height), dpi=150, layout="constrained")


def axes_or_new(ax: "Axes | None", height: float = 3.6) -> "Axes":
    """Return `ax`, or the axes of a new figure of a paper's column."""
    return new_figure(4.8, height).subplots() if ax is None else ax


def tick_layers(ax: "Axes", names: Sequence[str]) -> None:
    """Label the x axis with the names of layers, at 0, 1, ...; of many, with some."""
    every = -(-len(names) // 16)
    ticks = range(0, len(names), every)
    ax.set_xticks(ticks, names[::every], rotation=90 if len(ticks) > 6 else 30, fontsize=8)
