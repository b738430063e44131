"""A history as a dict of lists: tables, JSON, copies, one line, a picture; and interrupts."""

import copy
import json
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest

import pyfast_nn as fnn

pytestmark = pytest.mark.once


class Records(fnn.Callback):
    """Adds `values` to the records, in turn; None is nothing."""

    def __init__(self, **values):
        self.values = values

    def on_epoch_end(self, model, epoch, record):
        record |= {k: v[epoch] for k, v in self.values.items() if v[epoch] is not None}


def fit(epochs=3, **options):
    X = np.random.default_rng(0).normal(size=(40, 3))
    model = fnn.Sequential([fnn.Dense(2)])
    options = {"validation_split": 0.25, "verbose": 0} | options
    y = np.arange(40) % 2
    return model.fit(X, y, loss="cross_entropy", epochs=epochs, batch_size=8, **options)


def brier(y_true, y_pred):
    return np.mean((y_true - y_pred) ** 2)


KEYS = ["loss", "accuracy", "lr", "seconds", "val_loss", "val_accuracy"]


def test_a_dict_of_lists_of_numbers():
    history = fit()
    assert isinstance(history, dict) and list(history) == KEYS and len(history) == 6
    assert {type(column) for column in history.values()} == {list}
    assert {type(value) for column in history.values() for value in column} == {float}
    plain = {key: history[key] for key in history}
    assert dict(history) == {**history} == history == plain
    assert history.epochs == len(history["loss"]) == 3


def test_json():
    history = fit()
    again = json.loads(json.dumps(history))
    assert again == dict(history)


def test_pandas():
    pandas = pytest.importorskip("pandas")
    history = fit()
    frame = pandas.DataFrame(history)
    assert list(frame) == KEYS and frame.shape == (3, 6)
    for key in KEYS:
        np.testing.assert_array_equal(frame[key], history[key])


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda h: pickle.loads(pickle.dumps(h))])
def test_copies(way):
    history = fit(9, patience=2, optimizer=fnn.optim.SGD(lr=0))
    again = way(history)
    assert type(again) is fnn.History and again == history
    assert (again.epochs, again.best_epoch, again.stopped_early) == (3, 0, True)
    assert (history.epochs, history.best_epoch, history.stopped_early) == (3, 0, True)


def test_what_callbacks_add_is_of_python_too():
    records = Records(
        a=[np.float32(0.5), np.float64(1), 2],
        b=[None, np.arange(2), None],
        c=[np.array(1), np.int64(2), "three"],
    )
    history = fit(callbacks=[records])
    assert list(history)[6:] == ["a", "c", "b"]  # as they came
    assert history["a"] == [0.5, 1.0, 2] and history["c"] == [1, 2, "three"]
    assert math.isnan(history["b"][0]) and history["b"][1] == [0, 1] and math.isnan(history["b"][2])
    assert json.loads(json.dumps(history))["c"] == [1, 2, "three"]


def test_what_a_callback_adds_is_there_for_the_next_and_after_an_error():
    class Reads(fnn.Callback):
        def on_epoch_end(self, model, epoch, record):
            assert model.history["a"][-1] == epoch
            record["b"] = 2.0
            if epoch == 1:
                self.history = model.history
                raise KeyboardInterrupt

    reads = Reads()
    with pytest.raises(KeyboardInterrupt):
        fit(callbacks=[Records(a=[0.0, 1.0]), reads])
    assert reads.history["a"] == [0, 1] and reads.history["b"] == [2, 2]
    assert {len(column) for column in reads.history.values()} == {2} == {reads.history.epochs}


def test_one_line():
    assert repr(fnn.History()) == "History(0 epochs)"
    history = fit(1)
    assert repr(history).startswith(f"History(1 epoch, loss {history['loss'][0]:.4g}, accuracy ")
    history = fit(30)
    assert repr(history).startswith(f"History(30 epochs, loss {history['loss'][-1]:.4g}, accuracy ")
    assert len(repr(history)) < 100 and "lr" not in repr(history) and "\n" not in repr(history)
    losses = Records(val_loss=[3.0, 1.0, 2.0, 2.5, 2.5])
    many = Records(text=["a"] * 5, **{f"x{i}": [0.25] * 5 for i in range(99)})
    history = fit(5, callbacks=[losses, many])
    assert repr(history).count("0.25") == 2 and repr(history).endswith(", ...)")
    history = fit(9, patience=2, optimizer=fnn.optim.SGD(lr=0))
    assert repr(history).startswith("History(3 epochs, stopped early, best_epoch=0, loss ")


def test_what_users_add_to_the_dict():
    history = fit(30)
    history["mine"] = [1.0]
    history["text"] = list("abc") * 10
    assert "mine" not in repr(history) and list(history)[-2:] == ["mine", "text"]


def test_the_line_is_of_the_best_epoch():
    history = fit(9, patience=3, monitor="loss", optimizer=fnn.optim.Adam(lr=3.0))
    best = history.best_epoch
    assert f"loss {history['loss'][best]:.4g}, " in repr(history)
    assert best < history.epochs - 1 and history["loss"][best] != history["loss"][-1]


class TestPlot:
    @pytest.fixture(autouse=True)
    def matplotlib(self):
        pytest.importorskip("matplotlib")

    def curves(self, figure):
        """{title of the axis: {label: values}} of all that is drawn."""
        return {
            axes.get_ylabel(): {
                line.get_label(): (list(line.get_xdata()), list(line.get_ydata()))
                for line in axes.lines
            }
            for axes in figure.axes
        }

    def test_the_numbers(self):
        history = fit(metrics=[brier], callbacks=[Records(text=["a"] * 3)])
        epochs = [1, 2, 3]
        assert self.curves(history.plot()) == {
            "loss": {
                "training": (epochs, history["loss"]),
                "validation": (epochs, history["val_loss"]),
            },
            "accuracy": {
                "training": (epochs, history["accuracy"]),
                "validation": (epochs, history["val_accuracy"]),
            },
            "brier": {"validation": (epochs, history["val_brier"])},
        }

    def test_validation_has_its_colour_everywhere(self):
        figure = fit(metrics=[brier]).plot()
        lines = [line for axes in figure.axes for line in axes.lines]
        colours = {line.get_label(): set() for line in lines}
        for line in lines:
            colours[line.get_label()].add(line.get_color())
        assert colours == {"training": {"C0"}, "validation": {"C1"}}

    def test_without_validation(self):
        curves = self.curves(fit(validation_split=None).plot())
        assert [*curves] == ["loss", "accuracy"] and [*curves["loss"]] == ["training"]

    def test_the_best_epoch(self):
        history = fit(9, patience=2, optimizer=fnn.optim.SGD(lr=0))
        assert self.curves(history.plot())["loss"]["best epoch"][0] == [1, 1]

    def test_single_values_between_gaps_are_dots(self):
        values = [float(i) if i % 10 == 0 else None for i in range(50)]
        (line,) = fit(50, callbacks=[Records(x=values)]).plot().axes[2].lines
        assert line.get_marker() == "."
        assert fit(50).plot().axes[0].lines[0].get_marker() in ("", "None")

    def test_files_and_notebooks(self, tmp_path):
        figure = fit().plot()
        figure.savefig(tmp_path / "curves.png")
        for png in ((tmp_path / "curves.png").read_bytes(), figure._repr_png_()):
            assert png.startswith(b"\x89PNG") and len(png) > 10_000

    def test_nothing_to_draw(self):
        with pytest.raises(ValueError, match="plot: expected an epoch"):
            fnn.History().plot()


def test_without_matplotlib():
    code = """
import sys
sys.modules["matplotlib"] = None  # as if it were not installed
import pyfast_nn as fnn
history = fnn.Sequential([fnn.Dense(1)]).fit([[1.0]], [1.0], loss="mse", epochs=1)
try:
    history.plot()
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("plot: needs Matplotlib: pip install 'pyfast-nn[plot]'")
