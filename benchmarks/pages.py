"""Where measurements are published: all of them in docs/speed.rst, six of them in the README."""

import csv
import io
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
SPEED, README = ROOT / "docs" / "speed.rst", ROOT / "README.md"
BEGIN, END = "<!-- speed: begin -->", "<!-- speed: end -->"

# A row of the README: what it is called there, the section that measured it, its rows there.
SIX = [
    ("a training step of 64-64-10, 32 examples", "training", "64-64-10, 32"),
    ("a training step of 784-512-512-10, 256 examples", "training", "784-512-512-10, 256"),
    ("probabilities of one example, 64-64-10", "inference", "64-64-10, 1"),
    ("a step of Adam on 200 arrays of 500", "optim", "200 x 500"),
    ("a Hessian product, 784-256-128-10, 1,024 examples", "curvature", "H @ v"),
    ("the trace of that Hessian (torch: PyHessian, 30 probes)", "curvature", "trace"),
]
# A column of the README, and what the sections call it.
LIBRARIES = {
    "torch": ("torch eager", "torch, fused", "torch.func", "PyHessian, 30 probes"),
    "JAX": ("JAX, epoch scanned", "JAX, step by step"),
    "scikit-learn": ("scikit-learn",),
    "NumPy": ("NumPy",),
}


def publish(section, text, source):
    """Put the Markdown of a section into the page, and six rows into the README."""
    page = SPEED.read_text(encoding="utf-8")
    page = _replaced(page, *_marks(section), as_rst(f"{text}\n{source}"), SPEED)
    SPEED.write_text(page, encoding="utf-8")
    readme = README.read_text(encoding="utf-8")
    README.write_text(_replaced(readme, BEGIN, END, six_rows(page), README), encoding="utf-8")


def six_rows(page):
    """Return the README's table, of the numbers in the page."""
    columns = ["", "pyfast_nn", *LIBRARIES]
    lines = [columns, ["---"] + ["---:"] * (len(columns) - 1)]
    for title, section, work in SIX:
        rows = [row for row in rows_of(page, section) if row["work"] == work]
        ours = next(row for row in rows if row["library"].startswith("pyfast_nn"))
        times = []
        for known in LIBRARIES.values():
            found = [float(row["times ours"]) for row in rows if row["library"] in known]
            best = min(found, default=0)
            times.append(f"{best:.{0 if best >= 10 else 1}f}x" if found else "")
        lines.append([title, f"{ours['us']} us", *times])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def rows_of(page, section):
    """Return the rows of a section's first table, as dicts: "work", "library", "us", ..."""
    begin, end = _marks(section)
    text = page.partition(begin)[2].partition(end)[0]
    header = re.search(r"^   :header: (.*)$", text, re.MULTILINE)
    table = text[header.end() :].strip("\n").split("\n\n")[0]
    names, *rows = csv.reader(line.strip() for line in [header[1], *table.splitlines()])
    names = ["work", names[1], "us", *names[3:]]
    return [dict(zip(names, row, strict=True)) for row in rows]


def as_rst(markdown):
    """Return the Markdown that the sections print, paragraphs and tables, as reStructuredText."""
    parts = []
    for part in markdown.strip().replace("`", "``").split("\n\n"):
        if part.startswith("|"):
            header, _, *rows = (
                [cell.strip() for cell in line[1:-1].split(" | ")] for line in part.splitlines()
            )
            lines = [f".. csv-table::\n   :header: {_csv(header)}", ""]
            part = "\n".join([*lines, *(f"   {_csv(row)}" for row in rows)])
        parts.append(part)
    return "\n\n".join(parts)


def _csv(cells):
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()


def _marks(section):
    return f".. begin of {section}", f".. end of {section}"


def _replaced(text, begin, end, new, path):
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"{path.name} has no place for the tables: {begin} ... {end}")
    return f"{head}{begin}\n\n{new.strip()}\n\n{end}{tail}"
