"""Pictures of the page: SVG whose colours are those of the page, light or dark."""

import contextlib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..history import History
from ..typing import Floats
from .calibration import Reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that stand for those of the page's style.
TEXT, LINE, MAIN, SECOND = "#010203", "#010204", "#010205", "#010206"
_OF_PAGE = {TEXT: "--text", LINE: "--line", MAIN: "--main", SECOND: "--second"}
_WIDTH, _HEIGHT = 4.6, 3.3  # inches: on a phone a picture is as wide as the screen
_MOST_POINTS = 2000  # that are drawn one by one


def learning_curves(histories: Sequence[History], weights: Floats, key: str) -> str:
    """Return the values of `key` after each epoch, a line for each network."""

    def draw(axes: "Axes") -> None:
        lowest = np.inf
        for history, weight in zip(histories, weights, strict=True):
            values = np.asarray(history[key], np.float64)
            lowest = min(lowest, np.nanmin(values))
            opacity = 0.25 + 0.75 * weight / weights.max()
            marker = "o" if len(values) == 1 else None
            epochs = np.arange(1, len(values) + 1)
            axes.plot(epochs, values, color=MAIN, alpha=opacity, linewidth=1.2, marker=marker)
            if key.startswith("val_") and history.best_epoch is not None:
                best = history.best_epoch
                axes.plot(best + 1, values[best], "o", color=SECOND, markersize=3.5)
        if lowest > 0:
            _logarithmic(axes)
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss")

    return svg(draw, key)


def predicted_against_true(y: Floats, predictions: Floats) -> str:
    """Return predictions over true values, with the line on which they would be right."""

    def draw(axes: "Axes") -> None:
        rows = np.random.default_rng(0).permutation(len(y))[:_MOST_POINTS]
        both = np.concatenate([y, predictions])
        ends = [both.min(), both.max()]
        axes.plot(ends, ends, color=SECOND, linewidth=1)
        alpha = float(np.clip(60 / np.sqrt(len(rows)) / 4, 0.15, 0.8))
        axes.plot(y[rows], predictions[rows], "o", color=MAIN, markersize=3, alpha=alpha, mew=0)
        axes.set_xlabel("true")
        axes.set_ylabel("predicted")

    return svg(draw, "predicted")


def residuals(y: Floats, predictions: Floats) -> str:
    """Return how often predictions are wrong by how much."""

    def draw(axes: "Axes") -> None:
        errors = predictions - y
        axes.hist(errors, bins=min(40, max(5, int(np.sqrt(len(errors))))), color=MAIN)
        axes.axvline(0, color=SECOND, linewidth=1)
        axes.set_xlabel("predicted minus true")
        axes.set_ylabel("rows")

    return svg(draw, "residuals")


def reliability(found: Reliability) -> str:
    """Return how often came true what had some probability."""

    def draw(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], color=SECOND, linewidth=1)
        below, above = found.observed - found.low, found.high - found.observed
        axes.errorbar(
            found.predicted,
            found.observed,
            yerr=[np.maximum(below, 0), np.maximum(above, 0)],
            fmt="o",
            color=MAIN,
            markersize=4,
            linewidth=1,
        )
        axes.set_xlabel("predicted probability")
        axes.set_ylabel("observed share")

    return svg(draw, "reliability")


def coverage(levels: Floats, observed: Floats) -> str:
    """Return which share of the rows is below their quantiles."""

    def draw(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], color=SECOND, linewidth=1)
        axes.plot(levels, observed, "o-", color=MAIN, markersize=4, linewidth=1)
        axes.set_xlabel("quantile")
        axes.set_ylabel("share of rows below")

    return svg(draw, "coverage")


# ---------------------------------------------------------------------- how


def svg(draw: Callable[["Axes"], Any], name: str) -> str:
    """Return the SVG element that `draw` fills; what it refers to is named after `name`."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    file = io.StringIO()
    with _style():
        figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        axes = figure.subplots()
        axes.grid(visible=True)
        axes.set_axisbelow(True)
        axes.locator_params(nbins=5)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(_number))
        draw(axes)
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for colour, of_page in _OF_PAGE.items():
        text = text.replace(colour, f"var({of_page})")
    # Groups have names that other pictures have, too; markers and clip paths need theirs.
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    text = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", text)
    return text.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)


@contextlib.contextmanager
def _style() -> Iterator[None]:
    import matplotlib

    settings: Any = {  # whose names Matplotlib's types list one by one
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": "pyfast_nn",
        "font.family": "sans-serif",
        "font.size": 11,
        "text.color": TEXT,
        "axes.labelcolor": TEXT,
        "axes.edgecolor": LINE,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": TEXT,
        "ytick.color": TEXT,
        "grid.color": LINE,
        "grid.linewidth": 0.6,
    }
    with matplotlib.rc_context(settings):
        yield


def _logarithmic(axes: "Axes") -> None:
    """Make the vertical axis logarithmic, with numbers as on the others."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    few = high / low > 30
    axes.yaxis.set_major_locator(LogLocator(subs=(1,) if few else (1, 2, 3, 5, 7)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(_number))


def _number(value: float, _: Any) -> str:
    return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:g}"
