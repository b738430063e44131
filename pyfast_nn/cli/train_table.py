"""`pyfast-nn train` of a table: what its columns are for, and what to learn of them."""

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .. import checks
from ..report import page
from ..tabular import TabularModel
from ..tabular.table import Table
from ..typing import Array
from . import files, fitting, leaks, packs, pages, table_models, tables, tasks
from .parts import Parts
from .table_models import TableModel

if TYPE_CHECKING:
    import pyarrow

_MOST_COLUMNS = 40  # that are shown


def add_options(add: Callable[..., None]) -> None:
    add("--target", help="the column to predict", metavar="COLUMN")
    add(
        "--exclude",
        help="columns that are left out",
        type=tables.names,
        default=(),
        metavar="A,B",
    )
    add(
        "--group",
        help="column whose rows of one value stay together, all in the training or all in the "
        "test; nothing is learned from it",
        metavar="COLUMN",
    )
    add(
        "--time-limit",
        help="seconds after which no network of the pack is begun, and each ends with its epoch",
        type=float,
        metavar="S",
    )
    add(
        "--dates",
        help="what becomes of dates: their year, month, day, weekday and hour; they are refused "
        "otherwise",
        choices=("parts",),
    )
    add(
        "--report",
        help="write a page about the model and the test, index.html, to this folder; needs "
        "pip install 'pyfast-nn[report]'",
        type=files.path,
        metavar="DIR",
    )
    tables.add_options(add)
    add(
        "--text",
        help="columns that are text, whatever they look like",
        type=tables.names,
        default=(),
        metavar="A,B",
    )


def run(arguments: argparse.Namespace) -> int:
    arguments.table.settle(arguments)
    fitting.check_options(arguments)
    _check_options(arguments)
    parts, said = _read(arguments)
    train = packs.train if arguments.model == "tabular" else packs.train_one
    model, ended = train(arguments, parts, said)
    known = TableModel(model, arguments.target)
    if arguments.report is not None:
        pages.write(arguments, known, parts)
    if not arguments.quiet:
        _say(arguments, model, parts)
    return 0 if ended is None else 130


def _say(arguments: argparse.Namespace, model: TabularModel, parts: Parts) -> None:
    """Print what the columns were taken for, how good the model is, and what was written."""
    columns, board = model.describe_columns(), model.leaderboard
    print("", repr(Table(columns[:_MOST_COLUMNS])), sep="\n")
    if len(columns) > _MOST_COLUMNS:
        print(f"... ({len(columns):,} columns in all)")
    print()
    if len(board) > 1:
        chosen = sum(row["weight"] > 0 for row in board)
        print(f"{'networks':20} {chosen} of {len(board)} predict together")
    if "test" in parts.rows:
        X, y = parts.of("test"), parts.task.y[parts.rows["test"]]
        (score, text), *others = table_models.score_texts(model, X, y).items()
        rest = "   ".join(" ".join(other) for other in others)
        print(f"{'test ' + score:20} {text:>8}   {rest}")
    print(f"{'model file':20} {arguments.out}")
    for name, path in _written(arguments).items():
        print(f"{name:20} {path}")
    if "test" in parts.rows and model.classes_ is not None:
        print("\nOn the test examples:")
        table_models.print_mistakes(model, X, y)


def _written(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the other files that were written."""
    found = {"learning curves": arguments.plot, "report": arguments.report}
    if arguments.report is not None:
        found["report"] = page.file_in(arguments.report)
    return {name: path for name, path in found.items() if path is not None}


def _check_options(arguments: argparse.Namespace) -> None:
    if arguments.model is None:
        arguments.model = "tabular"
    if arguments.model == "lenet":
        raise ValueError(
            "--model: expected tabular or mlp for a table, got lenet, which is of images"
        )
    if arguments.model == "mlp":
        arguments.network.settle(arguments)
        fitting.check_network_options(arguments)
        if arguments.time_limit is not None:
            raise ValueError("--time-limit: expected --model tabular, got mlp, which has --epochs")
    else:
        arguments.network.refuse(arguments, "--model mlp, or data of arrays, got --model tabular")
        checks.integer(arguments.seed, "--seed", minimum=0, maximum=2**32 - 1)
        if arguments.time_limit is not None:
            checks.real(arguments.time_limit, "--time-limit", above=0)
    if arguments.report is not None:
        if arguments.test == 0:
            raise ValueError("--report: expected examples for the test, got --test 0")
        pages.check(arguments)


# ---------------------------------------------------------------------- the file


def _read(arguments: argparse.Namespace) -> tuple[Parts, list[str]]:
    """Return what is to be learned, and what to say of it."""
    (name,), target = arguments.data, arguments.target
    remarks: list[str] = []
    form = tables.form_of(arguments)._replace(text=arguments.text)
    table = tables.read(name, form, lambda columns: _chosen(arguments, columns), remarks)
    n = table.num_rows
    missing = tables.missing(table[target])
    if missing.all():
        raise ValueError(
            f"--target {target}: expected a value to learn, got none in any of {n:,} rows; choose "
            f"another column of {tables.listed(table.column_names)}"
        )
    if missing.any():
        remarks.append(
            f"{missing.sum():,} of {n:,} rows have no {target!r}: left out, as nothing can be "
            "learned from them"
        )
        table = table.filter(~missing)
    dtype = arguments.dtype or "float32"
    task, why = tasks.of_column(arguments.task, table[target], target, dtype)
    if arguments.class_weight is not None and task.classes is None:
        raise ValueError("--class-weight: expected labels, got the numbers of a regression")
    numbers = np.flatnonzero(~missing)
    groups = None if arguments.group is None else _groups(table[arguments.group], arguments.group)
    X = table.drop_columns([c for c in (target, arguments.group) if c is not None])
    if arguments.dates is None:
        _refuse_dates(X)
    if not arguments.quiet:
        for warning in leaks.found(X, table[target], task, target, numbers):
            print(f"warning: {warning}", file=sys.stderr)
    val = arguments.val if arguments.model == "mlp" else 0
    rows = fitting.split(task.strata, val, arguments.test, arguments.seed, groups)
    if task.classes is not None:
        rows = fitting.with_all_classes(rows, task.y, groups)
    sizes = ", ".join(f"{len(part):,} {part_name}" for part_name, part in rows.items())
    first = f"{len(task.y):,} rows, {X.num_columns} columns, {task}; {sizes}"
    return Parts(X, task, groups, rows, numbers), [first, why, *remarks]


def _chosen(arguments: argparse.Namespace, columns: list[str]) -> list[str]:
    """Return the columns to read; ValueError if an option names none, or the wrong one."""
    target, group, exclude = arguments.target, arguments.group, arguments.exclude
    if target is None:
        raise ValueError(
            f"--target: expected the column to predict, got none; columns are "
            f"{tables.listed(columns)}"
        )
    tables.check_known([target], columns, "--target")
    tables.check_known(exclude, columns, "--exclude")
    tables.check_known([] if group is None else [group], columns, "--group")
    tables.check_known(arguments.text, columns, "--text")
    if target in exclude:
        raise ValueError(f"--exclude: expected columns beside the --target, got {target!r}")
    if group is not None and (group == target or group in exclude):
        other = "--target" if group == target else "one of --exclude"
        raise ValueError(f"--group: expected a column of its own, got the {other}, {group!r}")
    chosen = [column for column in columns if column not in exclude]
    if not {*chosen} - {target, group}:
        raise ValueError(
            f"{arguments.data[0]}: expected columns to learn from beside {target!r}, got none"
        )
    return chosen


def _groups(column: "pyarrow.ChunkedArray", name: str) -> Array:
    """Return a number for each row (n,), the same for those of a group."""
    missing = tables.missing(column)
    if missing.any():
        raise ValueError(
            f"--group {name}: expected a value in every row, got none in row "
            f"{int(np.argmax(missing))} ({missing.sum():,} in all)"
        )
    encoded = column.combine_chunks().dictionary_encode()
    groups = np.asarray(encoded.indices)
    if len(encoded.dictionary) < 3:
        raise ValueError(f"--group {name}: expected several groups, got {len(encoded.dictionary)}")
    return groups


def _refuse_dates(X: "pyarrow.Table") -> None:
    from pyarrow import types

    for name, kind in zip(X.column_names, X.schema.types, strict=True):
        if types.is_temporal(kind):
            raise ValueError(
                f"column {name!r}: expected numbers or text, got dates; --dates parts makes "
                f"numbers of them, --exclude {tables.quoted(name)} leaves them out"
            )
