"""Encoded rows in a file on the local disk, for a rank whose rows do not fit in its memory budget.

Rows are read with ``pread`` and not through a memory map: YARN counts mapped pages as memory of the container.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from millrace.errors import ConfigError, Unavailable
from train.data.plan import Indices
from train.data.rows import Rows

FREE_BYTES = 256 * 2**20
"""Space that is left free on the disk."""


def local_folder() -> Path:
    """Return the folder for large temporary files: that of YARN or of the Spark worker, else ``$TMPDIR``."""
    folders = os.environ.get("LOCAL_DIRS") or os.environ.get("SPARK_LOCAL_DIRS") or tempfile.gettempdir()
    return Path(folders.split(",")[0])


class Spill:
    """A file with encoded rows; it has no name, so nothing is left of it when the process ends or is killed.

    Args:
        empty: Zero rows, which have the widths and dtypes of all rows.
        rows: How many rows will be appended.

    Raises:
        ConfigError: The disk has too little space.
    """

    def __init__(self, empty: Rows, rows: int) -> None:
        self._dtype = np.dtype(
            [
                ("numeric", empty.numeric.dtype, empty.numeric.shape[1:]),
                ("category", empty.category.dtype, empty.category.shape[1:]),
                ("label", empty.label.dtype),
            ]
        )
        self._folder = local_folder()
        needed, free = rows * self._dtype.itemsize, shutil.disk_usage(self._folder).free - FREE_BYTES
        if needed > free:
            raise ConfigError(
                f"train.memory_budget_mb: the rows of this rank do not fit in memory, and {self._folder} has "
                f"{max(0, free) // 2**20} MiB for {needed // 2**20} MiB",
                hint="free some space, set SPARK_LOCAL_DIRS to a larger disk, use more ranks, or raise the budget",
            )
        self._file = tempfile.TemporaryFile(prefix="millrace-rows-", dir=self._folder)
        try:  # reserved, because other ranks and the other split need space too
            os.posix_fallocate(self._file.fileno(), 0, max(1, needed))
        except OSError as error:
            self._file.close()
            raise Unavailable(
                f"cannot reserve {needed // 2**20} MiB for encoded rows in {self._folder}: {error.strerror}",
                hint="free some space, set SPARK_LOCAL_DIRS to a larger disk, use more ranks, or raise "
                "train.memory_budget_mb",
            ) from error

    def close(self) -> None:
        """Remove the file."""
        self._file.close()

    def append(self, rows: Rows) -> None:
        """Write rows behind those written before."""
        records = np.empty(len(rows), self._dtype)
        records["numeric"], records["category"], records["label"] = rows.numeric, rows.category, rows.label
        try:
            self._file.write(records.tobytes())
            self._file.flush()
        except OSError as error:
            raise Unavailable(f"cannot write encoded rows to {self._folder}: {error.strerror}") from error

    def read(self, start: int, stop: int) -> Rows:
        """Read rows ``start`` to ``stop`` (exclusive)."""
        size = self._dtype.itemsize
        return self._rows(os.pread(self._file.fileno(), (stop - start) * size, start * size))

    def take(self, indices: Indices) -> Rows:
        """Read the rows at these indices, in this order."""
        file, size = self._file.fileno(), self._dtype.itemsize
        return self._rows(b"".join([os.pread(file, size, index * size) for index in indices.tolist()]))

    def _rows(self, data: bytes) -> Rows:
        records: Any = np.frombuffer(data, self._dtype)
        return Rows(records["numeric"], records["category"], records["label"])
