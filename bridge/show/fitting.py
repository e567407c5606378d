"""Tables that fit a terminal: the widest form of a table whose numbers are not wrapped."""

from collections.abc import Callable

from rich.console import Console
from rich.table import Table

# Wide enough for any table to be measured as it is.
UNBOUNDED = Console(width=10_000)


def fitting(form: Callable[[int], Table], n_forms: int, width: int, wraps: bool = False) -> Table:
    """The first of `n_forms` forms of a table that is at most `width` columns wide; the last where none is.

    Args:
        form: makes the table with the number of a form; each is narrower than the one before.
        n_forms: how many there are.
        width: columns of the screen.
        wraps: whether cells may break between words.
    """
    for number in range(n_forms):
        table = form(number)
        measured = UNBOUNDED.measure(table)
        if (measured.minimum if wraps else measured.maximum) <= width:
            break
    return table
