"""The run record of ingest: of a run that committed, of one with nothing to do, and the counts of one that failed."""

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ingest.sources.load import LoadedSource
from ingest.table.increments import Increment
from ingest.table.ledger import INCREMENT, own_commit
from millrace.errors import MillraceError
from millrace.runs import Outcome, RunRecord
from millrace.tables.versions import TableVersion

logger = logging.getLogger(__name__)

STAGE: Final = "ingest"


@dataclass
class Accounts:
    """The rows of a run so far, for the record of a run that fails: what came in is out, rejected or filtered.

    Attributes:
        counts: The fields of the run record.
    """

    counts: dict[str, Any] = field(default_factory=dict)

    @contextlib.contextmanager
    def in_errors(self) -> Iterator[None]:
        """Add the counts to an error that ends the run."""
        try:
            yield
        except MillraceError as error:
            error.counts = self.counts
            raise

    def read(self, base: LoadedSource) -> None:
        """Count the rows of the base source; all good ones count as out until they are cleaned."""
        self.counts = {"rows_in": base.rows, "rows_out": base.rows - base.rejected, "rejected": base.rejected}

    def clean(self, filters: Mapping[str, int], kept: int) -> None:
        """Count the rows that the steps dropped."""
        self.counts |= {"rows_out": kept, "filtered": sum(filters.values()), "filters": dict(filters)}


def nothing_new(
    parent: TableVersion,
    run_id: str,
    started: float,
    increment: Increment | None,
    bad_files: Mapping[str, str] | None = None,
) -> RunRecord:
    """The record of a run that changes nothing, because a version of the table has its rows already."""
    logger.info("nothing new: version %d has these rows already", parent.version)
    own = own_commit(parent)  # newer commits may be maintenance, such as VACUUM
    version = replace(parent, commit=own[1] if own else parent.commit)
    record = finish(version, run_id, "already_committed", started, increment)
    if not bad_files:
        return record
    return record.model_copy(update={"details": {**record.details, "bad_files": dict(bad_files)}})


def finish(
    version: TableVersion, run_id: str, outcome: Outcome, started: float, increment: Increment | None
) -> RunRecord:
    product = version.name.partition("/")[0]
    record = record_of(product, version.commit, run_id=run_id, outcome=outcome)
    known = {*record.model_dump(), "run_id", INCREMENT}
    details = {name: value for name, value in version.commit.items() if name not in known}
    return record.model_copy(
        update={
            "version": version.version,
            "seconds": round(time.monotonic() - started, 3),
            "reason": "nothing new" if outcome == "already_committed" else "",
            "details": {
                **details,
                "table_sha256": version.digest,
                **({INCREMENT: increment.summary} if increment else {}),
            },
        }
    )


def record_of(product: str, commit: Mapping[str, Any], *, run_id: str, outcome: Outcome) -> RunRecord:
    """The run record of a commit; checks that its counts add up."""
    counts = {name: commit[name] for name in ("rows_in", "rows_out", "rejected", "filtered", "filters")}
    return RunRecord(stage=STAGE, run_id=run_id, product=product, outcome=outcome, **counts).check_accounts()
