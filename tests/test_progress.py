"""What a fit shows: as much as a line holds on a terminal, one line in a notebook."""

import io
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

import pyfast_nn as fnn
from pyfast_nn import bar, progress

pytestmark = [pytest.mark.once, pytest.mark.alone]

NUMBERS = [
    "loss 0.1234",
    "accuracy 0.9812",
    "val_loss 0.2345",
    "val_accuracy 0.9512",
    "0.012 s/epoch",
]


def line(width, epochs, numbers=NUMBERS, done=None):
    """The bar as it stands after half of the epochs, on a console of that width."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    drawing = bar.make_bar(console, epochs)
    drawing.update(
        drawing.task_ids[0], completed=epochs // 2 if done is None else done, numbers=numbers
    )
    with console.capture() as capture:
        console.print(drawing.get_renderable())
    (text,) = capture.get().splitlines()
    return text


class TestWidth:
    @pytest.mark.parametrize("epochs", [4, 40, 1000, 1_000_000])
    @pytest.mark.parametrize("width", [200, 100, 80, 60, 50, 40])
    def test_epoch_bar_and_time_left_stay(self, width, epochs):
        text = line(width, epochs)
        assert len(text) <= width and "…" not in text
        assert re.match(rf"epoch +{epochs // 2}/{epochs} ━", text)
        assert re.search(r" (\d|-):[\d-]{2}:[\d-]{2}$", text)
        assert 4 <= text.count("━") <= 12

    def test_numbers_go_first_and_those_of_validation_last(self):
        def kept(width):
            return [number for number in NUMBERS if number in line(width, 40)]

        assert kept(140) == NUMBERS and kept(120) == NUMBERS[:4]
        assert kept(100) == ["loss 0.1234", *NUMBERS[2:4]] and kept(80) == NUMBERS[2:4]
        assert kept(60) == ["val_loss 0.2345"] and kept(40) == []

    def test_without_validation(self):
        assert "loss 0.1234  accuracy 0.9812 " in line(80, 40, NUMBERS[:2])
        text = line(60, 40, NUMBERS[:2])
        assert "loss 0.1234 " in text and "accuracy" not in text

    @pytest.mark.parametrize("width", [0, 14, 15, 35, 36, 48, 49, 67, 68, 83, 84, 200])
    def test_a_number_is_whole_or_not_there(self, width):
        kept = bar.fitting(NUMBERS, width)
        by_weight = [*NUMBERS[2:4], *NUMBERS[:2], NUMBERS[4]]
        expected = max(
            (by_weight[:k] for k in range(6) if len("  ".join(by_weight[:k])) <= width), key=len
        )
        assert kept == [number for number in NUMBERS if number in expected]


def fit(**options):
    rng = np.random.default_rng(0)
    model = fnn.Sequential([fnn.Dense(2)])
    X, y = rng.normal(size=(20, 3)), rng.integers(0, 2, 20)
    return model.fit(X, y, loss="cross_entropy", **options)


@pytest.fixture
def terminal(monkeypatch, capfd):
    """A function that makes stderr one; in a fixture, stderr is not yet that of the test."""

    def make():
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "80")

    return make


class TestTerminal:
    @pytest.mark.parametrize("verbose", ["auto", 1, True])
    def test_shown(self, verbose, terminal, capfd):
        terminal()
        fit(epochs=3, verbose=verbose)
        out, err = capfd.readouterr()
        assert out == "" and "3/3" in err and "loss" in err

    def test_the_last_epoch_is_shown_wherever_it_stops(self, terminal, capfd):
        terminal()
        fit(epochs=70, callbacks=[SimpleNamespace(on_epoch_end=lambda m, e, r: e == 36)])
        assert "37/70" in capfd.readouterr().err

    def test_quiet(self, terminal, capfd):
        terminal()
        fit(verbose=0)
        assert capfd.readouterr() == ("", "")


class TestNotebook:
    """With a kernel that is not there: what it would show."""

    @pytest.fixture
    def shown(self, monkeypatch):
        """The texts that the cell shows, one after the other."""
        texts = []

        class Cell:
            def update(self, bundle, *, raw):
                assert raw and list(bundle) == ["text/plain"]
                texts.append(bundle["text/plain"])

        def display(bundle, *, raw, display_id):
            assert display_id and not texts  # one line, written anew
            Cell().update(bundle, raw=raw)
            return Cell()

        shell = SimpleNamespace(kernel=object())
        ipython = SimpleNamespace(get_ipython=lambda: shell)
        monkeypatch.setitem(sys.modules, "IPython", ipython)
        monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
        return texts

    @pytest.mark.parametrize("verbose", ["auto", 1])
    def test_one_line(self, verbose, shown, capfd):
        fit(epochs=3, verbose=verbose)
        assert shown[0].startswith("epoch 0/3 ") and shown[-1].startswith("epoch 3/3 ━━━━━━")
        assert "loss 0." in shown[-1] and "s/epoch" in shown[-1]
        assert not any("\n" in text or "\x1b" in text for text in shown)
        assert capfd.readouterr() == ("", "")

    def test_not_written_more_often_than_one_reads(self, shown):
        fit(epochs=300)
        assert 2 <= len(shown) < 300 and shown[-1].startswith("epoch 300/300 ")

    def test_quiet(self, shown):
        fit(verbose=0)
        assert shown == []

    def test_ipython_on_a_terminal_is_no_notebook(self, monkeypatch):
        for shell in (None, SimpleNamespace()):
            ipython = SimpleNamespace(get_ipython=lambda shell=shell: shell)
            monkeypatch.setitem(sys.modules, "IPython", ipython)
            assert progress.check("auto") == "quiet" and progress.check(1) == "lines"


def test_a_real_kernel():
    """The cell of a notebook, run by nbclient: one output, the finished bar."""
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    cell = """
import numpy as np, pyfast_nn as fnn
model = fnn.Sequential([fnn.Dense(2)])
model.fit(np.eye(4), [0, 1, 0, 1], loss="cross_entropy", epochs=500);
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs
    assert output["output_type"] == "display_data"
    assert output["data"]["text/plain"].startswith("epoch 500/500 ━━━━━━")


def test_neither_rich_nor_ipython_is_imported_where_nothing_is_drawn():
    code = """
import sys, numpy as np, pyfast_nn as fnn
fnn.Sequential([fnn.Dense(2)]).fit(np.eye(4), [0, 1, 0, 1], loss="cross_entropy", verbose=1)
print(*{"rich", "IPython"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n" and "epoch 10/10" in done.stderr
