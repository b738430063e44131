"""The page: findings as HTML."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import atomic, runtime
from . import mistakes, pictures, scores
from .findings import LEVELS, Findings, as_text, number

MARK = "pyfast-nn report"  # what a page of ours says of itself
_MOST_CLASSES = 20
_MOST_SHOWN = 30  # importances


def check_installed() -> None:
    """Raise ImportError if a package is not there that the page needs."""
    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"report: needs jinja2 and Matplotlib: pip install 'pyfast-nn[report]' ({error})",
            name=error.name,
        ) from None


def is_ours(path: str) -> bool:
    """Whether a file is a page that `write` has written."""
    with open(path, "rb") as file:
        return f'name="generator" content="{MARK}'.encode() in file.read(4096)


def write(
    path: str, found: Findings, *, source: str, sizes: Mapping[str, int], settings: Any
) -> None:
    """Write the page of a model.

    Parameters
    ----------
    path : str
        Of the file.
    found : Findings
    source : str
        What the table is called.
    sizes : dict of int
        Rows of the training, the test and so on.
    settings : dict
        What the training was asked for.
    """
    text = render(found, source=source, sizes=sizes, settings=settings)
    atomic.replace(path, text.encode())


def render(found: Findings, *, source: str, sizes: Mapping[str, int], settings: Any) -> str:
    """Return the HTML of the page; see `write`."""
    check_installed()
    import jinja2
    import markupsafe

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["as_text"] = lambda value: (
        number(value) if isinstance(value, float) else as_text(value)
    )
    text: str = environment.get_template("page.html").render(
        mark=MARK,
        version=runtime.build_config()["version"],
        found=found,
        classes=None if found.model.classes_ is None else [str(c) for c in found.model.classes_],
        source=source,
        sizes=sizes,
        n_train=sum(n for name, n in sizes.items() if name != "test"),
        cards=_cards(found),
        metric=scores.NAMES.get(found.model.eval_metric, found.model.eval_metric),
        columns=found.model.describe_columns(),
        leaderboard=found.model.leaderboard,
        members=sum(row["weight"] > 0 for row in found.model.leaderboard),
        importances=_importances(found),
        confusion=_confusion(found),
        pictures={name: markupsafe.Markup(svg) for name, svg in _pictures(found).items()},
        bins=_bins(found),
        levels=[] if found.coverage is None else list(zip(LEVELS, found.coverage, strict=True)),
        settings={name: _setting(value) for name, value in settings.items()},
        versions=_versions(),
    )
    return text.lstrip()


def _cards(found: Findings) -> list[tuple[str, str, str, str]]:
    """Return (name, value, meaning, value without columns) of each score."""
    return [
        (
            scores.NAMES[name],
            _score(name, value),
            scores.MEANINGS[name],
            _score(name, found.without_columns[name]),
        )
        for name, value in found.scores.items()
    ]


def _score(name: str, value: float) -> str:
    return f"{value:.1%}" if name == "accuracy" else number(value)


def _importances(found: Findings) -> list[tuple[str, str, float]]:
    """Return (column, cost, width of its bar from 0 to 100) of the most important columns."""
    largest = max((each.mean for each in found.importances), default=0)
    return [
        (
            each.column,
            f"{number(each.mean, 3)} ± {number(each.std, 2)}",
            100 * max(each.mean, 0) / largest if largest > 0 else 0,
        )
        for each in found.importances[:_MOST_SHOWN]
    ]


def _confusion(found: Findings) -> dict[str, Any] | None:
    """Return the confusion matrix with scores of each class; of many classes, the top mistakes."""
    classes = found.model.classes_
    if classes is None:
        return None
    k = len(classes)
    true, predicted = (np.searchsorted(classes, y) for y in (found.y, found.predictions))
    each, support = mistakes.class_scores(true, predicted, k)
    rows = [
        (str(name), *(f"{score:.3f}" for score in own), f"{n:,}")
        for name, own, n in zip(classes, each, support, strict=True)
    ]
    if k > _MOST_CLASSES:
        top = mistakes.top_confusions(true, predicted, k, _MOST_CLASSES)
        order = np.argsort(each[:, 2], kind="stable")[:_MOST_CLASSES]
        pairs = [(str(classes[a]), str(classes[b]), f"{n:,}") for a, b, n in top]
        return {"scores": [rows[i] for i in order], "pairs": pairs, "matrix": None}
    matrix = mistakes.confusion_matrix(true, predicted, k)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    cells = [
        [(f"{n:,}", round(100 * share)) for n, share in zip(*row, strict=True)]
        for row in zip(matrix.tolist(), shares.tolist(), strict=True)
    ]
    return {"scores": rows, "pairs": None, "matrix": cells}


def _pictures(found: Findings) -> dict[str, str]:
    model = found.model
    pairs = [
        (network.history, weight)
        for network, weight in zip(model.networks, model.weights, strict=True)
        if network.history is not None and network.history.epochs
    ]
    result = {}
    for key in ("loss", "val_loss"):
        own = [(history, weight) for history, weight in pairs if key in history]
        if own:
            histories, weights = zip(*own, strict=True)
            result[key] = pictures.learning_curves(histories, np.array(weights), key)
    if found.reliability is not None:
        result["reliability"] = pictures.reliability(found.reliability)
    if found.coverage is not None:
        result["predicted"] = pictures.predicted_against_true(found.y, found.predictions)
        result["residuals"] = pictures.residuals(found.y, found.predictions)
        result["coverage"] = pictures.coverage(LEVELS, found.coverage)
    return result


def _bins(found: Findings) -> list[tuple[float, float, int]]:
    """Return (predicted, observed, rows) of each bin of the calibration of classes."""
    if (each := found.reliability) is None:
        return []
    return list(zip(each.predicted, each.observed, each.counts, strict=True))


def _setting(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _versions() -> dict[str, str]:
    config = runtime.build_config()
    result = {
        "pyfast-nn": str(config["version"]),
        "instruction set": str(config["isa"]),
        "threads": str(runtime.get_num_threads()),
        "Python": platform.python_version(),
        "system": platform.platform(),
    }
    for name in ("numpy", "pyarrow", "narwhals", "scikit-learn"):
        try:
            result[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return result


def file_in(folder: str) -> str:
    """Return where in a folder the page stands."""
    return os.path.join(folder, "index.html")
