"""How long a storage that is away is waited for: not at all by a command that asks, for minutes by a stage at work.

A stage that has reached its store once is told to be patient (`be_patient`); its workers inherit that by their
environment. Waiting is for errors that pass by themselves, such as a NameNode that restarts, and it is told.
"""

import errno
import functools
import logging
import os
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)

ENVIRONMENT: Final = "MILLRACE_STORAGE_WAIT_S"
LONGEST_PAUSE_S: Final = 5.0
TOLD_EVERY_S: Final = 30.0
_PASSING: Final = frozenset(
    {
        errno.EAGAIN,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.EPIPE,
        errno.ETIMEDOUT,
    }
)

_listeners: list[Callable[[], None]] = []


def be_patient(wait_s: float) -> None:
    """Let this process, and those that it starts, wait for the storage so many seconds at each operation."""
    os.environ[ENVIRONMENT] = f"{wait_s:g}"


def wait_s() -> float:
    """Seconds that this process waits."""
    return float(os.environ.get(ENVIRONMENT) or 0)


def while_waiting(call: Callable[[], None]) -> None:
    """Have a function called before each pause: who waits for the storage is not stuck."""
    _listeners.append(call)


def is_passing(error: BaseException) -> bool:
    """Whether an error may go away by itself."""
    return isinstance(error, OSError) and error.errno in _PASSING


def patient(operation: Callable[P, R]) -> Callable[P, R]:
    """Repeat an operation that may be done twice, while its errors pass and this process is patient."""

    @functools.wraps(operation)
    def repeated(*args: P.args, **kwargs: P.kwargs) -> R:
        allowed = wait_s()
        if not allowed:
            return operation(*args, **kwargs)
        trying = Retrying(
            retry=retry_if_exception(is_passing),
            stop=stop_after_delay(allowed),
            wait=wait_random_exponential(0.2, max=LONGEST_PAUSE_S),
            before_sleep=_Teller(allowed),
            reraise=True,
        )
        return trying(operation, *args, **kwargs)

    return repeated


class _Teller:
    def __init__(self, allowed: float) -> None:
        self._allowed = allowed
        self._told = -TOLD_EVERY_S

    def __call__(self, state: RetryCallState) -> None:
        for call in _listeners:
            call()
        waited = state.seconds_since_start or 0.0
        if waited - self._told >= TOLD_EVERY_S and state.outcome is not None:
            self._told = waited
            error = state.outcome.exception()
            said = getattr(error, "strerror", None) or error
            logger.warning("waiting for the storage, %.0f of %.0f s: %s", waited, self._allowed, said)
