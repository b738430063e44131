"""What the pictures share; they need Matplotlib, the extra `plot`."""


def axes_or_new(ax, height=3.6):
    """Return `ax`, or the axes of a new figure of a paper's column, without pyplot's state."""
    if ax is not None:
        return ax
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f"plot: needs Matplotlib: pip install 'pyfast-nn[plot]' ({error})", name=error.name
        ) from None
    return Figure(figsize=(4.8, height), dpi=150, layout="constrained").subplots()


def tick_layers(ax, names):
    """Label the x axis with the names of layers, at 0, 1, ...; of many, with some."""
    every = -(-len(names) // 16)
    ticks = range(0, len(names), every)
    ax.set_xticks(ticks, names[::every], rotation=90 if len(ticks) > 6 else 30, fontsize=8)
