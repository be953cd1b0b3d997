"""The store, on a local disk or on HDFS: reads and writes files, and publishes files and folders atomically."""

from millrace.storage.checksums import digest_at, has_digest
from millrace.storage.delta import delta_errors, delta_options
from millrace.storage.filesystems.files import Entry, Files, is_of_storage, mapped_errors
from millrace.storage.filesystems.local import LocalFiles
from millrace.storage.glob import find_entries, has_pattern
from millrace.storage.records import Lost, Won, cas_append, read_record, record_numbers
from millrace.storage.store import (
    Store,
    StoreUnusable,
    check_root,
    download,
    files_of,
    is_plain,
    open_input,
    resolve_root,
    upload,
    uri_of,
)

__all__ = [
    "Entry",
    "Files",
    "LocalFiles",
    "Lost",
    "Store",
    "StoreUnusable",
    "Won",
    "cas_append",
    "check_root",
    "delta_errors",
    "delta_options",
    "digest_at",
    "download",
    "files_of",
    "find_entries",
    "has_digest",
    "has_pattern",
    "is_of_storage",
    "is_plain",
    "mapped_errors",
    "open_input",
    "read_record",
    "record_numbers",
    "resolve_root",
    "upload",
    "uri_of",
]
