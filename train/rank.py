"""The context of a rank: its number, the heartbeat of its watchdog, its connection to the driver."""

import faulthandler
import sys
from collections.abc import Callable
from dataclasses import dataclass

from train.events import EventSender
from train.world import World


@dataclass(frozen=True)
class Rank:
    """The context of this rank.

    Attributes:
        world: Its number and the number of ranks.
        heartbeat: Restarts the timeout of the watchdog.
        sender: Sends events to the driver.
    """

    world: World
    heartbeat: Callable[[], None]
    sender: EventSender


def watchdog(deadline_s: float) -> Callable[[], None]:
    """Start a timeout that ends this process; returns the function that restarts the timeout.

    When the timeout expires, the stacks of all threads are written to stderr and the process exits. Horovod's own
    stall check never ends a run whose rank hangs.
    """

    def heartbeat() -> None:
        faulthandler.dump_traceback_later(deadline_s, exit=True, file=sys.stderr)

    heartbeat()
    return heartbeat
