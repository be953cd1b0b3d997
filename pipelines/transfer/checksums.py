"""Computes HDFS's file checksum from local bytes, to compare a file with one in HDFS without downloading it.

A DataNode stores a CRC of every 512 bytes. The checksum of a block is the MD5 of its CRCs. The checksum of a file is
the MD5 of its blocks' MD5s, padded with zeros like Hadoop's growing buffer. Only the digest is sent over the network.
"""

import hashlib
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import crc32c

from pipelines.transfer.webhdfs import CHUNK_BYTES, Block, WebHdfs

_ALGORITHM: Final = re.compile(r"MD5-of-\d+MD5-of-(\d+)CRC32(C?)")
_ONE_BLOCK: Final = "MD5-of-0MD5-of-"
_FIRST_BUFFER: Final = 32
_HEADER_BYTES: Final = 12
_DIGEST_BYTES: Final = 16


@dataclass(frozen=True)
class Algorithm:
    """How a cluster computes checksums.

    Attributes:
        step: Bytes per CRC.
        crc: Computes the CRC of some bytes.
    """

    step: int
    crc: Callable[[Any], int]

    @staticmethod
    def parse(name: str) -> "Algorithm | None":
        """Return the algorithm with this Hadoop name; None if it is not supported."""
        found = _ALGORITHM.fullmatch(name)
        return Algorithm(int(found[1]), crc32c.crc32c if found[2] else zlib.crc32) if found and int(found[1]) else None

    def of_block(self, path: Path, block: Block) -> bytes:
        """Return the digest of a piece of a local file."""
        digest = hashlib.md5(usedforsecurity=False)
        with path.open("rb") as file:
            file.seek(block.offset)
            left = block.length
            while left and (data := file.read(min(left, self.step * (CHUNK_BYTES // self.step or 1)))):
                left -= len(data)
                view = memoryview(data)
                steps = range(0, len(data), self.step)
                digest.update(b"".join(self.crc(view[at : at + self.step]).to_bytes(4, "big") for at in steps))
        return digest.digest()


def of_file(blocks: Sequence[bytes]) -> str:
    """Return the digest of a file, given those of its blocks."""
    joined = b"".join(blocks)
    size = _FIRST_BUFFER
    while size < len(joined):
        size *= 2
    return hashlib.md5(joined.ljust(size, b"\0"), usedforsecurity=False).hexdigest()


def digest_in(checksum: str) -> str:
    """Return the MD5 in a checksum of WebHDFS, which adds a header and zeros."""
    return checksum[_HEADER_BYTES * 2 : (_HEADER_BYTES + _DIGEST_BYTES) * 2]


def is_same(hdfs: WebHdfs, path: str, local: Path, piece: Block | None = None) -> bool:
    """Whether a file in HDFS has the bytes of a local file, or of a piece of it."""
    status = hdfs.status(path)
    piece = piece or Block(0, local.stat().st_size)
    if status is None or status.is_folder or status.length != piece.length:
        return False
    if piece.length == 0:
        return True
    name, checksum = hdfs.checksum(path) if not status.striped else ("", "")
    algorithm = Algorithm.parse(name)
    if algorithm is None:
        return _reads_same(hdfs, path, local, piece)
    blocks = [Block(0, piece.length)] if name.startswith(_ONE_BLOCK) else hdfs.blocks(path, piece.length)
    found = [algorithm.of_block(local, Block(piece.offset + block.offset, block.length)) for block in blocks]
    return of_file(found) == digest_in(checksum)


def _reads_same(hdfs: WebHdfs, path: str, local: Path, piece: Block) -> bool:
    """Compare the bytes, where no checksum can: erasure-coded files, clusters with another algorithm."""
    with local.open("rb") as file:
        file.seek(piece.offset)
        return all(file.read(len(chunk)) == chunk for chunk in hdfs.read(path, Block(0, piece.length)))
