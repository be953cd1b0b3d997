"""What a rank is told, and what it has: its place in the world, its watchdog, its line to the driver."""

import faulthandler
import sys
from collections.abc import Callable
from dataclasses import dataclass

from millrace.config.sections.train import Train
from millrace.features.spec import FeatureSpec
from millrace.models.manifest import ModelVersion
from millrace.tables.versions import DataFile
from train.events import EventAddress, EventSender
from train.preprocessing.statistics import Statistics
from train.world import World


@dataclass(frozen=True)
class WorkerArgs:
    """Everything that a rank is told; small, since it is sent to every rank.

    Attributes:
        train: The product's section.
        spec: Inputs, label, key.
        statistics: Of the train split.
        files: Data files by split.
        slices: Columns that are judged value by value.
        folder: Where in the store rank 0 leaves the SavedModel and the sample.
        previous: The version to compare with.
        events: Where to tell the driver; filled in when the ranks start.
        wait_s: Seconds that each operation waits while the storage is temporarily unavailable.
    """

    train: Train
    spec: FeatureSpec
    statistics: Statistics
    files: dict[str, tuple[DataFile, ...]]
    slices: tuple[str, ...]
    folder: str
    previous: ModelVersion | None
    events: EventAddress | None = None
    wait_s: float = 0.0


@dataclass(frozen=True)
class Rank:
    """This process: its place in the world, its watchdog, its line to the driver."""

    world: World
    heartbeat: Callable[[], None]
    sender: EventSender


def watchdog(deadline_s: float) -> Callable[[], None]:
    """End this process, with every thread's stack on stderr, unless the returned function is called in time.

    Horovod's own stall check never ends a run whose rank hangs.
    """

    def heartbeat() -> None:
        faulthandler.dump_traceback_later(deadline_s, exit=True, file=sys.stderr)

    heartbeat()
    return heartbeat
