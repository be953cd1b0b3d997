"""The rows between cleaning steps.

A dropped row is only marked, until all dropped rows are counted in one pass. The same holds for rows with a NaN or an
infinite number that became null.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Final

from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, FloatType

from ingest.spark.columns import is_not_finite, quoted
from ingest.spark.errors import mapped_actions

if TYPE_CHECKING:
    import contextlib

    from pyspark.sql import Column, DataFrame

DROPPED: Final = "#dropped"
"""Name of the filter that dropped the row; null for kept rows."""

NOT_FINITE: Final = "#not_finite"
"""Names of the row's columns whose NaN or infinity became null; null in most rows. Added only if a step needs it."""
_MARKS: Final = (DROPPED, NOT_FINITE)


def is_kept() -> "Column":
    """Condition: no filter has dropped the row."""
    return F.col(quoted(DROPPED)).isNull()


def had_not_finite(name: str) -> "Column":
    """Condition: the row's value of this column was NaN or infinite, and is null now."""
    return F.array_contains(F.col(quoted(NOT_FINITE)), name)


def add(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, int]:
    """Add counts by name."""
    return {name: left.get(name, 0) + right.get(name, 0) for name in {**left, **right}}


@dataclass(frozen=True)
class Flow:
    """The rows between two steps.

    Attributes:
        frame: The columns so far, and the mark columns `DROPPED` and `NOT_FINITE`.
        filters: Names that `DROPPED` may hold, in the order of the steps.
        floats: Names that `NOT_FINITE` may hold; without any, the frame has no such column.
        filtered: Number of rows that are already removed, by filter.
        not_finite: Number of values that became null and are already counted, by column.
    """

    frame: "DataFrame"
    filters: tuple[str, ...] = ()
    floats: tuple[str, ...] = ()
    filtered: Mapping[str, int] = field(default_factory=dict)
    not_finite: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def start(cls, frame: "DataFrame") -> "Flow":
        """Make a flow of rows none of which is dropped."""
        return cls(_unmarked(frame))

    @property
    def columns(self) -> list[str]:
        """The columns without the mark columns."""
        return [name for name in self.frame.columns if name not in _MARKS]

    @property
    def marks(self) -> tuple[str, ...]:
        """The mark columns of the frame."""
        return _MARKS if self.floats else (DROPPED,)

    @property
    def kept(self) -> "DataFrame":
        """The rows that no filter dropped, without the marks."""
        return self.frame.where(is_kept()).drop(*_MARKS)

    def settle(self, stack: "contextlib.ExitStack") -> "Flow":
        """Count the marks so far, remove the dropped rows and clear the marks.

        Args:
            stack: Unpersists the frame when it closes.
        """
        if not self.filters and not self.floats:
            return self
        self.frame.persist()
        stack.callback(self.frame.unpersist)
        figures = [F.count(F.lit(1)), *(F.count_if(had_not_finite(name)) for name in self.floats)]
        with mapped_actions("the steps"):
            rows = self.frame.groupBy(quoted(DROPPED)).agg(*figures).collect()
        counts = {row[0]: row[1] for row in rows if row[0] is not None}
        zeros = dict.fromkeys(self.filters, 0)
        filtered = add(add(self.filtered, zeros), counts)
        replaced = {name: sum(row[n + 2] for row in rows) for n, name in enumerate(self.floats)}
        return Flow(_unmarked(self.kept), filtered=filtered, not_finite=add(self.not_finite, replaced))

    def finite(self, *names: str) -> "Flow":
        """Replace NaN and infinity in computed columns by null, and mark the row: one NaN makes every average NaN.

        Columns of sources do not need this, because readers reject such values.
        """
        types = {f.name: f.dataType for f in self.frame.schema}
        floats = [name for name in names if isinstance(types[name], FloatType | DoubleType)]
        if not floats:
            return self
        conditions = {name: is_not_finite(F.col(quoted(name))) for name in floats}
        replaced = F.array_compact(F.array(*(F.when(condition, F.lit(name)) for name, condition in conditions.items())))
        mark = F.col(quoted(NOT_FINITE)) if self.floats else F.lit(None).cast("array<string>")
        before = F.coalesce(mark, F.array().cast("array<string>"))
        mark = F.when(reduce(or_, conditions.values()), F.array_union(before, replaced)).otherwise(mark)
        values = {name: F.when(~condition, F.col(quoted(name))) for name, condition in conditions.items()}
        known = tuple(dict.fromkeys((*self.floats, *floats)))
        return replace(self, frame=self.frame.withColumns({**values, NOT_FINITE: mark}), floats=known)

    def with_frame(self, frame: "DataFrame", *filters: str) -> "Flow":
        """The flow after a step, which may have used some filters."""
        names = tuple(dict.fromkeys((*self.filters, *filters)))
        return replace(self, frame=frame, filters=names)


def _unmarked(frame: "DataFrame") -> "DataFrame":
    return frame.withColumn(DROPPED, F.lit(None).cast("string"))
