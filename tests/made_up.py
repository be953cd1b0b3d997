"""A synthetic product with three classes: every type, and nulls in every column except key and label."""

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from deltalake import CommitProperties, write_deltalake

from millrace.config.sections.ingest import Contract
from millrace.digests import digest_of
from millrace.storage import Store

PRODUCT = """
product: shapes
description: Which of three kinds is it?
sources:
  things:
    path: things.csv
    options: {nullValue: NA, timestampFormat: "yyyy-MM-dd'T'HH:mm:ssX"}
    columns:
      id: bigint
      colour: string
      round: boolean
      corners: int
      weight: double
      size: float
      found: timestamp
      kind: string
ingest:
  base: things
  key: [id]
  split: {by: hash, validation: 0.15, test: 0.2}
contract:
  min_rows: 100
  expectations:
    - expect_column_values_to_not_be_null: {column: id}
    - expect_column_values_to_not_be_null: {column: kind}
    - expect_column_values_to_be_in_set: {column: kind, value_set: [ball, box, cone]}
features:
  label: kind
  inputs:
    colour: {as: category}
    round: {as: category}
    corners: {as: category, dim: 3}
    weight: {as: numeric}
    size: {as: numeric, log: true}
    found: {as: cyclic, period: day}
  crosses:
    - {columns: [colour, round], dim: 2}
train:
  task: multiclass
  options: {hidden: [16]}
  epochs: 3
  batch_size: 64
  learning_rate: 2e-2
  class_weights: balanced
evaluate:
  slices: [colour]
  gates:
    accuracy: {min: 0.5}
"""

COLUMNS = ("id", "colour", "round", "corners", "weight", "size", "found", "kind")
SCHEMA = pa.schema(
    {
        "id": pa.int64(),
        "colour": pa.string(),
        "round": pa.bool_(),
        "corners": pa.int32(),
        "weight": pa.float64(),
        "size": pa.float32(),
        "found": pa.timestamp("us", tz="UTC"),
        "kind": pa.string(),
    }
)


def things(rows: int, seed: int = 1) -> list[dict[str, Any]]:
    """Generate rows whose kind depends on corners and weight; a tenth of the values is missing."""
    random = np.random.default_rng(seed)
    kinds = random.choice(["ball", "box", "cone"], rows, p=[0.5, 0.3, 0.2])
    made = []
    for number, kind in enumerate(kinds):
        row = {
            "id": number,
            "colour": str(random.choice(["red", "green", "blue, dark"])),
            "round": bool(kind == "ball" or random.random() < 0.2),
            "corners": int({"ball": 0, "box": 8, "cone": 1}[kind] if random.random() < 0.8 else random.integers(9)),
            "weight": float(random.normal({"ball": 1.0, "box": 5.0, "cone": 3.0}[kind])),
            "size": float(np.float32(random.exponential(3))),
            "found": datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=int(random.integers(500_000))),
        }
        missing = random.random(len(row)) < 0.1
        row = {n: None if gone and n != "id" else v for (n, v), gone in zip(row.items(), missing, strict=True)}
        made.append({**row, "kind": str(kind)})
    return made


def write_product(folder: Path, rows: int = 1_500) -> Path:
    """Write the product file and its CSV file; return the path of the product file."""
    with (folder / "things.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in things(rows):
            writer.writerow([_cell(row[name]) for name in COLUMNS])
    (folder / "shapes.yaml").write_text(PRODUCT)
    return folder / "shapes.yaml"


def _cell(value: object) -> str:
    if value is None:
        return "NA"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%SZ}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def write_clean(store: Store, rows: int = 1_500, files: int = 2, *, day: bool = False) -> None:
    """Write the clean table without an ingest: the same rows, split by their id; with `day` also the day of `found`."""
    made = things(rows)
    splits = ["test" if r["id"] % 5 == 0 else "validation" if r["id"] % 5 == 1 else "train" for r in made]
    table = pa.Table.from_pylist(made, SCHEMA)
    table = table.append_column("day", table["found"].cast(pa.date32())) if day else table
    table = table.append_column("split", pa.array(splits))
    for number in range(files):
        part = table.slice(number * rows // files, (number + 1) * rows // files - number * rows // files)
        path = store.uri("tables", "shapes", "clean")
        write_deltalake(path, part, partition_by=["split"], mode="append", commit_properties=_validated())


def _validated() -> CommitProperties:
    """Return the commit metadata that ingest writes for a table that passed the product's contract."""
    contract = Contract.model_validate(yaml.safe_load(PRODUCT)["contract"])
    metadata = {"contract_sha256": digest_of(contract), "split": {"by": "id"}}
    return CommitProperties(custom_metadata={"userMetadata": json.dumps(metadata)})
