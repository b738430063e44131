"""What users pass: the same answer as a clean copy, or an error that names the argument."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.preprocessing import LabelEncoder

import pyfast_nn as fnn


def make(out=3, dtype="float64"):
    model = fnn.Sequential([fnn.Dense(4), fnn.ReLU(), fnn.Dense(out)], dtype=dtype)
    model.build(3)
    model.named_parameters()["0.bias"][:] = 0.1
    return model


def misaligned(array):
    raw = np.empty(array.nbytes + 1, np.uint8)
    view = np.frombuffer(raw.data, array.dtype, array.size, offset=1).reshape(array.shape)
    view[...] = array
    assert array.size == 0 or array.dtype.itemsize == 1 or not view.flags.aligned
    return view


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def padded(array):
    wide = np.full((2 * array.shape[0], 3 * array.shape[1]), 7).astype(array.dtype)
    wide[::2, ::3] = array
    return wide[::2, ::3]


HOSTILE = {
    "fortran": np.asfortranarray,
    "strided": padded,
    "negative strides": lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "read-only": read_only,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "misaligned": misaligned,
    "list": lambda a: a.tolist(),
    "tuple of arrays": tuple,
    "float16": lambda a: a.astype(np.float16),
    "long double": lambda a: a.astype(np.longdouble),
    "float32": lambda a: a.astype(np.float32),
    "subclass": lambda a: a.view(np.recarray),
    "__array__": lambda a: WithArray(a),
}


class WithArray:
    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_features(name, dtype):
    clean = np.random.default_rng(0).integers(-8, 8, (6, 3)) / 4  # exact in every dtype
    y = [0, 1, 2, 0, 1, 2]
    hostile = HOSTILE[name](clean.copy())
    results = []
    for X in (clean, hostile):
        model = make(dtype=dtype)
        model.fit(X, y, loss="cross_entropy", epochs=3, batch_size=4, verbose=0)
        results.append((model.parameters, model.forward(X), model.loss_and_grad(X, y)[1]))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(np.asarray(hostile), clean)


@pytest.mark.parametrize("code", ["?", *np.typecodes["AllInteger"], "e", "f", "d", "g"])
def test_dtypes_of_features(code):
    X = np.random.default_rng(0).integers(0, 2, (5, 3)).astype(code)
    np.testing.assert_array_equal(make().forward(X), make().forward(X.astype(float)))


@given(
    X=hnp.arrays(
        st.sampled_from([np.float64, np.float32, np.float16, np.int8, np.uint64, np.bool_, ">f4"]),
        st.tuples(st.integers(0, 6), st.just(6)),
        elements=st.integers(0, 1),
    ),
    rows=st.slices(6),
    columns=st.sampled_from([slice(None, None, 2), slice(None, None, -2), slice(0, 3)]),
    fortran=st.booleans(),
)
def test_any_view_equals_its_copy(X, rows, columns, fortran):
    view = (np.asfortranarray(X) if fortran else X)[rows, columns]
    before = view.copy()
    out = make().forward(view)
    np.testing.assert_array_equal(out, make().forward(before.astype(np.float64, order="C")))
    np.testing.assert_array_equal(view, before)


def test_broadcast_rows():
    X = np.broadcast_to(np.array([0.5, 1, 2]), (4, 3))
    np.testing.assert_array_equal(make().forward(X), make().forward(X.copy()))


def test_pandas():
    pandas = pytest.importorskip("pandas")
    y = np.array(["a", "b", "c"] * 2)
    expected = fitted(y)
    frame = pandas.DataFrame(X6).assign(label=y)
    model = make()
    model.fit(frame[[0, 1, 2]], frame["label"], loss="cross_entropy", verbose=0)
    np.testing.assert_array_equal(model.parameters, expected.parameters)


@pytest.mark.once
class TestDataFrame:
    def frame(self, **dtypes):
        pandas = pytest.importorskip("pandas")
        X = pandas.DataFrame({"a": [1, 0, 1, 1], "b": [0, 1, 1, 0], "c": [0, 0, 1, 1]})
        return X.astype(dtypes)

    @pytest.mark.parametrize(
        "dtypes",
        [
            {},
            {"a": "float32"},
            {"a": "bool", "b": "float16", "c": "uint8"},
            {"a": "bool"},
            {"a": "Int64", "b": "Float32", "c": "boolean"},
            {"a": "UInt8", "b": "UInt8", "c": "UInt8"},
            {"a": "Int8", "b": "bool", "c": "float64"},
        ],
    )
    def test_numbers_of_mixed_columns(self, dtypes):
        frame = self.frame(**dtypes)
        clean = self.frame().to_numpy().astype(float)
        np.testing.assert_array_equal(make().forward(frame), make().forward(clean))
        np.testing.assert_array_equal(make().forward(frame[::-1]), make().forward(clean[::-1]))

    def test_missing_numbers_are_nan(self):
        frame = self.frame(a="Int64", b="boolean")
        frame.loc[1, "a"] = None
        assert np.isnan(make().forward(frame)).any(axis=1).tolist() == [False, True, False, False]
        with pytest.raises(ValueError, match=r"X: .*nan in row 1, column 'a'"):
            make().fit(frame, [0, 1, 2, 0], loss="cross_entropy", verbose=0)

    @pytest.mark.parametrize("dtype", ["str", "category", "M8[ns]", "m8[ns]", "complex", "object"])
    def test_other_columns_are_named(self, dtype):
        with pytest.raises(TypeError, match=r"X: .*'b'"):
            make().forward(self.frame(b=dtype))

    @pytest.mark.parametrize("out", [1, 3])
    def test_no_columns(self, out):
        nothing = self.frame()[[]]
        for model in (make(out), fnn.Sequential([fnn.Dense(out)])):
            with pytest.raises(ValueError, match=r"^X: .*one column, got shape \(4, 0\)"):
                model.forward(nothing)
        with pytest.raises(ValueError, match=r"^y: .*got (shape )?\(4, 0\)"):
            make(out).fit(self.frame(), nothing, loss="mse", verbose=0)

    def test_series_of_labels(self):
        labels = self.frame()["c"] * 2
        expected = make().build(3).evaluate(self.frame(), labels.to_numpy(), loss="cross_entropy")
        for dtype in ("Int64", "UInt8", "Float32"):
            y = labels.astype(dtype)
            assert make().evaluate(self.frame(), y, loss="cross_entropy") == expected
        y.iloc[2] = None
        with pytest.raises(ValueError, match=r"y: .*nan in row 2"):
            make().evaluate(self.frame(), y, loss="cross_entropy")


class OnlyDLPack:
    """As arrays of the array API standard: no __array__."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **keywords):
        return self.array.__dlpack__(**keywords)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


@pytest.mark.once
class TestDLPack:
    @pytest.mark.parametrize("kind", ["float16", "float32", "int64", "bool"])
    def test_in_place(self, kind):
        X = np.eye(4, 3).astype(kind)
        given = OnlyDLPack(X[::2, ::-1])
        np.testing.assert_array_equal(make().forward(given), make().forward(X[::2, ::-1]))

    def test_another_device(self):
        class Elsewhere(OnlyDLPack):
            def __dlpack_device__(self):
                return (2, 0)  # a GPU

            def __dlpack__(self, **keywords):
                raise BufferError("the data are on device 2")

        with pytest.raises(TypeError, match=r"X: .*device"):
            make().forward(Elsewhere(np.ones((2, 3))))

    def test_bfloat16(self):
        torch = pytest.importorskip("torch")
        with pytest.raises(TypeError, match=r"X: "):
            make().forward(torch.ones(2, 3, dtype=torch.bfloat16))


def test_torch():
    X = np.random.default_rng(0).normal(size=(4, 3))
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(make().forward(torch.tensor(X)), make().forward(X))
    with pytest.raises(TypeError, match=r"X: .*detach"):
        make().forward(torch.tensor(X, requires_grad=True))


class Sparse:
    """As scipy.sparse: no __array__, but toarray."""

    def toarray(self):
        return np.ones((2, 3))


@pytest.mark.parametrize(
    ("X", "error", "match"),
    [
        (np.ones(3), ValueError, r"X: expected 2 dimensions.*\(3,\).*reshape"),
        (np.ones((2, 3, 1)), ValueError, r"X: expected shape \(n, 3\).*\(2, 3, 1\)"),
        (1.0, ValueError, "X: expected 2 dimensions"),
        (None, TypeError, "X: expected real numbers"),
        (np.ones((2, 3), complex), TypeError, "X: expected real numbers, .*complex128"),
        (np.ones((2, 3), object), TypeError, "X: .*object"),
        ([["a", "b", "c"]], TypeError, "X: expected real numbers"),
        ([[1, 2, 3], [4, 5]], ValueError, "X: expected an array of numbers"),
        (np.ones((2, 3), "M8[s]"), TypeError, "X"),
        (np.ones((2, 3), "m8[s]"), TypeError, "X"),
        (np.ones((2, 3), [("a", "f8")]), TypeError, "X"),
        (np.ma.masked_array(np.ones((2, 3)), mask=True), TypeError, "X: .*mask"),
        (Sparse(), TypeError, "X: .*toarray"),
        ([[2**70, 1, 1]], TypeError, "X"),
        (np.ones((2, 12)), ValueError, "X: expected 3 columns, got .*12"),
        (np.ones((2, 0)), ValueError, r"X: expected at least one column, got shape \(2, 0\)"),
    ],
)
@pytest.mark.parametrize("use", ["forward", "fit"])
def test_impossible_features(X, error, match, use):
    model = make()
    with pytest.raises(error, match=match):
        if use == "forward":
            model.forward(X)
        else:
            model.fit(X, [0, 1], loss="cross_entropy", verbose=0)


def test_no_columns_for_a_new_model():
    for X in (np.ones((2, 0)), [[], []]):
        model = fnn.Sequential([fnn.Dense(1)])
        with pytest.raises(ValueError, match=r"^X: expected at least one column, got .*\(2, 0\)"):
            model.fit(X, [0, 1], loss="mse", verbose=0)


class TestFinite:
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_named_by_row_and_column(self, bad):
        X = np.ones((200_000, 3))  # more than one block
        X[150_001, 2] = bad
        y = np.zeros(len(X), int)
        with pytest.raises(ValueError, match=r"X: .*(nan|inf) in row 150001, column 2"):
            make().fit(X, y, loss="cross_entropy", verbose=0)

    def test_too_large_for_the_network(self):
        X = np.full((2, 3), 1e300)
        with pytest.raises(ValueError, match=r"finite float32 numbers, got 1e.300 in row 0"):
            make(dtype="float32").fit(X, [0, 1], loss="cross_entropy", verbose=0)

    def test_in_targets(self):
        with pytest.raises(ValueError, match=r"y: .*nan in row 1, column 0"):
            make(out=1).fit(np.ones((2, 3)), [1, np.nan], loss="mse", verbose=0)

    def test_validation(self):
        X = np.ones((2, 3))
        with pytest.raises(ValueError, match=r"validation_data\[0\]: .*nan in row 0"):
            make().fit(
                X, [0, 1], loss="cross_entropy", validation_data=(X * np.nan, [0, 1]), verbose=0
            )

    def test_forward_lets_nan_through(self):
        assert np.isnan(make().forward([[np.nan, 0, 0]])).all()


X6 = np.random.default_rng(0).normal(size=(6, 3))


def fitted(y, out=3, loss="cross_entropy", **keywords):
    model = make(out=out)
    model.fit(X6, y, loss=loss, verbose=0, **keywords)
    return model


class TestLabels:
    @pytest.mark.parametrize(
        "y",
        [
            [0, 2, 1, 0, 2, 1],
            np.array([0, 2, 1, 0, 2, 1], np.uint8),
            np.array([0, 2, 1, 0, 2, 1], np.float16),
            np.array([0, 2, 1, 0, 2, 1], ">i8"),
            np.array([0, 9, 2, 9, 1, 9, 0, 9, 2, 9, 1, 9], np.uint64)[::2],
            [0.0, 2.0, 1.0, -0.0, 2.0, 1.0],
        ],
    )
    def test_numbers_are_columns(self, y):
        expected = fitted([0, 2, 1, 0, 2, 1])
        model = fitted(y)
        np.testing.assert_array_equal(model.parameters, expected.parameters)
        np.testing.assert_array_equal(model.classes_, [0, 1, 2])
        assert model.predict(X6).dtype == np.int64

    def test_columns_without_examples(self):
        assert len(fitted([0] * 6).classes_) == 3

    @pytest.mark.parametrize(
        "y",
        [
            ["b", "a", "c", "b", "a", "c"],
            np.array(["zebra", "Ähre", "x"] * 2),
            np.array(["zebra", "Ähre", "x"] * 2, dtype=object),
        ],
    )
    def test_strings_map_as_in_scikit_learn(self, y):
        encoder = LabelEncoder().fit(np.asarray(y, dtype=str))
        expected = fitted(encoder.transform(np.asarray(y, dtype=str)))
        model = fitted(y)
        np.testing.assert_array_equal(model.parameters, expected.parameters)
        np.testing.assert_array_equal(model.classes_, encoder.classes_)
        np.testing.assert_array_equal(
            model.predict(X6), encoder.inverse_transform(expected.predict(X6))
        )
        assert model.evaluate(X6, y) == expected.evaluate(X6, encoder.transform(np.array(y, str)))

    @pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="NumPy has none")
    def test_strings_of_variable_width(self):
        names = np.array(["a", "a longer one", "c"] * 2)
        y = names.astype(np.dtypes.StringDType())
        expected, model = fitted(names), fitted(y, validation_split=0.5, metrics=[lambda t, p: 0])
        assert model.classes_.tolist() == expected.classes_.tolist() == names[:3].tolist()
        assert expected.evaluate(X6, y) == expected.evaluate(X6, names)
        parts = fnn.datasets.stratified_split(y, [0.5, 0.5])
        np.testing.assert_array_equal(parts, fnn.datasets.stratified_split(names, [0.5, 0.5]))
        y = np.array([*names[:5], np.nan], dtype=np.dtypes.StringDType(na_object=np.nan))
        with pytest.raises(ValueError, match=r"^y: expected a label .*, got nan in row 5; drop"):
            fitted(y)
        with pytest.raises(TypeError, match=r"^X: expected real numbers, got"):
            make().forward(names.astype(np.dtypes.StringDType()).reshape(2, 3))

    def test_bool(self):
        model = fitted([True, False] * 3, out=2)
        assert model.classes_.tolist() == [False, True] and model.predict(X6).dtype == bool
        np.testing.assert_array_equal(model.parameters, fitted([1, 0] * 3, out=2).parameters)
        assert fitted([True] * 6, out=2).classes_.tolist() == [False, True]

    def test_fixed_at_the_first_fit(self):
        model = fitted(["a", "b", "c"] * 2)
        model.fit(X6[:2], ["c", "a"], verbose=0)
        assert model.classes_.tolist() == ["a", "b", "c"]
        assert model.loss_and_grad(X6[:1], ["c"])[0] == model.loss_and_grad(X6[:1], [2])[0]
        with pytest.raises(ValueError, match=r"y: .*\(a, b, c\), got d in row 1"):
            model.fit(X6[:2], ["a", "d"], verbose=0)
        with pytest.raises(ValueError, match=r"y: expected labels of the classes .*, got bool"):
            model.evaluate(X6, [True] * 6)
        with pytest.raises(ValueError, match=r"0, 1, 2\), got string"):
            fitted([0, 1, 2] * 2).evaluate(X6, ["a"] * 6)

    def test_a_longer_unknown_label_is_not_truncated_to_a_known_one(self):
        with pytest.raises(ValueError, match="got bb"):
            fitted(["a", "b", "c"] * 2).evaluate(X6, ["bb"] * 6)

    def test_names_before_the_first_fit(self):
        with pytest.raises(ValueError, match="numbered by the first fit"):
            make().loss_and_grad(X6, ["a"] * 6, loss="cross_entropy")

    @pytest.mark.parametrize(
        ("y", "error", "match"),
        [
            (
                [0, 1, 2, 0, 1, 3],
                ValueError,
                r"y: expected .*0 to 2.* or 3 classes, got 4 .*3 in row 5; .*Dense\(4\)",
            ),
            ([0, 1, -1, 2, 1, 1], ValueError, r"y: .*, got 4 \(-1, 0, 1, 2\), with -1 in row 2; "),
            ([1, 5] * 3, ValueError, r"y: .*, got 2 \(1, 5\), .*\(2\), or name all .*classes=\["),
            ([0, 1, 0.5] * 2, ValueError, "got 0.5 in row 2"),
            ([0, np.nan, 1] * 2, ValueError, "got nan in row 1"),
            ([0, np.inf, 1] * 2, ValueError, "got inf in row 1"),
            (np.array([0, 2**64 - 1] * 3, np.uint64), ValueError, "in row 1"),
            ([0, 1], ValueError, r"y: expected 6 rows, as many as X has, got shape \(2,\)"),
            (1, ValueError, "y: expected 6 rows"),
            (["a", "b"] * 3, ValueError, r"y: expected 3 classes, got 2 \(a, b\); .*Dense\(2\)"),
            ([True, False] * 3, ValueError, r"y: .*, got 2 \(False, True\)"),
            ([b"a", b"b", b"c"] * 2, TypeError, "y: expected labels that are"),
            (np.array([0, "a", 2] * 2, object), TypeError, "y: .* got 0 in row 0 and 'a' in row 1"),
            ([1j] * 6, TypeError, "y"),
            (np.ones(6, "M8[s]"), TypeError, "y"),
            ([[0.5, 0.5, 0.5]] * 6, ValueError, "y: .*probabilities.* sum 1.5 in row 0"),
            ([[1.5, 0, -0.5]] * 6, ValueError, "y: .*probabilities.*minimum -0.5"),
            ([[0.5, 0.5]] * 6, ValueError, "y: expected shape"),
            ([[np.nan, 0, 1]] * 6, ValueError, "y: .*nan in row 0, column 0"),
        ],
    )
    def test_impossible(self, y, error, match):
        with pytest.raises(error, match=match):
            fitted(y)

    def test_rows_of_probabilities(self):
        one_hot = fitted(np.eye(3)[[0, 2, 1, 0, 2, 1]])
        np.testing.assert_allclose(
            one_hot.parameters, fitted([0, 2, 1, 0, 2, 1]).parameters, rtol=1e-12
        )
        assert one_hot.classes_ is None
        fitted(np.full((6, 3), 1 / 3, np.float16))
        fitted(np.eye(3, dtype=int)[[0, 1, 2] * 2])

    @given(
        y=hnp.arrays(
            st.sampled_from([np.float64, np.float32, np.int16, np.uint8, object, "U3", np.bool_]),
            hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=7),
        )
    )
    def test_anything_is_trained_on_or_refused_by_name(self, y):
        model = make()
        before = model.parameters.copy()
        try:
            model.fit(X6, y, loss="cross_entropy", epochs=1, verbose=0)
        except (ValueError, TypeError) as error:
            assert str(error).startswith("y: ")
            np.testing.assert_array_equal(model.parameters, before)
        else:
            assert len(y) == 6


class TestTargets:
    def test_one_output(self):
        y = np.arange(6.0)
        expected = fitted(y, out=1, loss="mse").parameters
        for same in (y[:, None], y.tolist(), y.astype(np.int32), y.astype(">f4")):
            np.testing.assert_array_equal(fitted(same, out=1, loss="mse").parameters, expected)

    @pytest.mark.parametrize("shape", [(6,), (6, 1), (1, 3), (3,), (6, 3, 1), (3, 6), ()])
    def test_nothing_else_broadcasts(self, shape):
        with pytest.raises(ValueError, match=r"y: expected"):
            fitted(np.ones(shape), out=3, loss="mse")

    @pytest.mark.parametrize("y", [["a"] * 6, [1j] * 6])
    def test_only_numbers(self, y):
        with pytest.raises(TypeError, match="y: expected real numbers"):
            fitted(y, out=1, loss="mse")


class TestWeights:
    @pytest.mark.parametrize(
        ("weights", "match"),
        [
            ({"sample_weight": [0] * 6}, "^sample_weight: .*got 6 weights of 0"),
            ({"class_weight": {0: 0, 1: 0, 2: 0}}, "^class_weight: .*got 0 as"),
            ({"class_weight": [0, 0, 0]}, "^class_weight: .*got 0 as"),
            ({"sample_weight": [1] + [0] * 5, "class_weight": {0: 0}}, "^class_weight: .*got 0 as"),
            (
                {"sample_weight": [0] * 6, "class_weight": "balanced"},
                "^sample_weight: .*got 6 weights of 0",
            ),
        ],
    )
    def test_nothing_is_left(self, weights, match):
        with pytest.raises(ValueError, match=match):
            fitted([0, 1, 2] * 2, **weights)
