"""Run records: the result of a stage, as its last line on stdout and as a file in the store."""

import secrets
import time
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from millrace.storage import Store

Outcome = Literal["committed", "already_committed", "failed", "interrupted"]


def new_run_id() -> str:
    """Create the name of a run: its start time in UTC, and random digits against collisions."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(3)}"


class RunRecord(BaseModel):
    """The result of one stage in one run.

    ``rows_in == rows_out + rejected + filtered`` holds in every record (see `check_accounts`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    run_id: str
    product: str = ""
    outcome: Outcome
    version: int | None = None
    """The table or model version with the result."""
    rows_in: int = 0
    rows_out: int = 0
    rejected: int = 0
    filtered: int = 0
    filters: dict[str, int] = Field(default_factory=dict)
    """Dropped rows by filter."""
    seconds: float = 0.0
    code: int = 0
    """Exit code of the process."""
    reason: str = ""
    hint: str = ""
    details: dict[str, object] = Field(default_factory=dict)
    """Details of this stage: metrics, digests, sources."""

    @property
    def lost_rows(self) -> str:
        """What is wrong with the row counts; empty if they add up."""
        if self.rows_in == self.rows_out + self.rejected + self.filtered:
            return ""
        return (
            f"{self.stage}: {self.rows_in} rows in, but {self.rows_out} out + {self.rejected} rejected "
            f"+ {self.filtered} filtered"
        )

    def check_accounts(self) -> "RunRecord":
        """Return the record if its row counts add up.

        Raises:
            AssertionError: Rows were lost or doubled, which is a bug and not a fault of the data.
        """
        if self.lost_rows:
            raise AssertionError(self.lost_rows)
        return self


def save_record(store: Store, record: RunRecord) -> None:
    """Save a record as ``runs/<product>/<run_id>/<stage>.json``."""
    data = record.model_dump_json(indent=2).encode()
    store.put(data, "runs", record.product, record.run_id, f"{record.stage}.json")


def read_record(store: Store, product: str, run_id: str, stage: str) -> RunRecord:
    """Read the record of a stage in a run.

    Raises:
        ArtifactNotFound: There is no record.
    """
    return RunRecord.model_validate_json(store.read("runs", product, run_id, f"{stage}.json"))
