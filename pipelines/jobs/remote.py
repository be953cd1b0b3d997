"""Runs stages whose driver is in the cluster: started by ``spark-submit``, with the result in a record in the store.

The exit code of spark-submit only reports success or failure; the record has the details.
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
"""Log4j's settings for spark-submit, which logs the driver's address at level INFO."""
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

    def command(self, stage: str, run_id: str, arguments: list[str], profile: Path) -> list[str]:
        """Return the command line; spark-submit copies the files into the driver's working folder.

        Args:
            stage: Name of the stage.
            run_id: Name of its record.
            arguments: Further arguments of ``run_<stage>.py``.
            profile: A copy of the profile, to be sent along.
        """
        spark = self.product.config.spark
        conf = {
            "spark.submit.deployMode": "cluster",
            # YARN would otherwise run a stage again whose data were rejected.
            "spark.yarn.maxAppAttempts": "1",
            "spark.pyspark.python": sys.executable,
            **spark.conf,
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
            lines = self._follow(self.command(stage, run_id, arguments, profile), logging_file)
        section = self.product.config.store
        store = Store(section.root, wait_s=section.wait_s)
        try:
            return read_record(store, self.product.config.product, run_id, stage)
        except (ArtifactNotFound, ValidationError) as error:
            errors = [line for line in lines if "rror" in line or "xception" in line] or list(lines)
            raise Unavailable(
                f"the {stage} stage left no record: {shorten(errors[-1], 300) if errors else 'there is no output'}",
                hint="the cluster manager keeps the driver's log: yarn logs -applicationId ...",
            ) from error

    def _follow(self, command: list[str], logging_file: Path) -> deque[str]:
        """Run spark-submit, log the application and its states, and return the last lines."""
        lines: deque[str] = deque(maxlen=LAST_LINES)
        application = state = ""
        options = f"{os.environ.get('SPARK_SUBMIT_OPTS', '')} -Dlog4j2.configurationFile={logging_file.as_uri()}"
        env = {**os.environ, "SPARK_SUBMIT_OPTS": options.strip()}
        with subprocess.Popen(
            command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                for line in process.stderr or ():
                    lines.append(line.strip())
                    if not application and (found := _APPLICATION.search(line)):
                        application = found[0]
                        logger.info("submitted as %s", application)
                    if (found := _STATE.search(line)) and found[2] != state:
                        state = found[2]
                        logger.info("%s is %s", application, state.lower())
            except BaseException:
                if application:
                    logger.warning("%s continues; to stop it: yarn application -kill %s", application, application)
                process.kill()
                raise
        return lines


def is_inside() -> bool:
    """Whether spark-submit started this process."""
    return "PYSPARK_GATEWAY_PORT" in os.environ
