"""Into HDFS: whole or not at all, and whatever interrupts it, the same command finishes it."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from millrace.config.sections.profile import Transfer
from millrace.errors import ConfigError, InputMissing, Refused, StorageError
from millrace.failpoints import ENVIRONMENT, FailpointFired
from pipelines.hadoop.cluster import Cluster
from pipelines.transfer import Moved, WebHdfs, connect, put
from pipelines.transfer.put import checked_path, checked_target
from tests.pipelines.transfer.conftest import BLOCK
from tests.pipelines.transfer.test_webhdfs import NAMES, read

pytestmark = pytest.mark.hdfs


def send(web: WebHdfs, source: Path, target: str, *, force: bool = False, workers: int = 2) -> Moved:
    return put(web, source, target, force=force, workers=workers, block_bytes=BLOCK)


def hidden(web: WebHdfs, folder: str) -> list[str]:
    return [name for name in web.names(folder) if name.startswith(".")]


def test_a_file_of_many_blocks(web: WebHdfs, folder: str, source: Path) -> None:
    size = source.stat().st_size
    assert send(web, source, f"{folder}/deep/x") == Moved("committed", f"{folder}/deep/x", 1, size, size)
    assert read(web, f"{folder}/deep/x") == source.read_bytes()
    assert [block.length for block in web.blocks(f"{folder}/deep/x", size)] == [BLOCK, BLOCK, BLOCK, 100]
    assert send(web, source, f"{folder}/deep/x") == Moved("already", f"{folder}/deep/x", 1, size, 0)
    assert hidden(web, f"{folder}/deep") == []


def test_what_is_there_is_replaced_only_by_force(web: WebHdfs, folder: str, source: Path, tmp_path: Path) -> None:
    send(web, source, f"{folder}/x")
    before = source.read_bytes()
    source.write_bytes(before[:-1] + b"!")
    with pytest.raises(Refused, match="exists already, and differs") as caught:
        send(web, source, f"{folder}/x")
    assert "--force" in caught.value.hint
    assert read(web, f"{folder}/x") == before
    assert send(web, source, f"{folder}/x", force=True).outcome == "committed"
    assert read(web, f"{folder}/x") == source.read_bytes()
    for target, kind in ((folder, "folder"), (f"{folder}/x", "file")):
        odd = source if kind == "folder" else tmp_path
        with pytest.raises(Refused, match=f"is a {kind}"):
            send(web, odd, target, force=True)
    with pytest.raises(InputMissing):
        send(web, tmp_path / "nowhere", f"{folder}/y")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder of odd names, an empty file and an empty folder."""
    made = tmp_path / "tree"
    for name in [*NAMES, "deep/er/x", "c,d/many"]:
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(name.encode() * (3000 if name == "c,d/many" else 1))
    (made / "nothing").touch()
    (made / "void" / "inner").mkdir(parents=True)
    return made


def files_below(web: WebHdfs, folder: str) -> dict[str, bytes]:
    return {name: read(web, f"{folder}/{name}") for name, each in web.walk(folder) if not each.is_folder}


def test_a_folder(web: WebHdfs, folder: str, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {path.relative_to(tree).as_posix(): path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    monkeypatch.setenv(ENVIRONMENT, "transfer.before_rename=raise")
    with pytest.raises(FailpointFired):
        send(web, tree, f"{folder}/in, here/x")
    assert web.status(f"{folder}/in, here/x") is None
    monkeypatch.delenv(ENVIRONMENT)
    (tree / "a b").unlink()  # staged already, and not wanted any more
    (tree / "100%").write_bytes(b"changed")
    expected = {**expected, "100%": b"changed"}
    expected.pop("a b")
    moved = send(web, tree, f"{folder}/in, here/x", workers=4)
    assert (moved.outcome, moved.files, moved.sent) == ("committed", len(expected), len(b"changed"))
    assert files_below(web, f"{folder}/in, here/x") == expected
    assert web.names(f"{folder}/in, here/x/void/inner") == {}
    assert send(web, tree, f"{folder}/in, here/x").outcome == "already"
    assert hidden(web, f"{folder}/in, here") == []


def test_a_folder_by_force_is_always_one_of_the_two(
    web: WebHdfs, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = tmp_path / "new"
    new.mkdir()
    (new / "a").write_bytes(b"old")
    send(web, new, f"{folder}/x")
    (new / "a").write_bytes(b"new")
    with pytest.raises(Refused):
        send(web, new, f"{folder}/x")
    rename = web.rename_new

    def fail_at(place: str) -> None:
        def failing(source: str, target: str) -> None:
            if target == place:
                monkeypatch.setattr(web, "rename_new", rename)
                raise StorageError("broken")
            rename(source, target)

        monkeypatch.setattr(web, "rename_new", failing)

    fail_at(f"{folder}/x")
    with pytest.raises(StorageError, match="broken"):
        send(web, new, f"{folder}/x", force=True)
    assert files_below(web, f"{folder}/x") == {"a": b"old"}
    # Killed between the two renames: the old one waits beside it, and the same command finishes.
    staging = hidden(web, folder)[0]
    rename(f"{folder}/x", f"{folder}/{staging}/replaced")
    assert send(web, new, f"{folder}/x", force=True).sent == 0
    assert files_below(web, f"{folder}/x") == {"a": b"new"}
    (new / "a").write_bytes(b"newer")
    send(web, new, f"{folder}/x", force=True)
    assert files_below(web, f"{folder}/x") == {"a": b"newer"}
    assert hidden(web, folder) == []


def test_an_interrupted_file_goes_on_where_it_was(
    web: WebHdfs, folder: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a block that was staged with a flipped byte is sent again."""
    size = source.stat().st_size
    monkeypatch.setenv(ENVIRONMENT, "transfer.before_rename=raise")
    monkeypatch.setattr(WebHdfs, "concat", _broken)
    with pytest.raises(StorageError, match="broken"):
        send(web, source, f"{folder}/x", workers=1)
    monkeypatch.undo()
    staging = f"{folder}/{hidden(web, folder)[0]}"
    found = [f"{staging}/{name}" for name, each in web.walk(staging) if not each.is_folder]
    assert [path.rpartition("/")[2] for path in found] == ["000000", "000001", "000002", "000003"]
    flipped = bytearray(read(web, found[1]))
    flipped[5] ^= 1
    web.remove(found[1])
    web.create(found[1], iter([bytes(flipped)]), BLOCK)
    web.remove(found[3])
    assert web.status(f"{folder}/x") is None
    assert send(web, source, f"{folder}/x") == Moved("committed", f"{folder}/x", 1, size, BLOCK + 100)
    assert read(web, f"{folder}/x") == source.read_bytes()


def _broken(self: WebHdfs, target: str, sources: list[str]) -> None:
    raise StorageError("broken")


def test_killed_while_blocks_become_one_file(
    web: WebHdfs, folder: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    concat = web.concat

    def half(target: str, sources: list[str]) -> None:
        concat(target, sources[:1])
        raise StorageError("broken")

    monkeypatch.setattr(web, "concat", half)
    with pytest.raises(StorageError, match="broken"):
        send(web, source, f"{folder}/x")
    monkeypatch.setattr(web, "concat", concat)
    assert send(web, source, f"{folder}/x").sent == 0
    assert read(web, f"{folder}/x") == source.read_bytes()


def test_a_byte_flipped_on_the_way_is_noticed(
    web: WebHdfs, folder: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = web.create
    flips = [True, False, False, False, False]

    def flipping(path: str, data: Iterable[bytes], block_bytes: int) -> None:
        sent = bytearray(b"".join(data))
        sent[17] ^= 4 if flips.pop(0) else 0
        create(path, iter([bytes(sent)]), block_bytes)

    monkeypatch.setattr(web, "create", flipping)
    assert send(web, source, f"{folder}/x", workers=1).sent == source.stat().st_size + BLOCK
    assert read(web, f"{folder}/x") == source.read_bytes()
    monkeypatch.setattr("pipelines.transfer.plan.TRIES", 1)
    flips.append(True)
    with pytest.raises(StorageError, match="arrived damaged"):
        send(web, source, f"{folder}/y", workers=1)
    assert web.status(f"{folder}/y") is None


def test_a_source_that_grows(web: WebHdfs, folder: str, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create = web.create

    def growing(path: str, data: Iterable[bytes], block_bytes: int) -> None:
        create(path, data, block_bytes)
        with source.open("ab") as file:
            file.write(b"more")

    monkeypatch.setattr(web, "create", growing)
    with pytest.raises(StorageError, match="changed while it was sent"):
        send(web, source, f"{folder}/x")
    assert web.status(f"{folder}/x") is None


def test_a_full_quota_and_then_none(hdfs: Cluster, web: WebHdfs, folder: str, source: Path) -> None:
    hdfs.admin("-setSpaceQuota", str(3 * BLOCK), folder)  # two replicas of one block, and half of one more
    with pytest.raises(StorageError, match=r"[Qq]uota") as caught:
        send(web, source, f"{folder}/x", workers=1)
    assert "raise the quota" in caught.value.hint
    assert web.status(f"{folder}/x") is None
    hdfs.admin("-clrSpaceQuota", folder)
    assert send(web, source, f"{folder}/x").sent == source.stat().st_size - BLOCK
    assert read(web, f"{folder}/x") == source.read_bytes()


def test_nobody_may_write_there(hdfs: Cluster, folder: str, source: Path) -> None:
    bob = connect(Transfer(url=hdfs.webhdfs, user="bob"))
    with pytest.raises(ConfigError, match="as user 'bob': Permission denied"):
        send(bob, source, f"{folder}/x")


def test_an_erasure_coded_folder(web: WebHdfs, folder: str, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files have no checksum that could be computed here: each is read back."""
    from hdfs.client import _Request

    for name in ("ENABLEECPOLICY", "SETECPOLICY"):
        _Request("PUT").to_method(name)(web._client, folder, ecpolicy="XOR-2-1-1024k")
    source.write_bytes(source.read_bytes() * 50)
    monkeypatch.setenv(ENVIRONMENT, "transfer.before_rename=raise")
    with pytest.raises(FailpointFired):
        put(web, source, f"{folder}/x", force=False, workers=2, block_bytes=1 << 20)
    monkeypatch.delenv(ENVIRONMENT)
    assert put(web, source, f"{folder}/x", force=False, workers=2, block_bytes=1 << 20).sent == 0
    assert read(web, f"{folder}/x") == source.read_bytes()


@pytest.mark.parametrize(
    ("typed", "full"),
    [("/a", "/a/"), ("/a/", "/a/x"), ("//a//b", "/a/b/"), ("/", "/x")],
)
def test_paths_that_a_user_types(typed: str, full: str) -> None:
    assert checked_path(checked_target(typed, "x")) == full.rstrip("/")


@pytest.mark.parametrize("typed", ["", "a", "a/b", "/a/../b", "/a/./b", "hdfs://nn/a", "/a\0b"])
def test_what_is_no_path(typed: str) -> None:
    with pytest.raises(ConfigError, match="is not a path in HDFS"):
        checked_path(typed)


def test_a_folder_on_this_machine_that_is_empty(web: WebHdfs, folder: str, tmp_path: Path) -> None:
    (tmp_path / "void").mkdir()
    assert send(web, tmp_path / "void", f"{folder}/x").outcome == "committed"
    status = web.status(f"{folder}/x")
    assert status is not None
    assert status.is_folder
    shutil.rmtree(tmp_path / "void")
