"""Runs stages whose driver is in the cluster: started by ``spark-submit``, with the result in a record in the store.

The exit code of spark-submit only reports success or failure; the record has the details.
"""

import contextlib
import logging
import os
import re
import subprocess
import sys
import tempfile
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml
from pydantic import ValidationError

from millrace.config import Product
from millrace.config.load import find_profile
from millrace.errors import ArtifactNotFound, ConfigError, MillraceError, Terminated, Unavailable, shorten
from millrace.runs import RunRecord, read_record
from millrace.storage import Store
from pipelines.jobs.submit import CODE, conf_options, entry, spark_submit

logger = logging.getLogger(__name__)

LAST_LINES: Final = 40
LOGGING: Final = """
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %p %c{1}: %m%n%ex{short.message}%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
logger.yarn.name = org.apache.spark.deploy.yarn.Client
logger.yarn.level = info
logger.kubernetes.name = org.apache.spark.deploy.k8s
logger.kubernetes.level = info
"""
"""Log4j's settings for spark-submit, which logs the driver's address at level INFO."""
UPLOADS: Final = "spark.kubernetes.file.upload.path"
_APPLICATION: Final = re.compile(r"\bapplication_\d+_\d+\b")
_STATE: Final = re.compile(r"Application report for application_\d+_\d+ \(state: (\w+)\)")
_POD: Final = re.compile(r"submission ID ([\w.-]+):([\w.-]+)")
_PHASE: Final = re.compile(r"Application status for \S+ \(phase: (\w+)\)")
_LAST_PHASES: Final = ("Succeeded", "Failed")
_PENDING: Final = re.compile(r"^\s+pending reason: (\w+)", re.IGNORECASE)
"""Lines of Spark's clients for YARN (``Client``) and for Kubernetes (``LoggingPodStatusWatcherImpl``)."""


class Driver:
    """A driver in the cluster, as far as the lines of ``spark-submit`` tell."""

    def __init__(self) -> None:
        self.name = ""
        """YARN's application, or the driver's pod; empty until it is known."""
        self.logs = "the cluster manager keeps the driver's log"
        """How to read its log."""
        self.stop = ""
        """How to stop it."""
        self._state = ""
        self._reasons: set[str] = set()
        """Why its container waits; logged once each."""

    @property
    def has_ended(self) -> bool:
        """Whether its pod reached a last phase; False if that is not known."""
        return self._state in _LAST_PHASES

    def read(self, line: str) -> None:
        """Read a line, and log what it tells: the name, and each new state."""
        if not self.name:
            self._name(line)
        name = self.name or "the driver"
        if (found := _STATE.search(line) or _PHASE.search(line)) and found[1] != self._state:
            self._state = found[1]
            logger.info("%s is %s", name, self._state.lower())
        if (found := _PENDING.search(line)) and found[1] not in self._reasons:
            self._reasons.add(found[1])
            logger.info("%s waits: %s", name, found[1])

    def _name(self, line: str) -> None:
        if found := _APPLICATION.search(line):
            self.name = found[0]
            self.logs = f"to see the driver's log: yarn logs -applicationId {self.name}"
            self.stop = f"yarn application -kill {self.name}"
        elif found := _POD.search(line):
            namespace, self.name = found.groups()
            self.logs = f"to see the driver's log: kubectl logs {self.name} --namespace {namespace}"
            self.stop = f"kubectl delete pod {self.name} --namespace {namespace}"
        else:
            return
        logger.info("submitted as %s", self.name)


@dataclass(frozen=True)
class Submission:
    """A product's stages on a cluster.

    Attributes:
        product: The loaded product.
        config: Its file.
        profile: Name or path of the profile.
        settings: ``key=value`` overrides.
    """

    product: Product
    config: Path
    profile: str
    settings: list[str]

    def check(self) -> None:
        """Check that a driver on another machine finds everything.

        Raises:
            ConfigError: The store or the code is on this machine only.
        """
        if not self.product.config.store.root.startswith("hdfs://"):
            raise ConfigError(
                f"store.root: {self.product.config.store.root} is on this machine, the driver is not",
                hint="use hdfs://host:port/path, or spark.deploy_mode: client",
            )
        if not CODE.is_file():
            raise ConfigError(f"the cluster needs {CODE}, which is not there", hint="run: make zip")

    def command(
        self, stage: str, run_id: str, arguments: list[str], profile: Path, more: Mapping[str, str] | None = None
    ) -> list[str]:
        """Return the command line; spark-submit copies the files into the driver's working folder.

        Args:
            stage: Name of the stage.
            run_id: Name of its record.
            arguments: Further arguments of ``run_<stage>.py``.
            profile: A copy of the profile, to be sent along.
            more: Further settings of Spark.
        """
        spark = self.product.config.spark
        conf = {
            "spark.submit.deployMode": "cluster",
            # YARN would otherwise run a stage again whose data were rejected.
            "spark.yarn.maxAppAttempts": "1",
            "spark.pyspark.python": sys.executable,
            **spark.conf,
            **(more or {}),
        }
        # YARN starts the driver with spark-submit's settings; those of the session come too late.
        conf.setdefault("spark.yarn.appMasterEnv.PYSPARK_PYTHON", str(conf["spark.pyspark.python"]))
        command = [spark_submit(), "--name", f"millrace {self.product.config.product} {stage}"]
        command += ["--master", spark.master, "--driver-memory", spark.driver_memory]
        command += conf_options(conf)
        command += ["--py-files", str(CODE), "--files", f"{self.config.absolute()},{profile}"]
        command += [entry(stage), "--config", self.config.name, "--profile", profile.name, "--run-id", run_id]
        command += [part for setting in self.settings for part in ("--set", setting)]
        return [*command, *arguments]

    def run(self, stage: str, run_id: str, arguments: list[str]) -> RunRecord:
        """Submit a stage, wait for its end and read its record.

        Raises:
            Unavailable: There is no record: the stage never started, or its driver was killed.
        """
        with tempfile.TemporaryDirectory(prefix="millrace-submit-") as folder:
            profile = Path(folder, "profile.yaml")
            found = find_profile(self.profile, self.config)
            profile.write_text(found.read_text() if found else yaml.safe_dump({}))
            logging_file = Path(folder, "log4j2.properties")
            logging_file.write_text(LOGGING)
            driver = Driver()
            with self._uploads(run_id, driver) as conf:
                command = self.command(stage, run_id, arguments, profile, conf)
                lines = self._follow(command, logging_file, driver)
                return self._record(stage, run_id, driver, lines)

    def _record(self, stage: str, run_id: str, driver: Driver, lines: deque[str]) -> RunRecord:
        section = self.product.config.store
        store = Store(section.root, wait_s=section.wait_s)
        try:
            return read_record(store, self.product.config.product, run_id, stage)
        except (ArtifactNotFound, ValidationError) as error:
            errors = [line for line in lines if "rror" in line or "xception" in line] or list(lines)
            raise Unavailable(
                f"the {stage} stage left no record: {shorten(errors[-1], 300) if errors else 'there is no output'}",
                hint=driver.logs,
            ) from error

    @contextlib.contextmanager
    def _uploads(self, run_id: str, driver: Driver) -> Iterator[dict[str, str]]:
        """Yield settings: on Kubernetes, a folder of its own for the files that Spark uploads and never removes.

        The folder is removed if the block succeeds, or if the driver has ended. After Ctrl-C, or if spark-submit was
        killed, the driver may continue and may not have read its files yet.
        """
        root = self.product.config.spark.conf.get(UPLOADS)
        if root is None:
            yield {}
            return
        folder = f"{str(root).rstrip('/')}/{run_id}-{uuid.uuid4().hex}"
        has_record = False
        try:
            yield {UPLOADS: folder}
            has_record = True
        finally:
            if has_record or driver.has_ended:
                _remove(folder)
            else:
                logger.warning("%s stays, because the driver may still need it; remove it after its end", folder)

    def _follow(self, command: list[str], logging_file: Path, driver: Driver) -> deque[str]:
        """Run spark-submit, log the driver's name and states, and return the last lines."""
        lines: deque[str] = deque(maxlen=LAST_LINES)
        options = f"{os.environ.get('SPARK_SUBMIT_OPTS', '')} -Dlog4j2.configurationFile={logging_file.as_uri()}"
        env = {**os.environ, "SPARK_SUBMIT_OPTS": options.strip()}
        with subprocess.Popen(
            command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
        ) as process:
            try:
                for line in process.stderr or ():
                    lines.append(line.strip())
                    driver.read(line)
            except BaseException:
                if driver.name:
                    logger.warning("%s continues; to stop it: %s", driver.name, driver.stop)
                process.kill()
                raise
        return lines


def _remove(folder: str) -> None:
    """Remove uploaded files; the stage has its result, so that a failure is only logged."""
    try:
        Store(folder).remove()
    except Terminated:
        raise  # or a SIGTERM would only end this removal
    except MillraceError as error:
        logger.warning("%s has uploaded files that could not be removed: %s", folder, error)


def is_inside() -> bool:
    """Whether spark-submit started this process."""
    return "PYSPARK_GATEWAY_PORT" in os.environ
