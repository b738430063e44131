"""A plain table to print: a list of dicts, one a row."""

from typing import Any


class Table(list[dict[str, Any]]):
    """A list of dicts with the same keys, printed as a table.

    ``pandas.DataFrame(table)`` and ``polars.DataFrame(table)`` take it as it is.
    """

    def __repr__(self) -> str:
        if not self:
            return "(no rows)"
        keys = list(self[0])
        texts = [keys, *([_text(row[key]) for key in keys] for row in self)]
        numbers = [all(_is_number(row[key]) for row in self) for key in keys]
        widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
        lines = [
            "  ".join(
                text.rjust(width) if right else text.ljust(width)
                for text, width, right in zip(line, widths, numbers, strict=True)
            ).rstrip()
            for line in texts
        ]
        return "\n".join(lines)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value)
