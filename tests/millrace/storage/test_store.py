"""What the store promises: whole files, one winner, nothing half visible, nothing outside its root."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from millrace.errors import ArtifactExists, ArtifactNotFound, ConfigError, StorageError
from millrace.failpoints import ENVIRONMENT, FailpointFired
from millrace.storage import Store, download, is_plain, resolve_root

ROOT = Path(__file__).parents[3]


def files_of(store: Store) -> set[str]:
    return set(store.files.walk(store.root))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small exported model, or anything else with files in folders."""
    folder = tmp_path / "exported"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "data").write_bytes(b"weights")
    return folder


@pytest.mark.parametrize("root", ["{}", "{}/", "file://{}", "file://localhost{}"])
def test_a_root_is_a_path_or_a_uri(root: str, tmp_path: Path) -> None:
    assert resolve_root(root.format(tmp_path)) == str(tmp_path)


def test_a_uri_may_hold_escapes(tmp_path: Path) -> None:
    odd = tmp_path / "a b%c"
    assert resolve_root(odd.as_uri()) == resolve_root(str(odd)) == str(odd)


def test_a_relative_root_starts_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert resolve_root("store") == str(tmp_path / "store")
    assert resolve_root("~/store") == str(tmp_path / "home" / "store")


@pytest.mark.parametrize("root", ["s3://bucket/x", "hfds://host:8020/x", "file://other-host/x", "C://x"])
def test_other_schemes_are_a_configuration_error(root: str) -> None:
    with pytest.raises(ConfigError, match=r"store\.root") as caught:
        resolve_root(root)
    assert "file:///path or hdfs://host:port/path" in caught.value.hint


@pytest.mark.parametrize("parts", [("..",), ("a", "..", "b"), ("a/../../b",), ("/etc/passwd",), ("a", "/etc")])
def test_no_name_leaves_the_store(parts: tuple[str, ...], store: Store) -> None:
    for use in (store.uri, store.exists, store.remove, store.names, store.read, lambda *p: store.put(b"", *p)):
        with pytest.raises(ValueError, match="leaves the store"):
            use(*parts)
    with pytest.raises(ValueError, match="leaves the store"):
        store.publish_folder(Path.cwd(), *parts)
    assert not store.exists()


@pytest.mark.parametrize("name", ["", ".", "..", ".tmp-x", "a/b", "../a", "a\\b", "a\0"])
def test_names_that_are_not_plain(name: str) -> None:
    assert not is_plain(name)


@pytest.mark.parametrize("name", ["a", "flights-2", "A b", "1"])
def test_names_that_are_plain(name: str) -> None:
    assert is_plain(name)


def test_put_replaces_and_leaves_nothing_beside(store: Store) -> None:
    store.put(b"old", "runs", "p", "r.json")
    store.put(b"new", "runs", "p", "r.json")
    assert store.read("runs", "p", "r.json") == b"new"
    assert files_of(store) == {"runs/p/r.json"}
    assert store.exists("runs", "p")
    assert not store.exists("runs", "q")


def test_names_are_sorted_and_hide_what_is_staged(store: Store) -> None:
    for name in ("b", "a", ".tmp-c"):
        store.put(b"", "runs", name)
    assert store.names("runs") == ["a", "b"]
    assert store.names("nowhere") == []
    assert store.names("runs", "a") == []


def test_a_missing_file_is_named(store: Store) -> None:
    with pytest.raises(ArtifactNotFound, match=r"no file 'runs/p' in the store"):
        store.read("runs", "p")


@pytest.mark.case("B25")
def test_put_leaves_nothing_if_its_rename_fails(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.files, "replace", fails)
    with pytest.raises(StorageError):
        store.put(b"x", "a", "b")
    assert [path for path in Path(store.root).rglob("*") if path.is_file()] == []


def test_put_new_never_replaces(store: Store) -> None:
    store.put_new(b"first", "a", "marker")
    with pytest.raises(ArtifactExists, match="a/marker"):
        store.put_new(b"second", "a", "marker")
    assert store.read("a", "marker") == b"first"
    assert files_of(store) == {"a/marker"}


def test_of_many_threads_one_wins(store: Store) -> None:
    writers = 16
    together = Barrier(writers)

    def write(number: int) -> int | None:
        together.wait()
        try:
            store.put_new(b"%d" % number, "race", "marker")
        except ArtifactExists:
            return None
        return number

    with ThreadPoolExecutor(writers) as pool:
        winners = [n for n in pool.map(write, range(writers)) if n is not None]
    assert len(winners) == 1
    assert store.read("race", "marker") == b"%d" % winners[0]
    assert files_of(store) == {"race/marker"}


RACE = """
import sys
from millrace.errors import ArtifactExists
from millrace.storage import Store
store, me = Store(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
won = 0
for number in range(50):
    try:
        store.put_new(me.encode(), "race", str(number))
        won += 1
    except ArtifactExists:
        pass
print(won)
"""


def test_of_many_processes_one_wins(store: Store) -> None:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", RACE, store.root]
    writers = [subprocess.Popen([*command, str(n)], cwd=ROOT, stdin=pipe, stdout=pipe, text=True) for n in range(4)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    won = [int(out) for out in _finish(writers)]
    assert sum(won) == 50
    owners = [store.read("race", str(number)) for number in range(50)]
    assert [owners.count(b"%d" % n) for n in range(4)] == won


def _finish(writers: list["subprocess.Popen[str]"]) -> list[str]:
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    return [writer.communicate()[0] for writer in writers]


def test_a_published_folder_is_whole(store: Store, folder: Path) -> None:
    store.publish_folder(folder, "models", "m", "1")
    assert files_of(store) == {"models/m/1/saved_model.pb", "models/m/1/variables/data"}
    assert store.read("models", "m", "1", "variables", "data") == b"weights"


def test_a_taken_place_stays_as_it_is(store: Store, folder: Path) -> None:
    store.publish_folder(folder, "models", "m", "1")
    (folder / "saved_model.pb").write_bytes(b"other")
    with pytest.raises(ArtifactExists, match="models/m/1"):
        store.publish_folder(folder, "models", "m", "1")
    assert store.read("models", "m", "1", "saved_model.pb") == b"graph"
    assert store.files.names(store.uri("models", "m")) == ["1"]


def test_publishing_what_is_not_there(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ArtifactNotFound):
        store.publish_folder(tmp_path / "nowhere", "models", "m", "1")
    assert store.names("models", "m") == []


def test_a_publish_that_raises_shows_nothing(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, "publish.before_rename=raise")
    with pytest.raises(FailpointFired):
        store.publish_folder(folder, "models", "m", "1")
    assert store.names("models", "m") == []
    assert not store.exists("models", "m", "1")


def test_a_killed_publish_shows_nothing_and_can_be_done_again(store: Store, folder: Path) -> None:
    code = "import sys; from pathlib import Path; from millrace.storage import Store; "
    code += "Store(sys.argv[1]).publish_folder(Path(sys.argv[2]), 'models', 'm', '1')"
    command = [sys.executable, "-c", code, store.root, str(folder)]
    environment = {**os.environ, ENVIRONMENT: "publish.before_rename=kill9"}
    killed = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert store.names("models", "m") == []
    assert any(name.startswith(".tmp-1-") for name in store.files.names(store.uri("models", "m")))
    store.publish_folder(folder, "models", "m", "1")
    assert store.names("models", "m") == ["1"]


def test_what_is_removed_is_gone(store: Store) -> None:
    store.put(b"", "runs", "p", "r.json")
    store.put(b"", "runs", "q")
    store.remove("runs", "p")
    store.remove("runs", "q")
    store.remove("runs", "never")
    assert store.names("runs") == []


def test_a_folder_as_a_local_one(store: Store, folder: Path) -> None:
    store.publish_folder(folder, "models", "m", "1")
    with store.local_copy("models", "m", "1") as copy:
        assert (copy / "variables" / "data").read_bytes() == b"weights"
    assert store.exists("models", "m", "1", "variables", "data")
    assert store.files.size(store.uri("models", "m", "1", "saved_model.pb")) == 5


def test_a_file_is_read_from_anywhere_in_it(store: Store) -> None:
    data = os.urandom(3 << 20)
    store.put(data, "a", "b=c d%20é")
    with store.files.open_input(store.uri("a", "b=c d%20é")) as file:
        for start in (2 << 20, 5, 3 << 20):
            file.seek(start)
            assert file.read(100) == data[start : start + 100]
    assert store.names("a") == ["b=c d%20é"]


def test_what_is_there_is_not_written_again(store: Store, folder: Path, tmp_path: Path) -> None:
    store.put(b"old", "a", "saved_model.pb")
    with pytest.raises(FileExistsError), store.files.open_output(store.uri("a", "saved_model.pb")):
        pass
    download(store.uri("a"), tmp_path / "b")
    assert (tmp_path / "b" / "saved_model.pb").read_bytes() == b"old"


def test_a_file_where_a_folder_should_be(store: Store) -> None:
    store.put(b"", "runs")
    with pytest.raises((StorageError, ArtifactExists, ConfigError)):
        store.put(b"", "runs", "p", "r.json")
