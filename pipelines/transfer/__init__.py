"""Transfers data and models to and from HDFS over HTTP, for machines outside the cluster."""

from pipelines.transfer.access import connect
from pipelines.transfer.get import get
from pipelines.transfer.plan import Moved
from pipelines.transfer.put import put
from pipelines.transfer.webhdfs import Status, WebHdfs

__all__ = ["Moved", "Status", "WebHdfs", "connect", "get", "put"]
