"""Signals as errors: known for what they are, even where a library swallows them."""

import contextlib
import signal

import pytest

from millrace.errors import Terminated
from pipelines.jobs.interrupts import Interrupts


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_is_remembered(number: signal.Signals, kind: type[BaseException]) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    with Interrupts() as interrupts:
        assert interrupts.cause is None
        with contextlib.suppress(kind):
            signal.raise_signal(number)
        assert type(interrupts.cause) is kind
        assert signal.getsignal(number) == signal.SIG_DFL
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == before


def test_a_library_that_takes_the_signal_loses_it_again() -> None:
    with Interrupts() as interrupts:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        interrupts.arm()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
