"""`pyfast-nn evaluate`: how good a model is on data that it can be compared with."""

import argparse
import sys
from typing import Any

from .. import loading
from . import files, options, report, table_models, tables


def add_to(commands: Any) -> None:
    text = "compare what a model predicts with the targets of the examples"
    command = commands.add_parser("evaluate", help=text, description=text)
    command.add_argument("model", metavar="MODEL", type=files.path, help="model file")
    command.add_argument("data", metavar="DATA", nargs="+", type=files.path, help=files.DATA)
    table = options.Options(command.add_argument_group("tables"))
    table.add(
        "--target",
        help="the column of what is true (default: that of the training)",
        metavar="COLUMN",
    )
    tables.add_options(table.add)
    command.set_defaults(run=run, table=table)


def run(arguments: argparse.Namespace) -> int:
    files.check_order(arguments.model, arguments.data)
    if table_models.is_of_table(arguments.model):
        return _run_table(arguments)
    model = loading.load(arguments.model)
    arguments.table.refuse(arguments, "a model of tables, got one of arrays")
    X, y = files.read_examples(arguments.data)
    X = files.as_inputs(X, model.in_shape)
    for name, text in report.scores_of(model, X, y).items():
        print(f"{name:20} {text}")
    report.print_report(y, model.predict(X))
    return 0


def _run_table(arguments: argparse.Namespace) -> int:
    arguments.table.settle(arguments)
    known = table_models.load(arguments.model)
    target = arguments.target or known.target
    if target is None:
        raise ValueError("--target: expected the column of what is true, got none")
    remarks: list[str] = []
    name, form = tables.only(arguments.data), tables.form_of(arguments)
    table = table_models.read(known, name, form, target, remarks)
    y = table_models.labels_of(table[target], known.model, target)
    for remark in remarks:
        print(remark, file=sys.stderr)
    X = table.drop_columns([target])
    for score, text in table_models.score_texts(known.model, X, y).items():
        print(f"{score:20} {text}")
    table_models.print_mistakes(known.model, X, y)
    return 0
