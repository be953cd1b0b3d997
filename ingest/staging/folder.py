"""The folder where a run stages its sources; it is removed when the run ends."""

import contextlib
import time
from collections.abc import Iterator
from typing import Final

from millrace.storage import Store, mapped_errors

STAGING: Final = ".staging"
STALE_S: Final = 7 * 24 * 3600
"""Older staging folders belong to runs that were killed, and are removed. Longer than any run takes, because the age is
that of the folder, which does not change while its files are read."""


@contextlib.contextmanager
def staging_folder(store: Store, run_id: str) -> Iterator[str]:
    """Give a folder in the store, which every executor can read; it is removed at the end, also after an error."""
    root = store.uri(STAGING)
    folder = f"{root}/{run_id}"
    with mapped_errors("folder", STAGING):
        for old in store.files.names(root):
            with contextlib.suppress(FileNotFoundError):  # the run that it belonged to has just ended
                if time.time() - store.files.modified(f"{root}/{old}") > STALE_S:
                    store.files.remove(f"{root}/{old}")
    try:
        yield folder
    finally:
        store.remove(STAGING, run_id)
