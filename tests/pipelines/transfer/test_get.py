"""Out of HDFS: whole or not at all, and whatever interrupts it, the same command finishes it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from millrace.config.sections.profile import Transfer
from millrace.errors import ConfigError, DataRejected, InputMissing, Refused, StorageError
from millrace.failpoints import ENVIRONMENT, FailpointFired
from pipelines.hadoop.cluster import Cluster
from pipelines.transfer import Moved, WebHdfs, connect, get
from pipelines.transfer.webhdfs import Block
from tests.pipelines.transfer.conftest import BLOCK
from tests.pipelines.transfer.test_webhdfs import NAMES

pytestmark = pytest.mark.hdfs


def fetch(web: WebHdfs, source: str, target: Path, *, force: bool = False, workers: int = 2) -> Moved:
    return get(web, source, target, force=force, workers=workers)


def hidden(folder: Path) -> list[Path]:
    return sorted(folder.glob(".*"))


@pytest.fixture
def remote(web: WebHdfs, folder: str, source: Path) -> str:
    """The file of many blocks, in HDFS."""
    web.create(f"{folder}/x", iter([source.read_bytes()]), BLOCK)
    return f"{folder}/x"


def test_a_file(web: WebHdfs, remote: str, source: Path, tmp_path: Path) -> None:
    target, size = tmp_path / "deep" / "a b", source.stat().st_size
    assert fetch(web, remote, target) == Moved("committed", str(target), 1, size, size)
    assert target.read_bytes() == source.read_bytes()
    assert fetch(web, remote, target) == Moved("already", str(target), 1, size, 0)
    target.write_bytes(b"mine")
    with pytest.raises(Refused, match="exists already, and differs"):
        fetch(web, remote, target)
    assert target.read_bytes() == b"mine"
    fetch(web, remote, target, force=True)
    assert target.read_bytes() == source.read_bytes()
    with pytest.raises(Refused, match="is a folder"):
        fetch(web, remote, target.parent, force=True)
    with pytest.raises(InputMissing):
        fetch(web, f"{remote}/nowhere", target, force=True)
    assert hidden(target.parent) == []


def test_a_folder(web: WebHdfs, folder: str, tmp_path: Path) -> None:
    for name in [*NAMES, "deep/er/x", "nothing"]:
        web.create(f"{folder}/{name}", iter([b"" if name == "nothing" else name.encode()]), BLOCK)
    web.make_folder(f"{folder}/void/inner")
    target = tmp_path / "got"
    assert fetch(web, folder, target, workers=4).files == len(NAMES) + 2
    found = {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert found == {**{name: name.encode() for name in [*NAMES, "deep/er/x"]}, "nothing": b""}
    assert (target / "void" / "inner").is_dir()
    assert fetch(web, folder, target).outcome == "already"
    (target / "mine").touch()
    with pytest.raises(Refused):
        fetch(web, folder, target)
    assert fetch(web, folder, target, force=True).outcome == "committed"
    assert not (target / "mine").exists()
    assert hidden(tmp_path) == []


def test_an_interrupted_file_goes_on_where_it_was(
    web: WebHdfs, remote: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a block that got a flipped byte on this machine's disk is fetched again."""
    monkeypatch.setenv(ENVIRONMENT, "transfer.before_rename=raise")
    with pytest.raises(FailpointFired):
        fetch(web, remote, tmp_path / "x")
    assert not (tmp_path / "x").exists()
    staged = hidden(tmp_path)[0] / "tree"
    with staged.open("r+b") as file:
        file.seek(BLOCK + 3)
        file.write(b"\xff")
    monkeypatch.delenv(ENVIRONMENT)
    assert fetch(web, remote, tmp_path / "x").sent == BLOCK
    assert (tmp_path / "x").read_bytes() == source.read_bytes()


def test_a_source_that_is_another_one_by_now_starts_anew(
    web: WebHdfs, remote: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT, "transfer.before_rename=raise")
    with pytest.raises(FailpointFired):
        fetch(web, remote, tmp_path / "x")
    monkeypatch.delenv(ENVIRONMENT)
    data = source.read_bytes()[::-1]
    web.remove(remote)
    web.create(remote, iter([data]), BLOCK)
    assert fetch(web, remote, tmp_path / "x").sent == len(data)
    assert (tmp_path / "x").read_bytes() == data


def test_a_byte_flipped_on_the_way_is_noticed(
    web: WebHdfs, remote: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = web.read

    def flipping(path: str, block: Block) -> Iterator[bytes]:
        for chunk in read(path, block):
            yield bytes([chunk[0] ^ 1]) + chunk[1:]

    monkeypatch.setattr(web, "read", flipping)
    with pytest.raises(StorageError, match="arrived damaged"):
        fetch(web, remote, tmp_path / "x")
    assert not (tmp_path / "x").exists()
    monkeypatch.setattr(web, "read", read)
    fetch(web, remote, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == source.read_bytes()


def test_an_answer_that_ends_early_is_asked_again(
    web: WebHdfs, remote: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, short = web.read, [True]

    def cut(path: str, block: Block) -> Iterator[bytes]:
        yield from read(path, Block(block.offset, block.length // 2) if short and short.pop() else block)

    monkeypatch.setattr(web, "read", cut)
    fetch(web, remote, tmp_path / "x", workers=1)
    assert (tmp_path / "x").read_bytes() == source.read_bytes()


def test_what_does_not_pass_is_not_visible(web: WebHdfs, remote: str, tmp_path: Path) -> None:
    def check(staged: Path) -> None:
        raise DataRejected(f"{staged.stat().st_size} bytes are bad")

    with pytest.raises(DataRejected, match="bytes are bad"):
        get(web, remote, tmp_path / "x", force=False, workers=1, check=check)
    assert not (tmp_path / "x").exists()


def test_a_disk_that_takes_no_more(web: WebHdfs, remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "file" / "x"
    target.parent.touch()
    with pytest.raises(StorageError, match="local folder"):
        fetch(web, remote, target)
    if os.geteuid():
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(ConfigError, match="no permission"):
            fetch(web, remote, tmp_path / "locked" / "x")


def test_nobody_may_read_it(hdfs: Cluster, web: WebHdfs, remote: str, tmp_path: Path) -> None:
    web._client.set_permission(remote, "600")
    with pytest.raises(ConfigError, match="as user 'bob': Permission denied"):
        fetch(connect(Transfer(url=hdfs.webhdfs, user="bob")), remote, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_block_that_is_bad_on_every_disk(
    hdfs: Cluster, web: WebHdfs, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.transfer.plan.TRIES", 1)
    data = os.urandom(BLOCK)
    web.create(f"{folder}/bad", iter([data]), BLOCK)
    copies = [path for path in hdfs.folder.glob("datanode-*/**/blk_*") if path.read_bytes() == data]
    assert len(copies) == 2
    for path in copies:
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(StorageError, match="/bad'"):
        fetch(web, f"{folder}/bad", tmp_path / "x")
    web.remove(f"{folder}/bad")
    assert not (tmp_path / "x").exists()
