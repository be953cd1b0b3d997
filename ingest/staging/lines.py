"""Counts the lines of a text file while it is read, in bounded memory and without Spark."""

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

BLANK: Final = bytes(range(0x21))
"""The bytes that Java's trim removes; for Spark, a line with only these is blank."""

MAX_LINE_BYTES: Final = 16 << 20
"""Longer lines are rejected before Spark reads them, because Spark would hold several copies in memory."""
SHOWN_BYTES: Final = 200
_OTHER_DIGIT: Final = re.compile(r"[^\D0-9]")
_BLANK_LINE: Final = re.compile(rb"\n[\x00-\x09\x0b-\x20]*+\n")


@dataclass(frozen=True)
class LineCount:
    """The counts of lines in a file.

    Attributes:
        rows: Lines of data, without blank lines and headers.
        blank: Blank lines before the last line that is not blank.
        trailing_blank: Blank lines at the end.
        headers: Lines equal to the header line.
        odd_quotes: Lines with an odd number of quotes, a sign of values that span lines.
        is_utf8: Whether every byte belongs to a UTF-8 character.
        has_nul: Whether there is a NUL byte.
        too_long: Lines longer than `MAX_LINE_BYTES`; they are also counted as rows.
        has_other_digits: Whether there are digits other than 0 to 9, such as Arabic ones, or bytes that are not UTF-8.
    """

    rows: int = 0
    blank: int = 0
    trailing_blank: int = 0
    headers: int = 0
    odd_quotes: int = 0
    is_utf8: bool = True
    has_nul: bool = False
    too_long: int = 0
    has_other_digits: bool = False

    @property
    def repeated_headers(self) -> int:
        """Header lines after the first."""
        return max(self.headers - 1, 0)

    @property
    def rejected(self) -> int:
        """Number of lines that are rejected before Spark reads them: blank lines and repeated headers."""
        return self.blank + self.trailing_blank + self.repeated_headers


class LineCounter:
    """Counts lines of a file chunk by chunk; it never holds a whole line in memory.

    Args:
        header: Text of the header line; None if the file has none.
        quote: The quote character; may be empty.
    """

    def __init__(self, header: str | None, quote: str) -> None:
        self._header = None if header is None else header.encode()
        self._quote = quote.encode()
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._start = b""
        self._started = False
        self._is_blank = True
        self._quotes = 0
        self._after_cr = False
        self._at_bom = True
        self._rows = self._blank = self._trailing = self._headers = self._odd = 0
        self._is_utf8, self._has_nul, self._other_digits = True, False, False
        self._length = self._too_long = 0

    def feed(self, chunk: bytes) -> None:
        """Count the next bytes of the file; the first chunk must have at least three bytes, if the file has them."""
        if self._is_utf8:
            try:
                text = self._decoder.decode(chunk)
            except UnicodeDecodeError:
                self._is_utf8, self._other_digits = False, True
            else:
                self._other_digits = self._other_digits or (not text.isascii() and bool(_OTHER_DIGIT.search(text)))
        self._has_nul = self._has_nul or b"\0" in chunk
        if self._at_bom:
            chunk, self._at_bom = chunk.removeprefix(codecs.BOM_UTF8), False
        if self._after_cr:
            chunk = chunk.removeprefix(b"\n")
        self._after_cr = chunk.endswith(b"\r")
        chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, ended, rest = chunk.partition(b"\n")
        if first:
            self._extend(first)
        if not ended:
            return
        self._end_line()
        cut = rest.rfind(b"\n") + 1
        self._count_lines(rest[:cut])
        if cut < len(rest):
            self._extend(rest[cut:])

    def finish(self) -> LineCount:
        """Count the last line, which may lack a line end, and return the counts."""
        if self._started:
            self._end_line()
        try:
            self._decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            self._is_utf8, self._other_digits = False, True
        counts = (self._rows, self._blank, self._trailing, self._headers, self._odd)
        return LineCount(
            *counts,
            is_utf8=self._is_utf8,
            has_nul=self._has_nul,
            too_long=self._too_long,
            has_other_digits=self._other_digits,
        )

    def _count_lines(self, lines: bytes) -> None:
        """Count complete lines; if all are rows without quotes, count them at once, in less than half the time."""
        if not lines:
            return
        text = b"\n" + lines
        odd = (b"\n%b\n" % self._header if self._header is not None else b"", self._quote)
        if len(text) > MAX_LINE_BYTES or any(mark and mark in text for mark in odd) or _BLANK_LINE.search(text):
            for line in lines[:-1].split(b"\n"):
                self._extend(line)
                self._end_line()
            return
        self._blank += self._trailing
        self._trailing = 0
        self._rows += lines.count(b"\n")

    def _extend(self, piece: bytes) -> None:
        self._started = True
        self._length += len(piece)
        if self._header is not None and len(self._start) <= len(self._header):
            self._start += piece[: len(self._header) + 1]
        if self._is_blank and piece.strip(BLANK):
            self._is_blank = False
        if self._quote:
            self._quotes += piece.count(self._quote)

    def _end_line(self) -> None:
        if self._length > MAX_LINE_BYTES:
            self._too_long += 1
        self._length = 0
        if self._is_blank:
            self._trailing += 1
        else:
            self._blank += self._trailing
            self._trailing = 0
            if self._start == self._header:
                self._headers += 1
            else:
                self._rows += 1
                self._odd += self._quotes % 2
        self._start, self._started, self._is_blank, self._quotes = b"", False, True, 0


@dataclass(frozen=True)
class LongLine:
    """A line that was left out: its number and its first bytes as text."""

    number: int
    start: str


def without_long_lines(chunks: Iterable[bytes], found: list[LongLine]) -> Iterator[bytes]:
    """Leave out lines longer than `MAX_LINE_BYTES`; about as much memory is used.

    Args:
        chunks: The text; its lines must end with a line feed.
        found: The lines that were left out are appended to this list.
    """
    number, line = 1, b""
    skipping = False
    for chunk in chunks:
        kept = []
        *ended, last = chunk.split(b"\n")
        for piece in ended:
            if not skipping and len(line) + len(piece) <= MAX_LINE_BYTES:
                kept += [line, piece, b"\n"]
            elif not skipping:
                found.append(_long_line(number, line + piece))
            number, line, skipping = number + 1, b"", False
        if not skipping:
            line += last
            if len(line) > MAX_LINE_BYTES:
                found.append(_long_line(number, line))
                line, skipping = b"", True
        yield b"".join(kept)
    yield line


def _long_line(number: int, line: bytes) -> LongLine:
    return LongLine(number, line[:SHOWN_BYTES].decode(errors="replace"))
