"""Tables that the command line names: read by pyarrow, and each mistake in one is one line."""

import argparse
import csv
import gzip
import io
import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..guidance import near
from ..tabular.schema import NUMBER
from ..typing import Array
from . import files

if TYPE_CHECKING:
    import pyarrow

SEPARATORS = {".csv": ",", ".tsv": "\t"}  # by what a name ends in, .gz apart
_NAMES = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
_TYPED = {"\t": "'\\t'", ";": "';'", "|": "'|'", ",": "','"}  # as in a shell
_ARROW = (".arrow", ".feather")
_SHOWN = 20  # names in a list of columns

# Texts that mean a missing value, blanks around them apart: those of pandas.
_MISSING = (
    "",
    *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)
_NUMBER = f"^({NUMBER.pattern})$"
_WHOLE = r"^[+-]?\d{1,18}$"
_DATE = r"^\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?$"
_DECIMAL_COMMA = r"^[+-]?\d+,\d+$"


class Form(NamedTuple):
    """How a text file holds a table: what the options say.

    `text` are the columns that are text whatever they look like.
    """

    separator: str | None = None
    decimal: str = "."
    encoding: str = "utf-8"
    missing: tuple[str, ...] = ()
    text: tuple[str, ...] = ()


def add_options(add: Callable[..., Any]) -> None:
    add(
        "--separator",
        help="between the columns of a text file (default: a comma in .csv, a tab in .tsv)",
        type=_separator,
        metavar="S",
    )
    add(
        "--decimal",
        help="point of numbers in a text file",
        choices=(".", ","),
        default=".",
        metavar="P",
    )
    add("--encoding", help="of a text file", default="utf-8", metavar="NAME")
    add(
        "--missing",
        help="texts that mean a missing value, beside empty ones, NA, NaN, null and the like",
        type=names,
        default=(),
        metavar="A,B",
    )


def form_of(arguments: argparse.Namespace) -> Form:
    return Form(arguments.separator, arguments.decimal, arguments.encoding, arguments.missing)


def names(text: str) -> tuple[str, ...]:
    """Return the names in a list such as a,b; one with a comma stands in double quotes."""
    return tuple(name.strip() for name in next(csv.reader([text], skipinitialspace=True), []))


def is_table(given: Sequence[str]) -> bool:
    """Whether the command line names one file, and it ends as a table does."""
    return len(given) == 1 and ending_of(given[0]) in files.TABLES


def only(given: Sequence[str]) -> str:
    """Return the one table that the command line names."""
    if not is_table(given):
        files.check_arrays(given)
        raise ValueError(
            f"data: expected one table ({', '.join(files.TABLES)}), as the model is of tables, "
            f"got {' '.join(given)!r}"
        )
    return given[0]


def listed(columns: Sequence[str]) -> str:
    """Return the names of columns for a message; of many some, and how many there are."""
    texts = [repr(name) for name in columns[:_SHOWN]]
    return ", ".join(texts) + (f", ... ({len(columns)} in all)" if len(columns) > _SHOWN else "")


def check_known(wanted: Iterable[str], columns: Sequence[str], option: str) -> None:
    """Raise ValueError if a column that an option names is not among those of the table."""
    for name in wanted:
        if name not in columns:
            hint = near(name, columns)
            if not hint and sum(map(_is_number, columns)) > len(columns) / 2:
                hint = "; the first line of the file is to hold the names of the columns"
            raise ValueError(
                f"{option}: expected a column of the table, got {name!r}{hint}; "
                f"columns are {listed(columns)}"
            )


def read(
    name: str,
    form: Form,
    choose: Callable[[list[str]], Sequence[str]],
    remarks: list[str],
    *,
    texts: Sequence[str] | None = None,
) -> "pyarrow.Table":
    """Return the table in a file: those columns that are chosen of all, by their names.

    They are of bool, whole numbers, floats, strings, dates or times, or null where nothing is
    there; in a text file `texts` are strings, if it is known which are. What is worth saying is
    added to `remarks`.
    """
    try:
        import narwhals  # noqa: F401  # reads the table in the rooms above
        import pyarrow
    except ImportError as error:
        raise ValueError(
            f"{name}: tables need {error.name}, which is not installed; "
            "pip install 'pyfast-nn[table]'"
        ) from None
    files.check_there([name])
    ending = ending_of(name)
    if not os.path.isfile(name):
        raise ValueError(f"{name}: expected a file, got a pipe or a device")
    if os.path.getsize(name) == 0:
        raise ValueError(f"{name}: expected a table, got an empty file")
    if ending in SEPARATORS:
        table = _read_text(name, form._replace(separator=form.separator or SEPARATORS[ending]))
    else:
        _refuse_form(name, form)
        table = _read_binary(name, ending)
    twice = [c for i, c in enumerate(table.column_names) if c in table.column_names[:i]]
    if twice:
        raise ValueError(
            f"{name}: expected columns of different names, got {twice[0]!r} twice; rename one"
        )
    if table.num_columns == 0 or table.num_rows == 0:
        what = "rows below the names of the columns" if table.num_columns else "columns"
        raise ValueError(f"{name}: expected {what}, got none")
    if "" in table.column_names:
        place = table.column_names.index("") + 1
        remarks.append(f"column {place} has no name: taken for names of rows, and left out")
        table = table.drop_columns([""])
    chosen = choose(table.column_names)
    if ending in SEPARATORS:
        is_known = texts is not None
        form = form._replace(text=(*form.text, *(texts or ())))
        columns = [_typed(table[column], column, form, is_known) for column in chosen]
    else:
        columns = [_plain(table[column], column, name) for column in chosen]
    return pyarrow.table(columns, names=list(chosen))


def write(names: Sequence[str], columns: Iterable[Array], ending: str) -> bytes:
    """Return the bytes of a file with columns of these names."""
    import pyarrow
    import pyarrow.csv
    import pyarrow.feather
    import pyarrow.parquet

    table = pyarrow.table([pyarrow.array(column) for column in columns], names=list(names))
    file = io.BytesIO()
    if ending in SEPARATORS:
        options = pyarrow.csv.WriteOptions(delimiter=SEPARATORS[ending], quoting_style="needed")
        pyarrow.csv.write_csv(table, file, options)
    elif ending == ".parquet":
        pyarrow.parquet.write_table(table, file)
    else:
        pyarrow.feather.write_feather(table, file, compression="uncompressed")
    return file.getvalue()


def missing(column: "pyarrow.ChunkedArray") -> Array:
    """Return which rows have no value (n,), or NaN."""
    import pyarrow.compute as pc

    return np.asarray(pc.is_null(column, nan_is_null=True))


# ---------------------------------------------------------------------- text files


def _read_text(name: str, form: Form) -> "pyarrow.Table":
    """Return a table of strings, each without the blanks around it."""
    import pyarrow
    from pyarrow import csv as arrow_csv

    separator = form.separator
    assert separator is not None
    columns = _header(name, separator, form.encoding)
    wrong: list[Any] = []

    def remember(row: Any) -> str:
        wrong.append(row)
        return "error"

    unique = [str(i) for i in range(len(columns))]  # pyarrow tells types by names
    try:
        table = arrow_csv.read_csv(
            name,
            arrow_csv.ReadOptions(
                use_threads=False,  # so that rows are counted
                encoding=form.encoding,
                column_names=unique,
                skip_rows_after_names=1,
            ),
            arrow_csv.ParseOptions(
                delimiter=separator, newlines_in_values=True, invalid_row_handler=remember
            ),
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(unique, pyarrow.string()), strings_can_be_null=False
            ),
        )
    except (pyarrow.ArrowInvalid, UnicodeError) as error:
        if wrong:
            row = wrong[0]
            raise ValueError(
                f"{name}: expected {row.expected_columns} columns in every row, got "
                f"{row.actual_columns} in row {row.number - 2}, {row.text[:40]!r}; a value with "
                "a separator stands in double quotes"
            ) from None
        if isinstance(error, UnicodeError) or "UTF" in str(error):
            raise _wrong_encoding(name, form.encoding) from None
        raise ValueError(f"{name}: expected an intact text file, got {error}") from None
    return table.rename_columns(columns)


def _header(name: str, separator: str, encoding: str) -> list[str]:
    """Return the names in the first line."""
    is_packed = name.lower().endswith(".gz")
    opened: Any = gzip.open if is_packed else open
    try:
        with opened(name, "rt", encoding=encoding, newline="") as file:
            first = next(csv.reader(file, delimiter=separator), [])
    except UnicodeError:
        raise _wrong_encoding(name, encoding) from None
    except LookupError:
        raise ValueError(
            f"--encoding: expected one that Python knows, such as latin-1, got {encoding!r}"
        ) from None
    except (gzip.BadGzipFile, EOFError, csv.Error) as error:
        what = "an intact .gz file" if is_packed else "a text file"
        raise ValueError(f"{name}: expected {what}, got another ({error})") from None
    columns = [column.strip().removeprefix("\ufeff") for column in first]
    if not any(columns):
        raise ValueError(f"{name}: expected names of columns in the first line, got none")
    if any("\0" in column for column in columns):
        raise _wrong_encoding(name, encoding)
    if len(columns) == 1:
        for other, shell in _TYPED.items():
            if other != separator and other in columns[0]:
                raise ValueError(
                    f"{name}: expected columns separated by "
                    f"{_NAMES.get(separator, repr(separator))}, got one column "
                    f"{columns[0][:60]!r}; --separator {shell} reads it"
                )
    return columns


def _wrong_encoding(name: str, encoding: str) -> ValueError:
    opened: Any = gzip.open if name.lower().endswith(".gz") else open
    with opened(name, "rb") as file:
        beginning = file.read(2)
    other = "utf-16" if beginning in (b"\xff\xfe", b"\xfe\xff") else "latin-1"
    return ValueError(
        f"{name}: expected text in {encoding}, got bytes that are none; "
        f"--encoding {other}, or whatever it was written in"
    )


def _typed(
    texts: "pyarrow.ChunkedArray", name: str, form: Form, is_known: bool
) -> "pyarrow.ChunkedArray":
    """Return a column of strings as what they all are: numbers, dates, or text.

    `is_known` is whether a model says which columns are text, or else the user may.
    """
    import pyarrow
    import pyarrow.compute as pc

    column = pc.utf8_trim_whitespace(texts)
    none = pc.is_in(column, value_set=pyarrow.array([*_MISSING, *form.missing], pyarrow.string()))
    column = pc.if_else(none, pyarrow.scalar(None, pyarrow.string()), column)
    present = column.length() - column.null_count
    if present == 0:
        return pyarrow.chunked_array([pyarrow.nulls(column.length())])
    if name in form.text:
        return column
    if _are_all(column, _DATE):
        try:
            return column.cast(pyarrow.timestamp("us"))
        except pyarrow.ArrowInvalid:
            return column  # such as 2024-13-01
    plain = column
    if form.decimal == "," and _count(pc.match_substring(column, ".")) == 0:  # 1.234,5 is a text
        plain = pc.replace_substring(column, ",", ".")
    are_numbers = pc.match_substring_regex(plain, _NUMBER)
    count = _count(are_numbers)
    if count == present:
        whole = _are_all(plain, _WHOLE)
        unsigned = pc.utf8_ltrim(plain, "+")  # which pyarrow does not read
        return unsigned.cast(pyarrow.int64() if whole else pyarrow.float64())
    commas = _count(pc.match_substring_regex(column, _DECIMAL_COMMA))
    if form.decimal == "." and commas and commas + count == present:
        row, value = _first(column, pc.match_substring_regex(column, _DECIMAL_COMMA))
        raise ValueError(
            f"column {name!r}: expected numbers such as 1.5, got {value!r} in row {row}; "
            f"--decimal , reads it{'' if is_known else f', --text {quoted(name)} takes it as text'}"
        )
    if count > present / 2:
        row, value = _first(column, pc.invert(are_numbers))
        raise ValueError(
            f"column {name!r}: expected numbers{'' if is_known else ' or text'}, got "
            f"{'' if is_known else 'both: '}{count:,} numbers, and {value!r} in row {row} "
            f"({present - count:,} such); --missing {quoted(value)} if it means a missing value"
            f"{'' if is_known else f', --text {quoted(name)} if all are text'}"
        )
    return column


def _are_all(column: Any, pattern: str) -> bool:
    """Whether all texts that are there match a pattern; one that does not is mostly the first."""
    import pyarrow.compute as pc

    first = column[pc.index(pc.is_valid(column), True).as_py()].as_py()
    if re.search(pattern, first) is None:
        return False
    return _count(pc.match_substring_regex(column, pattern)) == len(column) - column.null_count


def _count(mask: Any) -> int:
    import pyarrow.compute as pc

    return pc.sum(mask).as_py() or 0


def _first(column: Any, mask: Any) -> tuple[int, str]:
    """Return the first row of a mask, and what is there."""
    import pyarrow.compute as pc

    row = pc.index(pc.fill_null(mask, False), True).as_py()
    return row, column[row].as_py()


def quoted(text: str) -> str:
    """Return a name as an option that takes a list wants it, in a shell."""
    if "," in text or '"' in text:
        text = '"' + text.replace('"', '""') + '"'
    return text if text.replace("_", "").isalnum() else "'" + text.replace("'", "'\\''") + "'"


# ---------------------------------------------------------------------- Parquet and Arrow


def _read_binary(name: str, ending: str) -> "pyarrow.Table":
    import pyarrow
    import pyarrow.feather
    import pyarrow.parquet

    kind = "a Parquet file" if ending == ".parquet" else "an Arrow or Feather file"
    try:
        if ending == ".parquet":
            return pyarrow.parquet.ParquetFile(name).read()
        return pyarrow.feather.read_table(name, memory_map=False)
    except FileNotFoundError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError):
        raise ValueError(f"{name}: expected {kind}, got another kind, or a damaged one") from None


def _plain(column: "pyarrow.ChunkedArray", name: str, file: str) -> "pyarrow.ChunkedArray":
    """Return a column of a file as one of the few types that `read` promises."""
    import pyarrow
    from pyarrow import types

    kind = column.type
    if types.is_dictionary(kind):
        return _plain(column.cast(kind.value_type), name, file)
    if types.is_decimal(kind) or types.is_float16(kind):
        return column.cast(pyarrow.float64())
    if str(kind) in ("large_string", "string_view"):
        return column.cast(pyarrow.string())
    known = (types.is_boolean, types.is_integer, types.is_floating, types.is_string)
    if any(check(kind) for check in (*known, types.is_date, types.is_timestamp, types.is_null)):
        return column
    raise ValueError(
        f"{file}: expected numbers, text, bool or dates, got {kind} in column {name!r}; leave it "
        "out, or make numbers or text of it"
    )


def _refuse_form(name: str, form: Form) -> None:
    pairs = zip(Form._fields, form, Form(), strict=True)
    for option, value, default in pairs:
        if option != "text" and value != default:
            raise ValueError(f"--{option}: expected a text file (.csv, .tsv), got {name!r}")
    if form.text:
        raise ValueError(
            f"--text: expected a text file (.csv, .tsv), got {name!r}, whose columns have types"
        )


def ending_of(name: str) -> str:
    return os.path.splitext(name.lower().removesuffix(".gz"))[1]


def _separator(text: str) -> str:
    text = {"\\t": "\t", "tab": "\t"}.get(text, text)
    if len(text) != 1:
        raise argparse.ArgumentTypeError(f"expected one character, or \\t for a tab; got {text!r}")
    return text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
