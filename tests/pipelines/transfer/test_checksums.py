"""A checksum computed here is the one that the cluster answers; one changed bit makes another."""

import zlib
from pathlib import Path

import pytest

from pipelines.transfer import WebHdfs
from pipelines.transfer.checksums import Algorithm, digest_in, is_same, of_file
from pipelines.transfer.webhdfs import Block
from tests.pipelines.transfer.conftest import BLOCK


@pytest.mark.hdfs
@pytest.mark.parametrize("size", [0, 1, 512, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
def test_same_bytes_and_one_bit_changed(size: int, web: WebHdfs, folder: str, tmp_path: Path) -> None:
    data = bytes(number % 253 for number in range(size))
    local = tmp_path / "x"
    local.write_bytes(data)
    web.create(f"{folder}/x", iter([data]), BLOCK)
    assert is_same(web, f"{folder}/x", local)
    local.write_bytes(data + b"x")
    assert not is_same(web, f"{folder}/x", local)
    if size:
        local.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert not is_same(web, f"{folder}/x", local)
    assert not is_same(web, f"{folder}/nowhere", local)


@pytest.mark.hdfs
def test_a_piece_of_a_file(web: WebHdfs, folder: str, source: Path) -> None:
    data = source.read_bytes()
    piece = Block(1000, 2 * BLOCK + 30)
    web.create(f"{folder}/x", iter([data[piece.offset : piece.offset + piece.length]]), BLOCK)
    assert is_same(web, f"{folder}/x", source, piece)
    assert not is_same(web, f"{folder}/x", source, Block(1001, piece.length))


@pytest.mark.hdfs
def test_erasure_coded_files_are_read(web: WebHdfs, folder: str, source: Path, tmp_path: Path) -> None:
    from hdfs.client import _Request

    kind = type(web._client)
    for name in ("ENABLEECPOLICY", "SETECPOLICY"):
        _Request("PUT").to_method(name)(web._client, folder, ecpolicy="XOR-2-1-1024k")
    assert kind is type(web._client)
    web.create(f"{folder}/x", iter([source.read_bytes()]), 1 << 20)
    status = web.status(f"{folder}/x")
    assert status is not None
    assert status.striped
    assert is_same(web, f"{folder}/x", source)
    changed = bytearray(source.read_bytes())
    changed[20_000] ^= 1
    (tmp_path / "y").write_bytes(changed)
    assert not is_same(web, f"{folder}/x", tmp_path / "y")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("MD5-of-0MD5-of-512CRC32C", 512),
        ("MD5-of-262144MD5-of-1024CRC32", 1024),
        ("COMPOSITE-CRC32C", None),
        ("MD5-of-0MD5-of-0NULL", None),
        ("MD5-of-0MD5-of-0CRC32", None),
    ],
)
def test_algorithms(name: str, found: int | None) -> None:
    algorithm = Algorithm.parse(name)
    assert (algorithm and algorithm.step) == found
    if algorithm and name.endswith("32"):
        assert algorithm.crc(b"x") == zlib.crc32(b"x")


def test_the_padding_is_hadoops(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"a" * 700)
    algorithm = Algorithm.parse("MD5-of-0MD5-of-512CRC32C")
    assert algorithm is not None
    one = algorithm.of_block(tmp_path / "x", Block(0, 700))
    assert of_file([one]) == of_file([one, bytes(16)])
    assert of_file([one] * 2) != of_file([one] * 3)
    assert digest_in("00" * 12 + "ab" * 16 + "00" * 4) == "ab" * 16
