"""The log of a schedule's entry, in the store: one record for each start and each outcome of a tick.

A tick is identified by its logical date, the time of its cron expression in UTC. If several schedulers want to start
the same stage, the first whose record gets the next number starts it. The current state follows from the records since
the last one that settled a tick, so a long log is never read completely.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from millrace.storage import Lost, Store, cas_append, read_record, record_numbers

WAIT_S: Final = 5.0
"""How long one append retries while the storage fails; the scheduler's next step tries again."""

Outcome = Literal[
    "done", "rejected", "refused", "failed", "timed_out", "input_missing", "waiting", "retry", "interrupted"
]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)  # ignores the keys of a later version

    at: datetime
    """When the record was written; for information only."""


class Watched(_Record):
    """A scheduler watched the entry for the first time: its ticks are those after this time."""

    event: Literal["watched"] = "watched"


class Skipped(_Record):
    """Ticks that passed while no scheduler ran, and that are not caught up."""

    event: Literal["skipped"] = "skipped"
    first: datetime
    tick: datetime
    """The last skipped tick."""
    count: int


class Owner(BaseModel):
    """A scheduler's process, identified by more than its number, which the system uses again.

    Attributes:
        started: Seconds from the start of the machine to the start of the process.
        key: Random key of one runner in the process.
    """

    model_config = ConfigDict(frozen=True)

    host: str
    pid: int
    started: float
    key: str


class Started(_Record):
    """A stage of a tick was started."""

    event: Literal["started"] = "started"
    tick: datetime
    zone: str
    stage: str
    attempt: int
    run: str
    """The run's token, which is in the environment of each of its processes."""
    place: str
    """Path of its output on the owner's host, without the suffix."""
    owner: Owner
    inputs: dict[str, int] = Field(default_factory=dict)
    """Versions that it reads; a second attempt reads the same ones."""


class Ended(_Record):
    """A run ended, or could not start.

    Attributes:
        run: Token of its `Started`; empty if it could not start.
    """

    event: Literal["ended"] = "ended"
    tick: datetime
    stage: str
    run: str = ""
    outcome: Outcome
    settles: bool = False
    """Whether the tick is finished: no further attempt or stage follows."""
    code: int | None = None
    reason: str = ""
    run_id: str = ""
    version: int | None = None
    wait_s: float = 0.0
    """Seconds until the next attempt."""


Record = Watched | Skipped | Started | Ended
_RECORD: Final[TypeAdapter[Record]] = TypeAdapter(Annotated[Record, Field(discriminator="event")])


@dataclass(frozen=True)
class State:
    """The state of an entry.

    Attributes:
        number: Number of the next record.
        cursor: The last settled tick, or when a scheduler first watched the entry; None before that.
        tick: The open tick.
        done: Versions that finished stages of the open tick made.
        run: The running stage.
        ends: How attempts at the current stage of the open tick ended.
        inputs: Versions that the current stage of the open tick reads.
    """

    number: int = 0
    cursor: datetime | None = None
    tick: datetime | None = None
    done: dict[str, int | None] = field(default_factory=dict)
    run: Started | None = None
    ends: tuple[Ended, ...] = ()
    inputs: dict[str, int] = field(default_factory=dict)

    def after(self, record: Record) -> "State":
        """Return the state after one more record."""
        number = self.number + 1
        if isinstance(record, Watched):
            return State(number, record.at)
        if isinstance(record, Skipped) or (isinstance(record, Ended) and record.settles):
            return State(number, record.tick)
        if isinstance(record, Started):
            return State(number, self.cursor, record.tick, self.done, record, self.ends, record.inputs)
        if record.outcome == "done":
            return State(number, self.cursor, record.tick, {**self.done, record.stage: record.version})
        # A stage that lacked an input committed nothing, so it may read newer versions next time.
        inputs = {} if record.outcome == "waiting" else self.inputs
        return State(number, self.cursor, record.tick, self.done, None, (*self.ends, record), inputs)


class Log:
    """The log of one entry."""

    def __init__(self, store: Store, product: str, entry: str) -> None:
        self.store = store
        self.folder = ("schedules", product, entry, "_log")

    def append(self, record: Record, number: int) -> bool:
        """Add a record under a number; False if another scheduler's record has it.

        Raises:
            StorageError: The storage failed; the log must be read to find out whether the record was added.
        """
        data = record.model_dump_json().encode()
        return not isinstance(cas_append(self.store, self.folder, number, data, wait_s=WAIT_S), Lost)

    def newest(self) -> Iterator[tuple[int, Record]]:
        """Yield records with their numbers, the newest first."""
        for number in reversed(record_numbers(self.store, self.folder)):
            yield number, _RECORD.validate_json(read_record(self.store, self.folder, number))

    def state(self) -> State:
        """Read the entry's state."""
        records: list[tuple[int, Record]] = []
        for number, record in self.newest():
            records.append((number, record))
            if not isinstance(record, Started) and (not isinstance(record, Ended) or record.settles):
                break
        state = State(records[-1][0] if records else 0)
        for _, record in reversed(records):
            state = state.after(record)
        return state

    def history(self, ticks: int) -> list[Sequence[Started | Ended | Skipped]]:
        """Return the records of the last ticks: the newest tick first, the records of each in order."""
        found: dict[datetime, list[Started | Ended | Skipped]] = {}
        for _, record in self.newest():
            if isinstance(record, Watched) or (record.tick not in found and len(found) == ticks):
                break
            found.setdefault(record.tick, []).insert(0, record)
        return list(found.values())
