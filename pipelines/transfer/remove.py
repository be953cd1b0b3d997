"""Checks that a path in HDFS may be removed: content of a store only if the user allows it."""

from millrace.errors import InputMissing, Refused
from pipelines.transfer.webhdfs import WebHdfs


def check_removable(hdfs: WebHdfs, path: str, root: str, *, in_store: bool) -> int:
    """Check that a file or folder may be removed; returns its size in bytes.

    Args:
        hdfs: The file system.
        path: The file or folder.
        root: The store's folder.
        in_store: Whether the user allows to remove tables, models or runs.

    Raises:
        InputMissing: There is no such file or folder.
        Refused: It is the whole file system, or it belongs to a store and `in_store` is false.
    """
    if path == "/":
        raise Refused("'/' is the whole file system", hint="give the path to remove")
    status = hdfs.status(path)
    if status is None:
        raise InputMissing(f"{hdfs.address}: there is no file or folder {path!r}")
    below = dict(hdfs.walk(path)) if status.is_folder else {}
    reason = _belongs(hdfs, path, root.rstrip("/"))
    if reason is None and any("_delta_log" in name.split("/") for name in below):
        reason = "holds a Delta table"
    if reason and not in_store:
        raise Refused(f"{hdfs.address}: {path!r} {reason}", hint="add --in-store to remove it")
    return status.length + sum(each.length for each in below.values())


def _belongs(hdfs: WebHdfs, path: str, root: str) -> str | None:
    """Say why a path belongs to a store; None if it does not."""
    if f"{root}/".startswith(f"{path}/"):
        return "holds a store" if hdfs.status(root) else None
    if any(f"{path}/".startswith(f"{root}/{kind}/") for kind in ("tables", "models", "runs")):
        return "belongs to a store"
    parts = path.strip("/").split("/")
    above = ["/" + "/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    if any(hdfs.status(f"{folder}/_delta_log") for folder in above):
        return "belongs to a Delta table"
    return None
