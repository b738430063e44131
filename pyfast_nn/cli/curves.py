"""Learning curves as a picture; needs Matplotlib, the extra `plot`."""

import os

from . import files


def check(path):
    """Find out before the training whether the picture can be made after it."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError(
            "--plot: needs Matplotlib, which is not installed; pip install 'pyfast-nn[plot]'"
        ) from None
    known = Figure().canvas.get_supported_filetypes()
    ending = os.path.splitext(path)[1].lstrip(".").lower()
    if ending not in known:
        raise ValueError(
            f"--plot: expected a name that ends in .png or another of {', '.join(known)}; "
            f"got {path!r}"
        )
    files.check_writable(path, "--plot")


def draw(history, path):
    """Write a picture of loss and accuracy against epochs."""
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    figure = Figure(figsize=(9, 4), layout="constrained")
    epochs = range(1, history.epochs + 1)
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            if key in history:
                axes.plot(epochs, history[key], label=label, marker="." if len(epochs) < 40 else "")
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=150)
