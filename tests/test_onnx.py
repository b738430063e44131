"""Files of ONNX: what two evaluators make of them is what the model predicts."""

import json

import numpy as np
import pytest

import pyfast_nn as fnn
from conftest import assert_close
from exchanged import CASES, built
from pyfast_nn.exchange import onnx_file

pytestmark = pytest.mark.once
onnx = pytest.importorskip("onnx", reason="files of ONNX are written by it")
reference = pytest.importorskip("onnx.reference", reason="one of the two that evaluate them")
onnxruntime = pytest.importorskip("onnxruntime", reason="the other")


def evaluated(path, X):
    """What both evaluators return for X: two dicts."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    plain = reference.ReferenceEvaluator(str(path))
    assert plain.output_names == names
    with np.errstate(all="ignore"):  # of the plain one, which is written in NumPy
        outs = [each.run(None, {"X": X}) for each in (session, plain)]
    return [dict(zip(names, each, strict=True)) for each in outs]


@pytest.mark.parametrize("case", CASES)
def test_layers(case, dtype, rng, tmp_path):
    model = built(CASES[case], dtype, rng)
    model.to_onnx(tmp_path / "m.onnx", loss="mse")
    for n in (1, 7):
        X = 3 * rng.normal(size=(n, 6)).astype(dtype)
        expected = model.forward(X)
        for outputs in evaluated(tmp_path / "m.onnx", X):
            assert outputs.keys() == {"variable"}
            assert outputs["variable"].dtype == model.dtype
            assert_close(outputs["variable"], expected, dtype, 8)


BENT = [fnn.GELU(), fnn.GELU("tanh"), fnn.ELU(), fnn.Softplus(), fnn.SiLU(), fnn.Tanh()]


@pytest.mark.parametrize("layer", BENT, ids=repr)
def test_activations_far_out(layer, dtype, tmp_path):
    """Also beyond where they are straight; GELU's distribution function is a sum in float64."""
    model = fnn.Sequential([layer], dtype=dtype)
    X = np.r_[-1e4, np.linspace(-9, 9, 3001), 1e-6, 1e4].astype(dtype)[:, None]
    expected = model.build(1).forward(X)
    model.to_onnx(tmp_path / "m.onnx", loss="mse")
    for outputs in evaluated(tmp_path / "m.onnx", X):
        error = abs(outputs["variable"].astype(float) - expected)
        assert (error <= 16 * np.finfo(dtype).eps * np.clip(abs(X), 1, 9)).all()


CLASSES = {
    "columns": np.array([0, 1, 2]),
    "numbers": np.array([10, 20, 31]),
    "strings": np.array(["no", "perhaps", "yes"]),
    "bool": np.array([False, True]),
}


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("loss", ["cross_entropy", "multi_margin"])
def test_classes(loss, kind, dtype, rng, tmp_path):
    classes = CLASSES[kind]
    model = fnn.Sequential([fnn.Dense(len(classes))], dtype=dtype)
    X, y = rng.normal(size=(50, 4)).astype(dtype), classes[np.arange(50) % len(classes)]
    model.fit(X, y, loss=loss, epochs=1)
    model.to_onnx(tmp_path / "m.onnx")
    scores = model.predict_proba(X) if loss == "cross_entropy" else model.forward(X)
    for outputs in evaluated(tmp_path / "m.onnx", X):
        assert list(outputs) == ["label", "probabilities"]
        assert_close(outputs["probabilities"], scores, dtype, 4)
        assert outputs["label"].dtype == (object if kind == "strings" else np.int64)
        np.testing.assert_array_equal(outputs["label"], model.predict(X))


@pytest.mark.parametrize("kind", [*CLASSES, "signs"])
@pytest.mark.parametrize("loss", ["binary_cross_entropy", "hinge"])
def test_one_output(loss, kind, dtype, rng, tmp_path):
    classes = {"signs": np.array([-1, 1]), **CLASSES}[kind][-2:]
    model = fnn.Sequential([fnn.Dense(1)], dtype=dtype)
    X, y = rng.normal(size=(50, 4)).astype(dtype), classes[np.arange(50) % 2]
    model.fit(X, y, loss=loss, epochs=1)
    model.to_onnx(tmp_path / "m.onnx")
    out = model.forward(X)
    scores = np.hstack([-out, out]) if loss == "hinge" else model.predict_proba(X)
    for outputs in evaluated(tmp_path / "m.onnx", X):
        assert_close(outputs["probabilities"], scores, dtype, 4)
        np.testing.assert_array_equal(outputs["label"], model.predict(X))
        assert outputs["label"].shape == (50,)


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "hinge"])
def test_several_labels(loss, dtype, rng, tmp_path):
    model = fnn.Sequential([fnn.Dense(3)], dtype=dtype)
    X, y = rng.normal(size=(50, 4)).astype(dtype), rng.integers(0, 2, (50, 3))
    model.fit(X, y if loss == "binary_cross_entropy" else 2 * y - 1, loss=loss, epochs=1)
    model.to_onnx(tmp_path / "m.onnx")
    scores = model.forward(X) if loss == "hinge" else model.predict_proba(X)
    for outputs in evaluated(tmp_path / "m.onnx", X):
        assert_close(outputs["probabilities"], scores, dtype, 4)
        np.testing.assert_array_equal(outputs["label"], model.predict(X))


VALUES = [name for name in fnn.losses.NAMES if fnn.losses.check(name).task == "values"]


@pytest.mark.parametrize("units", [1, 2])
@pytest.mark.parametrize("loss", VALUES)
def test_values(loss, units, dtype, rng, tmp_path):
    model = fnn.Sequential([fnn.Dense(units)], dtype=dtype)
    X, y = rng.normal(size=(50, 4)).astype(dtype), rng.poisson(2.0, (50, units))
    model.fit(X, y, loss=loss, epochs=1)
    model.to_onnx(tmp_path / "m.onnx")
    for outputs in evaluated(tmp_path / "m.onnx", X):
        assert_close(outputs["variable"], model.predict(X).reshape(50, units), dtype, 4)


def test_statistics_of_large_numbers(dtype, rng, tmp_path):
    """Input layers are computed in float64, as where they are read."""
    X = (1e4 + rng.normal(size=(200, 3))).astype(dtype)
    model = fnn.Sequential([fnn.Standardize(), fnn.Dense(2)], dtype=dtype)
    model.fit(X, rng.integers(0, 2, 200), loss="cross_entropy", epochs=1)
    model.to_onnx(tmp_path / "m.onnx")
    for outputs in evaluated(tmp_path / "m.onnx", X):
        assert_close(outputs["probabilities"], model.predict_proba(X), dtype, 4)


def test_what_the_file_tells(tmp_path):
    frame = pytest.importorskip("pandas").DataFrame({"length": [1.0, 2, 3, 4], "width": 1.0})
    model = fnn.Sequential([fnn.Dense(2)])
    model.fit(frame, list("abab"), loss="cross_entropy")
    model.to_onnx(tmp_path / "m.onnx")
    proto = onnx.load(tmp_path / "m.onnx")
    assert (proto.producer_name, proto.producer_version) == ("pyfast_nn", fnn.__version__)
    assert [(one.domain, one.version) for one in proto.opset_import] == [("", 17)]
    told = {pair.key: json.loads(pair.value) for pair in proto.metadata_props}
    assert told == {"feature_names": ["length", "width"], "classes": ["a", "b"]}
    assert {tensor.name for tensor in proto.graph.initializer} >= {"0.weight", "0.bias"}
    shapes = {
        value.name: [one.dim_param or one.dim_value for one in value.type.tensor_type.shape.dim]
        for value in (*proto.graph.input, *proto.graph.output)
    }
    assert shapes == {"X": ["n", 2], "label": ["n"], "probabilities": ["n", 2]}


def test_what_cannot_be_written(tmp_path, monkeypatch):
    path = tmp_path / "m.onnx"
    model = fnn.Sequential([fnn.Standardize(), fnn.Dense(2), fnn.Residual([fnn.Scale()])])
    with pytest.raises(RuntimeError, match="not built"):
        model.to_onnx(path)
    model.build(3)
    with pytest.raises(ValueError, match=r"^loss: expected a loss"):
        model.to_onnx(path)
    with pytest.raises(RuntimeError, match=r"^layers\[0\], Standardize\(\), has not learned its"):
        model.to_onnx(path, loss="mse")
    model.state = 1.0 + np.arange(6)
    monkeypatch.delitem(onnx_file.RULES, "scale")
    with pytest.raises(NotImplementedError, match=r"^layers\[2\.0\]: .*, got Scale\(\)"):
        model.to_onnx(path, loss="mse")
    assert not path.exists()
    monkeypatch.undo()
    with pytest.raises(IsADirectoryError):
        model.to_onnx(tmp_path, loss="mse")
