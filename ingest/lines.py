"""Counts the lines of a text file on the way, in bounded memory, without asking Spark."""

import codecs
from dataclasses import dataclass
from typing import Final

BLANK: Final = bytes(range(0x21))
"""What Java's trim removes: a line of nothing else is a blank line to Spark."""


@dataclass(frozen=True)
class LineCount:
    """What a file holds, apart from its header.

    Attributes:
        rows: Lines of data, blank ones and repeated headers not among them.
        blank: Blank lines before the last line that is not blank.
        trailing_blank: Blank lines at the end.
        headers: Lines equal to the header line.
        odd_quotes: Lines with an odd number of quotes: perhaps a value over several lines.
        is_utf8: Whether every byte belongs to a UTF-8 character.
    """

    rows: int = 0
    blank: int = 0
    trailing_blank: int = 0
    headers: int = 0
    odd_quotes: int = 0
    is_utf8: bool = True

    @property
    def repeated_headers(self) -> int:
        """Header lines after the first."""
        return max(self.headers - 1, 0)

    @property
    def rejected(self) -> int:
        """Lines that are no rows and never reach Spark."""
        return self.blank + self.trailing_blank + self.repeated_headers


class LineCounter:
    """Takes a file chunk by chunk; no line is ever held whole.

    Args:
        header: The header line's text; None when the file has none.
        quote: The quote character, or nothing.
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
        self._is_utf8 = True

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file; the first chunk holds at least three if the file does."""
        if self._is_utf8:
            try:
                self._decoder.decode(chunk)
            except UnicodeDecodeError:
                self._is_utf8 = False
        if self._at_bom:
            chunk, self._at_bom = chunk.removeprefix(codecs.BOM_UTF8), False
        if self._after_cr:
            chunk = chunk.removeprefix(b"\n")
        self._after_cr = chunk.endswith(b"\r")
        *ended, last = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for piece in ended:
            self._extend(piece)
            self._end_line()
        if last:
            self._extend(last)

    def finish(self) -> LineCount:
        """Count the last line, which may lack its end, and return the sums."""
        if self._started:
            self._end_line()
        try:
            self._decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            self._is_utf8 = False
        counts = (self._rows, self._blank, self._trailing, self._headers, self._odd)
        return LineCount(*counts, is_utf8=self._is_utf8)

    def _extend(self, piece: bytes) -> None:
        self._started = True
        if self._header is not None and len(self._start) <= len(self._header):
            self._start += piece[: len(self._header) + 1]
        if self._is_blank and piece.strip(BLANK):
            self._is_blank = False
        if self._quote:
            self._quotes += piece.count(self._quote)

    def _end_line(self) -> None:
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
