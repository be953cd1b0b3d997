"""Replaces rows of an incremental table by newer rows with the same key, in the version that adds the other new rows.

The written rows, and the rows of all files that hold an older row with one of their keys, are written again without
the older one of two rows; the commit replaces these files. Which row is newer does not depend on the order of
deliveries, so the table equals one that is built from all files at once.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote

from pyspark.sql import functions as F

from ingest.cleaning.duplicates import digest_of_row
from ingest.spark.columns import quoted
from ingest.spark.errors import mapped_actions
from ingest.spark.ordered import keeping_order
from ingest.table.arrange import arrange_again, partitions_for
from ingest.table.clean import CleanWrite
from millrace.config.checks.flow import SPLIT
from millrace.config.sections.ingest import Upsert
from millrace.errors import StorageError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

logger = logging.getLogger(__name__)

_NEW: Final = "#new"
_OLD: Final = "#old"
_FILE: Final = "#file"


@dataclass(frozen=True)
class Upserted:
    """What became of the written rows.

    Attributes:
        replaced: Number of rows of the table that newer rows replaced.
        older: Number of written rows that were left out because the table has a newer row, by split.
    """

    replaced: int
    older: Mapping[str, int]


def replace_older(write: CleanWrite, key: Sequence[str], upsert: Upsert) -> Upserted:
    """Compare the written rows with those of the table, and write them again if they share a key.

    Args:
        write: Its rows are written, have unique keys, and are to be appended to a table.
        key: The key's columns.
        upsert: Says which of two rows is newer.

    Raises:
        StorageError: The files could not be written, or have another number of rows than expected.
        Unavailable: Spark failed.
    """
    new, table, written = write.read(), write.table_files(), write.rows
    pairs = _find_pairs(new, write.read(table), key, upsert.order)
    if not pairs:
        return Upserted(0, {})
    # A file all of whose rows are newer stays as it is.
    changed = {pair.file for pair in pairs if pair.newer != "old"}
    stays = {pair.file for pair in pairs} - changed
    files = [file for file in table if _name(file.path) in changed]
    if stays:
        newer = write.read([file for file in table if _name(file.path) in stays])
        new = new.join(newer.select(*map(quoted, key)), list(key), "left_anti").select(*map(quoted, new.columns))
    columns = sorted(new.columns)
    sides = _sides(new, write.read(files), key, columns, how="full")
    wins = _new_wins(upsert.order, [name for name in columns if name != SPLIT])
    older = _count_older(pairs, sides, wins, upsert.order)
    both, left_out = sum(pair.number for pair in pairs), sum(older.values())
    if left_out == written:
        logger.info("upsert: the table has all %d rows already, or newer ones", written)
        write.merge(new, [], 0)
        return Upserted(0, older)
    rows = sides.select(F.when(wins, F.col(quoted(_NEW))).otherwise(F.col(quoted(_OLD))).alias("row")).select("row.*")
    total = written + sum(file.rows for file in files) - both
    arranged = arrange_again(rows.select(*map(quoted, new.columns)), key, partitions_for(total))
    with keeping_order(new.sparkSession):
        write.merge(arranged, files, written - left_out)
    if write.rows_in_files != total:
        raise StorageError(f"the files of the upsert have {write.rows_in_files} rows, expected {total}")
    logger.info(
        "upsert: replaced %d rows, wrote %d files again; the table has newer rows than %d",
        both - left_out,
        len(files),
        left_out,
    )
    return Upserted(both - left_out, older)


class _Pairs(NamedTuple):
    """The number of pairs of a written row and a row of the table with the same key.

    Attributes:
        file: The file with the rows of the table, by `_name`.
        split: The split of the written rows.
        newer: Which of the two rows is newer: new, old, or tie.
        number: The number of pairs.
    """

    file: str
    split: str
    newer: str
    number: int


def _find_pairs(new: "DataFrame", old: "DataFrame", key: Sequence[str], order: str) -> "list[_Pairs]":
    newer = F.when(_is_tie(order), "tie").when(_is_newer(order), "new").otherwise("old")
    pairs = _sides(new, old, key, (order, SPLIT), with_file=True)
    groups = pairs.groupBy(F.col(quoted(_FILE)), F.col(quoted(_NEW))[SPLIT], newer)
    with mapped_actions("the upsert"):
        return [_Pairs(_name(file), split, which, number) for file, split, which, number in groups.count().collect()]


def _count_older(pairs: "list[_Pairs]", sides: "DataFrame", wins: "Column", order: str) -> dict[str, int]:
    """Count the written rows that are older than the table's, by split. Only ties need another look at the rows."""
    older = {pair.split: 0 for pair in pairs}
    for pair in pairs:
        older[pair.split] += pair.number if pair.newer == "old" else 0
    if any(pair.newer == "tie" for pair in pairs):
        ties = F.col(quoted(_NEW)).isNotNull() & F.col(quoted(_OLD)).isNotNull() & _is_tie(order) & ~wins
        with mapped_actions("the upsert"):
            for split, count in sides.where(ties).groupBy(F.col(quoted(_NEW))[SPLIT]).count().collect():
                older[split] += count
    return older


def _sides(
    new: "DataFrame",
    old: "DataFrame",
    key: Sequence[str],
    columns: Sequence[str],
    *,
    how: str = "inner",
    with_file: bool = False,
) -> "DataFrame":
    """Rows with the same key side by side, as structs `_NEW` and `_OLD`; one of them is null if no row matches."""
    names = [f"#key{number}" for number in range(len(key))]
    keys = [F.col(quoted(column)).alias(name) for column, name in zip(key, names, strict=True)]
    row = F.struct(*map(quoted, columns))
    file = [F.col("_metadata.file_path").alias(_FILE)] if with_file else []
    return new.select(*keys, row.alias(_NEW)).join(old.select(*keys, row.alias(_OLD), *file), names, how)


def _is_tie(order: str) -> "Column":
    return F.col(quoted(_NEW))[order].eqNullSafe(F.col(quoted(_OLD))[order])


def _is_newer(order: str) -> "Column":
    new, old = F.col(quoted(_NEW))[order], F.col(quoted(_OLD))[order]
    return F.coalesce(new > old, new.isNotNull())  # null is older than any value


def _new_wins(order: str, columns: Sequence[str]) -> "Column":
    """Condition: there is a new row, and no old one that is newer."""
    has_new, has_old = F.col(quoted(_NEW)).isNotNull(), F.col(quoted(_OLD)).isNotNull()
    return has_new & (~has_old | _is_better(order, columns))


def _is_better(order: str, columns: Sequence[str]) -> "Column":
    """Condition: the new row is newer; of rows with the same order, the one with the lesser digest."""
    new, old = (
        digest_of_row(F.struct(*(F.col(quoted(side))[name].alias(name) for name in columns))) for side in (_NEW, _OLD)
    )
    return F.when(_is_tie(order), new < old).otherwise(_is_newer(order))


def _name(path: str) -> str:
    """The last two parts of a file's path or address, which name it in the table."""
    return "/".join(unquote(path).split("/")[-2:])
