"""Whether a picture of learning curves can be made; `History.plot` makes it."""

import os


def check_kind(path: str) -> None:
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


def is_picture(path: str) -> bool:
    """Whether a file says of itself that Matplotlib drew it."""
    with open(path, "rb") as file:
        beginning = file.read(4096)
        file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
        return b"Matplotlib" in beginning + file.read()
