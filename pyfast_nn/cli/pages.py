"""The page that `pyfast-nn train --report` writes of a model of a table."""

import argparse
import os
from typing import Any

from ..report import findings, page
from . import files
from .parts import Parts
from .table_models import TableModel

_NOT_SETTINGS = ("data", "run", "table", "network", "quiet", "verbose", "force")


def check(arguments: argparse.Namespace) -> None:
    """Find out before the training whether the page can be made after it."""
    page.check_installed()
    folder = arguments.report
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise ValueError(f"--report: expected the name of a folder, got {folder!r}, a file")
    parent = os.path.dirname(os.path.abspath(folder))
    if not os.path.isdir(parent):
        raise ValueError(f"--report: cannot make {folder!r}: there is no folder {parent}")
    if os.path.isdir(folder):
        files.check_writable(
            page.file_in(folder),
            "--report",
            force=arguments.force,
            ours=page.is_ours,
            inputs=arguments.data,
        )
    elif not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(f"--report: cannot make {folder!r}: no permission")


def write(arguments: argparse.Namespace, known: TableModel, parts: Parts) -> None:
    """Write the page of a model that has been trained on some `parts` of a table."""
    rows, y = parts.rows["test"], parts.task.y
    found = findings.find(
        known.model,
        arguments.target,
        parts.of("test"),
        y[rows],
        parts.numbers[rows],
        y[parts.rows["train"]],
        seed=arguments.seed,
    )
    os.makedirs(arguments.report, exist_ok=True)
    page.write(
        page.file_in(arguments.report),
        found,
        source=os.path.basename(arguments.data[0]),
        sizes={name: len(part) for name, part in parts.rows.items()},
        settings=_settings(arguments),
    )


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options that have a value, by their names."""
    values = vars(arguments).items()
    return {
        name.replace("_", "-"): value
        for name, value in values
        if name not in _NOT_SETTINGS and value not in (None, (), False)
    }
