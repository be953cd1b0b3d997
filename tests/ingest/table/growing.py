"""An incremental product whose source is a folder of files."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ingest import stage
from millrace.runs import RunRecord
from millrace.storage import Store
from tests.ingest.small import Small, rows_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class Growing:
    """A folder of files, and the incremental table that they fill."""

    def __init__(self, folder: Path, spark: "SparkSession", store: Store) -> None:
        self.small = Small(folder)
        self.folder, self.spark, self.store = folder / "in", spark, store
        self.folder.mkdir(parents=True)
        columns = {"id": "bigint", "name": "string", "size": "int", "weight": "double"}
        self.small.sources["things"] = {"path": "in/*", "columns": columns, "incremental": True, "settle_s": 600}

    def put(self, name: str, data: bytes, age_s: float = 6_000) -> None:
        """Deliver a file that last changed some time ago."""
        path = self.folder / name
        path.write_bytes(data)
        os.utime(path, (time.time() - age_s,) * 2)

    def run(self, **options: bool) -> RunRecord:
        """Run the stage."""
        return stage.run(self.small.build(), self.spark, self.store, f"run{time.monotonic_ns()}", **options)

    @property
    def ids(self) -> list[int]:
        """The ids of all rows of the table."""
        return sorted(row["id"] for row in rows_of(self.store, "clean"))
