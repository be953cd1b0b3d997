"""Turns the signals that end a run into one error, even if a library replaces the exception."""

import signal
from types import FrameType, TracebackType
from typing import Final

from millrace.errors import Terminated

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Interrupts:
    """Raises in the main thread on SIGTERM and SIGINT, and remembers it.

    A library may catch the exception of a signal handler and raise its own: Py4J reports a broken connection. The
    original one is in `cause`.

    Attributes:
        cause: `Terminated` or ``KeyboardInterrupt``; None until a signal comes.
    """

    def __init__(self) -> None:
        self.cause: BaseException | None = None
        self._before = {number: signal.getsignal(number) for number in SIGNALS}

    def __enter__(self) -> "Interrupts":
        self.arm()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def arm(self) -> None:
        """Install the signal handlers; call it again after a library has replaced them."""
        for number in SIGNALS:
            signal.signal(number, self._raise)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        self.cause = KeyboardInterrupt() if number == signal.SIGINT else Terminated()
        signal.signal(number, signal.SIG_DFL)  # a second signal ends the process at once
        raise self.cause
