"""Plans a scoring job: which worker reads which rows, and what it writes."""

import uuid
from typing import Any, Final

from millrace.models.manifest import ModelVersion
from millrace.tables.rows import RowRange
from millrace.tables.versions import DataFile, TableVersion
from serve.scoring.batches import SPLIT, Job, RowSlice
from serve.scoring.predictions import CONSTANTS, Predictions, plan_schema

CHUNK_ROWS: Final = 65_536
"""Tasks start and end at multiples of this in a file, where our writer ends its row groups: none is decoded twice."""
TASKS_PER_CORE: Final = 4
MAX_TASK_ROWS: Final = 4_000_000


def plan_job(
    model: ModelVersion,
    table: TableVersion,
    files: tuple[DataFile, ...],
    predictions: Predictions,
    record: dict[str, Any],
    cores: int,
) -> Job:
    """Plan which worker reads which rows, and what it writes."""
    schema = plan_schema(model.manifest, table)
    return Job(
        model=model.uri,
        digest=model.manifest.digest,
        threads=1,  # Spark gives each task one core
        tasks=cut_tasks(files, cores),
        keys=tuple(name for name in model.manifest.features.key if name != SPLIT),
        schema=schema,
        constants={name: record[name] for name in CONSTANTS},
        folder=predictions.partition(record["logical_date"]),
        run=uuid.uuid4().hex,
        wait_s=predictions.retry.wait_s or 0.0,
    )


def cut_tasks(files: tuple[DataFile, ...], cores: int) -> tuple[tuple[RowSlice, ...], ...]:
    """Divide rows into tasks of nearly equal size: a few per core, so that the last ones even out.

    Args:
        files: In the order of the table version.
        cores: Tasks that run at the same time.
    """
    slices = [
        RowSlice(
            RowRange(file.path, start, min(start + CHUNK_ROWS, file.rows), file.sha256),
            file.partition.get(SPLIT),
        )
        for file in files
        for start in range(0, file.rows, CHUNK_ROWS)
    ]
    total = sum(row_slice.rows.rows for row_slice in slices)
    count = min(len(slices), max(cores * TASKS_PER_CORE, -(-total // MAX_TASK_ROWS)))
    tasks: list[list[RowSlice]] = [[] for _ in range(count)]
    position = 0
    for row_slice in slices:
        # A row_slice belongs to the task that contains its middle.
        tasks[min(count - 1, (2 * position + row_slice.rows.rows) * count // (2 * total))].append(row_slice)
        position += row_slice.rows.rows
    return tuple(_joined(task) for task in tasks if task)


def _joined(slices: list[RowSlice]) -> tuple[RowSlice, ...]:
    joined = slices[:1]
    for row_slice in slices[1:]:
        last = joined[-1].rows
        if row_slice.rows.path == last.path and row_slice.rows.start == last.stop:
            joined[-1] = RowSlice(RowRange(last.path, last.start, row_slice.rows.stop, last.sha256), row_slice.split)
        else:
            joined.append(row_slice)
    return tuple(joined)
