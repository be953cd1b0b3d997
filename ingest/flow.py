"""Rows on their way through the steps; a dropped row stays, marked, until all of them are counted in one pass."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from pyspark.sql import functions as F

from ingest.delimited import quoted
from ingest.spark_errors import mapped_actions

if TYPE_CHECKING:
    import contextlib

    from pyspark.sql import Column, DataFrame

DROPPED: Final = "#dropped"
"""Name of the filter that dropped the row; null while it is kept."""


def is_kept() -> "Column":
    """Condition: no filter has dropped the row."""
    return F.col(quoted(DROPPED)).isNull()


def add(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, int]:
    """Counts by filter, added up."""
    return {name: left.get(name, 0) + right.get(name, 0) for name in {**left, **right}}


@dataclass(frozen=True)
class Flow:
    """Rows between two steps.

    Attributes:
        frame: The columns so far, and `DROPPED`.
        filters: Names that `DROPPED` may hold, in the order of the steps.
        filtered: Rows that are gone already, by filter.
    """

    frame: "DataFrame"
    filters: tuple[str, ...] = ()
    filtered: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def start(cls, frame: "DataFrame") -> "Flow":
        """A flow of rows none of which is dropped."""
        return cls(_unmarked(frame))

    @property
    def columns(self) -> list[str]:
        """The columns that a user sees."""
        return [name for name in self.frame.columns if name != DROPPED]

    @property
    def kept(self) -> "DataFrame":
        """The rows that no filter dropped, without the mark."""
        return self.frame.where(is_kept()).drop(DROPPED)

    def settle(self, stack: "contextlib.ExitStack") -> "Flow":
        """Count what is dropped so far and go on with the kept rows alone."""
        if not self.filters:
            return self
        self.frame.persist()
        stack.callback(self.frame.unpersist)
        with mapped_actions("the steps"):
            rows = self.frame.groupBy(quoted(DROPPED)).count().collect()
        counts = {row[0]: row[1] for row in rows if row[0] is not None}
        zeros = dict.fromkeys(self.filters, 0)
        filtered = add(add(self.filtered, zeros), counts)
        return Flow(_unmarked(self.kept), filtered=filtered)

    def with_frame(self, frame: "DataFrame", *filters: str) -> "Flow":
        """The flow after a step, with the filters that it may have used."""
        names = tuple(dict.fromkeys((*self.filters, *filters)))
        return replace(self, frame=frame, filters=names)


def _unmarked(frame: "DataFrame") -> "DataFrame":
    return frame.withColumn(DROPPED, F.lit(None).cast("string"))
