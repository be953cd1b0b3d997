"""The work of a scoring worker: read rows, run the model, write a file of predictions."""

import functools
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from millrace.errors import ConfigError, DataRejected, InputMissing
from millrace.failpoints import fail_here
from millrace.features.encoding import Encoded, encode
from millrace.features.spec import Feature
from millrace.models.manifest import MANIFEST, ModelDamaged, ModelManifest, ModelVersion
from millrace.models.vocabularies import Vocabulary, count_unseen, read_vocabularies
from millrace.retry import RetryPolicy
from millrace.storage import Files, files_of, mapped_errors, open_input
from millrace.tables.rows import RowRange, read_rows
from serve.servables.saved_model import LoadedModel
from serve.servables.servable import Arrays, non_finite_rows

ERROR: Final = "error"
"""Column that says why a row has no prediction; null where it has one."""
SPLIT: Final = "split"
LASTING: Final = (DataRejected, ConfigError, InputMissing)
"""Errors that a retry would meet again. A worker reports them to the driver, which raises them."""


@dataclass(frozen=True)
class RowSlice:
    """Rows of one file, and the split that they belong to if the table has any."""

    rows: RowRange
    split: str | None


@dataclass(frozen=True)
class Job:
    """The input of a worker; plain values, sent once to each.

    Attributes:
        model: Folder of the model version.
        digest: The expected digest of its manifest.
        threads: For TensorFlow, in each worker.
        tasks: Pieces by task number.
        keys: Columns of the table that name a row; the split is not among them.
        schema: Of the files written: keys, split, outputs, the error, then the constants.
        constants: Columns that are the same in the whole run.
        folder: Where files are written.
        run: In the names of the files, so that those that are not committed can be found.
        wait_s: Seconds that each operation waits while the storage is temporarily unavailable.
    """

    model: str
    digest: str
    threads: int
    tasks: tuple[tuple[RowSlice, ...], ...]
    keys: tuple[str, ...]
    schema: pa.Schema
    constants: dict[str, Any]
    folder: str
    run: str
    wait_s: float = 0.0

    @property
    def retry(self) -> RetryPolicy:
        """The policy for the table's, the model's and the predictions' files."""
        return RetryPolicy(self.wait_s)


@dataclass(frozen=True)
class Written:
    """The result of a task: the file it wrote, or why its rows cannot be scored."""

    path: str = ""
    size: int = 0
    rows: int = 0
    rejected: int = 0
    failure: str = ""
    kind: str = ""
    """Name of the class in `LASTING` that the failure is of."""
    unseen: dict[str, int] | None = None
    """Rows whose value is out of the vocabulary, by category; None if the model came without its vocabularies."""


WRITTEN_DDL: Final = (
    "path string, size bigint, rows bigint, rejected bigint, failure string, kind string, unseen map<string, bigint>"
)


@functools.lru_cache(maxsize=2)
def cached_servable(uri: str, digest: str, threads: int, wait_s: float = 0.0) -> LoadedModel:
    """The servable of this process; it outlives a job, so that the next one starts warm.

    Raises:
        ModelDamaged: The files are not those that the driver read.
    """
    retry = RetryPolicy(wait_s)
    with mapped_errors("model", uri), open_input(f"{uri}/{MANIFEST}", retry) as file:
        manifest = ModelManifest.model_validate_json(file.read())
    if manifest.digest != digest:
        raise ModelDamaged(uri, "it was replaced while the job ran")
    return LoadedModel.load(ModelVersion(uri, manifest, retry), threads)


def run_tasks(job: Job, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Score the tasks whose numbers come in, one file each; what Spark calls in every worker."""
    for batch in batches:
        for number in batch.column(0).to_pylist():
            try:
                done = run_task(job, number)
            except LASTING as error:
                done = Written(failure=str(error), kind=next(c.__name__ for c in LASTING if isinstance(error, c)))
            yield pa.RecordBatch.from_pylist([asdict(done)], _written_schema())


def run_task(job: Job, number: int) -> Written:
    """Score the rows of one task into a new file, which no reader sees before the driver's commit.

    Raises:
        DataRejected: A file of the table, or the model, is damaged.
        ConfigError: No permission.
        StorageError: A file cannot be read or written.
    """
    servable = cached_servable(job.model, job.digest, job.threads, job.wait_s)
    path = f"{job.folder}/part-{number:05d}-{job.run}-{uuid.uuid4().hex}.parquet"
    files = files_of(path, job.retry)
    vocabularies = read_vocabularies(servable.origin.folder)
    unseen = None if vocabularies is None else Unseen(vocabularies)
    with mapped_errors("file", path):
        try:
            rows, rejected = _write(files, path, _score(job.tasks[number], servable, job, unseen), job.schema)
        except BaseException:
            files.remove(path)
            raise
        fail_here("score.after_file")
        return Written(path, files.size(path), rows, rejected, unseen=unseen.counts if unseen else None)


class Unseen:
    """Counts values that the training data did not have.

    Args:
        vocabularies: By input.
    """

    def __init__(self, vocabularies: Mapping[str, Vocabulary]) -> None:
        self._vocabularies = vocabularies
        self.counts = dict.fromkeys(vocabularies, 0)

    def add(self, columns: Mapping[str, Encoded]) -> None:
        """Count a batch's."""
        for name, words in self._vocabularies.items():
            self.counts[name] += count_unseen(columns[name], words)


def _write(files: Files, path: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> tuple[int, int]:
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    rows = rejected = 0
    options: dict[str, Any] = {"use_dictionary": texts, "write_page_checksum": True, "store_schema": False}
    with files.open_output(path) as sink, pq.ParquetWriter(sink, schema, **options) as writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
            rejected += batch.num_rows - batch.column(ERROR).null_count
        fail_here("score.before_close")
    return rows, rejected


def _score(
    slices: Iterable[RowSlice], servable: LoadedModel, job: Job, unseen: Unseen | None
) -> Iterator[pa.RecordBatch]:
    features = servable.spec.inputs if servable.spec else ()
    names = list(dict.fromkeys([f.name for f in features] + list(job.keys)))
    for row_slice in slices:
        for batch in read_rows(row_slice.rows, names, retry=job.retry):
            fail_here("score.before_batch")
            columns, reasons = _encode(batch, features)
            if unseen:
                unseen.add(columns)
            outputs = servable.infer_encoded(columns)
            for name, bad in non_finite_rows(outputs).items():
                reasons.append((bad, f"{name} is not finite"))
            yield _to_arrow(batch, outputs, reasons, row_slice, job)


Reasons = list[tuple[npt.NDArray[np.bool_], str]]
"""Rows without a prediction, and why."""


def _encode(batch: pa.RecordBatch, features: Iterable[Feature]) -> tuple[dict[str, Encoded], Reasons]:
    columns: dict[str, Encoded] = {}
    reasons: Reasons = []
    for feature in features:
        column = batch.column(feature.name)
        if column.null_count and not feature.nullable:
            # One bad row must not end the job: it is computed like any other, then its outputs are set to null.
            reasons.append((column.is_null().to_numpy(zero_copy_only=False), f"{feature.name} is missing"))
            column = pc.fill_null(column, _blank(column.type))
        columns[feature.name] = encode(column, feature)
    return columns, reasons


def _blank(kind: pa.DataType) -> pa.Scalar:
    return pa.scalar("" if pa.types.is_string(kind) else 0).cast(kind)


def _to_arrow(
    batch: pa.RecordBatch, outputs: Arrays, reasons: Reasons, row_slice: RowSlice, job: Job
) -> pa.RecordBatch:
    rows = batch.num_rows
    bad = np.zeros(rows, dtype=bool)
    texts = np.full(rows, None, dtype=object) if reasons else None
    for mask, reason in reasons:
        texts[mask & ~bad] = reason  # type: ignore[index] # there are texts where there are reasons
        bad |= mask
    made: dict[str, Any] = {name: batch.column(name) for name in job.keys}
    made[SPLIT] = pa.repeat(pa.scalar(row_slice.split, pa.string()), rows)
    made[ERROR] = pa.nulls(rows, pa.string()) if texts is None else pa.array(texts, pa.string())
    made |= {name: _output(values, bad) for name, values in outputs.items()}
    made |= {name: pa.repeat(pa.scalar(value), rows) for name, value in job.constants.items()}
    arrays = [made[field.name].cast(field.type) for field in job.schema]
    return pa.RecordBatch.from_arrays(arrays, schema=job.schema)


def _output(values: npt.NDArray[Any], bad: npt.NDArray[np.bool_]) -> pa.Array:
    mask = bad if bad.any() else None
    if values.dtype.kind == "O":
        return pa.array(values, pa.binary(), mask=mask)
    if values.ndim == 1:
        return pa.array(values, mask=mask)
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    null_lists = None if mask is None else pa.array(mask)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.ravel()), mask=null_lists)


def _written_schema() -> pa.Schema:
    return pa.schema(
        [
            ("path", pa.string()),
            *((n, pa.int64()) for n in ("size", "rows", "rejected")),
            *((n, pa.string()) for n in ("failure", "kind")),
            ("unseen", pa.map_(pa.string(), pa.int64())),
        ]
    )
