"""One request a method: no rename replaces or moves inside, and a lost reply is looked up."""

import pytest
import requests

from millrace.errors import DataRejected, InputMissing, Refused
from pipelines.transfer import WebHdfs
from pipelines.transfer.access import connect
from pipelines.transfer.errors import Interrupted
from pipelines.transfer.webhdfs import Block
from tests.pipelines.transfer.conftest import BLOCK, Stranger

NAMES = [
    "a b",
    "100%",
    "%25",
    "a#b",
    "a?b",
    "ü€",
    "a\nb",
    "a+b",
    "a;b",
    "a&b=c",
    "a,b",
    "#LATEST",
    "'\"",
    "a\\b",
    "[x]*",
]


def read(web: WebHdfs, path: str) -> bytes:
    status = web.status(path)
    assert status is not None
    return b"".join(web.read(path, Block(0, status.length)))


@pytest.mark.hdfs
def test_names_are_data(web: WebHdfs, folder: str) -> None:
    for name in NAMES:
        web.create(f"{folder}/{name}", [name.encode()], BLOCK)
    assert list(web.names(folder)) == sorted(NAMES)
    for name in NAMES:
        assert read(web, f"{folder}/{name}") == name.encode()
        web.rename_new(f"{folder}/{name}", f"{folder}/moved {name}")
        assert web.remove(f"{folder}/moved {name}")
    assert list(web.walk(folder)) == []


@pytest.mark.hdfs
def test_a_rename_neither_replaces_nor_moves_inside(web: WebHdfs, folder: str) -> None:
    web.create(f"{folder}/new", [b"new"], BLOCK)
    web.create(f"{folder}/old", [b"old"], BLOCK)
    web.make_folder(f"{folder}/inner")
    web.make_folder(f"{folder}/other")
    with pytest.raises(Refused, match="exists already"):
        web.rename_new(f"{folder}/new", f"{folder}/old")
    with pytest.raises(Refused, match="exists already"):
        web.rename_new(f"{folder}/inner", f"{folder}/other")
    with pytest.raises(Exception, match="must both be directories"):
        web.rename_new(f"{folder}/new", f"{folder}/inner")
    assert web.names(f"{folder}/inner") == web.names(f"{folder}/other") == {}
    assert read(web, f"{folder}/old") == b"old"
    web.replace(f"{folder}/new", f"{folder}/old")
    assert read(web, f"{folder}/old") == b"new"
    with pytest.raises(Interrupted, match="is gone"):
        web.rename_new(f"{folder}/new", f"{folder}/old")


@pytest.mark.hdfs
def test_a_rename_whose_reply_is_lost_is_done(web: WebHdfs, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = web._client._rename

    def lossy(*arguments: object, **named: object) -> None:
        rename(*arguments, **named)
        raise requests.ConnectionError

    web.create(f"{folder}/new", [b"new"], BLOCK)
    monkeypatch.setattr(web._client, "_rename", lossy)
    web.rename_new(f"{folder}/new", f"{folder}/moved")
    assert read(web, f"{folder}/moved") == b"new"
    monkeypatch.setattr(web._client, "_rename", lambda *arguments, **named: rename("/nowhere", **named))
    with pytest.raises(InputMissing):
        web.rename_new(f"{folder}/moved", f"{folder}/again")


@pytest.mark.hdfs
def test_blocks_and_pieces(web: WebHdfs, folder: str) -> None:
    data = bytes(range(256)) * 100
    web.create(f"{folder}/x", [data[:10], data[10:]], BLOCK)
    blocks = web.blocks(f"{folder}/x", len(data))
    assert blocks == [Block(at, min(BLOCK, len(data) - at)) for at in range(0, len(data), BLOCK)]
    assert b"".join(web.read(f"{folder}/x", blocks[1])) == data[BLOCK : 2 * BLOCK]
    assert b"".join(web.read(f"{folder}/x", Block(5, 0))) == b""
    with pytest.raises(InputMissing):
        list(web.read(f"{folder}/y", Block(0, 1)))
    assert web.status(f"{folder}/y") is None
    assert not web.remove(f"{folder}/y")


@pytest.mark.hdfs
def test_more_sources_than_an_address_holds(web: WebHdfs, folder: str) -> None:
    deep = f"{folder}/{'/'.join(['%' * 250] * 4)}"
    parts = [f"{deep}/{number}" for number in range(12)]
    for number, part in enumerate(parts):
        web.create(part, [bytes([number]) * 512], BLOCK)
    web.concat(parts[0], parts[1:])
    assert read(web, parts[0]) == b"".join(bytes([number]) * 512 for number in range(12))
    assert list(web.names(deep)) == [parts[0].rpartition("/")[2]]


@pytest.mark.parametrize("name", ["../etc", "..", "a/b"])
def test_a_server_cannot_name_files_outside_the_folder(name: str, stranger: Stranger) -> None:
    from millrace.config.sections.profile import Transfer

    entry = f'{{"pathSuffix": "{name}", "type": "FILE", "length": 1, "fileId": 1, "modificationTime": 1, "owner": "x"}}'
    stranger.body = f'{{"FileStatuses": {{"FileStatus": [{entry}]}}}}'.encode()
    web = connect(Transfer(url=f"http://127.0.0.1:{stranger.port}"))
    with pytest.raises(DataRejected, match="would leave the folder"):
        web.names("/data")
