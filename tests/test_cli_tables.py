"""`pyfast-nn` on tables: what is read, learned and written, and one line for each mistake."""

import gzip
import re
import subprocess
import sys

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

import pyfast_nn as fnn
from pyfast_nn.cli import main, tables

pytestmark = pytest.mark.once

pa = pytest.importorskip("pyarrow")
pytest.importorskip("narwhals")
csv, feather, parquet = (
    pytest.importorskip(f"pyarrow.{name}") for name in ("csv", "feather", "parquet")
)


def run(capfd, *arguments):
    """Run `pyfast-nn` here; return (exit code, stdout, stderr)."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as exit:
        code = exit.code
    return code, *capfd.readouterr()


@pytest.fixture(autouse=True)
def _restore(restore_threads, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def houses(n=400, seed=0):
    """A table with numbers, text and holes, a number to predict and a class."""
    rng = np.random.default_rng(seed)
    size = rng.normal(100, 30, n).round(1)
    city = rng.choice(["Graz", "Linz", "Wien"], n)
    built = rng.integers(1900, 2020, n).astype(float)
    price = 3 * size + np.where(city == "Wien", 200, 0) + rng.normal(0, 5, n)
    return pa.table(
        {
            "size": size,
            "city": city,
            "built": pa.array(built, mask=rng.random(n) < 0.2),
            "block": rng.integers(0, 40, n),
            "price": price.round(2),
            "dear": np.where(price > 350, "yes", "no"),
        }
    )


def write(table, name):
    if name.endswith(".parquet"):
        parquet.write_table(table, name)
    elif name.endswith((".arrow", ".feather")):
        feather.write_feather(table, name, compression="uncompressed")
    else:
        separator = "\t" if ".tsv" in name else ","
        csv.write_csv(table, name, csv.WriteOptions(delimiter=separator))
        if name.endswith(".gz"):
            with open(name, "rb") as file:
                raw = file.read()
            with gzip.open(name, "wb") as file:
                file.write(raw)


def read(name, **form):
    remarks = []
    return tables.read(name, tables.Form(**form), lambda names: names, remarks), remarks


def read_text(written, **form):
    with open("t.csv", "w", encoding=form.get("encoding", "utf-8")) as file:
        file.write(written)
    return read("t.csv", **form)


# ---------------------------------------------------------------------- what is read


class TestRead:
    ENDINGS = ("csv", "tsv", "csv.gz", "tsv.gz", "parquet", "arrow", "feather")

    @pytest.mark.parametrize("ending", ENDINGS)
    def test_all_kinds_of_files_have_the_same(self, ending):
        table = houses(50)
        write(table, f"t.{ending}")
        found, remarks = read(f"t.{ending}")
        assert found.to_pydict() == table.to_pydict() and remarks == []

    def test_kinds_of_columns(self):
        text = (
            "whole,float,text,code,date,time,flag,none\n"
            "1,1.5,a,007,2024-01-31,2024-01-31 12:00:05,true, \n"
            " +2 ,-.5e3, b c ,010,2024-02-01,2024-01-31T12:00,false,NA\n"
        )
        table, _ = read_text(text)
        assert table.to_pydict()["whole"] == [1, 2] and table.to_pydict()["float"] == [1.5, -500]
        assert table["text"].to_pylist() == ["a", "b c"]
        assert table["code"].to_pylist() == ["007", "010"]
        kinds = dict(zip(table.column_names, map(str, table.schema.types), strict=True))
        assert kinds == {
            **{"whole": "int64", "float": "double", "text": "string", "code": "string"},
            **{"date": "timestamp[us]", "time": "timestamp[us]", "flag": "string", "none": "null"},
        }

    def test_missing(self):
        table, _ = read_text("a,b\n1,x\n NA ,\nnan,null\n4,  \n")
        assert table["a"].to_pylist() == [1, None, None, 4]
        assert table["b"].to_pylist() == ["x", None, None, None]
        table, _ = read_text("a\n1\n?\n-9\n", missing=("?", "-9"))
        assert table["a"].to_pylist() == [1, None, None]

    def test_what_looks_like_numbers_may_be_text(self):
        table, _ = read_text("a,b\n1,1\n12b,2\n3,3\n", text=("a", "b"))
        assert table["a"].to_pylist() == ["1", "12b", "3"] and table["b"].to_pylist() == [*"123"]

    def test_separator_and_decimal(self):
        table, _ = read_text("a;b\n1,5;x,y\n-2;z\n", separator=";", decimal=",")
        assert table.to_pydict() == {"a": [1.5, -2], "b": ["x,y", "z"]}

    @pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-8-sig", "utf-8"])
    def test_encoding(self, encoding):
        table, _ = read_text("größe,b\n1,é\n", encoding=encoding)
        assert table.to_pydict() == {"größe": [1], "b": ["é"]}
        if encoding == "utf-8-sig":  # as Excel writes it
            assert read("t.csv")[0].column_names == ["größe", "b"]

    def test_quotes(self):
        table, _ = read_text('"a,b",c\n"x\ny","1"\n"say ""z""",2\n')
        assert table.to_pydict() == {"a,b": ["x\ny", 'say "z"'], "c": [1, 2]}

    def test_names_of_rows_are_left_out(self):
        table, remarks = read_text('"",a\n1,5\n2,6\n')
        assert table.to_pydict() == {"a": [5, 6]} and "column 1 has no name" in remarks[0]

    def test_types_of_parquet(self):
        columns = {
            "category": pa.array(["a", "b"]).dictionary_encode(),
            "decimal": pa.array([1, 2], pa.decimal128(5, 2)),
            "large": pa.array(["a", None], pa.large_string()),
            "half": pa.array(np.array([1, 2], np.float16)),
        }
        parquet.write_table(pa.table(columns), "t.parquet")
        found, _ = read("t.parquet")
        assert [str(kind) for kind in found.schema.types] == [
            *("string", "double", "string", "double"),
        ]
        assert found.to_pydict() == {
            **{"category": ["a", "b"], "decimal": [1, 2]},
            **{"large": ["a", None], "half": [1, 2]},
        }

    def test_names_in_a_list(self):
        assert tables.names('a, b ,"c,d"') == ("a", "b", "c,d")
        assert tables.names("") == ()


# ---------------------------------------------------------------------- mistakes

ROWS = "".join(f"{i},{i % 7 / 4},{'ab'[i % 2]}\n" for i in range(60))
FILES = {
    "good.csv": f"a,b,c\n{ROWS}",
    "semicolons.csv": "a;b;c\n1;2;3\n",
    "tabs.csv": "a\tb\tc\n1\t2\t3\n",
    "commas.tsv": "a,b,c\n1,2,3\n",
    "empty.csv": "",
    "blank.csv": "\n\n",
    "header.csv": "a,b,c\n",
    "twice.csv": "a,b,a\n1,2,3\n",
    "rows.csv": "a,b\n1,2\n3,4\n5,6,7\n",
    "data.csv": f"5.1,3.5,setosa\n{ROWS}",
    "none.csv": "a,b\n1,\n2,NA\n3, \n",
    "one.csv": "a,b,c\n" + "1,x,5\n2,x,5\n" * 9,
    "mixed.csv": "a,b\n1,x\n2,y\n3,x\nunknown,y\n5,x\n?,x\n",
    "german.csv": 'a,b\n"1,5",x\n"2,25",y\n3,x\n',
    "ids.csv": "id,a\n" + "".join(f"name {i},{i % 5}\n" for i in range(60)),
    "dates.csv": "day,a,c\n"
    + "".join(f"2024-01-{i + 1:02},{i},{'xy'[i % 2]}\n" for i in range(30)),
    "alone.csv": "a\n1\n2\n",
    "groups.csv": "g,a,c\n"
    + "".join(f"{'' if i == 7 else i % 5},{i},x{i % 2}\n" for i in range(60)),
    "two.csv": "g,a,c\n" + "".join(f"{i % 2},{i},x{i % 2}\n" for i in range(60)),
    "text.parquet": "no Parquet",
    "text.arrow": "no Arrow",
    "notes.txt": "a,b\n1,2\n",
    "infinite.csv": "a,b\n" + "".join(f"{i},{i / 7}\n" for i in range(30)) + "1,1e999\n",
}

MISTAKES = [
    ("good.csv", "--target: expected the column to predict, got none; columns are 'a', 'b', 'c'"),
    ("good.csv --target C", "--target: expected a column of the table, got 'C'; did you mean c?"),
    ("good.csv --target z", "got 'z'; columns are 'a', 'b', 'c'"),
    ("data.csv --target species", "the first line of the file is to hold the names of the columns"),
    ("good.csv --target c --exclude x", "--exclude: expected a column of the table, got 'x'"),
    ("good.csv --target c --group x", "--group: expected a column of the table, got 'x'"),
    ("good.csv --target c --text x", "--text: expected a column of the table, got 'x'"),
    ("good.csv --target c --exclude b,c", "--exclude: expected columns beside the --target, got"),
    ("good.csv --target c --group c", "--group: expected a column of its own, got the --target"),
    ("good.csv --target c --exclude a --group a", "got the one of --exclude, 'a'"),
    ("good.csv --target c --exclude a,b", "expected columns to learn from beside 'c', got none"),
    ("alone.csv --target a", "expected columns to learn from beside 'a', got none"),
    ("semicolons.csv --target a", "got one column 'a;b;c'; --separator ';' reads it"),
    ("tabs.csv --target a", r"got one column 'a\tb\tc'; --separator '\t' reads it"),
    ("commas.tsv --target a", "separated by tabs, got one column 'a,b,c'; --separator ',' reads"),
    ("good.csv --target a --separator ;", "separated by semicolons, got one column 'a,b,c'; --sep"),
    ("good.csv --target a --separator ab", "--separator: expected one character"),
    ("empty.csv --target a", "empty.csv: expected a table, got an empty file"),
    ("blank.csv --target a", "blank.csv: expected names of columns in the first line, got none"),
    ("header.csv --target a", "header.csv: expected rows below the names of the columns, got none"),
    ("twice.csv --target a", "twice.csv: expected columns of different names, got 'a' twice"),
    ("rows.csv --target a", "expected 2 columns in every row, got 3 in row 2, '5,6,7'"),
    ("none.csv --target b", "--target b: expected a value to learn, got none in any of 3 rows"),
    ("one.csv --target b", "--target b: expected at least 2 classes, got x in every row"),
    ("one.csv --target c", "--target c: expected different values, got 5 in every row"),
    ("mixed.csv --target b", "column 'a': expected numbers or text, got both: 4 numbers, and "),
    (
        "mixed.csv --target b",
        "'unknown' in row 3 (2 such); --missing unknown if it means a missing",
    ),
    ("mixed.csv --target b", "--text a if all are text"),
    ("german.csv --target b", "column 'a': expected numbers such as 1.5, got '1,5' in row 0; "),
    ("german.csv --target b", "--decimal , reads it"),
    (
        "ids.csv --target id",
        "--target id: expected labels that are those of several rows each, got",
    ),
    ("ids.csv --target id", "60 different ones in 60 rows, such as 'name 0'; choose another"),
    ("ids.csv --target id --task regression", "--target id: expected numbers for --task regress"),
    ("good.csv --target a --task classification", "60 different ones in 60 rows, such as 0"),
    ("good.csv --target b --task classification", "--target b: expected whole numbers"),
    ("dates.csv --target day", "--target day: expected labels or numbers, got dates"),
    ("dates.csv --target c", "column 'day': expected numbers or text, got dates; --dates parts"),
    ("infinite.csv --target b", "--target b: expected finite"),
    (
        "groups.csv --target c --group g",
        "--group g: expected a value in every row, got none in row",
    ),
    ("two.csv --target c --group g", "--group g: expected several groups, got 2"),
    (
        "latin.csv --target a",
        "latin.csv: expected text in utf-8, got bytes that are none; --encoding",
    ),
    (
        "latin_below.csv --target a",
        "expected text in utf-8, got bytes that are none; --encoding la",
    ),
    ("wide.csv --target a", "got bytes that are none; --encoding utf-16"),
    ("good.csv --target a --encoding klingon", "--encoding: expected one that Python knows"),
    ("packed.csv.gz --target a", "packed.csv.gz: expected an intact .gz file"),
    ("text.parquet --target a", "text.parquet: expected a Parquet file, got another kind"),
    ("text.arrow --target a", "text.arrow: expected an Arrow or Feather file, got another kind"),
    ("lists.parquet --target b", "got list<element: int64> in column 'a'"),
    (
        "good.parquet --target c --separator ;",
        "--separator: expected a text file (.csv, .tsv), got",
    ),
    ("good.parquet --target c --text a", "--text: expected a text file"),
    ("notes.txt --target a", "got .txt; save the table as .csv"),
    ("missing.csv --target a", "missing.csv: No such file"),
    ("folder.csv --target a", "folder.csv: Is a directory"),
    ("good.csv commas.tsv --target a", "got .csv; a table comes alone"),
    ("digits --target a", "--target: expected a table, got digits"),
    ("digits --model tabular", "--model: expected mlp or lenet for arrays, got tabular"),
    ("good.csv --target c --model lenet", "--model: expected tabular or mlp for a table"),
    ("digits --separator ;", "--separator: expected a table, got digits"),
    (
        "good.csv --target c --epochs 3",
        "--epochs: expected --model mlp, or data of arrays, got --m",
    ),
    ("good.csv --target c --residual", "--residual: expected --model mlp"),
    ("good.csv --target c --no-standardize", "--standardize: expected --model mlp"),
    ("good.csv --target c --model mlp --time-limit 3", "--time-limit: expected --model tabular"),
    ("good.csv --target c --time-limit 0", "--time-limit: expected"),
    ("good.csv --target a --class-weight balanced", "--class-weight: expected labels"),
    ("good.csv --target a --model mlp --val 0", "--val: expected examples, of whose errors"),
    ("good.csv --target c --model forest", "invalid choice"),
    ("good.csv --target c --test 0 --report r", "--report: expected examples for the test"),
    ("good.csv --target c --report no/such/r", "--report: cannot make 'no/such/r': there is no"),
    ("good.csv --target c --report notes.txt", "--report: expected the name of a folder, got"),
    (
        "good.csv --target c --report theirs",
        "--report: expected a new file, got 'theirs/index.html'",
    ),
]


@pytest.fixture
def mistaken(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "latin.csv").write_bytes("größe,a\n1,2\n".encode("latin-1"))
    (tmp_path / "latin_below.csv").write_bytes("b,a\n1,2\né,2\n".encode("latin-1"))
    (tmp_path / "wide.csv").write_bytes("a,b\n1,2\n".encode("utf-16"))
    (tmp_path / "packed.csv.gz").write_text("a,b\n1,2\n")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "index.html").write_text("<p>mine")
    parquet.write_table(pa.table({"a": [[1], [2]], "b": [1, 2]}), tmp_path / "lists.parquet")
    parquet.write_table(csv.read_csv(tmp_path / "good.csv"), tmp_path / "good.parquet")


def assert_one_line(result, match):
    code, text, err = result
    assert code == 2, (text, err)
    assert err.startswith("pyfast-nn: error: ") and err.count("\n") == 1 and err.endswith("\n"), err
    assert match in err and text == "", err


@pytest.mark.parametrize(("arguments", "match"), MISTAKES)
def test_a_mistake_ends_with_one_line(arguments, match, mistaken, capfd, tmp_path):
    assert_one_line(run(capfd, "train", *arguments.split()), match)
    assert not (tmp_path / "model.safetensors").exists()


@given(
    raw=st.binary(max_size=80)
    | st.text("ab01.,;\"'\n\r\t \0é-:TN", max_size=80).map(str.encode)
    | st.lists(st.text('ab01.,"-e', max_size=5), max_size=20).map(lambda x: "\n".join(x).encode()),
    ending=st.sampled_from(["csv", "tsv", "csv.gz", "parquet", "feather"]),
    decimal=st.sampled_from(".,"),
)
def test_whatever_is_in_a_file_it_is_a_table_or_one_line(raw, ending, decimal):
    name = f"any.{ending}"
    with open(name, "wb") as file:
        file.write(gzip.compress(raw) if ending.endswith("gz") else raw)
    try:
        table, _ = read(name, decimal="." if ending in ("parquet", "feather") else decimal)
    except (ValueError, TypeError, OSError) as error:
        assert len(str(error)) > 10
        return
    assert table.num_rows > 0 and table.num_columns > 0
    for kind in table.schema.types:
        assert str(kind) in ("int64", "double", "string", "timestamp[us]", "null")


# ---------------------------------------------------------------------- what is learned

QUICK = ("--time-limit", "0.5")  # how much is learned depends on the machine
ONE = ("--model", "mlp", "--hidden", "16", "--epochs", "30", "--lr", "0.01")


def train(capfd, data, target, *options):
    code, text, err = run(capfd, "train", data, "--target", target, "--force", *options)
    assert code == 0, err
    return text, err


def rows_of_test(n=400, labels=None):
    """The rows that are kept apart for the test."""
    strata = np.zeros(n) if labels is None else np.asarray(labels)
    return fnn.datasets.stratified_split(strata, [0.8, 0.2], seed=0)[1]


class TestTrain:
    @pytest.mark.parametrize("ending", ["csv", "parquet"])
    def test_numbers(self, ending, capfd):
        table = houses()
        write(table, f"t.{ending}")
        text, err = train(capfd, f"t.{ending}", "price", "--exclude", "dear", *QUICK)
        assert "400 rows, 4 columns, 1 number to predict; 320 train, 80 test" in text
        assert re.search(r"'price' has \d+ different numbers: a regression\n", text) and err == ""
        scores = map(float, re.search(r"test R2 +(\S+) +MAE (\S+) +RMSE (\S+)", text).groups())
        X, y = table.drop_columns(["price", "dear"]), table["price"].to_numpy()
        rows = rows_of_test()
        predictions = fnn.tabular.load("model.safetensors").predict(X.take(rows))
        expected = (
            sklearn.metrics.r2_score(y[rows], predictions),
            sklearn.metrics.mean_absolute_error(y[rows], predictions),
            sklearn.metrics.root_mean_squared_error(y[rows], predictions),
        )
        np.testing.assert_allclose(list(scores), expected, rtol=1e-5)

    def test_classes(self, capfd):
        table = houses()
        write(table, "t.csv")
        text, err = train(capfd, "t.csv", "dear", "--exclude", "price", *QUICK)
        assert "'dear' has 2 labels: a classification" in text and err == ""
        y = np.array(table["dear"].to_pylist())
        rows = rows_of_test(labels=y)
        X = table.drop_columns(["price", "dear"]).take(rows)
        model = fnn.tabular.load("model.safetensors")
        right = np.mean(model.predict(X) == y[rows])
        assert f"test accuracy {right:15.2%}" in text
        loss = sklearn.metrics.log_loss(y[rows], model.predict_proba(X))
        auc = sklearn.metrics.roc_auc_score(y[rows], model.predict_proba(X)[:, 1])
        assert f"log loss {loss:.6g}   AUC {auc:.6g}" in text
        matrix = sklearn.metrics.confusion_matrix(y[rows], model.predict(X))
        shown = re.findall(r"^(no|yes) +(\d+) +(\d+)$", text, re.MULTILINE)
        assert [[int(n) for n in row[1:]] for row in shown] == matrix.tolist()

    def test_one_network_goes_on_from_a_checkpoint(self, capfd):
        write(houses(), "t.csv")
        arguments = ("t.csv", "dear", "--exclude", "price", "--model", "mlp", "--hidden", "8")
        for epochs in (3, 6):
            own = ("--epochs", epochs, "--checkpoint", "run", "--plot", "c.svg")
            text, err = train(capfd, *arguments, *own, "--class-weight", "balanced")
        assert "goes on after epoch 3 of 6" in err and "learning curves      c.svg" in text
        assert fnn.tabular.load("model.safetensors").networks[0].epochs_trained == 6

    @pytest.mark.parametrize(("target", "exclude"), [("price", "dear"), ("dear", "price")])
    def test_one_network(self, target, exclude, capfd):
        write(houses(), "t.csv")
        text, _ = train(capfd, "t.csv", target, "--exclude", exclude, *ONE, "--patience", 30)
        assert "280 train, 40 validation, 80 test" in text and "Dense(16)" in text
        assert re.search(r"best epoch +\d+ of 30\n", text)
        model = fnn.tabular.load("model.safetensors")
        assert len(model.networks) == 1 and model.networks[0].epochs_trained == 30
        score = re.search(r"test (?:R2 +(\S+)|accuracy +(\S+)%) ", text)
        assert float(score[1] or score[2]) > (0.8 if target == "price" else 80)

    def test_the_task(self, capfd):
        rng = np.random.default_rng(0)
        table = pa.table(
            {
                "x": rng.normal(size=200),
                "stars": rng.integers(1, 6, 200),
                "count": rng.integers(0, 90, 200),
                "flag": rng.random(200) < 0.5,
            }
        )
        write(table, "t.parquet")
        said = {
            "stars": "'stars' has 5 different numbers: a classification (--task regression takes",
            "count": "different numbers: a regression (--task classification takes them as labels)",
            "flag": "'flag' has 2 labels: a classification",
        }
        for target, words in said.items():
            text, _ = train(capfd, "t.parquet", target, *QUICK)
            assert words in text
        assert fnn.tabular.load("model.safetensors").classes_.tolist() == [False, True]
        text, _ = train(capfd, "t.parquet", "stars", "--task", "regression", *QUICK)
        assert "a regression, as --task says" in text and "test R2" in text

    @pytest.mark.parametrize(("ending", "hole"), [("csv", None), ("parquet", np.nan)])
    def test_rows_without_a_target_are_left_out(self, ending, hole, capfd):
        table = houses()
        price = table["price"].to_pylist()
        holes = [hole if i % 8 == 0 else value for i, value in enumerate(price)]
        write(table.set_column(4, "price", [holes]), f"t.{ending}")
        text, _ = train(capfd, f"t.{ending}", "price", "--exclude", "dear", *QUICK)
        assert "50 of 400 rows have no 'price': left out" in text and "350 rows, 4 columns" in text

    def test_groups_stay_together(self, capfd, monkeypatch):
        from pyfast_nn.cli import fitting

        seen = []
        split = fitting.split
        monkeypatch.setattr(
            fitting, "split", lambda *given: seen.append((given[-1], split(*given))) or seen[-1][1]
        )
        write(houses(), "t.csv")
        train(capfd, "t.csv", "dear", "--exclude", "price", "--group", "block", *QUICK)
        ((groups, parts),) = seen
        assert not {*groups[parts["train"]]} & {*groups[parts["test"]]}
        assert 60 < len(parts["test"]) < 100 and len(parts["train"]) + len(parts["test"]) == 400
        names = fnn.tabular.load("model.safetensors").schema.names
        assert names == ["size", "city", "built"], "nothing is learned from the group"

    def test_whole_groups(self):
        from pyfast_nn.cli import fitting

        groups = np.random.default_rng(0).integers(0, 60, 1000)
        parts = fitting.split(np.zeros(1000), 0.1, 0.2, 3, groups)
        assert sorted(np.concatenate([*parts.values()])) == list(range(1000))
        of_parts = [{*groups[rows]} for rows in parts.values()]
        assert not of_parts[0] & of_parts[1] and not (of_parts[0] | of_parts[1]) & of_parts[2]
        np.testing.assert_allclose([len(part) for part in parts.values()], [700, 100, 200], atol=40)

    def test_a_class_that_would_be_in_the_test_only_is_learned(self, capfd):
        from pyfast_nn.cli import fitting

        table = houses(200)
        labels = np.array(["rare", *table["dear"].to_pylist()[1:]])
        write(table.set_column(5, "dear", [labels]), "t.csv")
        groups = np.asarray(table["block"].combine_chunks().dictionary_encode().indices)
        for seed in range(99):  # one with which its group is in the test
            if 0 in fitting.split(labels, 0, 0.2, seed, groups)["test"]:
                break
        options = ("--exclude", "price", "--group", "block", "--seed", seed, *QUICK)
        train(capfd, "t.csv", "dear", *options, "--report", "report")
        assert fnn.tabular.load("model.safetensors").classes_.tolist() == ["no", "rare", "yes"]

    def test_with_all_classes(self):
        from pyfast_nn.cli import fitting

        y = np.array(["a", "b", "a", "b", "c", "a"])
        parts = {"train": np.array([0, 1]), "test": np.array([2, 3, 4, 5])}
        found = fitting.with_all_classes(parts, y, None)
        assert found["train"].tolist() == [0, 1, 4] and found["test"].tolist() == [2, 3, 5]
        found = fitting.with_all_classes(parts, y, np.array([1, 1, 2, 3, 3, 2]))
        assert found["train"].tolist() == [0, 1, 3, 4] and found["test"].tolist() == [2, 5]
        assert fitting.with_all_classes(found, y, None) is found

    @pytest.mark.parametrize(
        ("target", "name", "leak"),
        [
            ("price", "in_cents", lambda table: table["price"].to_numpy() * 100 + 7),
            ("dear", "flag", lambda table: np.array(table["dear"].to_pylist()) == "yes"),
            ("dear", "same", lambda table: table["dear"]),
        ],
    )
    def test_a_leak_is_said_aloud(self, target, name, leak, capfd):
        table = houses().drop_columns(["dear" if target == "price" else "price"])
        write(table.append_column(name, [leak(table)] if name != "same" else leak(table)), "t.csv")
        _, err = train(capfd, "t.csv", target, *QUICK)
        assert f"warning: column {name!r} tells {target!r} in every row" in err
        assert err.count("\n") == 1 and f"--exclude {name}" in err

    def test_a_column_that_counts_the_rows_is_said_aloud(self, capfd):
        """Rows whose target is missing are counted, too."""
        table = houses().append_column("row", [range(1, 401)])
        price = [
            None if i % 8 == 0 else value for i, value in enumerate(table["price"].to_pylist())
        ]
        write(table.set_column(4, "price", [price]), "t.csv")
        _, err = train(capfd, "t.csv", "price", "--exclude", "dear", *QUICK)
        assert err.count("\n") == 1 and "warning: column 'row' counts the rows" in err
        _, err = train(capfd, "t.csv", "price", "--exclude", "dear,row", *QUICK)
        assert err == ""

    def test_what_is_left_out_is_said_aloud(self, capfd):
        table = houses().append_column("id", [[f"house {i}" for i in range(400)]])
        write(table.append_column("none", pa.nulls(400)), "t.parquet")
        arguments = ("t.parquet", "price", "--exclude", "dear", *QUICK)
        _, err = train(capfd, *arguments)
        assert "warning: column 'id' is left out" in err and "column 'none' is left out" in err
        assert err.count("\n") == 2
        assert train(capfd, *arguments, "--quiet") == ("", "")

    def test_dates(self, capfd):
        days = np.datetime64("2020-01-01") + np.arange(400)
        write(houses().append_column("day", [days]), "t.csv")
        train(capfd, "t.csv", "price", "--dates", "parts", *QUICK)
        kinds = fnn.tabular.load("model.safetensors").describe_columns()
        assert {row["column"]: row["kind"] for row in kinds}["day"] == "date"

    @pytest.mark.parametrize("fits", [0, 4, 13])  # of 16 networks, each five times
    def test_ctrl_c_keeps_the_networks_that_were_trained(self, fits, capfd, monkeypatch, tmp_path):
        from pyfast_nn.tabular import pack

        def fit_some(models, *data, each, **options):
            if fits:
                short = [{**own, "epochs": 2} for own in each[:fits]]
                fnn.fit_many(models[:fits], *data, each=short, **options)
            raise KeyboardInterrupt

        monkeypatch.setattr(pack, "fit_many", fit_some)
        write(houses(), "t.csv")
        arguments = ("train", "t.csv", "--target", "price", "--exclude", "dear")
        code, text, err = run(capfd, *arguments)
        assert code == 130
        if fits < 5:
            assert err == "interrupted\n" and not (tmp_path / "model.safetensors").exists()
            return
        assert err == "interrupted; model.safetensors is what was learned\n" and "test R2" in text
        board = fnn.tabular.load("model.safetensors").leaderboard
        assert sorted(row["network"] for row in board) == [0, 1]
        assert all(row["epochs"] == 2 for row in board)

    def test_the_same_seed_gives_the_same_model(self, capfd):
        write(houses(200), "t.csv")
        files = []
        for name in ("a", "b"):
            train(capfd, "t.csv", "dear", "--exclude", "price", *ONE, "--out", name)
            files.append(
                fnn.tabular.load(name).predict_proba(houses(9).drop_columns(["price", "dear"]))
            )
        np.testing.assert_array_equal(*files)


# ---------------------------------------------------------------------- what is predicted


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Model files of the numbers and of the classes."""
    folder = tmp_path_factory.mktemp("models")
    write(houses(), str(folder / "t.csv"))
    for target, exclude in (("price", "dear"), ("dear", "price")):
        arguments = ("--target", target, "--exclude", exclude, "--out", str(folder / target))
        assert main(["train", str(folder / "t.csv"), *arguments, *ONE, "--quiet"]) == 0
    return folder


class TestPredict:
    ENDINGS = ("csv", "tsv", "parquet", "arrow", "feather")

    @pytest.mark.parametrize("ending", ENDINGS)
    def test_tables(self, ending, trained, capfd):
        new = houses(30, seed=1)
        write(new, f"new.{ending}")
        expected = fnn.tabular.load(trained / "price").predict(new.drop_columns(["price", "dear"]))
        arguments = ("predict", trained / "price", f"new.{ending}", "--out", f"out.{ending}")
        assert run(capfd, *arguments) == (0, "", "")
        found, _ = read(f"out.{ending}")
        assert found.column_names == ["price"]
        np.testing.assert_allclose(found["price"].to_numpy(), expected, rtol=1e-12)

    def test_columns_by_name(self, trained, capfd):
        new = houses(30, seed=1)
        order = ["city", "built", "dear", "block", "size"]  # another, and without the target
        write(new.select(order).append_column("more", [range(30)]), "new.csv")
        code, text, err = run(capfd, "predict", trained / "price", "new.csv")
        assert code == 0 and err == ""
        expected = fnn.tabular.load(trained / "price").predict(new.drop_columns(["price", "dear"]))
        header, *values = text.split()
        assert header == "price"
        np.testing.assert_allclose([float(value) for value in values], expected, rtol=1e-12)

    def test_labels_and_probabilities(self, trained, capfd):
        new = houses(30, seed=1)
        write(new, "new.csv")
        model, X = fnn.tabular.load(trained / "dear"), new.drop_columns(["price", "dear"])
        code, text, _ = run(capfd, "predict", trained / "dear", "new.csv")
        assert code == 0 and text.split() == ["dear", *model.predict(X)]
        for ending in self.ENDINGS:
            arguments = (trained / "dear", "new.csv", "--proba", "--out", f"p.{ending}")
            assert run(capfd, "predict", *arguments) == (0, "", "")
            found, _ = read(f"p.{ending}")
            assert found.column_names == ["no", "yes"]
            values = np.column_stack([column.to_numpy() for column in found.columns])
            np.testing.assert_allclose(values, model.predict_proba(X), rtol=1e-12)
        run(capfd, "predict", trained / "dear", "new.csv", "--out", "p.npy")
        assert np.load("p.npy").tolist() == model.predict(X).tolist()
        run(capfd, "predict", trained / "dear", "new.csv", "--proba", "--out", "p.npz")
        with np.load("p.npz") as file:
            np.testing.assert_array_equal(file["probabilities"], model.predict_proba(X))
            assert file["classes"].tolist() == ["no", "yes"]

    def test_codes_of_the_training_stay_text(self, capfd):
        """A file whose codes all look like numbers is read as the training's was."""
        rng = np.random.default_rng(0)
        code, x = rng.choice(["007", "12b", "1.50"], 200), rng.normal(size=200)
        y = np.where(code == "1.50", 5.0, 0.0) + 0.1 * x
        write(pa.table({"code": code, "x": x, "y": y}), "t.csv")
        train(capfd, "t.csv", "y", *ONE)
        write(pa.table({"code": ["1.50", "1.50"], "x": [0.0, 0.1]}), "new.csv")
        _, text, _ = run(capfd, "predict", "model.safetensors", "new.csv")
        assert all(abs(float(value) - 5) < 1.5 for value in text.split()[1:])

    def test_columns_that_were_left_out_need_not_be_there(self, capfd):
        table = houses().append_column("id", [[f"house {i}" for i in range(400)]])
        write(table, "t.csv")
        train(capfd, "t.csv", "price", "--exclude", "dear", *ONE)
        write(houses(9), "new.csv")
        code, text, err = run(capfd, "predict", "model.safetensors", "new.csv")
        assert code == 0 and len(text.split()) == 10 and err == ""


class TestEvaluate:
    @pytest.mark.parametrize("target", ["price", "dear"])
    def test_scores(self, target, trained, capfd):
        new = houses(300, seed=1)
        write(new, "new.csv")
        code, text, err = run(capfd, "evaluate", trained / target, "new.csv")
        assert code == 0 and err == ""
        model, X = fnn.tabular.load(trained / target), new.drop_columns(["price", "dear"])
        y = np.array(new[target].to_pylist())
        if target == "dear":
            assert f"accuracy             {np.mean(model.predict(X) == y):.2%}\n" in text
            assert "true \\ predicted" in text
        else:
            score = sklearn.metrics.r2_score(y, model.predict(X))
            assert f"R2                   {score:.6g}\n" in text and "precision" not in text

    def test_another_column(self, trained, capfd):
        new = houses(30, seed=1)
        write(new.rename_columns(["size", "city", "built", "block", "paid", "dear"]), "new.csv")
        code, text, _ = run(capfd, "evaluate", trained / "price", "new.csv", "--target", "paid")
        assert code == 0 and "R2" in text


def test_info(trained, capfd):
    code, text, _ = run(capfd, "info", trained / "dear")
    assert code == 0
    assert re.search(r"^city +category +3 +0 ", text, re.MULTILINE)
    assert re.search(
        r"^target +dear\nclasses +no, yes\nnetworks +1, with [\d,]+ par", text, re.MULTILINE
    )


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (
            "predict price other.csv",
            "other.csv: expected the columns of the training, got none named",
        ),
        ("predict price other.csv", "named 'size'; did you mean Size?; columns are 'Size', 'city'"),
        ("predict price words.csv", "expected numbers in column 'size', as in training, got 'big'"),
        (
            "predict price mixed.csv",
            "column 'size': expected numbers, got 19 numbers, and 'unknown'",
        ),
        ("predict price mixed.csv", "(1 such); --missing unknown if it means a missing value\n"),
        ("predict price digits", "data: expected one table (.csv, "),
        ("predict arrays new.csv", "new.csv: expected 'digits' (built in), one .npz file"),
        ("predict arrays digits --separator ;", "--separator: expected a model of tables, got one"),
        ("predict price new.csv --proba", "--proba: expected a model of classes, got one of num"),
        ("predict price new.csv --out p.xlsx", "--out: expected a name that ends in .npy"),
        ("predict price new.csv --out new.csv --force", "--out: expected another file than those"),
        (
            "predict new.csv price",
            "new.csv: expected MODEL, then DATA, but price is the model file",
        ),
        ("evaluate price other.csv", "--target: expected a column of the table, got 'price'"),
        (
            "evaluate dear unknown.csv",
            "expected the classes of the training, 'no', 'yes', got 'so'",
        ),
        (
            "evaluate dear unknown.csv",
            "in row 3 (2 such in all); drop such rows, or train with them",
        ),
        (
            "evaluate price holes.csv",
            "--target price: expected a value in every row, got none in row",
        ),
        (
            "evaluate price texts.csv",
            "--target price: expected numbers, as in the training, got 'a'",
        ),
        ("evaluate bare new.csv", "--target: expected the column of what is true, got none"),
        ("train price", "price: expected data"),
    ],
)
def test_a_mistake_with_a_model_ends_with_one_line(arguments, match, trained, capfd, tmp_path):
    for name in ("price", "dear"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    fnn.tabular.load("price").save("bare")
    model = fnn.Sequential([fnn.Dense(10)]).build(64)
    model.loss = "cross_entropy"
    model.save("arrays")
    new = houses(20, seed=1)
    write(new, "new.csv")
    write(new.rename_columns(["Size", "city", "built", "block", "cost", "dear"]), "other.csv")
    write(new.set_column(0, "size", [["big", "small"] * 10]), "words.csv")
    sizes = ["unknown", *map(str, range(19))]
    write(new.set_column(0, "size", [sizes]), "mixed.csv")
    labels = ["so" if i in (3, 7) else "no" for i in range(20)]
    write(new.set_column(5, "dear", [labels]), "unknown.csv")
    write(new.set_column(4, "price", [[None, *range(19)]]), "holes.csv")
    write(new.set_column(4, "price", [["a", "b"] * 10]), "texts.csv")
    assert_one_line(run(capfd, *arguments.split()), match)


# ---------------------------------------------------------------------- without the packages


@pytest.mark.parametrize("package", ["pyarrow", "narwhals"])
def test_without_the_packages_that_read_tables(package, tmp_path):
    write(houses(20), "t.csv")
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from pyfast_nn.cli import main; sys.exit(main(['train', 't.csv', '--target', 'price']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert "pip install 'pyfast-nn[table]'" in done.stderr


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_without_the_packages_that_make_a_report(package, tmp_path):
    write(houses(20), "t.csv")
    options = ["train", "t.csv", "--target", "price", "--report", "report"]
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        f"from pyfast_nn.cli import main; sys.exit(main({options}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert "pip install 'pyfast-nn[report]'" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"t.csv"}, "before anything else happens"
