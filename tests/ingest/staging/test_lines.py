"""Counting lines: whatever the chunks, the sums are those of the whole text."""

import random
import tracemalloc

import pytest

from ingest.staging.lines import LineCount, LineCounter


def count(data: bytes, *, header: str | None = None, quote: str = '"', chunk: int = 1 << 20) -> LineCount:
    counter = LineCounter(header, quote)
    for start in range(0, len(data), chunk):
        counter.feed(data[start : start + chunk])
    return counter.finish()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", LineCount()),
        (b"a\nb\n", LineCount(rows=2)),
        (b"a\nb", LineCount(rows=2)),
        (b"a\r\nb\r\n", LineCount(rows=2)),
        (b"a\rb", LineCount(rows=2)),
        (b"\n\na\n\n", LineCount(rows=1, blank=2, trailing_blank=1)),
        (b"a\n \t\nb\n", LineCount(rows=2, blank=1)),
        (b"\n", LineCount(trailing_blank=1)),
        (b"h\na\nh\nb\n", LineCount(rows=2, headers=2)),
        (b"\xef\xbb\xbfh\na\n", LineCount(rows=1, headers=1)),
        (b'a"\nb\n', LineCount(rows=2, odd_quotes=1)),
        (b"a\xff\n", LineCount(rows=1, is_utf8=False, has_other_digits=True)),
        (b"a\xc3", LineCount(rows=1, is_utf8=False, has_other_digits=True)),
        ("ä\n".encode(), LineCount(rows=1)),
    ],
)
def test_counts(data: bytes, expected: LineCount) -> None:
    assert count(data, header="h") == expected


def test_header_that_is_only_a_beginning_is_a_row() -> None:
    assert count(b"h\nhh\nh2\n", header="h") == LineCount(rows=2, headers=1)


def test_repeated_headers_and_rejected() -> None:
    found = count(b"h\n\na\nh\nh\n\n", header="h")
    assert (found.repeated_headers, found.rejected) == (2, 4)


def test_any_chunks_give_the_same_sums() -> None:
    random.seed(5)
    pieces = [b"h", b"row", b"", b" ", b'"', "äöü".encode()]
    for _ in range(200):
        ends = random.choices([b"\n", b"\r\n", b"\r"], k=8)
        data = b"".join(random.choice(pieces) + end for end in ends)
        whole = count(data, header="h")
        # The byte order mark is looked for in the first chunk, which is never this short in a real file.
        assert all(count(data, header="h", chunk=size) == whole for size in (1, 2, 3, 5))


def test_a_long_line_is_not_held_in_memory() -> None:
    counter, chunk = LineCounter("header", '"'), b"x" * (1 << 16)
    tracemalloc.start()
    try:
        for _ in range(64):
            counter.feed(chunk)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20
    assert counter.finish().rows == 1


def test_a_quote_of_several_bytes() -> None:
    assert count("«a»b\nc\n««\n«\n".encode(), quote="«") == LineCount(rows=4, odd_quotes=2)
