"""The typed sections of a profile: where a product runs, and with what."""

from typing import Annotated, Literal

from pydantic import Field

from pipelines.config.names import MASTER_PATTERN, MEMORY_PATTERN
from pipelines.features import Section


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


DomainMode = Literal["enforce", "count", "ignore"]


class ServedModel(Section):
    """How one model is served."""

    allow_foreign: bool = False
    """Serve versions that have no `model.json`, as other systems write them; nothing vouches for their files."""
    join_requests: bool = False
    """Of a version without `model.json`: answer several requests by one call. Right only where the first dimension of
    every input and output counts rows that do not see each other."""
    versions: Literal["latest", "all"] | list[Annotated[int, Field(ge=1)]] = "latest"
    """Which versions are loaded: `latest`, others only when they are asked for by number; `all`; or those listed, and
    no others. The newest of them answers."""
    latest_count: int = Field(1, ge=1)
    """With `latest`: how many of the newest are loaded."""
    labels: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Names for versions, such as `canary: 3`, that clients may use instead of numbers."""
    domains: DomainMode = "count"
    """Values that the contract's ranges and sets do not allow: `enforce` refuses their rows, `count` answers and counts
    them, as it does with values that the train split did not have; `ignore` does not look."""
    latency_target_s: float | None = Field(None, gt=0)
    """As `serve.latency_target_s`, for this model."""


class Serve(Section):
    """Where the service listens, and what it serves."""

    host: str = "127.0.0.1"
    """Address to listen on; one that others reach needs `open_to_everyone`."""
    open_to_everyone: bool = False
    """Answer on an address that others reach, although nobody is asked who they are."""
    port: int = Field(8501, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    workers: int = Field(1, ge=1, le=64)
    """Processes that answer behind the port, each with its models."""
    max_body_mb: int = Field(32, ge=1)
    """A larger request is refused, also one that is larger once decompressed."""
    head_deadline_s: float = Field(10.0, gt=0)
    """How long a connection may take to send a request's head; later it is closed."""
    body_deadline_s: float = Field(15.0, gt=0)
    """How long a request's body may take."""
    write_deadline_s: float = Field(20.0, gt=0)
    """How long a client may stop to read its answer."""
    drain_s: float = Field(0.0, ge=0)
    """How long to go on answering after SIGTERM, not ready, so that a load balancer sends requests elsewhere."""
    reload_s: float = Field(10.0, gt=0)
    """About how often to look for a newer version in the store."""
    infer_deadline_s: float = Field(30.0, gt=0)
    """How long a request may wait for its answer; later it gets 504."""
    max_requests: int = Field(512, ge=1)
    """Predictions that may be in the server at the same time; the next gets 429 before its body is read."""
    latency_target_s: float | None = Field(None, gt=0)
    """How long an answer may take by what is seen of the model: who would wait longer gets 429 at once."""
    max_batch_rows: int = Field(1024, ge=1)
    """Rows of several requests that one call of TensorFlow answers; a larger request runs alone."""
    max_queued_rows: int = Field(16_384, ge=1)
    """Rows that may wait for one model (one request counts as half of them at most); what is too many gets 429."""
    model_control: bool = False
    """Let whoever reaches the service load and unload models."""
    log_format: Literal["lines", "json"] = "lines"
    """How log lines are written; `json` has one object a line, with the id of the request and of its trace."""
    log_requests: bool = False
    """Log each request."""
    tracing: Literal["none", "otlp"] = "none"
    """`otlp` sends a span of each request to an OpenTelemetry collector, as the environment's OTEL_ variables say."""
    models: dict[str, ServedModel] = Field(default_factory=dict)
    """Models of the store that are served beside the product's own, and how; the product's own may be named too."""


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
