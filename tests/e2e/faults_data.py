"""Faults of data, as functions that return what was found and what had to be: for short tests and for long runs."""

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
        Flips that a reader reported with the file's name, and all of them.
    """
    chance = random.Random(seed)
    table, found = find_table(store, product, CLEAN), 0
    for _ in range(flips):
        file = chance.choice(table.files)
        path = Path(file.path)
        data = path.read_bytes()
        place = chance.randrange(len(data) * 8)
        spoilt = bytearray(data)
        spoilt[place // 8] ^= 1 << place % 8
        path.write_bytes(spoilt)
        try:
            found += _is_told(table, RowRange(file.path, 0, file.rows, file.sha256))
        finally:
            path.write_bytes(data)
    return found, flips


def _is_told(table: TableVersion, rows: RowRange) -> bool:
    columns = [name for name in table.columns if name != "split"]
    try:
        for _ in read_rows(rows, columns):
            pass
    except DataRejected as error:
        return rows.path in str(error)
    return False


def bad_files(folder: Path, spark: "SparkSession", files: int = 5_000, seed: int = 5) -> tuple[int, int]:
    """Ingest many Parquet files of which one is cut, one has a flipped bit and one is empty.

    Returns:
        How many of the three the one error names, less those that it names for nothing, and three.
    """
    chance = random.Random(seed)
    (folder / "parts").mkdir(parents=True)
    for number in range(files):
        ids = pa.array(range(number * 10, number * 10 + 10), pa.int64())
        table = pa.table({"id": ids, "size": ids.cast(pa.int32())})
        pq.write_table(table, folder / "parts" / f"{number:05d}.parquet", write_page_checksum=True)
    cut, bit, empty = (folder / "parts" / f"{n:05d}.parquet" for n in chance.sample(range(files), 3))
    cut.write_bytes(cut.read_bytes()[:-7])
    data = bytearray(bit.read_bytes())
    data[pq.ParquetFile(bit).metadata.row_group(0).column(0).dictionary_page_offset + 40] ^= 4
    bit.write_bytes(data)
    empty.write_bytes(b"")
    (folder / "parts.yaml").write_text(yaml.safe_dump(PARTS, sort_keys=False))
    try:
        stage.run(load_product(folder / "parts.yaml"), spark, Store(str(folder / "store")), "run1")
    except BadFiles as error:
        named = sum(any(path.name in problem for problem in error.problems) for path in (cut, bit, empty))
        return named - (len(error.problems) - named), 3
    return 0, 3
