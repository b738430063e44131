"""Markdown tables."""


def markdown_table(header, rows, *, text_columns=1):
    """The first `text_columns` columns are text, the others numbers."""
    alignment = ["---"] * text_columns + ["---:"] * (len(header) - text_columns)
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in [header, alignment, *rows])


def microseconds(seconds):
    value = seconds * 1e6
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
