"""`ModelCheckpoint` and `fit(resume=)`: files of a fit, and what goes on from them."""

from __future__ import annotations

import copy
import json
import os
import pickle
import random

import numpy as np
import pytest

import mutated
import preload
import pyfast_nn as fnn
from conftest import FULL, assert_same_bits
from pyfast_nn import optim

pytestmark = pytest.mark.once

RNG = np.random.default_rng(0)
X = RNG.normal(size=(100, 6))
Y = (X[:, 0] * X[:, 1] > 0).astype(int)


def make(dtype="float64", **first):
    return fnn.Sequential([fnn.Dense(7, **first), fnn.Tanh(), fnn.Dense(2)], dtype=dtype, seed=3)


def fit(model, epochs, *callbacks, **options):
    options = {"batch_size": 16, "verbose": 0, "validation_split": 0.2} | options
    callbacks = list(callbacks)
    return model.fit(X, Y, loss="cross_entropy", epochs=epochs, callbacks=callbacks, **options)


class Sets(fnn.Callback):
    """Puts given values into the record."""

    def __init__(self, **values):
        self.values = values

    def on_epoch_end(self, model, epoch, record):
        record |= {name: values[epoch] for name, values in self.values.items()}


def edit(path, change):
    """Change the description within a model file."""
    raw = path.read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:end])
    description = json.loads(header["__metadata__"]["pyfast_nn"])
    change(description)
    header["__metadata__"]["pyfast_nn"] = json.dumps(description)
    header = json.dumps(header).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + raw[end:])


def test_kills_at_random_moments(tmp_path):
    """Fits with all that they may keep, killed by SIGKILL and started anew; see killed_fits.py."""
    count = 100 if FULL else 8
    assert int(preload.run("killed_fits.py", tmp_path, count)) >= count


class TestFiles:
    def test_the_last_is_a_model_with_its_optimizer(self, tmp_path, dtype):
        model, adam = make(dtype), optim.Adam(lr=0.1)
        fit(model, 3, fnn.ModelCheckpoint(tmp_path / "m"), optimizer=adam)
        loaded, optimizer = fnn.load(tmp_path / "m", optimizer=True)
        assert_same_bits(loaded.parameters, model.parameters)
        assert loaded.epochs_trained == loaded.history.epochs == 3
        assert dict(loaded.history) == dict(model.history)
        assert optimizer.step_count == 15 and repr(optimizer) == repr(adam)
        assert os.listdir(tmp_path) == ["m"]
        fit(loaded, 2, optimizer=optimizer)
        fit(model, 2, optimizer=adam)
        assert_same_bits(loaded.parameters, model.parameters)

    def test_every(self, tmp_path):
        epochs = []

        class Watches(fnn.Callback):
            def on_epoch_recorded(self, model, epoch, record):
                if (tmp_path / "m").exists():
                    epochs.append(fnn.load(tmp_path / "m").epochs_trained)

        fit(make(), 8, fnn.ModelCheckpoint(tmp_path / "m", every=3), Watches())
        assert epochs == [3, 3, 3, 6, 6, 6]

    @pytest.mark.parametrize(
        ("monitor", "values", "saved"),
        [
            ("val_loss", [3.0, 2.0, 2.0, np.nan, 1.0, 5.0], [1, 2, 5]),
            ("val_accuracy", [0.1, 0.1, 0.3, 0.2, np.nan, 0.4], [1, 3, 6]),
            ("my_score", [np.nan, -np.inf, 0.0, 0.0, 1.0, 0.5], [2, 3, 5]),
        ],
    )
    def test_the_best(self, tmp_path, monitor, values, saved):
        callbacks = [
            fnn.ModelCheckpoint(tmp_path / "{epoch}", monitor=monitor),
            Sets(**{monitor: values}),  # what comes later in the list counts, too
            fnn.ModelCheckpoint(tmp_path / "best", monitor=monitor),
        ]
        fit(make(), 6, *callbacks)
        assert sorted(os.listdir(tmp_path)) == [*map(str, saved), "best"]
        for path in tmp_path.iterdir():
            epochs = saved[-1] if path.name == "best" else int(path.name)
            assert fnn.load(path).history.epochs == epochs

    def test_best_of_those_that_are_due(self, tmp_path):
        values = [1.0, 5.0, 0.5, 4.0, 6.0, 3.0]
        callbacks = [fnn.ModelCheckpoint(tmp_path / "{epoch}", monitor="val_loss", every=2)]
        fit(make(), 6, Sets(val_loss=values), *callbacks)
        assert sorted(os.listdir(tmp_path)) == ["2", "4", "6"]

    def test_templates(self, tmp_path):
        template = tmp_path / "a{{b" / "{epoch:03d}-{val_loss:.2f}-{x}"
        fit(make(), 2, fnn.ModelCheckpoint(template), Sets(val_loss=[0.125, 2.0], x=["p", "q"]))
        assert sorted(os.listdir(tmp_path / "a{b")) == ["001-0.12-p", "002-2.00-q"]

    @pytest.mark.parametrize("keep", [1, 2, 5, None])
    def test_keep(self, tmp_path, keep):
        (tmp_path / "0").touch()  # not ours
        fit(make(), 5, fnn.ModelCheckpoint(tmp_path / "{epoch}", keep=keep))
        assert (
            sorted(os.listdir(tmp_path))
            == ["0", "1", "2", "3", "4", "5"][:1] + ["1", "2", "3", "4", "5"][-(keep or 5) :]
        )

    def test_keep_of_names_that_come_again(self, tmp_path):
        names = ["a", "b", "a", "c", "c"]
        there = []

        class Lists(fnn.Callback):
            def on_epoch_recorded(self, model, epoch, record):
                there.append("".join(sorted(os.listdir(tmp_path))))

        saves = fnn.ModelCheckpoint(tmp_path / "{name}", keep=2)
        fit(make(), 5, Sets(name=names), saves, Lists())
        assert there == ["a", "ab", "ab", "ac", "ac"]

    def test_keep_goes_on(self, tmp_path):
        """Over kills at any moment: also between a save and the removal of what is too old."""
        saves = fnn.ModelCheckpoint(tmp_path / "{epoch}", keep=2)
        fit(make(), 4, saves)
        assert sorted(os.listdir(tmp_path)) == ["3", "4"]
        (tmp_path / "2").touch()  # as if it had been killed when 4 was saved
        again = fnn.ModelCheckpoint(tmp_path / "{epoch}", keep=2)
        fit(make(), 5, again, resume=tmp_path / "4")
        assert sorted(os.listdir(tmp_path)) == ["4", "5"]

    def test_the_model_before_early_stopping_restores_the_best(self, tmp_path):
        saves = fnn.ModelCheckpoint(tmp_path / "{epoch}")
        model = make()
        patience = {"patience": 2, "monitor": "loss", "optimizer": optim.SGD(lr=30.0)}
        history = fit(model, 9, saves, **patience)
        assert history.stopped_early
        best = fnn.load(tmp_path / f"{history.best_epoch + 1}")
        assert_same_bits(model.parameters, best.parameters)
        last = fnn.load(tmp_path / f"{history.epochs}")
        assert not np.array_equal(last.parameters, best.parameters)

    def test_functions_and_groups(self, tmp_path):
        """A file has neither, and a fit that resumes has those of its optimizer."""

        def sgd():
            return optim.SGD(lr=lambda step: 0.1 / (1 + step), groups=lambda key: {})

        whole, saves = make(), fnn.ModelCheckpoint(tmp_path / "m")
        fit(whole, 5, optimizer=sgd())
        fit(make(), 2, saves, optimizer=sgd())
        assert fnn.load(tmp_path / "m").epochs_trained == 2
        with pytest.raises(fnn.ModelFileError, match=r"an optimizer whose lr is a function"):
            fnn.load(tmp_path / "m", optimizer=True)
        parts = make()
        fit(parts, 5, optimizer=sgd(), resume=tmp_path / "m")
        assert_same_bits(parts.parameters, whole.parameters)

    def test_without_parameters(self, tmp_path):
        model = fnn.Sequential([fnn.Tanh()])
        saves = fnn.ModelCheckpoint(tmp_path / "m")
        for epochs in (1, 2):
            model.fit(X, X, loss="mse", epochs=epochs, callbacks=saves, resume=tmp_path / "m")
        assert fnn.load(tmp_path / "m").history.epochs == 2

    def test_copies(self, tmp_path):
        saves = fnn.ModelCheckpoint(tmp_path / "{epoch}", monitor="val_loss", keep=2)
        fit(make(), 2, saves, Sets(val_loss=[2.0, 1.0]))
        for twin in (copy.deepcopy(saves), pickle.loads(pickle.dumps(saves))):
            assert (
                twin.state_dict()
                == saves.state_dict()
                == {"best": 1.0, "files": [str(tmp_path / "1"), str(tmp_path / "2")]}
            )

    def test_a_model_that_is_copied_within_a_fit(self):
        class Copies(fnn.Callback):
            def on_epoch_end(self, model, epoch, record):
                self.twin = copy.deepcopy(model)

        copies = Copies()
        fit(make(), 1, copies)
        fit(copies.twin, 1)

    @pytest.mark.parametrize(
        ("path", "options", "error", "text"),
        [
            (3.5, {}, TypeError, "path: expected str or os.PathLike"),
            ("{", {}, ValueError, "path: expected a name or a template"),
            ("{}", {}, ValueError, "path: expected fields with names"),
            ("{0}", {}, ValueError, "path: expected fields with names"),
            ("m", {"keep": 2}, ValueError, "keep: expected None with one file"),
            ("{epoch}", {"keep": 0}, ValueError, "keep: expected an integer from 1"),
            ("m", {"every": 0}, ValueError, "every: expected an integer from 1"),
            ("m", {"monitor": 1}, TypeError, "monitor: expected a name"),
            ("m", {"monitor": "x"}, ValueError, "monitor: expected a name that tells"),
        ],
    )
    def test_impossible_arguments(self, path, options, error, text):
        with pytest.raises(error, match=text):
            fnn.ModelCheckpoint(path, **options)

    def test_refusals_of_a_fit(self, tmp_path):
        class NotJson(fnn.Callback):
            def state_dict(self):
                return {"x": np.ones(2)}

            def load_state_dict(self, state):
                raise AssertionError

        class Half(fnn.Callback):
            def state_dict(self):
                return {}

        class Own(optim.Adam):
            pass

        saves = fnn.ModelCheckpoint(tmp_path / "m")
        with pytest.raises(ValueError, match=r"callbacks\[1\]: expected a state_dict of what JSON"):
            fit(make(), 1, saves, NotJson())
        with pytest.raises(TypeError, match=r"callbacks\[1\]: expected both of state_dict"):
            fit(make(), 1, saves, Half())
        with pytest.raises(TypeError, match=r"optimizer: expected one of pyfast_nn\.optim"):
            fit(make(), 1, saves, optimizer=Own())
        with pytest.raises(IsADirectoryError):
            fit(make(), 1, fnn.ModelCheckpoint(tmp_path))
        model = make()
        with pytest.raises(ValueError, match="path: expected a template whose fields are of"):
            fit(model, 2, fnn.ModelCheckpoint(tmp_path / "{epoc}"))
        assert model.history.epochs == 1
        with pytest.raises(ValueError, match="monitor: expected one of loss, accuracy, lr"):
            fit(make(), 1, fnn.ModelCheckpoint(tmp_path / "m", monitor="val_auc"))
        with pytest.raises(RuntimeError, match="checkpoint: expected a model within a fit"):
            saves.on_epoch_recorded(make().build(6), 0, {})
        assert os.listdir(tmp_path) == []

    def test_a_second_fit_that_is_refused(self, tmp_path):
        """It takes nothing from the one that runs."""

        class Fits(fnn.Callback):
            def on_epoch_end(self, model, epoch, record):
                with pytest.raises(RuntimeError, match="within a fit already"):
                    fit(model, 1)

        fit(make(), 2, Fits(), fnn.ModelCheckpoint(tmp_path / "m"))
        assert fnn.load(tmp_path / "m").epochs_trained == 2

    def test_a_disk_that_fails_leaves_the_file_before(self, tmp_path, monkeypatch):
        model, saves = make(), fnn.ModelCheckpoint(tmp_path / "m")

        def full(*arguments):
            raise OSError(28, "No space left on device")

        class Fills(fnn.Callback):
            def on_epoch_end(self, model, epoch, record):
                if epoch == 2:
                    monkeypatch.setattr(os, "replace", full)

        with pytest.raises(OSError, match="No space"):
            fit(model, 5, saves, Fills())
        monkeypatch.undo()
        assert fnn.load(tmp_path / "m").epochs_trained == 2 and os.listdir(tmp_path) == ["m"]
        whole = make()
        fit(whole, 5)
        fit(model, 5, resume=tmp_path / "m")  # in the same process, over what it had trained
        assert_same_bits(model.parameters, whole.parameters)


class TestResume:
    @pytest.fixture
    def path(self, tmp_path):
        fit(make(), 2, fnn.ModelCheckpoint(tmp_path / "m"), optimizer=optim.Adam(lr=0.1))
        return tmp_path / "m"

    @pytest.mark.parametrize("when", ["unbuilt", "built", "trained", "bound"])
    def test_whatever_the_model_was(self, path, when):
        """Its arrays stay where users hold them."""
        whole, model, adam = make(), make(), optim.Adam(lr=0.1)
        fit(whole, 5, optimizer=optim.Adam(lr=0.1))
        if when != "unbuilt":
            model.build(6)
        if when in ("trained", "bound"):
            fit(model, 3, optimizer=adam)
        view = model.parameters if model.built else None
        optimizer = adam if when == "bound" else optim.Adam()
        history = fit(model, 5, resume=path, optimizer=optimizer)
        assert_same_bits(model.parameters, whole.parameters)
        if view is not None:
            assert np.shares_memory(view, model.parameters)
        assert history is model.history and history.epochs == 5 == model.epochs_trained
        for key in ("loss", "val_loss", "val_accuracy", "lr"):
            assert history[key] == whole.history[key]
        assert optimizer.step_count == 25

    def test_after_another_fit(self, tmp_path):
        """The history is that of the run; epochs before it count in the row order."""
        whole, parts, path = make(), make(), tmp_path / "m"
        for model in (whole, parts):
            fit(model, 3)
        fit(whole, 4)
        fit(parts, 1, fnn.ModelCheckpoint(path))
        parts = make()
        history = fit(parts, 4, resume=path)
        assert history.epochs == 4 and parts.epochs_trained == 7
        assert_same_bits(parts.parameters, whole.parameters)

    def test_no_file_yet(self, tmp_path):
        whole, model = make(), make()
        fit(whole, 2)
        fit(model, 2, resume=tmp_path / "m")
        assert_same_bits(model.parameters, whole.parameters)

    def test_epochs_of_callbacks_go_on(self, path):
        class Notes(fnn.Callback):
            def on_fit_begin(self, model):
                self.told = [model.history.epochs]

            def on_epoch_end(self, model, epoch, record):
                self.told.append(epoch)

        notes = Notes()
        fit(make(), 4, notes, resume=path)
        assert notes.told == [2, 2, 3]

    def test_more_epochs(self, path):
        history = fit(make(), 3, resume=path)
        assert history.epochs == 3

    def test_nothing_left(self, path):
        with pytest.warns(UserWarning, match="had done all of its 2 epochs, so that noth") as told:
            history = fit(make(), 2, resume=path)
        assert told[0].filename == __file__
        assert history.epochs == 2 and not history.stopped_early

    def test_stopped_early(self, tmp_path):
        """By patience: the parameters of the best epoch. By a callback: nothing more."""
        options = {"patience": 2, "monitor": "loss", "optimizer": optim.SGD(lr=30.0)}
        whole = make()
        history = fit(whole, 9, fnn.ModelCheckpoint(tmp_path / "m"), **options)
        model = make()
        with pytest.warns(UserWarning, match="had stopped early, so that nothing is trained"):
            again = fit(model, 9, resume=tmp_path / "m", **options | {"optimizer": "sgd"})
        assert again.stopped_early and again.best_epoch == history.best_epoch
        assert_same_bits(model.parameters, whole.parameters)
        more = fit(
            make(), 9, resume=tmp_path / "m", **options | {"optimizer": "sgd", "patience": 3}
        )
        assert more.epochs > history.epochs

        class Stops(fnn.Callback):
            def on_epoch_end(self, model, epoch, record):
                return epoch == 1

        fit(make(), 9, Stops(), fnn.ModelCheckpoint(tmp_path / "n"))
        with pytest.warns(UserWarning, match="had stopped early"):
            assert fit(make(), 9, resume=tmp_path / "n").epochs == 2

    @pytest.mark.parametrize("groups", [None, lambda key: {"lr": 0.1 if "weight" in key else 0.3}])
    def test_trainable_as_it_was(self, tmp_path, groups):
        """Also where the checkpoint is of the epoch after which it changed."""

        class Thaws(fnn.Callback):
            def on_epoch_end(self, model, epoch, record):
                if epoch == 1:
                    model.layers[0].trainable = True

        def adam():
            return optim.Adam(lr=0.2, groups=groups)

        whole = make(trainable=False)
        fit(whole, 6, Thaws(), optimizer=adam())
        for epochs in (1, 2, 3, 5, 6):
            model = make(trainable=False)
            saves = fnn.ModelCheckpoint(tmp_path / "m")
            fit(model, epochs, Thaws(), saves, resume=tmp_path / "m", optimizer=adam())
        assert_same_bits(model.parameters, whole.parameters)
        assert not np.allclose(whole.parameters[:49], make().build(6).parameters[:49])

    def test_progress_goes_on(self, path, capfd):
        fit(make(), 4, resume=path, verbose=1)
        lines = capfd.readouterr().err.splitlines()
        assert [line.split("  ")[0] for line in lines] == ["epoch 3/4", "epoch 4/4"]


class TestRefusals:
    @pytest.fixture
    def path(self, tmp_path):
        sgd = optim.SGD(lr=0.1, momentum=0.5)
        callbacks = [fnn.ReduceLROnPlateau(sgd), fnn.ModelCheckpoint(tmp_path / "m")]
        fit(make(), 2, *callbacks, optimizer=sgd, patience=5)
        return tmp_path / "m"

    def run(self, path, model=None, optimizer=None, **options):
        sgd = optim.SGD(lr=0.1, momentum=0.5) if optimizer is None else optimizer
        callbacks = [fnn.ReduceLROnPlateau(sgd)]
        options = {"patience": 5, "callbacks": callbacks, "verbose": 0} | options
        return (make() if model is None else model).fit(
            X,
            Y,
            loss="cross_entropy",
            epochs=3,
            optimizer=sgd,
            validation_split=0.2,
            resume=path,
            **options,
        )

    def test_of_something_else(self, path):
        wide = fnn.Sequential([fnn.Dense(8), fnn.Tanh(), fnn.Dense(2)], dtype="float64")
        for change, text in [
            ({"model": wide}, r"resume: expected a checkpoint of this model's layers, \[Dense\(8"),
            ({"model": make("float32")}, "resume: .* whose dtype is float32, got .* with float64"),
            ({"model": make().build(9)}, "resume: .* whose in_features is 9, got .* with 6"),
            ({"optimizer": optim.Adam()}, r"resume: .*\['optimizer'\]: expected 'Adam', got 'SGD'"),
            (
                {"monitor": "loss"},
                "resume: .*monitor: expected 'val_loss', whose best",
            ),
            ({"callbacks": []}, "callbacks: expected a ReduceLROnPlateau as in the run of"),
        ]:
            with pytest.raises(ValueError, match=text):
                self.run(path, **change)
        with pytest.raises(TypeError, match=r"resume: expected str or os\.PathLike, got True"):
            self.run(True)
        self.run(path)

    def test_no_checkpoint(self, tmp_path):
        make().build(6).save(tmp_path / "m")
        with pytest.raises(fnn.ModelFileError, match="a model without a fit; expected a file that"):
            self.run(tmp_path / "m")
        (tmp_path / "m").write_bytes(b"x" * 99)
        with pytest.raises(fnn.ModelFileError, match="not an intact safetensors file"):
            self.run(tmp_path / "m")

    @pytest.mark.parametrize(
        ("keys", "value"),
        [
            (["fit"], 5),
            (["fit"], {}),
            (["fit", "asked_to_stop"], 1),
            (["fit", "callbacks"], 1),
            (["fit", "callbacks", 0], {"type": []}),
            (["fit", "callbacks", 0, "state"], {"bad": 1}),
            (["fit", "callbacks", 0, "state", "bad"], -1),
            (["fit", "callbacks", 0, "state", "level"], "x"),
            (["fit", "stopping"], {}),
            (["fit", "stopping", "best"], None),
            (["fit", "stopping", "waited"], 3),
            (["fit", "stopping", "kept"], 2),
            (["optimizer", "step_count"], -1),
            (["optimizer", "hyper_parameters", "lr"], "function"),
            (["epochs_trained"], -1),
            (["layers"], 0),
        ],
    )
    def test_damages(self, path, keys, value):
        def change(description):
            for key in keys[:-1]:
                description = description[key]
            description[keys[-1]] = value

        edit(path, change)
        with pytest.raises(ValueError):
            self.run(path)

    def test_damages_of_any_kind(self, path):
        """A clear error, or a fit; the damages are those of model files, see mutated.py."""
        raw, refused, count = path.read_bytes(), 0, 3000 if FULL else 100
        for _, damaged in mutated.damaged(random.Random(1), [raw], count, seed=1):
            path.write_bytes(damaged)
            try:
                self.run(path)
            except FloatingPointError:  # of numbers that were damaged
                pass
            except ValueError:
                refused += 1
        assert refused > count / 2

    def test_a_file_names_no_others_to_be_removed(self, tmp_path):
        """It may come from anywhere: what does not fit the template stays."""
        mine = tmp_path / "mine"
        mine.touch()
        saves = fnn.ModelCheckpoint(tmp_path / "runs" / "{epoch}", keep=1)
        fit(make(), 1, saves)
        path = tmp_path / "runs" / "1"
        edit(path, lambda d: d["fit"]["callbacks"][0]["state"]["files"].insert(0, str(mine)))
        with pytest.raises(ValueError, match=r"path: expected that of the run, which has written"):
            fit(make(), 2, fnn.ModelCheckpoint(tmp_path / "runs" / "{epoch}", keep=1), resume=path)
        assert mine.exists()
