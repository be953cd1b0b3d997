"""The folder where a run stages its sources; it goes with the run."""

import contextlib
import time
from collections.abc import Iterator
from typing import Final

from millrace.storage import Store, mapped_errors

STAGING: Final = ".staging"
STALE_S: Final = 24 * 3600
"""A staging folder older than this was left by a run that was killed."""


@contextlib.contextmanager
def staging_folder(store: Store, run_id: str) -> Iterator[str]:
    """A folder beside the tables, where every executor can read it; removed at the end, whatever happens."""
    root = store.uri(STAGING)
    folder = f"{root}/{run_id}"
    with mapped_errors("folder", STAGING):
        for old in store.files.names(root):
            if time.time() - store.files.modified(f"{root}/{old}") > STALE_S:
                store.files.remove(f"{root}/{old}")
    try:
        yield folder
    finally:
        store.remove(STAGING, run_id)
