"""The typed section `serve`: where the service listens, and what it serves."""

from typing import Annotated, Literal

from pydantic import Field

from millrace.section import Section

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
    fast_http: bool = True
    """Use Millrace's own HTTP connection class, which extends undocumented parts of uvicorn. `false` uses uvicorn's own
    class. Responses are then the same bytes, but `head_deadline_s`, `body_deadline_s`, `write_deadline_s` and the limit
    on the size of a head do not apply, the server sends each response by two calls, and a request that offers HTTP/2
    (`Upgrade: h2c`) loses its body."""
    log_format: Literal["lines", "json"] = "lines"
    """How log lines are written; `json` has one object a line, with the id of the request and of its trace."""
    log_requests: bool = False
    """Log each request."""
    tracing: Literal["none", "otlp"] = "none"
    """`otlp` sends a span of each request to an OpenTelemetry collector, as the environment's OTEL_ variables say."""
    models: dict[str, ServedModel] = Field(default_factory=dict)
    """Models of the store that are served beside the product's own, and how; the product's own may be named too."""
