"""Removing from HDFS what a user names, and nothing that belongs to a store unless that is said."""

from millrace.errors import InputMissing, Refused
from pipelines.transfer.webhdfs import WebHdfs


def check_removable(hdfs: WebHdfs, path: str, root: str, *, in_store: bool) -> int:
    """Find out whether something may be removed; returns the bytes that it holds.

    Args:
        hdfs: Where it is.
        path: What is to go.
        root: The folder of the store there.
        in_store: Whether the user said that tables, models or runs may go.

    Raises:
        InputMissing: There is nothing.
        Refused: It is the whole file system, or it belongs to a store and `in_store` does not say so.
    """
    if path == "/":
        raise Refused("'/' is the whole file system", hint="name what is to go")
    status = hdfs.status(path)
    if status is None:
        raise InputMissing(f"{hdfs.address}: there is no file or folder {path!r}")
    below = dict(hdfs.walk(path)) if status.is_folder else {}
    reason = _belongs(hdfs, path, root.rstrip("/"))
    if reason is None and any("_delta_log" in name.split("/") for name in below):
        reason = "holds a Delta table"
    if reason and not in_store:
        raise Refused(f"{hdfs.address}: {path!r} {reason}", hint="--in-store if this is meant")
    return status.length + sum(each.length for each in below.values())


def _belongs(hdfs: WebHdfs, path: str, root: str) -> str | None:
    """Why a path is a store's, if it is."""
    if f"{root}/".startswith(f"{path}/"):
        return "holds a store" if hdfs.status(root) else None
    if any(f"{path}/".startswith(f"{root}/{kind}/") for kind in ("tables", "models", "runs")):
        return "belongs to a store"
    parts = path.strip("/").split("/")
    above = ["/" + "/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    if any(hdfs.status(f"{folder}/_delta_log") for folder in above):
        return "belongs to a Delta table"
    return None
