"""The typed sections of a profile: where a product runs, and with which resources."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from millrace.config.sections.names import MASTER_PATTERN, MEMORY_PATTERN
from millrace.section import Section


class Spark(Section):
    """Where Spark runs, and with which resources."""

    master: str = Field("local[*,4]", pattern=MASTER_PATTERN)
    """A Spark master URL."""
    driver_memory: str = Field("2g", pattern=MEMORY_PATTERN)
    """Java heap of the driver; in local mode the executors share it."""
    deploy_mode: Literal["client", "cluster"] = "client"
    """Where the driver runs: in the process that starts the stage (`client`), or in the cluster, by spark-submit."""
    conf: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Other Spark settings, by name."""


class StoreSection(Section):
    """Where tables, models and runs are stored."""

    root: str = "millrace-store"
    """A folder (relative to the working folder), a ``file://`` URI, or ``hdfs://host:port/path``. ``hdfs:///path``
    means the default file system of HADOOP_CONF_DIR."""
    wait_s: float = Field(600, ge=0)
    """Seconds that a stage retries while the storage is unavailable, for example while a NameNode restarts. Then the
    stage ends with exit code 75."""


SHARDS: Final = 480
"""Number of equal parts of a split in training; the number of ranks must divide it."""


def _check_world_size(size: int) -> int:
    if SHARDS % size:
        divisors = ", ".join(str(n) for n in range(1, SHARDS + 1) if SHARDS % n == 0)
        raise ValueError(f"expected one of {divisors}")
    return size


class Ranks(Section):
    """How training is distributed."""

    world_size: Annotated[int, Field(ge=1), AfterValidator(_check_world_size)] = 2
    """Number of Horovod ranks, each one Spark task; it divides 480."""
    start_timeout_s: int = Field(120, ge=1)
    """Seconds until Spark must have started every rank; later, training ends with exit code 75."""


class Transfer(Section):
    """How a machine outside the cluster reaches HDFS over HTTP."""

    url: str | None = None
    """WebHDFS address of the NameNode, such as ``http://namenode:9870``. Separate several NameNodes with ``;``."""
    auth: Literal["simple", "kerberos", "token"] = "simple"
    """Authentication: `simple` sends a user name, `kerberos` uses the ticket of kinit, `token` a delegation token."""
    user: str | None = Field(None, min_length=1)
    """User name for `simple`; by default HADOOP_USER_NAME, else the user of the process."""
    token_file: str | None = None
    """For `token`: a file with the token; by default the environment variable MILLRACE_HDFS_TOKEN has the token."""
    ca_bundle: str | None = None
    """For https: a file of trusted certificates; by default those of the package certifi."""
    root: str = Field("/millrace", pattern="^/")
    """Folder of the store on that HDFS, for `models push` and `models pull`."""
    workers: int = Field(4, ge=1, le=64)
    """Number of files and blocks that are transferred in parallel."""
    block_mb: int = Field(128, ge=1, le=2048)
    """Block size of files that are sent, in MiB. An interrupted transfer continues after the last complete block."""
    timeout_s: float = Field(60.0, gt=0)
    """Seconds without data from a server after which a request fails."""
