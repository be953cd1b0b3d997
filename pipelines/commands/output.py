"""What commands print: tables for people on stderr, JSON for programs on stdout."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Final

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from pipelines.jobs.stages import print_result

WIDTH: Final = 120
"""Width of a table without a terminal, in characters."""


def print_table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table to stderr."""
    table = Table(title=_cell(title), title_justify="left", show_edge=False)
    for number, name in enumerate(header):
        table.add_column(name, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(_cell, row))
    # Without markup: names in a model or a table may contain brackets.
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDTH
    console.print(table)


def _cell(value: object) -> str:
    """A value as text, without characters that control a terminal or that UTF-8 cannot encode."""
    text = "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
    return "".join(letter if letter.isprintable() or letter == "\n" else "�" for letter in text)


def print_settings(section: str, model: type[BaseModel]) -> None:
    """Print every setting of a section with its default and meaning to stdout, as part of a command's help."""
    table = Table(
        title=f"Settings, as --set {section}.KEY=VALUE or in a profile", title_justify="left", show_edge=False
    )
    for name in ("key", "default", "meaning"):
        table.add_column(name, overflow="fold")
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = json.dumps(default) if isinstance(default, bool | dict) else str(default)
        table.add_row(name, shown, " ".join((field.description or "").split()).replace("`", ""))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    console.print(table)


def print_if_piped(result: dict[str, object]) -> None:
    """Print the result as JSON, unless stdout is a terminal, where the table shows it."""
    if not sys.stdout.isatty():
        print_result(result)
