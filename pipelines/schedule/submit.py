"""Builds the command that starts a scheduled stage, and finds the versions that the stage reads."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from millrace.config import Product
from millrace.cron import local_day
from millrace.errors import ConfigError
from millrace.models.store import ModelStore
from millrace.storage import Store
from millrace.tables.versions import CLEAN, find_table
from pipelines.jobs.submit import CODE, ROOT, conf_options, entry, spark_submit
from pipelines.schedule.log import Started

_PYTHON: Final = {"PYSPARK_PYTHON": "spark.pyspark.python", "PYSPARK_DRIVER_PYTHON": "spark.pyspark.driver.python"}


class Commands(Protocol):
    """What a runner needs to start a stage."""

    def inputs(self, stage: str, done: Mapping[str, int | None]) -> dict[str, int]:
        """Return the versions that a stage reads, given those that earlier stages of the tick made.

        Raises:
            InputMissing: There is no version yet.
        """

    def command(self, run: Started) -> list[str]:
        """Return the program and the arguments of a run."""

    def environment(self) -> dict[str, str]:
        """Return the environment of every run."""


@dataclass(frozen=True)
class SparkSubmit:
    """``spark-submit pipelines/jobs/run_<stage>.py`` of a product.

    Attributes:
        config: The product file.
        profile: Name or path of a profile.
        settings: ``key=value`` overrides.
        py_files: The archive for executors that lack the code; on a cluster by default dist/millrace.zip.
    """

    product: Product
    config: Path
    profile: str = "local"
    settings: list[str] = field(default_factory=list)
    py_files: Path | None = None

    def inputs(self, stage: str, done: Mapping[str, int | None]) -> dict[str, int]:
        """Scoring reads the versions of this tick, else the newest; other stages find their inputs themselves."""
        if stage != "score":
            return {}
        name, store = self.product.config.product, Store(self.product.config.store.root)
        table = done.get("ingest") or find_table(store, name, CLEAN).version
        models = ModelStore(store)
        return {"table": table, "model": done.get("train") or models.open(name).manifest.version}

    def command(self, run: Started) -> list[str]:
        """Return the command; its paths do not depend on the working folder, unless the user's own do."""
        if self.product.config.spark.deploy_mode == "cluster":
            # This process exits with the stage's own code; spark-submit to a cluster does not.
            command = [sys.executable, "-m", "pipelines.commands.cli", run.stage, str(self.config)]
        else:
            command = [spark_submit(), "--name", f"millrace {self.product.config.product} {run.stage}"]
            command += [*self._options(), entry(run.stage), "--config", str(self.config)]
        command += ["--profile", self.profile]
        for setting in self.settings:
            command += ["--set", setting]
        if run.stage == "score":
            command += ["--date", local_day(run.tick, run.zone)]
            command += ["--table-version", str(run.inputs["table"]), "--model-version", str(run.inputs["model"])]
        return command

    def _options(self) -> list[str]:
        spark = self.product.config.spark
        options = ["--master", spark.master, "--driver-memory", spark.driver_memory]
        python = {conf: sys.executable for name, conf in _PYTHON.items() if name not in os.environ}
        options += conf_options({**python, **spark.conf})
        archive = self.archive()
        return [*options, "--py-files", str(archive)] if archive else options

    def archive(self) -> Path | None:
        """Return the archive of the code for executors; None if they run on this machine.

        Raises:
            ConfigError: The file does not exist.
        """
        master = self.product.config.spark.master
        if self.py_files is None and master.startswith("local"):
            return None
        found = self.py_files or CODE
        if not found.is_file():
            raise ConfigError(f"{master} needs {found}, which is not there", hint="run: make zip; or set --py-files")
        return found.absolute()

    def environment(self) -> dict[str, str]:
        """Return this process's environment, with the scheduler's own code on the path of the driver."""
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        return {**os.environ, "PYTHONPATH": path}
