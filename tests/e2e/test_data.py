"""Damaged source files and table files: the error names each file."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from millrace.storage import Store
from tests.e2e.faults_data import bad_files, flipped_bits
from tests.ingest.small import Small, things

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.e2e, pytest.mark.spark]


def test_flipped_bits_in_a_table(spark: "SparkSession", tmp_path: Path, store: Store) -> None:
    from ingest import stage

    stage.run(Small(tmp_path).source(things(2_000)).build(), spark, store, "run1")
    got, goal = flipped_bits(store, "small")
    assert got == goal == 300


def test_damaged_source_files(spark: "SparkSession", tmp_path: Path) -> None:
    assert bad_files(tmp_path, spark, files=300) == (3, 3)
