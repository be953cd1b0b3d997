"""Rows in ranges, and never a damaged byte taken for data."""

import errno
import io
import random
import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.errors import ConfigError, DataRejected, StorageError
from millrace.tables import rows
from millrace.tables.rows import RowRange, cut_rows, read_rows
from millrace.tables.versions import DataFile
from tests.millrace.tables.test_versions import rows_of

GROUP = 7
"""Rows of a row group in the files here."""

FILES = (DataFile("a", 3, {}), DataFile("b", 0, {}), DataFile("c", 4, {}))


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        (0, 7, [("a", 0, 3), ("c", 0, 4)]),
        (2, 4, [("a", 2, 3), ("c", 0, 1)]),
        (3, 5, [("c", 0, 2)]),
        (3, 3, []),
        (7, 9, []),
        (6, 9, [("c", 3, 4)]),
    ],
)
def test_cutting(start: int, stop: int, expected: list[tuple[str, int, int]]) -> None:
    assert [(r.path, r.start, r.stop) for r in cut_rows(FILES, start, stop)] == expected


@given(rows=st.lists(st.integers(0, 9), max_size=6), cuts=st.lists(st.integers(0, 60), max_size=5))
def test_cuts_hold_every_row_once(rows: list[int], cuts: list[int]) -> None:
    files = tuple(DataFile(str(n), count, {}) for n, count in enumerate(rows))
    bounds = [0, *sorted(min(cut, sum(rows)) for cut in cuts), sum(rows)]
    seen = Counter(
        (r.path, row)
        for low, high in pairwise(bounds)
        for r in cut_rows(files, low, high)
        for row in range(r.start, r.stop)
    )
    assert seen == Counter((str(n), row) for n, count in enumerate(rows) for row in range(count))


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of several row groups with page checksums, as Spark writes them for us."""
    path = tmp_path_factory.mktemp("parquet") / "part-0.parquet"
    pq.write_table(rows_of(0, 45), path, row_group_size=GROUP, write_page_checksum=True)
    return path


@settings(deadline=None, max_examples=60)
@given(
    bounds=st.tuples(st.integers(0, 45), st.integers(0, 45)).map(sorted),
    batch_rows=st.integers(1, 50),
    columns=st.permutations(["id", "city"]),
)
def test_any_range_equals_the_slice(parquet: Path, bounds: list[int], batch_rows: int, columns: list[str]) -> None:
    start, stop = bounds
    batches = list(read_rows(RowRange(str(parquet), start, stop), columns, batch_rows))
    assert all(0 < batch.num_rows <= batch_rows for batch in batches)
    expected = rows_of(0, 45).select(["id", "city"]).slice(start, stop - start)
    if start < stop:
        assert pa.Table.from_batches(batches).select(["id", "city"]).equals(expected)
    else:
        assert batches == []


def test_a_path_may_hold_what_a_uri_would_escape(parquet: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a b%20.parquet"
    shutil.copy(parquet, odd)
    (batch,) = read_rows(RowRange(str(odd), 1, 3), ["id"])
    assert batch["id"].to_pylist() == [1, 2]
    assert RowRange(str(odd), 1, 3).rows == 2


def flipped(parquet: Path, target: Path, position: int) -> Path:
    data = bytearray(parquet.read_bytes())
    data[position] ^= 0xFF
    target.write_bytes(data)
    return target


def test_a_flipped_byte_in_a_data_page(parquet: Path, tmp_path: Path) -> None:
    column = pq.ParquetFile(parquet).metadata.row_group(2).column(0)
    inside = column.dictionary_page_offset + column.total_compressed_size - 3
    damaged = flipped(parquet, tmp_path / "part-damaged.parquet", inside)
    with pytest.raises(DataRejected, match=r"part-damaged\.parquet: damaged or unreadable") as caught:
        list(read_rows(RowRange(str(damaged), 0, 45), ["id"]))
    assert "restore the file" in caught.value.hint
    untouched = list(read_rows(RowRange(str(damaged), 0, 2 * GROUP), ["id"]))
    assert sum(batch.num_rows for batch in untouched) == 2 * GROUP


def test_no_flipped_byte_gives_a_wrong_answer(parquet: Path, tmp_path: Path) -> None:
    """Wherever it is, footer included: the rows are right, or they are refused."""
    chosen = random.Random(7).sample(range(parquet.stat().st_size), 300)
    columns = ["id", "city"]
    expected = rows_of(0, 45).select(columns)
    refused = 0
    for position in chosen:
        damaged = flipped(parquet, tmp_path / "damaged.parquet", position)
        try:
            batches = list(read_rows(RowRange(str(damaged), 0, 45), columns))
        except DataRejected:
            refused += 1
        else:
            assert pa.Table.from_batches(batches).equals(expected), f"byte {position}"
    assert refused > 150


@pytest.mark.parametrize(
    ("data", "reason"), [(b"", "0 bytes"), (b"PAR1", "4 bytes"), (b"no parquet at all", "magic bytes")]
)
def test_no_parquet_file(data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    path.write_bytes(data)
    with pytest.raises(DataRejected, match=reason):
        list(read_rows(RowRange(str(path), 0, 1), ["id"]))


def test_fewer_rows_than_the_log_says(parquet: Path) -> None:
    with pytest.raises(DataRejected, match="5 rows fewer than the table's log says"):
        list(read_rows(RowRange(str(parquet), 40, 50), ["id"]))


def test_a_column_that_the_file_lacks(parquet: Path) -> None:
    with pytest.raises(DataRejected, match="there is no column 'age'"):
        list(read_rows(RowRange(str(parquet), 0, 1), ["id", "age"]))


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="the table's log names this file, but it is gone"):
        list(read_rows(RowRange(str(tmp_path / "gone.parquet"), 0, 1), ["id"]))


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (OSError(errno.EAGAIN, "hdfs://nn:8020: All DataNodes failed"), StorageError),
        (OSError(errno.EIO, "Input/output error"), StorageError),
        (PermissionError(None, "Permission denied: user=x", "/m/x"), ConfigError),
    ],
)
def test_a_storage_in_trouble_says_nothing_of_the_data(
    trouble: OSError, kind: type[Exception], parquet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where Arrow's reader stands between."""

    class Troubled(io.FileIO):
        def readinto(self, buffer: Any) -> int:
            raise trouble

        def read(self, size: int | None = -1) -> bytes:
            raise trouble

    monkeypatch.setattr(rows, "open_input", lambda path, _: Troubled(path))
    with pytest.raises(kind):
        list(read_rows(RowRange(str(parquet), 0, 1), ["id"]))
