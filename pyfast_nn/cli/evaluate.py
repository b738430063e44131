"""`pyfast-nn evaluate`: how good a model is on data that it can be compared with."""

from ..loading import load
from . import files, report


def add_to(commands):
    text = "compare what a model predicts with the labels of the examples"
    command = commands.add_parser("evaluate", help=text, description=text)
    command.set_defaults(run=run)
    command.add_argument("model", metavar="MODEL", help="model file")
    command.add_argument("data", metavar="DATA", nargs="+", help=files.DATA)


def run(arguments):
    model = load(arguments.model)
    X, y = files.read_examples(arguments.data)
    for name, value in model.evaluate(X, y).items():
        print(f"{name:20} " + (f"{value:.2%}" if name == "accuracy" else f"{value:.6g}"))
    report.print_report(model, X, y)
