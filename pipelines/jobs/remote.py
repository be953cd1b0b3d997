"""Stages whose driver runs in the cluster: started by ``spark-submit``, judged by the record that they leave.

A submission's own exit code says only whether a stage ended well; the record on the store says how.
"""

import logging
import os
import re
import subprocess
import sys
import tempfile
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml
from pydantic import ValidationError

from millrace.config import Product
from millrace.config.load import find_profile
from millrace.errors import ArtifactNotFound, ConfigError, Unavailable, shorten
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
"""Log4j's settings for the submission, which says at level INFO where the driver is."""
_APPLICATION: Final = re.compile(r"\bapplication_\d+_\d+\b")
_STATE: Final = re.compile(r"Application report for (application_\d+_\d+) \(state: (\w+)\)")


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
        """Find what a driver on another machine would not.

        Raises:
            ConfigError: The store, a source or the code is on this machine only.
        """
        if not self.product.config.store.root.startswith("hdfs://"):
            raise ConfigError(
                f"store.root: {self.product.config.store.root} is on this machine, the driver is not",
                hint="use hdfs://host:port/path, or spark.deploy_mode: client",
            )
        if not CODE.is_file():
            raise ConfigError(f"the cluster needs {CODE}, which is not there", hint="run: make zip")

    def command(self, stage: str, run_id: str, arguments: list[str], profile: Path) -> list[str]:
        """The whole line; files travel under their own names into the driver's working folder.

        Args:
            stage: Which.
            run_id: What its record is to be called.
            arguments: Of ``run_<stage>.py``, beside those that every stage has.
            profile: A copy of the profile, which travels too.
        """
        spark = self.product.config.spark
        conf = {
            "spark.submit.deployMode": "cluster",
            # A second driver would run a stage again whose data were rejected.
            "spark.yarn.maxAppAttempts": "1",
            "spark.pyspark.python": sys.executable,
            **spark.conf,
        }
        # The driver is started with what spark-submit is told, not with what its session asks for.
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
            Unavailable: It left no record: it never started, or its driver was killed.
        """
        with tempfile.TemporaryDirectory(prefix="millrace-submit-") as folder:
            profile = Path(folder, "profile.yaml")
            found = find_profile(self.profile, self.config)
            profile.write_text(found.read_text() if found else yaml.safe_dump({}))
            logging_file = Path(folder, "log4j2.properties")
            logging_file.write_text(LOGGING)
            said = self._follow(self.command(stage, run_id, arguments, profile), logging_file)
        section = self.product.config.store
        store = Store(section.root, wait_s=section.wait_s)
        try:
            return read_record(store, self.product.config.product, run_id, stage)
        except (ArtifactNotFound, ValidationError) as error:
            telling = [line for line in said if "rror" in line or "xception" in line] or list(said)
            raise Unavailable(
                f"the {stage} stage left no record: {shorten(telling[-1], 300) if telling else 'no word of why'}",
                hint="the cluster manager keeps the driver's log: yarn logs -applicationId ...",
            ) from error

    def _follow(self, command: list[str], logging_file: Path) -> deque[str]:
        """Run spark-submit; tell where the driver is and how it does."""
        said: deque[str] = deque(maxlen=LAST_LINES)
        application = told = ""
        options = f"{os.environ.get('SPARK_SUBMIT_OPTS', '')} -Dlog4j2.configurationFile={logging_file.as_uri()}"
        env = {**os.environ, "SPARK_SUBMIT_OPTS": options.strip()}
        with subprocess.Popen(
            command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                for line in process.stderr or ():
                    said.append(line.strip())
                    if not application and (found := _APPLICATION.search(line)):
                        application = found[0]
                        logger.info("submitted as %s", application)
                    if (state := _STATE.search(line)) and state[2] != told:
                        told = state[2]
                        logger.info("%s is %s", application, told.lower())
            except BaseException:
                if application:
                    logger.warning("%s goes on; to end it: yarn application -kill %s", application, application)
                process.kill()
                raise
        return said


def is_inside() -> bool:
    """Whether spark-submit started this process already."""
    return "PYSPARK_GATEWAY_PORT" in os.environ
