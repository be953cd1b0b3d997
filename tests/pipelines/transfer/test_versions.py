"""A model version goes from store to store whole and verified, or not at all."""

from pathlib import Path

import pytest

from millrace.errors import ArtifactNotFound, ConfigError, Refused
from millrace.failpoints import ENVIRONMENT, FailpointFired
from millrace.models.manifest import ModelDamaged, ModelVersion
from millrace.models.store import ModelStore
from millrace.storage import Store
from pipelines.hadoop.cluster import Cluster
from pipelines.transfer import Moved, WebHdfs
from pipelines.transfer.versions import pull, push
from tests.millrace.manifests import export, manifest_of
from tests.pipelines.transfer.conftest import BLOCK

pytestmark = pytest.mark.hdfs


@pytest.fixture
def version(store: Store, tmp_path: Path) -> ModelVersion:
    return ModelStore(store).publish(export(tmp_path / "e", b"w" * 3 * BLOCK), manifest_of("m"))


def send(web: WebHdfs, root: str, version: ModelVersion) -> Moved:
    return push(web, root, version, workers=2, block_bytes=BLOCK)


def test_there_and_back(
    hdfs: Cluster, web: WebHdfs, folder: str, version: ModelVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = ModelStore(Store(f"{hdfs.hdfs}{folder}"))
    monkeypatch.setenv(ENVIRONMENT, "transfer.before_rename=raise")
    with pytest.raises(FailpointFired):
        send(web, folder, version)
    assert there.names() == []  # what is staged is no version
    monkeypatch.delenv(ENVIRONMENT)
    assert send(web, folder, version).sent == 0
    assert there.open("m").manifest == version.manifest
    assert send(web, folder, version).outcome == "already"
    back = ModelStore(Store(str(tmp_path / "back")))
    monkeypatch.setenv(ENVIRONMENT, "transfer.before_rename=raise")
    with pytest.raises(FailpointFired):
        pull(web, folder, "m", None, back.store, workers=2)
    assert back.names() == []
    monkeypatch.delenv(ENVIRONMENT)
    assert pull(web, folder, "m", None, back.store, workers=2).outcome == "committed"
    assert pull(web, folder, "m", 1, back.store, workers=2).outcome == "already"
    assert back.open("m").manifest == version.manifest


def test_a_version_that_was_changed_over_there_is_not_let_in(
    web: WebHdfs, folder: str, version: ModelVersion, tmp_path: Path
) -> None:
    send(web, folder, version)
    place = f"{folder}/models/m/1/saved_model.pb"
    web.remove(place)
    web.create(place, iter([b"grapj"]), BLOCK)
    here = Store(str(tmp_path / "back"))
    with pytest.raises(ModelDamaged, match=r"model m version 1: saved_model\.pb does not have the digest"):
        pull(web, folder, "m", None, here, workers=2)
    assert ModelStore(here).names() == []
    web.remove(f"{folder}/models/m/1/model.json")
    with pytest.raises(ModelDamaged, match=r"model\.json is missing"):
        pull(web, folder, "m", None, here, workers=2)
    web.create(
        f"{folder}/models/m/2/model.json", iter([version.manifest.model_dump_json(by_alias=True).encode()]), BLOCK
    )
    with pytest.raises(ModelDamaged, match="names m version 1"):
        pull(web, folder, "m", 2, here, workers=2)
    assert ModelStore(here).names() == []


def test_a_version_is_never_replaced(web: WebHdfs, folder: str, version: ModelVersion, tmp_path: Path) -> None:
    send(web, folder, version)
    other = Store(str(tmp_path / "other"))
    changed = ModelStore(other).publish(export(tmp_path / "f", b"other"), manifest_of("m"))
    with pytest.raises(Refused, match="another version 1 of model 'm'") as caught:
        send(web, folder, changed)
    assert "--force" not in caught.value.hint
    with pytest.raises(Refused, match="versions are never replaced"):
        pull(web, folder, "m", None, other, workers=2)


def test_what_is_not_there(web: WebHdfs, folder: str, version: ModelVersion, store: Store, hdfs: Cluster) -> None:
    for name in ("m", "../m", "", ".."):
        with pytest.raises(ArtifactNotFound, match="there is no model"):
            pull(web, folder, name, None, store, workers=1)
    send(web, folder, version)
    with pytest.raises(ArtifactNotFound, match="no version 2 of model 'm'") as caught:
        pull(web, folder, "m", 2, store, workers=1)
    assert caught.value.hint == "versions: 1"
    with pytest.raises(ConfigError, match="is not on this machine"):
        pull(web, folder, "m", None, Store(f"{hdfs.hdfs}{folder}"), workers=1)
