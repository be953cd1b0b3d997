"""Compares a text's header with the declared columns."""

import csv
import io

from ingest.errors import FileUnreadable, HeaderMismatch
from ingest.staging.archives import CHUNK_BYTES, Part
from ingest.staging.lines import BLANK
from ingest.staging.shape import Shape
from millrace.config.checks.reader_options import ReaderOptions
from millrace.errors import shorten


def check_header(part: Part, shape: Shape, options: ReaderOptions) -> tuple[str | None, tuple[str, ...]]:
    """Compare the first line that is not blank with the declared columns.

    Returns:
        The line and its columns; None and no columns if the file has only blank lines.
    """
    with part.open() as stream:
        text = io.TextIOWrapper(io.BytesIO(stream.read(CHUNK_BYTES)), options.encoding, errors="replace", newline=None)
        lines = [line.rstrip("\n") for line in text]
    lines = [line.removeprefix("\ufeff") if n == 0 else line for n, line in enumerate(lines)]
    first = next((n for n, line in enumerate(lines) if line.strip(BLANK.decode())), None)
    if first is None:
        return None, ()
    found = _fields(part, lines[first:] if options.multi_line else lines[first : first + 1], options)
    layout = shape.layout(found)
    if layout is None:
        raise HeaderMismatch(part.name, expected=list(shape.in_file.values()), found=found)
    return lines[first], layout


def _fields(part: Part, lines: list[str], options: ReaderOptions) -> list[str]:
    reader = csv.reader(
        (f"{line}\n" for line in lines),
        delimiter=options.separator,
        quotechar=options.quote or None,
        quoting=csv.QUOTE_MINIMAL if options.quote else csv.QUOTE_NONE,
    )
    try:
        found = next(reader)
    except csv.Error as error:
        first = shorten(repr(lines[0]), 100)
        raise FileUnreadable(part.name, reason=f"its first line is not a valid header: {error}: {first}") from error
    return [name.strip() if options.trims else name for name in found]
