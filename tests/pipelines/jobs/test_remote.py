"""The line that hands a driver to a cluster; a real cluster is asked in tests/e2e/test_clusters.py."""

import itertools
import sys
from pathlib import Path

import pytest

from millrace.config import load_product
from millrace.errors import ConfigError, MillraceError, StorageError, Terminated, Unavailable
from millrace.runs import RunRecord, save_record
from millrace.storage import Store
from pipelines.jobs import remote
from pipelines.jobs.remote import Submission, is_inside
from tests.millrace.products import write_product

HDFS = "store.root=hdfs://namenode:8020/m"


def submission(folder: Path, *settings: str) -> Submission:
    path = write_product(folder)
    return Submission(load_product(path, settings=list(settings)), path, "local", list(settings))


def test_the_whole_line(tmp_path: Path) -> None:
    conf = "spark.conf={spark.executor.cores: 1, spark.ui.enabled: false}"
    made = submission(tmp_path, "spark.master=yarn", HDFS, conf)
    line = made.command("score", "run-1", ["--date", "2024-01-01"], Path("/tmp/p/profile.yaml"))
    entry = next(number for number, part in enumerate(line) if part.endswith("run_score.py"))
    options, arguments = line[1:entry], line[entry + 1 :]
    said = {value for option, value in itertools.pairwise(options) if option == "--conf"}
    assert {
        "spark.submit.deployMode=cluster",
        "spark.yarn.maxAppAttempts=1",
        "spark.executor.cores=1",
        "spark.ui.enabled=false",
        f"spark.yarn.appMasterEnv.PYSPARK_PYTHON={sys.executable}",
    } <= said
    assert options[options.index("--files") + 1] == f"{made.config},/tmp/p/profile.yaml"
    assert arguments == [
        *("--config", made.config.name, "--profile", "profile.yaml", "--run-id", "run-1"),
        *("--set", "spark.master=yarn", "--set", HDFS, "--set", conf, "--date", "2024-01-01"),
    ]


def test_an_environment_that_travels(tmp_path: Path) -> None:
    conf = "spark.conf={spark.archives: env.tar.gz#environment, spark.pyspark.python: ./environment/bin/python}"
    line = submission(tmp_path, HDFS, conf).command("train", "r", [], Path("p.yaml"))
    assert "spark.yarn.appMasterEnv.PYSPARK_PYTHON=./environment/bin/python" in line


def test_a_store_of_this_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is on this machine, the driver is not"):
        submission(tmp_path).check()


def test_the_code_has_to_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "CODE", tmp_path / "none.zip")
    with pytest.raises(ConfigError, match=r"none\.zip, which is not there") as caught:
        submission(tmp_path, HDFS).check()
    assert "make zip" in caught.value.hint


SUBMIT = """#!/bin/sh
echo "INFO Client: Submitted application application_1_0001" >&2
echo "INFO Client: Application report for application_1_0001 (state: FINISHED)" >&2
echo "java.io.IOException: no room in queue" >&2
exit {code}
"""


@pytest.mark.parametrize("is_kept", [True, False])
def test_the_record_is_what_counts(is_kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "spark-submit"
    program.write_text(SUBMIT.format(code=1))
    program.chmod(0o755)
    monkeypatch.setattr(remote, "spark_submit", lambda: str(program))
    made = submission(tmp_path, f"store.root={tmp_path}/store")
    if is_kept:
        save_record(Store(f"{tmp_path}/store"), record())
        assert made.run("ingest", "r", []) == record()
    else:
        with pytest.raises(Unavailable, match=r"left no record: .*no room in queue") as caught:
            made.run("ingest", "r", [])
        assert "yarn logs" in caught.value.hint


KUBERNETES = r"""#!/bin/sh
for word in "$@"; do case $word in spark.kubernetes.file.upload.path=*) folder="${{word#*=}}";; esac; done
mkdir -p "$folder/spark-upload-1" && echo code > "$folder/spark-upload-1/millrace.zip"
echo "INFO KubernetesUtils: Uploading file: /tmp/millrace.zip to dest: $folder/spark-upload-1/millrace.zip..." >&2
{{
echo "INFO LoggingPodStatusWatcherImpl: State changed, new state: "
echo "	 pod name: trips-1-driver"
echo "	 namespace: data"
echo "	 phase: Pending"
echo "	 container status: "
echo "		 container name: spark-kubernetes-driver"
echo "		 container state: waiting"
echo "		 pending reason: ErrImagePull"
echo "INFO LoggingPodStatusWatcherImpl: Waiting for application trips with application ID spark-1 and submission ID" \
  "data:trips-1-driver to finish..."
for phase in {phases}; do
  echo "INFO LoggingPodStatusWatcherImpl: Application status for spark-1 (phase: $phase)"
done
echo "		 pending reason: ErrImagePull"
}} >&2
{end}
"""
"""The lines are those of Spark 4.2's `KubernetesUtils` and `LoggingPodStatusWatcherImpl`."""


ALL_PHASES = "Pending Pending Running Running Failed"


def kubernetes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phases: str = ALL_PHASES, end: str = "exit 1"
) -> tuple[Submission, Path]:
    program = tmp_path / "spark-submit"
    program.write_text(KUBERNETES.format(phases=phases, end=end))
    program.chmod(0o755)
    monkeypatch.setattr(remote, "spark_submit", lambda: str(program))
    uploads = tmp_path / "uploads"
    (uploads / "spark-upload-of-others").mkdir(parents=True)
    conf = f"spark.conf={{spark.kubernetes.file.upload.path: {uploads}}}"
    return submission(tmp_path, "spark.master=k8s://https://x:6443", f"store.root={tmp_path}/store", conf), uploads


@pytest.mark.case("K5", "K6")
def test_on_kubernetes_the_pod_is_named_and_uploads_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    made, uploads = kubernetes(tmp_path, monkeypatch)
    with pytest.raises(Unavailable, match="left no record") as caught:
        made.run("ingest", "r", [])
    assert caught.value.hint == "to see the driver's log: kubectl logs trips-1-driver --namespace data"
    said = [record.getMessage() for record in caplog.records if record.name == remote.__name__]
    assert said == [
        "the driver waits: ErrImagePull",
        "submitted as trips-1-driver",
        "trips-1-driver is pending",
        "trips-1-driver is running",
        "trips-1-driver is failed",
    ]
    assert [path.name for path in uploads.iterdir()] == ["spark-upload-of-others"]


@pytest.mark.case("K5")
def test_uploads_of_a_driver_that_continues_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made, uploads = kubernetes(tmp_path, monkeypatch, end="sleep 30")

    def interrupted(driver: remote.Driver, line: str) -> None:
        driver.name = "trips-1-driver"
        if "phase: Running" in line:
            raise KeyboardInterrupt

    monkeypatch.setattr(remote.Driver, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made.run("ingest", "r", [])
    assert len(list(uploads.rglob("millrace.zip"))) == 1
    assert "trips-1-driver continues" in caplog.text


@pytest.mark.case("K5")
@pytest.mark.parametrize("phases", ["", "Pending", "Pending Running", "Unknown"])
@pytest.mark.parametrize("end", ["kill -9 $$", "exit 0"])
def test_uploads_stay_until_the_driver_has_ended(
    phases: str, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """`spark-submit` may be killed, or not wait at all, while the driver has not read its files yet."""
    made, uploads = kubernetes(tmp_path, monkeypatch, phases, end)
    with pytest.raises(Unavailable, match="left no record"):
        made.run("ingest", "r", [])
    (code,) = uploads.rglob("millrace.zip")
    assert f"{code.parents[1]} stays, because the driver may still need it" in caplog.text


def record() -> RunRecord:
    return RunRecord(stage="ingest", run_id="r", product="trips", outcome="failed", code=3, reason="bad rows")


@pytest.mark.case("K5")
@pytest.mark.parametrize("phases", ["Pending", "Pending Succeeded"])
def test_a_driver_with_a_record_needs_no_uploads(
    phases: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made, uploads = kubernetes(tmp_path, monkeypatch, phases, "kill -9 $$")
    save_record(Store(f"{tmp_path}/store"), record())
    assert made.run("ingest", "r", []) == record()
    assert [path.name for path in uploads.iterdir()] == ["spark-upload-of-others"]
    assert not [each for each in caplog.records if each.levelname == "WARNING"]


@pytest.mark.case("K5")
@pytest.mark.parametrize("error", [ConfigError("no permission"), StorageError("no answer"), Terminated()])
def test_uploads_that_cannot_be_removed(
    error: MillraceError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The result of the stage is known, and counts. A signal is no failure of the removal."""
    made, _ = kubernetes(tmp_path, monkeypatch)
    save_record(Store(f"{tmp_path}/store"), record())

    def remove(store: Store, *parts: str) -> None:
        raise error

    monkeypatch.setattr(Store, "remove", remove)
    if isinstance(error, Terminated):
        with pytest.raises(Terminated):
            made.run("ingest", "r", [])
    else:
        assert made.run("ingest", "r", []) == record()
        assert f"has uploaded files that could not be removed: {error}" in caplog.text


def test_output_that_is_not_utf_8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a message of the system in another encoding."""
    made, _ = kubernetes(tmp_path, monkeypatch, end=r"printf 'Error: caf\351\n' >&2; exit 1")
    with pytest.raises(Unavailable, match="left no record: Error: caf\ufffd"):
        made.run("ingest", "r", [])


def test_a_driver_that_was_submitted_does_not_submit_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYSPARK_GATEWAY_PORT", raising=False)
    assert not is_inside()
    monkeypatch.setenv("PYSPARK_GATEWAY_PORT", "1")
    assert is_inside()
