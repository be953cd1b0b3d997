"""The log of a schedule's entry: what became of each tick, in the store, one record after another.

A tick is named by its logical date, the moment of its cron expression in UTC. Of several schedulers that want to
start the same thing, the one whose record gets the number does. What is open is told by the records since the last
one that settled a tick, so that a long log is never read whole.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from millrace.storage import Lost, Store, cas_append, read_record, record_numbers

WAIT_S: Final = 5.0
"""How long one append goes on while the storage fails; whoever appends comes again."""

Outcome = Literal[
    "done", "rejected", "refused", "failed", "timed_out", "input_missing", "waiting", "retry", "interrupted"
]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)  # keys of a later version are passed over

    at: datetime
    """When it was written, for people."""


class Watched(_Record):
    """Somebody began to watch the entry: its ticks are those after this moment."""

    event: Literal["watched"] = "watched"


class Skipped(_Record):
    """Ticks that passed while nothing could run, and are not made up for."""

    event: Literal["skipped"] = "skipped"
    first: datetime
    tick: datetime
    """The last of them."""
    count: int


class Owner(BaseModel):
    """A process that runs a schedule, named so that a later one with its number is not taken for it.

    Attributes:
        started: Seconds from the start of the machine to its own.
        key: Of one runner in it.
    """

    model_config = ConfigDict(frozen=True)

    host: str
    pid: int
    started: float
    key: str


class Started(_Record):
    """A stage of a tick is run, by whom and as what."""

    event: Literal["started"] = "started"
    tick: datetime
    zone: str
    stage: str
    attempt: int
    run: str
    """Stands in the environment of every process of the run."""
    place: str
    """Path of its output on the owner's host, without the suffix."""
    owner: Owner
    inputs: dict[str, int] = Field(default_factory=dict)
    """Versions that it reads: a second attempt reads the same."""


class Ended(_Record):
    """A run ended, or could not begin.

    Attributes:
        run: Of the `Started`; empty where it could not begin.
    """

    event: Literal["ended"] = "ended"
    tick: datetime
    stage: str
    run: str = ""
    outcome: Outcome
    settles: bool = False
    """Nothing more is done for this tick."""
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
    """Where an entry stands.

    Attributes:
        number: Of the next record.
        cursor: The last tick that is settled, or when the watch began; None if it has not.
        tick: The open tick.
        done: Versions that stages of the open tick made.
        run: What runs.
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
        """Where it stands with one more record."""
        number = self.number + 1
        if isinstance(record, Watched):
            return State(number, record.at)
        if isinstance(record, Skipped) or (isinstance(record, Ended) and record.settles):
            return State(number, record.tick)
        if isinstance(record, Started):
            return State(number, self.cursor, record.tick, self.done, record, self.ends, record.inputs)
        if record.outcome == "done":
            return State(number, self.cursor, record.tick, {**self.done, record.stage: record.version})
        # What lacked an input has committed nothing: it may read newer versions when it comes again.
        inputs = {} if record.outcome == "waiting" else self.inputs
        return State(number, self.cursor, record.tick, self.done, None, (*self.ends, record), inputs)


class Log:
    """The log of one entry."""

    def __init__(self, store: Store, product: str, entry: str) -> None:
        self.store = store
        self.folder = ("schedules", product, entry, "_log")

    def append(self, record: Record, number: int) -> bool:
        """Put a record under a number; False if another scheduler took it.

        Raises:
            StorageError: The storage failed; whether the record is there, only the log tells.
        """
        data = record.model_dump_json().encode()
        return not isinstance(cas_append(self.store, self.folder, number, data, wait_s=WAIT_S), Lost)

    def newest(self) -> Iterator[tuple[int, Record]]:
        """Records with their numbers, the last first."""
        for number in reversed(record_numbers(self.store, self.folder)):
            yield number, _RECORD.validate_json(read_record(self.store, self.folder, number))

    def state(self) -> State:
        """Where the entry stands."""
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
        """The records of the last ticks, the newest tick first, each in order."""
        found: dict[datetime, list[Started | Ended | Skipped]] = {}
        for _, record in self.newest():
            if isinstance(record, Watched) or (record.tick not in found and len(found) == ticks):
                break
            found.setdefault(record.tick, []).insert(0, record)
        return list(found.values())
