"""Columns of tables: what kinds are found, and which numbers stand for their values."""

import datetime as dt
import json
import warnings
from decimal import Decimal

import numpy as np
import pytest

from pyfast_nn.tabular import recipe
from pyfast_nn.tabular.schema import Column, Input, Schema

pytestmark = pytest.mark.once

NAN = np.nan
LIBRARIES = ["pandas", "nullable", "arrow_types", "polars", "pyarrow"]

# Of each column: its values, its kind, different values, missing ones, and the numbers.
DAY = dt.datetime(2024, 2, 29, 13, 30)  # a Thursday
COLUMNS = {
    "whole": ([3, 1, None, 3], "number", 2, 1, [3, 1, NAN, 3]),
    "real": ([0.5, NAN, 1e300, -2.0], "number", 3, 1, [0.5, NAN, 1e300, -2]),
    "exact": ([Decimal("1.5"), None, Decimal("2"), Decimal("2")], "number", 2, 1, [1.5, NAN, 2, 2]),
    "flag": ([True, None, False, False], "category", 2, 1, [1, 2, 0, 0]),
    "text": (["b", "a", "a", "c"], "category", 3, 0, [1, 0, 0, 2]),
    "holes": (["b", None, "", " "], "category", 1, 3, [1, 0, 0, 0]),
    "figures": (["1.5", "-2", None, "1e3"], "number", 3, 1, [1.5, -2, NAN, 1000]),
    "codes": (["007", "1", "1", "2"], "category", 3, 0, [1, 0, 0, 2]),
    "span": ([dt.timedelta(hours=1), None, dt.timedelta(1), dt.timedelta(0)], "number", 3, 1,
             [3600, NAN, 86400, 0]),
    "same": ([7, 7, 7, 7], "constant", 1, 0, None),
}  # fmt: skip
DATES = {
    "day": [DAY.date(), None, dt.date(2024, 3, 1), dt.date(2025, 3, 1)],
    "time": [DAY, dt.datetime(2024, 2, 29, 0, 5), None, DAY],
}


def frame_of(library, values):
    pd = pytest.importorskip("pandas")
    if library == "pandas":
        return pd.DataFrame(values)
    if library == "nullable":
        return pd.DataFrame(values).convert_dtypes()
    if library == "polars":
        return pytest.importorskip("polars").DataFrame(values, strict=False)
    pa = pytest.importorskip("pyarrow")
    # NaN is a number of pyarrow's
    table = pa.table({name: pa.array(column) for name, column in values.items()})
    return table if library == "pyarrow" else table.to_pandas(types_mapper=pd.ArrowDtype)


def plain(schema):
    return Schema.described(json.loads(json.dumps(schema.description())))


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("library", [*LIBRARIES, "objects"])
def test_columns(library, name):
    values, kind, distinct, missing, numbers = COLUMNS[name]
    values = {name: values, "beside": [0, 1, 2, 3]}
    if library == "objects":
        X = np.array([*values.values()], object).T
        if name == "flag":
            assert X[0, 0] is True
    else:
        pytest.importorskip("narwhals")
        X = frame_of(library, values)
    schema, Z = Schema.learn(X)
    column = schema.columns[0]
    assert (column.kind, column.n_distinct, column.n_missing) == (kind, distinct, missing)
    expected = [[0, 1, 2, 3]] if numbers is None else [numbers, [0, 1, 2, 3]]
    np.testing.assert_array_equal(Z, np.array(expected, float).T)
    for same in (schema, plain(schema)):
        np.testing.assert_array_equal(same.encode(X), Z)
        assert same.inputs == schema.inputs and len(same.inputs) == Z.shape[1]
    assert schema.names == (None if library == "objects" else [name, "beside"])


@pytest.mark.parametrize("library", [*LIBRARIES, "objects"])
def test_dates(library):
    values = DATES | {"beside": [0, 1, 2, 3]}
    X = np.array([*values.values()], object).T if library == "objects" else None
    if library != "objects":
        pytest.importorskip("narwhals")
        X = frame_of(library, values)
    title = "column 0" if library == "objects" else "column 'day'"
    with pytest.raises(TypeError, match=f"X: expected numbers and texts, got dates in {title}; "):
        Schema.learn(X)
    with pytest.raises(ValueError, match=r"dates: expected one of parts, got 'all'"):
        Schema.learn(X, "all")
    schema, Z = Schema.learn(X, "parts")
    # Hours of a day are all 0, and years and months of the times are the same.
    assert [column.parts for column in schema.columns[:2]] == [
        ["year", "month", "day", "weekday"],
        ["hour"],
    ]
    by_hand = [[2024, 2, 29, 3, 13], [NAN, NAN, NAN, NAN, 0], [2024, 3, 1, 4, NAN],
               [2025, 3, 1, 5, 13]]  # fmt: skip
    np.testing.assert_array_equal(Z, np.column_stack([by_hand, np.arange(4)]))
    np.testing.assert_array_equal(plain(schema).encode(X), Z)
    first = "column 0" if library == "objects" else "day"
    assert schema.input_names[:2] == [f"{first}.year", f"{first}.month"]


def test_times_are_those_of_the_clock_on_the_wall():
    pd = pytest.importorskip("pandas")
    pytest.importorskip("narwhals")
    times = pd.to_datetime(["2024-01-01 23:30", "2024-01-01 01:30"]).tz_localize("Europe/Berlin")
    schema, Z = Schema.learn(pd.DataFrame({"t": times}), "parts")
    assert schema.columns[0].parts == ["hour"]
    np.testing.assert_array_equal(Z, [[23], [1]])


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_categorical_types_are_categories(library):
    pytest.importorskip("narwhals")
    if library == "pandas":
        pd = pytest.importorskip("pandas")
        X = pd.DataFrame({"c": pd.Categorical([10, 2, None, 2])})
    elif library == "polars":
        pl = pytest.importorskip("polars")
        X = pl.DataFrame({"c": pl.Series(["10", "2", None, "2"]).cast(pl.Categorical)})
    else:
        pa = pytest.importorskip("pyarrow")
        X = pa.table({"c": pa.array(["10", "2", None, "2"]).dictionary_encode()})
    schema, Z = Schema.learn(X)
    assert schema.columns[0].categories == ["2", "10", None]
    np.testing.assert_array_equal(Z, [[1], [0], [2], [0]])
    as_numbers = np.array([[2.0], [10], [NAN], [3]])  # as another reader may have it
    np.testing.assert_array_equal(schema.encode(as_numbers), [[0], [1], [2], [NAN]])


def test_rare_categories_share_the_last_code():
    rows = ["b"] * 5 + ["a"] * 5 + ["c"] * 3 + ["d", "e", "e", None]
    schema, Z = Schema.learn(np.array([rows], object).T)
    assert recipe.RARE_BELOW == 3
    assert schema.columns[0] == Column("category", 5, 1, ["a", "b", "c"], True)
    np.testing.assert_array_equal(Z[:, 0], [1] * 5 + [0] * 5 + [2] * 3 + [3] * 4)
    new = np.array([["z"], [None], ["c"]], object)
    np.testing.assert_array_equal(schema.encode(new), [[3], [3], [2]])
    assert schema.inputs == [Input(0, 4, False, 5)]
    assert schema.describe()[0]["encoded"] == "4 codes, rare ones share the last"


def test_whole_numbers_of_many_rows_each_have_codes_besides():
    rows = np.array([10.0] * 6 + [-5] * 8 + [7] * 5 + [8] * 1 + [NAN] * 2)
    schema, Z = Schema.learn(rows[:, None])
    assert schema.columns[0] == Column("number", 4, 2, ["-5", "10", "7"], True)
    assert schema.inputs == [Input(0, 0, True, 4), Input(0, 4, False, 4, again=True)]
    assert schema.input_names == ["column 0", "column 0"]
    assert schema.describe()[0]["encoded"] == "as it is, missing flagged, also 4 codes"
    np.testing.assert_array_equal(Z[:, 0], rows)
    codes = [1] * 6 + [0] * 8 + [2] * 5 + [3] + [NAN] * 2
    np.testing.assert_array_equal(Z[:, 1], codes)
    new = schema.encode(np.array([[7.0], [9], [NAN], [-5.5], [-5]]))
    np.testing.assert_array_equal(new, [[7, 2], [9, 3], [NAN, NAN], [-5.5, 3], [-5, 0]])


@pytest.mark.parametrize(
    "column",
    [
        [0.0, 1] * 20,  # two values: a number says it all
        [0.0, 1, 2.5] * 20,
        [*range(10)] * 4,  # too few rows of each
        [0.0, 2**53, 5] * 20,
    ],
)
def test_other_numbers_have_none(column):
    schema, Z = Schema.learn(np.array(column)[:, None])
    assert schema.columns[0].categories == [] and Z.shape[1] == 1


def test_codes_do_not_depend_on_the_order_of_rows(rng):
    rows = np.array([[*"aaaabbbbccccddde"]], object).T
    schema, _ = Schema.learn(rows)
    for _ in range(5):
        other, _ = Schema.learn(rng.permutation(rows))
        assert other.columns == schema.columns


def test_names_of_rows_are_left_out(rng):
    n = 100
    ids = [f"row {i}" for i in range(n)]
    X = np.array([ids, rng.standard_normal(n)], object).T
    with pytest.warns(UserWarning, match="X: column 0 is left out, .* 100 different ones in 100"):
        schema, Z = Schema.learn(X)
    assert schema.columns[0].kind == "identifier" and Z.shape == (n, 1)
    assert schema.encode(np.array([["what", 1.5]], object)).tolist() == [[1.5]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        few, _ = Schema.learn(X[:20])  # so few may be categories
        numbers, _ = Schema.learn(np.arange(n)[:, None])  # and numbers are numbers
    assert few.columns[0].kind == "category" and numbers.columns[0].kind == "number"


def test_columns_without_a_value_are_left_out():
    with pytest.warns(UserWarning, match="X: column 1 is left out, as it has no value in any row"):
        schema, Z = Schema.learn(np.array([[1.0, NAN], [2, NAN]]))
    assert schema.columns[1] == Column("empty", 0, 2) and Z.tolist() == [[1], [2]]
    assert schema.encode([[3, 5]]).tolist() == [[3]]
    with (
        pytest.warns(UserWarning),
        pytest.raises(ValueError, match=r"X: expected a column with different .*0 \(empty\)"),
    ):
        Schema.learn(np.full((3, 1), NAN))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint64", "bool"])
def test_arrays_of_numbers(dtype):
    X = np.array([[1, 0], [0, 0], [1, 1]]).astype(dtype)[:, ::-1]
    schema, Z = Schema.learn(X)
    assert [column.kind for column in schema.columns] == ["number", "number"]
    assert Z.dtype == np.float64
    np.testing.assert_array_equal(Z, X)


def test_lists_and_arrays_of_text():
    X = [[1, "a", NAN], [2, "b", 0.5], [3, "b", None]]
    expected = [[1, 1, NAN], [2, 0, 0.5], [3, 0, NAN]]
    schema, Z = Schema.learn(X)
    np.testing.assert_array_equal(Z, expected)
    texts = np.array([["1", "a", ""], ["2", "b", "0.5"], ["3", "b", " "]])
    np.testing.assert_array_equal(schema.encode(texts), expected)
    np.testing.assert_array_equal(Schema.learn(texts)[1], expected)


def test_description_in_words():
    X = [[1, "a", 5], [None, "b", 5], [2, "b", 5]]
    text = str(Schema.learn(X)[0].describe())
    assert text.splitlines() == [
        "column  kind      distinct  missing  encoded",
        "     0  number           2        1  as it is, missing flagged",
        "     1  category         2        0  2 codes",
        "     2  constant         1        0  left out",
    ]


# ---------------------------------------------------------------------------- wrong tables


WRONG = {
    "1-d": ([1, 2, 3], ValueError, r"X: expected 2 dimensions .* got shape \(3,\); one row is"),
    "a name": ("a.csv", TypeError, r"X: expected a DataFrame .*, got 'a.csv' \(str\); pandas"),
    "a dict": ({"a": [1, 2]}, TypeError, "X: expected a DataFrame or an array"),
    "mixed": ([["a"], [5]], TypeError, "got 'a' in row 0 and 5 in row 1 of column 0; make"),
    "infinite": ([[1.0], [np.inf]], ValueError, "got inf in row 1, column 0"),
    "infinite text": ([["1"], ["1e999"]], ValueError, "got inf in row 1, column 0"),
    "lists": ([[1, {}], [2, {}]], TypeError, r"got \{\} \(dict\) in row 0, column 1; leave"),
    "bytes": ([[b"a"], [b"b"]], TypeError, r"got (b'a'|an array of dtype \|S1)"),
    "complex": (np.array([[1j]]), TypeError, "got an array of dtype complex128"),
    "no rows": (np.zeros((0, 2)), ValueError, "X: expected at least one row"),
    "all the same": ([[1, 2], [1, 2]], ValueError, r"X: expected a column with different values"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_tables(case):
    X, error, match = WRONG[case]
    with pytest.raises(error, match=match) as raised:
        Schema.learn(X)
    assert "\n" not in str(raised.value)


def test_wrong_tables_when_it_predicts(rng):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("narwhals")
    X = pd.DataFrame({"a": [1.0, 2, 3], "b": ["x", "y", "y"], "c": [*"xyz"]})
    schema, Z = Schema.learn(X)
    np.testing.assert_array_equal(schema.encode(X[["c", "a", "b"]]), Z)
    np.testing.assert_array_equal(schema.encode(X.to_numpy()), Z)
    for wrong, error, match in (
        (X[["a", "b"]], ValueError, "expected the 3 columns .*, got 2, without 'c'"),
        (X.assign(d=1), ValueError, "expected the 3 columns .*, got 4, with 'd'"),
        (X.rename(columns={"a": "A"}), ValueError, "without 'a', with 'A'"),
        (X.to_numpy()[:, :2], ValueError, "X: expected 3 columns, as in training, got 2"),
        (X.assign(a=["1", "2", "?"]), TypeError, r"expected numbers in column 'a'.*'\?' in row 2"),
        (X.assign(a=pd.Timestamp("2020-01-01")), TypeError, "expected numbers in column 'a'"),
        (X.assign(a=np.inf), ValueError, "got inf in row 0, column 'a'"),
        (X.assign(a=["1", "2", "1e999"]), ValueError, "got inf in row 2, column 'a'"),
    ):
        with pytest.raises(error, match=match):
            schema.encode(wrong)
    as_text = schema.encode(X.assign(a=["1", " 2 ", None]))
    np.testing.assert_array_equal(as_text[:, 0], [1, 2, NAN])


def test_frames_that_are_none():
    pytest.importorskip("narwhals")
    pl, pd = pytest.importorskip("polars"), pytest.importorskip("pandas")
    with pytest.raises(TypeError, match=r"got a LazyFrame; use X.collect\(\)"):
        Schema.learn(pl.LazyFrame({"a": [1, 2]}))
    with pytest.raises(TypeError, match="X: expected columns whose names are all strings"):
        Schema.learn(pd.DataFrame({"a": [1, 2], 5: [1, 2]}))
    with pytest.raises(TypeError, match=r"in row 0, column 'a'; leave that column out"):
        Schema.learn(pl.DataFrame({"a": [[1], [2]]}))
    unnamed = pd.DataFrame(np.array([[1, 2], [3, 4]]))
    assert Schema.learn(unnamed)[0].names is None


def test_inputs_are_left_alone():
    pd = pytest.importorskip("pandas")
    pytest.importorskip("narwhals")
    X = pd.DataFrame({"a": [1.0, NAN, 3], "b": ["x", None, "y"]})
    before = X.copy()
    _, Z = Schema.learn(X)
    Z[...] = 0
    pd.testing.assert_frame_equal(X, before)
    numbers = np.array([[1.0], [2]])
    Schema.learn(numbers)[1][...] = 0
    assert numbers.tolist() == [[1], [2]]
