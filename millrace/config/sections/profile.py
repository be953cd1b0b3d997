"""The typed sections of a profile: where a product runs, and with what."""

from typing import Literal

from pydantic import Field

from millrace.config.sections.names import MASTER_PATTERN, MEMORY_PATTERN
from millrace.section import Section


class Spark(Section):
    """Where Spark runs, and with what."""

    master: str = Field("local[*,4]", pattern=MASTER_PATTERN)
    """A Spark master URL."""
    driver_memory: str = Field("2g", pattern=MEMORY_PATTERN)
    """Heap of the driver; in local mode also of the executors."""
    deploy_mode: Literal["client", "cluster"] = "client"
    """Where the driver runs: in the process that is asked, or in the cluster, to which spark-submit hands it."""
    conf: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Any other Spark setting."""


class StoreSection(Section):
    """Where artifacts lie."""

    root: str = "millrace-store"
    """A folder, relative to the working folder, or a ``file://`` URI; or ``hdfs://host:port/path``, where ``hdfs:///path``
    means the default file system of HADOOP_CONF_DIR."""
    wait_s: float = Field(600, ge=0)
    """How long a stage waits for a storage that went away, such as a NameNode that restarts, before it gives up."""


class Ranks(Section):
    """How training is spread."""

    world_size: int = Field(2, ge=1, le=840)
    """Horovod ranks, each one Spark task."""
    start_timeout_s: int = Field(120, ge=1)
    """How long to wait until Spark has started every rank."""


class Transfer(Section):
    """How a machine outside the cluster reaches its HDFS, over HTTP."""

    url: str | None = None
    """WebHDFS of the NameNode, such as ``http://namenode:9870``; with ``;`` between, several of them."""
    auth: Literal["simple", "kerberos", "token"] = "simple"
    """`simple` names a user, `kerberos` takes the ticket of kinit, `token` a delegation token."""
    user: str | None = Field(None, min_length=1)
    """For `simple`; by default HADOOP_USER_NAME, else whoever runs it."""
    token_file: str | None = None
    """For `token`: a file that holds it; by default it is taken from MILLRACE_HDFS_TOKEN."""
    ca_bundle: str | None = None
    """For https: the certificates to trust, by default those of the package certifi."""
    root: str = Field("/millrace", pattern="^/")
    """The folder of the store there, for `models push` and `pull`."""
    workers: int = Field(4, ge=1, le=64)
    """Files and blocks on their way at once."""
    block_mb: int = Field(128, ge=1, le=2048)
    """Size of the blocks of what is put; an interrupted transfer goes on at a block's end."""
    timeout_s: float = Field(60.0, gt=0)
    """How long a server may be silent."""
