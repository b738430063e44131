"""`pyfast-nn evaluate`: how good a model is on data that it can be compared with."""

import argparse
from typing import Any

from . import files, report


def add_to(commands: Any) -> None:
    text = "compare what a model predicts with the targets of the examples"
    command = commands.add_parser("evaluate", help=text, description=text)
    command.set_defaults(run=run)
    command.add_argument("model", metavar="MODEL", type=files.path, help="model file")
    command.add_argument("data", metavar="DATA", nargs="+", type=files.path, help=files.DATA)


def run(arguments: argparse.Namespace) -> int:
    model = files.load_model(arguments.model, arguments.data)
    X, y = files.read_examples(arguments.data)
    X = files.as_rows(X)
    for name, text in report.scores_of(model, X, y).items():
        print(f"{name:20} {text}")
    report.print_report(y, model.predict(X))
    return 0
