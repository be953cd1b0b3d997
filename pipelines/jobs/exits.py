"""Turns errors into exit codes and one readable message; the only place that knows both."""

import logging
import sys
from collections.abc import Callable
from typing import Final

from millrace.errors import ConfigError, DataRejected, InputMissing, MillraceError, Refused, Unavailable

logger = logging.getLogger(__name__)

OK: Final = 0
USAGE: Final = 2
BUG: Final = 70
INTERRUPTED: Final = 130

EXIT_CODES: Final[dict[type[MillraceError], int]] = {
    DataRejected: 3,
    InputMissing: 4,
    Refused: 5,
    Unavailable: 75,
    ConfigError: 78,
}
"""By class, looked up along the error's own classes. 0 is done or already done, 2 usage, 70 a bug."""


def exit_code(error: BaseException) -> int:
    """The exit code of an error."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return next((EXIT_CODES[c] for c in type(error).__mro__ if c in EXIT_CODES), BUG)


def report_error(error: BaseException) -> None:
    """Show an error on stderr: what a user can mend without a traceback, a bug with it."""
    if isinstance(error, MillraceError):
        hint = f"\n  {error.hint}" if error.hint else ""
        sys.stderr.write(f"error: {error}{hint}\n")
    elif isinstance(error, KeyboardInterrupt):
        sys.stderr.write("interrupted; nothing that was committed is lost, run the same command again\n")
    else:
        logger.error("this is a bug in millrace; please report it with these lines", exc_info=error)


def guard(action: Callable[[], None]) -> None:
    """Run a command's work; an error becomes its message, and ends the process with its exit code."""
    try:
        action()
    except Exception as error:  # the edge: whatever is no user's error is told as a bug
        report_error(error)
        sys.exit(exit_code(error))
