"""Model files: what is in them, what a broken one does, and saves that are cut short."""

import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

import pyfast_nn as fnn

pytestmark = pytest.mark.once


def make(labels=("no", "yes"), dtype="float32", epochs=2):
    layers = [fnn.Dense(3, init="xavier_normal", bias_init=0.5), fnn.ReLU(), fnn.Dense(2)]
    model = fnn.Sequential(layers, dtype=dtype, seed=7)
    X = np.random.default_rng(0).normal(size=(6, 4))
    model.fit(X, np.array(labels)[[0, 1] * 3], loss="cross_entropy", epochs=epochs, verbose=0)
    return model


def contents(path):
    with safetensors.safe_open(path, "np") as file:
        return {k: file.get_tensor(k) for k in file.keys()}, dict(file.metadata())  # noqa: SIM118


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.safetensors"


class TestRoundTrip:
    @pytest.mark.parametrize("labels", [("no", "yes"), (False, True), (0, 1), ("\ud800", "ä\0b")])
    def test_everything_comes_back(self, labels, dtype, path):
        model = make(labels, dtype)
        model.save(path)
        again = fnn.load(path)
        assert again.parameters.tobytes() == model.parameters.tobytes()
        assert repr(again) == repr(model) and again.layers == model.layers
        assert again.classes_.tolist() == model.classes_.tolist()
        assert again.classes_.dtype == model.classes_.dtype
        for name in ("loss", "seed", "epochs_trained", "dtype", "in_features"):
            assert getattr(again, name) == getattr(model, name)
        X = np.random.default_rng(1).normal(size=(5, 4))
        np.testing.assert_array_equal(again.predict(X), model.predict(X))

    def test_training_goes_on_with_the_next_row_order(self, path):
        model = make()
        model.save(path)
        again = fnn.load(str(path))
        X, y = np.random.default_rng(0).normal(size=(50, 4)), ["no", "yes"] * 25
        for one in (model, again):
            one.fit(X, y, batch_size=8, epochs=2, verbose=0)
        np.testing.assert_array_equal(model.parameters, again.parameters)

    def test_never_fitted(self, path):
        model = fnn.Sequential([fnn.Dense(2), fnn.Tanh(), fnn.Sigmoid()]).build(3)
        model.save(path)
        again = fnn.load(path)
        assert again.loss is None and again.classes_ is None and again.epochs_trained == 0
        assert again.layers == model.layers

    def test_values_that_are_not_finite(self, path):
        model = make()
        model.parameters[:3] = [np.nan, np.inf, -0.0]
        model.save(path)
        assert fnn.load(path).parameters.tobytes() == model.parameters.tobytes()

    def test_what_safetensors_sees(self, path):
        model = make()
        history = model.history
        model.save(path)
        tensors, metadata = contents(path)
        assert set(tensors) == {"0.weight", "0.bias", "2.weight", "2.bias"}
        for name, value in model.named_parameters().items():
            np.testing.assert_array_equal(tensors[name], value.T, strict=True)
        assert json.loads(metadata["pyfast_nn"]) == {
            "format_version": 2,
            "weight_layout": "(out, in)",
            "layers": [
                {
                    "type": "Dense",
                    "units": 3,
                    "init": "xavier_normal",
                    "bias_init": 0.5,
                    "constraint": None,
                },
                {"type": "ReLU"},
                {
                    "type": "Dense",
                    "units": 2,
                    "init": None,
                    "bias_init": "zeros",
                    "constraint": None,
                },
            ],
            "in_features": 4,
            "dtype": "float32",
            "seed": 7,
            "epochs_trained": 2,
            "classes": ["no", "yes"],
            "loss": "cross_entropy",
            "feature_names": None,
            "targets": None,
            "history": {
                "columns": dict(history),
                "best_epochs": [None, None],
                "stopped_early": False,
            },
            "optimizer": None,
            "fit": None,
        }

    def test_what_safetensors_sees_of_an_optimizer(self, path):
        model, optimizer = make(epochs=1), fnn.optim.SGD(lr=0.1, momentum=0.9)
        X = np.random.default_rng(0).normal(size=(6, 4))
        model.fit(X, ["no", "yes"] * 3, optimizer=optimizer, epochs=1, verbose=0)
        model.save(path, optimizer=optimizer)
        tensors, metadata = contents(path)
        state = optimizer.state_dict()
        arrays = state.pop("state")
        assert json.loads(metadata["pyfast_nn"])["optimizer"] == state
        assert set(tensors) - {f"optimizer.{key}.momentum_buffer" for key in arrays} == set(arrays)
        for key, of_key in arrays.items():
            for name, array in of_key.items():
                np.testing.assert_array_equal(
                    tensors[f"optimizer.{key}.{name}"], array, strict=True
                )

    @pytest.mark.parametrize("widths", [(4, 4, 4), (4, 3, 2), (1, 5, 1)])
    def test_torch_computes_the_same(self, widths, dtype, path):
        """Also with square layers, whose shapes would fit the other way round."""
        torch, reader = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
        n, hidden, out = widths
        model = fnn.Sequential([fnn.Dense(hidden), fnn.Tanh(), fnn.Dense(out)], dtype=dtype, seed=3)
        model.build(n).named_parameters()["0.bias"][:] = np.arange(hidden)
        model.save(path)
        network = torch.nn.Sequential(
            torch.nn.Linear(n, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, out)
        ).to(getattr(torch, dtype))
        network.load_state_dict(reader.load_file(path))
        X = np.random.default_rng(0).normal(size=(7, n)).astype(dtype)
        with torch.no_grad():
            expected = network(torch.from_numpy(X)).numpy()
        np.testing.assert_allclose(model.forward(X), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(fnn.load(path).forward(X), model.forward(X))


class TestMalformed:
    def refused(self, path, match):
        with pytest.raises(fnn.ModelFileError, match=match) as info:
            fnn.load(path)
        assert str(info.value).startswith(f"{path}: ")

    def test_no_file(self, path):
        with pytest.raises(FileNotFoundError):
            fnn.load(path)
        with pytest.raises(IsADirectoryError):
            fnn.load(path.parent)

    def test_too_long(self, path):
        make().save(path)
        path.write_bytes(path.read_bytes() + b"\0")
        self.refused(path, "not an intact safetensors file")

    def test_another_safetensors_file(self, path):
        safetensors.numpy.save_file({"a": np.ones(3)}, path)
        self.refused(path, "not of pyfast_nn")
        safetensors.numpy.save_file({"a": np.ones(3)}, path, metadata={"format": "np"})
        self.refused(path, "not of pyfast_nn")

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", "3", '{"format_version": 2}', "[" * 10**5, "9" * 10**5, "null"]
    )
    def test_metadata(self, text, path):
        safetensors.numpy.save_file({"a": np.ones(3)}, path, metadata={"pyfast_nn": text})
        self.refused(path, "metadata 'pyfast_nn'")

    def rewrite(self, path, change=lambda description: None, tensors=None):
        """Save a model whose description and tensors have been changed."""
        make().save(path)
        old, metadata = contents(path)
        description = json.loads(metadata["pyfast_nn"])
        change(description)
        safetensors.numpy.save_file(
            old | (tensors or {}), path, metadata={"pyfast_nn": json.dumps(description)}
        )

    @pytest.mark.parametrize("version", [0, 1, 3, "2", None, [2]])
    def test_version(self, version, path):
        self.rewrite(path, lambda d: d.update(format_version=version))
        self.refused(path, "format version .* reads version 2")

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("layers", []),
            ("layers", None),
            ("layers", {}),
            ("layers", ["Dense"]),
            ("layers", [{"type": "Dense"}]),
            ("layers", [{"type": "Layer"}]),
            ("layers", [{"type": "Dense", "units": 2, "more": 1}]),
            ("layers", [{"type": "Dense", "units": "2"}]),
            ("layers", [{"type": "Dense", "units": 2, "init": "none"}]),
            ("layers", [{"type": ["Dense"]}]),
            ("layers", [{"type": "ReLU", "units": 2}]),
            ("weight_layout", "(in, out)"),
            ("weight_layout", None),
            ("in_features", 0),
            ("in_features", 4.5),
            ("in_features", None),
            ("dtype", "float16"),
            ("dtype", "f4,f4"),
            ("dtype", 3),
            ("dtype", [["a", "b"]]),
            ("seed", -1),
            ("seed", 1000.5),
            ("epochs_trained", -1),
            ("epochs_trained", float("nan")),
            ("classes", ["no"]),
            ("classes", ["yes", None]),
            ("classes", ["no", "no"]),
            ("classes", [0, 2.5]),
            ("classes", [0, "yes"]),
            ("classes", [False, 1]),
            ("classes", [0, 1, 2]),
            ("classes", "ab"),
            ("classes", {}),
            ("targets", [0.0]),
            ("targets", {"mean": [0.0]}),
            ("targets", {"mean": None, "std": [1.0]}),
            ("targets", {"mean": [0.0] * 9, "std": [1.0] * 9}),
            ("targets", {"mean": ["a"], "std": [1.0]}),
            ("feature_names", ["a", "b", "c"]),
            ("feature_names", ["a", "b", "c", "a"]),
            ("feature_names", ["a", "b", "c", 1]),
            ("feature_names", "abcd"),
            ("feature_names", {"a": 1, "b": 2, "c": 3, "d": 4}),
            ("history", []),
            ("history", {}),
            ("history", {"columns": [], "best_epochs": [], "stopped_early": False}),
            ("history", {"columns": {"loss": [1]}, "best_epochs": [], "stopped_early": False}),
            ("history", {"columns": {"loss": [1]}, "best_epochs": [1], "stopped_early": False}),
            ("history", {"columns": {"loss": 1}, "best_epochs": [0], "stopped_early": False}),
            ("history", {"columns": {}, "best_epochs": [], "stopped_early": None}),
            ("loss", "nonsense"),
            ("loss", {}),
            ("loss", {"type": "huber", "delta": 0}),
            ("loss", {"type": "huber", "more": 1}),
            ("loss", 1),
        ],
    )
    def test_values(self, field, value, path):
        self.rewrite(path, lambda d: d.update({field: value}))
        self.refused(path, "its description is not valid")

    def test_fields(self, path):
        self.rewrite(path, lambda d: d.pop("seed"))
        self.refused(path, "missing or unknown fields: 'seed'")
        self.rewrite(path, lambda d: d.update(more=1))
        self.refused(path, "missing or unknown fields: 'more'")

    def test_tensors(self, path):
        self.rewrite(path, tensors={"4.weight": np.ones(2, np.float32)})
        self.refused(path, "missing or unknown tensors: '4.weight'")
        self.rewrite(path, lambda d: d["layers"].append({"type": "Dense", "units": 2}))
        self.refused(path, "missing or unknown tensors: '3.bias', '3.weight'")
        self.rewrite(path, tensors={"0.weight": np.ones((4, 3), np.float32)})
        self.refused(path, r"tensor '0.weight' is float32 of shape \(4, 3\), .* \(3, 4\)")
        self.rewrite(path, tensors={"0.bias": np.ones(3, np.float64)})
        self.refused(path, "tensor '0.bias' is float64")

    @pytest.mark.parametrize(
        ("change", "tensors", "text"),
        [
            ({"optimizer": "Optimizer"}, {}, "optimizer"),
            ({"optimizer": "os.system"}, {}, "optimizer"),
            ({"optimizer": "Adam"}, {}, "hyper_parameters"),
            ({"step_count": -1}, {}, "step_count"),
            ({"more": 1}, {}, r"optimizer\['more'\]: expected nothing"),
            ({"param_groups": [{"params": ["0.weight"]}]}, {}, "nothing of this name"),
            ({}, {"optimizer.0.weight.momentum_buffer": np.ones((3, 4), "f")}, r"got \(3, 4\)"),
            ({}, {"optimizer.0.weight.momentum_buffer": np.ones((4, 3))}, "float64"),
            ({}, {"optimizer.0.weight.exp_avg": np.ones((4, 3), "f")}, "exp_avg"),
            ({}, {"optimizer.9.weight.exp_avg": np.ones((4, 3), "f")}, "9.weight"),
        ],
    )
    def test_optimizers(self, change, tensors, text, path):
        model, optimizer = make(), fnn.optim.SGD(lr=0.1, momentum=0.9)
        X = np.random.default_rng(0).normal(size=(6, 4))
        model.fit(X, ["no", "yes"] * 3, optimizer=optimizer, epochs=1, verbose=0)
        model.save(path, optimizer=optimizer)
        old, metadata = contents(path)
        description = json.loads(metadata["pyfast_nn"])
        description["optimizer"] |= change
        metadata = {"pyfast_nn": json.dumps(description)}
        safetensors.numpy.save_file(old | tensors, path, metadata=metadata)
        self.refused(path, f"its optimizer is not valid: .*{text}")
        safetensors.numpy.save_file(
            old, path, metadata={"pyfast_nn": json.dumps(description | {"optimizer": None})}
        )
        self.refused(path, "missing or unknown tensors: 'optimizer.0.bias.momentum_buffer'")

    def test_huge_declared_sizes_allocate_nothing(self, path):
        def change(description):
            description["in_features"] = 2**31 - 1
            description["layers"][0]["units"] = 2**31 - 1

        self.rewrite(path, change)
        self.refused(path, "tensor '0.weight' is")

    @given(
        position=st.floats(0, 1, exclude_max=True),
        value=st.integers(0, 255),
        cut=st.integers(0, 3),
    )
    def test_any_changed_byte(self, position, value, cut, tmp_path_factory):
        path = tmp_path_factory.getbasetemp() / "changed.safetensors"
        make(epochs=1).save(path)
        raw = bytearray(path.read_bytes())
        raw[int(position * len(raw))] = value
        path.write_bytes(raw[: len(raw) - cut])
        try:
            fnn.load(path).forward(np.zeros((1, 4)))
        except fnn.ModelFileError as error:
            assert str(path) in str(error)
        except ValueError as error:  # a valid model with another number of inputs
            assert "X" in str(error)


class TestSave:
    def listing(self, path):
        return sorted(os.listdir(path.parent))

    def test_a_file_left_by_a_killed_save_is_cleaned(self, path):
        temporary = path.parent / f".{path.name}.tmp"
        temporary.write_bytes(b"x" * 10**6)
        make().save(path)
        assert self.listing(path) == [path.name]
        fnn.load(path)

    @pytest.mark.parametrize("call", ["fsync", "replace"])
    def test_a_failing_disk_leaves_the_old_file(self, call, path, monkeypatch):
        old, new = make(epochs=1), make(epochs=2)
        old.save(path)
        before = path.read_bytes()

        def fail(*args):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            with pytest.raises(OSError, match="No space left"):
                new.save(path)
        assert path.read_bytes() == before and self.listing(path) == [path.name]
        new.save(path)
        assert fnn.load(path).epochs_trained == 2

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs resource limits")
    def test_a_file_size_limit(self, path):
        code = f"""
import resource, signal, sys
import pyfast_nn as fnn
model = fnn.Sequential([fnn.Dense(200)]).build(300)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
try:
    model.save({str(path)!r})
except OSError:
    sys.exit(7)
"""
        make().save(path)
        before = path.read_bytes()
        assert subprocess.run([sys.executable, "-c", code]).returncode == 7
        assert path.read_bytes() == before and self.listing(path) == [path.name]

    def test_interrupted(self, path, monkeypatch):
        def interrupt(*args):
            signal.raise_signal(signal.SIGINT)

        make().save(path)
        before = path.read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", interrupt)
            with pytest.raises(KeyboardInterrupt):
                make(epochs=1).save(path)
        assert path.read_bytes() == before and self.listing(path) == [path.name]

    def test_impossible_places(self, path):
        with pytest.raises(FileNotFoundError):
            make().save(path.parent / "no" / "m.safetensors")
        (path.parent / "folder").mkdir()
        with pytest.raises(IsADirectoryError):
            make().save(path.parent / "folder")
        assert self.listing(path) == ["folder"]

    @pytest.mark.parametrize("name", [None, 3, 1.5, "a\0b"])
    def test_impossible_names(self, name):
        """A number would be that of a file that is open already."""
        optimizer = fnn.optim.SGD([np.ones(2)])
        for call in (
            *(make().save, fnn.load, optimizer.save, optimizer.load),
            *(fnn.datasets.read_idx, fnn.datasets.read_npz),
        ):
            with pytest.raises((TypeError, ValueError), match=r"^path: expected .*, got "):
                call(name)

    @pytest.mark.parametrize("name", ["m" * 255, "m" * 249 + "a" * 6, "ä" * 127, b"\xff" * 255])
    def test_the_longest_names(self, name, tmp_path):
        path = os.path.join(os.fsencode(tmp_path), os.fsencode(name))
        for epochs in (1, 2):
            make(epochs=epochs).save(path)
            assert os.listdir(os.fsencode(tmp_path)) == [os.fsencode(name)]
            assert fnn.load(path).epochs_trained == epochs

    @pytest.mark.parametrize("kind", ["fifo", "device"])
    def test_what_is_no_regular_file_is_not_replaced(self, kind, path):
        if kind == "device":
            os.symlink("/dev/null", path)
        else:
            os.mkfifo(path)
        before = os.stat(path)
        with pytest.raises(OSError, match="exists and is not a regular file") as caught:
            make().save(path)
        assert caught.value.filename == str(path)
        assert os.path.samestat(os.stat(path), before) and self.listing(path) == [path.name]

    def test_through_a_link(self, path):
        make(epochs=1).save(path)
        link = path.parent / "link"
        link.symlink_to(path.name)
        make(epochs=2).save(link)
        assert link.is_symlink() and fnn.load(path).epochs_trained == 2

    def test_permissions_are_those_of_a_new_file(self, path):
        make().save(path)
        mask = os.umask(0)
        os.umask(mask)
        assert path.stat().st_mode & 0o777 == 0o666 & ~mask

    def test_two_at_once(self, path):
        models = [make(epochs=k) for k in (1, 2)]
        errors = []

        def work(model):
            try:
                for _ in range(10):
                    model.save(path)
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(m,)) for m in models for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors and self.listing(path) == [path.name]
        assert fnn.load(path).epochs_trained in (1, 2)
