"""Prints tables of a schedule: its entries, the next ticks, and the outcomes of the last ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from millrace.config import Product
from millrace.config.sections.schedule import Entry
from millrace.cron import moments_after
from millrace.storage import Store
from pipelines.commands.output import print_if_piped, print_table
from pipelines.schedule.log import Ended, Log, Skipped, Started
from pipelines.schedule.runner import utc_now


@dataclass(frozen=True)
class Past:
    """A tick of the past.

    Attributes:
        tick: Its logical date.
        outcome: How it ended, or its current state.
        reason: Why.
        attempts: Number of processes that were started for it.
    """

    tick: datetime
    outcome: str
    reason: str
    attempts: int


def read_past(records: Sequence[Started | Ended | Skipped]) -> Past:
    """Summarise the records of one tick, which are in order."""
    last = records[-1]
    attempts = sum(isinstance(record, Started) for record in records)
    match last:
        case Skipped():
            what, reason = "skipped", f"with {last.count - 1} before it" if last.count > 1 else ""
        case Started():
            what, reason = "running", f"{last.stage}, attempt {last.attempt}"
        case Ended(outcome="done"):
            version = "" if last.version is None else f", version {last.version}"
            what, reason = "done" if last.settles else "running", f"{last.stage} is done{version}"
        case _:
            what, reason = last.outcome.replace("_", " "), f"{last.stage}: {last.reason}"
    return Past(last.tick, what, reason, attempts)


def list_entries(product: Product) -> None:
    """Print every entry and its next tick."""
    now = utc_now()
    entries: list[dict[str, Any]] = []
    for name, entry in product.config.schedule.items():
        upcoming = _next_ticks(entry, now, 1)[0]
        entries.append({"name": name, **entry.model_dump(mode="json"), "next": upcoming.isoformat()})
    rows = [
        (e["name"], e["cron"], e["timezone"], ", ".join(e["stages"]), e["catch_up"], _local(e["next"], e["timezone"]))
        for e in entries
    ]
    header = ("entry", "cron", "time zone", "stages", "catch up", "next, local time")
    print_table(f"schedule of {product.config.product}", header, rows)
    print_if_piped({"product": product.config.product, "entries": entries})


def show_ticks(product: Product, store: Store, count: int) -> None:
    """Print the last ticks of every entry with their outcomes, and the next ones."""
    now = utc_now()
    entries: list[dict[str, Any]] = []
    for name, entry in product.config.schedule.items():
        past = [read_past(records) for records in Log(store, product.config.product, name).history(count)]
        upcoming = _next_ticks(entry, now, count)
        rows = [(_local(p.tick, entry.timezone), _utc(p.tick), p.outcome, p.reason) for p in reversed(past)]
        rows += [(_local(moment, entry.timezone), _utc(moment), "", "") for moment in upcoming]
        print_table(
            f"{name}: {entry.cron} in {entry.timezone}", ("local time", "logical date", "outcome", "reason"), rows
        )
        entries.append(
            {
                "name": name,
                "past": [{**vars(p), "tick": _utc(p.tick)} for p in past],
                "next": [_utc(moment) for moment in upcoming],
            }
        )
    print_if_piped({"product": product.config.product, "entries": entries})


def _next_ticks(entry: Entry, now: datetime, count: int) -> list[datetime]:
    return list(islice(moments_after(entry.cron, entry.timezone, now), count))


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%MZ}"


def _local(moment: datetime | str, zone: str) -> str:
    moment = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return f"{moment.astimezone(ZoneInfo(zone)):%a %Y-%m-%d %H:%M}"
