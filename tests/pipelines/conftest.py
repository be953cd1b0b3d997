"""What the tests of the contracts and launchers share."""

import logging
from collections.abc import Iterator

import pytest

from pipelines.logs import CONTEXT


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Commands configure logging for their whole process: what one test sets must not reach the next."""
    root = logging.getLogger()
    handlers, level, token = list(root.handlers), root.level, CONTEXT.set(None)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    CONTEXT.reset(token)
