"""pyfast_nn beside the libraries people would otherwise use, on this machine.

    python benchmarks/compare.py                  # all below but the last seven
    python benchmarks/compare.py training         # whole training steps
    python benchmarks/compare.py inference        # probabilities of one row and of many
    python benchmarks/compare.py gemm             # matrix products on one thread
    python benchmarks/compare.py optim            # steps of optimizers on arrays of one's own
    python benchmarks/compare.py curvature        # products with the Hessian, traces, spectra
    python benchmarks/compare.py pairs            # a loss of pairs of rows, and its gradient
    python benchmarks/compare.py startup          # time and memory of the import
    python benchmarks/compare.py allocations      # allocations of an epoch
    python benchmarks/compare.py estimators       # MLPClassifier, and scikit-learn's
    python benchmarks/compare.py metric_learning  # NCA, LMNN, MMC, ITML, and metric-learn's
    python benchmarks/compare.py tables           # real tables, and boosted trees: hours
    python benchmarks/compare.py packs            # many networks at once
    python benchmarks/compare.py busy             # epochs beside other busy processes
    python benchmarks/compare.py mnist            # accuracy; PYFAST_NN_MNIST names the folder
    python benchmarks/compare.py cuda             # on a GPU, where this build and machine have one
    python benchmarks/compare.py training --only 64-64-10 --threads 1 --repeats 9

Prints Markdown; ``--readme`` also writes each section to its place in docs/speed.rst, and six rows
of that page to README.md; ``--html FILE`` writes a page. Contestants that are not installed are
left out, and named.
"""

import argparse
import importlib
import os
import shlex
import sys
from pathlib import Path

import pages

DEFAULT_SECTIONS = (
    *("training", "inference", "gemm", "optim", "curvature", "pairs", "startup", "allocations"),
)
MORE_SECTIONS = ("estimators", "metric_learning", "tables", "packs", "busy", "mnist", "cuda")


def parse_arguments():
    description, _, examples = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "sections",
        nargs="*",
        metavar="SECTION",
        help=f"default: all but {', '.join(MORE_SECTIONS)}",
    )
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=5, help="the median of so many (default 5)")
    parser.add_argument(
        "--seconds", type=float, default=0.5, help="length of one run (default 0.5)"
    )
    parser.add_argument(
        "--only",
        metavar="NETWORK",
        help="training, estimators, tables: this row; a wrong name lists them",
    )
    parser.add_argument(
        "--readme", action="store_true", help="write the tables into docs/speed.rst and README.md"
    )
    parser.add_argument("--html", metavar="FILE", type=Path, help="write the tables as a page")
    arguments = parser.parse_args()
    unknown = set(arguments.sections) - {*DEFAULT_SECTIONS, *MORE_SECTIONS}
    if unknown:
        parser.error(f"unknown section {', '.join(sorted(unknown))}")
    arguments.sections = arguments.sections or list(DEFAULT_SECTIONS)
    return arguments


def write_html(path, text):
    from markdown_it import MarkdownIt

    tables = MarkdownIt("commonmark").enable("table").render(text)
    path.write_text(f"<!doctype html>\n<meta charset=utf-8>\n{tables}", encoding="utf-8")


def main():
    arguments = parse_arguments()
    # Thread pools are sized when they start, some of them by the processors that a process may use.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)

    from machine import describe_machine

    command = shlex.join(["python", "benchmarks/compare.py", *sys.argv[1:]])
    source = f"`{command.removesuffix(' --readme')}` on {describe_machine()}\n"
    print(source, flush=True)
    tables = {}
    for section in arguments.sections:
        tables[section] = importlib.import_module(f"sections.{section}").run(arguments)
        print(tables[section], flush=True)
        if arguments.readme:
            pages.publish(section, tables[section], source)
    if arguments.html:
        write_html(arguments.html, "\n".join([source, *tables.values()]))


if __name__ == "__main__":
    main()
