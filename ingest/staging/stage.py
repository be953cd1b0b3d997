"""Stages text files for Spark: unpacks them, converts them to UTF-8, checks headers and counts lines."""

import codecs
from collections.abc import Iterator

from ingest.errors import FileUnreadable
from ingest.staging.archives import Part, find_parts
from ingest.staging.header import check_header
from ingest.staging.lines import LineCounter, LongLine, without_long_lines
from ingest.staging.shape import Shape
from ingest.staging.staged_file import StagedFile, copying, key_of, make_readable
from millrace.config.checks.reader_options import ReaderOptions
from millrace.retry import NO_RETRY, RetryPolicy
from millrace.storage import files_of, uri_of


def stage(
    path: str, prefix: str, shape: Shape, options: ReaderOptions, retry: RetryPolicy = NO_RETRY
) -> list[StagedFile]:
    """Check the header of every text in a source file, count its lines and make it readable for Spark.

    Args:
        path: The source file.
        prefix: Start of the paths of the staged files.
        shape: The declared columns.
        options: The reader options of the source.
        retry: The policy for reading and writing files.

    Raises:
        HeaderMismatch: A header differs from the declared columns.
        FileUnreadable: An archive is damaged, or bytes are not text in the declared encoding.
        StorageError: The disk is full.
    """
    parts = find_parts(path, retry)
    return [_stage_part(part, f"{prefix}-{number:05d}", shape, options) for number, part in enumerate(parts)]


def _stage_part(part: Part, target: str, shape: Shape, options: ReaderOptions) -> StagedFile:
    header, columns = check_header(part, shape, options) if options.header else (None, ())
    counter = LineCounter(header, options.quote)
    if part.packing or not options.is_utf8:
        uri = _copy(part, target, counter, options)
    else:
        for chunk in part.chunks():
            counter.feed(chunk)
        uri = ""
    lines, long_lines = counter.finish(), list[LongLine]()
    if lines.too_long:
        if options.multi_line:
            raise FileUnreadable(part.name, reason="a line is too long for a text with values that may span lines")
        if uri:
            files_of(target, part.retry).remove(target)
        counter = LineCounter(header, options.quote)
        uri = _copy(part, target, counter, options, long_lines)
        lines = counter.finish()
    uri = uri or make_readable(part.path, target, part.retry)
    return StagedFile(uri, key_of(part.path, uri), part.name, header, lines, columns, tuple(long_lines))


def _copy(
    part: Part, target: str, counter: LineCounter, options: ReaderOptions, long_lines: list[LongLine] | None = None
) -> str:
    chunks = _as_utf8(part, options)
    if long_lines is not None:
        chunks = without_long_lines(chunks, long_lines)
    with copying(part.name, target), files_of(target, part.retry).open_output(target) as file:
        for chunk in chunks:
            counter.feed(chunk)
            file.write(chunk)
    return uri_of(target)


def _as_utf8(part: Part, options: ReaderOptions) -> Iterator[bytes]:
    if options.is_utf8:
        yield from part.chunks()
        return
    decoder = codecs.getincrementaldecoder(options.encoding)()
    try:
        for chunk in part.chunks():
            yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        raise FileUnreadable(part.name, reason=f"not {options.encoding}: {error}") from error
