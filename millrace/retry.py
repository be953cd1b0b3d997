"""Retries a function on temporary errors, such as those of a NameNode that restarts.

A query command does not retry. A stage that has reached its store once retries for minutes. The policy is a value that
is passed explicitly, also to executors and ranks: `millrace.storage.Store` and its file systems carry it.
"""

import errno
import functools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Concatenate, Final, ParamSpec, Protocol, TypeVar

import tenacity
from tenacity import RetryCallState, Retrying
from tenacity.stop import stop_base

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)

LOG_EVERY_S: Final = 30.0
_TEMPORARY: Final = frozenset(
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


def is_temporary(error: BaseException) -> bool:
    """Whether an error of the storage is temporary."""
    return isinstance(error, OSError) and error.errno in _TEMPORARY


@dataclass(frozen=True)
class RetryPolicy:
    """When and for how long a function is retried. Use it only for functions that are safe to repeat.

    To send a policy to another process (executor, rank), leave `is_temporary`, `stop` and `on_wait` at their defaults.

    Attributes:
        wait_s: Seconds after which an error is final, counted from the first call; 0: no retry, None: no limit. A pause
            that began before may end up to `longest_pause_s` later.
        first_pause_s: Upper bound of the first pause. Pauses are random, and their upper bound doubles.
        shortest_pause_s: Lower bound of every pause.
        longest_pause_s: Upper bound of every pause.
        is_temporary: Which errors are retried.
        tries: Largest number of calls; None: no limit.
        stop: Once it is set, it ends the pause and makes the next error final.
        waits_for: What the function waits for, for the log.
        log_after_s: Seconds of waiting before the first line in the log.
        on_wait: Called before each pause, for example to keep a watchdog from ending the process.
    """

    wait_s: float | None = 0.0
    first_pause_s: float = 0.2
    shortest_pause_s: float = 0.0
    longest_pause_s: float = 5.0
    is_temporary: Callable[[BaseException], bool] = is_temporary
    tries: int | None = None
    stop: threading.Event | None = None
    waits_for: str = "the storage"
    log_after_s: float = 0.0
    on_wait: Callable[[], None] | None = None

    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function until it returns, its error is not temporary, or a limit is reached."""
        if self.wait_s == 0:
            return function(*args, **kwargs)
        retrying = Retrying(
            retry=tenacity.retry_if_exception(self.is_temporary),
            stop=tenacity.stop_any(*self._limits()),
            wait=tenacity.wait_random_exponential(
                self.first_pause_s, min=self.shortest_pause_s, max=self.longest_pause_s
            ),
            sleep=time.sleep if self.stop is None else tenacity.sleep_using_event(self.stop),
            before_sleep=_WaitLog(self),
            reraise=True,
        )
        return retrying(function, *args, **kwargs)

    def _limits(self) -> list[stop_base]:
        limits: list[stop_base] = []
        if self.wait_s is not None:
            limits.append(tenacity.stop_after_delay(self.wait_s))
        if self.tries is not None:
            limits.append(tenacity.stop_after_attempt(self.tries))
        if self.stop is not None:
            limits.append(tenacity.stop_when_event_set(self.stop))
        return limits


NO_RETRY: Final = RetryPolicy()


class Retrier(Protocol):
    """An object with methods decorated by `retried`."""

    @property
    def retry(self) -> RetryPolicy:
        """The policy."""


S = TypeVar("S", bound=Retrier)


def retried(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Retry a method by its object's policy, ``self.retry``; the method must be safe to repeat."""

    @functools.wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.retry.call(method, self, *args, **kwargs)

    return call


class _WaitLog:
    """Runs before each pause of one call: calls `RetryPolicy.on_wait`, and logs every `LOG_EVERY_S` seconds."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._logged_s = policy.log_after_s - LOG_EVERY_S

    def __call__(self, state: RetryCallState) -> None:
        if self._policy.on_wait is not None:
            self._policy.on_wait()
        waited_s = state.seconds_since_start or 0.0
        if waited_s - self._logged_s >= LOG_EVERY_S and state.outcome is not None:
            self._logged_s = waited_s
            error = state.outcome.exception()
            limit = "" if self._policy.wait_s is None else f" of {self._policy.wait_s:.0f}"
            reason = getattr(error, "strerror", None) or error
            logger.warning("waiting for %s, %.0f%s s: %s", self._policy.waits_for, waited_s, limit, reason)
