"""Requests that are wrong below the level of their body: paths, compression, invalid HTTP."""

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any, Final

from tests.serve.models import ROW

PREDICT: Final = "/v1/models/tiny:predict"
INFER: Final = "/v2/models/tiny/infer"


def http(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    """Build a well-formed HTTP request with any path and body."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def as_json(value: Any) -> bytes:
    """Encode as JSON, with NaN as a bare token."""
    return json.dumps(value).encode()


PATHS: Final = """
/v1/models/
/v1
/v1/
/v1/models/no:predict
/v1/models/tiny:pred
/v1/models/tiny:
/v1/models//:predict
/v1/models/tiny/versions/:predict
/v1/models/tiny/versions/999999:predict
/v1/models/tiny/versions/-1:predict
/v1/models/tiny/versions/99999999999999999999:predict
/v1/models/tiny/versions/1e3:predict
/v1/models/tiny/labels/none:predict
/v1/models/tiny/versions/1/labels/a:predict
/v1/models/%00:predict
/v1/models/..%2f..%2fetc%2fpasswd:predict
/v1/models/tiny:predict/more
/v2/models/no/infer
/v2/models/tiny/versions/x/infer
/v2/models/tiny/versions/999999/infer
/v2/models/%ff/infer
/v2/repository/models/tiny/unload
/v2/repository/models/tiny/load
/v2/repository/index/
/v2/systemsharedmemory/status
/v3
/../../etc/passwd
//
/v1/models/tiny:predict;x
/%2e%2e/
/.env
/v2/models/tiny/generate
""".split()


def paths() -> Iterator[tuple[str, str]]:
    """Yield methods and paths that have no route."""
    for path in (*PATHS, f"/v1/models/{'x' * 5000}:predict"):
        yield "POST", path
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"):
        for path in (PREDICT, INFER, "/v2/health/live"):
            yield method, path
    yield "GET", PREDICT
    yield "GET", INFER


def compressed() -> Iterator[tuple[str, bytes]]:
    """Yield requests whose body is not compressed as declared, or is far larger after decompression."""
    good = as_json({"instances": [ROW]})
    bomb = gzip.compress(b"[" * 100_000_000, 9)
    for name, encoding, body in (
        ("not compressed", "gzip", good),
        ("another compression", "gzip", zlib.compress(good)),
        ("truncated", "gzip", gzip.compress(good)[:-6]),
        ("many members", "gzip", gzip.compress(b"") * 1000),
        ("gzip bomb", "gzip", bomb),
        ("nested gzip bomb", "gzip", gzip.compress(bomb)),
        ("raw deflate", "deflate", zlib.compress(good)[2:-4]),
        ("brotli", "br", good),
        ("two encodings", "gzip, gzip", gzip.compress(gzip.compress(good))),
        ("unknown encoding", "x" * 200, good),
    ):
        yield name, http("POST", PREDICT, body, f"Content-Encoding: {encoding}")


def heads() -> Iterator[tuple[str, bytes]]:
    """Yield bytes that are not HTTP, or HTTP that two parsers could read differently."""
    good = as_json({"instances": [ROW]})
    start = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\n".encode()
    length = b"Content-Length: %d\r\n" % len(good)
    yield "not HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100
    yield "another protocol", b"SSH-2.0-OpenSSH_9.2\r\n\r\n"
    yield "HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield "no method", b" / HTTP/1.1\r\nHost: x\r\n\r\n"
    yield "no version", b"POST /\r\n\r\n"
    yield "an unknown version", b"POST / HTTP/9.9\r\nHost: x\r\n\r\n"
    yield "lines without a carriage return and an obsolete fold", b"POST / HTTP/1.1\nHost: x\n folded\n\n"
    yield "a space before the colon", start + b"Content-Length : 5\r\n\r\nhello"
    yield "two lengths", start + length + b"Content-Length: 3\r\n\r\n" + good
    yield "length and chunks", start + length + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + good
    yield "a length that is not a number", start + b"Content-Length: five\r\n\r\n" + good
    yield "a negative length", start + b"Content-Length: -5\r\n\r\n" + good
    yield "a length above 64 bits", start + b"Content-Length: 99999999999999999999999\r\n\r\n" + good
    yield "five gigabytes declared", start + b"Content-Length: 5000000000\r\n\r\n" + good
    yield "an invalid chunk size", start + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + good
    yield "a chunk size above 64 bits", start + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n" + good
    yield "another transfer encoding", start + b"Transfer-Encoding: gzip\r\n\r\n" + good
    yield "a header of a megabyte", start + b"X: " + b"x" * 1_000_000 + b"\r\n\r\n"
    yield "ten thousand headers", start + b"X: y\r\n" * 10_000 + b"\r\n"
    yield "a path of a megabyte", b"POST /" + b"x" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    yield "null bytes in a header", start + b"X: a\0b\r\n" + length + b"\r\n" + good
