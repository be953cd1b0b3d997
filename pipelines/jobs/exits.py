"""Maps errors to exit codes, and reports them as readable messages."""

import logging
import sys
from collections.abc import Callable
from typing import Final

from millrace.errors import Broken, ConfigError, DataRejected, InputMissing, MillraceError, Refused, Unavailable

logger = logging.getLogger(__name__)

OK: Final = 0
USAGE: Final = 2
BUG: Final = 70
INTERRUPTED: Final = 130

EXIT_CODES: Final[dict[type[MillraceError], int]] = {
    DataRejected: 3,
    InputMissing: 4,
    Refused: 5,
    Broken: BUG,
    Unavailable: 75,
    ConfigError: 78,
}
"""Exit code by error class; a subclass has the code of its base. 0 is done or already done, 2 wrong usage, 70 a bug."""


def exit_code(error: BaseException) -> int:
    """Return the exit code of an error."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return next((EXIT_CODES[c] for c in type(error).__mro__ if c in EXIT_CODES), BUG)


def report_error(error: BaseException) -> None:
    """Show an error on stderr: one that a user can fix without a traceback, a bug with it."""
    if isinstance(error, MillraceError):
        hint = f"\n  {error.hint}" if error.hint else ""
        sys.stderr.write(f"error: {error}{hint}\n")
    elif isinstance(error, KeyboardInterrupt):
        sys.stderr.write("interrupted; nothing that was committed is lost, run the same command again\n")
    else:
        logger.error("this is a bug in millrace; please report it with these lines", exc_info=error)


def guard(action: Callable[[], None]) -> None:
    """Run a command's work; report an error and exit with its code."""
    try:
        action()
    except Exception as error:  # any error that is not the project's own is reported as a bug
        report_error(error)
        sys.exit(exit_code(error))
