"""Small products for the tests: a product file and its sources, written into a folder."""

import contextlib
import gzip
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import yaml

from ingest.sources.find import find_snapshots
from ingest.sources.load import LoadedSource, check_not_empty, load_sources
from ingest.sources.staged import stage_sources
from ingest.staging.shape import Shape
from millrace.config import Product, load_product
from millrace.config.sections.columns import Column
from millrace.storage import Store
from millrace.tables.versions import find_table

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

COLUMNS = {"id": "bigint", "name": "string", "size": "int", "weight": "double"}
NOT_NULL_ID = {"expect_column_values_to_not_be_null": {"column": "id"}}
Lines = Iterable[str]


@dataclass
class Small:
    """A product in the making; `build` writes and loads it."""

    folder: Path
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    ingest: dict[str, Any] = field(default_factory=lambda: {"base": "things", "key": ["id"], "steps": []})
    contract: dict[str, Any] = field(default_factory=lambda: {"expectations": [NOT_NULL_ID]})
    features: dict[str, Any] = field(default_factory=lambda: {"label": "id", "inputs": {"size": {"as": "numeric"}}})

    def source(
        self,
        data: bytes,
        *,
        name: str = "things",
        file: str = "things.csv",
        columns: Mapping[str, str] = COLUMNS,
        **more: Any,
    ) -> "Small":
        """Declare a source and write its file."""
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.sources[name] = {"path": file, "columns": dict(columns), **more}
        return self

    def steps(self, *steps: Mapping[str, Any]) -> "Small":
        """Set the cleaning steps."""
        self.ingest["steps"] = [dict(step) for step in steps]
        return self

    def learning(self, column: str, label: str = "id") -> "Small":
        """Make a source of other columns a product that could be trained."""
        self.features = {"label": label, "inputs": {column: {"as": "category"}}}
        return self

    def build(self) -> Product:
        """Write the product file and load it as the command line does."""
        tree = {
            "product": "small",
            "sources": self.sources,
            "ingest": self.ingest,
            "contract": self.contract,
            "features": self.features,
            "train": {"task": "regression"},
        }
        path = self.folder / "small.yaml"
        path.write_text(yaml.safe_dump(tree, sort_keys=False))
        return load_product(path)


def csv(*lines: str, end: str = "\n") -> bytes:
    """Lines of text, each ended."""
    return "".join(f"{line}{end}" for line in lines).encode()


HEADER = ",".join(COLUMNS)


def shape_of(types: Mapping[str, str], **more: Any) -> Shape:
    """A shape of columns that only have a type."""
    return Shape({name: Column(type=type_name) for name, type_name in types.items()}, **more)


def things(rows: int) -> bytes:
    """Good rows of the usual source."""
    return csv(HEADER, *(f"{n},name {n},{n % 7},{n / 8}" for n in range(rows)))


def zipped(path: Path, **members: bytes) -> bytes:
    """The bytes of a zip; members are named ``first_csv`` for ``first.csv``."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("_", "."), data)
    return path.read_bytes()


def gzipped(data: bytes) -> bytes:
    """The bytes of a gzip file, the same each time."""
    return gzip.compress(data, mtime=0)


def rows_of(store: Store, table: str) -> list[dict[str, Any]]:
    """All rows of a product's table, read without Spark."""
    version = find_table(store, "small", table)
    rows: list[dict[str, Any]] = []
    for file in version.files:
        read = pq.ParquetFile(file.path, page_checksum_verification=True).read().to_pylist()
        rows += [{**row, **file.partition} for row in read]
    return rows


def load(small: Small, spark: "SparkSession", stack: contextlib.ExitStack) -> dict[str, LoadedSource]:
    """Load a product's sources as the stage does."""
    product, folder = small.build(), str(small.folder / "staging")
    staged = stage_sources(product, find_snapshots(product, spark, folder), spark, folder)
    check_not_empty(staged)
    return load_sources(staged, spark, stack)
