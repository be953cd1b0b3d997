"""Counts rows while a Spark job passes them on, so that the counts cost no job of their own."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from pyspark.sql import Observation

from ingest.spark.errors import mapped_actions

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_WAIT_S: Final = 10.0
_POLL_S: Final = 0.01


class Observed:
    """A frame with figures about all of its rows.

    Spark adds a task's figures whenever the task succeeds, so they are too high if a task ran again because its result
    was lost. The caller has to compare a number of rows with one that is known from elsewhere, and use `count` if they
    differ.

    Attributes:
        frame: The same rows; the first action on it computes the figures.
    """

    def __init__(self, frame: "DataFrame", figures: Mapping[str, "Column"]) -> None:
        self._figures = dict(figures)
        self._without = frame
        self._observation = Observation()
        self.frame = frame.observe(self._observation, *self._columns())

    def get(self) -> dict[str, Any] | None:
        """The figures after an action has succeeded; None if Spark has none, for example of a plan without rows."""
        future = self._observation._jo.future() if self._observation._jo is not None else None
        until = time.monotonic() + _WAIT_S
        while future is not None and not future.isCompleted() and time.monotonic() < until:
            time.sleep(_POLL_S)
        if future is None or not future.isCompleted() or future.value().get().isFailure():
            return None
        if future.value().get().get().length() != len(self._figures):
            return None
        return dict(self._observation.get)

    def count(self, what: str) -> dict[str, Any]:
        """Compute the figures in a job of their own; its errors name ``what`` failed."""
        with mapped_actions(what):
            row = self._without.select(*self._columns()).first()
        return dict(zip(self._figures, row or (), strict=True))

    def _columns(self) -> "list[Column]":
        return [column.alias(name) for name, column in self._figures.items()]
