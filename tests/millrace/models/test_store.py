"""The model store: whole versions in order, and no file that was not published."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from millrace.errors import ArtifactExists, ArtifactNotFound, DataRejected
from millrace.failpoints import ENVIRONMENT, FailpointFired
from millrace.features.spec import Feature, FeatureSpec, Label, Numeric
from millrace.models.files import checked_copy, list_files, verify_files
from millrace.models.manifest import MANIFEST, Lineage, ModelDamaged, ModelManifest
from millrace.models.store import ModelStore
from millrace.storage import Store
from pipelines.hadoop.cluster import Cluster
from tests.millrace.manifests import export, manifest_of

ROOT = Path(__file__).parents[3]


@pytest.fixture
def models(store: Store) -> ModelStore:
    return ModelStore(store)


def test_versions_count_up(models: ModelStore, tmp_path: Path) -> None:
    for number in range(1, 12):
        version = models.publish(export(tmp_path / str(number)), manifest_of("m"))
        assert version.manifest.version == number
    assert models.versions("m") == list(range(1, 12))
    assert models.open("m").manifest.version == 11
    assert models.open("m", 2).folder.name == "2"
    assert models.names() == ["m"]


def test_versions_carry_the_wait_of_their_store(tmp_path: Path) -> None:
    models = ModelStore(Store(str(tmp_path / "store"), wait_s=30))
    published = models.publish(export(tmp_path / "e"), manifest_of("m"))
    assert published.retry.wait_s == models.open("m").retry.wait_s == 30


def test_the_manifest_lists_every_file(models: ModelStore, tmp_path: Path) -> None:
    published = models.publish(export(tmp_path / "e"), manifest_of("m"))
    assert [f.path for f in published.manifest.files] == ["saved_model.pb", "variables/data", "variables/index"]
    assert published.manifest.files == list_files(published.folder)
    opened = models.open("m")
    assert opened == published
    verify_files(opened)


def test_the_digest_is_that_of_the_files(models: ModelStore, tmp_path: Path) -> None:
    first = models.publish(export(tmp_path / "1"), manifest_of("m")).manifest
    second = models.publish(export(tmp_path / "2"), manifest_of("m")).manifest
    third = models.publish(export(tmp_path / "3", b"other weights"), manifest_of("m")).manifest
    assert first.digest == second.digest != third.digest


def add(folder: Path) -> None:
    (folder / "assets").mkdir()
    (folder / "assets" / "vocabulary").write_text("x")


def hide(folder: Path) -> None:
    (folder / "variables" / ".hidden").write_text("x")


def remove(folder: Path) -> None:
    (folder / "variables" / "data").unlink()


def change(folder: Path) -> None:
    (folder / "variables" / "data").write_bytes(b"w3ights")


def cut(folder: Path) -> None:
    (folder / "saved_model.pb").write_bytes(b"gra")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (add, "assets/vocabulary is not in model.json"),
        (hide, "variables/.hidden is not in model.json"),
        (remove, "variables/data is missing"),
        (change, "variables/data does not have the digest in model.json"),
        (cut, "saved_model.pb does not have the digest in model.json"),
    ],
)
def test_a_damaged_file_is_named(
    damage: Callable[[Path], None], reason: str, models: ModelStore, tmp_path: Path
) -> None:
    version = models.publish(export(tmp_path / "e"), manifest_of("m"))
    damage(version.folder)
    with pytest.raises(ModelDamaged) as caught:
        verify_files(models.open("m"))
    assert str(caught.value) == f"model m version 1: {reason}"
    assert isinstance(caught.value, DataRejected)


def replace(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


def edit(**values: object) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (Path.unlink, "it has no model.json"),
        (replace(""), "model.json is not valid"),
        (replace('{"name": "m"'), "model.json is not valid"),
        (replace("{}"), "model.json is not valid"),
        (edit(surprise=1), "model.json is not valid"),
        (edit(files="none"), "model.json is not valid"),
        (edit(name="other"), "model.json names other version 1"),
        (edit(version=7), "model.json names m version 7"),
    ],
)
def test_a_damaged_manifest_is_named(
    damage: Callable[[Path], object], reason: str, models: ModelStore, tmp_path: Path
) -> None:
    version = models.publish(export(tmp_path / "e"), manifest_of("m"))
    damage(version.folder / MANIFEST)
    with pytest.raises(ModelDamaged) as caught:
        models.open("m")
    assert caught.value.reason == reason


def test_only_numbers_are_versions(models: ModelStore, tmp_path: Path) -> None:
    models.publish(export(tmp_path / "e"), manifest_of("m"))
    for name in ("_log", "0", "01", "1.5", "latest", ".tmp-2-x"):
        Path(models.store.uri("models", "m", name)).mkdir()
    Path(models.store.uri("models", "empty")).mkdir()
    assert models.versions("m") == [1]
    assert models.names() == ["m"]


@pytest.mark.parametrize("name", ["none", "../m", "/etc", "", ".", "m/1", "a\0"])
def test_a_model_that_is_not_there(name: str, models: ModelStore) -> None:
    with pytest.raises(ArtifactNotFound) as caught:
        models.open(name)
    assert caught.value.hint == "run: millrace train FILE"


@pytest.mark.parametrize("version", [0, 2, -1])
def test_a_version_that_is_not_there(version: int, models: ModelStore, tmp_path: Path) -> None:
    models.publish(export(tmp_path / "e"), manifest_of("m"))
    with pytest.raises(ArtifactNotFound, match=rf"no version {version} of model 'm'") as caught:
        models.open("m", version)
    assert caught.value.hint == "versions: 1"


PUBLISH = """
import sys
from pathlib import Path
from millrace.models.store import ModelStore
from millrace.storage import Store
from tests.millrace.manifests import export, manifest_of
models, me = ModelStore(Store(sys.argv[1])), sys.argv[2]
folders = [export(Path(sys.argv[3], f"{me}-{n}"), f"{me}-{n}".encode()) for n in range(2)]
print("ready", flush=True)
sys.stdin.readline()
print(*(models.publish(folder, manifest_of("m", author=me)).manifest.version for folder in folders))
"""


def test_four_processes_publish_at_once(models: ModelStore, tmp_path: Path) -> None:
    """Each publisher gets numbers of its own, and each version holds one publisher's files."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", PUBLISH, models.store.root]
    publishers = [
        subprocess.Popen([*command, str(n), str(tmp_path)], cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        for n in range(4)
    ]
    for publisher in publishers:
        assert publisher.stdout is not None
        assert publisher.stdout.readline() == "ready\n"
    for publisher in publishers:
        assert publisher.stdin is not None
        publisher.stdin.write("\n")
        publisher.stdin.flush()
    numbers = [[int(n) for n in publisher.communicate()[0].split()] for publisher in publishers]
    assert sorted(n for pair in numbers for n in pair) == list(range(1, 9)) == models.versions("m")
    for author, pair in enumerate(numbers):
        for turn, number in enumerate(pair):
            version = models.open("m", number)
            verify_files(version)
            assert version.manifest.author == str(author)
            assert (version.folder / "variables" / "data").read_text() == f"{author}-{turn}"


@pytest.mark.hdfs
def test_a_copy_of_a_version_on_hdfs(hdfs: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_CACHE", str(tmp_path / "cache"))
    models = ModelStore(Store(f"{hdfs.hdfs}/copies"))
    published = models.publish(export(tmp_path / "e"), manifest_of("m"))
    monkeypatch.setenv(ENVIRONMENT, "cache.before_rename=raise")
    with pytest.raises(FailpointFired):
        checked_copy(published)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
    monkeypatch.delenv(ENVIRONMENT)
    copy = checked_copy(published)
    assert copy.manifest == published.manifest
    assert list_files(copy.folder) == published.manifest.files
    assert checked_copy(published) == copy
    os.utime(copy.folder, (1, 1))
    assert checked_copy(published) == copy
    assert copy.folder.stat().st_mtime > 1, "it is in use"

    (copy.folder / "variables" / "data").write_bytes(b"rotten")  # the copy, not the version
    assert list_files(checked_copy(published).folder) == published.manifest.files

    shutil.rmtree(tmp_path / "cache")
    models.store.put(b"changed", "models", "m", "1", "variables", "data")
    with pytest.raises(ModelDamaged, match=r"m version 1: variables/data does not have the digest"):
        checked_copy(published)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


class Twice(Store):
    """A store whose rename is sent again, since the reply to the first one was lost."""

    def publish_folder(self, source: Path, *parts: str) -> None:
        super().publish_folder(source, *parts)
        super().publish_folder(source, *parts)


def test_a_version_whose_reply_was_lost_is_published_once(store: Store, tmp_path: Path) -> None:
    published = ModelStore(Twice(store.root)).publish(export(tmp_path / "e"), manifest_of("m"))
    assert published.manifest.version == 1
    assert ModelStore(store).versions("m") == [1]


class Rival(Store):
    """A store in which another publisher is always faster."""

    def publish_folder(self, source: Path, *parts: str) -> None:
        manifest = source / MANIFEST
        mine = manifest.read_text()
        manifest.write_text(mine.replace('"author": ""', '"author": "rival"'))
        super().publish_folder(source, *parts)
        manifest.write_text(mine)
        super().publish_folder(source, *parts)


def test_a_publisher_that_always_loses_gives_up(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ArtifactExists, match="m/10"):
        ModelStore(Rival(store.root)).publish(export(tmp_path / "e"), manifest_of("m"))


def test_what_another_run_made_of_the_same_is_not_published_again(store: Store, tmp_path: Path) -> None:
    models = ModelStore(store)
    first = models.publish(export(tmp_path / "1"), manifest_of("m"))
    assert models.publish(export(tmp_path / "2", b"twin"), manifest_of("m", run_id="r2")) == first
    known = manifest_of("m", run_id="r3", parent=1)  # made by one who knew version 1, and wanted it again
    assert models.publish(export(tmp_path / "3", b"again"), known).manifest.version == 2
    assert models.versions("m") == [1, 2]


class Overtaken(Store):
    """A store in which a twin publishes just before the rename."""

    def publish_folder(self, source: Path, *parts: str) -> None:
        ModelStore(Store(self.root)).publish(export(source.parent / "twin"), manifest_of("m", run_id="twin"))
        super().publish_folder(source, *parts)


def test_a_twin_that_was_faster_is_found(store: Store, tmp_path: Path) -> None:
    published = ModelStore(Overtaken(store.root)).publish(export(tmp_path / "e"), manifest_of("m"))
    assert published.manifest.lineage.run_id == "twin"
    assert ModelStore(store).versions("m") == [1]


def test_a_manifest_survives_its_journey() -> None:
    manifest = manifest_of("m")
    text = manifest.model_dump_json(by_alias=True)
    assert ModelManifest.model_validate_json(text) == manifest
    assert isinstance(manifest.lineage, Lineage)
    assert manifest.features == FeatureSpec(
        inputs=(Feature(name="a", dtype="float64", nullable=True, transform=Numeric()),),
        label=Label(name="y", task="binary", classes=(0, 1)),
        key=("k",),
    )


@pytest.mark.case("S5")
def test_why_a_model_has_no_version(tmp_path: Path) -> None:
    """The mistakes that people make when they copy a model."""
    missing = ModelStore(Store(str(tmp_path / "nothing")))
    assert missing.why_no_version("m") == f"there is no store at {tmp_path / 'nothing'} yet"
    for path in (
        "flat/saved_model.pb",
        "worded/v1/saved_model.pb",
        "padded/0001/saved_model.pb",
        "good/7/saved_model.pb",
    ):
        (tmp_path / "models" / path).parent.mkdir(parents=True)
        (tmp_path / "models" / path).touch()
    models = ModelStore(Store(str(tmp_path)))
    assert "saved_model.pb lies in models/flat: move the files to models/flat/1" in models.why_no_version("flat")
    assert "'v1' in models/worded is no version" in models.why_no_version("worded")
    assert "'0001' in models/padded is no version" in models.why_no_version("padded")
    assert "that the settings allow" in models.why_no_version("good")
    assert "has no version of it yet" in models.why_no_version("new")
    assert "not the name of a folder" in models.why_no_version("../new")
    with pytest.raises(ArtifactNotFound) as caught:
        models.open("Good")
    assert caught.value.hint == "did you mean 'good'?"
    (tmp_path / "models" / "good" / "8").mkdir()
    with pytest.raises(ModelDamaged, match=r"neither model.json nor saved_model.pb"):
        models.open("good", 8)
