"""One rule: a request leaves no reference cycle behind. Then Python's garbage collector can run rarely.

CPython frees an object when its last reference goes; the collector is needed only for objects that refer to each other
in a cycle. Its runs stop the event loop, and took 5 % of the server's time at its default threshold (ADR 18). So the
server runs it rarely (`relax_collector`), and must not depend on it: a cycle per request would fill the memory between
two runs, and a version that a cycle holds would keep its process. Cycles appear in four ways, each with its remedy:

- An error holds the frames that it passed (its traceback), and a frame holds its local variables. If one of these
  refers to the error, such as a future that failed, that is a cycle. Where an error is answered, or replaced by
  another, call `forget_stack`.
- A coroutine that awaits a future of an object in a local variable: the error of the future holds the frame, the frame
  the object, the object the future. Delete the variable in a ``finally``.
- A timer holds its callback until it is due, even if nothing else needs the object any more. Pass `weak_callback`.
- Two objects of one request that need each other: clear one side when the request ends (`serve.http.fast_path`).

tests/serve/test_garbage.py counts what requests of every kind leave behind.
"""

import gc
import weakref
from collections.abc import Callable
from typing import Final, ParamSpec

_P = ParamSpec("_P")

THRESHOLD: Final = 10_000
"""New objects after which the collector looks for cycles among them; Python's default is 700."""


def relax_collector() -> None:
    """Let the collector run rarely, and ignore the objects that exist now; call it once models are loaded."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(THRESHOLD)


def forget_stack(error: BaseException) -> None:
    """Remove the traceback of an error, and of the errors that caused it, once the error is reported."""
    known: BaseException | None = error
    while known is not None and known.__traceback__ is not None:
        known.__traceback__ = None
        known = known.__cause__ or known.__context__


def weak_callback(method: Callable[_P, None]) -> Callable[_P, None]:
    """A function that calls a bound method if its object still exists, and does not keep the object."""
    reference = weakref.WeakMethod(method)

    def call(*arguments: _P.args, **named: _P.kwargs) -> None:
        found = reference()
        if found:
            found(*arguments, **named)

    return call
