"""The command line, `pyfast-nn`: one file for each command, and what they share beside them."""

import argparse
import os
import sys

from . import evaluate, info, predict, train


def main(argv=None):
    """Run `pyfast-nn`.

    Parameters
    ----------
    argv : list of str, optional
        The arguments; None takes those of the process.

    Returns
    -------
    int
        Exit code: 0; 130 after Ctrl-C; 141 if whoever read the output has gone. A user's mistake
        ends with one line on stderr and ``SystemExit(2)``.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the exit
        return 141
    except (ValueError, TypeError, OSError, FloatingPointError, MemoryError) as error:
        parser.error(_one_line(error))
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"pyfast-nn: error: {message}\n")


def _parser():
    parser = _Parser(prog="pyfast-nn", description="Train small neural networks, fast.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    for module in (train, evaluate, predict, info):
        module.add_to(commands)
    return parser


def _one_line(error):
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__
