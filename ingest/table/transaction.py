"""A transaction of a Delta table in two steps: write files that no reader sees, and commit them by name later.

Spark's writer for Delta does both in one call. The classes below are Delta's own, of `org.apache.spark.sql.delta`, in
the version that the project pins.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from pyspark.sql import DataFrame

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class NewFile:
    """A written file that is not in the table yet, or a file of the table.

    Attributes:
        path: Path in the table's folder.
        rows: Number of rows.
        bytes: Size.
        partition: Value by partition column; None for rows without a value.
        action: Delta's own description of the file.
    """

    path: str
    rows: int
    bytes: int
    partition: Mapping[str, str | None]
    action: Any = field(compare=False, repr=False)


class Transaction:
    """One transaction; it sees the table as it was when the transaction started.

    Every method may raise an error of Spark or py4j.
    """

    def __init__(self, spark: "SparkSession", uri: str) -> None:
        self._spark = spark
        jvm: Any = spark._jvm
        self._jvm = jvm
        self._delta = jvm.org.apache.spark.sql.delta
        self._log = self._delta.DeltaLog.forTable(spark._jsparkSession, uri)
        self._transaction = self._log.startTransaction()

    @property
    def version(self) -> int:
        """The version of the table that it started from; -1 if there was no table."""
        return int(self._transaction.readVersion())

    def number(self, app: str) -> int:
        """The last number that a writer with this id committed; -1 if there is none.

        The commit fails if another transaction of this writer wins after this call.
        """
        return int(self._transaction.txnVersion(app))

    def declare(self, frame: "DataFrame", partition_by: Sequence[str], properties: Mapping[str, str]) -> None:
        """Set the columns of the table to those of a frame, and set properties; must precede `write`."""
        old = self._transaction.metadata()
        new = old.copy(
            old.id(),
            old.name(),
            old.description(),
            old.format(),
            frame._jdf.schema().asNullable().json(),
            self._seq(partition_by),
            old.configuration().concat(self._jvm.PythonUtils.toScalaMap(dict(properties))),
            old.createdTime(),
        )
        if self.version < 0:
            self._transaction.updateMetadataForNewTable(new)
        else:
            self._transaction.updateMetadataForTableOverwrite(new)

    def has_columns_of(self, frame: "DataFrame") -> bool:
        """Whether the table has the same columns with the same types as a frame."""
        mine = frame._jdf.schema().asNullable()
        return bool(self._transaction.metadata().schema().asNullable().equals(mine))

    def write(self, frame: "DataFrame") -> list[NewFile]:
        """Write rows as files of the table, which no reader sees."""
        return self._files(self._transaction.writeFiles(frame._jdf))

    def read_all(self) -> None:
        """Have the commit fail if another transaction adds or removes files, in a table with serializable isolation."""
        self._transaction.readWholeTable()

    def current(self) -> list[NewFile]:
        """The files of the table."""
        return self._files(self._transaction.filterFiles(self._seq([]), True))  # with the numbers of rows

    def read(self, files: Iterable[NewFile]) -> "DataFrame":
        """The rows of some files, in the table or not, with their partition columns."""
        none = self._none
        snapshot = self._delta.DummySnapshot(self._log.logPath(), self._log, self._transaction.metadata(), none, none)
        actions = self._seq([file.action for file in files])
        return DataFrame(self._log.createDataFrame(snapshot, actions, False, none), self._spark)

    def commit(
        self,
        added: Iterable[NewFile],
        removed: Iterable[NewFile],
        mark: tuple[str, int],
        metadata: Mapping[str, Any],
        *,
        append: bool,
    ) -> int:
        """Add and remove files in one version.

        Args:
            added: Files that `write` returned.
            removed: Files that `current` returned.
            mark: The writer's id, and a number greater than `number` returned for it.
            metadata: What the log keeps about the commit.
            append: Whether the log describes the commit as one that adds rows.

        Returns:
            The version.
        """
        some, none = self._jvm.scala.Some, self._none
        actions = [file.action for file in added] + [file.action.remove() for file in removed]
        actions.append(self._delta.actions.SetTransaction(*mark, some(int(time.time() * 1000))))
        modes = self._jvm.org.apache.spark.sql.SaveMode
        mode = modes.Append if append else modes.Overwrite
        partition_by = some(self._transaction.metadata().partitionColumns())
        write = getattr(self._jvm, "org.apache.spark.sql.delta.DeltaOperations$Write")
        operation = write(mode, partition_by, none, some(json.dumps(metadata)), *[none] * 5)
        return int(self._transaction.commit(self._seq(actions), operation))

    def _files(self, actions: Any) -> list[NewFile]:
        vector = actions.toVector()
        found = []
        for number in range(vector.size()):
            action = vector.apply(number)
            values = self._jvm.scala.jdk.javaapi.CollectionConverters.asJava(action.partitionValues())
            found.append(
                NewFile(
                    unquote(action.path()),
                    int(action.numLogicalRecords().get()),
                    int(action.size()),
                    dict(values),
                    action,
                )
            )
        return found

    @property
    def _none(self) -> Any:
        return getattr(getattr(self._jvm, "scala.None$"), "MODULE$")

    def _seq(self, items: Iterable[Any]) -> Any:
        return self._jvm.PythonUtils.toSeq(list(items))
