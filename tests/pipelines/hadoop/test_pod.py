"""The entry point of the images: what Spark starts in pods, and every other command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.hadoop.pod import BACKEND, command_of, name_user, writable_folder
from pipelines.hadoop.service import spark_home
from tests.deploy.links import service_links

ROOT = Path(__file__).parents[3]
POD = {
    "SPARK_DRIVER_URL": "spark://CoarseGrainedScheduler@127.0.0.1:1",
    "SPARK_EXECUTOR_ID": "7",
    "SPARK_EXECUTOR_CORES": "1",
    "SPARK_EXECUTOR_MEMORY": "128m",
    "SPARK_APPLICATION_ID": "spark-application-1",
    "SPARK_EXECUTOR_POD_IP": "127.0.0.1",
    "SPARK_EXECUTOR_POD_NAME": "trips-exec-7",
    "SPARK_RESOURCE_PROFILE_ID": "0",
    "SPARK_JAVA_OPT_1": "-Dspark.driver.port=2",
    "SPARK_JAVA_OPT_0": "-Dspark.driver.port=1",
    "SPARK_JAVA_OPT_10": "-Dlast=yes",
}
"""The variables that Spark 4.2 sets in an executor's pod (``BasicExecutorFeatureStep``)."""

pytestmark = pytest.mark.case("K1")


def run(*words: str, timeout_s: float = 60, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.hadoop.pod", *words]
    own = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    return subprocess.run(command, env=own, capture_output=True, text=True, timeout=timeout_s, check=False)


def test_other_commands_run_as_they_are() -> None:
    assert command_of(["millrace", "run", "driver"], {}) == ["millrace", "run", "driver"]
    done = run("sh", "-c", "echo $SPARK_MASTER_PORT.$KEPT; exit 5", KEPT="yes", **service_links("spark-master"))
    assert (done.stdout, done.returncode) == (".yes\n", 5)
    assert run("no-such-program").returncode == 127
    assert "usage" in run().stderr


def test_an_executor_is_sparks_for_kubernetes() -> None:
    command = command_of(["executor"], POD)
    options = dict(zip(command[command.index(BACKEND) + 1 :: 2], command[command.index(BACKEND) + 2 :: 2], strict=True))
    assert options == {
        "--driver-url": POD["SPARK_DRIVER_URL"],
        "--executor-id": "7",
        "--cores": "1",
        "--app-id": "spark-application-1",
        "--hostname": "127.0.0.1",
        "--resourceProfileId": "0",
        "--podName": "trips-exec-7",
    }
    assert command[1:6] == ["-Dspark.driver.port=1", "-Dspark.driver.port=2", "-Dlast=yes", "-Xms128m", "-Xmx128m"]
    assert f"{spark_home() / 'jars'}/*" in command[command.index("-cp") + 1].split(os.pathsep)
    lacking = {name: value for name, value in POD.items() if name != "SPARK_EXECUTOR_CORES"}
    assert "Spark sets SPARK_EXECUTOR_CORES in its pods; it is missing" in run("executor", **lacking).stderr


def test_a_real_executor_starts_and_looks_for_its_driver() -> None:
    """There is no driver at the address: the class and its options are right if it fails because of that."""
    done = run("executor", timeout_s=120, **POD, SPARK_LOCAL_IP="127.0.0.1")
    assert done.returncode != 0
    assert "Unrecognized options" not in done.stderr
    assert "ClassNotFoundException" not in done.stderr
    assert "127.0.0.1:1" in done.stderr, done.stderr[-2000:]


def test_a_real_driver_runs_a_program(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from pyspark.sql import SparkSession\n"
        "spark = SparkSession.builder.getOrCreate()\n"
        "print('bound to', spark.conf.get('spark.driver.bindAddress'), spark.range(3).count())\n"
    )
    done = run("driver", "--master", "local[1]", str(program), timeout_s=120, SPARK_DRIVER_BIND_ADDRESS="127.0.0.1")
    assert "bound to 127.0.0.1 3" in done.stdout, done.stderr[-2000:]


def test_a_user_without_a_name_gets_one(tmp_path: Path) -> None:
    passwd = tmp_path / "passwd"
    passwd.write_text("other:x:4294967:0::/:/bin/sh\n")
    assert name_user(passwd, tmp_path)
    assert passwd.read_text().splitlines()[1] == f"millrace:x:{os.getuid()}:{os.getgid()}::{tmp_path}:/usr/sbin/nologin"
    assert name_user(passwd, tmp_path)
    assert len(passwd.read_text().splitlines()) == 2


def test_a_folder_that_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert writable_folder({}) == tmp_path
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path and real(path, mode))
    local = tmp_path / "local"
    local.mkdir()
    assert writable_folder({"SPARK_LOCAL_DIRS": f"{tmp_path / 'missing'},{local}"}) == local
