"""What the scripts of the gallery share: the command line and the sheet to draw on."""

import argparse
import inspect
from pathlib import Path

from matplotlib.figure import Figure


def sheet(columns, height=3.6, rows=1):
    """Return a figure, wide enough for a page, and its axes side by side, in one row or several."""
    figure = Figure(figsize=(8, height), dpi=150, layout="constrained")
    return figure, figure.subplots(rows, columns)


def run(main, argv=None):
    """Call ``main(quick)``, which returns a figure and {name: number}; save one, print the other.

    Parameters
    ----------
    main : callable
        Of the script that calls; its file's name is the picture's.
    argv : list of str, optional
        ``[--out PICTURE.png] [--quick]``, by default from the command line.

    Returns
    -------
    dict
        The numbers.
    """
    script = Path(inspect.getsourcefile(main))
    title = inspect.getdoc(inspect.getmodule(main)).partition("\n")[0]
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--out", default=f"{script.stem}.png", help="the picture (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="smaller, as the tests run it")
    arguments = parser.parse_args(argv)
    figure, numbers = main(quick=arguments.quick)
    figure.savefig(arguments.out)
    for name, value in numbers.items():
        print(f"{name}: {value:.4g}")
    return numbers
