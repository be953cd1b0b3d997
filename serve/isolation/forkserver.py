"""The process that processes of models are forked from; it has imported TensorFlow."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing import resource_tracker
from multiprocessing.context import ForkServerContext


@contextlib.contextmanager
def signals_blocked() -> Iterator[None]:
    """Let a new process begin with these signals blocked; it inherits this thread's mask.

    Ctrl-C goes to the whole group. It must not end the process that others are forked from, while it imports
    TensorFlow: the server decides when its processes end, by SIGKILL.
    """
    resource_tracker.ensure_running()  # by `multiprocessing` later, it would unblock them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def fork_context() -> ForkServerContext:
    """The way in which processes of models are started."""
    context = multiprocessing.get_context("forkserver")
    # For every process, before TensorFlow is imported: its log lines are not useful for users.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    context.set_forkserver_preload(["tensorflow", "serve.servables.saved_model", "serve.isolation.child"])
    return context
