"""`CSVLogger` and `TensorBoard`, read back by others' readers."""

from __future__ import annotations

import copy
import csv
import math
import pickle
import struct

import numpy as np
import pytest

import pyfast_nn as fnn

pytestmark = pytest.mark.once

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
Y = (X[:, 0] > 0).astype(int)


class Sets(fnn.Callback):
    """Puts given values into the record, but for None."""

    def __init__(self, **values):
        self.values = values

    def on_epoch_end(self, model, epoch, record):
        record |= {k: v[epoch] for k, v in self.values.items() if v[epoch] is not None}


class Dies(fnn.Callback):
    """Ends a fit in the midst of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, model, epoch, record):
        if epoch == self.epoch:
            raise KeyboardInterrupt


def fit(epochs, *callbacks, **options):
    model = fnn.Sequential([fnn.Dense(4), fnn.Tanh(), fnn.Dense(2)], seed=0)
    options = {"validation_split": 0.2, "verbose": 0} | options
    return model.fit(X, Y, loss="cross_entropy", epochs=epochs, callbacks=callbacks, **options)


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def same(row, record, epoch):
    """Every number, to the last bit."""
    assert list(row) == ["epoch", *record] and row["epoch"] == str(epoch)
    for key, value in record.items():
        came = float(row[key])
        assert came == value or (math.isnan(came) and math.isnan(value))


def check(path, history):
    table = rows(path)
    assert len(table) == history.epochs
    for epoch, row in enumerate(table):
        same(row, {key: column[epoch] for key, column in history.items()}, epoch + 1)


class TestCSVLogger:
    def test_the_history(self, tmp_path):
        history = fit(4, fnn.CSVLogger(tmp_path / "new" / "log.csv"))
        check(tmp_path / "new" / "log.csv", history)

    def test_pandas(self, tmp_path):
        pandas = pytest.importorskip("pandas")
        history = fit(3, fnn.CSVLogger(tmp_path / "log"), Sets(x=[None, 0.5, None]))
        frame = pandas.read_csv(tmp_path / "log", index_col="epoch")
        pandas.testing.assert_frame_equal(
            frame, pandas.DataFrame(history, index=pandas.Index([1, 2, 3], name="epoch"))
        )

    def test_a_row_after_each_epoch(self, tmp_path):
        seen = []

        class Reads(fnn.Callback):
            def on_epoch_recorded(self, model, epoch, record):
                check(tmp_path / "log", model.history)
                seen.append(epoch)

        # In front of what adds to the record, which counts all the same.
        late = Sets(x=[None, 1.0, None, 2.0], y=[None, None, None, 3.0])
        fit(4, fnn.CSVLogger(tmp_path / "log"), late, Reads())
        assert seen == [0, 1, 2, 3]

    def test_texts_and_lists(self, tmp_path):
        values = Sets(text=['a "b", c', "d\ne"], many=[[1, 2], [3]])
        fit(2, values, fnn.CSVLogger(tmp_path / "log"))
        table = rows(tmp_path / "log")
        assert [row["text"] for row in table] == ['a "b", c', "d\ne"]
        assert [row["many"] for row in table] == ["[1, 2]", "[3]"]

    def test_each_fit_begins_anew(self, tmp_path):
        logger = fnn.CSVLogger(tmp_path / "log")
        fit(4, logger)
        check(tmp_path / "log", fit(2, logger, validation_split=None))

    @pytest.mark.parametrize("when", [2, 3, 4])
    def test_resumed(self, tmp_path, when):
        """The checkpoint is of an even epoch; rows of later ones give way to their repetition."""
        path, log = tmp_path / "m", tmp_path / "log"
        saves = fnn.ModelCheckpoint(path, every=2)
        with pytest.raises(KeyboardInterrupt):
            fit(6, fnn.CSVLogger(log), saves, Dies(when))
        before = rows(log)
        assert len(before) == when
        history = fit(6, fnn.CSVLogger(log), saves, resume=path)
        check(log, history)
        done = when // 2 * 2
        assert [row["seconds"] for row in rows(log)][:done] == [r["seconds"] for r in before[:done]]

    def test_copies(self, tmp_path):
        logger = pickle.loads(pickle.dumps(copy.deepcopy(fnn.CSVLogger(tmp_path / "log"))))
        check(tmp_path / "log", fit(1, logger))

    def test_what_cannot_be_written(self, tmp_path):
        with pytest.raises(IsADirectoryError):
            fit(1, fnn.CSVLogger(tmp_path))
        with pytest.raises(TypeError, match="path: expected str or os"):
            fnn.CSVLogger(None)


class TestTensorBoard:
    @pytest.fixture(autouse=True)
    def library(self):
        pytest.importorskip("tensorboardX", reason="writes the files")

    def events(self, folder):
        """All events in the files of a folder, in the order in which TensorBoard reads them.

        A file is a row of records: length, its checksum, an Event of protobuf, its checksum.
        """
        from tensorboardX.proto import event_pb2

        for path in sorted(folder.glob("events.out.tfevents.*")):
            raw = path.read_bytes()
            while raw:
                (length,) = struct.unpack_from("<Q", raw)
                event = event_pb2.Event()
                event.ParseFromString(raw[12 : 12 + length])
                raw = raw[16 + length :]
                yield event

    def scalars(self, folder):
        """{name: {step: value}} that TensorBoard would show: a start purges what came before."""
        shown = {}
        for event in self.events(folder):
            if event.session_log.status == event.session_log.START:
                for steps in shown.values():
                    for step in [step for step in steps if step >= event.step]:
                        del steps[step]
            for value in event.summary.value:
                steps = shown.setdefault(value.tag, {})
                assert event.step not in steps
                steps[event.step] = value.simple_value
        return shown

    def check(self, folder, history):
        shown = self.scalars(folder)
        assert list(shown) == [key for key in history if key not in ("text", "flag")]
        for key, steps in shown.items():
            assert list(steps) == list(range(1, history.epochs + 1))
            np.testing.assert_array_equal(list(steps.values()), np.float32(history[key]))

    def test_the_history(self, tmp_path):
        values = Sets(text=["a", "b", "c"], flag=[True] * 3, x=[1, np.float32(0.5), np.nan])
        history = fit(3, fnn.TensorBoard(tmp_path / "runs" / "1"), values)
        self.check(tmp_path / "runs" / "1", history)

    def test_resumed(self, tmp_path):
        path, log = tmp_path / "m", tmp_path / "log"
        saves = fnn.ModelCheckpoint(path, every=2)
        for dies in (3, 5):
            with pytest.raises(KeyboardInterrupt):
                fit(6, fnn.TensorBoard(log), saves, Dies(dies), resume=path)
        history = fit(6, fnn.TensorBoard(log), saves, resume=path)
        self.check(log, history)

    def test_copies_and_another_fit(self, tmp_path):
        board = fnn.TensorBoard(tmp_path / "1")
        twins = []

        class Copies(fnn.Callback):
            def on_epoch_end(self, model, epoch, record):
                twins.append(pickle.loads(pickle.dumps(copy.deepcopy(board))))

        self.check(tmp_path / "1", fit(2, board, Copies()))
        for twin in twins:
            fit(1, twin)

    def test_what_is_impossible(self):
        with pytest.raises(TypeError, match="log_dir: expected str or os"):
            fnn.TensorBoard(3)
