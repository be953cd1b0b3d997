"""Signals that end a run: turned into one error, whatever a library makes of it on the way."""

import signal
from types import FrameType, TracebackType
from typing import Final

from millrace.errors import Terminated

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Interrupts:
    """Raises in the main thread on SIGTERM and SIGINT, and remembers it.

    An exception that a signal handler raises inside another library may come out as that library's own: Py4J reports
    a broken connection. What the user asked for is in `cause`.

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
        """Take the signals, again after a library took them."""
        for number in SIGNALS:
            signal.signal(number, self._raise)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        self.cause = KeyboardInterrupt() if number == signal.SIGINT else Terminated()
        signal.signal(number, signal.SIG_DFL)  # who asks twice does not want to wait
        raise self.cause
