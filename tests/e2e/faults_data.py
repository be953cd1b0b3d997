"""Damage data files and count the damage that is reported; used by the tests and by the long fault tests."""

import random
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from ingest import stage
from ingest.errors import BadFiles
from millrace.config import load_product
from millrace.errors import DataRejected
from millrace.storage import Store
from millrace.tables.rows import RowRange, read_rows
from millrace.tables.versions import CLEAN, TableVersion, find_table

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PARTS = {
    "product": "parts",
    "sources": {"parts": {"format": "parquet", "path": "parts", "columns": {"id": "bigint", "size": "int"}}},
    "ingest": {"base": "parts", "key": ["id"]},
    "contract": {"expectations": [{"expect_column_values_to_not_be_null": {"column": "id"}}]},
    "features": {"label": "id", "inputs": {"size": {"as": "numeric"}}},
    "train": {"task": "regression"},
}


def flipped_bits(store: Store, product: str, flips: int = 300, seed: int = 5) -> tuple[int, int]:
    """Flip single bits in the data files of a clean table on a local store, one at a time, and read the file.

    Returns:
        The number of flips that a reader reported with the file's name, and the number of all flips.
    """
    rng = random.Random(seed)
    table, found = find_table(store, product, CLEAN), 0
    for _ in range(flips):
        file = rng.choice(table.files)
        path = Path(file.path)
        data = path.read_bytes()
        bit = rng.randrange(len(data) * 8)
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            found += _is_reported(table, RowRange(file.path, 0, file.rows, file.sha256))
        finally:
            path.write_bytes(data)
    return found, flips


def _is_reported(table: TableVersion, rows: RowRange) -> bool:
    columns = [name for name in table.columns if name != "split"]
    try:
        for _ in read_rows(rows, columns):
            pass
    except DataRejected as error:
        return rows.path in str(error)
    return False


def bad_files(folder: Path, spark: "SparkSession", files: int = 5_000, seed: int = 5) -> tuple[int, int]:
    """Ingest many Parquet files of which one is truncated, one has a flipped bit and one is empty.

    Returns:
        How many of the three files the error names, minus the undamaged files that it names, and three.
    """
    rng = random.Random(seed)
    (folder / "parts").mkdir(parents=True)
    for number in range(files):
        ids = pa.array(range(number * 10, number * 10 + 10), pa.int64())
        table = pa.table({"id": ids, "size": ids.cast(pa.int32())})
        pq.write_table(table, folder / "parts" / f"{number:05d}.parquet", write_page_checksum=True)
    truncated, flipped, empty = (folder / "parts" / f"{n:05d}.parquet" for n in rng.sample(range(files), 3))
    truncated.write_bytes(truncated.read_bytes()[:-7])
    data = bytearray(flipped.read_bytes())
    data[pq.ParquetFile(flipped).metadata.row_group(0).column(0).dictionary_page_offset + 40] ^= 4
    flipped.write_bytes(data)
    empty.write_bytes(b"")
    (folder / "parts.yaml").write_text(yaml.safe_dump(PARTS, sort_keys=False))
    try:
        stage.run(load_product(folder / "parts.yaml"), spark, Store(str(folder / "store")), "run1")
    except BadFiles as error:
        named = sum(any(path.name in problem for problem in error.problems) for path in (truncated, flipped, empty))
        return named - (len(error.problems) - named), 3
    return 0, 3
